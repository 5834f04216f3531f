//! HAProxy's socket when it is not as it should be: each fault ends in time, and says what to write where.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use systole::director::balancer::Balance;
use systole::director::balancer::haproxy::Haproxy as Balancer;
use systole::director::table::Tables;
use systole::lab::clock::now;
use systole::time::Span;

use crate::site::{self, Haproxy, backend};
use crate::world::Test;

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "haproxy_that_lets_nobody_change_anything_says_how_it_would",
        run: a_socket_without_rights,
        needs: site::present,
    },
    Test {
        name: "haproxy_without_the_backend_says_so",
        run: a_backend_that_is_not_there,
        needs: site::present,
    },
    Test {
        name: "haproxy_that_cannot_be_weighed_says_what_to_write",
        run: an_algorithm_without_weights,
        needs: site::present,
    },
    Test {
        name: "haproxy_has_one_service_in_a_backend",
        run: two_services_in_one_backend,
        needs: site::present,
    },
];

pub(crate) const WITHOUT_HAPROXY: &[Test] = &[
    Test::new("a_socket_that_hangs_is_left_in_time", a_socket_that_hangs),
    Test::new("a_socket_that_says_anything_else_is_not_believed", a_socket_that_says_anything_else),
    Test::new("a_socket_that_never_stops_is_left", a_socket_that_never_stops),
    Test::new("a_socket_that_is_not_there_is_told", a_socket_that_is_not_there),
];

/// Beyond this nobody waits.
const IN_TIME: Span = Span::seconds(4);

fn wanted(socket: &std::path::Path, backend_name: &str) -> Tables {
    let server = ("one", ([127, 0, 0, 9], 1).into(), Some(7));
    [("a".to_owned(), backend(socket, backend_name, &[server]))].into()
}

/// What is told of a socket, in time.
fn fault(socket: &std::path::Path) -> String {
    let (mut balancer, began) = (Balancer::new().unwrap(), now());
    let why = balancer.settle(&wanted(socket, "pool")).unwrap_err().0;
    let took = now() - began;
    println!("  after {took}: {why}");
    assert!(took < IN_TIME, "{took}");
    assert!(why.starts_with("service a: ") && why.contains(&socket.display().to_string()), "{why}");
    why
}

fn a_socket_without_rights() {
    let haproxy = Haproxy::start(
        "    default_backend pool",
        "backend pool\n    balance roundrobin\n    server one 127.0.0.9:1",
    );
    let why = fault(&haproxy.user_socket());
    assert!(
        why.contains(&format!("`stats socket {} level admin`", haproxy.user_socket().display())),
        "{why}"
    );
}

fn a_backend_that_is_not_there() {
    let haproxy = Haproxy::start("    default_backend pool", "backend pool\n");
    let mut balancer = Balancer::new().unwrap();
    let why = balancer.settle(&wanted(&haproxy.socket(), "pond")).unwrap_err().0;
    println!("  {why}");
    assert!(why.starts_with("service a, backend pond of ") && why.contains("no such backend"), "{why}");
}

fn an_algorithm_without_weights() {
    let section =
        "backend pool\n    balance source\n    server one 127.0.0.9:1\nbackend empty\n    balance source\n";
    let haproxy = Haproxy::start("    default_backend pool", section);
    for name in ["pool", "empty"] {
        let mut balancer = Balancer::new().unwrap();
        let why = balancer.settle(&wanted(&haproxy.socket(), name)).unwrap_err().0;
        println!("  {why}");
        assert!(why.contains("write `balance roundrobin` or"), "{why}");
        assert_eq!(why.matches("was answered").count(), 1, "one reason for one server: {why}");
    }
}

fn two_services_in_one_backend() {
    let haproxy = Haproxy::start("    default_backend pool", "backend pool\n    server one 127.0.0.9:1");
    let mut tables = wanted(&haproxy.socket(), "pool");
    tables.insert("b".to_owned(), tables["a"].clone());
    let why = Balancer::new().unwrap().settle(&tables).unwrap_err().0;
    assert!(why.contains("service b, ") && why.contains("service a has the same"), "{why}");
    assert!(haproxy.servers("pool")["one"].ends_with("ready 7"), "the first has what it wants");
}

/// Something else at a socket, for as long as the folder is there.
fn listen(serve: fn(UnixStream)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    (folder, socket)
}

fn a_socket_that_hangs() {
    let (_folder, socket) = listen(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        thread::park();
    });
    assert!(fault(&socket).contains("did not answer"));
    // A byte now and then is no answer either.
    let (_folder, socket) = listen(|mut stream| {
        while stream.write_all(b"\n").is_ok() {
            thread::sleep(std::time::Duration::from_millis(200));
        }
    });
    assert!(fault(&socket).contains("did not answer"));
    // And one where nobody takes connections any more.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let attempt = || {
        let stream = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.connect(&socket2::SockAddr::unix(&socket).unwrap()).is_ok().then_some(stream)
    };
    let waiting: Vec<_> = std::iter::from_fn(attempt).take(100_000).collect();
    assert!(fault(&socket).contains("takes no more conversations"), "{} wait", waiting.len());
}

fn a_socket_that_says_anything_else() {
    let (_folder, socket) = listen(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        // What was said is taken, so that the other side can hear the answer to its end.
        let _ = stream.read(&mut [0; 4096]);
    });
    assert!(fault(&socket).contains("does not answer as HAProxy does: it said \"220 mail.example ESMTP\""));
    let (_folder, socket) = listen(drop);
    let why = fault(&socket);
    assert!(why.contains("does not answer as HAProxy does") || why.contains("cannot be used"), "{why}");
    let (_folder, socket) = listen(|mut stream| {
        let _ = stream.write_all(b"\n> \n> Pid: 1\n\n> 2\n# everything is different now\n\n> ");
        let _ = stream.read(&mut [0; 4096]);
    });
    let (mut balancer, tables) = (Balancer::new().unwrap(), wanted(&socket, "pool"));
    let why = balancer.settle(&tables).unwrap_err().0;
    assert!(why.contains("begins with \"2\" and not with \"1\""), "{why}");
}

fn a_socket_that_never_stops() {
    static SAID: AtomicUsize = AtomicUsize::new(0);
    let (_folder, socket) = listen(|mut stream| {
        while stream.write_all(&[b'x'; 65_536]).is_ok() {
            SAID.fetch_add(65_536, Ordering::SeqCst);
        }
    });
    assert!(fault(&socket).contains("said more than 4 MiB"));
    let said = SAID.load(Ordering::SeqCst);
    assert!(said < 6 << 20, "{said} bytes were taken: what is in the socket comes on top of 4 MiB");
}

fn a_socket_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none");
    assert!(fault(&socket).contains("HAProxy does not run, or its haproxy.cfg does not say"));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fault(&socket).contains("nobody listens"));
}
