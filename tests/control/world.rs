//! Two real cores on an ideal network in virtual time, and a desk that answers from one of them. Time goes on by a
//! millisecond with every question, so whoever asks again and again sees a hand-over happen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use systole::cluster::{Action, Command, Core, Effect, Effects, Input, Outcome, Record, Start, Stored};
use systole::config::{Config, parse_toml};
use systole::control::{self, Answer, Desk, Lateness, LeaseBy, Question, Snapshot, Socket};
use systole::time::{Moment, Span};
use systole::types::{Incarnation, LinkId, NodeId};
use tokio::sync::oneshot;

/// A pair with one group.
pub(crate) const PAIR: &str = r#"
[cluster]
name = "pair"
[timing]
deadtime = "2s"
[node.lb0]
[node.lb1]
[link.lan]
interface = "eth0"
unicast = { lb0 = "192.0.2.1", lb1 = "192.0.2.2" }
[tiebreak]
ping = ["192.0.2.254"]
[group.web]
prefer = ["lb0"]
failback = false
[[group.web.resource]]
agent = "vip"
args = ["198.51.100.1/24/eth0"]
"#;

/// Three nodes with one address on all of them, in six buckets; what stands for `MORE` is of the group.
pub(crate) const SHARED: &str = r#"
[cluster]
name = "shared"
[timing]
deadtime = "2s"
[node.lb0]
[node.lb1]
[node.lb2]
[link.lan]
interface = "eth0"
unicast = { lb0 = "192.0.2.1", lb1 = "192.0.2.2", lb2 = "192.0.2.3" }
[group.web]
clones = 6
MORE
[[group.web.resource]]
agent = "clusterip"
params = { address = "198.51.100.1/24", interface = "eth0" }
"#;

/// The way from node to node.
const WAY: Span = Span::micros(300);

/// How long an agent takes.
const AGENT: Span = Span::millis(1);

/// The cores, and what is on its way to them.
pub(crate) struct World {
    pub(crate) config: Arc<Config>,
    now: Span,
    cores: BTreeMap<NodeId, Core>,
    coming: BTreeMap<(Span, u64), (NodeId, Input)>,
    sent: u64,
    /// The starts of agents fail on these nodes.
    pub(crate) fails_on: Vec<NodeId>,
    pub(crate) stopping: bool,
}

impl World {
    /// All nodes start at once.
    pub(crate) fn new(text: &str) -> Self {
        let config = match parse_toml("systole.toml", text) {
            Ok(loaded) => Arc::new(loaded.config),
            Err(report) => panic!("{report}"),
        };
        let nodes: Vec<NodeId> = config.nodes.keys().copied().collect();
        let now = Span::seconds(1_000);
        let (cores, coming) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { config, now, cores, coming, sent: 0, fails_on: Vec::new(), stopping: false };
        nodes.into_iter().for_each(|node| world.boot(node));
        world.run_for(Span::seconds(20));
        world
    }

    fn boot(&mut self, node: NodeId) {
        let start = Start {
            config: Arc::clone(&self.config),
            node,
            incarnation: Incarnation(1),
            seed: u64::from(node.0),
            now: Moment::at(self.now),
            stored: Stored::default(),
            memory: None,
            standing: BTreeMap::new(),
        };
        let mut effects = Effects::new();
        let core = Core::start(start, &mut effects);
        self.cores.insert(node, core);
        self.carry_out(node, &effects);
    }

    /// Its plug is pulled.
    pub(crate) fn crash(&mut self, name: &str) {
        self.cores.remove(&NodeId::of(name));
    }

