//! The director's process beside Debian's own daemons: whatever kind of check a server has, a real fault takes it out, and
//! its end puts it in again. After how long is printed, and not judged.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use systole::config::{Services, parse_toml};
use systole::director::message::{Ask, SOCKET_NAME};
use systole::lab::clock;
use systole::time::Span;
use tempfile::TempDir;

use super::certificates::make;
use super::daemons::{Daemon, START, folder, real};
use super::world::{Test, alone, shell};

pub(crate) const TESTS: &[Test] =
    &[real("each_kind_of_check_takes_a_server_out_and_puts_it_in_again", || alone(each))];

const HEAD: &str = "[cluster]\n[node.a]\n[node.b]\n[link.x]\ninterface = \"x\"\nbroadcast = true\n\
                    [[group.web.resource]]\nagent = \"vip\"\nargs = [\"192.0.2.1/24/x\"]\n";

const TIMES: &str = "every = \"200ms\", timeout = \"500ms\", rise = 2, fall = 2";

/// A question for the address of www.example.org.
const QUESTION: &str = "\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x03www\\x07example\\x03org\\x00\\x00\\x01\\x00\\x01";

/// Each kind, whom it asks, and the rest of what it says. `DIR` is the folder.
const KINDS: [(&str, &str, &str); 12] = [
    ("tcp", "127.0.0.1:80", ""),
    ("tls", "127.0.0.1:443", ", certificate = \"in-time\""),
    ("http", "127.0.0.1:80", ", text = \"served\""),
    ("https", "127.0.0.1:443", ", certificate = \"in-time\", text = \"served\""),
    ("talk", "127.0.0.1:25", ", text = \"220 mail\""),
    ("udp", "127.0.0.1:53", ", send = \"QUESTION\", text = \"example\""),
    ("ping", "192.0.2.66:80", ""),
    ("dns", "127.0.0.1:53", ", name = \"www.example.org\", answer = \"192.0.2.80\""),
    ("smtp", "127.0.0.1:25", ""),
    ("mysql", "127.0.0.1:3306", ""),
    ("postgresql", "127.0.0.1:5432", ""),
    ("program", "127.0.0.1:80", ", program = [\"/usr/bin/test\", \"!\", \"-e\", \"DIR/down\"]"),
];

fn services(folder: &Path) -> Services {
    let mut text = HEAD.to_owned();
    for (port, (kind, server, more)) in (1_000..).zip(KINDS) {
        let more = more.replace("DIR", folder.to_str().unwrap()).replace("QUESTION", QUESTION);
        text.push_str(&format!(
            "[service.{kind}]\naddress = \"192.0.2.1:{port}\"\nbalancer = \"/bin/true\"\nservers = [\"{server}\"]\n\
             check = {{ kind = \"{kind}\", {TIMES}{more} }}\n"
        ));
    }
    parse_toml("x", &text).unwrap_or_else(|report| panic!("{report}")).config.services
}

/// The director's process, told what is served as the daemon tells it.
struct Director {
    child: Child,
    run_dir: TempDir,
    _tells: UnixStream,
}

