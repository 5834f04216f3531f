//! Rightly sealed datagrams in any order: parts, repetitions, two keys, two links, several lives, our own voice. A
//! datagram that is refused changes nothing, the same one never counts twice, sequence numbers and lives only grow, and
//! memory stays within the slots.
//!
//! An input is a list of records. Each begins with six bytes: how and by whom, sequence, part, last part, and two for the
//! length of the body that follows, or the seed of a beat that is within the limits.

#![no_main]

#[path = "../../tests/wire/allocations.rs"]
mod allocations;
#[path = "../../tests/wire/beats.rs"]
#[allow(dead_code, reason = "the tests of the wire use all of it")]
mod beats;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use systole::rng::Rng;
use systole::types::{Incarnation, NodeId, Sequence};
use systole::wire::frame::PART_BYTES;
use systole::wire::{Datagram, Life, News, Opener, Refused, Sealer, body, limits};

use allocations::{BYTES_PER_BEAT, peak};
use beats::{ALICE, ALICES, BOB, BOBS, CLUSTER, SERIAL, WIRE};

/// More than this shows nothing new, and takes long.
const RECORDS: usize = 64;
const SLOT_BYTES: usize = limits::PARTS * PART_BYTES;

/// Alice, Alice in a later life, another machine that says it is Alice, and one that says it is us: with each of the two
/// keys.
static VOICES: LazyLock<Vec<Sealer>> = LazyLock::new(|| {
    let later = Life { incarnation: Incarnation(ALICES.incarnation.0 + 1), random: 5 };
    let twin = Life { random: 6, ..ALICES };
    let lives: [(NodeId, Life); 4] = [(ALICE, ALICES), (ALICE, later), (ALICE, twin), (BOB, BOBS)];
    let rings = [&[2, 1][..], &[1]].map(beats::ring_of);
    rings.iter().flat_map(|ring| lives.map(|(node, life)| Sealer::new(ring, CLUSTER, node, life))).collect()
});
static BOBS_EAR: LazyLock<Opener> = LazyLock::new(beats::bob);

fuzz_target!(|bytes: &[u8]| {
    let (mut rest, mut bob) = (bytes, BOBS_EAR.clone());
    let mut newest = None;
    for _ in 0..RECORDS {
        let Some((record, after)) = rest.split_first_chunk::<6>() else { break };
        let (datagram, used) = datagram(record, after);
        rest = &after[used..];
        newest = hear(&mut bob, datagram, record[0] & HOW_SERIAL != 0, newest);
    }
});

const HOW_WHO: u8 = 0b0000_0111;
const HOW_SERIAL: u8 = 0b0000_1000;
const HOW_GOOD: u8 = 0b0001_0000;
const HOW_FULL: u8 = 0b0010_0000;

/// The datagram of a record, and how many of the bytes after it were used.
fn datagram(record: &[u8; 6], after: &[u8]) -> (Datagram, usize) {
    let [how, sequence, part, last, low, high] = *record;
    let voice = &VOICES[usize::from(how & HOW_WHO)];
    let sequence = 1 + u64::from(sequence);
    let number = u16::from_le_bytes([low, high]);
    if how & HOW_GOOD != 0 {
        let body = good_body(number, sequence);
        let count = body.chunks(PART_BYTES).count();
        let part = usize::from(part) % count;
        let bytes = body.chunks(PART_BYTES).nth(part).unwrap_or_default();
        let [part, last] = [part, count - 1].map(|number| u8::try_from(number).expect("at most 128 parts"));
        return (voice.seal_part(Sequence(sequence), part, last, bytes), 0);
    }
    let last = last % u8::try_from(limits::PARTS).expect("128 parts");
    let part = part % (last + 1);
    if how & HOW_FULL != 0 {
        return (voice.seal_part(Sequence(sequence), part, last, &[low; PART_BYTES]), 0);
    }
    let length = usize::from(number).min(after.len()).min(PART_BYTES);
    (voice.seal_part(Sequence(sequence), part, last, &after[..length]), length)
}

/// Something that a node may say, of one part or of some.
fn good_body(seed: u16, sequence: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed.into());
    let most = if seed & 1 == 0 { 3 } else { 60 };
    let mut bytes = Vec::new();
    body::encode(&beats::any(&mut rng, sequence, most), &mut bytes).expect("within the limits");
    bytes
}

/// The newest beat that was given: of which life, and its number.
type Newest = Option<(Incarnation, Sequence)>;

fn hear(bob: &mut Opener, mut datagram: Datagram, is_serial: bool, newest: Newest) -> Newest {
    let link = if is_serial { SERIAL } else { WIRE };
    let (before, mut again) = (bob.clone(), datagram.clone());
    let (opened, used) = peak(|| bob.open(link, &mut datagram));
    assert!(used <= BYTES_PER_BEAT + SLOT_BYTES, "{used} bytes allocated");
    let opened = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            assert!(refused.is_sealed(), "{refused}, though it is rightly sealed");
            assert!(bob.same_state(&before), "{refused} has left a trace");
            return newest;
        }
    };
    assert_eq!(opened.sender, ALICE);
    let heard = bob.clone();
    let repeated = bob.open(link, &mut again);
    assert!(matches!(repeated, Err(Refused::Replayed | Refused::Stale)), "heard twice: {repeated:?}");
    assert!(bob.same_state(&heard));
    let this = (opened.incarnation, opened.sequence);
    let News::Beat(beat) = opened.news else { return newest };
    assert_eq!((beat.sender, beat.incarnation, beat.sequence), (ALICE, this.0, this.1));
    assert!(newest.is_none_or(|newest| newest < this), "{this:?} after {newest:?}");
    Some(this)
}
