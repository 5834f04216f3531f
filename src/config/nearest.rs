//! "Did you mean": the known name that is nearest to a mistyped one.

use super::limits;

/// The nearest of `known` to `written`, if it is near enough to be what was meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > 2 * limits::NAME_BYTES {
        return None;
    }
    let written = written.to_lowercase().replace('_', "-");
    let most = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&written, &name.to_lowercase().replace('_', "-")), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, a) in one.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(a != *b);
            let mut best = replaced.min(last[column + 1] + 1).min(line[column] + 1);
            if column > 0 && previous == Some(*b) && other[column - 1] == a {
                best = best.min(before_last[column - 1] + 1);
            }
            line.push(best);
        }
        before_last = std::mem::replace(&mut last, line);
        previous = Some(a);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["keepalive", "deadtime", "warntime"];
        assert_eq!(nearest("keepalvie", known), Some("keepalive"));
        assert_eq!(nearest("Dead_time", known), Some("deadtime"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
