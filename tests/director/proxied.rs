//! The pair with HAProxy of the director's page, as it stands there: two nodes of which each runs HAProxy and steers its
//! own, a witness, six web servers of which each is a process, and a client that asks the address.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use systole::lab::{Lab, MachinePlan, Plan, PortPlan, Program, Stop, Work, clock, is_root};
use systole::time::Span;

use super::site;
use super::world::Test;

/// Longer than anything takes, on any machine: agents are scripts, which a busy one takes long for.
const PATIENCE: Span = Span::seconds(180);
const LOOK: Span = Span::millis(5);
/// Longer than a request takes that is answered at all, on any machine.
const ANSWER: Duration = Duration::from_secs(60);
/// The same where a director dies: some wait so long for what it had been asked.
const ANSWER_OF_THE_DEAD: Duration = Duration::from_secs(20);

/// The program is a web server if this is its first word, and its name the second.
pub(crate) const SERVE: &str = "serve";

const PAGE: &str = include_str!("../../docs/director.md");
const DIRECTORS: [&str; 2] = ["lb0", "lb1"];
const ADDRESS: [u8; 4] = [192, 168, 232, 40];
/// Of each backend: the path that leads there, its name, and the last parts of its servers' addresses.
const BACKENDS: [(&str, &str, [u8; 2]); 3] =
    [("/", "site", [21, 22]), ("/blog", "blog", [31, 32]), ("/admin", "admin", [41, 42])];
/// So many ask at once.
const CLIENTS: usize = 16;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "a_pair_with_haproxy_divides_by_weights_and_loses_nothing_to_a_drain", run: divides, needs },
    Test { name: "a_pair_with_haproxy_has_a_dead_server_out_on_both_nodes", run: a_server_dies, needs },
    Test { name: "a_takeover_keeps_haproxys_weights_and_who_is_drained", run: takes_over, needs },
];

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/proxied")
}

fn needs() -> Result<(), String> {
    let whole = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !is_root() || whole.split_whitespace().nth(2) != Some("4294967295") {
        return Err("HAProxy has a user of its own, which takes root".to_owned());
    }
    if unpacked().join("done").exists() {
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unpack");
    let status = Command::new(script).arg(unpacked()).args(["haproxy", "socat"]).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("there is no HAProxy to be had here".to_owned());
    }
    fs::write(unpacked().join("done"), "").unwrap();
    Ok(())
}

/// Answers with its name whatever it is asked, until it is killed.
pub(crate) fn serve(name: &str) -> ! {
    let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().unwrap();
        let (name, asked) = (name.to_owned(), Arc::clone(&asked));
        thread::spawn(move || site::serve(&stream, &name, &asked));
    }
}

/// An example of the page, in this language and with this word in it.
fn example(language: &str, word: &str) -> String {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let mut fitting =
        blocks.filter_map(|block| block.strip_prefix(language)).filter(|text| text.contains(word));
    fitting.next().expect("the page has it").to_owned()
}

/// A request, and what came of it: the server and the director that answered, or why not.
struct Asked {
    began: Span,
    ended: Span,
    result: Result<(String, String), String>,
}

/// Asks over a connection of its own.
fn ask(path: &str, patience: Duration) -> Asked {
    let began = clock::now();
    let result = fetch(path, patience);
    Asked { began, ended: clock::now(), result }
}

fn fetch(path: &str, patience: Duration) -> Result<(String, String), String> {
    let said = |error: std::io::Error| error.kind().to_string();
    let at = SocketAddr::from((ADDRESS, 80));
    let mut stream = TcpStream::connect_timeout(&at, patience).map_err(said)?;
    stream.set_read_timeout(Some(patience)).map_err(said)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(said)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("closed")?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if !first.starts_with("HTTP/1.1 200 ") {
        return Err(first.to_owned());
    }
    let director = lines.find_map(|line| line.strip_prefix("x-director: ")).ok_or("no director")?;
    Ok((body.to_owned(), director.to_owned()))
}

/// Clients, each with what it has asked, and how many requests of all of them are over.
struct Crowd {
    clients: Vec<Work<Vec<Asked>>>,
    over: Arc<AtomicUsize>,
}

impl Crowd {
    fn finish(self) -> Vec<Asked> {
        self.clients.into_iter().flat_map(|client| client.finish().unwrap()).collect()
    }
}

