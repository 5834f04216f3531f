//! The text of a `keepalived.conf`: words and blocks in brackets, with comments, quotes and parameters.
//!
//! Parameters of one line are put in as keepalived does. What depends on the node (`@`), counts (`~SEQ`, `~LST`) or spans
//! lines is said and left out; so is what other files hold.

use std::collections::BTreeMap;

use crate::config::import::Imported;

/// Blocks within blocks: a page of a check has four.
const DEPTH: usize = 16;

/// A parameter within a parameter, and so on.
const ROUNDS: usize = 32;

/// A line, with its parameters put in: keepalived's own limit is less.
const LINE_BYTES: usize = 16 * 1024;

/// A directive: its words, and what stands in its brackets.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) words: Vec<String>,
    /// The line as it stands, for what has escapes in it.
    pub(super) whole: String,
    pub(super) inner: Option<Vec<Entry>>,
}

impl Entry {
    /// Its first word.
    pub(super) fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Its second word.
    pub(super) fn value(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    /// What stands in its brackets.
    pub(super) fn inner(&self) -> &[Self] {
        self.inner.as_deref().unwrap_or_default()
    }

    /// The directive inside with this name: the last one counts.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        self.inner().iter().rev().find(|entry| entry.key() == key)
    }

    /// `on`, `true`, `yes`, or nothing behind it.
    pub(super) fn is_on(&self) -> bool {
        !self.value().is_some_and(|value| matches!(value, "off" | "false" | "no"))
    }
}

/// Everything that stands in no bracket.
pub(super) fn read(text: &str, imported: &mut Imported) -> Vec<Entry> {
    let mut reader = Reader { open: vec![Entry::default()], ..Reader::default() };
    for (line, whole) in (1..).zip(text.lines()) {
        let said = imported.left.len();
        reader.take(line, whole, imported);
        if whole.contains('\0') && imported.left.len() == said {
            imported.leave(line, "a zero byte: this is no text");
        }
    }
    // A block that is not closed ends with the file.
    while reader.open.len() > 1 {
        if let Some(block) = reader.open.last() {
            imported.leave(block.line, "this bracket is never closed");
        }
        reader.close();
    }
    reader.open.pop().and_then(|top| top.inner).unwrap_or_default()
}

#[derive(Default)]
struct Reader {
    /// The blocks around what comes next, the file itself first.
    open: Vec<Entry>,
    /// Blocks that are too deep in others.
    too_deep: usize,
    parameters: BTreeMap<String, String>,
    /// The lines of a parameter that spans several.
    in_parameter: bool,
}

impl Reader {
    fn take(&mut self, line: usize, whole: &str, imported: &mut Imported) {
        let Some(text) = without_comment(whole) else {
            return imported.leave(line, "a quote is never closed");
        };
        if self.in_parameter {
            self.in_parameter = text.ends_with('\\');
            return;
        }
        if let Some((name, value)) = definition(&text) {
            if value.ends_with('\\') {
                self.in_parameter = true;
                let what =
                    format!("`${name}` spans several lines, and is left out: write them where it stands");
                return imported.leave(line, what);
            }
            self.parameters.insert(name.to_owned(), value.to_owned());
            return;
        }
        let Some(text) = self.put_in(&text) else {
            return imported.leave(line, "with its parameters put in, this line has no end");
        };
        // What stands in such a block is left out with it.
        let is_left = text.starts_with(['@', '~']);
        if is_left {
            let what = if text.starts_with('@') {
                "what holds for some nodes only is left out: the file is the same on every node"
            } else {
                "`~SEQ` and `~LST` are left out: write each of the lines"
            };
            imported.leave(line, what);
        }
        self.words(line, &text, is_left, imported);
    }

    fn words(&mut self, line: usize, text: &str, is_left: bool, imported: &mut Imported) {
        let mut entry = Entry { line, whole: text.to_owned(), ..Entry::default() };
        for (word, is_quoted) in split(text) {
            match word {
                "{" if !is_quoted => self.open(std::mem::take(&mut entry), line, is_left, imported),
                "}" if !is_quoted => {
                    self.push(std::mem::take(&mut entry), is_left);
                    if self.too_deep == 0 && self.open.len() == 1 {
                        imported.leave(line, "a bracket is closed that was never opened");
                    }
                    self.close();
                }
                word => {
                    if entry.words.is_empty() {
                        entry = Entry { line, whole: text.to_owned(), ..Entry::default() };
                    }
                    entry.words.push(word.to_owned());
                }
            }
        }
        self.push(entry, is_left);
    }

