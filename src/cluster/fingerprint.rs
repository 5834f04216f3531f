//! Whether two cores will behave alike: for a search that must know when it has been somewhere before.
//!
//! Two cores of the same configuration with the same fingerprint answer the same inputs with the same effects, but for
//! what is only told (ages and reasons in events) and for what is only counted. Every moment is taken relative to the
//! present, and no longer back than anything asks; lives, sequence numbers and epochs are made relative by the caller's
//! [`Frame`], who sees the whole world. Randomness is left out: [`Core::forget_the_past`] seeds anew.
//!
//! It must never forget a field: every struct is taken apart without `..`, so a new field does not compile until somebody
//! has decided here whether it matters. What is left out is bound to `_`, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::{
    Beat, Claim, Facts, Flags, Grant, Heard, ServerOrder, ServerOrders, ServerWish, Shortfall, Unfit,
    VoterDigests,
};
use crate::config::Config;
use crate::rng::Rng;
use crate::time::{Moment, Span};
use crate::types::{Epoch, GroupId, Incarnation, NodeId, Sequence};

use super::evidence::{Asked, Evidence, Silence, Watch};
use super::fence::Fencing;
use super::groups::{State, Tenure};
use super::liveness::{Path, Peer};
use super::orders::Orders;
use super::planner::Plan;
use super::resources::Unit;
use super::rest::Pace;
use super::speak::{Spoken, Voice};
use super::voter::{Given, HoldOff, Voter};
use super::{Core, Leave, Memory, RememberedClaim, RememberedGrant, Stored, VoterSet, VoterSets};

mod own;

/// Makes numbers relative that mean something only to the whole world. Order and equality must survive.
pub trait Frame {
    /// A life, by how many later ones its node has begun.
    fn life(&self, node: NodeId, life: Incarnation) -> u64;
    /// A beat, by how many later ones its node has sent in that life; the next one is a negative number.
    fn beat(&self, node: NodeId, life: Incarnation, sequence: Sequence) -> u64;
    /// An epoch of a group.
    fn epoch(&self, group: GroupId, epoch: Epoch) -> u64;
}

/// 128 bits that stand for a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

/// A fingerprint in the making.
#[derive(Clone, Debug)]
pub struct Print {
    one: u64,
    two: u64,
}

impl Default for Print {
    fn default() -> Self {
        Self { one: 0x243f_6a88_85a3_08d3, two: 0x1319_8a2e_0370_7344 }
    }
}

impl Print {
    /// One more word.
    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.one ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        let (high, low) = ((product >> 64) & u128::from(u64::MAX), product & u128::from(u64::MAX));
        // Both fit 64 bits: they were masked.
        self.one = u64::try_from(high ^ low).unwrap_or_default();
        let turned = self.two.rotate_left(27) ^ word ^ 0xa409_3822_299f_31d0;
        self.two = (turned ^ (turned >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }

    /// The whole.
    pub fn done(&self) -> Fingerprint {
        Fingerprint((u128::from(self.one) << 64) | u128::from(self.two ^ (self.two >> 29)))
    }

    /// A beat that is under way.
    pub fn beat(&mut self, frame: &dyn Frame, deadtime: Span, beat: &Beat) {
        Taking::of_the_world(frame, deadtime, self).beat(beat);
    }

    /// What /run holds while no daemon runs.
    pub fn memory(&mut self, frame: &dyn Frame, memory: &Memory) {
        Taking::of_the_world(frame, Span::ZERO, self).memory(Some(memory));
    }

    /// What the disk holds.
    pub fn stored(&mut self, frame: &dyn Frame, stored: &Stored) {
        Taking::of_the_world(frame, Span::ZERO, self).stored(stored);
    }

    fn flag(&mut self, flag: bool) {
        self.word(u64::from(flag));
    }

    /// How many of something follow: so that two lists cannot be taken for each other.
    fn count(&mut self, count: usize) {
        self.word(count as u64 ^ 0x5bd1_e995_0000_0000);
    }

    fn maybe(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        self.word(value.unwrap_or_default());
    }
}

/// A fingerprint being taken: where numbers are relative to, what the time is, and how far back anything is asked.
struct Taking<'a> {
    frame: &'a dyn Frame,
    out: &'a mut Print,
    now: Moment,
    /// No time in the core is compared with anything longer.
    horizon: Span,
    /// Silence, and a peer's age, are compared with nothing longer.
    silence: Span,
    /// The longest lease that anybody has here or wants.
    lease: Span,
    deadtime: Span,
    /// The longest delay of a failback.
    failback: Span,
}

