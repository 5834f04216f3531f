//! Whether the timers of a pair leave time for evidence: rounds of probes begin at warntime, and what a holder keeps its
//! groups by must be in before its lease ends.
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

/// With a warntime of half of it and a keepalive of a tenth this deadtime is long enough for everything here.
const DEADTIME_ENOUGH: Span = Span::millis(50);

/// An interface of the groups' addresses, by its name if it has one, with where the first of them stands.
type Unlinked = (Option<String>, Place);

/// The timers of a pair on evidence, whose groups are these.
pub(super) fn check(draft: &Draft, groups: &[&DraftGroup], findings: &mut Findings) {
    let timing = timing::resolve(&draft.timing);
    let Some(unlinked) = unlinked(draft, groups).filter(|_| timing::is_possible(&timing)) else { return };
    let place = place(&draft.timing);
    if !can_be_taken(&timing) {
        let label = format!("{} are too short for an answer: at least {SHORTEST_WAIT}", interval(&timing));
        findings.push(
            Diagnostic::warning(place, "a takeover on evidence needs longer rounds of probes")
                .label(label)
                .help(format!(
                    "{}: a round lasts a keepalive, or a quarter of the time from warntime to deadtime",
                    remedy(&timing, can_be_taken)
                )),
        );
    }
    if !can_be_kept(&timing, true) {
        let help = remedy(&timing, |timing| can_be_kept(timing, true));
        findings.push(given_up("its groups", place, &timing, true).help(help));
        return;
    }
    for one in unlinked.iter().filter(|_| !can_be_kept(&timing, false)) {
        findings.push(without_a_link(one, place, &timing));
    }
}

fn without_a_link((interface, at): &Unlinked, place: Place, timing: &Timing) -> Diagnostic {
    let (what, link, label) = match interface {
        Some(name) => (
            format!("what is on `{name}`"),
            format!("add a link over `{name}`"),
            "no link runs over its interface",
        ),
        None => (
            "what is on an interface that is not named".to_owned(),
            "name the interface with the address, if a link runs over it".to_owned(),
            "on which interface?",
        ),
    };
    let remedy = remedy(timing, |timing| can_be_kept(timing, false));
    given_up(&what, place, timing, false).also(*at, label).help(format!(
        "{link}, or {remedy}: without a link the first keepalive after warntime counts for nothing"
    ))
}

fn given_up(what: &str, place: Place, timing: &Timing, linked: bool) -> Diagnostic {
    let (from, end) = (first_round(timing, linked), lease(timing));
    Diagnostic::warning(place, format!("a holder gives up {what} when the links die, whatever evidence says"))
        .label(format!("evidence counts from {from} on, and the lease ends at {end}"))
}

/// Between two rounds, while nothing hurries.
fn interval(timing: &Timing) -> Span {
    ((timing.deadtime - timing.warntime) / 4).min(timing.keepalive)
}

/// The silence after which a round's answered ping counts for a holder. Without a link over the interface, the rounds of
/// the first keepalive only show the other what it counts from.
fn first_round(timing: &Timing, linked: bool) -> Span {
    let interval = interval(timing).max(Span::millis(1));
    let rounds = timing.keepalive.as_micros().div_ceil(interval.as_micros());
    timing.warntime + if linked { Span::ZERO } else { interval * rounds }
}

/// For how long a holder rests on what was last said for it.
fn lease(timing: &Timing) -> Span {
    timing.deadtime - (timing.deadtime / 100).max(MARGIN_LEAST) * 2
}

fn can_be_taken(timing: &Timing) -> bool {
    interval(timing) >= SHORTEST_WAIT
}

fn can_be_kept(timing: &Timing, linked: bool) -> bool {
    first_round(timing, linked) + SHORTEST_WAIT < lease(timing)
}

/// What to write so that it is enough: the least change that is.
fn remedy(timing: &Timing, is_enough: impl Fn(&Timing) -> bool) -> String {
    let deadtime = timing.deadtime;
    let earlier = Timing { warntime: deadtime / 2, ..*timing };
    let quicker = Timing { keepalive: deadtime / 10, ..earlier };
    if timing.warntime > earlier.warntime && is_enough(&earlier) {
        return format!("write a warntime of {}, half of deadtime", earlier.warntime);
    }
    let (keepalive, warntime) = (quicker.keepalive, quicker.warntime);
    if is_enough(&quicker) {
        return format!("write keepalive {keepalive} and warntime {warntime}, a tenth and half of deadtime");
    }
    let long = DEADTIME_ENOUGH;
    format!("write deadtime {long}, keepalive {} and warntime {}, or longer ones", long / 10, long / 2)
}

/// Where the timing is said that is to be changed.
fn place(timing: &DraftTiming) -> Place {
    let said = timing.warntime.as_ref().or(timing.deadtime.as_ref()).or(timing.keepalive.as_ref());
    said.map_or(Place::whole(0), |said| said.place)
}

/// The interfaces of these groups' addresses that no link runs over, as far as is known; `None` if there is no address.
fn unlinked(draft: &Draft, groups: &[&DraftGroup]) -> Option<Vec<Unlinked>> {
    let mut found: Vec<Unlinked> = Vec::new();
    let mut has_address = false;
    for resource in groups.iter().flat_map(|group| &group.resources) {
        for address in addresses(resource) {
            has_address = true;
            let name = address.interface;
            let runs_over = |name: &String| draft.links.iter().any(|link| link.interface.value == *name);
            let is_linked = draft.lost.links || name.as_ref().is_some_and(runs_over);
            if !is_linked && found.iter().all(|(known, _)| *known != name) {
                found.push((name, resource.agent.place));
            }
        }
    }
    has_address.then_some(found)
}
