//! The whole of it in the lab: two directors with a witness, each a daemon with the director's process, two real servers,
//! and a client. Every machine is a network namespace, and has tables and connections of its own.
//!
//! | | `lan` | `back` |
//! | --- | --- | --- |
//! | directors | `eth0` 10.77.0.1 and .2 | `eth1` 10.78.0.1 and .2 |
//! | client | `eth0` 10.77.0.50 | `eth1` 10.78.0.50 |
//! | servers | | `eth0` 10.78.0.11 and .12, by default through 10.78.0.100 |
//!
//! Clients send to 10.77.0.100 (translated) and to 10.78.0.101 (direct).

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use systole::lab::{Lab, MachinePlan, Plan, PortPlan, Program, clock};
use systole::time::Span;

use crate::peer::{self, Connection};
use crate::seen::{by_ipvsadm, by_us};
use crate::world::run;

pub(crate) const TRANSLATED: &str = "10.77.0.100:80";
pub(crate) const DIRECT: &str = "10.78.0.101:80";
pub(crate) const DIRECTORS: [&str; 2] = ["lb0", "lb1"];
const SERVERS: [(&str, u8); 2] = [("one", 11), ("two", 12)];

/// Longer than anything takes, on an emulated machine.
pub(crate) const PATIENCE: Span = Span::seconds(120);
const LOOK: Span = Span::millis(20);

/// What starts daemons, where it is not where cargo has put it.
const OTHER: &str = "SYSTOLE_TEST_PROGRAM";

pub(crate) fn program() -> PathBuf {
    std::env::var_os(OTHER).unwrap_or_else(|| env!("CARGO_BIN_EXE_systole").into()).into()
}

pub(crate) struct Site {
    pub(crate) lab: Lab,
    _servers: Vec<Child>,
}

impl Site {
    /// Servers are checked so.
    pub(crate) fn start(check: &str) -> Self {
        let lab = Lab::build(&plan()).unwrap();
        let (keys, config) = (lab.folder().join("keys"), lab.folder().join("systole.toml"));
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&config, text(check).replace("KEYS", keys.to_str().unwrap())).unwrap();
        for node in DIRECTORS {
            let forward = || fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            lab.machine(node).unwrap().space().run(forward);
        }
        let servers = SERVERS.map(|(name, _)| {
            let space = lab.machine(name).unwrap().space();
            space.run(|| {
                // What is direct arrives for an address that the server has and must not claim.
                fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").unwrap();
                fs::write("/proc/sys/net/ipv4/conf/all/arp_announce", "2").unwrap();
                run("ip address add 10.78.0.101/32 dev lo");
            });
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([peer::SERVE, name]).stdout(Stdio::null());
            space.spawn(command).unwrap()
        });
        let program = Program { path: program(), config, before: Vec::new(), plays_agents: false };
        let mut site = Self { lab, _servers: servers.into() };
        for node in ["lb0", "lb1", "witness"] {
            site.lab.start(node, &program).unwrap();
        }
        let all = lines(&SERVERS.map(|(_, last)| last));
        site.wait("both have all servers", |site| site.tables() == [all.clone(), all.clone()]);
        site.wait("lb0 has the addresses", |site| site.holds("lb0"));
        site
    }

    /// How long it took until it was so.
    pub(crate) fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Span {
        let began = clock::now();
        while !is_so(self) {
            let said = || format!("{:#?}\n{}\n{}", self.tables(), self.lab.log("lb0"), self.lab.log("lb1"));
            assert!(clock::now() < began + PATIENCE, "in vain: {what}\n{}", said());
            clock::wait(LOOK);
        }
        clock::now() - began
    }

    /// Does it on this machine.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        machine: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.lab.machine(machine).unwrap().space().run(job)
    }

    /// Whether this director has all addresses of the group.
    pub(crate) fn holds(&mut self, node: &str) -> bool {
        let machine = self.lab.machine_mut(node).unwrap();
        ["10.77.0.100", "10.78.0.100", "10.78.0.101"]
            .iter()
            .all(|one| machine.has(one.parse().unwrap()).unwrap())
    }

    /// What `ipvsadm` reads on each director.
    pub(crate) fn tables(&self) -> [Vec<String>; 2] {
        DIRECTORS.map(|node| self.within(node, by_ipvsadm))
    }

    /// What we read ourselves.
    pub(crate) fn tables_by_us(&self) -> [Vec<String>; 2] {
        DIRECTORS.map(|node| self.within(node, by_us))
    }

    pub(crate) fn open(&self, to: &'static str) -> Connection {
        self.within("client", move || Connection::open(to))
    }
}

