//! A cluster on the lab's networks with a client that watches addresses: what it sees, as it sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::daemon::Program;
use super::ears::{Ears, Heard};
use super::network::{Lab, Machine};
use super::outage::{Outcome, doubles};
use super::plan::Plan;
use super::probe::{Answer, Probe};
use super::space::Work;
use super::{LabError, clock, fetch};
use crate::net::route::Mac;
use crate::time::Span;

/// A shorter time without an answer is not told: an ordinary machine is late by this much now and then.
const NOTEWORTHY: Span = Span::millis(20);
/// A page that takes longer is none.
const PAGE: Duration = Duration::from_secs(1);
/// So much is kept of what was seen before something happens.
const KEPT: usize = 100_000;
/// So many lines of each daemon are shown when the cluster does not work.
const LINES: usize = 12;

/// Something that the client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another machine than before answers, or the same again, after a time without answers.
    Answers {
        /// Which.
        machine: Arc<str>,
        /// So long there was no answer.
        silence: Span,
    },
    /// Somebody announces the address.
    Announces {
        /// Who.
        machine: String,
    },
    /// More than one machine answers one question.
    Double {
        /// Which.
        machines: Vec<String>,
    },
}

/// A cluster, and the client that watches it.
#[derive(Debug)]
pub struct Stage {
    first: Watched,
    others: Vec<Watched>,
    names: BTreeMap<Mac, String>,
    directors: Vec<String>,
    client: String,
    program: Program,
    _work: Vec<Work<()>>,
    lab: Lab,
}

/// An address that the client asks, and what came of it.
#[derive(Debug)]
struct Watched {
    address: IpAddr,
    probe: Probe,
    ears: Ears,
    answers: Vec<Answer>,
    heard: Vec<Heard>,
    is_double: bool,
}

impl Stage {
    /// Builds what is planned, with a web server on each director, and a client that watches the address from the same
    /// network. No daemon runs yet.
    pub fn new(
        plan: &Plan,
        names: (&[&str], &str),
        watched: (&str, IpAddr),
        program: impl FnOnce(&Lab) -> Result<Program, LabError>,
    ) -> Result<Self, LabError> {
        Self::watching(plan, names, (watched, &[]), program)
    }

    /// The same with more addresses, each with its network. Each costs the client five questions a millisecond.
    pub fn watching(
        plan: &Plan,
        (directors, client): (&[&str], &str),
        ((network, address), others): ((&str, IpAddr), &[(&str, IpAddr)]),
        program: impl FnOnce(&Lab) -> Result<Program, LabError>,
    ) -> Result<Self, LabError> {
        let mut lab = Lab::build(plan)?;
        let (mut work, mut names) = (Vec::new(), BTreeMap::new());
        for name in directors {
            let machine = lab.machine(name)?;
            work.extend([machine.answer()?, machine.serve()?]);
        }
        for planned in &plan.machines {
            for port in &planned.ports {
                names.insert(lab.machine(&planned.name)?.mac(&port.network)?, planned.name.clone());
            }
        }
        let watcher = lab.machine_mut(client)?;
        let first = Watched::new(watcher, network, address)?;
        let mut watch = |(network, address): &(&str, IpAddr)| Watched::new(watcher, network, *address);
        Ok(Self {
            others: others.iter().map(&mut watch).collect::<Result<_, _>>()?,
            first,
            program: program(&lab)?,
            directors: directors.iter().map(|name| (*name).to_owned()).collect(),
            client: client.to_owned(),
            _work: work,
            names,
            lab,
        })
    }

