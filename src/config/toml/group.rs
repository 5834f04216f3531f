//! `[group.NAME]` and its resources.

use super::known;
use super::safety::nodes;
use super::table::{Table, Value};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftGroup, DraftMonitor, DraftResource, Name, Placed};
use crate::config::limits;
use crate::config::model::{Monitor, Promise, Reach};
use crate::config::monitor;

pub(super) fn read(top: &Table<'_>, draft: &mut Draft, findings: &mut Findings) {
    for (name, table) in top.named_tables("group", known::GROUP, findings) {
        draft.groups.push(group(name, &table, findings));
    }
    draft.lost.groups = top.value("group").is_some() && draft.groups.is_empty();
}

fn group(name: Name, table: &Table<'_>, findings: &mut Findings) -> DraftGroup {
    let promises = [("at-most-one", Promise::AtMostOne), ("at-least-one", Promise::AtLeastOne)];
    let most = u32::try_from(limits::GROUPS).unwrap_or(u32::MAX);
    let resources = resources(table, findings);
    DraftGroup {
        prefer: nodes(table, "prefer", findings),
        only: nodes(table, "only", findings),
        failback: table.boolean("failback", findings).is_none_or(|failback| failback.value),
        failback_delay: table.span("failback-delay", findings).map(|span| span.value),
        exclusive: table.boolean("exclusive", findings),
        promise: table.choice("promise", &promises, findings),
        with: table.text("with", findings),
        after: table.texts("after", findings),
        apart: table.texts("apart", findings),
        clones: table.whole("clones", 1..=most, findings).map(small),
        clones_per_node: table.whole("clones-per-node", 1..=most, findings).map(small),
        weights: weights(table, findings),
        reach: table.value("reach").and_then(|value| reach(value, findings)),
        failure_window: table.span("failure-window", findings).map(|span| span.value),
        lost_resources: table.value("resource").is_some() && resources.is_empty(),
        resources,
        name,
    }
}

fn small(number: Placed<u32>) -> Placed<u16> {
    number.map(|number| u16::try_from(number).unwrap_or(u16::MAX))
}

/// `{ lb0 = 2, lb1 = 1 }`
fn weights(table: &Table<'_>, findings: &mut Findings) -> Vec<(Name, u16)> {
    let Some(value) = table.value("weights") else { return Vec::new() };
    let Some(written) = value.table("`weights`".to_owned(), value.place, findings) else { return Vec::new() };
    let entries = written.entries().into_iter();
    let weight = |(name, value): (Name, Value<'_>)| {
        let weight = value.whole(&format!("the weight of `{}`", name.value), 1..=limits::WEIGHT, findings)?;
        Some((name.map(|name| name.to_lowercase()), small(weight).value))
    };
    entries.filter_map(weight).collect()
}

fn reach(value: Value<'_>, findings: &mut Findings) -> Option<Placed<Reach>> {
    if !value.is_text() {
        let least = value.whole("`reach`", 1..=1_000, findings)?;
        return Some(least.map(|least| Reach::AtLeast(u16::try_from(least).unwrap_or(u16::MAX))));
    }
    let text = value.text("`reach`", findings)?;
    match text.value.as_str() {
        "any" => Some(Placed::new(Reach::Any, text.place)),
        "best" => Some(Placed::new(Reach::Best, text.place)),
        _ => {
            findings.push(
                Diagnostic::mistake(text.place, format!("`reach` cannot be \"{}\"", text.value))
                    .label("\"any\", \"best\", or a number of ping targets")
                    .help(
                        "write \"best\" for Heartbeat's ipfail, or how many ping targets a node must reach",
                    ),
            );
            None
        }
    }
}

fn resources(table: &Table<'_>, findings: &mut Findings) -> Vec<DraftResource> {
    let Some(value) = table.value("resource") else { return Vec::new() };
    let name = format!("a resource of {}", table.name);
    let mut resources = Vec::new();
    for one in value.tables(&format!("`resource` in {}", table.name), findings) {
        let Some(table) = one.table(name.clone(), one.place, findings) else { continue };
        table.refuse_unknown(known::RESOURCE, findings);
        resources.extend(resource(&table, findings));
    }
    resources
}

fn resource(table: &Table<'_>, findings: &mut Findings) -> Option<DraftResource> {
    if table.value("agent").is_none() {
        findings.push(
            Diagnostic::mistake(table.place, format!("{} has no agent", table.name))
                .label("what starts and stops it?")
                .help("add agent = \"vip\", \"systemd:nginx\", \"ocf:heartbeat:Filesystem\", …"),
        );
    }
    let read = DraftResource {
        place: table.place,
        name: table.text("name", findings),
        args: table.texts("args", findings).into_iter().map(|arg| arg.value).collect(),
        params: table.params("params", findings),
        warm: table.boolean("warm", findings).is_some_and(|warm| warm.value),
        monitor: table.value("monitor").map_or(DraftMonitor::Default, |value| read_monitor(value, findings)),
        start_delay: table.span("start-delay", findings),
        start_timeout: table.timeout("start-timeout", findings),
        stop_timeout: table.timeout("stop-timeout", findings),
        agent: table.text("agent", findings)?,
    };
    Some(read)
}

/// `{ every = "10s", timeout = "20s", restarts = 2 }`, a plain time, or `false`.
fn read_monitor(value: Value<'_>, findings: &mut Findings) -> DraftMonitor {
    match value.as_bool() {
        Some(true) => return DraftMonitor::Default,
        Some(false) => return DraftMonitor::Off,
        None => {}
    }
    if !value.is_table() {
        let every = value.span("`monitor`", findings).filter(|every| monitor::is_possible(every, findings));
        let given = every.map(|every| Monitor { every: every.value, ..monitor::DEFAULT });
        return given.map_or(DraftMonitor::Default, DraftMonitor::Given);
    }
    let Some(table) = value.table("`monitor`".to_owned(), value.place, findings) else {
        return DraftMonitor::Default;
    };
    table.refuse_unknown(known::MONITOR, findings);
    let every = table.span("every", findings).filter(|every| monitor::is_possible(every, findings));
    let restarts = table.whole("restarts", 0..=limits::RESTARTS, findings);
    DraftMonitor::Given(Monitor {
        every: every.map_or(monitor::DEFAULT.every, |every| every.value),
        timeout: table.timeout("timeout", findings),
        restarts: restarts.map_or(monitor::DEFAULT.restarts, |restarts| restarts.value),
    })
}