struct Site {
    lab: Lab,
    servers: BTreeMap<String, Child>,
}

impl Site {
    fn start() -> Self {
        let lab = Lab::build(&plan()).unwrap();
        let (keys, config) = (lab.folder().join("keys"), lab.folder().join("systole.toml"));
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        let cluster = "[cluster]\n";
        let text = example("toml", "agent = \"haproxy\"");
        assert!(text.contains(cluster));
        let text = text.replace(cluster, &format!("{cluster}keys = \"{}\"\n", keys.display()));
        fs::write(&config, text).unwrap();
        let proxy = lab.folder().join("haproxy.cfg");
        fs::write(&proxy, example("haproxy", "frontend")).unwrap();
        let mut site = Self { lab, servers: BTreeMap::new() };
        for (name, _) in servers() {
            site.run_server(&name);
        }
        let systole = PathBuf::from(env!("CARGO_BIN_EXE_systole"));
        for node in DIRECTORS {
            let before = [node.into(), unpacked(), proxy.clone(), site.sockets(node), systole.clone()];
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/director/machine");
            let before = before.into_iter().map(PathBuf::into_os_string).collect();
            site.lab
                .start(node, &Program { path, config: config.clone(), before, plays_agents: false })
                .unwrap();
        }
        let witness = Program { path: systole, config, before: Vec::new(), plays_agents: false };
        site.lab.start("witness", &witness).unwrap();
        site.wait("each HAProxy has all servers", |site| site.have("ready", |_| true));
        site.wait("the client is answered", |site| site.ask("/").result.is_ok());
        site
    }

    /// A web server, in place of one that was killed.
    fn run_server(&mut self, name: &str) {
        let mut command = Command::new("/proc/self/exe");
        command.args([SERVE, name]).stdin(Stdio::null());
        let child = self.lab.machine(name).unwrap().space().spawn(command).unwrap();
        self.servers.insert(name.to_owned(), child);
    }

    fn sockets(&self, node: &str) -> PathBuf {
        self.lab.folder().join(format!("haproxy-{node}"))
    }

    fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Span {
        let began = clock::now();
        while !is_so(self) {
            let status = |node| String::from_utf8(self.command(node, &["status"]).stdout).unwrap();
            let said = || DIRECTORS.map(|node| self.lab.log(node) + &status(node)).join("\n");
            assert!(clock::now() < began + PATIENCE, "in vain: {what}\n{}", said());
            clock::wait(LOOK);
        }
        clock::now() - began
    }

    /// Both HAProxys have these servers in this state, with the page's weights.
    fn have(&self, state: &str, which: impl Fn(&str) -> bool) -> bool {
        DIRECTORS.iter().all(|node| self.has(node, state, &which))
    }

    fn has(&self, node: &str, state: &str, which: impl Fn(&str) -> bool) -> bool {
        let socket = self.sockets(node).join("admin.sock");
        let all = BACKENDS.iter().map(|(_, backend, _)| site::servers(&socket, backend));
        let all: BTreeMap<String, String> = all.flatten().flatten().collect();
        servers().iter().filter(|(name, _)| which(name)).all(|(name, last)| {
            let weight = if name.ends_with('1') { 50 } else { 100 };
            all.get(name).is_some_and(|found| *found == format!("10.0.0.{last}:80 {state} {weight}"))
        })
    }

    fn command(&self, node: &str, words: &[&str]) -> Output {
        let run_dir = self.lab.folder().join(node).join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(words).arg("--run-dir").arg(run_dir).output().unwrap()
    }

    /// An order holds on every node, wherever it is given.
    fn order(&self, words: &[&str]) {
        let output = self.command("lb1", &[&["pool"], words].concat());
        assert!(output.status.success(), "{output:?}");
    }

    fn ask(&self, path: &'static str) -> Asked {
        self.lab.machine("client").unwrap().space().run(move || ask(path, ANSWER_OF_THE_DEAD))
    }

