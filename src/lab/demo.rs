//! The pair that `systole demo` shows: two directors with a web server each, a client, two networks; and what happens to
//! it, one thing after another. It does and tells; how that looks is up to the caller.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::daemon::Program;
use super::load::{Busy, Idle};
use super::network::Lab;
use super::outage::Outcome;
use super::plan::Plan;
use super::space::Stop;
use super::stage::{Seen, Stage};
use super::{LabError, clock, keys};
use crate::time::Span;

/// The network of the address, the address, and the directors and the client on it.
pub const LAN: &str = "lan";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const DIRECTORS: [&str; 2] = ["lb0", "lb1"];
const CLIENT: &str = "client";

const KEEPALIVE: Span = Span::millis(20);
const DEADTIME: Span = Span::millis(200);
/// Long enough for a cluster to start, or to do what it shall.
const PATIENCE: Span = Span::seconds(15);
/// After each step, until whoever was away is back.
const REST: Span = Span::seconds(2);
/// A rival is let alone for so long.
const RIVALRY: Span = Span::seconds(1);
const LOOK: Span = Span::millis(5);

/// Is told what happens, and how long after the beginning.
pub type Tell<'a> = dyn FnMut(Span, Told) + 'a;

/// Something that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The holder's cable to the address's network is pulled at the machine.
    Pull,
    /// It is cut behind the switch.
    Cut,
    /// It is mended.
    Plug,
    /// The holder's daemon is killed.
    Kill,
    /// A daemon that does not run is started.
    Start,
    /// The holder's daemon is stopped: it hangs.
    Stop,
    /// A daemon that hangs goes on.
    Continue,
    /// The holder's daemon is told to hand over and end.
    HandOver,
    /// Somebody deletes the address from the holder.
    Wipe,
    /// A stranger claims the address.
    Rival,
    /// All processors are busy for a while.
    Load,
}

/// What happens by itself: what is done, and what mends it.
pub const PLAY: [(Step, Option<Step>); 6] = [
    (Step::Pull, Some(Step::Plug)),
    (Step::Cut, Some(Step::Plug)),
    (Step::Kill, Some(Step::Start)),
    (Step::Stop, Some(Step::Continue)),
    (Step::Wipe, None),
    (Step::HandOver, Some(Step::Start)),
];

/// What is told as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The cluster runs, and this director holds the address.
    Runs {
        /// Which.
        holder: String,
    },
    /// Something is done to a machine.
    Does {
        /// What.
        step: Step,
        /// To which.
        machine: String,
    },
    /// The client sees something.
    Sees(Seen),
    /// What came of it.
    Comes {
        /// Of what.
        step: Step,
        /// What the client noticed.
        outcome: Outcome,
        /// Who holds the address now.
        holder: Option<String>,
        /// Who served a page after it, and how long that took.
        page: Option<(String, Span)>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Cut => "cut",
            Self::Plug => "plug",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Continue => "continue",
            Self::HandOver => "hand-over",
            Self::Wipe => "wipe",
            Self::Rival => "rival",
            Self::Load => "load",
        })
    }
}

/// The demo, on its stage.
#[derive(Debug)]
pub struct Demo {
    stage: Stage,
    began: Span,
    unplugged: Vec<String>,
    stopped: Vec<String>,
    busy: Option<Busy>,
    interrupted: Stop,
}

impl Demo {
    /// Builds the pair, with this program as its daemons, and waits until one of them holds the address.
    pub fn new(daemon: &Path, interrupted: Stop, tell: &mut Tell<'_>) -> Result<Self, LabError> {
        let plan = Plan::simple(&[("lb0", 10), ("lb1", 11), ("client", 1), ("rival", 66)], 2);
        let program = |lab: &Lab| program(lab.folder(), daemon);
        let stage = Stage::new(&plan, (&DIRECTORS, CLIENT), (LAN, IpAddr::V4(ADDRESS)), program)?;
        let mut demo = Self {
            stage,
            began: clock::now(),
            unplugged: Vec::new(),
            stopped: Vec::new(),
            busy: None,
            interrupted,
        };
        for director in DIRECTORS {
            demo.stage.start(director)?;
        }
        // Whoever has ended will not take it any more.
        demo.watch(PATIENCE, tell, |stage| stage.holder().is_some() || !stage.any_runs());
        let Some(holder) = demo.stage.holder() else {
            return Err(demo.failed("nobody takes the address"));
        };
        tell(demo.since(), Told::Runs { holder: holder.to_string() });
        demo.watch(REST, tell, |_| false);
        Ok(demo)
    }