impl Director {
    fn start(services: Services) -> Self {
        let run_dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.arg("direct").arg("--run-dir").arg(run_dir.path()).arg("--state-dir").arg(run_dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let socket = run_dir.path().join(SOCKET_NAME);
        let connected = clock::wait_for(START, || UnixStream::connect(&socket).ok());
        let mut tells = connected.expect("the director listens");
        let line =
            serde_json::to_string(&Ask::Serve { services, sync: None, held: None, orders: None }).unwrap();
        tells.write_all((line + "\n").as_bytes()).unwrap();
        Self { child, run_dir, _tells: tells }
    }

    /// The state of each kind's server, and what its check heard last.
    fn states(&self) -> BTreeMap<String, (String, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        let output = command.args(["pool", "--json", "--run-dir"]).arg(self.run_dir.path()).output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |service: &Value| {
            let server = &service["servers"][0];
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (word(&service["name"]), (word(&server["state"]), word(&server["checks"][0]["answer"])))
        };
        value["pool"]["services"].as_array().unwrap().iter().map(of).collect()
    }

    /// Waits until the servers of these kinds are so, and the check hears that; and tells of each when it was, and what
    /// was heard.
    fn until(&self, kinds: &[(&str, &str)], state: &str) -> BTreeMap<String, (Span, String)> {
        let (began, mut seen) = (clock::now(), BTreeMap::new());
        let all = clock::wait_for(START, || {
            for (kind, (now, why)) in self.states() {
                let is_meant = kinds.iter().any(|(one, said)| *one == kind && why.contains(said));
                if now == state && is_meant {
                    seen.entry(kind).or_insert((clock::now() - began, why));
                }
            }
            (seen.len() == kinds.len()).then_some(())
        });
        all.unwrap_or_else(|| panic!("not all of {kinds:?} are {state}: {:?}", self.states()));
        seen
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All daemons that run, with what they keep.
struct Daemons {
    folders: BTreeMap<&'static str, TempDir>,
    running: BTreeMap<&'static str, Daemon>,
}

impl Daemons {
    fn start() -> Self {
        let kinds = ["nginx", "exim", "dnsmasq", "mariadb", "postgres"];
        let folders = kinds.into_iter().map(|kind| (kind, folder())).collect();
        let mut daemons = Self { folders, running: BTreeMap::new() };
        make(daemons.folders["nginx"].path());
        daemons.start_all();
        daemons
    }

    fn start_all(&mut self) {
        self.begin("nginx", &["good"]);
        self.begin("dnsmasq", &["192.0.2.80"]);
        for kind in ["exim", "mariadb", "postgres"] {
            self.begin(kind, &[]);
        }
    }

    /// Ends the one that runs, and starts it so.
    fn begin(&mut self, kind: &'static str, args: &[&str]) {
        drop(self.running.remove(kind));
        self.running.insert(kind, Daemon::start(kind, self.folders[kind].path(), args));
    }

    fn signal(&self, signal: Signal) {
        self.running.values().for_each(|daemon| daemon.signal(signal));
    }

    /// It turns everybody away, or nobody any more.
    fn close(&self, kind: &str, closes: bool) {
        let path = self.folders[kind].path().join("down");
        if closes { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// A fault, of which kinds it is one and what they say of it; and its end.
struct Fault {
    name: &'static str,
    said: &'static [(&'static str, &'static str)],
    begins: fn(&mut Daemons),
    ends: fn(&mut Daemons),
}

const FAULTS: [Fault; 7] = [
    Fault {
        name: "the daemon hangs",
        said: &[
            ("tls", "within 500ms"),
            ("http", "no answer within 500ms"),
            ("https", "within 500ms"),
            ("talk", "no answer within 500ms"),
            ("udp", "no answer within 500ms"),
            ("dns", "no answer within 500ms"),
            ("smtp", "no answer within 500ms"),
            ("mysql", "no answer within 500ms"),
            ("postgresql", "no answer within 500ms"),
        ],
        begins: |daemons| daemons.signal(Signal::SIGSTOP),
        ends: |daemons| daemons.signal(Signal::SIGCONT),
    },
    Fault {
        name: "the daemon is killed",
        said: &[
            ("tcp", "refused"),
            ("tls", "refused"),
            ("http", "refused"),
            ("https", "refused"),
            ("talk", "refused"),
            ("udp", "refused"),
            ("dns", "refused"),
            ("smtp", "refused"),
            ("mysql", "refused"),
            ("postgresql", "refused"),
        ],
        begins: |daemons| daemons.running.clear(),
        ends: Daemons::start_all,
    },
    Fault {
        name: "packets are lost",
        said: &[
            ("tcp", "no connection within 500ms"),
            ("http", "no connection within 500ms"),
            ("udp", "no answer within 500ms"),
            ("ping", "no answer within 500ms"),
            ("smtp", "no connection within 500ms"),
            ("mysql", "no connection within 500ms"),
            ("postgresql", "no connection within 500ms"),
        ],
        begins: |_| {
            shell(
                "nft 'add table ip t; add chain ip t in { type filter hook input priority 0; policy drop; }'",
            )
        },
        ends: |_| shell("nft delete table ip t"),
    },
    Fault {
        name: "connections are reset",
        said: &[("tcp", "refused"), ("https", "refused"), ("talk", "refused"), ("mysql", "refused")],
        begins: |_| {
            shell(
                "nft 'add table ip t; add chain ip t in { type filter hook input priority 0; }; \
                 add rule ip t in tcp dport { 25, 80, 443, 3306 } reject with tcp reset'",
            )
        },
        ends: |_| shell("nft delete table ip t"),
    },
    Fault {
        name: "it answers wrongly",
        said: &[
            ("http", "503 Service Temporarily Unavailable"),
            ("https", "503 Service Temporarily Unavailable"),
            ("talk", "without \"220 mail\""),
            ("smtp", "550 closed for today"),
            ("dns", "192.0.2.81 instead of 192.0.2.80"),
            ("program", "exit code 1"),
        ],
        begins: |daemons| {
            daemons.close("nginx", true);
            daemons.close("exim", true);
            daemons.begin("dnsmasq", &["192.0.2.81"]);
        },
        ends: |daemons| {
            daemons.close("nginx", false);
            daemons.close("exim", false);
            daemons.begin("dnsmasq", &["192.0.2.80"]);
        },
    },
    Fault {
        name: "its certificate has expired",
        said: &[
            ("tls", "certificate expired on 3 February 2021"),
            ("https", "certificate expired on 3 February 2021"),
        ],
        begins: |daemons| daemons.begin("nginx", &["expired"]),
        ends: |daemons| daemons.begin("nginx", &["good"]),
    },
    Fault {
        name: "the address is gone",
        said: &[("ping", "")],
        begins: |_| shell("ip address del 192.0.2.66/32 dev lo"),
        ends: |_| shell("ip address add 192.0.2.66/32 dev lo"),
    },
];

fn each() {
    shell("ip address add 192.0.2.66/32 dev lo");
    let mut daemons = Daemons::start();
    let director = Director::start(services(daemons.folders["nginx"].path()));
    let all = KINDS.map(|(kind, _, _)| (kind, ""));
    director.until(&all, "up");
    println!("    | kind | fault | out after | why | back after |\n    | --- | --- | --- | --- | --- |");
    for fault in FAULTS {
        (fault.begins)(&mut daemons);
        let out = director.until(fault.said, "down");
        if fault.name == "the daemon hangs" {
            let asked = |kind: &str| fault.said.iter().any(|(one, _)| *one == kind);
            for (kind, (state, _)) in director.states().iter().filter(|(kind, _)| !asked(kind)) {
                assert_eq!(state, "up", "{kind}: no daemon answers it");
            }
        }
        (fault.ends)(&mut daemons);
        let kinds: Vec<(&str, &str)> = fault.said.iter().map(|(kind, _)| (*kind, "")).collect();
        let back = director.until(&kinds, "up");
        for (kind, _) in kinds {
            let ((out, why), (back, _)) = (&out[kind], &back[kind]);
            println!("    | {kind} | {} | {out} | {why} | {back} |", fault.name);
        }
        director.until(&all, "up");
    }
}
