//! The process that runs agents. It stands outside of the daemon's sandbox, has no say in anything, and outlives the
//! daemon: what it has begun it brings to an end, and a daemon that comes back asks again.
//!
//! One errand a line, as JSON, and one word a line for an answer. Of one resource never two errands are carried out at once,
//! whoever sent them, and whatever became of the supervisor that carried out the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::sleep;

use crate::cluster::{Action, Outcome, Ticket};
use crate::config::{Fence, Resource, Respawn};
use crate::programs::mark;
use crate::time::Span;
use crate::types::NodeId;

use super::call::{Answer, Asked, Call, Given, NOT_INSTALLED};
use super::conform::describe;
use super::fence::switch_off;
use super::find::{Agent, Class, find};
use super::keep::Keeper;
use super::metadata::MetaData;
use super::stand_ins;

/// Where it is asked, in the run directory.
pub const SOCKET_NAME: &str = "agents.sock";
const NEW_NAME: &str = "agents.sock.new";
const LOCK_NAME: &str = "agents.lock";
/// What is under way is noted there.
const MARKS: &str = "agents";
/// What stands in for programs that agents call.
const STAND_INS: &str = "agents.bin";
/// How often it is looked whether it is needed.
const LOOK: Duration = Duration::from_secs(1);
/// An error of the machine passes, or does not; it is not tried again at once.
const LATER: Duration = Duration::from_millis(100);

/// A daemon that has gone comes back and asks again within this time, or the programs that it kept running are ended.
const COMES_BACK: Duration = Duration::from_secs(5);

/// So many lines of agents wait for a daemon that does not read them; more are not told.
const WAITING: usize = 256;

/// A lab has nothing to switch machines off with, and must not say that it has.
const NO_POWER: &str = "a lab has no power to switch off; systole fence-ack says that a node is off";

/// Of what an agent prints for one action no more than so many lines are told: a journal is not endless.
const LINES: usize = 200;

/// What shall be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Errand {
    /// An agent is asked for a resource.
    Agent {
        /// Comes back with the answer.
        ticket: Ticket,
        /// The resource, by a name that is unique on this machine.
        instance: String,
        /// What to ask.
        action: Action,
        /// Which agent, and what it is given.
        resource: Arc<Resource>,
    },
    /// A node is switched off.
    Fence {
        /// Comes back with the answer.
        generation: u64,
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
        /// What can do that, in the order in which it is tried.
        devices: Vec<Fence>,
    },
    /// These programs run from now on, and no others, for as long as there is a daemon. Nothing is answered.
    Keep {
        /// Which.
        programs: Vec<Respawn>,
    },
}

impl Errand {
    /// The number that tells it from others about the same.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Agent { ticket, .. } => ticket.generation,
            Self::Fence { generation, .. } => *generation,
            Self::Keep { .. } => 0,
        }
    }

    /// What it is about: of two with the same the later waits for the earlier.
    pub fn about(&self) -> String {
        match self {
            Self::Agent { instance, .. } => instance.clone(),
            // The name of no resource.
            Self::Fence { name, .. } => format!("fence:{name}"),
            Self::Keep { .. } => "respawn:".to_owned(),
        }
    }
}

/// What is told of errands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// A program printed this.
    Line {
        /// For this errand.
        about: String,
        /// A line.
        line: String,
    },
    /// An agent is done.
    Done {
        /// With this errand.
        about: String,
        /// This one.
        ticket: Ticket,
        /// What came of it.
        outcome: Outcome,
        /// In words, where it is no plain success.
        why: Option<String>,
    },
    /// A fence agent is done.
    Fenced {
        /// With this errand.
        about: String,
        /// This one.
        generation: u64,
        /// Which was to be switched off.
        node: NodeId,
        /// Why it is not off; nothing if it is, for sure.
        why: Option<String>,
    },
    /// Of a program that is kept running.
    Kept {
        /// Which.
        name: String,
        /// Why it does not run, or has not for long.
        trouble: Option<String>,
    },
}

