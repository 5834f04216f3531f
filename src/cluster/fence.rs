//! Switching a node off, and what may wait for it.
//!
//! The fence agent's success is a vote: that machine is off, so nothing runs there. A node of a pair that has not seen
//! the other since its own start does not fence it (it may only be the network that is late); the one that holds nothing
//! waits, so that of two that don't hear each other the holder wins.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::Beat;
use crate::config::TiebreakMethod;
use crate::time::{Moment, Span};
use crate::types::{GroupId, Incarnation, NodeId};

use super::groups::State;
use super::{Core, Effect, Effects, Event, Liveness, Mutant};

/// A watchdog is fed for a beat within this part of its timeout, or not at all.
pub const LATEST_MEAL: u64 = 4;

/// Which nodes are off, and which are being switched off.
#[derive(Clone, Debug, Default)]
pub(super) struct Fencing {
    /// Off for sure; until this life of it is followed by a later one.
    pub(super) off: BTreeMap<NodeId, Incarnation>,
    pub(super) under_way: BTreeMap<NodeId, u64>,
    pub(super) failed_at: BTreeMap<NodeId, Moment>,
    pub(super) generation: u64,
    /// Whether this machine's watchdog counts and can be fed, once that is known.
    pub(super) watchdog_counts: Option<bool>,
}

impl Fencing {
    pub(super) fn is_off(&self, node: NodeId) -> bool {
        self.off.contains_key(&node)
    }
}

impl Core {
    /// Switches off whom a group waits for, and the silent other of a pair.
    pub(super) fn watch_fences(&mut self, fx: &mut Effects) {
        self.forget_the_returned();
        if self.config.fences.is_empty() {
            return;
        }
        for node in self.in_the_way() {
            self.fence(node, fx);
        }
    }

    /// A node of which anybody has heard a later life is not off.
    fn forget_the_returned(&mut self) {
        let Self { fencing, peers, .. } = self;
        fencing.off.retain(|node, life| {
            let heard = |peer: &super::Peer| {
                peer.beat()
                    .and_then(|beat| beat.heard.get(node))
                    .is_some_and(|heard| heard.incarnation > *life)
            };
            let returned = peers.get(node).is_some_and(|peer| {
                peer.up() || peer.newest().is_some_and(|(beat, _)| beat.incarnation > *life)
            });
            !returned && !peers.values().any(heard)
        });
    }

