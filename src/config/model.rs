//! What a valid configuration says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::director::{ConnectionSync, Services};
use crate::time::Span;
use crate::types::{GroupId, InterfaceId, NodeId};

/// The whole configuration, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The cluster's name: part of every datagram's authentication.
    pub cluster: String,
    /// The key ring's file.
    pub keys: PathBuf,
    /// The four timers.
    pub timing: Timing,
    /// Nodes and arbiters, by id.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Where beats travel, in the order of the file.
    pub links: Vec<Link>,
    /// What stands in for the absent vote of a pair.
    pub tiebreak: Tiebreak,
    /// While the voters change: the set that is being left.
    pub voters_before: Option<VotersBefore>,
    /// Who enforces leases.
    pub lease: Enforcement,
    /// A hardware or kernel watchdog that resets this machine when exclusive groups outlive their lease.
    pub watchdog: Option<Watchdog>,
    /// How to switch nodes off.
    pub fences: Vec<Fence>,
    /// Interfaces that carry addresses of groups; [`InterfaceId`] is the place here.
    pub interfaces: Vec<Interface>,
    /// Groups, by id; instances of a cloned group are groups of their own.
    pub groups: BTreeMap<GroupId, Group>,
    /// What is told of events. Left out of the JSON where it is not written: a file without it has the digest that it
    /// always had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// What each node looks at by itself, in the order of the file. Left out of the JSON where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<Track>,
    /// What is kept running beside the daemon, in the order of the file. Left out of the JSON where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub respawns: Vec<Respawn>,
    /// Services that the director watches over, by name. Left out of the JSON where there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: Services,
    /// How directors tell each other their connections. Left out of the JSON where it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<ConnectionSync>,
}

/// Something that a node must have, beside the network, to be fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// As written by the operator.
    pub name: String,
    /// What is looked at.
    pub what: Tracked,
    /// Between two looks.
    pub every: Span,
    /// A program that takes longer has failed.
    pub timeout: Span,
    /// So many bad looks in a row, and it is bad.
    pub fall: u32,
    /// So many good looks in a row, and it is well again.
    pub rise: u32,
    /// What hangs on it.
    pub bearing: Bearing,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracked {
    /// A program that ends with 0 while all is well.
    Program {
        /// Its absolute path.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
    },
    /// A file that is there while all is well.
    File(PathBuf),
    /// A file that is not there while all is well.
    NoFile(PathBuf),
    /// A process of this name that runs while all is well.
    Process(String),
}

/// What hangs on something that is tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearing {
    /// Without it the node is unfit for these groups.
    Groups(Vec<GroupId>),
    /// With it the node counts as if it reached so many more ping targets.
    Weight(u16),
}

/// A program that is kept running beside the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Respawn {
    /// As written by the operator.
    pub name: String,
    /// Its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whose rights it has; `None`: root's.
    pub user: Option<String>,
    /// Where it runs; empty: on every node.
    pub nodes: Vec<NodeId>,
}

/// A program that is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Of these kinds of events.
    pub events: Vec<String>,
    /// Longer, and it is killed.
    pub timeout: Span,
}

/// `2 keepalive < deadtime`, `keepalive < warntime < deadtime <= initdead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between beats.
    pub keepalive: Span,
    /// Silent so long, a peer is late, and evidence is gathered.
    pub warntime: Span,
    /// Silent so long, a peer is dead. Also the length of a lease.
    pub deadtime: Span,
    /// Replaces deadtime for peers not heard since the start.
    pub initdead: Span,
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// As written by the operator, lower case.
    pub name: String,
    /// Votes, and owns nothing.
    pub arbiter: bool,
}

/// A network that beats travel over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// As written by the operator.
    pub name: String,
    /// Bound to this interface.
    pub interface: String,
    /// UDP port.
    pub port: u16,
    /// How beats get to the others.
    pub cast: Cast,
}

/// How beats get to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cast {
    /// One datagram to each address. Heartbeat's `ucast` names addresses without nodes: those are learnt from the
    /// sealed sender, so an address may stand without a node.
    Unicast(Vec<(Option<NodeId>, IpAddr)>),
    /// One datagram to a multicast group.
    Multicast {
        /// The group.
        group: IpAddr,
        /// Hops.
        ttl: u8,
    },
    /// One datagram to the interface's broadcast address.
    Broadcast,
}

/// What stands in for the absent vote of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiebreak {
    /// The method.
    pub method: TiebreakMethod,
    /// Ping targets: one answer of a group is enough. Empty: each service interface's default gateway.
    pub ping: Vec<Vec<IpAddr>>,
}

