//! Whether the plug of this node may be pulled: whether every group that is served now would be served again after a
//! takeover, by what this node knows. In doubt it says no; it is a forecast, and nothing rests on it but an operator's hand.

use std::collections::BTreeMap;

use crate::cluster::Liveness;
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
    let mut held = held_here(snapshot);
    let left_alone = |group: &GroupId| {
        snapshot.view.maintenance || snapshot.view.groups.get(group).is_some_and(|group| group.maintenance)
    };
    if let Some(first) = held.clone().find(left_alone) {
        return Some(format!("it holds {}, and nothing moves it during maintenance", words.group(first)));
    }
    let group = held.find(|group| taker(snapshot, *group).is_none())?;
    let me = snapshot.view.node;
    let nodes = snapshot.abilities.get(&group).map(|ability| ability.nodes.as_slice()).unwrap_or_default();
    let reasons: Vec<String> = nodes
        .iter()
        .filter(|(node, _)| *node != me)
        .map(|(node, why)| match why {
            Some(why) => words.unable(*node, *why),
            None => format!("{} is late", words.node(*node)),
        })
        .collect();
    let group = words.group(group);
    Some(if reasons.is_empty() {
        format!("no other node may own {group}")
    } else {
        format!("no other node can take {group}: {}", reasons.join("; "))
    })
}

fn takers(snapshot: &Snapshot, words: &Words<'_>) -> String {
    let mut by_taker: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in held_here(snapshot) {
        if let Some(node) = taker(snapshot, group) {
            by_taker.entry(words.node(node)).or_default().push(words.group(group));
        }
    }
    if by_taker.is_empty() {
        return "it holds no group".to_owned();
    }
    let say = |(node, mut groups): (String, Vec<String>)| {
        groups.sort();
        format!("{node} is up and able to take {}", listed(&groups))
    };
    by_taker.into_iter().map(say).collect::<Vec<_>>().join("; ")
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

fn held_here(snapshot: &Snapshot) -> impl Iterator<Item = GroupId> + Clone + '_ {
    let view = &snapshot.view;
    view.groups.iter().filter(|(_, group)| group.holder == Some(view.node)).map(|(id, _)| *id)
}

/// The first in the order of preference that is up, not late, and able.
fn taker(snapshot: &Snapshot, group: GroupId) -> Option<NodeId> {
    let is_up = |node: &NodeId| {
        snapshot
            .view
            .peers
            .get(node)
            .is_some_and(|peer| peer.liveness == Liveness::Up && !peer.flags.hold_off)
    };
    let nodes = &snapshot.abilities.get(&group)?.nodes;
    nodes.iter().filter(|(_, why)| why.is_none()).map(|(node, _)| *node).find(is_up)
}
