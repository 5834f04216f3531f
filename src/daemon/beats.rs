//! The thread that beats: it feeds the core with what arrives and carries out what the core decides.
//!
//! It is real-time, and waits for nothing but its own sockets and its timer. Whatever may take longer is handed to another
//! thread and comes back as an input. Two things must be over before the next beat leaves: what it rests on is written
//! (memory, and what is stored), and a lease that it says is gone is gone in the kernel. Until then a beat is held back;
//! a newer one takes its place, because each says everything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::sched_yield;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::sync::oneshot;

use crate::beat::Beat;
use crate::cluster::{Core, Effect, Effects, Event, Input, Memory, urgent_first};
use crate::config::Config;
use crate::control::{self, Answer, Lateness, LeaseBy, Question, Snapshot};
use crate::net::link::{LinkEnd, Mended};
use crate::time::{Moment, Span};
use crate::types::{GroupId, InterfaceId, LinkId, NodeId};
use crate::wire::{KeyRing, News, Opened, Opener, Sealer};

use super::addresses::{Order, Service};
use super::clock;
use super::desk::Said;
use super::gaps::{Came, Watched};
use super::mailbox::{Mailbox, Outbox};
use super::memory::MemoryFiles;
use super::probes::Probes;
use super::renewals::Renewals;
use super::watchdog::Meal;

/// How often closed links, and interfaces that came anew, are looked for: by whoever is awake for a beat.
const MEND_EVERY: Span = Span::seconds(1);

/// How often memory that could not be written is tried again; until then nothing is said.
const WRITE_AGAIN: Span = Span::millis(50);

/// A processor that sleeps takes its time to wake: so long before a moment that may be a takeover, two threads are awake.
const VIGIL: Span = Span(300);

/// One datagram and a byte more: one that was cut must not pass for whole.
const DATAGRAM: usize = 2_048;

/// So many datagrams of one link are read in a row before the others have their turn.
const BURST: usize = 256;

/// What the beat thread is told.
pub(super) enum Told {
    /// Something happened.
    Input(Input),
    /// An interface that carries addresses of groups, as it is now; `None`: it is gone.
    Service(InterfaceId, Option<Service>),
    /// Why a group should not be here, or no longer so.
    Trouble { group: GroupId, trouble: Trouble, stands: bool },
    /// What all that is tracked and well weighs.
    Weight(u16),
    /// The address thread has carried out everything up to this order.
    Settled(u64),
    /// What was to be stored is on disk.
    Stored,
    /// Somebody asks through the control socket.
    Ask(Question, oneshot::Sender<Answer>),
    /// A new configuration with its keys, both checked.
    Configure(Arc<Config>, KeyRing),
}

/// What the beat thread begins with.
pub(super) struct Beginning {
    pub(super) core: Core,
    pub(super) node: NodeId,
    pub(super) config: Arc<Config>,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) memory: MemoryFiles,
    pub(super) inbox: Mailbox<Told>,
    pub(super) to_addresses: Mailbox<Order>,
    pub(super) to_desk: Mailbox<Said>,
    /// Where there is one.
    pub(super) to_watchdog: Option<Mailbox<Meal>>,
    pub(super) lease_by: LeaseBy,
    /// Chance: tells our pings from those of others.
    pub(super) token: u64,
}

/// Why a group should not be here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The network behind this interface is dead on this side.
    DeadPath(InterfaceId),
    /// Another program takes its addresses away again and again.
    FoughtOver,
    /// Something that is tracked is bad.
    Tracked(String),
}

/// What is worth a look, beside the links.
struct Ready {
    inbox: bool,
    probes: bool,
}

/// The loop with all that it owns.
pub(super) struct Beats {
    core: Core,
    node: NodeId,
    config: Arc<Config>,
    sealer: Sealer,
    opener: Opener,
    links: Vec<LinkEnd>,
    probes: Probes,
    timer: TimerFd,
    /// When it rings.
    armed: Span,
    inbox: Mailbox<Told>,
    to_addresses: Outbox<Order>,
    to_desk: Outbox<Said>,
    to_watchdog: Option<Outbox<Meal>>,
    /// When the core was asked last.
    stepped: Span,
    memory: MemoryFiles,
    /// When links are looked after next.
    mend_at: Span,
    /// Memory that could not be written yet, and when it is tried again.
    unwritten: Option<(Memory, Span)>,
    /// A beat that waits for what it rests on.
    held_back: Option<Arc<Beat>>,
    /// Orders to the address thread: given, those a beat waits for, and done.
    ordered: u64,
    awaited: u64,
    settled: u64,
    /// So many writes to disk are under way.
    storing: usize,
    late: Lateness,
    renewals: Renewals,
    /// The groups that are held here, as it was told last.
    held: Option<BTreeSet<GroupId>>,
    /// What the links do to beats.
    watched: Watched,
    lease_by: LeaseBy,
    troubles: BTreeMap<GroupId, BTreeSet<Trouble>>,
    left: bool,
}

