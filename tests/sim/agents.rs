//! Resource agents, fence agents and the watchdog: what the daemon cannot do at once, and what acts without it.

use systole::cluster::{Action, Input, Outcome, Ticket};
use systole::config::Resource;
use systole::time::Span;
use systole::types::GroupId;

use crate::world::{Seen, What, World};

/// An agent that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgentRun {
    pub(crate) ticket: Ticket,
    pub(crate) action: Action,
    pub(crate) outcome: AgentEnd,
    /// Of all runs on this machine.
    pub(crate) run: u64,
    /// True time at which it is done.
    pub(crate) done: u64,
}

/// How it will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentEnd {
    Truly,
    Fails,
    TimesOut,
}

/// What is wrong with the agent of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AgentFault {
    pub(crate) action: Action,
    pub(crate) end: AgentEnd,
    /// True time at which it is mended.
    pub(crate) until: u64,
}

/// Where neither the configuration nor the agent's meta-data say: 20 s, as Heartbeat's agents do.
const TIME_LIMIT: u64 = 20_000_000;

/// How long an action of this resource may take.
pub(crate) fn limit(resource: &Resource, action: Action) -> u64 {
    let limit = match action {
        Action::Start => resource.start_timeout,
        Action::Stop => resource.stop_timeout,
        Action::Monitor | Action::Probe => resource.monitor.and_then(|monitor| monitor.timeout),
    };
    limit.map_or(TIME_LIMIT, Span::as_micros)
}

impl World {
    pub(crate) fn run_agent(&mut self, node: usize, ticket: Ticket, action: Action, resource: &Resource) {
        self.check_run(node, ticket, action, resource);
        let limit = limit(resource, action);
        let key = (ticket.group, ticket.resource);
        let fault = self.machines[node].agent_faults.get(&key).copied();
        let fault = fault.filter(|fault| fault.action == action && self.now < fault.until);
        let mut takes = 200 + self.rng.below(1_500);
        if self.agents_slow > 0 && self.rng.chance(300) {
            takes += self.rng.below(self.agents_slow);
        }
        takes = takes.min(limit.saturating_sub(1));
        let outcome = fault.map_or(AgentEnd::Truly, |fault| fault.end);
        if outcome == AgentEnd::TimesOut {
            takes = limit;
        }
        let done = self.now + takes;
        let machine = &mut self.machines[node];
        machine.agent_runs += 1;
        let run = machine.agent_runs;
        machine.agents.insert(key, AgentRun { ticket, action, outcome, run, done });
        let (group, resource) = key;
        self.schedule(takes, What::Agent { node, run, group, resource });
    }

    /// After a pause of the machine: the agents go on as well.
    pub(crate) fn resume_agents(&mut self, node: usize) {
        for ((group, resource), agent) in self.machines[node].agents.clone() {
            if agent.done <= self.now {
                self.schedule(500, What::Agent { node, run: agent.run, group, resource });
            }
        }
    }

    pub(crate) fn agent_done(&mut self, node: usize, run: u64, group: GroupId, resource: u16) {
        let machine = &mut self.machines[node];
        let current = machine.agents.get(&(group, resource)).is_some_and(|agent| agent.run == run);
        if !machine.alive() || !current {
            return;
        }
        let Some(agent) = machine.agents.remove(&(group, resource)) else { return };
        let outcome = match agent.outcome {
            AgentEnd::Truly => self.agent_acts(node, group, resource, agent.action),
            AgentEnd::Fails => Outcome::Failed { code: 1 },
            AgentEnd::TimesOut => Outcome::TimedOut,
        };
        let runs = match (agent.action, outcome) {
            (Action::Start | Action::Probe | Action::Monitor, Outcome::Done) => Some(true),
            (Action::Stop, Outcome::Done) | (Action::Probe | Action::Monitor, Outcome::NotRunning) => {
                Some(false)
            }
            (_, Outcome::Failed { .. } | Outcome::TimedOut | Outcome::NotRunning) => None,
        };
        if let Some(runs) = runs {
            self.machines[node].believed.insert((group, resource), runs);
        } else if agent.action == Action::Stop {
            // Nobody knows; the group goes on stopping all the same.
            self.machines[node].believed.remove(&(group, resource));
        }
        self.say(node, || format!("agent {:?} of {group:?}/{resource}: {outcome:?}", agent.action));
        self.machines[node].daemon.inputs.push_back(Input::AgentDone { ticket: agent.ticket, outcome });
        self.pump(node);
    }

