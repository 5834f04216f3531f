//! Evidence: asks the network when the core wants to know, and says who answered.
//!
//! And reach: where a group asks for ping targets, they are asked all the time, once a second; a target counts while one
//! of its last three pings was answered. What is tracked and has a weight counts as targets do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::beat::{Beat, Phase};
use crate::cluster::{Answerer, Input, Round};
use crate::config::{Config, Reach, Timing};
use crate::net::probe::{self, Heard, Prober};
use crate::time::Span;
use crate::types::{GroupId, InterfaceId, LinkId, NodeId};

use super::addresses::Service;
use super::belief::{Belief, Beliefs, Look};
use super::paths::{Paths, Verdict};

/// How often targets are asked where a group's fitness hangs on them.
const REACH_EVERY: Span = Span::seconds(1);

/// So many pings in a row a target may miss.
const MISSES: u64 = 3;

/// Rounds of our own begin here; the core's never get so far.
const OWN_ROUNDS: u64 = 1 << 63;

/// Rounds that ask about a path carry its interface.
const PATH_ROUNDS: u64 = 1 << 62;

/// What is asked, and through which interfaces.
#[derive(Debug)]
pub(super) struct Probes {
    prober: Prober,
    services: BTreeMap<InterfaceId, Service>,
    addresses: BTreeMap<InterfaceId, Vec<(GroupId, IpAddr)>>,
    /// Those of the configuration, in groups; empty: each interface's gateways.
    targets: Vec<Vec<IpAddr>>,
    reach: Option<Watched>,
    /// What counts as so many reached targets more.
    weight: u16,
    paths: Paths,
    beliefs: Beliefs,
    /// When paths are judged next.
    judge_at: Span,
    timing: Timing,
}

/// The reach of this node.
#[derive(Debug, Default)]
struct Watched {
    rounds: u64,
    next_at: Span,
    /// The newest round that each ping group answered.
    answered: BTreeMap<usize, u64>,
    told: Option<u16>,
}

impl Probes {
    pub(super) fn new(config: &Config, token: u64, now: Span) -> io::Result<Self> {
        let mut probes = Self {
            prober: Prober::new(token)?,
            services: BTreeMap::new(),
            addresses: BTreeMap::new(),
            targets: Vec::new(),
            reach: None,
            weight: 0,
            paths: Paths::default(),
            beliefs: Beliefs::new(config.timing.keepalive),
            judge_at: Span::ZERO,
            timing: config.timing,
        };
        probes.configure(config, now);
        Ok(probes)
    }

    pub(super) fn configure(&mut self, config: &Config, now: Span) {
        self.timing = config.timing;
        self.paths.configure(config, now);
        self.judge_at = now;
        let asked = self.beliefs.configure(config.timing.keepalive, now);
        self.seek_no_more(&asked);
        self.addresses.clear();
        // Of what every node has an answer tells nothing.
        for placement in config.addresses().into_iter().filter(|one| one.address.shared.is_none()) {
            let asked = self.addresses.entry(placement.interface).or_default();
            asked.push((placement.group, placement.address.address));
        }
        self.targets.clone_from(&config.tiebreak.ping);
        let wanted = config.groups.values().any(|group| group.reach != Reach::Any);
        self.reach = wanted.then(|| self.reach.take().unwrap_or_default());
    }

    /// An interface as it is now. What the core should know of it.
    pub(super) fn service(&mut self, id: InterfaceId, service: Option<Service>, now: Span) -> Option<Input> {
        if let Some(service) = &service {
            self.paths.found(id, &service.interface.name, now);
            self.judge_at = now;
        }
        let any = service.as_ref().is_some_and(|service| !service.gateways.is_empty());
        match service {
            Some(service) => drop(self.services.insert(id, service)),
            None => drop(self.services.remove(&id)),
        }
        let macs: BTreeSet<_> = self.services.values().map(|service| service.interface.mac).collect();
        self.prober.own(macs);
        self.targets.is_empty().then_some(Input::Targets { interface: id, any })
    }

    /// A round of the core's. What cannot be asked is not answered.
    pub(super) fn ask(
        &mut self,
        round: Round,
        id: InterfaceId,
        groups: &[GroupId],
        now: Span,
    ) -> Result<(), String> {
        let asked = self.addresses.get(&id).map_or(&[][..], Vec::as_slice);
        let asked: Vec<(GroupId, IpAddr)> =
            asked.iter().filter(|(group, _)| groups.contains(group)).copied().collect();
        self.ask_through(round.0, id, &asked, now)
    }

    fn ask_through(
        &mut self,
        round: u64,
        id: InterfaceId,
        asked: &[(GroupId, IpAddr)],
        now: Span,
    ) -> Result<(), String> {
        let Some(service) = self.services.get(&id) else { return Ok(()) };
        let gateways: Vec<Vec<IpAddr>>;
        let targets = if self.targets.is_empty() {
            gateways = service.gateways.iter().map(|gateway| vec![*gateway]).collect();
            &gateways
        } else {
            &self.targets
        };
        self.prober.ask(round, &service.interface, asked, targets, now).map_err(|failure| failure.to_string())
    }

    /// Counts from the next round on.
    pub(super) fn weigh(&mut self, weight: u16) {
        self.weight = weight;
    }

    /// The numbers of interfaces mean others from now on.
    pub(super) fn forget_interfaces(&mut self) {
        self.services.clear();
        self.paths = Paths::default();
    }

    /// A peer was heard over a link.
    pub(super) fn heard(&mut self, link: LinkId, now: Span) {
        self.paths.heard(link, now);
    }

