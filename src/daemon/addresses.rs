//! The thread that has its hands in the kernel's network: leases, addresses, announcements, carrier.
//!
//! It does what the beat thread orders, in that order, and says what came of it. It may have to wait for the kernel
//! (nftables commits and rtnetlink take locks), which is why the beat thread does not do this itself. By itself it does
//! three things only: it announces again and again for a while after an address came, it puts back what another program
//! took away, and it polls the carrier for a while after a link has changed, because the kernel tells of a second change
//! up to a second late.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::sched_yield;

use crate::cluster::{Action, Input, KERNEL_TICK, Outcome, Ticket, margin};
use crate::config::{Config, Placement, Resource, Sharing};
use crate::net::announce::Announcer;
use crate::net::answer::Answerer;
use crate::net::frame::{Interface, Mac};
use crate::net::lease::{Bucket, Guarded, KernelLease, LeaseError, Renewed, Shared};
use crate::net::probe::{Heard, Prober};
use crate::net::route::{Change, Route, Watch};
use crate::net::watch::LeaseWatch;
use crate::time::Span;
use crate::types::{GroupId, InterfaceId};

use super::beats::{Told, Trouble};
use super::clock;
use super::desk::Said;
use super::mailbox::{Mailbox, Outbox};
use super::put_back::PutBack;
use super::vip::{Place, Placed, VipError, Vips};

/// After a link changed, its carrier is looked at so often, and for so long: the kernel holds further events back for up
/// to a second.
const LOOK_EVERY: Span = Span::millis(5);
const LOOK_FOR: Span = Span::millis(1_500);

/// A commit that takes too long is made anew, so often; then the lease is given up.
const COMMITS: usize = 3;

/// What the beat thread orders.
#[derive(Debug)]
pub(super) enum Order {
    Raise { group: GroupId, until: Span },
    Renew { group: GroupId, until: Span },
    Drop { group: GroupId },
    Run { ticket: Ticket, action: Action, resource: Arc<Resource> },
    Announce { group: GroupId },
    StayAwake { until: Span },
    Configure(Arc<Config>),
    Stop,
}

/// An interface that carries addresses of groups, as it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) interface: Interface,
    pub(super) carrier: bool,
    /// Its default gateways: what is pinged where the configuration names no target.
    pub(super) gateways: Vec<IpAddr>,
}

/// What the address thread begins with.
pub(super) struct Beginning {
    pub(super) config: Arc<Config>,
    /// `None`: leases are enforced by the daemon alone.
    pub(super) lease: Option<(KernelLease, LeaseWatch)>,
    pub(super) route: Route,
    pub(super) watch: Watch,
    pub(super) announcer: Announcer,
    pub(super) ears: Prober,
    pub(super) answerer: Answerer,
    pub(super) inbox: Mailbox<Order>,
    pub(super) to_beats: Mailbox<Told>,
    pub(super) to_desk: Mailbox<Said>,
    /// What stood already, as of now.
    pub(super) standing: BTreeMap<GroupId, Span>,
}

pub(super) struct Addresses {
    config: Arc<Config>,
    lease: Option<(KernelLease, LeaseWatch)>,
    /// What is guarded of each group, as the kernel's rules have it.
    guarded: BTreeMap<GroupId, Guarded>,
    /// Some of them are an earlier configuration's.
    lingers: bool,
    /// Every lease that stands, and until when.
    raised: BTreeMap<GroupId, Span>,
    vips: Vips,
    /// For looking at links; the agent has its own.
    route: Route,
    watch: Watch,
    announcer: Announcer,
    services: BTreeMap<InterfaceId, Service>,
    /// Those that are not there, as told.
    missing: BTreeSet<InterfaceId>,
    /// Each of them by its name, or by an address that is reached through it.
    asked_for: Vec<(InterfaceId, Option<String>, IpAddr)>,
    /// Links are looked at until then.
    look_until: Span,
    /// When links are looked at next.
    look_at: Span,
    /// Until then it does not sleep: an order may come at any moment.
    awake_until: Span,
    put_back: PutBack,
    /// Groups that were given up because of that, and until when.
    fought_over: BTreeMap<GroupId, Span>,
    /// Listens for others who speak for what is held here.
    ears: Prober,
    /// Answers for addresses that every node has.
    answerer: Answerer,
    inbox: Mailbox<Order>,
    to_beats: Outbox<Told>,
    to_desk: Outbox<Said>,
    done: u64,
    stopped: bool,
}

