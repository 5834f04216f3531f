//! One machine with its daemon's life: off and on, started, killed, hung, paused. `shell.rs` carries out its effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use systole::beat::Beat;
use systole::cluster::{Core, Effect, Effects, Input, Memory, Start, Stored};
use systole::config::Config;
use systole::rng::Rng;
use systole::time::{Moment, Span};
use systole::types::{GroupId, Incarnation, LinkId, NodeId};

use crate::agents::{AgentFault, AgentRun};
use crate::draw::{MachinePlan, Plan};
use crate::evidence::Cable;
use crate::kernel::{Clock, Kernel};
use crate::shell::Work;
use crate::world::{Seen, What, World};

/// What becomes of /run between two daemons of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryFate {
    Kept,
    Lost,
    Damaged,
}

/// Everything that one life of a core was told and did.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) start: Start,
    pub(crate) begun: Effects,
    pub(crate) steps: Vec<(Moment, Input, Effects)>,
}

/// The process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Daemon {
    pub(crate) core: Option<Core>,
    /// Counts the processes and their ends: what was meant for an older one is dropped.
    pub(crate) life: u64,
    /// SIGSTOP.
    pub(crate) hung: bool,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) inputs: VecDeque<Input>,
    pub(crate) inbox: VecDeque<(LinkId, Arc<Beat>)>,
    pub(crate) work: Option<Work>,
    pub(crate) timer_due: bool,
    /// True time of the pending timer event.
    pub(crate) armed: Option<u64>,
    /// Dies after so many more effects.
    pub(crate) dies_in: Option<u32>,
    /// Dies at such a moment, and then this happens.
    pub(crate) dies_at: Option<(crate::faults::Moment, Vec<(u64, crate::faults::Op)>)>,
    /// To whom its newest beat shows grants.
    pub(crate) shown: BTreeMap<GroupId, NodeId>,
    /// Steps for a timer without the deadline going beyond now.
    pub(crate) spins: u32,
    pub(crate) sent: VecDeque<Span>,
    pub(crate) beats: u64,
    /// The ends of its leases as it told the kernel, on its boot clock.
    pub(crate) until: BTreeMap<GroupId, Span>,
    /// The leases that its core has won, or adopted, and not dropped.
    pub(crate) leased: BTreeSet<GroupId>,
    /// What its core goes by.
    pub(crate) config: Option<Arc<Config>>,
    pub(crate) recording: Option<Recording>,
    /// What it was told of its watchdog: whether it has opened it.
    pub(crate) watchdog: Option<bool>,
}

/// A machine that stands still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paused {
    pub(crate) since: u64,
    /// Datagrams wait for it instead of being lost.
    pub(crate) queues: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) arbiter: bool,
    pub(crate) on: bool,
    /// Counts power-ons and power-offs.
    pub(crate) boots: u64,
    pub(crate) paused: Option<Paused>,
    pub(crate) woke: Option<u64>,
    /// When somebody emptied its kernel's table, which its daemon notices later.
    pub(crate) flushed: Option<u64>,
    /// All its clocks stood still in that pause, so that it cannot know of it.
    pub(crate) unaware: bool,
    pub(crate) kernel: Kernel,
    pub(crate) running: BTreeSet<(GroupId, u16)>,
    pub(crate) agents: BTreeMap<(GroupId, u16), AgentRun>,
    pub(crate) agent_faults: BTreeMap<(GroupId, u16), AgentFault>,
    pub(crate) agent_runs: u64,
    /// What the agents last said: whether each resource runs.
    pub(crate) believed: BTreeMap<(GroupId, u16), bool>,
    /// Could not be stopped, and was released all the same: the operator was told (`ReleasedDirty`).
    pub(crate) dirty: BTreeSet<(GroupId, u16)>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) slow_commits: bool,
    /// It cannot be opened, or fed.
    pub(crate) watchdog_broken: bool,
    pub(crate) late_timers: u64,
    pub(crate) incarnation: u64,
    /// When its first daemon since it is on was started.
    pub(crate) began: u64,
    pub(crate) stored: Stored,
    /// /run.
    pub(crate) memory: Option<Memory>,
    pub(crate) config: Arc<Config>,
    /// What happens when the daemon ends: it is started again after so long; 0: not before healing.
    pub(crate) restart: Option<(MemoryFate, u64)>,
    pub(crate) daemon: Daemon,
}

