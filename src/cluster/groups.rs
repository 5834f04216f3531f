//! A group on this node: from the first claim to the last stop.
//!
//! Nothing of it is started before the lease is won, it is started in order and stopped in reverse, and the claim goes
//! only when nothing runs any more and no element of it stands in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::beat::{Phase, Unfit};
use crate::config::{Group, Resource};
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, NodeId, Sequence};

use super::planner::Plan;
use super::resources::{Runs, Unit};
use super::tally::Tally;
use super::{Action, Core, Effect, Effects, Event, LossReason, Memory, Mutant, RememberedClaim, StopReason};

/// A group, as far as this node is concerned.
#[derive(Clone, Debug)]
pub(super) struct Tenure {
    /// As it was configured when it was last started: what is stopped is what was started.
    pub(super) group: Arc<Group>,
    pub(super) state: State,
    pub(super) units: Vec<Unit>,
    /// Not in the configuration any more, or changed: stopped, then forgotten or begun anew.
    pub(super) outdated: bool,
    pub(super) plan: Plan,
    /// Above every epoch seen.
    pub(super) epoch_seen: Epoch,
    /// The element in the kernel, if one was raised.
    pub(super) raised: Option<Raised>,
    /// Nobody claims before this is over.
    pub(super) back_off: Option<Moment>,
    /// When another's claim or grant of it was last seen, by the time at which it was asked last.
    pub(super) quiet_since: Moment,
    /// It was seen then.
    pub(super) busy: bool,
    /// Somebody has held it since this node started.
    pub(super) seen_held: bool,
    /// Whom the last holder handed over to.
    pub(super) last_heir: Option<NodeId>,
    /// When a holder was last seen to release it in good order.
    pub(super) released_at: Option<Moment>,
    /// A resource failed here at this time: not tried again within the failure window.
    pub(super) failed_at: Option<Moment>,
    /// What tracked scripts, files and processes say.
    pub(super) healthy: bool,
    /// The last fitness that was told.
    pub(super) unfit_told: Option<Unfit>,
    /// Whether evidence counts as the other's vote already: then it may go on counting.
    pub(super) by_evidence: bool,
    /// The first beat that showed it as held.
    pub(super) shown_since: Option<Sequence>,
    /// When the lease was won last.
    pub(super) won_at: Moment,
    /// When this node last held it.
    pub(super) held_until: Option<Moment>,
    /// Another holder was met, and this node keeps the group.
    pub(super) met: Option<NodeId>,
    /// An earlier daemon of this boot only waited for the last holder: what is stopped of that is no release in good order.
    pub(super) only_waited: bool,
}

/// An element in the kernel, as last raised or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) at: Moment,
    pub(super) length: Span,
}

impl Raised {
    /// Its end on the boot clock, as the kernel was told.
    pub(super) fn until(self) -> Span {
        self.at.boot + self.length
    }

    /// The earlier end on each clock: of this lease, or what is given.
    pub(super) fn no_later_than(self, end: Moment) -> Moment {
        let own = self.at + self.length;
        Moment { boot: own.boot.min(end.boot), raw: own.raw.min(end.raw) }
    }

    /// What is left, by the clock on which more time has passed.
    pub(super) fn left(self, now: Moment) -> Span {
        self.length - now.at_most_since(self.at)
    }
}

/// How far this node's tenure got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of it is claimed here.
    Idle,
    /// Wants the lease.
    Claiming {
        epoch: Epoch,
        since: Moment,
        /// The plan has another owner, but nobody claims it.
        regardless: bool,
        /// Since when another's claim ranks before this one, and whose.
        outranked: Option<(NodeId, Moment)>,
    },
    /// Has the lease, and waits until the last holder of an exclusive group cannot run it any more.
    Waiting { epoch: Epoch, since: Moment, clear: Option<Moment> },
    /// Has the lease; resources are being started.
    Starting { epoch: Epoch, since: Moment },
    /// Has the lease; everything was started.
    Held { epoch: Epoch },
    /// Resources are being stopped.
    Stopping { epoch: Epoch, since: Moment, because: StopReason },
    /// Something could not be stopped.
    Blocked { epoch: Epoch },
}

