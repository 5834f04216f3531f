//! What a later life of the director has to know.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::At;

/// It is written to disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Where the kernel's balancer may have services of ours.
    #[serde(default)]
    places: BTreeSet<At>,
}

impl Memory {
    /// Where the kernel's balancer may have services of ours.
    pub(in crate::director) fn places(&self) -> &BTreeSet<At> {
        &self.places
    }

    /// Tells whether that is news.
    pub(in crate::director) fn set_places(&mut self, places: BTreeSet<At>) -> bool {
        let before = std::mem::replace(&mut self.places, places);
        before != self.places
    }
}
