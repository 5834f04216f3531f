//! What keeps a group from running twice: voters, tie-break, watchdog, fences. Whoever asks for a promise that nothing
//! can keep is refused, and told why.

use super::names;
use super::timing;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Dialect, Draft, DraftFence, DraftGroup, Placed};
use crate::config::model::{Promise, TiebreakMethod};
use crate::config::{agents, limits};
use crate::time::Span;

/// A watchdog's timeout, unless the file says otherwise: sbd's, which hardware has borne for years.
const WATCHDOG: Span = Span::seconds(5);

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    check_watchdog(draft, findings);
    for fence in &draft.fences {
        check_fence(draft, fence, findings);
        check_aim(draft, fence, findings);
    }
    check_fences(draft, findings);
    check_method(draft, findings);
    for group in &draft.groups {
        check_promise(group, findings);
        check_exclusive(draft, group, findings);
    }
}

/// The method in force.
pub(super) fn method(draft: &Draft) -> TiebreakMethod {
    draft.method.as_ref().map_or(TiebreakMethod::Evidence, |method| method.value)
}

/// Two voters, where evidence stands in for the absent one.
pub(super) fn is_evidence_pair(draft: &Draft) -> bool {
    draft.nodes.len() == 2 && method(draft) == TiebreakMethod::Evidence
}

/// As said, or five seconds; with slow beats, three of them.
pub(super) fn watchdog_timeout(draft: &Draft, said: Option<&Placed<Span>>) -> Span {
    let keepalive = timing::resolve(&draft.timing).keepalive;
    let seconds = (keepalive * 3).as_micros().div_ceil(1_000_000);
    said.map_or(WATCHDOG.max(Span::seconds(seconds)), |said| said.value)
}

/// Whether the group may never run twice: as said, or because of an agent in it.
pub(super) fn is_exclusive(group: &DraftGroup) -> bool {
    group.exclusive.as_ref().map_or(exclusive_agent(group).is_some(), |exclusive| exclusive.value)
}

fn exclusive_agent(group: &DraftGroup) -> Option<&Placed<String>> {
    let mut resources = group.resources.iter();
    resources.find(|one| agents::is_exclusive(&one.agent.value, &one.args)).map(|one| &one.agent)
}

/// What makes a group exclusive: where it is written, and in words.
pub(super) fn why_exclusive(group: &DraftGroup) -> (Place, &'static str) {
    match (&group.exclusive, exclusive_agent(group)) {
        (Some(said), _) => (said.place, "exclusive"),
        (None, Some(agent)) => (agent.place, "the kernel cannot take this back when a lease ends"),
        (None, None) => (group.name.place, "exclusive"),
    }
}

fn check_watchdog(draft: &Draft, findings: &mut Findings) {
    let Some(said) = draft.watchdog.as_ref().and_then(|watchdog| watchdog.timeout.as_ref()) else { return };
    let keepalive = timing::resolve(&draft.timing).keepalive;
    let why = if said.value.as_micros() % 1_000_000 != 0 || said.value == Span::ZERO {
        "a watchdog counts whole seconds"
    } else if said.value < keepalive * 3 {
        "it is fed with the beats: three of them must fit"
    } else {
        return;
    };
    findings.push(
        Diagnostic::mistake(said.place, format!("the watchdog's timeout cannot be {}", said.value))
            .label(why)
            .help("write whole seconds, such as \"5s\"; a takeover of an exclusive group waits for more than twice as long"),
    );
}

fn check_fence(draft: &Draft, fence: &DraftFence, findings: &mut Findings) {
    names::check_name("fence", &fence.name, findings);
    names::check_nodes(draft, &format!("[fence.{}]", fence.name.value), &fence.nodes, findings);
    if let Some(why) = agents::name_fault(&fence.agent.value) {
        findings.push(
            Diagnostic::mistake(
                fence.agent.place,
                format!("\"{}\" cannot be a fence agent", fence.agent.value),
            )
            .label(why)
            .help("write a name such as fence_ipmilan, or stonith:external/ipmi"),
        );
    }
    for (key, value) in &fence.params {
        if ["action", "option", "method"].contains(&key.as_str()) {
            findings.push(
                Diagnostic::mistake(value.place, format!("`{key}` is not for the configuration to say"))
                    .label("a fence switches off, and nothing else counts as that")
                    .help(format!("take `{key}` away")),
            );
        }
        if agents::is_secret(key) {
            findings.hide(value.place);
            findings.push(
                Diagnostic::mistake(value.place, "a password cannot stand in the configuration")
                    .label("goes wherever the file is copied")
                    .help(format!("write {key}_script = \"/path\", a program of root's that prints it: fence agents know it")),
            );
        }
    }
}

/// A device that reaches one machine only must not count for another: the wrong machine would be off, and the right one
/// taken for dead.
fn check_aim(draft: &Draft, fence: &DraftFence, findings: &mut Findings) {
    let owners = draft.nodes.iter().filter(|node| !node.arbiter).count();
    let nodes = if fence.nodes.is_empty() { owners } else { fence.nodes.len() };
    let plug = ["plug", "port"].into_iter().find_map(|key| fence.params.get(key));
    let (place, label) = match plug {
        _ if nodes < 2 => return,
        Some(plug) => (plug.place, "the same plug, whichever node is meant"),
        None if agents::fences_one_machine(&fence.agent.value) => {
            (fence.agent.place, "it talks to the management board of one machine")
        }
        None => return,
    };
    let message = format!("[fence.{}] would switch off the same machine for {nodes} nodes", fence.name.value);
    findings.push(
        Diagnostic::mistake(place, message)
            .label(label)
            .help("write a [fence.NAME] for each node, and in each of them nodes = [\"NODE\"]"),
    );
}

