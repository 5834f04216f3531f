//! Keeps this machine busy for a bounded time; and measures how late it is anyway, so that figures can be judged.

use super::LabError;
use super::clock;
use super::network::Machine;
use super::probe::{EVERY, PRIORITY};
use super::space::{Stop, Work};
use crate::net::sys;
use crate::time::Span;

/// Threads that do nothing but keep processors busy. Dropped, they stop.
#[derive(Debug)]
pub struct Busy {
    _threads: Vec<Work<()>>,
}

/// A thread that wants to wake as often as a probe does, and writes down how late it was. It has nothing else to do.
#[derive(Debug)]
pub struct Idle {
    work: Work<Vec<Span>>,
}

impl Machine {
    /// Keeps so many processors busy, for so long at most.
    pub fn load(&self, threads: usize, at_most: Span) -> Result<Busy, LabError> {
        let end = clock::now() + at_most;
        let spin = move |stop: &Stop| while !stop.is_set() && clock::now() < end {};
        let threads = (0..threads).map(|_| self.space.work("lab-load", spin)).collect::<Result<_, _>>()?;
        Ok(Busy { _threads: threads })
    }

    /// Starts to measure this machine's own lateness.
    pub fn idle(&self) -> Result<Idle, LabError> {
        let work = self.space.work("lab-idle", |stop| {
            let _ = sys::real_time(PRIORITY);
            let (mut late, mut next) = (Vec::new(), clock::now());
            while !stop.is_set() {
                clock::readable(&[], next - clock::now());
                let now = clock::now();
                late.push(now - next);
                next = now.max(next + EVERY);
            }
            late
        })?;
        Ok(Idle { work })
    }
}

impl Idle {
    /// Stops. How late the machine was: by this much at most in 99 of 100 cases, and at most.
    pub fn finish(self) -> (Span, Span) {
        let mut late = self.work.finish().unwrap_or_default();
        late.sort_unstable();
        let at =
            |hundredths: usize| late.get((late.len() * hundredths / 100).min(late.len().saturating_sub(1)));
        (at(99).copied().unwrap_or_default(), late.last().copied().unwrap_or_default())
    }
}