/// The socket's receive queue: beyond it, the newest are dropped.
const RECEIVE_QUEUE: usize = 256;

impl Machine {
    pub(crate) fn new(plan: &MachinePlan, world: &Plan, rng: &mut Rng) -> Self {
        let boot = 1_000_000 + rng.below(1_000_000_000);
        let raw = 1_000_000 + rng.below(1_000_000_000);
        Self {
            id: NodeId::of(&plan.name),
            name: plan.name.clone(),
            arbiter: plan.arbiter,
            on: plan.starts.is_some(),
            boots: 0,
            paused: None,
            woke: None,
            unaware: false,
            flushed: None,
            kernel: Kernel {
                boot: Clock::new(0, boot, plan.boot_ppm),
                raw: Clock::new(0, raw, plan.raw_ppm),
                elements: BTreeMap::new(),
                fed: None,
            },
            running: BTreeSet::new(),
            agents: BTreeMap::new(),
            agent_faults: BTreeMap::new(),
            agent_runs: 0,
            believed: BTreeMap::new(),
            dirty: BTreeSet::new(),
            cables: vec![Cable::Plugged; world.configs[0].interfaces.len()],
            slow_commits: false,
            watchdog_broken: false,
            late_timers: 0,
            incarnation: 0,
            began: 0,
            stored: Stored::default(),
            memory: None,
            config: Arc::clone(&world.configs[plan.config]),
            restart: None,
            daemon: Daemon::default(),
        }
    }

    /// Runs, and is not paused.
    pub(crate) fn alive(&self) -> bool {
        self.on && self.paused.is_none()
    }

    /// Its daemon can act.
    pub(crate) fn acts(&self) -> bool {
        self.alive() && !self.daemon.hung && self.daemon.core.is_some()
    }

    /// Whether every resource that must run with the group runs here.
    pub(crate) fn serves(&self, group: GroupId, config: &Config) -> bool {
        let Some(found) = config.groups.get(&group) else { return false };
        (0u16..).zip(&found.resources).all(|(place, _)| self.running.contains(&(group, place)))
    }
}

impl World {
    pub(crate) fn moment(&self, node: usize) -> Moment {
        self.machines[node].kernel.moment(self.now)
    }

    pub(crate) fn deliver(&mut self, to: usize, link: LinkId, beat: Arc<Beat>) {
        let machine = &mut self.machines[to];
        let waits = match machine.paused {
            Some(paused) => paused.queues,
            None => true,
        };
        if !machine.on
            || !waits
            || machine.daemon.core.is_none()
            || machine.daemon.inbox.len() >= RECEIVE_QUEUE
        {
            return;
        }
        machine.daemon.inbox.push_back((link, beat));
        self.pump(to);
    }

    /// A process begins: what the daemon does before it has a core, and the core's first effects.
    pub(crate) fn start_daemon(&mut self, node: usize, boots: u64, life: u64, fate: MemoryFate) {
        let now = self.now;
        let machine = &mut self.machines[node];
        if !machine.on || machine.boots != boots || machine.daemon.core.is_some() {
            return;
        }
        if machine.daemon.life != life {
            return;
        }
        if machine.paused.is_some() {
            self.schedule(10_000, What::Start { node, boots, life, fate });
            return;
        }
        machine.incarnation = (machine.incarnation + 1).max(1_000_000 + now / 1_000_000);
        if fate != MemoryFate::Kept {
            machine.memory = None;
            machine.began = now;
        }
        let memory = machine.memory.clone();
        if memory.is_none() {
            self.note_elements_gone(node);
            self.machines[node].kernel.elements.clear();
        }
        let machine = &mut self.machines[node];
        let start = Start {
            config: Arc::clone(&machine.config),
            node: machine.id,
            incarnation: Incarnation(machine.incarnation),
            seed: self.rng.next_u64(),
            now: machine.kernel.moment(now),
            stored: machine.stored.clone(),
            memory,
            standing: machine.kernel.standing(now),
        };
        machine.daemon.life += 1;
        self.say(node, || format!("daemon starts: incarnation {}, memory {fate:?}", start.incarnation.0));
        self.begin_core(node, start);
    }

