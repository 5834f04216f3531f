//! The readable record of a run: true time, who, what.

use std::fmt::Write as _;

/// Lines, kept only where somebody will read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// Whether anything is kept.
    pub(crate) on: bool,
    /// Whether beats are kept as well.
    pub(crate) beats: bool,
    lines: Vec<(u64, String, String)>,
    /// Ids on the left are printed as the names on the right.
    names: Vec<(String, String)>,
}

impl Timeline {
    pub(crate) fn new(on: bool, beats: bool) -> Self {
        Self { on, beats, lines: Vec::new(), names: Vec::new() }
    }

    pub(crate) fn name(&mut self, id: String, name: String) {
        self.names.push((id, name));
    }

    pub(crate) fn say(&mut self, now: u64, who: &str, what: impl FnOnce() -> String) {
        if self.on {
            self.lines.push((now, who.to_owned(), what()));
        }
    }

    /// The last `count` lines, or all.
    pub(crate) fn text(&self, count: usize) -> String {
        let mut text = String::new();
        for (at, who, what) in &self.lines[self.lines.len().saturating_sub(count)..] {
            let mut what = what.clone();
            for (id, name) in &self.names {
                what = what.replace(id, name);
            }
            let _ = writeln!(text, "{:>12.3} ms  {who:<8} {what}", ms(*at));
        }
        text
    }
}

/// Microseconds as milliseconds, for people.
#[allow(clippy::cast_precision_loss, reason = "shown to people with three decimals")]
pub(crate) fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