    fn in_the_way(&mut self) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        let exclusive =
            |tenure: &super::groups::Tenure| tenure.group.exclusive && tenure.plan.owner == Some(self.me);
        let by_fence = self.voters.now.method == TiebreakMethod::Fence
            || self.config.watchdog.is_none() && self.groups.values().any(exclusive);
        if by_fence && !self.other_left() {
            nodes.extend(self.other_of_pair().filter(|other| self.is_down(*other)));
        }
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            let Some(tenure) = self.groups.get(&group) else { continue };
            if let State::Waiting { .. } = tenure.state
                && (tenure.group.exclusive || self.mutation.is(Mutant::FencesWithoutNeed))
                && self.watchdog_wait(group).is_none()
            {
                nodes.extend(self.not_clear(group));
            }
        }
        nodes
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.liveness == Liveness::Down)
    }

    fn fence(&mut self, node: NodeId, fx: &mut Effects) {
        let Some(peer) = self.peers.get(&node) else { return };
        let device =
            self.config.fences.iter().find(|fence| fence.nodes.is_empty() || fence.nodes.contains(&node));
        // Two that never saw each other must not switch each other off because the network is late. A majority may: the
        // others cannot have one.
        let known = peer.seen || self.other_of_pair().is_none() && peer.liveness == Liveness::Down;
        let Some(device) = device.filter(|_| known && !peer.up()) else { return };
        if self.fencing.is_off(node) || self.fencing.under_way.contains_key(&node) {
            return;
        }
        let holds = self
            .groups
            .values()
            .any(|tenure| matches!(tenure.state, State::Held { .. } | State::Starting { .. }));
        let delay = if holds { Span::ZERO } else { device.delay };
        let left = (self.config.timing.deadtime + delay) - self.useless_for(peer);
        let again =
            self.fencing.failed_at.get(&node).map(|at| self.config.timing.deadtime - self.now.since(*at));
        let left = left.max(again.unwrap_or_default());
        if left > Span::ZERO {
            self.wake_in(left);
            return;
        }
        self.fencing.generation += 1;
        let generation = self.fencing.generation;
        self.fencing.under_way.insert(node, generation);
        self.tell(fx, Event::Fencing { node });
        fx.push(Effect::Fence { generation, node });
    }

    /// The fence agent is done.
    pub(super) fn fenced(&mut self, generation: u64, node: NodeId, off: bool, fx: &mut Effects) {
        if self.fencing.under_way.get(&node) != Some(&generation) {
            return;
        }
        self.fencing.under_way.remove(&node);
        self.tell(fx, Event::Fenced { node, off });
        if off {
            self.confirm_off(node);
        } else {
            self.fencing.failed_at.insert(node, self.now);
        }
    }

    /// A person says that a node is off; an agent that is still trying need not answer any more.
    pub(super) fn fence_acknowledged(&mut self, node: NodeId, fx: &mut Effects) {
        self.confirm_off(node);
        if self.fencing.is_off(node) {
            self.fencing.under_way.remove(&node);
            self.tell(fx, Event::Fenced { node, off: true });
        }
    }

    /// A node is off: the fence agent or a person says so.
    pub(super) fn confirm_off(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get(&node) else { return };
        let life = peer.newest().map_or(Incarnation(0), |(beat, _)| beat.incarnation);
        if !peer.up() {
            self.fencing.off.insert(node, life);
            self.fencing.failed_at.remove(&node);
            self.changed = true;
        }
    }

    /// Whether the other of the pair is off, so that its vote is not needed.
    pub(super) fn fence_allows(&self) -> bool {
        let Some(other) = self.other_of_pair() else { return false };
        let careless = self.mutation.is(Mutant::TakesWithoutFence) && self.is_down(other);
        let gone = careless || self.fencing.is_off(other) || self.is_down(other) && self.other_left();
        self.voters.now.method == TiebreakMethod::Fence && gone
    }

    /// How long an exclusive group still waits for whoever may run it; `None`: until a fence agent or a person says so.
    pub(super) fn exclusive_wait_left(&self, group: GroupId, won: Moment) -> Option<Span> {
        let Some(tenure) = self.groups.get(&group) else { return Some(Span::ZERO) };
        if !tenure.group.exclusive || self.mutation.is(Mutant::NoExclusiveWait) {
            return Some(Span::ZERO);
        }
        let fresh = |at: Moment| won.at_most_since(at) < self.lease_length() / 2 && won >= at;
        let clean = tenure.released_at.is_some_and(fresh) && self.all_configured_alike();
        if clean || self.not_clear(group).is_empty() {
            return Some(Span::ZERO);
        }
        if tenure.by_evidence {
            return Some(Span::ZERO);
        }
        if let Some(wait) = self.watchdog_wait(group) {
            return Some(wait - self.now.at_least_since(won));
        }
        (self.config.fences.is_empty() && self.config.watchdog.is_none()).then_some(Span::ZERO)
    }

    /// After so long without a valid lease every machine that may run this group has been reset: its last meal may have been
    /// served late; it lasts for one timeout; a process that dies within it makes the kernel serve another. Their clock may
    /// go slower than ours. `None`: the watchdog of one of them proves nothing.
    fn watchdog_wait(&self, group: GroupId) -> Option<Span> {
        let timeout = self.config.watchdog.as_ref()?.timeout;
        if !self.not_clear(group).iter().all(|node| self.is_reset(*node, group)) {
            return None;
        }
        let timeouts = if self.mutation.is(Mutant::WatchdogWaitsOnce) { 1 } else { 2 };
        let wait = timeout * timeouts + timeout / LATEST_MEAL;
        Some(wait + super::margin(wait))
    }

    /// Whether that node's watchdog resets it as ours would. Whoever was heard with another file may have another one, or
    /// take the group for an ordinary one, unless its beats show that the files agree on that; and where none counted,
    /// nothing resets what was shown to run there.
    fn is_reset(&self, node: NodeId, group: GroupId) -> bool {
        let Some(beat) = self.peers.get(&node).and_then(|peer| peer.beat()) else { return true };
        let occupies = beat.claims.get(&group).is_some_and(|claim| claim.phase.occupies());
        let trusted = beat.flags.guarded || !occupies || self.mutation.is(Mutant::TrustsUnguarded);
        trusted && (beat.config == self.digest || self.agrees_on(beat, group))
    }

    /// Whether two files that differ say the same of what a watchdog must do for this group.
    fn agrees_on(&self, beat: &Beat, group: GroupId) -> bool {
        let (Some(marks), Some(found)) = (&beat.marks, self.config.groups.get(&group)) else { return false };
        let table = format!("group.{}", found.name);
        self.config.differs_from(marks).spares(&["timing", "lease", "watchdog", &table])
    }

    /// Whoever takes this group over would rely on a watchdog that does not count. What goes on from an earlier daemon's
    /// memory is given up only when it is known that none does.
    pub(super) fn is_unguarded(&self, tenure: &super::groups::Tenure) -> bool {
        if !tenure.group.exclusive || self.config.watchdog.is_none() {
            return false;
        }
        let arbiter = self.config.nodes.get(&self.me).is_some_and(|node| node.arbiter);
        let counts = self.fencing.watchdog_counts.unwrap_or_else(|| tenure.holds());
        !counts && !arbiter && !self.mutation.is(Mutant::HoldsUnguarded)
    }

    /// The machine's watchdog counts, or it cannot be used: then nothing exclusive stays here, whoever else could run it.
    pub(super) fn watchdog(&mut self, counts: bool) {
        self.changed |= self.fencing.watchdog_counts.replace(counts) != Some(counts);
    }

    /// The nodes that may own something, but for this one.
    fn other_owners(&self) -> impl Iterator<Item = NodeId> {
        let arbiter = |node: &NodeId| self.config.nodes.get(node).is_some_and(|node| node.arbiter);
        self.voters.all().into_iter().filter(move |node| *node != self.me && !arbiter(node))
    }

    /// The moment after which a beat was made, by our clock: when we sent the beat of ours that it names. When it came says
    /// nothing: it may have waited here while we were away.
    pub(super) fn said_after(&self, beat: &Beat) -> Option<Moment> {
        let heard = beat.heard.get(&self.me).filter(|heard| heard.incarnation == self.incarnation)?;
        self.voice.sent(heard.sequence).map(|spoken| spoken.at)
    }

    /// The other of a pair has left in good order: it runs nothing, claims nothing, and will not in that life.
    pub(super) fn other_left(&self) -> bool {
        let newest = self.other_of_pair().and_then(|other| self.peers.get(&other)?.newest());
        newest.is_some_and(|(beat, _)| beat.flags.leaving && beat.claims.is_empty())
    }

    /// Every node that may own something had our configuration when it was last heard: so its leases have our length.
    fn all_configured_alike(&self) -> bool {
        self.other_owners().all(|node| {
            self.peers.get(&node).and_then(|peer| peer.beat()).is_some_and(|beat| beat.config == self.digest)
        })
    }

    /// The nodes that may still run this group: neither off for sure, nor here and saying just now that they hold nothing
    /// of it. Who said so within half a lease cannot have won and lost it since.
    fn not_clear(&self, group: GroupId) -> BTreeSet<NodeId> {
        let half = self.lease_length() / 2;
        let clear = |node: &NodeId| {
            let Some(peer) = self.peers.get(node) else { return false };
            let said_after = peer.beat().and_then(|beat| self.said_after(beat));
            let stale = self.mutation.is(Mutant::StaleProofOfClear);
            let just_now = stale || said_after.is_some_and(|at| self.now.at_most_since(at) < half);
            let holds_nothing = |beat: &std::sync::Arc<Beat>| {
                let occupies = beat.claims.get(&group).is_some_and(|claim| claim.phase.occupies());
                beat.config == self.digest && !occupies
            };
            self.fencing.is_off(*node) || just_now && peer.live_beat().is_some_and(holds_nothing)
        };
        self.other_owners().filter(|node| !clear(node)).collect()
    }

    /// The watchdog is fed only while every exclusive group here rests on a lease, or is known to be stopped.
    pub(super) fn feed_watchdog(&self, fx: &mut Effects) {
        let safe = |tenure: &super::groups::Tenure| match tenure.state {
            State::Idle | State::Claiming { .. } => true,
            State::Waiting { .. } | State::Starting { .. } | State::Held { .. } | State::Stopping { .. } => {
                tenure.raised.is_some()
            }
            State::Blocked { .. } => false,
        };
        let fine = self.groups.values().filter(|tenure| tenure.group.exclusive).all(safe);
        if self.config.watchdog.is_some() && fine {
            fx.push(Effect::FeedWatchdog);
        }
    }
}
