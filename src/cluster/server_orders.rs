//! What operators want of servers. These orders spread with the beats as all others do, but there can be any number of
//! servers, and an order that is taken back must not be remembered for ever: so a node keeps what holds, and how much it
//! has heard of. What somebody lacks and has heard of was taken back. Orders that were given where nobody knew of the
//! others stand side by side until one is given by somebody who knows them; meanwhile the greatest holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::{Beat, ServerOrder, ServerOrders, ServerWish};
use crate::types::{Incarnation, NodeId, ServersId};

use super::{Core, Effects, Event, ServersRefusedReason};

/// What an operator may order at a time.
pub const MOST_SERVER_ORDERS: usize = 64;

/// What a beat has room for (`wire::limits`). Parts of a cluster that do not hear each other can have more together: then
/// the oldest go, for a beat that cannot be sent would cost more.
const MOST_HELD: usize = 128;
const MOST_GIVERS: usize = 48;

/// The orders of two lives of a node that remembers nothing of the first are told apart: no life gives so many.
const OF_A_LIFE: u32 = 20;

impl ServerOrders {
    /// An order for these servers is given. It is greater than all that is known.
    fn give(&mut self, servers: ServersId, wish: ServerWish, by: NodeId, life: Incarnation) {
        let last = self.given.values().max().copied().unwrap_or_default();
        let number = (last + 1).max(life.0 << OF_A_LIFE);
        self.given.insert(by, number);
        self.free(&[servers]);
        self.hold.insert((servers, ServerOrder { by, number, wish }));
        self.bound();
    }

    fn free(&mut self, servers: &[ServersId]) {
        self.hold.retain(|(one, _)| !servers.contains(one));
    }

    /// Whether this order was heard of: it holds, or was taken back or replaced.
    fn knows(&self, order: &ServerOrder) -> bool {
        self.given.get(&order.by).is_some_and(|last| *last >= order.number)
    }

    /// Whatever is known there is known here, too, now.
    fn learn(&mut self, other: &Self) {
        let news: Vec<_> = other.hold.iter().filter(|(_, order)| !self.knows(order)).copied().collect();
        self.hold.retain(|one| !other.knows(&one.1) || other.hold.contains(one));
        self.hold.extend(news);
        for (node, last) in &other.given {
            let here = self.given.entry(*node).or_default();
            *here = (*here).max(*last);
        }
        self.bound();
    }

    fn bound(&mut self) {
        while self.hold.len() > MOST_HELD {
            let oldest = self.hold.iter().min_by_key(|(_, order)| *order).copied();
            self.hold.retain(|one| Some(*one) != oldest);
        }
        while self.given.len() > MOST_GIVERS {
            let gives = |node: &NodeId| self.hold.iter().any(|(_, order)| order.by == *node);
            let idle =
                self.given.iter().min_by_key(|(node, last)| (gives(node), **last)).map(|(node, _)| *node);
            self.given.retain(|node, _| Some(*node) != idle);
        }
    }

    /// The order that holds for each of those for whom there is one.
    pub fn orders(&self) -> BTreeMap<ServersId, ServerOrder> {
        let mut all: BTreeMap<ServersId, ServerOrder> = BTreeMap::new();
        for (servers, order) in &self.hold {
            let held = all.entry(*servers).or_insert(*order);
            *held = (*held).max(*order);
        }
        all
    }
}

impl Core {
    /// What operators want of servers. Whenever it changes, an [`Event::ServersOrdered`] is told.
    pub fn server_orders(&self) -> BTreeMap<ServersId, ServerOrder> {
        self.server_orders.orders()
    }