/// The method of a tie-break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TiebreakMethod {
    /// What probes and pings show.
    Evidence,
    /// The success of the fence agent.
    Fence,
    /// No vote: a lone node keeps and takes nothing.
    None,
}

/// A voter set that is being left, with the tie-break it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotersBefore {
    /// Its members.
    pub nodes: Vec<NodeId>,
    /// Its tie-break.
    pub method: TiebreakMethod,
}

/// Who enforces leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// The kernel, by nftables sets with timeouts.
    Kernel,
    /// Only our daemon: while it hangs, nobody does.
    Daemon,
}

/// A watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// The device.
    pub device: PathBuf,
    /// Not fed for so long, it resets the machine.
    pub timeout: Span,
}

/// How to switch nodes off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// As written by the operator.
    pub name: String,
    /// The agent.
    pub agent: String,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
    /// The nodes it can switch off; empty: all.
    pub nodes: Vec<NodeId>,
    /// The node that holds nothing waits so long before it fences.
    pub delay: Span,
}

/// An interface that carries addresses of groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name; `None` where it is found from the route to the address.
    pub name: Option<String>,
    /// Whether a link of the cluster runs over it.
    pub has_link: bool,
}

/// A group of resources: it is on one node, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// As written by the operator; an instance of a clone is `NAME:INDEX`.
    pub name: String,
    /// Nodes in order of preference; nodes not named here come after them, as equals.
    pub prefer: Vec<NodeId>,
    /// Nodes that may own it; empty: all that are no arbiters.
    pub only: Vec<NodeId>,
    /// Whether it goes back to the preferred node when that returns.
    pub failback: bool,
    /// A preferred node must have been fit for so long before the group goes back to it.
    pub failback_delay: Span,
    /// May never run twice, not even for the rest of a lease after a crash.
    pub exclusive: bool,
    /// What is promised.
    pub promise: Promise,
    /// The cloned group that this is an instance of.
    pub clone_of: Option<Instance>,
    /// Goes where this other group goes.
    pub with: Option<GroupId>,
    /// Is started only while these are held somewhere.
    pub after: Vec<GroupId>,
    /// Is not on a node of these while another node can serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<GroupId>,
    /// How many ping targets must answer.
    pub reach: Reach,
    /// How long a failure keeps a node from being tried again.
    pub failure_window: Span,
    /// The interfaces that carry its addresses.
    pub interfaces: Vec<InterfaceId>,
    /// Started in this order, stopped in reverse.
    pub resources: Vec<Arc<Resource>>,
}

/// One of the instances of a cloned group, which spread over the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The cloned group.
    pub group: GroupId,
    /// From 0.
    pub index: u16,
    /// How many there are.
    pub count: u16,
    /// A node with twice the weight has twice as many; nodes that are not named have 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<NodeId, u16>,
    /// No node has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u16>,
}

impl Instance {
    /// One of so many, where all nodes count alike.
    pub fn new(group: GroupId, index: u16, count: u16) -> Self {
        Self { group, index, count, weights: BTreeMap::new(), most: None }
    }
}

/// What is promised of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promise {
    /// Never two owners: a node without a majority gives it up.
    AtMostOne,
    /// Never none: a node that is alone keeps it, and takes it.
    AtLeastOne,
}

/// How many ping targets a node must reach to be fit for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It does not matter.
    Any,
    /// At least so many.
    AtLeast(u16),
    /// No fewer than any other node that could own it (Heartbeat's `ipfail`).
    Best,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Unique in its group.
    pub name: String,
    /// `vip`, `ocf:heartbeat:Filesystem`, `systemd:nginx`, `lsb:foo`, `heartbeat:foo`, or a bare name.
    pub agent: String,
    /// Positional arguments, from a `haresources` line: `agent::arg::arg`.
    pub args: Vec<String>,
    /// Named parameters.
    pub params: BTreeMap<String, String>,
    /// Runs on every node that may own the group, whether or not it does.
    pub warm: bool,
    /// How it is watched.
    pub monitor: Option<Monitor>,
    /// It waits so long before it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_delay: Option<Span>,
    /// Longer, and a start has failed; `None`: as the agent's meta-data say.
    pub start_timeout: Option<Span>,
    /// Longer, and a stop has failed; `None`: as the agent's meta-data say.
    pub stop_timeout: Option<Span>,
}

/// How a resource is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// Between two looks.
    pub every: Span,
    /// Longer, and a look has failed; `None`: as the agent's meta-data say.
    pub timeout: Option<Span>,
    /// How often it is started again in place before the group moves.
    pub restarts: u32,
}