impl Tenure {
    pub(super) fn new(group: &Group, epoch_seen: Epoch, now: Moment) -> Self {
        Self {
            units: group.resources.iter().map(|_| Unit::stopped()).collect(),
            group: Arc::new(group.clone()),
            state: State::Idle,
            outdated: false,
            plan: Plan::NOBODY,
            epoch_seen,
            raised: None,
            back_off: None,
            quiet_since: now,
            busy: false,
            seen_held: false,
            last_heir: None,
            released_at: None,
            failed_at: None,
            healthy: true,
            unfit_told: None,
            by_evidence: false,
            shown_since: None,
            won_at: now,
            held_until: None,
            met: None,
            only_waited: false,
        }
    }

    /// When another's claim or grant of it was last seen, where nothing has changed up to then.
    pub(super) fn quiet_at(&self, then: Moment) -> Moment {
        if self.busy { then } else { self.quiet_since }
    }

    /// What a beat says of it.
    pub(super) fn claim(&self) -> Option<(Epoch, Phase)> {
        match self.state {
            State::Idle => None,
            State::Claiming { epoch, .. } => Some((epoch, Phase::Claiming)),
            State::Waiting { epoch, .. } => Some((epoch, Phase::Waiting)),
            State::Starting { epoch, .. } => Some((epoch, Phase::Starting)),
            State::Held { epoch } => Some((epoch, Phase::Held)),
            State::Stopping { epoch, .. } if self.only_waited => Some((epoch, Phase::Waiting)),
            State::Stopping { epoch, .. } => Some((epoch, Phase::Stopping)),
            State::Blocked { epoch } => Some((epoch, Phase::Blocked)),
        }
    }

    /// Rests on a lease: has won one, and has not lost it.
    pub(super) fn holds(&self) -> bool {
        match self.state {
            State::Waiting { .. } | State::Starting { .. } | State::Held { .. } => true,
            State::Stopping { .. } | State::Blocked { .. } => self.raised.is_some(),
            State::Idle | State::Claiming { .. } => false,
        }
    }

    /// It is not known yet what of it runs here.
    pub(super) fn is_probed(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit.busy, Some((_, Action::Probe))))
    }

    /// Nothing of it runs here, warm resources included.
    pub(super) fn nothing_runs(&self) -> bool {
        self.state == State::Idle && self.units.iter().all(|unit| unit.is_stopped() || unit.is_stuck())
    }
}

impl Core {
    /// Every group of the configuration, with what an earlier daemon of this boot left.
    pub(super) fn take_up_groups(
        &mut self,
        memory: Option<Memory>,
        standing: &BTreeMap<GroupId, Span>,
        fx: &mut Effects,
    ) {
        let config = Arc::clone(&self.config);
        for (id, group) in &config.groups {
            self.groups.insert(*id, Tenure::new(group, Epoch(0), self.now));
        }
        match memory {
            Some(memory) => {
                self.go_on_from(&memory, standing, fx);
                memory.claims.keys().for_each(|group| self.note_claim(*group));
                let raised: Vec<Raised> = self.groups.values().filter_map(|tenure| tenure.raised).collect();
                raised.into_iter().for_each(|raised| self.note_end(raised));
                self.be_ready(fx);
            }
            None => self.probe_everything(fx),
        }
    }

