//! The ordinary thread: the log, the disk, the control socket, signals, systemd.
//!
//! Everything that may be slow and that no beat waits for. (One beat may: what is stored for ever must be on disk before a
//! beat rests on it. That happens at the first start, and when the voters or the longest lease change.)

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::agents::supervisor::Errand;
use crate::cluster::{Action, Command, Event, Input, Stored, Ticket};
use crate::config::{Config, Fence, Resource, Respawn};
use crate::control::variables;
use crate::control::words::Words;
use crate::control::{self, Answer, Desk, Question, Socket};
use crate::net::frame::Mac;
use crate::time::Span;
use crate::types::{GroupId, InterfaceId, NodeId};

use super::agents::{Agents, Supervisor};
use super::beats::Told;
use super::belief::Belief;
use super::director::{self, Director, FromDirector};
use super::files::Places;
use super::mailbox::Mailbox;
use super::notify::Notifier;
use super::put_back::Removal;
use super::tracks::{News, Tracks};
use super::{machine, packets, systemd};

/// So many alarms are shown at once; more of them say nothing that these don't.
const ALARMS: usize = 16;

/// What the ordinary thread is told.
pub(super) enum Said {
    /// For the log; the core keeps the journal.
    Event(Event),
    LinkOpen {
        link: String,
    },
    LinkClosed {
        link: String,
        why: String,
    },
    MemoryRefused(String),
    MemoryWritten,
    Unsealed(String),
    /// Something that somebody should look at.
    Alarm(String),
    /// Something worth a line.
    Note(String),
    /// An agent is to be run that is a program.
    Run {
        ticket: Ticket,
        action: Action,
        resource: Arc<Resource>,
    },
    /// A node is to be switched off.
    Fence {
        generation: u64,
        node: NodeId,
    },
    /// Whether agents can be run; if not, why.
    Supervisor(Option<String>),
    /// The programs that are kept running may be others now.
    Keep,
    /// Of a program that is kept running: why it does not run.
    Kept {
        name: String,
        trouble: Option<String>,
    },
    /// Of the director, or told by it.
    Director(FromDirector),
    /// The groups whose leases are held here now.
    Held(BTreeSet<GroupId>),
    /// Operators want this of servers.
    ServerOrders(director::ServerOrders),
    /// The machine's watchdog counts, or why not.
    Watchdog(Result<String, String>),
    /// Why the agent of addresses failed.
    Agent {
        group: GroupId,
        why: String,
    },
    /// Another program took addresses away.
    PutBack(Removal),
    /// Another machine speaks for an address that is held here.
    Rival {
        group: GroupId,
        address: IpAddr,
        mac: Mac,
    },
    /// The network behind a service interface is dead on this side, or lives again.
    Path {
        interface: InterfaceId,
        alive: bool,
    },
    /// Who answers for a group that another node took.
    Belief {
        group: GroupId,
        holder: NodeId,
        belief: Belief,
    },
    /// To be written to disk, for ever.
    Store(Stored),
    /// To be closed, which takes some milliseconds.
    Close(Vec<OwnedFd>),
    /// To be handed to whoever asked.
    Answer(oneshot::Sender<Answer>, Answer),
    /// Read the configuration again.
    Reload(oneshot::Sender<Answer>),
    /// Everything is handed over.
    Left,
}

/// What the control socket talks to.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) to_beats: Mailbox<Told>,
    pub(super) to_desk: Mailbox<Said>,
}

impl Desk for Handle {
    fn ask(&self, question: Question, reply: oneshot::Sender<Answer>) {
        match question {
            Question::Snapshot | Question::Journal { .. } | Question::Order(_) => {
                self.to_beats.post(Told::Ask(question, reply));
            }
            Question::Reload => self.to_desk.post(Said::Reload(reply)),
            Question::Stop => {
                self.to_beats.post(Told::Input(Input::Command(Command::Leave)));
                // Whoever asked may have gone.
                let _ = reply.send(Answer::Done);
            }
        }
    }
}

