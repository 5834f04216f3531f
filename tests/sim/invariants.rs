//! What must never happen, and what must happen in the end. Numbers as in chapter 7 of the protocol's page.

use std::collections::BTreeMap;

use systole::cluster::{Action, Effect, Ticket};
use systole::config::{Config, Promise, Resource, TiebreakMethod};
use systole::time::Span;
use systole::types::GroupId;

use crate::agents::limit;
use crate::world::{Seen, World};

/// Two of a pair took a group within the start of an address. It takes two that wait from different moments, so it is
/// rare; where it were common, waits would be wrong.
pub(crate) const AT_ONCE: &str = "takers in the same moment, which evidence cannot see";

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// 1 to 7 as in the protocol's page, 8 replay, 9 hygiene.
    pub(crate) invariant: u8,
    pub(crate) at: u64,
    pub(crate) what: String,
}

/// The last raise of a group's element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) node: usize,
    /// Its daemon dropped it in good order.
    pub(crate) dropped: bool,
}

/// What the checks remember.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) last: BTreeMap<GroupId, Holding>,
    /// How often each group went to another node.
    pub(crate) moves: BTreeMap<GroupId, u64>,
    /// How often an element of it ended.
    pub(crate) gaps: BTreeMap<GroupId, u64>,
    /// Remainders that stand beside another's lease: node, group, since when.
    remainders: Vec<(usize, GroupId, u64)>,
    /// Stops of resources that are not warm.
    pub(crate) stops: u64,
}

/// So many beats may leave in a row: four changes, in a crowd one, and a regular beat before or after them.
const IN_A_ROW: usize = 5;
const IN_A_ROW_IN_A_CROWD: usize = 2;

/// The next one is at least so far from the first of these.
const BETWEEN_BEATS: u64 = 990;

/// So many nodes are a crowd.
const CROWD: usize = 10;

impl World {
    pub(crate) fn violate(&mut self, invariant: u8, what: String) {
        if self.violation.is_none() {
            self.say_world(|| format!("VIOLATION of invariant {invariant}: {what}"));
            self.violation = Some(Violation { invariant, at: self.now, what });
        }
    }

    fn exclusive(&self, node: usize, group: GroupId) -> bool {
        self.machines[node].config.groups.get(&group).is_some_and(|group| group.exclusive)
    }

    fn promise(&self, group: GroupId) -> Promise {
        let of = |config: &Config| config.groups.get(&group).map(|group| group.promise);
        of(&self.config)
            .or_else(|| self.configs.iter().find_map(|config| of(config)))
            .unwrap_or(Promise::AtMostOne)
    }

    /// Whether one of two nodes may rest on evidence.
    fn by_evidence(&self, nodes: [usize; 2]) -> bool {
        nodes.iter().any(|&node| {
            let config = &self.machines[node].config;
            config.nodes.len() == 2 && config.tiebreak.method == TiebreakMethod::Evidence
        })
    }

    /// An element stands from now on, or goes on standing: nobody else's may.
    pub(crate) fn note_raise(&mut self, node: usize, group: GroupId, stood: bool) {
        if !stood {
            self.see(node, Seen::Raised(group));
            let last = self.checks.last.insert(group, Holding { node, dropped: false });
            if let Some(last) = last.filter(|last| last.node != node) {
                *self.checks.moves.entry(group).or_default() += 1;
                self.stats.exercise(1);
                self.stats.bump(if last.dropped { "hand-overs" } else { "takeovers" });
            } else if last.is_some() {
                self.stats.bump("raised again on the same node");
            }
        }
        if self.promise(group) == Promise::AtLeastOne {
            return;
        }
        for other in 0..self.machines.len() {
            let stands = self.machines[other].alive() && self.machines[other].kernel.stands(group, self.now);
            if other != node && stands {
                self.judge_overlap([node, other], group, stood);
            }
        }
    }

