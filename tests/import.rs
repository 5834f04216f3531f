//! Other programs' configurations, each beside what becomes of it: the text, and what could not be carried over.
//! `SYSTOLE_BLESS=1 cargo test --test import` writes what is expected anew: read the difference.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs;
use std::path::{Path, PathBuf};

use systole::config::import::{Imported, ldirectord, lvs};
use systole::config::parse_toml;

/// What an ldirectord.cf does not say, because Heartbeat's files do.
const AROUND: &str = "[node.a]\n[node.b]\n[link.x]\ninterface = \"x\"\nbroadcast = true\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn compare(path: &Path, found: &str) {
    if std::env::var_os("SYSTOLE_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(expected, found, "{}", path.display());
}

fn try_all(ending: &str, read: fn(&str) -> Imported, around: &str) {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_str().unwrap().ends_with(ending) {
            continue;
        }
        let Imported { toml, left } = read(&fs::read_to_string(&path).unwrap());
        compare(&path.with_extension("toml"), &toml);
        let left: String = left.iter().map(|left| format!("{}: {}\n", left.line, left.what)).collect();
        compare(&path.with_extension("left"), &left);
        // What is printed can be used.
        let loaded = parse_toml("imported", &format!("{around}{toml}"));
        let services = loaded.unwrap_or_else(|report| panic!("{report}\n{toml}")).config.services;
        assert!(!services.is_empty());
        count += 1;
    }
    assert!(count > 0, "there is no {ending}");
}

#[test]
fn services_of_ldirectord_become_ours() {
    try_all(".ldirectord.cf", ldirectord, AROUND);
}

#[test]
fn a_cluster_of_piranha_becomes_ours() {
    try_all(".lvs.cf", lvs, "");
}

#[test]
fn whatever_the_text_is_nothing_panics_and_something_is_said() {
    for entry in fs::read_dir(folder()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            for part in [&text[..end], &text[end..]] {
                let _ = (ldirectord(part), lvs(part));
            }
        }
    }
    for nothing in ["", "\n\n", "}}}}", "virtual = ", "virtual {", "\u{0}=\u{1}"] {
        assert!(!ldirectord(nothing).left.is_empty() && !lvs(nothing).left.is_empty(), "{nothing:?}");
    }
}
