//! When to claim, to yield, to withdraw and to hand over: how nodes with a plan come to own what it says, without ever
//! standing still because two plans differ (rule 18).

use crate::beat::{Beat, Phase};
use crate::config::{Promise, TiebreakMethod};
use crate::time::Span;
use crate::types::{GroupId, NodeId, Sequence};

use super::groups::State;
use super::{Core, Effect, Effects, Event, LossReason, Mutant, Reason, StopReason, WithdrawReason};

/// So many keepalives a claim that ranks behind another's is kept up.
const PATIENCE: u64 = 3;

/// So many leases a claim may wait to be won.
const LEASES_TO_WIN: u64 = 2;

impl Core {
    /// Every group: claim it, keep it, give it away, or leave it alone.
    pub(super) fn decide_claims(&mut self, fx: &mut Effects) {
        if !self.ready {
            return;
        }
        let greets_first = self.greets_first();
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            self.note_quiet(group);
            let Some(tenure) = self.groups.get(&group) else { continue };
            match tenure.state {
                State::Idle if greets_first => {}
                State::Idle => self.claim_if_wanted(group, fx),
                State::Claiming { .. } => self.keep_claiming(group, fx),
                State::Waiting { .. } | State::Starting { .. } | State::Held { .. } => {
                    self.keep_or_give(group, fx)
                }
                State::Stopping { .. } | State::Blocked { .. } => {}
            }
        }
    }

    /// A voter that holds off grants at once what it has been shown, in a beat that hears it, not to be claimed (rule 10).
    /// Such a beat of ours is due already; a claim that comes with it would wait for the end of the hold-off.
    fn greets_first(&self) -> bool {
        let greeted = |beat: &Beat| {
            let heard = self.voice.last.as_ref().and_then(|last| last.heard.get(&beat.sender));
            heard.is_some_and(|heard| heard.incarnation == beat.incarnation)
        };
        let mut waiting =
            self.peers.values().filter_map(|peer| peer.live_beat()).filter(|beat| beat.flags.hold_off);
        waiting.any(|beat| !greeted(beat))
    }

    fn claim_if_wanted(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        if tenure.outdated || self.leaving() || self.orders.is_left_alone(group) {
            return;
        }
        if let Some(until) = tenure.back_off {
            let left = until.boot - self.now.boot;
            if left > Span::ZERO {
                self.wake_in(left);
                return;
            }
            // One claim was in vain already: a voter still grants it to somebody whom we may not hear.
            if self.granted_to_another(group) {
                return;
            }
        }
        let because = if tenure.plan.owner == Some(self.me) {
            tenure.plan.because
        } else if self.nobody_else_claims(group) {
            Reason::NobodyElse
        } else {
            return;
        };
        // What the plan takes away from here to make room for it must have gone first.
        if self.has_its_most(group) {
            return;
        }
        if self.may_claim(group, fx) {
            self.claim_group(group, because, fx);
            self.rest_on_stand_in(group);
        }
    }

    fn granted_to_another(&self, group: GroupId) -> bool {
        self.holder(group).is_none() && self.seen.granted(group).any(|holder| holder != self.me)
    }

    /// A majority must be up; of a pair, something must stand in for the absent one.
    fn may_claim(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some(promise) = self.groups.get(&group).map(|tenure| tenure.group.promise) else { return false };
        if promise == Promise::AtLeastOne && !self.starting {
            // An address that answers is served, whoever it is that we don't hear.
            return self.rival_answers(group).is_none();
        }
        self.majority_up() || self.stand_in_allows(group, fx)
    }

    /// Of a pair: whether the tie-break lets this node take a group alone.
    fn stand_in_allows(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        match self.voters.now.method {
            TiebreakMethod::Evidence => self.evidence_allows(group, fx),
            TiebreakMethod::Fence => self.fence_allows(),
            TiebreakMethod::None => false,
        }
    }

    /// A claim may be won on the tie-break's vote while that still stands.
    fn rest_on_stand_in(&mut self, group: GroupId) {
        let mut unheard = Effects::new();
        let allowed = self.other_of_pair().is_some() && self.stand_in_allows(group, &mut unheard);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.by_evidence = allowed;
        }
    }

    /// Nobody has held, claimed or been granted it for so long that the plan cannot be right: rank by rank, somebody steps
    /// in.
    fn nobody_else_claims(&mut self, group: GroupId) -> bool {
        if !self.able(group) {
            return false;
        }
        let before = self.rank_before_us(group);
        let wait =
            self.lease_length() * LEASES_TO_WIN + self.config.timing.keepalive * PATIENCE * (before + 1);
        let Some(tenure) = self.groups.get(&group) else { return false };
        let leads =
            |leader| self.groups.get(&leader).is_some_and(|leader| leader.plan.owner == Some(self.me));
        let misplaced = tenure.group.with.is_some_and(|leader| !leads(leader));
        let avoided = self.orders.avoided(group) == Some(self.me);
        if misplaced
            || avoided
            || tenure.plan.is_full()
            || tenure.group.after.iter().any(|first| !self.is_served(*first))
        {
            return false;
        }
        let left = wait - self.now.since(tenure.quiet_since);
        if left > Span::ZERO {
            self.wake_in(left);
        }
        left == Span::ZERO
    }

    /// Whether this node has as many instances of a cloned group as it may have.
    fn has_its_most(&self, group: GroupId) -> bool {
        let instance = |group: &GroupId| self.config.groups.get(group)?.clone_of.as_ref();
        let Some((of, most)) = instance(&group).and_then(|of| Some((of.group, of.most?))) else {
            return false;
        };
        if self.mutation.is(Mutant::ClaimsBeyondMost) {
            return false;
        }
        let claimed = self.groups.iter().filter(|(_, tenure)| tenure.claim().is_some());
        let same = claimed.filter(|(group, _)| instance(group).is_some_and(|other| other.group == of));
        same.count() >= usize::from(most)
    }

    /// Notes when another's claim or grant of a group was last seen.
    fn note_quiet(&mut self, group: GroupId) {
        let busy = self.seen.is_busy(group, self.me);
        let held = self.seen.claims(group).iter().any(|(_, claim)| claim.phase.occupies());
        let (now, passed_at) = (self.now, self.pace.passed_at);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.seen_held |= held || tenure.holds();
            tenure.quiet_since = tenure.quiet_at(passed_at);
            tenure.busy = busy;
            if busy {
                tenure.quiet_since = now;
            }
        }
    }

    fn keep_claiming(&mut self, group: GroupId, fx: &mut Effects) {
        self.rest_on_stand_in(group);
        if self.mutation.is(Mutant::NoWithdrawal) {
            return;
        }
        let Some(tenure) = self.groups.get(&group) else { return };
        let State::Claiming { epoch, since, regardless, outranked } = tenure.state else { return };
        let planned_away = !regardless && tenure.plan.owner.is_some_and(|owner| owner != self.me);
        let unwanted =
            tenure.outdated || self.leaving() || self.orders.is_left_alone(group) || tenure.plan.is_full();
        if planned_away {
            return self.withdraw(group, WithdrawReason::PlanChanged, fx);
        }
        if unwanted || self.is_unguarded(tenure) {
            return self.withdraw(group, WithdrawReason::NotHere, fx);
        }
        if !self.may_claim(group, fx) {
            return self.withdraw(group, WithdrawReason::NoMajority, fx);
        }
        let outranked =
            self.better_claimant(group).map(|rival| (rival, outranked.map_or(self.now, |(_, at)| at)));
        if let Some((rival, at)) = outranked {
            let left = self.config.timing.keepalive * PATIENCE - self.now.since(at);
            if left == Span::ZERO {
                return self.withdraw(group, WithdrawReason::Yields(rival), fx);
            }
            self.wake_in(left);
        }
        let since = if self.is_being_handed_over(group) { self.now } else { since };
        let left = self.lease_length() * LEASES_TO_WIN - self.now.since(since);
        if left == Span::ZERO {
            return self.withdraw(group, WithdrawReason::NotWon, fx);
        }
        self.wake_in(left);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.state = State::Claiming { epoch, since, regardless, outranked };
        }
    }

    /// Another that is up, claims it and ranks before us; or to whom a voter has granted it.
    fn better_claimant(&self, group: GroupId) -> Option<NodeId> {
        let own = self.rank(group, self.me);
        let holder = self.holder(group);
        let ranks_before =
            |node: NodeId| node != self.me && Some(node) != holder && self.rank(group, node) < own;
        let claims = self.seen.claims(group).iter().filter(|(_, claim)| claim.phase == Phase::Claiming);
        if let Some((rival, _)) = claims.copied().find(|(node, _)| ranks_before(*node)) {
            return Some(rival);
        }
        let up = |node: &NodeId| self.peers.get(node).is_some_and(super::Peer::up);
        let mut rivals = self.seen.granted(group).filter(|holder| up(holder) && ranks_before(*holder));
        let first = rivals.next()?;
        if rivals.next().is_none() {
            return Some(first);
        }
        // Of several the one whom the first of the voters names.
        let named = self.peers.values().filter_map(|peer| Some(peer.live_beat()?.grants.get(&group)?.holder));
        named.filter(up).find(|holder| ranks_before(*holder))
    }

    /// The holder is giving it to us.
    fn is_being_handed_over(&self, group: GroupId) -> bool {
        let stops = self.seen.claims(group).iter().any(|(_, claim)| claim.phase == Phase::Stopping);
        let named = |peer: &super::Peer| Some(peer.live_beat()?.facts.handover.get(&group) == Some(&self.me));
        stops || self.peers.values().filter_map(named).any(|named| named)
    }

    fn withdraw(&mut self, group: GroupId, because: WithdrawReason, fx: &mut Effects) {
        let stays_away = match because {
            WithdrawReason::NotWon | WithdrawReason::Yields(_) => true,
            WithdrawReason::PlanChanged | WithdrawReason::NotHere | WithdrawReason::NoMajority => false,
        };
        let longest = self.lease_length() * LEASES_TO_WIN;
        let away = if stays_away { self.rng.span(Span::ZERO, longest) } else { Span::ZERO };
        let until = self.now + away;
        self.take_back_own_grant(group);
        self.set_state(group, State::Idle);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.back_off = stays_away.then_some(until);
            tenure.by_evidence = false;
        }
        self.tell(fx, Event::Withdrawn { group, because });
    }

    /// What is held here is kept, unless the plan has another owner who claims it, or another holder is met.
    fn keep_or_give(&mut self, group: GroupId, fx: &mut Effects) {
        self.note_shown(group);
        self.note_parted(group, fx);
        self.fulfil_order(group, fx);
        if self.yield_on_meeting(group, fx) || self.yield_to_answers(group, fx) {
            return;
        }
        let Some(tenure) = self.groups.get(&group) else { return };
        if tenure.outdated {
            return self.stop(group, StopReason::Reconfigured, None, fx);
        }
        if self.is_unguarded(tenure) {
            return self.stop(group, StopReason::Watchdog, None, fx);
        }
        let heir = tenure.plan.owner.filter(|owner| *owner != self.me);
        let because = tenure.plan.because;
        if tenure.plan.is_full() && !self.mutation.is(Mutant::KeepsBeyondMost) {
            return self.stop(group, StopReason::Plan(because), None, fx);
        }
        if let Some(heir) = heir {
            let claims = self
                .peers
                .get(&heir)
                .and_then(|peer| peer.live_beat())
                .is_some_and(|beat| beat.claims.contains_key(&group));
            if claims || self.mutation.is(Mutant::ReleaseToNonClaimant) {
                return self.stop(group, StopReason::Plan(because), Some(heir), fx);
            }
        }
        if let Some(leave) = self.leave {
            let patience = self.lease_length() * LEASES_TO_WIN;
            let left = patience - self.now.since(leave.since);
            if heir.is_none() || left == Span::ZERO {
                return self.stop(group, StopReason::Leaving, None, fx);
            }
            self.wake_in(left);
        }
    }

    /// Remembers the first beat that shows a group as held.
    fn note_shown(&mut self, group: GroupId) {
        let newest = self.voice.newest().map_or(Sequence(0), |(sequence, _)| sequence);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.shown_since.get_or_insert(Sequence(newest.0 + 1));
        }
    }

    /// Two holders can meet where no majority stood between them. Both compare the same beats; the loser's address falls
    /// silent first, then it grants the keeper at once (rule 17).
    fn yield_on_meeting(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some(tenure) = self.groups.get(&group) else { return false };
        let may_meet = tenure.group.promise == Promise::AtLeastOne || self.other_of_pair().is_some();
        let Some(shown_since) = tenure.shown_since.filter(|_| may_meet) else { return false };
        let Some((other, reach)) = self.met_holder(group, shown_since) else { return false };
        let theirs =
            self.peers.get(&other).and_then(|peer| peer.live_beat()).map_or(0, |beat| beat.facts.reach);
        let leader = self.leader(group);
        let own = (std::cmp::Reverse(reach), self.rank(leader, self.me));
        let keeper =
            if own < (std::cmp::Reverse(theirs), self.rank(leader, other)) { self.me } else { other };
        if keeper == self.me || self.mutation.is(Mutant::NobodyYieldsOnMeeting) {
            self.note_met(group, other, keeper, fx);
            return false;
        }
        self.tell(fx, Event::Met { group, other, keeper });
        self.lose(group, LossReason::Met, fx);
        true
    }

    /// The group that this one goes with in the end, so that of two holders the same keeps both; itself, if it goes alone.
    pub(super) fn leader(&self, group: GroupId) -> GroupId {
        let with = |group: &GroupId| self.config.groups.get(group)?.with;
        // The check refuses circles; a bound is cheap.
        std::iter::successors(Some(group), with).take(self.config.groups.len()).last().unwrap_or(group)
    }

    /// Two of a pair can both have taken a group on evidence, and not hear each other: each sees the other's answers. The
    /// one that ranks second yields; at once where both have just taken it, or where the other answered from the first round
    /// on; else when it goes on for a lease, for a machine that wakes from a pause answers for the rest of its lease.
    fn yield_to_answers(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some((other, since)) = self.rival_answers(group) else { return false };
        let Some(won_at) = self.groups.get(&group).map(|tenure| tenure.won_at) else { return false };
        let leader = self.leader(group);
        let keeps = self.rank(leader, self.me) < self.rank(leader, other);
        if keeps || self.mutation.is(Mutant::NobodyYieldsOnMeeting) {
            if self.groups.get(&group).is_some_and(|tenure| tenure.met.is_none()) {
                // The other may have taken it because the address had died here.
                self.look_at_addresses(group, fx);
            }
            self.note_met(group, other, self.me, fx);
            return false;
        }
        let lease = self.lease_length();
        let left = lease - self.now.at_least_since(since);
        if left > Span::ZERO && self.now.since(won_at) > lease && !self.answered_at_first(since) {
            self.wake_in(left);
            return false;
        }
        self.tell(fx, Event::Met { group, other, keeper: other });
        self.lose(group, LossReason::Met, fx);
        true
    }

    /// Another holder whose newest beat shows that it has heard us hold the group, too; with the reach that it heard of.
    fn met_holder(&self, group: GroupId, shown_since: Sequence) -> Option<(NodeId, u16)> {
        self.seen.claims(group).iter().find_map(|(node, claim)| {
            let beat = self.peers.get(node)?.live_beat()?;
            let heard = beat.heard.get(&self.me)?.sequence;
            let holds = matches!(claim.phase, Phase::Starting | Phase::Held);
            (holds && heard >= shown_since)
                .then(|| (*node, self.voice.sent(heard).map_or(self.reach, |spoken| spoken.reach)))
        })
    }

    /// The keeper announces again, once when it meets the other and once when the other has gone.
    fn note_met(&mut self, group: GroupId, other: NodeId, keeper: NodeId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        if tenure.met.is_none() {
            tenure.met = Some(other);
            self.tell(fx, Event::Met { group, other, keeper });
            fx.push(Effect::Announce { group });
        }
    }

    fn note_parted(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        let Some(other) = tenure.met else { return };
        let claims = self.peers.get(&other).and_then(|peer| peer.live_beat()?.claims.get(&group));
        let holds = claims.is_some_and(|claim| claim.phase.runs());
        if holds || self.rival_answers(group).is_some() {
            return;
        }
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.met = None;
        }
        fx.push(Effect::Announce { group });
    }

    /// The groups that this node would give away, and to whom.
    pub(super) fn handovers(&self) -> impl Iterator<Item = (GroupId, NodeId)> {
        self.groups.iter().filter_map(|(id, tenure)| Some((*id, self.heir(tenure)?)))
    }

    /// To whom this node would give a group that it has.
    pub(super) fn heir(&self, tenure: &super::groups::Tenure) -> Option<NodeId> {
        let occupied = tenure.claim().is_some_and(|(_, phase)| phase.occupies());
        tenure.plan.owner.filter(|owner| *owner != self.me && occupied)
    }

    /// A new claim has an epoch above any that was seen.
    pub(super) fn learn_epochs(&mut self, beat: &Beat) {
        let claimed = beat.claims.iter().map(|(group, claim)| (group, claim.epoch));
        let granted = beat.grants.iter().map(|(group, grant)| (group, grant.epoch));
        for (group, epoch) in claimed.chain(granted) {
            if let Some(tenure) = self.groups.get_mut(group) {
                tenure.epoch_seen = tenure.epoch_seen.max(epoch);
            }
        }
    }

    /// A holder that leaves its claim out in the same life has stopped everything.
    pub(super) fn note_releases(&mut self, before: Option<&Beat>, beat: &Beat) {
        for (group, _) in beat.claims.iter().filter(|(_, claim)| claim.phase.occupies()) {
            if let Some(tenure) = self.groups.get_mut(group) {
                tenure.released_at = None;
            }
        }
        let Some(before) = before.filter(|before| before.incarnation == beat.incarnation) else { return };
        let said_after = self.said_after(beat);
        for (group, claim) in &before.claims {
            let released = claim.phase.runs() && !beat.claims.contains_key(group);
            if let Some(tenure) = self.groups.get_mut(group).filter(|_| released) {
                tenure.released_at = said_after;
            }
        }
    }
}
