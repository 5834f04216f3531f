//! What operators want of servers. These orders spread with the beats as all others do, but there can be any number of
//! servers, and an order that is taken back must not be remembered for ever: so a node keeps what holds, and how much it
//! has heard of. What somebody lacks and has heard of was taken back.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::{Beat, ServerOrder, ServerOrders, ServerWish};
use crate::types::{Incarnation, NodeId, ServersId};

use super::{Core, Effects, Event, ServersRefusedReason};

/// A beat has room for twice as many: two halves of a cluster can give them that do not hear each other.
pub const MOST_SERVER_ORDERS: usize = 64;

/// So many nodes may give such orders, for the same reason.
const MOST_GIVERS: usize = 24;

/// The orders of two lives of a node that remembers nothing of the first are told apart: no life gives so many.
const OF_A_LIFE: u32 = 20;

impl ServerOrders {
    /// An order for these servers is given.
    fn give(&mut self, servers: &[ServersId], wish: ServerWish, by: NodeId, life: Incarnation) {
        let last = self.given.entry(by).or_default();
        *last = (*last + 1).max(life.0 << OF_A_LIFE);
        let order = ServerOrder { by, number: *last, wish };
        self.hold.extend(servers.iter().map(|servers| (*servers, order)));
    }

    /// Whether this order was heard of: it holds, or was taken back or replaced.
    fn knows(&self, order: &ServerOrder) -> bool {
        self.given.get(&order.by).is_some_and(|last| *last >= order.number)
    }

    /// Whatever is known there is known here, too, now. Of two orders for one server, neither of which was given by
    /// somebody who knew of the other, the greater one holds.
    fn learn(&mut self, other: &Self) {
        let news: Vec<_> = other.hold.iter().filter(|(_, order)| !self.knows(order)).collect();
        self.hold.retain(|server, order| !other.knows(order) || other.hold.get(server) == Some(order));
        for (server, order) in news {
            let here = self.hold.entry(*server).or_insert(*order);
            *here = (*here).max(*order);
        }
        for (node, last) in &other.given {
            let here = self.given.entry(*node).or_default();
            *here = (*here).max(*last);
        }
    }

    /// What is wanted of each server of which something is.
    pub fn wishes(&self) -> BTreeMap<ServersId, ServerWish> {
        self.hold.iter().map(|(server, order)| (*server, order.wish)).collect()
    }
}

impl Core {
    /// What operators want of servers. Whenever it changes, an [`Event::ServersOrdered`] is told.
    pub fn server_wishes(&self) -> BTreeMap<ServersId, ServerWish> {
        self.server_orders.wishes()
    }

    /// An operator asks.
    pub(super) fn order_servers(&mut self, servers: &[ServersId], wish: ServerWish, fx: &mut Effects) {
        if let Some(servers) = servers.first().copied().filter(|_| !self.has_room_for(servers)) {
            return self.tell(fx, Event::ServersRefused { servers, because: ServersRefusedReason::TooMany });
        }
        let before = self.server_orders.wishes();
        self.server_orders.give(servers, wish, self.me, self.incarnation);
        self.note_server_orders(&before, fx);
    }

    /// An operator takes back what he ordered. What was ordered for more servers stays, and where nothing else was, he is
    /// told.
    pub(super) fn take_back(&mut self, servers: &[ServersId], wider: &[ServersId], fx: &mut Effects) {
        let holds = |one: &&ServersId| self.server_orders.hold.contains_key(one);
        if let (None, Some(servers)) = (servers.iter().find(holds), wider.iter().find(holds).copied()) {
            return self.tell(fx, Event::ServersRefused { servers, because: ServersRefusedReason::ForMore });
        }
        let before = self.server_orders.wishes();
        self.server_orders.hold.retain(|one, _| !servers.contains(one));
        self.note_server_orders(&before, fx);
    }

    /// Whether there is room for one more order for each of these. Those for what is configured no more make room.
    fn has_room_for(&mut self, servers: &[ServersId]) -> bool {
        let has_room = |orders: &ServerOrders| {
            let more = servers.iter().filter(|one| !orders.hold.contains_key(one)).count();
            orders.hold.len() + more <= MOST_SERVER_ORDERS
        };
        if !has_room(&self.server_orders) {
            let named: BTreeSet<ServersId> = self.config.named_servers().collect();
            self.server_orders.hold.retain(|servers, _| named.contains(servers));
        }
        let givers = &self.server_orders.given;
        has_room(&self.server_orders) && (givers.contains_key(&self.me) || givers.len() < MOST_GIVERS)
    }

