//! Checks: how it is found out whether a server is well.
//!
//! What is said and heard over a stream is a [`Dialogue`], which has no stream: it is told what came, and tells what goes. So
//! whatever a server may send can be tried without one. Each of them keeps little, and says when it is too much.

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

/// One talk over a stream, without the stream.
pub trait Dialogue: Send {
    /// It begins: either something is said, or the other side is heard first.
    fn begin(&mut self) -> Step;

    /// This came, after what came before. It may be any bytes, in any pieces.
    fn hear(&mut self, bytes: &[u8]) -> Step;

    /// The other side has closed, and nothing more will come.
    fn end(&mut self) -> Verdict;
}
