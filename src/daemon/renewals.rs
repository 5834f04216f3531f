//! When the kernel has to know that a lease was renewed.
//!
//! Each beat that is answered renews a lease, and each time the kernel knows of it costs a commit. It need not know at
//! once: an element that ends early is as safe as one that ends with the lease, as long as it is prolonged before it ends.
//! So a renewal waits while the element has enough left, also after the next beat. What is enough is for the daemon that
//! is started after this one has died: half of a lease, and half a second where three quarters of the lease are as much.

use std::collections::BTreeMap;

use crate::config::Timing;
use crate::time::Span;
use crate::types::GroupId;

/// The ends of the leases that are held.
#[derive(Debug, Default)]
pub(super) struct Renewals(BTreeMap<GroupId, End>);

#[derive(Clone, Copy, Debug)]
struct End {
    /// As the kernel knows it.
    told: Span,
    /// As it is.
    latest: Span,
}

/// So long takes a start of the daemon on a slow machine.
const START: Span = Span::millis(500);

/// What an element has left at least.
fn left(timing: &Timing) -> Span {
    (timing.deadtime / 2).max(START.min(timing.deadtime * 3 / 4))
}

impl Renewals {
    /// The kernel is told of a new lease.
    pub(super) fn raised(&mut self, group: GroupId, until: Span) {
        self.0.insert(group, End { told: until, latest: until });
    }

    /// The kernel is told that it is over.
    pub(super) fn dropped(&mut self, group: GroupId) {
        self.0.remove(&group);
    }

    /// A lease lasts longer than before; whether the kernel has to be told at once.
    pub(super) fn renewed(&mut self, group: GroupId, until: Span, now: Span, timing: &Timing) -> bool {
        let Some(end) = self.0.get_mut(&group) else {
            // It stood before this daemon came.
            self.raised(group, until);
            return true;
        };
        end.latest = until;
        let tells = end.told < now + timing.keepalive + left(timing) || until < end.told;
        if tells {
            end.told = until;
        }
        tells
    }

    /// When the next renewal that waits is due, should nothing renew it once more.
    pub(super) fn next_due(&self, timing: &Timing) -> Span {
        let waiting = self.0.values().filter(|end| end.latest > end.told);
        waiting.map(|end| end.told - left(timing)).min().unwrap_or(Span(u64::MAX))
    }

    /// The renewals that wait no longer.
    pub(super) fn take_due(&mut self, now: Span, timing: &Timing) -> Vec<(GroupId, Span)> {
        let due =
            self.0.iter_mut().filter(|(_, end)| end.latest > end.told && end.told <= now + left(timing));
        due.map(|(group, end)| {
            end.told = end.latest;
            (*group, end.latest)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(7);
    const LEASE: Span = Span::seconds(1);

    fn timing() -> Timing {
        let keepalive = Span::millis(100);
        Timing { keepalive, deadtime: LEASE, warntime: LEASE / 3, initdead: LEASE * 2 }
    }

    #[test]
    fn renewals_wait_while_enough_of_the_lease_is_left_after_the_next_beat() {
        let (timing, mut renewals) = (timing(), Renewals::default());
        renewals.raised(GROUP, LEASE);
        let mut tells =
            |at: u64| renewals.renewed(GROUP, Span::millis(at) + LEASE, Span::millis(at), &timing);
        let told: Vec<u64> = (1..=14).map(|beat| beat * 100).filter(|at| tells(*at)).collect();
        assert_eq!(told, [500, 1_000]);
    }

    #[test]
    fn a_start_of_the_daemon_has_half_a_second_or_as_much_as_the_lease_allows() {
        let left_of = |deadtime| left(&Timing { deadtime: Span::millis(deadtime), ..timing() });
        assert_eq!([100, 400, 800, 1_000, 4_000].map(left_of), [75, 300, 500, 500, 2_000].map(Span::millis));
    }

    #[test]
    fn the_kernel_knows_the_end_in_time_when_no_more_renewals_come() {
        let (timing, mut renewals) = (timing(), Renewals::default());
        renewals.raised(GROUP, LEASE);
        assert_eq!(renewals.next_due(&timing), Span(u64::MAX));
        assert!(!renewals.renewed(GROUP, Span::millis(100) + LEASE, Span::millis(100), &timing));
        let due = renewals.next_due(&timing);
        assert_eq!(due, Span::millis(500));
        assert_eq!(renewals.take_due(due - Span(1), &timing), []);
        assert_eq!(renewals.take_due(due, &timing), [(GROUP, Span::millis(1_100))]);
        assert_eq!((renewals.next_due(&timing), renewals.take_due(due, &timing)), (Span(u64::MAX), vec![]));
    }

    #[test]
    fn a_lease_that_stood_before_is_told_at_once_and_so_is_a_shorter_one() {
        let (timing, mut renewals) = (timing(), Renewals::default());
        assert!(renewals.renewed(GROUP, LEASE, Span::ZERO, &timing));
        assert!(renewals.renewed(GROUP, LEASE / 2, Span::ZERO, &timing));
        renewals.raised(GROUP, LEASE);
        assert!(!renewals.renewed(GROUP, LEASE + Span(1), Span::ZERO, &timing));
        renewals.dropped(GROUP);
        assert_eq!(renewals.next_due(&timing), Span(u64::MAX));
    }
}
