//! The beat: the complete public state of one node, and the only thing that nodes ever say to each other.
//!
//! There are no requests, no acknowledgements and no retransmissions. A lost beat is replaced by the next one, and
//! everything a node decides is a function of the newest beat of each peer and of its own clock (`docs/protocol.md`).
//! Plain data: `wire` turns it into bytes and back, `cluster` fills it in and judges it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::time::Span;
use crate::types::{Epoch, GroupId, Incarnation, Marks, NodeId, Sequence, ServersId};

/// What one node says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Beat {
    /// Who speaks.
    pub sender: NodeId,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// Counts the beats of this life; one number is one text, the same on every link.
    pub sequence: Sequence,
    /// The sender's boot clock when it made this beat: for jitter, never for order.
    pub sent_at: Span,
    /// What the sender is up to.
    pub flags: Flags,
    /// Digest of the sender's configuration: a difference is an alarm, never a reason to ignore a beat.
    pub config: u64,
    /// Digests of the voter sets the sender counts majorities of.
    pub voters: VoterDigests,
    /// Whom the sender has heard, for liveness and round-trip times. It acknowledges nothing.
    pub heard: BTreeMap<NodeId, Heard>,
    /// The groups that the sender holds or wants.
    pub claims: BTreeMap<GroupId, Claim>,
    /// What the sender grants as a voter.
    pub grants: BTreeMap<GroupId, Grant>,
    /// What the planner needs to know of the sender.
    pub facts: Facts,
    /// Of what the sender's configuration consists: only while it hears somebody with another one.
    pub marks: Option<Marks>,
}

impl Beat {
    /// Whether this beat says what that one said, but for what changes by itself: numbers, ages, times left.
    pub fn repeats(&self, other: &Self) -> bool {
        let same_life = (self.sender, self.incarnation) == (other.sender, other.incarnation);
        let same_state = (self.flags, self.config, self.voters) == (other.flags, other.config, other.voters);
        let mut grants = self.grants.iter().zip(&other.grants);
        same_life
            && same_state
            && self.claims == other.claims
            && self.grants.len() == other.grants.len()
            && grants
                .all(|((group, grant), (other_group, other))| group == other_group && grant.repeats(other))
            && self.facts.repeats(&other.facts)
    }
}

/// What a node is up to. An arbiter votes and owns nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "six independent facts, one bit each on the wire")]
pub struct Flags {
    /// Not yet ready to own anything: just started, and no majority seen.
    pub starting: bool,
    /// The daemon is stopping: everything is handed over.
    pub leaving: bool,
    /// An operator asked this node to own nothing.
    pub standby: bool,
    /// Votes, and never owns.
    pub arbiter: bool,
    /// Without memory of its earlier grants, so it grants nothing yet.
    pub hold_off: bool,
    /// Its machine's watchdog counts, and resets it if it hangs with an exclusive group.
    pub guarded: bool,
}

/// Digests of a voter set with its tie-break. While the voters change, there are two sets and both must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoterDigests {
    /// The set that shall stay.
    pub now: u64,
    /// The set that is being left; 0 where there is none.
    pub before: u64,
}

/// The newest beat heard of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heard {
    /// The peer's life.
    pub incarnation: Incarnation,
    /// The newest beat of that life.
    pub sequence: Sequence,
    /// How long ago it came.
    pub age: Span,
}

/// "I hold this group", or "I want it".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Above every epoch that the claimant had seen for this group.
    pub epoch: Epoch,
    /// How far it got.
    pub phase: Phase,
    /// For how long the claimant wants it granted: voters use this, not their own deadtime.
    pub lease: Span,
}

/// How far a claim got. Absent means: nothing of the group runs here, and no element of it stands in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Wants the lease, and runs nothing.
    Claiming,
    /// Has the lease of an exclusive group, and runs nothing until its last holder cannot run it any more.
    Waiting,
    /// Has the lease; resources are being started.
    Starting,
    /// Has the lease; everything runs.
    Held,
    /// Resources are being stopped.
    Stopping,
    /// Something could not be stopped: nobody else may start it.
    Blocked,
}

impl Phase {
    /// Has, or had, the lease.
    pub fn occupies(self) -> bool {
        self != Self::Claiming
    }

    /// Something of the group may run there, or ran there a moment ago.
    pub fn runs(self) -> bool {
        match self {
            Self::Claiming | Self::Waiting => false,
            Self::Starting | Self::Held | Self::Stopping | Self::Blocked => true,
        }
    }
}

/// One voter's word: for the lease's length after receipt of the named beat, nobody else gets this group from me.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub holder: NodeId,
    /// To which life of the holder.
    pub incarnation: Incarnation,
    /// For which claim.
    pub epoch: Epoch,
    /// The holder's beat that last renewed it.
    pub sequence: Sequence,
}

