//! The director's process: asks the servers, hears the daemon and the operators, and hands on what is wanted.
//!
//! One thread, on which nothing blocks. What is decided is the pool's business, and what is steered has threads of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender, UnboundedSender};
use tokio::time::sleep;

use crate::beat::{ServerOrder, Shortfall};
use crate::config::{At, Balancer, ConnectionSync, Services, limits};
use crate::time::Span;
use crate::types::{GroupId, ServersId};

use super::check::Verdict;
use super::check::perform::{Means, Prepared, Target, perform};
use super::message::{Ask, SOCKET_NAME, Word};
use super::pool::{Changes, Event, Memory, Pool, ProbeId};
use super::schedule::Schedule;
use super::steering::{Report, Steering, Which};
use super::sync::{self, Syncing};
use super::{clock, words};

const NEW_NAME: &str = "director.new";

/// What operators have ordered is kept there, in the state directory.
const MEMORY_NAME: &str = "director.json";

/// So many answers wait for whoever asked; more, and he is not reading.
const WAITING: usize = 64;

/// How long somebody who has nothing to do waits for something.
const LONG: Span = Span::seconds(3_600);

/// A line of the daemon's: every service and server, written at length.
const LINE_BYTES: usize = 16 * limits::FILE_BYTES;

/// Why the director does not run.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Failed {
    path: PathBuf,
    why: io::Error,
}

/// Runs until it is told to stop. What the balancers have stays with them.
pub async fn run(run_dir: &Path, state_dir: &Path, seed: u64) -> Result<(), Failed> {
    let path = run_dir.join(SOCKET_NAME);
    let failed = |why| Failed { path: path.clone(), why };
    let listener = listen(run_dir, &path).map_err(failed)?;
    let memory = state_dir.join(MEMORY_NAME);
    let kept = read(&memory).map_err(|why| Failed { path: memory.clone(), why })?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (asks, mut asked) = mpsc::channel(WAITING);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let (syncs, mut synced) = mpsc::unbounded_channel();
    let mut director = Director {
        steering: Steering::new(reports, kept.places().clone()),
        pool: Pool::new(kept),
        schedule: Schedule::new(seed),
        means: Means::new().map_err(failed)?,
        prepared: BTreeMap::new(),
        services: Services::new(),
        sync: None,
        syncing: Syncing::new(syncs),
        held: None,
        outlook: Vec::new(),
        troubles: BTreeMap::new(),
        daemon: None,
        answers,
        memory,
        next_tick: None,
        untold: BTreeSet::new(),
    };
    loop {
        let now = clock::now();
        director.ask_who_is_due(now);
        let next = director.schedule.next().into_iter().chain(director.next_tick).min();
        let wait = next.map_or(LONG, |next| next - now);
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(attend(stream, asks.clone()));
            },
            Some((ask, reply)) = asked.recv() => director.hear(ask, reply),
            Some(answer) = answered.recv() => {
                director.answered(answer);
                // Many come at once where many are asked.
                while let Ok(answer) = answered.try_recv() {
                    director.answered(answer);
                }
            }
            Some(report) = reported.recv() => director.reported(report),
            Some(result) = synced.recv() => director.synced(result),
            () = sleep(clock::duration(wait)) => director.tick(clock::now()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

fn listen(run_dir: &Path, path: &Path) -> io::Result<UnixListener> {
    let new = run_dir.join(NEW_NAME);
    // Whoever was here before is gone: one supervisor starts one director.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

fn read(path: &Path) -> io::Result<Memory> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::default()),
        Err(error) => Err(error),
    }
}

/// An answer of a server.
struct Answer {
    id: ProbeId,
    verdict: Verdict,
    began: Span,
}

/// A line from somebody, and where the answers go.
type Asked = (Ask, Sender<Word>);