/// The thread with what it owns.
pub(super) struct OrdinaryThread {
    pub(super) config_path: PathBuf,
    /// Which one this is.
    pub(super) node: NodeId,
    pub(super) config: Arc<Config>,
    /// The same with the groups of earlier configurations: what is stopped after a reload has a name, too.
    pub(super) names: Arc<Config>,
    pub(super) places: Places,
    pub(super) supervisor: Supervisor,
    /// Stands when the thread runs.
    pub(super) director: Option<Director>,
    /// Whether there is anything to be served, or was.
    pub(super) directs: bool,
    pub(super) inbox: Mailbox<Said>,
    pub(super) to_beats: Mailbox<Told>,
    pub(super) notifier: Notifier,
    pub(super) tracks: Tracks,
    /// By what they are about.
    pub(super) alarms: BTreeMap<String, String>,
}

impl OrdinaryThread {
    /// Runs until everything is handed over.
    pub(super) async fn run(mut self, socket: Socket) -> io::Result<()> {
        let handle = Handle { to_beats: self.to_beats.clone(), to_desk: self.inbox.clone() };
        tokio::spawn(control::serve(socket, handle.clone()));
        let agents = self.begin_beside();
        // An eventfd is read like a pipe.
        let bell = Receiver::from_owned_fd_unchecked(self.inbox.bell().try_clone_to_owned()?)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut replace = signal(SignalKind::user_defined2())?;
        let watchdog = systemd::watchdog_interval();
        let mut tick = interval(watchdog.unwrap_or(systemd::NEVER));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let news = self.tracks.begin(&self.config);
        self.tracked(news);
        loop {
            tokio::select! {
                ready = bell.readable() => {
                    ready?;
                    // Heard; what is in the box is taken after that, so nothing is missed.
                    let _ = bell.try_read(&mut [0; 8]);
                    for said in self.inbox.take() {
                        if self.hear(said, &agents) {
                            systemd::notify("STOPPING=1");
                            self.tracks.stop();
                            self.notifier.finish().await;
                            return Ok(());
                        }
                    }
                }
                _ = terminate.recv() => self.leave("SIGTERM"),
                _ = interrupt.recv() => self.leave("SIGINT"),
                _ = hang_up.recv() => {
                    let (reply, _) = oneshot::channel();
                    self.reload(reply);
                }
                () = self.notifier.ended() => {}
                (name, found) = self.tracks.look() => {
                    let news = self.tracks.note(&self.config, name, found);
                    self.tracked(news);
                }
                _ = replace.recv() => {
                    self.tracks.stop();
                    let running = (&*self.config, self.node);
                    let why = super::reexec::replace(&self.config_path, running, &mut self.notifier).await;
                    let news = self.tracks.begin(&self.config);
                    self.tracked(news);
                    self.alarm("reexec".to_owned(), format!("this daemon goes on as it is: {why}"));
                }
                _ = tick.tick(), if watchdog.is_some() => {
                    let handle = handle.clone();
                    // Only a beat thread that answers is alive.
                    tokio::spawn(async move {
                        let (reply, answer) = oneshot::channel();
                        handle.ask(Question::Journal { after: u64::MAX }, reply);
                        if answer.await.is_ok() {
                            systemd::notify("WATCHDOG=1");
                        }
                    });
                }
            }
        }
    }

    /// The ways to the agents' supervisor and to the director.
    fn begin_beside(&mut self) -> Agents {
        let mut resources = self.config.groups.values().flat_map(|group| &group.resources);
        let kept = self.kept_here();
        let are_needed = !self.config.fences.is_empty()
            || !kept.is_empty()
            || resources.any(|resource| !resource.carries_addresses());
        let agents = Agents::new(&self.supervisor, are_needed, self.to_beats.clone(), self.inbox.clone());
        if !kept.is_empty() {
            agents.keep(kept);
        }
        let run_dir = &self.supervisor.run_dir;
        self.director = Some(Director::new(run_dir, Arc::clone(&self.config), self.node, self.inbox.clone()));
        agents
    }

    fn leave(&self, signal: &str) {
        info!("{signal}: everything is handed over, then this daemon stops");
        self.to_beats.post(Told::Input(Input::Command(Command::Leave)));
    }

