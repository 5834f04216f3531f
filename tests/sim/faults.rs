//! What goes wrong, what operators do, and how it ends.

use std::sync::Arc;

use systole::cluster::{Action, Command, Input};
use systole::types::{GroupId, InterfaceId};

use crate::agents::{AgentEnd, AgentFault};
use crate::evidence::Cable;
use crate::network::{ALL, Mask, Rule};
use crate::node::MemoryFate;
use crate::world::{What, World};

/// Whom it concerns; decided when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Node(usize),
    /// Of the group at this place.
    Holder(usize),
    /// A node that does not hold the group at this place, and could.
    Other(usize),
}

/// The worst moments to die at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A beat has left that shows a grant to somebody else than the one before.
    Granted,
    /// An element stands that did not.
    Raised,
    /// An agent starts a resource.
    Started,
}

/// Which way a path is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    /// Nothing from it arrives.
    Out,
    /// Nothing arrives at it.
    In,
}

/// An event from outside. A length of 0 lasts until healing.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Cut {
        who: Who,
        way: Way,
        link: Option<u16>,
        flap: u64,
        length: u64,
    },
    Split {
        side: Mask,
        way: Way,
        link: Option<u16>,
        length: u64,
    },
    CutPair {
        a: usize,
        b: usize,
        one_way: bool,
        length: u64,
    },
    Noise {
        loss: u64,
        duplication: u64,
        extra: u64,
        length: u64,
    },
    Cable {
        who: Who,
        interface: u16,
        cut: bool,
        length: u64,
    },
    /// Cut behind the switch, whole for a moment, and cut again.
    LooseCable {
        who: Who,
        interface: u16,
        cut: u64,
        whole: u64,
        length: u64,
        /// Pings are kept back in the meantime, here and from now on.
        keeps: bool,
    },
    /// Cut behind the switch; when it is whole again, the next machine's is cut instead, so much sooner or later.
    SwappedCables {
        who: Who,
        interface: u16,
        cut: u64,
        sooner: u64,
        later: u64,
        length: u64,
    },
    TargetDown {
        length: u64,
    },
    ServiceSplit {
        length: u64,
    },
    EvidenceLoss {
        loss: u64,
        length: u64,
    },
    Kill {
        who: Who,
        mid: u32,
        fate: MemoryFate,
        after: u64,
    },
    /// Its daemon dies at the next such moment, and something else follows so long after.
    KillAt {
        who: Who,
        at: Moment,
        fate: MemoryFate,
        after: u64,
        then: Vec<(u64, Op)>,
    },
    Off {
        who: Who,
        after: u64,
        ghosts: bool,
    },
    Hang {
        who: Who,
        length: u64,
    },
    Pause {
        who: Who,
        length: u64,
        jumps: bool,
        queues: bool,
    },
    SlowCommits {
        who: Who,
        length: u64,
    },
    /// It cannot be fed any more; one that was disarmed does not bite either.
    BreakWatchdog {
        who: Who,
        disarms: bool,
        length: u64,
    },
    LateTimers {
        who: Who,
        extra: u64,
        length: u64,
    },
    Agent {
        who: Who,
        group: usize,
        resource: u16,
        action: Action,
        end: AgentEnd,
        length: u64,
    },
    Dies {
        group: usize,
    },
    Command {
        who: Who,
        command: Command,
    },
    Leave {
        who: Who,
        after: u64,
    },
    Configure {
        who: Who,
        config: usize,
    },
    Flush {
        who: Who,
    },
    Replay {
        to: Who,
        count: u64,
    },
    Unhealthy {
        who: Who,
        group: usize,
        length: u64,
    },
    PowerOn {
        node: usize,
    },
    // How they end.
    EndRule(u64),
    Quiet,
    Plug {
        node: usize,
        interface: u16,
    },
    TargetUp,
    ServiceWhole,
    Continue {
        node: usize,
        life: u64,
    },
    Resume {
        node: usize,
        since: u64,
        jumps: bool,
    },
    Fast {
        node: usize,
    },
    MendWatchdog {
        node: usize,
    },
    Punctual {
        node: usize,
    },
    Healthy {
        node: usize,
        group: GroupId,
    },
    /// So much of a group's servers is lost, to everybody or to one node; for so long.
    Servers {
        group: usize,
        percent: u8,
        of: Option<Who>,
        length: u64,
    },
    /// Somebody replays one recorded datagram.
    ReplayOne {
        to: usize,
    },
}

