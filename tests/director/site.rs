//! A site in this process and below it: small web servers, a real HAProxy in front of them, clients that ask without pause.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use systole::config::{At, Balancer, Forwarding, Server, Service, Transport, WhenDown};
use systole::director::table::{Entry, Table};
use systole::lab::clock::wait_for;
use systole::time::Span;

/// Another HAProxy than this Debian's: a program that takes the same arguments.
const OTHER: &str = "SYSTOLE_TEST_HAPROXY";

/// Whether there is a HAProxy; it is fetched where it can be.
pub(crate) fn present() -> Result<(), String> {
    if std::env::var_os(OTHER).is_some() || unpacked().join("done").exists() {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join("tests/unpack")).arg(unpacked()).arg("haproxy").status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("there is no HAProxy to be had here".to_owned());
    }
    fs::write(unpacked().join("done"), "").unwrap();
    Ok(())
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/haproxy")
}

/// HAProxy's program, with the libraries that came with it.
fn program() -> Command {
    if let Some(other) = std::env::var_os(OTHER) {
        return Command::new(other);
    }
    let mut command = Command::new(unpacked().join("usr/sbin/haproxy"));
    let libraries = fs::read_dir(unpacked().join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    let libraries: Vec<PathBuf> = libraries.filter(|path| path.to_string_lossy().ends_with("-gnu")).collect();
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    command
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running HAProxy, which ends with this.
pub(crate) struct Haproxy {
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// Where clients ask.
    pub(crate) port: u16,
}

impl Haproxy {
    /// With these sections of backends behind one frontend. `{socket}` is where its sockets are.
    pub(crate) fn start(frontend: &str, backends: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let place = folder.path().display();
        let text = format!(
            "global\n    stats socket {place}/admin level admin\n    stats socket {place}/user level operator\n    \
             stats socket {place}/numbered level admin severity-output number\n    maxconn 1000\ndefaults\n    mode http\n    retries 0\n    timeout connect 5s\n    timeout client 30s\n    \
             timeout server 30s\nfrontend web\n    bind 127.0.0.1:{port}\n{frontend}\n{backends}\n"
        );
        fs::write(folder.path().join("haproxy.cfg"), text).unwrap();
        let mut haproxy = Self { child: None, folder, port };
        haproxy.run();
        haproxy
    }

    fn run(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = program();
        command.arg("-db").arg("-f").arg(self.folder.path().join("haproxy.cfg"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let up = wait_for(Span::seconds(10), || self.ask("show info").filter(|said| said.contains("Pid:")));
        let said = || fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(up.is_some(), "HAProxy did not start: {}", said());
    }

    /// Ends it, whatever it does.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.stop();
        self.run();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin")
    }

    /// Over which nothing can be changed.
    pub(crate) fn user_socket(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// Which puts a number before each answer.
    pub(crate) fn numbered_socket(&self) -> PathBuf {
        self.folder.path().join("numbered")
    }

    /// What somebody types.
    pub(crate) fn say(&self, command: &str) -> String {
        self.ask(command).expect("it answers")
    }

    fn ask(&self, command: &str) -> Option<String> {
        ask(&self.socket(), command)
    }

    /// Of each server of a backend: its address, port, administrative state and weight.
    pub(crate) fn servers(&self, backend: &str) -> BTreeMap<String, String> {
        servers(&self.socket(), backend).expect("it answers")
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What HAProxy says at this socket; `None`: it says nothing.
fn ask(socket: &Path, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(format!("{command}\n").as_bytes()).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

/// Of each server of a backend: its address, port, administrative state and weight. `None`: there is no HAProxy.
pub(crate) fn servers(socket: &Path, backend: &str) -> Option<BTreeMap<String, String>> {
    let said = ask(socket, &format!("show servers state {backend}"))?;
    let rows = said.lines().skip(2).map(|line| line.split(' ').collect::<Vec<_>>());
    let state = |row: Vec<&str>| {
        let state = match row[6].parse::<u32>().unwrap() & 9 {
            0 => "ready",
            8 => "drain",
            _ => "maint",
        };
        (row[3].to_owned(), format!("{}:{} {state} {}", row[4], row[18], row[7]))
    };
    Some(rows.filter(|row| row.len() > 18).map(state).collect())
}

/// How often HAProxy has sent a request to another server, because it could not connect to the first.
pub(crate) fn redispatched(socket: &Path, backend: &str) -> u64 {
    let said = ask(socket, "show stat").unwrap();
    let mut rows = said.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let column = rows.next().unwrap().iter().position(|name| *name == "wredis").unwrap();
    let row = rows.find(|row| row[0] == backend && row[1] == "BACKEND").unwrap();
    row[column].parse().unwrap()
}

/// A web server that answers with its name: at once, or slowly where it is asked for something below `/slow`.
pub(crate) struct Web {
    pub(crate) at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Web {
    pub(crate) fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (name, count) = (name.to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (name, count) = (name.clone(), Arc::clone(&count));
                thread::spawn(move || serve(&stream.unwrap(), &name, &count));
            }
        });
        Self { at, asked }
    }

    /// So many requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Requests of one connection, one after the other, until it ends.
pub(crate) fn serve(stream: &TcpStream, name: &str, asked: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((path, _)) = read_head(&mut reader) {
        asked.fetch_add(1, Ordering::SeqCst);
        if path.split(' ').nth(1).is_some_and(|path| path.starts_with("/slow")) {
            thread::sleep(Duration::from_millis(1_500));
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The first line of a request or an answer, and how much follows its head.
fn read_head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        match line.trim_end() {
            "" => return Some((first, length)),
            line if first.is_empty() => line.clone_into(&mut first),
            _ => {}
        }
    }
}

/// A client's connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Who answered; else the first line of what came, or nothing.
    pub(crate) fn get(&mut self, path: &str) -> Result<String, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: site\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let (first, length) = read_head(&mut self.0).ok_or("closed")?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).map_err(|error| error.to_string())?;
        if !first.contains(" 200 ") {
            return Err(first);
        }
        Ok(String::from_utf8(body).unwrap())
    }
}

/// Who answered how often of so many requests for a path, from four clients.
pub(crate) fn count(port: u16, path: &'static str, requests: usize) -> BTreeMap<String, usize> {
    let clients = (0..4).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(port);
            (0..requests / 4).map(|_| client.get(path).unwrap()).collect::<Vec<_>>()
        })
    });
    let mut counts = BTreeMap::new();
    for client in clients.collect::<Vec<_>>() {
        for name in client.join().unwrap() {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

/// Clients that ask without pause until they are stopped: two that keep a connection, two with a new one for each request.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub(crate) fn start(port: u16) -> Self {
        let mut crowd = Self {
            over: Arc::default(),
            failures: Arc::default(),
            asked: Arc::default(),
            clients: Vec::new(),
        };
        for index in 0..4 {
            let (over, failures, asked) =
                (Arc::clone(&crowd.over), Arc::clone(&crowd.failures), Arc::clone(&crowd.asked));
            crowd.clients.push(thread::spawn(move || {
                let mut client = Client::connect(port);
                while !over.load(Ordering::SeqCst) {
                    if index % 2 == 0 {
                        client = Client::connect(port);
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    if let Err(why) = client.get("/") {
                        failures.lock().unwrap().push(why);
                        client = Client::connect(port);
                    }
                }
            }));
        }
        crowd
    }

    /// How many requests there were, and what became of those that failed.
    pub(crate) fn stop(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        let failures = self.failures.lock().unwrap().clone();
        (self.asked.load(Ordering::SeqCst), failures)
    }
}

pub(crate) fn machine(at: SocketAddr, weight: u32) -> Arc<Server> {
    let (address, port, limits) = (at.ip(), at.port(), (0, 0));
    Arc::new(Server { address, port, weight, forwarding: Forwarding::Nat, limits, checks: Vec::new() })
}

/// A table of servers with their weights now; `None`: it is not in the table, and configured all the same.
pub(crate) fn table(balancer: Balancer, servers: &[(&str, SocketAddr, Option<u32>)]) -> Table {
    let all =
        servers.iter().map(|(name, at, weight)| ((*name).to_owned(), machine(*at, weight.unwrap_or(1))));
    let service = Service {
        at: At::Address { address: [192, 0, 2, 10].into(), port: 80, protocol: Transport::Tcp },
        group: None,
        balancer,
        scheduler: None,
        persistence: None,
        one_packet: false,
        servers: all.collect(),
        sorry: None,
        quorum: 1,
        hysteresis: 0,
        when_down: WhenDown::Remove,
        drain: Span::ZERO,
    };
    let entry = |(name, at, weight): &(&str, SocketAddr, Option<u32>)| {
        weight.map(|weight| ((*name).to_owned(), Entry { server: machine(*at, weight), weight }))
    };
    Table { service: Arc::new(service), entries: servers.iter().filter_map(entry).collect() }
}

/// The same for a backend of HAProxy's.
pub(crate) fn backend(socket: &Path, name: &str, servers: &[(&str, SocketAddr, Option<u32>)]) -> Table {
    table(Balancer::Haproxy { socket: socket.to_owned(), backend: name.to_owned() }, servers)
}
