//! Who may use whom. The house has rooms, and the doors between them are listed here and nowhere else.

use super::source::{Source, house};
use super::{Finding, assert_clean, lines};

/// Each room, and the rooms that it may name. Rooms that don't stand yet are listed as they are planned.
const DOORS: [(&str, &[&str]); 18] = [
    ("types", &[]),
    ("time", &[]),
    ("rng", &["time"]),
    ("beat", &["time", "types"]),
    ("config", &["time", "types"]),
    ("wire", &["beat", "time", "types"]),
    ("cluster", &["beat", "config", "rng", "time", "types"]),
    ("net", &["config", "time", "types"]),
    ("programs", &["time"]),
    ("agents", &["cluster", "config", "programs", "time", "types"]),
    ("director", &["beat", "config", "net", "programs", "rng", "time", "types"]),
    ("control", &["beat", "cluster", "config", "time", "types"]),
    (
        "daemon",
        &[
            "agents", "beat", "cluster", "config", "control", "director", "net", "programs", "rng", "time",
            "types", "wire",
        ],
    ),
    ("lab", &["config", "net", "rng", "time", "types"]),
    (
        "cli",
        &[
            "agents", "beat", "cluster", "config", "control", "daemon", "director", "lab", "net", "time",
            "types", "wire",
        ],
    ),
    ("main", &["cli"]),
    // It is the map, and does nothing.
    ("lib", &[]),
    // The crate's own name, from outside of it.
    ("systole", &[]),
];

/// Rooms without clocks, sockets, files, processes, threads and chance.
const PURE: [&str; 5] = ["types", "time", "rng", "beat", "cluster"];

/// Names that a pure room must not use, wherever they come from.
const IMPURE_NAMES: [&str; 16] = [
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "println",
    "eprintln",
    "print",
    "eprint",
    "dbg",
    "thread_local",
];

/// Crates and modules that a pure room must not reach into.
const IMPURE_PATHS: [&str; 12] = [
    "tokio",
    "nix",
    "rand",
    "ring",
    "libc",
    "socket2",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "std::time",
];

fn wrong_doors(source: &Source) -> Vec<Finding> {
    let Some(room) = source.room() else { return Vec::new() };
    let Some((_, allowed)) = DOORS.iter().find(|(name, _)| *name == room) else {
        let what = format!("the room `{room}` is not in the table of doors");
        return vec![Finding::new(
            &source.path,
            1,
            what,
            "add it to DOORS in tests/tidy/layers.rs, as low as it can stand",
        )];
    };
    let mut found = Vec::new();
    for path in source.paths().iter().filter(|path| !path.is_test) {
        let climbs = path.segments.iter().take_while(|segment| *segment == "super").count();
        if climbs > 0 && climbs >= depth(source) + path.modules {
            let mend = "write `crate::` and the room's name, so that the door can be seen";
            found.push(Finding::new(&source.path, path.line, "`super` leaves the room", mend));
        }
        let ([first, to, ..], true) = (path.segments.as_slice(), room != "lib") else { continue };
        let leaves = (first == "crate" || first == "systole") && to != room;
        if leaves && !allowed.contains(&to.as_str()) {
            let what = format!("`{room}` uses `{to}`");
            let mend = "there is no such door: pass a value, or move the code to the room where it belongs";
            found.push(Finding::new(&source.path, path.line, what, mend));
        }
    }
    found
}

/// How many modules this file is below the crate's root.
fn depth(source: &Source) -> usize {
    let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let inside = inside.strip_suffix("/mod.rs").unwrap_or(inside);
    inside.split('/').count()
}

fn impure(source: &Source) -> Vec<Finding> {
    if !source.room().is_some_and(|room| PURE.contains(&room)) {
        return Vec::new();
    }
    let mend =
        "time, chance and what the machine says come in as values; what shall be done goes out as an Effect";
    let mut found = Vec::new();
    for path in source.paths().iter().filter(|path| !path.is_test) {
        let name = path.segments.iter().find(|segment| IMPURE_NAMES.contains(&segment.as_str()));
        let joined = path.segments.join("::");
        let reaches =
            |banned: &&&str| joined.strip_prefix(**banned).is_some_and(|rest| rest.starts_with("::"));
        let whole = IMPURE_PATHS.iter().find(|banned| joined == **banned && joined.contains("::"));
        let reached = IMPURE_PATHS.iter().find(reaches).or(whole);
        if let Some(name) = name.map(String::as_str).or(reached.copied()) {
            found.push(Finding::new(&source.path, path.line, format!("`{name}` in a pure room"), mend));
        }
    }
    found
}

