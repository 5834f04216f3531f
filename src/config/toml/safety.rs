//! `[tiebreak]`, `[lease]`, `[watchdog]`, `[fence.NAME]`, `[voters]`.

use std::net::IpAddr;

use super::cluster::{absolute_path, address};
use super::known;
use super::table::{Table, Value};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftFence, DraftVoters, DraftWatchdog, Name, Placed};
use crate::config::model::{Enforcement, TiebreakMethod};
use crate::time::Span;

const METHODS: &[(&str, TiebreakMethod)] = &[
    ("evidence", TiebreakMethod::Evidence),
    ("fence", TiebreakMethod::Fence),
    ("none", TiebreakMethod::None),
];

pub(super) fn read(top: &Table<'_>, draft: &mut Draft, findings: &mut Findings) {
    if let Some(table) = top.table("tiebreak", known::TIEBREAK, findings) {
        draft.method = table.choice("method", METHODS, findings);
        if let Some(value) = table.value("ping") {
            draft.ping = ping(value, findings);
            // Whoever writes `ping` asks for targets.
            draft.lost.targets = draft.ping.is_empty();
        }
    }
    if let Some(table) = top.table("lease", known::LEASE, findings) {
        let choices = [("kernel", Enforcement::Kernel), ("daemon", Enforcement::Daemon)];
        if let Some(choice) = table.choice("enforce", &choices, findings) {
            draft.lease = choice.value;
        }
    }
    if let Some(table) = top.table("watchdog", known::WATCHDOG, findings) {
        draft.watchdog = watchdog(&table, findings);
    }
    for (name, table) in top.named_tables("fence", known::FENCE, findings) {
        draft.fences.extend(fence(name, &table, findings));
    }
    if let Some(table) = top.table("voters", known::VOTERS, findings) {
        draft.voters_before = Some(DraftVoters {
            place: table.place,
            nodes: nodes(&table, "before", findings),
            method: table
                .choice("before-tiebreak", METHODS, findings)
                .map_or(TiebreakMethod::Evidence, |method| method.value),
        });
    }
}

/// Names of nodes, lower case.
pub(super) fn nodes(table: &Table<'_>, key: &str, findings: &mut Findings) -> Vec<Name> {
    table.texts(key, findings).into_iter().map(|name| name.map(|name| name.to_lowercase())).collect()
}

/// `["a", "b"]`, each for itself, or `[["a", "b"], ["c"]]`, where one answer of a group is enough.
fn ping(value: Value<'_>, findings: &mut Findings) -> Vec<Vec<Placed<IpAddr>>> {
    let Some(list) = value.list() else {
        return one_group(value, findings).into_iter().collect();
    };
    list.into_iter().filter_map(|group| one_group(group, findings)).collect()
}

fn one_group(value: Value<'_>, findings: &mut Findings) -> Option<Vec<Placed<IpAddr>>> {
    let texts = value.texts("`ping`", findings);
    let group: Vec<_> = texts.iter().filter_map(|text| address(text, findings)).collect();
    (!group.is_empty()).then_some(group)
}

fn watchdog(table: &Table<'_>, findings: &mut Findings) -> Option<DraftWatchdog> {
    let timeout = table.span("timeout", findings);
    if table.value("device").is_none() {
        findings.push(
            Diagnostic::mistake(table.place, "[watchdog] names no device")
                .label("which one?")
                .help("add device = \"/dev/watchdog\""),
        );
    }
    Some(DraftWatchdog { device: absolute_path(table, "device", findings)?, timeout })
}

fn fence(name: Name, table: &Table<'_>, findings: &mut Findings) -> Option<DraftFence> {
    let params = table.params("params", findings);
    let nodes = nodes(table, "nodes", findings);
    let delay = table.span("delay", findings).map_or(Span::ZERO, |delay| delay.value);
    if table.value("agent").is_none() {
        findings.push(
            Diagnostic::mistake(table.place, format!("{} has no agent", table.name))
                .label("what switches a node off?")
                .help("add agent = \"fence_ipmilan\", or another that `systole agent list` shows"),
        );
    }
    Some(DraftFence { name, agent: table.text("agent", findings)?, params, nodes, delay })
}