impl Core {
    /// What two cores that will behave alike have in common, at this time.
    pub fn fingerprint(&self, frame: &dyn Frame, now: Moment, out: &mut Print) {
        let timing = self.config.timing;
        let fence = self.config.fences.iter().map(|fence| fence.delay).max().unwrap_or_default();
        let lease = self.longest_lease();
        // Who takes an exclusive group waits for two timeouts of the other's watchdog, and margins.
        let watchdog = self.config.watchdog.as_ref().map_or(Span::ZERO, |watchdog| watchdog.timeout * 3);
        // As evidence asks: two slow rounds beyond deadtime.
        let rounds = (timing.deadtime - timing.warntime).min(timing.keepalive) / 2 + Span::millis(2);
        let mut taking = Taking {
            frame,
            out,
            now,
            horizon: self.horizon(),
            silence: timing.initdead.max(timing.deadtime + fence.max(rounds)).max(lease + watchdog),
            lease,
            deadtime: timing.deadtime,
            failback: self.config.groups.values().map(|group| group.failback_delay).max().unwrap_or_default(),
        };
        taking.core(self);
    }

    /// Beyond this age nothing that a core knows differs from what is older still.
    pub fn horizon(&self) -> Span {
        let Config { timing, watchdog, fences, groups, nodes, .. } = &*self.config;
        let fence = fences.iter().map(|fence| fence.delay).max().unwrap_or_default();
        let watchdog = watchdog.as_ref().map(|watchdog| watchdog.timeout).unwrap_or_default();
        let group = |group: &crate::config::Group| {
            let looks = group.resources.iter().filter_map(|resource| resource.monitor.map(|m| m.every));
            looks.max().unwrap_or_default().max(group.failure_window).max(group.failback_delay)
        };
        let quiet = timing.deadtime * 2 + timing.keepalive * 3 * (nodes.len() as u64 + 1);
        quiet
            .max(timing.initdead)
            .max(timing.deadtime + fence)
            .max(watchdog * 3 + timing.deadtime)
            .max(groups.values().map(group).max().unwrap_or_default())
            .max(self.longest_lease())
            .max(self.stored.largest_lease)
            + timing.keepalive
    }

    /// Drops what cannot matter any more, journal included, and seeds the generator: a search keeps many copies.
    pub fn forget_the_past(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.journal.clear();
        let horizon = self.horizon();
        // An older beat counts as not renewed and not heard, whether or not it is remembered. The newest two tell when the
        // next is due, and since when a peer is deaf.
        while self.voice.log.len() > 2
            && self.voice.log.get(1).is_some_and(|spoken| self.now.at_least_since(spoken.at) > horizon)
        {
            self.voice.log.pop_front();
        }
    }

    fn longest_lease(&self) -> Span {
        let claims = self.peers.values().filter_map(|peer| peer.proven.as_ref());
        let claimed = claims.flat_map(|beat| beat.claims.values().map(|claim| claim.lease)).max();
        let granted = self.voter.given.values().map(|given| given.lease).max();
        claimed.max(granted).unwrap_or_default().max(self.config.timing.deadtime)
    }
}

impl<'a> Taking<'a> {
    /// Of what lies outside the cores, where there is no present.
    fn of_the_world(frame: &'a dyn Frame, deadtime: Span, out: &'a mut Print) -> Self {
        let (now, never) = (Moment::default(), Span::ZERO);
        Self { frame, out, now, horizon: never, silence: never, lease: never, deadtime, failback: never }
    }

    /// How long ago, but no longer than anything asks.
    fn past(&mut self, at: Moment, limit: Span) {
        self.out.word((self.now.boot - at.boot).min(limit).0);
        self.out.word((self.now.raw - at.raw).min(limit).0);
    }

    fn maybe_past(&mut self, at: Option<Moment>, limit: Span) {
        self.out.flag(at.is_some());
        self.past(at.unwrap_or(self.now), limit);
    }

    /// How long until then; what is over is over, and never stays never.
    fn future(&mut self, at: Span) {
        let never = at == Span(u64::MAX);
        self.out.word(if never { u64::MAX } else { (at - self.now.boot).0 });
    }

