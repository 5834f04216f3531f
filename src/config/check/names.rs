//! Names: whether they are names, whether they are unique, and whether they name something.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftGroup, Name};
use crate::config::{nearest, values};

/// Reports what is no name.
pub(super) fn check_name(what: &str, name: &Name, findings: &mut Findings) {
    report(what, name, values::name_fault(&name.value), findings);
}

/// As [`check_name`], for a group or a resource.
pub(super) fn check_group_name(what: &str, name: &Name, findings: &mut Findings) {
    report(what, name, values::group_name_fault(&name.value), findings);
}

fn report(what: &str, name: &Name, fault: Option<String>, findings: &mut Findings) {
    if let Some(fault) = fault {
        findings.push(
            Diagnostic::mistake(name.place, format!("\"{}\" cannot be the name of a {what}", name.value))
                .label(fault)
                .help("a name is written as a host's: letters, digits, -, . and _"),
        );
    }
}

/// Reports a name that is there twice, of things that are known by their names alone.
pub(super) fn check_once<'a>(
    what: &str,
    names: impl Iterator<Item = &'a Name> + Clone,
    help: &str,
    findings: &mut Findings,
) {
    let first = |name: &str| names.clone().position(|one| one.value == name);
    let id = |name: &str| first(name).and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX);
    check_unique(what, names.clone(), id, help, findings);
}

/// Reports a name that is there twice, and two names with one id.
pub(super) fn check_unique<'a>(
    what: &str,
    names: impl IntoIterator<Item = &'a Name>,
    id: impl Fn(&str) -> u32,
    help: &str,
    findings: &mut Findings,
) {
    let mut seen: BTreeMap<u32, &Name> = BTreeMap::new();
    for name in names {
        let Some(first) = seen.insert(id(&name.value), name) else { continue };
        let (message, help) = if first.value == name.value {
            (format!("two {what}s are named `{}`", name.value), help.to_owned())
        } else {
            let both = format!("the {what}s `{}` and `{}` have the same id", first.value, name.value);
            (
                both,
                "rename one of them: a name travels as a 32-bit number, and these two happen to share theirs"
                    .to_owned(),
            )
        };
        findings.push(
            Diagnostic::mistake(name.place, message)
                .label("the second")
                .also(first.place, "the first")
                .help(help),
        );
    }
}

/// Reports names in a list that name no node, an arbiter, or one node twice.
pub(super) fn check_owners(draft: &Draft, what: &str, names: &[Name], findings: &mut Findings) {
    check_nodes(draft, what, names, findings);
    for name in names {
        if draft.nodes.iter().any(|node| node.arbiter && node.name.value == name.value) {
            findings.push(
                Diagnostic::mistake(
                    name.place,
                    format!("`{}` is an arbiter and cannot be in {what}", name.value),
                )
                .label("votes, and owns nothing")
                .help("leave it out, or take `arbiter = true` from the node"),
            );
        }
    }
}

/// Reports names in a list that name no node, or one node twice.
pub(super) fn check_nodes(draft: &Draft, what: &str, names: &[Name], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.value.as_str()) {
            findings.push(
                Diagnostic::mistake(name.place, format!("`{}` is in {what} twice", name.value))
                    .label("again")
                    .help("leave out one of the two"),
            );
        } else if draft.nodes.iter().all(|node| node.name.value != name.value) {
            let known = draft.nodes.iter().map(|node| node.name.value.as_str());
            unknown("node", name, what, known, findings);
        }
    }
}

/// The group of this name; reports it if there is none.
pub(super) fn find_group<'a>(
    draft: &'a Draft,
    what: &str,
    name: &Name,
    findings: &mut Findings,
) -> Option<&'a DraftGroup> {
    let found = draft.groups.iter().find(|group| group.name.value == name.value);
    if found.is_none() {
        unknown("group", name, what, draft.groups.iter().map(|group| group.name.value.as_str()), findings);
    }
    found
}

fn unknown<'a>(
    kind: &str,
    name: &Name,
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    findings: &mut Findings,
) {
    let near = if findings.is_full() { None } else { nearest::nearest(&name.value, known.clone()) };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => match known.clone().take(8).collect::<Vec<_>>() {
            none if none.is_empty() => format!("there is no {kind} at all: add a [{kind}.NAME]"),
            some => format!("known {kind}s: {}", some.join(", ")),
        },
    };
    findings.push(
        Diagnostic::mistake(name.place, format!("{what} names an unknown {kind} `{}`", name.value))
            .label(format!("no such {kind}"))
            .help(help),
    );
}
