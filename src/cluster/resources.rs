//! Single resources: started in order, stopped in reverse, looked at, repaired in place.
//!
//! Never two runs of an agent at once for one resource; an answer to an older run than the one under way is dropped.

use serde::{Deserialize, Serialize};

use crate::config::Monitor;
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId};

use super::groups::State;
use super::{Action, Core, Effect, Effects, Event, Mutant, Outcome, StopReason, Ticket};

/// A resource on this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) runs: Runs,
    /// The run of an agent that is under way.
    pub(super) busy: Option<(u64, Action)>,
    /// When it was last started or looked at.
    pub(super) looked: Moment,
    /// Repairs in place since it was last well for a failure window.
    pub(super) restarts: u32,
    /// When it failed last.
    pub(super) failed_at: Moment,
}

/// Whether a resource runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runs {
    /// It may, or half of it: it is stopped before anything else.
    Unknown,
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It failed while it was in use.
    Failed,
    /// It could not be stopped.
    Stuck,
}

/// A resource's place in its group, as tickets carry it. The configuration's limit is far below.
pub(super) fn place(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

impl Unit {
    pub(super) fn stopped() -> Self {
        Self {
            runs: Runs::No,
            busy: None,
            looked: Moment::default(),
            restarts: 0,
            failed_at: Moment::default(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.runs == Runs::No && self.busy.is_none()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.runs == Runs::Stuck
    }

    /// Another stop may be tried.
    pub(super) fn unstick(&mut self) {
        if self.runs == Runs::Stuck {
            self.runs = Runs::Unknown;
        }
    }

    pub(super) fn since_looked(&self, now: Moment) -> Span {
        now.since(self.looked)
    }

    pub(super) fn look_next(&mut self, now: Moment) {
        self.looked = now;
    }
}

impl Core {
    fn run(&mut self, group: GroupId, index: usize, action: Action, fx: &mut Effects) {
        if action == Action::Stop {
            // A daemon that is started again must not take for held what was being stopped.
            self.remember(fx);
        }
        self.generation += 1;
        let Some(tenure) = self.groups.get_mut(&group) else { return };
        let (Some(unit), Some(resource)) = (tenure.units.get_mut(index), tenure.group.resources.get(index))
        else {
            return;
        };
        unit.busy = Some((self.generation, action));
        if action == Action::Start {
            // From now on it may run, whatever becomes of the answer.
            unit.runs = Runs::Unknown;
        }
        let ticket = Ticket { group, resource: place(index), generation: self.generation };
        fx.push(Effect::Run { ticket, action, resource: std::sync::Arc::clone(resource) });
    }

    /// Starts the next resource in order; whether there is still something to wait for.
    pub(super) fn start_next(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some(tenure) = self.groups.get(&group) else { return false };
        let missing = |unit: &Unit| {
            unit.runs != Runs::Yes || unit.busy.is_some_and(|(_, action)| action != Action::Monitor)
        };
        let Some(index) = tenure.units.iter().position(missing) else {
            return false;
        };
        let unit = tenure.units[index];
        if unit.busy.is_none() {
            let action = match unit.runs {
                Runs::Failed => Action::Stop,
                Runs::Unknown | Runs::No | Runs::Yes | Runs::Stuck => Action::Start,
            };
            self.run(group, index, action, fx);
        }
        true
    }

    /// Stops the next resource in reverse order; whether there is still something to wait for. Warm ones run on.
    pub(super) fn stop_next(&mut self, group: GroupId, warm_too: bool, fx: &mut Effects) -> bool {
        let Some(tenure) = self.groups.get(&group) else { return false };
        let to_stop = |index: &usize| {
            let (unit, resource) = (&tenure.units[*index], &tenure.group.resources[*index]);
            let runs = matches!(unit.runs, Runs::Unknown | Runs::Yes | Runs::Failed);
            (warm_too || !resource.warm) && (runs || unit.busy.is_some())
        };
        let mut places = 0..tenure.units.len();
        let next = if self.mutation.is(Mutant::StopsInStartOrder) {
            places.find(to_stop)
        } else {
            places.rfind(to_stop)
        };
        let Some(index) = next else { return false };
        if tenure.units[index].busy.is_none() {
            self.run(group, index, Action::Stop, fx);
        }
        true
    }

    /// Stops what may run although nothing of the group is claimed here.
    pub(super) fn stop_unknown(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        let unknown = |unit: &Unit| unit.runs == Runs::Unknown && unit.busy.is_none();
        let cold = |(_, (unit, resource)): &(usize, (&Unit, &std::sync::Arc<crate::config::Resource>))| {
            unknown(unit) && !resource.warm
        };
        let next =
            tenure.units.iter().zip(&tenure.group.resources).enumerate().find(cold).map(|(index, _)| index);
        if let Some(index) = next {
            self.run(group, index, Action::Stop, fx);
        }
    }

    /// Looks at what runs, and repairs what failed while repairs are left.
    pub(super) fn drive_held(&mut self, group: GroupId, fx: &mut Effects) {
        if self.orders.is_left_alone(group) {
            return;
        }
        let Some(tenure) = self.groups.get(&group) else { return };
        let gives_up = tenure.failed_at.is_some();
        let cold = |index: &usize| !tenure.group.resources[*index].warm;
        let broken =
            (0..tenure.units.len()).filter(cold).find(|index| tenure.units[*index].runs != Runs::Yes);
        let moves_address = |broken: usize| {
            tenure.group.resources[broken..]
                .iter()
                .any(|resource| !resource.warm && resource.carries_addresses())
        };
        match broken {
            // Who has taken it meanwhile cannot be seen in time: it is claimed anew.
            Some(broken) if self.shown_by_address_alone(&tenure.group) && moves_address(broken) => {
                self.stop(group, StopReason::Failed, None, fx);
            }
            Some(_) if gives_up => self.look_at_all(group, false, fx),
            Some(broken) if !self.mutation.is(Mutant::RepairsUnderRunning) => self.repair(group, broken, fx),
            Some(_) => self.look_and_repair(group, false, fx),
            None => self.look_at_all(group, false, fx),
        }
    }

    /// A resource is repaired with nothing running that was started after it: those stop first, in reverse order, and are
    /// started again, in order.
    fn repair(&mut self, group: GroupId, broken: usize, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        let above = |index: &usize| {
            let unit = &tenure.units[*index];
            !tenure.group.resources[*index].warm && (unit.runs != Runs::No || unit.busy.is_some())
        };
        let index = (broken + 1..tenure.units.len()).rfind(above).unwrap_or(broken);
        let unit = tenure.units[index];
        if unit.busy.is_some() {
            return;
        }
        if let Some(unit) = self.groups.get_mut(&group).and_then(|tenure| tenure.units.get_mut(index))
            && unit.runs == Runs::Yes
        {
            unit.runs = Runs::Unknown;
            self.touched = true;
        }
        // A daemon that is started again must know what was under repair.
        self.remember(fx);
        match unit.runs {
            Runs::No => self.run(group, index, Action::Start, fx),
            Runs::Yes | Runs::Unknown | Runs::Failed => self.run(group, index, Action::Stop, fx),
            Runs::Stuck => {}
        }
    }

    fn look_at_all(&mut self, group: GroupId, warm: bool, fx: &mut Effects) {
        let units = self.groups.get(&group).map_or(0, |tenure| tenure.units.len());
        for index in 0..units {
            let Some(tenure) = self.groups.get(&group) else { return };
            let (unit, resource) = (tenure.units[index], &tenure.group.resources[index]);
            if resource.warm == warm && unit.busy.is_none() && unit.runs == Runs::Yes {
                self.look(group, index, unit, resource.monitor, fx);
            }
        }
    }

    /// Looks at the group's addresses now, whatever their monitors say.
    pub(super) fn look_at_addresses(&mut self, group: GroupId, fx: &mut Effects) {
        let units = self.groups.get(&group).map_or(0, |tenure| tenure.units.len());
        for index in 0..units {
            let Some(tenure) = self.groups.get(&group) else { return };
            let (unit, resource) = (tenure.units[index], &tenure.group.resources[index]);
            if resource.carries_addresses() && unit.busy.is_none() && unit.runs == Runs::Yes {
                self.run(group, index, Action::Monitor, fx);
            }
        }
    }

    /// Warm resources run wherever the group may be, whether or not it is here.
    pub(super) fn drive_warm(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        if !tenure.group.resources.iter().any(|resource| resource.warm) {
            return;
        }
        if self.leaving() || tenure.outdated {
            if tenure.state == State::Idle {
                self.stop_next(group, true, fx);
            }
            return;
        }
        if self.may_own(&tenure.group, self.me) && !self.orders.is_left_alone(group) {
            self.look_and_repair(group, true, fx);
        }
    }

    fn look_and_repair(&mut self, group: GroupId, warm: bool, fx: &mut Effects) {
        let Some(tenure) = self.groups.get(&group) else { return };
        let gives_up = tenure.failed_at.is_some();
        for index in 0..tenure.units.len() {
            let Some(tenure) = self.groups.get(&group) else { return };
            let (unit, resource) = (tenure.units[index], &tenure.group.resources[index]);
            if resource.warm != warm || unit.busy.is_some() {
                continue;
            }
            match unit.runs {
                Runs::Yes => self.look(group, index, unit, resource.monitor, fx),
                Runs::Failed | Runs::Unknown if !gives_up => self.run(group, index, Action::Stop, fx),
                Runs::No if !gives_up => self.run(group, index, Action::Start, fx),
                Runs::Failed | Runs::Unknown | Runs::No | Runs::Stuck => {}
            }
        }
    }

    fn look(&mut self, group: GroupId, index: usize, unit: Unit, monitor: Option<Monitor>, fx: &mut Effects) {
        let Some(monitor) = monitor else { return };
        let left = monitor.every - self.now.since(unit.looked);
        if left == Span::ZERO {
            self.run(group, index, Action::Monitor, fx);
        } else {
            self.wake_in(left);
        }
    }

    /// An agent is done.
    pub(super) fn agent_done(&mut self, ticket: Ticket, outcome: Outcome, fx: &mut Effects) {
        let now = self.now;
        let Some(tenure) = self.groups.get_mut(&ticket.group) else { return };
        let Some(unit) = tenure.units.get_mut(usize::from(ticket.resource)) else { return };
        let Some((generation, action)) = unit.busy else { return };
        if generation != ticket.generation {
            return;
        }
        unit.busy = None;
        unit.looked = now;
        self.probes -= usize::from(action == Action::Probe);
        self.changed = true;
        // Memory holds which warm resources run.
        self.touched = true;
        let well = match (action, outcome) {
            (Action::Start | Action::Monitor, Outcome::Done) => {
                unit.runs = Runs::Yes;
                true
            }
            (Action::Stop, Outcome::Done | Outcome::NotRunning) | (Action::Probe, Outcome::NotRunning) => {
                unit.runs = Runs::No;
                true
            }
            (Action::Probe, Outcome::Done) => {
                self.found_running(ticket, fx);
                true
            }
            (Action::Probe, Outcome::Failed { .. } | Outcome::TimedOut) => {
                unit.runs = Runs::Unknown;
                false
            }
            (Action::Start, Outcome::NotRunning | Outcome::Failed { .. } | Outcome::TimedOut) => {
                unit.runs = Runs::Unknown;
                false
            }
            (Action::Monitor, Outcome::NotRunning | Outcome::Failed { .. } | Outcome::TimedOut) => {
                unit.runs = Runs::Failed;
                false
            }
            (Action::Stop, Outcome::Failed { .. } | Outcome::TimedOut) => {
                unit.runs = Runs::Stuck;
                false
            }
        };
        if !well {
            let Ticket { group, resource, .. } = ticket;
            self.tell(fx, Event::ResourceFailed { group, resource, action, outcome });
            self.resource_failed(ticket, action, fx);
        }
    }

    /// What a failure means for the group.
    fn resource_failed(&mut self, ticket: Ticket, action: Action, fx: &mut Effects) {
        let now = self.now;
        let Some(tenure) = self.groups.get_mut(&ticket.group) else { return };
        let index = usize::from(ticket.resource);
        let (Some(unit), Some(resource)) = (tenure.units.get_mut(index), tenure.group.resources.get(index))
        else {
            return;
        };
        let repairs = resource.monitor.map_or(0, |monitor| monitor.restarts);
        match tenure.state {
            State::Starting { .. } => {
                tenure.failed_at = Some(now);
                self.stop(ticket.group, StopReason::Failed, None, fx);
            }
            State::Held { .. } | State::Idle | State::Claiming { .. } | State::Waiting { .. } => {
                if now.since(unit.failed_at) > tenure.group.failure_window {
                    unit.restarts = 0;
                }
                unit.failed_at = now;
                unit.restarts += 1;
                if unit.restarts > repairs || action == Action::Stop {
                    tenure.failed_at = Some(now);
                }
            }
            State::Stopping { .. } | State::Blocked { .. } => {}
        }
    }

    fn found_running(&mut self, ticket: Ticket, fx: &mut Effects) {
        let Some(tenure) = self.groups.get_mut(&ticket.group) else { return };
        let index = usize::from(ticket.resource);
        let (Some(unit), Some(resource)) = (tenure.units.get_mut(index), tenure.group.resources.get(index))
        else {
            return;
        };
        unit.runs = if resource.warm { Runs::Yes } else { Runs::Unknown };
        if !resource.warm {
            self.tell(fx, Event::FoundRunning { group: ticket.group, resource: ticket.resource });
        }
    }

    /// A daemon without memory asks of everything whether it runs, before it says a word (rule 11).
    pub(super) fn probe_everything(&mut self, fx: &mut Effects) {
        // Whom the configuration does not name any more may have owned what it names.
        let owns_nothing = self.config.nodes.get(&self.me).is_some_and(|node| node.arbiter);
        let groups: Vec<(GroupId, usize)> =
            self.groups.iter().map(|(id, tenure)| (*id, tenure.units.len())).collect();
        for (group, units) in groups {
            for index in (0..units).filter(|_| !owns_nothing) {
                self.run(group, index, Action::Probe, fx);
                self.probes += 1;
            }
        }
    }

    /// While answers of others are awaited, one answer decides nothing but for its own group.
    pub(super) fn stop_what_was_found(&mut self, group: GroupId, fx: &mut Effects) {
        if self.groups.get(&group).is_some_and(|tenure| !tenure.is_probed()) {
            self.stop_next(group, false, fx);
        }
    }

    /// Stops what was found running; then it is known what runs here.
    pub(super) fn drive_probes(&mut self, fx: &mut Effects) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        let mut waits = false;
        for group in groups {
            let Some(tenure) = self.groups.get(&group) else { continue };
            if tenure.is_probed() {
                waits = true;
                continue;
            }
            if self.stop_next(group, false, fx) {
                waits = true;
            }
        }
        if waits {
            return;
        }
        self.block_what_is_stuck(fx);
        self.be_ready(fx);
    }

    fn block_what_is_stuck(&mut self, fx: &mut Effects) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            let Some(tenure) = self.groups.get(&group) else { continue };
            let Some(index) = tenure.units.iter().position(Unit::is_stuck) else { continue };
            let resource = place(index);
            if tenure.group.exclusive {
                self.set_state(group, State::Blocked { epoch: Epoch(tenure.epoch_seen.0 + 1) });
                self.tell(fx, Event::Blocked { group, resource });
            } else {
                self.tell(fx, Event::ReleasedDirty { group, resource });
            }
        }
    }
}
