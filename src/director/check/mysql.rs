//! MySQL or MariaDB greets: protocol version 10 of both.
//!
//! The greeting, or the error in its place ("Host ... is blocked", "Too many connections"), says whether the server is
//! well. A server counts clients that leave without trying to log in, and after `max_connect_errors` of them it shuts
//! their machine out. So we try, as the user `systole` without a password: being refused is not counted, and is as good.
//! Whatever else it says of us (no such user, another method, TLS first) shows a server that answers. Nothing is ever
//! asked of the database.
//!
//! A machine from which nobody may log in is not greeted ("Host ... is not allowed to connect"): that is bad, for it hides
//! how the server is. An account without rights for this machine mends it.

use super::{Dialogue, SILENT_END, Step, Verdict, words};

/// The longest packet that is read: greetings have about a hundred bytes, errors at most 512 of text.
const PACKET: usize = 4_096;

/// So often it may ask for more of a login: no method asks more than twice.
const ROUNDS: u8 = 4;

/// Errors after the greeting that are about the server and not about us: too many connections, out of memory (three), no
/// thread, blocked, shutting down, too many of this user.
const SERVERS: [u16; 8] = [1040, 1037, 1038, 1041, 1135, 1129, 1053, 1203];

// Capabilities.
const LONG_PASSWORD: u32 = 0x1;
const PROTOCOL_41: u32 = 0x200;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// What it says to our login.
    Login,
    /// It has taken us for a user, and heard that we go.
    Farewell,
}

/// One talk with a server.
#[derive(Clone, Debug)]
pub struct Mysql {
    state: State,
    /// What has come of a packet.
    buffer: Vec<u8>,
    version: String,
    rounds: u8,
}

impl Default for Mysql {
    fn default() -> Self {
        Self { state: State::Greeting, buffer: Vec::new(), version: String::new(), rounds: 0 }
    }
}

impl Mysql {
    /// Takes the next packet from the buffer: its number and what is in it.
    fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, Verdict> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let [a, b, c, number] = *header;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
        let is_first = self.state == State::Greeting;
        if length == 0 && is_first || length > PACKET || is_first && number != 0 {
            return Err(self.garbage());
        }
        if let Some(kind) = rest.first().filter(|_| is_first)
            && ![10, 0xff].contains(kind)
        {
            return Err(self.garbage());
        }
        let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.buffer.drain(..4 + length);
        Ok(Some((number, payload)))
    }

    fn garbage(&self) -> Verdict {
        Verdict::bad(format!("no MySQL: {}", words::seen(&self.buffer)))
    }

    fn packet(&mut self, number: u8, payload: &[u8]) -> Step {
        match (self.state, payload.first()) {
            (State::Greeting, Some(0xff)) => Step::Done(Verdict::bad(error(payload).1)),
            (State::Greeting, _) => self.greeting(number, payload),
            (State::Login, Some(0xff)) => {
                let (code, text) = error(payload);
                Step::Done(if SERVERS.contains(&code) { Verdict::bad(text) } else { self.well() })
            }
            (State::Login, Some(0x00)) => {
                self.state = State::Farewell;
                Step::Say(vec![1, 0, 0, 0, 1])
            }
            // It asks for more, or for another method: there is no password.
            (State::Login, _) if self.rounds < ROUNDS => {
                self.rounds += 1;
                Step::Say(vec![0, 0, 0, number.wrapping_add(1)])
            }
            (State::Login | State::Farewell, _) => Step::Done(self.well()),
        }
    }

    fn greeting(&mut self, number: u8, payload: &[u8]) -> Step {
        let Some(end) = payload.iter().position(|byte| *byte == 0) else { return Step::Done(self.garbage()) };
        self.version = words::told(&payload[1..end]);
        // The connection's number, the first half of the scramble, a zero, the capabilities; more of them later.
        let after = payload.get(end + 1 + 4 + 8 + 1..).unwrap_or_default();
        let low = after.get(..2).map_or(0, |two| u32::from(u16::from_le_bytes([two[0], two[1]])));
        let high = after.get(5..7).map_or(0, |two| u32::from(u16::from_le_bytes([two[0], two[1]])));
        let offered = low | high << 16;
        if offered & PROTOCOL_41 == 0 {
            // Older than 4.1: nobody knows how to log in any more.
            return Step::Done(self.well());
        }
        self.state = State::Login;
        Step::Say(login(number.wrapping_add(1), offered))
    }

    fn well(&self) -> Verdict {
        Verdict::well(format!("version {}", self.version))
    }
}

/// `HandshakeResponse41`, without a password.
fn login(number: u8, offered: u32) -> Vec<u8> {
    let flags = PROTOCOL_41 | offered & (LONG_PASSWORD | SECURE_CONNECTION | PLUGIN_AUTH);
    let mut payload = flags.to_le_bytes().to_vec();
    payload.extend_from_slice(&[0, 0, 0, 1]);
    // UTF-8, and what is reserved.
    payload.push(33);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(b"systole\0");
    // No password, in either of the forms.
    payload.push(0);
    if flags & PLUGIN_AUTH != 0 {
        payload.extend_from_slice(b"mysql_native_password\0");
    }
    let mut packet = u32::try_from(payload.len()).unwrap_or_default().to_le_bytes();
    packet[3] = number;
    [&packet, payload.as_slice()].concat()
}