/// The rooms that `lib.rs` opens and does not show on its map.
fn off_the_map(library: &Source) -> Vec<Finding> {
    let map: String =
        library.lines.iter().map(|line| line.comment.as_str()).filter(|c| c.starts_with("//!")).collect();
    let opened = library.numbered().filter_map(|(number, line)| {
        let name = line.code.trim().strip_prefix("pub mod ")?.strip_suffix(';')?;
        Some((number, name.to_owned()))
    });
    let missing = opened.filter(|(_, name)| !map.contains(&format!("[`{name}`]")));
    let mend = "say in the table at the top of lib.rs what it is for";
    missing
        .map(|(number, name)| {
            Finding::new(&library.path, number, format!("`{name}` is not on the map"), mend)
        })
        .collect()
}

#[test]
fn rooms_use_only_the_doors_that_the_table_lists() {
    assert_clean(&house().iter().flat_map(wrong_doors).collect::<Vec<_>>());
}

#[test]
fn a_door_that_the_table_does_not_list_is_found() {
    let wire = Source::new(
        "src/wire/seal.rs",
        "use crate::beat::Beat;\nuse crate::{time::Span, cluster::Effect};\n",
    );
    assert_eq!(lines(&wrong_doors(&wire)), [2]);
    let cluster =
        Source::new("src/cluster/lease.rs", "fn a() {\n    crate::wire::seal();\n    super::b();\n}\n");
    assert_eq!(lines(&wrong_doors(&cluster)), [2]);
    let climbs = Source::new(
        "src/cluster/lease.rs",
        "use super::super::wire;\nmod a {\n    use super::super::b;\n}\n",
    );
    assert_eq!(lines(&wrong_doors(&climbs)), [1]);
    assert_eq!(lines(&wrong_doors(&Source::new("src/cellar/mod.rs", "//! No such room.\n"))), [1]);
    assert_eq!(
        lines(&wrong_doors(&Source::new("src/main.rs", "fn main() {\n    systole::wire::x();\n}\n"))),
        [2]
    );
    let test = Source::new("src/beat.rs", "#[cfg(test)]\nmod tests {\n    use crate::wire;\n}\n");
    assert_clean(&wrong_doors(&test));
}

#[test]
fn every_door_leads_to_a_room_of_the_table_and_none_leads_round_in_a_circle() {
    let mut standing: Vec<&str> = vec![];
    for (room, doors) in DOORS {
        for door in doors {
            assert!(
                standing.contains(door),
                "`{room}` may use `{door}`, which stands above it or not at all"
            );
        }
        standing.push(room);
    }
}

#[test]
fn the_core_has_no_clock_no_socket_no_file_and_no_chance() {
    assert_clean(&house().iter().flat_map(impure).collect::<Vec<_>>());
}

#[test]
fn a_clock_or_a_socket_in_the_core_is_found() {
    let text = "use std::time::Instant;\nuse std::{fs, fmt};\nuse std::collections::{BTreeMap, HashMap};\n\
                fn a() {\n    println!(\"x\");\n    let socket: UdpSocket = tokio::net::bind();\n}\n// Instant\n";
    let found = impure(&Source::new("src/cluster/a.rs", text));
    assert_eq!(lines(&found), [1, 2, 3, 5, 6, 6]);
    assert_clean(&impure(&Source::new("src/daemon/a.rs", text)));
}

#[test]
fn every_room_is_on_the_map() {
    let library = house().iter().find(|source| source.path == "src/lib.rs").expect("the house has a map");
    assert_clean(&off_the_map(library));
}

#[test]
fn a_room_that_is_not_on_the_map_is_found() {
    let library =
        Source::new("src/lib.rs", "//! | [`beat`] | the message |\n\npub mod beat;\npub mod cellar;\n");
    assert_eq!(lines(&off_the_map(&library)), [4]);
}
