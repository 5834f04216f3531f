//! Nodes that share two addresses, a client, and what each node's kernel keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use systole::config::{Config, HashOf, parse_toml};
use systole::lab::{Lab, MachinePlan, Plan, PortPlan, Program, Work, clock};
use systole::net::frame::Mac;
use systole::net::lease::Shared;
use systole::net::nft::{Family, Nftables};
use systole::time::Span;

use super::service;

/// Longer than anything takes, on any machine.
const PATIENCE: Span = Span::seconds(60);
const LOOK: Span = Span::millis(2);

pub(crate) const DEADTIME: Span = Span::seconds(1);
pub(crate) const CLIENT: &str = "client";
pub(crate) const LAN: &str = "lan";
pub(crate) const CROSS: &str = "cross";
/// So many addresses the client has, of each family.
pub(crate) const CLIENTS: u8 = 50;

/// The table of a node's namespace that drops what it shall not hear.
const DEAF: &str = "deaf";

/// An address, and one of its buckets.
pub(crate) type Bucket = (IpAddr, u32);

pub(crate) fn address(v6: bool) -> IpAddr {
    if v6 { "fd00:77::100".parse().unwrap() } else { "10.77.0.100".parse().unwrap() }
}

/// One of the client's own addresses.
pub(crate) fn client(v6: bool, number: u8) -> IpAddr {
    let number = number + 1;
    if v6 { format!("fd00:77::9:{number}").parse().unwrap() } else { IpAddr::from([10, 77, 9, number]) }
}

pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    pub(crate) nodes: Vec<String>,
    pub(crate) shared: BTreeMap<IpAddr, Shared>,
    program: Program,
    kernels: BTreeMap<String, Nftables>,
    _echoes: Vec<Work<()>>,
    _services: Vec<Work<()>>,
}

impl Cluster {
    /// Builds it, starts the daemons, and returns when all is shared out evenly.
    pub(crate) fn start(nodes: usize, more: &str) -> Self {
        let mut cluster = Self::build(nodes, more);
        for node in cluster.everybody() {
            cluster.boot(&node);
        }
        // On a busy machine the kernel notices late that a cable has a carrier, and makes the routes of IPv6 only then.
        cluster.wait_until("the client has its ways", |cluster| {
            let space = cluster.lab.machine(CLIENT).unwrap().space();
            [false, true]
                .into_iter()
                .all(|v6| space.run(move || service::has_way(client(v6, 0), address(v6))))
        });
        cluster
    }

    /// Waits until each bucket is kept by one node, and no node has more than its even share.
    pub(crate) fn settle(&mut self, among: &[&str]) -> Span {
        let all = self.all().len();
        let nodes: Vec<String> = among.iter().map(|node| (*node).to_owned()).collect();
        self.wait_until("the buckets are spread", |cluster| {
            let kept = cluster.kept();
            let counts: Vec<usize> = nodes.iter().map(|node| kept[node].len()).collect();
            let fair = counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 2;
            counts.iter().sum::<usize>() == all && fair
        })
    }

    /// The nodes, and the arbiter of two.
    pub(crate) fn everybody(&self) -> Vec<String> {
        let arbiter = (self.nodes.len() == 2).then(|| "witness".to_owned());
        self.nodes.iter().cloned().chain(arbiter).collect()
    }

    fn build(nodes: usize, more: &str) -> Self {
        let names: Vec<String> = (0..nodes).map(|number| format!("lb{number}")).collect();
        let machines: Vec<String> =
            names.iter().cloned().chain((nodes == 2).then(|| "witness".to_owned())).collect();
        let lab = Lab::build(&plan(&machines)).unwrap();
        let (keys, config) = (lab.folder().join("keys"), lab.folder().join("systole.toml"));
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        let text = text(&machines, more).replace("KEYS", keys.to_str().unwrap());
        fs::write(&config, &text).unwrap();
        let shared = shared(&parse_toml("systole.toml", &text).unwrap().config);
        let program = Program {
            path: env!("CARGO_BIN_EXE_systole").into(),
            config,
            before: Vec::new(),
            plays_agents: false,
        };
        let space = |name: &String| lab.machine(name).unwrap().space();
        let kernels =
            names.iter().map(|name| (name.clone(), space(name).run(|| Nftables::open("systole").unwrap())));
        let kernels = kernels.collect();
        let echoes = names.iter().map(|name| lab.machine(name).unwrap().answer().unwrap()).collect();
        let services = names.iter().map(|name| service::serve(space(name), name)).collect();
        Self { lab, nodes: names, shared, program, kernels, _echoes: echoes, _services: services }
    }

    /// Another configuration, read again by every node.
    pub(crate) fn reload(&mut self, more: &str) {
        let keys = self.lab.folder().join("keys");
        let text = text(&self.everybody(), more).replace("KEYS", keys.to_str().unwrap());
        fs::write(&self.program.config, &text).unwrap();
        self.shared = shared(&parse_toml("systole.toml", &text).unwrap().config);
        for node in self.everybody() {
            let output = self.ask(&node, &["reload"]);
            assert!(output.status.success(), "{node}: {output:?}");
        }
    }

    pub(crate) fn boot(&mut self, node: &str) {
        let program = self.program.clone();
        self.lab.start(node, &program).unwrap();
    }

    /// Every bucket of both addresses.
    pub(crate) fn all(&self) -> BTreeSet<Bucket> {
        self.shared
            .values()
            .flat_map(|shared| (0..shared.buckets).map(|number| (shared.address, number)))
            .collect()
    }

    /// What each node's kernel keeps at this moment.
    pub(crate) fn kept(&mut self) -> BTreeMap<String, BTreeSet<Bucket>> {
        self.kernels.iter_mut().map(|(node, kernel)| (node.clone(), kept_by(kernel))).collect()
    }

