//! Groups: names, whom they prefer, and what they hang on.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftGroup, Name, Placed};
use crate::config::limits;
use crate::config::model::Reach;
use crate::types::GroupId;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    check_names(draft, findings);
    for group in &draft.groups {
        let name = &group.name.value;
        names::check_owners(draft, &format!("`prefer` of `{name}`"), &group.prefer, findings);
        names::check_owners(draft, &format!("`only` of `{name}`"), &group.only, findings);
        check_preferred(draft, group, findings);
        check_with(draft, group, findings);
        for other in &group.after {
            names::find_group(draft, &format!("`after` of `{name}`"), other, findings);
        }
        for other in &group.apart {
            check_apart(draft, group, other, findings);
        }
        check_reach(draft, group, findings);
    }
    let waits = |group: &DraftGroup| group.with.iter().chain(&group.after).cloned().collect();
    let help = "take one `with` or `after` away: none of them could ever start";
    check_cycles(draft, &waits, ("wait for each other", help), findings);
    let avoids = |group: &DraftGroup| group.with.iter().chain(&group.apart).cloned().collect();
    let help = "take one `apart` away: it is enough that one of two keeps away from the other";
    check_cycles(draft, &avoids, ("keep apart in a circle", help), findings);
    if draft.groups.is_empty() && !draft.lost.groups {
        findings.push(
            Diagnostic::warning(Place::whole(0), "there is no group: nothing to own, nothing to move").help(
                draft.dialect.say(
                    "add a [group.NAME], or lines of `haresources`",
                    "add a line to haresources: lb0 192.168.232.20/24/eth0 httpd",
                ),
            ),
        );
    }
}

/// The names a group has in the cluster: its own, and those of its instances.
pub(super) fn instance_names(group: &DraftGroup) -> Vec<String> {
    match &group.clones {
        Some(clones) => (0..clones.value).map(|index| format!("{}:{index}", group.name.value)).collect(),
        None => vec![group.name.value.clone()],
    }
}

fn check_names(draft: &Draft, findings: &mut Findings) {
    let mut names: Vec<Name> = Vec::new();
    let mut instances = 0;
    for group in &draft.groups {
        names::check_group_name("group", &group.name, findings);
        names.push(group.name.clone());
        if group.clones.is_some() {
            names.extend(instance_names(group).into_iter().map(|name| Placed::new(name, group.name.place)));
        }
        instances += group.clones.as_ref().map_or(1, |clones| usize::from(clones.value));
        if instances > limits::GROUPS {
            let place = group.clones.as_ref().map_or(group.name.place, |clones| clones.place);
            findings.push(
                Diagnostic::mistake(place, format!("more than {} groups", limits::GROUPS))
                    .label("the first beyond, each instance counted")
                    .help("put what moves together into one group, or make several clusters: every beat tells of every group"),
            );
            break;
        }
    }
    let help = draft.dialect.say(
        "rename one of them; a line of `haresources` is named after its first address",
        "a line is named after its first address, or else its first resource: let each line begin with one of its own",
    );
    names::check_unique("group", &names, |name| GroupId::of(name).0, help, findings);
}

fn check_preferred(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    if group.only.is_empty() {
        return;
    }
    for name in &group.prefer {
        let is_known = draft.nodes.iter().any(|node| node.name.value == name.value);
        if is_known && group.only.iter().all(|only| only.value != name.value) {
            findings.push(
                Diagnostic::mistake(
                    name.place,
                    format!("`{}` prefers `{}`, and may not be there", group.name.value, name.value),
                )
                .label("not in `only`")
                .help("add it to `only`, or leave it out here"),
            );
        }
    }
}

fn check_with(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let Some(with) = &group.with else { return };
    let name = &group.name.value;
    let Some(other) = names::find_group(draft, &format!("`with` of `{name}`"), with, findings) else {
        return;
    };
    let why = if other.clones.is_some() {
        Some((format!("`{}` is cloned", other.name.value), "its instances are on many nodes"))
    } else if group.clones.is_some() {
        Some((format!("`{name}` is cloned"), "clones spread, and `with` gathers"))
    } else if cannot_meet(group, other) {
        Some(("their `only` have no node in common".to_owned(), "there is no node where both may be"))
    } else {
        None
    };
    if let Some((why, label)) = why {
        findings.push(
            Diagnostic::mistake(with.place, format!("`{name}` cannot go with `{}`: {why}", other.name.value))
                .label(label)
                .help(
                    "use `after` if it needs the other only to be held somewhere, or put both into one group",
                ),
        );
    }
}

fn check_apart(draft: &Draft, group: &DraftGroup, other: &Name, findings: &mut Findings) {
    let name = &group.name.value;
    if names::find_group(draft, &format!("`apart` of `{name}`"), other, findings).is_none() {
        return;
    }
    let (why, help) = if group.clones.is_some() {
        (
            "its instances are on many nodes",
            "write `apart` in the other group, which keeps away from all of them",
        )
    } else if group.with.is_some() {
        ("it goes with another group", "write `apart` in the group that it goes with")
    } else {
        return;
    };
    findings.push(
        Diagnostic::mistake(other.place, format!("`{name}` cannot keep apart from `{}`", other.value))
            .label(why)
            .help(help),
    );
}

fn cannot_meet(one: &DraftGroup, other: &DraftGroup) -> bool {
    !one.only.is_empty()
        && !other.only.is_empty()
        && one.only.iter().all(|name| other.only.iter().all(|only| only.value != name.value))
}

fn check_reach(draft: &Draft, group: &DraftGroup, findings: &mut Findings) {
    let Some(Placed { value: Reach::AtLeast(least), place }) = &group.reach else { return };
    // Without targets each service interface's gateway is asked, and that is one.
    let targets = draft.ping.len().max(1);
    if usize::from(*least) > targets {
        findings.push(
            Diagnostic::mistake(
                *place,
                format!("`{}` asks for more ping targets than there are", group.name.value),
            )
            .label(format!("there are {targets}; a group of targets counts once"))
            .help("write a smaller number, or add targets to [tiebreak] ping"),
        );
    }
}

/// What follows from one group to the next must have an end.
fn check_cycles(
    draft: &Draft,
    next: &dyn Fn(&DraftGroup) -> Vec<Name>,
    words: (&str, &str),
    findings: &mut Findings,
) {
    let groups: BTreeMap<&str, &DraftGroup> =
        draft.groups.iter().map(|group| (group.name.value.as_str(), group)).collect();
    let mut done = BTreeSet::new();
    for start in &draft.groups {
        let mut path: Vec<&str> = Vec::new();
        // What is still to be looked at, with the length of the path that led there.
        let mut open = vec![(start.name.value.as_str(), start.name.place, 0)];
        while let Some((name, place, depth)) = open.pop() {
            path.truncate(depth);
            if let Some(first) = path.iter().position(|seen| *seen == name) {
                report_cycle(&path[first..], place, words, findings);
                continue;
            }
            let Some(group) = groups.get(name) else { continue };
            if !done.insert(name) {
                continue;
            }
            path.push(name);
            for next in next(group) {
                if let Some((name, _)) = groups.get_key_value(next.value.as_str()) {
                    open.push((name, next.place, path.len()));
                }
            }
        }
    }
}

fn report_cycle(path: &[&str], place: Place, (what, help): (&str, &str), findings: &mut Findings) {
    let Some(first) = path.first() else { return };
    let way: Vec<String> = path.iter().chain([first]).map(|name| format!("`{name}`")).collect();
    findings.push(
        Diagnostic::mistake(place, format!("groups {what}: {}", way.join(", then ")))
            .label("closes the circle")
            .help(help),
    );
}
