//! Record in production, replay at a desk: a core is a function of its start and its inputs.

use serde::{Deserialize, Serialize};

use crate::time::Moment;

use super::{Core, Effects, Input, Start};

/// All that a core was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// What it began with.
    pub start: Start,
    /// What happened, and when.
    pub inputs: Vec<(Moment, Input)>,
}

impl Recording {
    /// Begins with what a core begins with.
    pub fn new(start: Start) -> Self {
        Self { start, inputs: Vec::new() }
    }

    /// One more input, as it is fed.
    pub fn note(&mut self, now: Moment, input: &Input) {
        self.inputs.push((now, input.clone()));
    }
}

/// What the core answers to each: first to its start, then to every input.
pub fn replay(recording: &Recording) -> Vec<Effects> {
    let mut effects = Effects::new();
    let mut core = Core::start(recording.start.clone(), &mut effects);
    let mut all = vec![effects];
    for (now, input) in &recording.inputs {
        let mut effects = Effects::new();
        core.step(*now, input.clone(), &mut effects);
        all.push(effects);
    }
    all
}
