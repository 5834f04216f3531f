//! One conversation with HAProxy over its runtime socket: commands go, answers come.
//!
//! Behaviour: HAProxy's management guide, section 9.3, of 2.6 and 3.0. After the command `prompt` it takes a command a line,
//! and ends each answer with a line that begins with "> ". (Without it an answer ends with an empty line, which 2.6 forgets
//! behind some of them.)
//!
//! What answers may hang, never end, or be something else: a conversation is bounded in time and size, as a whole. This file
//! must never judge what an answer means, except that it says that we may not ask.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// HAProxy answers a thousand commands in some milliseconds; what takes longer hangs.
const TIME: Duration = Duration::from_secs(2);

/// A server's state is a line of about a hundred bytes: this is the state of forty thousand.
const ANSWER_BYTES: usize = 4 << 20;

/// A socket may be configured to put a number before each answer.
const PLAIN: &str = "set severity-output none";

/// What ends an answer.
const PROMPT: &str = "\n> ";

/// What is shown of what cannot be understood.
const SHOWN_CHARS: usize = 80;

/// Why there are no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody is there, so nothing that was set is there either.
    Absent(String),
    /// Somebody is there, and it is not known what was carried out.
    Broken(String),
}

impl Fault {
    /// In words.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Absent(why) | Self::Broken(why) => why,
        }
    }
}

/// Says all the commands, and hears an answer to each.
pub(super) async fn talk(socket: &Path, commands: &[String]) -> Result<Vec<String>, Fault> {
    let shown = socket.display();
    let heard = match timeout(TIME, exchange(socket, commands)).await {
        Ok(heard) => heard.map_err(|error| told(socket, &error))?,
        Err(_) => {
            let limit = TIME.as_secs();
            return Err(Fault::Broken(format!(
                "HAProxy did not answer at {shown} within {limit} s: it hangs, or something else listens there"
            )));
        }
    };
    if heard.len() > ANSWER_BYTES {
        let most = ANSWER_BYTES >> 20;
        return Err(Fault::Broken(format!(
            "what listens at {shown} said more than {most} MiB, and was not heard to its end: that is no HAProxy"
        )));
    }
    let heard = String::from_utf8_lossy(&heard);
    let answers = answers(&heard, commands.len()).ok_or_else(|| {
        Fault::Broken(format!(
            "what listens at {shown} does not answer as HAProxy does: it said \"{}\"",
            cut(&heard)
        ))
    })?;
    if answers.iter().any(|answer| answer.starts_with("Permission denied")) {
        return Err(Fault::Broken(format!(
            "HAProxy lets nobody change anything over {shown}: write `stats socket {shown} level admin` into the section `global` of haproxy.cfg, with the word `admin`, and reload it"
        )));
    }
    Ok(answers)
}

/// Says and hears at the same time: neither side may wait until the other has read.
async fn exchange(socket: &Path, commands: &[String]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let (reader, mut writer) = stream.split();
    let said = format!("prompt\n{PLAIN}\n{}\nquit\n", commands.join("\n"));
    let most = u64::try_from(ANSWER_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut heard = Vec::new();
    let mut reader = reader.take(most);
    // Whoever closes before he has read all has answered already, or shows it by what he has not answered.
    let say = async {
        let _ = writer.write_all(said.as_bytes()).await;
    };
    let hear = reader.read_to_end(&mut heard);
    tokio::pin!(say, hear);
    tokio::select! {
        ended = &mut hear => { ended?; }
        () = &mut say => { hear.await?; }
    }
    Ok(heard)
}

/// The answers, if there are as many as there were commands.
fn answers(heard: &str, commands: usize) -> Option<Vec<String>> {
    let mut pieces = heard.split(PROMPT);
    // Neither what begins a conversation has an answer, nor does anything come after the last prompt.
    let first = pieces.next().is_some_and(str::is_empty) && pieces.next().is_some_and(str::is_empty);
    let mut answers: Vec<String> = pieces.map(|answer| answer.trim_end().to_owned()).collect();
    let last = answers.pop().is_some_and(|rest| rest.is_empty());
    (first && last && answers.len() == commands).then_some(answers)
}

/// What cannot be understood, in one line.
pub(super) fn cut(text: &str) -> String {
    let text = text.trim();
    let shown: String =
        text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() { format!("{shown}...") } else { shown }
}

/// Why the socket cannot be used, and what to write where.
fn told(socket: &Path, error: &io::Error) -> Fault {
    let shown = socket.display();
    let is = |kind: ErrorKind| error.kind() == kind;
    let missing = format!(
        "HAProxy does not run, or its haproxy.cfg does not say `stats socket {shown} level admin` in the section `global`"
    );
    if is(ErrorKind::NotFound) {
        Fault::Absent(format!("there is no socket {shown}: {missing}"))
    } else if is(ErrorKind::ConnectionRefused) {
        Fault::Absent(format!("nobody listens at {shown}: {missing}"))
    } else if is(ErrorKind::PermissionDenied) {
        Fault::Broken(format!(
            "the socket {shown} may not be used by this program: look at who owns it and its folder; `stats socket {shown} mode 600 level admin` in the section `global` of haproxy.cfg makes it root's"
        ))
    } else if is(ErrorKind::WouldBlock) {
        Fault::Broken(format!("HAProxy takes no more conversations at {shown}: it hangs"))
    } else {
        Fault::Broken(format!("HAProxy's socket {shown} cannot be used: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_answer_in_either_version() {
        // As 2.6 and 3.0 wrote it: the first forgets an empty line here and there.
        let old = "\n> \n> New server registered.\n\n> Server deleted.\n> No such server.\n> \n> 1\n# be_id\n3 b\n\n> ";
        let new = "\n> \n> New server registered.\n\n> Server deleted.\n\n> No such server.\n\n> \n> 1\n# be_id\n3 b\n\n> ";
        let expected =
            ["New server registered.", "Server deleted.", "No such server.", "", "1\n# be_id\n3 b"];
        assert_eq!(answers(old, 5).unwrap(), expected);
        assert_eq!(answers(new, 5).unwrap(), expected);
    }

    #[test]
    fn what_is_no_haproxy_has_no_answers() {
        for heard in ["", "220 mail ESMTP\r\n", "\n> ", "\n> \n> one\n> two", "x\n> \n> one\n> "] {
            assert_eq!(answers(heard, 1), None, "{heard:?}");
        }
        assert_eq!(answers("\n> \n> one\n> two\n> ", 1), None);
        assert_eq!(answers("\n> \n> one\n> ", 1).unwrap(), ["one"]);
    }

    #[test]
    fn what_is_shown_is_short_and_one_line() {
        assert_eq!(cut(" a\nb\u{1b}[2J "), "a b [2J");
        assert_eq!(cut(&"x".repeat(100)).len(), SHOWN_CHARS + 3);
    }
}
