//! What in a file of keys must not be shown.

/// Shorter ones could stand in a message by chance.
const LONG: usize = 16;

/// The words of a file of keys that are long enough to be looked for in what is shown. Comments are no secrets, and a
/// word of few different characters could be a line that underlines something.
pub(crate) fn long(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(str::split_whitespace).filter(|word| word.len() >= LONG && is_various(word))
}

fn is_various(word: &str) -> bool {
    let mut seen: Vec<char> = word.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() > 4
}
