//! Whether the timers of a pair leave time for evidence: rounds of probes begin when a beat is missing, and what a holder
//! keeps its groups by must be in before its lease ends.
//!
//! The figures are those of `src/cluster/evidence.rs` and `src/cluster/lease.rs`, which this room must not use. A test
//! runs two cores with what is warned of here, and with what is not.

use super::resources::addresses;
use super::timing;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftGroup, DraftTiming};
use crate::config::model::Timing;
use crate::time::Span;

/// No answer is expected sooner.
const SHORTEST_WAIT: Span = Span::millis(2);

/// Two kernel ticks: the least margin of a lease.
const MARGIN_LEAST: Span = Span::millis(8);

/// With a keepalive of a tenth of it this deadtime is long enough for everything here.
const DEADTIME_ENOUGH: Span = Span::millis(50);

/// The timers of a pair on evidence, whose groups are these.
pub(super) fn check(draft: &Draft, groups: &[&DraftGroup], findings: &mut Findings) {
    let timing = timing::resolve(&draft.timing);
    let has_address = groups.iter().flat_map(|group| &group.resources).any(|one| !addresses(one).is_empty());
    if !has_address || !timing::is_possible(&timing) {
        return;
    }
    let place = place(&draft.timing);
    if interval(&timing) < SHORTEST_WAIT {
        let label = format!("{} are too short for an answer: at least {SHORTEST_WAIT}", interval(&timing));
        findings.push(
            Diagnostic::warning(place, "a takeover on evidence needs longer rounds of probes")
                .label(label)
                .help(format!(
                    "{}: a round lasts half a keepalive, or a tenth of deadtime",
                    remedy(&timing, |timing| interval(timing) >= SHORTEST_WAIT)
                )),
        );
    }
    if !can_be_kept(&timing) {
        let (from, end) = (first_round(&timing), lease(&timing));
        findings.push(
            Diagnostic::warning(
                place,
                "a holder gives up its groups when the links die, whatever evidence says",
            )
            .label(format!("evidence counts from {from} on, and the lease ends at {end}"))
            .help(remedy(&timing, can_be_kept)),
        );
    }
}

/// Between two rounds, while nothing hurries.
fn interval(timing: &Timing) -> Span {
    (timing.keepalive / 2).min(timing.deadtime / 10)
}

/// How long after a beat of its own that the other confirmed a holder has an answered ping that counts, at the latest: it
/// begins to ask when two keepalives and a quarter have passed, and the first answer must be followed by a beat and by one
/// more round.
fn first_round(timing: &Timing) -> Span {
    timing.keepalive * 13 / 4 + interval(timing) + SHORTEST_WAIT * 2
}

/// For how long a holder rests on what was last said for it.
fn lease(timing: &Timing) -> Span {
    timing.deadtime - (timing.deadtime / 100).max(MARGIN_LEAST) * 2
}

/// The first answer must be in time, and so must each one after it, of which a head start is the other's.
fn can_be_kept(timing: &Timing) -> bool {
    let next = timing.keepalive + interval(timing) + SHORTEST_WAIT;
    let head_start = (timing.keepalive * 2).min(timing.deadtime * 2 / 5);
    first_round(timing) < lease(timing) && next < lease(timing) - head_start
}

/// What to write so that it is enough: the least change that is.
fn remedy(timing: &Timing, is_enough: impl Fn(&Timing) -> bool) -> String {
    let keepalive = timing.deadtime / 10;
    let quicker = Timing { keepalive, ..*timing };
    if is_enough(&quicker) {
        return format!("write keepalive {keepalive}, a tenth of deadtime");
    }
    let long = DEADTIME_ENOUGH;
    format!("write deadtime {long}, keepalive {} and warntime {}, or longer ones", long / 10, long / 2)
}

/// Where the timing is said that is to be changed.
fn place(timing: &DraftTiming) -> Place {
    let said = timing.keepalive.as_ref().or(timing.deadtime.as_ref()).or(timing.warntime.as_ref());
    said.map_or(Place::whole(0), |said| said.place)
}
