//! Debian's own daemons, unmodified: each kind of check finds them well, sees a real fault, and sees its end.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole::config::{Certificate, Check, CheckKind, DnsRecord, Tls};
use systole::director::check::Verdict;
use systole::lab::{clock, is_root};
use systole::time::Span;

use super::certificates::make;
use super::world::{HERE, Test, alone, bad, check, hears, http, once, page, shell, soon, text, well};

pub(crate) const TESTS: &[Test] = &[
    real("nginx_goes_down_and_comes_back", || alone(nginx)),
    real("exim_goes_down_and_comes_back", || alone(exim)),
    real("dnsmasq_goes_down_and_comes_back", || alone(dnsmasq)),
    real("mariadb_goes_down_and_comes_back", || alone(mariadb)),
    real("mariadb_shuts_nobody_out_for_our_checks", || alone(mariadb_counts)),
    real("postgresql_goes_down_and_comes_back", || alone(postgresql)),
];

/// Databases are made at their first start, on a machine that may be busy.
pub(crate) const START: Span = Span::seconds(120);

pub(crate) const fn real(name: &'static str, run: fn()) -> Test {
    let needs = || {
        let whole = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if !is_root() || whole.split_whitespace().nth(2) != Some("4294967295") {
            return Err("real daemons have users of their own, which takes root".to_owned());
        }
        let fetched = Command::new(script()).arg("fetch").stdin(Stdio::null()).output().unwrap();
        let why = String::from_utf8_lossy(&fetched.stderr).trim().to_owned();
        if fetched.status.success() { Ok(()) } else { Err(why) }
    };
    Test { name, run, needs }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/director/daemon")
}