    /// Time goes on.
    pub(crate) fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let due = self.cores.iter().map(|(node, core)| (core.next_deadline().max(self.now), *node)).min();
            let arrives = self.coming.first_key_value().map(|((at, _), _)| *at);
            let (timer_at, node) = due.unwrap_or((end, NodeId(0)));
            if timer_at.min(arrives.unwrap_or(end)) >= end {
                break;
            }
            if arrives.is_some_and(|at| at <= timer_at) {
                let ((at, _), (node, input)) = self.coming.pop_first().expect("something arrives");
                self.now = at;
                self.step(node, input);
            } else {
                self.now = timer_at;
                self.step(node, Input::Timer);
            }
        }
        self.now = end;
    }

    fn step(&mut self, node: NodeId, input: Input) -> Effects {
        let mut effects = Effects::new();
        if let Some(core) = self.cores.get_mut(&node) {
            core.step(Moment::at(self.now), input, &mut effects);
        }
        self.carry_out(node, &effects);
        effects
    }

    fn carry_out(&mut self, node: NodeId, effects: &Effects) {
        for effect in effects {
            if let Effect::Send(beat) = effect {
                let others: Vec<NodeId> =
                    self.config.nodes.keys().copied().filter(|it| *it != node).collect();
                for other in others {
                    self.arrives(WAY, other, Input::Beat { link: LinkId(0), beat: Arc::clone(beat) });
                }
            } else if let Effect::Run { ticket, action, .. } = effect {
                let outcome = match action {
                    Action::Probe => Outcome::NotRunning,
                    Action::Start if self.fails_on.contains(&node) => Outcome::Failed { code: 1 },
                    Action::Start | Action::Stop | Action::Monitor => Outcome::Done,
                };
                self.arrives(AGENT, node, Input::AgentDone { ticket: *ticket, outcome });
            }
        }
    }

    fn arrives(&mut self, after: Span, node: NodeId, input: Input) {
        self.sent += 1;
        self.coming.insert((self.now + after, self.sent), (node, input));
    }

    /// An operator orders, at this node.
    pub(crate) fn order(&mut self, name: &str, command: Command) -> Answer {
        let effects = self.step(NodeId::of(name), Input::Command(command));
        control::taken(&self.config, &effects)
    }

    /// What this node's daemon would show.
    pub(crate) fn snapshot(&self, name: &str) -> Snapshot {
        let core = self.cores.get(&NodeId::of(name)).expect("this node is up");
        Snapshot {
            view: core.view(),
            abilities: core.abilities(),
            takeovers: core.takeovers(),
            config: Arc::clone(&self.config),
            digest: self.config.digest(),
            now: Moment::at(self.now),
            pid: 4_711,
            refused: vec![("the seal does not verify", 3), ("too short for a beat", 0)],
            alarms: Vec::new(),
            packets: BTreeMap::new(),
            late: Lateness { newest: Span(40), greatest: Span(900), over_half_keepalive: 0 },
            gaps: std::collections::BTreeMap::new(),
            lease: LeaseBy::Kernel,
        }
    }

    /// All that this node tells.
    pub(crate) fn journal(&self, name: &str) -> Vec<Record> {
        self.cores.get(&NodeId::of(name)).expect("this node is up").journal().cloned().collect()
    }

    fn answer(&mut self, name: &str, question: Question) -> Option<Answer> {
        self.run_for(Span::millis(1));
        if self.stopping {
            return None;
        }
        Some(match question {
            Question::Snapshot => Answer::Snapshot(Box::new(self.snapshot(name))),
            Question::Journal { after } => {
                Answer::Journal(control::journal(self.cores.get(&NodeId::of(name))?, after))
            }
            Question::Order(command) => self.order(name, command),
            Question::Reload => Answer::Refused("systole.toml has mistakes; see `systole check`".to_owned()),
            Question::Stop => {
                self.stopping = true;
                Answer::Done
            }
        })
    }
}

/// Answers for one node of the world.
#[derive(Clone)]
pub(crate) struct FakeDesk {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) name: &'static str,
}

impl FakeDesk {
    pub(crate) fn new(world: World, name: &'static str) -> Self {
        Self { world: Arc::new(Mutex::new(world)), name }
    }
}

impl Desk for FakeDesk {
    fn ask(&self, question: Question, reply: oneshot::Sender<Answer>) {
        let answer = self.world.lock().expect("no test panics with it").answer(self.name, question);
        if let Some(answer) = answer {
            let _ = reply.send(answer);
        }
    }
}

/// A server in a thread of its own; it ends with this value.
pub(crate) struct Served {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start<D: Desk>(run_dir: &Path, desk: D) -> Self {
        let socket = Socket::bind(run_dir).expect("the directory is empty");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be had").block_on(async {
                let server = tokio::spawn(control::serve(socket, desk));
                let _ = stopped.await;
                server.abort();
                let _ = server.await;
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
