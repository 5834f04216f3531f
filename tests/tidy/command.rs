//! The test command itself: what it counts, and when it fails. It is run in an empty house, where the part `fuzz` is a
//! script of a few lines.

use std::fs;
use std::process::Command;

use super::source::root;

/// Runs `tests/run ARGUMENTS` beside a script that stands for the fuzzer; gives what it said, and its exit code.
fn run(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (String, i32) {
    let house = tempfile::tempdir().expect("there is room for a folder");
    let tests = house.path().join("tests");
    fs::create_dir(&tests).expect("the folder is empty");
    fs::copy(root().join("tests/run"), tests.join("run")).expect("the test command is there");
    // By another process: a program that another test starts meanwhile would inherit the script, open for writing.
    let put = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    let put = Command::new("sh").args(["-c", put, "sh", script]).arg(tests.join("fuzz")).status();
    assert!(put.expect("there is a shell").success(), "there is room for it");
    let mut command = Command::new("bash");
    command.arg(tests.join("run")).args(arguments).env_remove("CI").env_remove("LIMIT");
    let output = command.envs(environment.iter().copied()).output().expect("bash can be run");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap_or(-1))
}

const CARGO: &str =
    "echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s'";

#[test]
fn both_kinds_of_closing_lines_are_counted_and_none_twice() {
    let (said, code) = run(&format!("{CARGO}\necho '4 passed, 0 failed'"), &["fuzz"], &[]);
    assert!(said.ends_with("\n7 passed, 0 failed, 1 skipped\n"), "{said}");
    let plain = said
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" passed, "));
    assert_eq!((plain.count(), code), (1, 0), "{said}");
}

#[test]
fn in_ci_a_skip_is_a_failure() {
    let (said, code) = run(CARGO, &["fuzz"], &[("CI", "true")]);
    assert!(said.ends_with("\n3 passed, 1 failed\n"), "{said}");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_part_that_tests_nothing_has_failed() {
    let (said, code) = run("echo '0 passed, 0 failed'", &["fuzz"], &[]);
    assert!(said.ends_with("\n0 passed, 1 failed\n"), "{said}");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_crash_after_good_tests_is_a_failure() {
    let (said, code) = run("echo '5 passed, 0 failed'\nexit 3", &["fuzz"], &[]);
    assert!(said.ends_with("\n5 passed, 1 failed\n"), "{said}");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_part_is_stopped_when_its_time_is_up() {
    let (said, code) = run("echo '5 passed, 0 failed'\nexec sleep 60", &["fuzz"], &[("LIMIT", "1")]);
    assert!(said.ends_with("\n5 passed, 1 failed\n"), "{said}");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn arguments_go_on_to_what_the_part_runs() {
    let (said, _) = run("echo \"$# $2\"\necho '1 passed, 0 failed'", &["fuzz", "--seeds", "two words"], &[]);
    assert!(said.contains("\n2 two words\n"), "{said}");
}

#[test]
fn an_unknown_part_is_refused_with_the_list() {
    let (said, code) = run("", &["dust"], &[]);
    assert!(said.contains("no part 'dust'") && said.contains("\nfuzz "), "{said}");
    assert_eq!(code, 2, "{said}");
}

#[test]
fn what_cannot_be_installed_is_named() {
    let empty = tempfile::tempdir().expect("there is room for a folder");
    let bash = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("bash"))
        .find(|bash| bash.exists())
        .expect("tests/run is a bash script");
    let mut command = Command::new(bash);
    command.arg(root().join("tests/install")).args(["tests/fuzz", "g++"]).env("PATH", empty.path());
    let output = command.output().expect("bash can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("tests/fuzz: needs what Debian calls: g++."), "{said}");
    assert_eq!(output.status.code(), Some(2));
}