    /// Two elements of one group stand at the same true time.
    fn judge_overlap(&mut self, nodes: [usize; 2], group: GroupId, known: bool) {
        let woken = nodes.iter().find(|&&node| self.is_remainder(node, group));
        if let Some(&node) = woken {
            let woke = self.machines[node].woke.unwrap_or(self.now);
            self.checks.remainders.push((node, group, woke));
            return;
        }
        if self.by_evidence(nodes) && !self.coherent() {
            if !known {
                self.stats.bump("deceived");
            }
            return;
        }
        if self.by_evidence(nodes)
            && nodes.iter().any(|&node| !self.machines[node].running.contains(&(group, 0)))
        {
            // Evidence is that the address answers. The next renewal is judged again.
            if !known {
                self.stats.bump("holders without an address, which evidence cannot see");
            }
            return;
        }
        if !self.options.strict && self.by_evidence(nodes) && self.taken_at_once(nodes, group) {
            if !known {
                self.stats.bump(AT_ONCE);
            }
            return;
        }
        let [a, b] = nodes.map(|node| self.machines[node].name.clone());
        self.violate(1, format!("the elements of {group:?} stand on {a} and on {b}"));
    }

    /// Both raised it before the other's address was up and could answer a round; a lease later one has yielded.
    fn taken_at_once(&self, nodes: [usize; 2], group: GroupId) -> bool {
        let raised =
            nodes.map(|node| self.machines[node].kernel.elements.get(&group).map_or(0, |e| e.raised));
        let keepalive =
            self.configs.iter().map(|config| config.timing.keepalive.as_micros()).max().unwrap_or(0);
        let unseen = keepalive + 2_000 + self.agents_slow + 5_000;
        let [earlier, later] = [raised[0].min(raised[1]), raised[0].max(raised[1])];
        later - earlier <= unseen && self.now <= later + self.longest_lease
    }

    /// What is left of a lease after a pause; where this node may hold on evidence, each of the two must also have seen the
    /// other answer for as long, in rounds that are a keepalive apart.
    pub(crate) fn longest_remainder(&self, node: usize) -> u64 {
        let keepalive = self.machines[node].config.timing.keepalive.as_micros();
        let rounds = if self.by_evidence([node, node]) { 2 * keepalive } else { 0 };
        (self.longest_lease + rounds) * 102 / 100 + 5_000
    }

    /// Whether what stands here stands from before a pause.
    fn is_remainder(&self, node: usize, group: GroupId) -> bool {
        let machine = &self.machines[node];
        let raised = machine.kernel.elements.get(&group).map_or(0, |element| element.raised);
        let ends = machine.kernel.end_of(group).unwrap_or(0);
        // Won after it woke, by answers to a beat from before, of which it cannot know how old it is.
        let asked_before =
            |woke| machine.unaware && ends <= woke + machine.config.timing.deadtime.as_micros();
        let bound = self.longest_remainder(node);
        machine.woke.is_some_and(|woke| self.now <= woke + bound && (raised < woke || asked_before(woke)))
    }

    /// A machine goes on with the elements that it had.
    pub(crate) fn check_wake(&mut self, node: usize) {
        let groups: Vec<GroupId> = self.machines[node].kernel.elements.keys().copied().collect();
        for group in groups {
            if self.machines[node].kernel.stands(group, self.now) && self.others_stand(node, group, |_| true)
            {
                self.checks.remainders.push((node, group, self.now));
            }
        }
    }

    fn others_stand(&self, node: usize, group: GroupId, counts: impl Fn(usize) -> bool) -> bool {
        let stands = |(other, machine): (usize, &crate::node::Machine)| {
            other != node && machine.alive() && machine.kernel.stands(group, self.now) && counts(other)
        };
        self.promise(group) == Promise::AtMostOne && self.machines.iter().enumerate().any(stands)
    }

