//! What this node grants as a voter, and for how long.
//!
//! A grant is a promise: until the lease's length after *receipt* of the beat that last renewed it, nobody else gets this
//! group's vote from here. It is written down before it is shown. One holder at a time; the own claim is a claim like any
//! other (rule 8). A voter that has lost its memory holds off for the longest lease it ever granted (rule 10).

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::{Beat, Claim, Grant, Phase};
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, Incarnation, NodeId, Sequence};

use super::{Core, Effects, Memory, Mutant, RememberedGrant};

/// No lease is granted for longer: a mistaken or hostile claim must not bind a voter for ever.
const LONGEST_LEASE: Span = Span::seconds(3_600);

/// A grant of the own claim is renewed by the beat that shows it; until that is sent it counts for nothing.
const NOT_SENT: Sequence = Sequence(0);

/// This node as a voter.
#[derive(Clone, Debug)]
pub(super) struct Voter {
    pub(super) given: BTreeMap<GroupId, Given>,
    pub(super) hold_off: Option<HoldOff>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HoldOff {
    pub(super) since: Moment,
    pub(super) length: Span,
}

/// A grant as given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) grant: Grant,
    pub(super) lease: Span,
    /// Receipt of the beat that last renewed it.
    pub(super) renewed: Moment,
    /// Whom the holder said it would hand over to.
    pub(super) heir: Option<NodeId>,
}

/// A claim that waits for a grant.
struct Applicant {
    node: NodeId,
    incarnation: Incarnation,
    claim: Claim,
    /// The beat that shows the claim, and when it came.
    sequence: Sequence,
    received: Moment,
}

impl Voter {
    pub(super) fn new(
        me: NodeId,
        life: Incarnation,
        now: Moment,
        memory: Option<&Memory>,
        largest_lease: Span,
    ) -> Self {
        let hold_off = HoldOff { since: now, length: largest_lease };
        let Some(memory) = memory else {
            return Self { given: BTreeMap::new(), hold_off: Some(hold_off) };
        };
        let given = memory.grants.iter().map(|(group, old)| {
            let RememberedGrant { holder, incarnation, epoch, sequence, lease } = *old;
            // What this node granted itself, it grants the life that goes on from there.
            let incarnation = if holder == me { life } else { incarnation };
            let grant = Grant { holder, incarnation, epoch, sequence };
            (*group, Given { grant, lease, renewed: now, heir: None })
        });
        Self { given: given.collect(), hold_off: memory.hold_off.then_some(hold_off) }
    }

    pub(super) fn holds_off(&self) -> bool {
        self.hold_off.is_some()
    }

    /// What a beat shows, in the order of the groups.
    pub(super) fn shown(&self) -> impl Iterator<Item = (GroupId, Grant)> {
        self.given.iter().map(|(group, given)| (*group, given.grant))
    }

    pub(super) fn granted(&self, group: GroupId) -> Option<Grant> {
        self.given.get(&group).map(|given| given.grant)
    }

    pub(super) fn remembered(&self) -> BTreeMap<GroupId, RememberedGrant> {
        let remember = |given: &Given| {
            let Grant { holder, incarnation, epoch, .. } = given.grant;
            RememberedGrant { holder, incarnation, epoch, sequence: NOT_SENT, lease: given.lease }
        };
        self.given.iter().map(|(group, given)| (*group, remember(given))).collect()
    }

    /// The own beat with this number shows the own claims.
    pub(super) fn renew_own(
        &mut self,
        me: NodeId,
        life: Incarnation,
        sequence: Sequence,
        lease: Span,
        now: Moment,
    ) {
        for given in self
            .given
            .values_mut()
            .filter(|given| given.grant.holder == me && given.grant.incarnation == life)
        {
            given.grant.sequence = sequence;
            given.extend(lease, now);
        }
    }
}

impl Given {
    /// A word may be lengthened and never shortened: its holder may rest on an earlier beat, which asked for more.
    fn extend(&mut self, lease: Span, now: Moment) {
        if lease >= self.lease - now.at_least_since(self.renewed) {
            self.lease = lease;
            self.renewed = now;
        }
    }
}

