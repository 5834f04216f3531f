//! Each kind of check against servers that answer, hang, answer slowly or wrongly, reset, close, and talk without end.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use systole::config::{Check, CheckKind, DnsRecord, Expect};
use systole::director::check::Verdict;
use systole::director::check::perform::{Means, Prepared, Target, perform};
use systole::lab::clock;
use systole::time::Span;
use tokio::task::JoinSet;

use super::world::{
    HERE, PATIENCE, Test, alone, answer, bad, check, hears, hold, http, nobody, once, runtime, server, shell,
    soon, target, text, untold, well,
};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_server_that_answers_is_well", || alone(answers)),
    Test::new("a_server_that_answers_byte_by_byte_is_well", || alone(slowly)),
    Test::new("a_server_that_does_not_answer_is_told_by_what_it_did", || alone(silence)),
    Test::new("a_server_that_answers_wrongly_is_told_by_what_it_said", || alone(wrongly)),
    Test::new("a_server_that_never_stops_is_not_listened_to", || alone(without_end)),
    Test::new("a_check_goes_where_it_is_sent_and_comes_from_where_it_shall", || alone(places)),
    Test::new("checks_from_one_address_share_a_port", || alone(ports)),
    Test::new("a_datagram_is_answered_refused_or_lost", || alone(datagrams)),
    Test::new("a_name_is_asked_for", || alone(names)),
    Test::new("a_thousand_pings_share_one_socket", || alone(pings)),
    Test::new("a_program_judges_and_weighs", || alone(programs)),
    Test::new("a_program_that_does_not_end_is_killed_with_all_that_it_started", || alone(program_hangs)),
    Test::new("a_check_that_cannot_be_made_says_so_at_once", || alone(faults)),
];

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome";

fn answers() {
    let web = server(|mut stream| answer(&mut stream, PAGE));
    assert_eq!(well(&check(CheckKind::Tcp), web), "takes connections");
    assert_eq!(well(&check(http(Expect::default())), web), "200 OK");
    assert_eq!(well(&check(http(text("come"))), web), "200 OK");
    let mail = server(|mut stream| {
        stream.write_all(b"220 mail\r\n").unwrap();
        answer(&mut stream, b"250-mail\r\n250 HELP\r\n");
        answer(&mut stream, b"221 bye\r\n");
    });
    assert_eq!(well(&check(CheckKind::Smtp { hello: "lb".into() }), mail), "220 mail");
    let store = server(|mut stream| {
        answer(&mut stream, b"+PONG\r\n");
        hold(stream);
    });
    let talk = CheckKind::Talk { tls: None, send: b"PING\r\n".into(), expect: text("+PONG") };
    assert_eq!(well(&check(talk), store), "\"+PONG\"");
}

fn slowly() {
    let web = server(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        stream.set_nodelay(true).unwrap();
        for byte in PAGE {
            clock::wait(Span::millis(1));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
        hold(stream);
    });
    assert_eq!(well(&check(http(text("welcome"))), web), "200 OK");
    assert_eq!(
        well(&check(hears(Expect::default())), server(|mut stream| drop(stream.write_all(b"x")))),
        "\"x\""
    );
}

