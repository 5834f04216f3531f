//! The service network: each machine has a cable per interface to a switch; a ping target stands behind it.
//!
//! **What "the evidence can tell" means.** A pair's evidence is *coherent* at a time if throughout the last three
//! leases (a) whoever reaches the switch reaches everybody else who does, and the target either answers all of them or
//! nobody: no split behind the switch; (b) no probe, ping or answer was lost or late except for a broken cable or a
//! dead target; (c) no beat on a link that shares the service cable was lost or delayed but by that cable. Broken
//! cables, dead targets, dead heartbeat networks, hung and dead daemons and machines are all coherent: there invariant
//! 1 holds for a pair as for a majority. At other times two holders are counted as *deceived*.
//!
//! A holder whose address does not run (not started yet, or it died) is invisible to any evidence: such an overlap is
//! counted, and judged again at every renewal, so it must end before both addresses answer.

use std::collections::{BTreeMap, VecDeque};

use systole::cluster::{Answerer, Round};
use systole::types::{GroupId, InterfaceId};

use crate::world::{What, World};

/// How a machine's cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// As it should be.
    Plugged,
    /// Pulled at the machine: its carrier is lost.
    Pulled,
    /// Cut behind the switch: the carrier stays.
    Cut,
}

/// The switch and what is behind it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) target_up: bool,
    /// The machines reach the target but not each other.
    pub(crate) split: bool,
    /// Of 1,000 probes and pings.
    pub(crate) loss: u64,
    /// Kernels that don't know a target's hardware address keep pings back until they do.
    pub(crate) keeps: bool,
    kept: BTreeMap<(usize, InterfaceId), VecDeque<Kept>>,
    /// The last true time at which the evidence was known to be incoherent.
    pub(crate) incoherent: Option<u64>,
}

/// A ping that its kernel keeps back.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: u64,
    life: u64,
    round: Round,
}

/// So many pings a kernel keeps for a target; of more, the oldest are dropped.
const KEPT: usize = 3;

/// For so long a kernel looks for a target's hardware address. (µs)
const KEPT_FOR: u64 = 3_000_000;

impl Service {
    pub(crate) fn new() -> Self {
        Self { target_up: true, split: false, loss: 0, keeps: false, kept: BTreeMap::new(), incoherent: None }
    }
}

impl World {
    /// Whether the evidence can tell, now.
    pub(crate) fn coherent(&mut self) -> bool {
        self.note_coherence();
        let lease = self.longest_lease;
        self.service.incoherent.is_none_or(|at| at + 3 * lease < self.now)
    }

    /// Called before anything that could end an incoherent time, and whenever somebody asks.
    pub(crate) fn note_coherence(&mut self) {
        if self.service.split || self.service.loss > 0 || self.net.disturbs_service() {
            self.service.incoherent = Some(self.now);
        }
    }

    /// Whether a machine's frames get to the switch and back.
    pub(crate) fn cable_works(&self, node: usize, interface: InterfaceId) -> bool {
        let machine = &self.machines[node];
        machine.alive() && machine.cables.get(usize::from(interface.0)) == Some(&Cable::Plugged)
    }

    /// Asks for addresses and pings the target; answers come as events.
    pub(crate) fn probe(&mut self, node: usize, round: Round, interface: InterfaceId, groups: &[GroupId]) {
        if !self.reaches_target(node, interface) {
            self.keep_back(node, round, interface);
        }
        if !self.cable_works(node, interface) {
            return;
        }
        if self.service.target_up {
            self.answer(node, round, Answerer::Target);
        }
        if self.service.split {
            return;
        }
        for &group in groups {
            let answers = |other: &usize| {
                let machine = &self.machines[*other];
                *other != node
                    && self.cable_works(*other, interface)
                    && machine.kernel.stands(group, self.now)
                    && machine.running.contains(&(group, 0))
            };
            if (0..self.machines.len()).any(|other| answers(&other)) {
                self.answer(node, round, Answerer::Group(group));
            }
        }
    }

    fn reaches_target(&self, node: usize, interface: InterfaceId) -> bool {
        self.service.target_up && self.cable_works(node, interface)
    }

    /// A ping that cannot leave. Questions for addresses are lost: no kernel keeps them. A pulled cable has no route.
    fn keep_back(&mut self, node: usize, round: Round, interface: InterfaceId) {
        let machine = &self.machines[node];
        let pulled = machine.cables.get(usize::from(interface.0)) == Some(&Cable::Pulled);
        if !self.service.keeps || pulled {
            return;
        }
        let ping = Kept { at: self.now, life: machine.daemon.life, round };
        let kept = self.service.kept.entry((node, interface)).or_default();
        kept.push_back(ping);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// Pings that were kept back leave where the path is whole again.
    pub(crate) fn let_go(&mut self) {
        let whole = |place: &(usize, InterfaceId)| self.reaches_target(place.0, place.1);
        let places: Vec<(usize, InterfaceId)> = self.service.kept.keys().copied().filter(whole).collect();
        for (node, interface) in places {
            for ping in self.service.kept.remove(&(node, interface)).unwrap_or_default() {
                let lives = self.machines[node].daemon.life == ping.life;
                if lives && self.now <= ping.at + KEPT_FOR {
                    self.stats.bump("pings that were kept back, and answered late");
                    self.answer(node, ping.round, Answerer::Target);
                }
            }
        }
    }

    fn answer(&mut self, node: usize, round: Round, from: Answerer) {
        if self.service.loss > 0 && self.rng.chance(self.service.loss) {
            return;
        }
        let round_trip = 100 + self.rng.below(900);
        let life = self.machines[node].daemon.life;
        self.schedule(round_trip, What::Answer { node, life, round, from });
    }
}
