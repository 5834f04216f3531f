//! Links: that each can carry beats, and that they reach every node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::names;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftCast, DraftLink, Name, Placed};
use crate::config::{limits, values};

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, &DraftLink> = BTreeMap::new();
    for link in &draft.links {
        names::check_name("link", &link.name, findings);
        check_link(draft, link, findings);
        if let Some(first) = seen.insert(&link.interface.value, link) {
            findings.push(
                Diagnostic::warning(
                    link.interface.place,
                    format!(
                        "the links `{}` and `{}` are on one interface",
                        first.name.value, link.name.value
                    ),
                )
                .label("shares its cable")
                .also(first.interface.place, "with this one")
                .help("a second link is worth something only on a second network"),
            );
        }
    }
    check_number(draft, findings);
    check_owners(draft, findings);
    if check_reached(draft, findings) {
        draft.links.iter().for_each(|link| check_ends(draft, link, findings));
    }
}

fn check_number(draft: &Draft, findings: &mut Findings) {
    if let Some(link) = draft.links.get(limits::LINKS) {
        findings.push(
            Diagnostic::mistake(link.name.place, format!("more than {} links", limits::LINKS))
                .label("the first beyond")
                .help("every beat is sent on every link: two or three are enough"),
        );
    }
    if draft.nodes.len() < 2 {
        return;
    }
    match draft.links.as_slice() {
        _ if draft.lost.links => {}
        [] => findings.push(Diagnostic::mistake(Place::whole(0), "no link carries the beats").help(
            draft.dialect.say(
                "add a [link.NAME] with an interface, and unicast, multicast or broadcast",
                "add a ucast, mcast or bcast line",
            ),
        )),
        [only] => findings.push(
            Diagnostic::warning(only.name.place, "there is one link only")
                .label("its loss is the loss of every peer")
                .help("add a second one over another network or a cable of its own; the loss of one is then an alarm, not a takeover"),
        ),
        _ => {}
    }
}

fn check_link(draft: &Draft, link: &DraftLink, findings: &mut Findings) {
    if let Some(why) = values::interface_fault(&link.interface.value) {
        findings.push(
            Diagnostic::mistake(
                link.interface.place,
                format!("\"{}\" is no interface", link.interface.value),
            )
            .label(why)
            .help("write a name that `ip link` shows, such as eth0"),
        );
    }
    if let DraftCast::Unicast(peers) = &link.cast {
        check_peers(draft, link, peers, findings);
    }
}

fn check_peers(
    draft: &Draft,
    link: &DraftLink,
    peers: &[(Option<Name>, Placed<IpAddr>)],
    findings: &mut Findings,
) {
    let mut seen: BTreeMap<IpAddr, Place> = BTreeMap::new();
    for (node, address) in peers {
        if let Some(name) = node
            && draft.nodes.iter().all(|known| known.name.value != name.value)
        {
            names::check_nodes(
                draft,
                &format!("[link.{}]", link.name.value),
                std::slice::from_ref(name),
                findings,
            );
        }
        if let Some(first) = seen.insert(address.value, address.place) {
            findings.push(
                Diagnostic::mistake(address.place, format!("`{}` is on this link twice", address.value))
                    .label("again")
                    .also(first, "the first time")
                    .help("two nodes cannot have one address: look at both with `ip address`"),
            );
        }
        if let Some((_, first)) = peers.first()
            && !values::same_family(first.value, address.value)
        {
            findings.push(
                Diagnostic::mistake(
                    address.place,
                    format!("the link `{}` mixes IPv4 and IPv6", link.name.value),
                )
                .label("of the other family")
                .also(first.place, "than this one")
                .help("make two links of it: a link has one socket, and its loss must mean one thing"),
            );
        }
    }
    if peers.is_empty() {
        findings.push(
            Diagnostic::mistake(link.name.place, format!("the link `{}` reaches nobody", link.name.value))
                .label("no address")
                .help("add the address of each node on it"),
        );
    }
    if let Some((_, address)) = peers.get(limits::NODES) {
        findings.push(
            Diagnostic::mistake(address.place, format!("more than {} addresses on one link", limits::NODES))
                .label("the first beyond")
                .help("there cannot be more than nodes"),
        );
    }
}

/// Who is alone on a link sends to nobody there. In Heartbeat's files that was usual: each node had its own, with the
/// other's address.
fn check_ends(draft: &Draft, link: &DraftLink, findings: &mut Findings) {
    let DraftCast::Unicast(peers) = &link.cast else { return };
    let Some(((node, address), others)) = peers.split_first() else { return };
    let is_same = |other: &Option<Name>| match (node, other) {
        (Some(node), Some(other)) => node.value == other.value,
        _ => false,
    };
    if draft.nodes.len() < 2 || !others.iter().all(|(other, _)| is_same(other)) {
        return;
    }
    findings.push(
        Diagnostic::warning(address.place, format!("the link `{}` names one end only", link.name.value))
            .label("the node with this address sends to nobody here")
            .help(draft.dialect.say(
                "add the addresses of the other nodes on it: the file is the same on every node, and each skips its own",
                "write a ucast line for each node: the file is the same on every node, and each skips its own address",
            )),
    );
}

/// An address belongs to one node, on whichever link it is named.
fn check_owners(draft: &Draft, findings: &mut Findings) {
    let mut owners: BTreeMap<IpAddr, (&Name, Place)> = BTreeMap::new();
    for link in &draft.links {
        let DraftCast::Unicast(peers) = &link.cast else { continue };
        for (node, address) in peers.iter().filter_map(|(node, address)| Some((node.as_ref()?, address))) {
            let (first, at) = *owners.entry(address.value).or_insert((node, address.place));
            let is_here_twice =
                peers.iter().any(|(_, other)| other.value == address.value && other.place != address.place);
            if first.value != node.value && !is_here_twice {
                findings.push(
                    Diagnostic::mistake(
                        address.place,
                        format!("`{}` belongs to `{}` and to `{}`", address.value, first.value, node.value),
                    )
                    .label(format!("of `{}`", node.value))
                    .also(at, format!("of `{}`", first.value))
                    .help("two nodes cannot have one address: look at both with `ip address`"),
                );
            }
        }
    }
}

/// A node that no link reaches would be dead for the others, and they for it. Says whether there is none.
fn check_reached(draft: &Draft, findings: &mut Findings) -> bool {
    let reaches_all = |link: &DraftLink| match &link.cast {
        DraftCast::Unicast(peers) => peers.iter().any(|(node, _)| node.is_none()),
        DraftCast::Multicast { .. } | DraftCast::Broadcast => true,
    };
    if draft.links.is_empty()
        || draft.lost.links
        || draft.nodes.len() < 2
        || draft.links.iter().any(reaches_all)
    {
        return true;
    }
    let mut all = true;
    for node in &draft.nodes {
        let is_on = |link: &DraftLink| match &link.cast {
            DraftCast::Unicast(peers) => {
                peers.iter().any(|(name, _)| name.as_ref().is_some_and(|name| name.value == node.name.value))
            }
            DraftCast::Multicast { .. } | DraftCast::Broadcast => true,
        };
        if !draft.links.iter().any(is_on) {
            all = false;
            findings.push(
                Diagnostic::mistake(
                    node.name.place,
                    format!("no link reaches the node `{}`", node.name.value),
                )
                .label("on none of them")
                .help(format!("add {} = \"ADDRESS\" to the unicast of a link", node.name.value)),
            );
        }
    }
    all
}
