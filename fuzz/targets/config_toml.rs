//! Any text as a `systole.toml`: it is taken, or refused with a reason; both times the report can be read.

#![no_main]

mod report;

use libfuzzer_sys::fuzz_target;
use systole::config::{Differs, parse_toml};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let parsed = parse_toml("systole.toml", &text);
    let refused = parsed.is_err();
    match &parsed {
        Ok(loaded) => {
            report::judge(&loaded.warnings, refused);
            assert_eq!(loaded.config.differs_from(&loaded.config.marks()), Differs::default());
            loaded.config.digest();
        }
        Err(report) => drop(report::judge(report, refused)),
    }
    assert_eq!(parse_toml("systole.toml", &text), parsed, "the same text, and another answer");
});
