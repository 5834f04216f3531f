//! Beats that are larger than one datagram: each part is sealed on its own, and the beat counts when all are there.
//!
//! Parts are slices of the body in order, all but the last of full size. They may come in any order and over any links.
//! Bounded: at most [`limits::SLOTS`] beats of one sender are in the making, the newest win, and a buffer is only made
//! for a part whose seal has verified, in the size that its authenticated header states.

use crate::types::Sequence;

use super::frame::{Header, PART_BYTES};
use super::limits;
use super::refused::Refused;

/// The beats of one sender that are not whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gathering(Vec<Slot>);

/// One beat that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    sequence: Sequence,
    /// The number of the last part.
    last: u8,
    /// One bit for each part that is there.
    seen: u128,
    /// Room for all parts, each in its place; 0 where none has come yet.
    body: Vec<u8>,
    /// Bytes of the last part.
    last_bytes: usize,
}

impl Gathering {
    /// Takes a part. When it is the one that was missing, the whole body is read, and forgotten with all older ones. If
    /// that fails, it is as if the part had never come.
    pub(super) fn add<T>(
        &mut self,
        header: &Header,
        part: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        let is_sized = if header.part == header.last { !part.is_empty() } else { part.len() == PART_BYTES };
        if !is_sized || part.len() > PART_BYTES {
            return Err(Refused::BadParts);
        }
        let Some(slot) = self.slot(header)? else { return Ok(None) };
        slot.put(header.part, part);
        if !slot.is_whole() {
            return Ok(None);
        }
        match read(slot.bytes()) {
            Ok(read) => {
                self.0.retain(|slot| slot.sequence > header.sequence);
                Ok(Some(read))
            }
            Err(refused) => {
                slot.take_back(header.part);
                Err(refused)
            }
        }
    }

    /// The place for this beat. None if two newer ones are in the making.
    fn slot(&mut self, header: &Header) -> Result<Option<&mut Slot>, Refused> {
        if let Some(place) = self.0.iter().position(|slot| slot.sequence == header.sequence) {
            let slot = &mut self.0[place];
            return if slot.last == header.last { Ok(Some(slot)) } else { Err(Refused::BadParts) };
        }
        if self.0.len() == limits::SLOTS {
            let oldest = (0..limits::SLOTS).min_by_key(|place| self.0[*place].sequence);
            match oldest {
                Some(place) if self.0[place].sequence < header.sequence => drop(self.0.remove(place)),
                Some(_) | None => return Ok(None),
            }
        }
        self.0.push(Slot::new(header));
        Ok(self.0.last_mut())
    }
}

impl Slot {
    fn new(header: &Header) -> Self {
        let parts = usize::from(header.last) + 1;
        let body = vec![0; parts * PART_BYTES];
        Self { sequence: header.sequence, last: header.last, seen: 0, body, last_bytes: 0 }
    }

    /// The parts of one beat are the same bytes on every link, so one that comes again changes nothing.
    fn put(&mut self, number: u8, part: &[u8]) {
        let start = usize::from(number) * PART_BYTES;
        self.body[start..start + part.len()].copy_from_slice(part);
        self.seen |= 1 << number;
        if number == self.last {
            self.last_bytes = part.len();
        }
    }

    fn take_back(&mut self, number: u8) {
        let start = usize::from(number) * PART_BYTES;
        self.body[start..start + PART_BYTES].fill(0);
        self.seen &= !(1 << number);
        if number == self.last {
            self.last_bytes = 0;
        }
    }

    fn is_whole(&self) -> bool {
        self.seen.count_ones() == u32::from(self.last) + 1
    }

    fn bytes(&self) -> &[u8] {
        &self.body[..usize::from(self.last) * PART_BYTES + self.last_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};
    use crate::wire::frame::{KeyId, Life};

    fn header(sequence: u64, part: u8, last: u8) -> Header {
        let life = Life { incarnation: Incarnation(1), random: 2 };
        Header {
            cluster: 0,
            sender: NodeId(1),
            life,
            sequence: Sequence(sequence),
            key: KeyId(1),
            part,
            last,
        }
    }

    /// Adds a part of the right size, filled with `fill`; whole beats are given back as they are.
    fn add(gathering: &mut Gathering, header: Header, fill: u8) -> Result<Option<Vec<u8>>, Refused> {
        let bytes = if header.part == header.last { 3 } else { PART_BYTES };
        gathering.add(&header, &vec![fill; bytes], |body| Ok(body.to_vec()))
    }

    #[test]
    fn parts_in_any_order_make_the_body_in_order() {
        let mut gathering = Gathering::default();
        assert_eq!(add(&mut gathering, header(1, 2, 2), b'c'), Ok(None));
        assert_eq!(add(&mut gathering, header(1, 0, 2), b'a'), Ok(None));
        assert_eq!(add(&mut gathering, header(1, 0, 2), b'a'), Ok(None), "a copy from another link");
        let body = add(&mut gathering, header(1, 1, 2), b'b');
        let expected = [vec![b'a'; PART_BYTES], vec![b'b'; PART_BYTES], vec![b'c'; 3]].concat();
        assert_eq!(body, Ok(Some(expected)));
        assert_eq!(gathering, Gathering::default(), "nothing is kept of a whole beat");
    }

    #[test]
    fn the_two_newest_beats_may_be_incomplete_and_no_more() {
        let mut gathering = Gathering::default();
        for sequence in [5, 3, 9, 4] {
            assert_eq!(add(&mut gathering, header(sequence, 0, 1), 0), Ok(None));
        }
        assert_eq!(gathering.0.len(), limits::SLOTS);
        assert_eq!(add(&mut gathering, header(3, 1, 1), 0), Ok(None), "pushed out by 9");
        assert!(matches!(add(&mut gathering, header(5, 1, 1), 0), Ok(Some(_))));
        assert!(matches!(add(&mut gathering, header(9, 1, 1), 0), Ok(Some(_))), "a newer one is kept");
    }

    #[test]
    fn a_part_that_does_not_fit_changes_nothing() {
        let mut gathering = Gathering::default();
        assert_eq!(add(&mut gathering, header(1, 0, 1), 7), Ok(None));
        let before = gathering.clone();
        let whole = |_: &[u8]| Ok(());
        assert_eq!(
            gathering.add(&header(1, 1, 2), &[0; PART_BYTES], whole),
            Err(Refused::BadParts),
            "other count"
        );
        assert_eq!(gathering.add(&header(2, 0, 1), &[0; 5], whole), Err(Refused::BadParts), "too small");
        assert_eq!(gathering.add(&header(2, 1, 1), &[], whole), Err(Refused::BadParts), "empty");
        assert_eq!(gathering, before);
    }

    #[test]
    fn a_last_part_with_which_nothing_can_be_read_is_taken_back() {
        for missing in [0, 1] {
            let mut gathering = Gathering::default();
            assert_eq!(add(&mut gathering, header(1, 1 - missing, 1), 7), Ok(None));
            let before = gathering.clone();
            let bytes = if missing == 1 { 9 } else { PART_BYTES };
            let refused: Result<Option<()>, _> =
                gathering.add(&header(1, missing, 1), &vec![1; bytes], |_| Err(Refused::Undecodable));
            assert_eq!(refused, Err(Refused::Undecodable));
            assert_eq!(gathering, before);
        }
    }
}
