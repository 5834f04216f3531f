//! A user's own cluster in the lab: its daemons, what is ordered to happen to it, and what the client sees meanwhile. It
//! does and tells; how that looks is up to the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::daemon::Program;
use super::load::Busy;
use super::network::Lab;
use super::orders::{Does, Order, Way};
use super::relay::{BadCable, Fault};
use super::site::Site;
use super::space::Stop;
use super::stage::{Seen, Stage};
use super::{LabError, clock, keys};
use crate::config::Config;
use crate::time::Span;

/// Nobody answers for so long: that is told before somebody answers again.
const SILENT: Span = Span::millis(500);
/// A cluster that starts needs this besides its initdead.
const PATIENCE: Span = Span::seconds(15);
const LOOK: Span = Span::millis(5);

/// Is told what happens, and how long after the beginning.
pub(super) type Tell<'a> = dyn FnMut(Span, Told) + 'a;

/// What is told as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An order is carried out that does more than look or wait.
    Does(Order),
    /// The client sees something of an address.
    Sees(IpAddr, Seen),
    /// Nobody answers at an address.
    Silent {
        /// Which.
        address: IpAddr,
        /// For so long.
        silence: Span,
    },
    /// A daemon has ended, and nobody had killed it.
    Ended {
        /// Whose.
        node: String,
        /// How.
        how: String,
        /// The last that it said.
        words: Vec<String>,
    },
    /// What was asked for, a line each.
    Shows(Vec<String>),
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was carried out.
    Well,
    /// A command to a daemon failed, and has said why.
    Badly,
    /// It was the last one.
    Over,
}

/// What is wrong with a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Cut,
    Pulled,
    Bad(BadCable),
}

/// The cluster, on its stage.
#[derive(Debug)]
pub struct Rehearsal {
    stage: Stage,
    site: Site,
    daemon: PathBuf,
    initdead: Span,
    began: Span,
    has_new_keys: bool,
    cables: BTreeMap<(String, String), Wrong>,
    running: BTreeSet<String>,
    hanging: BTreeSet<String>,
    /// Who announced an address last.
    announced: BTreeMap<IpAddr, String>,
    /// The addresses of which silence has been told.
    silent: BTreeSet<IpAddr>,
    has_seen_two: bool,
    busy: Option<Busy>,
    interrupted: Stop,
}

impl Rehearsal {
    /// Builds the site of this configuration, which was read from there. No daemon runs yet.
    pub fn new(
        site: Site,
        (written, config): (&Path, &Config),
        daemon: &Path,
        interrupted: Stop,
    ) -> Result<Self, LabError> {
        let mut has_new_keys = false;
        let program = |lab: &Lab| {
            let (place, is_new) = keys::readable(written, config, lab.folder())?;
            has_new_keys = is_new;
            Ok(Program { path: daemon.to_owned(), config: place, before: Vec::new(), plays_agents: true })
        };
        let nodes: Vec<&str> = site.nodes.iter().map(String::as_str).collect();
        let asked = site.services.iter().filter(|service| service.watched);
        let asked: Vec<(&str, IpAddr)> =
            asked.map(|service| (service.network.as_str(), service.address)).collect();
        let Some((first, others)) = asked.split_first() else {
            return Err(LabError::Idle("no address is asked: there is nothing to see".to_owned()));
        };
        let stage = Stage::watching(&site.plan, (&nodes, &site.client), (*first, others), program)?;
        Ok(Self {
            stage,
            site,
            daemon: daemon.to_owned(),
            initdead: config.timing.initdead,
            began: clock::now(),
            has_new_keys,
            cables: BTreeMap::new(),
            running: BTreeSet::new(),
            hanging: BTreeSet::new(),
            announced: BTreeMap::new(),
            silent: BTreeSet::new(),
            has_seen_two: false,
            busy: None,
            interrupted,
        })
    }

    /// What was built.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Whether the keys of the configuration could not be read, so that there are new ones.
    pub fn has_new_keys(&self) -> bool {
        self.has_new_keys
    }

    /// Whether two machines ever answered at once, of which none was the rival.
    pub fn has_seen_two(&self) -> bool {
        self.has_seen_two
    }

    /// Starts all daemons, and waits until every address is answered for. Whether it is: not, if no daemon runs, or if it
    /// takes longer than a start may.
    pub fn start(&mut self, tell: &mut Tell<'_>) -> Result<bool, LabError> {
        for node in self.site.nodes.clone() {
            self.start_node(&node)?;
        }
        let at_most = self.initdead + PATIENCE;
        self.watch(at_most, tell, |rehearsal| {
            rehearsal.running.is_empty() || rehearsal.asked().all(|address| rehearsal.is_answered(address))
        });
        Ok(self.asked().all(|address| self.is_answered(address)))
    }

