//! HAProxy as a balancer: its servers are steered over its runtime socket, its `haproxy.cfg` stays its owner's.
//!
//! A service has a backend. A server that is wanted is made ready, with its address and weight; one with weight 0
//! drains; one that is ours and not wanted goes into maintenance. A server that `haproxy.cfg` does not have is added, and
//! deleted when it is not wanted any more and its last connection has ended: as long as it has one, that is tried again at
//! each settling.
//! HAProxy's own checks are its own: whom it finds down gets nothing from it, whatever is wanted here.
//!
//! It must never write a file, restart HAProxy, cut a connection, or touch a server that it neither knows nor added.
//!
//! Behaviour: HAProxy's management guide, of 2.6 (Debian 12) and 3.0 (Debian 13).

mod state;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};

use crate::config::Balancer;
use crate::director::balancer::{Balance, BalancerError};
use crate::director::table::{Table, Tables};

use state::{Judged, Present, Share, Step, diff, judge, life, make, name_fault, parse, share};
use talk::{Fault, talk};

/// So many commands in one conversation: it is bounded in time, and they take HAProxy a tenth of that.
const COMMANDS: usize = 1_000;

/// Of what could not be done, and of what somebody has changed, so much is told of one backend.
const TOLD: usize = 10;

/// All the HAProxys of this node; whoever wants that none waits for another has one of these for each socket.
pub struct Haproxy {
    runtime: Runtime,
    /// What is known of each backend that is ours.
    known: BTreeMap<Place, Known>,
    /// The life of the HAProxy behind each socket.
    lives: BTreeMap<PathBuf, String>,
    /// What was mended when there was nobody to tell.
    unsaid: Vec<String>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    socket: PathBuf,
    backend: String,
}

/// What is known of a backend.
#[derive(Clone, Debug)]
struct Known {
    servers: BTreeMap<String, Present>,
    /// Nothing has gone wrong since: it is so unless somebody else has changed it.
    is_sure: bool,
    /// Servers of somebody else's, of which has been told.
    foreign: BTreeSet<String>,
}

/// What there is to do at one backend.
struct Job {
    place: Place,
    /// `None`: it is no service's any more, and what was added there is taken back.
    service: Option<String>,
    share: Share,
    servers: BTreeMap<String, Present>,
    foreign: BTreeSet<String>,
    steps: Vec<Step>,
}

/// What has gone well and what has not.
#[derive(Default)]
struct Report {
    told: Vec<String>,
    faults: Vec<String>,
}

