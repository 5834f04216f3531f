//! The servers behind a group: who loses how many of them, and when each node finds out.
//!
//! A director beside each daemon asks the servers and tells what it found, damped by the code that the real one has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use systole::cluster::{Effect, Event, Input, Reason, StopReason, Unable};
use systole::config::{At, Balancer, Config, Service, Transport, WhenDown};
use systole::director::pool::Outlook;
use systole::time::Span;
use systole::types::GroupId;

use crate::faults::Who;
use crate::world::{What, World};

/// Everybody has found out after so long, in microseconds.
const FOUND: u64 = 300_000;

/// What a director waits for: to find down and up again, and the way of the news.
const WINDOW: Span = Span::millis(700);

/// How much of a group's servers is lost to a machine.
pub(crate) type Lost = BTreeMap<(usize, GroupId), u8>;

/// How the servers of each group look to the director beside a daemon.
pub(crate) type Views = BTreeMap<(usize, GroupId), Outlook>;

/// What is counted where everybody loses the same; no other fault is about servers.
pub(crate) const LOST_TO_ALL: &str = "servers that everybody loses";

/// A group serves something.
pub(crate) fn serve(config: &mut Config, group: &str) {
    let service = Service {
        at: At::Address { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 80, protocol: Transport::Tcp },
        group: Some(GroupId::of(group)),
        balancer: Balancer::Nftables,
        scheduler: None,
        persistence: None,
        one_packet: false,
        servers: BTreeMap::new(),
        sorry: None,
        quorum: 1,
        hysteresis: 0,
        when_down: WhenDown::Remove,
        drain: Span::ZERO,
    };
    config.services.insert(group.to_owned(), Arc::new(service));
}

/// The groups that serve something.
fn served(config: &Config) -> Vec<GroupId> {
    config.services.values().filter_map(|service| service.group).collect()
}

impl World {
    /// So much of the servers of a group is lost to a node, or to everybody. One that serves nothing has none.
    pub(crate) fn lose_servers(&mut self, group: usize, percent: u8, of: Option<Who>) {
        let Some(group) = self.group_at(group) else { return };
        let one = of.map(|who| self.who(who));
        for node in (0..self.machines.len()).filter(|node| one.is_none_or(|one| one == *node)) {
            let lost = self.lost.entry((node, group)).or_default();
            *lost = percent;
            let after = self.rng.below(FOUND);
            self.schedule(after, What::Servers { node, group });
        }
    }

    /// A director begins: it has asked nobody yet.
    pub(crate) fn begin_views(&mut self, node: usize) {
        self.views.retain(|(of, _), _| *of != node);
        self.find_more_servers(node);
    }

    /// A director is told what is served.
    pub(crate) fn find_more_servers(&mut self, node: usize) {
        let machine = &self.machines[node];
        let served = if machine.arbiter { Vec::new() } else { served(&machine.config) };
        self.views.retain(|(of, group), _| *of != node || served.contains(group));
        for group in served {
            self.views.entry((node, group)).or_insert_with(|| Outlook::new(WINDOW));
            let after = self.rng.below(FOUND);
            self.schedule(after, What::Servers { node, group });
        }
    }

    /// A director finds out.
    pub(crate) fn find_servers(&mut self, node: usize, group: GroupId) {
        let (now, lost) = (Span(self.now), self.lost.get(&(node, group)).copied().unwrap_or(0));
        let Some(view) = self.views.get_mut(&(node, group)) else { return };
        view.find(lost, now);
        self.tell_servers(node, group);
    }

    /// It tells its daemon, and again when it may look otherwise.
    pub(crate) fn tell_servers(&mut self, node: usize, group: GroupId) {
        let now = Span(self.now);
        let Some(view) = self.views.get_mut(&(node, group)) else { return };
        view.forget(now);
        let shortfall = view.shortfall(now);
        let next = view.next();
        self.input(node, Input::Shortfall { group, shortfall });
        if let Some(next) = next {
            self.schedule((next - now).as_micros(), What::Outlook { node, group });
        }
    }

    pub(crate) fn mend_servers(&mut self) {
        for (node, group) in std::mem::take(&mut self.lost).into_keys() {
            let after = self.rng.below(FOUND);
            self.schedule(after, What::Servers { node, group });
        }
    }

    /// Nobody yields for what everybody has lost. Where news are late, or nodes come and go, it cannot be known.
    pub(crate) fn check_yields(&mut self, node: usize, effects: &[Effect]) {
        for effect in effects {
            let Effect::Tell(Event::Stopping { group, because, .. }) = effect else { continue };
            let StopReason::Plan(Reason::NextInOrder { because: Unable::Shortfall(percent), .. }) = because
            else {
                continue;
            };
            self.stats.exercise(10);
            let only = self.stats.faults.keys().all(|kind| *kind == LOST_TO_ALL);
            if only && !self.healed {
                let (name, group) = (self.machines[node].name.clone(), self.names_of(*group));
                let what = format!("{name} gives {group} away for {percent} % that everybody has lost");
                self.violate(10, what);
            }
        }
    }
}