    /// Carries an order out. What it refuses has changed nothing.
    pub fn give(&mut self, order: &Order, tell: &mut Tell<'_>) -> Result<Done, LabError> {
        self.look(tell);
        if !matches!(order, Order::Status | Order::Log(_) | Order::Wait(_) | Order::Help | Order::Quit) {
            tell(self.since(), Told::Does(order.clone()));
        }
        match order {
            Order::Cable { machine, network, does } => self.cable(machine, network, *does)?,
            Order::Kill(node) => self.kill(node)?,
            Order::Start(node) => self.start_node(node)?,
            Order::Stop(node) => {
                self.stage.lab().machine_mut(node)?.signal(Signal::SIGSTOP)?;
                self.hanging.insert(node.clone());
            }
            Order::Continue(node) => {
                self.stage.lab().machine_mut(node)?.signal(Signal::SIGCONT)?;
                self.hanging.remove(node);
            }
            Order::Rival(address) => self.rival(*address)?,
            Order::Wipe { machine, address } => {
                if !self.stage.lab().machine_mut(machine)?.wipe(*address)? {
                    return Err(LabError::Idle(format!(
                        "{machine} does not have {address}: nothing is deleted"
                    )));
                }
            }
            Order::Load(span) => {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                let client = self.site.client.clone();
                self.busy = Some(self.stage.lab().machine(&client)?.load(threads, *span)?);
            }
            Order::Ask { node, words } => return self.ask(node, words, tell),
            Order::Status => tell(self.since(), Told::Shows(self.state())),
            Order::Log(node) => tell(self.since(), Told::Shows(self.stage.last_words(node))),
            Order::Wait(span) => _ = self.watch(*span, tell, |_| false),
            Order::Help => {}
            Order::Quit => return Ok(Done::Over),
        }
        Ok(Done::Well)
    }

    /// Tells what the client sees, until it is so or the time is over. Whether it is.
    pub fn watch(
        &mut self,
        at_most: Span,
        tell: &mut Tell<'_>,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let end = clock::now() + at_most;
        loop {
            self.look(tell);
            if is_so(self) {
                return true;
            }
            let now = clock::now();
            if now >= end || self.interrupted.is_set() {
                return false;
            }
            clock::wait(LOOK.min(end - now));
        }
    }

    fn look(&mut self, tell: &mut Tell<'_>) {
        for (at, address, seen) in self.stage.look_at_all() {
            match &seen {
                Seen::Answers { .. } => _ = self.silent.remove(&address),
                Seen::Announces { machine } => {
                    // A holder announces itself again and again.
                    let before = self.announced.insert(address, machine.clone());
                    if before.as_ref() == Some(machine) {
                        continue;
                    }
                }
                Seen::Double { machines } => self.has_seen_two |= !machines.contains(&self.site.rival),
            }
            tell(at - self.began, Told::Sees(address, seen));
        }
        let now = clock::now();
        for address in self.asked().collect::<Vec<_>>() {
            let silence = self.stage.last_answer(address).map(|answer| now - answer.at);
            let Some(silence) = silence.filter(|silence| *silence >= SILENT) else { continue };
            if self.silent.insert(address) {
                tell(self.since(), Told::Silent { address, silence });
            }
        }
        for node in self.running.clone() {
            self.look_at_daemon(&node, tell);
        }
    }

    fn look_at_daemon(&mut self, node: &str, tell: &mut Tell<'_>) {
        let Ok(machine) = self.stage.lab().machine_mut(node) else { return };
        let Some(status) = machine.wait_for_end(Span::ZERO) else { return };
        self.running.remove(node);
        self.hanging.remove(node);
        let words = self.stage.last_words(node);
        tell(self.since(), Told::Ended { node: node.to_owned(), how: status.to_string(), words });
    }

    /// Since the beginning.
    fn since(&self) -> Span {
        clock::now() - self.began
    }

    fn asked(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.site.services.iter().filter(|service| service.watched).map(|service| service.address)
    }

    fn is_answered(&self, address: IpAddr) -> bool {
        self.stage.last_answer(address).is_some_and(|answer| clock::now() - answer.at < SILENT)
    }

    fn start_node(&mut self, node: &str) -> Result<(), LabError> {
        if self.stage.lab().machine_mut(node)?.is_running() {
            return Err(LabError::Idle(format!(
                "the daemon of {node} runs already: `kill {node}` or `ask {node} stop` ends it"
            )));
        }
        self.stage.start(node)?;
        self.running.insert(node.to_owned());
        Ok(())
    }

    fn kill(&mut self, node: &str) -> Result<(), LabError> {
        self.stage.lab().machine_mut(node)?.kill()?;
        self.running.remove(node);
        self.hanging.remove(node);
        Ok(())
    }