fn silence() {
    assert_eq!(bad(&check(CheckKind::Tcp), nobody()), "refused");
    let silent = server(hold);
    assert_eq!(bad(&soon(http(Expect::default())), silent), "no answer within 200ms");
    let half = server(|mut stream| {
        answer(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwel");
        hold(stream);
    });
    assert_eq!(bad(&soon(http(text("welcome"))), half), "only \"HTTP/1.1 200 OK\" within 200ms");
    let closes = server(drop);
    assert_eq!(bad(&check(hears(text("x"))), closes), "closed before an answer");
    let resets = server(|stream| {
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    assert_eq!(bad(&check(hears(text("x"))), resets), "reset");
    // Nobody takes connections out of the queue, and it is full: the kernel lets packets fall.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::new(HERE, 0).into()).unwrap();
    full.listen(0).unwrap();
    let full_address = full.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(full_address).unwrap();
    assert_eq!(bad(&soon(CheckKind::Tcp), full_address), "no connection within 200ms");
    drop((first, full));
    let nowhere = "192.0.2.1:80".parse().unwrap();
    assert_eq!(bad(&check(CheckKind::Tcp), nowhere), "network unreachable");
    // Whoever does not read either is waited for no longer than anybody else.
    let much = CheckKind::Talk { tls: None, send: vec![b'x'; 32 << 20], expect: text("x") };
    let deaf = TcpListener::bind((HERE, 0)).unwrap();
    assert_eq!(bad(&soon(much), deaf.local_addr().unwrap()), "no answer within 200ms");
}

fn wrongly() {
    let says = |words: &'static [u8]| {
        server(move |mut stream| {
            answer(&mut stream, words);
            hold(stream);
        })
    };
    let any = http(Expect::default());
    let away = says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    assert_eq!(bad(&check(any.clone()), away), "503 Service Unavailable");
    assert_eq!(bad(&check(http(text("gone"))), says(PAGE)), "200 OK, without \"gone\"");
    assert_eq!(
        bad(&check(any.clone()), says(b"\x16\x03\x01\x1b[2J")),
        "no HTTP: \"\\u{16}\\u{3}\\u{1}\\u{1b}[2J\""
    );
    let mail = || check(CheckKind::Smtp { hello: "lb".into() });
    let greets = server(|mut stream| drop(stream.write_all(b"554 closed\r\n")));
    assert_eq!(bad(&mail(), greets), "554 closed");
    let shell_server = server(|mut stream| drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")));
    for kind in [CheckKind::Mysql, CheckKind::Smtp { hello: "lb".into() }] {
        let why = bad(&check(kind), shell_server);
        assert!(why.starts_with("no ") && why.contains("SSH-2.0"), "{why}");
    }
    assert_eq!(
        bad(&check(CheckKind::Postgresql), says(b"HTTP/1.1 400\r\n")),
        "no PostgreSQL: \"HTTP/1.1 400\\r\\n\""
    );
}

/// Talks for as long as it is listened to, a gigabyte at most, and tells how much it was.
fn endless(beginning: &'static [u8], again: Vec<u8>) -> (SocketAddr, mpsc::Receiver<usize>) {
    let (tell, told) = mpsc::channel();
    let address = server(move |mut stream| {
        let mut sent = 0;
        let _ = stream.write_all(beginning);
        while sent < 1 << 30 && stream.write_all(&again).is_ok() {
            sent += again.len();
        }
        let _ = tell.send(sent);
    });
    (address, told)
}

fn without_end() {
    let bytes = || vec![b'x'; 1 << 16];
    let lines = || b"X-Y: zzzzzzzzzzzz\r\n".repeat(3_000);
    let begun = b"HTTP/1.1 200 OK\r\n";
    let body = b"HTTP/1.1 200 OK\r\n\r\n";
    let expects = http(text("welcome"));
    for (kind, (address, sent), why) in [
        (expects.clone(), endless(body, bytes()), "200 OK, its first 64 KiB without \"welcome\""),
        (expects.clone(), endless(begun, lines()), "200 OK, a header of more than 500 lines"),
        (expects.clone(), endless(begun, bytes()), "200 OK, a line of more than 16 KiB in the header"),
        (hears(text("welcome")), endless(b"", bytes()), "its first 64 KiB were without \"welcome\""),
        (CheckKind::Smtp { hello: "lb".into() }, endless(b"", bytes()), "a line of more than 2,048 bytes"),
        (CheckKind::Mysql, endless(b"", bytes()), "no MySQL: "),
        (CheckKind::Postgresql, endless(b"", bytes()), "no PostgreSQL: "),
    ] {
        let said = bad(&check(kind), address);
        assert!(said.starts_with(why), "{said}");
        let sent = sent.recv().unwrap();
        // What the kernel holds for both sides is part of it.
        assert!(sent < 64 << 20, "{why}: {sent} bytes went out");
    }
}

fn places() {
    let (tell, told) = mpsc::channel();
    let web = server(move |mut stream| {
        tell.send(stream.peer_addr().unwrap().ip()).unwrap();
        answer(&mut stream, PAGE);
    });
    let elsewhere = "192.0.2.1:1".parse().unwrap();
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let source = Some(from);
    let sent = Check { address: Some(HERE), port: Some(web.port()), source, ..check(http(text("welcome"))) };
    assert_eq!(well(&sent, elsewhere), "200 OK");
    assert_eq!(told.recv().unwrap(), from);
    let not_ours = Check { source: Some("203.0.113.1".parse().unwrap()), ..check(CheckKind::Tcp) };
    assert_eq!(untold(&not_ours, web), "cannot check from here: 203.0.113.1 is not on this node");
}

fn ports() {
    // Where there is one port, it serves connections to any number of servers, if it is chosen at the last moment.
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50001").unwrap();
    let source = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)));
    let (began, all_began) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let servers: Vec<SocketAddr> = (1..=8)
        .map(|last| {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, last), 7)).unwrap();
            let address = listener.local_addr().unwrap();
            let (began, released) = (began.clone(), Arc::clone(&released));
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                began.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                let _ = stream.write_all(b"x");
                hold(stream);
            });
            address
        })
        .collect();
    let releaser = std::thread::spawn(move || {
        (0..8).for_each(|_| all_began.recv().unwrap());
        drop(release);
    });
    runtime().block_on(async {
        let check = Check { source, ..check(hears(Expect::default())) };
        let prepared = Arc::new(Prepared::new(&check, &Means::new().unwrap()).unwrap());
        let mut all = JoinSet::new();
        for server in servers {
            let prepared = Arc::clone(&prepared);
            all.spawn(async move { perform(&prepared, target(server)).await });
        }
        for verdict in all.join_all().await {
            assert!(verdict.is_well(), "{verdict:?}");
        }
    });
    releaser.join().unwrap();
}

