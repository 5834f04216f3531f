//! Whether the plug of this node may be pulled: whether every group that is served now would be served again after a
//! takeover, by what this node knows. In doubt it says no; it is a forecast, and nothing rests on it but an operator's hand.

use std::collections::BTreeMap;

use crate::cluster::{Liveness, Reason, Unable};
use crate::config::{Promise, TiebreakMethod};
use crate::types::{GroupId, NodeId};

use super::desk::Snapshot;
use super::shape::Pull;
use super::words::Words;

/// What speaks against it, or who takes what.
pub(super) fn verdict(snapshot: &Snapshot) -> Pull {
    let words = Words::new(&snapshot.config);
    let me = words.node(snapshot.view.node);
    let against =
        too_early(snapshot).or_else(|| votes_short(snapshot)).or_else(|| nobody_takes(snapshot, &words));
    match against {
        Some(why) => Pull { safe: false, text: format!("{me} must not be pulled: {why}") },
        None => Pull { safe: true, text: format!("{me} may be pulled: {}", takers(snapshot, &words)) },
    }
}

fn too_early(snapshot: &Snapshot) -> Option<String> {
    if snapshot.config.nodes.len() < 2 {
        return Some("there is no other node".to_owned());
    }
    snapshot
        .view
        .flags
        .starting
        .then(|| "it has just started, and does not know yet who else is up".to_owned())
}

/// Groups that stop without a majority, or are not taken without one.
fn votes_short(snapshot: &Snapshot) -> Option<String> {
    let config = &snapshot.config;
    let needs_votes = config.groups.values().any(|group| group.promise == Promise::AtMostOne);
    let is_left = |node: &NodeId| {
        *node != snapshot.view.node
            && snapshot.view.peers.get(node).is_some_and(|peer| peer.liveness == Liveness::Up)
    };
    let voters = config.nodes.len();
    let left = config.nodes.keys().filter(|node| is_left(node)).count();
    if left == 0 {
        return Some("no other node is up".to_owned());
    }
    if !needs_votes {
        return None;
    }
    if let Some(before) = &config.voters_before {
        let left_before = before.nodes.iter().filter(|node| is_left(node)).count();
        let both = left * 2 > voters && left_before * 2 > before.nodes.len();
        return (!both).then(|| {
            "the voters are being changed, and without it one of the two sets has no majority".to_owned()
        });
    }
    if left * 2 > voters {
        return None;
    }
    let ties = left * 2 == voters && voters == 2;
    match config.tiebreak.method {
        TiebreakMethod::Evidence | TiebreakMethod::Fence if ties => None,
        TiebreakMethod::None if ties => {
            Some("the pair has no tie-break, so the other alone keeps and takes nothing".to_owned())
        }
        TiebreakMethod::Evidence | TiebreakMethod::Fence | TiebreakMethod::None => {
            Some(format!("without it only {left} of {voters} voters are up, which is no majority"))
        }
    }
}

fn nobody_takes(snapshot: &Snapshot, words: &Words<'_>) -> Option<String> {
    let left_alone = |group: &GroupId| {
        snapshot.view.maintenance || snapshot.view.groups.get(group).is_some_and(|group| group.maintenance)
    };
    if let Some(first) = held_here(snapshot).find(left_alone) {
        return Some(format!("it holds {}, and nothing moves it during maintenance", words.group(first)));
    }
    let (first, _) = untaken(snapshot).next()?;
    let name = words.whole_group(first);
    // One reason for each node: instances differ in little but in when they failed.
    let mut reasons: BTreeMap<NodeId, String> = BTreeMap::new();
    let mut left = 0;
    for (group, because) in untaken(snapshot).filter(|(group, _)| words.whole_group(*group) == name) {
        left += 1;
        for (node, reason) in why_not(snapshot, words, group, because) {
            reasons.entry(node).or_insert(reason);
        }
    }
    let held = held_here(snapshot).filter(|group| words.whole_group(*group) == name).count();
    let nodes = snapshot.abilities.get(&first).into_iter().flat_map(|ability| &ability.nodes);
    let mut reasons: Vec<String> = nodes.filter_map(|(node, _)| reasons.remove(node)).collect();
    reasons.dedup();
    let reasons = reasons.join("; ");
    Some(match left {
        _ if reasons.is_empty() => format!("no other node may own {name}"),
        1 => format!("no other node can take {}: {reasons}", words.group(first)),
        left => {
            format!("there is no node for {left} of the {held} instances of {name} that it holds: {reasons}")
        }
    })
}

