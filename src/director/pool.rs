//! **Decides**: which servers are well, which are wanted in the table, and why. Pure: it is told the time and what happened,
//! and tells what changed. It never asks anything.
//!
//! Nothing is wanted before every server was asked once: a director that is started anew takes nobody out, and puts nobody
//! in, before it knows better than the one before it. Afterwards whoever is new is in the table when he has answered.

mod health;
mod memory;
mod orders;
mod outlook;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::beat::{ServerOrder, ServerWish, Shortfall};
use crate::config::{Balancer, Check, Forwarding, Server, Service, Services, WhenDown};
use crate::time::Span;
use crate::types::{GroupId, ServersId};

use super::check::Verdict;
use super::table::{Entry, Table};

pub use health::{Health, State};
pub use memory::Memory;
use orders::Orders;
pub use outlook::Outlook;
pub use view::{CheckView, PoolView, ServerView, ServiceView};

/// A check of one thing: services that check the same share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// How.
    pub check: Arc<Check>,
    /// Where.
    pub address: IpAddr,
    /// Where.
    pub port: u16,
}

/// A probe, by its number. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(pub u64);

/// What happened, for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server is not well any more, or is not when it is first asked.
    Down {
        /// Of this service.
        service: String,
        /// Which.
        server: String,
        /// Why.
        why: String,
    },
    /// A server is well.
    Up {
        /// Of this service.
        service: String,
        /// Which.
        server: String,
        /// For so long it was not; `None`: it is known only now.
        after: Option<Span>,
    },
    /// Too few are well.
    TooFew {
        /// This service.
        service: String,
        /// Somebody else answers instead.
        sorry: bool,
    },
    /// Enough are well again.
    Enough {
        /// This service.
        service: String,
    },
}

/// What came of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The tables of these services are wanted otherwise.
    pub tables: BTreeSet<String>,
    /// What happened.
    pub events: Vec<Event>,
}

/// What a node finds out is news to another for so long at most.
const NEWS: Span = Span::seconds(2);

/// Nobody is waited for longer, before anything is wanted.
const PATIENCE: Span = Span::seconds(5);

/// All services.
#[derive(Debug, Default)]
pub struct Pool {
    phase: Phase,
    services: BTreeMap<String, Pooled>,
    probes: BTreeMap<ProbeId, Probed>,
    numbers: BTreeMap<Probe, ProbeId>,
    next: u64,
    memory: Memory,
    orders: Orders,
    /// How servers look from here, by the group that serves them.
    outlooks: BTreeMap<GroupId, Outlook>,
    /// Services that must not be in this node's kernel now.
    withheld: BTreeSet<String>,
}

/// Whether anything is wanted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nobody has said what is served.
    #[default]
    Idle,
    /// Everybody is asked for the first time, until then at most.
    Asking(Span),
    /// What is known is wanted.
    Begun,
}

/// A probe, and who depends on it.
#[derive(Debug)]
struct Probed {
    probe: Probe,
    health: Health,
    /// Services and their servers.
    serves: BTreeSet<(String, String)>,
}

/// A service.
#[derive(Debug)]
struct Pooled {
    service: Arc<Service>,
    servers: BTreeMap<String, Member>,
    /// Is configured no more, and has connections until then.
    leaving: BTreeMap<String, (Arc<Server>, Span)>,
    has_enough: bool,
    /// So many hundredths of it are not well.
    shortfall: u8,
}

/// A server of a service.
#[derive(Debug)]
struct Member {
    server: Arc<Server>,
    probes: Vec<ProbeId>,
    /// What operators want of it.
    order: Option<ServerWish>,
    /// As it was told last.
    state: State,
    since: Span,
}

impl Pool {
    /// Nothing is served yet.
    pub fn new(memory: Memory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// What a later life has to know.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The same, to be changed.
    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// One of them.
    pub fn probe(&self, id: ProbeId) -> Option<&Probe> {
        self.probes.get(&id).map(|probed| &probed.probe)
    }

    /// What is to be probed.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeId, &Probe)> {
        self.probes.iter().map(|(id, probed)| (*id, &probed.probe))
    }

