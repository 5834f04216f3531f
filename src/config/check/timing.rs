//! The four timers: `2 keepalive < deadtime`, `keepalive < warntime < deadtime <= initdead`.

use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftTiming, Placed};
use crate::config::limits;
use crate::config::model::Timing;
use crate::time::Span;

/// Ten beats make a deadtime unless the file says otherwise: with one datagram in five lost, all ten are lost once in
/// ten million.
const BEATS: u64 = 10;
/// Long enough for a machine that is busy; who measures can go lower (`systole advise`).
const DEADTIME: Span = Span::seconds(2);
/// A network may need so long after a cold start, until switches forward.
const INITDEAD_LEAST: Span = Span::seconds(10);

/// What is not said follows from what is.
pub(super) fn resolve(timing: &DraftTiming) -> Timing {
    let said = |span: &Option<Placed<Span>>| span.as_ref().map(|span| span.value);
    let keepalive = said(&timing.keepalive);
    let deadtime = said(&timing.deadtime).or(keepalive.map(|span| span * BEATS)).unwrap_or(DEADTIME);
    Timing {
        keepalive: keepalive.unwrap_or(deadtime / BEATS),
        warntime: said(&timing.warntime).unwrap_or(deadtime / 2),
        deadtime,
        initdead: said(&timing.initdead).unwrap_or((deadtime * 2).max(INITDEAD_LEAST)),
    }
}

/// Whether the timers have the order that every part of the protocol counts on.
pub(super) fn is_possible(timing: &Timing) -> bool {
    let Timing { keepalive, warntime, deadtime, initdead } = *timing;
    let is_long_enough = keepalive >= limits::KEEPALIVE_LEAST && deadtime >= limits::DEADTIME_LEAST;
    let is_ordered = keepalive < warntime && warntime < deadtime && deadtime <= initdead;
    is_long_enough && is_ordered && keepalive * 2 < deadtime
}

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let timing = &draft.timing;
    let Timing { keepalive, warntime, deadtime, initdead } = resolve(timing);
    at_least(
        &timing.keepalive,
        "keepalive",
        limits::KEEPALIVE_LEAST,
        "no timer keeps a shorter one",
        findings,
    );
    at_least(
        &timing.deadtime,
        "deadtime",
        limits::DEADTIME_LEAST,
        "it is also the length of a lease, which ends two kernel ticks early",
        findings,
    );
    let mut rule =
        |holds: bool, places: [&Option<Placed<Span>>; 2], message: &str, label: String, help: String| {
            let mut places = places.into_iter().flatten().map(|span| span.place);
            if let (false, Some(place)) = (holds, places.next()) {
                let found = Diagnostic::mistake(place, message).label(label).help(help);
                findings.push(match places.next() {
                    Some(other) => found.also(other, "with this"),
                    None => found,
                });
            }
        };
    rule(
        keepalive * 2 < deadtime,
        [&timing.deadtime, &timing.keepalive],
        "deadtime must be more than twice keepalive",
        format!("{deadtime} is not more than 2 x {keepalive}"),
        format!(
            "write a deadtime of {} (ten beats), or a shorter keepalive: one lost beat must not be a death",
            keepalive * BEATS
        ),
    );
    rule(
        // Half of deadtime is too short only where deadtime itself is.
        keepalive < warntime || timing.warntime.is_none() || warntime == deadtime / 2,
        [&timing.warntime, &timing.keepalive],
        "warntime must be longer than keepalive",
        format!("{warntime} is not longer than {keepalive}"),
        "leave warntime out (it is half of deadtime), or write a longer one: else every beat is late"
            .to_owned(),
    );
    rule(
        warntime < deadtime || timing.warntime.is_none(),
        [&timing.warntime, &timing.deadtime],
        "warntime must be shorter than deadtime",
        format!("{warntime} is not shorter than {deadtime}"),
        "leave warntime out (it is half of deadtime), or write a shorter one: a peer is late before it is dead".to_owned(),
    );
    rule(
        deadtime <= initdead,
        [&timing.initdead, &timing.deadtime],
        "initdead must not be shorter than deadtime",
        format!("{initdead} is shorter than {deadtime}"),
        "leave initdead out (it is twice deadtime, and 10s at least), or write a longer one".to_owned(),
    );
}

fn at_least(span: &Option<Placed<Span>>, name: &str, least: Span, why: &str, findings: &mut Findings) {
    if let Some(span) = span.as_ref().filter(|span| span.value < least) {
        findings.push(
            Diagnostic::mistake(span.place, format!("{name} is too short"))
                .label(format!("at least {least}"))
                .help(format!("write a longer one: {why}")),
        );
    }
}
