//! The format, byte for byte. A difference is another format: raise the version in the header, and let nodes of both
//! versions meet in a test. `SYSTOLE_BLESS=1` writes the files anew.

use std::fmt::Write;
use std::path::PathBuf;

use systole::beat::Beat;
use systole::rng::Rng;
use systole::types::Sequence;
use systole::wire::{Header, KeyId, body};

use crate::beats::{self, ALICE, ALICES};

fn check(name: &str, bytes: &[u8]) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden").join(format!("{name}.hex"));
    let text = hex(bytes);
    if std::env::var_os("SYSTOLE_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the folder can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name}: the format has changed");
}

/// Lines of 32 bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes everything"));
        text + "\n"
    })
}

/// A beat in which every kind of entry occurs.
fn full() -> Beat {
    beats::any(&mut Rng::new(7), 1_000, 12)
}

#[test]
fn the_header_is_as_it_was() {
    let header = Header {
        cluster: 0x0102_0304,
        sender: ALICE,
        life: ALICES,
        sequence: Sequence(0x1112_1314_1516_1718),
        key: KeyId(2),
        part: 3,
        last: 4,
    };
    check("header", &header.write());
}

#[test]
fn the_body_is_as_it_was() {
    for (name, beat) in [("body_healthy", beats::healthy(3, 4, 1_000)), ("body_full", full())] {
        let mut bytes = Vec::new();
        body::encode(&beat, &mut bytes).expect("within the limits");
        check(name, &bytes);
    }
}

#[test]
fn the_sealed_datagram_is_as_it_was() {
    check("sealed_healthy", &beats::alice().seal(&beats::healthy(3, 4, 1_000)).expect("a new beat").concat());
    check("sealed_full", &beats::alice().seal(&full()).expect("a new beat").concat());
    check(
        "sealed_in_parts",
        &beats::alice().seal(&beats::healthy(80, 30, 1_000)).expect("a new beat").concat(),
    );
}

#[test]
fn the_golden_datagrams_still_open() {
    for golden in [include_str!("golden/sealed_healthy.hex"), include_str!("golden/sealed_full.hex")] {
        let text = golden.replace('\n', "");
        let mut bytes: Vec<u8> = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        assert!(beats::bob().open(beats::WIRE, &mut bytes).is_ok());
    }
}
