//! What in a file of keys must not be shown.

/// Shorter ones could stand in a message by chance.
const LONG: usize = 16;

/// The words of a file of keys that are long enough to be looked for in what is shown. Comments are no secrets, nor is
/// what stands in one, too, and a word of few different characters could be a line that underlines something.
pub(crate) fn long(text: &str) -> impl Iterator<Item = &str> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let in_a_comment = move |word: &str| text.lines().filter(is_comment).any(|line| line.contains(word));
    let lines = text.lines().filter(move |line| !is_comment(line));
    let words = lines.flat_map(str::split_whitespace);
    words.filter(move |word| word.len() >= LONG && is_various(word) && !in_a_comment(word))
}

fn is_various(word: &str) -> bool {
    let mut seen: Vec<char> = word.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() > 4
}
