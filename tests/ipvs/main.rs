//! IPVS against the kernel: tables beside what `ipvsadm` reads of them, real connections through them, how long that takes,
//! and whole directors in the lab.
//!
//!   cargo test --test ipvs -- [NAME...]     those whose names contain one of these
//!
//! It needs root, a kernel with IPVS, and `ip`, `nft` and `ipvsadm`: `tests/vm-ipvs` boots a virtual machine that has them.
//! Everything happens in network namespaces of its own, each of which has tables of its own, so a machine's own are safe.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod figures;
mod peer;
mod process;
mod seen;
mod site;
mod tables;
mod traffic;
mod want;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use systole::director::balancer::ipvs::Ipvs;

use world::World;

type Test = (&'static str, fn(&World));

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [peer::SERVE, name] = words[..] {
        peer::serve(name);
    }
    let wanted: Vec<&str> = words.into_iter().filter(|word| !word.starts_with('-')).collect();
    let all = [tables::TESTS, traffic::TESTS, figures::TESTS, process::TESTS].concat();
    let chosen: Vec<Test> = all
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted)))
        .collect();
    if let Err(reason) = possible() {
        println!("skipped: {reason}");
        println!("0 passed, 0 failed, {} skipped", chosen.len());
        return ExitCode::SUCCESS;
    }
    let world = World::build();
    let mut failed = 0;
    for (name, test) in &chosen {
        let passed = catch_unwind(AssertUnwindSafe(|| world.director.enter(|| test(&world)))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
        world.director.enter(|| world::run("ipvsadm -C"));
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can make networks and change their tables".to_owned());
    }
    Ipvs::open(Default::default()).map(drop).map_err(|error| error.to_string())
}