    pub(crate) fn check_remainder(&mut self, node: usize, woke: u64) {
        if self.machines[node].woke != Some(woke) || !self.machines[node].alive() {
            return;
        }
        let elements = self.machines[node].kernel.elements.clone();
        for (group, element) in elements {
            let left = element.raised < woke && self.machines[node].kernel.stands(group, self.now);
            // Another that woke later has its own time for it.
            let overlaps = left && self.others_stand(node, group, |other| !self.is_remainder(other, group));
            if left && !overlaps {
                // It is the only holder again: what it has now is no remainder.
                self.checks.remainders.retain(|&(at, of, _)| at != node || of != group);
            }
            self.end_remainder(node, group);
            if overlaps && (!self.by_evidence([node, node]) || self.coherent()) {
                let name = self.machines[node].name.clone();
                self.violate(
                    1,
                    format!("a lease after {name} woke up its element of {group:?} still stands"),
                );
            }
        }
    }

    /// Measures how long a remainder stood.
    pub(crate) fn end_remainder(&mut self, node: usize, group: GroupId) {
        let end = self.machines[node].kernel.end_of(group).unwrap_or(self.now).min(self.now);
        let mut longest = 0;
        self.checks.remainders.retain(|&(at, of, woke)| {
            let ends = at == node && of == group;
            if ends {
                longest = longest.max(end.saturating_sub(woke));
            }
            !ends
        });
        if longest > 0 {
            self.stats.bump("remainders after a pause");
            self.stats.greatest("remainder, of 1,000 leases", longest * 1_000 / self.longest_lease);
        }
    }

    /// The daemon deletes an element.
    pub(crate) fn note_drop(&mut self, node: usize, group: GroupId) {
        self.end_remainder(node, group);
        if self.machines[node].kernel.stands(group, self.now) {
            self.see(node, Seen::Dropped(group));
            self.say(node, || format!("kernel: the element of {group:?} is deleted"));
            *self.checks.gaps.entry(group).or_default() += 1;
            if let Some(last) = self.checks.last.get_mut(&group).filter(|last| last.node == node) {
                last.dropped = true;
            }
        }
    }

    /// All elements of a machine are gone at once.
    pub(crate) fn note_elements_gone(&mut self, node: usize) {
        let groups: Vec<GroupId> = self.machines[node].kernel.elements.keys().copied().collect();
        for group in groups {
            self.end_remainder(node, group);
            if self.machines[node].kernel.stands(group, self.now) {
                *self.checks.gaps.entry(group).or_default() += 1;
                self.see(node, Seen::Dropped(group));
            }
        }
    }

    /// What a core decided in one step.
    pub(crate) fn check_effects(&mut self, node: usize, boot: Span, effects: &[Effect]) {
        self.check_leases(node, effects);
        self.check_yields(node, effects);
        let mut sends = 0;
        for effect in effects {
            match effect {
                Effect::RaiseLease { group, until } | Effect::RenewLease { group, until } => {
                    self.machines[node].daemon.until.insert(*group, *until);
                }
                Effect::DropLease { group } => {
                    self.machines[node].daemon.until.remove(group);
                }
                Effect::Run { ticket, action: Action::Start, resource } if !resource.warm => {
                    self.stats.exercise(2);
                    self.check_start(node, boot, *ticket);
                }
                Effect::Send(_) => sends += 1,
                Effect::Run { .. }
                | Effect::Remember(_)
                | Effect::Store(_)
                | Effect::Probe { .. }
                | Effect::Announce { .. }
                | Effect::Fence { .. }
                | Effect::FeedWatchdog
                | Effect::Tell(_)
                | Effect::Left => {}
            }
        }
        if sends > 0 {
            self.stats.exercise(9);
            let in_a_row = if self.machines.len() < CROWD { IN_A_ROW } else { IN_A_ROW_IN_A_CROWD };
            let sent = &mut self.machines[node].daemon.sent;
            let first = sent.len().checked_sub(in_a_row).map(|place| sent[place]);
            if sent.len() == IN_A_ROW {
                sent.pop_front();
            }
            sent.push_back(boot);
            let close = first.is_some_and(|first| boot.as_micros() - first.as_micros() < BETWEEN_BEATS);
            if sends > 1 || close {
                let name = self.machines[node].name.clone();
                self.violate(9, format!("{name} says {sends} beats at {boot}, {in_a_row} after {first:?}"));
            }
        }
    }

