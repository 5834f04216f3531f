//! The simulator: whole clusters of the real core in virtual time, from one seed.
//!
//! `search [--seeds N] [--from S] [--jobs J]`, `seed N [--mutant NAME] [--timeline] [--beats]`,
//! `mutants [NAME…] [--seeds N]`, `aimed [NAME…] [--seeds N]` (their worlds, without the mistake), `twice`,
//! `scenarios [NAME]`. Without an argument: the scenarios and 300 seeds. A run ends with `N passed, N failed`.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each kind of fault is carried out in the one place that knows it"
)]
#![allow(clippy::large_enum_variant, reason = "there are few of them at a time")]

mod agents;
mod aimed;
mod cluster;
mod draw;
mod evidence;
mod faults;
mod invariants;
mod kernel;
mod kinds;
mod mutants;
mod network;
mod node;
mod report;
mod scenario;
mod script;
mod search;
mod servers;
mod shares;
mod shell;
mod timeline;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use search::Verdict;
use world::Options;

/// The words of a command line.
struct Words(Vec<String>);

impl Words {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|word| word == flag)
    }

    fn after(&self, flag: &str) -> Option<&str> {
        let place = self.0.iter().position(|word| word == flag)?;
        self.0.get(place + 1).map(String::as_str)
    }

    fn number(&self, flag: &str, otherwise: u64) -> u64 {
        self.after(flag).and_then(|word| word.parse().ok()).unwrap_or(otherwise)
    }
}

/// What a part of the run came to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

/// So many seeds are run twice.
const TWICE: u64 = 20;

fn main() -> ExitCode {
    let words = Words(std::env::args().skip(1).collect());
    let tally = match words.0.first().map(String::as_str) {
        Some("search") => search_seeds(&words, 5_000),
        Some("seed") => one_seed(&words),
        Some("scenarios") => {
            let name = words.0.get(1).filter(|word| !word.starts_with('-')).map_or("", String::as_str);
            scenario::run(name, words.has("--timeline"))
        }
        Some("mutants" | "aimed") => run_mutants(&words),
        Some("twice") => same_seed_same_bytes(TWICE),
        Some(other) if !other.starts_with('-') => {
            println!("there is no `{other}`: search, seed, mutants, aimed, twice, scenarios");
            Tally { passed: 0, failed: 1 }
        }
        Some(_) | None => {
            let parts = [scenario::run("", false), same_seed_same_bytes(TWICE), search_seeds(&words, 300)];
            let sum = |of: fn(&Tally) -> u64| parts.iter().map(of).sum();
            Tally { passed: sum(|part| part.passed), failed: sum(|part| part.failed) }
        }
    };
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same seed gives the same bytes: each of these runs twice, and the timelines with every beat are compared.
fn same_seed_same_bytes(seeds: u64) -> Tally {
    let mut tally = Tally::default();
    let options = Options { timeline: true, beats: true, record: true, ..Options::default() };
    for seed in 1..=seeds {
        let (once, again) = (search::run_seed(seed, options), search::run_seed(seed, options));
        if (once.digest, once.timeline) == (again.digest, again.timeline) {
            tally.passed += 1;
        } else {
            tally.failed += 1;
            println!("seed {seed} does not give the same run twice");
        }
    }
    tally
}

/// The names of mutants may follow, in any order with `--seeds` and `--jobs`.
fn run_mutants(words: &Words) -> Tally {
    let named = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let names: Vec<&str> = words.0.iter().skip(1).map(String::as_str).filter(named).collect();
    let jobs = usize::try_from(words.number("--jobs", 2)).unwrap_or(2);
    if words.has("aimed") {
        return mutants::run_aimed(&names, words.number("--seeds", 100));
    }
    mutants::run(&names, words.number("--seeds", mutants::SEEDS), jobs)
}

#[allow(clippy::cast_precision_loss, reason = "shown to people")]
fn search_seeds(words: &Words, seeds: u64) -> Tally {
    let count = words.number("--seeds", seeds);
    let from = words.number("--from", 1);
    let jobs = usize::try_from(words.number("--jobs", 2)).unwrap_or(2);
    let limit = usize::try_from(words.number("--failures", 10)).unwrap_or(10);
    #[allow(clippy::disallowed_methods, reason = "the speed of the search is measured in real time")]
    let began = Instant::now();
    let found = search::search(from, count, jobs, Options::default(), limit);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} seeds from {from}, {:.0} a second on {jobs} threads",
        found.seeds,
        found.seeds as f64 / took
    );
    println!("{}", found.stats);
    for verdict in found.failures.iter().take(3) {
        explain(verdict.seed, Options::default());
    }
    for verdict in found.failures.iter().skip(3) {
        headline(verdict);
    }
    let idle = if found.seeds >= 1_000 { found.stats.idle() } else { Vec::new() };
    for number in &idle {
        println!("invariant {number} was never put to the test");
    }
    let at_once = found.stats.counts.get(invariants::AT_ONCE).copied().unwrap_or(0);
    let too_often = at_once > 1 + found.seeds / 10_000;
    if too_often {
        println!("{}: {at_once} of them are too many", invariants::AT_ONCE);
    }
    let failed = found.failures.len() as u64;
    Tally { passed: found.seeds - failed, failed: failed + idle.len() as u64 + u64::from(too_often) }
}

fn headline(verdict: &Verdict) {
    if let Some(violation) = &verdict.violation {
        let at = report::Ms(violation.at);
        println!("seed {}: invariant {} at {at}: {}", verdict.seed, violation.invariant, violation.what);
    }
}

/// Runs a seed again with its timeline, and prints the end of it.
fn explain(seed: u64, options: Options) {
    let verdict = search::run_seed(seed, Options { timeline: true, ..options });
    let lines: Vec<&str> = verdict.timeline.lines().collect();
    for line in &lines[lines.len().saturating_sub(40)..] {
        println!("{line}");
    }
    headline(&verdict);
    println!("    cargo test --test sim -- seed {seed} --timeline\n");
}

fn one_seed(words: &Words) -> Tally {
    let seed = words.0.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mutant = words.after("--mutant");
    let mutant = systole::cluster::Mutant::ALL.into_iter().find(|m| mutant == Some(&*format!("{m:?}")));
    let options = Options {
        mutant,
        timeline: words.has("--timeline"),
        beats: words.has("--beats"),
        record: true,
        strict: mutant.is_some(),
        ..Options::default()
    };
    let plan = match mutant {
        Some(mutant) => mutants::plan(mutant, seed),
        None => draw::draw(seed),
    };
    let verdict =
        search::run_plan(&plan, Options { mutant: mutant.filter(|_| !words.has("--true-core")), ..options });
    print!("{}", verdict.timeline);
    println!("{}", verdict.stats);
    println!("digest {:016x}", verdict.digest);
    headline(&verdict);
    let failed = u64::from(verdict.violation.is_some());
    Tally { passed: 1 - failed, failed }
}
