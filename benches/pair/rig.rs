//! The rig: two directors, a client and what it sees. systole and keepalived run on it in turn.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use systole::lab::{
    Answer, Arrivals, Ears, Heard, Idle, Lab, Outcome, Passed, Plan, Probe, Program, Tap, Tapped, Work, clock,
};
use systole::net::lease::KernelLease;
use systole::rng::Rng;
use systole::time::Span;

use super::system::{NODES, NUMBERS, System, addresses, prefix};
use super::{Options, Try};

/// The network of the addresses.
pub(crate) const LAN: &str = "lan";
/// Longer than anything takes that still works.
pub(crate) const PATIENCE: Span = Span::seconds(30);
const LOOK: Span = Span::millis(1);
/// Nothing is done to a cluster that has not been quiet for so long.
const QUIET: Span = Span::millis(500);

/// Two directors and a client; nobody runs on them at first.
pub(crate) struct Rig {
    /// Everything else.
    pub(crate) lab: Lab,
    /// The service addresses.
    pub(crate) addresses: Vec<IpAddr>,
    probe: Option<Probe>,
    ears: Option<Ears>,
    tap: Option<Tap>,
    arrivals: Arrivals,
    answers: Vec<Answer>,
    heard: Vec<Heard>,
    passed: Vec<Passed>,
    rng: Rng,
    keepalived: Option<PathBuf>,
    _work: Vec<Work<()>>,
}

/// What became of a fault.
pub(crate) struct Seen {
    /// When it was.
    pub(crate) fault: Span,
    /// What the client noticed.
    pub(crate) outcome: Outcome,
    /// The last beat of the old holder that the new one heard.
    pub(crate) last_beat: Option<Span>,
}

impl Seen {
    /// When the new holder answered for the first time.
    pub(crate) fn answered(&self) -> Option<Span> {
        self.outcome.first_answer.as_ref().map(|(after, _)| self.fault + *after)
    }

    /// The time from the last beat to the first answer beyond what the timers prescribe, in milliseconds.
    pub(crate) fn overhead(&self, system: System) -> Option<f64> {
        Some(milliseconds(self.answered()?, self.last_beat? + system.detection()))
    }
}

/// From one time to another, which may be before it.
pub(crate) fn milliseconds(to: Span, from: Span) -> f64 {
    (to.as_micros() as f64 - from.as_micros() as f64) / 1_000.0
}

/// A length of time in milliseconds.
pub(crate) fn length(span: Span) -> f64 {
    milliseconds(span, Span::ZERO)
}

