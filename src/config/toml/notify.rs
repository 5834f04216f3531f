//! `[notify]`.

use super::known;
use super::table::{Table, Value};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::DraftNotify;

pub(super) fn read(top: &Table<'_>, findings: &mut Findings) -> Option<DraftNotify> {
    let table = top.table("notify", known::NOTIFY, findings)?;
    let timeout = table.span("timeout", findings);
    let events = table.value("events").map(|value| value.texts("`events`", findings));
    let is_empty = |value: Value<'_>| value.list().is_some_and(|words| words.is_empty());
    if table.value("program").is_none_or(is_empty) {
        findings.push(
            Diagnostic::mistake(table.place, "[notify] names no program")
                .label("which one?")
                .help("add program = \"/etc/systole/notify\", or leave [notify] out"),
        );
    }
    Some(DraftNotify { place: table.place, program: table.texts("program", findings), events, timeout })
}
