//! What the socket's server asks of the daemon, so that it knows nothing of threads. Whoever implements [`Desk`] answers
//! from the core between two steps; an answer is a copy and never holds the core up.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::cluster::{Ability, Command, Core, Effect, Event, Reason, Record, View};
use crate::config::Config;
use crate::time::{Moment, Span};
use crate::types::{GroupId, LinkId, NodeId};

use super::gaps::Gaps;
use super::shape::Packets;
use super::words::Words;

/// So many records are handed over in one answer: copying them must not make the beat late. Whoever wants more asks again.
pub const RECORDS_AT_ONCE: usize = 64;

/// What the daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How things are.
    Snapshot,
    /// The oldest [`RECORDS_AT_ONCE`] events with greater numbers than this.
    Journal {
        /// The number that is known already.
        after: u64,
    },
    /// An operator's order, for the core.
    Order(Command),
    /// Read the configuration again, and take it if it is right.
    Reload,
    /// Hand over everything and exit. Answered at once.
    Stop,
}

/// What it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Question::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// To [`Question::Journal`], the oldest first.
    Journal(Vec<Record>),
    /// Taken; what comes of it is seen in snapshots and in the journal.
    Done,
    /// Not taken, and nothing has changed: one sentence that says why.
    Refused(String),
}

/// How things are, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Of the core.
    pub view: View,
    /// Of the core: who could serve what.
    pub abilities: BTreeMap<GroupId, Ability>,
    /// Of the core: who would have each group of this node if it were gone, or why nobody would.
    pub takeovers: BTreeMap<GroupId, Result<NodeId, Reason>>,
    /// The configuration it goes by.
    pub config: Arc<Config>,
    /// Its digest.
    pub digest: u64,
    /// When the core's newest step was: what the view shows is as old as that.
    pub now: Moment,
    /// The daemon's process.
    pub pid: u32,
    /// Datagrams refused, by cause.
    pub refused: Vec<(&'static str, u64)>,
    /// What somebody should look at, a sentence each.
    pub alarms: Vec<String>,
    /// What this node's kernel did with the packets of buckets.
    pub packets: BTreeMap<GroupId, Packets>,
    /// How late the daemon itself was for what was due.
    pub late: Lateness,
    /// Who enforces the leases of this node.
    pub lease: LeaseBy,
    /// What became of the beats of each peer over each link.
    pub gaps: BTreeMap<(NodeId, LinkId), Gaps>,
}

/// How late the daemon itself was for what was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// At its newest timer.
    pub newest: Span,
    /// The greatest of this life.
    pub greatest: Span,
    /// How often by more than half of keepalive.
    pub over_half_keepalive: u64,
}

/// Who enforces the leases of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseBy {
    /// The kernel, which does so while the daemon hangs.
    Kernel,
    /// The daemon alone, for this reason: while it hangs, nobody does.
    Daemon(String),
}

/// The daemon, as the server sees it.
pub trait Desk: Clone + Send + Sync + 'static {
    /// Asks. It must return at once; a reply that is dropped counts as no answer.
    fn ask(&self, question: Question, reply: oneshot::Sender<Answer>);
}

/// The answer to [`Question::Journal`].
pub fn journal(core: &Core, after: u64) -> Vec<Record> {
    core.journal().filter(|record| record.number > after).take(RECORDS_AT_ONCE).cloned().collect()
}

/// The answer to [`Question::Order`]: what the core's step with that order brought forth says whether it was taken.
pub fn taken(config: &Config, effects: &[Effect]) -> Answer {
    let words = Words::new(config);
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Tell(event @ (Event::Refused { .. } | Event::ServersRefused { .. })) => {
            Some(words.event(event))
        }
        Effect::Tell(_)
        | Effect::Remember(_)
        | Effect::Store(_)
        | Effect::Send(_)
        | Effect::RaiseLease { .. }
        | Effect::RenewLease { .. }
        | Effect::DropLease { .. }
        | Effect::Run { .. }
        | Effect::Probe { .. }
        | Effect::Announce { .. }
        | Effect::Fence { .. }
        | Effect::FeedWatchdog
        | Effect::Left => None,
    });
    refused.map_or(Answer::Done, Answer::Refused)
}
