//! Whose votes count, and how that may change.
//!
//! Two majorities of one set share a voter: that is why there is never a second holder. Two sets need not share one, so
//! voters change in two steps (rule 12): first a majority of *both* sets is asked for and no tie-break counts, and only
//! when every member of both shows that does the new set count alone. Votes are counted across the step where two
//! beats share a set: a holder that needs majorities of both sets always has one of the set that the other counts.

use std::collections::BTreeSet;

use crate::beat::VoterDigests;
use crate::config::{Config, TiebreakMethod};
use crate::time::Span;
use crate::types::NodeId;

use super::{Core, Effects, Event, Mutant, VoterSet, VoterSets, VotersRefused};

impl VoterSet {
    /// A stable digest of the members and the tie-break (FNV-1a, 64 bits); never 0, which means "none".
    pub(super) fn digest(&self) -> u64 {
        let method = match self.method {
            TiebreakMethod::Evidence => 1,
            TiebreakMethod::Fence => 2,
            TiebreakMethod::None => 3,
        };
        let words = self.nodes.iter().map(|node| node.0).chain([method]);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in words.flat_map(u32::to_be_bytes) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash.max(1)
    }

    pub(super) fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }
}

impl VoterSets {
    /// As the configuration asks for.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            now: VoterSet { nodes: config.nodes.keys().copied().collect(), method: config.tiebreak.method },
            before: config.voters_before.as_ref().map(|before| VoterSet {
                nodes: before.nodes.iter().copied().collect(),
                method: before.method,
            }),
        }
    }

    /// Whether a node that counted `before` may count this next, without asking anybody: the first step, or back to where
    /// it began with both sets still asked.
    pub(super) fn may_follow(&self, before: &Self) -> bool {
        let first_step = before.before.is_none() && self.before.as_ref() == Some(&before.now);
        let turned_round =
            before.before.as_ref() == Some(&self.now) && self.before.as_ref() == Some(&before.now);
        self == before || first_step || turned_round
    }

    /// Whether this is the second step after `before`.
    fn is_second_step_after(&self, before: &Self) -> bool {
        self.before.is_none() && before.before.is_some() && self.now == before.now
    }

    pub(super) fn all(&self) -> BTreeSet<NodeId> {
        self.members().copied().collect()
    }

    /// Of each set; one that is in both comes twice.
    pub(super) fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.each().flat_map(|set| &set.nodes)
    }

    fn each(&self) -> impl Iterator<Item = &VoterSet> {
        std::iter::once(&self.now).chain(&self.before)
    }
}

impl Core {
    /// The `rank`-th best of what each set's voters offer must be there in every set: so many are a majority. The least
    /// of the sets' values counts.
    pub(super) fn by_majority<T: Ord + Copy>(&self, offer: impl Fn(NodeId) -> Option<T>) -> Option<T> {
        let mut least: Option<T> = None;
        for set in self.voters.each() {
            let mut offers: Vec<T> = set.nodes.iter().filter_map(|node| offer(*node)).collect();
            let place = self.needed(set).checked_sub(1).filter(|place| *place < offers.len())?;
            let (_, granted, _) = offers.select_nth_unstable_by(place, |a, b| b.cmp(a));
            let granted = *granted;
            least = Some(least.map_or(granted, |least| least.min(granted)));
        }
        least
    }

    pub(super) fn needed(&self, set: &VoterSet) -> usize {
        if self.mutation.is(Mutant::MajorityOfHalf) { (set.nodes.len() / 2).max(1) } else { set.majority() }
    }

    /// Whether a majority of each set's voters agrees.
    pub(super) fn majority_of(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.voters
            .each()
            .all(|set| set.nodes.iter().filter(|node| agrees(**node)).count() >= self.needed(set))
    }

