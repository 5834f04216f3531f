//! The files of the house, and just enough of Rust's grammar to tell code from comments, strings and tests. It reads
//! what rustfmt has written; it is no parser.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// One file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) executable: bool,
    /// Empty for what is not Rust.
    pub(crate) lines: Vec<Line>,
    /// The code of a Rust file, without comments and without what is in strings.
    pub(crate) tokens: Vec<Token>,
}

/// One line of a Rust file. `code` has a blank for each character of a comment or in a string.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) raw: String,
    pub(crate) code: String,
    pub(crate) comment: String,
    /// How many characters of it are in strings.
    pub(crate) quoted: usize,
    pub(crate) is_test: bool,
}

/// A word or a mark.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) is_test: bool,
    /// How many `mod name { }` of this file are around it.
    pub(crate) modules: usize,
}

/// A path as it stands in the code, with the braces of `use` multiplied out.
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_test: bool,
    pub(crate) modules: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            executable: false,
            lines: Vec::new(),
            tokens: Vec::new(),
        };
        if path.ends_with(".rs") {
            source.lines = split(text);
            source.tokens = tokens(&source.lines);
            mark_modules(&mut source.tokens);
            mark_tests(&mut source);
        }
        source
    }

    /// Numbered from 1, as editors do.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The part of the house that this file of `src/` belongs to: a folder, or a file beside `lib.rs`.
    pub(crate) fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Every path in the code.
    pub(crate) fn paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if is_word(&self.tokens[at].text) {
                at = self.path_at(at, &[], &mut found);
            } else {
                at += 1;
            }
        }
        found
    }

    /// Reads the path that begins at `at`, after `before`; says where it ends.
    fn path_at(&self, mut at: usize, before: &[String], found: &mut Vec<NamedPath>) -> usize {
        let first = at;
        let mut segments = before.to_vec();
        segments.push(self.tokens[at].text.clone());
        at += 1;
        while self.text_at(at) == "::" {
            let next = self.text_at(at + 1);
            if next == "{" {
                return self.braces_at(at + 2, &segments, found);
            } else if !is_word(next) && next != "*" {
                break;
            }
            segments.push(next.to_owned());
            at += 2;
        }
        let Token { line, is_test, modules, .. } = self.tokens[first];
        found.push(NamedPath { segments, line, is_test, modules });
        at
    }

    /// Reads what stands in the braces of a `use`.
    fn braces_at(&self, mut at: usize, before: &[String], found: &mut Vec<NamedPath>) -> usize {
        while at < self.tokens.len() && self.text_at(at) != "}" {
            if is_word(self.text_at(at)) || self.text_at(at) == "*" {
                at = self.path_at(at, before, found);
            } else {
                at += 1;
            }
        }
        at + 1
    }

    pub(crate) fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Every file that git knows or would add, read once.
pub(crate) fn house() -> &'static [Source] {
    static HOUSE: OnceLock<Vec<Source>> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let root = root();
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("git runs: tests/run sees to it");
        assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).expect("the names of our files are plain text");
        names.split('\0').filter_map(|name| read(root, name)).collect()
    })
}

/// Where the house stands.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of text; `None` for one that git lists and somebody has just deleted, and for what is not text.
fn read(root: &Path, name: &str) -> Option<Source> {
    use std::os::unix::fs::PermissionsExt;
    let path = root.join(name);
    let about = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    let mut source = Source::new(name, &text);
    source.executable = about.permissions().mode() & 0o111 != 0;
    Some(source)
}

/// What the reader is in.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// Splits a Rust file into lines of code and comment.
fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == '\n' {
            state = if state == State::LineComment { State::Code } else { state };
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let (length, next) = piece(&chars, at, state);
        for &c in &chars[at..(at + length).min(chars.len())] {
            // A line break inside a piece (a backslash at the end of a string's line) still ends the line.
            if c == '\n' {
                lines.push(Line::default());
            } else if let Some(line) = lines.last_mut() {
                let is_literal = state == State::Code && next == State::Code && length > 1;
                put(line, c, is_literal, state, next);
            }
        }
        state = next;
        at += length;
    }
    lines
}

fn put(line: &mut Line, c: char, is_literal: bool, state: State, next: State) {
    line.raw.push(c);
    let comment = |state| matches!(state, State::LineComment | State::BlockComment(_));
    let text = |state| matches!(state, State::Text | State::RawText(_));
    let is_quote = c == '"' && text(state) != text(next);
    line.quoted += usize::from(text(state) && !is_quote);
    let is_code = is_quote || !is_literal && state == State::Code && next == State::Code;
    line.code.push(if is_code { c } else { ' ' });
    if comment(state) || comment(next) {
        line.comment.push(c);
    }
}

/// How many characters belong together at `at`, and the state after them.
fn piece(chars: &[char], at: usize, state: State) -> (usize, State) {
    let next = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    match (state, chars[at]) {
        (State::Code, '/') if next(1) == '/' => (2, State::LineComment),
        (State::Code, '/') if next(1) == '*' => (2, State::BlockComment(1)),
        (State::Code, '"') => (1, State::Text),
        (State::Code, 'r') if starts_raw_text(chars, at) => {
            let hashes = (1..).take_while(|&ahead| next(ahead) == '#').count();
            (hashes + 2, State::RawText(hashes))
        }
        // A character; what else begins with this mark is a lifetime.
        (State::Code, '\'') if next(1) == '\\' => {
            let rest = (3..).take_while(|&ahead| next(ahead) != '\'' && next(ahead) != '\0').count();
            (rest + 4, State::Code)
        }
        (State::Code, '\'') if next(2) == '\'' => (3, State::Code),
        (State::BlockComment(depth), '/') if next(1) == '*' => (2, State::BlockComment(depth + 1)),
        (State::BlockComment(1), '*') if next(1) == '/' => (2, State::Code),
        (State::BlockComment(depth), '*') if next(1) == '/' => (2, State::BlockComment(depth - 1)),
        (State::Text, '\\') => (2, State::Text),
        (State::Text, '"') => (1, State::Code),
        (State::RawText(hashes), '"') if (1..=hashes).all(|ahead| next(ahead) == '#') => {
            (hashes + 1, State::Code)
        }
        (state, _) => (1, state),
    }
}

