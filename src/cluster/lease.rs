//! Whether this node's own leases are won, renewed or lost.
//!
//! A lease runs from the *sending* of the newest of our beats that a majority's grants name, and it ends before any of
//! those grants does, by a margin for each thing that can make two clocks disagree. Late grants do not revive it (9).

use crate::beat::Beat;
use crate::config::Promise;
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, NodeId};

use super::groups::{Raised, State, Tenure};
use super::{Core, Effect, Effects, Event, LossReason, Mutant, Reason, Votes};

/// A kernel tick at HZ 250.
pub const KERNEL_TICK: Span = Span::millis(4);

/// How far two clocks may drift apart while a lease of this length runs; and, once more, by how much the kernel may be
/// late to end it (its tick, and a slow commit).
pub fn margin(lease: Span) -> Span {
    (lease / 100).max(KERNEL_TICK * 2)
}

/// How long a holder rests on a lease: sooner than its voters by a margin for the clocks and one for the kernel.
fn usable(lease: Span) -> Span {
    lease - margin(lease) * 2
}

/// What stands behind a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backing {
    left: Span,
    by: Votes,
}

impl Core {
    /// Wins what is claimed, renews what is held, and gives up what has run out.
    pub(super) fn count_votes(&mut self, fx: &mut Effects) {
        let claims: Vec<(GroupId, Epoch)> =
            self.claims().map(|(group, claim)| (group, claim.epoch)).collect();
        for (group, epoch) in claims {
            let backing = self.backing(group, epoch);
            let Some(tenure) = self.groups.get(&group) else { continue };
            match tenure.state {
                State::Claiming { since, .. } => match backing {
                    Some(backing) => self.win(group, epoch, since, backing, fx),
                    None if self.mutation.is(Mutant::StartsBeforeWon) => {
                        self.set_state(group, State::Starting { epoch, since: self.now });
                    }
                    None => {}
                },
                State::Waiting { .. } | State::Starting { .. } | State::Held { .. } => {
                    self.renew(group, backing, fx)
                }
                State::Stopping { .. } | State::Blocked { .. } if tenure.raised.is_some() => {
                    self.renew(group, backing, fx)
                }
                State::Stopping { .. } | State::Blocked { .. } | State::Idle => {}
            }
        }
    }

    /// A beat that says nothing new renews what is held; whether anything is left to decide.
    pub(super) fn renew_by(&mut self, beat: &Beat, fx: &mut Effects) -> bool {
        let me = self.me;
        for (group, _) in beat.grants.iter().filter(|(_, grant)| grant.holder == me) {
            let Some(tenure) = self.groups.get(group).filter(|tenure| tenure.holds()) else { return true };
            let Some((epoch, _)) = tenure.claim() else { return true };
            let backing = self.backing(*group, epoch);
            self.renew(*group, backing, fx);
        }
        false
    }

