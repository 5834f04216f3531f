//! What goes into the core and what comes out. Both are plain data: they are logged, compared, recorded and replayed.
//!
//! **What the shell owes the core** (the daemon and the simulator are two such shells):
//! - `step` is called with the present time, never with the time at which a timer was due, and time never goes back.
//! - What has arrived is fed before [`Input::Timer`].
//! - Effects are carried out in the order given, or in that of [`urgent_first`](super::urgent_first). A
//!   [`Effect::Remember`] or [`Effect::Store`] that fails holds back every [`Effect::Send`] until one has succeeded:
//!   silence is safe, a beat that rests on nothing is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::beat::{Beat, Order, Phase, ServerOrders, ServerWish, Shortfall, Subject};
use crate::config::{Config, Group, Resource, TiebreakMethod};
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, Incarnation, InterfaceId, LinkId, NodeId, Sequence, ServersId};

use super::event::Event;

/// What a core begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The configuration.
    pub config: Arc<Config>,
    /// Which of its nodes this is.
    pub node: NodeId,
    /// This life: already stored and fsynced by the shell.
    pub incarnation: Incarnation,
    /// Of the core's own generator.
    pub seed: u64,
    /// The present.
    pub now: Moment,
    /// What the disk remembers, over reboots.
    pub stored: Stored,
    /// What /run remembers of an earlier daemon of this boot; `None` after a reboot, or where it was damaged. Then the
    /// shell has deleted every element of its kernel sets before it starts a core.
    pub memory: Option<Memory>,
    /// Read from the kernel after `memory`: leases that still stand, and for how long.
    pub standing: BTreeMap<GroupId, Span>,
}

/// Kept on disk (fsynced): survives a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The longest lease ever granted here: so long a voter without memory holds off.
    pub largest_lease: Span,
    /// The voters last counted; `None` before the first start.
    pub voters: Option<VoterSets>,
}

/// Kept in /run with the boot id: survives the daemon, not the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What was granted. No ends are kept: after a restart each stands for its whole length again, which is never too short.
    pub grants: BTreeMap<GroupId, RememberedGrant>,
    /// What was claimed here.
    pub claims: BTreeMap<GroupId, RememberedClaim>,
    /// The warm resources that ran here, by group and place in it.
    pub warm: BTreeSet<(GroupId, u16)>,
    /// What may run here or not: it could not be stopped, or is being repaired.
    pub unsure: BTreeSet<(GroupId, u16)>,
    /// Operators' orders.
    #[serde(with = "crate::beat::pairs")]
    pub orders: BTreeMap<Subject, Order>,
    /// Those for servers.
    #[serde(default)]
    pub servers: ServerOrders,
    /// The voter was still holding off: it begins anew.
    pub hold_off: bool,
}

/// A grant as remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedGrant {
    /// To whom.
    pub holder: NodeId,
    /// To which life.
    pub incarnation: Incarnation,
    /// For which claim.
    pub epoch: Epoch,
    /// The beat it was given for.
    pub sequence: Sequence,
    /// For how long.
    pub lease: Span,
}

/// A claim as remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedClaim {
    /// As it was configured when it was started: what is stopped is what was started.
    pub group: Arc<Group>,
    /// Its epoch.
    pub epoch: Epoch,
    /// How far it got.
    pub phase: Phase,
}

/// The voters that majorities are counted of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSets {
    /// The set that shall stay.
    pub now: VoterSet,
    /// The set that is being left: then a majority of both is needed, and no tie-break counts.
    pub before: Option<VoterSet>,
}

/// Voters with their tie-break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSet {
    /// The members.
    pub nodes: BTreeSet<NodeId>,
    /// What stands in for the absent one of two.
    pub method: TiebreakMethod,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A timer is due. Everything that had arrived before has been fed.
    Timer,
    /// A sealed beat was opened.
    Beat {
        /// Where it came in.
        link: LinkId,
        /// What it says.
        beat: Arc<Beat>,
    },
    /// An agent is done.
    AgentDone {
        /// Which run.
        ticket: Ticket,
        /// With what.
        outcome: Outcome,
    },
    /// Something answered a round of probes.
    Answer {
        /// The round that asked.
        round: Round,
        /// Who answered.
        from: Answerer,
    },
    /// The carrier of an interface, as polled.
    Carrier {
        /// Which.
        interface: InterfaceId,
        /// Whether it is up.
        up: bool,
    },
    /// Whether there is anything to ping through an interface: a target of the configuration, or a default gateway.
    Targets {
        /// Which.
        interface: InterfaceId,
        /// Whether there is any.
        any: bool,
    },
    /// How many ping targets answer, where the configuration asks for them to be watched.
    Reach {
        /// How many.
        targets: u16,
    },
    /// How much of a group's servers this node finds not well.
    Shortfall {
        /// Which group.
        group: GroupId,
        /// How much.
        shortfall: Shortfall,
    },
    /// What the tracked scripts, files and processes of a group say.
    Health {
        /// Which group.
        group: GroupId,
        /// Whether it may run here.
        fit: bool,
    },
    /// A renewal found no element in the kernel: it had run out, or somebody removed it.
    LeaseGone {
        /// Which group's.
        group: GroupId,
    },
    /// A fence agent is done.
    Fenced {
        /// The generation of the effect.
        generation: u64,
        /// The node to be switched off.
        node: NodeId,
        /// Whether it is off, for sure.
        off: bool,
    },
    /// Whether the machine's watchdog counts and can be fed. Said once it is known, and when it changes.
    Watchdog {
        /// It does.
        counts: bool,
    },
    /// An operator asks.
    Command(Command),
    /// A new configuration, checked.
    Configure(Arc<Config>),
}

