//! Other programs' configurations, each beside what becomes of it: the text, and what could not be carried over.
//! `SYSTOLE_BLESS=1 cargo test --test import` writes what is expected anew: read the difference.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use systole::config::import::{Imported, keepalived, ldirectord, lvs};
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
fn virtual_servers_of_keepalived_become_ours() {
    try_all(".keepalived.conf", keepalived, AROUND);
}

#[test]
fn whatever_the_text_is_nothing_panics_and_something_is_said() {
    for entry in fs::read_dir(folder()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            for part in [&text[..end], &text[end..]] {
                let _ = (ldirectord(part), lvs(part), keepalived(part));
            }
        }
    }
    for deep in ["virtual a {\n", "virtual_server a {\n"].map(|line| line.repeat(300_000)) {
        let left = [lvs(&deep), keepalived(&deep)].map(|imported| imported.left.len());
        assert!(left.iter().all(|count| (1..100).contains(count)), "{left:?}");
    }
    for nothing in ["", "\n\n", "}}}}", "virtual = ", "virtual {", "\u{0}=\u{1}"] {
        assert!(!ldirectord(nothing).left.is_empty() && !lvs(nothing).left.is_empty(), "{nothing:?}");
    }
}

/// Words that stand where others belong.
const NASTY: [&str; 18] = [
    "",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "0.0000001",
    "100000",
    "65536",
    "a\u{1}b",
    "\u{e9}",
    "224.0.0.1",
    "::",
    "2001:db8::7",
    "192.0.2.7",
    "\"a b\"",
    "\"\"",
    "{",
    "}",
];

#[test]
fn whatever_keepalived_is_told_what_comes_of_it_is_a_configuration() {
    let text = fs::read_to_string(folder().join("site.keepalived.conf")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let try_one = |changed: &str, what: &str| {
        let Imported { toml, .. } = keepalived(changed);
        let loaded = parse_toml("imported", &format!("{AROUND}{toml}"));
        loaded.unwrap_or_else(|report| panic!("{what}\n{report}\n{toml}")).config.services.len()
    };
    let mut found = 0;
    for (number, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        for place in 0..words.len() {
            for nasty in NASTY {
                let mut words = words.clone();
                words[place] = nasty;
                let line = words.join(" ");
                let mut changed = lines.clone();
                changed[number] = &line;
                found += try_one(&changed.join("\n"), &format!("{}: {line}", number + 1));
            }
        }
        try_one(&lines[number..].join("\n"), "its end");
        try_one(&lines[..number].join("\n"), "its beginning");
    }
    assert!(found > 10_000, "{found}");
}

fn import(file: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_systole")).arg("import").arg(file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_knows_each_file_by_what_is_in_it() {
    let scratch = tempfile::tempdir().unwrap();
    let nameless = scratch.path().join("file");
    for name in ["talk.ldirectord.cf", "tutorial.lvs.cf", "site.keepalived.conf"] {
        let file = folder().join(name);
        fs::copy(&file, &nameless).unwrap();
        let (code, toml, left) = import(&nameless);
        assert_eq!(code, 1, "{left}");
        assert_eq!(toml, fs::read_to_string(file.with_extension("toml")).unwrap());
        let expected = fs::read_to_string(file.with_extension("left")).unwrap();
        for line in expected.lines() {
            assert!(left.contains(&format!("{}:{line}\n", nameless.display())), "{line}\n{left}");
        }
    }
    for (text, code, said) in [
        (&b""[..], 2, "is no keepalived.conf, ldirectord.cf or lvs.cf"),
        (b"\x7fELF\xff\xfe\0", 2, "is no text"),
        (b"virtual_server 192.0.2.1 80 {\n protocol TCP\n", 1, "file:1: this bracket is never closed"),
        (b"global_defs {\n}\n}\n", 1, "file:3: a bracket is closed that was never opened"),
        (b"vrrp_instance a {\n}\n", 1, "file:1: there is no `virtual_server"),
        (b"virtual_server 192.0.2.1 80 {\n\0\n}", 1, "file:2: "),
        (b"virtual_server 192.0.2.1 80 {\nreal_server 192.0.2.2 80 {\n}\nprotocol TCP\n}\n", 0, ""),
    ] {
        fs::write(&nameless, text).unwrap();
        let (found, _, left) = import(&nameless);
        assert!(found == code && left.contains(said), "{text:?}: {found}\n{left}");
    }
}