impl Addresses {
    pub(super) fn new(beginning: Beginning, vips: Vips) -> Self {
        let Beginning {
            config,
            lease,
            route,
            watch,
            announcer,
            ears,
            answerer,
            inbox,
            to_beats,
            to_desk,
            standing,
        } = beginning;
        let now = clock::now().boot;
        Self {
            asked_for: asked_for(&config),
            guarded: guarded(&config),
            lingers: false,
            config,
            lease,
            raised: standing.into_iter().map(|(group, left)| (group, now + left)).collect(),
            vips,
            route,
            watch,
            announcer,
            services: BTreeMap::new(),
            missing: BTreeSet::new(),
            look_until: Span::ZERO,
            look_at: Span::ZERO,
            awake_until: Span::ZERO,
            put_back: PutBack::default(),
            fought_over: BTreeMap::new(),
            ears,
            answerer,
            inbox,
            to_beats: Outbox::new(to_beats),
            to_desk: Outbox::new(to_desk),
            done: 0,
            stopped: false,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        self.look_at_links();
        while !self.stopped || !self.flush() {
            self.wait();
            for order in self.inbox.take() {
                // A beat waits for nothing else.
                let awaited = matches!(order, Order::Drop { .. });
                self.carry_out(order);
                self.done += 1;
                if awaited {
                    self.to_beats.keep(Told::Settled(self.done));
                }
                self.flush();
            }
            self.read_changes();
            self.watch_rules();
            let now = clock::now().boot;
            // Whoever is awake looks now rather than wake up for it a little later, but not while an order may come.
            if now >= self.awake_until && now + self.pace() / 2 >= self.look_at {
                self.look_at_links();
            }
            self.hear_rivals(now);
            if let Err(error) = self.answerer.run() {
                self.to_desk
                    .keep(Said::Alarm(format!("who asks for a shared address is not heard: {error}")));
            }
            self.announce_due(now);
        }
        // The kernel takes its time for each, so all at once.
        super::drop_aside(self.ears);
        super::drop_aside(self.answerer);
        if let Some((lease, _)) = self.lease {
            // The tables go with the daemon; an error here leaves rules that let nothing through, and the next start mends.
            let _ = lease.remove();
        }
    }

    fn flush(&mut self) -> bool {
        let beats = self.to_beats.flush();
        self.to_desk.flush() && beats
    }

    fn wait(&mut self) {
        let now = clock::now().boot;
        let due = self.look_at.min(self.announcer.next_due().unwrap_or(Span(u64::MAX)));
        // Rounded up, so that it does not wake just before.
        let milliseconds = ((due - now).as_micros().div_ceil(1_000)).min(1_000);
        let flushed = self.flush();
        let milliseconds = if flushed { milliseconds } else { 1 };
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::from(255_u8));
        let rules = self.lease.as_ref().map(|(_, watch)| watch.as_fd());
        let own: [BorrowedFd<'_>; 4] =
            [self.inbox.bell(), self.watch.as_fd(), self.ears.as_fd(), self.answerer.as_fd()];
        let mut fds: Vec<PollFd<'_>> =
            own.into_iter().chain(rules).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        while clock::now().boot < self.awake_until && poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            let _ = sched_yield();
        }
        match poll(&mut fds, timeout) {
            // Whatever it is, everything is looked at anew.
            Ok(_) | Err(Errno::EINTR | Errno::ENOMEM) => {}
            Err(error) => self.to_desk.keep(Said::Alarm(format!("the address thread cannot wait: {error}"))),
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Raise { group, until } => self.raise(group, until),
            Order::Renew { group, until } => self.renew(group, until),
            Order::Drop { group } => self.drop_lease(group),
            Order::Run { ticket, action, resource } => {
                let outcome = self.run_agent(ticket, action, &resource);
                self.to_beats.keep(Told::Input(Input::AgentDone { ticket, outcome }));
            }
            Order::Announce { group } => self.announce_group(group),
            Order::StayAwake { until } => self.awake_until = until,
            Order::Configure(config) => self.configure(config),
            Order::Stop => self.stopped = true,
        }
    }

