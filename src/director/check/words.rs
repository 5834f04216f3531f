//! A stranger's bytes, short and harmless, for a log and a screen. No control character gets through, and nothing that turns
//! the direction of what is written.

/// Characters of a verdict.
pub const LONGEST: usize = 120;

/// Characters that are shown of what was heard.
const SEEN: usize = 60;

/// At most [`LONGEST`] characters of a text, on one line.
pub fn short(text: &str) -> String {
    cut(text.chars().flat_map(|c| visible(c, false)), LONGEST)
}

/// The beginning of some bytes, in quotes.
pub fn seen(bytes: &[u8]) -> String {
    // What is shown of a byte has at least one character.
    let beginning = bytes.get(..4 * SEEN).unwrap_or(bytes);
    let visible = beginning.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes());
        let valid = chunk.valid().chars().flat_map(|c| visible(c, true));
        valid.chain(invalid.map(char::from))
    });
    format!("\"{}\"", cut(visible, SEEN))
}

/// The first line of some bytes, in quotes.
pub fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    seen(line.strip_suffix(b"\r").unwrap_or(line))
}

/// A text that somebody else wrote, without quotes.
pub fn told(bytes: &[u8]) -> String {
    short(&String::from_utf8_lossy(bytes.get(..4 * LONGEST).unwrap_or(bytes)))
}

/// As it is, where a person can see it.
fn visible(c: char, in_quotes: bool) -> Vec<char> {
    match c {
        '\'' | '\\' => vec![c],
        '"' if !in_quotes => vec![c],
        _ => c.escape_debug().collect(),
    }
}

fn cut(characters: impl Iterator<Item = char>, length: usize) -> String {
    let mut text: String = characters.take(length + 1).collect();
    if let Some((last, _)) = text.char_indices().nth(length) {
        text.truncate(last);
        while text.chars().count() + 3 > length {
            text.pop();
        }
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(short("a\x1b[2Jb\r\n\u{202e}c \"d\" 'e' ä"), "a\\u{1b}[2Jb\\r\\n\\u{202e}c \"d\" 'e' ä");
        assert_eq!(seen(b"\xff\x00ok \"x\"\n"), "\"\\xff\\0ok \\\"x\\\"\\n\"");
        assert_eq!(first_line(b"220 mail\r\n250 more"), "\"220 mail\"");
    }

    #[test]
    fn no_text_is_longer_than_it_may_be() {
        for text in ["a".repeat(1_000), "\u{7}".repeat(1_000), "ä".repeat(LONGEST), "ä".repeat(LONGEST + 1)]
        {
            assert!(short(&text).chars().count() <= LONGEST);
            assert!(seen(text.as_bytes()).chars().count() <= SEEN + 2);
            assert!(told(text.as_bytes()).chars().count() <= LONGEST);
        }
        assert_eq!(short(&"ä".repeat(LONGEST)), "ä".repeat(LONGEST));
        assert!(short(&"ä".repeat(LONGEST + 1)).ends_with("ä..."));
    }
}
