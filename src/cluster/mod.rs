//! The pure core: one node of the cluster as a value.
//!
//! `step(now, Input, &mut Effects)` cannot fail and cannot block. There is no clock here, no socket, no file, no thread
//! and no order that depends on a hash: the same start and the same inputs give the same effects, so what happened in
//! production is replayed at a desk, and whole clusters run in virtual time (`tests/sim`).
//!
//! | file | what it decides |
//! | --- | --- |
//! | `liveness.rs` | who is up, late or dead; whether this node itself was away |
//! | `seen.rs` | what all peers together show of each group |
//! | `voter.rs` | what this node grants as a voter, and for how long |
//! | `voters.rs` | whose votes count, and how that may change |
//! | `lease.rs` | whether this node's own leases are won, renewed or lost |
//! | `tally.rs` | which of our beats the voters name |
//! | `evidence.rs`, `fence.rs` | what stands in for the absent vote of a pair |
//! | `planner.rs` | who should own what, and why: a pure function |
//! | `claims.rs` | when to claim, to yield, to withdraw, to hand over |
//! | `groups.rs`, `resources.rs` | what runs here: start, watch, repair, stop |
//! | `orders.rs`, `server_orders.rs` | what operators asked for: of nodes and groups; of servers |
//! | `speak.rs` | when to send a beat, and what it says |
//! | `rest.rs` | when nothing is left to decide |
//! | `reload.rs` | what a new configuration changes |
//! | `fingerprint.rs` | whether two cores will behave alike, for a search |
//!
//! The rules and why they are so: `docs/protocol.md`.

mod claims;
mod event;
mod evidence;
mod fence;
mod fingerprint;
mod groups;
mod haste;
mod input;
mod lease;
mod liveness;
mod mutant;
mod orders;
mod planner;
mod record;
mod reload;
mod resources;
mod rest;
mod seen;
mod server_orders;
mod speak;
mod tally;
mod view;
mod voter;
mod voters;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use event::*;
pub use fence::LATEST_MEAL;
pub use fingerprint::{Fingerprint, Frame, Print};
pub use haste::urgent_first;
pub use input::*;
pub use lease::{KERNEL_TICK, margin};
pub use mutant::Mutant;
pub use orders::MOST_ORDERS;
pub use planner::Ability;
pub use record::{Recording, replay};
pub use resources::Runs;
pub use server_orders::MOST_SERVER_ORDERS;
pub use view::*;

use crate::beat::{ServerOrders, Shortfall, VoterDigests};
use crate::config::Config;
use crate::rng::Rng;
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, Incarnation, Marks, NodeId, Sequence};

use evidence::Evidence;
use fence::Fencing;
use groups::Tenure;
use liveness::Peer;
use mutant::Mutation;
use orders::Orders;
use rest::Pace;
use seen::Seen;
use speak::Voice;
use tally::Tally;
use voter::Voter;

/// How many events the journal keeps: some days of a quiet cluster, and a bounded memory of a noisy one.
const JOURNAL_LENGTH: usize = 1_024;

/// One pass can cause the next (a won lease starts a resource); more passes than this in one step are a fault of ours.
const PASSES: usize = 16;

/// Later than any time.
const NEVER: Moment = Moment { boot: Span(u64::MAX), raw: Span(u64::MAX) };

