//! The director as it runs: two directors in the lab with a witness, two real servers behind them, and a client. The
//! balancer is our own rules, which every kernel has.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use socket2::SockRef;
use systole::lab::{Lab, MachinePlan, Plan, PortPlan, Program, Stop, Work, clock};
use systole::net::nft::{Family, Nftables};
use systole::time::Span;

use super::world::Test;

/// Longer than anything takes, on any machine.
const PATIENCE: Span = Span::seconds(60);
const LOOK: Span = Span::millis(5);
/// Longer than a connection takes that comes about at all.
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_server_that_fails_in_any_way_gets_nothing_until_it_is_well", fails_in_any_way),
    Test::new("a_takeover_starts_with_a_pool_that_is_known", takes_over),
    Test::new("a_director_that_alone_has_lost_the_servers_yields", yields),
    Test::new("a_drained_server_loses_no_request_and_stays_drained_when_the_director_dies", drains),
    Test::new("what_somebody_else_has_changed_is_mended", is_mended),
    Test::new("a_reload_takes_back_what_is_served_no_more", reloads),
];

/// What a server does to whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Well,
    Hangs,
    Wrong,
    Resets,
    Garbage,
    Closed,
    /// It is well, but for whoever asks from the address of this director.
    Shuns,
}

const MOODS: [Mood; 7] =
    [Mood::Well, Mood::Hangs, Mood::Wrong, Mood::Resets, Mood::Garbage, Mood::Closed, Mood::Shuns];

/// Of lb0.
const SHUNNED: [&str; 2] = ["10.78.0.1", "fd00:78::1"];

/// A server whose mood can be changed.
struct RealServer {
    mood: Arc<AtomicU8>,
    _work: Work<()>,
}

impl RealServer {
    fn start(lab: &Lab, name: &str) -> Self {
        let mood = Arc::new(AtomicU8::new(0));
        let (seen, text) = (Arc::clone(&mood), name.to_owned());
        let work = lab.machine(name).unwrap().space().work("server", move |stop| serve(&text, &seen, stop));
        Self { mood, _work: work.unwrap() }
    }

    fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

fn serve(name: &str, mood: &AtomicU8, stop: &Stop) {
    let mut listeners = Vec::new();
    let mut hanging = Vec::new();
    while !stop.is_set() {
        let mood = MOODS[usize::from(mood.load(Ordering::Relaxed))];
        if mood == Mood::Closed {
            listeners.clear();
        } else if listeners.is_empty() {
            listeners = Vec::from(["0.0.0.0:80", "[::]:80"].map(listen));
        }
        if mood != Mood::Hangs {
            hanging.clear();
        }
        let mut nobody = true;
        for listener in &listeners {
            while let Ok((stream, _)) = listener.accept() {
                nobody = false;
                if let Some(stream) = answer(stream, name, mood) {
                    hanging.push(stream);
                }
            }
        }
        if nobody {
            clock::wait(Span::millis(1));
        }
    }
}

fn listen(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1_024).unwrap();
    socket.into()
}

fn is_shunned(stream: &TcpStream) -> bool {
    // Who has gone already is nobody's.
    stream.peer_addr().is_ok_and(|peer| SHUNNED.contains(&peer.ip().to_string().as_str()))
}

