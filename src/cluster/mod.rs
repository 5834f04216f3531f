//! The pure core.

mod event;
mod input;
mod mutant;
mod view;

pub use event::*;
pub use input::*;
pub use mutant::Mutant;
use mutant::Mutation;
pub use view::*;

use crate::time::{Moment, Span};

/// A kernel tick at HZ 250.
pub const KERNEL_TICK: Span = Span::millis(4);

/// How much sooner than its voters a holder gives up a lease of this length: bounds how far two clocks drift apart.
pub fn margin(lease: Span) -> Span {
    (lease / 100).max(KERNEL_TICK * 2)
}

/// One node of the cluster, as a value.
#[derive(Clone, Debug)]
pub struct Core {
    mutation: Mutation,
}

impl Core {
    /// A node begins. Effects may come at once.
    pub fn start(start: Start, effects: &mut Effects) -> Self {
        Self::begin(start, Mutation::default(), effects)
    }

    /// A node that makes a deliberate mistake.
    #[cfg(feature = "mutants")]
    pub fn start_mutated(start: Start, mutant: Mutant, effects: &mut Effects) -> Self {
        Self::begin(start, Mutation::of(mutant), effects)
    }

    fn begin(_start: Start, mutation: Mutation, _effects: &mut Effects) -> Self {
        Self { mutation }
    }

    /// Something happened, now.
    pub fn step(&mut self, _now: Moment, _input: Input, _effects: &mut Effects) {
        let _ = self.mutation.is(Mutant::NoMargin);
    }

    /// When [`Input::Timer`] is due, on the boot clock.
    pub fn next_deadline(&self) -> Span {
        Span::ZERO
    }
}