impl Haproxy {
    /// Nothing is known yet.
    pub fn new() -> Result<Self, BalancerError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BalancerError(format!("nothing can be said to HAProxy: {error}")))?;
        Ok(Self { runtime, known: BTreeMap::new(), lives: BTreeMap::new(), unsaid: Vec::new() })
    }

    /// Reads what is there behind one socket, and makes it what is wanted.
    fn settle_all(&mut self, socket: &Path, jobs: Vec<Job>, report: &mut Report) {
        let questions = jobs.iter().map(|job| format!("show servers state {}", job.place.backend));
        let questions: Vec<String> = std::iter::once("show info".to_owned()).chain(questions).collect();
        let mut answers = match self.runtime.block_on(talk(socket, &questions)) {
            Ok(answers) => answers.into_iter(),
            Err(fault) => return self.unheard(&jobs, &fault, report),
        };
        let now = life(&answers.next().unwrap_or_default());
        let before = self.lives.insert(socket.to_owned(), now.clone());
        let is_new = before.is_some_and(|before| before != now);
        let mut ready = Vec::new();
        for (mut job, answer) in jobs.into_iter().zip(answers) {
            match parse(&answer) {
                Ok(servers) => {
                    job.steps = diff(&servers, &job.share);
                    job.servers = servers;
                    self.compare(&mut job, is_new, report);
                    ready.push(job);
                }
                // Where the backend is gone, so is what was added there.
                Err(_) if job.service.is_none() => {
                    self.known.remove(&job.place);
                }
                Err(why) => report.faults.push(format!("{}: {why}", job.title())),
            }
        }
        self.carry_out(socket, ready, report);
    }

    /// Tells what differs although it had been made so, and which servers are left alone.
    fn compare(&self, job: &mut Job, is_new: bool, report: &mut Report) {
        let known = self.known.get(&job.place);
        let foreign = job.servers.iter().filter(|(name, there)| !job.share.has(name, there));
        job.foreign = foreign.map(|(name, _)| name.clone()).collect();
        if job.service.is_none() {
            return;
        }
        let told = known.map(|known| &known.foreign);
        let unknown = |name: &&String| !told.is_some_and(|told| told.contains(*name));
        let strangers: Vec<&str> = job.foreign.iter().filter(unknown).map(String::as_str).collect();
        if !strangers.is_empty() {
            report.told.push(format!(
                "{}: left alone, because the service knows nothing of it: {}",
                job.title(),
                some(&strangers)
            ));
        }
        let Some(known) = known else { return };
        let due = diff(&known.servers, &job.share);
        let mended: Vec<&Step> = job.steps.iter().filter(|step| !due.contains(step)).collect();
        if is_new && !mended.is_empty() {
            let servers: BTreeSet<&str> = mended.iter().map(|step| step.server()).collect();
            let (title, count) = (job.title(), servers.len());
            report.told.push(format!(
                "{title}: HAProxy was started anew and had forgotten what was set; {count} of its servers {} set again",
                if count == 1 { "is" } else { "are" }
            ));
            return;
        }
        for step in mended.iter().take(TOLD) {
            report.told.push(format!("{}: {}", job.title(), mending(step, &job.servers)));
        }
        if let Some(more) = mended.len().checked_sub(TOLD).filter(|more| *more > 0) {
            report
                .told
                .push(format!("{}: and {more} more were changed by somebody, and are mended", job.title()));
        }
    }

    /// Nothing could be read.
    fn unheard(&mut self, jobs: &[Job], fault: &Fault, report: &mut Report) {
        for job in jobs {
            if let Some(known) = self.known.get_mut(&job.place) {
                known.is_sure = false;
            }
            // What is not there has nothing that could be taken back.
            if let (None, Fault::Absent(_)) = (&job.service, fault) {
                self.known.remove(&job.place);
            }
        }
        let services: Vec<&str> = jobs.iter().filter_map(|job| job.service.as_deref()).collect();
        match (services.as_slice(), fault) {
            ([], Fault::Absent(_)) => {}
            ([], Fault::Broken(why)) => report.faults.push(why.clone()),
            (services, fault) => {
                let whose = if services.len() == 1 { "service" } else { "services" };
                report.faults.push(format!("{whose} {}: {}", services.join(", "), fault.why()));
            }
        }
    }

    /// Some of it may have been made. What was known before is the measure of what somebody else has changed; where nothing
    /// was, it is at least remembered that there is something of ours.
    fn unfinished(&mut self, jobs: Vec<Job>, fault: &Fault, report: &mut Report) {
        self.unheard(&jobs, fault, report);
        for job in jobs.into_iter().filter(|job| job.service.is_some()) {
            let known = Known { servers: job.servers, is_sure: false, foreign: job.foreign };
            self.known.entry(job.place).or_insert(known);
        }
    }

    /// Makes the steps of jobs behind one socket.
    fn carry_out(&mut self, socket: &Path, mut jobs: Vec<Job>, report: &mut Report) {
        let work: Vec<(usize, Step)> = jobs
            .iter_mut()
            .enumerate()
            .flat_map(|(index, job)| {
                std::mem::take(&mut job.steps).into_iter().map(move |step| (index, step))
            })
            .collect();
        let mut refused: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        // Who could not be added cannot be made ready either: of each server the first refusal is the one that tells.
        let mut failed: BTreeSet<(usize, &str)> = BTreeSet::new();
        for some in work.chunks(COMMANDS) {
            let commands: Vec<String> =
                some.iter().map(|(index, step)| step.command(&jobs[*index].place.backend)).collect();
            let answers = match self.runtime.block_on(talk(socket, &commands)) {
                Ok(answers) => answers,
                Err(fault) => return self.unfinished(jobs, &fault, report),
            };
            for (((index, step), command), answer) in some.iter().zip(&commands).zip(&answers) {
                match judge(step, answer) {
                    Judged::Done => make(&mut jobs[*index].servers, step),
                    Judged::Later => {}
                    Judged::Failed if failed.insert((*index, step.server())) => {
                        let why =
                            format!("`{command}` was answered \"{}\"{}", talk::cut(answer), advice(answer));
                        refused.entry(*index).or_default().push(why);
                    }
                    Judged::Failed => {}
                }
            }
        }
        for (index, job) in jobs.into_iter().enumerate() {
            let why = refused.remove(&index).unwrap_or_default();
            let whys: Vec<&str> = why.iter().map(String::as_str).collect();
            if !whys.is_empty() {
                report.faults.push(format!("{}: {}", job.title(), some(&whys)));
            }
            let over = job.service.is_none() && !job.servers.values().any(|server| server.added);
            if over {
                self.known.remove(&job.place);
            } else {
                let known = Known { servers: job.servers, is_sure: true, foreign: job.foreign };
                self.known.insert(job.place, known);
            }
        }
    }
}

