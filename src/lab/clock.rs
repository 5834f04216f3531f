//! The lab's clock and its waits. Faults and measurements are told by one clock, of the whole machine.

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use std::os::fd::BorrowedFd;

use crate::time::Span;

/// `CLOCK_MONOTONIC`.
pub fn now() -> Span {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or_else(|_| TimeSpec::new(0, 0));
    Span::micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
}

/// Until something can be read, or the time is over. A signal ends it early.
pub(super) fn readable(fds: &[BorrowedFd<'_>], at_most: Span) {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let micros = i64::try_from(at_most.as_micros()).unwrap_or(i64::MAX);
    // A failure is a signal, or a descriptor that the read behind it will complain of.
    let _ = ppoll(&mut fds, Some(TimeSpec::microseconds(micros)), None);
}

/// Lets so much time pass.
pub fn wait(span: Span) {
    let end = now() + span;
    loop {
        let left = end - now();
        if left == Span::ZERO {
            return;
        }
        readable(&[], left);
    }
}

/// Looks again and again, until there is something to see or the time is over.
pub fn wait_for<T>(at_most: Span, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + at_most;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if now() >= end {
            return None;
        }
        wait(Span::millis(1));
    }
}
