//! The binary itself: with no daemon, with a dead one's socket, and with two cores behind a socket.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use systole::control::SOCKET_NAME;
use systole::types::NodeId;

use super::world::{FakeDesk, PAIR, Served, World};

fn systole(arguments: &[&str], run_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    command.args(arguments).arg("--run-dir").arg(run_dir).output().expect("the binary is there")
}

/// Code, standard output, standard error.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

fn pair(world: World) -> (tempfile::TempDir, Served) {
    let folder = folder();
    let served = Served::start(folder.path(), FakeDesk::new(world, "lb0"));
    (folder, served)
}

/// A first line, without the times in it: `12.3ms` and the like become `T`.
fn timeless(text: &str) -> String {
    let is_time = |word: &str| {
        let word = word.trim_end_matches([':', ';', '\n']);
        word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s')
    };
    text.split(' ').map(|word| if is_time(word) { "T" } else { word }).collect::<Vec<_>>().join(" ")
}

const START: &str = "start the daemon with `systemctl start systole` or `systole run`, or name its run directory with --run-dir DIR";

#[test]
fn every_command_says_where_it_looked_for_a_daemon_and_how_to_start_one() {
    let folder = folder();
    let socket = folder.path().join(SOCKET_NAME);
    let commands: [&[&str]; 15] = [
        &["status"],
        &["status", "--json"],
        &["why", "web"],
        &["advise"],
        &["events"],
        &["events", "--follow"],
        &["standby"],
        &["online"],
        &["takeover"],
        &["move", "web", "lb1"],
        &["maintenance", "on"],
        &["cleanup", "web"],
        &["fence-ack", "lb1"],
        &["reload"],
        &["stop"],
    ];
    for command in commands {
        let wanted =
            format!("systole: no daemon was reached at {}: no socket is there\n{START}\n", socket.display());
        assert_eq!(said(&systole(command, folder.path())), (2, String::new(), wanted), "{command:?}");
    }
    let none = folder.path().join("none");
    let (code, _, error) = said(&systole(&["status"], &none));
    assert!(code == 2 && error.contains("none does not exist"), "{error}");
    drop(UnixListener::bind(&socket).expect("the folder is empty"));
    let (code, _, error) = said(&systole(&["status"], folder.path()));
    assert!(code == 2 && error.contains("a socket is there, but nobody listens: its daemon died"), "{error}");
}

#[test]
fn a_shell_learns_every_command() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    let (code, text, _) = said(&command.args(["completions", "bash"]).output().expect("the binary is there"));
    for word in ["takeover", "fence-ack", "--run-dir", "rotate"] {
        assert!(code == 0 && text.contains(word), "{word} is missing");
    }
}

#[test]
fn wrong_words_are_unusable() {
    let folder = folder();
    for words in
        [&["maintenance", "perhaps"][..], &["move", "web"], &["standy"], &["status", "--json", "--watch"]]
    {
        assert_eq!(said(&systole(words, folder.path())).0, 2, "{words:?}");
    }
}

#[test]
fn a_hand_over_is_waited_for() {
    let (folder, _served) = pair(World::new(PAIR));
    let (code, out, error) = said(&systole(&["standby"], folder.path()));
    let wanted = "web runs on lb1, after T lb0 is on standby; `systole online --node lb0` takes that back\n";
    assert_eq!(
        (code, timeless(&out.replace('\n', " ").replace("back ", "back\n")).as_str()),
        (0, wanted),
        "{error}"
    );
    assert_eq!(
        said(&systole(&["online"], folder.path())),
        (0, "lb0 may own groups again\n".to_owned(), String::new())
    );
    let (code, out, error) = said(&systole(&["takeover"], folder.path()));
    assert!(code == 0 && out.starts_with("web runs on lb0, after "), "{out}{error}");
    let (code, out, error) = said(&systole(&["move", "web", "lb1"], folder.path()));
    assert!(code == 0 && out.starts_with("web runs on lb1, after "), "{out}{error}");
    let (code, out, error) = said(&systole(&["standby", "web", "--node", "lb1"], folder.path()));
    assert!(code == 0 && out.starts_with("web runs on lb0, after "), "{out}{error}");
}

#[test]
fn what_does_not_come_about_fails_with_the_reason() {
    let mut world = World::new(PAIR);
    world.fails_on = vec![NodeId::of("lb1")];
    let (folder, _served) = pair(world);
    let (code, out, error) = said(&systole(&["move", "web", "lb1"], folder.path()));
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    assert!(error.starts_with("systole: web did not get to lb1 in "), "{error}");
    assert!(
        error.contains("the plan has it on lb0, because lb1 is unfit: a resource failed there"),
        "{error}"
    );
    assert!(error.ends_with("take it back with `systole online web`\n"), "{error}");
}

