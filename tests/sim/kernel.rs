//! What a machine has of its own, whatever its daemon does: clocks, lease elements, a watchdog.
//!
//! Elements are counted in *kernel time*: the tick of the machine, which runs at the rate of its raw clock and stands
//! still while the machine is paused or suspended. An element ends on the tick after its timeout: up to 4 ms late.

use std::collections::BTreeMap;

use systole::cluster::KERNEL_TICK;
use systole::time::{Moment, Span};
use systole::types::GroupId;

/// A clock of a machine: true time in, its own time out. Both in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    at: u64,
    value: u64,
    /// How much faster than true time it goes, in millionths.
    pub(crate) ppm: i64,
    stopped: bool,
}

impl Clock {
    pub(crate) fn new(at: u64, value: u64, ppm: i64) -> Self {
        Self { at, value, ppm, stopped: false }
    }

    fn rate(&self) -> u64 {
        1_000_000u64.saturating_add_signed(self.ppm)
    }

    pub(crate) fn read(&self, now: u64) -> u64 {
        if self.stopped { self.value } else { self.value + (now - self.at) * self.rate() / 1_000_000 }
    }

    /// The true time at which it will show `value`: rounded up; never for a stopped clock.
    pub(crate) fn when(&self, value: u64) -> u64 {
        if value <= self.value {
            return self.at;
        }
        let wait = (value - self.value).saturating_mul(1_000_000).div_ceil(self.rate());
        self.at.saturating_add(wait)
    }

    pub(crate) fn stop(&mut self, now: u64) {
        self.value = self.read(now);
        self.at = now;
        self.stopped = true;
    }

    /// Goes on, after a jump forward.
    pub(crate) fn go(&mut self, now: u64, jump: u64) {
        self.value += jump;
        self.at = now;
        self.stopped = false;
    }
}

/// One element of the kernel's set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    /// In kernel time; the tick is counted in already.
    pub(crate) ends: u64,
    /// The true time at which the transaction that first raised it began.
    pub(crate) raised: u64,
}

/// The part of a machine that no daemon can hang.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) boot: Clock,
    pub(crate) raw: Clock,
    pub(crate) elements: BTreeMap<GroupId, Element>,
    /// Kernel time at which the watchdog was last fed; `None`: not armed.
    pub(crate) fed: Option<u64>,
}

impl Kernel {
    pub(crate) fn moment(&self, now: u64) -> Moment {
        Moment { boot: Span(self.boot.read(now)), raw: Span(self.raw.read(now)) }
    }

    /// Whether the element stands, for a machine that runs.
    pub(crate) fn stands(&self, group: GroupId, now: u64) -> bool {
        let kernel = self.raw.read(now);
        self.elements.get(&group).is_some_and(|element| kernel < element.ends)
    }

    /// How long each element stands on.
    pub(crate) fn standing(&self, now: u64) -> BTreeMap<GroupId, Span> {
        let kernel = self.raw.read(now);
        let left = |element: &Element| Span(element.ends - kernel);
        self.elements.iter().filter(|(_, e)| kernel < e.ends).map(|(&group, e)| (group, left(e))).collect()
    }

    /// Sets the element to end `timeout` after now, on the next tick.
    pub(crate) fn set(&mut self, group: GroupId, timeout: u64, began: u64, now: u64) {
        let tick = KERNEL_TICK.as_micros();
        let ends = (self.raw.read(now) + timeout).div_ceil(tick) * tick;
        let raised = match self.elements.get(&group) {
            Some(element) if self.raw.read(now) < element.ends => element.raised,
            Some(_) | None => began,
        };
        self.elements.insert(group, Element { ends, raised });
    }

    /// The true time at which an element ends if nobody touches it.
    pub(crate) fn end_of(&self, group: GroupId) -> Option<u64> {
        self.elements.get(&group).map(|element| self.raw.when(element.ends))
    }
}
