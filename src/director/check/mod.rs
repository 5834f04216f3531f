//! Checks: how it is found out whether a server is well.
//!
//! What is said and heard over a stream is a [`Dialogue`], which has no stream: it is told what came, and tells what goes.
//! So whatever a server may send can be tried without one. Each of them keeps little, and says when it is too much.
//!
//! | file | what it does |
//! | --- | --- |
//! | `http.rs`, `talk.rs`, `smtp.rs`, `mysql.rs`, `postgresql.rs` | one dialogue each |
//! | `dns.rs` | a question in a datagram, and what its answer means |
//! | `perform.rs` | does a check: opens what it takes, bounds its time, lets the dialogue talk, runs the program |
//! | `certificate.rs` | what a server's certificate must be |
//! | `ping.rs` | one socket for the pings of all checks |
//! | `expect.rs` | looks for what an answer must have in it |
//! | `lines.rs` | a stream by the line |
//! | `words.rs` | a stranger's bytes, short and harmless, for a log and a screen |
//!
//! A verdict is about the server. It never holds more than [`words::LONGEST`] characters, and no character that a terminal
//! would obey.

pub mod certificate;
pub mod dns;
pub mod expect;
pub mod http;
mod lines;
pub mod mysql;
pub mod perform;
pub mod ping;
pub mod postgresql;
pub mod smtp;
pub mod talk;
#[cfg(test)]
mod trial;
pub mod words;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Well {
        /// What was answered, in few words.
        answer: String,
        /// The weight that the server shall have, where the check says one.
        weight: Option<u32>,
    },
    /// It is not, for this reason, in few words.
    Bad(String),
    /// It could not be asked from here, for this reason: that says nothing of the server.
    Untold(String),
}

impl Verdict {
    /// All is well: this was answered.
    pub fn well(answer: impl AsRef<str>) -> Self {
        Self::Well { answer: words::short(answer.as_ref()), weight: None }
    }

    /// It is not: this was seen.
    pub fn bad(why: impl AsRef<str>) -> Self {
        Self::Bad(words::short(why.as_ref()))
    }

    /// It could not be asked from here, and this is why.
    pub fn untold(why: impl AsRef<str>) -> Self {
        Self::Untold(words::short(&format!("cannot check from here: {}", why.as_ref())))
    }

    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        match self {
            Self::Well { .. } => true,
            Self::Bad(_) | Self::Untold(_) => false,
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What has come is not all.
    More,
    /// This is said, and then heard on.
    Say(Vec<u8>),
    /// It is over.
    Done(Verdict),
}

impl Step {
    /// Over and well.
    fn well(answer: impl AsRef<str>) -> Self {
        Self::Done(Verdict::well(answer))
    }

    /// Over and bad.
    fn bad(why: impl AsRef<str>) -> Self {
        Self::Done(Verdict::bad(why))
    }
}

/// One talk over a stream, without the stream.
pub trait Dialogue: Send {
    /// It begins: either something is said, or the other side is heard first.
    fn begin(&mut self) -> Step;

    /// This came, after what came before. It may be any bytes, in any pieces.
    fn hear(&mut self, bytes: &[u8]) -> Step;

    /// The other side has closed, and nothing more will come.
    fn end(&mut self) -> Verdict;
}

/// Whoever closes without a word.
const SILENT_END: &str = "closed before an answer";