/// A daemon that runs, with all that it has started; it ends with this.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(kind: &str, folder: &Path, args: &[&str]) -> Self {
        let log = folder.join(format!("{kind}.log"));
        let to = || fs::File::create(&log).unwrap();
        let mut command = Command::new(script());
        command.args(["run", kind]).arg(folder).args(args).stdin(Stdio::null());
        Self { child: command.stdout(to()).stderr(to()).spawn().unwrap(), log }
    }

    /// Does a check until it is well.
    fn until_well(&mut self, check: &Check, server: SocketAddr) -> String {
        let look = || match once(check, server) {
            Verdict::Well { answer, .. } => Some(answer),
            Verdict::Bad(_) | Verdict::Untold(_) => None,
        };
        clock::wait_for(START, look).unwrap_or_else(|| {
            panic!("{:?}: {}", once(check, server), fs::read_to_string(&self.log).unwrap_or_default())
        })
    }

    /// The first process of its namespace, with which all others in it end.
    fn first(&self) -> Option<u32> {
        first_child(self.child.id())
    }

    /// To the daemon itself.
    pub(crate) fn signal(&self, signal: Signal) {
        let daemon = self.first().and_then(first_child).expect("it runs");
        kill(Pid::from_raw(daemon.try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let first = self.first();
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It dies with him who started it, a moment later.
        let stat = || first.and_then(|first| fs::read_to_string(format!("/proc/{first}/stat")).ok());
        clock::wait_for(START, || stat().is_none_or(|stat| stat.contains(") Z ")).then_some(()));
    }
}

fn first_child(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// One that its users may look into.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    shell(&format!("chmod 755 {}", folder.path().display()));
    folder
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(HERE, port)
}

/// What every daemon does: it hangs and goes on, it dies and is started again.
fn hangs_and_dies(
    mut daemon: Daemon,
    check: &Check,
    server: SocketAddr,
    again: impl FnOnce() -> Daemon,
) -> Daemon {
    daemon.signal(Signal::SIGSTOP);
    assert_eq!(bad(&soon(check.kind.clone()), server), "no answer within 200ms");
    daemon.signal(Signal::SIGCONT);
    daemon.until_well(check, server);
    drop(daemon);
    assert_eq!(bad(check, server), "refused");
    let mut daemon = again();
    daemon.until_well(check, server);
    daemon
}

fn nginx() {
    let folder = folder();
    make(folder.path());
    let start = |certificate: &str| Daemon::start("nginx", folder.path(), &[certificate]);
    let served = check(http(text("served")));
    let mut daemon = start("good");
    assert_eq!(daemon.until_well(&served, at(80)), "200 OK");
    fs::write(folder.path().join("down"), "").unwrap();
    assert_eq!(bad(&served, at(80)), "503 Service Temporarily Unavailable");
    fs::remove_file(folder.path().join("down")).unwrap();
    assert_eq!(well(&served, at(80)), "200 OK");
    let trusted =
        || Some(Tls { name: None, certificate: Certificate::TrustedBy(folder.path().join("ca.pem")) });
    let secure = check(CheckKind::Http { tls: trusted(), page: page(text("served")) });
    assert_eq!(well(&secure, at(443)), "200 OK");
    let to_plain = bad(&secure, at(80));
    assert_eq!(to_plain, "no TLS");
    assert_eq!(bad(&served, at(443)), "400 Bad Request");
    let daemon = hangs_and_dies(daemon, &served, at(80), || start("expired"));
    assert_eq!(bad(&secure, at(443)), "certificate expired on 3 February 2021");
    drop(daemon);
}

fn exim() {
    let folder = folder();
    let start = || Daemon::start("exim", folder.path(), &[]);
    let greets = check(CheckKind::Smtp { hello: "lb.example.org".into() });
    let mut daemon = start();
    let greeting = daemon.until_well(&greets, at(25));
    assert!(greeting.starts_with("220 mail.example.org ESMTP Exim"), "{greeting}");
    fs::write(folder.path().join("down"), "").unwrap();
    assert_eq!(bad(&greets, at(25)), "550 closed for today");
    fs::remove_file(folder.path().join("down")).unwrap();
    well(&greets, at(25));
    hangs_and_dies(daemon, &greets, at(25), start);
}

fn dnsmasq() {
    let folder = folder();
    let start = |address: &str| Daemon::start("dnsmasq", folder.path(), &[address]);
    let ask = |name: &str, record: DnsRecord, answer: Option<&str>| {
        check(CheckKind::Dns { name: name.into(), record, answer: answer.map(str::to_owned) })
    };
    let www = ask("www.example.org", DnsRecord::A, Some("192.0.2.80"));
    let mut daemon = start("192.0.2.80");
    assert_eq!(daemon.until_well(&www, at(53)), "192.0.2.80");
    for (name, record, answer) in [
        ("www.example.org.", DnsRecord::Aaaa, "2001:db8::80"),
        ("web.example.org", DnsRecord::Cname, "www.example.org"),
        ("web.example.org", DnsRecord::A, "192.0.2.80"),
        ("example.org", DnsRecord::Mx, "10 mail.example.org"),
        ("_sip._tcp.example.org", DnsRecord::Srv, "1 2 5060 www.example.org"),
        ("example.org", DnsRecord::Txt, "v=spf1 -all"),
        ("80.2.0.192.in-addr.arpa", DnsRecord::Ptr, "www.example.org"),
    ] {
        assert_eq!(well(&ask(name, record, Some(answer)), at(53)), answer, "{name} {record:?}");
        let other = if record == DnsRecord::A { "192.0.2.9" } else { "::9" };
        assert!(bad(&ask(name, record, Some(other)), at(53)).contains(" instead of "), "{name} {record:?}");
    }
    let none = ask("no.example.org", DnsRecord::A, None);
    assert_eq!(bad(&none, at(53)), "NXDOMAIN: there is no such name");
    let foreign = ask("example.net", DnsRecord::A, None);
    assert_eq!(bad(&foreign, at(53)), "REFUSED: it does not answer us");
    let daemon = hangs_and_dies(daemon, &www, at(53), || start("192.0.2.80"));
    drop(daemon);
    let mut daemon = start("192.0.2.81");
    daemon.until_well(&ask("www.example.org", DnsRecord::A, None), at(53));
    assert_eq!(bad(&www, at(53)), "192.0.2.81 instead of 192.0.2.80");
}

fn mariadb() {
    let folder = folder();
    let start = || Daemon::start("mariadb", folder.path(), &["--max-connections=10"]);
    let greets = check(CheckKind::Mysql);
    let mut daemon = start();
    let version = daemon.until_well(&greets, at(3306));
    assert!(version.starts_with("version ") && version.contains("MariaDB"), "{version}");
    // Guests that say nothing take each seat, and one more is there for the host.
    let mut guests = Vec::new();
    let full = clock::wait_for(START, || {
        let mut guest = TcpStream::connect(at(3306)).unwrap();
        let mut first = [0; 5];
        guest.read_exact(&mut first).unwrap();
        guests.push(guest);
        (first[4] == 0xff).then_some(())
    });
    full.expect("there are ten seats");
    assert_eq!(bad(&greets, at(3306)), "error 1040: Too many connections");
    drop(guests);
    daemon.until_well(&greets, at(3306));
    hangs_and_dies(daemon, &greets, at(3306), start);
}

fn mariadb_counts() {
    // This machine itself is never shut out, so the client has an address of its own, with a name.
    shell("ip address add 192.0.2.7/32 dev lo");
    let lb = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let server = SocketAddr::new(lb, 3306);
    let folder = folder();
    let mut daemon = Daemon::start("mariadb", folder.path(), &["--max-connect-errors=2"]);
    let greets = check(CheckKind::Mysql);
    daemon.until_well(&greets, server);
    for _ in 0..50 {
        well(&greets, server);
    }
    // Whoever only looks at the greeting is.
    let looks = check(hears(text("MariaDB")));
    (0..5).for_each(|_| drop(once(&looks, server)));
    let shut_out = bad(&greets, server);
    assert!(shut_out.starts_with("error 1129: Host '192.0.2.7' is blocked"), "{shut_out}");
}

fn postgresql() {
    let folder = folder();
    let start = || Daemon::start("postgres", folder.path(), &[]);
    let takes = check(CheckKind::Postgresql);
    let mut daemon = start();
    daemon.until_well(&takes, at(5432));
    // With a guest who stays, a polite end takes its time, and nobody else is let in.
    let mut guest = Daemon::start("psql", folder.path(), &["select pg_sleep(1000)"]);
    let sleeps = || {
        let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        // An established connection to port 5432.
        let stays = |line: &&str| line.contains(":1538 01 ");
        (sockets.lines().filter(stays).count() > 0).then_some(())
    };
    clock::wait_for(START, sleeps).unwrap_or_else(|| panic!("{}", fs::read_to_string(&guest.log).unwrap()));
    // One that has not been let in yet does not hold it up: it may be told to end again and again.
    daemon.signal(Signal::SIGTERM);
    let stops = clock::wait_for(START, || match once(&takes, at(5432)) {
        Verdict::Bad(why) => Some(why),
        Verdict::Well { .. } | Verdict::Untold(_) => None,
    });
    assert_eq!(stops.as_deref(), Some("error 57P03: the database system is shutting down"));
    assert!(guest.child.try_wait().unwrap().is_none(), "the guest has stayed");
    drop(guest);
    drop(daemon);
    let mut daemon = start();
    daemon.until_well(&takes, at(5432));
    hangs_and_dies(daemon, &takes, at(5432), start);
}