    fn clients(
        &self,
        job: impl Fn(usize, &Stop, &AtomicUsize) -> Vec<Asked> + Clone + Send + 'static,
    ) -> Crowd {
        let space = self.lab.machine("client").unwrap().space();
        let over = Arc::new(AtomicUsize::new(0));
        let client = |number| {
            let (job, over) = (job.clone(), Arc::clone(&over));
            space.work("client", move |stop| job(number, stop, &over)).unwrap()
        };
        Crowd { clients: (0..CLIENTS).map(client).collect(), over }
    }

    /// Clients that ask without pause for one path after the other, and are at it already.
    fn crowd(&mut self, patience: Duration) -> Crowd {
        let crowd = self.clients(move |number, stop, over| {
            let mut asked = Vec::new();
            while !stop.is_set() {
                asked.push(ask(BACKENDS[(number + asked.len()) % BACKENDS.len()].0, patience));
                over.fetch_add(1, Ordering::Relaxed);
            }
            asked
        });
        self.wait_for_more(&crowd);
        crowd
    }

    /// Until each client has asked a number of times.
    fn wait_for_more(&mut self, crowd: &Crowd) {
        let over = || crowd.over.load(Ordering::Relaxed);
        let before = over();
        self.wait("the crowd is at it", |_| over() > before + 20 * CLIENTS);
    }

    /// So many requests for each path, without any loss: each server's share is that of its weight, where both have one.
    fn shares(&self, requests: usize, alone: Option<&str>) {
        for (path, backend, _) in BACKENDS {
            let began = clock::now();
            let all = self
                .clients(move |_, _, _| (0..requests / CLIENTS).map(|_| ask(path, ANSWER)).collect())
                .finish();
            let mut counts = BTreeMap::<String, usize>::new();
            for asked in all {
                *counts.entry(asked.result.unwrap().0).or_default() += 1;
            }
            println!("    {path} gave {counts:?} of {requests} in {}", clock::now() - began);
            let names = [format!("{backend}1"), format!("{backend}2")];
            match alone.filter(|alone| names.iter().any(|name| name == alone)) {
                Some(alone) => assert_eq!(counts, BTreeMap::from([(alone.to_owned(), requests)])),
                None => names.iter().zip([1, 2]).for_each(|(name, part)| {
                    let (found, wanted) = (counts.get(name).copied().unwrap_or(0), requests * part / 3);
                    assert!(found.abs_diff(wanted) * 50 <= wanted, "{name} had {found}, and not {wanted}");
                }),
            }
        }
    }
}

/// The servers, with the last parts of their addresses.
fn servers() -> Vec<(String, u8)> {
    let of = |(_, backend, lasts): &(&str, &str, [u8; 2])| {
        [(format!("{backend}1"), lasts[0]), (format!("{backend}2"), lasts[1])]
    };
    BACKENDS.iter().flat_map(of).collect()
}

fn plan() -> Plan {
    let port = |network: &str, interface: &str, address: [u8; 4]| PortPlan {
        network: network.to_owned(),
        interface: interface.to_owned(),
        addresses: vec![(IpAddr::from(address), 24)],
    };
    let lan = |last| port("lan", "eth0", [192, 168, 232, last]);
    let back = |interface: &str, last| port("back", interface, [10, 0, 0, last]);
    let machine = |name: &str, ports| MachinePlan { name: name.to_owned(), ports, gateways: Vec::new() };
    let mut machines = vec![
        machine("lb0", vec![lan(10), back("eth1", 10)]),
        machine("lb1", vec![lan(11), back("eth1", 11)]),
        machine("witness", vec![lan(12), back("eth1", 12)]),
        machine("client", vec![lan(50)]),
    ];
    machines.extend(servers().iter().map(|(name, last)| machine(name, vec![back("eth0", *last)])));
    Plan { networks: vec!["lan".to_owned(), "back".to_owned()], machines }
}

/// How many failed of what was asked, and how.
fn told(asked: &[Asked]) -> String {
    let mut kinds = BTreeMap::<&str, usize>::new();
    for why in asked.iter().filter_map(|asked| asked.result.as_ref().err()) {
        *kinds.entry(why).or_default() += 1;
    }
    format!("{} requests, {} failed {kinds:?}", asked.len(), kinds.values().sum::<usize>())
}