    /// Does all of the play.
    pub fn play(&mut self, tell: &mut Tell<'_>) -> Result<(), LabError> {
        for (step, mend) in PLAY {
            self.step(step, tell)?;
            if let Some(mend) = mend {
                self.step(mend, tell)?;
            }
            self.watch(REST, tell, |_| false);
            if self.stage.holder().is_none() {
                return Err(self.failed("nobody holds the address"));
            }
        }
        Ok(())
    }

    /// Does one thing, watches what comes of it, and tells.
    pub fn step(&mut self, step: Step, tell: &mut Tell<'_>) -> Result<(), LabError> {
        self.look(tell);
        let holder = self.stage.holder().map_or_else(|| DIRECTORS[0].to_owned(), |name| name.to_string());
        let Some(machine) = self.target(step, &holder) else { return Ok(()) };
        tell(self.since(), Told::Does { step, machine: machine.clone() });
        let began = self.stage.begin();
        self.act(step, &machine)?;
        let moved = |stage: &mut Stage| stage.holder().is_some_and(|now| *now != holder);
        match step {
            Step::Pull | Step::Cut | Step::Kill | Step::Stop | Step::HandOver => {
                if !self.watch(PATIENCE, tell, moved) {
                    return Err(self.failed(format!("nobody takes the address over from {holder}")));
                }
                // Two that answer show only after both are there.
                self.watch(DEADTIME, tell, |_| false);
                if step == Step::HandOver {
                    let ended = self.stage.lab().machine_mut(&machine)?.wait_for_end(PATIENCE);
                    ended.ok_or_else(|| self.failed(format!("the daemon of {machine} does not end")))?;
                }
            }
            Step::Plug | Step::Start | Step::Continue => _ = self.watch(DEADTIME * 2, tell, |_| false),
            Step::Wipe => {
                self.watch(DEADTIME, tell, |_| false);
                let answered = |stage: &mut Stage| stage.outcome(clock::now()).outage < DEADTIME;
                if !self.watch(PATIENCE, tell, answered) {
                    return Err(self.failed("nobody puts the address back"));
                }
            }
            Step::Rival | Step::Load => {
                self.watch(RIVALRY, tell, |_| false);
                self.stage.lab().machine_mut("rival")?.wipe(IpAddr::V4(ADDRESS))?;
                self.busy = None;
                self.watch(DEADTIME, tell, |_| false);
            }
        }
        if self.interrupted.is_set() {
            return Err(LabError::Interrupted);
        }
        let outcome = self.stage.outcome(began);
        let holder = self.stage.holder().map(|name| name.to_string());
        let page = self.stage.page();
        tell(self.since(), Told::Comes { step, outcome, holder, page });
        Ok(())
    }

    /// Tells what the client sees, until it is so or the time is over. Whether it is.
    pub fn watch(
        &mut self,
        at_most: Span,
        tell: &mut Tell<'_>,
        mut is_so: impl FnMut(&mut Stage) -> bool,
    ) -> bool {
        let end = clock::now() + at_most;
        loop {
            self.look(tell);
            if is_so(&mut self.stage) {
                return true;
            }
            if clock::now() >= end || self.interrupted.is_set() {
                return false;
            }
            clock::wait(LOOK);
        }
    }

    fn look(&mut self, tell: &mut Tell<'_>) {
        for seen in self.stage.look() {
            tell(self.since(), Told::Sees(seen));
        }
    }

    fn failed(&self, what: impl Into<String>) -> LabError {
        if self.interrupted.is_set() { LabError::Interrupted } else { self.stage.failed(what) }
    }

    /// Measures how late this machine itself is.
    pub fn idle(&mut self) -> Result<Idle, LabError> {
        self.stage.lab().machine(CLIENT)?.idle()
    }