fn bit(node: usize) -> Mask {
    1 << node
}

impl World {
    pub(crate) fn who(&self, who: Who) -> usize {
        match who {
            Who::Node(node) => node.min(self.machines.len() - 1),
            Who::Holder(group) => {
                let holder = self.group_at(group).and_then(|group| self.holder(group));
                holder.unwrap_or(0)
            }
            Who::Other(group) => {
                let holder = self.who(Who::Holder(group));
                let fits = |node: &usize| *node != holder && !self.machines[*node].arbiter;
                (0..self.machines.len()).find(fits).unwrap_or(0)
            }
        }
    }

    pub(crate) fn group_at(&self, place: usize) -> Option<GroupId> {
        let count = self.config.groups.len().max(1);
        self.config.groups.keys().nth(place % count).copied()
    }

    fn later(&mut self, after: u64, op: Op) {
        if after > 0 {
            self.schedule(after, What::Do(Box::new(op)));
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        if let Some(kind) = op.kind() {
            if self.healed {
                return;
            }
            self.stats.fault(kind);
            self.say_world(|| format!("fault: {op:?}"));
        }
        match op.clone() {
            Op::Cut { .. }
            | Op::Split { .. }
            | Op::CutPair { .. }
            | Op::Noise { .. }
            | Op::EndRule(_)
            | Op::Quiet => self.apply_to_network(op.clone()),
            Op::Cable { .. }
            | Op::LooseCable { .. }
            | Op::SwappedCables { .. }
            | Op::TargetDown { .. }
            | Op::ServiceSplit { .. }
            | Op::EvidenceLoss { .. }
            | Op::Plug { .. }
            | Op::TargetUp
            | Op::ServiceWhole => self.apply_to_service(op.clone()),
            Op::Command { .. }
            | Op::Leave { .. }
            | Op::Configure { .. }
            | Op::Unhealthy { .. }
            | Op::Healthy { .. }
            | Op::Servers { .. }
            | Op::Dies { .. }
            | Op::Agent { .. }
            | Op::Flush { .. }
            | Op::Replay { .. }
            | Op::ReplayOne { .. } => {
                self.apply_to_groups(op.clone());
            }
            Op::Kill { .. }
            | Op::KillAt { .. }
            | Op::Off { .. }
            | Op::Hang { .. }
            | Op::Pause { .. }
            | Op::SlowCommits { .. }
            | Op::BreakWatchdog { .. }
            | Op::LateTimers { .. }
            | Op::Continue { .. }
            | Op::Resume { .. }
            | Op::Fast { .. }
            | Op::MendWatchdog { .. }
            | Op::Punctual { .. }
            | Op::PowerOn { .. } => self.apply_to_machine(op.clone()),
        }
    }

    fn rule(&mut self, rule: Rule, length: u64) {
        let id = self.net.add(rule);
        self.later(length, Op::EndRule(id));
    }

    fn apply_to_network(&mut self, op: Op) {
        match op {
            Op::Cut { who, way, link, flap, length } => {
                let side = bit(self.who(who));
                self.cut(side, way, link, flap, length);
            }
            Op::Split { side, way, link, length } => self.cut(side, way, link, 0, length),
            Op::CutPair { a, b, one_way, length } => {
                self.rule(Rule::cut(bit(a), bit(b)), length);
                if !one_way {
                    self.rule(Rule::cut(bit(b), bit(a)), length);
                }
            }
            Op::Noise { loss, duplication, extra, length } => {
                self.net.duplication = duplication;
                self.rule(Rule { from: ALL, to: ALL, link: None, loss, extra, flap: 0 }, length);
                self.later(length, Op::Quiet);
            }
            Op::EndRule(id) => {
                self.note_coherence();
                self.net.rules.remove(&id);
            }
            Op::Quiet => self.net.duplication = 0,
            _ => {}
        }
    }

    fn cut(&mut self, side: Mask, way: Way, link: Option<u16>, flap: u64, length: u64) {
        if way != Way::In {
            self.rule(Rule { link, flap, ..Rule::cut(side, !side) }, length);
        }
        if way != Way::Out {
            self.rule(Rule { link, flap, ..Rule::cut(!side, side) }, length);
        }
    }

    fn apply_to_service(&mut self, op: Op) {
        self.note_coherence();
        match op {
            Op::Cable { who, interface, cut, length } => {
                let node = self.who(who);
                self.set_cable(node, interface, if cut { Cable::Cut } else { Cable::Pulled });
                self.later(length, Op::Plug { node, interface });
            }
            Op::LooseCable { who, interface, cut, whole, length, keeps } => {
                let node = self.who(who);
                self.service.keeps |= keeps;
                self.set_cable(node, interface, Cable::Cut);
                self.later(cut, Op::Plug { node, interface });
                let again = Op::Cable { who: Who::Node(node), interface, cut: true, length };
                self.later(cut + whole, again);
            }
            Op::SwappedCables { who, interface, cut, sooner, later, length } => {
                let node = self.who(who);
                self.set_cable(node, interface, Cable::Cut);
                self.later(cut + sooner, Op::Plug { node, interface });
                let other = Who::Node((node + 1) % self.machines.len());
                self.later(cut + later, Op::Cable { who: other, interface, cut: true, length });
            }
            Op::Plug { node, interface } => self.set_cable(node, interface, Cable::Plugged),
            Op::TargetDown { length } => {
                self.service.target_up = false;
                self.later(length, Op::TargetUp);
            }
            Op::TargetUp => self.service.target_up = true,
            Op::ServiceSplit { length } => {
                self.service.split = true;
                self.later(length, Op::ServiceWhole);
            }
            Op::EvidenceLoss { loss, length } => {
                self.service.loss = loss;
                self.later(length, Op::ServiceWhole);
            }
            Op::ServiceWhole => {
                self.service.split = false;
                self.service.loss = 0;
            }
            _ => {}
        }
        self.let_go();
        self.note_coherence();
        for node in 0..self.machines.len() {
            let after = 1_000 + self.rng.below(4_000);
            self.schedule(after * 3, What::Reach { node });
        }
    }

    fn set_cable(&mut self, node: usize, interface: u16, cable: Cable) {
        let Some(place) = self.machines[node].cables.get_mut(usize::from(interface)) else { return };
        *place = cable;
        self.say(node, || format!("cable {interface}: {cable:?}"));
        let noticed = 500 + self.rng.below(4_500);
        self.schedule(noticed, What::Carrier { node, interface: InterfaceId(interface) });
    }

    fn apply_to_machine(&mut self, op: Op) {
        match op {
            Op::Kill { who, mid, fate, after } => {
                let node = self.who(who);
                self.machines[node].restart = Some((fate, after));
                if mid > 0 {
                    self.machines[node].daemon.dies_in = Some(mid);
                } else {
                    self.kill(node);
                }
            }
            Op::KillAt { who, at, fate, after, then } => {
                let node = self.who(who);
                self.machines[node].restart = Some((fate, after));
                self.machines[node].daemon.dies_at = Some((at, then));
            }
            Op::Off { who, after, ghosts } => {
                let node = self.who(who);
                self.power_off(node);
                if after > 0 {
                    self.boot_after(node, after, ghosts);
                }
            }
            Op::Hang { who, length } => {
                let node = self.who(who);
                let life = self.machines[node].daemon.life;
                self.hang(node, true);
                self.later(length, Op::Continue { node, life });
            }
            Op::Continue { node, life } if self.machines[node].daemon.life == life => self.hang(node, false),
            Op::Pause { who, length, jumps, queues } => {
                let (node, since) = (self.who(who), self.now);
                self.pause_machine(node, queues);
                self.later(length, Op::Resume { node, since, jumps });
            }
            Op::Resume { node, since, jumps }
                if self.machines[node].paused.is_some_and(|paused| paused.since == since) =>
            {
                self.resume_machine(node, jumps);
            }
            Op::SlowCommits { who, length } => {
                let node = self.who(who);
                self.machines[node].slow_commits = true;
                self.later(length, Op::Fast { node });
            }
            Op::Fast { node } => self.machines[node].slow_commits = false,
            Op::BreakWatchdog { who, disarms, length } => {
                let node = self.who(who);
                self.machines[node].watchdog_broken = true;
                if disarms {
                    self.machines[node].kernel.fed = None;
                }
                self.later(length, Op::MendWatchdog { node });
            }
            Op::MendWatchdog { node } => self.machines[node].watchdog_broken = false,
            Op::LateTimers { who, extra, length } => {
                let node = self.who(who);
                self.machines[node].late_timers = extra;
                self.later(length, Op::Punctual { node });
            }
            Op::PowerOn { node } => self.boot_after(node, 0, false),
            Op::Punctual { node } => self.machines[node].late_timers = 0,
            _ => {}
        }
    }

    fn apply_to_groups(&mut self, op: Op) {
        match op {
            Op::Command { who, command } => {
                let node = self.who(who);
                self.input(node, Input::Command(command));
            }
            Op::Leave { who, after } => {
                let node = self.who(who);
                if self.machines[node].daemon.core.is_some() {
                    self.machines[node].restart = Some((MemoryFate::Kept, after));
                    self.input(node, Input::Command(Command::Leave));
                }
            }
            Op::Configure { who, config } => {
                let node = self.who(who);
                self.configure(node, config);
            }
            Op::Unhealthy { who, group, length } => {
                let node = self.who(who);
                let Some(group) = self.group_at(group) else { return };
                self.input(node, Input::Health { group, fit: false });
                self.later(length, Op::Healthy { node, group });
            }
            Op::Healthy { node, group } => self.input(node, Input::Health { group, fit: true }),
            Op::Servers { group, percent, of, length } => {
                self.lose_servers(group, percent, of);
                let of = of.map(|who| Who::Node(self.who(who)));
                self.later(length, Op::Servers { group, percent: 0, of, length: 0 });
            }
            Op::Dies { group } => self.let_die(group),
            Op::Agent { who, group, resource, action, end, length } => {
                let node = self.who(who);
                let Some(group) = self.group_at(group) else { return };
                let until = if length == 0 { u64::MAX } else { self.now + length };
                let fault = AgentFault { action, end, until };
                self.machines[node].agent_faults.insert((group, resource), fault);
            }
            Op::Flush { who } => {
                let node = self.who(who);
                self.note_elements_gone(node);
                self.machines[node].flushed = Some(self.now);
                self.machines[node].kernel.elements.clear();
            }
            Op::Replay { to, count } => {
                let to = self.who(to);
                for _ in 0..count {
                    let after = self.rng.below(self.longest_lease);
                    self.schedule(after, What::Do(Box::new(Op::ReplayOne { to })));
                }
            }
            Op::ReplayOne { to } => self.replay_one(to),
            _ => {}
        }
    }

    /// The moment that a crash was waiting for.
    pub(crate) fn reach_moment(&mut self, node: usize, moment: Moment) {
        let daemon = &mut self.machines[node].daemon;
        if daemon.dies_at.as_ref().is_none_or(|(at, _)| *at != moment) {
            return;
        }
        let Some((_, then)) = daemon.dies_at.take() else { return };
        self.kill(node);
        self.plan_ops(&then);
    }

    /// A resource dies by itself: one that is watched, or nobody could know.
    fn let_die(&mut self, group: usize) {
        let Some(group) = self.group_at(group) else { return };
        let Some(node) = self.holder(group) else { return };
        let Some(found) = self.machines[node].config.groups.get(&group) else { return };
        let watched = |place: &(GroupId, u16)| {
            place.0 == group && found.resources.get(usize::from(place.1)).is_some_and(|r| r.monitor.is_some())
        };
        let places: Vec<_> =
            self.machines[node].running.iter().filter(|place| watched(place)).copied().collect();
        let count = places.len() as u64;
        let pick = usize::try_from(self.rng.below(count.max(1))).unwrap_or(0);
        if let Some(place) = places.get(pick) {
            self.say(node, || format!("{:?}/{} dies", place.0, place.1));
            self.machines[node].running.remove(place);
        }
    }

    fn replay_one(&mut self, to: usize) {
        let Some(tape) = &self.net.tape else { return };
        let pick = self.rng.below(tape.len() as u64);
        let Some((link, beat)) = usize::try_from(pick).ok().and_then(|pick| tape.get(pick)).cloned() else {
            return;
        };
        if beat.sender != self.machines[to].id {
            self.say(to, || {
                format!("gets a replay of {:?}#{}.{}", beat.sender, beat.incarnation.0, beat.sequence.0)
            });
            self.deliver(to, link, beat);
        }
    }

    pub(crate) fn configure(&mut self, node: usize, config: usize) {
        let config = Arc::clone(&self.configs[config]);
        self.machines[node].config = Arc::clone(&config);
        self.input(node, Input::Configure(config));
        self.find_more_servers(node);
    }

    /// Everything is mended; nothing that was planned begins any more.
    pub(crate) fn heal(&mut self) {
        self.note_coherence();
        self.say_world(|| "everything is mended".to_owned());
        self.healed = true;
        self.net.rules.clear();
        self.net.loss = 0;
        self.net.duplication = 0;
        self.service.target_up = true;
        self.service.split = false;
        self.service.loss = 0;
        self.mend_servers();
        for node in 0..self.machines.len() {
            self.mend(node);
        }
        self.let_go();
    }

    fn mend(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.agent_faults.clear();
        machine.slow_commits = false;
        machine.watchdog_broken = false;
        machine.late_timers = 0;
        machine.daemon.dies_in = None;
        machine.daemon.dies_at = None;
        for interface in 0..u16::try_from(machine.cables.len()).unwrap_or(0) {
            if self.machines[node].cables[usize::from(interface)] != Cable::Plugged {
                self.set_cable(node, interface, Cable::Plugged);
            }
        }
        self.schedule(5_000, What::Reach { node });
        let jumps = self.rng.chance(500);
        self.resume_machine(node, jumps);
        self.hang(node, false);
        let groups: Vec<GroupId> = self.config.groups.keys().copied().collect();
        for group in groups {
            self.input(node, Input::Health { group, fit: true });
        }
        if !self.machines[node].on {
            self.boot_after(node, 0, false);
        } else if self.machines[node].daemon.core.is_none() {
            let (boots, life) = (self.machines[node].boots, self.machines[node].daemon.life);
            self.schedule(0, What::Start { node, boots, life, fate: MemoryFate::Kept });
        }
    }

    /// After healing, operators take back what they ordered, at one node.
    pub(crate) fn take_back_orders(&mut self) {
        let Some(node) = (0..self.machines.len()).find(|&node| self.machines[node].acts()) else { return };
        self.say(node, || "operators take back all orders".to_owned());
        let nodes: Vec<_> = self.config.nodes.keys().copied().collect();
        let groups: Vec<_> = self.config.groups.keys().copied().collect();
        self.input(node, Input::Command(Command::Maintenance { on: false, group: None }));
        for other in nodes {
            self.input(node, Input::Command(Command::Online { node: other }));
        }
        for group in groups {
            self.input(node, Input::Command(Command::Unmove { group }));
            self.input(node, Input::Command(Command::Maintenance { on: false, group: Some(group) }));
            for node in 0..self.machines.len() {
                self.input(node, Input::Command(Command::Cleanup { group }));
            }
        }
    }
}