    fn begin_core(&mut self, node: usize, start: Start) {
        let boot = start.now.boot;
        let mut effects = Effects::new();
        #[cfg(feature = "mutants")]
        let core = match self.options.mutant {
            Some(mutant) => Core::start_mutated(start.clone(), mutant, &mut effects),
            None => Core::start(start.clone(), &mut effects),
        };
        #[cfg(not(feature = "mutants"))]
        let core = Core::start(start.clone(), &mut effects);
        self.stats.steps += 1;
        let daemon = &mut self.machines[node].daemon;
        daemon.leased = start.standing.keys().copied().collect();
        daemon.config = Some(Arc::clone(&start.config));
        self.check_effects(node, boot, &effects);
        let interfaces = self.config.interfaces.len();
        let daemon = &mut self.machines[node].daemon;
        if self.options.record {
            daemon.recording = Some(Recording { start, begun: effects.clone(), steps: Vec::new() });
        }
        daemon.core = Some(core);
        self.queue(node, effects);
        for interface in 0..u16::try_from(interfaces).unwrap_or(0) {
            let interface = systole::types::InterfaceId(interface);
            self.input(node, Input::Targets { interface, any: true });
            self.tell_carrier(node, interface);
        }
        self.tell_reach(node);
        self.begin_views(node);
        self.pump(node);
    }

    /// The process is gone, in the middle of whatever it did.
    pub(crate) fn kill(&mut self, node: usize) {
        if self.machines[node].daemon.core.is_none() {
            return;
        }
        self.say(node, || "daemon dies".to_owned());
        if self.machines[node].daemon.work.is_some() && self.rng.chance(500) {
            self.finish_work(node, true);
        }
        let runs = std::mem::take(&mut self.machines[node].agents);
        for ((group, resource), run) in runs {
            // Its agents are killed with it: some had already done what they were asked.
            if self.rng.chance(500) {
                self.agent_acts(node, group, resource, run.action);
            }
        }
        let machine = &mut self.machines[node];
        if machine.daemon.watchdog == Some(true) {
            // The kernel feeds a watchdog that is closed like this.
            machine.kernel.fed = Some(machine.kernel.raw.read(self.now));
        }
        let daemon = &mut machine.daemon;
        let recording = daemon.recording.take();
        *daemon = Daemon { life: daemon.life + 1, ..Daemon::default() };
        self.machines[node].believed.clear();
        self.recordings.extend(recording);
        self.restart_as_planned(node);
    }

    /// The daemon has ended, and somebody starts it again.
    pub(crate) fn restart_as_planned(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let (boots, life) = (machine.boots, machine.daemon.life);
        if let Some((fate, after)) = machine.restart.take().filter(|(_, after)| *after > 0) {
            self.schedule(after, What::Start { node, boots, life, fate });
        }
    }

    /// The machine is off, for now.
    pub(crate) fn power_off(&mut self, node: usize) {
        if !self.machines[node].on {
            return;
        }
        self.machines[node].restart = None;
        self.kill(node);
        self.note_elements_gone(node);
        let machine = &mut self.machines[node];
        machine.on = false;
        machine.boots += 1;
        machine.paused = None;
        machine.woke = None;
        machine.kernel.elements.clear();
        machine.kernel.fed = None;
        machine.running.clear();
        machine.dirty.clear();
        machine.agents.clear();
        machine.memory = None;
        self.see(node, Seen::Off);
        self.say(node, || "machine is off".to_owned());
    }