/// What nobody would have, and why.
fn untaken(snapshot: &Snapshot) -> impl Iterator<Item = (GroupId, Reason)> + '_ {
    snapshot.takeovers.iter().filter_map(|(group, taken)| Some((*group, taken.err()?)))
}

/// Of each other node that may own a group, why it would not have it.
fn why_not(snapshot: &Snapshot, words: &Words<'_>, group: GroupId, because: Reason) -> Vec<(NodeId, String)> {
    let nodes = snapshot.abilities.get(&group).map(|ability| ability.nodes.as_slice()).unwrap_or_default();
    let leader = snapshot.config.groups.get(&group).and_then(|group| group.with);
    let of_able = |node: NodeId| match (leader, because) {
        (Some(leader), _) => words.reason(Reason::With(leader)),
        (None, Reason::NobodyFit { because: Unable::Full, .. }) => {
            format!("{} would have as many instances as it may have", words.node(node))
        }
        (None, Reason::NobodyFit { because, .. }) => words.unable(node, because),
        (None, because) => words.reason(because),
    };
    let others = nodes.iter().filter(|(node, _)| *node != snapshot.view.node);
    let reason = |node: NodeId, why: Option<Unable>| match (why, snapshot.view.peers.get(&node)) {
        (Some(why), _) => words.unable(node, why),
        (None, Some(peer)) if peer.liveness != Liveness::Up => format!("{} is late", words.node(node)),
        (None, Some(peer)) if peer.flags.hold_off => format!("{} grants nothing yet", words.node(node)),
        (None, Some(_) | None) => of_able(node),
    };
    others.map(|(node, why)| (*node, reason(*node, *why))).collect()
}

fn takers(snapshot: &Snapshot, words: &Words<'_>) -> String {
    let mut by_taker: BTreeMap<String, Taken> = BTreeMap::new();
    for (group, taken) in &snapshot.takeovers {
        let Ok(node) = taken else { continue };
        let by_taker = by_taker.entry(words.node(*node)).or_default();
        let name = words.group(*group);
        if snapshot.config.groups.get(group).is_some_and(|group| group.clone_of.is_some()) {
            by_taker.instances.entry(words.whole_group(*group)).or_default().push(name);
        } else {
            by_taker.groups.push(name);
        }
    }
    if by_taker.is_empty() {
        return "it holds no group".to_owned();
    }
    let say = |(node, taken): (String, Taken)| format!("{node} is up and able to take {}", taken.listed());
    by_taker.into_iter().map(say).collect::<Vec<_>>().join("; ")
}

/// What one node would take.
#[derive(Default)]
struct Taken {
    groups: Vec<String>,
    /// By the cloned group.
    instances: BTreeMap<String, Vec<String>>,
}

impl Taken {
    /// Of a cloned group it does not matter which instances they are.
    fn listed(mut self) -> String {
        for (of, mut instances) in self.instances {
            match instances.len() {
                1 => self.groups.append(&mut instances),
                number => self.groups.push(format!("{number} instances of {of}")),
            }
        }
        self.groups.sort();
        listed(&self.groups)
    }
}

/// So many names stand in one line; the rest is counted.
const NAMED: usize = 5;

fn listed(names: &[String]) -> String {
    match names.get(..NAMED) {
        Some(first) if names.len() > NAMED => {
            format!("{} and {} more", first.join(", "), names.len() - NAMED)
        }
        Some(_) | None => names.join(", "),
    }
}

fn held_here(snapshot: &Snapshot) -> impl Iterator<Item = GroupId> + '_ {
    let view = &snapshot.view;
    view.groups.iter().filter(|(_, group)| group.holder == Some(view.node)).map(|(id, _)| *id)
}
