//! Any bytes as a datagram, into an ear that has heard nothing and into one that has. Who has no key cannot change
//! anything and cannot make anything be allocated; and whatever opens is what Alice would seal, byte for byte.

#![no_main]

#[path = "../../tests/wire/allocations.rs"]
mod allocations;
#[path = "../../tests/wire/beats.rs"]
#[allow(dead_code, reason = "the tests of the wire use all of it")]
mod beats;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use systole::wire::frame::PART_BYTES;
use systole::wire::{News, Opener, limits};

use allocations::{BYTES_PER_DATAGRAM, peak};
use beats::WIRE;

static NEW: LazyLock<Opener> = LazyLock::new(beats::bob);

static HEARD: LazyLock<Opener> = LazyLock::new(|| {
    let mut bob = beats::bob();
    for mut datagram in beats::alice().seal(&beats::healthy(3, 4, 7)).expect("within the limits") {
        bob.open(WIRE, &mut datagram).expect("new and whole");
    }
    bob
});

fuzz_target!(|bytes: &[u8]| {
    hear(&NEW, bytes);
    hear(&HEARD, bytes);
});

fn hear(before: &Opener, bytes: &[u8]) {
    let (mut bob, mut datagram) = (before.clone(), bytes.to_vec());
    let (opened, used) = peak(|| bob.open(WIRE, &mut datagram));
    match opened {
        Err(refused) => {
            assert!(bob.same_state(before), "{refused} has left a trace");
            assert_eq!(bob.counters().total(), before.counters().total() + 1);
            assert_eq!(bob.counters().of(&refused), before.counters().of(&refused) + 1);
            assert!(refused.is_sealed() || used == 0, "{refused}, and {used} bytes allocated");
            assert!(used <= BYTES_PER_DATAGRAM, "{refused}, and {used} bytes allocated");
        }
        Ok(opened) => {
            assert_eq!(bob.counters(), before.counters());
            assert!(used <= BYTES_PER_DATAGRAM + limits::PARTS * PART_BYTES, "{used} bytes allocated");
            if let News::Beat(beat) = opened.news {
                let sealed = beats::alice().seal(&beat).expect("it has just been read");
                assert_eq!(sealed, [bytes], "nobody sealed this");
            }
        }
    }
}