/// One node of the cluster, as a value.
#[derive(Clone, Debug)]
pub struct Core {
    config: Arc<Config>,
    /// The configuration's digest.
    digest: u64,
    /// Of what the configuration consists, once somebody had to be told.
    marks: Option<Marks>,
    /// Each node's place in the order of names.
    names: BTreeMap<NodeId, usize>,
    /// The nodes that may own something, in the order of names.
    owners: Vec<NodeId>,
    me: NodeId,
    incarnation: Incarnation,
    mutation: Mutation,
    rng: Rng,
    now: Moment,
    started: Moment,
    /// The earliest time at which something here is due; collected anew in every pass.
    deadline: Span,
    pace: Pace,
    /// This node was away, and what arrived meanwhile is still being read.
    catching_up: bool,
    /// It is known what runs here, so beats may be sent.
    ready: bool,
    /// So many resources were asked at the start whether they run, and have not answered.
    probes: usize,
    /// No majority was seen yet, and initdead is not over.
    starting: bool,
    leave: Option<Leave>,
    /// Something changed in this pass, so another one follows.
    changed: bool,
    /// Something changed that memory must hold before the next beat.
    touched: bool,
    stored: Stored,
    /// As last written.
    memory: Option<Memory>,
    voters: VoterSets,
    /// As every beat shows them.
    voter_digests: VoterDigests,
    /// Since when every member of both voter sets shows that it counts both.
    first_step_shown: Option<Moment>,
    peers: BTreeMap<NodeId, Peer>,
    /// How many of them are up.
    peers_up: usize,
    /// What their live beats show, by group.
    seen: Seen,
    voter: Voter,
    voice: Voice,
    groups: BTreeMap<GroupId, Tenure>,
    /// Those that are claimed here, with the votes of others.
    claimed: BTreeMap<GroupId, Tally>,
    /// No lease here runs out on either clock before this.
    first_end: Moment,
    evidence: Evidence,
    fencing: Fencing,
    orders: Orders,
    server_orders: ServerOrders,
    reach: u16,
    /// How the servers are of each group that has any.
    servers: BTreeMap<GroupId, Shortfall>,
    /// The same, of each group with those that go with it, where something is wanting.
    shortfall: BTreeMap<GroupId, Shortfall>,
    /// Above every epoch of the groups that were configured away.
    epoch_floor: Epoch,
    /// Since when this node says the same of its fitness.
    steady_since: Moment,
    /// When it was told that another machine has this node's name.
    same_name_told: Option<Moment>,
    generation: u64,
    /// Only a deliberate mistake fills it: elements that outlive the beat which says that they are gone.
    dropped_late: BTreeSet<GroupId>,
    journal: VecDeque<Record>,
    events: u64,
}

/// The daemon is stopping.
#[derive(Clone, Copy, Debug)]
struct Leave {
    since: Moment,
    /// The first beat that showed that nothing is left here, and when it was sent.
    done: Option<(Sequence, Moment)>,
    gone: bool,
}

impl Core {
    /// A node begins. Effects may come at once.
    pub fn start(start: Start, effects: &mut Effects) -> Self {
        Self::begin(start, Mutation::default(), effects)
    }

    /// A node that makes a deliberate mistake.
    #[cfg(feature = "mutants")]
    pub fn start_mutated(start: Start, mutant: Mutant, effects: &mut Effects) -> Self {
        Self::begin(start, Mutation::of(mutant), effects)
    }

    fn begin(start: Start, mutation: Mutation, fx: &mut Effects) -> Self {
        let Start { config, node, incarnation, seed, now, stored, memory, standing } = start;
        let with_memory = memory.is_some();
        let wanted = VoterSets::of(&config);
        let longest = stored.largest_lease.max(config.timing.deadtime);
        let voters = match &stored.voters {
            Some(before) if wanted.may_follow(before) => wanted.clone(),
            Some(before) => before.clone(),
            None => wanted.clone(),
        };
        let mut core = Self {
            me: node,
            incarnation,
            mutation,
            rng: Rng::new(seed),
            now,
            started: now,
            deadline: now.boot,
            pace: Pace::new(now),
            catching_up: false,
            ready: false,
            probes: 0,
            starting: !with_memory,
            leave: None,
            changed: false,
            touched: true,
            memory: None,
            peers: BTreeMap::new(),
            peers_up: 0,
            seen: Seen::default(),
            voter: Voter::new(node, incarnation, now, memory.as_ref(), longest),
            voice: Voice::new(),
            groups: BTreeMap::new(),
            claimed: BTreeMap::new(),
            first_end: NEVER,
            evidence: Evidence::new(&config),
            fencing: Fencing::default(),
            orders: Orders::new(memory.as_ref()),
            server_orders: memory.as_ref().map(|memory| memory.servers.clone()).unwrap_or_default(),
            reach: 0,
            servers: BTreeMap::new(),
            shortfall: BTreeMap::new(),
            epoch_floor: Epoch(0),
            steady_since: now,
            same_name_told: None,
            generation: 0,
            dropped_late: BTreeSet::new(),
            journal: VecDeque::new(),
            events: 0,
            stored,
            voter_digests: voters.digests(),
            voters,
            first_step_shown: None,
            digest: 0,
            marks: None,
            names: BTreeMap::new(),
            owners: Vec::new(),
            config,
        };
        core.read_config();
        core.tell(fx, Event::Started { incarnation, with_memory });
        if core.voters != wanted {
            core.tell(fx, Event::VotersKept { because: VotersRefused::TwoSteps });
        }
        core.store(fx);
        core.meet_nodes();
        core.take_up_groups(memory, &standing, fx);
        core.turn(fx);
        core
    }