    /// Whether these, in the order of nodes, are with `one` a majority of each set's voters.
    pub(super) fn majority_among(&self, nodes: impl Iterator<Item = NodeId> + Clone, one: NodeId) -> bool {
        self.voters.each().all(|set| {
            let needed = self.needed(set) - usize::from(set.nodes.contains(&one));
            let mut voters = set.nodes.iter().copied().peekable();
            let votes = |node: &NodeId| {
                while voters.next_if(|voter| voter < node).is_some() {}
                voters.next_if_eq(node).is_some()
            };
            needed == 0 || nodes.clone().filter(votes).nth(needed - 1).is_some()
        })
    }

    /// Whether a majority of the voters is up here, this node included.
    pub(super) fn majority_up(&self) -> bool {
        self.majority_of(|node| node == self.me || self.peers.get(&node).is_some_and(super::Peer::up))
    }

    /// Whether a voter's grants count here: it counts majorities of a set that this node counts, too.
    pub(super) fn counts_like_us(&self, theirs: VoterDigests) -> bool {
        let ours = self.voter_digests;
        [theirs.now, theirs.before]
            .iter()
            .any(|digest| *digest != 0 && (*digest == ours.now || *digest == ours.before))
    }

    /// The other one, where the voters are a pair and not about to change.
    pub(super) fn other_of_pair(&self) -> Option<NodeId> {
        let set = &self.voters.now;
        if self.voters.before.is_some() || set.nodes.len() != 2 || !set.nodes.contains(&self.me) {
            return None;
        }
        set.nodes.iter().copied().find(|node| *node != self.me)
    }

    /// Counts these voters from now on, where that is safe.
    pub(super) fn change_voters(&mut self, wanted: VoterSets, fx: &mut Effects) {
        if wanted == self.voters {
            return;
        }
        if wanted.may_follow(&self.voters) || self.mutation.is(Mutant::VotersChangedInOneStep) {
            self.count(wanted, fx);
        } else if !wanted.is_second_step_after(&self.voters) {
            self.tell(fx, Event::VotersKept { because: VotersRefused::TwoSteps });
        } else if let Err(because) = self.shown_by_all() {
            self.tell(fx, Event::VotersKept { because });
        }
    }

    fn count(&mut self, wanted: VoterSets, fx: &mut Effects) {
        self.voters = wanted;
        self.voter_digests = self.voters.digests();
        self.forget_votes();
        self.first_step_shown = None;
        self.changed = true;
        self.store(fx);
        self.meet_nodes();
    }

    /// The second step is taken when every member of both sets has shown the first for as long as the longest lease: one
    /// that was won by the old set alone, just before its holder took the first step, has run out by then.
    pub(super) fn admit_second_step(&mut self, fx: &mut Effects) {
        if self.voters.before.is_none() || self.shown_by_all().is_err() {
            self.first_step_shown = None;
            return;
        }
        let since = *self.first_step_shown.get_or_insert(self.now);
        let wanted = VoterSets::of(&self.config);
        if !wanted.is_second_step_after(&self.voters) {
            return;
        }
        let left = self.longest_lease_known() - self.now.at_least_since(since);
        if left == Span::ZERO || self.mutation.is(Mutant::SecondStepTooSoon) {
            self.count(wanted, fx);
        } else {
            self.wake_in(left);
        }
    }

    /// The longest lease that anybody may rest on, as far as this node knows.
    fn longest_lease_known(&self) -> Span {
        let claimed =
            self.peers.values().filter_map(|peer| peer.beat()).flat_map(|beat| beat.claims.values());
        claimed.map(|claim| claim.lease).max().unwrap_or_default().max(self.stored.largest_lease)
    }

    /// Every member of both sets counts both sets, or has gone on to the new one.
    fn shown_by_all(&self) -> Result<(), VotersRefused> {
        let ours = self.voter_digests;
        let agrees = |theirs: VoterDigests| theirs == ours || theirs == VoterDigests { before: 0, ..ours };
        let shows = |node: &NodeId| {
            let beat = self.peers.get(node).and_then(|peer| peer.live_beat());
            *node == self.me || self.fencing.is_off(*node) || beat.is_some_and(|beat| agrees(beat.voters))
        };
        match self.voters.all().iter().find(|node| !shows(node)) {
            None => Ok(()),
            Some(node) => Err(VotersRefused::NotShownBy(*node)),
        }
    }
}