impl Balance for Haproxy {
    fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError> {
        let mut report = Report { told: std::mem::take(&mut self.unsaid), faults: Vec::new() };
        let mut jobs: BTreeMap<Place, Job> = BTreeMap::new();
        for (name, table) in wanted {
            match job(name, table) {
                None => {}
                Some(Err(why)) => report.faults.push(why),
                Some(Ok(job)) => match jobs.get(&job.place).and_then(|other| other.service.clone()) {
                    Some(other) => report.faults.push(format!(
                        "{}: service {other} has the same: give each of them a backend of its own",
                        job.title()
                    )),
                    None => {
                        jobs.insert(job.place.clone(), job);
                    }
                },
            }
        }
        for place in self.known.keys().filter(|place| !jobs.contains_key(*place)).cloned().collect::<Vec<_>>()
        {
            let job = Job::new(place.clone(), None, Share::default());
            jobs.insert(place, job);
        }
        let mut sockets: BTreeMap<PathBuf, Vec<Job>> = BTreeMap::new();
        for (place, job) in jobs {
            sockets.entry(place.socket).or_default().push(job);
        }
        self.lives.retain(|socket, _| sockets.contains_key(socket));
        for (socket, jobs) in sockets {
            self.settle_all(&socket, jobs, &mut report);
        }
        if report.faults.is_empty() {
            return Ok(report.told);
        }
        self.unsaid = report.told;
        Err(BalancerError(report.faults.join("; ")))
    }

    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError> {
        let mut job = match job(name, wanted) {
            None => return Ok(()),
            Some(job) => job.map_err(BalancerError)?,
        };
        let mut report = Report::default();
        let socket = job.place.socket.clone();
        match self.known.get(&job.place).filter(|known| known.is_sure) {
            None => self.settle_all(&socket, vec![job], &mut report),
            Some(known) => {
                job.steps = diff(&known.servers, &job.share);
                job.servers = known.servers.clone();
                job.foreign = known.foreign.clone();
                self.carry_out(&socket, vec![job], &mut report);
            }
        }
        self.unsaid.append(&mut report.told);
        if report.faults.is_empty() { Ok(()) } else { Err(BalancerError(report.faults.join("; "))) }
    }
}

impl Job {
    fn new(place: Place, service: Option<String>, share: Share) -> Self {
        let (servers, foreign) = (BTreeMap::new(), BTreeSet::new());
        Self { place, service, share, servers, foreign, steps: Vec::new() }
    }

    fn title(&self) -> String {
        let place = format!("backend {} of {}", self.place.backend, self.place.socket.display());
        match &self.service {
            Some(service) => format!("service {service}, {place}"),
            None => place,
        }
    }
}

/// What one service wants, or why it cannot; `None`: it has another balancer.
fn job(name: &str, table: &Table) -> Option<Result<Job, String>> {
    let (socket, backend) = match &table.service.balancer {
        Balancer::Haproxy { socket, backend } => (socket, backend),
        Balancer::Ipvs | Balancer::Nftables | Balancer::Program(_) => return None,
    };
    let place = Place { socket: socket.clone(), backend: backend.clone() };
    let share = share(table);
    let fault = name_fault(backend).or_else(|| share.ours.iter().find_map(|server| name_fault(server)));
    Some(match fault {
        Some(fault) => Err(format!("service {name}: {fault}")),
        None => Ok(Job::new(place, Some(name.to_owned()), share)),
    })
}

/// What somebody has changed, and what it is again.
fn mending(step: &Step, found: &BTreeMap<String, Present>) -> String {
    let there = found.get(step.server());
    let changed = match (step, there) {
        (Step::Add { server, .. }, _) => return format!("server {server} was gone, and is added again"),
        (Step::Delete { server }, _) => {
            return format!("server {server} was there again, and is deleted");
        }
        (Step::Address { at, .. }, there) => {
            let old = there.and_then(|there| Some((there.address?, there.port)));
            let old =
                old.map_or_else(|| "none".to_owned(), |(address, port)| format!("{address} port {port}"));
            format!("address was {old}, and is {} port {} again", at.ip(), at.port())
        }
        (Step::Weight { weight, .. }, there) => {
            format!("weight was {}, and is {weight} again", there.map_or(1, |there| there.weight))
        }
        (Step::State { state, .. }, there) => {
            let old = there.map_or("maint", |there| there.state.word());
            format!("state was {old}, and is {} again", state.word())
        }
    };
    format!("somebody has changed server {}: its {changed}", step.server())
}

/// What helps against some refusals.
fn advice(answer: &str) -> &'static str {
    if answer.starts_with("Backend must use a dynamic") || answer.starts_with("Backend is using a static") {
        ": write `balance roundrobin` or `balance leastconn` into it, or `hash-type consistent` beside what it has"
    } else if answer.starts_with("Unknown command") {
        ": this takes HAProxy 2.6 or newer"
    } else {
        ""
    }
}

/// The first few, and how many more.
fn some(all: &[&str]) -> String {
    let few = all.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(TOLD).filter(|more| *more > 0) {
        Some(more) => format!("{few} and {more} more"),
        None => few,
    }
}
