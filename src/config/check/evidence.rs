//! What evidence can tell in a pair and what it cannot: whoever has to rely on more than that is refused, or warned.

use super::{rounds, safety};
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Dialect, Draft, DraftGroup, DraftResource};
use crate::config::model::Promise;

/// Between two voters evidence is the third vote, and it is gathered by asking who answers for the groups' addresses.
pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    if !safety::is_evidence_pair(draft) {
        return;
    }
    for group in &draft.groups {
        check_exclusive(draft, group, findings);
        check_address(draft, group, findings);
        check_order(draft, group, findings);
    }
    let asked: Vec<&DraftGroup> = draft.groups.iter().filter(|group| !is_taken_alone(group)).collect();
    rounds::check(draft, &asked, findings);
}

fn is_taken_alone(group: &DraftGroup) -> bool {
    group.promise.as_ref().is_some_and(|promise| promise.value == Promise::AtLeastOne)
}

/// Where each node reaches a ping target and not the other, both take a group, and a watchdog resets neither: each has a
/// valid lease. What may never run twice needs more than that.
fn check_exclusive(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    if !safety::is_exclusive(group) {
        return;
    }
    let (place, label) = safety::why_exclusive(group);
    let name = &group.name.value;
    findings.push(
        Diagnostic::mistake(place, format!("`{name}` may never run twice, and a pair on evidence cannot promise that"))
            .label(label)
            .help(draft.dialect.say(
                "where the network is cut in two and each node still reaches a ping target, both take it. Write one of:\n\
                 - an arbiter on a third machine, beside a [watchdog]: [node.NAME] arbiter = true\n\
                 - fencing: [tiebreak] method = \"fence\", and a [fence.NAME] for each node\n\
                 - exclusive = false, where running twice does no harm",
                "where the network is cut in two and each node still reaches a ping target, both take it. Write one of:\n\
                 - stonith TYPE FILE, a line a device, for both nodes: then nothing is taken before the other is off\n\
                 - in a systole.toml: an arbiter on a third machine, beside a [watchdog]\n\
                 - in a systole.toml: exclusive = false, where running twice does no harm",
            )),
    );
}

/// There must be something to ask for.
fn check_address(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    if is_taken_alone(group) {
        return;
    }
    // By the agent: an address that cannot be read is reported already.
    let has_address = group.resources.iter().any(|one| address::carries_addresses(&one.agent.value));
    let (message, label) = if !has_address && !group.resources.is_empty() && !group.lost_resources {
        (
            format!("nothing tells a pair who holds `{}`: it has no address to ask for", group.name.value),
            "no address",
        )
    } else if let (true, true) = (has_address, group.clones.is_some()) {
        let why = format!("nothing tells a pair who holds an instance of `{}`", group.name.value);
        (why, "every node answers for its address")
    } else {
        return;
    };
    let help = match (draft.dialect, safety::is_exclusive(group)) {
        (Dialect::Heartbeat, _) => {
            "put an address into its line, or write a stonith line, or a systole.toml with an arbiter on a third machine"
        }
        (Dialect::Toml, true) => {
            "add an arbiter on a third machine ([node.NAME] arbiter = true), or fencing ([tiebreak] method = \"fence\")"
        }
        (Dialect::Toml, false) => {
            "add an arbiter on a third machine ([node.NAME] arbiter = true), or fencing ([tiebreak] method = \"fence\"), or promise = \"at-least-one\""
        }
    };
    findings.push(Diagnostic::mistake(group.name.place, message).label(label).help(help));
}

/// What starts before the address cannot be seen by the other node.
fn check_order(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let is_address = |one: &DraftResource| address::carries_addresses(&one.agent.value);
    let Some(first) = group.resources.iter().find(|one| !one.warm) else { return };
    let Some(address) = group.resources.iter().find(|one| is_address(one)) else { return };
    if is_address(first) || is_taken_alone(group) {
        return;
    }
    findings.push(
        Diagnostic::warning(
            first.agent.place,
            format!("`{}` starts `{}` before its address", group.name.value, first.agent.value),
        )
        .label("the other node cannot see it")
        .also(address.agent.place, "the other node asks for this one")
        .help(draft.dialect.say(
            "list the address first: until it answers, nothing shows the other node that the group is taken, and it may take it as well",
            "write the address first in the line: until it answers, nothing shows the other node that the group is taken, and it may take it as well",
        )),
    );
}