#[test]
fn names_that_are_not_known_are_answered_with_the_nearest() {
    let (folder, _served) = pair(World::new(PAIR));
    let refused = |text: &str| (2, String::new(), format!("systole: {text}\n"));
    let cases = [
        (&["move", "wbe", "lb1"][..], "there is no group \"wbe\"\ndid you mean web?"),
        (&["move", "web", "lb2"], "there is no node \"lb2\"\ndid you mean lb0?"),
        (&["why", "wen"], "there is no group \"wen\"\ndid you mean web?"),
        (&["cleanup", "mail"], "there is no group \"mail\"\nname one of: web"),
    ];
    for (words, wanted) in cases {
        assert_eq!(said(&systole(words, folder.path())), refused(wanted), "{words:?}");
    }
}

#[test]
fn orders_that_need_no_waiting_say_what_they_did() {
    let (folder, _served) = pair(World::new(PAIR));
    let cases = [
        (
            &["maintenance", "on"][..],
            0,
            "maintenance is on: nobody looks after the resources until `systole maintenance off`\n",
        ),
        (&["maintenance", "off"], 0, "maintenance is off: the resources are looked after again\n"),
        (
            &["maintenance", "on", "web"],
            0,
            "maintenance of web is on: nobody looks after it until `systole maintenance off web`\n",
        ),
        (
            &["maintenance", "off"],
            0,
            "maintenance is off: the resources are looked after again, but for those of web: `systole maintenance off web`\n",
        ),
        (&["maintenance", "off", "web"], 0, "maintenance of web is off: it is looked after again\n"),
        (&["cleanup", "web"], 0, "the failures of web on this node are forgotten\n"),
        (
            &["cleanup", "web", "vip"],
            0,
            "the failures of web on this node are forgotten; that is the whole group, and not vip alone\n",
        ),
        (&["online", "web"], 0, "web goes where the configuration says\n"),
        (
            &["standby", "--wait", "0", "web", "--node", "lb1"],
            0,
            "lb1 holds none of these; it is not to have them while another can serve them\n",
        ),
    ];
    for (words, code, wanted) in cases {
        assert_eq!(
            said(&systole(words, folder.path())),
            (code, wanted.to_owned(), String::new()),
            "{words:?}"
        );
    }
    let (code, _, error) = said(&systole(&["fence-ack", "lb1"], folder.path()));
    assert!(code == 1 && error.starts_with("systole: lb1 is not off: it is heard\n"), "{error}");
    let (code, _, error) = said(&systole(&["reload"], folder.path()));
    assert_eq!((code, error.as_str()), (1, "systole: systole.toml has mistakes; see `systole check`\n"));
}

#[test]
fn events_are_shown_for_people_and_for_programs() {
    let (folder, _served) = pair(World::new(PAIR));
    let (code, text, _) = said(&systole(&["events"], folder.path()));
    assert!(code == 0 && text.starts_with("1:1  ") && text.contains("  lb0  web runs here, "), "{text}");
    let (_, json, _) = said(&systole(&["events", "--json", "--since", "1:1"], folder.path()));
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.len() + 1, text.lines().count());
    assert_eq!(
        (&lines[0]["number"], &lines[0]["version"], &lines[0]["node"]),
        (&2.into(), &1.into(), &"lb0".into())
    );
}

#[test]
fn a_status_and_a_reason_are_shown() {
    let (folder, _served) = pair(World::new(PAIR));
    let (code, text, _) = said(&systole(&["status"], folder.path()));
    assert!(code == 0 && text.starts_with("lb0 may be pulled: lb1 is up and able to take web\n\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where no terminal is");
    let (_, json, _) = said(&systole(&["status", "--json"], folder.path()));
    let status: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!((&status["version"], &status["groups"][0]["holder"]), (&1.into(), &"lb0".into()));
    let (code, text, _) = said(&systole(&["why", "web"], folder.path()));
    assert!(code == 0 && text.starts_with("web runs on lb0, as planned, because "), "{text}");
}

#[test]
fn a_key_is_made_once_listed_without_its_secret_and_replaced_in_steps() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("keys");
    let key = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        said(&command.arg("key").args(words).arg("--keys").arg(&path).output().expect("the binary is there"))
    };
    let (code, _, error) = key(&["list"]);
    assert!(code == 2 && error.contains("cannot be read") && error.contains("systole key new"), "{error}");
    assert_eq!(key(&["new"]).0, 0);
    let secret = std::fs::read_to_string(&path).expect("it was made");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let (code, _, error) = key(&["new"]);
    assert!(code == 1 && error.contains("exists, and is left as it is"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), secret);
    assert_eq!(key(&["list"]), (0, "1  256 bits  seals and opens\n".to_owned(), String::new()));
    let (code, _, error) = key(&["rotate", "--step", "drop"]);
    assert!(code == 1 && error.contains("there is only one key"), "{error}");
    let (code, out, _) = key(&["rotate"]);
    assert!(code == 0 && out.contains("-> 1. --step add"), "{out}");
    assert_eq!(
        std::fs::read_to_string(&path).expect("it is there"),
        secret,
        "an explanation changes nothing"
    );
    assert_eq!(key(&["rotate", "--step", "add"]).0, 0);
    assert_eq!(key(&["list"]).1, "1  256 bits  seals and opens\n2  256 bits  opens\n");
    assert_eq!(key(&["rotate", "--step", "add"]).0, 1, "one at a time");
    assert_eq!(key(&["rotate", "--step", "seal"]).0, 0);
    assert_eq!(key(&["list"]).1, "2  256 bits  seals and opens\n1  256 bits  opens\n");
    assert_eq!(key(&["rotate", "--step", "drop"]).0, 0);
    assert_eq!(key(&["list"]).1, "2  256 bits  seals and opens\n");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("it is there").count(),
        1,
        "nothing is left beside it"
    );
}

