//! A mail server greets, and is greeted: RFC 5321, sections 3.1, 3.2 and 4.2.
//!
//! It is well when it takes both its greeting and ours; what it calls itself and what it offers is its own affair. A server
//! that knows no EHLO is greeted with HELO. It is left with QUIT, so that no log tells of a client that was lost. Nothing is
//! ever sent.

use super::lines::{Lines, TooLong};
use super::{Dialogue, SILENT_END, Step, Verdict, words};

/// A line of a reply: RFC 5321 has 512 bytes, and servers that offer much have more.
const LINE: usize = 2_048;

/// Lines of all replies together.
const LINES: usize = 200;

/// What was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Ehlo,
    Helo,
    Quit,
}

/// One talk with a mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    hello: String,
    asked: Asked,
    lines: Lines,
    count: usize,
    /// The first line of the reply that is under way.
    first: Option<Vec<u8>>,
    greeting: String,
}

impl Smtp {
    /// This machine calls itself so; or why it cannot.
    pub fn new(hello: &str) -> Result<Self, String> {
        if hello.is_empty() || !hello.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{hello:?} is no name to greet a mail server with"));
        }
        Ok(Self {
            hello: hello.to_owned(),
            asked: Asked::Nothing,
            lines: Lines::default(),
            count: 0,
            first: None,
            greeting: String::new(),
        })
    }

    /// A whole line of a reply.
    fn line(&mut self, line: &[u8]) -> Step {
        self.count += 1;
        let (code, rest) = line.split_at(line.len().min(3));
        let is_code =
            code.len() == 3 && (b'2'..=b'5').contains(&code[0]) && code.iter().all(u8::is_ascii_digit);
        let is_more = rest.first() == Some(&b'-');
        if !is_code || !(rest.is_empty() || is_more || rest[0] == b' ') {
            return Step::bad(format!("no SMTP: {}", words::seen(line)));
        }
        if self.count > LINES {
            return Step::bad("more than 200 lines of replies");
        }
        let first = self.first.get_or_insert_with(|| line.to_vec());
        if is_more {
            return Step::More;
        }
        let first = std::mem::take(first);
        self.first = None;
        self.reply(&first, code)
    }

    /// A whole reply: its first line, and the code of its last.
    fn reply(&mut self, first: &[u8], code: &[u8]) -> Step {
        match (self.asked, code) {
            (Asked::Nothing, b"220") => {
                self.greeting = words::told(first);
                self.ask(Asked::Ehlo)
            }
            (Asked::Ehlo | Asked::Helo, b"250") => self.ask(Asked::Quit),
            // It does not know the word: RFC 5321, 3.2.
            (Asked::Ehlo, [b'5', ..]) => self.ask(Asked::Helo),
            (Asked::Quit, _) => Step::well(&self.greeting),
            (Asked::Nothing, _) => Step::bad(words::told(first)),
            (Asked::Ehlo | Asked::Helo, _) => Step::bad(format!("to our greeting: {}", words::told(first))),
        }
    }

    fn ask(&mut self, what: Asked) -> Step {
        self.asked = what;
        let said = match what {
            Asked::Nothing => return Step::More,
            Asked::Ehlo => format!("EHLO {}\r\n", self.hello),
            Asked::Helo => format!("HELO {}\r\n", self.hello),
            Asked::Quit => "QUIT\r\n".to_owned(),
        };
        Step::Say(said.into_bytes())
    }
}

impl Dialogue for Smtp {
    fn begin(&mut self) -> Step {
        Step::More
    }

    fn hear(&mut self, bytes: &[u8]) -> Step {
        let mut rest = bytes;
        let mut said = Vec::new();
        while !rest.is_empty() {
            match self.lines.next(&mut rest, LINE) {
                Ok(Some(line)) => match self.line(&line) {
                    Step::More => {}
                    // Who talks without being asked is answered all the same.
                    Step::Say(words) => said.extend(words),
                    Step::Done(verdict) => return Step::Done(verdict),
                },
                Ok(None) => {}
                Err(TooLong) => return Step::bad("a line of more than 2,048 bytes"),
            }
        }
        if said.is_empty() { Step::More } else { Step::Say(said) }
    }

    fn end(&mut self) -> Verdict {
        match self.asked {
            Asked::Nothing if self.count == 0 && self.lines.begun().is_empty() => Verdict::bad(SILENT_END),
            Asked::Nothing => Verdict::bad("closed in the middle of its greeting"),
            Asked::Ehlo | Asked::Helo => Verdict::bad("closed after its greeting"),
            // It has heard the farewell.
            Asked::Quit => Verdict::well(&self.greeting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial;
    use super::*;

    fn smtp() -> Smtp {
        Smtp::new("lb.example.org").unwrap()
    }

    /// Where the whole talk is one piece, what is said is said at once; so it is put together here.
    fn talk(answers: &[&str]) -> (String, Verdict) {
        let (said, verdict) = trial::play(smtp(), answers.iter().map(|answer| answer.as_bytes()));
        (String::from_utf8(said).unwrap(), verdict)
    }

    #[test]
    fn both_greetings_and_a_farewell_make_it_well() {
        let (said, verdict) =
            talk(&["220-mail ESMTP\r\n220 hi\r\n", "250-mail\r\n250-SIZE 1\r\n250 HELP\r\n", "221 bye\r\n"]);
        assert_eq!(said, "EHLO lb.example.org\r\nQUIT\r\n");
        assert_eq!(verdict, Verdict::well("220-mail ESMTP"));
        let (said, verdict) = talk(&["220 old\r\n", "502 what?\r\n", "250 ok\r\n"]);
        assert_eq!(said, "EHLO lb.example.org\r\nHELO lb.example.org\r\nQUIT\r\n");
        assert_eq!(verdict, Verdict::well("220 old"), "it closed at once, which is as good");
    }

    #[test]
    fn what_it_says_instead_is_told() {
        for (answers, why) in [
            (&["554 no SMTP service here\r\n"][..], "554 no SMTP service here"),
            (&["220 a\r\n", "421 too busy\r\n"], "to our greeting: 421 too busy"),
            (&["220 a\r\n", "500 a\r\n", "501 b\r\n"], "to our greeting: 501 b"),
            (&["SSH-2.0-OpenSSH_9.2\r\n"], "no SMTP: \"SSH-2.0-OpenSSH_9.2\""),
            (&["220 a\r\n"], "closed after its greeting"),
            (&["220-a"], "closed in the middle of its greeting"),
            (&[], "closed before an answer"),
        ] {
            assert_eq!(talk(answers).1, Verdict::bad(why));
        }
    }

    #[test]
    fn in_any_pieces_it_is_the_same() {
        trial::well(smtp, b"220 a\r\n250-b\r\n250 c\r\n221 d\r\n");
        trial::well(smtp, b"220 a\n500 b\n250\n221 d\n");
        trial::bad(smtp, b"220 a\r\n250_b\r\n");
    }

    #[test]
    fn what_never_ends_is_bad() {
        trial::bad_for_ever(smtp(), b"220 ", b"x");
        trial::bad_for_ever(smtp(), b"", b"220-more\r\n");
        trial::survives_garbage(smtp, &[b"220 a\r\n250-b\r\n250 c\r\n221 d\r\n", b"220-a\r\n"]);
    }

    #[test]
    fn a_name_with_an_end_of_line_in_it_is_refused() {
        assert!(Smtp::new("a\r\nMAIL FROM:<b>").is_err() && Smtp::new("").is_err());
    }
}
