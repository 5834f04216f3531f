//! A small world as a value: machines with real cores, what is between them, and what their kernels do by themselves.
//!
//! Time goes in ticks. A machine's own clock shows so many microseconds a tick, which is how clocks drift apart. Nothing
//! here decides what happens next: that is the adversary's business (`moves.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use systole::beat::Beat;
use systole::cluster::{Core, Input, KERNEL_TICK, Memory, Mutant, Stored, Ticket};
use systole::config::Config;
use systole::time::{Moment, Span};
use systole::types::{GroupId, Incarnation, NodeId, Sequence};

/// What a world is made of; the same for the whole search.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) config: Arc<Config>,
    pub(crate) nodes: Vec<NodeId>,
    /// Microseconds that each machine's clock shows for a tick of true time.
    pub(crate) rates: Vec<u64>,
    pub(crate) faults: Faults,
    #[cfg_attr(not(feature = "mutants"), allow(dead_code, reason = "nobody errs without the feature"))]
    pub(crate) mutant: Option<Mutant>,
    /// A stop takes a moment; otherwise agents answer at once.
    pub(crate) slow_stops: bool,
    /// Of each machine's generator, before every step.
    pub(crate) seeds: Vec<u64>,
}

/// What the adversary may do here, each as one fault.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent powers")]
pub(crate) struct Faults {
    /// Lose a beat.
    pub(crate) lose: bool,
    /// Hold a beat back, to be delivered at any later time.
    pub(crate) delay: bool,
    /// Make a node dumb or deaf or both, for as long as he likes.
    pub(crate) links: bool,
    /// Let two nodes not hear each other.
    pub(crate) part: bool,
    /// Cut one node's service cable.
    pub(crate) cable: bool,
    /// Take the ping target away.
    pub(crate) target: bool,
    /// Switch a machine off, between any two effects.
    pub(crate) crash: bool,
    /// Kill a daemon, between any two effects; it comes back with its memory or without it.
    pub(crate) kill: bool,
    /// Stop a daemon's process for as long as he likes.
    pub(crate) pause: bool,
    /// Make an agent late, or fail.
    pub(crate) agents: bool,
    /// Make a fence agent fail.
    pub(crate) fence: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// A beat that is held back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) beat: Arc<Beat>,
    pub(crate) since: u64,
}

/// What is under way from one node to another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channel {
    pub(crate) fresh: VecDeque<Arc<Beat>>,
    pub(crate) held: Vec<Held>,
    pub(crate) cut: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    pub(crate) on: bool,
    /// The daemon, where it runs.
    pub(crate) core: Option<Arc<Core>>,
    pub(crate) paused: bool,
    pub(crate) stored: Arc<Stored>,
    pub(crate) memory: Option<Arc<Memory>>,
    /// Each life begun so far with the newest beat it sent, the newest life last.
    pub(crate) lives: Vec<(Incarnation, Sequence)>,
    /// The newest beats and the ticks at which they were sent, the newest last.
    pub(crate) spoken: VecDeque<(Incarnation, Sequence, u64)>,
    /// When each element ends, on the own clock; the kernel's tick is not counted in.
    pub(crate) elements: BTreeMap<GroupId, Span>,
    pub(crate) running: BTreeSet<(GroupId, u16)>,
    /// A stop failed, and the group is not exclusive: its resources may outlive the claim.
    pub(crate) dirty: BTreeSet<GroupId>,
    /// Stops under way of what ran.
    pub(crate) stops: BTreeSet<Ticket>,
    /// What is fed next, at once.
    pub(crate) inbox: VecDeque<Input>,
    /// An agent that takes its time.
    pub(crate) slow: Option<Input>,
    /// When it is done by itself; otherwise when the adversary says.
    pub(crate) slow_until: Option<u64>,
    pub(crate) cable: bool,
    /// When the watchdog was fed, on the own clock; unarmed before the first time.
    pub(crate) fed: Option<Span>,
    /// The daemon has opened it.
    pub(crate) has_watchdog: bool,
    /// The newest run of an agent, round of probes and fencing that the daemon asked for.
    pub(crate) newest: [u64; 3],
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) setting: Arc<Setting>,
    pub(crate) tick: u64,
    pub(crate) machines: Vec<Machine>,
    /// From `i` to `j` at `i * n + j`.
    pub(crate) channels: Vec<Channel>,
    pub(crate) target: bool,
    pub(crate) violation: Option<Violation>,
}

/// Where time begins: far enough from nought that nothing saturates.
const BEGINNING: u64 = 100_000;

/// A socket's buffer: so many beats wait for a stopped process, later ones are lost.
const BUFFER: usize = 3;

