//! A node that finds clearly more of the servers behind a group not well than another one does yields it to that one.
//!
//! What is compared was damped where it was found out: a holder is taken at its best of a while just past, and everybody
//! else at his worst. So two nodes that find out the same one after the other move nothing, a node that has just come is
//! waited for, and one whose view comes and goes gets nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::Shortfall;
use crate::types::{GroupId, NodeId};

use super::super::{Core, Mutant, Reason, Unable};
use super::{Draft, Plan};

/// Hundredths of the servers of a service: so many more are clearly more. Half of a pair is.
const CLEARLY: u8 = 50;

impl Core {
    fn shortfall_of(&self, group: GroupId, node: NodeId) -> Shortfall {
        let beat = self.peers.get(&node).and_then(|peer| peer.live_beat());
        let told = if node == self.me {
            self.shortfall.get(&group)
        } else {
            beat.and_then(|beat| beat.facts.shortfall.get(&group))
        };
        told.copied().unwrap_or(Shortfall::NONE)
    }

    /// Which groups have servers is configured. How those are is not known before a director tells.
    pub(in crate::cluster) fn look_for_servers(&mut self) {
        let is_owner = self.owners.contains(&self.me);
        let services = self.config.services.values().filter(|_| is_owner);
        let before = std::mem::take(&mut self.servers);
        let known = |group| (group, before.get(&group).copied().unwrap_or(Shortfall::UNKNOWN));
        self.servers = services.filter_map(|service| service.group).map(known).collect();
        self.sum_up_servers();
    }

    /// This node finds so much of a group's servers not well.
    pub(in crate::cluster) fn find(&mut self, group: GroupId, shortfall: Shortfall) {
        if let Some(before) = self.servers.get_mut(&group) {
            *before = shortfall;
            self.sum_up_servers();
        }
    }

    /// Groups that go together stand or fall with the worst of them.
    fn sum_up_servers(&mut self) {
        let mut all: BTreeMap<GroupId, Shortfall> = BTreeMap::new();
        for (group, found) in &self.servers {
            let sum = all.entry(self.leader(*group)).or_default();
            *sum = Shortfall { least: sum.least.max(found.least), most: sum.most.max(found.most) };
        }
        all.retain(|_, shortfall| *shortfall != Shortfall::NONE);
        self.shortfall = all;
    }

    /// The groups of which some node finds servers not well: mostly none, and then nothing has to be compared.
    pub(super) fn wanting(&self) -> BTreeSet<GroupId> {
        let beats = self.peers.values().filter_map(|peer| peer.live_beat());
        let of_peers = beats.flat_map(|beat| beat.facts.shortfall.keys());
        of_peers.chain(self.shortfall.keys()).copied().collect()
    }

    /// Those of these nodes that find clearly more of a group's servers not well than another one of them.
    pub(super) fn worse(
        &self,
        id: GroupId,
        holder: Option<NodeId>,
        able: &[NodeId],
    ) -> BTreeMap<NodeId, Unable> {
        let of = |node: NodeId| self.shortfall_of(id, node);
        // Where nobody holds it, nobody is waited for: who does not know is neither worse than others, nor better.
        let judged = able.iter().filter(|node| holder.is_some() || of(**node).is_known());
        let is_damped = !self.mutation.is(Mutant::YieldsUndamped);
        let lacks =
            |node: NodeId| if is_damped && Some(node) == holder { of(node).least } else { of(node).most };
        let best = judged.clone().map(|node| of(*node).most).min().unwrap_or_default();
        let worse = judged.filter(|node| lacks(**node) >= best.saturating_add(CLEARLY));
        let why = |node: NodeId| {
            if lacks(node) <= Shortfall::WHOLE {
                Unable::Shortfall(lacks(node))
            } else {
                Unable::ServersUnknown
            }
        };
        worse.map(|node| (*node, why(*node))).collect()
    }
}

/// A node that is passed over for its servers, and why.
#[derive(Clone, Copy)]
pub(super) struct Worse(NodeId, Unable);

impl Draft<'_> {
    /// Takes away the nodes that find clearly more not well than another one does. Told is the holder, if it is one of
    /// them, or the first.
    pub(super) fn leave_out_worse(
        &self,
        id: GroupId,
        holder: Option<NodeId>,
        able: &mut Vec<NodeId>,
    ) -> Option<Worse> {
        if !self.wanting.contains(&id) {
            return None;
        }
        let worse = self.core.worse(id, holder, able);
        let why = |node: NodeId| Some(Worse(node, *worse.get(&node)?));
        let told = holder.and_then(why).or_else(|| able.iter().find_map(|node| why(*node)));
        able.retain(|node| !worse.contains_key(node));
        told
    }

    /// Why the plan is so, where one was passed over that it would have chosen.
    pub(super) fn because_of(&self, id: GroupId, plan: Plan, worse: Option<Worse>) -> Plan {
        let Some((Worse(passed, because), owner)) = worse.zip(plan.owner) else { return plan };
        let was_holder = self.holders.get(&id) == Some(&passed);
        if plan.because == Reason::Stays || !(was_holder || self.key(id, passed) < self.key(id, owner)) {
            return plan;
        }
        Plan { because: Reason::NextInOrder { passed, because }, ..plan }
    }
}
