//! Nanoseconds per beat, without a framework: `cargo bench --bench core [SECTION]`.
//!
//! Every figure is the median of many rounds, and the ratios are of figures taken in turn within the same rounds, so that
//! a noisy machine disturbs both sides alike.

#[path = "../tests/wire/beats.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod beats;

use std::hint::black_box;
use std::time::Instant;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use systole::beat::Beat;
use systole::types::Sequence;
use systole::wire::{body, frame};

/// Rounds of which the median is taken.
const ROUNDS: usize = 301;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let sections: [(&str, fn()); 2] = [("ciphers", ciphers), ("wire", wire)];
    for (name, run) in sections {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            println!("## {name}");
            run();
        }
    }
}

/// What a beat costs its receiver, against the bare cipher on the same bytes.
fn wire() {
    println!("| nodes | groups | bytes | bare open, ns | open, check, decode, ns | ratio | seal, ns |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (nodes, groups) in [(2, 2), (16, 16), (128, 1), (128, 128)] {
        let per_round = 64;
        let (mut bare, mut whole, mut seal, mut decode) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut plain = Vec::new();
        let (mut alice, mut bob, mut sequence, mut bytes) = (beats::alice(), beats::bob(), 0, 0);
        let text = beats::healthy(nodes, groups, 1);
        body::encode(&text, &mut plain).expect("within the limits");
        let (key, clear) = (cipher_key(&aead::AES_256_GCM), Aad::from([0; frame::HEADER_BYTES]));
        for _ in 0..ROUNDS {
            let numbered = |at| Beat { sequence: Sequence(sequence + 1 + at), ..text.clone() };
            let texts: Vec<_> = (0..per_round).map(numbered).collect();
            sequence += per_round;
            let (sealed, nanoseconds) = timed(per_round, || {
                texts.iter().map(|beat| alice.seal(beat).expect("a new beat")).collect::<Vec<_>>()
            });
            seal.push(nanoseconds);
            bytes = sealed[0].iter().map(Vec::len).sum();
            let mut same = sealed.clone();
            for part in same.iter_mut().flatten() {
                let body = &mut part[frame::HEADER_BYTES..];
                let end = body.len() - frame::SEAL_BYTES;
                let tag = key.seal_in_place_separate_tag(nonce(), clear, &mut body[..end]).expect("short");
                body[end..].copy_from_slice(tag.as_ref());
            }
            let open = |part: &mut Vec<u8>| {
                key.open_in_place(nonce(), clear, &mut part[frame::HEADER_BYTES..]).is_ok()
            };
            bare.push(timed(per_round, || assert!(same.iter_mut().flatten().all(open))).1);
            decode.push(
                timed(per_round, || {
                    texts.iter().for_each(|_| {
                        assert!(
                            body::decode(beats::ALICE, text.incarnation, text.sequence, black_box(&plain))
                                .is_ok()
                        )
                    })
                })
                .1,
            );
            let mut arrived = sealed.clone();
            whole.push(
                timed(per_round, || {
                    assert!(arrived.iter_mut().flatten().all(|part| bob.open(beats::WIRE, part).is_ok()))
                })
                .1,
            );
        }
        let [bare, whole, seal] = [bare, whole, seal].map(middle);
        let decode = middle(decode);
        println!(
            "| {nodes} | {groups} | {bytes} | {bare:.0} | {whole:.0} | {:.2} | {seal:.0} | {decode:.0} |",
            whole / bare
        );
    }
}

/// Which AEAD: the same bytes opened by both, and what a key costs that is not in the cache.
fn ciphers() {
    for size in [100, 150, 300, 1_350] {
        for (name, cipher) in
            [("AES-256-GCM", &aead::AES_256_GCM), ("ChaCha20-Poly1305", &aead::CHACHA20_POLY1305)]
        {
            let key = cipher_key(cipher);
            let mut sealed = vec![7; size];
            key.seal_in_place_append_tag(nonce(), Aad::from([0; 38]), &mut sealed)
                .expect("below the cipher's limit");
            let mut buffer = sealed.clone();
            let open = median(100, || {
                buffer.copy_from_slice(&sealed);
                black_box(key.open_in_place(nonce(), Aad::from([0; 38]), &mut buffer).is_ok());
            });
            println!("{name:18} open {size:5} bytes {open:7.0} ns");
        }
    }
    for (name, cipher) in
        [("AES-256-GCM", &aead::AES_256_GCM), ("ChaCha20-Poly1305", &aead::CHACHA20_POLY1305)]
    {
        println!(
            "{name:18} derive a key    {:7.0} ns",
            median(20, || {
                black_box(cipher_key(cipher));
            })
        );
    }
}

fn cipher_key(cipher: &'static aead::Algorithm) -> LessSafeKey {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"salt").extract(&[1; 32]);
    let okm = extracted.expand(&[b"info"], cipher).expect("a cipher's key is short enough for HKDF");
    LessSafeKey::new(UnboundKey::from(okm))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
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
