//! What a status command shows: a snapshot of the core, for people and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::beat::{Flags, Grant, Phase};
use crate::config::Resource;
use crate::time::Span;
use crate::types::{Epoch, GroupId, Incarnation, LinkId, Marks, NodeId};

use super::resources::Unit;
use super::{Action, Core, Reason, Runs};

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Who speaks.
    pub node: NodeId,
    /// Which life.
    pub incarnation: Incarnation,
    /// What it is up to.
    pub flags: Flags,
    /// Whether a majority of the voters is up here.
    pub majority: bool,
    /// Resources are left alone.
    pub maintenance: bool,
    /// Every other node of the configuration.
    pub peers: BTreeMap<NodeId, PeerView>,
    /// Every group of the configuration.
    pub groups: BTreeMap<GroupId, GroupView>,
    /// What this voter grants.
    pub grants: BTreeMap<GroupId, Grant>,
}

/// A peer as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// How alive.
    pub liveness: Liveness,
    /// Which life.
    pub incarnation: Incarnation,
    /// Since its newest beat.
    pub silent: Span,
    /// What it is up to.
    pub flags: Flags,
    /// The digest of its configuration, as its newest beat shows it.
    pub config: Option<u64>,
    /// Of what it consists, if it hears somebody with another one.
    pub marks: Option<Marks>,
    /// The links it was heard over within deadtime.
    pub links: BTreeMap<LinkId, LinkView>,
}

/// A peer over one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// Heard within deadtime.
    pub up: bool,
    /// Since it was last heard here.
    pub silent: Span,
    /// The newest round trip.
    pub round_trip: Option<Span>,
    /// Beats heard here.
    pub beats: u64,
}

/// How alive a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Liveness {
    /// Not heard since our start, and initdead is not over.
    Unknown,
    /// Heard, and hears us.
    Up,
    /// Up, but silent for warntime.
    Late,
    /// Dead to us.
    Down,
}

/// A group as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// How far this node's own claim got; `None` without one.
    pub phase: Option<Phase>,
    /// The claim's epoch.
    pub epoch: Epoch,
    /// How long this node's lease runs on.
    pub lease_left: Option<Span>,
    /// Who holds it, as far as this node knows.
    pub holder: Option<NodeId>,
    /// Who should.
    pub planned: Option<NodeId>,
    /// Why.
    pub because: Reason,
    /// It is left alone, by an order about it alone.
    pub maintenance: bool,
    /// Its resources on this node, in the order in which they start.
    pub resources: Vec<ResourceView>,
}

/// A resource on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// As it is found in its group.
    pub name: String,
    /// By whom it is run.
    pub agent: String,
    /// Whether it runs, as far as its agent has told.
    pub runs: Runs,
    /// What its agent is being asked.
    pub doing: Option<Action>,
}

impl Core {
    /// The groups that this node has won, and whose lease it has not lost.
    pub fn held(&self) -> BTreeSet<GroupId> {
        self.groups.iter().filter(|(_, tenure)| tenure.holds()).map(|(group, _)| *group).collect()
    }

    /// What this node knows and does, as of the newest step.
    pub fn view(&self) -> View {
        View {
            node: self.me,
            incarnation: self.incarnation,
            flags: self.flags(),
            majority: self.majority_up(),
            maintenance: self.orders.maintenance(),
            peers: self.peers.keys().filter_map(|node| Some((*node, self.view_peer(*node)?))).collect(),
            groups: self.groups.keys().filter_map(|group| Some((*group, self.view_group(*group)?))).collect(),
            grants: self.voter.shown().collect(),
        }
    }

    fn view_peer(&self, node: NodeId) -> Option<PeerView> {
        let peer = self.peers.get(&node)?;
        let incarnation = peer.newest().map_or(Incarnation(0), |(beat, _)| beat.incarnation);
        Some(PeerView {
            liveness: peer.liveness,
            incarnation,
            silent: peer.silent(self.now),
            flags: peer.flags(),
            config: peer.newest().map(|(beat, _)| beat.config),
            marks: peer.newest().and_then(|(beat, _)| beat.marks.clone()),
            links: peer.links(self.now),
        })
    }

    fn view_group(&self, group: GroupId) -> Option<GroupView> {
        let tenure = self.groups.get(&group)?;
        let claim = tenure.claim();
        Some(GroupView {
            phase: claim.map(|(_, phase)| phase),
            epoch: claim.map_or(Epoch(0), |(epoch, _)| epoch),
            lease_left: tenure.raised.map(|raised| raised.left(self.now)),
            holder: self.holder(group),
            planned: tenure.plan.owner,
            because: tenure.plan.because,
            maintenance: self.orders.is_left_alone_itself(group),
            resources: tenure.units.iter().zip(&tenure.group.resources).map(view_resource).collect(),
        })
    }
}

fn view_resource((unit, resource): (&Unit, &Arc<Resource>)) -> ResourceView {
    ResourceView {
        name: resource.name.clone(),
        agent: resource.agent.clone(),
        runs: unit.runs,
        doing: unit.busy.map(|(_, action)| action),
    }
}