    /// A beat says who holds what.
    pub(super) fn told(&mut self, beat: &Beat, now: Span) {
        for (group, claim) in &beat.claims {
            if claim.phase == Phase::Held {
                self.beliefs.said(*group, beat.sender, now);
            }
        }
    }

    /// It is held here.
    pub(super) fn held(&mut self, group: GroupId) {
        let asked = self.beliefs.forget(group);
        self.seek_no_more(&asked);
    }

    /// What was found of groups that others took.
    pub(super) fn look(&mut self, now: Span) -> Vec<(GroupId, NodeId, Belief)> {
        let mut found = Vec::new();
        for look in self.beliefs.run(now) {
            match look {
                Look::Ask(group) => {
                    let asked = self.seek(group);
                    self.beliefs.asked(group, asked.into_iter());
                }
                Look::Done(addresses) => self.seek_no_more(&addresses),
                Look::Found(group, holder, belief) => found.push((group, holder, belief)),
            }
        }
        found
    }

    /// Asks for one address of a group through each interface: what a switch believes of one, it believes of all.
    fn seek(&mut self, group: GroupId) -> Vec<IpAddr> {
        let Self { services, addresses, prober, .. } = self;
        let first = addresses.iter().filter_map(|(id, asked)| {
            let (_, address) = asked.iter().find(|(of, _)| *of == group)?;
            Some((services.get(id).filter(|service| service.carrier)?, *address))
        });
        let asked = first.filter(|(service, address)| prober.seek(&service.interface, *address).is_ok());
        asked.map(|(_, address)| address).collect()
    }

    fn seek_no_more(&mut self, asked: &[IpAddr]) {
        asked.iter().for_each(|address| self.prober.forget(*address));
    }

    /// What was answered since the last look.
    pub(super) fn read(&mut self, now: Span) -> Vec<Input> {
        let mut inputs = Vec::new();
        let Self { reach, paths, beliefs, prober, .. } = self;
        let read = prober.read(|heard| match heard {
            Heard::Answer { round, from: probe::Answerer::Target(place) } if round >= OWN_ROUNDS => {
                if let Some(reach) = reach {
                    reach.answered.insert(place, round - OWN_ROUNDS);
                }
            }
            Heard::Answer { round, from: probe::Answerer::Target(_) } if round >= PATH_ROUNDS => {
                paths.answered(InterfaceId(u16::try_from(round - PATH_ROUNDS).unwrap_or(u16::MAX)), now);
            }
            Heard::Answer { round, from } => {
                let from = match from {
                    probe::Answerer::Target(_) => Answerer::Target,
                    probe::Answerer::Address(group) => Answerer::Group(group),
                };
                inputs.push(Input::Answer { round: Round(round), from });
            }
            Heard::Owner { address, mac, .. } => beliefs.answered(address, mac),
            Heard::Rival { .. } => {}
        });
        // What cannot be read was not answered: that delays a takeover, and never causes one.
        drop(read);
        inputs
    }

    /// What is due: the next round of reach, and sockets that are not needed any more.
    pub(super) fn run(&mut self, now: Span) -> Option<Input> {
        self.prober.run(now);
        let reach = self.reach.as_mut().filter(|reach| reach.next_at <= now)?;
        let counts = |round: u64| round + MISSES > reach.rounds;
        let reached = reach.answered.values().filter(|round| counts(**round)).count();
        let reached = u16::try_from(reached).unwrap_or(u16::MAX).saturating_add(self.weight);
        let news = reach.rounds >= MISSES && reach.told != Some(reached);
        if news {
            reach.told = Some(reached);
        }
        reach.rounds += 1;
        reach.next_at = now + REACH_EVERY;
        let round = OWN_ROUNDS + reach.rounds;
        let ids: Vec<InterfaceId> = self.services.keys().copied().collect();
        for id in ids {
            // A target that cannot be asked does not answer.
            drop(self.ask_through(round, id, &[], now));
        }
        news.then_some(Input::Reach { targets: reached })
    }

    /// Looks at the paths of the service interfaces: those that died, and those that live again.
    pub(super) fn judge_paths(&mut self, now: Span) -> Vec<(InterfaceId, bool)> {
        if now < self.judge_at {
            return Vec::new();
        }
        let (verdicts, next) = self.paths.judge(&self.timing, now);
        self.judge_at = next;
        let mut changed = Vec::new();
        for verdict in verdicts {
            match verdict {
                // What cannot be asked is not answered.
                Verdict::Ask(id) => drop(self.ask_through(PATH_ROUNDS + u64::from(id.0), id, &[], now)),
                Verdict::Dead(id) if self.has_targets(id) => changed.push((id, false)),
                // Without a target silence alone does not tell which side is dead.
                Verdict::Dead(_) => {}
                Verdict::Alive(id) => changed.push((id, true)),
            }
        }
        changed
    }

    fn has_targets(&self, id: InterfaceId) -> bool {
        let gateways = self.services.get(&id).is_some_and(|service| !service.gateways.is_empty());
        !self.targets.is_empty() || gateways
    }

    /// Sockets for somebody who has the time to close them.
    pub(super) fn take_spent(&mut self) -> Vec<OwnedFd> {
        self.prober.take_spent()
    }

    pub(super) fn next_due(&self) -> Span {
        let own = self.reach.as_ref().map(|reach| reach.next_at);
        let others = [self.judge_at, self.beliefs.next_due()];
        self.prober.next_due().into_iter().chain(own).chain(others).min().unwrap_or(Span(u64::MAX))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.prober.as_fd()
    }
}
