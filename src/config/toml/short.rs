//! The short form: Heartbeat's `haresources` as a text inside `systole.toml`. Its lines are read by Heartbeat's own
//! reader; here their places are found in the file.

use crate::config::diagnostic::{Findings, Place};
use crate::config::draft::{Draft, Name};
use crate::config::heartbeat::haresources::{self, Lines};

/// Reads the lines in `value`, whose place is that of the whole literal in `text`.
pub(super) fn read(text: &str, value: Name, draft: &mut Draft, findings: &mut Findings) {
    let literal = text.get(value.place.start..value.place.end).unwrap_or_default();
    let offsets = offsets(literal, &value.value);
    let file = value.place.file;
    let start = value.place.start;
    let place = |at: usize| start + offsets.get(at).or(offsets.last()).copied().unwrap_or(0);
    let lines =
        Lines { text: &value.value, place: &|from, to| Place { file, start: place(from), end: place(to) } };
    haresources::read(&lines, haresources::Defaults::default(), draft, findings);
}

/// For each byte of the value, and one past it, where it stands in the literal: escapes and joined lines are longer
/// there than in the value.
fn offsets(literal: &str, value: &str) -> Vec<usize> {
    let quotes = literal.len() - literal.trim_start_matches(['"', '\'']).len();
    let quotes = if quotes >= 3 { 3 } else { 1 };
    let mut at = quotes.min(literal.len());
    let is_basic = literal.starts_with('"');
    if quotes == 3 {
        let rest = literal.get(at..).unwrap_or_default();
        at += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut offsets = Vec::with_capacity(value.len() + 1);
    for c in value.chars() {
        let rest = literal.get(at..).unwrap_or_default();
        let (skipped, width) = if is_basic { escape(rest, c) } else { (0, c.len_utf8()) };
        offsets.extend(std::iter::repeat_n(at + skipped, c.len_utf8()));
        at += skipped + width;
    }
    offsets.push(at);
    offsets
}

/// What stands before the next character, and how long it is itself.
fn escape(rest: &str, c: char) -> (usize, usize) {
    let mut skipped = 0;
    // A backslash at the end of a line joins it with the next.
    while let Some(after) = rest.get(skipped..).and_then(|rest| rest.strip_prefix('\\')) {
        let next = after.trim_start_matches([' ', '\t', '\r', '\n']);
        if !after[..after.len() - next.len()].contains('\n') {
            break;
        }
        skipped += 1 + after.len() - next.len();
    }
    let here = rest.get(skipped..).unwrap_or_default();
    let width = match here.strip_prefix('\\').and_then(|escape| escape.chars().next()) {
        Some('u') => 6,
        Some('U') => 10,
        Some('x') => 4,
        Some(_) => 2,
        None if c == '\n' && here.starts_with("\r\n") => 2,
        None => c.len_utf8(),
    };
    (skipped, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_an_escaped_text_is_found_where_it_stands() {
        let literal = "\"\"\"\nlb0 \\\n   10.0.0.1\\tpen\n\"\"\"";
        let value = "lb0 10.0.0.1\tpen\n";
        let offsets = offsets(literal, value);
        for word in ["lb0", "10.0.0.1", "pen"] {
            let at = value.find(word).unwrap();
            assert_eq!(offsets[at], literal.find(word).unwrap(), "{word}");
        }
    }
}
