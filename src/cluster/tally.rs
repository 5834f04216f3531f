//! How many voters name which of our beats, for each claim of ours: what a majority is made of.
//!
//! Worked out from the voters' newest beats, and kept beside them because every beat of every voter renews something:
//! what its next beat names takes the place of what the one before named. The own vote is asked for, never kept.

use crate::beat::Beat;
use crate::time::Span;
use crate::types::{Epoch, GroupId, NodeId, Sequence};

use super::lease::Vote;
use super::{Core, Mutant};

/// The votes of others for one claim.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) epoch: Epoch,
    /// How many name which beat; `None`: not counted yet.
    votes: Option<Vec<(Sequence, usize)>>,
}

impl Tally {
    /// Of a claim that nobody can have heard of.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, votes: None }
    }

    fn replace(&mut self, before: Option<Sequence>, after: Option<Sequence>) {
        let Some(votes) = self.votes.as_mut().filter(|_| before != after) else { return };
        if let Some(place) = votes.iter().position(|(sequence, _)| Some(*sequence) == before) {
            votes[place].1 -= 1;
            if votes[place].1 == 0 {
                votes.swap_remove(place);
            }
        }
        let Some(named) = after else { return };
        match votes.iter_mut().find(|(sequence, _)| *sequence == named) {
            Some((_, count)) => *count += 1,
            None => votes.push((named, 1)),
        }
    }
}

impl Core {
    /// Votes are counted one by one where each is worth something else, or where they are counted twice.
    fn counts_singly(&self) -> bool {
        self.voters.before.is_some() || self.mutation.is(Mutant::LeaseCountedFromReceipt)
    }

    /// A voter's newest beat takes the place of the one before.
    pub(super) fn recount(&mut self, voter: NodeId, before: Option<&Beat>, after: Option<&Beat>) {
        let mut claimed = std::mem::take(&mut self.claimed);
        for (group, tally) in claimed.iter_mut().filter(|(_, tally)| tally.votes.is_some()) {
            let named = |beat: Option<&Beat>| beat.and_then(|beat| self.named_by(beat, *group, tally.epoch));
            let (before, after) = (named(before), named(after));
            if self.voters.now.nodes.contains(&voter) {
                tally.replace(before, after);
            }
        }
        self.claimed = claimed;
    }

    /// Other voters count, or others are known: everything is counted anew when it is asked for.
    pub(super) fn forget_votes(&mut self) {
        self.claimed.values_mut().for_each(|tally| tally.votes = None);
    }

    /// Counts the votes for a claim, if that was not done yet.
    pub(super) fn count_if_unknown(&mut self, group: GroupId) {
        let uncounted = |tally: &&Tally| tally.votes.is_none();
        let Some(epoch) = self.claimed.get(&group).filter(uncounted).map(|tally| tally.epoch) else { return };
        let votes = self.votes_of_all(group, epoch);
        if let Some(tally) = self.claimed.get_mut(&group) {
            tally.votes = Some(votes);
        }
    }

    fn votes_of_all(&self, group: GroupId, epoch: Epoch) -> Vec<(Sequence, usize)> {
        let mut tally = Tally { epoch, votes: Some(Vec::new()) };
        for (node, peer) in self.peers.iter().filter(|(node, _)| self.voters.now.nodes.contains(node)) {
            debug_assert!(*node != self.me, "the own vote is not kept");
            tally.replace(None, peer.beat().and_then(|beat| self.named_by(beat, group, epoch)));
        }
        tally.votes.unwrap_or_default()
    }

    /// How long a majority's votes for this claim carry a lease on, the own included.
    pub(super) fn left_by_majority(&self, group: GroupId, epoch: Epoch, own: Option<Vote>) -> Option<Span> {
        let tally = self.claimed.get(&group).filter(|tally| tally.epoch == epoch);
        let Some(votes) = tally.and_then(|tally| tally.votes.as_deref()).filter(|_| !self.counts_singly())
        else {
            return self.left_by_each(group, epoch, own);
        };
        let own = own.filter(|_| self.voters.now.nodes.contains(&self.me)).and_then(|vote| self.left(vote));
        let left = |named: Sequence| self.voice.sent(named).and_then(|spoken| self.left(Vote::by(spoken)));
        let needed = self.needed(&self.voters.now);
        if let (&[(named, count)], Some(own)) = (votes, own)
            && count < needed
        {
            // As in every healthy pair: only together are they a majority.
            return (count + 1 >= needed).then(|| left(named)).flatten().map(|left| left.min(own));
        }
        let others = || votes.iter().filter_map(|(named, count)| Some((left(*named)?, *count)));
        let offers = || others().chain(own.map(|left| (left, 1)));
        let enough = |least: &Span| {
            offers().filter(|(left, _)| left >= least).map(|(_, count)| count).sum::<usize>() >= needed
        };
        offers().map(|(left, _)| left).filter(enough).max()
    }

    /// Whether every claim of ours is known, with its votes as they would be counted now.
    pub(super) fn tallies_are_right(&self) -> bool {
        let sorted = |mut votes: Vec<(Sequence, usize)>| {
            votes.sort_unstable();
            votes
        };
        let right = |(group, tally): (&GroupId, &Tally)| {
            let fresh = sorted(self.votes_of_all(*group, tally.epoch));
            tally.votes.as_ref().is_none_or(|votes| sorted(votes.clone()) == fresh)
        };
        let claims = self.groups.iter().filter_map(|(group, tenure)| Some((*group, tenure.claim()?.0)));
        claims.eq(self.claimed.iter().map(|(group, tally)| (*group, tally.epoch)))
            && self.claimed.iter().all(right)
    }
}