    /// Nothing is started without a lease.
    fn check_start(&mut self, node: usize, boot: Span, ticket: Ticket) {
        let until = match self.machines[node].daemon.until.get(&ticket.group) {
            Some(until) => Some(*until),
            // Adopted from an earlier daemon: the kernel knows the end.
            None => self.machines[node].kernel.standing(self.now).get(&ticket.group).map(|left| boot + *left),
        };
        if until.is_none_or(|until| until <= boot) {
            let name = self.machines[node].name.clone();
            let (group, place) = (ticket.group, ticket.resource);
            self.violate(
                2,
                format!("{name} starts {group:?}/{place} without a lease (it ended {until:?}, now {boot})"),
            );
        }
    }

    /// An agent is run.
    pub(crate) fn check_run(&mut self, node: usize, ticket: Ticket, action: Action, resource: &Resource) {
        let key = (ticket.group, ticket.resource);
        let name = self.machines[node].name.clone();
        if self.machines[node].agents.contains_key(&key) {
            self.violate(2, format!("{name} runs two agents of {:?}/{} at once", key.0, key.1));
        }
        if resource.warm {
            return;
        }
        match action {
            Action::Start => {
                self.check_order(node, ticket);
                self.check_stop_order(node, ticket, "starts");
                if self.exclusive(node, ticket.group) {
                    self.check_exclusive(node, ticket);
                }
            }
            Action::Stop => {
                self.checks.stops += 1;
                self.check_stop_order(node, ticket, "stops");
            }
            Action::Probe | Action::Monitor => {}
        }
    }

    fn believes_running(&self, node: usize, group: GroupId, place: u16) -> bool {
        self.machines[node].believed.get(&(group, place)).copied().unwrap_or(false)
    }

    fn check_order(&mut self, node: usize, ticket: Ticket) {
        let runs = |place: u16| {
            self.believes_running(node, ticket.group, place)
                || self.machines[node].running.contains(&(ticket.group, place))
        };
        let config = std::sync::Arc::clone(&self.machines[node].config);
        let Some(group) = config.groups.get(&ticket.group) else { return };
        let places = (0..ticket.resource).zip(&group.resources);
        if let Some((place, _)) =
            places.filter(|(_, resource)| !resource.warm).find(|(place, _)| !runs(*place))
        {
            let name = self.machines[node].name.clone();
            let (group, second) = (ticket.group, ticket.resource);
            self.violate(2, format!("{name} starts {group:?}/{second} before {group:?}/{place} runs"));
        }
    }

    /// What was started last goes first: nothing is stopped, or started, under what rests on it.
    fn check_stop_order(&mut self, node: usize, ticket: Ticket, does: &str) {
        self.stats.bump("stops checked");
        let config = std::sync::Arc::clone(&self.machines[node].config);
        let Some(group) = config.groups.get(&ticket.group) else { return };
        let count = u16::try_from(group.resources.len()).unwrap_or(0);
        for place in ticket.resource + 1..count {
            let broken = self.machines[node].agent_faults.contains_key(&(ticket.group, place));
            let warm = group.resources[usize::from(place)].warm;
            if !warm && !broken && self.believes_running(node, ticket.group, place) {
                let name = self.machines[node].name.clone();
                let (group, first) = (ticket.group, ticket.resource);
                self.violate(2, format!("{name} {does} {group:?}/{first} while {group:?}/{place} runs"));
            }
        }
    }

