//! An exhaustive search of small worlds over the real core: every schedule of a few faults, not a random one of many.
//!
//! `cargo test --test explore` searches each world with more and more faults, for a bounded time; `-- --deep` for longer;
//! `-- --mutants` (with `--features mutants`) shows that the search finds deliberate mistakes. `--world NAME`,
//! `--mutant NAME`, `--faults N`,
//! `--states N`, `--seconds N` narrow or widen it. It must never need a clock to decide anything: only how
//! long it searches depends on one.

#![allow(
    clippy::disallowed_methods,
    reason = "how long it searches depends on a clock, what it finds does not"
)]
#![allow(
    clippy::disallowed_types,
    reason = "a set of fingerprints, by the fingerprint: nothing goes by its order"
)]

mod moves;
mod mutants;
mod normal;
mod search;
mod settings;
mod shell;
mod story;
mod twins;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use search::{Found, Limits};
use world::Setting;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) limits: Limits,
    pub(crate) world: Option<String>,
    pub(crate) mutants: bool,
    pub(crate) mutant: Option<String>,
}

fn main() -> ExitCode {
    let asked = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(what) => {
            eprintln!("explore: {what}");
            return ExitCode::from(2);
        }
    };
    let (passed, failed) = if asked.mutants { mutants::find_all(&asked) } else { explore(&asked) };
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let limits = Limits { faults: 4, states: 6_000_000, seconds: 34, first: false };
    let mut asked = Asked { limits, world: None, mutants: false, mutant: None };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--deep" => asked.limits = Limits { faults: 6, states: 60_000_000, seconds: 900, first: false },
            "--mutants" => {
                asked.mutants = true;
                asked.limits = Limits { faults: 2, states: 12_000_000, seconds: 600, first: true };
            }
            "--faults" => asked.limits.faults = u8::try_from(number()?).unwrap_or(u8::MAX),
            "--states" => asked.limits.states = usize::try_from(number()?).unwrap_or(usize::MAX),
            "--seconds" => asked.limits.seconds = number()?,
            "--world" => asked.world = words.next(),
            "--mutant" => asked.mutant = words.next(),
            // What cargo passes on to every test.
            "--nocapture" | "--quiet" | "-q" => {}
            _ => return Err(format!("no such option: {word}")),
        }
    }
    Ok(asked)
}

fn explore(asked: &Asked) -> (usize, usize) {
    let chosen = |setting: &Arc<Setting>| asked.world.as_ref().is_none_or(|name| name == setting.name);
    let settings: Vec<Arc<Setting>> = settings::all(None).into_iter().filter(chosen).collect();
    println!(
        "{:<25} {:>9} {:>11} {:>6} {:>8} {:>6} {:>5} {:>8}  exhaustive",
        "world", "states", "transitions", "depth", "settled", "twins", "s", "states/s"
    );
    let results = on_both_cores(settings, |setting| {
        let found = search::search(setting, asked.limits);
        print(setting, &found);
        found
    });
    let mut failed = 0;
    for (setting, found) in &results {
        failed += usize::from(!found.violations.is_empty());
        for (what, path) in &found.violations {
            println!("\nVIOLATION in {}: {what}", setting.name);
            story::tell(setting, path);
        }
    }
    (results.len() - failed, failed)
}

fn print(setting: &Setting, found: &Found) {
    let complete = found.complete.map_or("nothing".to_owned(), |faults| format!("up to {faults} faults"));
    let violations = found.violations.len();
    let verdict = if violations > 0 { format!(", VIOLATIONS of {violations} kinds") } else { String::new() };
    println!(
        "{:<25} {:>9} {:>11} {:>6} {:>8} {:>6} {:>5.1} {:>8.0}  {complete}{verdict}",
        setting.name,
        found.states,
        found.transitions,
        found.depth,
        found.settled,
        found.twins,
        found.seconds,
        found.states as f64 / found.seconds.max(0.001),
    );
}

/// Two threads take one setting after the other.
pub(crate) fn on_both_cores<T: Send>(
    settings: Vec<Arc<Setting>>,
    work: impl Fn(&Arc<Setting>) -> T + Sync,
) -> Vec<(Arc<Setting>, T)> {
    let queue = Mutex::new(settings.into_iter().enumerate().rev().collect::<Vec<_>>());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let taken = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((place, setting)) = taken else { return };
                    let result = work(&setting);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((place, setting, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, ..)| *place);
    results.into_iter().map(|(_, setting, result)| (setting, result)).collect()
}