    /// Whether that was the last.
    fn hear(&mut self, said: Said, agents: &Agents) -> bool {
        match said {
            Said::Event(event) => self.log(&event),
            Said::LinkOpen { link } => {
                self.calm(&format!("link {link}"), &format!("link {link} is open"));
            }
            Said::LinkClosed { link, why } => {
                self.alarm(format!("link {link}"), format!("link {link} is closed: {why}"))
            }
            Said::MemoryRefused(why) => self.alarm("memory".to_owned(), why),
            Said::MemoryWritten => self.calm("memory", "memory can be written again"),
            Said::Unsealed(why) => self.alarm("beats".to_owned(), format!("beats are not sent: {why}")),
            Said::Alarm(what) => self.alarm(what.clone(), what),
            Said::Note(what) => info!("{what}"),
            Said::Run { ticket, action, resource } => {
                // Its own name: the configuration may have another resource in its place by now. No group's name holds an
                // `@`, so no two have one.
                let group = Words::new(&self.names).group(ticket.group);
                let instance = format!("{}@{group}", resource.name);
                agents.ask(Errand::Agent { ticket, instance, action, resource });
            }
            Said::Fence { generation, node } => {
                let name = Words::new(&self.names).node(node);
                let can = |fence: &&Fence| fence.nodes.is_empty() || fence.nodes.contains(&node);
                let devices = self.config.fences.iter().filter(can).cloned().collect();
                agents.ask(Errand::Fence { generation, node, name, devices });
            }
            Said::Supervisor(trouble) => self.trouble("supervisor".to_owned(), trouble),
            Said::Keep => agents.keep(self.kept_here()),
            Said::Kept { name, trouble: Some(why) } => {
                self.alarm(format!("respawn {name}"), format!("respawn {name}: {why}"))
            }
            Said::Kept { name, trouble: None } => drop(self.alarms.remove(&format!("respawn {name}"))),
            Said::Director(FromDirector::Trouble { about, why }) => {
                self.trouble(format!("director {about}"), why)
            }
            Said::Director(FromDirector::Servers { group, shortfall }) => {
                self.to_beats.post(Told::Input(Input::Shortfall { group, shortfall }));
            }
            Said::Held(groups) => self.director.iter().for_each(|director| director.hold(&groups)),
            Said::ServerOrders(orders) => self.director.iter().for_each(|director| director.obey(&orders)),
            Said::Watchdog(Err(why)) => self.alarm("watchdog".to_owned(), why),
            Said::Watchdog(Ok(what)) => self.calm("watchdog", &what),
            Said::Agent { group, why } => {
                warn!("{}: {why}", Words::new(&self.names).group(group));
            }
            Said::PutBack(removal) => self.put_back(&removal),
            Said::Rival { group, address, mac } => {
                let group = Words::new(&self.names).group(group);
                let what =
                    format!("{group}: {mac} speaks for {address}, which is held here; it is announced again");
                self.alarm(format!("rival {address}"), what);
            }
            Said::Path { interface, alive } => self.path(interface, alive),
            Said::Belief { group, holder, belief } => self.belief(group, holder, &belief),
            Said::Store(stored) => self.store(&stored),
            Said::Answer(reply, mut answer) => {
                if let Answer::Snapshot(snapshot) = &mut answer {
                    snapshot.alarms.extend(self.alarms.values().cloned());
                    snapshot.packets = packets::of_buckets(&self.config);
                }
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            }
            Said::Close(sockets) => super::drop_aside(sockets),
            Said::Reload(reply) => self.reload(reply),
            Said::Left => return true,
        }
        false
    }

    /// What was an alarm is over.
    fn calm(&mut self, about: &str, what: &str) {
        info!("{what}");
        self.alarms.remove(about);
    }