fn check_fences(draft: &Draft, findings: &mut Findings) {
    let names = draft.fences.iter().map(|fence| &fence.name);
    names::check_once("fence", names, "write each device once", findings);
    if let Some(fence) = draft.fences.get(limits::FENCES) {
        findings.push(
            Diagnostic::mistake(fence.name.place, format!("more than {} fences", limits::FENCES))
                .label("the first beyond")
                .help("a fence can switch off several nodes: list them in its `nodes`"),
        );
    }
}

fn check_method(draft: &Draft, findings: &mut Findings) {
    let is_pair = draft.nodes.len() == 2;
    let place = draft.method.as_ref().map_or(Place::whole(0), |method| method.place);
    if !is_pair {
        // In Heartbeat's files nobody writes it: it follows from `stonith`, which counts for exclusive groups all the same.
        if draft.method.is_some() && draft.dialect == Dialect::Toml {
            let voters = match draft.nodes.len() {
                1 => "there is 1".to_owned(),
                many => format!("there are {many}"),
            };
            findings.push(
                Diagnostic::warning(place, "a tie-break method counts only between two voters")
                    .label(voters)
                    .help("leave it out: a majority decides here"),
            );
        }
        return;
    }
    match method(draft) {
        TiebreakMethod::Fence => check_fence_method(draft, place, findings),
        TiebreakMethod::None => findings.push(
            Diagnostic::warning(place, "a pair without a tie-break never takes over by itself")
                .label("a lone node keeps and takes nothing")
                .help("use evidence or fence, or add an arbiter on a third machine"),
        ),
        TiebreakMethod::Evidence => {
            if draft.ping.is_empty() && !draft.lost.targets && !draft.groups.is_empty() {
                findings.push(
                    Diagnostic::warning(Place::whole(0), "a pair without ping targets: the default gateway is asked, and where there is none, carrier alone decides")
                        .help(draft.dialect.say(
                            "add [tiebreak] ping = [\"ADDRESS\"] with something outside of the pair, or better an arbiter on a third machine: [node.NAME] arbiter = true",
                            "add ping lines with addresses outside of the pair, or better an arbiter on a third machine: [node.NAME] arbiter = true in a systole.toml",
                        )),
                );
            }
        }
    }
}

fn check_fence_method(draft: &Draft, place: Place, findings: &mut Findings) {
    for node in draft.nodes.iter().filter(|node| !node.arbiter) {
        if !is_fenced(draft, &node.name.value) {
            findings.push(
                Diagnostic::mistake(
                    place,
                    format!("the tie-break is fencing, and nothing fences `{}`", node.name.value),
                )
                .label("cannot succeed")
                .help("add a [fence.NAME] whose `nodes` names it, or without `nodes` for all"),
            );
        }
    }
}

fn is_fenced(draft: &Draft, node: &str) -> bool {
    draft
        .fences
        .iter()
        .any(|fence| fence.nodes.is_empty() || fence.nodes.iter().any(|name| name.value == node))
}

fn check_promise(group: &DraftGroup, findings: &mut Findings) {
    let Some(promise) = group.promise.as_ref().filter(|promise| promise.value == Promise::AtLeastOne) else {
        return;
    };
    if is_exclusive(group) {
        findings.push(
            Diagnostic::mistake(
                promise.place,
                format!("`{}` may never run twice, and at-least-one lets it", group.name.value),
            )
            .label("the two exclude each other")
            .help("leave the promise at \"at-most-one\"; at-least-one is for what may be there twice without harm"),
        );
    }
}

/// Nothing gives back what the kernel cannot take (protocol, chapter 6): a watchdog or a fence has to.
fn check_exclusive(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let name = &group.name.value;
    let agent = exclusive_agent(group);
    if !is_exclusive(group) {
        if let (Some(agent), Some(said)) = (agent, &group.exclusive) {
            findings.push(
                Diagnostic::warning(said.place, format!("`{name}` may run twice on your word"))
                    .label("for the rest of a lease after a crash")
                    .also(agent.place, "run twice, this commonly ruins data")
                    .help("true for network file systems and read-only ones; for all others take it away"),
            );
        }
        return;
    }
    let is_owner = |node: &str| group.only.is_empty() || group.only.iter().any(|only| only.value == node);
    let mut owners = draft.nodes.iter().filter(|node| !node.arbiter && is_owner(&node.name.value));
    // A pair on evidence is refused for more than that.
    let is_settled = draft.nodes.len() < 2 || is_evidence_pair(draft);
    if is_settled || draft.watchdog.is_some() || owners.all(|node| is_fenced(draft, &node.name.value)) {
        return;
    }
    let (place, label) = why_exclusive(group);
    findings.push(
        Diagnostic::mistake(place, format!("`{name}` may never run twice, and nothing makes sure of it"))
            .label(label)
            .help(draft.dialect.say(
                "add [watchdog] device = \"/dev/watchdog\", which resets a node that hangs with it, or a [fence.NAME] for every node that may own it; if it may run twice without harm, write exclusive = false",
                "add watchdog /dev/watchdog, which resets a node that hangs with it, or a stonith line; if it may run twice without harm, write the group in a systole.toml with exclusive = false",
            )),
    );
}
