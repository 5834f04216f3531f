//! Service addresses and ping targets, against each other and against the links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::resources::addresses;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftCast};
use crate::config::limits;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let own = own_addresses(draft);
    let service = check_addresses(draft, &own, findings);
    check_ping(draft, &own, &service, findings);
    check_links(draft, findings);
}

/// The nodes' own addresses, as the links tell them.
fn own_addresses(draft: &Draft) -> BTreeMap<IpAddr, Place> {
    let mut own = BTreeMap::new();
    for link in &draft.links {
        if let DraftCast::Unicast(peers) = &link.cast {
            own.extend(peers.iter().map(|(_, address)| (address.value, address.place)));
        }
    }
    own
}

/// One address in one place only, and never a node's own. All of them are returned.
fn check_addresses(
    draft: &Draft,
    own: &BTreeMap<IpAddr, Place>,
    findings: &mut Findings,
) -> BTreeMap<IpAddr, Place> {
    let mut seen: BTreeMap<IpAddr, Place> = BTreeMap::new();
    for resource in draft.groups.iter().flat_map(|group| &group.resources) {
        let place = ["address", "ip", "ipv6addr"]
            .iter()
            .find_map(|key| resource.params.get(*key))
            .map_or(resource.agent.place, |param| param.place);
        for found in addresses(resource) {
            if let Some(first) = seen.insert(found.address, place) {
                findings.push(
                    Diagnostic::mistake(place, format!("the address `{}` is there twice", found.address))
                        .label("again")
                        .also(first, "the first time")
                        .help(
                            "an address belongs to one resource of one group: two groups can be on two nodes",
                        ),
                );
            }
            if let Some(link) = own.get(&found.address) {
                findings.push(
                    Diagnostic::mistake(place, format!("`{}` is a node's own address", found.address))
                        .label("cannot move")
                        .also(*link, "used for beats here")
                        .help("take a spare address of that network for the service"),
                );
            }
            if seen.len() == limits::ADDRESSES + 1 {
                findings.push(
                    Diagnostic::mistake(place, format!("more than {} service addresses", limits::ADDRESSES))
                        .label("the first beyond")
                        .help("route a whole network to the cluster instead, or make several clusters"),
                );
            }
        }
    }
    seen
}

fn check_ping(
    draft: &Draft,
    own: &BTreeMap<IpAddr, Place>,
    service: &BTreeMap<IpAddr, Place>,
    findings: &mut Findings,
) {
    let mut seen: BTreeMap<IpAddr, Place> = BTreeMap::new();
    for target in draft.ping.iter().flatten() {
        if let Some(first) = seen.insert(target.value, target.place) {
            findings.push(
                Diagnostic::mistake(
                    target.place,
                    format!("the ping target `{}` is there twice", target.value),
                )
                .label("again")
                .also(first, "the first time")
                .help("leave out one of the two"),
            );
        }
        let (other, why) = match (own.get(&target.value), service.get(&target.value)) {
            (Some(place), _) => (*place, "a node reaches itself, whatever is cut"),
            (None, Some(place)) => (*place, "the holder reaches it, whatever is cut"),
            (None, None) => continue,
        };
        findings.push(
            Diagnostic::mistake(target.place, format!("`{}` cannot be a ping target", target.value))
                .label(why)
                .also(other, "it belongs to the cluster itself")
                .help("ask something outside of the cluster: the router, or a switch's own address"),
        );
    }
    if let Some(target) = draft.ping.iter().flatten().nth(limits::PING_TARGETS) {
        findings.push(
            Diagnostic::mistake(target.place, format!("more than {} ping targets", limits::PING_TARGETS))
                .label("the first beyond")
                .help("a few that fail apart from each other say more than many"),
        );
    }
}

/// With a link on the service network, a dead link and an address that answers mean a filter and not a cable.
fn check_links(draft: &Draft, findings: &mut Findings) {
    if draft.nodes.len() < 2 || draft.links.is_empty() || draft.lost.links {
        return;
    }
    let linked: BTreeSet<&str> = draft.links.iter().map(|link| link.interface.value.as_str()).collect();
    let mut told = BTreeSet::new();
    for resource in draft.groups.iter().flat_map(|group| &group.resources) {
        for interface in addresses(resource).into_iter().filter_map(|address| address.interface) {
            if linked.contains(interface.as_str()) || !told.insert(interface.clone()) {
                continue;
            }
            let place = ["interface", "nic"]
                .iter()
                .find_map(|key| resource.params.get(*key))
                .map_or(resource.agent.place, |param| param.place);
            findings.push(
                Diagnostic::warning(place, format!("no link runs over the service interface `{interface}`"))
                    .label("carries addresses, and no beats")
                    .help("add a link on it: a takeover can then tell a cut cable from a filter, and needs not wait for the last answer to grow old"),
            );
        }
    }
}
