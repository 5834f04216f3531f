//! What was counted, and how it is printed.

use std::collections::BTreeMap;
use std::fmt;

use systole::cluster::Event;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) events: u64,
    pub(crate) steps: u64,
    pub(crate) beats: u64,
    /// Simulated time of all nodes, in microseconds.
    pub(crate) cluster_time: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) maxima: BTreeMap<&'static str, u64>,
    /// How often each invariant was really put to the test.
    pub(crate) exercised: BTreeMap<u8, u64>,
    pub(crate) told: BTreeMap<&'static str, u64>,
    /// The expected number of moves by chance alone where loss is all that happens.
    pub(crate) odds: f64,
}

impl Stats {
    pub(crate) fn bump(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    pub(crate) fn greatest(&mut self, what: &'static str, value: u64) {
        let entry = self.maxima.entry(what).or_default();
        *entry = value.max(*entry);
    }

    pub(crate) fn exercise(&mut self, invariant: u8) {
        *self.exercised.entry(invariant).or_default() += 1;
    }

    pub(crate) fn told(&mut self, event: &Event) {
        let name = match event {
            Event::Met { .. } => "two holders met",
            Event::Blocked { .. } => "groups blocked",
            Event::Fenced { off: true, .. } => "nodes fenced",
            Event::Adopted { .. } => "groups adopted",
            Event::Withdrawn { .. } => "claims withdrawn",
            Event::WasAway { .. } => "own absences noticed",
            Event::OlderLife { .. } => "older lives heard",
            Event::AnswersWithoutBeats { .. } => "addresses that answer without beats",
            _ => return,
        };
        *self.told.entry(name).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.steps += other.steps;
        self.beats += other.beats;
        self.cluster_time += other.cluster_time;
        self.odds += other.odds;
        for (into, from) in [
            (&mut self.faults, &other.faults),
            (&mut self.counts, &other.counts),
            (&mut self.told, &other.told),
        ] {
            for (key, value) in from {
                *into.entry(key).or_default() += value;
            }
        }
        for (key, value) in &other.maxima {
            self.greatest(key, *value);
        }
        for (key, value) in &other.exercised {
            *self.exercised.entry(*key).or_default() += value;
        }
    }

    /// The invariants that were never put to the test.
    pub(crate) fn idle(&self) -> Vec<u8> {
        (1..=11).filter(|number| self.exercised.get(number).is_none_or(|count| *count == 0)).collect()
    }
}

/// What each invariant's count counts.
const EXERCISED: [(u8, &str); 11] = [
    (1, "leases that went from one node to another, compared with every other element"),
    (2, "starts of resources"),
    (3, "times that every group had to be held once: cold starts, healings, persistent faults"),
    (4, "crash takeovers timed, and restarts that had to interrupt nothing"),
    (5, "runs without a fault, or with loss alone, in which nothing may move"),
    (6, "single faults after which groups may move only once"),
    (7, "instances won where a node may have only so many, or moved for a share"),
    (8, "lives of cores played again from their inputs"),
    (9, "steps that sent a beat, checked for storms"),
    (10, "groups given to a node that finds more of the servers well"),
    (11, "ends at which every node had to want the same of servers"),
];

#[allow(clippy::cast_precision_loss, reason = "shown to people")]
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.cluster_time as f64 / 3.6e9;
        writeln!(
            f,
            "simulated    {hours:.1} node-hours, {} events, {} steps, {} beats",
            self.events, self.steps, self.beats
        )?;
        for (title, map) in [
            ("faults", &self.faults),
            ("counted", &self.counts),
            ("told", &self.told),
            ("greatest", &self.maxima),
        ] {
            for (place, (key, value)) in map.iter().enumerate() {
                writeln!(f, "{:<12} {value:>10}  {key}", if place == 0 { title } else { "" })?;
            }
        }
        for (number, what) in EXERCISED {
            let count = self.exercised.get(&number).copied().unwrap_or(0);
            writeln!(f, "invariant {number}  {count:>10}  {what}")?;
        }
        write!(f, "odds of a move by loss alone in all of these runs: {:.1e}", self.odds)
    }
}

/// A true time, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ms(pub(crate) u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", crate::timeline::ms(self.0))
    }
}
