//! Many checks at once: none of them leaves a port behind, and what they cost is printed.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use socket2::{Domain, Socket, Type};
use systole::config::{CheckKind, Expect};
use systole::director::check::Verdict;
use systole::director::check::perform::{Means, Prepared, perform};
use systole::lab::clock;
use tokio::task::JoinSet;

use super::world::{HERE, Test, alone, check, http, runtime, target, text};

pub(crate) const TESTS: &[Test] = &[Test::new("ten_thousand_checks_leave_no_port_behind", || alone(many))];

/// So many of each kind, and so many of them at once.
const CHECKS: usize = 10_000;
const AT_ONCE: usize = 100;

/// Answers one connection after the other. Whoever only connects does not wait for it: all of them have room in its queue,
/// as whoever finds it full is dropped, and tries again a second later.
fn web() -> SocketAddr {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::new(HERE, 0).into()).unwrap();
    listener.listen(i32::try_from(CHECKS).unwrap()).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome");
            }
        }
    });
    address
}

/// The kernel's limit on queues of connections. An ordinary user may not raise it: then fewer have room.
fn make_room() {
    let limit = "/proc/sys/net/core/somaxconn";
    if fs::write(limit, CHECKS.to_string()).is_err() {
        println!("  {limit} cannot be raised: some checks may have to try again");
    }
}

fn many() {
    make_room();
    for (name, kind) in [
        ("tcp", CheckKind::Tcp),
        ("http", http(Expect::default())),
        ("http with a text", http(text("welcome"))),
    ] {
        let server = web();
        let used = || {
            let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        };
        let (began, used_before) = (clock::now(), used());
        runtime().block_on(async {
            let prepared = Arc::new(Prepared::new(&check(kind), &Means::new().unwrap()).unwrap());
            let mut all: JoinSet<Verdict> = JoinSet::new();
            for number in 0..CHECKS {
                if number >= AT_ONCE {
                    assert!(all.join_next().await.unwrap().unwrap().is_well());
                }
                let prepared = Arc::clone(&prepared);
                all.spawn(async move { perform(&prepared, target(server)).await });
            }
            for verdict in all.join_all().await {
                assert!(verdict.is_well(), "{verdict:?}");
            }
        });
        let micros = (clock::now() - began).as_micros().max(1);
        let busy = used() - used_before;
        println!(
            "  {name}: {} checks a second, {} us of this thread's time each",
            CHECKS as u64 * 1_000_000 / micros,
            busy / CHECKS as i64
        );
        let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let waiting = sockets.lines().filter(|line| line.split_whitespace().nth(3) == Some("06")).count();
        assert_eq!(waiting, 0, "ports in TIME_WAIT after {name}");
    }
}
