//! `systole agent`: what it says of good agents, of a folder of broken ones, and of names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The agents of `tests/agents/broken`, each with the rule that it breaks first, and a word of what is said of it.
const BROKEN: [(&str, &str, &str); 16] = [
    ("agreeable", "an action that it does not know ends with exit code 3", "done"),
    ("boastful", "before the start, monitor says that it does not run", "stop it first"),
    ("broken", "start succeeds", "the disk is gone"),
    ("careless", "start fails without a parameter that is required", "without state"),
    ("endless", "its meta-data advise a timeout for start, stop and monitor", "start, stop, monitor"),
    ("forgetful", "its meta-data name start, stop, monitor and meta-data", "nothing is said of meta-data"),
    ("fragile", "stop succeeds after a start that was killed half-way", "exit code 1"),
    ("garbled", "its meta-data can be read", "its XML is broken"),
    ("lazy", "after the start, monitor says that it runs", "does not run"),
    ("misnamed", "its meta-data have the name of its file", "\"other\""),
    ("once", "start of what runs succeeds", "exit code 1"),
    ("silent", "its meta-data can be read", "exit code 3"),
    ("sticky", "after the stop, monitor says that it does not run", "runs"),
    ("stubborn", "stop of what does not run succeeds", "exit code 1"),
    ("toggle", "after the second start it still runs", "does not run"),
    ("vague", "before the start, monitor says that it does not run", "exit code 1"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents/broken")
}

fn systole(place: &Path, words: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_systole"))
        .current_dir(place)
        .args(words)
        .output()
        .expect("it can be run");
    let text = [stdout, stderr].concat();
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// The rules that were broken, as they were told.
fn broken(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.trim().strip_prefix("BROKEN  ")).collect()
}

#[test]
fn each_broken_agent_fails_for_its_own_reason() {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, BROKEN.map(|(name, ..)| name), "every file of the folder is tried");
    for (name, rule, word) in BROKEN {
        let place = tempfile::tempdir().unwrap();
        let state = format!("state={}", place.path().join("state").display());
        let agent = folder().join(name);
        let (code, said) = systole(place.path(), &["agent", "test", &agent.display().to_string(), &state]);
        let first = broken(&said).first().copied().unwrap_or_default().to_owned();
        assert!(code == 1 && first.starts_with(rule) && first.contains(word), "{name}: {code}\n{said}");
    }
}

#[test]
fn an_agent_that_others_may_change_is_not_even_started() {
    let place = tempfile::tempdir().unwrap();
    let agent = place.path().join("open");
    fs::write(&agent, "#!/bin/sh\ntouch ran\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, said) = systole(place.path(), &["agent", "test", "./open"]);
    assert!(code == 1 && broken(&said).len() == 1 && said.contains("chmod go-w"), "{code}\n{said}");
    assert!(!place.path().join("ran").exists());
}

#[test]
fn a_new_agent_works_as_it_stands_and_is_never_written_over() {
    let place = tempfile::tempdir().unwrap();
    let (code, said) = systole(place.path(), &["agent", "new", "beacon"]);
    assert_eq!(code, 0, "{said}");
    let marks = format!("pidfile={}", place.path().join("pid").display());
    let words = ["agent", "test", "./beacon", "program=/bin/sleep", "arguments=1000", &marks];
    let (code, said) = systole(place.path(), &words);
    assert!(code == 0 && broken(&said).is_empty(), "{code}\n{said}");
    assert!(said.matches("  kept  ").count() >= 15, "{said}");
    fs::write(place.path().join("beacon"), "mine").unwrap();
    let (code, said) = systole(place.path(), &["agent", "new", "beacon"]);
    assert!(code == 1 && said.contains("left as it is"), "{code}\n{said}");
    assert_eq!(fs::read_to_string(place.path().join("beacon")).unwrap(), "mine");
    for wrong in ["", "../up", "9lives", "a b"] {
        assert_eq!(systole(place.path(), &["agent", "new", wrong]).0, 2, "{wrong:?}");
    }
}

#[test]
fn names_that_mean_nothing_here_are_said_with_where_they_were_sought() {
    let place = tempfile::tempdir().unwrap();
    for (words, expected) in [
        (&["agent", "info", "ocf:nobody:Thing"][..], "looked in /usr/lib/ocf/resource.d/nobody"),
        (&["agent", "run", "lsb:no-such-script", "start"], "looked in /etc/init.d"),
        (&["agent", "run", "vip", "start"], "built in"),
        (&["agent", "test", "vip"], "built in"),
        (&["agent", "test", "./missing"], "cannot be read"),
        (&["agent", "info", "ocf:Dummy"], "ocf:PROVIDER:NAME"),
        (&["agent", "run", "vip", "start", "--timeout", "soon"], "write 30s"),
    ] {
        let (code, said) = systole(place.path(), words);
        assert!(code == 2 && said.contains(expected), "{words:?}: {code}\n{said}");
    }
    let (code, said) = systole(place.path(), &["agent", "info", "vip"]);
    assert!(code == 0 && said.contains("carried by systole itself"), "{code}\n{said}");
    let (code, said) = systole(place.path(), &["agent", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == 0 && listed["version"] == 1 && listed["agents"].is_array(), "{said}");
}

#[test]
fn heartbeats_event_scripts_are_run_with_its_variables_unless_they_take_over_resources() {
    let place = tempfile::tempdir().unwrap();
    let status = place.path().join("status");
    let run = |event: &str| {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/rc.d");
        let mut command = Command::new(program);
        command.arg(place.path()).env("SYSTOLE_EVENT", event);
        let output = command.env("SYSTOLE_PEER", "lb1").env("SYSTOLE_NODE", "lb0").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // By another process: a program that another test starts meanwhile would inherit the script, open for writing.
    let write = |text: &str| {
        let put = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
        assert!(Command::new("sh").args(["-c", put, "sh", text]).arg(&status).status().unwrap().success());
    };
    assert_eq!(run("peer-down"), "", "there is none");
    write("#!/bin/sh\necho $HA_OURUNAME: $HA_src is $HA_st\n");
    assert_eq!(run("peer-down"), "lb0: lb1 is dead\n");
    assert_eq!(run("peer-up"), "lb0: lb1 is active\n");
    assert_eq!(run("running"), "");
    write("#!/bin/sh\n/usr/share/heartbeat/mach_down $HA_src\n");
    assert!(run("peer-down").contains("is not run: it takes over resources"));
}
