//! Worlds aimed at one rule each, where chance alone is too slow.

use systole::cluster::Mutant;
use systole::rng::Rng;

use crate::draw::{Class, Plan, draw_class};

/// A world in which the rule that this mutant breaks has to hold.
pub(crate) fn draw(mutant: Mutant, seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ ((mutant as u64) << 32) ^ 0xa13e_d000);
    draw_class(seed, Class::Chaos, &mut rng)
}
