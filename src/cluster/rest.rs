//! When nothing is left to decide: what a core that rests does when only its beat is due, and when it gathers what many
//! peers say, or the agents of many groups answer, before it decides.
//!
//! A core rests when every group stays where it is, nothing has changed, and the time at which one of them asks for
//! something has not come. It still judges its peers, its grants and its leases whenever it wakes; and at least once in a
//! lease it decides about everything anew.

use crate::config::Group;
use crate::time::{Moment, Span};
use crate::types::{GroupId, NodeId};

use super::groups::{State, Tenure};
use super::{Core, Effects};

/// More peers than these are a crowd: what they say is answered together.
const FEW: usize = 8;

/// For each peer of a crowd, what they say is gathered for so long.
const GATHER_EACH: Span = Span::micros(100);

/// More groups than these are many: what their agents answer is weighed together.
const FEW_GROUPS: usize = 64;

/// For each of many groups, answers of agents are gathered for so long: about what it takes to decide about all of them.
const GATHER_EACH_GROUP: Span = Span::micros(1);

/// In a crowd, new lives are greeted within this part of a keepalive.
const GREETINGS: u64 = 8;

/// A core that rests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// When one of the groups asks for something.
    due: Span,
    /// When everything is decided anew, whether or not anything asks for it.
    latest: Span,
}

/// What a core waits for before it decides again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nothing but beats, grants and leases has to be looked at.
    pub(super) rests: Option<Rest>,
    /// What many peers say is gathered until then.
    pub(super) decide_at: Option<Span>,
    /// When everything was looked at last, if only to see that nothing changed.
    pub(super) passed_at: Moment,
}

impl Pace {
    pub(super) fn new(now: Moment) -> Self {
        Self { rests: None, decide_at: None, passed_at: now }
    }
}

impl Core {
    /// How many peers there are, if they are a crowd: also before they are up, for at a cold start all speak at once.
    pub(super) fn crowd(&self) -> Option<u64> {
        (self.peers.len() > FEW).then_some(self.peers.len() as u64)
    }

    /// A beat said something new; whether it waits for what others will say.
    pub(super) fn gathers(&mut self) -> bool {
        self.crowd().is_some_and(|peers| self.decides_within(GATHER_EACH * peers))
    }

    /// An agent answered; whether that waits for what others will answer.
    pub(super) fn gathers_answers(&mut self) -> bool {
        let groups = self.groups.len();
        groups > FEW_GROUPS && self.decides_within(GATHER_EACH_GROUP * groups as u64)
    }

    /// What is to be decided waits so long for more of it; whether it may.
    fn decides_within(&mut self, wait: Span) -> bool {
        if !self.ready || self.catching_up {
            return false;
        }
        let longest = self.config.timing.keepalive / GREETINGS;
        let until = self.now.boot + wait.min(longest);
        let until = *self.pace.decide_at.get_or_insert(until);
        self.pace.rests = None;
        self.deadline = self.deadline.min(until);
        true
    }

    /// In a crowd a greeting waits for others; it leaves at the latest with the regular beat.
    pub(super) fn greeting_waits(&self, since_last: Span) -> Span {
        match self.crowd() {
            Some(_) => self.config.timing.keepalive / GREETINGS - since_last,
            None => Span::ZERO,
        }
    }

    /// Begins to rest if nothing is left to decide before `due`, when one of the groups asks for something.
    pub(super) fn rest(&mut self, due: Span) {
        let latest = self.now.boot + self.lease_length();
        self.pace.rests = self.is_quiet().then_some(Rest { due, latest });
    }

    /// Whether only time can change something, and of that only what `glance` looks at and what asks for a time.
    fn is_quiet(&self) -> bool {
        let settled = self.ready
            && !self.starting
            && !self.leaving()
            && !self.changed
            && self.voters.before.is_none()
            && self.fencing.off.is_empty()
            && self.fencing.under_way.is_empty();
        let fences = !self.config.fences.is_empty() && self.peers_up < self.peers.len();
        settled && !fences && !self.voter.holds_off() && self.all_groups_are_quiet() && !self.has_news()
    }

    fn all_groups_are_quiet(&self) -> bool {
        let steady = self.steady_for();
        self.groups.iter().all(|(group, tenure)| self.group_is_quiet(*group, tenure, steady))
    }

    /// For how long every node that is up has been so, and has said the same of its fitness.
    fn steady_for(&self) -> Span {
        let up = self.peers.values().filter(|peer| peer.up());
        let since = up.map(|peer| self.now.since(peer.up_since.max(peer.steady_since)));
        since.min().unwrap_or(Span(u64::MAX)).min(self.now.since(self.steady_since))
    }

    fn group_is_quiet(&self, id: GroupId, tenure: &Tenure, steady: Span) -> bool {
        let holder = self.holder(id);
        let group = &tenure.group;
        // An instance may go to any node that lacks one, once that has been fit for so long.
        let is_awaited = |group: &Group| group.clone_of.is_some() && steady < group.failback_delay;
        let goes_back = group.failback
            && group.failback_delay > Span::ZERO
            && (is_awaited(group) || group.prefer.first().is_some_and(|first| Some(*first) != holder));
        let alone = match tenure.state {
            State::Held { .. } => self.seen.claims(id).is_empty(),
            State::Idle => tenure.raised.is_none(),
            State::Claiming { .. }
            | State::Waiting { .. }
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Blocked { .. } => false,
        };
        alone
            && holder.is_some()
            && tenure.plan.owner == holder
            && !goes_back
            && !tenure.outdated
            && tenure.back_off.is_none()
            && tenure.met.is_none()
    }

    /// The timer of a core that rests: beats, and what they rest on. Whether that was all that was due.
    pub(super) fn keep_resting(&mut self, fx: &mut Effects) -> bool {
        let in_time = |rest: &Rest| self.now.boot < rest.due.min(rest.latest);
        let Some(Rest { due, .. }) = self.pace.rests.filter(in_time) else { return false };
        if !self.glance(due, fx) || self.speak(fx) && !self.glance(due, fx) {
            if self.changed {
                // What has changed is the first pass's doing.
                self.pass(fx);
            }
            return false;
        }
        self.wake_for_beat();
        true
    }

    /// A peer's beat said nothing new. A beat of ours that is due soon leaves along with it, and a silence that was to be
    /// asked about is over: a timer that was set for it would wake for nothing. Whether that was all.
    pub(super) fn rests_on(&mut self, fx: &mut Effects) -> bool {
        !self.voice.along || self.pace.rests.is_none() && !self.beat_is_due() || self.keep_resting(fx)
    }

    /// Looks at what time alone can change; whether nothing but that has.
    fn glance(&mut self, due: Span, fx: &mut Effects) -> bool {
        self.changed = false;
        self.deadline = due;
        self.judge_peers(fx);
        if self.changed || self.is_uncertain() {
            return false;
        }
        self.gather_evidence(fx);
        self.run_out_grants();
        if self.changed {
            return false;
        }
        self.pace.passed_at = self.now;
        self.count_votes(fx);
        !self.changed
    }

    /// A peer's beats show that it sees a majority, or that it does not any more: that is no news in what it says.
    pub(super) fn note_majority(&mut self, node: NodeId) {
        let sees = self.hears_majority(node);
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.sees_majority != sees
        {
            peer.sees_majority = sees;
            self.pace.rests = None;
        }
    }
}
