//! When is which probe asked next. Pure.
//!
//! Probes do not come in bursts: the first time they are spread, and afterwards each period is a little longer or shorter.
//! One that is still under way is not asked again.

use std::collections::{BTreeMap, BTreeSet};

use crate::rng::Rng;
use crate::time::Span;

use super::pool::{Probe, ProbeId};

/// The first questions are spread over so long, or over the period where that is shorter: everybody waits for them.
const FIRST: Span = Span::seconds(1);

/// A period is longer or shorter by up to one part in so many.
const JITTER: u64 = 20;

/// The times of all probes.
#[derive(Debug)]
pub struct Schedule {
    turns: BTreeMap<ProbeId, Turn>,
    due: BTreeSet<(Span, ProbeId)>,
    chance: Rng,
}

#[derive(Debug)]
struct Turn {
    every: Span,
    next: Span,
    is_under_way: bool,
}

impl Schedule {
    /// Nothing is asked.
    pub fn new(seed: u64) -> Self {
        Self { turns: BTreeMap::new(), due: BTreeSet::new(), chance: Rng::new(seed) }
    }

    /// These are asked from now on, and no others. Told is who is new.
    pub fn set<'p>(&mut self, probes: impl Iterator<Item = (ProbeId, &'p Probe)>, now: Span) -> Vec<ProbeId> {
        let mut before = std::mem::take(&mut self.turns);
        let mut fresh = Vec::new();
        for (id, probe) in probes {
            let turn = before.remove(&id).unwrap_or_else(|| {
                fresh.push(id);
                let every = probe.check.every;
                let wait = Span(self.chance.below(every.min(FIRST).0.max(1)));
                self.due.insert((now + wait, id));
                Turn { every, next: now + wait, is_under_way: false }
            });
            self.turns.insert(id, turn);
        }
        for (id, turn) in before {
            self.due.remove(&(turn.next, id));
        }
        fresh
    }

    /// When somebody is due.
    pub fn next(&self) -> Option<Span> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Who is due, and since when. It is under way from now on.
    pub fn take(&mut self, now: Span) -> Option<(ProbeId, Span)> {
        let (at, id) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        let turn = self.turns.get_mut(&id)?;
        turn.is_under_way = true;
        let share = turn.every.0 / JITTER;
        let period = Span(turn.every.0 - share + self.chance.below(2 * share + 1));
        // Whoever is late is not asked twice to make up for it.
        turn.next = (at + period).max(now);
        Some((id, at))
    }

    /// It is over.
    pub fn done(&mut self, id: ProbeId, now: Span) {
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.is_under_way) else { return };
        turn.is_under_way = false;
        turn.next = turn.next.max(now);
        self.due.insert((turn.next, id));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Check, CheckKind};

    fn probes(count: u64) -> Vec<(ProbeId, Probe)> {
        let check = Arc::new(Check {
            kind: CheckKind::Tcp,
            address: None,
            port: None,
            source: None,
            every: Span::seconds(2),
            timeout: Span::seconds(2),
            rise: 1,
            fall: 1,
        });
        let probe = |number| {
            let address = std::net::IpAddr::from([10, 0, 0, 1]);
            (ProbeId(number), Probe { check: Arc::clone(&check), address, port: 80 })
        };
        (0..count).map(probe).collect()
    }

    fn set(schedule: &mut Schedule, probes: &[(ProbeId, Probe)], now: Span) -> usize {
        schedule.set(probes.iter().map(|(id, probe)| (*id, probe)), now).len()
    }

    #[test]
    fn a_thousand_probes_are_spread_and_each_keeps_its_period() {
        let (mut schedule, probes) = (Schedule::new(7), probes(1_000));
        assert_eq!(set(&mut schedule, &probes, Span::ZERO), 1_000);
        let mut asked: BTreeMap<ProbeId, Vec<Span>> = BTreeMap::new();
        let mut in_a_tenth = vec![0_u32; 300];
        while let Some(at) = schedule.next().filter(|at| *at < Span::seconds(30)) {
            let (id, _) = schedule.take(at).unwrap();
            asked.entry(id).or_default().push(at);
            in_a_tenth[usize::try_from(at.0 / 100_000).unwrap()] += 1;
            schedule.done(id, at + Span::millis(3));
        }
        for times in asked.values() {
            assert!((14..=16).contains(&times.len()), "{times:?}");
            assert!(times[0] < FIRST);
            for pair in times.windows(2) {
                let period = pair[1] - pair[0];
                assert!((1_900_000..=2_100_000).contains(&period.0), "{period}");
            }
        }
        // The half of a period in which nobody was asked at first is filled.
        let last: Vec<u32> = in_a_tenth[280..].to_vec();
        assert!(last.iter().all(|count| *count > 0), "{last:?}");
        assert!(in_a_tenth[..10].iter().all(|count| (60..140).contains(count)), "{in_a_tenth:?}");
    }

    #[test]
    fn one_that_is_under_way_is_not_asked_again_and_makes_up_for_nothing() {
        let (mut schedule, probes) = (Schedule::new(7), probes(1));
        set(&mut schedule, &probes, Span::ZERO);
        let at = schedule.next().unwrap();
        let (id, _) = schedule.take(at).unwrap();
        assert_eq!(schedule.next(), None);
        schedule.done(id, at + Span::seconds(9));
        assert_eq!(schedule.next(), Some(at + Span::seconds(9)));
        schedule.take(at + Span::seconds(9)).unwrap();
        schedule.done(id, at + Span::seconds(9));
        assert!(schedule.next().unwrap() >= at + Span::seconds(9), "once, and not four times");
        assert_eq!(schedule.take(at + Span::seconds(9)), None);
    }

    #[test]
    fn whoever_stays_keeps_his_time_and_whoever_goes_is_not_asked() {
        let (mut schedule, probes) = (Schedule::new(7), probes(3));
        set(&mut schedule, &probes, Span::ZERO);
        let times = schedule.due.clone();
        assert_eq!(set(&mut schedule, &probes, Span::millis(1)), 0);
        assert_eq!(schedule.due, times);
        let under_way = schedule.take(Span::seconds(2)).unwrap().0;
        assert_eq!(set(&mut schedule, &[], Span::seconds(2)), 0);
        schedule.done(under_way, Span::seconds(2));
        assert_eq!(schedule.next(), None);
    }
}