    // --- leases ---

    fn raise(&mut self, group: GroupId, until: Span) {
        self.raised.insert(group, until);
        self.commit(group, until, |lease, group, length| {
            lease.raise(group, length).map(|()| Renewed::Stands)
        });
    }

    fn renew(&mut self, group: GroupId, until: Span) {
        self.raised.insert(group, until);
        self.commit(group, until, KernelLease::renew);
    }

    /// The kernel takes a length, not an end, and counts it from the end of the commit. So the clock is read again after it:
    /// if it took too long, the element outlives the lease, and is set again, shorter by twice what a commit took: with
    /// hundreds of addresses the next may take longer still.
    fn commit(
        &mut self,
        group: GroupId,
        until: Span,
        mut set: impl FnMut(&mut KernelLease, GroupId, Span) -> Result<Renewed, LeaseError>,
    ) {
        let Some((lease, _)) = &mut self.lease else { return };
        let slack = margin(self.config.timing.deadtime) / 2;
        let mut allowed = Span::ZERO;
        for attempt in 0..COMMITS {
            let before = clock::now().boot;
            let length = until - before - allowed;
            let done = match attempt {
                0 => set(lease, group, length),
                _ => lease.renew(group, length),
            };
            let took = clock::now().boot - before;
            match done {
                Ok(Renewed::Stands) if took <= allowed + slack.max(KERNEL_TICK) => return,
                Ok(Renewed::Stands) => allowed = took * 2,
                Ok(Renewed::Gone) => break,
                Err(error) => {
                    self.to_desk.keep(Said::Alarm(format!("the kernel does not enforce a lease: {error}")));
                    break;
                }
            }
        }
        self.drop_lease(group);
        self.to_beats.keep(Told::Input(Input::LeaseGone { group }));
    }

    fn drop_lease(&mut self, group: GroupId) {
        self.announcer.cancel(group);
        self.raised.remove(&group);
        let Some((lease, _)) = &mut self.lease else { return };
        if let Err(error) = lease.drop_lease(group) {
            self.to_desk.keep(Said::Alarm(format!("a lease ends by its own time only: {error}")));
        }
        if self.lingers
            && let Err(error) = self.install()
        {
            self.to_desk
                .keep(Said::Alarm(format!("the rules of the new configuration are not in force: {error}")));
        }
    }

