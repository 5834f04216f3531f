//! Any texts as Heartbeat's three files, with a byte 0xff between them, which no text contains. They are taken, or
//! refused with a reason; both times the report can be read, and shows no secret.

#![no_main]

mod report;
mod secrets;

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use systole::config::{HeartbeatFiles, parse_heartbeat};

/// The number of the file in a report.
const AUTHKEYS: usize = 2;

fuzz_target!(|bytes: &[u8]| {
    let mut texts = bytes.splitn(3, |byte| *byte == 0xff).map(String::from_utf8_lossy);
    let (ha_cf, haresources, authkeys) =
        (texts.next().unwrap_or_default(), texts.next().unwrap_or_default(), texts.next());
    let authkeys = authkeys.as_deref();
    let directory = Path::new("ha.d");
    let files = HeartbeatFiles { directory, ha_cf: &ha_cf, haresources: &haresources, authkeys };
    let parsed = parse_heartbeat(&files);
    let refused = parsed.is_err();
    let report = match &parsed {
        Ok(loaded) => {
            loaded.config.digest();
            &loaded.warnings
        }
        Err(report) => report,
    };
    report::judge(report, refused);
    // What is said of the other files has examples in it, which a file of keys may contain by chance.
    let mut of_keys = report.clone();
    of_keys.diagnostics.retain(|one| one.place.file == AUTHKEYS);
    let shown = of_keys.to_string() + &of_keys.files[AUTHKEYS].text;
    for secret in authkeys.into_iter().flat_map(secrets::long) {
        assert!(!shown.contains(secret), "a secret is shown");
    }
    assert_eq!(parse_heartbeat(&files), parsed, "the same texts, and another answer");
});
