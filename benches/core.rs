//! Nanoseconds per beat, without a framework: `cargo bench --bench core [SECTION]`.
//!
//! Every figure is the median of many rounds, and the ratios are of figures taken in turn within the same rounds, so that
//! a noisy machine disturbs both sides alike. A section is a function in the list of `main`.

#![allow(clippy::cast_possible_truncation, reason = "small numbers, drawn for tests")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/wire/beats.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod beats;

use std::hint::black_box;
use std::time::Instant;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use systole::beat::Beat;
use systole::types::Sequence;
use systole::wire::{Datagram, Opener, Sealer, frame};

/// Rounds of which the median is taken.
const ROUNDS: usize = 301;
/// Beats in a round of the section `wire`.
const BEATS: u64 = 64;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let sections: [(&str, fn()); 2] = [("ciphers", ciphers), ("wire", wire)];
    for (name, run) in sections {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            println!("\n## {name}\n");
            run();
        }
    }
}

/// Which AEAD: the same bytes opened by both, and what a key costs that is not in the cache.
fn ciphers() {
    println!("| cipher | bytes | open, ns | derive a key, ns |\n| --- | --- | --- | --- |");
    for size in [100, 150, 300, 1_350] {
        for (name, cipher) in
            [("AES-256-GCM", &aead::AES_256_GCM), ("ChaCha20-Poly1305", &aead::CHACHA20_POLY1305)]
        {
            let key = cipher_key(cipher);
            let mut sealed = vec![7; size];
            key.seal_in_place_append_tag(nonce(), header(), &mut sealed).expect("below the cipher's limit");
            let mut buffer = sealed.clone();
            let open = median(100, || {
                buffer.copy_from_slice(&sealed);
                assert!(key.open_in_place(nonce(), header(), &mut buffer).is_ok());
            });
            let derive = median(20, || {
                black_box(cipher_key(cipher));
            });
            println!("| {name} | {size} | {open:.0} | {derive:.0} |");
        }
    }
}

/// What a beat costs its receiver, against the bare cipher on the same bytes. "Copy": the same beat over a second link.
/// "Forged": a stranger's beat of a life that is not known, which costs a derivation besides.
fn wire() {
    println!(
        "| nodes | groups | bytes | bare open, ns | open, check, decode, ns | ratio | copy, ns | forged, ns | seal, ns |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (nodes, groups) in [(2, 1), (2, 2), (16, 16), (128, 1), (128, 128)] {
        let mut bench = Wire::new(nodes, groups);
        let rounds: Vec<[f64; 5]> = (0..ROUNDS).map(|_| bench.round()).collect();
        let column = |at: usize| middle(rounds.iter().map(|round| round[at]).collect());
        let [bare, whole, copy, forged, seal] = std::array::from_fn(column);
        let (bytes, ratio) = (bench.bytes, whole / bare);
        println!(
            "| {nodes} | {groups} | {bytes} | {bare:.0} | {whole:.0} | {ratio:.2} | {copy:.0} | {forged:.0} | {seal:.0} |"
        );
    }
}

struct Wire {
    beat: Beat,
    alice: Sealer,
    bob: Opener,
    bare: LessSafeKey,
    bytes: usize,
}

impl Wire {
    fn new(nodes: usize, groups: usize) -> Self {
        let (beat, bare) = (beats::healthy(nodes, groups, 0), cipher_key(&aead::AES_256_GCM));
        Self { beat, alice: beats::alice(), bob: beats::bob(), bare, bytes: 0 }
    }

    /// Nanoseconds of a beat: bare, whole, copy, forged, seal.
    fn round(&mut self) -> [f64; 5] {
        let mut next = || {
            self.beat.sequence = Sequence(self.beat.sequence.0 + 1);
            self.beat.clone()
        };
        let texts: Vec<Beat> = (0..BEATS).map(|_| next()).collect();
        let mut seal_all = || texts.iter().map(|beat| self.alice.seal(beat).expect("a new beat")).collect();
        let (sealed, seal): (Vec<Vec<Datagram>>, f64) = timed(BEATS, &mut seal_all);
        self.bytes = sealed[0].iter().map(Vec::len).sum();

        let mut same = sealed.clone();
        same.iter_mut().flatten().for_each(|datagram| seal_bare(&self.bare, datagram));
        let open = |datagram: &mut Datagram| open_bare(&self.bare, datagram);
        let ((), bare) = timed(BEATS, || assert!(same.iter_mut().flatten().all(open)));

        let (mut first, mut second) = (sealed.clone(), sealed.clone());
        let bob = &mut self.bob;
        let mut on = |link, datagrams: &mut Vec<Vec<Datagram>>| {
            timed(BEATS, || {
                assert!(datagrams.iter_mut().flatten().all(|bytes| bob.open(link, bytes).is_ok()))
            })
            .1
        };
        let whole = on(beats::WIRE, &mut first);
        // The newest of the round is the only one that is not old news on the other link.
        let copy = on(beats::SERIAL, &mut second);

        let mut forged = sealed;
        // Another life, so that no key is at hand.
        forged.iter_mut().flatten().for_each(|datagram| datagram[20] ^= 1);
        let ((), forged) = timed(BEATS, || {
            assert!(forged.iter_mut().flatten().all(|bytes| bob.open(beats::WIRE, bytes).is_err()))
        });
        [bare, whole, copy, forged, seal]
    }
}

fn seal_bare(key: &LessSafeKey, datagram: &mut [u8]) {
    let body = &mut datagram[frame::HEADER_BYTES..];
    let end = body.len() - frame::SEAL_BYTES;
    let tag = key
        .seal_in_place_separate_tag(nonce(), header(), &mut body[..end])
        .expect("below the cipher's limit");
    body[end..].copy_from_slice(tag.as_ref());
}

fn open_bare(key: &LessSafeKey, datagram: &mut [u8]) -> bool {
    key.open_in_place(nonce(), header(), &mut datagram[frame::HEADER_BYTES..]).is_ok()
}

fn cipher_key(cipher: &'static aead::Algorithm) -> LessSafeKey {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"salt").extract(&[1; 32]);
    let okm = extracted.expand(&[b"info"], cipher).expect("a cipher's key is short enough for HKDF");
    LessSafeKey::new(UnboundKey::from(okm))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn header() -> Aad<[u8; frame::HEADER_BYTES]> {
    Aad::from([0; frame::HEADER_BYTES])
}

/// Nanoseconds for one call: the median round of `ROUNDS`, each of `calls` calls.
fn median(calls: u64, mut work: impl FnMut()) -> f64 {
    middle((0..ROUNDS).map(|_| timed(calls, || (0..calls).for_each(|_| work())).1).collect())
}

/// What `work` gives, and the nanoseconds of each of its `calls`.
fn timed<T>(calls: u64, work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = black_box(work());
    (done, start.elapsed().as_nanos() as f64 / calls as f64)
}

fn middle(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
