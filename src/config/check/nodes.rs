//! The cluster's name, its nodes and arbiters, and voters that are being changed.

use std::collections::BTreeSet;

use super::names;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftVoters, Name};
use crate::config::limits;
use crate::config::model::TiebreakMethod;
use crate::types::NodeId;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    if let Some(name) = &draft.cluster {
        names::check_name("cluster", name, findings);
    }
    for node in &draft.nodes {
        names::check_name("node", &node.name, findings);
    }
    check_ids(draft, findings);
    if let Some(node) = draft.nodes.get(limits::NODES) {
        findings.push(
            Diagnostic::mistake(node.name.place, format!("more than {} nodes", limits::NODES))
                .label("the first beyond")
                .help("make several clusters of it: each node sends its beat to each other"),
        );
    }
    check_owners(draft, findings);
    check_number(draft, findings);
    if let Some(before) = &draft.voters_before {
        check_before(draft, before, findings);
    }
}

/// The nodes' names and those of voters that are being left share one space of ids.
fn check_ids(draft: &Draft, findings: &mut Findings) {
    let now: Vec<&Name> = draft.nodes.iter().map(|node| &node.name).collect();
    let known: BTreeSet<&str> = now.iter().map(|name| name.value.as_str()).collect();
    let before = draft.voters_before.iter().flat_map(|before| &before.nodes);
    let mut left: Vec<&Name> = before.filter(|name| !known.contains(name.value.as_str())).collect();
    left.sort_by(|one, other| one.value.cmp(&other.value));
    left.dedup_by(|one, other| one.value == other.value);
    let help = "a node is named once; names are not told apart by upper and lower case";
    names::check_unique("node", now.into_iter().chain(left), |name| NodeId::of(name).0, help, findings);
}

fn check_owners(draft: &Draft, findings: &mut Findings) {
    let place = draft.nodes.first().map_or(Place::whole(0), |node| node.name.place);
    if draft.lost.nodes {
        return;
    }
    if draft.nodes.is_empty() {
        findings.push(Diagnostic::mistake(place, "the cluster has no nodes").help(draft.dialect.say(
            "add a table for each: [node.lb0] and [node.lb1], named as `uname -n` names them",
            "add a line for each: node lb0 and node lb1, named as `uname -n` names them",
        )));
    } else if draft.nodes.iter().all(|node| node.arbiter) {
        findings.push(
            Diagnostic::mistake(place, "every node is an arbiter")
                .label("owns nothing")
                .help("add the nodes that shall own the groups; an arbiter only votes"),
        );
    }
}

fn check_number(draft: &Draft, findings: &mut Findings) {
    let voters = draft.nodes.len();
    let owners = draft.nodes.iter().filter(|node| !node.arbiter).count();
    let Some(last) = draft.nodes.last() else { return };
    if voters > 2 && voters.is_multiple_of(2) {
        findings.push(
            Diagnostic::warning(last.name.place, format!("{voters} voters survive no more losses than {}", voters - 1))
                .label("makes the number even")
                .help("add or remove an arbiter: with an even number, two halves can face each other and both give up"),
        );
    }
    if voters == 2 && owners == 1 {
        findings.push(
            Diagnostic::warning(last.name.place, "a node and an arbiter are a cluster without a standby")
                .help("add a second node that can own the groups"),
        );
    }
}

fn check_before(draft: &Draft, before: &DraftVoters, findings: &mut Findings) {
    let now: BTreeSet<&str> = draft.nodes.iter().map(|node| node.name.value.as_str()).collect();
    let mut old = BTreeSet::new();
    for name in &before.nodes {
        names::check_name("node", name, findings);
        if !old.insert(name.value.as_str()) {
            findings.push(
                Diagnostic::mistake(name.place, format!("`{}` is in `before` twice", name.value))
                    .label("again")
                    .help("leave out one of the two"),
            );
        }
    }
    if before.nodes.is_empty() {
        findings.push(
            Diagnostic::mistake(before.place, "[voters] names no voters that are being left")
                .label("before = [ … ] belongs here")
                .help("list the old voters in `before`, or remove [voters] once every node has shown the new set"),
        );
        return;
    }
    let method = draft.method.as_ref().map_or(TiebreakMethod::Evidence, |method| method.value);
    if old == now && (before.method == method || now.len() != 2) {
        findings.push(
            Diagnostic::warning(before.place, "[voters] leaves the same voters that there are now")
                .label("changes nothing, and turns evidence off")
                .help("remove [voters]: it belongs in the file only while the voters change"),
        );
    } else if old.is_disjoint(&now) {
        findings.push(
            Diagnostic::mistake(before.place, "no voter is in the old set and in the new one")
                .label("nobody would know who holds what")
                .help("change the voters a few at a time, so that at least one stays"),
        );
    }
}
