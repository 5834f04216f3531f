//! Runs of several systems in turn, a few of each at a time, with an idle thread beside them.

use systole::time::Span;

use super::rig::Rig;
use super::system::System;
use super::{Options, Try};

/// So many runs of one system before the next has its turn: a machine that becomes slower does so for all.
const TURN: usize = 5;

/// What the runs of one system brought.
pub(crate) struct Runs<T> {
    /// Which system.
    pub(crate) system: System,
    /// What was measured, run for run.
    pub(crate) values: Vec<T>,
    /// Runs that brought nothing.
    pub(crate) failed: usize,
    /// The lateness of an idle thread meanwhile: 99 of 100, and the most.
    pub(crate) late: (Span, Span),
}

impl<T> Runs<T> {
    /// How many runs, and how many of them failed.
    pub(crate) fn count(&self) -> String {
        match self.failed {
            0 => self.values.len().to_string(),
            failed => format!("{}, and {failed} failed", self.values.len()),
        }
    }
}

/// Runs all systems that can be had. A run that fails is counted and not repeated; the daemons are then started anew.
pub(crate) fn in_turn<T>(
    options: &Options,
    rig: &mut Rig,
    systems: &[System],
    mut run: impl FnMut(&mut Rig, System) -> Try<T>,
) -> Vec<Runs<T>> {
    let here = systems.iter().filter(|system| system.is_systole() || options.keepalived.is_some());
    let mut all: Vec<_> = here
        .map(|system| Runs { system: *system, values: Vec::new(), failed: 0, late: (Span::ZERO, Span::ZERO) })
        .collect();
    let mut left = options.runs;
    while left > 0 {
        let turn = left.min(TURN);
        for runs in &mut all {
            take_turn(rig, runs, turn, &mut run);
        }
        left -= turn;
    }
    all
}

fn take_turn<T>(
    rig: &mut Rig,
    runs: &mut Runs<T>,
    turn: usize,
    run: &mut impl FnMut(&mut Rig, System) -> Try<T>,
) {
    let (system, idle) = (runs.system, rig.idle());
    let mut ready = false;
    for _ in 0..turn {
        let done = if ready { rig.quiet(system) } else { rig.begin(system) }.and_then(|()| run(rig, system));
        ready = match done {
            Ok(value) => {
                runs.values.push(value);
                true
            }
            Err(error) => {
                println!("{system}: a run failed: {error}");
                runs.failed += 1;
                put_away(rig);
                false
            }
        };
    }
    if ready {
        // A daemon that was just started again is not ended before it stands: it would leave its rules behind.
        if let Err(error) = rig.quiet(system) {
            println!("{system}: the last run is not over: {error}");
        }
        put_away(rig);
    }
    if let Ok(idle) = idle {
        let (usual, most) = idle.finish();
        runs.late = (runs.late.0.max(usual), runs.late.1.max(most));
    }
}

fn put_away(rig: &mut Rig) {
    if let Err(error) = rig.end() {
        println!("the daemons do not end: {error}");
    }
}