    /// These services are served from now on. What is known of servers that stay is not forgotten, and whoever is not
    /// configured any more has time to end what he has.
    pub fn serve(&mut self, services: &Services, now: Span) -> Changes {
        let mut changes = Changes::default();
        let before = std::mem::take(&mut self.services);
        for probed in self.probes.values_mut() {
            probed.serves.clear();
        }
        for (name, service) in services {
            let old = before.get(name);
            let pooled = self.pooled(name, service, old, now);
            if old.is_none_or(|old| old.service != pooled.service) {
                changes.tables.insert(name.clone());
            }
            self.services.insert(name.clone(), pooled);
        }
        changes.tables.extend(before.into_keys().filter(|name| !services.contains_key(name)));
        self.probes.retain(|_, probed| !probed.serves.is_empty());
        let probes = &self.probes;
        self.numbers.retain(|_, id| probes.contains_key(id));
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            self.weigh(&name, now, &mut changes);
        }
        self.look_out();
        if self.phase == Phase::Idle {
            self.phase = Phase::Asking(now + PATIENCE);
        }
        self.begin(now, &mut changes);
        changes
    }

    /// Whether everybody was asked, or has had his time: then all of it is wanted.
    fn begin(&mut self, now: Span, changes: &mut Changes) {
        let Phase::Asking(until) = self.phase else { return };
        let is_known = |probed: &Probed| *probed.health.state() != State::Unknown;
        if now >= until || self.probes.values().all(is_known) {
            self.phase = Phase::Begun;
            changes.tables.extend(self.services.keys().cloned());
        }
    }

    fn pooled(&mut self, name: &str, service: &Arc<Service>, old: Option<&Pooled>, now: Span) -> Pooled {
        let mut servers = BTreeMap::new();
        for (server_name, server) in &service.servers {
            let probes = self.probes_of(name, server_name, server);
            let known = old.and_then(|old| old.servers.get(server_name));
            // One that is elsewhere now is another one.
            let known = known.filter(|known| known.server.address == server.address);
            let (state, since) =
                known.map_or((State::Unknown, now), |known| (known.state.clone(), known.since));
            let order = self.orders.of(name, server_name, server.address);
            let member = Member { server: Arc::clone(server), probes, order, state, since };
            servers.insert(server_name.clone(), member);
        }
        let mut leaving = BTreeMap::new();
        if let Some(old) = old {
            let until = now + service.drain;
            let gone = old.servers.iter().filter(|(_, member)| member.state == State::Well);
            leaving.extend(old.leaving.clone());
            leaving.extend(gone.map(|(name, member)| (name.clone(), (Arc::clone(&member.server), until))));
            let places: BTreeSet<_> = service.servers.values().map(|one| (one.address, one.port)).collect();
            leaving.retain(|_, (server, _)| !places.contains(&(server.address, server.port)));
        }
        let has_enough = old.is_none_or(|old| old.has_enough);
        Pooled { service: Arc::clone(service), servers, leaving, has_enough, shortfall: 0 }
    }

    fn probes_of(&mut self, service: &str, name: &str, server: &Server) -> Vec<ProbeId> {
        let mut ids = Vec::new();
        for check in &server.checks {
            let probe = Probe {
                address: check.address.unwrap_or(server.address),
                port: check.port.unwrap_or(server.port),
                check: Arc::clone(check),
            };
            let next = &mut self.next;
            let id = *self.numbers.entry(probe.clone()).or_insert_with(|| {
                *next += 1;
                ProbeId(*next)
            });
            let fresh = || Probed { probe, health: Health::default(), serves: BTreeSet::new() };
            let probed = self.probes.entry(id).or_insert_with(fresh);
            probed.serves.insert((service.to_owned(), name.to_owned()));
            ids.push(id);
        }
        ids
    }

    /// A probe was answered, or was not. One that is not asked any more changes nothing.
    pub fn hear(&mut self, id: ProbeId, verdict: Verdict, took: Span, now: Span) -> Changes {
        let mut changes = Changes::default();
        let Some(probed) = self.probes.get_mut(&id) else { return changes };
        if !probed.health.hear(verdict, took, now, &probed.probe.check) {
            return changes;
        }
        let services: BTreeSet<String> = probed.serves.iter().map(|(service, _)| service.clone()).collect();
        for name in services {
            self.weigh(&name, now, &mut changes);
            changes.tables.insert(name);
        }
        self.begin(now, &mut changes);
        changes
    }

    /// What operators want of servers from now on. One that a director finds drained when it begins has ended what it had.
    pub fn obey(&mut self, orders: BTreeMap<ServersId, ServerOrder>, now: Span) -> Changes {
        let is_change = self.orders.set(orders);
        let (mut changes, mut changed) = (Changes::default(), BTreeSet::new());
        for (service, pooled) in &mut self.services {
            for (name, member) in &mut pooled.servers {
                let has = self.orders.of(service, name, member.server.address);
                let had = std::mem::replace(&mut member.order, has);
                if is_change {
                    self.orders.change((service, name), had, has, now);
                }
                if has != had {
                    changed.insert(service.clone());
                }
            }
        }
        for service in changed {
            self.weigh(&service, now, &mut changes);
            changes.tables.insert(service);
        }
        changes
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Span) -> Changes {
        let mut changes = Changes::default();
        self.begin(now, &mut changes);
        for (name, pooled) in &mut self.services {
            let before = pooled.leaving.len();
            pooled.leaving.retain(|_, (_, until)| *until > now);
            let drain = pooled.service.drain;
            let has_drained = self.orders.ends_of_drain(name, drain, now);
            if pooled.leaving.len() != before || has_drained {
                changes.tables.insert(name.clone());
            }
        }
        changes
    }

    /// When time will have passed for something.
    pub fn next_tick(&self) -> Option<Span> {
        let leaving =
            self.services.values().flat_map(|pooled| pooled.leaving.values().map(|(_, until)| *until));
        let drains = self
            .services
            .iter()
            .filter_map(|(name, pooled)| self.orders.next_end_of_drain(name, pooled.service.drain));
        let begins = match self.phase {
            Phase::Asking(until) => Some(until),
            Phase::Idle | Phase::Begun => None,
        };
        let outlooks = self.outlooks.values().filter_map(Outlook::next);
        leaving.chain(drains).chain(begins).chain(outlooks).min()
    }

    /// Which services this node must not have in its kernel, of which it is a server itself: while another node holds one,
    /// what comes for it comes from there, and would be sent on once more.
    pub fn withhold(&mut self, held: &BTreeSet<GroupId>, is_own: impl Fn(IpAddr) -> bool) -> Changes {
        let takes_address =
            |server: &Arc<Server>| server.forwarding != Forwarding::Nat && is_own(server.address);
        let is_withheld = |service: &Service| {
            let is_elsewhere = service.group.is_some_and(|group| !held.contains(&group));
            is_elsewhere && service.balancer == Balancer::Ipvs && service.servers.values().any(takes_address)
        };
        let all = self.services.iter().filter(|(_, pooled)| is_withheld(&pooled.service));
        let withheld: BTreeSet<String> = all.map(|(name, _)| name.clone()).collect();
        let before = std::mem::replace(&mut self.withheld, withheld);
        Changes { tables: before.symmetric_difference(&self.withheld).cloned().collect(), events: Vec::new() }
    }

    /// What is wanted of the balancer of a service: that it has this table, or none of it. `None`: nobody knows yet, or
    /// it is none of ours any more.
    pub fn wish(&self, name: &str) -> Option<(&Service, Option<Table>)> {
        let service = &self.services.get(name)?.service;
        if self.withheld.contains(name) {
            return Some((service, None));
        }
        Some((service, Some(self.table(name)?)))
    }

    /// What its balancer shall have for a service; `None`: nobody knows yet, or it is none of ours any more.
    pub fn table(&self, name: &str) -> Option<Table> {
        let pooled = self.services.get(name).filter(|_| self.phase == Phase::Begun)?;
        let mut entries = BTreeMap::new();
        let inhibits = !pooled.has_enough && pooled.service.sorry.is_some();
        for (server, member) in &pooled.servers {
            if let Some(weight) = self.share(name, server, member, pooled.service.when_down) {
                let weight = if inhibits { 0 } else { weight };
                entries.insert(server.clone(), Entry { server: Arc::clone(&member.server), weight });
            }
        }
        for (server, (leaving, _)) in &pooled.leaving {
            // A new one may have its name.
            let name =
                if entries.contains_key(server) { format!("{server} (leaving)") } else { server.clone() };
            entries.insert(name, Entry { server: Arc::clone(leaving), weight: 0 });
        }
        if let Some(sorry) = pooled.service.sorry.as_ref().filter(|_| inhibits) {
            let name = "(sorry)".to_owned();
            entries.insert(name, Entry { server: Arc::clone(sorry), weight: 1 });
        }
        Some(Table { service: Arc::clone(&pooled.service), entries })
    }

    /// The weight that a server is given; `None`: it is not in the table.
    fn share(&self, service: &str, name: &str, member: &Member, when_down: WhenDown) -> Option<u32> {
        if member.order == Some(ServerWish::Drain) {
            return self.orders.is_draining(service, name).then_some(0);
        }
        match (&member.state, when_down) {
            (State::Well, _) => Some(self.weight(member)),
            (State::Unknown, _) | (State::Bad(_), WhenDown::Remove) => None,
            (State::Bad(_), WhenDown::Quiesce) => Some(0),
        }
    }

    /// The operator's word, the check's, or the configuration's.
    fn weight(&self, member: &Member) -> u32 {
        if let Some(ServerWish::Weight(weight)) = member.order {
            return weight.into();
        }
        let checks = member.probes.iter().filter_map(|id| self.probes.get(id)?.health.weight());
        checks.min().unwrap_or(member.server.weight)
    }

    /// Looks at a service anew: who is well, and whether these are enough.
    fn weigh(&mut self, name: &str, now: Span, changes: &mut Changes) {
        let Some(mut pooled) = self.services.remove(name) else { return };
        for (server, member) in &mut pooled.servers {
            let state = self.state(&member.probes);
            if state.is_same(&member.state) {
                member.state = state;
                continue;
            }
            let (service, server) = (name.to_owned(), server.clone());
            match &state {
                State::Bad(why) => changes.events.push(Event::Down { service, server, why: why.clone() }),
                State::Well => {
                    let was_bad = matches!(member.state, State::Bad(_));
                    let after = was_bad.then(|| now - member.since);
                    changes.events.push(Event::Up { service, server, after });
                }
                State::Unknown => {}
            }
            (member.state, member.since) = (state, now);
            changes.tables.insert(name.to_owned());
        }
        let live = self.live(name, &pooled);
        pooled.shortfall = Self::shortfall(&pooled);
        let Service { quorum, hysteresis, .. } = *pooled.service;
        let has_enough = if pooled.has_enough {
            live >= u64::from(quorum.saturating_sub(hysteresis))
        } else {
            live >= u64::from(quorum) + u64::from(hysteresis)
        };
        if has_enough != pooled.has_enough {
            pooled.has_enough = has_enough;
            let service = name.to_owned();
            let sorry = pooled.service.sorry.is_some();
            changes.events.push(if has_enough {
                Event::Enough { service }
            } else {
                Event::TooFew { service, sorry }
            });
            changes.tables.insert(name.to_owned());
        }
        self.services.insert(name.to_owned(), pooled);
    }

    /// The weights of those that get connections; one that nobody knows yet is taken for well.
    fn live(&self, name: &str, pooled: &Pooled) -> u64 {
        let when_down = pooled.service.when_down;
        let weight = |(server, member): (&String, &Member)| match member.state {
            State::Unknown => u64::from(member.server.weight),
            State::Well | State::Bad(_) => self.share(name, server, member, when_down).unwrap_or(0).into(),
        };
        pooled.servers.iter().map(weight).sum()
    }

    /// Of the servers that no operator has taken out, so many hundredths are not well.
    fn shortfall(pooled: &Pooled) -> u8 {
        let (mut all, mut lost) = (0_u64, 0_u64);
        for member in pooled.servers.values().filter(|member| member.order != Some(ServerWish::Drain)) {
            let weight = u64::from(member.server.weight);
            all += weight;
            lost += if matches!(member.state, State::Bad(_)) { weight } else { 0 };
        }
        let whole = u64::from(Shortfall::WHOLE);
        u8::try_from(lost * whole / all.max(1)).unwrap_or(Shortfall::WHOLE)
    }

    /// Which groups' servers are looked at, and for how long each time.
    fn look_out(&mut self) {
        let mut windows: BTreeMap<GroupId, Span> = BTreeMap::new();
        for service in self.services.values().map(|pooled| &pooled.service) {
            let checks = service.servers.values().flat_map(|server| &server.checks);
            // Who finds a server down that others never did finds it up again in this time at the latest.
            let down_and_up =
                |check: &Arc<Check>| check.every * (check.rise + check.fall).into() + check.timeout * 2;
            let longest = checks.map(down_and_up).max();
            if let Some(group) = service.group {
                let window = windows.entry(group).or_insert(NEWS);
                *window = (*window).max(longest.unwrap_or_default() + NEWS);
            }
        }
        self.outlooks.retain(|group, _| windows.contains_key(group));
        for (group, window) in windows {
            self.outlooks.entry(group).or_insert_with(|| Outlook::new(window)).set_window(window);
        }
    }

    fn outlook_of(&self, pooled: &Pooled) -> Option<&Outlook> {
        self.outlooks.get(&pooled.service.group?)
    }

    /// How the servers behind each group look from here.
    pub fn shortfalls(&mut self, now: Span) -> Vec<(GroupId, Shortfall)> {
        if self.phase == Phase::Begun {
            let mut found: BTreeMap<GroupId, u8> = BTreeMap::new();
            for pooled in self.services.values() {
                if let Some(group) = pooled.service.group {
                    let worst = found.entry(group).or_default();
                    *worst = (*worst).max(pooled.shortfall);
                }
            }
            for (group, worst) in found {
                if let Some(outlook) = self.outlooks.get_mut(&group) {
                    outlook.find(worst, now);
                }
            }
        }
        self.outlooks.values_mut().for_each(|outlook| outlook.forget(now));
        self.outlooks.iter().map(|(group, outlook)| (*group, outlook.shortfall(now))).collect()
    }

    fn state(&self, probes: &[ProbeId]) -> State {
        let mut state = State::Well;
        for probed in probes.iter().filter_map(|id| self.probes.get(id)) {
            match probed.health.state() {
                State::Well => {}
                State::Unknown => state = State::Unknown,
                State::Bad(why) => return State::Bad(why.clone()),
            }
        }
        state
    }
}
