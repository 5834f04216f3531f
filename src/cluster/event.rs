//! What the journal tells, with the reason for it. One line each, for a person at three in the morning.

use serde::{Deserialize, Serialize};

use crate::beat::{ServerWish, Subject, Unfit, Wish};
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, Incarnation, InterfaceId, LinkId, NodeId, ServersId};

use super::input::{Action, Outcome};

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the events of this life, from 1.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// What.
    pub event: Event,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// This life began.
    Started {
        /// Which.
        incarnation: Incarnation,
        /// With the memory of an earlier daemon of this boot.
        with_memory: bool,
    },
    /// The first beat is sent from now on: it is known what runs here.
    Ready,
    /// A peer is heard and hears us.
    PeerUp {
        /// Who.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// A peer was silent for warntime.
    PeerLate {
        /// Who.
        node: NodeId,
        /// For how long.
        silent: Span,
    },
    /// A peer is dead to us.
    PeerDown {
        /// Who.
        node: NodeId,
        /// Why.
        because: DownReason,
    },
    /// A peer that is up was not heard over one link for deadtime: a warning, never a takeover.
    LinkDown {
        /// Who.
        node: NodeId,
        /// Over which.
        link: LinkId,
    },
    /// A peer is heard again over a link.
    LinkUp {
        /// Who.
        node: NodeId,
        /// Over which.
        link: LinkId,
    },
    /// A beat came from an earlier life than one already heard: a clone of the machine, or a lost state directory.
    OlderLife {
        /// Who.
        node: NodeId,
        /// The life that spoke.
        heard: Incarnation,
        /// The life already known.
        known: Incarnation,
    },
    /// Another machine speaks under this node's name.
    SameName {
        /// The life that spoke.
        heard: Incarnation,
    },
    /// This node itself was away: a hung process, a paused machine.
    WasAway {
        /// For how long.
        late: Span,
    },
    /// Two nodes' configurations differ.
    ConfigDiffers {
        /// From whose.
        node: NodeId,
    },
    /// The voters of the new configuration can't be counted yet.
    VotersKept {
        /// Why.
        because: VotersRefused,
    },
    /// A carrier changed.
    Carrier {
        /// Of which interface.
        interface: InterfaceId,
        /// To what.
        up: bool,
    },
    /// This node wants a group.
    Claimed {
        /// Which.
        group: GroupId,
        /// The claim.
        epoch: Epoch,
        /// Why.
        because: Reason,
    },
    /// A claim was taken back.
    Withdrawn {
        /// Which.
        group: GroupId,
        /// Why.
        because: WithdrawReason,
    },
    /// The lease was won; resources are started.
    Won {
        /// Which.
        group: GroupId,
        /// The claim.
        epoch: Epoch,
        /// By whose votes.
        by: Votes,
        /// Since the claim.
        after: Span,
    },
    /// An exclusive group waits before it starts: its last holder may still run it.
    WaitsForOther {
        /// Which.
        group: GroupId,
        /// At most so long.
        wait: Span,
    },
    /// Everything of the group runs.
    Running {
        /// Which.
        group: GroupId,
        /// Since the lease was won.
        after: Span,
    },
    /// The lease ran out, or was given to nobody any more.
    Lost {
        /// Which.
        group: GroupId,
        /// Why.
        because: LossReason,
    },
    /// The group is being stopped here.
    Stopping {
        /// Which.
        group: GroupId,
        /// Why.
        because: StopReason,
        /// For whom.
        to: Option<NodeId>,
    },
    /// Nothing of the group runs here any more.
    Released {
        /// Which.
        group: GroupId,
        /// Since the stop began.
        after: Span,
    },
    /// A resource could not be stopped: the claim stays, so that nobody else starts it.
    Blocked {
        /// Which group.
        group: GroupId,
        /// The resource's place in it.
        resource: u16,
    },
    /// A resource could not be stopped, but the group's address is silent already: it was released all the same.
    ReleasedDirty {
        /// Which group.
        group: GroupId,
        /// The resource's place in it.
        resource: u16,
    },
    /// An agent did not do what it was asked.
    ResourceFailed {
        /// Which group.
        group: GroupId,
        /// The resource's place in it.
        resource: u16,
        /// What was asked.
        action: Action,
        /// What came of it.
        outcome: Outcome,
    },
    /// A resource was found running that nobody here had started; it is stopped.
    FoundRunning {
        /// Which group.
        group: GroupId,
        /// The resource's place in it.
        resource: u16,
    },
    /// A resource goes on from an earlier daemon of this boot.
    Adopted {
        /// Which group.
        group: GroupId,
        /// The claim.
        epoch: Epoch,
    },
    /// This node became unfit for a group, or fit again (`None`).
    Fitness {
        /// Which group.
        group: GroupId,
        /// Why not.
        unfit: Option<Unfit>,
    },
    /// Evidence is gathered: the other of the pair is late.
    EvidenceBegins {
        /// Through which interface.
        interface: InterfaceId,
    },
    /// The other is not heard, but its address still answers: the heartbeat's path is dead, not the other.
    AnswersWithoutBeats {
        /// Which group's address.
        group: GroupId,
    },
    /// Two holders met; one keeps the group.
    Met {
        /// Which group.
        group: GroupId,
        /// The other one.
        other: NodeId,
        /// Who keeps it.
        keeper: NodeId,
    },
    /// A node is to be switched off.
    Fencing {
        /// Which.
        node: NodeId,
    },
    /// The fence agent is done.
    Fenced {
        /// Which.
        node: NodeId,
        /// Whether the node is off for sure.
        off: bool,
    },
    /// A new order of an operator is known here.
    Ordered {
        /// About what.
        subject: Subject,
        /// What.
        wish: Wish,
    },
    /// New orders of an operator for servers are known here.
    ServersOrdered {
        /// For which.
        servers: ServersId,
        /// What; nothing: an order for them is taken back.
        wish: Option<ServerWish>,
    },
    /// An operator's order for servers is refused.
    ServersRefused {
        /// For which.
        servers: ServersId,
        /// Why.
        because: ServersRefusedReason,
    },
    /// An operator's order can't be carried out.
    Refused {
        /// About what.
        subject: Subject,
        /// Why.
        because: RefusedReason,
    },
    /// The plan for a group changed.
    Planned {
        /// Which.
        group: GroupId,
        /// Who should own it.
        owner: Option<NodeId>,
        /// Why.
        because: Reason,
    },
}

