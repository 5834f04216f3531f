//! Any bytes as the body of a beat: sealed with the right key, in as many parts as it takes, and opened. So the decoder
//! is reached by every input. What reads is the only form of its beat, and nothing costs more memory than is allowed.

#![no_main]

#[path = "../../tests/wire/allocations.rs"]
mod allocations;
#[path = "../../tests/wire/beats.rs"]
#[allow(dead_code, reason = "the tests of the wire use all of it")]
mod beats;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use systole::types::Sequence;
use systole::wire::frame::PART_BYTES;
use systole::wire::{News, Opener, Sealer, body, limits};

use allocations::{BYTES_PER_BEAT, BYTES_PER_DATAGRAM, peak};
use beats::{ALICE, ALICES, WIRE};

static ALICES_VOICE: LazyLock<Sealer> = LazyLock::new(beats::alice);
static BOBS_EAR: LazyLock<Opener> = LazyLock::new(beats::bob);

const SEQUENCE: Sequence = Sequence(1);

fuzz_target!(|bytes: &[u8]| {
    let mut parts: Vec<&[u8]> = bytes.chunks(PART_BYTES).collect();
    let last_part = parts.pop().unwrap_or_default();
    let Some(last) = u8::try_from(parts.len()).ok().filter(|last| usize::from(*last) < limits::PARTS) else {
        return;
    };
    let mut bob = BOBS_EAR.clone();
    let mut datagrams: Vec<_> = parts
        .iter()
        .zip(0..)
        .map(|(part, number)| ALICES_VOICE.seal_part(SEQUENCE, number, last, part))
        .collect();
    let mut last_datagram = ALICES_VOICE.seal_part(SEQUENCE, last, last, last_part);
    // A part that waits for the others is kept in a buffer for all of them.
    let limit = if last == 0 { BYTES_PER_DATAGRAM } else { BYTES_PER_BEAT };
    let ((before, opened), used) = peak(|| {
        for datagram in &mut datagrams {
            let opened = bob.open(WIRE, datagram).expect("a full part that was not heard before");
            assert_eq!(opened.news, News::Part);
        }
        let before = (last > 0).then(|| bob.clone());
        (before, bob.open(WIRE, &mut last_datagram))
    });
    assert!(used <= limit, "{used} bytes allocated for {last} parts and one, {limit} allowed");
    let decoded = body::decode(ALICE, ALICES.incarnation, SEQUENCE, bytes);
    match opened {
        Err(refused) => {
            assert!(bob.same_state(before.as_ref().unwrap_or(&BOBS_EAR)), "{refused} has left a trace");
            assert!(CAUSES.contains(&refused.cause()), "{refused}");
            assert_eq!(decoded, Err(refused));
        }
        Ok(opened) => {
            let News::Beat(beat) = opened.news else { panic!("the beat is whole, and is not given") };
            let mut written = Vec::new();
            body::encode(&beat, &mut written).expect("it has just been read");
            assert_eq!(written, bytes, "a second form of one beat");
            assert_eq!(decoded.as_ref(), Ok(&*beat));
        }
    }
});

/// What a body can be refused for.
const CAUSES: [&str; 4] = ["undecodable", "not_canonical", "too_many", "trailing"];
