//! Ids: what the parts of the house call nodes and groups.
//!
//! On the wire and in the core a name is its 32-bit hash: fixed size, the same on every node, and independent of the
//! order in which a configuration lists things. Two names with the same hash are a configuration error, found when the
//! file is read. (Sixteen bits would be two bytes shorter, but among 1,000 names a collision is then all but certain;
//! with 32 bits it is one in 8,600.)

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// FNV-1a, 32 bits: short names, no adversary (names come from the operator's own file), the same on every machine.
pub const fn hash_name(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// A node or an arbiter, by the hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The id of the node with this name.
    pub const fn of(name: &str) -> Self {
        Self(hash_name(name))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:08x}", self.0)
    }
}

/// A group of resources, by the hash of its name. An instance of a cloned group is named `NAME:INDEX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The id of the group with this name.
    pub const fn of(name: &str) -> Self {
        Self(hash_name(name))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{:08x}", self.0)
    }
}

/// The servers that an operator names, by a name or an address, in one service or in all: by the hash of both words. There
/// can be tens of thousands of them, and in 32 bits two would often be the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServersId(pub u64);

impl ServersId {
    /// Those with this name or address.
    pub fn of(service: Option<&str>, word: &str) -> Self {
        // No name has a zero in it, and none is empty.
        let bytes = service.unwrap_or_default().bytes().chain([0]).chain(word.bytes());
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// All that names a server.
    pub fn all_of(service: &str, name: &str, address: IpAddr) -> [Self; 4] {
        let address = address.to_string();
        let of = |service, word: &str| Self::of(service, word);
        [of(Some(service), name), of(Some(service), &address), of(None, name), of(None, &address)]
    }
}

impl fmt::Debug for ServersId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:016x}", self.0)
    }
}

/// A life of a node's daemon. Greater is later; stored before the first beat, so that it never repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Counts the beats of one incarnation, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

/// Counts the claims on one group, over all nodes and for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A link of the configuration, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u16);

/// A network interface that carries addresses of groups, by its place in [`crate::config::Config::interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceId(pub u16);

/// A configuration, taken apart: enough to see where two differ, and not what either says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Marks {
    /// How many steps down the tree of the configuration the places are, at least one.
    pub depth: u8,
    /// Of each place the hash of its path and of what stands there.
    pub places: BTreeSet<u64>,
}

impl Marks {
    /// So many places are told apart; of a larger configuration fewer steps are told.
    pub const MOST: usize = 512;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_id_on_every_machine() {
        assert_eq!(NodeId::of(""), NodeId(0x811c_9dc5));
        assert_eq!(NodeId::of("a"), NodeId(0xe40c_292c));
        assert_eq!(GroupId::of("foobar"), GroupId(0xbf9c_f968));
        assert_ne!(ServersId::of(Some("web"), "one"), ServersId::of(Some("webo"), "ne"));
    }
}