    /// What an agent that works does, and says.
    pub(crate) fn agent_acts(
        &mut self,
        node: usize,
        group: GroupId,
        resource: u16,
        action: Action,
    ) -> Outcome {
        if matches!(action, Action::Start | Action::Stop) {
            self.machines[node].dirty.remove(&(group, resource));
        }
        let running = &mut self.machines[node].running;
        match action {
            Action::Start => {
                running.insert((group, resource));
                self.see(node, Seen::Started(group, resource));
                Outcome::Done
            }
            Action::Stop => {
                running.remove(&(group, resource));
                self.see(node, Seen::Stopped(group, resource));
                Outcome::Done
            }
            Action::Probe | Action::Monitor if running.contains(&(group, resource)) => Outcome::Done,
            Action::Probe | Action::Monitor => Outcome::NotRunning,
        }
    }

    /// A fence agent begins.
    pub(crate) fn fence(&mut self, by: usize, generation: u64, target: usize) {
        self.stats.bump("fencings");
        let takes = 30_000 + self.rng.below(self.longest_lease);
        let life = self.machines[by].daemon.life;
        let off = !self.rng.chance(if self.fences_fail && !self.healed { 200 } else { 0 });
        self.schedule(takes, What::Fence { by, life, generation, target, off });
    }

    pub(crate) fn fence_done(&mut self, by: usize, life: u64, generation: u64, target: usize, off: bool) {
        let machine = &self.machines[by];
        if !machine.alive() || machine.daemon.life != life {
            return;
        }
        if off && self.machines[target].on {
            self.say(target, || "is fenced".to_owned());
            self.power_off(target);
            let after = self.longest_lease + self.rng.below(4 * self.longest_lease);
            self.boot_after(target, after, false);
        }
        let node = self.machines[target].id;
        self.machines[by].daemon.inputs.push_back(Input::Fenced { generation, node, off });
        self.pump(by);
    }

    /// A watchdog that works counts from the first time on.
    pub(crate) fn feed_watchdog(&mut self, node: usize) {
        let Some(watchdog) = &self.machines[node].config.watchdog else { return };
        let timeout = watchdog.timeout.as_micros();
        let machine = &mut self.machines[node];
        let counts = !machine.watchdog_broken;
        if machine.daemon.watchdog.replace(counts) != Some(counts) {
            machine.daemon.inputs.push_back(Input::Watchdog { counts });
        }
        if !counts {
            return;
        }
        let raw = machine.kernel.raw.read(self.now);
        let armed = machine.kernel.fed.replace(raw).is_some();
        if !armed {
            let (at, boots) = (machine.kernel.raw.when(raw + timeout), machine.boots);
            self.schedule_at(at, What::Watchdog { node, boots });
        }
    }

    pub(crate) fn watchdog(&mut self, node: usize, boots: u64) {
        let machine = &self.machines[node];
        if !machine.alive() || machine.boots != boots {
            return;
        }
        let (Some(fed), Some(watchdog)) = (machine.kernel.fed, &machine.config.watchdog) else { return };
        let ends = fed + watchdog.timeout.as_micros();
        if machine.kernel.raw.read(self.now) < ends {
            let at = machine.kernel.raw.when(ends);
            self.schedule_at(at, What::Watchdog { node, boots });
            return;
        }
        self.stats.bump("watchdog resets");
        self.say(node, || "the watchdog resets the machine".to_owned());
        self.power_off(node);
        let after = self.longest_lease / 2 + self.rng.below(4 * self.longest_lease);
        self.boot_after(node, after, false);
    }
}
