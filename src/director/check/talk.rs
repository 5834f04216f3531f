//! Something is said, and something is answered: as nanny and ldirectord ask a service whose protocol nobody knows better.
//!
//! It is over as soon as what is expected has come, for such a service may never close. So a pattern is held against what
//! has come so far: one that ends with `$` finds the end of a piece.

use super::expect::{Search, Wanted};
use super::{Dialogue, SILENT_END, Step, Verdict, words};

/// One talk.
#[derive(Clone, Debug)]
pub struct Talk {
    send: Vec<u8>,
    search: Search,
}

impl Talk {
    /// This is said, and that is wanted.
    pub fn new(send: Vec<u8>, wanted: Wanted) -> Self {
        Self { send, search: Search::new(wanted) }
    }

    fn well(&self) -> Verdict {
        Verdict::well(words::first_line(self.search.kept()))
    }
}

impl Dialogue for Talk {
    fn begin(&mut self) -> Step {
        let send = std::mem::take(&mut self.send);
        if send.is_empty() { Step::More } else { Step::Say(send) }
    }

    fn hear(&mut self, bytes: &[u8]) -> Step {
        self.search.take(bytes);
        if self.search.kept().is_empty() {
            Step::More
        } else if self.search.is_found_already() || self.search.is_full() && self.search.is_found() {
            Step::Done(self.well())
        } else if self.search.is_full() {
            Step::bad(format!("its first 64 KiB were {}", self.search.missing()))
        } else {
            Step::More
        }
    }

    fn end(&mut self) -> Verdict {
        let kept = self.search.kept();
        if kept.is_empty() {
            Verdict::bad(SILENT_END)
        } else if self.search.is_found() {
            self.well()
        } else {
            Verdict::bad(format!("closed after {}, {}", words::first_line(kept), self.search.missing()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial;
    use super::*;
    use crate::config::Expect;

    fn talk(send: &str, text: &str, pattern: Option<&str>) -> Talk {
        let expect = Expect { text: Some(text.into()), pattern: pattern.map(str::to_owned) };
        Talk::new(send.into(), Wanted::new(&expect).unwrap())
    }

    #[test]
    fn it_is_well_as_soon_as_what_is_expected_has_come() {
        let mut open = talk("PING\r\n", "+PONG", None);
        assert_eq!(open.begin(), Step::Say(b"PING\r\n".to_vec()));
        assert_eq!(open.hear(b"+PO"), Step::More);
        assert_eq!(open.hear(b"NG\r\nnever ends"), Step::well("\"+PONG\""));
    }

    #[test]
    fn an_answer_is_judged_the_same_in_any_pieces() {
        let (said, _) = trial::play(talk("PING\r\n", "+PONG", None), []);
        assert_eq!(said, b"PING\r\n");
        assert_eq!(
            trial::bad(|| talk("", "+PONG", None), b"-ERR\r\nx"),
            "closed after \"-ERR\", without \"+PONG\""
        );
        assert_eq!(
            trial::bad(|| talk("", "", Some("^2")), b"521 no"),
            "closed after \"521 no\", without what matches \"^2\""
        );
        assert_eq!(trial::bad(|| talk("", "x", None), b""), "closed before an answer");
    }

    #[test]
    fn where_anything_is_expected_the_first_byte_is_enough() {
        let mut any = Talk::new(Vec::new(), Wanted::default());
        assert_eq!(any.begin(), Step::More);
        assert_eq!(any.hear(b""), Step::More);
        assert_eq!(any.hear(b"\0"), Step::well("\"\\0\""));
    }

    #[test]
    fn a_gigabyte_is_not_listened_to() {
        let why = trial::bad_for_ever(talk("", "ok", Some("k")), b"", &[b'x'; 1_000]);
        assert_eq!(why, "its first 64 KiB were without \"ok\"");
        trial::bad_for_ever(talk("", "", Some("(xx)*y")), b"", b"x");
        trial::survives_garbage(|| talk("", "ok", Some("[0-9]+")), &[b"it is 12 ok\r\n", b"\xff\xfe"]);
    }
}
