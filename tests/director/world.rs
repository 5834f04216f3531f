//! Where the director's tests take place: a network of their own, servers that do as they are told, and checks by hand.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use systole::config::{Check, CheckKind, Expect, Page, StatusRange};
use systole::director::check::Verdict;
use systole::director::check::perform::{Means, Prepared, Target, perform};
use systole::lab::Space;
use systole::time::Span;
use tokio::runtime::{Builder, Runtime};

/// What takes longer is a test that hangs.
pub(crate) const PATIENCE: Span = Span::seconds(60);

/// Where silence is what is tested: nobody waits longer for it.
pub(crate) const SOON: Span = Span::millis(200);

/// This machine.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A test, and why it cannot be made here, if it cannot.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
    pub(crate) needs: fn() -> Result<(), String>,
}

impl Test {
    /// One that needs nothing but a network.
    pub(crate) const fn new(name: &'static str, run: fn()) -> Self {
        Self { name, run, needs: || Ok(()) }
    }
}

/// Does this in a network in which there is nothing but the machine itself.
pub(crate) fn alone(job: impl FnOnce() + Send + 'static) {
    let space = Space::new().unwrap();
    space.run(move || {
        shell("ip link set lo up");
        job();
    });
}

/// A line of shell, which must go well.
pub(crate) fn shell(line: &str) {
    let status = Command::new("sh").args(["-ec", line]).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// A runtime of one thread, as the director has it.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A check of a kind, with all the time that it may need.
pub(crate) fn check(kind: CheckKind) -> Check {
    let every = Span::seconds(1);
    Check { kind, address: None, port: None, source: None, every, timeout: PATIENCE, rise: 1, fall: 1 }
}

/// The same, for what is expected not to come.
pub(crate) fn soon(kind: CheckKind) -> Check {
    Check { timeout: SOON, ..check(kind) }
}

/// What an answer must have in it.
pub(crate) fn text(text: &str) -> Expect {
    Expect { text: Some(text.into()), pattern: None }
}

/// A page whose status must be 200.
pub(crate) fn page(expect: Expect) -> Page {
    let status = vec![StatusRange(200, 200)];
    Page { method: "GET".into(), path: "/".into(), host: None, login: None, status, expect }
}

/// `http` with a page.
pub(crate) fn http(expect: Expect) -> CheckKind {
    CheckKind::Http { tls: None, page: page(expect) }
}

/// `talk` without saying anything first.
pub(crate) fn hears(expect: Expect) -> CheckKind {
    CheckKind::Talk { tls: None, send: Vec::new(), expect }
}

/// Who is checked.
pub(crate) fn target(server: SocketAddr) -> Target {
    Target { address: server.ip(), port: server.port(), variables: Vec::new() }
}

/// Does a check once, in a runtime of its own.
pub(crate) fn once(check: &Check, server: SocketAddr) -> Verdict {
    runtime().block_on(async {
        let prepared = Prepared::new(check, &Means::new().unwrap()).unwrap();
        perform(&prepared, target(server)).await
    })
}

/// Why a server is bad.
pub(crate) fn bad(check: &Check, server: SocketAddr) -> String {
    match once(check, server) {
        Verdict::Bad(why) => why,
        Verdict::Well { answer, .. } | Verdict::Untold(answer) => panic!("not bad: {answer}"),
    }
}

/// Why a server could not be asked.
pub(crate) fn untold(check: &Check, server: SocketAddr) -> String {
    match once(check, server) {
        Verdict::Untold(why) => why,
        Verdict::Well { answer, .. } | Verdict::Bad(answer) => panic!("it was asked: {answer}"),
    }
}

/// What a server that is well has answered.
pub(crate) fn well(check: &Check, server: SocketAddr) -> String {
    match once(check, server) {
        Verdict::Bad(why) | Verdict::Untold(why) => panic!("bad: {why}"),
        Verdict::Well { answer, .. } => answer,
    }
}

/// A server that does this with each connection. It goes on until the process ends.
pub(crate) fn server(each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// Reads until the client is silent for good, which it is when it has gone.
pub(crate) fn hold(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

/// Reads what has come, and answers with this.
pub(crate) fn answer(stream: &mut TcpStream, words: &[u8]) {
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer);
    // The client may have heard enough.
    let _ = stream.write_all(words);
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    listener.local_addr().unwrap()
}
