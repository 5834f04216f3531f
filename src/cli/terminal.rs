//! What goes to the terminal, and what is read off the machine for it: whether it wants colours, how late it is, and how
//! long to wait before the next look.

use std::io::{self, IsTerminal, Write};

use nix::poll::{PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use crate::time::Span;

/// On a terminal, unless `NO_COLOR` is set.
pub(super) fn wants_colour(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// To standard error. A reader that went away is no mistake of ours.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// To standard output, likewise.
pub(super) fn say(text: &str) {
    let _ = still_read(text);
}

/// To standard output, of a command that goes on for as long as somebody reads it. Whether somebody does.
pub(super) fn still_read(text: &str) -> bool {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// One line of standard error that is written over and over, on a terminal only.
#[derive(Debug, Default)]
pub(super) struct Progress {
    width: usize,
}

impl Progress {
    /// In place of what was there.
    pub(super) fn show(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            let width = text.chars().count();
            complain(&format!("\r{text}{}", " ".repeat(self.width.saturating_sub(width))));
            self.width = width;
        }
    }

    /// Leaves nothing behind.
    pub(super) fn clear(&mut self) {
        if self.width > 0 {
            complain(&format!("\r{}\r", " ".repeat(self.width)));
            self.width = 0;
        }
    }
}

/// `CLOCK_BOOTTIME`, which the daemon's times are on.
pub(super) fn boot_clock() -> Span {
    read(ClockId::CLOCK_BOOTTIME)
}

/// The wall clock, to show an event's time of day; nothing is decided by it.
pub(super) fn wall_clock() -> Span {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> Span {
    let Ok(time) = clock_gettime(clock) else { return Span::ZERO };
    let whole = u64::try_from(time.tv_sec()).unwrap_or_default();
    Span::seconds(whole) + Span::micros(u64::try_from(time.tv_nsec()).unwrap_or_default() / 1_000)
}

/// Waits until it is time to look again.
pub(super) fn wait_ms(wait_ms: u16) {
    let _ = poll(&mut [], PollTimeout::from(wait_ms));
}

/// A time of the wall clock in UTC, so that the lines of two nodes can be put side by side: RFC 3339, in milliseconds.
pub(super) fn utc(since_epoch: Span) -> String {
    let ms = since_epoch.as_micros() / 1_000;
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1_000)
}

/// The Gregorian date so many days after 1970-01-01. Years begin in March here, so that a leap day ends one.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_the_calendar_has_it() {
        let shown = [0, 951_782_399, 951_782_400, 951_868_800, 1_795_258_098, 4_107_542_400]
            .map(|second| utc(Span::seconds(second)));
        assert_eq!(
            shown,
            [
                "1970-01-01T00:00:00.000Z",
                "2000-02-28T23:59:59.000Z",
                "2000-02-29T00:00:00.000Z",
                "2000-03-01T00:00:00.000Z",
                "2026-11-21T10:48:18.000Z",
                "2100-03-01T00:00:00.000Z",
            ]
        );
        assert_eq!(utc(Span::millis(1_001)), "1970-01-01T00:00:01.001Z");
    }
}