    fn win(&mut self, group: GroupId, epoch: Epoch, since: Moment, backing: Backing, fx: &mut Effects) {
        let raised = Raised { at: self.now, length: backing.left };
        self.set_state(group, State::Waiting { epoch, since: self.now });
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.raised = Some(raised);
            tenure.won_at = self.now;
            tenure.met = None;
            tenure.by_evidence = matches!(backing.by, Votes::Evidence | Votes::Fence);
        }
        // A daemon that is started again must know that something may run here.
        if !self.mutation.is(Mutant::ElementBeforeMemory) {
            self.remember(fx);
        }
        fx.push(Effect::RaiseLease { group, until: raised.until() });
        self.wake_in(backing.left);
        self.tell(fx, Event::Won { group, epoch, by: backing.by, after: self.now.since(since) });
        match self.exclusive_wait_left(group, self.now) {
            Some(Span::ZERO) => {}
            wait => self.tell(fx, Event::WaitsForOther { group, wait: wait.unwrap_or(Span(u64::MAX)) }),
        }
    }

    /// The element in the kernel is renewed in steps, not with every vote: a tenth of a lease is often enough.
    fn renew(&mut self, group: GroupId, backing: Option<Backing>, fx: &mut Effects) {
        let step = self.config.timing.keepalive.min(self.lease_length() / 10) / 2;
        let now = self.now;
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        let Some(old) = tenure.raised else { return };
        let wanted = backing.map(|backing| Raised { at: now, length: backing.left });
        let mut left = old.left(now);
        if let Some(raised) = wanted.filter(|raised| raised.length > left + step) {
            let revived = left == Span::ZERO;
            tenure.raised = Some(raised);
            left = raised.length;
            let until = raised.until();
            // An element that ran out stands again only by a deliberate mistake.
            fx.push(if revived {
                Effect::RaiseLease { group, until }
            } else {
                Effect::RenewLease { group, until }
            });
        }
        self.wake_in(left);
    }

    /// What has run out is lost, before anything else is decided.
    pub(super) fn drop_lapsed_leases(&mut self, because: LossReason, fx: &mut Effects) {
        let now = self.now;
        if self.mutation.is(Mutant::LateGrantRevivesLease) {
            return;
        }
        let ran_out = |tenure: &Tenure| {
            tenure.holds() && tenure.raised.is_some_and(|raised| raised.left(now) == Span::ZERO)
        };
        let lapsed: Vec<GroupId> =
            self.groups.iter().filter(|(_, tenure)| ran_out(tenure)).map(|(group, _)| *group).collect();
        for group in lapsed {
            self.lose(group, because, fx);
        }
    }

    /// How long the lease of this claim runs on, and by whose votes.
    fn backing(&self, group: GroupId, epoch: Epoch) -> Option<Backing> {
        let promise = self.groups.get(&group)?.group.promise;
        let own = self.own_vote(group, epoch);
        let holds = self.groups.get(&group)?.holds();
        // Whom the configuration does not name any more keeps nothing by himself.
        let member = self.config.nodes.contains_key(&self.me);
        if promise == Promise::AtLeastOne && member && (holds || !self.majority_up()) {
            return self.left(own?).map(|left| Backing { left, by: Votes::OwnAlone });
        }
        let offer = |node: NodeId| if node == self.me { own } else { self.vote_of(node, group, epoch) };
        let offered = |node: NodeId| offer(node).and_then(|vote| self.left(vote));
        let by_majority = self.by_majority(offered).map(|left| Backing { left, by: Votes::Majority });
        let stand_in = self.stand_in(group).and_then(|(at, by)| {
            let lease = self.lease_length();
            let left = self.left(Vote { at, lease })?.min(self.left(own?)?);
            Some(Backing { left, by })
        });
        match (by_majority, stand_in) {
            (Some(votes), Some(alone)) => Some(if alone.left > votes.left { alone } else { votes }),
            (votes, alone) => votes.or(alone),
        }
    }

    /// A holder counts by the clock on which more time has passed.
    fn left(&self, vote: Vote) -> Option<Span> {
        let usable = if self.mutation.is(Mutant::NoMargin) { vote.lease } else { usable(vote.lease) };
        let left = usable - self.now.at_most_since(vote.at);
        (left > Span::ZERO).then_some(left)
    }

    /// This node's own vote is a grant like any other (8).
    fn own_vote(&self, group: GroupId, epoch: Epoch) -> Option<Vote> {
        if self.mutation.is(Mutant::ClaimantCountsItselfAlways) {
            return self.voice.newest().map(|(_, spoken)| Vote { at: spoken.at, lease: spoken.lease });
        }
        let grant = self.voter.granted(group)?;
        let mine = grant.holder == self.me && grant.incarnation == self.incarnation && grant.epoch == epoch;
        self.voice
            .sent(grant.sequence)
            .filter(|_| mine)
            .map(|spoken| Vote { at: spoken.at, lease: spoken.lease })
    }

    /// What another voter's newest beat shows for this claim: our beat that it last renewed by.
    fn vote_of(&self, node: NodeId, group: GroupId, epoch: Epoch) -> Option<Vote> {
        let peer = self.peers.get(&node)?;
        let beat = peer.beat().filter(|beat| self.counts_like_us(beat.voters))?;
        let named = if self.mutation.is(Mutant::HeardTakenAsGrant) {
            beat.heard.get(&self.me).filter(|heard| heard.incarnation == self.incarnation)?.sequence
        } else {
            let grant = beat.grants.get(&group)?;
            let any_epoch = self.mutation.is(Mutant::ClaimWithoutNewEpoch);
            let mine = grant.holder == self.me && grant.incarnation == self.incarnation;
            (mine && (grant.epoch == epoch || any_epoch)).then_some(grant.sequence)?
        };
        let spoken = self.voice.sent(named)?;
        let at = if self.mutation.is(Mutant::LeaseCountedFromReceipt) { peer.received() } else { spoken.at };
        Some(Vote { at, lease: spoken.lease })
    }

    /// For how long the other of a pair has not renewed a lease that is held here.
    pub(super) fn unrenewed_for(&self, other: NodeId, group: GroupId) -> Option<Span> {
        let (epoch, _) = self.groups.get(&group)?.claim()?;
        let renewed = self.vote_of(other, group, epoch).map(|vote| self.now.since(vote.at));
        Some(renewed.unwrap_or(Span(u64::MAX)))
    }

    /// Begins to claim a group.
    pub(super) fn claim_group(&mut self, group: GroupId, because: Reason, fx: &mut Effects) {
        let reuse = self.mutation.is(Mutant::ClaimWithoutNewEpoch);
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        let epoch = if reuse { Epoch(1) } else { Epoch(tenure.epoch_seen.0 + 1) };
        tenure.epoch_seen = epoch;
        tenure.back_off = None;
        tenure.by_evidence = false;
        tenure.shown_since = None;
        let regardless = because == Reason::NobodyElse;
        self.set_state(group, State::Claiming { epoch, since: self.now, regardless, outranked: None });
        self.tell(fx, Event::Claimed { group, epoch, because });
    }
}

/// A vote, by the beat of ours that it names.
#[derive(Clone, Copy, Debug)]
struct Vote {
    /// When that beat was sent.
    at: Moment,
    /// The lease that it asked for.
    lease: Span,
}
