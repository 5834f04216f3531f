//! Holds the house to its rules. Each rule is a function from files to findings, and two tests: one that the house keeps
//! the rule, and one that a file which breaks it is found. A check that cannot fail is worth nothing.
//!
//! A finding reads `file:line: what is wrong: what to do`. Where a rule is in the way of better code, change the rule
//! here, with the reason in the commit; don't work around it.

#[path = "tidy/calls.rs"]
mod calls;
#[path = "tidy/command.rs"]
mod command;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/papers.rs"]
mod papers;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::fmt;

/// One place where the house breaks a rule of its own.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    mend: &'static str,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, mend: &'static str) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), mend }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.what, self.mend)
    }
}

/// Fails with every finding, a line each.
#[track_caller]
fn assert_clean(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} found:\n{}\n", lines.len(), lines.join("\n"));
}

/// The lines at which something was found, for the tests of the checks themselves.
fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

/// A needle written with bars in it, `like| this`, so that the checks don't find their own tables.
fn whole(needle: &str) -> String {
    needle.replace('|', "")
}
