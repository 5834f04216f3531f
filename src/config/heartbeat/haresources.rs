//! `haresources`: a line a group, its preferred node first, then its resources in the order of their start.
//!
//! A group is named after the first address in its line, or else after its first resource with its arguments. So a
//! name is the same on every node and stays the same while the line grows at its end.

use super::words::{Word, lines, words};
use crate::config::address::{self, ServiceAddress};
use crate::config::agents;
use crate::config::clusterip;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftGroup, DraftResource, Name, Placed};
use crate::config::limits;
use crate::config::model::Reach;
use crate::config::nearest;

/// The text, and how its bytes become places: it may be a text inside another file.
pub(crate) struct Lines<'a> {
    pub(crate) text: &'a str,
    pub(crate) place: &'a dyn Fn(usize, usize) -> Place,
}

impl Lines<'_> {
    fn at(&self, word: &Word<'_>) -> Place {
        (self.place)(word.start, word.end())
    }
}

/// What holds for every group of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) failback: bool,
    pub(crate) reach: Reach,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { failback: true, reach: Reach::Any }
    }
}

/// Reads all lines. The nodes must have been read before.
pub(crate) fn read(lines: &Lines<'_>, defaults: Defaults, draft: &mut Draft, findings: &mut Findings) {
    for words in logical_lines(lines.text) {
        if draft.groups.len() > limits::GROUPS {
            // One beyond is reported; the rest would only be read for nothing.
            break;
        }
        if let Some(group) = group(lines, &words, defaults, draft, findings) {
            draft.groups.push(group);
        }
    }
}

/// Joins what a backslash continues. A line that is only a comment does not end a continued one.
fn logical_lines(text: &str) -> Vec<Vec<Word<'_>>> {
    let mut all = Vec::new();
    let mut current = Vec::new();
    let mut continued = false;
    for (start, line) in lines(text) {
        let is_comment =
            line.trim().is_empty() && text[start..].trim_start_matches([' ', '\t']).starts_with('#');
        if continued && is_comment {
            continue;
        }
        let (code, goes_on) = match line.strip_suffix('\\') {
            Some(code) => (code, true),
            None => (line, false),
        };
        current.extend(words(start, code));
        continued = goes_on;
        if !continued {
            all.push(std::mem::take(&mut current));
        }
    }
    all.push(current);
    all.retain(|words| !words.is_empty());
    all
}

fn group(
    lines: &Lines<'_>,
    words: &[Word<'_>],
    defaults: Defaults,
    draft: &Draft,
    findings: &mut Findings,
) -> Option<DraftGroup> {
    let (node, rest) = words.split_first()?;
    if looks_like_address(node.text) {
        let message = format!("the line of `{}` names no node", node.text);
        let help =
            "begin it with the name of the node that the group prefers: lb0 192.168.232.20/24/eth0 httpd";
        findings.push(Diagnostic::mistake(lines.at(node), message).label("a node belongs here").help(help));
        return None;
    }
    let node = Placed::new(node.text.to_lowercase(), lines.at(node));
    let node_is_known = check_node(&node, draft, findings);
    let mut resources = Vec::new();
    let mut all_read = true;
    for word in rest {
        if !is_slip(lines, word, draft, findings) {
            let resource = resource(lines, word, findings);
            all_read &= resource.is_some();
            resources.extend(resource);
        }
    }
    if !all_read {
        // What is left of the line would only be blamed for what is missing from it.
        return None;
    }
    if rest.is_empty() {
        findings.push(
            Diagnostic::mistake(node.place, format!("the line of `{}` has no resources", node.value))
                .label("owns what?")
                .help("write NODE, then an address and the services that belong to it: lb0 192.168.232.20/24/eth0 httpd"),
        );
    }
    let mut group = DraftGroup::new(name(lines, rest, &resources)?);
    // Every node has a shared address, and its buckets are to be spread.
    let is_shared = resources.iter().any(|one| clusterip::is_agent(&one.agent.value));
    group.prefer = if node_is_known && !is_shared { vec![node] } else { Vec::new() };
    group.failback = defaults.failback;
    group.reach = Some(Placed::new(defaults.reach, group.name.place));
    group.resources = resources;
    Some(group)
}

fn check_node(node: &Name, draft: &Draft, findings: &mut Findings) -> bool {
    if draft.nodes.iter().any(|known| known.name.value == node.value) {
        return true;
    }
    let known = draft.nodes.iter().map(|known| known.name.value.as_str());
    let near = if findings.is_full() { None } else { nearest::nearest(&node.value, known) };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a line begins with the name of the node that the group prefers".to_owned(),
    };
    let message = format!("`{}` is not a node of this cluster", node.value);
    findings.push(Diagnostic::mistake(node.place, message).label("no such node").help(help));
    false
}

