//! `systole why`: why a group is where it is, what would change that, and its last moves.

use crate::config::nearest;
use crate::control::shape::{Able, Group, Status, Told};
use crate::time::Span;

use super::connection::{Connection, Daemon};
use super::events::time_of_day;
use super::failure::Failure;
use super::terminal::say;

/// Say why a group is where it is, what would change that, and how its last moves went.
///
/// Exit status: 0 said, 2 no daemon was reached or there is no such group.
#[derive(clap::Args, Debug)]
pub struct Why {
    /// The group
    #[arg(value_name = "GROUP")]
    pub group: String,
    #[command(flatten)]
    daemon: Daemon,
}

/// So many lines of a timeline are read.
const LINES: usize = 24;

/// What led to a move is not older than this.
const LEADS: Span = Span::seconds(30);

impl Why {
    /// Asks for the status and for the journal.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let status = connection.status()?;
        let group = find(&status, &self.group)?;
        say(&render(&status, group));
        let journal = all(&mut connection)?;
        let moves = timeline(&journal, &group.name);
        say(&render_moves(&moves, &status.node, time_of_day));
        Ok(())
    }
}

fn find<'a>(status: &'a Status, name: &str) -> Result<&'a Group, Failure> {
    let names = || status.groups.iter().map(|group| group.name.as_str());
    status.groups.iter().find(|group| group.name == name).ok_or_else(|| {
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("name one of: {}", names().take(20).collect::<Vec<_>>().join(", ")),
        };
        Failure::Unusable(format!("there is no group {name:?}\n{help}"))
    })
}

fn all(connection: &mut Connection) -> Result<Vec<Told>, Failure> {
    let (mut after, mut life) = (0, None);
    let mut all = Vec::new();
    loop {
        let answer = connection.events(after, life)?;
        (after, life) = (answer.next_after, Some(answer.life));
        let more = answer.more;
        all.extend(answer.events);
        if !more {
            return Ok(all);
        }
    }
}

/// Where it is, why, and what would change that.
pub fn render(status: &Status, group: &Group) -> String {
    let name = &group.name;
    let place = match &group.holder {
        Some(holder) if group.served => format!("{name} runs on {holder}"),
        Some(holder) => format!("{name} is held by {holder}, and does not run yet or any more"),
        None => format!("{name} does not run anywhere"),
    };
    let plan = match &group.planned {
        planned if *planned == group.holder => format!(", as planned, because {}", group.because_text),
        Some(node) => format!(", and shall be on {node}, because {}", group.because_text),
        None => format!(", and shall be nowhere, because {}", group.because_text),
    };
    let mut text =
        format!("{place}{plan}\n\nwho may own it, in the order of preference, as {} sees it\n", status.node);
    for able in &group.nodes {
        let what = match &able.text {
            Some(why) => why.as_str(),
            None if group.holder.as_ref() == Some(&able.node) => "holds it",
            None => "could serve it",
        };
        text.push_str(&format!("  {}: {what}\n", able.node));
    }
    text.push_str("\nwhat would change that\n");
    for line in changes(status, group) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn changes(status: &Status, group: &Group) -> Vec<String> {
    let name = &group.name;
    if status.maintenance {
        return vec!["`systole maintenance off`: until then nothing moves".to_owned()];
    }
    if group.maintenance {
        return vec![format!("`systole maintenance off {name}`: until then it is left alone")];
    }
    let able = group.nodes.iter().filter(|able| able.able && Some(&able.node) != group.holder.as_ref());
    let others: Vec<&str> = able.map(|able| able.node.as_str()).collect();
    let mut lines = Vec::new();
    match (&group.holder, others.first()) {
        (Some(holder), Some(next)) => {
            lines.push(format!("{holder} dead, unfit, stopped or on standby: it goes to {next}"));
            lines.push(format!("an order: `systole move {name} {next}`"));
        }
        (Some(holder), None) => {
            lines.push(format!("nothing but the end of {holder}: no other node can serve it now"));
        }
        (None, Some(next)) => {
            lines.push(format!("{next} could serve it, and takes it once it has the votes"))
        }
        (None, None) => lines.push("one of these nodes becomes able to serve it".to_owned()),
    }
    if group.because.get("kind").is_some_and(|kind| kind == "ordered") {
        lines.push(format!("the end of the order that placed it: `systole online {name}`"));
    }
    let on_standby = |able: &&Able| able.because.as_ref().is_some_and(|why| why["kind"] == "standby");
    for able in group.nodes.iter().filter(on_standby) {
        lines.push(format!("the end of the standby of {0}: `systole online --node {0}`", able.node));
    }
    let failed = |able: &&Able| {
        able.because
            .as_ref()
            .and_then(|why| why.pointer("/because/kind"))
            .is_some_and(|kind| kind == "failed")
    };
    for able in group.nodes.iter().filter(failed) {
        lines.push(format!("the failure on {} forgotten: `systole cleanup {name}` there", able.node));
    }
    lines
}

/// The events about the group, and what led to them.
pub fn timeline<'a>(journal: &'a [Told], group: &str) -> Vec<&'a Told> {
    let about = |told: &Told| told.facts.get("group").is_some_and(|named| named == group);
    let led = |told: &Told| {
        let cause = ["peer-late", "peer-down", "was-away", "carrier", "evidence-begins", "fenced", "ordered"];
        let soon = |next: &&Told| next.at_us >= told.at_us && next.at_us - told.at_us <= LEADS.as_micros();
        cause.contains(&told.kind.as_str())
            && journal.iter().filter(|next| next.number > told.number).take_while(soon).any(about)
    };
    let mut moves: Vec<&Told> = journal.iter().filter(|told| about(told) || led(told)).collect();
    moves.split_off(moves.len().saturating_sub(LINES))
}

/// Each with the time since the one before.
pub fn render_moves(moves: &[&Told], node: &str, time: impl Fn(u64) -> String) -> String {
    let mut text = format!("\nthe last moves, as {node} saw them\n");
    let mut before: Option<u64> = None;
    for told in moves {
        let after = before
            .map_or(String::new(), |before| format!("+{}", Span::micros(told.at_us.saturating_sub(before))));
        text.push_str(&format!("  {}  {after:>10}  {}\n", time(told.at_us), told.text));
        before = Some(told.at_us);
    }
    if moves.is_empty() {
        text.push_str("  none in the journal of this life\n");
    }
    text
}