    pub(super) fn learn_server_orders(&mut self, beat: &Beat, fx: &mut Effects) {
        let told = &beat.facts.servers;
        if *told == self.server_orders {
            return;
        }
        let before = self.server_orders.wishes();
        self.server_orders.learn(told);
        self.note_server_orders(&before, fx);
    }

    fn note_server_orders(&mut self, before: &BTreeMap<ServersId, ServerWish>, fx: &mut Effects) {
        self.touched = true;
        self.changed = true;
        let now = self.server_orders.wishes();
        let all: BTreeSet<ServersId> = before.keys().chain(now.keys()).copied().collect();
        for servers in all.into_iter().filter(|servers| before.get(servers) != now.get(servers)) {
            self.tell(fx, Event::ServersOrdered { servers, wish: now.get(&servers).copied() });
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

    #[test]
    fn what_is_taken_back_is_forgotten_by_all() {
        let mut nodes = [(); 3].map(|()| ServerOrders::default());
        for round in 0..1_000 {
            nodes[0].give(&[server(round)], DRAIN, NODES[0], LIFE);
            let first = nodes[0].clone();
            nodes[1].learn(&first);
            nodes[1].hold.clear();
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
        here.give(&[server(1), server(2)], DRAIN, NODES[0], LIFE);
        let mut away = here.clone();
        here.hold.remove(&server(1));
        here.give(&[server(2)], ServerWish::Weight(7), NODES[0], LIFE);
        let wanted = BTreeMap::from([(server(2), ServerWish::Weight(7))]);
        here.learn(&away);
        assert_eq!(here.wishes(), wanted);
        away.learn(&here);
        assert_eq!(away, here);
    }

    #[test]
    fn a_node_that_has_forgotten_what_it_gave_can_still_order() {
        let mut others = ServerOrders::default();
        for number in 0..100 {
            others.give(&[server(number)], DRAIN, NODES[0], LIFE);
        }
        others.hold.clear();
        let mut anew = ServerOrders::default();
        anew.give(&[server(5)], DRAIN, NODES[0], Incarnation(LIFE.0 + 1));
        others.learn(&anew);
        assert_eq!(others.wishes(), BTreeMap::from([(server(5), ServerWish::Drain)]));
    }

    #[test]
    fn all_that_have_heard_of_each_other_want_the_same_in_whatever_order_they_heard() {
        for seed in 0..2_000 {
            let mut rng = Rng::new(seed);
            let mut nodes = [(); 3].map(|()| ServerOrders::default());
            for _ in 0..rng.below(40) {
                let one = usize::try_from(rng.below(3)).unwrap();
                if rng.chance(500) {
                    let servers: Vec<ServersId> = (0..=rng.below(2)).map(|_| server(rng.below(4))).collect();
                    let node = &mut nodes[one];
                    match rng.below(3) {
                        0 => node.hold.retain(|one, _| !servers.contains(one)),
                        1 => node.give(&servers, DRAIN, NODES[one], LIFE),
                        _ => node.give(
                            &servers,
                            ServerWish::Weight(u16::try_from(rng.below(3)).unwrap()),
                            NODES[one],
                            LIFE,
                        ),
                    }
                } else {
                    let other = nodes[usize::try_from(rng.below(3)).unwrap()].clone();
                    nodes[one].learn(&other);
                }
            }
            let (mut forth, mut back) = (nodes[0].clone(), nodes[2].clone());
            forth.learn(&nodes[1]);
            forth.learn(&nodes[2]);
            back.learn(&nodes[1]);
            back.learn(&nodes[0]);
            forth.learn(&back.clone());
            back.learn(&forth.clone());
            assert_eq!(forth, back, "seed {seed}");
            let again = forth.clone();
            nodes.iter().for_each(|node| forth.learn(node));
            assert_eq!(forth, again, "seed {seed}: what is known already is no news");
        }
    }
}