/// The name of a node among the resources, as many wrote it at the end of a line, meaning "and lb1 as standby".
fn is_slip(lines: &Lines<'_>, word: &Word<'_>, draft: &Draft, findings: &mut Findings) -> bool {
    let name = word.text.to_lowercase();
    let is_node = draft.nodes.iter().any(|node| node.name.value == name);
    if !is_node || agents::is_common(&name) {
        return false;
    }
    findings.push(
        Diagnostic::warning(lines.at(word), format!("`{}` is a node, not a resource: left out", word.text))
            .label("no agent has this name")
            .help("end the line before it; every other node of the cluster stands by without being named"),
    );
    true
}

fn resource(lines: &Lines<'_>, word: &Word<'_>, findings: &mut Findings) -> Option<DraftResource> {
    let place = lines.at(word);
    if looks_like_address(word.text) {
        return match address::shorthand(word.text) {
            Ok(address) => Some(vip(&address, place)),
            Err(fault) => {
                let message = format!("`{}` is not an address with its network", word.text);
                findings.push(Diagnostic::mistake(place, message).label(fault.label).help(fault.help));
                None
            }
        };
    }
    let (agent, rest) = word.text.split_once("::").unwrap_or((word.text, ""));
    let mut resource = DraftResource::new(Placed::new(agent.to_owned(), place));
    resource.args = if clusterip::is_agent(agent) && !rest.is_empty() {
        clusterip::arguments(rest)
    } else if agents::base_name(agent) == "ipv6addr" && !rest.is_empty() {
        // An IPv6 address has the separator in itself.
        vec![rest.to_owned()]
    } else {
        rest.split("::").filter(|arg| !arg.is_empty()).map(str::to_owned).collect()
    };
    Some(resource)
}

/// Whether a word is an address rather than `agent::argument`. `db2::1` is both; a known agent wins.
fn looks_like_address(word: &str) -> bool {
    let address = word.split('/').next().unwrap_or_default();
    let is_four = address.starts_with(|c: char| c.is_ascii_digit())
        && address.matches('.').count() >= 2
        && address.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let agent = word.split("::").next().unwrap_or_default();
    let is_six = address.matches(':').count() >= 2
        && address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    is_four || (is_six && !agents::is_common(agent))
}

/// The shorthand is our own agent for addresses.
fn vip(address: &ServiceAddress, place: Place) -> DraftResource {
    let mut resource = DraftResource::new(Placed::new("vip".to_owned(), place));
    let written = match address.prefix {
        Some(prefix) => format!("{}/{prefix}", address.address),
        None => address.address.to_string(),
    };
    let params = [
        ("address", Some(written)),
        ("interface", address.interface.clone()),
        ("label", address.label.clone()),
        ("broadcast", address.broadcast.map(|broadcast| broadcast.to_string())),
    ];
    for (key, value) in params {
        if let Some(value) = value {
            resource.params.insert(key.to_owned(), Placed::new(value, place));
        }
    }
    resource
}

fn name(lines: &Lines<'_>, words: &[Word<'_>], resources: &[DraftResource]) -> Option<Name> {
    for resource in resources {
        let found = address::addresses(&resource.agent.value, &resource.args, &resource.plain_params());
        if let Some(first) = found.unwrap_or_default().first() {
            return Some(Placed::new(first.address.to_string(), resource.place));
        }
    }
    let first = words.first()?;
    let mut name = String::new();
    for c in first.text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(limits::NAME_BYTES);
    let name = name.trim_matches(['-', '.', '_']);
    Some(Placed::new(name.to_owned(), lines.at(first)))
}
