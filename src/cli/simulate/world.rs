//! The whole cluster of a configuration in one process: a real core for each node, on a network without delay worth the
//! name, in virtual time. It reads no clock and touches nothing outside of itself.
//!
//! What it assumes is said to the user by `story.rs`: keep the two in step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::beat::Beat;
use crate::cluster::{
    Action, Answerer, Core, Effect, Effects, Event, Input, Outcome, Round, Start, Stored, Ticket, View,
};
use crate::config::{Cast, Config, Reach};
use crate::time::{Moment, Span};
use crate::types::{GroupId, Incarnation, InterfaceId, LinkId, NodeId};

/// One way over a link, and so long an answer to a probe takes twice.
const LATENCY: Span = Span::micros(100);

/// How long an agent takes.
pub(super) const AGENT: Span = Span::millis(1);

/// How long a machine takes to be switched off.
pub(super) const FENCE: Span = Span::seconds(1);

/// The daemon asks its ping targets once a second, and misses three answers before it says so.
const REACH: Span = Span::seconds(3);

/// A cluster that still does something after so many times its quiet time goes on for ever.
const RESTLESS: u64 = 12;

/// What a user can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The daemon and its machine are gone.
    Fail(NodeId),
    /// Nothing gets over a link any more; with a node, its own cable of that link is pulled.
    Cut(LinkId, Option<NodeId>),
}

/// What a node told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: Span,
    pub(super) node: NodeId,
    pub(super) event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A beat, by its place among those under way, reaches a node over a link.
    Arrives(usize, usize, LinkId),
    Agent(usize, Ticket, Act),
    Answer(usize, Round, Heard),
    Reach(usize),
    Off(usize, u64, NodeId),
    /// A node's watchdog counts.
    Watchdog(usize),
    Timer(usize),
}

/// [`Action`] in an order, for the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Look,
    Start,
    Stop,
}

/// [`Answerer`] in an order, for the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Target,
    Group(GroupId),
}

#[derive(Debug)]
struct Machine {
    id: NodeId,
    /// `None`: it is gone.
    core: Option<Core>,
    due: Span,
    /// The ends of the leases that stand in its kernel.
    leases: BTreeMap<GroupId, Span>,
    running: BTreeSet<(GroupId, u16)>,
    /// Its watchdog counts.
    guarded: bool,
    /// Its pulled cables.
    pulled: BTreeSet<LinkId>,
}

/// A cluster.
#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Arc<Config>,
    pub(super) now: Span,
    machines: Vec<Machine>,
    queue: BinaryHeap<Reverse<(Span, u64, What)>>,
    /// Numbers what is in the queue: of two things at one time the older comes first.
    queued: u64,
    under_way: BTreeMap<usize, (Arc<Beat>, usize)>,
    sent: usize,
    /// Who sent the newest beat.
    spoke: Option<usize>,
    cut: BTreeSet<LinkId>,
    /// Since the last fault.
    told: Vec<Told>,
    /// Nothing was told since.
    quiet_since: Span,
    /// Who serves each group, and since when nobody does.
    serving: BTreeMap<GroupId, BTreeSet<usize>>,
    unserved: BTreeMap<GroupId, Span>,
    shared: BTreeMap<GroupId, Span>,
    counted_at: Span,
}

impl World {
    /// Everybody starts at the same time, a little apart.
    pub(super) fn new(config: Arc<Config>) -> Self {
        let groups: Vec<GroupId> = config.groups.keys().copied().collect();
        let mut world = Self {
            now: Span::ZERO,
            machines: Vec::new(),
            queue: BinaryHeap::new(),
            queued: 0,
            under_way: BTreeMap::new(),
            sent: 0,
            spoke: None,
            cut: BTreeSet::new(),
            told: Vec::new(),
            quiet_since: Span::ZERO,
            serving: groups.iter().map(|group| (*group, BTreeSet::new())).collect(),
            unserved: BTreeMap::new(),
            shared: BTreeMap::new(),
            counted_at: Span::ZERO,
            config: Arc::clone(&config),
        };
        for (at, node) in (0u64..).zip(config.nodes.keys()) {
            world.now = Span::millis(at + 1);
            world.boot(*node, at);
        }
        world
    }