/// Only root can be somebody else; for others the rule itself is tested beside the code.
#[test]
fn a_stranger_may_look_through_an_open_socket_and_not_order() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tried: this is not root");
        return;
    }
    let (folder, _served) = pair(World::new(PAIR));
    let binary = folder.path().join("systole");
    // By another process: a thread that starts a program meanwhile would inherit the copy, open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_systole")).arg(&binary).status();
    assert!(copied.expect("there is cp").success(), "there is room for it");
    set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
    let stranger = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(words).arg("--run-dir").arg(folder.path()).current_dir("/").uid(65_534).gid(65_534);
        said(&command.output().expect("the binary is there"))
    };
    let (code, _, error) = stranger(&["status"]);
    assert!(code == 2 && error.contains("you may not connect to it\nask as root"), "{error}");
    set_permissions(folder.path().join(SOCKET_NAME), Permissions::from_mode(0o666)).expect("it is ours");
    let (code, text, error) = stranger(&["status"]);
    assert!(code == 0 && text.starts_with("lb0 may be pulled"), "{text}{error}");
    let (code, text, error) = stranger(&["standby", "--node", "lb0"]);
    assert!(
        code == 1 && error.starts_with("systole: user 65534 may look but not give orders"),
        "{text}{error}"
    );
    let (_, text, _) = stranger(&["status"]);
    assert!(text.contains("web  runs on lb0"), "{text}");
}

#[test]
fn stopping_is_waited_for() {
    let (folder, served) = pair(World::new(PAIR));
    let run_dir = folder.path().to_owned();
    let stop = std::thread::spawn(move || said(&systole(&["stop"], &run_dir)));
    // The fake core is gone with the order; its process goes when the socket's server does.
    let desk = std::os::unix::net::UnixStream::connect(folder.path().join(SOCKET_NAME)).expect("it listens");
    wait_until_it_stops(&desk);
    drop(served);
    let (code, out, error) = stop.join().expect("the command was run");
    assert!(code == 0 && out.starts_with("the daemon of lb0 has stopped, after "), "{out}{error}");
}

/// Asks until the core is gone.
fn wait_until_it_stops(stream: &std::os::unix::net::UnixStream) {
    use std::io::{BufRead, BufReader, Write};
    let mut lines = BufReader::new(stream).lines();
    loop {
        (&*stream).write_all(b"{\"version\":1,\"ask\":\"status\"}\n").expect("the server reads");
        let line = lines.next().expect("the server answers").expect("it is text");
        if line.contains("is stopping and answers no more") {
            return;
        }
    }
}

/// This program under another name.
fn called(name: &str, arguments: &[&str], run_dir: &Path) -> Output {
    let link = run_dir.join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_systole"), &link).expect("a link can be made");
    let output = Command::new(&link).args(arguments).arg("--run-dir").arg(run_dir).output();
    std::fs::remove_file(&link).expect("it was made");
    output.expect("the binary is there")
}

#[test]
fn heartbeats_commands_are_answered_under_their_names() {
    let (folder, _served) = pair(World::new(PAIR));
    let ask = |name: &str, arguments: &[&str]| said(&called(name, arguments, folder.path()));
    assert_eq!(ask("cl_status", &["listnodes"]).1, "lb0\nlb1\n");
    assert_eq!(ask("cl_status", &["nodestatus", "lb1"]), (0, "active\n".to_owned(), String::new()));
    assert_eq!(ask("cl_status", &["rscstatus", "-m"]).1, "local\n");
    let (code, _, error) = ask("cl_status", &["nodeweight"]);
    assert!(code == 11 && error.contains("is not understood"), "{code} {error}");
    let (code, _, error) = ask("hb_standby", &["everything"]);
    assert!(code == 2 && error.contains("none of all, local, foreign"), "{code} {error}");
    assert_eq!(ask("hb_standby", &["foreign"]), (0, "there is no such group\n".to_owned(), String::new()));
    let (code, _, error) = ask("hb_standby", &["local"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(ask("cl_status", &["rscstatus"]).1, "none\n");
}

#[test]
fn without_a_daemon_heartbeat_is_stopped() {
    let folder = folder();
    let (code, text, _) = said(&called("cl_status", &["hbstatus"], folder.path()));
    assert_eq!((code, text.as_str()), (1, "Heartbeat is stopped on this machine.\n"));
    let (code, _, error) = said(&called("hb_takeover", &[], folder.path()));
    assert!(code == 2 && error.contains("systole"), "{code} {error}");
}