impl Core {
    /// A proven beat renews what was granted to its sender, or gives it back. What was granted was claimed in the beat
    /// before, if there was one.
    pub(super) fn hear_claims(&mut self, before: Option<&Beat>, beat: &Beat) {
        let renews = self.peers.get(&beat.sender).is_some_and(super::Peer::up)
            || self.mutation.is(Mutant::RenewalForDeafPeer);
        match before {
            Some(before) => before.claims.keys().for_each(|group| self.hear_claim(*group, beat, renews)),
            None => {
                let given = self.voter.given.iter().filter(|(_, given)| given.grant.holder == beat.sender);
                let groups: Vec<GroupId> = given.map(|(group, _)| *group).collect();
                groups.into_iter().for_each(|group| self.hear_claim(group, beat, renews));
            }
        }
    }

    fn hear_claim(&mut self, group: GroupId, beat: &Beat, renews: bool) {
        let Self { voter, groups, .. } = self;
        let Some(given) = voter.given.get_mut(&group).filter(|given| given.grant.holder == beat.sender)
        else {
            return;
        };
        let Some(claim) = beat.claims.get(&group) else {
            if let Some(tenure) = groups.get_mut(&group) {
                tenure.last_heir = given.heir;
            }
            voter.given.remove(&group);
            self.touched = true;
            self.changed = true;
            return;
        };
        given.heir = beat.facts.handover.get(&group).copied();
        let older = (beat.incarnation, claim.epoch) < (given.grant.incarnation, given.grant.epoch);
        if older || !renews || claim.lease > LONGEST_LEASE {
            return;
        }
        let own_length_counts = self.mutation.is(Mutant::VoterUsesOwnLease);
        let lease = if own_length_counts { self.config.timing.deadtime } else { claim.lease };
        let (before, lasted) = (given.grant, given.lease);
        let (epoch, sequence) = (claim.epoch, beat.sequence);
        given.grant = Grant { holder: beat.sender, incarnation: beat.incarnation, epoch, sequence };
        if self.mutation.is(Mutant::WordShortened) {
            given.lease = lease;
            given.renewed = self.now;
        }
        given.extend(lease, self.now);
        if !given.grant.repeats(&before) || given.lease != lasted {
            self.touched = true;
            self.changed = true;
            self.pace.rests = None;
        }
    }

    /// Grants end by themselves.
    pub(super) fn run_out_grants(&mut self) {
        let now = self.now;
        let mut wake = Span(u64::MAX);
        let before = self.voter.given.len();
        self.voter.given.retain(|_, given| {
            let left = given.lease - now.at_least_since(given.renewed);
            if left > Span::ZERO {
                wake = wake.min(left);
            }
            left > Span::ZERO
        });
        if let Some(hold_off) = self.voter.hold_off {
            let left = hold_off.length - now.at_least_since(hold_off.since);
            if left == Span::ZERO || self.mutation.is(Mutant::NoHoldOff) {
                self.voter.hold_off = None;
                self.changed = true;
                self.touched = true;
            } else {
                wake = wake.min(left);
            }
        }
        self.wake_in(wake);
        if self.voter.given.len() != before {
            self.changed = true;
            self.touched = true;
        }
    }

    /// The own grant of a group that this node gives up: others may have it at once.
    pub(super) fn take_back_own_grant(&mut self, group: GroupId) {
        if self.voter.given.get(&group).is_some_and(|given| given.grant.holder == self.me) {
            self.voter.given.remove(&group);
            self.changed = true;
            self.touched = true;
        }
    }

    /// Gives what is free to who ranks first among those that claim it.
    pub(super) fn give_grants(&mut self, fx: &mut Effects) {
        let mut wanted: BTreeMap<GroupId, Vec<Applicant>> = BTreeMap::new();
        for (group, claim) in self.claims().filter(|(_, claim)| claim.phase != Phase::Stopping) {
            let own = Applicant {
                node: self.me,
                incarnation: self.incarnation,
                claim,
                sequence: NOT_SENT,
                received: self.now,
            };
            wanted.entry(group).or_default().push(own);
        }
        for (node, peer) in &self.peers {
            let Some(beat) = peer.live_beat().filter(|beat| self.counts_like_us(beat.voters)) else {
                continue;
            };
            let taken = |group: &GroupId| {
                let two = self.mutation.is(Mutant::TwoGrantsAtATime);
                self.voter.given.get(group).is_some_and(|given| given.grant.holder != self.me) && !two
            };
            for (group, claim) in beat.claims.iter().filter(|(group, _)| !taken(group)) {
                wanted.entry(*group).or_default().push(Applicant {
                    node: *node,
                    incarnation: beat.incarnation,
                    claim: *claim,
                    sequence: beat.sequence,
                    received: peer.received(),
                });
            }
        }
        let unclear = if self.voter.holds_off() { self.unclear() } else { None };
        for (group, applicants) in wanted {
            self.give_grant(group, applicants, unclear.as_ref(), fx);
        }
    }

