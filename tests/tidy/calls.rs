//! What may stand only in certain places, or only with its proof.

use super::source::{Source, house};
use super::{Finding, assert_clean, lines};

/// A word of the code, the only files in which it may stand, and what to do elsewhere. The test that counts allocations
/// brings an allocator of its own, which cannot be had without `unsafe`; it does not ship.
const CONFINED: [(&str, &[&str], &str); 2] = [
    (
        "bincode",
        &["src/wire/body.rs"],
        "go through wire: only there are the bytes limited and their seal verified",
    ),
    (
        "unsafe",
        &["src/net/sys.rs", "tests/wire/allocations.rs"],
        "put the call into net/sys.rs, behind a function that cannot be misused",
    ),
];

fn out_of_place(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for token in &source.tokens {
        for (word, places, mend) in CONFINED {
            if token.text == word && !places.contains(&source.path.as_str()) {
                found.push(Finding::new(
                    &source.path,
                    token.line,
                    format!("`{word}` outside {}", places[0]),
                    mend,
                ));
            }
        }
    }
    found
}

/// `unwrap` needs a comment with the proof, on its line or the one above. `expect` says it in its text.
fn unproven(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        let above = index.checked_sub(1).is_some_and(|above| is_comment(&source.lines[above].raw));
        if line.is_test || !line.comment.is_empty() || above {
            continue;
        }
        if line.code.contains(".unwrap()") {
            let mend = "say beside it why it cannot fail, or return the error";
            found.push(Finding::new(&source.path, index + 1, "an `unwrap` without proof", mend));
        }
        let reason = line.code.find(".expect(").map(|at| reason_at(source, index, at + ".expect(".len()));
        if reason.is_some_and(|reason| reason.split_whitespace().count() < 3) {
            let mend = "its text is the reason why it cannot fail, in a few words";
            found.push(Finding::new(&source.path, index + 1, "an `expect` without its reason", mend));
        }
    }
    found
}

fn is_comment(raw: &str) -> bool {
    raw.trim_start().starts_with("//") && !raw.trim_start().starts_with("///")
}

/// The text in quotes at this place of the line, or at the beginning of the next one.
fn reason_at(source: &Source, index: usize, at: usize) -> String {
    let here: String = source.lines[index].raw.chars().skip(at).collect();
    let next = source.lines.get(index + 1).map_or("", |line| line.raw.as_str());
    let text = if here.trim().is_empty() { next.trim_start() } else { here.trim_start() };
    text.strip_prefix('"').and_then(|text| text.split('"').next()).unwrap_or_default().to_owned()
}

/// In the core every state and input is named, so that a new one is a compiler's error and not a silence. Over numbers
/// and texts there is always a rest: it says `// any other …`.
fn wildcards(source: &Source) -> Vec<Finding> {
    if source.room() != Some("cluster") {
        return Vec::new();
    }
    let said = |index: usize| source.lines.get(index).is_some_and(|line| line.comment.contains("any other"));
    let mut found = Vec::new();
    for (index, line) in source.lines.iter().enumerate().filter(|(_, line)| !line.is_test) {
        let code = line.code.trim_start();
        let is_rest = code.starts_with("_ =>") || code.contains(" _ =>") || code.starts_with("_ if ");
        let is_said = said(index) || said(index + 1) || index.checked_sub(1).is_some_and(said);
        if is_rest && !is_said {
            let mend = "name every variant; over numbers and texts write `// any other …` beside it";
            found.push(Finding::new(&source.path, index + 1, "`_ =>` in the core", mend));
        }
    }
    found
}

#[test]
fn bincode_and_unsafe_stay_where_they_are_watched() {
    assert_clean(&house().iter().flat_map(out_of_place).collect::<Vec<_>>());
}

#[test]
fn bincode_and_unsafe_elsewhere_are_found() {
    let text = "use bincode::config;\n// bincode, unsafe\n#![deny(unsafe_code)]\nunsafe { a() }\n";
    assert_eq!(lines(&out_of_place(&Source::new("src/wire/frame.rs", text))), [1, 4]);
    assert_eq!(lines(&out_of_place(&Source::new("src/wire/body.rs", text))), [4]);
    assert_eq!(lines(&out_of_place(&Source::new("src/net/sys.rs", text))), [1]);
}

#[test]
fn nothing_that_ships_panics_without_a_proof_beside_it() {
    assert_clean(&house().iter().flat_map(unproven).collect::<Vec<_>>());
}

#[test]
fn an_unwrap_or_expect_without_a_proof_is_found() {
    let text = "a.unwrap();\n// Never empty: the reader refuses it.\na.unwrap();\n\na.unwrap(); // as above\n\n\
                a.expect(\"oops\");\na.expect(\"the reader refuses an empty one\");\na.expect(\n    \
                \"the reader refuses an empty one\",\n);\n#[cfg(test)]\nfn b() {\n    a.unwrap();\n}\n";
    assert_eq!(lines(&unproven(&Source::new("src/a.rs", text))), [1, 7]);
    assert_clean(&unproven(&Source::new("tests/a.rs", text)));
}

#[test]
fn the_core_names_every_case() {
    assert_clean(&house().iter().flat_map(wildcards).collect::<Vec<_>>());
}

#[test]
fn a_case_that_the_core_does_not_name_is_found() {
    let text = "match a {\n    A => 1,\n    _ => 2,\n}\n\nmatch b {\n    0 => 1,\n    // any other number\n    _ => 2,\n}\n\
                match c {\n    B(_) => 1,\n    (_, _) => 2,\n}\n";
    assert_eq!(lines(&wildcards(&Source::new("src/cluster/a.rs", text))), [3]);
    assert_clean(&wildcards(&Source::new("src/config/a.rs", text)));
}
