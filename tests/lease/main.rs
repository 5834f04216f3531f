//! The lease in the kernel, against the kernel: what its rules let through, when its elements end, and who notices what.
//!
//!   cargo test --test lease -- [NAME...]     those whose names contain one of these
//!
//! Each test has a network namespace of its own, and where it needs somebody to talk to, a second one behind a cable.
//! `ip` and `nft` build and read them; what is tested uses neither. Nothing waits by the clock for something to be over:
//! an end is read in the kernel, and silence is proved by an answer that was asked for later.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod buckets;
mod elements;
mod others;
mod rules;
mod silence;
mod world;

use std::process::ExitCode;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use systole::net::lease::KernelLease;

/// Run so, it only tries to open the lease, and says what comes of it.
const OPEN_ONLY: &str = "--open-only";

type Test = (&'static str, fn());

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == OPEN_ONLY) {
        println!(
            "{}",
            KernelLease::open(world::TABLE).map_or_else(|error| error.to_string(), |_| "opened".into())
        );
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let all = [rules::TESTS, silence::TESTS, elements::TESTS, buckets::TESTS, others::TESTS].concat();
    let chosen: Vec<Test> = all
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted)))
        .collect();
    if let Err(reason) = world::may_make_namespaces() {
        println!("skipped: {reason}");
        println!("0 passed, 0 failed, {} skipped", chosen.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for &(name, test) in &chosen {
        let in_its_own = move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a first one could be made");
            world::ip("link set lo up");
            test();
        };
        let passed = thread::Builder::new().spawn(in_its_own).unwrap().join().is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
