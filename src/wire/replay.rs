//! What of one life of a peer was heard already: so that only a newer beat changes state, and no datagram counts twice.
//!
//! A beat comes over every link, the same bytes on each. The first copy may change state. Each further one only shows
//! that its link works, and that only once: per link, sequence numbers must rise. So a recording that is played again on
//! the link it was taken from does nothing; what was overtaken on the way is dropped too, for there is newer news already.
//!
//! `judge` only looks. `mark` is called after the seal has verified and the body was read, and only then.

use std::collections::BTreeMap;

use crate::types::{LinkId, Sequence};

use super::frame::Header;
use super::limits;
use super::refused::Refused;

/// How a datagram stands to the newest whole beat of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Newer.
    Newer,
    /// The same beat, over another link.
    Same,
    /// Older, over a slower link.
    Older,
}

/// What was heard of one life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The newest whole beat; 0 before the first.
    newest: Sequence,
    /// By link. The caller names the link, so its number is not a sender's choice.
    links: BTreeMap<LinkId, Mark>,
}

/// The newest that one link has delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    sequence: Sequence,
    /// One bit for each part of it.
    parts: u128,
}

/// Each part has its bit.
const _: () = assert!(limits::PARTS == 128);

impl Heard {
    /// How this datagram stands; an error if its link has delivered it, or a newer one, before.
    pub(super) fn judge(&self, link: LinkId, header: &Header) -> Result<Age, Refused> {
        if let Some(mark) = self.links.get(&link) {
            if header.sequence < mark.sequence {
                return Err(Refused::Stale);
            }
            if header.sequence == mark.sequence && mark.parts & bit(header) != 0 {
                return Err(Refused::Replayed);
            }
        }
        Ok(match header.sequence.cmp(&self.newest) {
            std::cmp::Ordering::Greater => Age::Newer,
            std::cmp::Ordering::Equal => Age::Same,
            std::cmp::Ordering::Less => Age::Older,
        })
    }

    /// The link has delivered this datagram, which `judge` let pass.
    pub(super) fn mark(&mut self, link: LinkId, header: &Header) {
        let fresh = Mark { sequence: header.sequence, parts: 0 };
        let mark = self.links.entry(link).or_insert(fresh);
        if mark.sequence != header.sequence {
            *mark = fresh;
        }
        mark.parts |= bit(header);
    }

    /// This beat is whole, and it is the newest.
    pub(super) fn whole(&mut self, sequence: Sequence) {
        self.newest = sequence;
    }
}

fn bit(header: &Header) -> u128 {
    // A header's part number is below `limits::PARTS`.
    1 << header.part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};
    use crate::wire::frame::{KeyId, Life};

    const WIRE: LinkId = LinkId(0);
    const SERIAL: LinkId = LinkId(1);

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

    /// Judges, and marks what passed.
    fn hear(heard: &mut Heard, link: LinkId, header: Header) -> Result<Age, Refused> {
        let age = heard.judge(link, &header)?;
        heard.mark(link, &header);
        if age == Age::Newer && header.last == 0 {
            heard.whole(header.sequence);
        }
        Ok(age)
    }

    #[test]
    fn a_copy_counts_once_on_each_link() {
        let mut heard = Heard::default();
        assert_eq!(hear(&mut heard, WIRE, header(5, 0, 0)), Ok(Age::Newer));
        assert_eq!(hear(&mut heard, SERIAL, header(5, 0, 0)), Ok(Age::Same));
        assert_eq!(hear(&mut heard, WIRE, header(5, 0, 0)), Err(Refused::Replayed));
        assert_eq!(hear(&mut heard, SERIAL, header(5, 0, 0)), Err(Refused::Replayed));
    }

    #[test]
    fn a_slow_link_is_heard_as_long_as_its_own_numbers_rise() {
        let mut heard = Heard::default();
        assert_eq!(hear(&mut heard, WIRE, header(9, 0, 0)), Ok(Age::Newer));
        assert_eq!(hear(&mut heard, SERIAL, header(3, 0, 0)), Ok(Age::Older));
        assert_eq!(hear(&mut heard, SERIAL, header(4, 0, 0)), Ok(Age::Older));
        assert_eq!(hear(&mut heard, SERIAL, header(3, 0, 0)), Err(Refused::Stale));
        assert_eq!(hear(&mut heard, WIRE, header(8, 0, 0)), Err(Refused::Stale));
    }

    #[test]
    fn each_part_of_a_beat_counts_once() {
        let mut heard = Heard::default();
        assert_eq!(hear(&mut heard, WIRE, header(7, 127, 127)), Ok(Age::Newer));
        assert_eq!(hear(&mut heard, WIRE, header(7, 0, 127)), Ok(Age::Newer));
        assert_eq!(hear(&mut heard, WIRE, header(7, 127, 127)), Err(Refused::Replayed));
    }
}