    fn node(&mut self, node: NodeId) {
        self.out.word(u64::from(node.0));
    }

    fn maybe_node(&mut self, node: Option<NodeId>) {
        self.out.maybe(node.map(|node| u64::from(node.0)));
    }

    fn group(&mut self, group: GroupId) {
        self.out.word(u64::from(group.0));
    }

    fn epoch(&mut self, group: GroupId, epoch: Epoch) {
        self.out.word(self.frame.epoch(group, epoch));
    }

    fn name(&mut self, node: NodeId, life: Incarnation, sequence: Sequence) {
        self.out.word(self.frame.life(node, life));
        // No beat has number 0: it stands for "not sent yet".
        self.out.flag(sequence == Sequence(0));
        self.out.word(if sequence == Sequence(0) { 0 } else { self.frame.beat(node, life, sequence) });
    }

    fn core(&mut self, core: &Core) {
        let Core {
            // The same for the whole search.
            config: _,
            digest: _,
            marks: _,
            names: _,
            owners: _,
            mutation: _,
            me,
            incarnation,
            // Seeded anew before every step.
            rng: _,
            // The present is given; `now` is the time of the newest step.
            now: _,
            started,
            deadline,
            pace,
            catching_up,
            ready,
            starting,
            leave,
            // Says only that another pass follows, within one step.
            changed: _,
            touched,
            stored,
            memory,
            voters,
            // Worked out from the voters, the groups, the servers, and the peers' beats.
            shortfall: _,
            voter_digests: _,
            probes: _,
            claimed: _,
            first_end: _,
            peers_up: _,
            seen: _,
            first_step_shown,
            peers,
            voter,
            voice,
            groups,
            evidence,
            fencing,
            orders,
            server_orders,
            reach,
            servers,
            epoch_floor,
            steady_since,
            generation,
            dropped_late,
            // Told, never asked.
            same_name_told: _,
            journal: _,
            events: _,
        } = core;
        self.lives(*me, *incarnation);
        self.tells(*reach, servers, (orders, server_orders));
        self.past(*started, core.config.timing.initdead.max(self.failback));
        let overdue = self.overdue(*deadline, pace);
        [*catching_up, *ready, *starting, *touched].into_iter().for_each(|flag| self.out.flag(flag));
        self.past(*steady_since, self.failback);
        self.leave(core, leave.as_ref(), *epoch_floor);
        self.kept(stored, memory.as_ref(), voters, *first_step_shown);
        self.peers(peers, overdue);
        self.says(voter, voice);
        self.groups(core, groups);
        self.stands_in(evidence, fencing);
        self.runs(groups, *generation, dropped_late);
    }

    fn lives(&mut self, node: NodeId, life: Incarnation) {
        self.node(node);
        self.out.word(self.frame.life(node, life));
    }

    fn tells(
        &mut self,
        reach: u16,
        servers: &BTreeMap<GroupId, Shortfall>,
        orders: (&Orders, &ServerOrders),
    ) {
        self.out.word(u64::from(reach));
        self.shortfall(servers);
        self.orders(orders.0);
        self.server_orders(orders.1);
    }

    fn kept(
        &mut self,
        stored: &Stored,
        memory: Option<&Memory>,
        voters: &VoterSets,
        first_step: Option<Moment>,
    ) {
        self.stored(stored);
        self.memory(memory);
        self.voter_sets(voters);
        self.maybe_past(first_step, self.horizon);
    }

    fn says(&mut self, voter: &Voter, voice: &Voice) {
        self.voter(voter);
        self.voice(voice);
    }

    fn stands_in(&mut self, evidence: &Evidence, fencing: &Fencing) {
        self.evidence(evidence);
        self.fencing(fencing);
    }

    /// When something is due, and for how long it has been.
    fn overdue(&mut self, deadline: Span, pace: &Pace) -> Span {
        self.future(deadline);
        // Resting only spares what would change nothing, and each group is asked with the time of the newest pass.
        let Pace { rests: _, decide_at, passed_at: _ } = pace;
        self.out.flag(decide_at.is_some());
        self.future(decide_at.unwrap_or_default());
        let overdue = self.now.boot - deadline;
        self.out.word(overdue.min(self.horizon).0);
        overdue
    }

