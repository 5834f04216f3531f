//! What operators asked for. An order spreads with the beats, the greatest version wins everywhere, and it survives a
//! restart of the daemon in memory.

use std::collections::BTreeMap;

use crate::beat::{Beat, Order, Subject, Wish};
use crate::config::limits;
use crate::types::{GroupId, NodeId};

use super::{Command, Core, Effects, Event, Leave, Memory, RefusedReason, StopReason, Unable};

/// A beat has room for so many, and for those that others give at the same time.
pub const MOST_ORDERS: usize = limits::GROUPS + limits::NODES / 2;

/// The orders that are known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(pub(super) BTreeMap<Subject, Order>);

impl Orders {
    pub(super) fn new(memory: Option<&Memory>) -> Self {
        Self(memory.map(|memory| memory.orders.clone()).unwrap_or_default())
    }

    pub(super) fn all(&self) -> &BTreeMap<Subject, Order> {
        &self.0
    }

    fn wish(&self, subject: Subject) -> Wish {
        self.0.get(&subject).map_or(Wish::Nothing, |order| order.wish)
    }

    pub(super) fn standby(&self, node: NodeId) -> bool {
        self.wish(Subject::Node(node)) == Wish::Standby
    }

    /// Everything is left alone.
    pub(super) fn maintenance(&self) -> bool {
        self.wish(Subject::Cluster) == Wish::Maintenance
    }

    /// A group is left alone, by an order about it or about all.
    pub(super) fn is_left_alone(&self, group: GroupId) -> bool {
        self.maintenance() || self.is_left_alone_itself(group)
    }

    /// A group is left alone, by an order about it.
    pub(super) fn is_left_alone_itself(&self, group: GroupId) -> bool {
        self.wish(Subject::Care(group)) == Wish::Maintenance
    }

    pub(super) fn placed(&self, group: GroupId) -> Option<NodeId> {
        match self.wish(Subject::Group(group)) {
            Wish::Place(node) => Some(node),
            Wish::Nothing | Wish::Standby | Wish::Maintenance | Wish::Avoid(_) => None,
        }
    }

    pub(super) fn avoided(&self, group: GroupId) -> Option<NodeId> {
        match self.wish(Subject::Group(group)) {
            Wish::Avoid(node) => Some(node),
            Wish::Nothing | Wish::Standby | Wish::Maintenance | Wish::Place(_) => None,
        }
    }

    fn next_version(&self) -> u64 {
        1 + self.0.values().map(|order| order.version).max().unwrap_or_default()
    }
}

impl Core {
    /// An operator asks.
    pub(super) fn command(&mut self, command: Command, fx: &mut Effects) {
        match command {
            Command::Standby { node } => self.order(Subject::Node(node), Wish::Standby, fx),
            Command::Online { node } => self.order(Subject::Node(node), Wish::Nothing, fx),
            Command::Takeover { group } => self.order(Subject::Group(group), Wish::Place(self.me), fx),
            Command::Move { group, node } => self.order(Subject::Group(group), Wish::Place(node), fx),
            Command::Avoid { group, node } => self.order(Subject::Group(group), Wish::Avoid(node), fx),
            Command::Unmove { group } => self.order(Subject::Group(group), Wish::Nothing, fx),
            Command::Maintenance { on, group } => {
                let wish = if on { Wish::Maintenance } else { Wish::Nothing };
                self.order(group.map_or(Subject::Cluster, Subject::Care), wish, fx);
            }
            Command::OrderServers { servers, wish } => self.order_servers(servers, wish, fx),
            Command::FreeServers { servers, wider } => self.free_servers(&servers, &wider, fx),
            Command::Cleanup { group } => self.clean_up(group, fx),
            Command::FenceAck { node } => self.fence_acknowledged(node, fx),
            Command::Leave => {
                let since = self.now;
                self.leave.get_or_insert(Leave { since, done: None, gone: false });
            }
        }
    }

    fn order(&mut self, subject: Subject, wish: Wish, fx: &mut Effects) {
        let known = |node: NodeId| self.config.nodes.get(&node).is_some_and(|node| !node.arbiter);
        let subject_known = match subject {
            Subject::Cluster => true,
            Subject::Node(node) => known(node),
            Subject::Group(group) | Subject::Care(group) => self.config.groups.contains_key(&group),
        };
        let target_known = match wish {
            Wish::Place(node) | Wish::Avoid(node) => known(node),
            Wish::Nothing | Wish::Standby | Wish::Maintenance => true,
        };
        if !subject_known || !target_known {
            self.tell(fx, Event::Refused { subject, because: RefusedReason::Unknown });
            return;
        }
        if let (Subject::Group(id), Wish::Place(node)) = (subject, wish) {
            let allowed = self.config.groups.get(&id).is_some_and(|group| self.may_own(group, node));
            if !allowed {
                let because = RefusedReason::Unable(Unable::NotAllowed);
                return self.tell(fx, Event::Refused { subject, because });
            }
        }
        // Others may know orders that this node has not heard of yet; its own would rank below them.
        if self.starting {
            return self
                .tell(fx, Event::Refused { subject, because: RefusedReason::Unable(Unable::Starting) });
        }
        if self.orders.0.len() >= MOST_ORDERS && !self.orders.0.contains_key(&subject) {
            return self.tell(fx, Event::Refused { subject, because: RefusedReason::TooMany });
        }
        let version = self.orders.next_version();
        self.take_order(subject, Order { version, wish }, fx);
    }

    fn take_order(&mut self, subject: Subject, order: Order, fx: &mut Effects) {
        let old = self.orders.0.insert(subject, order);
        self.touched = true;
        self.changed = true;
        if old.map(|old| old.wish) != Some(order.wish) {
            self.tell(fx, Event::Ordered { subject, wish: order.wish });
        }
    }

    /// A beat may carry a newer order than is known here.
    pub(super) fn learn_orders(&mut self, beat: &Beat, fx: &mut Effects) {
        for (subject, order) in &beat.facts.orders {
            if self.orders.0.get(subject).is_none_or(|known| order > known) {
                self.take_order(*subject, *order, fx);
            }
        }
    }

    /// A group that does not go back by itself stays where it was put: the order has done its work.
    pub(super) fn fulfil_order(&mut self, group: GroupId, fx: &mut Effects) {
        let own = self.config.groups.get(&group);
        // Who keeps apart from others would go back at once.
        let stays = own.is_some_and(|group| !group.failback && group.apart.is_empty());
        let put_here = self.orders.placed(group) == Some(self.me);
        let kept_away = self.orders.avoided(group).is_some_and(|node| node != self.me);
        if stays && (put_here || kept_away) {
            self.order(Subject::Group(group), Wish::Nothing, fx);
        }
    }

    fn clean_up(&mut self, group: GroupId, fx: &mut Effects) {
        let Some(tenure) = self.groups.get_mut(&group) else {
            self.tell(fx, Event::Refused { subject: Subject::Group(group), because: RefusedReason::Unknown });
            return;
        };
        tenure.failed_at = None;
        tenure.back_off = None;
        for unit in &mut tenure.units {
            unit.restarts = 0;
            unit.unstick();
        }
        self.changed = true;
        if matches!(tenure.state, super::groups::State::Blocked { .. }) {
            self.stop(group, StopReason::Failed, None, fx);
        }
    }
}
