//! What an operator has ordered. It outlives the director.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::At;
use crate::time::Span;

/// What an operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// It gets no new connections, and after a while none at all.
    Drain,
    /// It has this weight while it is well.
    Weight(u32),
}

/// The orders that hold, by service and server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    orders: BTreeMap<String, BTreeMap<String, Order>>,
    /// Where the kernel's balancer may have services of ours.
    #[serde(default)]
    places: BTreeSet<At>,
    /// Those that still end what they have, and since when, by service and server. Whoever is not here has ended it.
    #[serde(skip)]
    draining: BTreeMap<String, BTreeMap<String, Span>>,
}

impl Memory {
    /// Where the kernel's balancer may have services of ours.
    pub(in crate::director) fn places(&self) -> &BTreeSet<At> {
        &self.places
    }

    /// Tells whether that is news.
    pub(in crate::director) fn set_places(&mut self, places: BTreeSet<At>) -> bool {
        let before = std::mem::replace(&mut self.places, places);
        before != self.places
    }

    pub(super) fn get(&self, service: &str, server: &str) -> Option<Order> {
        self.orders.get(service)?.get(server).copied()
    }

    /// `None`: as if nothing had been ordered.
    pub(super) fn set(&mut self, service: &str, server: &str, order: Option<Order>, now: Span) {
        let had = self.get(service, server);
        let orders = self.orders.entry(service.to_owned()).or_default();
        match order {
            Some(order) => drop(orders.insert(server.to_owned(), order)),
            None => drop(orders.remove(server)),
        }
        if orders.is_empty() {
            self.orders.remove(service);
        }
        match (order, had) {
            // To order it again gives nobody more time.
            (Some(Order::Drain), Some(Order::Drain)) => {}
            (Some(Order::Drain), Some(Order::Weight(_)) | None) => {
                self.draining.entry(service.to_owned()).or_default().insert(server.to_owned(), now);
            }
            (Some(Order::Weight(_)) | None, _) => {
                self.end_drains(service, |name, _| name != server);
            }
        }
    }

    pub(super) fn is_draining(&self, service: &str, server: &str) -> bool {
        self.draining.get(service).is_some_and(|servers| servers.contains_key(server))
    }

    /// Those that do not stay have ended what they had; tells whether there were any.
    fn end_drains(&mut self, service: &str, stays: impl Fn(&str, Span) -> bool) -> bool {
        let Some(servers) = self.draining.get_mut(service) else { return false };
        let before = servers.len();
        servers.retain(|server, since| stays(server, *since));
        let left = servers.len();
        if left == 0 {
            self.draining.remove(service);
        }
        left != before
    }

    /// Forgets those whose time is over, and tells whether there were any.
    pub(super) fn ends_of_drain(&mut self, service: &str, drain: Span, now: Span) -> bool {
        self.end_drains(service, |_, since| since + drain > now)
    }

    pub(super) fn next_end_of_drain(&self, service: &str, drain: Span) -> Option<Span> {
        let since = self.draining.get(service)?.values().min()?;
        Some(*since + drain)
    }
}
