//! What the links do to beats: for each peer and link how many were lost, in what runs, and how late they came.
//!
//! Counted where a datagram is opened, outside of the core, which goes by none of it: it is what `systole advise` reckons
//! with. A record is a few numbers, whatever arrives, and there is one for each peer and link of the configuration.

use std::collections::BTreeMap;

use crate::control::{Gaps, LATENESS_STEPS};
use crate::time::Span;
use crate::types::{Incarnation, LinkId, NodeId, Sequence};

/// A whole beat that came over a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) node: NodeId,
    pub(super) link: LinkId,
    pub(super) incarnation: Incarnation,
    pub(super) sequence: Sequence,
    /// By the sender's clock; not known of one that came over a faster link before.
    pub(super) sent_at: Option<Span>,
    pub(super) at: Span,
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Watched {
    records: BTreeMap<(NodeId, LinkId), Record>,
}

#[derive(Debug, Default)]
struct Record {
    gaps: Gaps,
    newest: Option<Came>,
}

impl Watched {
    /// A beat came. A silence of deadtime is an outage: it says nothing about chance.
    pub(super) fn note(&mut self, came: Came, keepalive: Span, deadtime: Span) {
        self.records.entry((came.node, came.link)).or_default().note(came, keepalive, deadtime);
    }

    /// Other links, or other timers: what was counted says nothing about them.
    pub(super) fn forget(&mut self) {
        self.records.clear();
    }

    pub(super) fn shown(&self) -> BTreeMap<(NodeId, LinkId), Gaps> {
        self.records.iter().map(|(key, record)| (*key, record.gaps)).collect()
    }
}

impl Record {
    fn note(&mut self, came: Came, keepalive: Span, deadtime: Span) {
        let Some(before) = self.newest else {
            self.gaps.since = came.at;
            self.gaps.until = came.at;
            self.gaps.heard = 1;
            self.newest = Some(came);
            return;
        };
        let gaps = &mut self.gaps;
        if came.incarnation < before.incarnation {
            return;
        }
        gaps.until = came.at;
        if came.incarnation > before.incarnation {
            // Between two lives nothing was sent.
            gaps.heard += 1;
            self.newest = Some(came);
            return;
        }
        if came.sequence <= before.sequence {
            // One that a newer one overtook was counted as lost, and the run that it was part of stays counted.
            if came.sequence < before.sequence && gaps.lost > 0 {
                gaps.lost -= 1;
                gaps.heard += 1;
            }
            return;
        }
        let missing = came.sequence.0 - before.sequence.0 - 1;
        let silent = came.at - before.at;
        gaps.heard += 1;
        if silent >= deadtime {
            gaps.outages += 1;
        } else {
            gaps.lost += missing;
            gaps.longest_run = gaps.longest_run.max(missing);
            if missing == 0 {
                gaps.latest = gaps.latest.max(silent - keepalive);
            }
            if let (Some(sent), Some(sent_before)) = (came.sent_at, before.sent_at) {
                gaps.count_lateness(silent - (sent - sent_before));
            }
        }
        self.newest = Some(came);
    }
}

impl Gaps {
    /// How much later this beat came than the one before it, measured by when they were sent.
    fn count_lateness(&mut self, late: Span) {
        let step = LATENESS_STEPS.iter().position(|most| late <= *most).unwrap_or(LATENESS_STEPS.len());
        self.lateness[step] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Span = Span::millis(100);
    const DEADTIME: Span = Span::millis(1_000);

    fn record(beats: &[(u64, u64, u64)]) -> Gaps {
        let mut watched = Watched::default();
        for (life, sequence, at_ms) in beats {
            let came = Came {
                node: NodeId(1),
                link: LinkId(0),
                incarnation: Incarnation(*life),
                sequence: Sequence(*sequence),
                sent_at: Some(Span::millis(5_000 + sequence * 100)),
                at: Span::millis(*at_ms),
            };
            watched.note(came, KEEPALIVE, DEADTIME);
        }
        watched.shown()[&(NodeId(1), LinkId(0))]
    }

    #[test]
    fn a_missing_number_is_a_lost_beat() {
        let gaps = record(&[(1, 1, 100), (1, 2, 200), (1, 5, 500), (1, 7, 700)]);
        assert_eq!((gaps.heard, gaps.lost, gaps.longest_run, gaps.outages), (4, 3, 2, 0));
        assert_eq!((gaps.since, gaps.until), (Span::millis(100), Span::millis(700)));
    }

    #[test]
    fn one_that_was_overtaken_is_not_lost_and_a_copy_counts_once() {
        let gaps = record(&[(1, 1, 100), (1, 3, 300), (1, 2, 301), (1, 3, 302)]);
        assert_eq!((gaps.heard, gaps.lost), (3, 0));
    }

    #[test]
    fn an_outage_is_not_chance() {
        let gaps = record(&[(1, 1, 100), (1, 41, 4_100), (1, 42, 4_200)]);
        assert_eq!((gaps.heard, gaps.lost, gaps.longest_run, gaps.outages), (3, 0, 0, 1));
        assert_eq!(gaps.latest, Span::ZERO);
    }

    #[test]
    fn nothing_is_lost_between_two_lives() {
        let gaps = record(&[(1, 900, 100), (2, 1, 200), (1, 901, 250), (2, 2, 300)]);
        assert_eq!((gaps.heard, gaps.lost), (3, 0));
    }

    #[test]
    fn a_beat_is_late_by_what_its_way_took_longer() {
        let gaps = record(&[(1, 1, 100), (1, 2, 230), (1, 3, 300), (1, 5, 510)]);
        assert_eq!(gaps.latest, Span::millis(30));
        let late: Vec<usize> = (0..gaps.lateness.len()).filter(|step| gaps.lateness[*step] > 0).collect();
        let step =
            |ms: u64| LATENESS_STEPS.iter().position(|most| Span::millis(ms) <= *most).expect("within");
        assert_eq!(late, [0, step(10), step(30)]);
    }
}
