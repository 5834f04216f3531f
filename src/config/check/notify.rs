//! The program that is told of events. Whether it is there is not seen from the text: each node looks for itself.

use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftNotify, Name};
use crate::config::model::Notify;
use crate::config::{limits, nearest, notify};
use crate::time::Span;

/// Longer than a mail takes, and far shorter than the time in which somebody would look.
const TIMEOUT: Span = Span::seconds(10);

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let Some(notify) = &draft.notify else { return };
    check_program(&notify.program, findings);
    check_events(notify, findings);
    if let Some(timeout) = notify.timeout.as_ref().filter(|timeout| timeout.value == Span::ZERO) {
        findings.push(
            Diagnostic::mistake(timeout.place, "`timeout` is no time at all")
                .label("nothing is done in so short a time")
                .help("write a longer one, or leave it out: then it is 10s"),
        );
    }
}

/// Reports what cannot be run as a program with its arguments.
pub(super) fn check_program(program: &[Name], findings: &mut Findings) {
    let Some(path) = program.first() else {
        return;
    };
    if !path.value.starts_with('/') {
        findings.push(
            Diagnostic::mistake(path.place, "`program` is not an absolute path")
                .label("does not begin with /")
                .help("write the whole path, and each argument as a text of its own: [\"/etc/systole/notify\", \"web\"]"),
        );
    }
    if let Some(word) = program.iter().find(|word| word.value.contains('\0')) {
        findings.push(
            Diagnostic::mistake(word.place, "a word of `program` has a zero byte in it")
                .label("cannot be handed to a program")
                .help("leave it out"),
        );
    }
    if let Some(word) = program.get(limits::PARAMS) {
        findings.push(
            Diagnostic::mistake(word.place, format!("more than {} words in `program`", limits::PARAMS))
                .label("the first beyond")
                .help("keep them in a file of the program's"),
        );
    }
}

fn check_events(notify: &DraftNotify, findings: &mut Findings) {
    let Some(events) = &notify.events else { return };
    if events.is_empty() {
        findings.push(
            Diagnostic::mistake(notify.place, "the program of [notify] would never be run")
                .label("`events` names none")
                .help("leave `events` out: then it is told what is of note, or leave [notify] out"),
        );
    }
    for event in events.iter().filter(|event| !notify::KINDS.contains(&event.value.as_str())) {
        findings.push(
            Diagnostic::mistake(event.place, format!("there is no event `{}`", event.value))
                .label("never happens")
                .help(instead(event)),
        );
    }
}

fn instead(event: &Name) -> String {
    match nearest::nearest(&event.value, notify::KINDS.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known: {}", notify::KINDS.join(", ")),
    }
}

/// Of a draft without mistakes.
pub(super) fn resolve(notify: &DraftNotify) -> Option<Notify> {
    let mut words = notify.program.iter().map(|word| word.value.clone());
    Some(Notify {
        program: words.next()?.into(),
        args: words.collect(),
        events: match &notify.events {
            Some(events) => events.iter().map(|event| event.value.clone()).collect(),
            None => notify::OF_NOTE.iter().map(|&kind| kind.to_owned()).collect(),
        },
        timeout: notify.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.value),
    })
}