/// The connection, where it is to hang.
fn answer(mut stream: TcpStream, name: &str, mood: Mood) -> Option<TcpStream> {
    let text = match mood {
        Mood::Hangs => return Some(stream),
        Mood::Resets => {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            return None;
        }
        Mood::Shuns if is_shunned(&stream) => return None,
        Mood::Well | Mood::Shuns => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{name}\n"),
        Mood::Wrong => "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n".to_owned(),
        Mood::Garbage => "\u{1}\u{2}\u{3} what is this?".repeat(50),
        Mood::Closed => return None,
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    // A request is short and comes at once; who goes before has asked nothing.
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(text.as_bytes());
    None
}

/// The directors with all that is around them.
struct Site {
    lab: Lab,
    program: Program,
    one: RealServer,
    two: RealServer,
}

fn address(v6: bool) -> IpAddr {
    if v6 { "fd00:77::100".parse().unwrap() } else { "10.77.0.100".parse().unwrap() }
}

impl Site {
    fn start() -> Self {
        let lab = Lab::build(&plan()).unwrap();
        let (keys, config) = (lab.folder().join("keys"), lab.folder().join("systole.toml"));
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&config, text(true).replace("KEYS", keys.to_str().unwrap())).unwrap();
        let program = Program {
            path: env!("CARGO_BIN_EXE_systole").into(),
            config,
            before: Vec::new(),
            plays_agents: false,
        };
        let (one, two) = (RealServer::start(&lab, "one"), RealServer::start(&lab, "two"));
        let mut site = Self { lab, program, one, two };
        for node in ["lb0", "lb1"] {
            site.lab.machine(node).unwrap().space().run(|| {
                fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
                fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
            });
        }
        for node in ["lb0", "lb1", "witness"] {
            site.lab.start(node, &site.program).unwrap();
        }
        site.wait("the pool is known", |site| site.serve(2));
        site.wait("the client is answered", |site| {
            [false, true].into_iter().all(|v6| site.fetch(v6).is_ok())
        });
        site
    }

    fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Span {
        let began = clock::now();
        while !is_so(self) {
            let said = || format!("{}\n{}", self.lab.log("lb0"), self.lab.log("lb1"));
            assert!(clock::now() < began + PATIENCE, "in vain: {what}\n{}", said());
            clock::wait(LOOK);
        }
        clock::now() - began
    }

    fn ask(&self, node: &str, words: &[&str]) -> Output {
        let run_dir = self.lab.folder().join(node).join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(words).arg("--run-dir").arg(run_dir).output().unwrap()
    }

    fn pool(&self, node: &str) -> Option<Value> {
        let output = self.ask(node, &["pool", "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).ok()?;
        assert_eq!(value["version"], 1);
        Some(value["pool"].clone())
    }

    /// How much of its group's servers a node finds not well: at its best and at its worst, of late.
    fn shortfall(&self, node: &str) -> Option<(u64, u64)> {
        let pool = self.pool(node)?;
        let outlook = &pool["services"][0]["shortfall"];
        Some((outlook["least"].as_u64()?, outlook["most"].as_u64()?))
    }

    /// So many servers get connections of each service, in the kernels of both directors.
    fn serve(&self, count: usize) -> bool {
        ["lb0", "lb1"].iter().all(|node| {
            let rules = self.rules(node);
            ["to:web", "to:web6"]
                .iter()
                .all(|chain| rules.iter().filter(|(name, _)| name == chain).count() == count)
        })
    }

    /// Who answers the client.
    fn fetch(&self, v6: bool) -> io::Result<String> {
        self.lab.machine("client").unwrap().space().run(move || fetch(address(v6)))
    }

    /// How often each of them answers.
    fn shares(&self, v6: bool, count: usize) -> (usize, usize) {
        let all: Vec<String> = (0..count).map(|_| self.fetch(v6).unwrap()).collect();
        let of = |name: &str| all.iter().filter(|one| *one == name).count();
        (of("one"), of("two"))
    }

    /// The rules of a director's kernel.
    fn rules(&self, node: &str) -> Vec<(String, Vec<u8>)> {
        self.lab.machine(node).unwrap().space().run(|| {
            let mut kernel = Nftables::open("systole-services").unwrap();
            let families = [Family::Ip, Family::Ip6].into_iter();
            families.flat_map(|family| kernel.rules(family).unwrap()).collect()
        })
    }

    /// The process of a director.
    fn director(&self, node: &str) -> Option<Pid> {
        let run_dir = self.lab.folder().join(node).join("run");
        let wanted = format!("direct\0--run-dir\0{}\0", run_dir.display());
        let mut all =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let is_it = |pid: &String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&wanted)
        };
        all.find(is_it).map(|pid| Pid::from_raw(pid.parse().unwrap()))
    }
}

fn fetch(address: IpAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, 80), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.starts_with("HTTP/1.1 200 ") {
        Ok(body.trim().to_owned())
    } else {
        Err(io::Error::other(head.to_owned()))
    }
}