/// The right to run agents: there is one for each run directory.
#[derive(Debug)]
pub struct Supervisor {
    listener: UnixListener,
    marks: PathBuf,
    stand_ins: PathBuf,
    /// Keeps a second one away.
    _lock: Flock<File>,
}

/// Ends what an earlier one left under way, and listens in the run directory. `None`: another one serves there.
pub async fn listen(run_dir: &Path) -> io::Result<Option<Supervisor>> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(run_dir.join(LOCK_NAME))?;
    let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let marks = run_dir.join(MARKS);
    fs::create_dir_all(&marks)?;
    mark::end_all(&marks).await;
    let stand_ins = run_dir.join(STAND_INS);
    stand_ins::place(&stand_ins)?;
    let (new, path) = (run_dir.join(NEW_NAME), run_dir.join(SOCKET_NAME));
    // Whatever is there is ours: only the holder of the lock writes it.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    // Whoever may write to it is root here.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, &path)?;
    Ok(Some(Supervisor { listener, marks, stand_ins, _lock: lock }))
}

/// Serves whoever connects, until nobody has needed it for so long. Where it plays, no agent is run, and what it would do is
/// taken for done.
pub async fn serve(supervisor: Supervisor, idle: Duration, plays: bool) -> io::Result<()> {
    let Supervisor { listener, marks, stand_ins, _lock } = supervisor;
    let shop = Arc::new(Shop {
        marks,
        stand_ins,
        played: plays.then(Mutex::default),
        closing: AtomicBool::new(false),
        under_way: Arc::default(),
        keeper: Keeper::default(),
        turns: Mutex::default(),
        described: Mutex::default(),
        tried: Mutex::default(),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(attend(stream, Arc::clone(&shop)))),
                Err(_) => sleep(LATER).await,
            },
            () = unneeded(&shop, idle) => return Ok(()),
            _ = terminate.recv() => break,
        }
    }
    // What is under way is brought to its end; what waits is asked of the next one.
    shop.closing.store(true, Ordering::Relaxed);
    shop.keeper.keep(Vec::new(), None, &shop.marks, &shop.under_way);
    while Arc::strong_count(&shop.under_way) > 1 {
        sleep(LATER).await;
    }
    Ok(())
}

/// Until nobody has had a hand on it for so long: each guest and each errand has one. Nobody comes any more where its place
/// is gone, as that of a lab is.
async fn unneeded(shop: &Arc<Shop>, idle: Duration) {
    let (mut spare, mut alone) = (Duration::ZERO, Duration::ZERO);
    while spare < idle {
        sleep(LOOK).await;
        alone = if shop.keeper.is_orphan() { alone + LOOK } else { Duration::ZERO };
        if alone == COMES_BACK {
            shop.keeper.keep(Vec::new(), None, &shop.marks, &shop.under_way);
        }
        let is_spare = Arc::strong_count(shop) == 1 && Arc::strong_count(&shop.under_way) == 1;
        spare = if is_spare { spare + LOOK } else { Duration::ZERO };
        if is_spare && !shop.marks.exists() {
            return;
        }
    }
}

/// One daemon, until it goes. What it asked for and is under way goes on; what waits for its turn is forgotten.
async fn attend(stream: UnixStream, shop: Arc<Shop>) {
    let (read, mut write) = stream.into_split();
    let (tell, mut told) = mpsc::channel::<Word>(WAITING);
    let writes = async move {
        while let Some(word) = told.recv().await {
            let mut line = serde_json::to_string(&word).unwrap_or_default();
            line.push('\n');
            if write.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writes => {}
        () = take_errands(read, tell, shop) => {}
    }
}

async fn take_errands(read: OwnedReadHalf, tell: Sender<Word>, shop: Arc<Shop>) {
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Whoever speaks otherwise is of another version, and is left.
        let Ok(errand) = serde_json::from_str::<Errand>(&line) else { return };
        if let Errand::Keep { programs } = errand {
            shop.keep(programs, &tell);
            continue;
        }
        let (shop, tell) = (Arc::clone(&shop), tell.clone());
        let under_way = Arc::clone(&shop.under_way);
        tokio::spawn(async move {
            shop.carry_out(errand, &tell).await;
            drop(under_way);
        });
    }
}

