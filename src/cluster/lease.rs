//! Whether this node's own leases are won, renewed or lost.
//!
//! A lease runs from the *sending* of the newest of our beats that a majority's grants name, and it ends before any of
//! those grants does, by a margin for each thing that can make two clocks disagree. Late grants do not revive it (9).

use crate::beat::Beat;
use crate::config::Promise;
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, NodeId, Sequence};

use super::groups::{Raised, State};
use super::speak::Spoken;
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
            self.count_if_unknown(group);
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
    pub(super) fn renew_by(&mut self, sender: NodeId, fx: &mut Effects) -> bool {
        let Some(peer) = self.peers.get_mut(&sender) else { return true };
        let granted = std::mem::take(&mut peer.grants_us);
        let to_decide = granted.iter().any(|group| !self.renew_one(*group, fx));
        if let Some(peer) = self.peers.get_mut(&sender) {
            peer.grants_us = granted;
        }
        to_decide
    }

    /// Renews a lease that is held here; whether it is.
    fn renew_one(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some(tenure) = self.groups.get(&group).filter(|tenure| tenure.holds()) else { return false };
        let Some((epoch, _)) = tenure.claim() else { return false };
        let backing = self.backing(group, epoch);
        self.renew(group, backing, fx);
        true
    }

    fn win(&mut self, group: GroupId, epoch: Epoch, since: Moment, backing: Backing, fx: &mut Effects) {
        let raised = Raised { at: self.now, length: backing.left };
        self.note_end(raised);
        self.set_state(group, State::Waiting { epoch, since: self.now, clear: None });
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
            self.first_end = raised.no_later_than(self.first_end);
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
        if now.boot < self.first_end.boot && now.raw < self.first_end.raw {
            return;
        }
        let raised = |group: &GroupId| {
            let tenure = self.groups.get(group).filter(|tenure| tenure.holds())?;
            Some((*group, tenure.raised?))
        };
        let (lapsed, runs): (Vec<_>, Vec<_>) =
            self.claimed.keys().filter_map(raised).partition(|(_, raised)| raised.left(now) == Span::ZERO);
        self.first_end = super::NEVER;
        runs.into_iter().for_each(|(_, raised)| self.note_end(raised));
        for (group, _) in lapsed {
            self.lose(group, because, fx);
        }
    }

    /// A lease is known to run out then.
    pub(super) fn note_end(&mut self, raised: Raised) {
        self.first_end = raised.no_later_than(self.first_end);
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
        let by_majority = self.left_by_majority(group, epoch, own);
        debug_assert_eq!(by_majority, self.left_by_each(group, epoch, own), "counted wrongly");
        let by_majority = by_majority.map(|left| Backing { left, by: Votes::Majority });
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

    /// Whether the votes for this claim name beats from after that moment.
    pub(super) fn backed_since(&self, group: GroupId, epoch: Epoch, moment: Moment) -> bool {
        let own = self.own_vote(group, epoch);
        let vote = |node| if node == self.me { own } else { self.vote_of(node, group, epoch) };
        let since = |node| vote(node).filter(|vote| vote.at >= moment).and_then(|vote| self.left(vote));
        self.by_majority(since).is_some() || self.stand_in(group).is_some_and(|(at, _)| at >= moment)
    }

    /// A holder counts by the clock on which more time has passed.
    pub(super) fn left(&self, vote: Vote) -> Option<Span> {
        let usable = if self.mutation.is(Mutant::NoMargin) { vote.lease } else { usable(vote.lease) };
        let left = usable - self.now.at_most_since(vote.at);
        (left > Span::ZERO).then_some(left)
    }

    /// This node's own vote is a grant like any other (8).
    fn own_vote(&self, group: GroupId, epoch: Epoch) -> Option<Vote> {
        if self.mutation.is(Mutant::ClaimantCountsItselfAlways) {
            return self.voice.newest().map(|(_, spoken)| Vote::by(spoken));
        }
        let grant = self.voter.granted(group)?;
        let mine = grant.holder == self.me && grant.incarnation == self.incarnation && grant.epoch == epoch;
        self.voice.sent(grant.sequence).filter(|_| mine).map(Vote::by)
    }

    /// What another voter's newest beat shows for this claim: our beat that it last renewed by.
    fn vote_of(&self, node: NodeId, group: GroupId, epoch: Epoch) -> Option<Vote> {
        let peer = self.peers.get(&node)?;
        let vote = Vote::by(self.voice.sent(self.named_by(peer.beat()?, group, epoch)?)?);
        let at = if self.mutation.is(Mutant::LeaseCountedFromReceipt) { peer.received() } else { vote.at };
        Some(Vote { at, ..vote })
    }

    /// The beat of ours that another voter's beat names for this claim.
    pub(super) fn named_by(&self, beat: &Beat, group: GroupId, epoch: Epoch) -> Option<Sequence> {
        if !self.counts_like_us(beat.voters) {
            return None;
        }
        if self.mutation.is(Mutant::HeardTakenAsGrant) {
            let heard = beat.heard.get(&self.me).filter(|heard| heard.incarnation == self.incarnation)?;
            return Some(heard.sequence);
        }
        let grant = beat.grants.get(&group)?;
        let any_epoch = self.mutation.is(Mutant::ClaimWithoutNewEpoch);
        let mine = grant.holder == self.me && grant.incarnation == self.incarnation;
        (mine && (grant.epoch == epoch || any_epoch)).then_some(grant.sequence)
    }

    /// The same as by the tally, asked of each voter.
    pub(super) fn left_by_each(&self, group: GroupId, epoch: Epoch, own: Option<Vote>) -> Option<Span> {
        let vote = |node| if node == self.me { own } else { self.vote_of(node, group, epoch) };
        self.by_majority(|node| vote(node).and_then(|vote| self.left(vote)))
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
pub(super) struct Vote {
    /// When that beat was sent.
    at: Moment,
    /// The lease that it asked for.
    lease: Span,
}

impl Vote {
    pub(super) fn by(spoken: Spoken) -> Self {
        Self { at: spoken.at, lease: spoken.lease }
    }
}
