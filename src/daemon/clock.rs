//! The only clock of the house.

use nix::time::{ClockId, clock_gettime};

use crate::time::{Moment, Span};

/// The present, on both clocks.
pub(super) fn now() -> Moment {
    Moment { boot: read(ClockId::CLOCK_BOOTTIME), raw: read(ClockId::CLOCK_MONOTONIC_RAW) }
}

/// Seconds since 1970: for numbering a life, and for nothing else.
pub(super) fn wall_seconds() -> u64 {
    read(ClockId::CLOCK_REALTIME).as_micros() / 1_000_000
}

fn read(clock: ClockId) -> Span {
    // These clocks are in every kernel that has the rest of what is needed; time before 1970 is none.
    let time = clock_gettime(clock).expect("the kernel has this clock");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or_default();
    Span::seconds(seconds) + Span::micros(nanoseconds / 1_000)
}
