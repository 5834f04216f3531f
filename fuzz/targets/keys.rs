//! Any text as a file of keys, ours or Heartbeat's: it is taken, or refused with a reason, and never shown.

#![no_main]

mod report;
mod secrets;

use libfuzzer_sys::fuzz_target;
use systole::config::keys::KeyRing;
use systole::config::limits;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let parsed = KeyRing::parse("keys", &text);
    let shown = match &parsed {
        Ok((ring, warnings)) => {
            assert!(ring.key(ring.first).is_some(), "no key seals");
            assert!(ring.keys.len() <= limits::KEYS);
            for (at, (id, secret)) in ring.keys.iter().enumerate() {
                assert!(!secret.bytes().is_empty());
                assert!(ring.keys[..at].iter().all(|(other, _)| other != id), "key {id} twice");
            }
            report::judge(warnings, false) + &format!("{ring:?}")
        }
        Err(report) => report::judge(report, true),
    };
    for secret in secrets::long(&text) {
        assert!(!shown.contains(secret), "a secret is shown");
    }
});
