//! What operators have ordered of servers, and which of those that are drained still end what they have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::beat::{ServerOrder, ServerWish};
use crate::time::Span;
use crate::types::ServersId;

/// The orders that hold.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// `None`: nobody has said yet.
    hold: Option<BTreeMap<ServersId, ServerOrder>>,
    /// Since when, by service and server. Whoever is not here has ended it.
    draining: BTreeMap<String, BTreeMap<String, Span>>,
}

impl Orders {
    /// These hold from now on. Tells whether others did before.
    pub(super) fn set(&mut self, orders: BTreeMap<ServersId, ServerOrder>) -> bool {
        self.hold.replace(orders).is_some()
    }

    /// What holds for a server: of two orders the later one.
    pub(super) fn of(&self, service: &str, server: &str, address: IpAddr) -> Option<ServerWish> {
        let hold = self.hold.as_ref().filter(|hold| !hold.is_empty())?;
        let all = ServersId::all_of(service, server, address);
        all.iter().filter_map(|id| hold.get(id)).max().map(|order| order.wish)
    }

    /// A server that had this order has that one now.
    pub(super) fn change(
        &mut self,
        (service, server): (&str, &str),
        had: Option<ServerWish>,
        has: Option<ServerWish>,
        now: Span,
    ) {
        match (has, had) {
            // To order it again gives nobody more time.
            (Some(ServerWish::Drain), Some(ServerWish::Drain)) => {}
            (Some(ServerWish::Drain), Some(ServerWish::Weight(_)) | None) => {
                self.draining.entry(service.to_owned()).or_default().insert(server.to_owned(), now);
            }
            (Some(ServerWish::Weight(_)) | None, _) => {
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