    fn log(&mut self, event: &Event) {
        let words = Words::new(&self.names);
        let line = words.event(event);
        self.notifier.tell(variables::Told::event(&words, event));
        if is_worrying(event) {
            warn!("{line}");
        } else {
            info!("{line}");
        }
        if *event == Event::Ready {
            systemd::notify("READY=1");
        }
        if let Event::Won { group, .. } = event {
            self.alarms.remove(&format!("belief {}", words.group(*group)));
        }
        if let Event::Running { group, .. } | Event::Stopping { group, .. } | Event::Lost { group, .. } =
            event
        {
            self.alarms.remove(&format!("wait {}", words.group(*group)));
        }
        if let Event::Fenced { node, off: true } | Event::PeerUp { node, .. } = event {
            self.alarms.remove(&format!("fence {}", words.node(*node)));
        }
        systemd::notify(&format!("STATUS={line}"));
        // Without a fence nobody but a person will open the way.
        if let Event::WaitsForOther { group, wait: Span(u64::MAX) } = event
            && self.config.fences.is_empty()
        {
            let about = format!("wait {}", Words::new(&self.names).group(*group));
            self.alarm(about, line);
        }
        if let Event::Fenced { node, off: false } = event {
            let node = Words::new(&self.names).node(*node);
            let what = format!(
                "{node} could not be switched off, and what waits for that does not start: look at its power, then systole fence-ack {node}"
            );
            self.alarm(format!("fence {node}"), what);
        }
    }

    /// Somebody should look, or need not any more.
    fn trouble(&mut self, about: String, trouble: Option<String>) {
        match trouble {
            Some(why) => self.alarm(about, why),
            None => drop(self.alarms.remove(&about)),
        }
    }

    fn alarm(&mut self, about: String, what: String) {
        warn!("{what}");
        let is_known = self.alarms.contains_key(&about);
        if self.alarms.len() < ALARMS || is_known {
            if !is_known {
                self.notifier.tell(variables::Told::alarm(&what));
            }
            self.alarms.insert(about, what);
        }
    }

    fn put_back(&mut self, removal: &Removal) {
        let suspects = ["systemd-networkd", "NetworkManager", "dhclient", "dhcpcd", "ifupdown", "netplan"];
        let words = Words::new(&self.names);
        let what = removal.told(|group| words.whole_group(group), &systemd::running(&suspects));
        self.alarm(format!("address {}", removal.what()), what);
    }

    fn path(&mut self, interface: InterfaceId, alive: bool) {
        let name = Words::new(&self.names).interface(interface);
        if alive {
            info!("something passes through {name} again");
            self.alarms.remove(&format!("path {name}"));
        } else {
            let what = format!(
                "nothing passes through {name} on this side: no beat and no answered ping, while peers are heard over \
                 another link; look at the cable behind the switch"
            );
            self.alarm(format!("path {name}"), what);
        }
    }

    fn belief(&mut self, group: GroupId, holder: NodeId, belief: &Belief) {
        let words = Words::new(&self.names);
        let (group, holder) = (words.group(group), words.node(holder));
        let about = format!("belief {group}");
        match belief {
            Belief::One(address, mac) => {
                info!("{group}: the network believes {holder}: {mac} alone answers for {address}");
                self.alarms.remove(&about);
            }
            Belief::Nobody(address) => {
                let what = format!(
                    "{group}: {holder} holds it, and nobody answers for {address} in this node's network; look at the \
                     cables and the switch between the two"
                );
                self.alarm(about, what);
            }
            Belief::Many(address, macs) => {
                let macs: Vec<String> = macs.iter().map(Mac::to_string).collect();
                let what = format!(
                    "{group}: {holder} holds it, and more than one machine answers for {address}: {}; find out whose \
                     they are, and take the address from the others",
                    macs.join(" and ")
                );
                self.alarm(about, what);
            }
        }
    }

    /// What follows from what is tracked.
    fn tracked(&mut self, news: Vec<News>) {
        let is_new = news.iter().any(|news| matches!(news, News::Bad { .. } | News::Well { .. }));
        for news in news {
            match news {
                News::Bad { name, why } => {
                    self.alarm(format!("track {name}"), format!("{name} is bad: {why}"))
                }
                News::Well { name } => {
                    info!("{name} is well");
                    self.alarms.remove(&format!("track {name}"));
                }
                News::Unfit { .. } | News::Weight(_) => {
                    news.told().into_iter().for_each(|told| self.to_beats.post(told));
                }
            }
        }
        if is_new && let Err(error) = self.places.remember_bad(&self.tracks.bad()) {
            self.alarm("tracked".to_owned(), error.to_string());
        }
    }

