//! What this program answers under other names: Heartbeat's commands, which fingers and scripts still know, and the programs
//! that agents call. A name is that of a link to this program.

use std::path::Path;
use std::process::ExitCode;

use crate::agents::stand_ins::{self, Said};
use crate::control::shape::{Group, Node, Status};

use super::connection::Daemon;
use super::failure::{Failure, finish};
use super::takeover::is_ordinary;
use super::terminal::{complain, say};

/// What is to be done under a name.
#[derive(Debug)]
pub enum Meant {
    /// The command line as it stands.
    AsItStands,
    /// Another one.
    Words(Vec<String>),
    /// It is done.
    Done(ExitCode),
}

/// What this program is called by, and what with.
pub fn meant(arguments: &[String]) -> Meant {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let name = called.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let all = arguments.get(1..).unwrap_or_default();
    let (daemon, rest) = daemon(all);
    let ordered = match name.as_str() {
        "hb_standby" => part(&rest, true).and_then(|part| words("standby", part, &daemon)),
        "hb_takeover" => part(&rest, false).and_then(|part| words("takeover", part, &daemon)),
        "cl_status" => return Meant::Done(cl_status(&rest, &daemon)),
        _ => {
            return stand_ins::answer(&name, all).map_or(Meant::AsItStands, |said| Meant::Done(tell(&said)));
        }
    };
    match ordered {
        Ok(Some(words)) => Meant::Words(words),
        Ok(None) => Meant::Done(ExitCode::SUCCESS),
        Err(failure) => Meant::Done(finish(Err(failure))),
    }
}

/// Which daemon, where `--run-dir` says it, as behind every command; and the other words.
fn daemon(words: &[String]) -> (Daemon, Vec<String>) {
    let mut rest = words.to_vec();
    let place = rest.iter().position(|word| word == "--run-dir").filter(|place| place + 1 < rest.len());
    let run_dir = place.and_then(|place| rest.drain(place..place + 2).next_back());
    (Daemon { run_dir: run_dir.unwrap_or_else(|| "/run/systole".to_owned()).into() }, rest)
}

fn tell(said: &Said) -> ExitCode {
    say(&said.text);
    complain(&said.complaint);
    ExitCode::from(said.code)
}

/// Whose groups: those of this node, of the others, or all of them. To fail back is to give the others theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Local,
    Foreign,
}

fn part(rest: &[String], gives: bool) -> Result<Part, Failure> {
    match rest {
        [] => Ok(Part::All),
        [one] if one == "all" => Ok(Part::All),
        [one] if one == "local" => Ok(Part::Local),
        [one] if one == "foreign" => Ok(Part::Foreign),
        // The node that gives, gives the others theirs; the one that takes, takes its own.
        [one] if one == "failback" => Ok(if gives { Part::Foreign } else { Part::Local }),
        other => {
            Err(Failure::Unusable(format!("{:?} is none of all, local, foreign, failback", other.join(" "))))
        }
    }
}

/// A group is of the node that stands first in its line.
fn is_in(part: Part, group: &Group, node: &str) -> bool {
    let is_local = group.nodes.first().is_some_and(|first| first.node == node);
    match part {
        Part::All => true,
        Part::Local => is_local,
        Part::Foreign => !is_local,
    }
}

/// Heartbeat's node gives groups away and goes on taking part: so they are named, those that it holds, and the node is not
/// put on standby. It takes what it may own.
fn words(command: &str, part: Part, daemon: &Daemon) -> Result<Option<Vec<String>>, Failure> {
    let status = daemon.connect()?.status()?;
    let concerns = |group: &&Group| match command {
        "standby" => group.holder.as_ref() == Some(&status.node),
        _ => is_ordinary(group) && group.nodes.iter().any(|able| able.node == status.node),
    };
    let groups = status.groups.iter().filter(|group| is_in(part, group, &status.node)).filter(concerns);
    let groups: Vec<String> = groups.map(|group| group.name.clone()).collect();
    if groups.is_empty() {
        say("there is no such group\n");
        return Ok(None);
    }
    let run_dir = daemon.run_dir.display().to_string();
    let words = ["systole".to_owned(), command.to_owned(), "--run-dir".to_owned(), run_dir];
    Ok(Some(words.into_iter().chain(groups).collect()))
}

/// It is so; it is not so, or the daemon does not run; it was asked wrongly.
const YES: u8 = 0;
const NO: u8 = 1;
const WRONG: u8 = 11;

fn cl_status(rest: &[String], daemon: &Daemon) -> ExitCode {
    let words: Vec<&str> = rest.iter().map(String::as_str).filter(|word| *word != "-m").collect();
    let asked = daemon.connect().and_then(|mut connection| connection.status());
    let (code, text) = match (words.as_slice(), asked) {
        (["hbstatus", ..], Ok(_)) => (YES, "Heartbeat is running on this machine: it is systole.".to_owned()),
        (["hbstatus", ..], Err(_)) => (NO, "Heartbeat is stopped on this machine.".to_owned()),
        (_, Err(failure)) => {
            let _ = finish(Err(failure));
            return ExitCode::from(NO);
        }
        (asked, Ok(status)) => answer(asked, &status),
    };
    if code == WRONG {
        complain(&format!("{text}\n"));
    } else if !text.is_empty() {
        say(&format!("{text}\n"));
    }
    ExitCode::from(code)
}

fn answer(asked: &[&str], status: &Status) -> (u8, String) {
    let node = |name: &str| status.nodes.iter().find(|node| node.name == name.to_lowercase());
    match asked {
        // Ping targets are no nodes here.
        ["listnodes", "-p"] => (YES, String::new()),
        ["listnodes", ..] => {
            let names: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
            (YES, names.join("\n"))
        }
        ["nodestatus", name] => match node(name) {
            Some(node) if is_up(node) => (YES, "active".to_owned()),
            Some(_) => (NO, "dead".to_owned()),
            None => (WRONG, format!("there is no node {name}")),
        },
        ["listhblinks", name] | ["listhblinks", name, "-v"] => match node(name) {
            Some(node) => {
                let names: Vec<&str> = node.links.iter().map(|link| link.name.as_str()).collect();
                (YES, names.join("\n"))
            }
            None => (WRONG, format!("there is no node {name}")),
        },
        ["hblinkstatus", name, link] => {
            match node(name).and_then(|node| node.links.iter().find(|known| known.name == *link)) {
                Some(link) if link.up => (YES, "up".to_owned()),
                Some(_) => (NO, "dead".to_owned()),
                None => (WRONG, format!("there is no link {link} to {name}")),
            }
        }
        ["rscstatus"] => (YES, holdings(status).to_owned()),
        other => (
            WRONG,
            format!(
                "{:?} is not understood: hbstatus, listnodes, nodestatus NODE, listhblinks NODE, hblinkstatus NODE LINK or rscstatus; `systole status` says all of it",
                other.join(" ")
            ),
        ),
    }
}

fn is_up(node: &Node) -> bool {
    matches!(node.liveness.as_str(), "this" | "up" | "late")
}

/// In Heartbeat's words: whether this node holds its own groups, those of others, both or none.
fn holdings(status: &Status) -> &'static str {
    let holds = |part: Part| {
        let held =
            |group: &&Group| group.holder.as_ref() == Some(&status.node) && is_in(part, group, &status.node);
        status.groups.iter().any(|group| held(&group))
    };
    match (holds(Part::Local), holds(Part::Foreign)) {
        (true, true) => "all",
        (true, false) => "local",
        (false, true) => "foreign",
        (false, false) => "none",
    }
}
