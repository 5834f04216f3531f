//! Why a datagram was not taken, by whose fault; and how often.
//!
//! A refused datagram changes one counter and nothing else. The counter names the cause, so that an operator sees an
//! attack, a wrong key, or two clusters on one network, without a packet trace.

use crate::types::{Incarnation, NodeId};

/// Why a datagram was not taken. In each case nothing but a counter has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    // --- Anybody's bytes: nothing is proven about who sent them. ---
    /// Shorter than a header and a seal.
    #[error("too short for a beat")]
    TooShort,
    /// Longer than any that a node sends.
    #[error("too long for a beat")]
    TooLong,
    /// Something else's traffic on our port.
    #[error("not a beat of systole")]
    Foreign,
    /// Another version of the format, which this one cannot read.
    #[error("a format of another version")]
    UnknownVersion,
    /// A header that no node writes: part numbers that contradict themselves, or a sequence number of nought.
    #[error("a header that contradicts itself")]
    BadHeader,
    /// A cluster of another name on the same network and port.
    #[error("another cluster's beat")]
    WrongCluster,
    /// Sealed with a key that is not on the ring: an old key, or one that is not yet here.
    #[error("sealed with a key that is not on the ring")]
    UnknownKey,
    /// A sender that is not configured.
    #[error("a sender that is not configured")]
    UnknownSender,
    /// The seal does not verify: forged, changed, cut short, or sealed with another secret under the same key id.
    #[error("the seal does not verify")]
    BadSeal,

    // --- The seal verifies: sealed with our key, now or earlier. ---
    /// This daemon's own beat, come back to it.
    #[error("our own beat came back")]
    Reflected,
    /// Under this node's name, but not by this daemon: another machine with the same name, or a recording of an earlier
    /// life. An alarm.
    #[error("another machine speaks under this node's name (incarnation {})", incarnation.0)]
    SameName {
        /// The other's life.
        incarnation: Incarnation,
    },
    /// A life of the sender before the one known here: a recording, or a node that lost its state and whose clock is
    /// behind. An alarm.
    #[error("{sender:?} speaks as incarnation {}, but {} was heard before", incarnation.0, known.0)]
    OlderLife {
        /// Who.
        sender: NodeId,
        /// The life shown.
        incarnation: Incarnation,
        /// The greater one known.
        known: Incarnation,
    },
    /// The same incarnation with other random bits: two machines, or a copied disk, speak under one name. An alarm.
    #[error("two machines speak as {sender:?}, incarnation {}", incarnation.0)]
    Twin {
        /// The name.
        sender: NodeId,
        /// The life that both claim.
        incarnation: Incarnation,
    },
    /// This very datagram came over this link before.
    #[error("came over this link before")]
    Replayed,
    /// Older than what this link has delivered: a recording, or overtaken on the way.
    #[error("older than what this link has delivered")]
    Stale,
    /// A part that does not fit the other parts of its beat.
    #[error("parts of one beat contradict each other")]
    BadParts,

    // --- What a node of our own version would not write: another version, or a bug. ---
    /// The body ends early, or holds a value that means nothing.
    #[error("the body does not decode")]
    Undecodable,
    /// Keys twice or out of order, or a number in a longer form than needed.
    #[error("the body is not in its only form")]
    NotCanonical,
    /// More entries than the limits allow.
    #[error("more entries than the limits allow")]
    TooMany,
    /// Bytes after the end of the body.
    #[error("bytes after the end of the body")]
    Trailing,
}

/// The causes, in the order of [`Refused`]: the names that metrics and the status show.
pub const CAUSES: [&str; 20] = [
    "too_short",
    "too_long",
    "foreign",
    "unknown_version",
    "bad_header",
    "wrong_cluster",
    "unknown_key",
    "unknown_sender",
    "bad_seal",
    "reflected",
    "same_name",
    "older_life",
    "twin",
    "replayed",
    "stale",
    "bad_parts",
    "undecodable",
    "not_canonical",
    "too_many",
    "trailing",
];

impl Refused {
    /// The place in [`CAUSES`].
    const fn place(&self) -> usize {
        match self {
            Self::TooShort => 0,
            Self::TooLong => 1,
            Self::Foreign => 2,
            Self::UnknownVersion => 3,
            Self::BadHeader => 4,
            Self::WrongCluster => 5,
            Self::UnknownKey => 6,
            Self::UnknownSender => 7,
            Self::BadSeal => 8,
            Self::Reflected => 9,
            Self::SameName { .. } => 10,
            Self::OlderLife { .. } => 11,
            Self::Twin { .. } => 12,
            Self::Replayed => 13,
            Self::Stale => 14,
            Self::BadParts => 15,
            Self::Undecodable => 16,
            Self::NotCanonical => 17,
            Self::TooMany => 18,
            Self::Trailing => 19,
        }
    }

    /// The cause's name, without its particulars.
    pub const fn cause(&self) -> &'static str {
        CAUSES[self.place()]
    }

    /// Whether the seal verified: then the sender has, or had, the cluster's key.
    pub const fn is_sealed(&self) -> bool {
        self.place() >= Self::Reflected.place()
    }
}

/// How many datagrams were refused, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; CAUSES.len()]);

impl Counters {
    pub(super) fn count(&mut self, refused: &Refused) {
        self.0[refused.place()] += 1;
    }

    /// How many were refused for this cause, whatever its particulars.
    pub fn of(&self, refused: &Refused) -> u64 {
        self.0[refused.place()]
    }

    /// How many were refused at all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each cause with its count, those that never happened too.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CAUSES.into_iter().zip(self.0)
    }
}
