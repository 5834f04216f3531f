//! What clients may do to the server: garbage, too much, too long, never reading; and two daemons at one place.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use systole::control::{Answer, BindError, Desk, Question, SOCKET_NAME, Socket, limits};
use tokio::sync::oneshot;

use super::world::{FakeDesk, PAIR, Served, World};

/// So long a test waits for what must come: a machine under load is slow, and a test that hangs must end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client that speaks raw lines.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn connect(run_dir: &Path) -> Self {
        let stream = UnixStream::connect(run_dir.join(SOCKET_NAME)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next line; `Null` at the end.
    pub(crate) fn read(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers in time");
        if line.is_empty() { Value::Null } else { serde_json::from_str(&line).expect("it is JSON") }
    }

    pub(crate) fn ask(&mut self, text: &str) -> Value {
        self.send(&format!("{text}\n"));
        self.read()
    }
}

const STATUS: &str = r#"{"version":1,"ask":"status"}"#;
const EVENTS: &str = r#"{"version":1,"ask":"events"}"#;

fn pair() -> (tempfile::TempDir, Served, FakeDesk) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let desk = FakeDesk::new(World::new(PAIR), "lb0");
    let served = Served::start(folder.path(), desk.clone());
    (folder, served, desk)
}

#[test]
fn garbage_is_answered_with_what_is_wrong_and_changes_nothing() {
    let (folder, _served, desk) = pair();
    let before = desk.world.lock().expect("nobody panics").snapshot("lb0").view.groups;
    let mut client = Client::connect(folder.path());
    let garbage = [
        ("", "no JSON object"),
        ("hello", "no JSON object"),
        ("[1,2]", "no JSON object"),
        ("\u{0}\u{1}", "no JSON object"),
        (r#"{"ask":"status"}"#, "has no version"),
        (r#"{"version":2,"ask":"status"}"#, "of version 2"),
        (r#"{"version":1}"#, "asks nothing"),
        (r#"{"version":1,"ask":7}"#, "asks nothing"),
        (r#"{"version":1,"ask":"statsu"}"#, "nothing to ask as \"statsu\""),
        (r#"{"version":1,"ask":"move","group":"web"}"#, "missing field `node`"),
        (r#"{"version":1,"ask":"move","group":"web","node":"lb2"}"#, "no node \"lb2\""),
        (r#"{"version":1,"ask":"move","group":"wbe","node":"lb1"}"#, "no group \"wbe\""),
        (r#"{"version":1,"ask":"move","group":"web","node":"lb1","by":"me"}"#, "unknown field `by`"),
        (r#"{"version":1,"ask":"maintenance","on":"yes"}"#, "invalid type"),
        (r#"{"version":1,"ask":"events","after":-1}"#, "invalid value"),
    ];
    for (line, wanted) in garbage {
        let answer = client.ask(line);
        assert_eq!(answer["answer"], "error", "{line}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains(wanted)), "{line}: {answer}");
        assert!(answer["help"].as_str().is_some_and(|text| !text.is_empty()), "{line}: {answer}");
    }
    let help = client.ask(r#"{"version":1,"ask":"takeover","group":"wbe"}"#)["help"].clone();
    assert_eq!(help, "did you mean web?");
    assert_eq!(client.ask(STATUS)["answer"], "status", "the connection stands");
    let after = desk.world.lock().expect("nobody panics").snapshot("lb0").view.groups;
    let places = |groups: &std::collections::BTreeMap<_, systole::cluster::GroupView>| {
        groups.values().map(|group| (group.holder, group.planned, group.because)).collect::<Vec<_>>()
    };
    assert_eq!(places(&before), places(&after));
}

#[test]
fn a_request_without_an_end_is_refused_and_its_client_dropped() {
    let (folder, _served, _desk) = pair();
    let mut client = Client::connect(folder.path());
    client.send(&"x".repeat(limits::REQUEST_BYTES));
    let answer = client.read();
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("longer than 4096 bytes")), "{answer}");
    assert_eq!(client.read(), Value::Null, "the connection is closed");
    assert_eq!(Client::connect(folder.path()).ask(STATUS)["answer"], "status", "others are served");
}

#[test]
fn requests_that_arrive_in_pieces_or_all_at_once_are_each_answered() {
    let (folder, _served, _desk) = pair();
    let mut client = Client::connect(folder.path());
    let (head, tail) = STATUS.split_at(9);
    client.send(head);
    client.send(&format!("{tail}\n{EVENTS}\n{STATUS}\n"));
    let answers = [client.read(), client.read(), client.read()].map(|answer| answer["answer"].clone());
    assert_eq!(answers, ["status", "events", "status"]);
}

#[test]
fn a_client_that_never_reads_holds_nobody_up_and_is_dropped() {
    let (folder, _served, _desk) = pair();
    let stream = UnixStream::connect(folder.path().join(SOCKET_NAME)).expect("the server listens");
    stream.set_nonblocking(true).expect("a socket can be made so");
    // Until its own buffers are full as well: then the server waits to be read.
    while (&stream).write(format!("{STATUS}\n").repeat(100).as_bytes()).is_ok() {}
    assert_eq!(Client::connect(folder.path()).ask(STATUS)["answer"], "status", "others are served meanwhile");
    let mut hung_up = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let limit = PollTimeout::try_from(PATIENCE).expect("a minute is not too long");
    poll(&mut hung_up, limit).expect("a socket can be polled");
    let said = hung_up[0].revents().expect("only known flags");
    assert!(said.contains(PollFlags::POLLHUP), "it was not dropped");
}

#[test]
fn one_client_too_many_is_told_so_and_served_when_another_has_left() {
    let (folder, _served, _desk) = pair();
    let mut clients: Vec<Client> = (0..limits::CLIENTS).map(|_| Client::connect(folder.path())).collect();
    for client in &mut clients {
        assert_eq!(client.ask(STATUS)["answer"], "status");
    }
    let mut late = Client::connect(folder.path());
    let turned_away = late.read();
    assert!(turned_away["error"].as_str().is_some_and(|text| text.contains("32 others")), "{turned_away}");
    assert_eq!(late.read(), Value::Null);
    // Closed by the server before it is looked for: the server has then noticed that a client left.
    let left = clients.pop().expect("there are 32");
    left.0.get_ref().shutdown(std::net::Shutdown::Write).expect("it is connected");
    let mut rest = left.0;
    assert_eq!(rest.read_to_end(&mut Vec::new()).expect("the server closes"), 0);
    let again = || {
        let mut client = Client::connect(folder.path());
        let asked = client.0.get_mut().write_all(format!("{STATUS}\n").as_bytes());
        asked.is_ok() && client.read()["answer"] == "status"
    };
    assert!((0..1_000).any(|_| again()), "the place was never free again");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let (folder, served, _desk) = pair();
    assert!(matches!(Socket::bind(folder.path()), Err(BindError::Taken(_))));
    assert_eq!(Client::connect(folder.path()).ask(STATUS)["answer"], "status");
    drop(served);
    assert!(!folder.path().join(SOCKET_NAME).exists(), "it takes its socket with it");
    drop(Socket::bind(folder.path()).expect("the place is free"));
}

#[test]
fn what_a_dead_daemon_left_is_replaced_and_what_is_no_socket_is_not() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join(SOCKET_NAME);
    drop(UnixListener::bind(&path).expect("the folder is empty"));
    assert!(UnixStream::connect(&path).is_err(), "it is a dead one");
    let socket = Socket::bind(folder.path()).expect("it is replaced");
    assert!(UnixStream::connect(&path).is_ok());
    drop(socket);
    std::fs::write(&path, "a letter").expect("the folder can be written to");
    assert!(matches!(Socket::bind(folder.path()), Err(BindError::InTheWay(_))));
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "a letter");
    let long = folder.path().join("d".repeat(100));
    assert!(matches!(Socket::bind(&long), Err(BindError::TooLong(_))));
    assert!(matches!(Socket::bind(&folder.path().join("none")), Err(BindError::Failed { .. })));
}

#[test]
fn the_socket_is_open_to_its_owner_and_its_group_and_to_nobody_else() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let socket = Socket::bind(folder.path()).expect("the folder is empty");
    let mode = std::fs::metadata(socket.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

/// A core that hangs, or a daemon that is stopping.
#[derive(Clone)]
struct Mute {
    keeps: Option<std::sync::Arc<std::sync::Mutex<Vec<oneshot::Sender<Answer>>>>>,
}

impl Desk for Mute {
    fn ask(&self, _question: Question, reply: oneshot::Sender<Answer>) {
        if let Some(kept) = &self.keeps {
            kept.lock().expect("nobody panics").push(reply);
        }
    }
}

#[test]
fn a_core_that_hangs_and_one_that_is_gone_are_told_apart() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let served = Served::start(folder.path(), Mute { keeps: Some(std::sync::Arc::default()) });
    let hangs = Client::connect(folder.path()).ask(STATUS);
    assert!(hangs["error"].as_str().is_some_and(|text| text.contains("it hangs")), "{hangs}");
    drop(served);
    let _served = Served::start(folder.path(), Mute { keeps: None });
    let gone = Client::connect(folder.path()).ask(STATUS);
    assert!(gone["error"].as_str().is_some_and(|text| text.contains("is stopping")), "{gone}");
}
