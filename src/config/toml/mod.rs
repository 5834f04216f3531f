//! `systole.toml` becomes a draft: a spanned tree and our own reader, because serde stops at the first mistake.
//!
//! Nothing is judged here but the shape: which keys there are, and of which type. What the values mean together is the
//! check's business, for both formats alike.

mod cluster;
mod director;
mod group;
mod known;
mod notify;
mod respawn;
mod safety;
mod short;
mod table;
mod track;

use std::path::PathBuf;

use ::toml::de::DeTable;

use super::diagnostic::{Diagnostic, Findings, Place};
use super::draft::{Dialect, Draft};
use table::Table;

/// Where the keys are, unless the file says otherwise.
const KEYS: &str = "/etc/systole/keys";

/// Reads the text of file number `file`. A text that is no TOML gives only its syntax mistakes: what the rest of it
/// means cannot be known.
pub(super) fn read(file: usize, text: &str, findings: &mut Findings) -> Option<Draft> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place { file, start: span.start, end: span.end.max(span.start + 1) };
            let written = text.get(place.start..place.end).unwrap_or_default();
            findings.push(if error.message() == "duplicate key" {
                Diagnostic::mistake(place, format!("`{written}` is there twice"))
                    .label("the second")
                    .help("a table and a key are written once: rename one of the two, or leave it out")
            } else {
                Diagnostic::mistake(place, "this is not TOML").label(error.message().replace('\n', " ")).help(
                    "a key is written as `key = value`; text stands in quotes; a table begins with [NAME]",
                )
            });
        }
        return None;
    }
    if tree.get_ref().is_empty() {
        findings.push(
            Diagnostic::mistake(Place::whole(file), "there is nothing in this file")
                .help("was it cut short? The least is two nodes, a link and a group: docs/configuration.md has every key, conf/ whole files"),
        );
        return None;
    }
    let top = Table::new("the top of the file", file, tree.span(), tree.get_ref());
    top.refuse_unknown(known::TOP, findings);
    let mut draft = Draft::new(Dialect::Toml, PathBuf::from(KEYS));
    cluster::read(&top, &mut draft, findings);
    safety::read(&top, &mut draft, findings);
    draft.notify = notify::read(&top, findings);
    draft.tracks = track::read(&top, findings);
    draft.respawns = respawn::read(&top, findings);
    draft.services = director::read(&top, findings);
    draft.sync = director::sync(&top, findings);
    if let Some(lines) = top.raw_text("haresources", findings) {
        short::read(text, lines, &mut draft, findings);
    }
    group::read(&top, &mut draft, findings);
    Some(draft)
}
