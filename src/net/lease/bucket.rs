//! An address that every node has, and the parts that its packets are divided into.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::HashOf;

use super::super::frame::Mac;
use super::super::nft::Key;

/// An address that every node has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shared {
    /// The address.
    pub address: IpAddr,
    /// What its neighbours are told that it has: a group of Ethernet, so that every node gets every frame.
    pub mac: Mac,
    /// What decides into which bucket a packet falls.
    pub hash: HashOf,
    /// How many buckets there are.
    pub buckets: u32,
    /// Another seed makes other buckets.
    pub seed: u32,
}

/// A part of an address's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Of this address.
    pub of: Arc<Shared>,
    /// From 0.
    pub number: u32,
}

impl Bucket {
    pub(super) fn key(&self) -> Key {
        Key::numbered(self.of.address, self.number)
    }
}

impl Shared {
    /// Into which bucket a packet of this client falls: its address and port, and the port that it asks for. Without ports
    /// as one that has none.
    pub fn bucket_of(&self, client: IpAddr, ports: Option<(u16, u16)>) -> u32 {
        let mut bytes = match client {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut put = |port: u16| {
            bytes.extend_from_slice(&port.to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
        };
        match (self.hash, ports) {
            (HashOf::Source, _) | (_, None) => {}
            (HashOf::SourcePort, Some((client, _))) => put(client),
            (HashOf::Ports, Some((client, own))) => [client, own].into_iter().for_each(put),
        }
        // The kernel scales; it does not divide.
        let scaled = (u64::from(jenkins(&bytes, self.seed)) * u64::from(self.buckets)) >> 32;
        u32::try_from(scaled).unwrap_or_default()
    }
}

/// Bob Jenkins' hash of 2006 (lookup3) over whole words, as the kernel's `jhash` has it.
fn jenkins(bytes: &[u8], seed: u32) -> u32 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let first = 0xdead_beef_u32.wrapping_add(length).wrapping_add(seed);
    let (mut a, mut b, mut c) = (first, first, first);
    let mut words: Vec<u32> =
        bytes.chunks(4).map(|word| word.try_into().map(u32::from_ne_bytes).unwrap_or_default()).collect();
    while words.len() > 3 {
        (a, b, c) = (a.wrapping_add(words[0]), b.wrapping_add(words[1]), c.wrapping_add(words[2]));
        words.drain(..3);
        for bits in [4, 6, 8, 16, 19, 4] {
            a = a.wrapping_sub(c) ^ c.rotate_left(bits);
            c = c.wrapping_add(b);
            (a, b, c) = (b, c, a);
        }
    }
    let rest = |at: usize| words.get(at).copied().unwrap_or_default();
    (a, b, c) = (a.wrapping_add(rest(0)), b.wrapping_add(rest(1)), c.wrapping_add(rest(2)));
    for bits in [14, 11, 25, 16, 4, 14, 24] {
        c = (c ^ b).wrapping_sub(b.rotate_left(bits));
        (a, b, c) = (b, c, a);
    }
    b
}