fn plan() -> Plan {
    let port = |network: &str, interface: &str, number: u8| {
        let net = if network == "lan" { 77 } else { 78 };
        let six = format!("fd00:{net}::{number}").parse().unwrap();
        PortPlan {
            network: network.to_owned(),
            interface: interface.to_owned(),
            addresses: vec![(IpAddr::from([10, net, 0, number]), 24), (six, 64)],
        }
    };
    let machine = |name: &str, ports: Vec<PortPlan>, gateways: &[&str]| MachinePlan {
        name: name.to_owned(),
        ports,
        gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
    };
    let back = ["10.78.0.100", "fd00:78::100"];
    Plan {
        networks: vec!["lan".to_owned(), "back".to_owned()],
        machines: vec![
            machine("lb0", vec![port("lan", "eth0", 1), port("back", "eth1", 1)], &[]),
            machine("lb1", vec![port("lan", "eth0", 2), port("back", "eth1", 2)], &[]),
            machine("witness", vec![port("lan", "eth0", 3), port("back", "eth1", 3)], &[]),
            machine("one", vec![port("back", "eth0", 11)], &back),
            machine("two", vec![port("back", "eth0", 12)], &back),
            machine("client", vec![port("lan", "eth0", 50)], &[]),
        ],
    }
}

fn text(with_six: bool) -> String {
    let service = |name: &str, address: &str, servers: [&str; 2]| {
        format!(
            "[service.{name}]\naddress = \"{address}\"\nbalancer = \"nftables\"\ndrain = \"1s\"\n\
             check = {{ kind = \"http\", every = \"200ms\", timeout = \"500ms\", rise = 2, fall = 2 }}\n\
             [service.{name}.server.one]\naddress = \"{}\"\nweight = 2\n\
             [service.{name}.server.two]\naddress = \"{}\"\n",
            servers[0], servers[1]
        )
    };
    let mut text = "[cluster]\nname = \"lab\"\nkeys = \"KEYS\"\n[timing]\nkeepalive = \"100ms\"\nwarntime = \"300ms\"\n\
                    deadtime = \"1s\"\ninitdead = \"4s\"\n[node.lb0]\n[node.lb1]\n[node.witness]\narbiter = true\n"
        .to_owned();
    for (link, interface, net) in [("lan", "eth0", 77), ("back", "eth1", 78)] {
        text.push_str(&format!(
            "[link.{link}]\ninterface = \"{interface}\"\nunicast = {{ lb0 = \"10.{net}.0.1\", lb1 = \"10.{net}.0.2\", \
             witness = \"10.{net}.0.3\" }}\n"
        ));
    }
    text.push_str(
        "[group.web]\nprefer = [\"lb0\"]\nfailback = false\n\
         [[group.web.resource]]\nagent = \"vip\"\nparams = { address = [\"10.78.0.100/24\", \"fd00:78::100/64\"], interface = \"eth1\" }\n\
         [[group.web.resource]]\nagent = \"vip\"\nparams = { address = [\"10.77.0.100/24\", \"fd00:77::100/64\"], interface = \"eth0\" }\n",
    );
    text.push_str(&service("web", "10.77.0.100:80", ["10.78.0.11:80", "10.78.0.12:80"]));
    if with_six {
        text.push_str(&service("web6", "[fd00:77::100]:80", ["[fd00:78::11]:80", "[fd00:78::12]:80"]));
    }
    text
}

fn fails_in_any_way() {
    let mut site = Site::start();
    for v6 in [false, true] {
        assert_eq!(
            site.shares(v6, 30),
            (20, 10),
            "two of three connections are for who weighs twice as much"
        );
    }
    for mood in [Mood::Hangs, Mood::Wrong, Mood::Resets, Mood::Garbage, Mood::Closed] {
        site.two.be(mood);
        let down = site.wait("it is taken out", |site| site.serve(1));
        for v6 in [false, true] {
            assert_eq!(site.shares(v6, 20), (20, 0), "{mood:?}");
        }
        let pool = site.pool("lb0").unwrap();
        let why = pool["services"][0]["servers"][1]["why"].as_str().unwrap().to_owned();
        site.two.be(Mood::Well);
        let up = site.wait("it is put in again", |site| site.serve(2));
        println!("    {mood:?}: down on both after {down} ({why}), up after {up}");
        let expected = match mood {
            Mood::Hangs => "no answer within",
            Mood::Wrong => "503",
            Mood::Resets => "reset",
            Mood::Garbage => "",
            Mood::Closed => "refused",
            Mood::Well | Mood::Shuns => unreachable!("it is none of them"),
        };
        assert!(why.contains(expected), "{why}");
        assert_eq!(site.shares(false, 30), (20, 10));
    }
}