/// Whoever connects, until he goes.
async fn attend(stream: UnixStream, asks: Sender<Asked>) {
    let (read, mut write) = stream.into_split();
    let (reply, mut words) = mpsc::channel::<Word>(WAITING);
    let writes = async move {
        while let Some(word) = words.recv().await {
            let mut line = serde_json::to_string(&word).unwrap_or_default();
            line.push('\n');
            if write.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    let reads = async move {
        let mut read = BufReader::new(tokio::io::AsyncReadExt::take(read, 0));
        loop {
            read.get_mut().set_limit(LINE_BYTES as u64);
            let mut line = String::new();
            let Ok(1..) = read.read_line(&mut line).await else { return };
            let ask = match serde_json::from_str(&line) {
                Ok(ask) => ask,
                Err(error) => {
                    let why = format!(
                        "the director does not understand this: {error}; it may be of another version"
                    );
                    let _ = reply.send(Word::Refused { why }).await;
                    return;
                }
            };
            if asks.send((ask, reply.clone())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writes => {}
        () = reads => {}
    }
}

struct Director {
    pool: Pool,
    schedule: Schedule,
    means: Means,
    prepared: BTreeMap<ProbeId, Arc<Prepared>>,
    /// As they were told last.
    services: Services,
    steering: Steering,
    sync: Option<ConnectionSync>,
    syncing: Syncing,
    /// The groups that are held on this node; `None`: no daemon has said so.
    held: Option<BTreeSet<GroupId>>,
    /// How servers look from here, as the daemon was told last.
    outlook: Vec<(GroupId, Shortfall)>,
    /// What somebody should look at, by what it is about.
    troubles: BTreeMap<String, String>,
    /// The daemon that told the services last.
    daemon: Option<Sender<Word>>,
    answers: UnboundedSender<Answer>,
    memory: PathBuf,
    next_tick: Option<Span>,
    /// Who could not be asked from here when he was due last.
    untold: BTreeSet<ProbeId>,
}

impl Director {
    fn hear(&mut self, ask: Ask, reply: Sender<Word>) {
        let now = clock::now();
        let word = match ask {
            Ask::Serve { services, sync, held, orders } => {
                for (about, why) in &self.troubles {
                    let word = Word::Trouble { about: about.clone(), why: Some(why.clone()) };
                    let _ = reply.try_send(word);
                }
                self.daemon = Some(reply);
                self.outlook = Vec::new();
                self.sync = sync;
                self.held = held.or(self.held.take());
                orders.into_iter().for_each(|orders| self.obey(orders, now));
                self.serve(services, now);
                return;
            }
            Ask::Obey { orders } => {
                self.obey(orders, now);
                return;
            }
            Ask::Hold { groups } => {
                self.held = Some(groups);
                self.take_roles();
                return;
            }
            Ask::Pool => {
                let mut view = self.pool.view(now);
                for service in &mut view.services {
                    service.trouble = self.trouble_of(&service.name);
                }
                Word::Pool(view)
            }
        };
        // Who does not wait for the answer has gone.
        let _ = reply.try_send(word);
    }

    fn trouble_of(&self, service: &str) -> Option<String> {
        let balancer = Which::of(&self.services.get(service)?.balancer);
        self.troubles.get(&balancer.word()).cloned()
    }

    fn obey(&mut self, orders: Vec<(ServersId, ServerOrder)>, now: Span) {
        let changes = self.pool.obey(orders.into_iter().collect(), now);
        self.follow(changes);
        self.next_tick = self.pool.next_tick();
    }

    fn serve(&mut self, services: Services, now: Span) {
        let before = std::mem::replace(&mut self.services, services);
        let changes = self.pool.serve(&self.services, now);
        let pool = &self.pool;
        self.schedule.set(pool.probes(), now);
        let ids: BTreeSet<ProbeId> = pool.probes().map(|(id, _)| id).collect();
        self.prepared.retain(|id, _| ids.contains(id));
        self.untold.retain(|id| ids.contains(id));
        if self.untold.is_empty() {
            self.trouble("checks".to_owned(), None);
        }
        // One that has another balancer now is taken from the old one.
        let moved = before.iter().filter_map(|(name, old)| {
            let which = Which::of(&old.balancer);
            let new = self.services.get(name).map(|service| Which::of(&service.balancer));
            (new.as_ref() != Some(&which)).then(|| (which, name.clone()))
        });
        let mut gone: BTreeMap<Which, Vec<_>> = BTreeMap::new();
        for (which, name) in moved {
            gone.entry(which).or_default().push((name, None));
        }
        for (which, wishes) in gone {
            self.steer(&which, wishes);
        }
        self.take_roles();
        self.follow(changes);
        self.next_tick = self.pool.next_tick();
        self.remember_places(|now, before| now.union(before).copied().collect());
        // What an earlier life had there is taken back, even where nobody wants anything there any more.
        let nobody = self.services.values().all(|service| service.balancer != Balancer::Ipvs);
        if nobody && before.is_empty() && !self.pool.memory().places().is_empty() {
            self.steer(&Which::Ipvs, Vec::new());
        }
    }

    /// Where the kernel's balancer may have services of ours, which a later life has to know.
    fn remember_places(&mut self, choose: impl FnOnce(&BTreeSet<At>, &BTreeSet<At>) -> BTreeSet<At>) {
        let of_kernel = self.services.values().filter(|service| service.balancer == Balancer::Ipvs);
        let now: BTreeSet<At> = of_kernel.map(|service| service.at).collect();
        let places = choose(&now, self.pool.memory().places());
        if self.pool.memory_mut().set_places(places) {
            self.remember();
        }
    }

    fn follow(&mut self, changes: Changes) {
        for event in &changes.events {
            say(&words::event(event));
            self.note_trouble(event);
        }
        let mut wishes: BTreeMap<Which, Vec<_>> = BTreeMap::new();
        for name in changes.tables {
            if let Some((service, table)) = self.pool.wish(&name) {
                wishes.entry(Which::of(&service.balancer)).or_default().push((name, table));
            }
        }
        for (which, wishes) in wishes {
            self.steer(&which, wishes);
        }
        self.look_out();
    }

    /// Tells the daemon how servers look from here, where that is news.
    fn look_out(&mut self) {
        let outlook = self.pool.shortfalls(clock::now());
        if outlook != self.outlook {
            self.outlook.clone_from(&outlook);
            self.tell(Word::Outlook { groups: outlook });
        }
    }

    /// Who holds something tells his connections, and who does not learns them. What must not stand beside the holder's
    /// is taken out, and put in.
    fn take_roles(&mut self) {
        let Some(held) = &self.held else { return };
        let daemons = sync::wanted(self.sync.as_ref(), &self.services, held);
        let changes = self.pool.withhold(held, is_own);
        self.follow(changes);
        if let Err(error) = self.syncing.want(daemons) {
            self.trouble("sync".to_owned(), Some(format!("no thread can be had for it: {error}")));
        }
    }

    fn synced(&mut self, result: sync::Synced) {
        let why = match result {
            Ok(mended) => {
                for what in mended {
                    say(&format!("somebody else has changed it, and it is mended: {what}"));
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        self.trouble("sync".to_owned(), why);
    }

    fn note_trouble(&mut self, event: &Event) {
        match event {
            Event::TooFew { service, .. } => {
                self.trouble(format!("service {service}"), Some(words::event(event)))
            }
            Event::Enough { service } => self.trouble(format!("service {service}"), None),
            Event::Down { .. } | Event::Up { .. } => {}
        }
    }

    fn steer(&mut self, which: &Which, wishes: Vec<(String, Option<super::table::Table>)>) {
        if let Err(error) = self.steering.wish(which, wishes) {
            let why = format!("{}: no thread can be had for it: {error}", which.word());
            self.trouble(which.word(), Some(why));
        }
    }

    fn trouble(&mut self, about: String, why: Option<String>) {
        let before = match &why {
            Some(why) => self.troubles.insert(about.clone(), why.clone()),
            None => self.troubles.remove(&about),
        };
        if before == why {
            return;
        }
        self.tell(Word::Trouble { about, why });
    }

    fn tell(&mut self, word: Word) {
        // Whoever does not read what he is told hears it when he connects again.
        if self.daemon.as_ref().is_some_and(|daemon| daemon.try_send(word).is_err()) {
            self.daemon = None;
        }
    }

    fn reported(&mut self, report: Report) {
        let about = report.which.word();
        match report.result {
            Ok(mended) => {
                for what in mended {
                    say(&format!("{about}: somebody else has changed it, and it is mended: {what}"));
                }
                self.trouble(about, None);
                if report.which == Which::Ipvs {
                    self.remember_places(|now, _| now.clone());
                }
            }
            Err(error) => {
                let why = format!("{about}: {error}");
                if self.troubles.get(&about) != Some(&why) {
                    say(&why);
                }
                self.trouble(about, Some(why));
            }
        }
    }

    /// Asks whoever is due.
    fn ask_who_is_due(&mut self, now: Span) {
        while let Some((id, _)) = self.schedule.take(now) {
            let Some(probe) = self.pool.probe(id) else { continue };
            let target = Target { address: probe.address, port: probe.port, variables: Vec::new() };
            let prepared = match self.prepared.get(&id) {
                Some(prepared) => Ok(Arc::clone(prepared)),
                None => Prepared::new(&probe.check, &self.means).map(Arc::new),
            };
            let answers = self.answers.clone();
            match prepared {
                Ok(prepared) => {
                    self.prepared.insert(id, Arc::clone(&prepared));
                    tokio::spawn(async move {
                        let verdict = perform(&prepared, target).await;
                        let _ = answers.send(Answer { id, verdict, began: now });
                    });
                }
                Err(why) => {
                    let _ = answers.send(Answer { id, verdict: Verdict::untold(why), began: now });
                }
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let now = clock::now();
        self.schedule.done(answer.id, now);
        self.note_untold(&answer);
        let changes = self.pool.hear(answer.id, answer.verdict, now - answer.began, now);
        self.follow(changes);
    }

    /// What cannot be checked from here is this node's trouble, and not the server's.
    fn note_untold(&mut self, answer: &Answer) {
        let why = match &answer.verdict {
            Verdict::Untold(why) => {
                let Some(probe) = self.pool.probe(answer.id) else { return };
                // The first of them stands for all.
                if !self.untold.insert(answer.id) || self.untold.len() > 1 {
                    return;
                }
                Some(format!("{}: {why}; servers stay as they were known last", probe.address))
            }
            Verdict::Well { .. } | Verdict::Bad(_) => {
                // Those that are asked no more have gone with what asked for them.
                if !self.untold.remove(&answer.id) || !self.untold.is_empty() {
                    return;
                }
                None
            }
        };
        self.trouble("checks".to_owned(), why);
    }

    fn tick(&mut self, now: Span) {
        if self.next_tick.is_some_and(|next| next <= now) {
            let changes = self.pool.tick(now);
            self.follow(changes);
            self.next_tick = self.pool.next_tick();
        }
    }

    /// Orders outlive the director. One that cannot be kept holds all the same.
    fn remember(&mut self) {
        let new = self.memory.with_extension("new");
        let write = || {
            let text = serde_json::to_string(self.pool.memory()).map_err(io::Error::other)?;
            let mut file = fs::File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.memory)
        };
        let why = write().err().map(|error| {
            format!(
                "{}: {error}; what was ordered is forgotten when the director ends",
                self.memory.display()
            )
        });
        self.trouble("memory".to_owned(), why);
    }
}

/// Whether a node has an address: then it can be sent from.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// A line for the log. What this process prints is told by the daemon.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever reads this may be gone, and nobody needs to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
