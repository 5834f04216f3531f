//! One node's voice: its beats become sealed datagrams.

use crate::beat::Beat;
use crate::types::{NodeId, Sequence};

use super::body::{self, TooMany};
use super::frame::{HEADER_BYTES, Header, Life, PART_BYTES, SEAL_BYTES};
use super::seal::{ClusterKeys, KeyRing, LifeKey};

/// One sealed datagram: the same bytes go out on every link.
pub type Datagram = Vec<u8>;

/// Seals the beats of one life. There must be only one of these for a life: a second one would use nonces again.
pub struct Sealer {
    cluster: u32,
    sender: NodeId,
    life: Life,
    key: LifeKey,
    /// The newest sequence number sealed; none is sealed twice.
    newest: Sequence,
}

/// A beat that was not sealed: a bug of ours, or a cluster beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// Another node's, or another life's.
    #[error("the beat is not of this life of this node")]
    NotMine,
    /// One nonce for two texts would give the key away.
    #[error("sequence number {} was used before", .0.0)]
    UsedSequence(Sequence),
    /// See [`super::limits`].
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl Sealer {
    /// The voice of `sender` in this life.
    pub fn new(ring: &KeyRing, cluster: &str, sender: NodeId, life: Life) -> Self {
        let key = ClusterKeys::new(ring, cluster).sealing(sender, life);
        Self { cluster: cluster_hash(cluster), sender, life, key, newest: Sequence(0) }
    }

    /// From now on the first key of this ring seals. Sequence numbers go on.
    pub fn set_keys(&mut self, ring: &KeyRing, cluster: &str) {
        self.key = ClusterKeys::new(ring, cluster).sealing(self.sender, self.life);
        self.cluster = cluster_hash(cluster);
    }

    /// The datagrams of a beat: one, unless it is large.
    pub fn seal(&mut self, beat: &Beat) -> Result<Vec<Datagram>, Unsealed> {
        if beat.sender != self.sender || beat.incarnation != self.life.incarnation {
            return Err(Unsealed::NotMine);
        }
        if beat.sequence <= self.newest {
            return Err(Unsealed::UsedSequence(beat.sequence));
        }
        // Room for the header, so that a beat of one part is sealed where it was written.
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body::likely_bytes(beat) + SEAL_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        body::encode(beat, &mut bytes)?;
        self.newest = beat.sequence;
        if bytes.len() <= HEADER_BYTES + PART_BYTES {
            self.key.seal(&self.header(beat.sequence, 0, 0), &mut bytes);
            return Ok(vec![bytes]);
        }
        let parts = bytes[HEADER_BYTES..].chunks(PART_BYTES);
        let last = number(parts.len() - 1);
        Ok(parts.zip(0..).map(|(part, at)| self.seal_part(beat.sequence, at, last, part)).collect())
    }

    /// One sealed datagram with any body at all. For tests and fuzzers, which must say what no node says; the house calls
    /// it only from [`Sealer::seal`], because it does not watch over nonces.
    pub fn seal_part(&self, sequence: Sequence, part: u8, last: u8, body: &[u8]) -> Datagram {
        let mut datagram = Vec::with_capacity(HEADER_BYTES + body.len() + SEAL_BYTES);
        datagram.resize(HEADER_BYTES, 0);
        datagram.extend_from_slice(body);
        self.key.seal(&self.header(sequence, part, last), &mut datagram);
        datagram
    }

    fn header(&self, sequence: Sequence, part: u8, last: u8) -> Header {
        let Self { cluster, sender, life, .. } = *self;
        Header { cluster, sender, life, sequence, key: self.key.id, part, last }
    }
}

/// Part numbers fit in a byte: `body` proves that no body has more than [`super::limits::PARTS`] of them.
fn number(part: usize) -> u8 {
    u8::try_from(part).expect("a body within the limits has at most 128 parts")
}

/// The cluster's name as the header shows it: told apart as nodes are, and no secret.
pub(super) fn cluster_hash(cluster: &str) -> u32 {
    NodeId::of(cluster).0
}
