//! Deliberate mistakes in the core, each of which must be found within a stated number of seeds.
//!
//! Half of the seeds are general ones, half are aimed: worlds in which the rule that is broken has to hold. An aimed
//! world must be clean on the true core, or it proves nothing: each finding is run again there.

use systole::cluster::Mutant;

use crate::Tally;
use crate::aimed;
use crate::draw::{Plan, draw};
use crate::report::Ms;
use crate::search::{Verdict, run_plan};
use crate::world::Options;

/// So many seeds, aimed and general ones in turn, are enough for each mutant.
pub(crate) const SEEDS: u64 = 1_000;

/// The plan of the n-th try.
pub(crate) fn plan(mutant: Mutant, number: u64) -> Plan {
    if number.is_multiple_of(2) { aimed::draw(mutant, number) } else { draw(number) }
}

enum Found {
    Yes {
        number: u64,
        verdict: Verdict,
    },
    /// The same world fails without the mistake.
    Unclean {
        number: u64,
        what: String,
    },
    No,
}

/// Every mutant whose name is among `names`, or all.
pub(crate) fn run(names: &[&str], seeds: u64, jobs: usize) -> Tally {
    if cfg!(not(feature = "mutants")) {
        println!("the mutants need `--features mutants`");
        return Tally { passed: 0, failed: 1 };
    }
    let wanted = |mutant: &Mutant| names.is_empty() || names.contains(&&*format!("{mutant:?}"));
    let chosen: Vec<Mutant> = Mutant::ALL.into_iter().filter(wanted).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let tally = std::sync::Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(&mutant) = chosen.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let found = hunt(mutant, seeds);
                    let Ok(mut tally) = tally.lock() else { return };
                    tell(mutant, seeds, &found, &mut tally);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The aimed worlds on the true core: each must be clean.
pub(crate) fn run_aimed(names: &[&str], seeds: u64) -> Tally {
    let mut tally = Tally::default();
    for mutant in Mutant::ALL.into_iter().filter(|m| names.is_empty() || names.contains(&&*format!("{m:?}")))
    {
        let failing = (1..=seeds).map(|number| number * 2).find_map(|number| {
            let verdict = run_plan(&aimed::draw(mutant, number), Options::default());
            verdict.violation.map(|violation| (number, violation))
        });
        match failing {
            None => tally.passed += 1,
            Some((number, violation)) => {
                tally.failed += 1;
                let (at, what) = (Ms(violation.at), violation.what);
                println!("{mutant:?} seed {number}: invariant {} at {at}: {what}", violation.invariant);
            }
        }
    }
    tally
}

fn hunt(mutant: Mutant, seeds: u64) -> Found {
    let mut unclean = None;
    for number in 1..=seeds {
        let plan = plan(mutant, number);
        let true_core = Options { strict: true, ..Options::default() };
        let verdict = run_plan(&plan, Options { mutant: Some(mutant), ..true_core });
        if verdict.violation.is_none() {
            continue;
        }
        match run_plan(&plan, true_core).violation {
            None => return Found::Yes { number, verdict },
            Some(violation) => {
                let what = format!("invariant {}: {}", violation.invariant, violation.what);
                unclean.get_or_insert(Found::Unclean { number, what });
            }
        }
    }
    unclean.unwrap_or(Found::No)
}

fn tell(mutant: Mutant, seeds: u64, found: &Found, tally: &mut Tally) {
    let name = format!("{mutant:?}");
    match found {
        Found::Yes { number, verdict } => {
            tally.passed += 1;
            let Some(violation) = &verdict.violation else { return };
            let how = if number.is_multiple_of(2) { "aimed" } else { "general" };
            let (at, what) = (Ms(violation.at), &violation.what);
            println!(
                "{name:<32} seed {number:>5} ({how}): invariant {} at {at}: {what}",
                violation.invariant
            );
        }
        Found::Unclean { number, what } => {
            tally.failed += 1;
            println!("{name:<32} NOT FOUND; seed {number} also fails without the mistake: {what}");
        }
        Found::No => {
            tally.failed += 1;
            println!("{name:<32} NOT FOUND in {seeds} seeds");
        }
    }
}