    /// An exclusive group never starts while another's still runs.
    fn check_exclusive(&mut self, node: usize, ticket: Ticket) {
        self.stats.bump("exclusive starts checked");
        let bound = self.longest_lease * 2 + self.watchdog_time() * 102 / 100;
        let starter = &self.machines[node];
        let resources = starter.config.groups.get(&ticket.group).map(|group| &group.resources);
        let is_cold = |place: u16| {
            resources.and_then(|all| all.get(usize::from(place))).is_some_and(|resource| !resource.warm)
        };
        let began = starter.running.iter().any(|(group, place)| *group == ticket.group && is_cold(*place));
        let knows_no_better =
            starter.unaware && began && starter.woke.is_some_and(|woke| self.now <= woke + bound);
        if knows_no_better {
            // Paused in the middle of its start, with clocks that stood still: it goes on until it hears somebody. Who only
            // waited has started nothing, but for what is warm, and must not begin.
            self.stats.bump("exclusive starts that a pause cut in two");
            return;
        }
        for other in (0..self.machines.len()).filter(|&other| other != node) {
            let machine = &self.machines[other];
            let group = ticket.group;
            let Some(found) = machine.config.groups.get(&group) else { continue };
            let cold = |place: &(GroupId, u16)| {
                place.0 == group && found.resources.get(usize::from(place.1)).is_some_and(|r| !r.warm)
            };
            let woke_lately = machine.woke.is_some_and(|woke| self.now <= woke + bound);
            if machine.alive() && !woke_lately && machine.running.iter().any(cold) {
                let (a, b) = (self.machines[node].name.clone(), machine.name.clone());
                self.violate(2, format!("{a} starts exclusive {group:?} while {b} still runs it"));
            }
        }
    }

    /// Only for an exclusive group, or as the vote of a pair, is anybody switched off.
    pub(crate) fn check_fence(&mut self, node: usize, target: usize) {
        self.stats.bump("fences asked for");
        let machine = &self.machines[node];
        let mut exclusive = machine.config.groups.iter().filter(|(_, group)| group.exclusive);
        // A pair stays one for a while when its voters change.
        let as_vote = self.configs.iter().any(|config| {
            let exclusive = config.groups.values().any(|group| group.exclusive);
            config.nodes.len() == 2 && (exclusive || config.tiebreak.method == TiebreakMethod::Fence)
        });
        let thinks_it_stands = machine.flushed.is_some_and(|at| self.now <= at + self.longest_lease);
        let stands = |group| thinks_it_stands || machine.kernel.elements.contains_key(group);
        let needed = as_vote || exclusive.any(|(group, _)| stands(group));
        if !needed {
            let (a, b) = (machine.name.clone(), self.machines[target].name.clone());
            self.violate(2, format!("{a} fences {b} without need"));
        }
    }

    /// After so long a machine without a lease has been reset: two timeouts, and a part of one for a late meal.
    pub(crate) fn watchdog_time(&self) -> u64 {
        let times = self.configs.iter().filter_map(|config| config.watchdog.as_ref());
        let longest = times.map(|watchdog| watchdog.timeout.as_micros()).max().unwrap_or(0);
        longest * 2 + longest / systole::cluster::LATEST_MEAL
    }

    /// A daemon says that it has handed over everything.
    pub(crate) fn check_left(&mut self, node: usize) {
        let standing = self.machines[node].kernel.standing(self.now);
        if let Some(group) = standing.keys().next() {
            let name = self.machines[node].name.clone();
            self.violate(2, format!("{name} has left, and its element of {group:?} stands"));
        }
    }

    /// Whether every group is held exactly once by these machines: the lease, and all that runs under it.
    pub(crate) fn held_once(&self, by: impl Fn(usize) -> bool) -> Result<(), String> {
        let single = self.config.groups.iter().filter(|(_, group)| group.clone_of.is_none());
        single.map(|(id, _)| *id).try_for_each(|group| self.group_held_once(group, &by))?;
        self.clones_held(by)
    }

