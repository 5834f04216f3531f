//! The search has teeth: deliberate mistakes in the core, each of which it must find in one of its worlds.

use crate::Asked;

#[cfg(not(feature = "mutants"))]
pub(crate) fn find_all(_asked: &Asked) -> (usize, usize) {
    println!("there are no mutants without --features mutants");
    (0, 1)
}

#[cfg(feature = "mutants")]
pub(crate) fn find_all(asked: &Asked) -> (usize, usize) {
    use std::sync::Arc;
    use std::time::Instant;

    use systole::cluster::Mutant;

    use crate::search::{Found, Limits, search};
    use crate::settings;
    use crate::world::Setting;

    let wanted = [
        Mutant::ClaimantCountsItselfAlways,
        Mutant::MajorityOfHalf,
        Mutant::TwoGrantsAtATime,
        Mutant::NoHoldOff,
        Mutant::ClaimlessAfterRestart,
        Mutant::LeaseCountedFromReceipt,
        Mutant::ReleasedBeforeElementDropped,
        Mutant::StartsBeforeWon,
        Mutant::MemoryWrittenAfterBeat,
    ];
    let named = |mutant: &Mutant| asked.mutant.as_ref().is_none_or(|name| *name == format!("{mutant:?}"));
    let wanted: Vec<Mutant> = if asked.mutant.is_some() { Mutant::ALL.to_vec() } else { wanted.to_vec() }
        .into_iter()
        .filter(named)
        .collect();
    let sound = sound_worlds(asked);
    println!("worlds without a violation of their own: {}\n", sound.join(", "));
    println!("{:<30} {:<25} {:>9} {:>6}  what", "mutant", "found in", "states", "s");
    let count = wanted.len();
    let mut found_all = 0;
    for mutant in wanted {
        let began = Instant::now();
        let chosen = |setting: &Arc<Setting>| sound.contains(&setting.name);
        let settings: Vec<Arc<Setting>> =
            settings::all(Some(mutant)).into_iter().rev().filter(chosen).collect();
        let done = std::sync::atomic::AtomicBool::new(false);
        let results: Vec<(Arc<Setting>, Found)> = crate::on_both_cores(settings, |setting| {
            if done.load(std::sync::atomic::Ordering::Relaxed) {
                return Found::default();
            }
            let found = search(setting, Limits { first: true, ..asked.limits });
            done.fetch_or(!found.violations.is_empty(), std::sync::atomic::Ordering::Relaxed);
            found
        });
        let states: usize = results.iter().map(|(_, found)| found.states).sum();
        let seconds = began.elapsed().as_secs_f64();
        let first =
            results.iter().find_map(|(setting, found)| Some((setting, found.violations.iter().next()?)));
        let name = format!("{mutant:?}");
        match first {
            Some((setting, (what, path))) => {
                found_all += 1;
                println!("{name:<30} {:<25} {states:>9} {seconds:>6.1}  {what}", setting.name);
                if asked.mutant.is_some() {
                    crate::story::tell(setting, path);
                }
            }
            None => println!("{name:<30} {:<25} {states:>9} {seconds:>6.1}  NOT FOUND", "-"),
        }
    }
    (found_all, count - found_all)
}

/// A world in which the core goes wrong by itself proves nothing about its mistakes.
#[cfg(feature = "mutants")]
fn sound_worlds(asked: &Asked) -> Vec<&'static str> {
    use crate::search::{Limits, search};

    let chosen = |setting: &std::sync::Arc<crate::world::Setting>| {
        asked.world.as_ref().is_none_or(|name| name == setting.name)
    };
    let candidates = crate::settings::all(None).into_iter().filter(chosen).collect();
    let judged = crate::on_both_cores(candidates, |setting| {
        search(setting, Limits { first: true, faults: 1, ..asked.limits }).violations.is_empty()
    });
    judged.into_iter().filter(|(_, sound)| *sound).map(|(setting, _)| setting.name).collect()
}
