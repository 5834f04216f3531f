//! The kinds of events that a program can be told of, by their names in `docs/control.md`. The control room names the
//! events, and stands above this one: a test there compares its names with these.

/// All of them.
pub const KINDS: &[&str] = &[
    "started",
    "ready",
    "peer-up",
    "peer-late",
    "peer-down",
    "link-down",
    "link-up",
    "older-life",
    "same-name",
    "was-away",
    "config-differs",
    "voters-kept",
    "carrier",
    "claimed",
    "withdrawn",
    "won",
    "waits-for-other",
    "running",
    "lost",
    "stopping",
    "released",
    "blocked",
    "released-dirty",
    "resource-failed",
    "found-running",
    "adopted",
    "fitness",
    "evidence-begins",
    "answers-without-beats",
    "met",
    "fencing",
    "fenced",
    "ordered",
    "refused",
    "planned",
    ALARM,
];

/// What stands among the alarms of `status` from now on: no event of the journal, and somebody should look all the same.
pub const ALARM: &str = "alarm";

/// What is told where nothing else is asked for: what a group does here in the end, who is there, and what somebody should
/// look at. Not the steps on the way, of which a busy night has many.
pub(crate) const OF_NOTE: &[&str] = &[
    "ready",
    "peer-up",
    "peer-down",
    "link-down",
    "link-up",
    "older-life",
    "same-name",
    "was-away",
    "config-differs",
    "carrier",
    "running",
    "lost",
    "stopping",
    "released",
    "blocked",
    "released-dirty",
    "resource-failed",
    "adopted",
    "fitness",
    "answers-without-beats",
    "met",
    "fenced",
    ALARM,
];