/// What an operator asks of the node he talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A node shall own nothing.
    Standby {
        /// Which.
        node: NodeId,
    },
    /// A node may own again.
    Online {
        /// Which.
        node: NodeId,
    },
    /// A group shall be here.
    Takeover {
        /// Which.
        group: GroupId,
    },
    /// A group shall be there.
    Move {
        /// Which.
        group: GroupId,
        /// Where to.
        node: NodeId,
    },
    /// A group shall not be on that node.
    Avoid {
        /// Which.
        group: GroupId,
        /// Where not.
        node: NodeId,
    },
    /// A group shall be where the configuration says.
    Unmove {
        /// Which.
        group: GroupId,
    },
    /// Resources are left alone, or no longer.
    Maintenance {
        /// Which of the two.
        on: bool,
        /// Of which group; without one: of all.
        group: Option<GroupId>,
    },
    /// These servers shall be treated so.
    OrderServers {
        /// Which.
        servers: ServersId,
        /// How.
        wish: ServerWish,
    },
    /// What was ordered for these servers is taken back.
    FreeServers {
        /// Which, and by whatever else they alone are named.
        servers: Vec<ServersId>,
        /// By what they are named, and others as well.
        wider: Vec<ServersId>,
    },
    /// Forget the failures of a group here, and try again.
    Cleanup {
        /// Which.
        group: GroupId,
    },
    /// A person confirms that a node is off.
    FenceAck {
        /// Which.
        node: NodeId,
    },
    /// Hand over everything, then stop.
    Leave,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Write this to /run; what follows rests on it.
    Remember(Memory),
    /// Write this to disk and fsync; what follows rests on it.
    Store(Stored),
    /// Seal this and send it on every link.
    Send(Arc<Beat>),
    /// Put the group's element into the kernel's set, until this time of the boot clock. The kernel takes a length, not an
    /// end: read the clock again after the commit, and if that took longer than half of [`margin`](super::margin) set it
    /// again or delete it.
    RaiseLease {
        /// Which.
        group: GroupId,
        /// Its end.
        until: Span,
    },
    /// Delete and add the element in one transaction; where it had run out, change nothing and say [`Input::LeaseGone`].
    RenewLease {
        /// Which.
        group: GroupId,
        /// Its new end.
        until: Span,
    },
    /// Delete the element, and the group's queued announcements with it.
    DropLease {
        /// Which.
        group: GroupId,
    },
    /// Run an agent. Never two at once for one resource; an answer always comes, if need be from its time limit.
    Run {
        /// To answer with.
        ticket: Ticket,
        /// What to do.
        action: Action,
        /// To what.
        resource: Arc<Resource>,
    },
    /// At once: ask for the addresses of these groups, and ping every target, through this interface.
    Probe {
        /// To answer with.
        round: Round,
        /// Through which interface.
        interface: InterfaceId,
        /// Whose addresses.
        groups: Vec<GroupId>,
    },
    /// Announce the group's addresses again, paced.
    Announce {
        /// Which.
        group: GroupId,
    },
    /// Switch a node off.
    Fence {
        /// To answer with.
        generation: u64,
        /// Which.
        node: NodeId,
    },
    /// Every exclusive group here has a valid lease or is known to be stopped: the watchdog may be fed. The first one starts
    /// it, and is answered by [`Input::Watchdog`].
    FeedWatchdog,
    /// Say so: to the log, the journal, the metrics.
    Tell(Event),
    /// Everything is handed over and stopped; the last beat is sent. The daemon may exit.
    Left,
}

/// Effects, in order.
pub type Effects = Vec<Effect>;

/// One run of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The group.
    pub group: GroupId,
    /// The resource's place in it.
    pub resource: u16,
    /// Counts the runs: an answer to an older one is counted and dropped.
    pub generation: u64,
}

/// What an agent can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Does it run? Asked once, of everything, before the first beat.
    Probe,
    /// Start it; one that runs already is a success.
    Start,
    /// Stop it; one that does not run is a success.
    Stop,
    /// Does it still run, and well?
    Monitor,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; of a probe or monitor: it runs.
    Done,
    /// Of a probe or monitor: it does not run, and that is clean.
    NotRunning,
    /// Failed, with the agent's exit code.
    Failed {
        /// The code.
        code: i32,
    },
    /// The time limit was over, and it was killed.
    TimedOut,
}

/// A round of probes: all of its questions leave at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Round(pub u64);

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answerer {
    /// A ping target.
    Target,
    /// An address of this group, from another machine than this.
    Group(GroupId),
}