    fn push(&mut self, entry: Entry, is_left: bool) {
        if entry.words.is_empty() || is_left || self.too_deep > 0 {
            return;
        }
        if let Some(block) = self.open.last_mut() {
            block.inner.get_or_insert_default().push(entry);
        }
    }

    /// A bracket opens what stands before it, in its line or in the one before.
    fn open(&mut self, entry: Entry, line: usize, is_left: bool, imported: &mut Imported) {
        if self.open.len() > DEPTH {
            if self.too_deep == 0 {
                imported.leave(line, "blocks within blocks, and none of keepalived's is so deep");
            }
            self.too_deep += 1;
            return;
        }
        let before =
            |block: &mut Entry| block.inner.as_mut().and_then(|inner| inner.pop_if(|e| e.inner.is_none()));
        let head = if is_left {
            Entry { line, ..Entry::default() }
        } else if entry.words.is_empty() {
            let head = self.open.last_mut().and_then(before);
            if head.is_none() {
                imported.leave(line, "a bracket is opened, and nothing says what for");
            }
            head.unwrap_or(Entry { line, ..Entry::default() })
        } else {
            entry
        };
        self.open.push(Entry { inner: Some(Vec::new()), ..head });
    }

    fn close(&mut self) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if self.open.len() > 1
            && let Some(block) = self.open.pop()
        {
            self.push(block, false);
        }
    }

    /// `$NAME` before a blank or the end, and `${NAME}`; what has no value stays as it is. `None`: it never ends.
    fn put_in(&self, text: &str) -> Option<String> {
        let mut text = text.to_owned();
        for _ in 0..ROUNDS {
            let put = self.put_in_once(&text);
            if put == text {
                return Some(text);
            }
            text = put;
            if text.len() > LINE_BYTES {
                return None;
            }
        }
        None
    }

    fn put_in_once(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((name, behind)) => (name, behind),
                None => after.split_at(after.find(ends_name).unwrap_or(after.len())),
            };
            match self.parameters.get(name) {
                Some(value) => {
                    out.push_str(value);
                    rest = behind;
                }
                None => {
                    out.push('$');
                    rest = after;
                }
            }
            // More is not looked at, and never grows further.
            if out.len() > LINE_BYTES {
                break;
            }
        }
        out.push_str(rest);
        out
    }
}

/// What may stand behind a name without brackets.
fn ends_name(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, ',' | ')')
}

/// `$NAME=VALUE`
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name, value.trim()))
}

/// A `#` or a `!` begins a comment anywhere but in quotes. `None`: a quote is not closed.
fn without_comment(line: &str) -> Option<String> {
    let (mut out, mut is_quoted) = (String::new(), false);
    let mut letters = line.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' if !is_quoted && letters.peek().is_some_and(|next| matches!(next, '#' | '!')) => {
                out.extend(letters.next());
                continue;
            }
            '\\' => {
                out.push('\\');
                out.extend(letters.next());
                continue;
            }
            '#' | '!' if !is_quoted => break,
            _ => {}
        }
        out.push(letter);
    }
    (!is_quoted).then(|| out.trim_end().to_owned())
}

/// Words, and whether they stood in quotes. A bracket at the end of a word is one of its own.
fn split(text: &str) -> Vec<(&str, bool)> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('"') {
            let (word, after) = inner.split_once('"').unwrap_or((inner, ""));
            words.push((word, true));
            rest = after.trim_start();
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match word.strip_suffix('{') {
            Some(head) if !head.is_empty() && !head.ends_with('$') => {
                words.extend([(head, false), ("{", false)])
            }
            _ => words.push((word, false)),
        }
        rest = after.trim_start();
    }
    words
}