    /// The lab: for what happens to cables and machines.
    pub fn lab(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// The machines that have daemons.
    pub fn directors(&self) -> &[String] {
        &self.directors
    }

    /// The address that is watched, the first if there are more.
    pub fn address(&self) -> IpAddr {
        self.first.address
    }

    /// Starts a director's daemon.
    pub fn start(&mut self, director: &str) -> Result<(), LabError> {
        self.lab.start(director, &self.program)
    }

    /// Whether any daemon runs.
    pub fn any_runs(&mut self) -> bool {
        let lab = &mut self.lab;
        self.directors.iter().any(|name| lab.machine_mut(name).is_ok_and(|machine| machine.is_running()))
    }

    /// What the client has seen since it was last asked.
    pub fn look(&mut self) -> Vec<Seen> {
        self.look_at_all().into_iter().map(|(_, _, seen)| seen).collect()
    }

    /// The same with the time of each, by the lab's clock, and the address that it is about.
    pub fn look_at_all(&mut self) -> Vec<(Span, IpAddr, Seen)> {
        let (names, mut seen) = (&self.names, Vec::new());
        for watched in std::iter::once(&mut self.first).chain(&mut self.others) {
            let address = watched.address;
            seen.extend(watched.look(names).into_iter().map(|(at, seen)| (at, address, seen)));
        }
        seen.sort_by_key(|(at, ..)| *at);
        seen
    }

    /// Who answered last.
    pub fn holder(&self) -> Option<Arc<str>> {
        self.first.last().map(|answer| Arc::clone(&answer.from))
    }

    /// Who answered last at this address, and when.
    pub fn last_answer(&self, address: IpAddr) -> Option<&Answer> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|watched| watched.address == address).and_then(Watched::last)
    }

    /// The director that does not hold the address.
    pub fn standby(&self) -> Option<&String> {
        let holder = self.holder();
        self.directors.iter().find(|name| holder.as_deref() != Some(name.as_str()))
    }

    /// Something happens now: what was seen before it is forgotten, except for who held the address.
    pub fn begin(&mut self) -> Span {
        std::iter::once(&mut self.first).chain(&mut self.others).for_each(Watched::forget);
        clock::now()
    }

    /// What the client noticed of what happened at this time, up to now.
    pub fn outcome(&self, fault: Span) -> Outcome {
        Outcome::of(fault, clock::now(), &self.first.answers, &self.first.heard)
    }

    /// Fetches the page: who served it, and how long that took. `None`: nobody did.
    pub fn page(&self) -> Option<(String, Span)> {
        let address = self.first.address;
        let client = self.lab.machine(&self.client).ok()?;
        client.space().run(move || fetch(address, PAGE)).ok()
    }

    /// The last that a director's daemons said, a line each.
    pub fn last_words(&self, director: &str) -> Vec<String> {
        let log = self.lab.log(director);
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        lines.into_iter().skip(from).map(str::to_owned).collect()
    }

    /// What is wrong, with the last that the daemons said.
    pub fn failed(&self, what: impl Into<String>) -> LabError {
        let last = |name: &String| {
            let words = self.last_words(name).into_iter();
            words.map(|line| format!("  {name}: {line}")).collect::<Vec<_>>()
        };
        let log = self.directors.iter().flat_map(last).collect::<Vec<_>>().join("\n");
        LabError::Cluster { what: what.into(), log }
    }

    /// The machine with this Ethernet address.
    pub fn name(&self, mac: Mac) -> String {
        name(&self.names, mac)
    }
}

impl Watched {
    fn new(client: &mut Machine, network: &str, address: IpAddr) -> Result<Self, LabError> {
        let (ears, probe) = (client.listen(network, address)?, client.probe(address)?);
        Ok(Self { address, probe, ears, answers: Vec::new(), heard: Vec::new(), is_double: false })
    }

    fn look(&mut self, names: &BTreeMap<Mac, String>) -> Vec<(Span, Seen)> {
        let (answers, heard) = (self.probe.take(), self.ears.take());
        let mut seen = Vec::new();
        let mut last = self.answers.last().cloned();
        for answer in &answers {
            let is_new = last.as_ref().is_none_or(|last| last.from != answer.from);
            let silence = last.as_ref().map_or(Span::ZERO, |last| answer.at - last.at);
            if is_new || silence >= NOTEWORTHY {
                seen.push((answer.at, Seen::Answers { machine: Arc::clone(&answer.from), silence }));
            }
            last = Some(answer.clone());
        }
        let announced = heard.iter().filter(|heard| heard.announced);
        seen.extend(announced.map(|heard| (heard.at, Seen::Announces { machine: name(names, heard.mac) })));
        let both = doubles(&heard);
        if let Some((at, macs)) = both.first().filter(|_| !self.is_double) {
            let machines = macs.iter().map(|mac| name(names, *mac)).collect();
            seen.push((*at, Seen::Double { machines }));
        }
        if !heard.is_empty() {
            self.is_double = !both.is_empty();
        }
        self.answers.extend(answers);
        self.heard.extend(heard);
        if self.answers.len() > KEPT {
            self.forget();
        }
        seen.sort_by_key(|(at, _)| *at);
        seen
    }

    fn last(&self) -> Option<&Answer> {
        self.answers.last()
    }

    fn forget(&mut self) {
        let answers = self.answers.len().saturating_sub(1);
        self.answers.drain(..answers);
        let heard = self.heard.len().saturating_sub(1);
        self.heard.drain(..heard);
    }
}

fn name(names: &BTreeMap<Mac, String>, mac: Mac) -> String {
    names.get(&mac).cloned().unwrap_or_else(|| mac.to_string())
}