    fn boot(&mut self, node: NodeId, seed: u64) {
        let mut effects = Effects::new();
        let start = Start {
            config: Arc::clone(&self.config),
            node,
            incarnation: Incarnation(1),
            seed,
            now: Moment::at(self.now),
            stored: Stored::default(),
            memory: None,
            standing: BTreeMap::new(),
        };
        let core = Core::start(start, &mut effects);
        let at = self.machines.len();
        self.machines.push(Machine {
            id: node,
            core: Some(core),
            due: Span(u64::MAX),
            leases: BTreeMap::new(),
            running: BTreeSet::new(),
            pulled: BTreeSet::new(),
            guarded: false,
        });
        self.carry_out(at, effects);
        for interface in self.interfaces() {
            self.step(at, Input::Targets { interface, any: true });
        }
        if self.config.groups.values().any(|group| group.reach != Reach::Any) {
            self.step(at, Input::Reach { targets: self.targets() });
        }
    }

    fn interfaces(&self) -> impl Iterator<Item = InterfaceId> + use<> {
        let number = u16::try_from(self.config.interfaces.len()).unwrap_or(u16::MAX);
        (0..number).map(InterfaceId)
    }

    /// How many ping targets there are; without any, each interface's gateway is one.
    fn targets(&self) -> u16 {
        u16::try_from(self.config.tiebreak.ping.len().max(1)).unwrap_or(u16::MAX)
    }

    /// Runs on until a node has just spoken, and was heard: whoever fails then is missed latest.
    pub(super) fn await_beat(&mut self, node: NodeId) {
        let Some(at) = self.place(node).filter(|at| self.machines[*at].core.is_some()) else { return };
        self.spoke = None;
        while self.spoke != Some(at) {
            let Some(Reverse((time, _, what))) = self.queue.pop() else { return };
            self.now = self.now.max(time);
            self.happen(what);
        }
        let heard = self.now + LATENCY;
        while self.queue.peek().is_some_and(|Reverse((time, _, _))| *time <= heard) {
            let Some(Reverse((time, _, what))) = self.queue.pop() else { return };
            self.now = self.now.max(time);
            self.happen(what);
        }
    }

