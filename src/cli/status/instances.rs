//! The instances of a cloned group, such as the buckets of a shared address: who has which, on few lines.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::shape::Group;

use super::whole_name;

/// As a person reads it. They are of one cloned group.
pub(super) fn lines(instances: &[Group], width: usize) -> String {
    let name = instances.first().map(whole_name).unwrap_or_default();
    let mut text = format!("  {name:width$}  {} instances\n", instances.len());
    let mut line = |said: String| text.push_str(&format!("  {:width$}    {said}\n", ""));
    let mut served: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    let mut held: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    let mut moving: BTreeMap<(&str, &str), Vec<u16>> = BTreeMap::new();
    let mut waiting: BTreeMap<String, Alike<'_>> = BTreeMap::new();
    for (number, instance) in numbered(instances) {
        let Some(holder) = &instance.holder else {
            let because = (&instance.because, instance.because_text.as_str());
            Alike::add(&mut waiting, because, number);
            continue;
        };
        let here = if instance.served { &mut served } else { &mut held };
        here.entry(holder).or_default().push(number);
        if let Some(planned) = instance.planned.as_ref().filter(|planned| *planned != holder) {
            moving.entry((holder, planned)).or_default().push(number);
        }
    }
    for (holder, numbers) in served {
        line(format!("{} on {holder}: {}", numbers.len(), ranges(numbers)));
    }
    for (holder, numbers) in held {
        line(format!("held by {holder}, not running yet or any more: {}", ranges(numbers)));
    }
    for ((from, to), numbers) in moving {
        line(format!("on the way from {from} to {to}: {}", ranges(numbers)));
    }
    for Alike { text: why, numbers, .. } in waiting.into_values() {
        line(format!("NOT RUNNING: {}: {why}", ranges(numbers)));
    }
    if let Some(packets) = packets(instances) {
        line(packets);
    }
    unable(instances).into_iter().for_each(&mut line);
    text
}

fn numbered(instances: &[Group]) -> impl Iterator<Item = (u16, &Group)> {
    instances.iter().filter_map(|instance| Some((instance.instance.as_ref()?.index, instance)))
}

/// Which instances are not on which nodes, and why: a node may be fit for some of them only.
fn unable(instances: &[Group]) -> Vec<String> {
    let nodes = instances.first().into_iter().flat_map(|group| &group.nodes).map(|able| able.node.as_str());
    let mut lines = Vec::new();
    for node in nodes {
        let mut unable: BTreeMap<String, Alike<'_>> = BTreeMap::new();
        for (number, instance) in numbered(instances) {
            let here = instance.nodes.iter().filter(|able| able.node == node);
            for (because, text) in here.filter_map(|able| able.because.as_ref().zip(able.text.as_deref())) {
                Alike::add(&mut unable, (because, text), number);
            }
        }
        lines.extend(unable.into_values().map(|Alike { text, numbers, .. }| {
            if numbers.len() == instances.len() {
                format!("not on {node}: {text}")
            } else {
                format!("not on {node}: {}: {text}", ranges(numbers))
            }
        }));
    }
    lines
}

/// Instances of which the same is said.
struct Alike<'a> {
    /// As it is said of the one that waits longest.
    text: &'a str,
    wait_us: u64,
    numbers: Vec<u16>,
}

impl<'a> Alike<'a> {
    /// The same is what differs in nothing but how long it lasts yet: instances seldom fail at one moment.
    fn add(all: &mut BTreeMap<String, Self>, because: (&Value, &'a str), number: u16) {
        let (because, text) = because;
        let mut lasting = because.clone();
        let wait_us = take_wait(&mut lasting);
        let alike = all.entry(lasting.to_string()).or_insert(Self { text, wait_us, numbers: Vec::new() });
        if wait_us > alike.wait_us {
            (alike.text, alike.wait_us) = (text, wait_us);
        }
        alike.numbers.push(number);
    }
}

/// Takes out how long it is until something is tried again.
fn take_wait(because: &mut Value) -> u64 {
    let Some(fields) = because.as_object_mut() else { return 0 };
    let own = fields.remove("retry_in_us").and_then(|wait| wait.as_u64()).unwrap_or_default();
    fields.values_mut().map(take_wait).max().unwrap_or_default().max(own)
}

/// 0-3, 5, 8-9
fn ranges(mut numbers: Vec<u16>) -> String {
    numbers.sort_unstable();
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let shown = runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What this node has kept and dropped of them.
fn packets(instances: &[Group]) -> Option<String> {
    let mut counted = instances.iter().filter_map(|instance| instance.packets).peekable();
    counted.peek()?;
    let (kept, dropped) =
        counted.fold((0, 0), |(kept, dropped), packets| (kept + packets.kept, dropped + packets.dropped));
    Some(format!("packets on this node: {kept} kept, {dropped} left to others; each bucket's with --json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(vec![9, 0, 1, 2, 3, 5, 8]), "0-3, 5, 8-9");
        assert_eq!(ranges(Vec::new()), "");
    }
}
