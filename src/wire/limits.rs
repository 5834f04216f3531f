//! Every limit of the wire, each with its reason. Nothing that arrives can cost more than these allow.

/// The most bytes of UDP payload in one datagram. Ethernet carries 1,500; IPv6 and UDP take 48 of them, and the rest is
/// left for VLAN tags, tunnels and VPNs, so that a beat is never fragmented on an ordinary path.
pub const DATAGRAM_BYTES: usize = 1_400;

/// Nodes and arbiters of a cluster. Heartbeats of all to all grow with the square; beyond this another design is needed.
pub const NODES: usize = 1_000;

/// Groups of a cluster, instances of cloned groups included.
pub const GROUPS: usize = 1_000;

/// Orders of operators: one for the cluster, one for each node and one for each group; or, of fewer, two for each group.
pub const ORDERS: usize = 1 + NODES + GROUPS;

/// Orders of operators for servers, each for any number of them: twice what the core lets them give, for parts of a cluster
/// can give their own. All that [`PARTS`] leaves room for.
pub const SERVER_ORDERS: usize = 128;

/// Nodes that gave such orders.
pub const SERVER_ORDERS_BY: usize = 48;

/// Parts of one beat. With them the greatest beat that the limits above allow still fits, whatever its numbers
/// ([`crate::wire::body`] proves it when it is compiled); also the bits of the word that notes which parts have come.
pub const PARTS: usize = 128;

/// Beats of one sender that may be incomplete at a time: the newest, and the one before it that a slower link may still
/// complete.
pub const SLOTS: usize = 2;

/// Keys of the ring: the present one, the one before, and some that are prepared. Each costs an attacker's datagram
/// nothing more than the comparison of its id.
pub const KEYS: usize = 16;

/// Bytes of a secret. More than this adds nothing to HMAC-SHA256, and is rather a wrong file than a key.
pub const SECRET_BYTES: usize = 1_024;

/// Fewer bytes than this can be guessed offline by whoever records one beat: the configuration warns.
pub const WEAK_SECRET_BYTES: usize = 16;