impl Rig {
    /// Builds it, with so many service addresses.
    pub(crate) fn build(options: &Options, count: u16) -> Try<Self> {
        let mut plan = Plan::simple(&NUMBERS, NODES.len());
        let ports = plan.machines.iter_mut().flat_map(|machine| &mut machine.ports);
        for (address, length) in ports.filter(|port| port.network == LAN).flat_map(|port| &mut port.addresses)
        {
            *length = prefix(*address);
        }
        let mut lab = Lab::build(&plan)?;
        let addresses = addresses(options.v6, count);
        let keys = lab.folder().join("keys");
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n")?;
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600))?;
        let work = NODES.iter().map(|node| lab.machine(node)?.answer()).collect::<Result<_, _>>()?;
        let arrivals = lab.machine(NODES[1])?.arrivals()?;
        let tap = lab.machine(NODES[1])?.tap(LAN, Tapped::Beats)?;
        let client = lab.machine_mut("client")?;
        let (ears, probe) = (client.listen(LAN, addresses[0])?, client.probe(addresses[0])?);
        Ok(Self {
            lab,
            addresses,
            probe: Some(probe),
            ears: Some(ears),
            tap: Some(tap),
            arrivals,
            answers: Vec::new(),
            heard: Vec::new(),
            passed: Vec::new(),
            rng: Rng::new(1),
            keepalived: options.keepalived.clone(),
            _work: work,
        })
    }

    /// Starts both daemons, and waits until the first director holds the addresses.
    pub(crate) fn begin(&mut self, system: System) -> Try<()> {
        for node in 0..NODES.len() {
            self.write(node, &system.text(node, &self.addresses, &self.keys()))?;
            self.start(system, node)?;
        }
        self.quiet(system)
    }

    /// Starts the daemon of one director.
    pub(crate) fn start(&mut self, system: System, node: usize) -> Try<()> {
        let (name, config) = (NODES[node], self.config(node));
        if system.is_systole() {
            let program = Program {
                path: env!("CARGO_BIN_EXE_systole").into(),
                config,
                before: Vec::new(),
                plays_agents: false,
            };
            return Ok(self.lab.start(name, &program)?);
        }
        let binary = self.keepalived.as_ref().ok_or("there is no keepalived")?;
        let folder = self.lab.folder().join(name);
        // Of one that was killed. While its number is not free it would be taken for running.
        for stale in ["keepalived.pid", "vrrp.pid"] {
            let _ = fs::remove_file(folder.join(stale));
        }
        let root = binary.ancestors().nth(3).unwrap_or(Path::new("/"));
        let mut command = Command::new(binary);
        command.env("LD_LIBRARY_PATH", super::libraries(root));
        command.args(["--vrrp", "--dont-fork", "--no-syslog", "--use-file"]).arg(config);
        command.arg("--pid").arg(folder.join("keepalived.pid"));
        command.arg("--vrrp_pid").arg(folder.join("vrrp.pid"));
        Ok(self.lab.launch(name, command)?)
    }

    /// Ends both daemons, and leaves nothing of them.
    pub(crate) fn end(&mut self) -> Try<()> {
        for node in NODES {
            self.lab.plug(node, LAN)?;
            let machine = self.lab.machine_mut(node)?;
            if machine.is_running() {
                let _ = machine.signal_all(Signal::SIGCONT);
                machine.signal(Signal::SIGTERM)?;
                if machine.wait_for_end(PATIENCE).is_none() {
                    machine.kill()?;
                }
            }
            for address in self.addresses.clone() {
                machine.wipe(address)?;
            }
            // What a crash leaves, so that it lets nothing through that is not held.
            machine.space().run(|| KernelLease::open("systole").map(KernelLease::remove).is_ok());
        }
        Ok(())
    }

    /// The configuration of a director.
    pub(crate) fn config(&self, node: usize) -> PathBuf {
        self.lab.folder().join(format!("{}.conf", NODES[node]))
    }

    /// Writes it.
    pub(crate) fn write(&self, node: usize, text: &str) -> Try<()> {
        Ok(fs::write(self.config(node), text)?)
    }

    /// The keys of the cluster.
    pub(crate) fn keys(&self) -> PathBuf {
        self.lab.folder().join("keys")
    }

    /// One of systole's commands, asked of a director's daemon. It must succeed.
    pub(crate) fn order(&self, node: usize, words: &[&str]) -> Try<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(words).arg("--run-dir").arg(self.lab.folder().join(NODES[node]).join("run"));
        let Output { status, stderr, .. } = command.output()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("{words:?}: {}", String::from_utf8_lossy(&stderr).trim_end()).into())
    }

    /// Waits until the first director has answered alone for a while, and then some more by chance: a fault shall not
    /// fall on the same place between two beats each time.
    pub(crate) fn quiet(&mut self, system: System) -> Try<()> {
        let (end, calm) = (clock::now() + PATIENCE, QUIET.max(system.detection() * 2));
        let mut since = clock::now();
        loop {
            let (now, known) = (clock::now(), self.answers.len());
            self.look();
            let fresh = self.answers.get(known..).unwrap_or_default();
            let is_well = self.answers.last().is_some_and(|last| now - last.at < QUIET / 2);
            if !is_well || fresh.iter().any(|answer| answer.from.as_ref() != NODES[0]) {
                since = now;
            }
            if now - since >= calm {
                break;
            }
            if now >= end {
                return Err(self.said("lb0 does not answer alone").into());
            }
            clock::wait(LOOK * 5);
        }
        clock::wait(Span::micros(self.rng.below(system.beat().as_micros().max(1))));
        Ok(())
    }

    /// Something happens, and this comes of it; and what is seen until so long after the other director answers.
    pub(crate) fn after<T>(
        &mut self,
        system: System,
        act: impl FnOnce(&mut Self) -> Try<T>,
    ) -> Try<(Seen, T)> {
        self.forget();
        let fault = clock::now();
        let done = act(self)?;
        let end = clock::now() + PATIENCE;
        while !self.answers.iter().any(|answer| answer.at >= fault && answer.from.as_ref() == NODES[1]) {
            if clock::now() >= end {
                return Err(self.said("lb1 does not answer").into());
            }
            clock::wait(LOOK);
            self.look();
        }
        // Two that answer show only after both are there.
        clock::wait(QUIET.max(system.detection()));
        Ok((self.seen(fault)?, done))
    }

    /// Something happens that nobody shall notice; what is seen for so long afterwards.
    pub(crate) fn while_it_lasts(
        &mut self,
        length: Span,
        act: impl FnOnce(&mut Self) -> Try<()>,
    ) -> Try<Seen> {
        self.forget();
        let fault = clock::now();
        act(self)?;
        let end = clock::now() + length;
        while clock::now() < end {
            clock::wait(LOOK * 5);
            self.look();
        }
        self.seen(fault)
    }

    /// What was seen of a fault, up to now.
    pub(crate) fn seen(&mut self, fault: Span) -> Try<Seen> {
        self.look();
        let outcome = Outcome::of(fault, clock::now(), &self.answers, &self.heard);
        let from = self.lab.machine(NODES[0])?.mac(LAN)?;
        let until = outcome.first_answer.as_ref().map_or(clock::now(), |(after, _)| fault + *after);
        let last = self.passed.iter().rfind(|passed| passed.from == from && passed.at < until);
        Ok(Seen { fault, last_beat: last.map(|passed| passed.at), outcome })
    }

    /// Questions that were asked since then and not answered.
    pub(crate) fn lost(&self, fault: Span) -> u64 {
        let since = self.answers.iter().filter(|answer| answer.at >= fault);
        let numbers = || since.clone().map(|answer| answer.question);
        let asked = numbers().max().zip(numbers().min()).map_or(0, |(last, first)| last - first + 1);
        asked.saturating_sub(since.count() as u64)
    }

    /// When addresses came to the second director.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Forgets what was seen, except for the last of it.
    pub(crate) fn forget(&mut self) {
        self.look();
        self.answers.drain(..self.answers.len().saturating_sub(100));
        self.heard.drain(..self.heard.len().saturating_sub(1));
        self.passed.drain(..self.passed.len().saturating_sub(10));
    }

    /// Takes in what was seen.
    pub(crate) fn look(&mut self) {
        self.answers.extend(self.probe.iter().flat_map(Probe::take));
        self.heard.extend(self.ears.iter().flat_map(Ears::take));
        self.passed.extend(self.tap.iter().flat_map(Tap::take));
    }

    /// The client asks no more, and nobody listens.
    pub(crate) fn hush(&mut self) {
        (self.probe, self.ears, self.tap) = (None, None, None);
    }

    /// Measures this machine's own lateness.
    pub(crate) fn idle(&self) -> Try<Idle> {
        Ok(self.lab.machine("client")?.idle()?)
    }

    /// What is wrong, with the last that the daemons said.
    fn said(&self, what: &str) -> String {
        let last = |node: &&str| {
            let log = self.lab.log(node);
            let from = log.lines().count().saturating_sub(4);
            log.lines().skip(from).map(|line| format!("\n  {node}: {line}")).collect::<String>()
        };
        what.to_owned() + &NODES.iter().map(last).collect::<String>()
    }
}
