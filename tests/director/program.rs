//! Programs as balancers: what they are given, when they are called, and what becomes of those that fail.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use systole::config::Balancer;
use systole::director::balancer::Balance;
use systole::director::balancer::program::Programs;
use systole::director::table::{Table, Tables};
use systole::lab::clock::now;
use systole::time::Span;

use crate::site::table;
use crate::world::Test;

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_program_is_given_the_whole_table_when_it_differs", it_is_told_what_differs),
    Test::new("a_program_is_given_a_table_of_any_size", it_is_given_a_thousand_servers),
    Test::new("a_program_takes_back_what_it_was_told", it_takes_back),
    Test::new("a_program_that_fails_says_why_and_is_called_again", it_fails),
    Test::new("a_program_that_hangs_is_killed_with_what_it_started", it_hangs),
];

/// Writes down how it was called and what it was given.
const NOTES: &str = "#!/bin/sh
here=$(dirname \"$0\")
{
    echo \"$* $SYSTOLE_SERVICE $SYSTOLE_ADDRESS $SYSTOLE_PORT $SYSTOLE_PROTOCOL\"
    cat
} >>\"$here/notes\"
";

/// A folder with a program in it. Another process writes it: a child of this one that is being started meanwhile would have
/// it open for writing, and then the kernel runs it for nobody.
fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(&path).stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    (folder, path)
}

/// What it has noted since it was asked last.
fn notes(folder: &Path) -> String {
    let path = folder.join("notes");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text
}

fn pool(path: &Path, weight: u32) -> Table {
    let at = |last: u8| -> SocketAddr { ([10, 0, 0, last], 8080).into() };
    let servers = [("one", at(1), Some(weight)), ("rests", at(2), Some(0)), ("out", at(3), None)];
    table(Balancer::Program(path.to_owned()), &servers)
}

fn tables(name: &str, table: Table) -> Tables {
    [(name.to_owned(), table)].into()
}

fn it_is_told_what_differs() {
    let (folder, path) = write("balance", NOTES);
    let mut programs = Programs::new().unwrap();
    programs.settle(&tables("web", pool(&path, 50))).unwrap();
    let line = |weight| {
        format!(
            "apply web 192.0.2.10 80 tcp\n{{\"version\":1,\"service\":\"web\",\"at\":{{\"address\":\"192.0.2.10\",\"port\":80,\"protocol\":\"tcp\"}},\"scheduler\":null,\"persistence\":null,\"servers\":[{{\"name\":\"one\",\"address\":\"10.0.0.1\",\"port\":8080,\"weight\":{weight},\"forwarding\":\"nat\"}},{{\"name\":\"rests\",\"address\":\"10.0.0.2\",\"port\":8080,\"weight\":0,\"forwarding\":\"nat\"}}]}}\n"
        )
    };
    assert_eq!(notes(folder.path()), line(50));
    programs.settle(&tables("web", pool(&path, 50))).unwrap();
    programs.change("web", &pool(&path, 50)).unwrap();
    assert_eq!(notes(folder.path()), "", "it knows");
    programs.change("web", &pool(&path, 60)).unwrap();
    assert_eq!(notes(folder.path()), line(60));
    // A director that was started anew does not know what was told.
    let mut another = Programs::new().unwrap();
    another.settle(&tables("web", pool(&path, 60))).unwrap();
    assert_eq!(notes(folder.path()), line(60));
}

fn it_is_given_a_thousand_servers() {
    let (folder, path) = write("balance", NOTES);
    let names: Vec<String> = (0..1_000).map(|index| format!("server{index}")).collect();
    let at: SocketAddr = ([10, 0, 0, 1], 8080).into();
    let servers: Vec<_> = names.iter().map(|name| (name.as_str(), at, Some(1))).collect();
    let table = table(Balancer::Program(path.clone()), &servers);
    Programs::new().unwrap().settle(&tables("web", table)).unwrap();
    let text = notes(folder.path());
    let value: serde_json::Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    assert!(text.len() > 64 * 1024, "more than any pipe holds");
    assert_eq!(value["servers"].as_array().unwrap().len(), 1_000);
}

fn it_takes_back() {
    let (first, old) = write("old", NOTES);
    let (second, new) = write("new", NOTES);
    let mut programs = Programs::new().unwrap();
    programs.settle(&tables("web", pool(&old, 5))).unwrap();
    notes(first.path());
    programs.settle(&tables("web", pool(&new, 5))).unwrap();
    assert!(notes(first.path()).starts_with("remove web 192.0.2.10 80 tcp\n{\"version\":1,"));
    assert!(notes(second.path()).starts_with("apply web "));
    programs.settle(&Tables::new()).unwrap();
    let said = notes(second.path());
    assert!(said.starts_with("remove web ") && said.ends_with("\"servers\":[]}\n"), "{said}");
    programs.settle(&Tables::new()).unwrap();
    assert_eq!(notes(first.path()) + &notes(second.path()), "", "once is enough");
    // One that is gone itself cannot take back anything, and does not hold up the next one.
    programs.settle(&tables("web", pool(&new, 5))).unwrap();
    fs::remove_file(&new).unwrap();
    let why = programs.settle(&tables("web", pool(&old, 5))).unwrap_err().0;
    assert!(why.contains("new remove: ") && why.contains("is not there"), "{why}");
    assert!(notes(first.path()).starts_with("apply web "));
    programs.settle(&tables("web", pool(&old, 5))).unwrap();
}

fn it_fails() {
    let text = "#!/bin/sh\nhere=$(dirname \"$0\")\necho called >>\"$here/notes\"\necho first\necho 'no such pool' >&2\necho\n[ -e \"$here/well\" ] || exit 3\n";
    let (folder, path) = write("balance", text);
    let mut programs = Programs::new().unwrap();
    for _ in 0..2 {
        let why = programs.settle(&tables("web", pool(&path, 5))).unwrap_err().0;
        let expected = format!("service web: {} apply: exit code 3, \"no such pool\"", path.display());
        assert_eq!((why, notes(folder.path())), (expected, "called\n".to_owned()));
    }
    fs::write(folder.path().join("well"), "").unwrap();
    programs.settle(&tables("web", pool(&path, 5))).unwrap();
    programs.settle(&tables("web", pool(&path, 5))).unwrap();
    assert_eq!(notes(folder.path()), "called\n");
}

fn it_hangs() {
    let text = "#!/bin/sh\nhere=$(dirname \"$0\")\nsleep 1000 &\necho $! >\"$here/notes\"\nwait\n";
    let (folder, path) = write("balance", text);
    let began = now();
    let why = Programs::new().unwrap().settle(&tables("web", pool(&path, 5))).unwrap_err().0;
    assert!(why.ends_with("it took longer than 10s, and was killed with all that it had started"), "{why}");
    assert!(now() - began < Span::seconds(16));
    let child = notes(folder.path());
    assert!(!Path::new("/proc").join(child.trim()).join("cwd").exists(), "{child} still runs");
}
