//! `systole status`: how things are, as this node sees them. Its first line says whether this node may be pulled.

mod instances;

use std::io::{self, IsTerminal};

use crate::control::Request;
use crate::control::shape::{Group, Link, Node, Resource, Status as Shape};
use crate::time::Span;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::{boot_clock, say, still_read, wait_ms, wants_colour};

/// Show nodes, links, groups, leases and alarms, and whether this node may be pulled.
///
/// Exit status: 0 shown, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Status {
    /// The daemon's own answer, as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Show it again every second, until interrupted
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    /// Once, or again and again.
    pub fn run(&self) -> Result<(), Failure> {
        if self.watch {
            self.watch();
            return Ok(());
        }
        let mut connection = self.daemon.connect()?;
        if self.json {
            say(&connection.ask_line(&Request::Status {})?);
            return Ok(());
        }
        say(&self.shown(&connection.status()?));
        Ok(())
    }

    /// A daemon that is away may come back: then it is shown again.
    fn watch(&self) {
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        let mut connection = None;
        loop {
            if connection.is_none() {
                connection = self.daemon.connect().ok();
            }
            let asked = match connection.as_mut() {
                Some(connection) => connection.status(),
                None => self.daemon.connect().and_then(|mut connection| connection.status()),
            };
            let text = match asked {
                Ok(status) => self.shown(&status),
                Err(Failure::NotDone(text) | Failure::Unusable(text)) => {
                    connection = None;
                    format!("{text}\n")
                }
            };
            if !still_read(&format!("{clear}{text}")) {
                return;
            }
            wait_ms(1_000);
        }
    }

    fn shown(&self, status: &Shape) -> String {
        let age = boot_clock() - Span::micros(status.at_us);
        render(status, age, wants_colour(io::stdout().is_terminal()))
    }
}

/// As a person reads it.
pub fn render(status: &Shape, age: Span, colour: bool) -> String {
    let mut text = paint(&status.pull.text, if status.pull.safe { GREEN } else { RED }, colour);
    text.push_str("\n\n");
    text.push_str(&format!("cluster {}, as {} saw it {age} ago\n", status.cluster, status.node));
    text.push_str(&general(status, colour));
    text.push_str("\nnodes\n");
    let width = widest(status.nodes.iter().map(|node| node.name.as_str()));
    for node in &status.nodes {
        text.push_str(&node_lines(node, width));
    }
    text.push_str("\ngroups\n");
    let width = widest(status.groups.iter().map(whole_name));
    let together = |one: &Group, next: &Group| one.instance.is_some() && whole_name(one) == whole_name(next);
    for groups in status.groups.chunk_by(together) {
        text.push_str(&match groups {
            [group] if group.instance.is_none() => group_lines(group, &status.node, width),
            instances => instances::lines(instances, width),
        });
    }
    if status.groups.is_empty() {
        text.push_str("  none\n");
    }
    text
}

/// The name of a group, and of the cloned one for each of its instances.
fn whole_name(group: &Group) -> &str {
    group.instance.as_ref().map_or(group.name.as_str(), |instance| instance.of.as_str())
}

const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";

fn paint(text: &str, with: &str, colour: bool) -> String {
    if colour { format!("{with}{text}\x1b[0m") } else { text.to_owned() }
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or_default()
}

fn general(status: &Shape, colour: bool) -> String {
    let mut text = String::new();
    if !status.majority {
        text.push_str(&format!("  {} does not hear a majority of the voters\n", status.node));
    }
    if status.maintenance {
        text.push_str("  maintenance: the resources are left alone until `systole maintenance off`\n");
    }
    for group in status.groups.iter().filter(|group| group.maintenance) {
        let name = &group.name;
        text.push_str(&format!(
            "  maintenance: {name} is left alone until `systole maintenance off {name}`\n"
        ));
    }
    text.push_str(&match (&status.lease.why, status.lease.by.as_str()) {
        (Some(why), by) => format!("  leases are enforced by the {by}: {why}\n"),
        (None, by) => format!("  leases are enforced by the {by}\n"),
    });
    let late = &status.late;
    let times = late.over_half_keepalive;
    text.push_str(&format!(
        "  this daemon was late by {} at last, by {} at most, {times} times by more than half of keepalive\n",
        Span::micros(late.newest_us),
        Span::micros(late.greatest_us)
    ));
    for refused in &status.refused {
        text.push_str(&format!("  datagrams refused: {} ({})\n", refused.cause, refused.count));
    }
    for alarm in &status.alarms {
        text.push_str(&format!("  {} {alarm}\n", paint("alarm:", RED, colour)));
    }
    let idle: Vec<&str> =
        status.groups.iter().filter(|group| !group.served).map(|group| group.name.as_str()).collect();
    if !idle.is_empty() {
        text.push_str(&format!("  {} not running: {}\n", paint("alarm:", RED, colour), idle.join(", ")));
    } else if status.alarms.is_empty() {
        text.push_str("  no alarms\n");
    }
    text
}