    /// An operator asks.
    pub(super) fn order_servers(&mut self, servers: ServersId, wish: ServerWish, fx: &mut Effects) {
        if self.refuses_at_start(servers, fx) {
            return;
        }
        let mut orders = self.server_orders.clone();
        orders.give(servers, wish, self.me, self.incarnation);
        if orders.orders().len() > MOST_SERVER_ORDERS {
            // Those for what is configured no more make room.
            let named: BTreeSet<ServersId> = self.config.named_servers().collect();
            orders.hold.retain(|(one, _)| named.contains(one));
        }
        if orders.orders().len() > MOST_SERVER_ORDERS {
            return self.tell(fx, Event::ServersRefused { servers, because: ServersRefusedReason::TooMany });
        }
        self.take_server_orders(orders, fx);
    }

    /// An operator takes back what he ordered. What was ordered for more servers stays, and he is told.
    pub(super) fn free_servers(&mut self, servers: &[ServersId], wider: &[ServersId], fx: &mut Effects) {
        let Some(first) = servers.first() else { return };
        if self.refuses_at_start(*first, fx) {
            return;
        }
        let mut orders = self.server_orders.clone();
        orders.free(servers);
        self.take_server_orders(orders, fx);
        let hold = self.server_orders.orders();
        if let Some(servers) = wider.iter().find(|one| hold.contains_key(one)).copied() {
            self.tell(fx, Event::ServersRefused { servers, because: ServersRefusedReason::ForMore });
        }
    }

    /// Others may know orders that this node has not heard of yet: one that it gives would not replace them.
    fn refuses_at_start(&mut self, servers: ServersId, fx: &mut Effects) -> bool {
        if self.starting {
            self.tell(fx, Event::ServersRefused { servers, because: ServersRefusedReason::Starting });
        }
        self.starting
    }

    pub(super) fn learn_server_orders(&mut self, beat: &Beat, fx: &mut Effects) {
        if beat.facts.servers != self.server_orders {
            let mut orders = self.server_orders.clone();
            orders.learn(&beat.facts.servers);
            self.take_server_orders(orders, fx);
        }
    }

