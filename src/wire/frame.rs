//! The clear header: what must be known before a datagram can be opened.
//!
//! Fixed size, big-endian, and authenticated with the body (it is the AEAD's associated data). Nothing in it is believed
//! before the seal has verified; until then it only chooses the key, and the counter that a refusal moves.
//!
//! | bytes | what | |
//! | --- | --- | --- |
//! | 0 - 2 | `SYS` | tells other traffic on the port apart |
//! | 3 | version | 1 |
//! | 4 - 7 | cluster | hash of the cluster's name, to name the cause when two clusters share a network |
//! | 8 - 11 | sender | hash of the node's name |
//! | 12 - 19 | incarnation | the sender's life |
//! | 20 - 27 | random | 64 random bits of that life: no key is ever used by two lives |
//! | 28 - 35 | sequence | of the beat; the first eight bytes of the nonce |
//! | 36 | key | which key of the ring sealed it |
//! | 37 | part | from 0; the last byte of the nonce |
//! | 38 | last | the number of the last part of this beat |
//! | 39 | reserved | 0 |

use crate::types::{Incarnation, NodeId, Sequence};

use super::limits;
use super::refused::Refused;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 40;

/// Bytes of the seal that follows the body.
pub const SEAL_BYTES: usize = 16;

/// The most bytes of body in one part.
pub const PART_BYTES: usize = limits::DATAGRAM_BYTES - HEADER_BYTES - SEAL_BYTES;

/// What every datagram begins with.
const MAGIC: &[u8] = b"SYS";

/// The version of header and body together. Raise it for whatever the golden files notice.
const VERSION: u8 = 1;

/// Which key of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

/// A life of a node: its incarnation, and the random bits that keep two lives apart even where the stored incarnation
/// was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// Which life.
    pub incarnation: Incarnation,
    /// Drawn when it began.
    pub random: u64,
}

/// The clear header of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Hash of the cluster's name.
    pub cluster: u32,
    /// Who speaks.
    pub sender: NodeId,
    /// In which life.
    pub life: Life,
    /// Which beat of that life.
    pub sequence: Sequence,
    /// Sealed with which key.
    pub key: KeyId,
    /// Which part of the beat, from 0.
    pub part: u8,
    /// The number of its last part.
    pub last: u8,
}

impl Header {
    /// The bytes of the header.
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..3].copy_from_slice(MAGIC);
        bytes[3] = VERSION;
        bytes[4..8].copy_from_slice(&self.cluster.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sender.0.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.life.incarnation.0.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.life.random.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[36] = self.key.0;
        bytes[37] = self.part;
        bytes[38] = self.last;
        bytes
    }

    /// The header of a datagram. Checks its form only.
    pub fn read(datagram: &[u8]) -> Result<Self, Refused> {
        if datagram.len() > limits::DATAGRAM_BYTES {
            return Err(Refused::TooLong);
        }
        let Some(bytes) = datagram.first_chunk::<HEADER_BYTES>() else { return Err(Refused::TooShort) };
        if !bytes.starts_with(MAGIC) {
            return Err(Refused::Foreign);
        }
        if bytes[3] != VERSION {
            return Err(Refused::UnknownVersion);
        }
        if datagram.len() < HEADER_BYTES + SEAL_BYTES {
            return Err(Refused::TooShort);
        }
        let header = Self::parse(bytes);
        let parts_agree = header.part <= header.last && usize::from(header.last) < limits::PARTS;
        if !parts_agree || header.sequence == Sequence(0) || bytes[39] != 0 {
            return Err(Refused::BadHeader);
        }
        Ok(header)
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            cluster: four(bytes, 4),
            sender: NodeId(four(bytes, 8)),
            life: Life { incarnation: Incarnation(eight(bytes, 12)), random: eight(bytes, 20) },
            sequence: Sequence(eight(bytes, 28)),
            key: KeyId(bytes[36]),
            part: bytes[37],
            last: bytes[38],
        }
    }

    /// The nonce: unique under a key, because a key belongs to one life, a sequence number to one beat of it, and a part
    /// number to one part of that.
    pub(super) fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.sequence.0.to_be_bytes());
        nonce[11] = self.part;
        nonce
    }
}

fn four(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn eight(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    (u64::from(four(bytes, at)) << 32) | u64::from(four(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        cluster: 0x0102_0304,
        sender: NodeId(0x1112_1314),
        life: Life { incarnation: Incarnation(0x2122_2324_2526_2728), random: 0x3132_3334_3536_3738 },
        sequence: Sequence(0x4142_4344_4546_4748),
        key: KeyId(5),
        part: 6,
        last: 7,
    };

    /// A datagram that begins with these bytes and is long enough.
    fn datagram(header: &[u8]) -> Vec<u8> {
        [header, &[0; SEAL_BYTES]].concat()
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        assert_eq!(Header::read(&datagram(&HEADER.write())), Ok(HEADER));
    }

    #[test]
    fn every_bit_of_a_header_means_something() {
        let written = HEADER.write();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = written;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Header::read(&datagram(&bytes)), Ok(HEADER), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_no_node_writes_is_refused_by_its_cause() {
        let with = |at: usize, value: u8| {
            let mut bytes = HEADER.write();
            bytes[at] = value;
            Header::read(&datagram(&bytes))
        };
        assert_eq!(with(0, b'x'), Err(Refused::Foreign));
        assert_eq!(with(3, 2), Err(Refused::UnknownVersion));
        assert_eq!(with(37, 8), Err(Refused::BadHeader), "a part after the last");
        assert_eq!(with(38, 128), Err(Refused::BadHeader), "more parts than allowed");
        assert_eq!(with(39, 1), Err(Refused::BadHeader), "reserved");
        let first = Header { sequence: Sequence(0), ..HEADER };
        assert_eq!(
            Header::read(&datagram(&first.write())),
            Err(Refused::BadHeader),
            "sequences count from 1"
        );
        assert_eq!(Header::read(&HEADER.write()), Err(Refused::TooShort), "no seal");
        assert_eq!(Header::read(b"SYS"), Err(Refused::TooShort));
        assert_eq!(Header::read(&[0; limits::DATAGRAM_BYTES + 1]), Err(Refused::TooLong));
    }
}
