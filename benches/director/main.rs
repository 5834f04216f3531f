//! The director, measured: thousands of checks a second, and thousands of services.
//!
//!     cargo bench --bench director -- [checks] [tables] [--checks N] [--services N] [--servers N] [--seconds N]
//!                                     [--only systole|keepalived|ldirectord]
//!
//! As root, in network namespaces of its own: the director's real process, spoken to as the daemon speaks to it, and
//! behind a cable the servers. It prints what it measured, and judges nothing. `checks` gives the same work to keepalived
//! and ldirectord, in turn, where they can be had: they are unpacked and not installed.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the message")]

mod checks;
mod peers;
mod process;
mod rig;
mod servers;
mod tables;

use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use systole::lab;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// So many checks, each of them every second.
    pub(crate) checks: usize,
    /// So many services.
    pub(crate) services: usize,
    /// So many servers in each.
    pub(crate) servers: usize,
    /// The length of what lasts.
    pub(crate) seconds: u64,
    /// Only this one.
    pub(crate) only: Option<String>,
}

impl Options {
    /// Whether it is measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }
}

type Measure = fn(&Options);

const MEASUREMENTS: [(&str, Measure); 2] = [("tables", tables::tables), ("checks", checks::checks)];

fn main() -> ExitCode {
    if !lab::is_root() {
        println!(
            "this needs root: thousands of sockets and of rules are more than an ordinary user may have"
        );
        return ExitCode::FAILURE;
    }
    let mut options = Options { checks: 10_000, services: 2_000, servers: 10, seconds: 30, only: None };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse().ok());
        match argument.as_str() {
            "--checks" => options.checks = number().expect("--checks N"),
            "--services" => options.services = number().expect("--services N"),
            "--servers" => options.servers = number().expect("--servers N"),
            "--seconds" => options.seconds = number().expect("--seconds N") as u64,
            "--only" => options.only = arguments.next(),
            // cargo's own word for a benchmark.
            "--bench" => {}
            name if MEASUREMENTS.iter().any(|(known, _)| *known == name) => wanted.push(argument),
            other => {
                let known: Vec<_> = MEASUREMENTS.iter().map(|(name, _)| *name).collect();
                println!("there is no `{other}`: take some of {}", known.join(", "));
                return ExitCode::FAILURE;
            }
        }
    }
    // Each connection that a server has is one.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    }
    for (name, measure) in MEASUREMENTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n## {name}\n");
            measure(&options);
        }
    }
    ExitCode::SUCCESS
}