impl Grant {
    /// Whether it is the same grant, renewed or not.
    pub fn repeats(&self, other: &Self) -> bool {
        (self.holder, self.incarnation, self.epoch) == (other.holder, other.incarnation, other.epoch)
    }
}

/// What the planner needs to know of a node. Mostly empty in a healthy cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// How many ping targets answer.
    pub reach: u16,
    /// The groups this node could not serve now, and why.
    pub unfit: BTreeMap<GroupId, Unfit>,
    /// The groups of whose servers this node finds some not well.
    pub shortfall: BTreeMap<GroupId, Shortfall>,
    /// Held groups that this node is ready to give away, and to whom.
    pub handover: BTreeMap<GroupId, NodeId>,
    /// What operators asked for; the greatest version wins, on every node.
    #[serde(with = "pairs")]
    pub orders: BTreeMap<Subject, Order>,
    /// What they asked for of servers.
    pub servers: ServerOrders,
}

impl Facts {
    /// Whether these are the same facts, but for the time left of failure windows.
    pub fn repeats(&self, other: &Self) -> bool {
        let mut unfit = self.unfit.iter().zip(&other.unfit);
        self.reach == other.reach
            && self.unfit.len() == other.unfit.len()
            && unfit.all(|((group, why), (other_group, other))| group == other_group && why.repeats(*other))
            && self.shortfall == other.shortfall
            && self.handover == other.handover
            && self.orders == other.orders
            && self.servers == other.servers
    }
}

/// How much of the servers behind a group a node finds not well, in hundredths of what the worst of its services has: at
/// least and at most, in a while just past that is as long as it takes to find a server down and up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shortfall {
    /// At its best.
    pub least: u8,
    /// At its worst.
    pub most: u8,
}

impl Shortfall {
    /// All of them.
    pub const WHOLE: u8 = 100;
    /// Everybody is well, and was.
    pub const NONE: Self = Self { least: 0, most: 0 };
    /// It has not found out yet: worse than any that it could find.
    pub const UNKNOWN: Self = Self { least: 0, most: Self::WHOLE + 1 };

    /// Whether it has found out, and for long enough.
    pub fn is_known(self) -> bool {
        self.most <= Self::WHOLE
    }
}

/// Why a node could not serve a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unfit {
    /// An interface that carries the group's addresses has no carrier.
    Carrier,
    /// A tracked script, file or process says so.
    Health,
    /// The group is exclusive, and the machine's watchdog does not count.
    Watchdog,
    /// A resource failed here; it is tried again after so long.
    Failed {
        /// Time left of the failure window.
        retry_in: Span,
    },
}

impl Unfit {
    /// Whether it is the same reason, whatever time is left of it.
    pub fn repeats(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What an order is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The whole cluster.
    Cluster,
    /// One node.
    Node(NodeId),
    /// Where one group shall be.
    Group(GroupId),
    /// Who looks after one group.
    Care(GroupId),
}

/// An operator's order. It spreads with the beats until every node has it, and is replaced by a greater version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// One above the greatest version known where the order was given.
    pub version: u64,
    /// What was asked.
    pub wish: Wish,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Wish {
    /// Nothing (any more): as the configuration says.
    Nothing,
    /// Of a node: own nothing.
    Standby,
    /// Of the cluster, or of the care of a group: leave the resources as they are.
    Maintenance,
    /// Of a group: be on this node, while it can serve it.
    Place(NodeId),
    /// Of a group: not on this node, while another can serve it.
    Avoid(NodeId),
}

/// What operators want of servers, as far as a node has heard of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerOrders {
    /// The number of the newest order of each node that ever gave one.
    #[serde(with = "pairs")]
    pub given: BTreeMap<NodeId, u64>,
    /// Those that hold, by whom they are about. What is not here and has no greater number was taken back, or replaced.
    /// Several for the same were given where nobody knew of the others.
    pub hold: BTreeSet<(ServersId, ServerOrder)>,
}

/// An operator's order for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerOrder {
    /// Greater than that of each order which was known where it was given.
    pub number: u64,
    /// The node where it was given.
    pub by: NodeId,
    /// What was asked.
    pub wish: ServerWish,
}

/// What an operator can ask of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerWish {
    /// No new connections, and after a while none at all.
    Drain,
    /// This weight while it is well.
    Weight(u16),
}

/// A map as a list of pairs: the same bytes on the wire, and JSON, whose keys are texts, can hold it, too.
pub mod pairs {
    use std::collections::BTreeMap;
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    /// Writes the pairs in order.
    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    /// Reads pairs one by one: nothing is reserved for those that are only announced.
    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_seq(Pairs(PhantomData))
    }

    struct Pairs<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Pairs<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("pairs")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = pairs.next_element()? {
                map.insert(key, value);
            }
            Ok(map)
        }
    }
}