/// The number of an error, and its text.
fn error(payload: &[u8]) -> (u16, String) {
    let code = payload.get(1..3).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    let text = payload.get(3..).unwrap_or_default();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    (code, format!("error {code}: {}", words::told(text)))
}

impl Dialogue for Mysql {
    fn begin(&mut self) -> Step {
        Step::More
    }

    fn hear(&mut self, bytes: &[u8]) -> Step {
        let mut said = Vec::new();
        // No more than one packet is kept: what is heard is looked at in pieces.
        for piece in bytes.chunks(PACKET) {
            self.buffer.extend_from_slice(piece);
            loop {
                match self.next() {
                    Ok(None) => break,
                    Err(verdict) => return Step::Done(verdict),
                    Ok(Some((number, payload))) => match self.packet(number, &payload) {
                        Step::More => {}
                        Step::Say(words) => said.extend(words),
                        Step::Done(verdict) => return Step::Done(verdict),
                    },
                }
            }
        }
        if said.is_empty() { Step::More } else { Step::Say(said) }
    }

    fn end(&mut self) -> Verdict {
        match self.state {
            State::Greeting if self.buffer.is_empty() => Verdict::bad(SILENT_END),
            State::Greeting => Verdict::bad("closed in the middle of its greeting"),
            State::Login => Verdict::bad("closed after its greeting"),
            State::Farewell => self.well(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial;
    use super::*;

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = u32::try_from(payload.len()).unwrap().to_le_bytes();
        header[3] = number;
        [&header, payload].concat()
    }

    /// As MariaDB 10.11 greets.
    fn greeting() -> Vec<u8> {
        let mut payload = b"\x0a5.5.5-10.11.6-MariaDB\0".to_vec();
        payload.extend_from_slice(&[7, 0, 0, 0]);
        payload.extend_from_slice(b"abcdefgh\0\xfe\xf7\x2d\x02\x00\xff\x81\x15");
        payload.extend_from_slice(&[0; 10]);
        payload.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        packet(0, &payload)
    }

    fn refusal(number: u8, code: u16, text: &str) -> Vec<u8> {
        packet(number, &[&[0xff], &code.to_le_bytes()[..], text.as_bytes()].concat())
    }

    #[test]
    fn who_greets_and_refuses_us_is_well() {
        let denied = refusal(2, 1045, "#28000Access denied for user 'systole'@'lb'");
        let answer = [greeting(), denied.clone()].concat();
        assert_eq!(trial::well(Mysql::default, &answer), "version 5.5.5-10.11.6-MariaDB");
        let switch = packet(2, b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0");
        let (said, verdict) = trial::play(Mysql::default(), [&greeting()[..], &switch, &denied]);
        assert!(verdict.is_well());
        assert!(said.ends_with(&[0, 0, 0, 3]), "no password, in the packet with the next number");
        assert_eq!(said[3..8], [1, 0, 0x82, 0x08, 0]);
        assert!(said[36..].starts_with(b"systole\0\0mysql_native_password\0"), "{said:?}");
    }

    #[test]
    fn who_takes_us_for_a_user_is_left_politely() {
        let taken = packet(2, &[0, 0, 0, 2, 0, 0, 0]);
        let (said, verdict) = trial::play(Mysql::default(), [&greeting()[..], &taken]);
        assert!(verdict.is_well() && said.ends_with(&[1, 0, 0, 0, 1]));
    }

    #[test]
    fn an_error_in_the_place_of_the_greeting_is_told() {
        let text = "Host 'lb' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'";
        assert_eq!(trial::bad(Mysql::default, &refusal(0, 1129, text)), format!("error 1129: {text}"));
        let full = refusal(0, 1040, "#08004Too many connections");
        assert_eq!(trial::bad(Mysql::default, &full), "error 1040: Too many connections");
        let stops = [greeting(), refusal(2, 1053, "#08S01Server shutdown in progress")].concat();
        assert_eq!(trial::bad(Mysql::default, &stops), "error 1053: Server shutdown in progress");
    }

    #[test]
    fn what_is_no_mysql_is_told() {
        assert_eq!(trial::bad(Mysql::default, b""), "closed before an answer");
        assert_eq!(trial::bad(Mysql::default, &greeting()), "closed after its greeting");
        let (_, verdict) = trial::play(Mysql::default(), [&b"220 mail ESMTP\r\n"[..]]);
        assert_eq!(verdict, Verdict::bad("no MySQL: \"220 mail ESMTP\\r\\n\""));
    }

    #[test]
    fn whatever_comes_there_is_a_verdict() {
        trial::bad_for_ever(Mysql::default(), b"", &[0; 4_000]);
        let denied = refusal(2, 1040, "Too many connections");
        trial::survives_garbage(Mysql::default, &[&[greeting(), denied].concat(), &refusal(0, 1129, "no")]);
        let mut asks_for_more = Mysql::default();
        assert!(matches!(asks_for_more.hear(&greeting()), Step::Say(_)));
        let more = packet(2, &[1, 4]);
        let steps: Vec<Step> = (0..=ROUNDS).map(|_| asks_for_more.hear(&more)).collect();
        assert!(matches!(steps.last(), Some(Step::Done(_))), "{steps:?}");
    }
}