fn starts_raw_text(chars: &[char], at: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let before = |back: usize| at.checked_sub(back).map_or(' ', |index| chars[index]);
    let prefixed = matches!(before(1), 'b' | 'c') && !word(before(2));
    let after = chars[at + 1..].iter().find(|&&c| c != '#');
    (prefixed || !word(before(1))) && after == Some(&'"')
}

fn tokens(lines: &[Line]) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mut open = false;
        for c in line.code.chars() {
            let word = c.is_alphanumeric() || c == '_';
            match found.last_mut() {
                Some(last) if open && word => last.text.push(c),
                Some(last) if c == ':' && last.text == ":" && last.line == index + 1 => last.text.push(c),
                _ if c.is_whitespace() => {}
                _ => found.push(Token { text: c.to_string(), line: index + 1, is_test: false, modules: 0 }),
            }
            open = word;
        }
    }
    found
}

fn mark_modules(tokens: &mut [Token]) {
    let mut braces = Vec::new();
    for at in 0..tokens.len() {
        match tokens[at].text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(braces.pop()),
            _ => {}
        }
        tokens[at].modules = braces.iter().filter(|&&is_module| is_module).count();
    }
}

/// Marks what is only built for tests: whole files, and the item after `#[cfg(test)]`.
fn mark_tests(source: &mut Source) {
    let path = &source.path;
    let file = !path.starts_with("src/") || path.ends_with("/tests.rs") || path.contains("/tests/");
    let mut ranges = Vec::new();
    for at in 0..source.tokens.len() {
        let names = ["#", "[", "cfg", "("];
        let is_cfg = names.iter().enumerate().all(|(ahead, name)| source.text_at(at + ahead) == *name);
        let close = (at..source.tokens.len()).find(|&end| source.text_at(end) == "]");
        let (true, Some(close)) = (is_cfg, close) else { continue };
        let inside = &source.tokens[at..close];
        if inside.iter().any(|token| token.text == "test") && inside.iter().all(|token| token.text != "not") {
            ranges.push((at, end_of_item(source, close + 1)));
        }
    }
    for line in &mut source.lines {
        line.is_test = file;
    }
    for token in &mut source.tokens {
        token.is_test = file;
    }
    for (from, to) in ranges {
        let to = to.min(source.tokens.len() - 1);
        for token in &mut source.tokens[from..=to] {
            token.is_test = true;
        }
        let (first, last) = (source.tokens[from].line, source.tokens[to].line);
        for line in &mut source.lines[first - 1..last] {
            line.is_test = true;
        }
    }
}

fn end_of_item(source: &Source, from: usize) -> usize {
    let mut depth = 0_usize;
    for at in from..source.tokens.len() {
        match source.text_at(at) {
            "{" | "(" | "[" => depth += 1,
            "}" if depth <= 1 => return at,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    source.tokens.len()
}

#[test]
fn comments_and_strings_are_not_code() {
    let text =
        "let a = \"x // y\"; // z\n/* one\n/* two */ */ let b = 'c'; let d: &'static str = r#\"e \" f\"#;\n";
    let source = Source::new("src/a.rs", text);
    let code: Vec<&str> = source.lines.iter().map(|line| line.code.trim()).collect();
    assert_eq!(code[0], "let a = \"      \";");
    assert!(code[1].is_empty());
    assert!(code[2].starts_with("let b =    ; let d: &'static str = "), "{}", code[2]);
    assert!(code[2].ends_with("\"     \" ;"), "{}", code[2]);
    assert_eq!(source.lines[0].comment, "// z");
}

#[test]
fn a_quote_as_a_character_opens_no_string() {
    let source = Source::new("src/a.rs", "let a = ['\"', '\\'', '\\u{41}', '{']; let b = hidden;\n");
    assert!(source.tokens.iter().any(|token| token.text == "hidden"));
    assert!(source.tokens.iter().all(|token| token.text != "{"));
}

#[test]
fn the_braces_of_a_use_are_multiplied_out() {
    let source =
        Source::new("src/a.rs", "use crate::{\n    b::{C, d::E},\n    f,\n};\nlet g = std::h::<u8>();\n");
    let named: Vec<String> = source.paths().iter().map(|path| path.segments.join("::")).collect();
    for wanted in ["crate::b::C", "crate::b::d::E", "crate::f", "std::h"] {
        assert!(named.iter().any(|name| name == wanted), "{wanted} is missing from {named:?}");
    }
}

#[test]
fn what_is_built_for_tests_only_is_known() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(not(test))]\nfn d() {}\n";
    let source = Source::new("src/a.rs", text);
    let tests: Vec<usize> =
        source.numbered().filter(|(_, line)| line.is_test).map(|(number, _)| number).collect();
    assert_eq!(tests, [2, 3, 4, 5]);
    assert!(Source::new("tests/a.rs", "fn a() {}\n").lines[0].is_test);
}
