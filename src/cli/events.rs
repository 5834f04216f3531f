//! `systole events`: the journal of what happened on this node.

use serde_json::Value;

use crate::control::limits;
use crate::control::shape::{Events as Answer, Told};
use crate::time::Span;

use super::connection::{Connection, Daemon};
use super::failure::Failure;
use super::terminal::{boot_clock, still_read, utc, wall_clock};

/// Show what happened on this node, the oldest first.
///
/// Exit status: 0 done, 2 no daemon was reached, or it went away while it was followed.
#[derive(clap::Args, Debug)]
pub struct Events {
    /// Go on with what happens, until interrupted
    #[arg(long)]
    pub follow: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Only what came after this number; with LIFE:, all of a newer life
    #[arg(long, value_name = "[LIFE:]N", default_value = "0", value_parser = since)]
    pub since: Since,
    #[command(flatten)]
    daemon: Daemon,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Of this life; `None`: of the present one.
    pub life: Option<u64>,
    /// The number that is known.
    pub number: u64,
}

fn since(text: &str) -> Result<Since, String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text:?} is no number: write what an earlier line began with"))
    };
    match text.split_once(':') {
        Some((life, after)) => Ok(Since { life: Some(number(life)?), number: number(after)? }),
        None => Ok(Since { life: None, number: number(text)? }),
    }
}

impl Events {
    /// All there are, then what comes.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let Since { mut life, mut number } = self.since;
        if self.follow {
            connection.follow(number, life)?;
        }
        loop {
            let answer = self.next(&mut connection, number, life)?;
            let ended = !answer.more && !self.follow;
            (number, life) = (answer.next_after, Some(answer.life));
            if !answer.events.iter().all(|told| still_read(&self.line(&answer, told))) || ended {
                return Ok(());
            }
        }
    }

    fn next(&self, connection: &mut Connection, number: u64, life: Option<u64>) -> Result<Answer, Failure> {
        if !self.follow {
            return connection.events(number, life);
        }
        connection.next_events().map_err(|failure| match (failure, life) {
            (Failure::Unusable(text), Some(life)) => {
                Failure::Unusable(format!("{text}\ngo on with --since {life}:{number}"))
            }
            (failure, _) => failure,
        })
    }

    fn line(&self, answer: &Answer, told: &Told) -> String {
        let time = time_of_day(told.at_us);
        if self.json { json(answer, told, &time) } else { text(answer, told, &time) }
    }
}

/// The wall clock's time of something on the boot clock, by how long ago it was.
pub(super) fn time_of_day(at_us: u64) -> String {
    utc(wall_clock() - (boot_clock() - Span::micros(at_us)))
}

/// As a person reads it: what to resume from, when, what.
pub fn text(answer: &Answer, told: &Told, time: &str) -> String {
    format!("{}:{}  {time}  {}  {}\n", answer.life, told.number, answer.node, told.text)
}

/// As a program reads it.
pub fn json(answer: &Answer, told: &Told, time: &str) -> String {
    // Plain data with text as keys: there is nothing in it that JSON could refuse.
    let mut value = serde_json::to_value(told).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("version".to_owned(), limits::VERSION.into());
        fields.insert("node".to_owned(), answer.node.clone().into());
        fields.insert("life".to_owned(), answer.life.into());
        fields.insert("time".to_owned(), time.into());
    }
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_from_a_number_or_from_a_number_of_a_life() {
        assert_eq!(since("12"), Ok(Since { life: None, number: 12 }));
        assert_eq!(since("3:12"), Ok(Since { life: Some(3), number: 12 }));
        assert!(since("noon").is_err() && since("3:").is_err() && since("").is_err());
    }
}
