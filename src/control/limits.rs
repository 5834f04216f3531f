//! What the socket bears.

use std::time::Duration;

/// The version of the requests and answers. An answer of another version is not understood, so it is raised only for what
/// an old reader would misunderstand; new fields do not raise it.
pub const VERSION: u64 = 1;

/// A request is a few words.
pub const REQUEST_BYTES: usize = 4_096;

/// Some people who watch, a monitoring system and a script; each costs a task and its buffers.
pub const CLIENTS: usize = 32;

/// Whoever asks nothing for so long, or does not end its line, makes room for another.
pub const IDLE: Duration = Duration::from_secs(60);

/// Whoever does not read for so long while an answer is sent is dropped.
pub const UNREAD: Duration = Duration::from_secs(5);

/// The core answers between two steps, in microseconds; so late, it hangs, and that is what the client must be told.
pub const UNANSWERED: Duration = Duration::from_secs(2);

/// Who follows the journal sees an event at most so late. People read it; each look costs the core a question.
pub const FOLLOW: Duration = Duration::from_millis(100);

/// When no descriptor is left for another client: others will close theirs.
pub const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