/// Words of a line as a shell would have them: quotes of both kinds, and escapes everywhere.
pub(super) fn unescaped(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_word) = (Vec::new(), String::new(), false);
    let (mut quote, mut letters) = (None, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                is_word = true;
                word.extend(escape(&mut letters));
            }
            '"' | '\'' if quote.is_none() => (quote, is_word) = (Some(letter), true),
            letter if quote == Some(letter) => quote = None,
            letter if letter.is_whitespace() && quote.is_none() => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            letter => {
                is_word = true;
                word.push(letter);
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

/// What stands behind a backslash.
fn escape(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let first = letters.next()?;
    let is_digit = |base: u32| move |letter: &char| letter.is_digit(base);
    match first {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'E' => Some('\u{1b}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'c' => letters.next().and_then(|letter| char::from_u32(u32::from(letter) & 0x1f)),
        'x' if letters.peek().is_some_and(is_digit(16)) => {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(is_digit(16)) {
                digits.push(digit);
            }
            let last = digits.get(digits.len().saturating_sub(2)..).unwrap_or_default();
            u8::from_str_radix(last, 16).ok().map(char::from)
        }
        '0'..='7' => {
            let mut value = first.to_digit(8)?;
            for _ in 0..2 {
                let Some(digit) = letters.next_if(is_digit(8)).and_then(|digit| digit.to_digit(8)) else {
                    break;
                };
                value = value * 8 + digit;
            }
            char::from_u32(value & 0xff)
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entries: &[Entry]) -> String {
        let one = |entry: &Entry| {
            let inner = entry.inner.as_deref().map(|inner| format!(" {{ {}}}", shown(inner)));
            format!("{}:{}{}; ", entry.line, entry.words.join("|"), inner.unwrap_or_default())
        };
        entries.iter().map(one).collect()
    }

    fn read_all(text: &str) -> (String, String) {
        let mut imported = Imported::default();
        let entries = read(text, &mut imported);
        let left = imported.left.iter().map(|left| format!("{}: {}\n", left.line, left.what)).collect();
        (shown(&entries), left)
    }

    #[test]
    fn words_are_those_of_keepalived() {
        for (text, expected) in [
            ("a b # c\n!d\n  e f!g", "1:a|b; 3:e|f; "),
            ("a {\n b \"c # d\" \\#e\n}\n", "1:a { 2:b|c # d|#e; }; "),
            ("a\n{\nb\n}", "1:a { 3:b; }; "),
            ("url { path / }", "1:url { 1:path|/; }; "),
            ("url{\nregex a{2}\n}", "1:url { 2:regex|a{2}; }; "),
            (
                "$A=1\n$B=10.0.${A}\nvip ${B}.1 $A\n$A=2\nvip ${B}.1 $C ${C}",
                "3:vip|10.0.1.1|1; 5:vip|10.0.2.1|$C|${C}; ",
            ),
        ] {
            assert_eq!(read_all(text), (expected.to_owned(), String::new()), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_line() {
        for (text, expected, said) in [
            ("a {\nb", "1:a { 2:b; }; ", "1: this bracket is never closed\n"),
            ("a\n}\nb", "1:a; 3:b; ", "2: a bracket is closed that was never opened\n"),
            ("{\na\n}\nb", "4:b; ", "1: a bracket is opened, and nothing says what for\n"),
            ("a \"b\nc", "2:c; ", "1: a quote is never closed\n"),
            (
                "@x a {\nb\n}\nc",
                "4:c; ",
                "1: what holds for some nodes only is left out: the file is the same on every node\n",
            ),
            ("~SEQ(A, 3) a\nb", "2:b; ", "1: `~SEQ` and `~LST` are left out: write each of the lines\n"),
            (
                "$A=b \\\nc \\\nd\ne",
                "4:e; ",
                "1: `$A` spans several lines, and is left out: write them where it stands\n",
            ),
            ("$A=${A}${A}x\na ${A}\nb", "3:b; ", "2: with its parameters put in, this line has no end\n"),
            ("a \0", "1:a|\0; ", "1: a zero byte: this is no text\n"),
        ] {
            assert_eq!(read_all(text), (expected.to_owned(), said.to_owned()), "{text:?}");
        }
        let deep = "a {\n".repeat(100_000);
        assert!(read_all(&deep).1.contains("17: blocks within blocks"));
    }

    #[test]
    fn escapes_are_those_of_a_shell() {
        let words = unescaped(r#"regex "a \"b\" \\d" 'c d'e \x41\102\cA"#);
        assert_eq!(words, ["regex", "a \"b\" \\d", "c de", "AB\u{1}"]);
    }
}