fn takes_over() {
    let mut site = Site::start();
    site.two.be(Mood::Hangs);
    site.wait("it is taken out", |site| site.serve(1));
    let before = site.rules("lb1");
    assert!(!before.is_empty());
    site.lab.machine_mut("lb0").unwrap().kill().unwrap();
    site.lab.pull("lb0", "lan").unwrap();
    site.lab.pull("lb0", "back").unwrap();
    let holds = |site: &mut Site| site.lab.machine_mut("lb1").unwrap().has(address(false)).unwrap();
    site.wait("the other holds it", holds);
    let took =
        site.wait("the client is answered", |site| site.fetch(false).is_ok() && site.fetch(true).is_ok());
    println!("    answered {took} after the address had moved");
    for v6 in [false, true] {
        assert_eq!(site.shares(v6, 20), (20, 0), "who hangs is asked by nobody");
    }
    assert_eq!(site.rules("lb1"), before, "nothing had to be changed");
}

fn yields() {
    let mut site = Site::start();
    let holds = |node: &'static str| {
        move |site: &mut Site| site.lab.machine_mut(node).unwrap().has(address(false)).unwrap()
    };
    let all = |site: &Site, mood| [&site.one, &site.two].iter().for_each(|server| server.be(mood));
    // Nobody yields for what is lost to everybody, whoever finds out first.
    for _ in 0..2 {
        all(&site, Mood::Closed);
        site.wait("both have taken them out", |site| site.serve(0));
        // As long as it takes until nothing is new any more: then it would have yielded.
        site.wait("that is all that was found for a while", |site| {
            ["lb0", "lb1"].iter().all(|node| site.shortfall(node) == Some((100, 100)))
        });
        all(&site, Mood::Well);
        site.wait("both have put them in", |site| site.serve(2));
        site.wait("nothing was wanting for a while", |site| {
            ["lb0", "lb1"].iter().all(|node| site.shortfall(node) == Some((0, 0)))
        });
    }
    assert!(holds("lb0")(&mut site));
    let moved = |site: &Site| {
        let why = site.ask("lb0", &["why", "web"]);
        String::from_utf8(why.stdout).unwrap()
    };
    assert!(!moved(&site).contains("of the servers not well"), "{}", moved(&site));
    all(&site, Mood::Shuns);
    let took = site.wait("the one that has servers holds it", holds("lb1"));
    site.wait("the client is answered", |site| site.fetch(false).is_ok() && site.fetch(true).is_ok());
    println!("    yielded {took} after its servers were lost to it alone");
    let why = moved(&site);
    // Who weighs two of three may be found out first, and that is enough.
    let said = ["66", "100"].map(|percent| format!("lb0 finds {percent} % of the servers not well"));
    assert!(said.iter().any(|said| why.contains(said)), "{why}");
    // It does not come back by itself: so it is configured.
    all(&site, Mood::Well);
    site.wait("nothing is wanting", |site| site.shortfall("lb0") == Some((0, 0)));
    assert!(holds("lb1")(&mut site));
}