    /// Goes on where an earlier daemon of this boot stopped (rule 11).
    fn go_on_from(&mut self, memory: &Memory, standing: &BTreeMap<GroupId, Span>, fx: &mut Effects) {
        let now = self.now;
        for group in standing.keys().filter(|group| !memory.claims.contains_key(group)) {
            fx.push(Effect::DropLease { group: *group });
        }
        for (id, old) in &memory.claims {
            if self.mutation.is(Mutant::ClaimlessAfterRestart) {
                continue;
            }
            let element = standing.get(id).filter(|left| **left > Span::ZERO);
            let adopts = old.phase == Phase::Held
                && element.is_some()
                && !self.mutation.is(Mutant::RestartAdoptsNothing);
            // What the configuration does not know any more, or knows otherwise, is stopped as it was started.
            let known = self.config.groups.get(id);
            let tenure = self.groups.entry(*id).or_insert_with(|| Tenure::new(&old.group, Epoch(0), now));
            tenure.outdated = !known.is_some_and(|known| super::reload::runs_alike(&old.group, known));
            if tenure.outdated {
                tenure.units = old.group.resources.iter().map(|_| Unit::stopped()).collect();
                tenure.group = Arc::clone(&old.group);
            }
            tenure.epoch_seen = old.epoch;
            if old.phase == Phase::Claiming {
                fx.push(Effect::DropLease { group: *id });
                self.take_back_own_grant(*id);
                continue;
            }
            tenure
                .units
                .iter_mut()
                .for_each(|unit| unit.runs = if adopts { Runs::Yes } else { Runs::Unknown });
            if adopts {
                tenure.state = State::Held { epoch: old.epoch };
                tenure.raised = element.map(|left| Raised { at: now, length: *left });
                tenure.units.iter_mut().for_each(|unit| unit.look_next(now));
                self.tell(fx, Event::Adopted { group: *id, epoch: old.epoch });
                continue;
            }
            fx.push(Effect::DropLease { group: *id });
            if old.phase == Phase::Blocked {
                tenure.state = State::Blocked { epoch: old.epoch };
                continue;
            }
            tenure.state = State::Stopping { epoch: old.epoch, since: now, because: StopReason::LeftBehind };
            tenure.only_waited = old.phase == Phase::Waiting;
            self.tell(fx, Event::Stopping { group: *id, because: StopReason::LeftBehind, to: None });
        }
        let warm = memory.warm.iter().map(|place| (place, Runs::Yes));
        let unsure = memory.unsure.iter().map(|place| (place, Runs::Unknown));
        for ((group, place), runs) in warm.chain(unsure) {
            if let Some(unit) =
                self.groups.get_mut(group).and_then(|tenure| tenure.units.get_mut(usize::from(*place)))
            {
                unit.runs = runs;
            }
        }
    }

    pub(super) fn be_ready(&mut self, fx: &mut Effects) {
        self.ready = true;
        self.changed = true;
        self.tell(fx, Event::Ready);
    }