    /// Somebody flushed or changed our tables: without them the address would answer after the lease.
    fn watch_rules(&mut self) {
        let Some((lease, watch)) = &mut self.lease else { return };
        match watch.changed(lease) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                self.to_desk.keep(Said::Alarm(format!("changes of nftables are not seen: {error}")));
                return;
            }
        }
        let restored = self.install();
        let now = clock::now().boot;
        let standing: Vec<(GroupId, Span)> = self
            .raised
            .iter()
            .map(|(group, until)| (*group, *until))
            .filter(|(_, until)| *until > now)
            .collect();
        let why = match restored {
            Ok(_) => "another program removed the rules of our leases; they are back",
            Err(_) => "another program removed the rules of our leases, and they cannot be put back",
        };
        self.to_desk.keep(Said::Alarm(format!("{why}: look for `nft flush ruleset` in firewall scripts")));
        for (group, until) in standing {
            self.raise(group, until);
        }
    }

    // --- the agent ---

    fn run_agent(&mut self, ticket: Ticket, action: Action, resource: &Resource) -> Outcome {
        let place = (ticket.group, ticket.resource);
        let done = match action {
            Action::Start => self.start(place, resource),
            Action::Stop => {
                self.announcer.cancel(ticket.group);
                let stopped = self.vips.stop(place, resource).map(|()| Outcome::Done);
                self.listen();
                stopped
            }
            Action::Probe => self
                .vips
                .count(resource)
                .map(|(stand, _)| if stand > 0 { Outcome::Done } else { Outcome::NotRunning }),
            Action::Monitor => self.vips.count(resource).map(|(stand, of)| match stand {
                0 => Outcome::NotRunning,
                stand if stand == of => Outcome::Done,
                _ => Outcome::Failed { code: 1 },
            }),
        };
        done.unwrap_or_else(|error: VipError| {
            self.to_desk.keep(Said::Agent { group: ticket.group, why: error.to_string() });
            Outcome::Failed { code: 1 }
        })
    }

    /// Each part of the addresses is announced while the next is added.
    fn start(&mut self, place: Place, resource: &Resource) -> Result<Outcome, VipError> {
        // What was looked up ahead holds only while nothing has changed since.
        self.read_changes();
        let Self { vips, announcer, to_desk, .. } = self;
        vips.start(place, resource, |some| {
            let now = clock::now().boot;
            announcer.add(place.0, &spoken(some), now);
            for failure in announcer.run(now).failures {
                to_desk.keep(Said::Alarm(failure.to_string()));
            }
        })?;
        self.listen();
        Ok(Outcome::Done)
    }

    fn announce_group(&mut self, group: GroupId) {
        let now = clock::now().boot;
        self.announcer.announce(group, &spoken(self.vips.of(group)), now);
        self.announce_due(now);
    }

    fn announce_due(&mut self, now: Span) {
        if self.announcer.next_due().is_none_or(|due| due > now) {
            return;
        }
        for failure in self.announcer.run(now).failures {
            self.to_desk.keep(Said::Alarm(failure.to_string()));
        }
    }

    /// What is held here is listened for: somebody else who speaks for it gets an answer.
    fn listen(&mut self) {
        let services: Vec<Interface> =
            self.services.values().map(|service| service.interface.clone()).collect();
        self.ears.own(services.iter().map(|interface| interface.mac).collect());
        for interface in services {
            let held: Vec<IpAddr> = self.vips.on(interface.index).collect();
            if let Err(failure) = self.ears.hold(&interface, &held) {
                self.to_desk.keep(Said::Alarm(failure.to_string()));
            }
        }
        self.answer();
        let spent = self.ears.take_spent();
        if !spent.is_empty() {
            self.to_desk.keep(Said::Close(spent));
        }
    }

    /// For what every node has: also on interfaces that have come or changed since it was started here.
    fn answer(&mut self) {
        let shared: Vec<_> = self
            .services
            .values()
            .map(|service| (service.interface.clone(), self.vips.shared_on(&service.interface)))
            .collect();
        for failure in self.answerer.hold(&shared) {
            self.to_desk.keep(Said::Alarm(failure.to_string()));
        }
    }

    fn hear_rivals(&mut self, now: Span) {
        let mut rivals = Vec::new();
        let heard = self.ears.read(|heard| match heard {
            Heard::Rival { interface, address, mac } => rivals.push((interface, address, mac)),
            Heard::Answer { .. } | Heard::Owner { .. } => {}
        });
        if let Err(error) = heard {
            self.to_desk.keep(Said::Alarm(format!("rivals are not heard: {error}")));
        }
        for (interface, address, mac) in rivals {
            let Some(group) = self.vips.owner(interface, address) else { continue };
            self.to_desk.keep(Said::Rival { group, address, mac });
            self.announcer.again(group, now);
        }
    }

    // --- what changes by itself ---

    fn read_changes(&mut self) {
        let (mut any, mut links, mut lost) = (false, false, false);
        let vips = &self.vips;
        let read = self.watch.changes(|change| {
            any = true;
            match change {
                Change::Link(_) | Change::LinkGone(_) => links = true,
                Change::AddressGone(address) => lost |= vips.owner(address.index, address.address).is_some(),
                Change::Address(_) => {}
                Change::Everything => (links, lost) = (true, true),
            }
        });
        if let Err(error) = read {
            self.to_desk.keep(Said::Alarm(error.to_string()));
            (any, links, lost) = (true, true, true);
        }
        if any {
            self.vips.forget_ahead();
        }
        if links {
            self.look_until = clock::now().boot + LOOK_FOR;
            self.look_at_links();
        }
        if links || lost {
            self.put_back();
        }
    }

    /// Another program took addresses away: they are back within a moment, a few times; then the group goes elsewhere.
    fn put_back(&mut self) {
        let missed = match self.vips.put_back() {
            Ok(missed) => missed,
            Err(error) => return self.to_desk.keep(Said::Alarm(format!("an address is gone: {error}"))),
        };
        let now = clock::now().boot;
        let Some((removal, lost)) = self.put_back.count(&missed, now) else { return };
        for group in &removal.groups {
            self.announce_group(*group);
        }
        self.to_desk.keep(Said::PutBack(removal));
        for group in lost {
            self.fought_over.insert(group, now + PutBack::AWAY);
            self.to_beats.keep(Told::Trouble { group, trouble: Trouble::FoughtOver, stands: true });
        }
    }

    /// How often links are looked at while nothing changes: what the kernel holds back costs a part of deadtime at most.
    fn pace(&self) -> Span {
        let timing = &self.config.timing;
        timing.keepalive.max(timing.deadtime / 4).max(LOOK_EVERY)
    }

    /// The service interfaces as they are now.
    fn look_at_links(&mut self) {
        let now = clock::now().boot;
        let over: Vec<GroupId> =
            self.fought_over.iter().filter(|(_, until)| **until <= now).map(|(group, _)| *group).collect();
        for group in over {
            self.fought_over.remove(&group);
            self.to_beats.keep(Told::Trouble { group, trouble: Trouble::FoughtOver, stands: false });
        }
        self.look_at = now + if now < self.look_until { LOOK_EVERY } else { self.pace() };
        for (id, name) in self.named_interfaces() {
            let link = match self.route.link(&name) {
                Ok(link) => link,
                Err(error) => {
                    if self.missing.insert(id) {
                        self.to_desk.keep(Said::Alarm(format!(
                            "{error}; until it is there, no group with it is served here"
                        )));
                        self.note_service(id, None);
                    }
                    continue;
                }
            };
            self.missing.remove(&id);
            let known = self.services.get(&id).filter(|known| known.interface.index == link.index);
            if known.is_some_and(|known| known.carrier == link.carrier) {
                continue;
            }
            self.vips.forget_ahead();
            let Ok(interface) = super::vip::interface_of(&mut self.route, &link) else { continue };
            let found = self.route.default_gateways(link.index).unwrap_or_default();
            let gateways = found.into_iter().map(|gateway| gateway.address).collect();
            self.announcer.prepare(&interface);
            self.note_service(id, Some(Service { interface, carrier: link.carrier, gateways }));
        }
        // Only now all of them are known.
        self.answer();
        for failure in self.answerer.mend() {
            self.to_desk.keep(Said::Alarm(failure.to_string()));
        }
        // A takeover has no time for it.
        self.vips.look_ahead(&self.config);
    }

    fn service_names(&self) -> Vec<String> {
        self.services.values().map(|service| service.interface.name.to_string()).collect()
    }

    /// The names of the service interfaces; where the configuration leaves it to the route, as the route has it.
    fn named_interfaces(&mut self) -> Vec<(InterfaceId, String)> {
        let mut named = Vec::new();
        for (id, name, address) in &self.asked_for {
            let known = || self.services.get(id).map(|known| known.interface.name.to_string());
            let found = name.clone().or_else(known).or_else(|| {
                let index = self.vips.interface_to(*address)?;
                self.route.link_at(index).ok().map(|link| link.name)
            });
            named.extend(found.map(|name| (*id, name)));
        }
        named
    }

    fn note_service(&mut self, id: InterfaceId, service: Option<Service>) {
        let up = service.as_ref().is_some_and(|service| service.carrier);
        let was = self.services.get(&id);
        if was == service.as_ref() && was.is_some() {
            return;
        }
        let came_back = was.is_some_and(|was| !was.carrier) && up;
        match service.clone() {
            Some(service) => drop(self.services.insert(id, service)),
            None => drop(self.services.remove(&id)),
        }
        self.to_beats.keep(Told::Service(id, service));
        self.to_beats.keep(Told::Input(Input::Carrier { interface: id, up }));
        if came_back {
            // Switches have forgotten, and a link that was down has lost its addresses of IPv6.
            let here: Vec<GroupId> = self.raised.keys().copied().collect();
            here.into_iter().for_each(|group| self.announce_group(group));
        }
    }

    /// Puts the rules in force. A group that is still held as an earlier configuration had it keeps its addresses until it
    /// is dropped: what is about to be stopped must not be silenced and lost before.
    fn install(&mut self) -> Result<(), LeaseError> {
        let interfaces = self.service_names();
        let mut groups = guarded(&self.config);
        let buckets = groups.values().flat_map(|guarded| &guarded.buckets);
        let divided: BTreeMap<IpAddr, Arc<Shared>> =
            buckets.map(|bucket| (bucket.of.address, Arc::clone(&bucket.of))).collect();
        self.lingers = false;
        for (group, guarded) in &self.guarded {
            if self.raised.contains_key(group) && groups.get(group) != Some(guarded) {
                // What has gone over to another group is that one's when this one has let go of it.
                let is = |one: &Bucket, other: &Bucket| {
                    (one.of.address, one.number) == (other.of.address, other.number)
                };
                let mut lingering = guarded.clone();
                for others in groups.values_mut() {
                    others.addresses.retain(|address| !guarded.addresses.contains(address));
                    others.buckets.retain(|bucket| !guarded.buckets.iter().any(|own| is(own, bucket)));
                }
                // An address is divided in one way only: the present one.
                for bucket in &mut lingering.buckets {
                    if let Some(of) = divided.get(&bucket.of.address) {
                        bucket.of = Arc::clone(of);
                    }
                }
                groups.insert(*group, lingering);
                self.lingers = true;
            }
        }
        let Some((lease, _)) = &mut self.lease else { return Ok(()) };
        let installed = lease.install(&groups, &interfaces);
        self.guarded = groups;
        installed.map(drop)
    }

    fn configure(&mut self, config: Arc<Config>) {
        self.asked_for = asked_for(&config);
        if self.config.interfaces != config.interfaces {
            // They go by their places in the configuration: what was known may be another's.
            self.services.clear();
            self.missing.clear();
        }
        self.config = config;
        self.vips.forget_ahead();
        self.look_at_links();
        if let Err(error) = self.install() {
            self.to_desk
                .keep(Said::Alarm(format!("the rules of the new configuration are not in force: {error}")));
        }
    }
}

