//! What operators want of servers: who knows it, and when it is refused.

use super::*;
use crate::beat::ServerWish;
use crate::types::ServersId;

fn named(server: &str) -> ServersId {
    ServersId::of(None, server)
}

fn drain(server: &str) -> Command {
    Command::OrderServers { servers: named(server), wish: ServerWish::Drain }
}

fn free(server: &str) -> Command {
    Command::FreeServers { servers: vec![named(server)], wider: Vec::new() }
}

/// The same for every node.
fn drained(lab: &Lab) -> BTreeSet<ServersId> {
    let all: BTreeSet<_> =
        lab.cores.values().map(|core| core.server_orders().into_keys().collect::<BTreeSet<_>>()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap_or_default()
}

fn refusals(lab: &Lab) -> Vec<ServersRefusedReason> {
    let because = |(_, event): &(NodeId, Event)| {
        if let Event::ServersRefused { because, .. } = event { Some(*because) } else { None }
    };
    lab.events.iter().filter_map(because).collect()
}

#[test]
fn an_order_is_known_to_all_also_to_those_that_come_later_until_it_is_taken_back() {
    let mut lab = settled([group("web", &["lb0"])]);
    lab.command("lb0", drain("one"));
    lab.command("lb1", drain("two"));
    lab.run_for(Span::millis(10));
    assert_eq!(drained(&lab), [named("one"), named("two")].into());
    lab.crash("lb2");
    lab.command("lb1", free("one"));
    lab.run_for(Span::seconds(3));
    lab.boot(NodeId::of("lb2"), 2);
    // It does not know yet what it would take back.
    lab.command("lb2", free("two"));
    assert_eq!(refusals(&lab), [ServersRefusedReason::Starting]);
    lab.run_for(Span::seconds(5));
    assert_eq!(drained(&lab), [named("two")].into());
    lab.command("lb2", free("two"));
    lab.run_for(Span::millis(10));
    assert_eq!(drained(&lab), BTreeSet::new());
}

#[test]
fn orders_for_what_is_configured_no_more_make_room_when_it_is_needed() {
    let mut lab = settled([group("web", &["lb0"])]);
    for number in 0..MOST_SERVER_ORDERS {
        lab.command("lb0", drain(&format!("gone{number}")));
    }
    lab.run_for(Span::millis(10));
    assert_eq!(drained(&lab).len(), MOST_SERVER_ORDERS);
    // Nothing is configured: all of them go, and so would the new one.
    lab.command("lb0", drain("one more"));
    lab.run_for(Span::millis(10));
    assert_eq!((drained(&lab), refusals(&lab)), (BTreeSet::new(), vec![]));
}
