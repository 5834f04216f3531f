//! Runs tests in the lab one after the other, and counts them: for the programs that have no harness of cargo's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use systole::lab;

/// A test.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) test: fn(),
    /// How often it is run; it passes when it passes every time.
    pub(crate) runs: usize,
}

impl Test {
    pub(crate) const fn once(name: &'static str, test: fn()) -> Self {
        Self { name, test, runs: 1 }
    }
}

/// The parts of tests' names that are asked for; what begins with a dash is none.
pub(crate) fn wanted(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect()
}

/// Becomes root of a namespace, where it is not root, and runs those whose names contain one of the wanted parts; all, if
/// none is wanted.
pub(crate) fn run(tests: &[Test], wanted: &[&str]) -> ExitCode {
    let chosen = |test: &&Test| wanted.is_empty() || wanted.iter().any(|part| test.name.contains(part));
    let chosen: Vec<&Test> = tests.iter().filter(chosen).collect();
    match lab::become_root() {
        Ok(true) => println!("as an ordinary user: no real-time threads"),
        Ok(false) => println!("as root"),
        Err(error) => {
            println!("{error}\n0 passed, 0 failed, {} skipped", chosen.len());
            return ExitCode::SUCCESS;
        }
    }
    let mut failed = 0;
    for Test { name, test, runs } in &chosen {
        let began = lab::clock::now();
        let well = (0..*runs).filter(|_| catch_unwind(AssertUnwindSafe(test)).is_ok()).count();
        let word = if well == *runs { "ok" } else { "FAILED" };
        let of = if *runs > 1 { format!(", {well} of {runs}") } else { String::new() };
        println!("test {name} ... {word}{of} ({})", lab::clock::now() - began);
        failed += usize::from(well < *runs);
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
