//! The heartbeat networks: delay, loss, duplication, reordering, partitions, and somebody who records and replays.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole::beat::Beat;
use systole::rng::Rng;
use systole::types::{InterfaceId, LinkId};

/// Machines, one bit each.
pub(crate) type Mask = u16;

/// All machines.
pub(crate) const ALL: Mask = Mask::MAX;

/// Something wrong with a path. A loss of 1,000 is a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) from: Mask,
    pub(crate) to: Mask,
    /// `None`: on every link.
    pub(crate) link: Option<u16>,
    pub(crate) loss: u64,
    /// Added to the delay at most.
    pub(crate) extra: u64,
    /// On and off for so long each; 0: always on.
    pub(crate) flap: u64,
}

impl Rule {
    pub(crate) fn cut(from: Mask, to: Mask) -> Self {
        Self { from, to, link: None, loss: 1_000, extra: 0, flap: 0 }
    }

    fn concerns(&self, from: usize, to: usize, link: usize, now: u64) -> bool {
        self.from & (1 << from) != 0
            && self.to & (1 << to) != 0
            && self.link.is_none_or(|only| usize::from(only) == link)
            && (self.flap == 0 || (now / self.flap).is_multiple_of(2))
    }
}

/// All links.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// For each link, the service interface whose cable it shares.
    pub(crate) over: Vec<Option<InterfaceId>>,
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    /// Of 1,000, always.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) rules: BTreeMap<u64, Rule>,
    next_rule: u64,
    /// What an attacker recorded; `None`: there is none.
    pub(crate) tape: Option<Vec<(LinkId, Arc<Beat>)>>,
    pub(crate) sent: u64,
}

/// How many datagrams the attacker keeps.
const TAPE: usize = 512;

impl Network {
    pub(crate) fn new(over: Vec<Option<InterfaceId>>, delay: u64, jitter: u64) -> Self {
        let rules = BTreeMap::new();
        Self { over, delay, jitter, loss: 0, duplication: 0, rules, next_rule: 0, tape: None, sent: 0 }
    }

    pub(crate) fn add(&mut self, rule: Rule) -> u64 {
        self.next_rule += 1;
        self.rules.insert(self.next_rule, rule);
        self.next_rule
    }

    /// Whether anything but cables disturbs beats on a link that shares a cable with the service network.
    pub(crate) fn disturbs_service(&self) -> bool {
        let shared = |link: usize| self.over.get(link).is_some_and(Option::is_some);
        let any_shared = self.over.iter().any(Option::is_some);
        let rule = |rule: &Rule| rule.link.map_or(any_shared, |link| shared(usize::from(link)));
        any_shared && (self.loss > 0 || self.rules.values().any(rule))
    }

    /// When the copies of one datagram arrive, counted from now; none: lost.
    pub(crate) fn copies(
        &self,
        rng: &mut Rng,
        from: usize,
        to: usize,
        link: usize,
        now: u64,
    ) -> [Option<u64>; 2] {
        let (mut loss, mut extra) = (self.loss, 0);
        for rule in self.rules.values().filter(|rule| rule.concerns(from, to, link, now)) {
            loss = loss.max(rule.loss);
            extra = extra.max(rule.extra);
        }
        if loss > 0 && rng.chance(loss) {
            return [None, None];
        }
        let mut arrival = || Some(self.delay + rng.below(self.jitter + 1) + rng.below(extra + 1));
        let first = arrival();
        let again = if self.duplication > 0 && rng.chance(self.duplication) {
            Some(self.delay + rng.below(self.jitter + 1) * 4)
        } else {
            None
        };
        [first, again]
    }

    pub(crate) fn record(&mut self, rng: &mut Rng, link: LinkId, beat: &Arc<Beat>) {
        let Some(tape) = &mut self.tape else { return };
        if tape.len() < TAPE {
            tape.push((link, Arc::clone(beat)));
        } else if rng.chance(300) {
            let place = usize::try_from(rng.below(TAPE as u64)).unwrap_or(0);
            tape[place] = (link, Arc::clone(beat));
        }
    }
}
