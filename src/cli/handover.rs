//! Waits until groups are where an operator ordered them to be: asks again and again over one connection, shows what goes
//! on, and says why where it does not come about. The order itself stands meanwhile, whatever becomes of this command.

use crate::control::shape::{Group, Status};
use crate::time::Span;

use super::connection::Connection;
use super::failure::Failure;
use super::terminal::{Progress, boot_clock, say, wait_ms};

/// Where groups shall get to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Each of these runs on that node.
    On(String),
    /// Each of these runs, and not on that node.
    NotOn(String),
}

/// How long to wait.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Patience {
    /// Give up waiting after so long; 0 does not wait at all
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 60)]
    pub wait_seconds: u32,
}

/// So long the plan may say otherwise before it is believed: the other node may not know of the order yet.
const OTHERWISE: Span = Span::seconds(2);

/// A hand-over of addresses takes about so long.
const HANDOVER_MS: u16 = 2;

/// What takes longer than this is worth a line that moves.
const WORTH_SHOWING: Span = Span::millis(200);

/// Waits for the groups with these names.
pub(super) fn wait(
    connection: &mut Connection,
    groups: &[String],
    goal: &Goal,
    patience: Patience,
) -> Result<(), Failure> {
    if patience.wait_seconds == 0 || groups.is_empty() {
        return Ok(());
    }
    let began = boot_clock();
    let limit = Span::seconds(u64::from(patience.wait_seconds));
    let mut otherwise_since: Option<Span> = None;
    let mut progress = Progress::default();
    // Until it can be done, nobody asks: the daemon has other things to do now.
    wait_ms(HANDOVER_MS);
    loop {
        let asked = boot_clock();
        let status = connection.status().inspect_err(|_| progress.clear())?;
        let (waited, took) = (boot_clock() - began, boot_clock() - asked);
        let Some(open) = first_open(&status, groups, goal) else {
            progress.clear();
            tell(&status, groups, waited);
            return Ok(());
        };
        let planned = open.planned.as_deref();
        if agrees(goal, planned) {
            otherwise_since = None;
        } else {
            otherwise_since = otherwise_since.or(Some(waited));
        }
        let hopeless = otherwise_since.is_some_and(|since| waited - since >= OTHERWISE);
        if hopeless || waited >= limit {
            progress.clear();
            return Err(Failure::NotDone(given_up(open, goal, waited, hopeless)));
        }
        if waited >= WORTH_SHOWING {
            progress.show(&format!("{}, {waited}", standing(open)));
        }
        wait_ms(pause_ms(waited, took));
    }
}

/// A hand-over takes some milliseconds, or as long as a resource needs to stop. Where an answer takes long, because there
/// are many groups, the daemon is left alone for most of the time after that: it has beats to send.
fn pause_ms(waited: Span, took: Span) -> u16 {
    let (least, times) = match waited {
        short if short < Span::millis(100) => (1, 1),
        middle if middle < Span::seconds(2) => (10, 4),
        _ => (100, 4),
    };
    u16::try_from(took.as_micros() * times / 1_000).unwrap_or(u16::MAX).clamp(least, 1_000)
}

fn agrees(goal: &Goal, node: Option<&str>) -> bool {
    match goal {
        Goal::On(wanted) => node == Some(wanted),
        Goal::NotOn(avoided) => node.is_some_and(|node| node != avoided),
    }
}

/// The first group that is not where it shall be. One that the configuration has lost meanwhile is no more waited for.
fn first_open<'a>(status: &'a Status, groups: &[String], goal: &Goal) -> Option<&'a Group> {
    let mut wanted = status.groups.iter().filter(|group| groups.contains(&group.name));
    wanted.find(|group| !(group.served && agrees(goal, group.holder.as_deref())))
}

fn tell(status: &Status, groups: &[String], waited: Span) {
    for group in status.groups.iter().filter(|group| groups.contains(&group.name)) {
        let holder = group.holder.as_deref().unwrap_or("nobody");
        say(&format!("{} runs on {holder}, after {waited}\n", group.name));
    }
}

fn standing(group: &Group) -> String {
    match &group.holder {
        Some(holder) if group.served => format!("{} still runs on {holder}", group.name),
        Some(holder) => format!("{} is being started or stopped on {holder}", group.name),
        None => format!("{} is held by nobody", group.name),
    }
}

fn given_up(group: &Group, goal: &Goal, waited: Span, hopeless: bool) -> String {
    let name = &group.name;
    let wanted = match goal {
        Goal::On(node) => format!("{name} did not get to {node}"),
        Goal::NotOn(node) => format!("{name} did not leave {node}"),
    };
    let plan = match &group.planned {
        Some(node) => format!("the plan has it on {node}, because {}", unable(group, goal)),
        None => format!("the plan has it nowhere, because {}", unable(group, goal)),
    };
    let end = if hopeless {
        format!(
            "the order stands, and is carried out as soon as it can be; take it back with `systole online {name}`"
        )
    } else {
        format!("the order stands and may still be carried out; see `systole why {name}`")
    };
    format!("{wanted} in {waited}: {}; {plan}\n{end}", standing(group))
}

/// Why the node that was ordered can't serve it; else the plan's own reason.
fn unable<'a>(group: &'a Group, goal: &Goal) -> &'a str {
    let text = match goal {
        Goal::On(wanted) => {
            group.nodes.iter().find(|able| able.node == *wanted).and_then(|able| able.text.as_deref())
        }
        Goal::NotOn(_) => None,
    };
    text.unwrap_or(&group.because_text)
}
