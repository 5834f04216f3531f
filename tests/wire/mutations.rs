//! Many thousands of damaged datagrams and bodies from one seed: nothing panics, nothing is believed that was not sealed,
//! and nothing costs more memory than is allowed. The fuzz targets in `fuzz/` go on where this ends.

use systole::rng::Rng;
use systole::types::{LinkId, Sequence};
use systole::wire::frame::PART_BYTES;
use systole::wire::{Datagram, Refused, body, limits};

use crate::allocations::{BYTES_PER_BEAT, BYTES_PER_DATAGRAM, peak};
use crate::beats::{self, ALICE, ALICES, WIRE};

const SEED: u64 = 0x5157_01e0;
const DATAGRAMS: u64 = 100_000;
const BODIES: u64 = 100_000;

/// Damages a few bytes: changes, cuts, repetitions.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        match rng.below(6) {
            _ if bytes.is_empty() => bytes.push(rng.next_u64() as u8),
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = [0, 1, 250, 251, 252, 253, 254, 255][rng.below(8) as usize],
            2 => bytes[at] = rng.next_u64() as u8,
            3 => bytes.truncate(at),
            4 => bytes.insert(at, rng.next_u64() as u8),
            _ => bytes.extend_from_within(at..),
        }
    }
}

#[test]
fn a_damaged_datagram_never_opens_and_never_changes_anything() {
    let mut rng = Rng::new(SEED);
    let mut alice = beats::alice();
    let good: Vec<Datagram> = (1..=20)
        .flat_map(|sequence| {
            let beat = beats::any(&mut rng, sequence, 3 * sequence);
            alice.seal(&beat).expect("within the limits")
        })
        .collect();
    let mut bob = beats::bob();
    bob.open(WIRE, &mut good[0].clone()).expect("good");
    let before = bob.clone();
    let mut most = 0;
    for _ in 0..DATAGRAMS {
        let original = &good[rng.below(good.len() as u64) as usize];
        let mut damaged = original.clone();
        damage(&mut rng, &mut damaged);
        if damaged == *original {
            continue;
        }
        let (opened, used) = peak(|| bob.open(WIRE, &mut damaged));
        assert!(opened.is_err_and(|refused| !refused.is_sealed()), "{damaged:?}");
        most = most.max(used);
    }
    assert!(bob.same_state(&before));
    assert_eq!(most, 0, "what is not sealed allocates nothing");
    bob.counters().each().for_each(|(cause, count)| println!("{count:8} {cause}"));
}

#[test]
fn a_sealed_but_damaged_body_reads_as_its_only_form_or_not_at_all() {
    let mut rng = Rng::new(SEED + 1);
    let alice = beats::alice();
    let (mut most, mut whole) = (0, 0);
    for number in 0..BODIES {
        let beat = beats::any(&mut rng, 1, 1 + number % 12);
        let mut bytes = Vec::new();
        body::encode(&beat, &mut bytes).expect("within the limits");
        damage(&mut rng, &mut bytes);
        bytes.truncate(PART_BYTES);
        let (mut bob, mut datagram) = (beats::bob(), alice.seal_part(Sequence(1), 0, 0, &bytes));
        let (opened, used) = peak(|| bob.open(WIRE, &mut datagram));
        most = most.max(used);
        let Ok(_) = opened else { continue };
        let read =
            body::decode(ALICE, ALICES.incarnation, Sequence(1), &bytes).expect("it has just been read");
        let mut written = Vec::new();
        body::encode(&read, &mut written).expect("within the limits");
        assert_eq!(written, bytes);
        whole += 1;
    }
    println!("{whole} of {BODIES} still read; at most {most} bytes allocated for one datagram");
    assert!(most <= BYTES_PER_DATAGRAM);
}

#[test]
fn no_datagram_allocates_more_than_allowed() {
    let alice = beats::alice();
    let mut most = 0;
    // As many of the smallest entries of one map as a datagram holds: what fills most memory for its bytes. A map's place
    // in the body, how many bytes follow a key, and how many follow the map.
    for (place, value, rest) in [(19, 3, 10), (20, 3, 9), (23, 1, 6), (24, 2, 5), (25, 4, 4)] {
        let count = u8::try_from((PART_BYTES - 40) / (4 + value)).unwrap_or(250).min(250);
        let mut body = vec![0; place];
        body.push(count);
        for key in 0..count {
            body.extend_from_slice(&u32::from(key).to_le_bytes());
            // All of them may be 1 at their end, and a shortfall has to be.
            body.resize(body.len() + value - 1, 0);
            body.push(1);
        }
        body.resize(body.len() + rest, 0);
        let (mut bob, mut datagram) = (beats::bob(), alice.seal_part(Sequence(1), 0, 0, &body));
        let (opened, used) = peak(|| bob.open(WIRE, &mut datagram).map(|_| ()));
        assert_eq!(opened, Ok(()), "map at {place}");
        most = most.max(used);
    }
    println!("at most {most} bytes allocated for one datagram full of the smallest entries");
    assert!(most <= BYTES_PER_DATAGRAM);
}

#[test]
fn the_greatest_beat_allocates_no_more_than_allowed() {
    let beat = beats::healthy(limits::NODES, limits::GROUPS, 1);
    let mut parts = beats::alice().seal(&beat).expect("within the limits");
    let mut bob = beats::bob();
    let (opened, used) = peak(|| parts.iter_mut().map(|part| bob.open(WIRE, part)).last());
    assert!(matches!(opened, Some(Ok(_))));
    println!("{} parts, at most {used} bytes allocated", parts.len());
    assert!(used <= BYTES_PER_BEAT);
}

#[test]
fn parts_that_never_become_whole_fill_two_slots_and_no_more() {
    let alice = beats::alice();
    let full = vec![0; PART_BYTES];
    let mut bob = beats::bob();
    let (_, used) = peak(|| {
        for sequence in 1..500 {
            let opened = bob.open(LinkId(0), &mut alice.seal_part(Sequence(sequence), 0, 127, &full));
            assert!(!matches!(opened, Err(Refused::BadParts)));
        }
    });
    let slots = limits::SLOTS * limits::PARTS * full.len();
    assert!(used <= slots + BYTES_PER_DATAGRAM, "{used} of {slots}");
}
