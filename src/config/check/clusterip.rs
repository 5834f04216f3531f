//! Addresses that every node has: what a group of them needs, and what has no place in it. And how instances are shared out.

use super::names;
use crate::config::address;
use crate::config::clusterip::{buckets, is_agent};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftGroup, DraftResource, Placed};
use crate::config::model::Enforcement;

fn shared(group: &DraftGroup) -> Option<&DraftResource> {
    group.resources.iter().find(|one| is_agent(&one.agent.value))
}

/// So many nodes may own it.
fn owners(draft: &Draft, group: &DraftGroup) -> usize {
    let may_own = |name: &str| group.only.is_empty() || group.only.iter().any(|only| only.value == name);
    draft.nodes.iter().filter(|node| !node.arbiter && may_own(&node.name.value)).count()
}

/// A group with a shared address is cloned: an instance is a bucket.
pub(super) fn fill_in_buckets(draft: &mut Draft) {
    let wanted: Vec<u16> = draft.groups.iter().map(|group| buckets(owners(draft, group))).collect();
    for (group, wanted) in draft.groups.iter_mut().zip(wanted) {
        if group.clones.is_none() && shared(group).is_some() {
            group.clones = Some(Placed::new(wanted, group.name.place));
        }
    }
}

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    for group in &draft.groups {
        check_others(group, findings);
        check_sharing_out(draft, group, findings);
        if let Some(resource) = shared(group) {
            check_enforcement(draft, resource, findings);
            check_number(draft, group, findings);
        }
    }
}

/// Instances of a group come and go on one node, and an agent that they share is started by one and stopped by another.
fn check_others(group: &DraftGroup, findings: &mut Findings) {
    let Some(clones) = &group.clones else { return };
    for one in &group.resources {
        let agent = &one.agent;
        let (what, help) = if is_agent(&agent.value) {
            continue;
        } else if address::carries_addresses(&agent.value) {
            (
                "it would be on several nodes",
                "write agent = \"clusterip\", whose address every node has, or take `clones` away",
            )
        } else if shared(group).is_some() {
            (
                "a bucket that leaves would stop it for those that stay",
                "let systemd start it on every node, and write a [track.NAME] that says whether it runs",
            )
        } else {
            continue;
        };
        findings.push(
            Diagnostic::mistake(
                agent.place,
                format!("`{}` has no place in `{}`, which has instances", agent.value, group.name.value),
            )
            .label(what)
            .also(clones.place, "here")
            .help(help),
        );
    }
}

fn check_sharing_out(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let name = &group.name.value;
    let nodes: Vec<_> = group.weights.iter().map(|(node, _)| node.clone()).collect();
    names::check_owners(draft, &format!("`weights` of `{name}`"), &nodes, findings);
    let Some(clones) = &group.clones else {
        let places = group.clones_per_node.iter().map(|most| (most.place, "clones-per-node"));
        for (place, key) in places.chain(nodes.iter().map(|node| (node.place, "weights"))) {
            findings.push(
                Diagnostic::mistake(place, format!("`{name}` has no instances to share out"))
                    .label(format!("`{key}` counts for a cloned group only"))
                    .help("add clones = 12, or so many as there shall be, or leave it out"),
            );
        }
        return;
    };
    let owners = owners(draft, group);
    if let Some(most) = &group.clones_per_node
        && usize::from(most.value) * owners < usize::from(clones.value)
    {
        findings.push(
            Diagnostic::mistake(most.place, format!("{owners} nodes cannot have all of `{name}`"))
                .label(format!("{} instances, and {} a node", clones.value, most.value))
                .help("write more for a node; what one node fewer cannot have, nobody has"),
        );
    } else if let Some(most) = &group.clones_per_node
        && usize::from(most.value) * (owners - 1) < usize::from(clones.value)
    {
        findings.push(
            Diagnostic::warning(most.place, format!("one node fewer, and nobody has all of `{name}`"))
                .label(format!("{} nodes with {} are less than {}", owners - 1, most.value, clones.value))
                .help("write more for a node, or accept that a death leaves a part of it unserved"),
        );
    }
}

fn check_enforcement(draft: &Draft, resource: &DraftResource, findings: &mut Findings) {
    if draft.lease == Enforcement::Daemon {
        findings.push(
            Diagnostic::mistake(resource.agent.place, "a shared address needs the kernel's rules")
                .label("by them each node drops what is another's")
                .help("leave [lease] enforce = \"daemon\" out, or use a `vip`, which one node has"),
        );
    }
}

fn check_number(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let (Some(clones), owners) = (&group.clones, owners(draft, group)) else { return };
    if usize::from(clones.value) < owners {
        findings.push(
            Diagnostic::warning(clones.place, format!("`{}` has fewer buckets than nodes", group.name.value))
                .label(format!("{} for {owners}", clones.value))
                .help(format!("some nodes get nothing to do: leave `clones` out for {}", buckets(owners))),
        );
    }
}