/// What an announcement is made of. What every node has moves nowhere.
fn spoken<'a>(placed: impl IntoIterator<Item = &'a Placed>) -> Vec<(Interface, IpAddr)> {
    let moves = placed.into_iter().filter(|placed| placed.shared.is_none());
    moves.map(|placed| (placed.interface.clone(), placed.address.address)).collect()
}

fn asked_for(config: &Config) -> Vec<(InterfaceId, Option<String>, IpAddr)> {
    let mut asked = BTreeMap::new();
    for placement in config.addresses() {
        let address = placement.address;
        asked.entry(placement.interface).or_insert((address.interface, address.address));
    }
    asked.into_iter().map(|(id, (name, address))| (id, name, address)).collect()
}

/// What the kernel's rules must know of each group: its addresses, or its bucket of them.
pub(super) fn guarded(config: &Config) -> BTreeMap<GroupId, Guarded> {
    let mut groups: BTreeMap<GroupId, Guarded> =
        config.groups.keys().map(|group| (*group, Guarded::default())).collect();
    for Placement { group, address, .. } in config.addresses() {
        let instance = config.groups.get(&group).and_then(|group| group.clone_of.as_ref());
        let guarded = groups.entry(group).or_default();
        match address.shared.zip(instance) {
            None => guarded.addresses.push(address.address),
            Some((Sharing { mac, hash, seed }, instance)) => {
                let buckets = u32::from(instance.count);
                let shared = Shared { address: address.address, mac: Mac(mac), hash, buckets, seed };
                guarded.buckets.push(Bucket { of: Arc::new(shared), number: u32::from(instance.index) });
            }
        }
    }
    groups
}
