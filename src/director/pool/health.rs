//! Rise and fall: how many answers in a row it takes until a server is taken for well, or for not.

use crate::config::Check;
use crate::director::check::Verdict;
use crate::time::Span;

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// All is well.
    Well,
    /// It is not, for this reason.
    Bad(String),
}

impl State {
    /// Whether both are well, or both are not, whatever the reasons are.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What the answers to one probe have shown.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: State,
    /// So many answers in a row speak against the state.
    against: u32,
    weight: Option<u32>,
    last: Option<Heard>,
}

/// The last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Span,
    /// It took so long.
    pub took: Span,
    /// In few words.
    pub text: String,
    /// Whether it was well.
    pub is_well: bool,
}

impl Health {
    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The weight that the check gives the server.
    pub fn weight(&self) -> Option<u32> {
        self.weight
    }

    /// The last answer.
    pub fn last(&self) -> Option<&Heard> {
        self.last.as_ref()
    }

    /// One more answer. The first decides at once; afterwards it takes so many in a row as the check says. Told is whether
    /// anything follows from it.
    pub(super) fn hear(&mut self, verdict: Verdict, took: Span, now: Span, check: &Check) -> bool {
        let (is_well, text, weight) = match verdict {
            Verdict::Well { answer, weight } => (true, answer, weight),
            Verdict::Bad(why) => (false, why, None),
            // That says nothing of the server, and it stays what it was.
            Verdict::Untold(why) => {
                self.last = Some(Heard { at: now, took, text: why, is_well: false });
                return false;
            }
        };
        self.last = Some(Heard { at: now, took, text: text.clone(), is_well });
        let enough = match self.state {
            State::Unknown => 0,
            State::Well => check.fall,
            State::Bad(_) => check.rise,
        };
        let agrees = self.state == State::Well && is_well || matches!(self.state, State::Bad(_)) && !is_well;
        if agrees {
            self.against = 0;
            if let State::Bad(why) = &mut self.state {
                *why = text;
                return false;
            }
            let changed = self.weight != weight;
            self.weight = weight;
            return changed;
        }
        self.against += 1;
        if self.against < enough {
            return false;
        }
        self.against = 0;
        (self.state, self.weight) =
            if is_well { (State::Well, weight) } else { (State::Bad(text), self.weight) };
        true
    }
}