    fn leave(&mut self, core: &Core, leave: Option<&Leave>, epoch_floor: Epoch) {
        // Only a group that was configured away and comes back asks.
        self.out.word(epoch_floor.0);
        self.out.flag(leave.is_some());
        let Some(Leave { since, done, gone }) = leave else { return };
        self.past(*since, self.deadtime * 2);
        self.out.flag(done.is_some());
        if let Some((first, at)) = done {
            self.name(core.me, core.incarnation, *first);
            self.past(*at, self.deadtime);
        }
        self.out.flag(*gone);
    }

    /// Silence is counted up to what was due: the rest is this node's own absence, and comes off when it wakes.
    fn peers(&mut self, peers: &BTreeMap<NodeId, Peer>, overdue: Span) {
        self.out.count(peers.len());
        let present = self.now;
        self.now = less(present, overdue);
        for (node, peer) in peers {
            self.node(*node);
            self.silence_of(peer, present);
        }
        self.now = present;
    }

    fn groups(&mut self, core: &Core, groups: &BTreeMap<GroupId, Tenure>) {
        self.out.count(groups.len());
        for (group, tenure) in groups {
            self.group(*group);
            self.tenure(core, *group, tenure);
        }
    }

    /// A run is known by how many were begun after it.
    fn runs(&mut self, groups: &BTreeMap<GroupId, Tenure>, newest: u64, dropped_late: &BTreeSet<GroupId>) {
        self.out.count(dropped_late.len());
        dropped_late.iter().for_each(|group| self.group(*group));
        let runs = groups.values().flat_map(|tenure| &tenure.units).filter_map(|unit| unit.busy);
        for (run, action) in runs {
            self.out.word(newest - run);
            self.out.word(action as u64);
        }
    }

    /// A peer; `self.now` is the time up to which silence is counted.
    fn silence_of(&mut self, peer: &Peer, present: Moment) {
        let Peer {
            since,
            newest,
            proven,
            // The proven one, while it is up.
            shown: _,
            // As that beat says.
            grants_us: _,
            sees_majority: _,
            heard_at,
            life_since,
            proven_at,
            liveness,
            up_since,
            steady_since,
            seen,
            links,
            always_claimed,
            // These two only keep a warning from being told twice.
            older_life_told: _,
            config_told: _,
        } = peer;
        self.past(*heard_at, self.silence);
        self.out.count(links.len());
        for (link, path) in links {
            self.out.word(u64::from(link.0));
            // Round trips and counts are shown, never asked.
            let Path { up, heard_at, newest: (life, sequence), round_trip: _, beats: _ } = path;
            self.out.flag(*up);
            self.past(*heard_at, if *up { self.deadtime } else { Span::ZERO });
            let sender = newest.as_ref().map_or(NodeId(0), |beat| beat.sender);
            self.name(sender, *life, *sequence);
        }
        let counted_to = std::mem::replace(&mut self.now, present);
        // Asked only until the peer is heard; then initdead is over for it, or does not count.
        self.past(*since, self.silence);
        self.past(*proven_at, self.lease);
        // Only fences ask.
        self.past(*life_since, self.silence);
        // Only a delayed failback asks.
        self.past(*up_since, self.failback);
        self.past(*steady_since, self.failback);
        self.out.word(*liveness as u64);
        self.out.flag(*seen);
        self.out.flag(always_claimed.is_some());
        let claimed = always_claimed.iter().flatten();
        self.out.count(claimed.clone().count());
        claimed.for_each(|group| self.group(*group));
        self.out.flag(newest.is_some());
        newest.iter().for_each(|beat| self.beat(beat));
        self.out.flag(proven.is_some());
        self.out.flag(newest == proven);
        proven.iter().filter(|_| newest != proven).for_each(|beat| self.beat(beat));
        self.now = counted_to;
    }