fn drains() {
    let mut site = Site::start();
    let space = site.lab.machine("client").unwrap().space();
    let clients = space
        .work("clients", |stop| {
            let (mut well, mut failed) = (0, Vec::new());
            while !stop.is_set() {
                match fetch(address(false)) {
                    Ok(_) => well += 1,
                    Err(error) => failed.push(error.to_string()),
                }
            }
            (well, failed)
        })
        .unwrap();
    let is = |site: &Site, node: &str, state: &str| {
        let pool = site.pool(node);
        pool.is_some_and(|pool| pool["services"][0]["servers"][0]["state"] == state)
    };
    let state = |site: &Site, state: &str| is(site, "lb0", state);
    // Whoever is asked: the holder, the other one, or the witness, which has no director.
    for (node, back) in [("lb0", "lb1"), ("lb1", "witness"), ("witness", "lb0")] {
        assert!(site.ask(node, &["pool", "drain", "one"]).status.success());
        site.wait("it is drained on both", |site| {
            ["lb0", "lb1"].iter().all(|node| is(site, node, "drained"))
        });
        assert_eq!(site.shares(false, 10), (0, 10));
        // The witness has no pool to look at, and may hear of it later.
        let why = "they are still meant by the order for one, which means more servers";
        site.wait("it is known there, and meant for more", |site| {
            let refused = site.ask(back, &["pool", "undrain", "10.78.0.11"]);
            refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains(why)
        });
        assert!(site.ask(back, &["pool", "undrain", "one"]).status.success());
        site.wait("it has connections again", |site| site.shares(false, 3).0 == 2);
    }
    assert!(site.ask("lb0", &["pool", "drain", "10.78.0.11"]).status.success());
    let director = site.director("lb0").unwrap();
    kill(director, Signal::SIGKILL).unwrap();
    site.wait("another one has begun", |site| {
        site.director("lb0").is_some_and(|other| other != director) && state(site, "drained")
    });
    site.wait("it has nothing", |site| site.shares(false, 3) == (0, 3));
    let (well, failed) = clients.finish().unwrap();
    println!("    {well} requests, {} failed", failed.len());
    assert!(failed.is_empty() && well > 100, "{failed:?}");
    let unknown = site.ask("lb0", &["pool", "drain", "three"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no server \"three\""));
    // Nor does the other director, when the first one dies, nor whoever comes back.
    site.lab.machine_mut("lb0").unwrap().kill().unwrap();
    let holds = |site: &mut Site| site.lab.machine_mut("lb1").unwrap().has(address(false)).unwrap();
    site.wait("the other holds it", holds);
    site.wait("it answers", |site| site.fetch(false).is_ok());
    assert_eq!(site.shares(false, 10), (0, 10));
    let program = site.program.clone();
    site.lab.start("lb0", &program).unwrap();
    site.wait("it is drained there, too", |site| state(site, "drained"));
    // In other words it is the same server of the same service.
    assert!(site.ask("lb0", &["pool", "undrain", "one", "--service", "web"]).status.success());
    site.wait("it has connections", |site| site.shares(false, 3).0 == 2);
}

fn is_mended() {
    let mut site = Site::start();
    let rules = site.rules("lb0");
    site.lab.machine("lb0").unwrap().space().run(|| {
        let mut kernel = Nftables::open("systole-services").unwrap();
        let mut batch = kernel.batch();
        batch.side_chain(Family::Ip, "services");
        kernel.commit(batch, None).unwrap();
    });
    let took = site.wait("it is as before", |site| site.rules("lb0") == rules);
    println!("    mended after {took}");
    site.wait("it is told", |site| site.lab.log("lb0").contains("somebody else has changed it"));
}

fn reloads() {
    let mut site = Site::start();
    let keys = site.lab.folder().join("keys");
    let less = text(false).replace("KEYS", keys.to_str().unwrap());
    fs::write(&site.program.config, less).unwrap();
    let of = |site: &Site, chain: &str| site.rules("lb0").iter().filter(|(name, _)| name == chain).count();
    assert_eq!((of(&site, "to:web"), of(&site, "to:web6")), (2, 2));
    let output = site.ask("lb0", &["reload"]);
    assert!(output.status.success(), "{output:?}");
    site.wait("it is taken back", |site| of(site, "to:web6") == 0);
    assert_eq!(of(&site, "to:web"), 2);
    assert_eq!(site.shares(false, 30), (20, 10));
    assert!(site.fetch(true).is_err());
    // And what is served again is known at once where its servers are known.
    fs::write(&site.program.config, text(true).replace("KEYS", keys.to_str().unwrap())).unwrap();
    assert!(site.ask("lb0", &["reload"]).status.success());
    site.wait("it is served again", |site| of(site, "to:web6") == 2 && site.fetch(true).is_ok());
}
