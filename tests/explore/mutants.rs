//! The search has teeth: deliberate mistakes in the core, each of which it must find in one of its worlds.

#[cfg(not(feature = "mutants"))]
pub(crate) fn find_all(_asked: &crate::Asked) -> (usize, usize) {
    println!("there are no mutants without --features mutants");
    (0, 1)
}

#[cfg(feature = "mutants")]
pub(crate) use hunt::find_all;

#[cfg(feature = "mutants")]
mod hunt {
    use std::sync::Arc;

    use systole::cluster::Mutant;

    use crate::Asked;
    use crate::search::{Found, Limits, search};
    use crate::settings;
    use crate::world::Setting;

    /// Each with the world that has the powers it takes.
    const AIMED: [(Mutant, &str); 9] = [
        (Mutant::ClaimantCountsItselfAlways, "handing-over"),
        (Mutant::MajorityOfHalf, "pair-and-arbiter"),
        (Mutant::TwoGrantsAtATime, "pair-own-network"),
        (Mutant::NoHoldOff, "forgetting"),
        (Mutant::ClaimlessAfterRestart, "three-nodes"),
        (Mutant::LeaseCountedFromReceipt, "pair-and-arbiter"),
        (Mutant::ReleasedBeforeElementDropped, "pair-own-network"),
        (Mutant::StartsBeforeWon, "three-nodes"),
        (Mutant::MemoryWrittenAfterBeat, "pair-fence"),
    ];

    /// So much of the same world without the mistake is searched, to see that it is clean.
    const MOST_COMPARED: usize = 300_000;

    pub(crate) fn find_all(asked: &Asked) -> (usize, usize) {
        println!("{:<30} {:<20} {:>9} {:>7} {:>6}  what", "mutant", "world", "states", "clean", "s");
        let results = crate::on_both_cores(hunts(asked), |setting| hunt(setting, asked.limits));
        let mut found_all = 0;
        for (setting, (found, honest)) in &results {
            let name = setting.mutant.map_or_else(String::new, |mutant| format!("{mutant:?}"));
            let clean =
                if honest.violations.is_empty() { honest.states.to_string() } else { "NO".to_owned() };
            let what = found.violations.keys().next().map_or("NOT FOUND", String::as_str);
            println!(
                "{name:<30} {:<20} {:>9} {clean:>7} {:>6.1}  {what}",
                setting.name, found.states, found.seconds
            );
            found_all += usize::from(!found.violations.is_empty() && honest.violations.is_empty());
            if let Some((_, path)) = found.violations.first_key_value().filter(|_| asked.mutant.is_some()) {
                crate::story::tell(setting, path);
            }
        }
        (found_all, results.len() - found_all)
    }

    /// What was asked for: the aimed ones, or any mistake in any world.
    fn hunts(asked: &Asked) -> Vec<Arc<Setting>> {
        let named = |mutant: &Mutant| asked.mutant.as_ref().is_none_or(|name| *name == format!("{mutant:?}"));
        let pairs: Vec<(Mutant, &str)> = match &asked.world {
            Some(world) => Mutant::ALL.into_iter().map(|mutant| (mutant, world.as_str())).collect(),
            None => AIMED.to_vec(),
        };
        let wanted = pairs.into_iter().filter(|(mutant, _)| named(mutant));
        wanted.filter_map(|(mutant, world)| world_of(Some(mutant), world)).collect()
    }

    fn world_of(mutant: Option<Mutant>, name: &str) -> Option<Arc<Setting>> {
        settings::all(mutant).into_iter().find(|setting| setting.name == name)
    }

    /// A world in which the core goes wrong by itself proves nothing about its mistakes: as much of it must be clean.
    fn hunt(setting: &Arc<Setting>, limits: Limits) -> (Found, Found) {
        let found = search(setting, Limits { first: true, ..limits });
        let states = found.states.min(MOST_COMPARED);
        let honest = world_of(None, setting.name)
            .map(|honest| search(&honest, Limits { first: true, states, ..limits }));
        (found, honest.unwrap_or_default())
    }
}
