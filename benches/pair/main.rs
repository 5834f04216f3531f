//! A pair of directors, measured: systole, and keepalived from Debian beside it on the same rig, in turn.
//!
//!     cargo bench --bench pair -- [MEASUREMENT…] [--runs N] [--seconds N] [--v6] [--markdown] [--write-readme]
//!
//! As root, in the lab: real-time threads are part of what is measured. It prints what it measured, and judges nothing.
//! Times are in milliseconds. keepalived is unpacked and not installed; where it cannot be had, systole is measured alone.
//!
//! `--seconds` is the length of what lasts (load, loss, idling). `--markdown` prints at the end what the README takes, and
//! `--write-readme` puts it there; rows that were not measured this time stay.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the message")]

mod cable;
mod daemon;
mod handover;
mod idle;
mod load;
mod many;
mod readme;
mod reload;
mod rig;
mod system;
mod table;
mod turns;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use readme::Row;
use systole::lab;
use table::Report;

/// What can go wrong in a measurement: it is told, and counted.
pub(crate) type Try<T> = Result<T, Box<dyn Error>>;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Runs of each kind.
    pub(crate) runs: usize,
    /// The length of what lasts.
    pub(crate) seconds: u64,
    /// Addresses of IPv6.
    pub v6: bool,
    /// keepalived's binary, where it can be had.
    pub(crate) keepalived: Option<PathBuf>,
}

type Measure = fn(&Options) -> Try<Report>;

const MEASUREMENTS: [(&str, Measure); 9] = [
    ("cable", cable::cable),
    ("carrier", cable::carrier),
    ("handover", handover::handover),
    ("daemon", daemon::daemon),
    ("load", load::load),
    ("tightest", cable::tightest),
    ("many", many::many),
    ("idle", idle::idle),
    ("reload", reload::reload),
];
/// keepalived is unpacked here, below the root of the package.
const PEERS: &str = "target/peers";

fn main() -> ExitCode {
    if !lab::is_root() {
        println!("this needs root: without real-time threads the figures would mean nothing");
        return ExitCode::FAILURE;
    }
    let mut options = Options { runs: 20, seconds: 60, v6: false, keepalived: None };
    let (mut wanted, mut markdown, mut write) = (Vec::new(), false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse().ok());
        match argument.as_str() {
            "--runs" => options.runs = number().expect("--runs N"),
            "--seconds" => options.seconds = number().expect("--seconds N") as u64,
            "--v6" => options.v6 = true,
            "--markdown" => markdown = true,
            "--write-readme" => write = true,
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
    options.keepalived = keepalived();
    let (summary, failed) = run(&options, &wanted);
    if markdown {
        println!("{}", readme::text(&options, &summary));
    }
    if write {
        readme::write(&options, &summary).expect("README.md has the marks, and can be written");
    }
    println!("{failed} runs failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes the measurements. The lines for the README, and how many runs failed.
fn run(options: &Options, wanted: &[String]) -> (Vec<Row>, usize) {
    let (mut summary, mut failed) = (Vec::new(), 0);
    let kind = if options.v6 { ", IPv6" } else { "" };
    for (name, measure) in MEASUREMENTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n## {name}{kind}\n");
        match measure(options) {
            Ok(report) => {
                report.tables.iter().for_each(|table| println!("{}", table.show()));
                summary.extend(
                    report.summary.into_iter().map(|[what, ours, theirs]| [what + kind, ours, theirs]),
                );
                failed += report.failed;
            }
            Err(error) => {
                println!("{name} could not be measured: {error}");
                failed += 1;
            }
        }
    }
    (summary, failed)
}

/// keepalived's binary, unpacked where it is not yet. Nothing of it if that cannot be, and a line that says why.
fn keepalived() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = root.join(PEERS).join("usr/sbin/keepalived");
    if !binary.exists() {
        let mut unpack = Command::new(root.join("tests/unpack"));
        let done = unpack.arg(root.join(PEERS)).arg("keepalived").status();
        done.is_ok_and(|status| status.success()).then_some(())?;
    }
    let mut version = Command::new(&binary);
    version.env("LD_LIBRARY_PATH", libraries(&root.join(PEERS))).arg("--version");
    let said = version.output().map(|output| (output.status.success(), output.stderr));
    let Ok((true, said)) = said else {
        println!("keepalived does not run here: systole is measured alone");
        return None;
    };
    println!("beside it: {}", String::from_utf8_lossy(&said).lines().next().unwrap_or_default());
    Some(binary)
}

/// Where the libraries of unpacked packages are: every folder that Debian has for them.
pub(crate) fn libraries(root: &Path) -> OsString {
    let name = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = ["lib", "usr/lib"].map(|folder| root.join(folder));
    std::env::join_paths(folders.iter().map(|folder| folder.join(&name)).chain(folders.clone()))
        .unwrap_or_default()
}