    /// Since the beginning.
    fn since(&self) -> Span {
        clock::now() - self.began
    }

    /// To whom it happens; `None`: there is nobody to whom it could.
    fn target(&mut self, step: Step, holder: &str) -> Option<String> {
        match step {
            Step::Plug => self.unplugged.pop(),
            Step::Continue => self.stopped.pop(),
            Step::Start => {
                let lab = self.stage.lab();
                let is_down = |name: &&str| lab.machine_mut(name).is_ok_and(|machine| !machine.is_running());
                DIRECTORS.into_iter().find(is_down).map(str::to_owned)
            }
            Step::Rival => Some("rival".to_owned()),
            Step::Pull | Step::Cut | Step::Kill | Step::Stop | Step::HandOver | Step::Wipe | Step::Load => {
                Some(holder.to_owned())
            }
        }
    }

    fn act(&mut self, step: Step, name: &str) -> Result<(), LabError> {
        let lab = self.stage.lab();
        match step {
            Step::Pull | Step::Cut => {
                self.unplugged.push(name.to_owned());
                if step == Step::Pull { lab.pull(name, LAN) } else { lab.cut(name, LAN) }
            }
            Step::Plug => lab.plug(name, LAN),
            Step::Kill => lab.machine_mut(name)?.kill(),
            Step::Start => self.stage.start(name),
            Step::Stop => {
                self.stopped.push(name.to_owned());
                lab.machine_mut(name)?.signal(Signal::SIGSTOP)
            }
            Step::Continue => lab.machine_mut(name)?.signal(Signal::SIGCONT),
            Step::HandOver => lab.machine_mut(name)?.signal(Signal::SIGTERM),
            Step::Wipe => lab.machine_mut(name)?.wipe(IpAddr::V4(ADDRESS)).map(drop),
            Step::Rival => lab.machine_mut(name)?.seize(LAN, IpAddr::V4(ADDRESS), 24),
            Step::Load => {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                self.busy = Some(lab.machine(name)?.load(threads, RIVALRY)?);
                Ok(())
            }
        }
    }
}

/// Writes the configuration and the keys of the pair.
fn program(folder: &Path, daemon: &Path) -> Result<Program, LabError> {
    let (keys, config) = (folder.join("keys"), folder.join("systole.toml"));
    let write = || {
        keys::write_new(&keys)?;
        fs::write(&config, configuration(&keys))
    };
    let done: io::Result<()> = write();
    done.map_err(LabError::machine(format!("write to {}", folder.display())))?;
    Ok(Program { path: PathBuf::from(daemon), config, before: Vec::new(), plays_agents: true })
}

/// The configuration of the pair: the client is who it pings.
fn configuration(keys: &Path) -> String {
    let keys = keys.display();
    format!(
        "haresources = \"lb0 {ADDRESS}/24/eth0\"\n\n\
         [cluster]\nname = \"demo\"\nkeys = \"{keys}\"\n\n\
         [timing]\nkeepalive = \"{KEEPALIVE}\"\ndeadtime = \"{DEADTIME}\"\ninitdead = \"2s\"\n\n\
         [node.lb0]\n[node.lb1]\n\n\
         [link.lan]\ninterface = \"eth0\"\nunicast = {{ lb0 = \"10.77.0.10\", lb1 = \"10.77.0.11\" }}\n\n\
         [link.cross]\ninterface = \"eth1\"\nunicast = {{ lb0 = \"10.78.0.10\", lb1 = \"10.78.0.11\" }}\n\n\
         [tiebreak]\nping = [\"10.77.0.1\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_configuration_of_the_pair_is_one_without_mistakes() {
        let text = configuration(Path::new("/tmp/keys"));
        let loaded = config::parse_toml("systole.toml", &text).unwrap_or_else(|report| panic!("{report}"));
        let addresses = loaded.config.addresses();
        assert_eq!(addresses.len(), 1);
        assert_eq!(addresses[0].address.address, IpAddr::V4(ADDRESS));
        let names: Vec<_> = loaded.config.nodes.values().map(|node| node.name.as_str()).collect();
        assert!(DIRECTORS.iter().all(|name| names.contains(name)), "{names:?}");
        println!("{}", loaded.warnings);
    }
}
