//! PostgreSQL says whether it takes logins: the frontend/backend protocol 3.0, "Message Flow".
//!
//! Whether it speaks TLS (`SSLRequest`) says little: a server that still recovers answers that as well. So a login begins:
//! as the user `systole` of the database `postgres`, with neither a password nor an end. A server that asks who one is has
//! come up. One that refuses us has, too: it has read its rules, or its catalogue. One that starts, stops, recovers or has
//! no room says so (SQLSTATE 57P03, 53300), and is not well. Nothing is ever asked of the database.

use super::{Dialogue, SILENT_END, Step, Verdict, words};

/// The longest message that is read: those before a login have some hundred bytes.
const MESSAGE: usize = 8_192;

/// So many messages may come before the one that counts.
const MESSAGES: u8 = 8;

/// What is said of us, and not of the server: no such user or rule, no such database.
const OURS: [&str; 2] = ["28", "3D"];

/// One talk with a server.
#[derive(Clone, Debug, Default)]
pub struct Postgresql {
    buffer: Vec<u8>,
    messages: u8,
}

impl Postgresql {
    /// Takes the next message from the buffer: its kind and what is in it.
    fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, Verdict> {
        let garbage = || Verdict::bad(format!("no PostgreSQL: {}", words::seen(&self.buffer)));
        let Some((&kind, rest)) = self.buffer.split_first() else { return Ok(None) };
        if !b"RENv".contains(&kind) {
            return Err(garbage());
        }
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length =
            usize::try_from(u32::from_be_bytes(*length)).ok().and_then(|length| length.checked_sub(4));
        let length = length.filter(|length| *length <= MESSAGE).ok_or_else(garbage)?;
        let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.buffer.drain(..5 + length);
        Ok(Some((kind, payload)))
    }

    fn message(&mut self, kind: u8, payload: &[u8]) -> Step {
        self.messages += 1;
        match kind {
            b'R' if payload.len() >= 4 => Step::well("asks who one is"),
            b'R' => Step::bad("no PostgreSQL: a login without a kind"),
            b'E' => Step::Done(refused(payload)),
            // A notice, or the older version that it speaks.
            _ if self.messages < MESSAGES => Step::More,
            _ => Step::bad("nothing but notices"),
        }
    }
}

/// What an error says.
fn refused(payload: &[u8]) -> Verdict {
    let field = |kind: u8| {
        let mut fields = payload.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&kind));
        found.and_then(|field| field.get(1..)).map(words::told).unwrap_or_default()
    };
    let (code, text) = (field(b'C'), field(b'M'));
    if OURS.iter().any(|class| code.starts_with(class)) {
        return Verdict::well(format!("refuses us: {text}"));
    }
    Verdict::bad(format!("error {code}: {text}"))
}

impl Dialogue for Postgresql {
    fn begin(&mut self) -> Step {
        let parameters = b"user\0systole\0database\0postgres\0application_name\0systole\0\0";
        let length = u32::try_from(8 + parameters.len()).unwrap_or_default();
        Step::Say([&length.to_be_bytes()[..], &[0, 3, 0, 0], parameters].concat())
    }

    fn hear(&mut self, bytes: &[u8]) -> Step {
        // No more than one message is kept: what is heard is looked at in pieces.
        for piece in bytes.chunks(MESSAGE) {
            self.buffer.extend_from_slice(piece);
            loop {
                match self.next() {
                    Ok(None) => break,
                    Err(verdict) => return Step::Done(verdict),
                    Ok(Some((kind, payload))) => match self.message(kind, &payload) {
                        Step::More => {}
                        step @ (Step::Say(_) | Step::Done(_)) => return step,
                    },
                }
            }
        }
        Step::More
    }

    fn end(&mut self) -> Verdict {
        let is_silent = self.messages == 0 && self.buffer.is_empty();
        Verdict::bad(if is_silent { SILENT_END } else { "closed in the middle of its answer" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial;
    use super::*;

    fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind], &u32::try_from(4 + payload.len()).unwrap().to_be_bytes()[..], payload].concat()
    }

    fn refusal(code: &str, text: &str) -> Vec<u8> {
        message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0Fpostmaster.c\0\0").as_bytes())
    }

    #[test]
    fn the_login_is_these_bytes() {
        let Step::Say(said) = Postgresql::default().begin() else { panic!("it says something") };
        assert_eq!(said[..8], [0, 0, 0, u8::try_from(said.len()).unwrap(), 0, 3, 0, 0]);
        assert!(said.starts_with(b"\0\0\0\x41\0\x03\0\0user\0systole\0") && said.ends_with(b"\0systole\0\0"));
    }

    #[test]
    fn who_asks_who_one_is_or_knows_us_not_is_well() {
        let asks = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
        assert_eq!(trial::well(Postgresql::default, &asks), "asks who one is");
        let notice = [message(b'v', &[0; 8]), message(b'N', b"Mhi\0\0"), asks].concat();
        trial::well(Postgresql::default, &notice);
        let unknown = refusal("28000", "role \"systole\" does not exist");
        assert_eq!(trial::well(Postgresql::default, &unknown), "refuses us: role \"systole\" does not exist");
        trial::well(Postgresql::default, &refusal("3D000", "database \"postgres\" does not exist"));
    }

    #[test]
    fn who_starts_stops_or_has_no_room_is_not() {
        for (code, text) in [
            ("57P03", "the database system is starting up"),
            ("57P03", "the database system is shutting down"),
            ("53300", "sorry, too many clients already"),
            ("", ""),
        ] {
            assert_eq!(
                trial::bad(Postgresql::default, &refusal(code, text)),
                format!("error {code}: {text}")
            );
        }
    }

    #[test]
    fn what_is_no_postgresql_is_told() {
        assert_eq!(trial::bad(Postgresql::default, b""), "closed before an answer");
        assert_eq!(trial::bad(Postgresql::default, b"R\0\0\0"), "closed in the middle of its answer");
        let (_, verdict) = trial::play(Postgresql::default(), [&b"HTTP/1.1 400\r\n"[..]]);
        assert_eq!(verdict, Verdict::bad("no PostgreSQL: \"HTTP/1.1 400\\r\\n\""));
        trial::bad(Postgresql::default, b"R\xff\xff\xff\xff");
        trial::bad(Postgresql::default, &message(b'R', b"abc"));
    }

    #[test]
    fn whatever_comes_there_is_a_verdict() {
        trial::bad_for_ever(Postgresql::default(), b"", &message(b'N', b"x"));
        trial::bad_for_ever(Postgresql::default(), b"E\0\0\xff\xff", b"x");
        trial::survives_garbage(
            Postgresql::default,
            &[&refusal("57P03", "starting"), &message(b'R', &[0; 8])],
        );
    }
}