/// A resource's turn: whoever holds it runs an agent for it.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// What an agent says of itself, if it does, and when its file was last changed.
type Described = (Option<SystemTime>, MetaData);

/// What became of the start of a resource, since it was stopped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// It could not even be begun.
    InVain,
    /// It runs, or may.
    Runs,
}

struct Shop {
    marks: PathBuf,
    stand_ins: PathBuf,
    /// What runs, where nothing is really run.
    played: Option<Mutex<BTreeSet<String>>>,
    /// Nothing is begun any more.
    closing: AtomicBool,
    /// Each errand has a hand on it, and each program that is kept running.
    under_way: Arc<()>,
    keeper: Keeper,
    turns: Mutex<BTreeMap<String, Turn>>,
    described: Mutex<BTreeMap<PathBuf, Described>>,
    tried: Mutex<BTreeMap<String, Tried>>,
}

impl Shop {
    fn keep(&self, programs: Vec<Respawn>, tell: &Sender<Word>) {
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        if self.played.is_some() {
            for Respawn { name, .. } in programs {
                let line = "it would be kept running".to_owned();
                let _ = tell.try_send(Word::Line { about: format!("respawn:{name}"), line });
            }
            return;
        }
        self.keeper.keep(programs, Some(tell.clone()), &self.marks, &self.under_way);
    }

