//! The world: true time, the queue of what happens next, and every machine in it.
//!
//! Everything follows from one seed. Nothing here may look at a real clock, a hash map or an address.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use systole::beat::Beat;
use systole::cluster::{Answerer, Mutant, Round};
use systole::config::Config;
use systole::rng::Rng;
use systole::types::{GroupId, InterfaceId, LinkId, NodeId};

use crate::draw::{Class, Plan};
use crate::evidence::Service;
use crate::faults::Op;
use crate::invariants::{Checks, Violation};
use crate::network::Network;
use crate::node::{Machine, MemoryFate, Recording};
use crate::report::Stats;
use crate::servers::{Lost, Views};
use crate::timeline::Timeline;

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Deliver {
        to: usize,
        link: LinkId,
        beat: Arc<Beat>,
    },
    Timer {
        node: usize,
        life: u64,
    },
    /// The effect that takes time is done.
    Work {
        node: usize,
        life: u64,
    },
    Agent {
        node: usize,
        run: u64,
        group: GroupId,
        resource: u16,
    },
    Answer {
        node: usize,
        life: u64,
        round: Round,
        from: Answerer,
    },
    Carrier {
        node: usize,
        interface: InterfaceId,
    },
    Reach {
        node: usize,
    },
    Servers {
        node: usize,
        group: GroupId,
    },
    Outlook {
        node: usize,
        group: GroupId,
    },
    Fence {
        by: usize,
        life: u64,
        generation: u64,
        target: usize,
        off: bool,
    },
    Watchdog {
        node: usize,
        boots: u64,
    },
    Boot {
        node: usize,
        boots: u64,
        ghosts: bool,
    },
    Start {
        node: usize,
        boots: u64,
        life: u64,
        fate: MemoryFate,
    },
    Do(Box<Op>),
    /// Only for the timeline and the scenarios: has the element run out?
    Expire {
        node: usize,
        group: GroupId,
    },
    /// A lease after a machine woke up: nothing may be left of what it held.
    Remainder {
        node: usize,
        woke: u64,
    },
}

struct Scheduled {
    at: u64,
    serial: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest: the earliest, and among equals the first that was put in.
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// How a run is watched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    #[cfg_attr(not(feature = "mutants"), allow(dead_code, reason = "there are no mistakes to make then"))]
    pub(crate) mutant: Option<Mutant>,
    /// Keep every input and effect, to play them again.
    pub(crate) record: bool,
    pub(crate) timeline: bool,
    pub(crate) beats: bool,
    /// Keep what the scenarios ask about.
    pub(crate) watch: bool,
    /// Forgive no coincidence: what a mistake does is held against the true core in the same world.
    pub(crate) strict: bool,
}

/// Something that scenarios can ask about.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: u64,
    pub(crate) node: usize,
    pub(crate) what: Seen,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Raised(GroupId),
    /// By the daemon.
    Dropped(GroupId),
    /// By the kernel.
    RanOut(GroupId),
    Started(GroupId, u16),
    Stopped(GroupId, u16),
    Off,
    /// An event: its name as in the source, and the whole.
    Told(String),
}

/// A whole cluster.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    queue: BinaryHeap<Scheduled>,
    serial: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) index: BTreeMap<NodeId, usize>,
    pub(crate) net: Network,
    pub(crate) service: Service,
    pub(crate) checks: Checks,
    pub(crate) lost: Lost,
    pub(crate) views: Views,
    pub(crate) stats: Stats,
    pub(crate) timeline: Timeline,
    pub(crate) options: Options,
    pub(crate) violation: Option<Violation>,
    pub(crate) sights: Vec<Sight>,
    pub(crate) recordings: Vec<Recording>,
    /// The configurations that operators may load, and the one that must be everywhere in the end.
    pub(crate) configs: Vec<Arc<Config>>,
    pub(crate) config: Arc<Config>,
    /// The longest deadtime of any configuration.
    pub(crate) longest_lease: u64,
    pub(crate) timers_late: u64,
    pub(crate) agents_slow: u64,
    /// A fence that fails is one more fault, where there may be many.
    pub(crate) fences_fail: bool,
    /// After healing, no fault that was planned begins any more.
    pub(crate) healed: bool,
    pub(crate) restart_delay: u64,
    /// The shells carry out what is urgent first: in every other world of those that are aimed, and of the others.
    pub(crate) urgent_first: bool,
}

