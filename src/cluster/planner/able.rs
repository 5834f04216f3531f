//! Who could serve each group now, and who could not and why: for the status. And for whoever asks what a pulled plug
//! would do, who would have what this node has. It only reads what the planner goes by, and decides nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Group, Promise};
use crate::types::{GroupId, NodeId};

use super::super::{Core, Liveness, Reason, Unable};

/// A group, by what the planner goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// Everything of it runs, somewhere.
    pub served: bool,
    /// The nodes that may own it by the configuration, in the order of preference; and why one can't now.
    pub nodes: Vec<(NodeId, Option<Unable>)>,
}

impl Core {
    /// Of every group of the configuration.
    pub fn abilities(&self) -> BTreeMap<GroupId, Ability> {
        let base: BTreeMap<NodeId, Result<(), Unable>> =
            self.owners.iter().map(|node| (*node, self.base_ability(*node))).collect();
        let (groups, wanting) = (self.config.groups.iter(), self.wanting());
        let of = |id: GroupId, group: &Group| {
            let mut ability = self.ability_of(id, group, &base);
            if wanting.contains(&id) && !self.is_led(id) {
                self.note_worse(id, &mut ability);
            }
            ability
        };
        groups.map(|(id, group)| (*id, of(*id, group))).collect()
    }

    /// Of each group that this node holds: who would have it if this node were gone, or why nobody would. It is the plan of
    /// those that are up, made of what this node knows of them; who is late or grants nothing yet counts as gone as well.
    pub fn takeovers(&self) -> BTreeMap<GroupId, Result<NodeId, Reason>> {
        let groups = self.config.groups.keys().copied();
        let held: Vec<GroupId> = groups.filter(|group| self.holder(*group) == Some(self.me)).collect();
        if held.is_empty() {
            return BTreeMap::new();
        }
        let base =
            |node: NodeId| if self.counts_on(node) { self.base_ability(node) } else { Err(Unable::Down) };
        let nodes = self.owners.iter().map(|node| (*node, base(*node))).collect();
        let mut holders = self.holders();
        holders.retain(|_, holder| *holder != self.me);
        let plans = self.draft_among(nodes, holders);
        let taken = |group: GroupId| plans.get(&group).map(|plan| (group, plan.owner.ok_or(plan.because)));
        held.into_iter().filter_map(taken).collect()
    }

    /// Whether a peer is there without any doubt.
    fn counts_on(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.liveness == Liveness::Up && !peer.flags().hold_off)
    }

    fn ability_of(&self, id: GroupId, group: &Group, base: &BTreeMap<NodeId, Result<(), Unable>>) -> Ability {
        let mut owners: Vec<NodeId> =
            self.owners.iter().copied().filter(|node| self.may_own(group, *node)).collect();
        owners.sort_by_key(|node| self.rank(id, *node));
        let why = |node: NodeId| match base.get(&node) {
            None => Some(Unable::NotAllowed),
            Some(Err(Unable::NoMajority)) if group.promise == Promise::AtLeastOne => {
                self.ability(id, group, node).err()
            }
            Some(Err(why)) => Some(*why),
            Some(Ok(())) => self.ability(id, group, node).err(),
        };
        let avoided = self.orders.avoided(id);
        let nodes = owners.into_iter().map(|node| {
            let avoided = (avoided == Some(node)).then_some(Unable::Avoided);
            (node, why(node).or(avoided))
        });
        Ability { served: self.is_served(id), nodes: nodes.collect() }
    }

    /// Others are chosen before a node that could, but finds its servers not well.
    fn note_worse(&self, id: GroupId, ability: &mut Ability) {
        let able = ability.nodes.iter().filter(|(_, why)| why.is_none()).map(|(node, _)| *node);
        let worse = self.worse(id, self.holder(id), &able.collect::<Vec<_>>());
        for (node, why) in &mut ability.nodes {
            *why = why.or(worse.get(node).copied());
        }
    }
}