    async fn carry_out(&self, errand: Errand, tell: &Sender<Word>) {
        let about = errand.about();
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(about.clone()).or_default())
        };
        let held = match &errand {
            Errand::Agent { .. } | Errand::Keep { .. } => turn.lock().await,
            // Whoever must wait for that asks again, if he still needs it: an old order must not reach a healthy node.
            Errand::Fence { .. } => match turn.try_lock() {
                Ok(held) => held,
                Err(_) => return answer_at_once(errand, "it is being switched off already", tell).await,
            },
        };
        if tell.is_closed() || self.closing.load(Ordering::Relaxed) {
            return;
        }
        if mark::runs(&self.marks.join(&about)) {
            let why = "an earlier action of it cannot be killed: it waits in the kernel, such as for a disk";
            return answer_at_once(errand, why, tell).await;
        }
        let mut lines = 0;
        let mut say = |line| {
            lines += 1;
            if lines <= LINES {
                // A daemon that does not read has other worries.
                let _ = tell.try_send(Word::Line { about: about.clone(), line });
            }
        };
        let word = match errand {
            Errand::Agent { ticket, instance, action, resource } => {
                if let Some(delay) = resource.start_delay.filter(|_| action == Action::Start) {
                    tokio::select! {
                        () = sleep(Duration::from_micros(delay.as_micros())) => {}
                        // Whoever wanted that has gone.
                        () = tell.closed() => return,
                    }
                }
                let answer = match &self.played {
                    Some(played) => play(played, &instance, action),
                    None => match self.call(&instance, action, &resource).await {
                        Ok(call) => call.carry_out(&mut say).await,
                        Err(why) => Answer::not_run(NOT_INSTALLED, why),
                    },
                };
                let Answer { outcome, why, .. } = self.weigh(&instance, action, answer);
                Word::Done { about: instance, ticket, outcome, why }
            }
            Errand::Fence { generation, node, name, devices } => {
                let done = match self.played {
                    Some(_) => Err(NO_POWER.to_owned()),
                    None => switch_off(&devices, &name, &self.marks.join(&about), &mut say).await,
                };
                Word::Fenced { about: about.clone(), generation, node, why: done.err() }
            }
            // It is no errand with an end.
            Errand::Keep { .. } => return,
        };
        drop(held);
        if lines > LINES {
            let line = format!("and {} lines more, which are not kept", lines - LINES);
            let _ = tell.try_send(Word::Line { about, line });
        }
        let _ = tell.send(word).await;
    }

    /// A look for what is not installed finds nothing. And what could not even be started need not be stopped: else a node
    /// that lacks an agent would say of itself that it may run what it never ran.
    fn weigh(&self, instance: &str, action: Action, answer: Answer) -> Answer {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let could_not = answer.is_missing || !answer.ran;
        let outcome = match action {
            Action::Probe if answer.is_missing => Outcome::NotRunning,
            Action::Stop if could_not && tried.get(instance) == Some(&Tried::InVain) => Outcome::Done,
            Action::Probe | Action::Monitor | Action::Start if answer.outcome == Outcome::Done => {
                tried.insert(instance.to_owned(), Tried::Runs);
                answer.outcome
            }
            Action::Start if could_not => {
                tried.entry(instance.to_owned()).or_insert(Tried::InVain);
                answer.outcome
            }
            // It may run, or half of it.
            Action::Start => {
                tried.insert(instance.to_owned(), Tried::Runs);
                answer.outcome
            }
            Action::Stop if answer.outcome == Outcome::Done => {
                tried.remove(instance);
                answer.outcome
            }
            Action::Probe | Action::Monitor | Action::Stop => answer.outcome,
        };
        Answer { outcome, ..answer }
    }

    async fn call(&self, instance: &str, action: Action, resource: &Resource) -> Result<Call, String> {
        let agent = find(&resource.agent, Path::new("/"))?.agent;
        let given = Given { args: resource.args.clone(), params: resource.params.clone() };
        let (asked, limit) = match action {
            Action::Probe => (Asked::Monitor(None), resource.monitor.and_then(|monitor| monitor.timeout)),
            Action::Monitor => {
                let every = resource.monitor.map(|monitor| monitor.every);
                (Asked::Monitor(every), resource.monitor.and_then(|monitor| monitor.timeout))
            }
            Action::Start => (Asked::Start, resource.start_timeout),
            Action::Stop => (Asked::Stop, resource.stop_timeout),
        };
        let limit = match limit {
            Some(limit) => Some(limit),
            None => self.advice(&agent, asked).await,
        };
        let mut call = Call::new(&agent, asked, &given, instance, limit)?;
        call.mark = Some(self.marks.join(instance));
        call.with_stand_ins(&self.stand_ins);
        Ok(call)
    }

    /// How long the agent itself says that it takes, asked once for each version of it.
    async fn advice(&self, agent: &Agent, asked: Asked<'_>) -> Option<Span> {
        if !matches!(agent.class, Class::Ocf { .. }) {
            return None;
        }
        let changed = std::fs::metadata(&agent.path).and_then(|meta| meta.modified()).ok();
        let known = {
            let described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
            described.get(&agent.path).filter(|(of, _)| *of == changed).map(|(_, data)| data.clone())
        };
        let data = match known {
            Some(data) => data,
            None => {
                let data = describe(agent).await.ok()?;
                let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
                described.insert(agent.path.clone(), (changed, data.clone()));
                data
            }
        };
        data.timeout(asked.name())
    }
}

/// Nothing is done, for this reason.
async fn answer_at_once(errand: Errand, why: &str, tell: &Sender<Word>) {
    let (about, why) = (errand.about(), Some(why.to_owned()));
    let word = match errand {
        Errand::Agent { ticket, .. } => Word::Done { about, ticket, outcome: Outcome::TimedOut, why },
        Errand::Fence { generation, node, .. } => Word::Fenced { about, generation, node, why },
        Errand::Keep { .. } => return,
    };
    let _ = tell.send(word).await;
}

/// What an agent without a fault would answer.
fn play(played: &Mutex<BTreeSet<String>>, instance: &str, action: Action) -> Answer {
    let mut runs = played.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match action {
        Action::Start => {
            runs.insert(instance.to_owned());
            Outcome::Done
        }
        Action::Stop => {
            runs.remove(instance);
            Outcome::Done
        }
        Action::Probe | Action::Monitor if runs.contains(instance) => Outcome::Done,
        Action::Probe | Action::Monitor => Outcome::NotRunning,
    };
    Answer { outcome, why: None, ran: true, is_missing: false }
}
