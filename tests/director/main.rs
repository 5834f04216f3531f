//! The director's parts against the real thing: a real HAProxy, real connections, real programs.
//!
//! Behaviour is judged here, and no time: what was measured is printed. A program of its own, as `tests/pair` is. Arguments
//! are parts of the tests' names.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod haproxy;
mod haproxy_faults;
mod pool;
mod program;
mod site;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use systole::lab;

/// Its name, and itself.
type Test = (&'static str, fn());

/// Why this machine cannot run some of them, if it cannot.
type Missing = fn() -> Option<String>;

const TESTS: &[(&[Test], Missing)] = &[
    (haproxy::TESTS, site::missing),
    (haproxy_faults::TESTS, site::missing),
    (haproxy_faults::WITHOUT_HAPROXY, || None),
    (program::TESTS, || None),
    (pool::TESTS, || None),
];

fn main() -> ExitCode {
    match lab::become_root() {
        Ok(true) => println!("as an ordinary user"),
        Ok(false) => println!("as root"),
        Err(error) => {
            let all: usize = TESTS.iter().map(|(tests, _)| tests.len()).sum();
            println!("{error}\n0 passed, 0 failed, {all} skipped");
            return ExitCode::SUCCESS;
        }
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (tests, missing) in TESTS {
        let tests: Vec<&Test> = tests.iter().filter(|(name, _)| is_wanted(name)).collect();
        if let Some(why) = (!tests.is_empty()).then(missing).flatten() {
            println!("{why}");
            skipped += tests.len();
            continue;
        }
        for (name, test) in tests {
            let began = lab::clock::now();
            let well = catch_unwind(AssertUnwindSafe(test)).is_ok();
            let took = lab::clock::now() - began;
            println!("test {name} ... {} ({took})", if well { "ok" } else { "FAILED" });
            passed += usize::from(well);
            failed += usize::from(!well);
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