    fn beat(&mut self, beat: &Beat) {
        let Beat {
            sender,
            incarnation,
            sequence,
            // For jitter, never for order.
            sent_at: _,
            config,
            flags,
            voters,
            heard,
            claims,
            grants,
            facts,
            // For people.
            marks: _,
        } = beat;
        self.node(*sender);
        self.name(*sender, *incarnation, *sequence);
        self.out.word(*config);
        self.flags(*flags);
        let VoterDigests { now, before } = voters;
        self.out.word(*now);
        self.out.word(*before);
        self.out.count(heard.len());
        for (node, Heard { incarnation, sequence, age }) in heard {
            self.node(*node);
            self.name(*node, *incarnation, *sequence);
            // Only ever compared with deadtime.
            self.out.flag(*age < self.deadtime);
        }
        self.out.count(claims.len());
        for (group, Claim { epoch, phase, lease }) in claims {
            self.group(*group);
            self.epoch(*group, *epoch);
            self.out.word(*phase as u64);
            self.out.word(lease.0);
        }
        self.out.count(grants.len());
        for (group, grant) in grants {
            self.group(*group);
            self.grant(*group, grant);
        }
        self.facts(facts);
    }

    fn flags(&mut self, flags: Flags) {
        let Flags { starting, leaving, standby, arbiter, hold_off, guarded } = flags;
        [starting, leaving, standby, arbiter, hold_off, guarded]
            .into_iter()
            .for_each(|flag| self.out.flag(flag));
    }

    fn grant(&mut self, group: GroupId, grant: &Grant) {
        let Grant { holder, incarnation, epoch, sequence } = grant;
        self.node(*holder);
        self.name(*holder, *incarnation, *sequence);
        self.epoch(group, *epoch);
    }

    fn shortfall(&mut self, shortfall: &BTreeMap<GroupId, Shortfall>) {
        self.out.count(shortfall.len());
        for (group, Shortfall { least, most }) in shortfall {
            self.group(*group);
            self.out.word(u64::from(*least));
            self.out.word(u64::from(*most));
        }
    }

    fn facts(&mut self, facts: &Facts) {
        let Facts { reach, unfit, shortfall, handover, orders, servers } = facts;
        self.out.word(u64::from(*reach));
        self.out.count(unfit.len());
        for (group, unfit) in unfit {
            self.group(*group);
            self.unfit(Some(*unfit));
        }
        self.shortfall(shortfall);
        self.out.count(handover.len());
        for (group, heir) in handover {
            self.group(*group);
            self.node(*heir);
        }
        self.orders_of(orders);
        self.server_orders(servers);
    }

    /// The time left of a failure window is shown, and asked nowhere but where it began.
    fn unfit(&mut self, unfit: Option<Unfit>) {
        self.out.word(match unfit {
            None => 0,
            Some(Unfit::Carrier) => 1,
            Some(Unfit::Health) => 2,
            Some(Unfit::Failed { retry_in: _ }) => 3,
            Some(Unfit::Watchdog) => 4,
        });
    }

    fn server_orders(&mut self, orders: &ServerOrders) {
        let ServerOrders { given, hold } = orders;
        self.out.count(given.len());
        for (node, last) in given {
            self.node(*node);
            self.out.word(*last);
        }
        self.out.count(hold.len());
        for (servers, ServerOrder { number, by, wish }) in hold {
            self.out.word(servers.0);
            self.out.word(*number);
            self.node(*by);
            self.out.word(match wish {
                ServerWish::Drain => 0,
                ServerWish::Weight(weight) => 1 + u64::from(*weight),
            });
        }
    }

    fn orders(&mut self, orders: &Orders) {
        let Orders(all) = orders;
        self.orders_of(all);
    }

    fn orders_of(&mut self, orders: &std::collections::BTreeMap<crate::beat::Subject, crate::beat::Order>) {
        use crate::beat::{Order, Subject, Wish};
        self.out.count(orders.len());
        for (subject, Order { version, wish }) in orders {
            let (kind, id) = match subject {
                Subject::Cluster => (0, 0),
                Subject::Node(node) => (1, node.0),
                Subject::Group(group) => (2, group.0),
                Subject::Care(group) => (3, group.0),
            };
            let (what, whom) = match wish {
                Wish::Nothing => (0, 0),
                Wish::Standby => (1, 0),
                Wish::Maintenance => (2, 0),
                Wish::Place(node) => (3, node.0),
                Wish::Avoid(node) => (4, node.0),
            };
            [kind, u64::from(id), *version, what, u64::from(whom)]
                .iter()
                .for_each(|word| self.out.word(*word));
        }
    }
}

/// So much earlier.
fn less(at: Moment, span: Span) -> Moment {
    Moment { boot: at.boot - span, raw: at.raw - span }
}