    /// Something happened, now.
    pub fn step(&mut self, now: Moment, input: Input, fx: &mut Effects) {
        let late = self.advance(now);
        self.voice.along = false;
        self.drop_after_beat(fx);
        self.lapse(late, fx);
        match input {
            Input::Timer => {
                if !self.catching_up && self.keep_resting(fx) {
                    return;
                }
                self.catching_up = false;
            }
            Input::Beat { link, beat } => {
                let news = self.receive(link, beat, fx);
                self.voice.along = self.crowd().is_none();
                // Who catches up decides when everything that came is fed.
                let is_all = !self.catching_up && if news { self.gathers() } else { self.rests_on(fx) };
                if is_all {
                    return;
                }
            }
            Input::AgentDone { ticket, outcome } => {
                self.agent_done(ticket, outcome, fx);
                if self.probes > 0 {
                    return self.stop_what_was_found(ticket.group, fx);
                }
                if self.gathers_answers() {
                    return;
                }
            }
            Input::Answer { round, from } => self.answered(round, from),
            Input::Carrier { interface, up } => self.carrier(interface, up, fx),
            Input::Targets { interface, any } => self.evidence.targets(interface, any),
            Input::Reach { targets } => self.reach = targets,
            Input::Shortfall { group, shortfall } => self.find(group, shortfall),
            Input::Health { group, fit } => self.health(group, fit, fx),
            Input::LeaseGone { group } => self.lose(group, LossReason::Gone, fx),
            Input::Fenced { generation, node, off } => self.fenced(generation, node, off, fx),
            Input::Watchdog { counts } => self.watchdog(counts),
            Input::Command(command) => self.command(command, fx),
            Input::Configure(config) => self.configure(config, fx),
        }
        self.turn(fx);
    }

    /// When [`Input::Timer`] is due, on the boot clock.
    pub fn next_deadline(&self) -> Span {
        self.deadline
    }

    /// Whether a peer is late: the next deadline may be the one at which it is dead.
    pub fn misses_a_peer(&self) -> bool {
        self.peers.values().any(|peer| peer.liveness == Liveness::Late)
    }

    /// The newest events, oldest first.
    pub fn journal(&self) -> impl Iterator<Item = &Record> {
        self.journal.iter()
    }

    /// Time goes on, never back. Says by how much this node is late for what was due.
    fn advance(&mut self, now: Moment) -> Span {
        self.now = Moment { boot: now.boot.max(self.now.boot), raw: now.raw.max(self.now.raw) };
        self.now.boot - self.deadline
    }

    /// Decides until nothing changes any more, writes down what must be, and speaks where that is due.
    fn turn(&mut self, fx: &mut Effects) {
        self.pace.rests = None;
        if self.catching_up {
            self.deadline = self.now.boot;
            return;
        }
        self.pace.decide_at = None;
        let mut due = self.settle(fx);
        if self.speak(fx) {
            // The own vote counts from the beat that was just sent.
            due = self.settle(fx);
        }
        self.remember(fx);
        self.rest(due);
        self.leave_if_done(fx);
        self.wake_for_beat();
    }