/// Answers each datagram with these.
fn echo(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for answer in answers(&buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    address
}

fn datagrams() {
    let ask = |expect: Expect| CheckKind::Udp { send: b"ping".into(), expect };
    let good = echo(|asked| vec![b"what?".into(), [b"re: ", asked].concat()]);
    assert_eq!(well(&check(ask(text("re: ping"))), good), "\"re: ping\"");
    assert_eq!(bad(&soon(ask(text("pong"))), good), "only \"re: ping\" within 200ms");
    let silent = echo(|_| Vec::new());
    assert_eq!(bad(&soon(ask(text("x"))), silent), "no answer within 200ms");
    assert_eq!(well(&soon(ask(Expect::default())), silent), "silence");
    let nobody = UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap();
    assert_eq!(bad(&check(ask(Expect::default())), nobody), "refused");
    let huge = echo(|_| vec![vec![b'x'; 65_000]]);
    assert!(bad(&soon(ask(text("y"))), huge).starts_with("only \"xxx"));
}

fn names() {
    let ask = |answer: Option<&str>| CheckKind::Dns {
        name: "www.example.org".into(),
        record: DnsRecord::A,
        answer: answer.map(str::to_owned),
    };
    let reply = |asked: &[u8], code: u8, last: u8| {
        let mut reply = asked.to_vec();
        (reply[2], reply[3], reply[7]) = (0x81, 0x80 | code, u8::from(code == 0));
        if code == 0 {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
        }
        reply
    };
    // What has another number, or is no answer, is waited past.
    let good = echo(move |asked| {
        let mut foreign = reply(asked, 0, 66);
        foreign[0] ^= 0xff;
        vec![b"garbage".into(), foreign, asked.into(), reply(asked, 0, 80)]
    });
    assert_eq!(well(&check(ask(Some("192.0.2.80"))), good), "192.0.2.80");
    assert_eq!(bad(&check(ask(Some("192.0.2.66"))), good), "192.0.2.80 instead of 192.0.2.66");
    let fails = echo(move |asked| vec![reply(asked, 2, 0)]);
    assert_eq!(bad(&check(ask(None)), fails), "SERVFAIL: it cannot answer");
    let garbage = echo(|asked| vec![[&asked[..2], &[0xff; 600]].concat()]);
    assert_eq!(bad(&soon(ask(None)), garbage), "no answer within 200ms");
    assert_eq!(bad(&soon(ask(None)), echo(|_| Vec::new())), "no answer within 200ms");
    let nobody = UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap();
    assert_eq!(bad(&check(ask(None)), nobody), "refused");
}

fn pings() {
    let here = SocketAddr::new(HERE, 0);
    assert_eq!(well(&check(CheckKind::Ping), here), "answers");
    assert_eq!(well(&check(CheckKind::Ping), "[::1]:0".parse().unwrap()), "answers");
    let source = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)));
    assert_eq!(well(&Check { source, ..check(CheckKind::Ping) }, here), "answers");
    assert_eq!(bad(&check(CheckKind::Ping), "192.0.2.1:0".parse().unwrap()), "network unreachable");
    fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1").unwrap();
    assert_eq!(bad(&soon(CheckKind::Ping), here), "no answer within 200ms");
    fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "0").unwrap();
    runtime().block_on(async {
        let prepared = Arc::new(Prepared::new(&check(CheckKind::Ping), &Means::new().unwrap()).unwrap());
        let mut all = JoinSet::new();
        for number in 0..1_000_u32 {
            let prepared = Arc::clone(&prepared);
            let address = Ipv4Addr::from_bits(0x7f01_0000 + number);
            all.spawn(async move { perform(&prepared, target((address, 0).into())).await });
        }
        for verdict in all.join_all().await {
            assert_eq!(verdict, Verdict::well("answers"));
        }
        let raw = fs::read_to_string("/proc/thread-self/net/raw").unwrap();
        assert_eq!(raw.lines().count(), 2, "a heading and one socket:\n{raw}");
    });
}

/// A program of shell, written by another process: one that a test starts meanwhile would inherit it, open for writing.
pub(crate) fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let put = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    let put = std::process::Command::new("sh").args(["-c", put, "sh", text]).arg(&path).status().unwrap();
    assert!(put.success());
    path
}