    fn give_grant(
        &mut self,
        group: GroupId,
        applicants: Vec<Applicant>,
        unclear: Option<&BTreeSet<GroupId>>,
        fx: &mut Effects,
    ) {
        let heir = match self.voter.given.get(&group) {
            Some(given)
                if given.grant.holder == self.me && self.own_claim_is_newer(group, given.grant.epoch) =>
            {
                given.heir
            }
            // A beat of the holder's own renews; nobody else gets it before it ends.
            Some(_) if self.mutation.is(Mutant::TwoGrantsAtATime) => None,
            Some(_) => return,
            None => self.groups.get(&group).and_then(|tenure| tenure.last_heir),
        };
        let now = self.now;
        let may = |applicant: &Applicant| {
            let fresh = now.at_least_since(applicant.received) < applicant.claim.lease;
            fresh && applicant.claim.lease <= LONGEST_LEASE && self.may_grant(group, applicant.node, unclear)
        };
        let rank = |applicant: &Applicant| {
            // What is held already, here without our vote, is not torn away; then whom the last holder named.
            (
                !applicant.claim.phase.occupies(),
                heir != Some(applicant.node),
                self.rank(group, applicant.node),
            )
        };
        let Some(best) = applicants.into_iter().filter(may).min_by_key(rank) else { return };
        let own_length = self.mutation.is(Mutant::VoterUsesOwnLease);
        let lease = if own_length { self.lease_length() } else { best.claim.lease };
        let (holder, incarnation) = (best.node, best.incarnation);
        let grant = Grant { holder, incarnation, epoch: best.claim.epoch, sequence: best.sequence };
        if self.voter.given.get(&group).is_some_and(|given| given.grant == grant) {
            return;
        }
        self.voter.given.insert(group, Given { grant, lease, renewed: best.received, heir: None });
        self.changed = true;
        self.touched = true;
        if lease > self.stored.largest_lease {
            self.store(fx);
        }
    }

    fn own_claim_is_newer(&self, group: GroupId, epoch: Epoch) -> bool {
        self.groups.get(&group).and_then(|tenure| tenure.claim()).is_some_and(|(claimed, _)| claimed > epoch)
    }

    /// While it holds off, a voter grants only what everybody who could own it has shown not to hold, in a beat that hears
    /// this life of ours: so nobody can still rest on a grant of the life before (rule 10).
    fn may_grant(&self, group: GroupId, applicant: NodeId, unclear: Option<&BTreeSet<GroupId>>) -> bool {
        if !self.voter.holds_off() {
            return true;
        }
        let own_is_clear =
            applicant == self.me || self.groups.get(&group).is_none_or(|tenure| tenure.claim().is_none());
        own_is_clear && unclear.is_some_and(|unclear| !unclear.contains(&group))
    }

    /// The groups that anybody else who could own them has not shown to let go of; `None`: somebody has shown nothing.
    fn unclear(&self) -> Option<BTreeSet<GroupId>> {
        let others = self.config.nodes.iter().filter(|(_, node)| !node.arbiter).map(|(node, _)| node);
        let strangers = self.voters.members().filter(|node| !self.config.nodes.contains_key(node));
        let mut unclear = BTreeSet::new();
        for node in others.chain(strangers).filter(|node| **node != self.me) {
            unclear.extend(self.peers.get(node)?.always_claimed.as_ref()?);
        }
        Some(unclear)
    }

    /// The longest lease that stands granted.
    pub(super) fn longest_granted(&self) -> Span {
        if self.mutation.is(Mutant::HoldOffForgetsLongerLeases) {
            return Span::ZERO;
        }
        self.voter.given.values().map(|given| given.lease).max().unwrap_or_default()
    }
}
