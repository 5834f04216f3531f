//! What evidence can tell in a pair and what it cannot: whoever has to rely on more than that is refused, or warned.

use super::safety;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftGroup};
use crate::config::model::{Promise, TiebreakMethod};

/// Between two voters evidence is the third vote, and it is gathered by asking who answers for the groups' addresses.
pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    if draft.nodes.len() != 2 || safety::method(draft) != TiebreakMethod::Evidence {
        return;
    }
    for group in &draft.groups {
        check_address(draft, group, findings);
    }
}

fn is_taken_alone(group: &DraftGroup) -> bool {
    group.promise.as_ref().is_some_and(|promise| promise.value == Promise::AtLeastOne)
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
    let help = match (draft.dialect.say("toml", "heartbeat"), safety::is_exclusive(group)) {
        ("heartbeat", _) => {
            "put an address into its line, or write a systole.toml with an arbiter on a third machine"
        }
        (_, true) => {
            "add an arbiter on a third machine ([node.NAME] arbiter = true), or fencing ([tiebreak] method = \"fence\")"
        }
        (_, false) => {
            "add an arbiter on a third machine ([node.NAME] arbiter = true), or fencing ([tiebreak] method = \"fence\"), or promise = \"at-least-one\""
        }
    };
    findings.push(Diagnostic::mistake(group.name.place, message).label(label).help(help));
}