impl Beats {
    pub(super) fn new(beginning: Beginning) -> io::Result<Self> {
        let Beginning { core, node, config, sealer, opener, memory, .. } = beginning;
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let links = config.links.iter().map(|link| LinkEnd::new(link, node)).collect();
        Ok(Self {
            core,
            node,
            probes: Probes::new(&config, beginning.token, clock::now().boot)?,
            config,
            sealer,
            opener,
            links,
            timer,
            armed: Span::ZERO,
            inbox: beginning.inbox,
            to_addresses: Outbox::new(beginning.to_addresses),
            to_desk: Outbox::new(beginning.to_desk),
            to_watchdog: beginning.to_watchdog.map(Outbox::new),
            stepped: clock::now().boot,
            memory,
            mend_at: Span::ZERO,
            unwritten: None,
            held_back: None,
            ordered: 0,
            awaited: 0,
            settled: 0,
            storing: 0,
            late: Lateness::default(),
            renewals: Renewals::default(),
            held: None,
            watched: Watched::default(),
            lease_by: beginning.lease_by,
            troubles: BTreeMap::new(),
            left: false,
        })
    }

    /// Runs until the core has left. The first effects are those of its start.
    pub(super) fn run(mut self, first: Effects) -> io::Result<()> {
        self.mend_links();
        self.carry_out(first);
        while !self.left || !self.flush() {
            let ready = self.wait()?;
            // Also those that were not ready a moment ago: whoever judges silence has read all that came.
            self.read_links();
            if ready.probes {
                self.read_probes();
            }
            if ready.inbox {
                self.read_inbox();
            }
            self.run_probes();
            self.mend_links();
            self.write_again();
            self.renew_due();
            let now = clock::now();
            if now.boot >= self.core.next_deadline() {
                self.note_lateness(now);
                self.step(now, Input::Timer);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> bool {
        let addresses = self.to_addresses.flush();
        let watchdog = self.to_watchdog.as_mut().is_none_or(Outbox::flush);
        self.to_desk.flush() && addresses && watchdog
    }

    /// Waits until something is due or arrives.
    fn wait(&mut self) -> io::Result<Ready> {
        let again = self.unwritten.as_ref().map_or(Span(u64::MAX), |(_, at)| *at);
        let renewal = self.renewals.next_due(&self.config.timing);
        let own = again.min(renewal);
        let deadline = self.core.next_deadline();
        let vigil = self.core.misses_a_peer().then(|| deadline - VIGIL);
        let due = vigil.unwrap_or(deadline).min(own).min(self.probes.next_due());
        if due != self.armed || due <= clock::now().boot {
            // Zero would disarm it.
            let at = TimeSpec::from_duration(std::time::Duration::from_micros(due.as_micros().max(1)));
            self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.armed = due;
        }
        // Somebody is at the box at this moment: a millisecond later he is not.
        let timeout = if self.flush() { PollTimeout::NONE } else { PollTimeout::from(1_u8) };
        let own: [BorrowedFd<'_>; 3] = [self.inbox.bell(), self.probes.fd(), self.timer.as_fd()];
        let fds = own.into_iter().chain(self.links.iter().flat_map(LinkEnd::fds));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready { inbox: true, probes: true }),
            Err(error) => return Err(error.into()),
        }
        let ready = |place: usize| fds.get(place).and_then(PollFd::any).unwrap_or(true);
        let ready = Ready { inbox: ready(0), probes: ready(1) };
        if vigil.is_some_and(|from| (from..deadline).contains(&clock::now().boot)) {
            self.keep_vigil(deadline);
            // Whatever came meanwhile is fed before the timer.
            return Ok(Ready { inbox: true, probes: true });
        }
        Ok(ready)
    }

    fn keep_vigil(&mut self, deadline: Span) {
        self.order(Order::StayAwake { until: deadline + VIGIL });
        while clock::now().boot < deadline {
            // Interrupts may have threads of the same priority.
            let _ = sched_yield();
        }
    }

    fn note_lateness(&mut self, now: Moment) {
        let late = now.boot - self.core.next_deadline();
        self.late.newest = late;
        self.late.greatest = self.late.greatest.max(late);
        self.late.over_half_keepalive += u64::from(late > self.config.timing.keepalive / 2);
    }

    fn read_links(&mut self) {
        let mut datagram = [0; DATAGRAM];
        for place in 0..self.links.len() {
            let link = LinkId(u16::try_from(place).unwrap_or(u16::MAX));
            for _ in 0..BURST {
                let Some(length) = self.links[place].receive(&mut datagram) else { break };
                let Ok(opened) = self.opener.open(link, &mut datagram[..length]) else { continue };
                let now = clock::now();
                self.probes.heard(link, now.boot);
                self.watch(link, &opened, now.boot);
                match opened.news {
                    News::Beat(beat) | News::Copy(beat) => {
                        self.probes.told(&beat, now.boot);
                        self.step(now, Input::Beat { link, beat });
                    }
                    News::Older | News::Part => {}
                }
            }
        }
    }

    fn watch(&mut self, link: LinkId, opened: &Opened, at: Span) {
        let sent_at = match &opened.news {
            News::Beat(beat) | News::Copy(beat) => Some(beat.sent_at),
            News::Older => None,
            News::Part => return,
        };
        let Opened { sender: node, incarnation, sequence, .. } = *opened;
        let came = Came { node, link, incarnation, sequence, sent_at, at };
        self.watched.note(came, self.config.timing.keepalive, self.config.timing.deadtime);
    }

    fn read_probes(&mut self) {
        for input in self.probes.read(clock::now().boot) {
            self.step(clock::now(), input);
        }
    }

    fn run_probes(&mut self) {
        let now = clock::now();
        if now.boot >= self.probes.next_due()
            && let Some(input) = self.probes.run(now.boot)
        {
            self.step(now, input);
        }
        for (interface, alive) in self.probes.judge_paths(now.boot) {
            self.note_path(interface, alive);
        }
        for (group, holder, belief) in self.probes.look(now.boot) {
            self.to_desk.keep(Said::Belief { group, holder, belief });
        }
        let spent = self.probes.take_spent();
        if !spent.is_empty() {
            self.to_desk.keep(Said::Close(spent));
        }
    }

    /// The network behind a service interface died on this side, or lives again.
    fn note_path(&mut self, interface: InterfaceId, alive: bool) {
        let trouble = Trouble::DeadPath(interface);
        self.to_desk.keep(Said::Path { interface, alive });
        let groups: Vec<GroupId> = self
            .config
            .groups
            .iter()
            .filter(|(_, group)| group.interfaces.contains(&interface))
            .map(|(id, _)| *id)
            .collect();
        groups.into_iter().for_each(|group| self.note_trouble(group, trouble.clone(), !alive));
    }

    /// Interfaces go by their places in the configuration: under another one, what was found dead may be another's number.
    fn forget_paths(&mut self) {
        self.probes.forget_interfaces();
        let dead: Vec<(GroupId, Trouble)> = self
            .troubles
            .iter()
            .flat_map(|(group, troubles)| troubles.iter().map(|trouble| (*group, trouble.clone())))
            .filter(|(_, trouble)| matches!(trouble, Trouble::DeadPath(_)))
            .collect();
        dead.into_iter().for_each(|(group, trouble)| self.note_trouble(group, trouble, false));
    }

    /// Why a group should not be here, or no longer so. The core is told when the first reason comes and the last goes.
    fn note_trouble(&mut self, group: GroupId, trouble: Trouble, stands: bool) {
        let troubles = self.troubles.entry(group).or_default();
        let was_fit = troubles.is_empty();
        if stands {
            troubles.insert(trouble);
        } else {
            troubles.remove(&trouble);
        }
        let fit = troubles.is_empty();
        if fit != was_fit {
            self.step(clock::now(), Input::Health { group, fit });
        }
    }

    fn read_inbox(&mut self) {
        for told in self.inbox.take() {
            match told {
                Told::Input(input) => self.step(clock::now(), input),
                Told::Service(interface, service) => {
                    if let Some(input) = self.probes.service(interface, service, clock::now().boot) {
                        self.step(clock::now(), input);
                    }
                }
                Told::Trouble { group, trouble, stands } => self.note_trouble(group, trouble, stands),
                Told::Weight(weight) => self.probes.weigh(weight),
                Told::Settled(number) => self.settled = self.settled.max(number),
                Told::Stored => self.storing -= 1,
                Told::Ask(question, reply) => self.answer(question, reply),
                Told::Configure(config, keys) => self.configure(config, &keys),
            }
            self.send_held_back();
        }
    }

    fn answer(&mut self, question: Question, reply: oneshot::Sender<Answer>) {
        let answer = match question {
            Question::Snapshot => Answer::Snapshot(Box::new(self.snapshot())),
            Question::Journal { after } => Answer::Journal(control::journal(&self.core, after)),
            Question::Order(command) => {
                let mut effects = Effects::new();
                let now = clock::now();
                self.stepped = now.boot;
                self.core.step(now, Input::Command(command), &mut effects);
                let answer = control::taken(&self.config, &effects);
                self.carry_out(effects);
                answer
            }
            Question::Reload | Question::Stop => {
                Answer::Refused("the beat thread does not do this".to_owned())
            }
        };
        self.to_desk.keep(Said::Answer(reply, answer));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            view: self.core.view(),
            abilities: self.core.abilities(),
            takeovers: self.core.takeovers(),
            config: Arc::clone(&self.config),
            digest: self.config.digest(),
            now: clock::now(),
            pid: std::process::id(),
            refused: self.opener.counters().each().filter(|(_, count)| *count > 0).collect(),
            alarms: Vec::new(),
            packets: BTreeMap::new(),
            late: self.late,
            lease: self.lease_by.clone(),
            gaps: self.watched.shown(),
        }
    }

    fn configure(&mut self, config: Arc<Config>, keys: &KeyRing) {
        self.opener.set_keys(keys, &config.cluster);
        self.opener.set_peers(config.nodes.keys().copied());
        self.sealer.set_keys(keys, &config.cluster);
        if self.config.links != config.links {
            self.links = config.links.iter().map(|link| LinkEnd::new(link, self.node)).collect();
            self.mend_at = Span::ZERO;
        }
        if (&self.config.links, &self.config.timing) != (&config.links, &config.timing) {
            self.watched.forget();
        }
        if self.config.interfaces != config.interfaces {
            self.forget_paths();
        }
        self.probes.configure(&config, clock::now().boot);
        self.config = Arc::clone(&config);
        self.order(Order::Configure(Arc::clone(&config)));
        self.step(clock::now(), Input::Configure(config));
    }

    fn mend_links(&mut self) {
        let now = clock::now().boot;
        if now < self.mend_at {
            return;
        }
        self.mend_at = now + MEND_EVERY;
        for (link, end) in self.config.links.iter().zip(&mut self.links) {
            match end.mend() {
                Mended::Unchanged => {}
                Mended::Open => self.to_desk.keep(Said::LinkOpen { link: link.name.clone() }),
                Mended::Closed(why) => {
                    self.to_desk.keep(Said::LinkClosed { link: link.name.clone(), why });
                }
            }
        }
    }

    fn step(&mut self, now: Moment, input: Input) {
        let mut effects = Effects::new();
        self.stepped = now.boot;
        self.core.step(now, input, &mut effects);
        self.carry_out(effects);
    }

    /// One after the other: what follows may rest on what comes before.
    fn carry_out(&mut self, effects: Effects) {
        let mut holds_others = self.held.is_none();
        // Memory may know of some.
        let mut orders_others = self.held.is_none();
        for effect in urgent_first(effects) {
            match effect {
                Effect::Remember(memory) => self.remember(memory),
                Effect::Store(stored) => {
                    self.storing += 1;
                    self.to_desk.keep(Said::Store(stored));
                }
                Effect::Send(beat) => {
                    self.held_back = Some(beat);
                    self.send_held_back();
                }
                Effect::RaiseLease { group, until } => {
                    holds_others = true;
                    self.renewals.raised(group, until);
                    self.order(Order::Raise { group, until });
                    self.probes.held(group);
                }
                Effect::RenewLease { group, until } => {
                    if self.renewals.renewed(group, until, clock::now().boot, &self.config.timing) {
                        self.renew(group, until);
                    }
                }
                Effect::DropLease { group } => {
                    holds_others = true;
                    self.renewals.dropped(group);
                    self.order(Order::Drop { group });
                    self.awaited = self.ordered;
                }
                Effect::Run { ticket, action, resource } if resource.carries_addresses() => {
                    self.order(Order::Run { ticket, action, resource })
                }
                Effect::Run { ticket, action, resource } => {
                    self.to_desk.keep(Said::Run { ticket, action, resource });
                    self.to_desk.flush();
                }
                Effect::Probe { round, interface, groups } => {
                    if let Err(why) = self.probes.ask(round, interface, &groups, clock::now().boot) {
                        self.to_desk.keep(Said::Alarm(why));
                    }
                }
                Effect::Announce { group } => self.order(Order::Announce { group }),
                Effect::Fence { generation, node } => {
                    self.to_desk.keep(Said::Fence { generation, node });
                    self.to_desk.flush();
                }
                Effect::FeedWatchdog => self.feed(Meal::Feed(self.stepped)),
                Effect::Tell(event) => {
                    orders_others |= matches!(event, Event::ServersOrdered { .. });
                    self.to_desk.keep(Said::Event(event));
                }
                Effect::Left => {
                    self.left = true;
                    self.order(Order::Stop);
                    self.feed(Meal::End);
                    self.to_desk.keep(Said::Left);
                }
            }
        }
        if holds_others {
            self.tell_held();
        }
        if orders_others {
            self.to_desk.keep(Said::ServerOrders(self.core.server_orders().into_iter().collect()));
        }
        self.flush();
    }

    /// What is held here now, if it is not what was told last.
    fn tell_held(&mut self) {
        let held = Some(self.core.held());
        if self.held != held {
            self.to_desk.keep(Said::Held(held.clone().unwrap_or_default()));
            self.held = held;
        }
    }

    fn feed(&mut self, meal: Meal) {
        if let Some(watchdog) = &mut self.to_watchdog {
            watchdog.keep(meal);
            watchdog.flush();
        }
    }

    /// At once: while this thread writes and sends what comes next, the other begins.
    fn order(&mut self, order: Order) {
        self.ordered += 1;
        self.to_addresses.keep(order);
        self.to_addresses.flush();
    }

    /// Renewals that waited for the next one, which did not come.
    fn renew_due(&mut self) {
        for (group, until) in self.renewals.take_due(clock::now().boot, &self.config.timing) {
            self.renew(group, until);
        }
    }

    /// A newer renewal makes an older one that still waits needless; its place in the order of things is kept.
    fn renew(&mut self, group: GroupId, until: Span) {
        let waits = self.to_addresses.kept().iter_mut().rev().find_map(|order| match order {
            Order::Renew { group: waiting, until } if *waiting == group => Some(until),
            Order::Renew { .. }
            | Order::Raise { .. }
            | Order::Drop { .. }
            | Order::Run { .. }
            | Order::Announce { .. }
            | Order::StayAwake { .. }
            | Order::Configure(_)
            | Order::Stop => None,
        });
        match waits {
            Some(waiting) => *waiting = until,
            None => self.order(Order::Renew { group, until }),
        }
    }

    fn remember(&mut self, memory: Memory) {
        match self.memory.write(&memory) {
            Ok(()) => {
                if self.unwritten.take().is_some() {
                    self.to_desk.keep(Said::MemoryWritten);
                }
            }
            Err(error) => {
                if self.unwritten.is_none() {
                    self.to_desk.keep(Said::MemoryRefused(error.to_string()));
                }
                self.unwritten = Some((memory, clock::now().boot + WRITE_AGAIN));
            }
        }
    }

    fn write_again(&mut self) {
        let now = clock::now().boot;
        if let Some((memory, _)) = self.unwritten.take_if(|(_, at)| *at <= now) {
            let kept = memory.clone();
            if self.memory.write(&memory).is_ok() {
                self.to_desk.keep(Said::MemoryWritten);
                self.send_held_back();
            } else {
                self.unwritten = Some((kept, now + WRITE_AGAIN));
            }
        }
    }

    fn send_held_back(&mut self) {
        if self.unwritten.is_some() || self.settled < self.awaited || self.storing > 0 {
            return;
        }
        let Some(beat) = self.held_back.take() else { return };
        match self.sealer.seal(&beat) {
            Ok(datagrams) => {
                for link in self.links.iter().filter(|link| link.is_open()) {
                    // A link that refuses is silent; that is seen by whoever misses this beat, and by ourselves in what
                    // they show to have heard.
                    datagrams.iter().for_each(|datagram| drop(link.send(datagram)));
                }
            }
            Err(error) => self.to_desk.keep(Said::Unsealed(error.to_string())),
        }
    }
}
