//! A node that finds clearly more of the servers behind a group not well than another one does yields it to that one.
//!
//! What is compared was damped where it was found out: a holder is taken at its best of a while just past, and everybody
//! else at his worst. So two nodes that find out the same one after the other move nothing, a node that has just come is
//! waited for, and one whose view comes and goes gets nothing.

use std::collections::BTreeSet;

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

    /// This node finds so much of a group's servers not well.
    pub(in crate::cluster) fn find(&mut self, group: GroupId, shortfall: Shortfall) {
        if shortfall == Shortfall::NONE || !self.config.groups.contains_key(&group) {
            self.shortfall.remove(&group);
        } else {
            self.shortfall.insert(group, shortfall);
        }
    }

    /// The groups of which some node finds servers not well: mostly none, and then nothing has to be compared.
    pub(super) fn wanting(&self) -> BTreeSet<GroupId> {
        let beats = self.peers.values().filter_map(|peer| peer.live_beat());
        let of_peers = beats.flat_map(|beat| beat.facts.shortfall.keys());
        of_peers.chain(self.shortfall.keys()).copied().collect()
    }
}

/// A node that is passed over, and how much it finds not well.
#[derive(Clone, Copy)]
pub(super) struct Worse(NodeId, u8);

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
        let of = |node: NodeId| self.core.shortfall_of(id, node);
        let is_damped = !self.core.mutation.is(Mutant::YieldsUndamped);
        let lacks =
            |node: NodeId| if is_damped && Some(node) == holder { of(node).least } else { of(node).most };
        let best = able.iter().map(|node| of(*node).most).min()?;
        let (stay, worse): (Vec<_>, Vec<_>) =
            able.iter().copied().partition(|node| lacks(*node) < best.saturating_add(CLEARLY));
        *able = stay;
        let told = holder.filter(|holder| worse.contains(holder)).or(worse.first().copied())?;
        Some(Worse(told, lacks(told)))
    }

    /// Why the plan is so, where one was passed over that it would have chosen.
    pub(super) fn because_of(&self, id: GroupId, plan: Plan, worse: Option<Worse>) -> Plan {
        let Some((Worse(passed, percent), owner)) = worse.zip(plan.owner) else { return plan };
        let was_holder = self.holders.get(&id) == Some(&passed);
        if plan.because == Reason::Stays || !(was_holder || self.key(id, passed) < self.key(id, owner)) {
            return plan;
        }
        Plan { because: Reason::NextInOrder { passed, because: Unable::Shortfall(percent) }, ..plan }
    }
}