    /// Which node keeps each bucket; it is one.
    pub(crate) fn owners(&mut self) -> BTreeMap<Bucket, String> {
        let mut owners = BTreeMap::new();
        for (node, kept) in self.kept() {
            for bucket in kept {
                let other = owners.insert(bucket, node.clone());
                assert_eq!(other, None, "{bucket:?} is {node}'s as well");
            }
        }
        owners
    }

    /// Waits until something is so, and says how long that took; a test that waits in vain shows what the daemons said.
    pub(crate) fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Span {
        let began = clock::now();
        while !is_so(self) {
            let said = || {
                let logs = self.nodes.iter().map(|node| format!("--- {node}\n{}", last(&self.lab.log(node))));
                logs.collect::<String>()
            };
            assert!(clock::now() < began + PATIENCE, "in vain: {what}\n{}", said());
            clock::wait(LOOK);
        }
        clock::now() - began
    }

    /// From now on the first does not hear the second, over neither network; everybody else hears both.
    pub(crate) fn deafen(&self, ears: &str, to: &str) {
        let number = self.everybody().iter().position(|name| name == to).unwrap() + 1;
        let rules = format!(
            "table inet {DEAF} {{ chain to_{to} {{ type filter hook input priority raw; policy accept; \
             ip saddr {{ 10.77.0.{number}, 10.78.0.{number} }} drop; }}; }}"
        );
        self.nft(ears, rules);
    }

    /// It hears everybody again.
    pub(crate) fn undeafen(&self, ears: &str) {
        self.nft(ears, format!("delete table inet {DEAF}"));
    }

    fn nft(&self, node: &str, rules: String) {
        self.lab.machine(node).unwrap().space().run(move || {
            let output = Command::new("nft").arg(&rules).output().unwrap();
            assert!(output.status.success(), "{rules}: {output:?}");
        });
    }

    /// One of the commands, asked of a node's daemon.
    pub(crate) fn ask(&self, node: &str, words: &[&str]) -> Output {
        let run_dir = self.lab.folder().join(node).join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(words).arg("--run-dir").arg(run_dir).output().unwrap()
    }
}

fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n") + "\n"
}

/// What a kernel keeps.
pub(crate) fn kept_by(kernel: &mut Nftables) -> BTreeSet<Bucket> {
    let families = [Family::Ip, Family::Ip6];
    let elements = families.into_iter().flat_map(|family| kernel.elements(family, "buckets").unwrap());
    elements.filter_map(|(key, _)| key.as_numbered()).collect()
}

fn plan(machines: &[String]) -> Plan {
    let port = |network: &str, interface: &str, addresses| PortPlan {
        network: network.to_owned(),
        interface: interface.to_owned(),
        addresses,
    };
    let own = |net: u8, number: u8| {
        let six = format!("fd00:{net}::{number}").parse().unwrap();
        vec![(IpAddr::from([10, net, 0, number]), 16), (six, 64)]
    };
    let mut all: Vec<MachinePlan> = (1..)
        .zip(machines)
        .map(|(number, name)| MachinePlan {
            name: name.clone(),
            ports: vec![port(LAN, "eth0", own(77, number)), port(CROSS, "eth1", own(78, number))],
            gateways: Vec::new(),
        })
        .collect();
    let addresses =
        (0..CLIENTS).flat_map(|number| [(client(false, number), 16), (client(true, number), 64)]).collect();
    all.push(MachinePlan {
        name: CLIENT.to_owned(),
        ports: vec![port(LAN, "eth0", addresses)],
        gateways: Vec::new(),
    });
    Plan { networks: vec![LAN.to_owned(), CROSS.to_owned()], machines: all }
}

fn text(machines: &[String], more: &str) -> String {
    let mut text = "[cluster]\nname = \"lab\"\nkeys = \"KEYS\"\n[timing]\nkeepalive = \"100ms\"\n\
                    warntime = \"300ms\"\ndeadtime = \"1s\"\ninitdead = \"4s\"\n"
        .to_owned();
    for name in machines {
        let arbiter = if name == "witness" { "arbiter = true\n" } else { "" };
        text.push_str(&format!("[node.{name}]\n{arbiter}"));
    }
    for (link, interface, net) in [(LAN, "eth0", 77), (CROSS, "eth1", 78)] {
        let peers: Vec<String> =
            (1..).zip(machines).map(|(number, name)| format!("{name} = \"10.{net}.0.{number}\"")).collect();
        text.push_str(&format!(
            "[link.{link}]\ninterface = \"{interface}\"\nunicast = {{ {} }}\n",
            peers.join(", ")
        ));
    }
    let (four, six) = (address(false), address(true));
    text.push_str(&format!(
        "[group.web]\n{more}\n[[group.web.resource]]\nagent = \"clusterip\"\n\
         params = {{ address = [\"{four}/16\", \"{six}/64\"], interface = \"eth0\" }}\n"
    ));
    text
}

/// The addresses as the rules know them.
fn shared(config: &Config) -> BTreeMap<IpAddr, Shared> {
    let mut shared = BTreeMap::new();
    for placement in config.addresses() {
        let sharing = placement.address.shared.unwrap();
        let count = config.groups[&placement.group].clone_of.as_ref().unwrap().count;
        let address = placement.address.address;
        assert_eq!(sharing.hash, HashOf::SourcePort);
        let (mac, hash, seed) = (Mac(sharing.mac), sharing.hash, sharing.seed);
        shared.insert(address, Shared { address, mac, hash, buckets: u32::from(count), seed });
    }
    shared
}