    fn cable(&mut self, machine: &str, network: &str, does: Does) -> Result<(), LabError> {
        let place = (machine.to_owned(), network.to_owned());
        let before = self.cables.get(&place).copied();
        let lab = self.stage.lab();
        if matches!((before, does), (Some(Wrong::Bad(_)), Does::Pull)) {
            lab.plug(machine, network)?;
        }
        let mut bad = match before {
            Some(Wrong::Bad(bad)) => bad,
            Some(Wrong::Cut | Wrong::Pulled) | None => BadCable::default(),
        };
        let wrong = match does {
            Does::Cut => Some(Wrong::Cut),
            Does::Pull => Some(Wrong::Pulled),
            Does::Plug => None,
            Does::Lose(percent, way) => {
                spoil(&mut bad, way, |fault| fault.loss_percent = percent);
                Some(Wrong::Bad(bad))
            }
            Does::Delay(delay, way) => {
                spoil(&mut bad, way, |fault| fault.delay = delay);
                Some(Wrong::Bad(bad))
            }
        };
        // One that neither loses nor delays is whole.
        let wrong = wrong.filter(|wrong| *wrong != Wrong::Bad(BadCable::default()));
        match wrong {
            Some(Wrong::Cut) => lab.cut(machine, network)?,
            Some(Wrong::Pulled) => lab.pull(machine, network)?,
            Some(Wrong::Bad(bad)) => lab.spoil(machine, network, bad)?,
            None => lab.plug(machine, network)?,
        }
        match wrong {
            Some(wrong) => _ = self.cables.insert(place, wrong),
            None => _ = self.cables.remove(&place),
        }
        Ok(())
    }

    fn rival(&mut self, address: IpAddr) -> Result<(), LabError> {
        let known: Vec<String> =
            self.site.services.iter().map(|service| service.address.to_string()).collect();
        let service = self.site.services.iter().find(|service| service.address == address);
        let service =
            service.ok_or_else(|| LabError::unknown(format!("service address {address}"), known.iter()))?;
        let rival = self.stage.lab().machine_mut(&self.site.rival)?;
        if rival.has(address)? {
            let name = &self.site.rival;
            let already = format!("{name} claims {address} already: `wipe {name} {address}` ends it");
            return Err(LabError::Idle(already));
        }
        rival.seize(&service.network, address, service.prefix)
    }

    /// The command speaks for itself, on the standard output and the standard error of this process.
    fn ask(&mut self, node: &str, words: &[String], tell: &mut Tell<'_>) -> Result<Done, LabError> {
        let socket = self.stage.lab().control_socket(node);
        let mut command = Command::new(&self.daemon);
        command.args(words.iter().take(1)).arg("--run-dir").args(socket.parent());
        command.args(words.iter().skip(1)).stdin(Stdio::null());
        let failed = LabError::machine(format!("start {}", self.daemon.display()));
        let child = self.stage.lab().machine(node)?.space().spawn(command).map_err(failed)?;
        let mut child = Asked(child);
        let mut status = None;
        while status.is_none() && !self.interrupted.is_set() {
            self.watch(LOOK, tell, |_| false);
            status = child.0.try_wait().map_err(LabError::machine("wait for a command"))?;
        }
        Ok(if status.is_some_and(|status| status.success()) { Done::Well } else { Done::Badly })
    }

    /// Daemons, cables that are not whole, and who answers.
    fn state(&self) -> Vec<String> {
        let daemon = |node: &String| {
            let how = match (self.running.contains(node), self.hanging.contains(node)) {
                (true, true) => "hangs",
                (true, false) => "runs",
                (false, _) => "does not run",
            };
            format!("the daemon of {node} {how}")
        };
        let cable = |((machine, network), wrong): (&(String, String), &Wrong)| {
            format!("the cable of {machine} to {network} {wrong}")
        };
        let answers = |address: IpAddr| match self.stage.last_answer(address) {
            Some(answer) if self.is_answered(address) => format!("{address}: {} answers", answer.from),
            Some(answer) => {
                let silence = clock::now() - answer.at;
                format!(
                    "{address}: nobody answers, for {} ms; {} was the last",
                    silence.as_micros() / 1_000,
                    answer.from
                )
            }
            None => format!("{address}: nobody has ever answered"),
        };
        let nodes = self.site.nodes.iter().map(daemon);
        nodes.chain(self.cables.iter().map(cable)).chain(self.asked().map(answers)).collect()
    }
}

/// A command that was put to a daemon. Dropped, it has ended.
struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spoil(bad: &mut BadCable, way: Way, mut change: impl FnMut(&mut Fault)) {
    if way != Way::Into {
        change(&mut bad.out);
    }
    if way != Way::Out {
        change(&mut bad.into);
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("is cut"),
            Self::Pulled => f.write_str("is pulled"),
            Self::Bad(BadCable { out, into }) => {
                let (out_ms, into_ms) = (out.delay.as_micros() / 1_000, into.delay.as_micros() / 1_000);
                write!(f, "loses {} % and delays by {out_ms} ms out, ", out.loss_percent)?;
                write!(f, "{} % and {into_ms} ms in", into.loss_percent)
            }
        }
    }
}