    fn store(&self, stored: &Stored) {
        match self.places.store(stored) {
            Ok(()) => self.to_beats.post(Told::Stored),
            Err(error) => {
                error!("{error}; until then this node says nothing");
                let (places, stored, to_beats) = (self.places.clone(), stored.clone(), self.to_beats.clone());
                tokio::spawn(async move {
                    let mut again = interval(std::time::Duration::from_secs(1));
                    loop {
                        again.tick().await;
                        if places.store(&stored).is_ok() {
                            info!("it is written now");
                            return to_beats.post(Told::Stored);
                        }
                    }
                });
            }
        }
    }

    fn reload(&mut self, reply: oneshot::Sender<Answer>) {
        let answer = match self.read_again() {
            Ok(()) => Answer::Done,
            Err(why) => {
                warn!("the configuration stays as it was: {why}");
                Answer::Refused(format!("nothing is changed: {why}"))
            }
        };
        let _ = reply.send(answer);
    }

    fn read_again(&mut self) -> Result<(), String> {
        let loaded = crate::config::load(&self.config_path).map_err(|error| error.to_string())?;
        let config = loaded.config;
        if config.cluster != self.config.cluster {
            return Err(
                "the cluster's name cannot change while it runs: stop every node, and start them anew"
                    .to_owned(),
            );
        }
        if let Some(why) = super::watchdog::cannot_change(&self.config, &config, self.node) {
            return Err(why.to_owned());
        }
        let (keys, _) = super::files::read_keys(&config.keys).map_err(|error| error.to_string())?;
        for line in super::changes(&self.config, &config) {
            info!("reload: {line}");
        }
        for line in machine::remarks(&config, Some(self.node), Path::new("/")) {
            warn!("{line}");
        }
        let mut names = config.clone();
        for (id, group) in &self.names.groups {
            names.groups.entry(*id).or_insert_with(|| group.clone());
        }
        self.names = Arc::new(names);
        self.notifier.configure(&config);
        let kept = self.kept_here();
        self.config = Arc::new(config);
        self.directs |= directs(&self.config, self.node);
        let keeps = self.kept_here();
        if keeps != kept {
            let gone = |name: &&Respawn| !keeps.iter().any(|respawn| respawn.name == name.name);
            for respawn in kept.iter().filter(gone) {
                self.alarms.remove(&format!("respawn {}", respawn.name));
            }
            self.inbox.post(Said::Keep);
        }
        if let Some(director) = &self.director {
            director.configure(Arc::clone(&self.config));
        }
        self.to_beats.post(Told::Configure(Arc::clone(&self.config), keys));
        let news = self.tracks.configure(&self.config);
        self.tracked(news);
        Ok(())
    }

    /// What is kept running on this node.
    fn kept_here(&self) -> Vec<Respawn> {
        let is_here = |respawn: &&Respawn| respawn.nodes.is_empty() || respawn.nodes.contains(&self.node);
        let mut kept: Vec<Respawn> = self.config.respawns.iter().filter(is_here).cloned().collect();
        // One that has begun goes on, so that what is served no more is taken back.
        if self.directs {
            match director::program(&self.supervisor.run_dir, self.places.state_dir()) {
                Ok(program) => kept.push(program),
                Err(error) => warn!("the director cannot be started: {error}"),
            }
        }
        kept
    }
}

/// Whether this node watches over services. An arbiter owns nothing, and has nothing to do with them.
pub(super) fn directs(config: &Config, node: NodeId) -> bool {
    !config.services.is_empty() && config.nodes.get(&node).is_none_or(|node| !node.arbiter)
}

/// What a person should look at, even if nothing moved.
fn is_worrying(event: &Event) -> bool {
    matches!(
        event,
        Event::PeerDown { .. }
            | Event::PeerLate { .. }
            | Event::LinkDown { .. }
            | Event::Lost { .. }
            | Event::ResourceFailed { .. }
            | Event::Blocked { .. }
            | Event::ReleasedDirty { .. }
            | Event::Met { .. }
            | Event::WasAway { .. }
            | Event::SameName { .. }
            | Event::OlderLife { .. }
            | Event::ConfigDiffers { .. }
    )
}
