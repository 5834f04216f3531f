//! Two directors and a client in the lab, with real daemons: what a test does to them, and what it waits for.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use systole::lab::{Outcome, Plan, Program, Stage, clock};
use systole::time::Span;

/// Longer than anything takes, on any machine.
const PATIENCE: Span = Span::seconds(60);
const LOOK: Span = Span::millis(5);

pub(crate) const LAN: &str = "lan";
pub(crate) const CROSS: &str = "cross";

/// What a pair is made of.
pub(crate) struct Settings {
    pub(crate) deadtime_ms: u64,
    /// A second link over a cable of its own.
    pub(crate) cross: bool,
    /// A link over the service network.
    pub(crate) lan: bool,
    pub(crate) ipv6: bool,
    /// The address's interface is left to the route.
    pub(crate) routed: bool,
    pub(crate) arbiter: bool,
    /// Further lines of the configuration: tables.
    pub(crate) more: &'static str,
    /// Further lines of `haresources`.
    pub(crate) groups: &'static str,
    /// Further addresses of the first group, in the place of `haresources`.
    pub(crate) further: Vec<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadtime_ms: 1_000,
            cross: true,
            lan: true,
            ipv6: false,
            routed: false,
            arbiter: false,
            more: "",
            groups: "",
            further: Vec::new(),
        }
    }
}

impl Settings {
    pub(crate) fn address(&self) -> IpAddr {
        if self.ipv6 { "fd00:77::100".parse().unwrap() } else { "10.77.0.100".parse().unwrap() }
    }

    /// All of the first group.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        std::iter::once(self.address()).chain(self.further.iter().copied()).collect()
    }

    pub(crate) fn text(&self) -> String {
        let deadtime = self.deadtime_ms;
        let (keepalive, warntime) = (deadtime / 10, deadtime * 3 / 10);
        let initdead = deadtime.max(2_000) * 2;
        let rest = match (self.routed, self.ipv6) {
            (true, _) => "",
            (false, true) => "/64/eth0",
            (false, false) => "/24/eth0",
        };
        let vip = format!("{}{rest}", self.address());
        let (lan, cross, target) = if self.ipv6 {
            ("fd00:77::", "fd00:78::", "fd00:77::9")
        } else {
            ("10.77.0.", "10.78.0.", "10.77.0.9")
        };
        let witness =
            |net: &str| if self.arbiter { format!(", witness = \"{net}3\"") } else { String::new() };
        let link = |name: &str, interface: &str, net: &str| {
            let witness = witness(net);
            format!(
                "[link.{name}]\ninterface = \"{interface}\"\nunicast = {{ lb0 = \"{net}1\", lb1 = \"{net}2\"{witness} }}\n"
            )
        };
        let haresources = match self.further.as_slice() {
            [] => format!("haresources = \"\"\"\nlb0 {vip}\n{}\"\"\"\n", self.groups),
            _ => String::new(),
        };
        let mut text = format!(
            "{haresources}[cluster]\nname = \"lab\"\nkeys = \"KEYS\"\n\
             [timing]\nkeepalive = \"{keepalive}ms\"\nwarntime = \"{warntime}ms\"\ndeadtime = \"{deadtime}ms\"\n\
             initdead = \"{initdead}ms\"\n[node.lb0]\n[node.lb1]\n"
        );
        if self.arbiter {
            text.push_str("[node.witness]\narbiter = true\n");
        }
        if self.lan {
            text.push_str(&link("lan", "eth0", lan));
        }
        if self.cross {
            text.push_str(&link("cross", "eth1", cross));
        }
        text.push_str(&format!("[tiebreak]\nping = [\"{target}\"]\n{}", self.more));
        if !self.further.is_empty() {
            let addresses: Vec<String> =
                self.addresses().iter().map(|address| format!("\"{address}\"")).collect();
            text.push_str(&format!(
                "[group.many]\nprefer = [\"lb0\"]\n[[group.many.resource]]\nagent = \"vip\"\n\
                 params = {{ interface = \"eth0\", address = [{}] }}\n",
                addresses.join(", ")
            ));
        }
        text
    }

    fn nodes(&self) -> Vec<&'static str> {
        if self.arbiter { vec!["lb0", "lb1", "witness"] } else { vec!["lb0", "lb1"] }
    }
}

/// The cluster, running.
pub(crate) struct Pair {
    pub(crate) stage: Stage,
    pub(crate) deadtime: Span,
    config: PathBuf,
    folder: PathBuf,
}

