//! What fits on a screen and into a head.

use super::source::{Source, house};
use super::{Finding, assert_clean, lines};

/// Lines of a file, without what it has for tests.
const FILE: usize = 700;
/// Lines of a function, with its signature.
const FUNCTION: usize = 70;
/// Characters of a line of code, as rustfmt has it. What is in strings does not count: a message stands whole, so that it
/// can be found by what it says.
const CODE_WIDTH: usize = 110;
/// Characters of a line that is only comment, or in a test, where whole files stand in strings.
const PROSE_WIDTH: usize = 125;

fn long_files(source: &Source) -> Vec<Finding> {
    let counted =
        source.lines.iter().filter(|line| !line.is_test || !source.path.starts_with("src/")).count();
    if counted <= FILE {
        return Vec::new();
    }
    let what = format!("{counted} lines, {FILE} allowed");
    vec![Finding::new(&source.path, FILE + 1, what, "split it by what changes together")]
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let named = source.text_at(at + 1).starts_with(|c: char| c.is_alphabetic() || c == '_');
        if token.text != "fn" || !named {
            continue;
        }
        let Some(last) = last_line(source, at) else { continue };
        let length = last + 1 - token.line;
        if length > FUNCTION {
            let what = format!("`{}` has {length} lines, {FUNCTION} allowed", source.text_at(at + 1));
            let mend = "take out the step that has a name of its own";
            found.push(Finding::new(&source.path, token.line, what, mend));
        }
    }
    found
}

/// The line on which the body of the function ends; `None` for one without a body.
fn last_line(source: &Source, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for token in &source.tokens[at..] {
        match token.text.as_str() {
            ";" if depth == 0 => return None,
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return Some(token.line),
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn long_lines(source: &Source) -> Vec<Finding> {
    let too_long = source.numbered().filter_map(|(number, line)| {
        let is_prose = line.is_test || line.code.trim().is_empty();
        let width = line.raw.chars().count() - line.quoted;
        let limit = if is_prose { PROSE_WIDTH } else { CODE_WIDTH };
        // An address cannot be broken.
        (width > limit && !line.raw.contains("://")).then_some((number, width, limit))
    });
    let finding = |(number, width, limit)| {
        let what = format!("{width} characters, {limit} allowed");
        Finding::new(&source.path, number, what, "break the line")
    };
    too_long.map(finding).collect()
}

#[test]
fn no_file_is_longer_than_a_person_reads_at_a_sitting() {
    assert_clean(&house().iter().flat_map(long_files).collect::<Vec<_>>());
}

#[test]
fn a_long_file_is_found_and_its_tests_don_t_count() {
    let code = "fn a() {}\n".repeat(FILE);
    assert_eq!(long_files(&Source::new("src/a.rs", &code)).len(), 1);
    let tests = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    assert_clean(&long_files(&Source::new("src/a.rs", &tests)));
    assert_eq!(long_files(&Source::new("tests/a.rs", &tests)).len(), 1);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    assert_clean(&house().iter().flat_map(long_functions).collect::<Vec<_>>());
}

#[test]
fn a_long_function_is_found() {
    let body = "    b();\n".repeat(FUNCTION);
    let long =
        format!("fn short(a: [u8; 4]) {{}}\ntrait A {{\n    fn none(&self);\n}}\nfn long() {{\n{body}}}\n");
    assert_eq!(lines(&long_functions(&Source::new("src/a.rs", &long))), [5]);
    let typed = format!("type A = fn() -> B;\nconst C: &[u8] = &[\n{}];\n", "    1,\n".repeat(FUNCTION));
    assert_clean(&long_functions(&Source::new("src/a.rs", &typed)));
}

#[test]
fn no_line_is_wider_than_it_may_be() {
    assert_clean(&house().iter().flat_map(long_lines).collect::<Vec<_>>());
}

#[test]
fn a_wide_line_is_found() {
    let code = format!("let a = {};\n", "1 + ".repeat(30));
    let comment = format!("// {}\n", "word ".repeat(25));
    let address = format!("// https://example.org/{}\n", "a".repeat(130));
    let message = format!("let a = \"{}\";\n", "word ".repeat(30));
    let source = Source::new("src/a.rs", &format!("fn a() {{}}\n{code}{comment}{address}{message}"));
    assert_eq!(lines(&long_lines(&source)), [2, 3]);
}
