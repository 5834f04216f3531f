//! What `systole advise` reckons with, as it stands in the JSON: the timers, and what became of the beats of a link.

use serde::{Deserialize, Serialize};

use crate::config::Config;

use super::gaps::{Gaps, LATENESS_STEPS};

/// The timers that a daemon goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between beats.
    pub keepalive_us: u64,
    /// Silent so long, a node is late.
    pub warntime_us: u64,
    /// Silent so long, a node is dead.
    pub deadtime_us: u64,
}

/// What became of the beats of a node over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// From the first beat that was counted to the newest.
    pub for_us: u64,
    /// So many came.
    pub heard: u64,
    /// So many are missing between them.
    pub lost: u64,
    /// So many at most in a row.
    pub longest_run: u64,
    /// Silences of deadtime or longer; what is missing in them is not counted as lost.
    pub outages: u64,
    /// How much longer than keepalive it was at most between two beats of which none is missing.
    pub latest_us: u64,
    /// How many beats came so much later than the one before, measured by when they were sent.
    pub lateness: Vec<Step>,
}

/// A step of lateness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// At most so late; none: later than all the others.
    pub most_us: Option<u64>,
    /// So many.
    pub beats: u64,
}

impl Timing {
    /// Of a configuration.
    pub fn new(config: &Config) -> Self {
        let timing = &config.timing;
        Self {
            keepalive_us: timing.keepalive.0,
            warntime_us: timing.warntime.0,
            deadtime_us: timing.deadtime.0,
        }
    }
}

impl Watched {
    /// Of one link.
    pub fn new(gaps: &Gaps) -> Self {
        let ends = LATENESS_STEPS.iter().map(|most| Some(most.0)).chain([None]);
        Self {
            for_us: (gaps.until - gaps.since).0,
            heard: gaps.heard,
            lost: gaps.lost,
            longest_run: gaps.longest_run,
            outages: gaps.outages,
            latest_us: gaps.latest.0,
            lateness: ends.zip(gaps.lateness).map(|(most_us, beats)| Step { most_us, beats }).collect(),
        }
    }
}
