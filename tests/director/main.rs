//! The director against real sockets and real programs, in networks of their own.
//!
//! Behaviour is judged here, and no time: what was measured is printed. A program of its own, as `tests/pair` is. Arguments
//! are parts of the tests' names.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod certificates;
mod checks;
mod daemons;
mod haproxy;
mod haproxy_faults;
mod kinds;
mod load;
mod pool;
mod program;
mod proxied;
mod rules;
mod site;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use systole::lab;
use world::Test;

/// Each file's tests.
const TESTS: &[&[Test]] = &[
    checks::TESTS,
    certificates::TESTS,
    load::TESTS,
    program::TESTS,
    haproxy_faults::WITHOUT_HAPROXY,
    rules::TESTS,
    pool::TESTS,
    haproxy::TESTS,
    haproxy_faults::TESTS,
    proxied::TESTS,
    daemons::TESTS,
    kinds::TESTS,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name] = &arguments[..]
        && first == proxied::SERVE
    {
        proxied::serve(name);
    }
    let tests = || TESTS.iter().copied().flatten();
    match lab::become_root() {
        Ok(true) => println!("as an ordinary user"),
        Ok(false) => println!("as root"),
        Err(error) => {
            println!("{error}\n0 passed, 0 failed, {} skipped", tests().count());
            return ExitCode::SUCCESS;
        }
    }
    let wanted: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for Test { name, run, needs } in tests() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        if let Err(why) = needs() {
            println!("test {name} ... skipped: {why}");
            skipped += 1;
            continue;
        }
        let began = lab::clock::now();
        let well = catch_unwind(AssertUnwindSafe(run)).is_ok();
        println!("test {name} ... {} ({})", if well { "ok" } else { "FAILED" }, lab::clock::now() - began);
        passed += usize::from(well);
        failed += usize::from(!well);
    }
    match skipped {
        0 => println!("{passed} passed, {failed} failed"),
        _ => println!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