    fn take_server_orders(&mut self, orders: ServerOrders, fx: &mut Effects) {
        if orders == self.server_orders {
            return;
        }
        self.touched = true;
        self.changed = true;
        let before = std::mem::replace(&mut self.server_orders, orders).orders();
        let now = self.server_orders.orders();
        let all: BTreeSet<ServersId> = before.keys().chain(now.keys()).copied().collect();
        for servers in all.into_iter().filter(|servers| before.get(servers) != now.get(servers)) {
            let wish = now.get(&servers).map(|order| order.wish);
            self.tell(fx, Event::ServersOrdered { servers, wish });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
    const LIFE: Incarnation = Incarnation(7);
    const DRAIN: ServerWish = ServerWish::Drain;

    fn server(number: u64) -> ServersId {
        ServersId(number)
    }

    fn wishes(orders: &ServerOrders) -> Vec<(u64, ServerWish)> {
        orders.orders().into_iter().map(|(servers, order)| (servers.0, order.wish)).collect()
    }

    #[test]
    fn what_is_taken_back_is_forgotten_by_all() {
        let mut nodes = [(); 3].map(|()| ServerOrders::default());
        for round in 0..1_000 {
            nodes[0].give(server(round), DRAIN, NODES[0], LIFE);
            let first = nodes[0].clone();
            nodes[1].learn(&first);
            nodes[1].free(&[server(round)]);
            let [one, two, three] = nodes.each_mut();
            three.learn(one);
            three.learn(two);
            one.learn(three);
            assert_eq!((one.hold.len(), one.given.len()), (0, 1), "{round}");
            assert_eq!((&*one, &*two), (&*two, &*three));
        }
    }

    #[test]
    fn whoever_comes_back_with_an_old_order_does_not_give_it_again() {
        let mut here = ServerOrders::default();
        here.give(server(1), DRAIN, NODES[0], LIFE);
        here.give(server(2), DRAIN, NODES[0], LIFE);
        let mut away = here.clone();
        here.free(&[server(1)]);
        here.give(server(2), ServerWish::Weight(7), NODES[0], LIFE);
        here.learn(&away);
        assert_eq!(wishes(&here), [(2, ServerWish::Weight(7))]);
        away.learn(&here);
        assert_eq!(away, here);
    }

    #[test]
    fn a_node_that_has_forgotten_what_it_gave_can_still_order() {
        let mut others = ServerOrders::default();
        for number in 0..100 {
            others.give(server(number), DRAIN, NODES[0], LIFE);
        }
        others.free(&(0..100).map(server).collect::<Vec<_>>());
        let mut anew = ServerOrders::default();
        anew.give(server(5), DRAIN, NODES[0], Incarnation(LIFE.0 + 1));
        others.learn(&anew);
        assert_eq!(wishes(&others), [(5, DRAIN)]);
    }

    #[test]
    fn of_orders_for_one_server_that_nobody_knew_of_none_is_lost_before_the_last() {
        let [mut one, mut two, mut three] = [(); 3].map(|()| ServerOrders::default());
        for number in 0..4 {
            one.give(server(number), DRAIN, NODES[0], LIFE);
        }
        two.give(server(0), ServerWish::Weight(3), NODES[1], LIFE);
        // It knows of the first one's only.
        three.learn(&one);
        three.give(server(0), ServerWish::Weight(5), NODES[2], Incarnation(0));
        one.learn(&two);
        one.learn(&three);
        two.learn(&three);
        two.learn(&one);
        one.learn(&two.clone());
        assert_eq!((one.orders(), wishes(&one)[0]), (two.orders(), (0, ServerWish::Weight(5))));
    }

    #[test]
    fn what_no_beat_has_room_for_is_the_oldest() {
        let mut all = ServerOrders::default();
        for part in 0..60 {
            let mut orders = ServerOrders::default();
            for number in 0..10 {
                orders.give(
                    server(part * 10 + number),
                    DRAIN,
                    NodeId(u32::try_from(part).unwrap()),
                    Incarnation(part),
                );
            }
            all.learn(&orders);
        }
        assert_eq!((all.hold.len(), all.given.len()), (MOST_HELD, MOST_GIVERS));
        assert!(all.orders().contains_key(&server(599)) && !all.orders().contains_key(&server(0)));
        let again = all.clone();
        all.learn(&again);
        assert_eq!(all, again);
    }

    #[test]
    fn all_that_have_heard_of_each_other_want_the_same_in_whatever_order_they_heard() {
        for seed in 0..5_000 {
            let mut rng = Rng::new(seed);
            let mut nodes = [(); 3].map(|()| ServerOrders::default());
            let frees = rng.chance(500);
            let mut ordered = BTreeSet::new();
            for _ in 0..rng.below(40) {
                let one = usize::try_from(rng.below(3)).unwrap();
                let servers = server(rng.below(4));
                let weight = ServerWish::Weight(u16::try_from(rng.below(3)).unwrap());
                match rng.below(4) {
                    0 if frees => nodes[one].free(&[servers]),
                    0 | 1 => {
                        ordered.insert(servers);
                        nodes[one].give(servers, weight, NODES[one], LIFE);
                    }
                    _ => {
                        let other = nodes[usize::try_from(rng.below(3)).unwrap()].clone();
                        nodes[one].learn(&other);
                    }
                }
            }
            let (mut forth, mut back) = (nodes[0].clone(), nodes[2].clone());
            forth.learn(&nodes[1]);
            forth.learn(&nodes[2]);
            back.learn(&nodes[1]);
            back.learn(&nodes[0]);
            assert_eq!(forth, back, "seed {seed}");
            let again = forth.clone();
            nodes.iter().for_each(|node| forth.learn(node));
            assert_eq!(forth, again, "seed {seed}: what is known already is no news");
            if !frees {
                let held: BTreeSet<ServersId> = forth.orders().into_keys().collect();
                assert_eq!(held, ordered, "seed {seed}: nobody has taken anything back");
            }
        }
    }
}
