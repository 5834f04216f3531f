//! Time is a value. Nothing here reads a clock; the daemon and the simulator do, and pass what they read.

use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// A length of time, in microseconds. Arithmetic saturates: a time can be wrong, but it cannot wrap.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many microseconds.
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Div<u64> for Span {
    type Output = Self;
    fn div(self, parts: u64) -> Self {
        Self(self.0 / parts)
    }
}

/// As a person writes it in the configuration: `200ms`, `1s`, `1.5s`, `250us`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            micros if micros >= 1_000_000 => write!(f, "{}s", decimal(micros, 1_000_000)),
            micros if micros >= 1_000 => write!(f, "{}ms", decimal(micros, 1_000)),
            micros => write!(f, "{micros}us"),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `value / unit` with at most three decimals and no trailing zeros.
fn decimal(value: u64, unit: u64) -> String {
    let thousandths = value % unit * 1_000 / unit;
    let text = format!("{}.{thousandths:03}", value / unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A point in time on one node, read off both of its clocks at once. Moments of different nodes don't compare.
///
/// `boot` goes on while the machine is suspended and is steered by NTP; `raw` is neither. No clock is trusted alone: a
/// holder of a lease takes the one on which more time has passed, a voter the one on which less has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// `CLOCK_BOOTTIME`: timers and plain ages go by it.
    pub boot: Span,
    /// `CLOCK_MONOTONIC_RAW`.
    pub raw: Span,
}

impl Moment {
    /// Both clocks at the same reading: for tests, and for a machine that was never suspended or steered.
    pub const fn at(time: Span) -> Self {
        Self { boot: time, raw: time }
    }

    /// The time since `earlier` by the boot clock: for liveness and logs, not for leases.
    pub fn since(self, earlier: Self) -> Span {
        self.boot - earlier.boot
    }

    /// The most that can have passed since `earlier`: what a holder counts against itself.
    pub fn at_most_since(self, earlier: Self) -> Span {
        (self.boot - earlier.boot).max(self.raw - earlier.raw)
    }

    /// The least that can have passed since `earlier`: what a voter counts for itself.
    pub fn at_least_since(self, earlier: Self) -> Span {
        (self.boot - earlier.boot).min(self.raw - earlier.raw)
    }
}

impl Add<Span> for Moment {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self { boot: self.boot + span, raw: self.raw + span }
    }
}

impl Sub<Span> for Moment {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self { boot: self.boot - span, raw: self.raw - span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_as_it_is_written() {
        let shown = [0, 250, 1_500, 200_000, 1_000_000, 1_250_000, 30_000_000].map(|us| Span(us).to_string());
        assert_eq!(shown, ["0s", "250us", "1.5ms", "200ms", "1s", "1.25s", "30s"]);
    }

    #[test]
    fn a_suspended_machine_counts_the_time_as_a_holder_and_not_as_a_voter() {
        let before = Moment { boot: Span::seconds(10), raw: Span::seconds(9) };
        let after = Moment { boot: Span::seconds(70), raw: Span::seconds(10) };
        assert_eq!(after.at_most_since(before), Span::seconds(60));
        assert_eq!(after.at_least_since(before), Span::seconds(1));
    }
}
