//! Looks for what an answer must have in it.
//!
//! No more than the first 64 KiB of an answer are kept and looked at. Texts are looked for as bytes. A pattern is looked for
//! in the text that the bytes stand for; what is no UTF-8 in them stands for U+FFFD, once for each wrong piece.

use std::fmt::Write;

use regex_lite::Regex;

use crate::config::{Expect, pattern};

use super::words;

/// What is kept of an answer.
pub const KEPT: usize = 64 * 1024;

/// So many bytes a pattern may look at again and again while an answer comes in pieces; then it waits for the whole.
/// Looking at each piece of an answer that comes byte by byte would cost its length squared.
const LOOKS: usize = 8 * KEPT;

/// What must be there.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    text: Option<Vec<u8>>,
    pattern: Option<Regex>,
}

impl Wanted {
    /// Ready to be looked for, or why it cannot be.
    pub fn new(expect: &Expect) -> Result<Self, String> {
        // Nothing is in everything.
        let text = expect.text.clone().filter(|text| !text.is_empty());
        Ok(Self { text, pattern: expect.pattern.as_deref().map(pattern).transpose()? })
    }

    /// Whether anything will do.
    pub fn is_anything(&self) -> bool {
        self.text.is_none() && self.pattern.is_none()
    }

    /// Whether all of it is in a whole answer.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.has_text(bytes) && self.has_pattern(bytes)
    }

    fn has_text(&self, bytes: &[u8]) -> bool {
        self.text.as_ref().is_none_or(|text| bytes.windows(text.len()).any(|window| window == text))
    }

    fn has_pattern(&self, bytes: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&String::from_utf8_lossy(bytes)))
    }

    /// What is missing in a whole answer, for a person: `without "welcome"`.
    pub fn missing(&self, bytes: &[u8]) -> String {
        let mut said = String::from("without ");
        match (&self.text, &self.pattern) {
            (Some(text), _) if !self.has_text(bytes) => said.push_str(&words::seen(text)),
            (_, Some(pattern)) => {
                let _ = write!(said, "what matches {}", words::seen(pattern.as_str().as_bytes()));
            }
            (Some(text), None) => said.push_str(&words::seen(text)),
            (None, None) => said.push_str("anything"),
        }
        said
    }
}

/// The beginning of an answer, and whether what is wanted is in it.
#[derive(Clone, Debug)]
pub struct Search {
    wanted: Wanted,
    kept: Vec<u8>,
    has_text: bool,
    /// Bytes that the pattern has looked at.
    looked: usize,
}

impl Search {
    /// Nothing has come yet.
    pub fn new(wanted: Wanted) -> Self {
        Self { has_text: wanted.text.is_none(), wanted, kept: Vec::new(), looked: 0 }
    }

    /// This came.
    pub fn take(&mut self, bytes: &[u8]) {
        let before = self.kept.len();
        let room = KEPT - before;
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if let Some(text) = self.wanted.text.as_ref().filter(|_| !self.has_text) {
            let new = self.kept.get(before.saturating_sub(text.len() - 1)..).unwrap_or_default();
            self.has_text = self.wanted.has_text(new);
        }
    }

    /// What was kept.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether nothing more is kept.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= KEPT
    }

    /// Whether what is wanted is in what has come so far. A pattern may be found that the rest of the answer would not bear
    /// out, as one that ends with `$`; it may also not be found although it is there, until the answer is whole.
    pub fn is_found_already(&mut self) -> bool {
        if !self.has_text || self.looked + self.kept.len() > LOOKS {
            return false;
        }
        self.looked += self.kept.len();
        self.wanted.has_pattern(&self.kept)
    }

    /// Whether a text is wanted and nothing else, and it has come.
    pub fn is_certain(&self) -> bool {
        self.has_text && self.wanted.pattern.is_none()
    }

    /// Whether what is wanted is in it, now that all of it has come.
    pub fn is_found(&self) -> bool {
        self.has_text && self.wanted.has_pattern(&self.kept)
    }

    /// What is missing in it, for a person.
    pub fn missing(&self) -> String {
        self.wanted.missing(&self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: Option<&str>, pattern: Option<&str>) -> Wanted {
        let text = text.map(|text| text.as_bytes().to_vec());
        Wanted::new(&Expect { text, pattern: pattern.map(str::to_owned) }).unwrap()
    }

    #[test]
    fn a_text_is_found_wherever_the_answer_is_cut() {
        let answer = b"<p>aaab welcome</p>";
        for cut in 0..=answer.len() {
            let mut search = Search::new(wanted(Some("aab wel"), None));
            search.take(&answer[..cut]);
            search.take(&answer[cut..]);
            assert!(search.is_found() && search.is_certain() && search.is_found_already(), "cut at {cut}");
        }
    }

    #[test]
    fn both_must_be_there_and_what_is_missing_is_named() {
        let both = wanted(Some("one"), Some("^t.o"));
        for (answer, missing) in [("two one", None), ("two", Some("\"one\"")), ("one two", Some("\"^t.o\""))]
        {
            assert_eq!(both.is_in(answer.as_bytes()), missing.is_none());
            assert!(missing.is_none_or(|missing| both.missing(answer.as_bytes()).contains(missing)));
        }
    }

    #[test]
    fn what_is_no_text_is_looked_through_too() {
        assert!(wanted(None, Some("^.+ok$")).is_in(b"\xff\xfe\x00ok"));
        assert!(wanted(Some("\0ok"), None).is_in(b"\xff\xfe\x00ok"));
    }

    #[test]
    fn what_comes_after_the_first_64_kib_is_not_looked_at() {
        let mut search = Search::new(wanted(Some("late"), None));
        (0..=KEPT).for_each(|_| search.take(b"x"));
        search.take(b"late");
        assert!(search.is_full() && !search.is_found());
        assert_eq!(search.kept().len(), KEPT);
    }

    #[test]
    fn an_answer_byte_by_byte_is_not_looked_at_for_ever() {
        let mut search = Search::new(wanted(None, Some("^x*y")));
        for _ in 0..KEPT - 1 {
            search.take(b"x");
            assert!(!search.is_found_already());
        }
        assert!(search.looked <= LOOKS);
        search.take(b"y");
        assert!(search.is_found(), "the whole is looked at once more");
    }
}