/// Why a peer is dead to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DownReason {
    /// Silent for deadtime.
    Silent {
        /// For how long.
        silent: Span,
    },
    /// Heard, but it does not hear us.
    Deaf {
        /// The age of the newest beat of ours that it showed.
        hears_us_since: Span,
    },
    /// Never heard since our start.
    NeverHeard,
    /// It said that it leaves.
    Left,
}

/// Why a group is planned where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// It is there, and nothing speaks for a move.
    Stays,
    /// First in the order of preference.
    Preferred,
    /// The nodes before it in the order of preference can't serve it; the nearest of them, and why.
    NextInOrder {
        /// The one passed over.
        passed: NodeId,
        /// Why.
        because: Unable,
    },
    /// Among equals it owns the fewest groups.
    FewestGroups,
    /// It lacks most of its share of the instances.
    Share,
    /// An operator placed it there.
    Ordered,
    /// It goes where another group goes.
    With(GroupId),
    /// It would rather be elsewhere, but keeps apart from another group.
    Apart(GroupId),
    /// Nobody can serve it; the most promising node, and why not.
    NobodyFit {
        /// The nearest.
        nearest: NodeId,
        /// Why not.
        because: Unable,
    },
    /// No other claims it, although the plan says so: an eligible node steps in.
    NobodyElse,
}

/// Why a node can't serve a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unable {
    /// It is dead to us.
    Down,
    /// Not heard since our start, and initdead is not over.
    NotYetHeard,
    /// It has just started.
    Starting,
    /// It does not hear a majority of the voters.
    NoMajority,
    /// Its daemon is stopping.
    Leaving,
    /// An operator asked it to own nothing.
    Standby,
    /// An operator asked that this group is not there.
    Avoided,
    /// The configuration does not allow it.
    NotAllowed,
    /// It says so.
    Unfit(Unfit),
    /// Too few ping targets answer there.
    Reach(u16),
    /// It finds clearly more of the servers not well than another node does: so many of a hundred.
    Shortfall(u8),
    /// It has not known for long enough how its servers are.
    ServersUnknown,
    /// It has as many instances of this cloned group as it may have.
    Full,
    /// A group that must be held first is not.
    Waits(GroupId),
}

/// Why a claim was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WithdrawReason {
    /// Not won in two leases.
    NotWon,
    /// Another's claim ranks before ours.
    Yields(NodeId),
    /// The plan has another owner now.
    PlanChanged,
    /// It must not be here now: it is left alone, or has changed, this daemon stops, no watchdog counts, or this node has
    /// enough of its instances.
    NotHere,
    /// No majority is up any more.
    NoMajority,
}

/// Why a group is stopped here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopReason {
    /// The plan has another owner, for this reason.
    Plan(Reason),
    /// The lease was lost.
    LeaseLost,
    /// The daemon is leaving.
    Leaving,
    /// A resource failed.
    Failed,
    /// Met another holder, who keeps it.
    Met,
    /// It is not in the configuration any more, or its resources changed.
    Reconfigured,
    /// What an earlier life left behind.
    LeftBehind,
    /// It is exclusive, and the machine's watchdog cannot be used.
    Watchdog,
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LossReason {
    /// No majority renewed it in time.
    RanOut,
    /// This node was away for longer than the lease.
    WasAway,
    /// The kernel's element was gone.
    Gone,
    /// Another holder keeps it.
    Met,
}

/// Whose votes won a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Votes {
    /// A majority of the voters.
    Majority,
    /// This node's own, and the evidence.
    Evidence,
    /// This node's own, and the fence agent's success.
    Fence,
    /// This node's own: the group promises at least one.
    OwnAlone,
}

/// Why voters can't be changed in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VotersRefused {
    /// `voters.before` must name the set in use.
    TwoSteps,
    /// A member of either set does not show the first step yet.
    NotShownBy(NodeId),
}

/// Why an order for servers is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServersRefusedReason {
    /// Too many hold already.
    TooMany,
    /// They are named by an order for more servers than these, too.
    ForMore,
    /// This node has just started: others may know orders that it has not heard of.
    Starting,
}

/// Why an order can't be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusedReason {
    /// No such node or group.
    Unknown,
    /// A beat has no room for another order.
    TooMany,
    /// That node can't serve it.
    Unable(Unable),
}
