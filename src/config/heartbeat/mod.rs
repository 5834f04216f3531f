//! Heartbeat's directory (`ha.cf`, `haresources`, `authkeys`) becomes the same draft as `systole.toml`.
//!
//! Every directive is known by name: it is carried over, or told why not and what to do instead. None is dropped
//! silently, and none is a syntax error.

pub mod directives;
pub(crate) mod ha_cf;
pub(crate) mod haresources;
mod media;
mod words;

use std::path::Path;

use super::diagnostic::{Findings, Place, SourceFile};
use super::draft::{Dialect, Draft};
use super::keys;
use haresources::Lines;

/// The texts of a Heartbeat directory.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatFiles<'a> {
    /// The directory's name: where the keys are, and what places begin with.
    pub directory: &'a Path,
    /// `ha.cf`.
    pub ha_cf: &'a str,
    /// `haresources`; empty if there is none.
    pub haresources: &'a str,
    /// `authkeys`; `None` if it could not be read, as by an ordinary user.
    pub authkeys: Option<&'a str>,
}

impl HeartbeatFiles<'_> {
    /// The files as they may be shown, in the order of [`Place::file`].
    pub(super) fn sources(&self) -> Vec<SourceFile> {
        let file = |name: &str, text: String| SourceFile {
            name: self.directory.join(name).display().to_string(),
            text,
        };
        vec![
            file("ha.cf", self.ha_cf.to_owned()),
            file("haresources", self.haresources.to_owned()),
            file("authkeys", self.authkeys.map(keys::blanked).unwrap_or_default()),
        ]
    }
}

/// Reads the three files.
pub(super) fn read(files: &HeartbeatFiles<'_>, findings: &mut Findings) -> Draft {
    let mut draft = Draft::new(Dialect::Heartbeat, files.directory.join("authkeys"));
    let defaults = ha_cf::read(0, files.ha_cf, &mut draft, findings);
    let place = |start, end| Place { file: 1, start, end };
    haresources::read(&Lines { text: files.haresources, place: &place }, defaults, &mut draft, findings);
    if let Some(text) = files.authkeys {
        keys::read(2, text, findings);
    }
    draft
}
