//! The director's clock: it goes on while the machine sleeps.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::Span;

pub(super) fn now() -> Span {
    // Every kernel that has the rest of what is needed has this clock.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the kernel has this clock");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    Span::seconds(seconds) + Span::micros(u64::try_from(time.tv_nsec()).unwrap_or_default() / 1_000)
}

pub(super) fn duration(span: Span) -> Duration {
    Duration::from_micros(span.as_micros())
}