/// What `ipvsadm` reads where these servers are in the tables and have no connections.
pub(crate) fn lines(servers: &[u8]) -> Vec<String> {
    let of = |at: &str, method: &str| {
        let server =
            |last: &u8| format!("-> 10.78.0.{last}:80 {method} {} 0 0", if *last == 11 { 2 } else { 1 });
        let mut lines = vec![format!("TCP {at} wrr")];
        lines.extend(servers.iter().map(server));
        lines
    };
    [of(TRANSLATED, "Masq"), of(DIRECT, "Route")].concat()
}

fn plan() -> Plan {
    let port = |network: &str, interface: &str, number: u8| PortPlan {
        network: network.to_owned(),
        interface: interface.to_owned(),
        addresses: vec![(IpAddr::from([10, if network == "lan" { 77 } else { 78 }, 0, number]), 24)],
    };
    let machine = |name: &str, ports: Vec<PortPlan>, gateways: &[&str]| MachinePlan {
        name: name.to_owned(),
        ports,
        gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
    };
    let both = |number| vec![port("lan", "eth0", number), port("back", "eth1", number)];
    let mut machines = vec![
        machine("lb0", both(1), &[]),
        machine("lb1", both(2), &[]),
        machine("witness", both(3), &[]),
        machine("client", both(50), &[]),
    ];
    let server = |(name, last): (&str, u8)| machine(name, vec![port("back", "eth0", last)], &["10.78.0.100"]);
    machines.extend(SERVERS.map(server));
    Plan { networks: vec!["lan".to_owned(), "back".to_owned()], machines }
}

/// Timers that an emulated machine keeps to.
fn text(check: &str) -> String {
    let mut text = "[cluster]\nname = \"lab\"\nkeys = \"KEYS\"\n[timing]\nkeepalive = \"500ms\"\nwarntime = \"2s\"\n\
                    deadtime = \"5s\"\ninitdead = \"20s\"\n[node.lb0]\n[node.lb1]\n[node.witness]\narbiter = true\n"
        .to_owned();
    for (link, interface, net) in [("lan", "eth0", 77), ("back", "eth1", 78)] {
        text.push_str(&format!(
            "[link.{link}]\ninterface = \"{interface}\"\nunicast = {{ lb0 = \"10.{net}.0.1\", lb1 = \"10.{net}.0.2\", \
             witness = \"10.{net}.0.3\" }}\n"
        ));
    }
    text.push_str(
        "[group.web]\nprefer = [\"lb0\"]\nfailback = false\n\
         [[group.web.resource]]\nagent = \"vip\"\n\
         params = { address = [\"10.78.0.100/24\", \"10.78.0.101/24\"], interface = \"eth1\" }\n\
         [[group.web.resource]]\nagent = \"vip\"\nparams = { address = \"10.77.0.100/24\", interface = \"eth0\" }\n",
    );
    text.push_str("[sync]\ninterface = \"eth1\"\nid = 7\n");
    for (name, at, forwarding) in [("translated", TRANSLATED, "nat"), ("direct", DIRECT, "direct")] {
        text.push_str(&format!(
            "[service.{name}]\naddress = \"{at}\"\nscheduler = \"wrr\"\nforwarding = \"{forwarding}\"\ncheck = {check}\n\
             [service.{name}.server]\none = {{ address = \"10.78.0.11\", weight = 2 }}\n\
             two = {{ address = \"10.78.0.12\", weight = 1 }}\n"
        ));
    }
    text
}