    /// Breaks something. Whether it was whole.
    pub(super) fn apply(&mut self, fault: Fault) -> bool {
        self.count_service();
        self.told.clear();
        self.unserved.clear();
        self.shared.clear();
        self.quiet_since = self.now;
        match fault {
            Fault::Fail(node) => {
                let Some(at) = self.place(node) else { return false };
                self.power_off(at)
            }
            Fault::Cut(link, None) => {
                let fresh = self.cut.insert(link);
                (0..self.machines.len()).for_each(|at| self.tell_reach(at));
                fresh
            }
            Fault::Cut(link, Some(node)) => {
                let Some(at) = self.place(node) else { return false };
                let fresh = self.machines[at].pulled.insert(link);
                self.tell_carriers(at);
                self.tell_reach(at);
                fresh
            }
        }
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.id == node)
    }

    fn power_off(&mut self, at: usize) -> bool {
        self.count_service();
        let machine = &mut self.machines[at];
        machine.leases.clear();
        machine.running.clear();
        self.serving.values_mut().for_each(|serving| serving.retain(|serves| *serves != at));
        self.machines[at].core.take().is_some()
    }

    /// A pulled cable takes the carrier of its interface with it.
    fn tell_carriers(&mut self, at: usize) {
        for interface in self.interfaces() {
            let name = self.config.interfaces[usize::from(interface.0)].name.clone();
            let pulled = |link: &LinkId| {
                self.config.links.get(usize::from(link.0)).map(|link| &link.interface) == name.as_ref()
            };
            if self.machines[at].pulled.iter().any(pulled) {
                self.step(at, Input::Carrier { interface, up: false });
            }
        }
    }

    fn tell_reach(&mut self, at: usize) {
        if self.config.groups.values().any(|group| group.reach != Reach::Any) {
            self.push(REACH, What::Reach(at));
        }
    }

    /// Whether a node's frames get through an interface: not where each link over it is cut.
    fn passes(&self, at: usize, interface: InterfaceId) -> bool {
        let name = self.config.interfaces.get(usize::from(interface.0)).and_then(|it| it.name.as_ref());
        let over = |place: usize| {
            let link = self.config.links.get(place)?;
            let id = LinkId(u16::try_from(place).ok()?);
            (Some(&link.interface) == name).then(|| (self.cut.contains(&id), self.pulled(at, id)))
        };
        let links: Vec<(bool, bool)> = (0..self.config.links.len()).filter_map(over).collect();
        let pulled = links.iter().any(|(_, pulled)| *pulled);
        let all_cut = !links.is_empty() && links.iter().all(|(cut, _)| *cut);
        !pulled && !all_cut
    }

    /// A cable carries every link of its interface.
    fn pulled(&self, at: usize, link: LinkId) -> bool {
        let interface = |link: &LinkId| self.config.links.get(usize::from(link.0)).map(|it| &it.interface);
        self.machines[at].pulled.iter().any(|pulled| interface(pulled) == interface(&link))
    }

    fn carries(&self, at: usize, link: LinkId) -> bool {
        let Some(known) = self.config.links.get(usize::from(link.0)) else { return false };
        let member = match &known.cast {
            Cast::Unicast(list) => {
                let id = self.machines[at].id;
                list.iter().any(|(node, _)| node.is_none_or(|node| node == id))
            }
            Cast::Multicast { .. } | Cast::Broadcast => true,
        };
        member && !self.cut.contains(&link) && !self.pulled(at, link)
    }

    /// Runs until nothing has happened for a while. Whether that came about.
    pub(super) fn settle(&mut self) -> bool {
        let quiet = self.quiet();
        let latest = self.now + quiet * RESTLESS;
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            let calm = at > self.quiet_since + quiet;
            if calm || at > latest {
                self.push_at(at, what);
                self.now = self.now.max(at.min(self.quiet_since + quiet));
                self.count_service();
                return calm;
            }
            self.now = self.now.max(at);
            self.happen(what);
        }
        true
    }

    /// Whatever waits for something waits no longer than this.
    fn quiet(&self) -> Span {
        let Config { timing, watchdog, groups, .. } = &*self.config;
        let watchdog = watchdog.as_ref().map_or(Span::ZERO, |watchdog| watchdog.timeout * 3);
        let failback = groups.values().map(|group| group.failback_delay).max().unwrap_or_default();
        timing.initdead.max(timing.deadtime * 5) + timing.keepalive * 5 + watchdog + failback + FENCE
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrives(place, to, link) => {
                let Some((beat, left)) = self.under_way.remove(&place) else { return };
                if left > 1 {
                    self.under_way.insert(place, (Arc::clone(&beat), left - 1));
                }
                if self.carries(to, link) {
                    self.step(to, Input::Beat { link, beat });
                }
            }
            What::Agent(at, ticket, act) => {
                let outcome = self.agent(at, ticket, act);
                self.step(at, Input::AgentDone { ticket, outcome });
            }
            What::Answer(at, round, heard) => {
                let from = match heard {
                    Heard::Target => Answerer::Target,
                    Heard::Group(group) => Answerer::Group(group),
                };
                self.step(at, Input::Answer { round, from });
            }
            What::Reach(at) => {
                let any = self.interfaces().any(|interface| self.passes(at, interface));
                let targets = if any { self.targets() } else { 0 };
                self.step(at, Input::Reach { targets });
            }
            What::Off(by, generation, node) => {
                if let Some(at) = self.place(node) {
                    self.power_off(at);
                }
                self.step(by, Input::Fenced { generation, node, off: true });
            }
            What::Watchdog(at) => self.step(at, Input::Watchdog { counts: true }),
            What::Timer(at) if self.machines[at].due == self.now => self.step(at, Input::Timer),
            What::Timer(_) => {}
        }
    }

    fn agent(&mut self, at: usize, ticket: Ticket, act: Act) -> Outcome {
        let key = (ticket.group, ticket.resource);
        let running = &mut self.machines[at].running;
        match act {
            Act::Look if running.contains(&key) => Outcome::Done,
            Act::Look => Outcome::NotRunning,
            Act::Start => {
                running.insert(key);
                Outcome::Done
            }
            Act::Stop => {
                running.remove(&key);
                Outcome::Done
            }
        }
    }

    /// Its watchdog counts from now on.
    fn guard(&mut self, at: usize) {
        if !std::mem::replace(&mut self.machines[at].guarded, true) {
            self.push(Span::ZERO, What::Watchdog(at));
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut effects = Effects::new();
        let Some(core) = self.machines[at].core.as_mut() else { return };
        core.step(Moment::at(self.now), input, &mut effects);
        self.carry_out(at, effects);
    }

    fn carry_out(&mut self, at: usize, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Send(beat) => self.send(at, &beat),
                Effect::RaiseLease { group, until } | Effect::RenewLease { group, until } => {
                    self.machines[at].leases.insert(group, until);
                }
                Effect::DropLease { group } => drop(self.machines[at].leases.remove(&group)),
                Effect::Run { ticket, action, .. } => {
                    let act = match action {
                        Action::Probe | Action::Monitor => Act::Look,
                        Action::Start => Act::Start,
                        Action::Stop => Act::Stop,
                    };
                    self.push(AGENT, What::Agent(at, ticket, act));
                }
                Effect::Probe { round, interface, groups } => self.probe(at, round, interface, &groups),
                Effect::Fence { generation, node } => self.push(FENCE, What::Off(at, generation, node)),
                Effect::FeedWatchdog => self.guard(at),
                Effect::Tell(event) => self.note(at, event),
                Effect::Remember(_) | Effect::Store(_) | Effect::Announce { .. } | Effect::Left => {}
            }
        }
        let Some(due) = self.machines[at].core.as_ref().map(Core::next_deadline) else { return };
        let due = due.max(self.now);
        if due != self.machines[at].due {
            self.machines[at].due = due;
            self.push_at(due, What::Timer(at));
        }
    }

    fn send(&mut self, from: usize, beat: &Arc<Beat>) {
        self.sent += 1;
        self.spoke = Some(from);
        let place = self.sent;
        let mut copies = 0;
        for link in (0..self.config.links.len()).filter_map(|link| u16::try_from(link).ok().map(LinkId)) {
            if !self.carries(from, link) {
                continue;
            }
            for to in (0..self.machines.len()).filter(|to| *to != from) {
                copies += 1;
                self.push(LATENCY, What::Arrives(place, to, link));
            }
        }
        if copies > 0 {
            self.under_way.insert(place, (Arc::clone(beat), copies));
        }
    }

    fn probe(&mut self, at: usize, round: Round, interface: InterfaceId, groups: &[GroupId]) {
        if !self.passes(at, interface) {
            return;
        }
        self.push(LATENCY * 2, What::Answer(at, round, Heard::Target));
        for group in groups {
            let answers = |other: &usize| {
                let machine = &self.machines[*other];
                *other != at
                    && self.passes(*other, interface)
                    && machine.leases.get(group).is_some_and(|until| *until > self.now)
                    && machine.running.iter().any(|(running, _)| running == group)
            };
            if (0..self.machines.len()).any(|other| answers(&other)) {
                self.push(LATENCY * 2, What::Answer(at, round, Heard::Group(*group)));
            }
        }
    }

    fn note(&mut self, at: usize, event: Event) {
        self.count_service();
        if let Event::Running { group, .. } = &event {
            self.serving.entry(*group).or_default().insert(at);
        }
        if let Event::Stopping { group, .. } | Event::Lost { group, .. } | Event::Released { group, .. } =
            &event
        {
            self.serving.entry(*group).or_default().remove(&at);
        }
        self.quiet_since = self.now;
        self.told.push(Told { at: self.now, node: self.machines[at].id, event });
    }

    /// Counts the time since the last change: served by nobody, or by more than one.
    fn count_service(&mut self) {
        let passed = self.now - self.counted_at;
        self.counted_at = self.now;
        for (group, serving) in &self.serving {
            let counted = match serving.len() {
                0 => &mut self.unserved,
                1 => continue,
                _ => &mut self.shared,
            };
            let sum = counted.entry(*group).or_default();
            *sum = *sum + passed;
        }
    }

    fn push(&mut self, after: Span, what: What) {
        self.push_at(self.now + after, what);
    }

    fn push_at(&mut self, at: Span, what: What) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, what)));
    }

    /// What the nodes told since the last fault.
    pub(super) fn told(&self) -> &[Told] {
        &self.told
    }

    /// The nodes that serve a group.
    pub(super) fn holders(&self, group: GroupId) -> Vec<NodeId> {
        let serving = self.serving.get(&group).into_iter().flatten();
        serving.filter_map(|at| self.machines.get(*at)).map(|machine| machine.id).collect()
    }

    /// For how long nobody served a group since the last fault, and for how long more than one did.
    pub(super) fn counted(&self, group: GroupId) -> (Span, Span) {
        let of = |counted: &BTreeMap<GroupId, Span>| counted.get(&group).copied().unwrap_or_default();
        (of(&self.unserved), of(&self.shared))
    }

    /// What each machine that is there sees.
    pub(super) fn views(&self) -> Vec<View> {
        self.machines.iter().filter_map(|machine| Some(machine.core.as_ref()?.view())).collect()
    }
}