impl World {
    pub(crate) fn new(plan: &Plan, options: Options) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x5eed_0f77_1d15_ea5e);
        let mut timeline = Timeline::new(options.timeline, options.beats);
        let machines: Vec<Machine> = plan.machines.iter().map(|m| Machine::new(m, plan, &mut rng)).collect();
        for machine in &machines {
            timeline.name(format!("{:?}", machine.id), machine.name.clone());
        }
        for config in &plan.configs {
            for (id, group) in &config.groups {
                timeline.name(format!("{id:?}"), group.name.clone());
            }
        }
        let mut net = Network::new(plan.over.clone(), plan.delay, plan.jitter);
        net.tape = plan.attacker.then(Vec::new);
        let index = machines.iter().enumerate().map(|(place, machine)| (machine.id, place)).collect();
        let lease = plan.configs.iter().map(|config| config.timing.deadtime.as_micros()).max().unwrap_or(0);
        let mut world = Self {
            now: 0,
            rng,
            queue: BinaryHeap::new(),
            serial: 0,
            machines,
            index,
            net,
            service: Service::new(),
            checks: Checks::default(),
            lost: Lost::new(),
            views: Views::new(),
            stats: Stats::default(),
            timeline,
            options,
            violation: None,
            sights: Vec::new(),
            recordings: Vec::new(),
            configs: plan.configs.clone(),
            config: Arc::clone(&plan.configs[0]),
            longest_lease: lease,
            timers_late: 300,
            urgent_first: plan.seed / 2 % 2 == 1,
            agents_slow: plan.agents_slow,
            fences_fail: matches!(plan.class, Class::Chaos | Class::Persistent),
            healed: false,
            restart_delay: plan.restart_delay,
        };
        for (node, machine) in plan.machines.iter().enumerate() {
            let boots = world.machines[node].boots;
            let Some(starts) = machine.starts else { continue };
            world.schedule(starts, What::Start { node, boots, life: 0, fate: MemoryFate::Lost });
        }
        world
    }

    /// Something shall happen, so long after now.
    pub(crate) fn schedule(&mut self, after: u64, what: What) {
        self.schedule_at(self.now.saturating_add(after), what);
    }

    pub(crate) fn schedule_at(&mut self, at: u64, what: What) {
        self.serial += 1;
        self.queue.push(Scheduled { at: at.max(self.now), serial: self.serial, what });
    }

    /// Time goes on until then, or until a violation.
    pub(crate) fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(next) if next.at <= until => {}
                Some(_) | None => break,
            }
            let Some(next) = self.queue.pop() else { break };
            self.now = next.at;
            self.happen(next.what);
        }
        if self.violation.is_none() {
            self.now = until;
        }
    }

    fn happen(&mut self, what: What) {
        self.stats.events += 1;
        match what {
            What::Deliver { to, link, beat } => self.deliver(to, link, beat),
            What::Timer { node, life } => self.timer(node, life),
            What::Work { node, life } => self.work_done(node, life),
            What::Agent { node, run, group, resource } => self.agent_done(node, run, group, resource),
            What::Answer { node, life, round, from } => self.answered(node, life, round, from),
            What::Carrier { node, interface } => self.tell_carrier(node, interface),
            What::Reach { node } => self.tell_reach(node),
            What::Servers { node, group } => self.find_servers(node, group),
            What::Outlook { node, group } => self.tell_servers(node, group),
            What::Fence { by, life, generation, target, off } => {
                self.fence_done(by, life, generation, target, off);
            }
            What::Watchdog { node, boots } => self.watchdog(node, boots),
            What::Boot { node, boots, ghosts } => self.boot(node, boots, ghosts),
            What::Start { node, boots, life, fate } => self.start_daemon(node, boots, life, fate),
            What::Do(op) => self.apply(&op),
            What::Expire { node, group } => self.see_expiry(node, group),
            What::Remainder { node, woke } => self.check_remainder(node, woke),
        }
    }

    pub(crate) fn see(&mut self, node: usize, what: Seen) {
        if self.options.watch {
            self.sights.push(Sight { at: self.now, node, what });
        }
    }

    pub(crate) fn say(&mut self, node: usize, what: impl FnOnce() -> String) {
        if self.timeline.on {
            let name = self.machines[node].name.clone();
            self.timeline.say(self.now, &name, what);
        }
    }

    pub(crate) fn say_world(&mut self, what: impl FnOnce() -> String) {
        self.timeline.say(self.now, "*", what);
    }

    fn see_expiry(&mut self, node: usize, group: GroupId) {
        let machine = &self.machines[node];
        if machine.on && machine.paused.is_none() && machine.kernel.end_of(group) == Some(self.now) {
            self.see(node, Seen::RanOut(group));
            self.say(node, || format!("kernel: the element of {group:?} runs out"));
        }
    }
}