fn run(program: PathBuf, args: &[&str], user: Option<&str>, weighs: bool) -> Check {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    check(CheckKind::Program { program, args, user: user.map(str::to_owned), weighs })
}

fn programs() {
    let folder = tempfile::tempdir().unwrap();
    let server = SocketAddr::new(HERE, 80);
    let exits = program(folder.path(), "exits", "echo one; echo \"two $2\"; exit $1");
    assert_eq!(well(&run(exits.clone(), &["0", "x"], None, false), server), "exit code 0: two x");
    assert_eq!(bad(&run(exits.clone(), &["7", "x"], None, false), server), "exit code 7: two x");
    assert_eq!(bad(&run(exits.clone(), &["1"], None, true), server), "exit code 1: two");
    for (code, weight) in [("0", None), ("2", Some(0)), ("255", Some(253))] {
        match once(&run(exits.clone(), &[code], None, true), server) {
            Verdict::Well { weight: found, .. } => assert_eq!(found, weight),
            Verdict::Bad(why) | Verdict::Untold(why) => panic!("{why}"),
        }
    }
    let dies = program(folder.path(), "dies", "kill -9 $$");
    assert_eq!(bad(&run(dies, &[], None, false), server), "ended by signal 9");
    let shows = program(
        folder.path(),
        "shows",
        "env | grep -c .; echo $SYSTOLE_SERVER_ADDRESS:$SYSTOLE_SERVER_PORT $SYSTOLE_X $HOME",
    );
    let shows = run(shows, &[], None, false);
    let verdict = runtime().block_on(async {
        let prepared = Prepared::new(&shows, &Means::new().unwrap()).unwrap();
        let variables = vec![("SYSTOLE_X".to_owned(), "y".to_owned())];
        perform(&prepared, Target { variables, ..target(server) }).await
    });
    assert_eq!(verdict, Verdict::well("exit code 0: 127.0.0.1:80 y"));
    let floods = program(folder.path(), "floods", "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end");
    assert_eq!(well(&run(floods, &[], None, false), server), "exit code 0: end");
    let gone = untold(&run(folder.path().join("gone"), &[], None, false), server);
    assert!(gone.contains("is not there"), "{gone}");
    let open = program(folder.path(), "open", "exit 0");
    shell(&format!("chmod 777 {}", open.display()));
    let open = untold(&run(open, &[], None, false), server);
    assert!(open.contains("can be changed by others"), "{open}");
    // Only root has other users to be.
    if systole::lab::is_root() && nix::unistd::User::from_name("nobody").is_ok_and(|user| user.is_some()) {
        shell(&format!("chmod 755 {}", folder.path().display()));
        let who = program(folder.path(), "who", "echo $(id -un) $(id -G | wc -w)");
        assert_eq!(well(&run(who, &[], Some("nobody"), false), server), "exit code 0: nobody 1");
    }
}

fn program_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let text = "trap '' TERM; sleep 1000 & echo $! >\"$1.new\"; mv \"$1.new\" \"$1\"; wait";
    let hangs = program(folder.path(), "hangs", text);
    let hangs = Check { timeout: Span::seconds(2), ..run(hangs, &[pid.to_str().unwrap()], None, false) };
    let server = SocketAddr::new(HERE, 80);
    let gone = || {
        let child = fs::read_to_string(&pid).ok()?.trim().to_owned();
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    };
    assert_eq!(bad(&hangs, server), "no end within 2s");
    clock::wait_for(PATIENCE, gone).expect("what it had started is killed, too");
    fs::remove_file(&pid).unwrap();
    // What it leaves behind is ended with it.
    let leaves = program(folder.path(), "leaves", "sleep 1000 & echo $! >\"$1\"");
    assert_eq!(well(&run(leaves, &[pid.to_str().unwrap()], None, false), server), "exit code 0");
    clock::wait_for(PATIENCE, gone).expect("what it left behind is killed");
}

fn faults() {
    let means = Means::new().unwrap();
    let count = AtomicUsize::new(0);
    let fault = |kind: CheckKind| {
        count.fetch_add(1, Ordering::Relaxed);
        Prepared::new(&check(kind), &means).expect_err("it cannot be made")
    };
    let pattern = Expect { text: None, pattern: Some("(".into()) };
    assert!(fault(hears(pattern)).contains("is no regular expression"));
    assert!(fault(CheckKind::Smtp { hello: "a b".into() }).contains("is no name to greet"));
    let dns = CheckKind::Dns { name: "a..b".into(), record: DnsRecord::A, answer: None };
    assert!(fault(dns).contains("is no name of the DNS"));
    let nobody = run("/bin/true".into(), &[], Some("no-such-user"), false).kind;
    assert!(fault(nobody).contains("there is no user"));
    assert_eq!(count.into_inner(), 4);
}