impl World {
    /// All machines are off.
    pub(crate) fn new(setting: &Arc<Setting>) -> Self {
        let machine = |node: &NodeId| Machine {
            node: *node,
            on: false,
            core: None,
            paused: false,
            stored: Arc::new(Stored::default()),
            memory: None,
            lives: Vec::new(),
            spoken: VecDeque::new(),
            elements: BTreeMap::new(),
            running: BTreeSet::new(),
            dirty: BTreeSet::new(),
            stops: BTreeSet::new(),
            inbox: VecDeque::new(),
            slow: None,
            slow_until: None,
            cable: true,
            fed: None,
            has_watchdog: false,
            newest: [0; 3],
        };
        let count = setting.nodes.len();
        Self {
            setting: Arc::clone(setting),
            tick: BEGINNING,
            machines: setting.nodes.iter().map(machine).collect(),
            channels: vec![Channel::default(); count * count],
            target: true,
            violation: None,
        }
    }

    pub(crate) fn place(&self, node: NodeId) -> usize {
        self.setting.nodes.iter().position(|other| *other == node).unwrap_or(usize::MAX)
    }

    pub(crate) fn channel(&mut self, from: usize, to: usize) -> &mut Channel {
        let count = self.machines.len();
        &mut self.channels[from * count + to]
    }

    /// What a machine's clocks show.
    pub(crate) fn clock(&self, at: usize) -> Span {
        Span(self.tick * self.setting.rates[at])
    }

    pub(crate) fn moment(&self, at: usize) -> Moment {
        Moment::at(self.clock(at))
    }

    /// The first tick at which a machine's clock shows at least this.
    pub(crate) fn tick_of(&self, at: usize, time: Span) -> u64 {
        time.0.div_ceil(self.setting.rates[at])
    }

    /// Whether an element stands in a machine's kernel: it may be late to end it by a tick.
    pub(crate) fn stands(&self, at: usize, group: GroupId) -> bool {
        let now = self.clock(at);
        self.machines[at].on
            && self.machines[at].elements.get(&group).is_some_and(|until| now < *until + KERNEL_TICK)
    }

    /// Whether frames get from one machine to the switch of the service network.
    pub(crate) fn cabled(&self, at: usize) -> bool {
        self.machines[at].on && self.machines[at].cable
    }

    /// A beat leaves on every link.
    pub(crate) fn send(&mut self, from: usize, beat: &Arc<Beat>) {
        let shares_cable = self.setting.config.interfaces.iter().any(|interface| interface.has_link);
        for to in (0..self.machines.len()).filter(|to| *to != from) {
            let listens = self.machines[to].on && self.machines[to].core.is_some();
            let carried = !shares_cable || (self.cabled(from) && self.cabled(to));
            let channel = self.channel(from, to);
            if listens && carried && !channel.cut && channel.fresh.len() < BUFFER {
                channel.fresh.push_back(Arc::clone(beat));
            }
        }
    }

    /// Power is gone: memory, elements, resources, what was under way.
    pub(crate) fn switch_off(&mut self, at: usize) {
        self.kill(at);
        let machine = &mut self.machines[at];
        machine.on = false;
        machine.memory = None;
        machine.elements.clear();
        machine.running.clear();
        machine.dirty.clear();
        machine.fed = None;
    }

    /// The daemon is gone; the machine runs on. The kernel feeds a watchdog that is closed like this.
    pub(crate) fn kill(&mut self, at: usize) {
        let now = self.clock(at);
        let machine = &mut self.machines[at];
        if std::mem::take(&mut machine.has_watchdog) {
            machine.fed = Some(now);
        }
        machine.core = None;
        machine.paused = false;
        machine.inbox.clear();
        machine.stops.clear();
        machine.slow = None;
        machine.slow_until = None;
        for from in 0..self.machines.len() {
            let channel = self.channel(from, at);
            channel.fresh.clear();
            channel.held.clear();
        }
    }

    /// How many kernels let a group's address answer now.
    pub(crate) fn standing(&self, group: GroupId) -> usize {
        (0..self.machines.len()).filter(|at| self.stands(*at, group)).count()
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(Violation(what));
    }

    /// Every group is held once: one kernel lets it answer, and there everything of it runs.
    pub(crate) fn is_well(&self) -> bool {
        self.setting.config.groups.iter().all(|(id, group)| {
            let serves = |at: &usize| {
                let runs = (0..)
                    .zip(&group.resources)
                    .all(|(place, _)| self.machines[*at].running.contains(&(*id, place)));
                self.stands(*at, *id) && runs
            };
            self.standing(*id) == 1 && (0..self.machines.len()).filter(serves).count() == 1
        })
    }
}