    /// Says when one of the groups is due.
    fn settle(&mut self, fx: &mut Effects) -> Span {
        for _ in 0..PASSES {
            self.changed = false;
            let (due, other) = self.pass(fx);
            self.deadline = due.min(other);
            if !self.changed {
                self.pace.passed_at = self.now;
                debug_assert!(self.seen_is_right(), "what the peers show is not what was entered");
                debug_assert!(self.tallies_are_right(), "the votes are not what was counted");
                return due;
            }
        }
        // Every pass moves some group or peer one state on, so this is a fault of ours; the next timer goes on from here.
        debug_assert!(false, "a step of the core did not come to rest");
        self.wake_in(Span::millis(1));
        self.now.boot
    }

    /// Decides about everything once. Says when one of the groups is due, and when something else.
    fn pass(&mut self, fx: &mut Effects) -> (Span, Span) {
        let first = self.due(|core| {
            core.judge_peers(fx);
            core.judge_start();
            core.gather_evidence(fx);
            core.run_out_grants();
        });
        let plans = self.due(|core| {
            core.make_plan(fx);
            core.decide_claims(fx);
            core.give_grants(fx);
        });
        let votes = self.due(|core| core.count_votes(fx));
        let groups = self.due(|core| {
            core.watch_fences(fx);
            core.drive_groups(fx);
            core.admit_second_step(fx);
            core.store(fx);
        });
        (plans.min(groups), first.min(votes))
    }

    /// When something of this part of a pass is due next.
    fn due(&mut self, part: impl FnOnce(&mut Self)) -> Span {
        self.deadline = Span(u64::MAX);
        part(self);
        self.deadline
    }

    /// The start is over as soon as a majority was seen, and at initdead.
    fn judge_start(&mut self) {
        let left = self.config.timing.initdead - self.now.since(self.started);
        if self.starting && (left == Span::ZERO || self.majority_up()) {
            self.starting = false;
            self.changed = true;
        } else if self.starting {
            self.wake_in(left);
        }
    }

    /// Asks to be woken so long from now at the latest.
    fn wake_in(&mut self, span: Span) {
        self.deadline = self.deadline.min(self.now.boot + span.max(Span(1)));
    }

    fn tell(&mut self, fx: &mut Effects, event: Event) {
        self.events += 1;
        if self.journal.len() == JOURNAL_LENGTH {
            self.journal.pop_front();
        }
        self.journal.push_back(Record { number: self.events, at: self.now, event: event.clone() });
        fx.push(Effect::Tell(event));
    }

    /// The largest lease is stored before it is granted, so that a reboot cannot shorten the hold-off.
    fn store(&mut self, fx: &mut Effects) {
        let largest = self.stored.largest_lease.max(self.config.timing.deadtime).max(self.longest_granted());
        if largest != self.stored.largest_lease || self.stored.voters.as_ref() != Some(&self.voters) {
            self.stored = Stored { largest_lease: largest, voters: Some(self.voters.clone()) };
            fx.push(Effect::Store(self.stored.clone()));
        }
    }

    /// Works out once what every beat and every ranking asks of the configuration.
    fn read_config(&mut self) {
        self.digest = self.config.digest();
        self.marks = None;
        let mut names: Vec<(&str, NodeId)> =
            self.config.nodes.iter().map(|(id, node)| (&*node.name, *id)).collect();
        names.sort_unstable();
        let arbiter = |node: &NodeId| self.config.nodes.get(node).is_some_and(|node| node.arbiter);
        self.owners = names.iter().map(|(_, id)| *id).filter(|node| !arbiter(node)).collect();
        self.names = names.into_iter().enumerate().map(|(place, (_, id))| (id, place)).collect();
        self.look_for_servers();
    }

    fn lease_length(&self) -> Span {
        self.config.timing.deadtime
    }

    fn leaving(&self) -> bool {
        self.leave.is_some()
    }
}