impl Pair {
    /// Builds it and starts the daemons; returns when the first director's address is answered for.
    pub(crate) fn start(settings: &Settings) -> Self {
        let mut pair = Self::build(settings);
        for node in settings.nodes() {
            pair.stage.start(node).unwrap();
        }
        pair.wait_for_holder("lb0");
        // Whoever joined last has found its place.
        pair.wait_until("both are ready", |pair| {
            ["lb0", "lb1"].iter().all(|node| pair.log(node).contains("beats are sent"))
        });
        pair.settle();
        pair
    }

    /// Builds it; no daemon runs.
    pub(crate) fn build(settings: &Settings) -> Self {
        let numbers = [("lb0", 1), ("lb1", 2), ("witness", 3), ("client", 9)];
        let machines: Vec<(&str, u8)> =
            numbers.into_iter().filter(|(name, _)| *name != "witness" || settings.arbiter).collect();
        let mut plan = Plan::simple(&machines, settings.nodes().len());
        for machine in &mut plan.machines {
            machine.gateways.clear();
        }
        let text = settings.text();
        let program = |lab: &systole::lab::Lab| {
            let (keys, config) = (lab.folder().join("keys"), lab.folder().join("systole.toml"));
            fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
            fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
            fs::write(&config, text.replace("KEYS", keys.to_str().unwrap())).unwrap();
            Ok(Program {
                path: env!("CARGO_BIN_EXE_systole").into(),
                config,
                before: Vec::new(),
                plays_agents: false,
            })
        };
        let mut stage =
            Stage::new(&plan, (&settings.nodes(), "client"), (LAN, settings.address()), program).unwrap();
        let folder = stage.lab().folder().to_owned();
        let config = folder.join("systole.toml");
        Self { stage, deadtime: Span::millis(settings.deadtime_ms), config, folder }
    }

    /// Writes another configuration in the place of the present one.
    pub(crate) fn rewrite(&mut self, settings: &Settings) {
        let keys = self.folder.join("keys");
        fs::write(&self.config, settings.text().replace("KEYS", keys.to_str().unwrap())).unwrap();
    }

    pub(crate) fn config(&self) -> &PathBuf {
        &self.config
    }

    /// What a director's daemons have said.
    pub(crate) fn log(&self, node: &str) -> String {
        std::fs::read_to_string(self.folder.join(node).join("log")).unwrap_or_default()
    }

    /// Waits until something is so; a test that waits in vain shows what the daemons said.
    pub(crate) fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let until = clock::now() + PATIENCE;
        while !is_so(self) {
            self.stage.look();
            assert!(clock::now() < until, "{}", self.stage.failed(format!("in vain: {what}")));
            clock::wait(LOOK);
        }
    }

    pub(crate) fn holder(&mut self) -> String {
        self.stage.look();
        self.stage.holder().map(|holder| holder.to_string()).unwrap_or_default()
    }

    pub(crate) fn wait_for_holder(&mut self, node: &str) {
        self.wait_until(&format!("{node} answers"), |pair| pair.holder() == node);
    }

    pub(crate) fn wait_for_word(&mut self, node: &str, word: &str) {
        self.wait_until(&format!("{node} says: {word}"), |pair| pair.log(node).contains(word));
    }

    /// Looks on for some deadtimes: what was going to happen has happened.
    pub(crate) fn settle(&mut self) {
        let until = clock::now() + self.deadtime * 3;
        self.wait_until("time passes", |_| clock::now() >= until);
    }

    /// Does something, waits for what comes of it and a while longer; what the client saw, which is never two at once.
    pub(crate) fn after(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self),
        comes: impl FnOnce(&mut Self),
    ) -> Outcome {
        self.stage.look();
        let fault = self.stage.begin();
        act(self);
        comes(self);
        self.settle();
        let outcome = self.stage.outcome(fault);
        println!("    {what}: outage {}", outcome.outage);
        assert_eq!(outcome.doubles, 0, "{}", self.stage.failed("two answered at once"));
        outcome
    }

    /// One of the commands, asked of a director's daemon.
    pub(crate) fn ask(&mut self, node: &str, words: &[&str]) -> Output {
        let run_dir = self.folder.join(node).join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(words).arg("--run-dir").arg(run_dir);
        command.output().unwrap()
    }

    /// The same, and it must succeed.
    pub(crate) fn order(&mut self, node: &str, words: &[&str]) {
        let output = self.ask(node, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}", self.stage.failed(format!("{words:?}: {said}")));
    }
}