fn divides() {
    let mut site = Site::start();
    site.shares(10_000, None);
    let crowd = site.crowd(ANSWER);
    site.order(&["drain", "blog1"]);
    site.wait("it drains on both", |site| site.have("drain", |name| name == "blog1"));
    let drained = clock::now();
    site.wait("it is out on both", |site| site.have("maint", |name| name == "blog1"));
    site.wait_for_more(&crowd);
    let asked = crowd.finish();
    println!("    while blog1 was drained: {}", told(&asked));
    let late: Vec<&Asked> = asked.iter().filter(|asked| asked.began > drained).collect();
    for asked in &asked {
        assert_eq!(asked.result.as_ref().err(), None);
    }
    let had = |server: &str| {
        late.iter().filter(|asked| asked.result.as_ref().is_ok_and(|(name, _)| name == server)).count()
    };
    assert_eq!((had("blog1"), had("blog2") > CLIENTS, had("site1") > CLIENTS), (0, true, true));
    site.order(&["undrain", "blog1"]);
    site.wait("it is back", |site| site.have("ready", |_| true));
    site.shares(1_600, None);
}

fn a_server_dies() {
    let mut site = Site::start();
    let crowd = site.crowd(ANSWER);
    let before = clock::now();
    let mut server = site.servers.remove("site2").unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let dead = clock::now();
    site.wait("both have it out", |site| site.have("maint", |name| name == "site2"));
    let out = clock::now() - dead;
    assert!(site.have("ready", |name| name != "site2"), "and nobody else");
    site.run_server("site2");
    let back = site.wait("both have it again", |site| site.have("ready", |_| true));
    let asked = crowd.finish();
    let of = |node| site::redispatched(&site.sockets(node).join("admin.sock"), "site");
    let redispatched: u64 = DIRECTORS.map(of).iter().sum();
    println!("    site2 was killed: out on both after {out}, and back {back} after it was started again");
    println!("    {}; {redispatched} were sent to another server instead", told(&asked));
    for asked in asked.iter().filter(|asked| asked.result.is_err()) {
        let explained = asked.began < dead && asked.ended > before;
        assert!(explained, "{:?} was not under way when it died", asked.result);
    }
    assert!(redispatched > 0, "nobody tried it after its death");
    site.shares(1_600, None);
}

fn takes_over() {
    let mut site = Site::start();
    site.order(&["drain", "blog1"]);
    site.wait("it drains on both", |site| site.have("drain", |name| name == "blog1"));
    let (_, holder) = site.ask("/").result.unwrap();
    let [first, second] = if holder == DIRECTORS[0] { DIRECTORS } else { ["lb1", "lb0"] };
    moves(&mut site, second, "its cable is pulled", |site| site.lab.pull(first, "lan").unwrap());
    site.shares(10_000, Some("blog2"));
    site.lab.plug(first, "lan").unwrap();
    site.wait("it has carrier", |site| site.lab.machine_mut(first).unwrap().carrier("lan").unwrap());
    site.wait("it is out by now", |site| site.has(first, "maint", |name| name == "blog1"));
    moves(&mut site, first, "the other dies", |site| {
        site.lab.machine_mut(second).unwrap().kill().unwrap();
        for cable in ["lan", "back"] {
            site.lab.pull(second, cable).unwrap();
        }
    });
    assert!(site.has(first, "ready", |name| name != "blog1"));
    site.shares(10_000, Some("blog2"));
}

/// The address goes to this node. What fails was asked before that one had answered anybody.
fn moves(site: &mut Site, to: &str, what: &str, fault: impl FnOnce(&mut Site)) {
    let crowd = site.crowd(ANSWER_OF_THE_DEAD);
    let before = clock::now();
    fault(site);
    let by = |asked: &Asked, node: &str| asked.result.as_ref().is_ok_and(|(_, director)| director == node);
    site.wait("the other answers", |site| by(&site.ask("/"), to));
    let after = clock::now();
    site.wait_for_more(&crowd);
    let asked = crowd.finish();
    println!("    {what}: {to} answers after {}; {}", after - before, told(&asked));
    let late = asked.iter().filter(|asked| asked.began > after);
    assert!(late.clone().count() > 10 * CLIENTS && late.clone().all(|asked| by(asked, to)));
    for asked in asked.iter().filter(|asked| asked.result.is_err()) {
        let explained = asked.began <= after && asked.ended >= before;
        assert!(explained, "{:?} was asked of one that was there", asked.result);
    }
}