    /// Every group does its next step.
    pub(super) fn drive_groups(&mut self, fx: &mut Effects) {
        if !self.ready {
            self.drive_probes(fx);
            return;
        }
        let groups: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, tenure)| !self.is_at_rest(tenure))
            .map(|(group, _)| *group)
            .collect();
        for group in groups {
            self.tell_fitness(group, fx);
            let Some(tenure) = self.groups.get(&group) else { continue };
            match tenure.state {
                State::Idle => self.drive_idle(group, fx),
                State::Claiming { .. } | State::Blocked { .. } => {}
                State::Waiting { epoch, since, clear } => self.drive_waiting(group, epoch, since, clear, fx),
                State::Starting { epoch, since } => self.drive_start(group, epoch, since, fx),
                State::Held { .. } => self.drive_held(group, fx),
                State::Stopping { epoch, since, .. } => self.drive_stop(group, epoch, since, fx),
            }
            self.drive_warm(group, fx);
        }
    }

    /// Nothing of it runs or is to run here, and it is as fit as was told: there is nothing to do for it.
    fn is_at_rest(&self, tenure: &Tenure) -> bool {
        tenure.state == State::Idle
            && !tenure.outdated
            && tenure.unfit_told.is_none()
            && self.unfit(tenure).is_none()
            && tenure.units.iter().all(Unit::is_stopped)
            && !tenure.group.resources.iter().any(|resource| resource.warm)
    }

    /// What could not be stopped is tried again after each failure window.
    fn drive_idle(&mut self, group: GroupId, fx: &mut Effects) {
        let now = self.now;
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        if tenure.outdated && tenure.nothing_runs() {
            self.renew_tenure(group);
        }
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        let window = tenure.group.failure_window;
        let mut wake = Span(u64::MAX);
        for unit in tenure.units.iter_mut().filter(|unit| unit.is_stuck()) {
            let left = window - unit.since_looked(now);
            if left == Span::ZERO {
                unit.unstick();
            }
            wake = wake.min(left);
        }
        self.wake_in(wake);
        self.stop_unknown(group, fx);
    }

    /// Starts when nobody else runs it. Who had to wait for that starts only on answers to a beat from after it was known: a
    /// machine may have been paused meanwhile, for longer than any wait, and without a clock that knows.
    fn drive_waiting(
        &mut self,
        group: GroupId,
        epoch: Epoch,
        since: Moment,
        clear: Option<Moment>,
        fx: &mut Effects,
    ) {
        let left = self.exclusive_wait_left(group, since).filter(|_| !self.orders.is_left_alone(group));
        if left != Some(Span::ZERO) {
            if let Some(left) = left {
                self.wake_in(left);
            }
            if clear.is_some() {
                self.set_state(group, State::Waiting { epoch, since, clear: None });
            }
            return;
        }
        let has_waited = self.now.since(since) > Span::ZERO;
        if has_waited && clear.is_none() {
            self.set_state(group, State::Waiting { epoch, since, clear: Some(self.now) });
            self.voice.greet();
            return;
        }
        if clear.is_some_and(|clear| !self.backed_since(group, epoch, clear)) {
            return;
        }
        self.set_state(group, State::Starting { epoch, since: self.now });
        self.drive_start(group, epoch, self.now, fx);
    }

    /// Starts the next resource that does not run.
    fn drive_start(&mut self, group: GroupId, epoch: Epoch, since: Moment, fx: &mut Effects) {
        if self.start_next(group, fx) {
            return;
        }
        self.set_state(group, State::Held { epoch });
        let after = self.now.since(since);
        let now = self.now;
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.units.iter_mut().for_each(|unit| unit.look_next(now));
        }
        self.fulfil_order(group, fx);
        self.tell(fx, Event::Running { group, after });
    }

    /// Stops the last resource that runs; then gives up the element, then the claim.
    fn drive_stop(&mut self, group: GroupId, epoch: Epoch, since: Moment, fx: &mut Effects) {
        if self.stop_next(group, false, fx) {
            return;
        }
        let Some(tenure) = self.groups.get(&group) else { return };
        if let Some(place) = tenure.units.iter().position(Unit::is_stuck) {
            let place = super::resources::place(place);
            if tenure.group.exclusive {
                self.set_state(group, State::Blocked { epoch });
                self.tell(fx, Event::Blocked { group, resource: place });
                return;
            }
            self.tell(fx, Event::ReleasedDirty { group, resource: place });
        }
        self.release(group, since, fx);
    }

    fn release(&mut self, group: GroupId, since: Moment, fx: &mut Effects) {
        let late = self.mutation.is(Mutant::ReleasedBeforeElementDropped);
        if late {
            self.dropped_late.insert(group);
        } else {
            self.drop_lease(group, fx);
        }
        let heir = self.groups.get(&group).and_then(|tenure| self.heir(tenure));
        self.take_back_own_grant(group);
        self.set_state(group, State::Idle);
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.last_heir = heir;
            tenure.by_evidence = false;
            tenure.shown_since = None;
            tenure.only_waited = false;
        }
        let after = self.now.since(since);
        self.tell(fx, Event::Released { group, after });
    }

    /// A deliberate mistake: the element goes after the beat that says it has gone.
    pub(super) fn drop_after_beat(&mut self, fx: &mut Effects) {
        for group in std::mem::take(&mut self.dropped_late) {
            self.drop_lease(group, fx);
        }
    }

    pub(super) fn drop_lease(&mut self, group: GroupId, fx: &mut Effects) {
        if let Some(tenure) = self.groups.get_mut(&group).filter(|tenure| tenure.raised.is_some()) {
            tenure.raised = None;
            tenure.held_until = Some(self.now);
            fx.push(Effect::DropLease { group });
        }
    }

    /// Begins to stop a group.
    pub(super) fn stop(&mut self, group: GroupId, because: StopReason, to: Option<NodeId>, fx: &mut Effects) {
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        match tenure.state {
            State::Idle | State::Stopping { .. } => return,
            State::Claiming { .. }
            | State::Waiting { .. }
            | State::Starting { .. }
            | State::Held { .. }
            | State::Blocked { .. } => {}
        }
        let Some((epoch, _)) = tenure.claim() else { return };
        for unit in &mut tenure.units {
            unit.unstick();
        }
        self.set_state(group, State::Stopping { epoch, since: self.now, because });
        self.tell(fx, Event::Stopping { group, because, to });
    }

    /// The lease is gone: the address falls silent first, then the resources stop.
    pub(super) fn lose(&mut self, group: GroupId, because: LossReason, fx: &mut Effects) {
        if !self.groups.get(&group).is_some_and(Tenure::holds) {
            return;
        }
        self.drop_lease(group, fx);
        self.tell(fx, Event::Lost { group, because });
        self.take_back_own_grant(group);
        let reason = if because == LossReason::Met { StopReason::Met } else { StopReason::LeaseLost };
        self.stop(group, reason, None, fx);
        if because == LossReason::Met {
            let until = self.now + self.rng.span(Span::ZERO, self.lease_length() * 2);
            if let Some(tenure) = self.groups.get_mut(&group) {
                tenure.back_off = Some(until);
            }
        }
    }

    pub(super) fn set_state(&mut self, group: GroupId, state: State) {
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.state = state;
            self.changed = true;
            self.touched = true;
        }
        self.note_claim(group);
    }

    /// A group is claimed here, under another epoch, or not any more.
    fn note_claim(&mut self, group: GroupId) {
        self.pace.rests = None;
        let Some((epoch, _)) = self.groups.get(&group).and_then(Tenure::claim) else {
            self.claimed.remove(&group);
            return;
        };
        if self.claimed.get(&group).is_none_or(|tally| tally.epoch != epoch) {
            self.claimed.insert(group, Tally::new(epoch));
        }
    }

    /// Why this node could not serve its groups now.
    pub(super) fn unfit_groups(&self) -> impl Iterator<Item = (GroupId, Unfit)> {
        self.groups.iter().filter_map(|(id, tenure)| Some((*id, self.unfit(tenure)?)))
    }

    pub(super) fn unfit(&self, tenure: &Tenure) -> Option<Unfit> {
        if tenure.group.interfaces.iter().any(|interface| !self.evidence.has_carrier(*interface)) {
            return Some(Unfit::Carrier);
        }
        if !tenure.healthy {
            return Some(Unfit::Health);
        }
        if self.is_unguarded(tenure) {
            return Some(Unfit::Watchdog);
        }
        let failed_at = tenure.failed_at.filter(|_| !self.mutation.is(Mutant::ForgetsFailures))?;
        let retry_in = tenure.group.failure_window - self.now.since(failed_at);
        (retry_in > Span::ZERO).then_some(Unfit::Failed { retry_in })
    }

    /// Says so when this node became unfit for a group, or fit again.
    fn tell_fitness(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        let (unfit, told) = (self.unfit(tenure), tenure.unfit_told);
        if let Some(Unfit::Failed { retry_in }) = unfit {
            self.wake_in(retry_in);
        }
        let kind = |unfit: Option<Unfit>| unfit.map(|unfit| std::mem::discriminant(&unfit));
        if kind(unfit) == kind(told) {
            return;
        }
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.unfit_told = unfit;
            if unfit.is_none() {
                tenure.failed_at = None;
                for unit in &mut tenure.units {
                    unit.restarts = 0;
                    unit.unstick();
                }
            }
        }
        self.changed = true;
        self.steady_since = self.now;
        self.tell(fx, Event::Fitness { group, unfit });
    }

    /// What the tracked scripts, files and processes of a group say.
    pub(super) fn health(&mut self, group: GroupId, fit: bool, _fx: &mut Effects) {
        if let Some(tenure) = self.groups.get_mut(&group) {
            tenure.healthy = fit;
        }
    }

    pub(super) fn remembered_claims(&self) -> BTreeMap<GroupId, RememberedClaim> {
        let remember = |(id, tenure): (&GroupId, &Tenure)| {
            let (epoch, phase) = tenure.claim()?;
            Some((*id, RememberedClaim { group: Arc::clone(&tenure.group), epoch, phase }))
        };
        self.groups.iter().filter_map(remember).collect()
    }

    pub(super) fn warm_running(&self) -> BTreeSet<(GroupId, u16)> {
        self.places(|_, unit, resource| resource.warm && unit.runs == Runs::Yes)
    }

    /// What no claim tells of: stopped in vain, or being repaired in a group that is held.
    pub(super) fn unsure(&self) -> BTreeSet<(GroupId, u16)> {
        self.places(|tenure, unit, resource| {
            let unsure = match tenure.state {
                State::Held { .. } => unit.runs != Runs::Yes,
                State::Idle => matches!(unit.runs, Runs::Stuck | Runs::Unknown),
                State::Claiming { .. }
                | State::Waiting { .. }
                | State::Starting { .. }
                | State::Stopping { .. }
                | State::Blocked { .. } => false,
            };
            unsure && !resource.warm
        })
    }

    fn places(&self, which: impl Fn(&Tenure, &Unit, &Resource) -> bool) -> BTreeSet<(GroupId, u16)> {
        let mut places = BTreeSet::new();
        for (id, tenure) in &self.groups {
            for (place, (unit, resource)) in tenure.units.iter().zip(&tenure.group.resources).enumerate() {
                if which(tenure, unit, resource) {
                    places.insert((*id, super::resources::place(place)));
                }
            }
        }
        places
    }
}