fn node_lines(node: &Node, width: usize) -> String {
    let mut said = vec![match node.liveness.as_str() {
        "this" => "this node".to_owned(),
        "up" => "up".to_owned(),
        "late" => format!("late: silent for {}", Span::micros(node.silent_us)),
        "dead" => "dead".to_owned(),
        _ => "not heard yet".to_owned(),
    }];
    let flags = [
        (node.arbiter, "arbiter"),
        (node.starting, "has just started"),
        (node.leaving, "is stopping"),
        (node.standby, "on standby"),
        (node.hold_off, "grants nothing yet"),
        (node.guarded, "guarded by its watchdog"),
    ];
    said.extend(flags.iter().filter(|(holds, _)| *holds).map(|(_, text)| (*text).to_owned()));
    let mut text = format!("  {:width$}  {}\n", node.name, said.join(", "));
    let names = widest(node.links.iter().map(|link| link.name.as_str()));
    for link in &node.links {
        text.push_str(&format!("  {:width$}    {:names$}  {}\n", "", link.name, link_text(link)));
    }
    text
}

fn link_text(link: &Link) -> String {
    let heard = match link.silent_us.map(Span::micros) {
        None => return "never heard".to_owned(),
        Some(silent) if link.up => format!("heard {silent} ago"),
        Some(silent) => return format!("DOWN, silent for {silent}"),
    };
    let lost = link.watched.as_ref().map_or(String::new(), |watched| {
        let (lost, sent) = (watched.lost, watched.heard + watched.lost);
        format!(", {lost} of {sent} beats lost, late by {} at most", Span::micros(watched.latest_us))
    });
    match link.round_trip_us.map(Span::micros) {
        Some(round_trip) => format!("round trip {round_trip}, {heard}{lost}"),
        None => heard + &lost,
    }
}

fn resource_text(resource: &Resource) -> String {
    let state = match resource.state.as_str() {
        "stopped" => "does not run",
        "running" => "runs",
        "failed" => "has FAILED",
        "stuck" => "could NOT BE STOPPED",
        _ => "may run",
    };
    let doing = resource.doing.as_ref().filter(|doing| *doing != "monitor");
    let doing = doing.map_or(String::new(), |doing| format!(" ({doing} is under way)"));
    format!("{} {state}{doing}", resource.name)
}

fn group_lines(group: &Group, me: &str, width: usize) -> String {
    let place = match &group.holder {
        Some(holder) if group.served => format!("runs on {holder}"),
        Some(holder) => format!("held by {holder}, does not run yet or any more"),
        None => "NOT RUNNING".to_owned(),
    };
    let mut facts = vec![place];
    if group.holder.as_deref() == Some(me) {
        facts.extend(group.lease_left_us.map(|left| format!("lease {} left", Span::micros(left))));
    }
    let phase = group.phase.as_deref().filter(|phase| *phase != "held");
    facts.extend(phase.map(|phase| format!("here {phase}")));
    facts.push(group.promise.clone());
    if group.exclusive {
        facts.push("exclusive".to_owned());
    }
    let plan = match &group.planned {
        Some(node) => format!("planned on {node}: {}", group.because_text),
        None => format!("planned nowhere: {}", group.because_text),
    };
    let mut text = format!("  {:width$}  {}\n  {:width$}    {plan}\n", group.name, facts.join(", "), "");
    let is_idle = |one: &Resource| one.state == "stopped" && one.doing.is_none();
    // Of a single resource the group's own line says it all.
    if group.resources.len() > 1 && !group.resources.iter().all(is_idle) {
        let here: Vec<String> = group.resources.iter().map(resource_text).collect();
        text.push_str(&format!("  {:width$}    here: {}\n", "", here.join(", ")));
    }
    for able in &group.nodes {
        if let Some(why) = &able.text {
            text.push_str(&format!("  {:width$}    not on {}: {why}\n", "", able.node));
        }
    }
    text
}
