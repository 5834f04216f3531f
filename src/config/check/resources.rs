//! Resources: names, agents, addresses that can be read.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use crate::config::address::{self, ServiceAddress};
use crate::config::agents;
use crate::config::clusterip;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftGroup, DraftMonitor, DraftResource};
use crate::config::{limits, nearest};

/// The parameters of our own agent for addresses.
const VIP_PARAMS: &[&str] = &["address", "interface", "label", "broadcast"];

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    for group in &draft.groups {
        check_number(group, findings);
        check_names(group, findings);
        for resource in &group.resources {
            check_agent(resource, findings);
            check_secrets(resource, findings);
            check_warm(resource, findings);
            check_delay(resource, findings);
            check_address(resource, findings);
        }
    }
}

fn check_number(group: &DraftGroup, findings: &mut Findings) {
    if group.resources.is_empty() && !group.lost_resources {
        findings.push(
            Diagnostic::mistake(
                group.name.place,
                format!("the group `{}` has no resources", group.name.value),
            )
            .label("owns what?")
            .help(format!(
                "add [[group.{}.resource]] with an agent, once for each resource, or remove the group",
                group.name.value
            )),
        );
    }
    if let Some(resource) = group.resources.get(limits::RESOURCES) {
        findings.push(
            Diagnostic::mistake(
                resource.place,
                format!("more than {} resources in a group", limits::RESOURCES),
            )
            .label("the first beyond")
            .help("they start one after the other: make several groups of it"),
        );
    }
}

fn check_names(group: &DraftGroup, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    for name in group.resources.iter().filter_map(|resource| resource.name.as_ref()) {
        names::check_group_name("resource", name, findings);
        if let Some(first) = seen.insert(&name.value, name.place) {
            findings.push(
                Diagnostic::mistake(
                    name.place,
                    format!("two resources of a group are named `{}`", name.value),
                )
                .label("the second")
                .also(first, "the first")
                .help("rename one of them, or leave the name out"),
            );
        }
    }
}

/// The name of each resource: as written, or made of its address or agent; a number makes it unique.
pub(super) fn resource_names(group: &DraftGroup) -> Vec<String> {
    let mut taken: BTreeSet<String> = group
        .resources
        .iter()
        .filter_map(|resource| resource.name.as_ref())
        .map(|name| name.value.clone())
        .collect();
    let mut names = Vec::new();
    for resource in &group.resources {
        if let Some(name) = &resource.name {
            names.push(name.value.clone());
            continue;
        }
        let base = match addresses(resource).first() {
            Some(first) => first.address.to_string(),
            None => resource.agent.value.rsplit([':', '/']).next().unwrap_or_default().to_owned(),
        };
        let mut name = base.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// The addresses of a resource; none if they cannot be read, which is reported apart.
pub(super) fn addresses(resource: &DraftResource) -> Vec<ServiceAddress> {
    address::addresses(&resource.agent.value, &resource.args, &resource.plain_params()).unwrap_or_default()
}

fn check_agent(resource: &DraftResource, findings: &mut Findings) {
    let agent = &resource.agent;
    if let Some(why) = agents::name_fault(&agent.value) {
        findings.push(
            Diagnostic::mistake(agent.place, format!("\"{}\" cannot be an agent", agent.value))
                .label(why)
                .help("write a bare name, or ocf:PROVIDER:NAME, systemd:UNIT, lsb:NAME, heartbeat:NAME"),
        );
    }
    if resource.args.len() > limits::PARAMS {
        findings.push(
            Diagnostic::mistake(agent.place, format!("more than {} arguments", limits::PARAMS))
                .label("too many `args`")
                .help("keep them in a file of the agent's"),
        );
    }
    let takes_no_args = ["ocf:", "systemd:"].iter().any(|class| agent.value.starts_with(class));
    if takes_no_args && !resource.args.is_empty() {
        findings.push(
            Diagnostic::mistake(agent.place, format!("`{}` takes no positional arguments", agent.value))
                .label("has `args`")
                .help("write named ones: params = { NAME = \"VALUE\" }"),
        );
    }
    if agent.value.starts_with("systemd:") && !resource.params.is_empty() {
        findings.push(
            Diagnostic::mistake(agent.place, format!("`{}` takes no parameters", agent.value))
                .label("has `params`")
                .help("a unit is configured by its own files"),
        );
    }
}

fn check_secrets(resource: &DraftResource, findings: &mut Findings) {
    for (key, value) in &resource.params {
        if agents::is_secret(key) {
            findings.hide(value.place);
            findings.push(
                Diagnostic::warning(value.place, format!("`{key}` looks like a secret"))
                    .label("goes wherever the file is copied, and the status shows it")
                    .help("keep it in a file of root's that the agent reads, if it can"),
            );
        }
    }
}

/// The kernel's own work waits for nobody.
fn check_delay(resource: &DraftResource, findings: &mut Findings) {
    let agent = &resource.agent.value;
    let Some(delay) = resource.start_delay.as_ref().filter(|_| address::carries_addresses(agent)) else {
        return;
    };
    findings.push(
        Diagnostic::mistake(delay.place, format!("the addresses of `{agent}` cannot wait"))
            .label("they are added at once")
            .help("take `start-delay` away, or give it to a program that stands before it"),
    );
}

fn check_warm(resource: &DraftResource, findings: &mut Findings) {
    let agent = &resource.agent.value;
    if !resource.warm {
        return;
    }
    let why = if address::carries_addresses(agent) {
        "an address on every node is a conflict"
    } else if agents::is_exclusive(agent, &resource.args) {
        "run twice, it ruins data"
    } else {
        return;
    };
    findings.push(
        Diagnostic::mistake(resource.agent.place, format!("`{agent}` cannot be warm"))
            .label(why)
            .help("take `warm` away: a warm resource runs on every node at once"),
    );
}

fn check_address(resource: &DraftResource, findings: &mut Findings) {
    let agent = &resource.agent.value;
    let args = resource.args.as_slice();
    if let Err(fault) = address::addresses(agent, args, &resource.plain_params()) {
        let param = fault.param.and_then(|param| resource.params.get(param));
        let place = param.map_or(resource.agent.place, |param| param.place);
        findings.push(
            Diagnostic::mistake(place, format!("the address of `{agent}` cannot be read"))
                .label(fault.label)
                .help(fault.help),
        );
    }
    let known = match agent.as_str() {
        "vip" => VIP_PARAMS,
        agent if clusterip::is_agent(agent) => clusterip::PARAMS,
        _ => return,
    };
    for (key, value) in &resource.params {
        if known.contains(&key.as_str()) {
            continue;
        }
        let help = match nearest::nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        findings.push(
            Diagnostic::mistake(value.place, format!("the agent `{agent}` has no parameter `{key}`"))
                .label("of no use")
                .help(help),
        );
    }
    if let DraftMonitor::Given(_) = resource.monitor {
        findings.push(
            Diagnostic::warning(
                resource.agent.place,
                format!("an address of `{agent}` is watched all the time"),
            )
            .label("`monitor` adds nothing")
            .help("leave `monitor` out: the kernel tells when an address goes, and it is put back at once"),
        );
    }
}
