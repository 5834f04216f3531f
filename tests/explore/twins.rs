//! Whether a fingerprint keeps what it promises: two states with different histories and the same fingerprint are moved
//! alike, and must answer alike.

use std::collections::HashMap;

use systole::cluster::Effect;

use crate::search::ByPrint;
use crate::world::World;

/// One state in so many is kept to be compared.
const SAMPLE: u128 = 67;

/// So many are kept.
const KEPT: usize = 5_000;

/// A kept state is compared so often.
const OFTEN: u32 = 3;

#[derive(Default)]
pub(crate) struct Twins {
    kept: ByPrint<(World, u32)>,
    pub(crate) compared: u64,
}

impl Twins {
    pub(crate) fn keep(&mut self, print: u128, world: &World) {
        if print.is_multiple_of(SAMPLE) && self.kept.len() < KEPT {
            self.kept.entry(print).or_insert_with(|| (world.clone(), 0));
        }
    }

    /// Another state with a fingerprint seen before.
    pub(crate) fn compare(&mut self, print: u128, world: &World) -> Result<(), String> {
        let Some((twin, often)) = self.kept.get_mut(&print) else { return Ok(()) };
        if *often >= OFTEN || twin.tick == world.tick {
            return Ok(());
        }
        *often += 1;
        for choice in world.choices(1) {
            let (mut one, mut other) = (twin.clone(), world.clone());
            let (first, second) = (one.play(choice), other.play(choice));
            let kinds = |effects: &[Effect]| -> Vec<std::mem::Discriminant<Effect>> {
                let acts = effects.iter().filter(|effect| !matches!(effect, Effect::Tell(_)));
                acts.map(std::mem::discriminant).collect()
            };
            let alike = kinds(&first.effects) == kinds(&second.effects)
                && one.fingerprint() == other.fingerprint()
                && one.violation == other.violation;
            if !alike {
                return Err(format!(
                    "the fingerprint forgets something: {choice:?} gives {first:?} and {second:?}"
                ));
            }
            self.compared += 1;
        }
        Ok(())
    }
}

/// So that a search can begin with an empty one.
impl std::fmt::Debug for Twins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _: &HashMap<_, _, _> = &self.kept;
        write!(f, "{} kept, {} compared", self.kept.len(), self.compared)
    }
}
