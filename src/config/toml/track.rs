//! `[track.NAME]`.

use super::known;
use super::table::Table;
use crate::config::diagnostic::Findings;
use crate::config::draft::DraftTrack;
use crate::config::limits;

pub(super) fn read(top: &Table<'_>, findings: &mut Findings) -> Vec<DraftTrack> {
    let tables = top.named_tables("track", known::TRACK, findings);
    let track = |(name, table): (_, Table<'_>)| DraftTrack {
        name,
        has_program: table.value("program").is_some(),
        program: table.texts("program", findings),
        file: table.text("file", findings),
        no_file: table.text("no-file", findings),
        process: table.text("process", findings),
        every: table.span("every", findings),
        timeout: table.span("timeout", findings),
        fall: table.whole("fall", 1..=limits::IN_A_ROW, findings),
        rise: table.whole("rise", 1..=limits::IN_A_ROW, findings),
        groups: table.value("groups").map(|value| value.texts("`groups`", findings)),
        weight: table.whole("weight", 1..=limits::WEIGHT, findings),
    };
    tables.into_iter().map(track).collect()
}
