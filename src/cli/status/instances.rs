//! The instances of a cloned group, such as the buckets of a shared address: who has which, on few lines.

use std::collections::BTreeMap;

use crate::control::shape::Group;

use super::whole_name;

/// As a person reads it. They are of one cloned group.
pub(super) fn lines(instances: &[Group], width: usize) -> String {
    let name = instances.first().map(whole_name).unwrap_or_default();
    let mut text = format!("  {name:width$}  {} instances\n", instances.len());
    let mut line = |said: String| text.push_str(&format!("  {:width$}    {said}\n", ""));
    let mut of: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    let mut waiting: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    let mut moving: BTreeMap<(&str, &str), Vec<u16>> = BTreeMap::new();
    for instance in instances {
        let Some(number) = instance.instance.as_ref().map(|instance| instance.index) else { continue };
        match (&instance.holder, &instance.planned) {
            (None, _) => waiting.entry(&instance.because_text).or_default().push(number),
            (Some(holder), Some(planned)) if holder != planned => {
                of.entry(holder).or_default().push(number);
                moving.entry((holder, planned)).or_default().push(number);
            }
            (Some(holder), _) => of.entry(holder).or_default().push(number),
        }
    }
    for (holder, numbers) in of {
        line(format!("{} on {holder}: {}", numbers.len(), ranges(numbers)));
    }
    for ((from, to), numbers) in moving {
        line(format!("on the way from {from} to {to}: {}", ranges(numbers)));
    }
    for (why, numbers) in waiting {
        line(format!("NOT RUNNING: {}: {why}", ranges(numbers)));
    }
    if let Some(packets) = packets(instances) {
        line(packets);
    }
    for able in instances.first().iter().flat_map(|group| &group.nodes) {
        if let Some(why) = &able.text {
            line(format!("not on {}: {why}", able.node));
        }
    }
    text
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
