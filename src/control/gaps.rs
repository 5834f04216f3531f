//! What the daemon has counted of the beats of one peer over one link: for `systole advise`.

use crate::time::Span;

/// The upper ends of the steps in which lateness is counted; beyond the last there is one step more.
pub const LATENESS_STEPS: [Span; 11] = [
    Span::micros(250),
    Span::millis(1),
    Span::millis(2),
    Span::millis(4),
    Span::millis(8),
    Span::millis(16),
    Span::millis(32),
    Span::millis(64),
    Span::millis(128),
    Span::millis(256),
    Span::millis(512),
];

/// What became of the beats of one peer over one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The first beat, on the boot clock.
    pub since: Span,
    /// The newest.
    pub until: Span,
    /// So many came.
    pub heard: u64,
    /// So many are missing between them.
    pub lost: u64,
    /// So many at most in a row.
    pub longest_run: u64,
    /// Silences of deadtime or longer: what is missing in them is not counted as lost.
    pub outages: u64,
    /// How much longer than keepalive it was at most between two beats of which none is missing.
    pub latest: Span,
    /// How many beats came so much later than the one before, measured by when they were sent.
    pub lateness: [u64; LATENESS_STEPS.len() + 1],
}