    pub(crate) fn group_held_once(&self, group: GroupId, by: impl Fn(usize) -> bool) -> Result<(), String> {
        match self.held_at_most_once(group, by)? {
            None if self.config.groups.contains_key(&group) => {
                Err(format!("{} is held by nobody", self.names_of(group)))
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Who of these holds a group, if anybody does: the lease, and all that runs under it, and nobody else.
    pub(crate) fn held_at_most_once(
        &self,
        group: GroupId,
        by: impl Fn(usize) -> bool,
    ) -> Result<Option<usize>, String> {
        let Some(found) = self.config.groups.get(&group) else { return Ok(None) };
        let stands = |node: &usize| {
            self.machines[*node].alive() && self.machines[*node].kernel.stands(group, self.now)
        };
        let holders: Vec<usize> = (0..self.machines.len()).filter(|&node| by(node)).filter(stands).collect();
        let holder = match holders[..] {
            [] => None,
            [holder] => Some(holder),
            [..] => return Err(format!("{} is held by {} nodes", found.name, holders.len())),
        };
        if let Some(holder) = holder.filter(|&holder| !self.machines[holder].serves(group, &self.config)) {
            return Err(format!("{} is not served whole on {}", found.name, self.machines[holder].name));
        }
        let cold = |place: &&(GroupId, u16)| {
            place.0 == group && found.resources.get(usize::from(place.1)).is_some_and(|r| !r.warm)
        };
        // What was released dirty was told; who is no member any more is the operator's.
        let second =
            (0..self.machines.len()).filter(|&node| by(node) && Some(node) != holder).find(|&node| {
                let machine = &self.machines[node];
                let member = self.config.nodes.contains_key(&machine.id);
                member && machine.on && machine.running.iter().any(|place| cold(&place))
            });
        match second {
            Some(second) => Err(format!("{} also runs on {}", found.name, self.machines[second].name)),
            None => Ok(holder),
        }
    }

    /// Who holds a group now, by its kernel.
    pub(crate) fn holder(&self, group: GroupId) -> Option<usize> {
        let stands = |node: &usize| {
            self.machines[*node].alive() && self.machines[*node].kernel.stands(group, self.now)
        };
        (0..self.machines.len()).find(stands)
    }

    /// How long after the last fault every group must be held exactly once. Honestly derived:
    /// - a machine that has just booted waits for initdead to see a majority, or holds off for the longest lease;
    /// - an old lease or grant runs out: L; a claim is not won for 2 L and stays away for up to 2 L;
    /// - the plan is wrong: 2 L and 3 keepalives for each rank before somebody steps in;
    /// - a failure keeps a node away for its window; failback waits for its delay;
    /// - an exclusive group waits for W, or for a fence agent (a lease at most) and the boot after it (5 L);
    /// - an agent that hangs when the fault ends takes its limit, then everything is stopped and started once;
    /// - 2 L and the agents' time once more for each group that waits for another.
    pub(crate) fn bound(&self) -> u64 {
        let lease = self.longest_lease;
        let of = |span: Span| span.as_micros();
        let keepalive = self.configs.iter().map(|c| of(c.timing.keepalive)).max().unwrap_or(0);
        let initdead = self.configs.iter().map(|c| of(c.timing.initdead)).max().unwrap_or(0);
        let groups = || self.configs.iter().flat_map(|config| config.groups.values());
        let window = groups().map(|group| of(group.failure_window)).max().unwrap_or(0);
        let failback = groups().map(|group| of(group.failback_delay)).max().unwrap_or(0);
        let resources = groups().flat_map(|group| &group.resources);
        let limits = resources.map(|r| limit(r, Action::Start).max(limit(r, Action::Stop)));
        let hanging = limits.max().unwrap_or(0);
        let longest = groups().map(|group| group.resources.len() as u64).max().unwrap_or(0);
        let agents = 2 * longest * (2_000 + self.agents_slow);
        let fencing = groups().any(|group| group.exclusive) || self.fences();
        let fence = if fencing { 6 * lease + self.watchdog_time() } else { 0 };
        let chain = groups().map(|group| group.after.len() as u64).sum::<u64>().min(3) * (2 * lease + agents);
        let claims = 7 * lease + 3 * keepalive * self.machines.len() as u64;
        let bound = initdead.max(lease) + claims + window + failback + fence + hanging + agents + chain;
        (bound + self.restart_delay) * 102 / 100
    }

    pub(crate) fn fences(&self) -> bool {
        self.configs.iter().any(|config| config.tiebreak.method == TiebreakMethod::Fence)
    }

    pub(crate) fn names_of(&self, group: GroupId) -> String {
        self.config.groups.get(&group).map_or_else(|| format!("{group:?}"), |group| group.name.clone())
    }
}