    pub(crate) fn boot_after(&mut self, node: usize, after: u64, ghosts: bool) {
        let boots = self.machines[node].boots;
        self.schedule(after, What::Boot { node, boots, ghosts });
    }

    pub(crate) fn boot(&mut self, node: usize, boots: u64, ghosts: bool) {
        let now = self.now;
        let boot = 3_000_000 + self.rng.below(5_000_000);
        let raw = 3_000_000 + self.rng.below(5_000_000);
        let machine = &mut self.machines[node];
        if machine.on || machine.boots != boots {
            return;
        }
        machine.on = true;
        machine.boots += 1;
        let (boot_ppm, raw_ppm) = (machine.kernel.boot.ppm, machine.kernel.raw.ppm);
        machine.kernel.boot = Clock::new(now, boot, boot_ppm);
        machine.kernel.raw = Clock::new(now, raw, raw_ppm);
        if ghosts && !machine.arbiter {
            // Somebody enabled it at boot; an exclusive resource is assumed not to be.
            let plain = machine.config.groups.iter().find(|(_, group)| !group.exclusive);
            machine.running.extend(plain.map(|(&group, _)| (group, 0)));
        }
        let (boots, life) = (machine.boots, machine.daemon.life);
        self.say(node, || "machine boots".to_owned());
        let delay = self.restart_delay;
        self.schedule(delay, What::Start { node, boots, life, fate: MemoryFate::Lost });
    }

    pub(crate) fn pause_machine(&mut self, node: usize, queues: bool) {
        let now = self.now;
        if !self.machines[node].alive() {
            return;
        }
        let groups: Vec<GroupId> = self.machines[node].kernel.elements.keys().copied().collect();
        groups.into_iter().for_each(|group| self.end_remainder(node, group));
        let machine = &mut self.machines[node];
        machine.kernel.boot.stop(now);
        machine.kernel.raw.stop(now);
        machine.paused = Some(Paused { since: now, queues });
        self.say(node, || "machine is paused".to_owned());
    }

    pub(crate) fn resume_machine(&mut self, node: usize, jumps: bool) {
        let now = self.now;
        let machine = &mut self.machines[node];
        let Some(paused) = machine.paused.take() else { return };
        let away = if jumps { now - paused.since } else { 0 };
        machine.kernel.boot.go(now, away);
        machine.kernel.raw.go(now, 0);
        machine.woke = Some(now);
        machine.unaware = !jumps;
        machine.daemon.armed = None;
        self.say(node, || {
            format!("machine goes on, boot clock {}", if jumps { "ahead" } else { "as it stood" })
        });
        self.check_wake(node);
        self.schedule(self.longest_remainder(node), What::Remainder { node, woke: now });
        let (boots, life) = (self.machines[node].boots, self.machines[node].daemon.life);
        if self.machines[node].kernel.fed.is_some() {
            self.schedule(0, What::Watchdog { node, boots });
        }
        self.resume_agents(node);
        if self.machines[node].daemon.work.is_some() {
            self.schedule(10, What::Work { node, life });
        }
        self.pump(node);
    }

    pub(crate) fn hang(&mut self, node: usize, hung: bool) {
        if self.machines[node].daemon.core.is_none() || self.machines[node].daemon.hung == hung {
            return;
        }
        self.machines[node].daemon.hung = hung;
        self.say(node, || (if hung { "daemon hangs" } else { "daemon goes on" }).to_owned());
        if !hung {
            let life = self.machines[node].daemon.life;
            self.machines[node].daemon.armed = None;
            if self.machines[node].daemon.work.is_some() {
                self.schedule(0, What::Work { node, life });
            }
            self.pump(node);
        }
    }
}
