//! What stands in for the absent vote of a pair: what probes and pings show.
//!
//! From the first beat on that is missing, rounds of questions leave through the service interfaces: for the groups'
//! addresses, and for the ping targets. To *take* a group: a lease's length of silence, of which all but a head start was
//! seen with a whole cable here, and three rounds with an answered ping and no answer from the address. To *keep* it: the
//! lease runs from a head start before what the other could have seen (rule 16). What this cannot see is said in
//! `docs/operators-pair.md`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::{Config, Group, Promise, TiebreakMethod};
use crate::time::{Moment, Span};
use crate::types::{GroupId, InterfaceId, NodeId};

use super::{Answerer, Core, Effect, Effects, Event, Liveness, Mutant, Round, Votes};

/// So many rounds in a row must be silent, each with an answered ping.
const ROUNDS: usize = 3;

/// Rounds that are remembered: late answers to older ones count for nothing.
const REMEMBERED: usize = 16;

/// No answer is expected sooner than this, however fast pings come back.
const SHORTEST_WAIT: Span = Span::millis(2);

/// The probes of a pair.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) watches: BTreeMap<InterfaceId, Watch>,
    /// Receipt of the last answer of a group's address.
    pub(super) answered: BTreeMap<GroupId, Moment>,
    /// "Its address answers, but no beats come" was told for these.
    pub(super) told: BTreeSet<GroupId>,
    pub(super) rounds: u64,
    /// The slowest of the recent pings.
    pub(super) round_trip: Span,
}

/// One service interface.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) carrier: bool,
    /// There is something to ping.
    pub(super) targets: bool,
    pub(super) active: bool,
    /// When its first round was asked.
    pub(super) begun: Moment,
    pub(super) asked: VecDeque<Asked>,
    /// What the newest ping counts from that was answered in time.
    pub(super) pinged: Option<Moment>,
    /// Since when no round says that the cable was cut: the receipt of the first answer in time since. `None`: the newest
    /// does, or there was none.
    pub(super) whole_since: Option<Moment>,
    /// The same, where one lost ping between two answered ones says nothing: since when the other would have been seen.
    pub(super) seen_since: Option<Moment>,
    /// The newest judged round lacks its ping.
    pub(super) missed: bool,
    /// It was told that rounds have begun.
    pub(super) told: bool,
    /// Addresses that did not answer in any round since, and in how many; each with an answered ping.
    pub(super) silent: BTreeMap<GroupId, Silence>,
    /// Addresses that answered in every round since.
    pub(super) answering: BTreeMap<GroupId, Moment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    pub(super) since: Moment,
    pub(super) rounds: usize,
}

/// One round of questions.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) round: Round,
    pub(super) at: Moment,
    /// The sending of the newest beat before it.
    pub(super) beat_at: Option<Moment>,
    pub(super) groups: Vec<GroupId>,
    pub(super) ping: bool,
    pub(super) answered: BTreeSet<GroupId>,
    /// No answer is waited for any more.
    pub(super) closed: bool,
}

impl Watch {
    fn new(targets: bool) -> Self {
        Self {
            carrier: true,
            targets,
            active: false,
            begun: Moment::default(),
            asked: VecDeque::new(),
            pinged: None,
            whole_since: None,
            seen_since: None,
            missed: false,
            told: false,
            silent: BTreeMap::new(),
            answering: BTreeMap::new(),
        }
    }

    /// What rounds showed so far proves nothing about what comes.
    fn forget(&mut self) {
        self.asked.clear();
        self.whole_since = None;
        self.seen_since = None;
        self.missed = false;
        self.silent.clear();
        self.answering.clear();
    }

    /// Judges the rounds whose answers have had their time.
    fn close(&mut self, now: Moment, wait: Span) {
        let Self { asked, silent, answering, targets, whole_since, seen_since, missed, .. } = self;
        for round in asked.iter_mut().filter(|round| !round.closed && now.since(round.at) >= wait) {
            round.closed = true;
            let blind = *targets && !round.ping;
            let cut = std::mem::replace(missed, blind) && blind;
            if blind {
                *whole_since = None;
            }
            if cut {
                *seen_since = None;
            }
            for group in &round.groups {
                if round.answered.contains(group) {
                    silent.remove(group);
                    answering.entry(*group).or_insert(round.at);
                    continue;
                }
                answering.remove(group);
                if cut {
                    silent.remove(group);
                }
                if blind {
                    if let Some(silence) = silent.get_mut(group) {
                        silence.rounds = 0;
                    }
                    continue;
                }
                let silence = silent.entry(*group).or_insert(Silence { since: round.at, rounds: 0 });
                silence.rounds += 1;
            }
        }
    }
}

impl Evidence {
    pub(super) fn new(config: &Config) -> Self {
        let mut evidence = Self {
            watches: BTreeMap::new(),
            answered: BTreeMap::new(),
            told: BTreeSet::new(),
            rounds: 0,
            round_trip: Span::ZERO,
        };
        evidence.reload(config);
        evidence
    }

    /// The interfaces of a new configuration; what is known of those that stay is kept.
    pub(super) fn reload(&mut self, config: &Config) {
        let targets = !config.tiebreak.ping.is_empty();
        let ids = (0..config.interfaces.len()).filter_map(|index| u16::try_from(index).ok().map(InterfaceId));
        let fresh = || Watch::new(targets);
        self.watches = ids.map(|id| (id, self.watches.remove(&id).unwrap_or_else(fresh))).collect();
    }

    pub(super) fn has_carrier(&self, interface: InterfaceId) -> bool {
        self.watches.get(&interface).is_none_or(|watch| watch.carrier)
    }

    pub(super) fn targets(&mut self, interface: InterfaceId, any: bool) {
        if let Some(watch) = self.watches.get_mut(&interface) {
            watch.targets = any;
        }
    }

    /// Rounds that were under way while this node was away prove nothing.
    pub(super) fn forget_rounds(&mut self) {
        self.watches.values_mut().for_each(Watch::forget);
    }

    /// How long an answer may take.
    fn wait(&self, interval: Span) -> Span {
        SHORTEST_WAIT.max(self.round_trip * 4).min(interval)
    }

    /// What an answer took that can be waited for. One that takes longer than a round was kept back, or never counts.
    fn learn(&mut self, took: Span, interval: Span) {
        if took <= interval {
            self.round_trip = took.max(self.round_trip * 3 / 4);
        }
    }

    fn stop(&mut self, interface: InterfaceId) {
        if let Some(watch) = self.watches.get_mut(&interface) {
            watch.active = false;
            watch.told = false;
            watch.forget();
            watch.pinged = None;
        }
    }
}

impl Core {
    /// The other of the pair, where evidence stands in for it.
    fn evidence_pair(&self) -> Option<NodeId> {
        self.other_of_pair().filter(|_| self.voters.now.method == TiebreakMethod::Evidence)
    }

    /// For how long the other has been silent, or deaf, or not granting what is held here.
    fn uncertain_for(&self, other: NodeId) -> Span {
        let Some(peer) = self.peers.get(&other) else { return Span::ZERO };
        let timing = &self.config.timing;
        let silent = peer.silent(self.now);
        match peer.liveness {
            // Not heard yet: it is given up at initdead, and the rounds must be through by then.
            Liveness::Unknown => return self.now.since(self.started) - (timing.initdead - timing.deadtime),
            Liveness::Down => return silent.max(self.doubt()),
            Liveness::Up | Liveness::Late => {}
        }
        let held = self.groups.iter().filter(|(_, tenure)| tenure.holds());
        let unbacked = held.filter_map(|(group, _)| self.unrenewed_for(other, *group)).max();
        // What a beat of the other's names may be a keepalive old when it leaves.
        silent.max(unbacked.unwrap_or_default() - timing.keepalive)
    }

    /// A holder keeps a group for so much less than a lease, so that who takes it may begin to look so much after the last
    /// beat (chapter 11, (x)): a beat must be missing first, and a round be asked.
    fn head_start(&self) -> Span {
        let timing = self.config.timing;
        (timing.keepalive * 2).min(timing.deadtime * 2 / 5)
    }

    /// A beat is missing.
    fn doubt(&self) -> Span {
        self.config.timing.keepalive * 5 / 4
    }

    /// There is something that only evidence can tell.
    pub(super) fn is_uncertain(&self) -> bool {
        self.evidence_pair().is_some_and(|other| self.uncertain_for(other) >= self.doubt())
    }

    /// Asks, while there is something that only evidence can tell.
    pub(super) fn gather_evidence(&mut self, fx: &mut Effects) {
        let Some(other) = self.evidence_pair() else { return };
        let timing = self.config.timing;
        let uncertain = self.uncertain_for(other);
        let interfaces: Vec<InterfaceId> = self.evidence.watches.keys().copied().collect();
        if uncertain < self.doubt() {
            interfaces.iter().for_each(|interface| self.evidence.stop(*interface));
            self.evidence.told.clear();
            self.wake_in(self.doubt() - uncertain);
            return;
        }
        let interval = self.round_interval(uncertain);
        let (now, wait) = (self.now, self.evidence.wait(interval));
        for watch in self.evidence.watches.values_mut() {
            watch.close(now, wait);
            let open =
                watch.asked.back().filter(|asked| !asked.closed).map(|asked| wait - now.since(asked.at));
            if let Some(open) = open {
                self.deadline = self.deadline.min(now.boot + open.max(Span(1)));
            }
        }
        for interface in interfaces {
            self.ask_if_due(interface, interval, fx);
            // A lost beat is no news.
            let news = self.evidence.watches.get_mut(&interface).filter(|watch| watch.active && !watch.told);
            if let Some(watch) = news.filter(|_| uncertain >= timing.warntime) {
                watch.told = true;
                self.tell(fx, Event::EvidenceBegins { interface });
            }
        }
    }

    /// Twice in a keepalive; and quickly just before the end of the other's silence, when its kernel has stopped answering.
    fn round_interval(&self, uncertain: Span) -> Span {
        let timing = self.config.timing;
        let slow = self.slow_interval();
        let quick = self.evidence.wait(slow);
        let close = uncertain + quick * (ROUNDS as u64 + 2) >= timing.deadtime;
        let over = uncertain > timing.deadtime + quick * 8;
        if close && !over { quick } else { slow }
    }

    /// Between two rounds while nothing hurries. No answer is waited for longer.
    fn slow_interval(&self) -> Span {
        let timing = self.config.timing;
        (timing.keepalive / 2).min(timing.deadtime / 10).max(Span::millis(1))
    }

    fn ask_if_due(&mut self, interface: InterfaceId, interval: Span, fx: &mut Effects) {
        let (now, head_start, quick) = (self.now, self.head_start(), self.evidence.wait(interval));
        let groups: Vec<GroupId> = self.groups_on(interface).collect();
        let Some(watch) = self.evidence.watches.get_mut(&interface) else { return };
        if groups.is_empty() || !watch.carrier {
            return;
        }
        // The first ping may wait until the kernel has found the target.
        let interval = if watch.asked.len() < ROUNDS { quick } else { interval };
        let since = watch.asked.back().map(|asked| now.since(asked.at));
        if let Some(wait) = since.map(|since| interval - since).filter(|wait| *wait > Span::ZERO) {
            self.wake_in(wait);
            return;
        }
        let beat_at = self.voice.newest().map(|(_, spoken)| spoken.at);
        let begins = !watch.active;
        watch.active = true;
        if begins {
            watch.begun = now;
        }
        self.evidence.rounds += 1;
        let round = Round(self.evidence.rounds);
        if !watch.targets {
            watch.pinged = Some(now - head_start);
            watch.seen_since.get_or_insert(now);
        }
        if watch.asked.len() == REMEMBERED {
            watch.asked.pop_front();
        }
        let (groups_asked, answered) = (groups.clone(), BTreeSet::new());
        watch.asked.push_back(Asked {
            round,
            at: now,
            beat_at,
            groups: groups_asked,
            ping: false,
            answered,
            closed: false,
        });
        fx.push(Effect::Probe { round, interface, groups });
        self.wake_in(interval);
    }

    fn groups_on(&self, interface: InterfaceId) -> impl Iterator<Item = GroupId> {
        self.config
            .groups
            .iter()
            .filter(move |(_, group)| group.interfaces.contains(&interface))
            .map(|(id, _)| *id)
    }

    /// An answer to a round.
    pub(super) fn answered(&mut self, round: Round, from: Answerer) {
        let (now, interval, head_start) = (self.now, self.slow_interval(), self.head_start());
        let wait = self.evidence.wait(interval);
        let mut took = None;
        for (interface, watch) in &mut self.evidence.watches {
            let linked = self.config.interfaces.get(usize::from(interface.0)).is_some_and(|it| it.has_link);
            let Some(asked) = watch.asked.iter_mut().find(|asked| asked.round == round) else { continue };
            match from {
                Answerer::Target => {
                    took = Some(now.since(asked.at));
                    // The kernel may have kept the ping back until the cable was mended (chapter 11, (v)).
                    let late = asked.closed || now.since(asked.at) > wait;
                    if late && !self.mutation.is(Mutant::LateAnswerCounts) {
                        continue;
                    }
                    asked.ping = true;
                    watch.seen_since.get_or_insert(now);
                    let forgives = late || self.mutation.is(Mutant::LostBeatCounts);
                    let whole =
                        if forgives { Moment::default() } else { *watch.whole_since.get_or_insert(now) };
                    // The other has seen the newest beat over that cable; without a link there, the answer to one of its own
                    // rounds. While the cable was cut it saw neither (w).
                    let (seen, from) = if linked {
                        (asked.beat_at.unwrap_or_default(), whole)
                    } else {
                        (asked.at, whole + interval)
                    };
                    if seen >= from {
                        watch.pinged = watch.pinged.max(Some(seen - head_start));
                    }
                }
                Answerer::Group(group) => {
                    asked.answered.insert(group);
                    watch.silent.remove(&group);
                    self.evidence.answered.insert(group, now);
                }
            }
        }
        if let Some(took) = took {
            self.evidence.learn(took, interval);
        }
    }

    /// The carrier of a service interface.
    pub(super) fn carrier(&mut self, interface: InterfaceId, up: bool, fx: &mut Effects) {
        let Some(watch) = self.evidence.watches.get_mut(&interface) else { return };
        if watch.carrier != up {
            watch.carrier = up;
            watch.forget();
            self.tell(fx, Event::Carrier { interface, up });
        }
    }

    /// Whether the evidence allows to take this group from the other of the pair.
    pub(super) fn evidence_allows(&mut self, group: GroupId, fx: &mut Effects) -> bool {
        let Some(other) = self.evidence_pair() else { return false };
        let Some(peer) = self.peers.get(&other) else { return false };
        if peer.up() {
            // It can grant by itself. Where it holds off, it grants what it has seen nobody hold (rule 10): two that both
            // hold off must not each take the other for absent.
            return false;
        }
        let silent = peer.silent(self.now);
        let Some(tenure) = self.groups.get(&group) else { return false };
        if tenure.group.exclusive && !self.fencing.is_off(other) && !self.mutation.is(Mutant::NoExclusiveWait)
        {
            // Evidence can be deceived, and such a group must not be on two nodes even then. `check` refuses it in such a
            // pair, but a cluster can become one while its voters change.
            return false;
        }
        let mut owed =
            peer.claim(group).map_or(self.lease_length(), |claim| claim.lease.max(self.lease_length()));
        let second = self.held_last(group, other);
        if second {
            // Both may think so, where one could not see the other hold it: then ranks tell them apart.
            let ranks_second = self.rank(group, self.me) > self.rank(group, other);
            owed = owed + self.lease_length() + self.lease_length() / if ranks_second { 2 } else { u64::MAX };
        }
        if silent < owed {
            self.wake_in(owed - silent);
            return false;
        }
        let interfaces = tenure.group.interfaces.clone();
        // With other timers than ours the other may count on more.
        let alike = peer.newest().is_some_and(|(beat, _)| beat.config == self.digest);
        let head_start = if alike { self.head_start() } else { Span::ZERO };
        let silent_on = |core: &mut Self, interface: &InterfaceId| {
            core.silent_on(*interface, group, owed, head_start, second)
        };
        let silent_everywhere = interfaces.iter().all(|interface| silent_on(self, interface));
        let answers = interfaces.iter().any(|interface| self.answers_on(*interface, group).is_some());
        if answers && self.evidence.told.insert(group) {
            self.tell(fx, Event::AnswersWithoutBeats { group });
        }
        !interfaces.is_empty() && silent_everywhere
    }

    /// Whether this node had the group last, so that the other may take it first: two that don't hear each other and both
    /// see a silent address must not take it in the same moment.
    fn held_last(&self, group: GroupId, other: NodeId) -> bool {
        let here = self.groups.get(&group).and_then(|tenure| tenure.held_until);
        let peer = self.peers.get(&other);
        let shown = peer.filter(|peer| peer.claim(group).is_some_and(|claim| claim.phase.occupies()));
        let there = shown.map(super::Peer::received).max(self.evidence.answered.get(&group).copied());
        match (here, there) {
            (None, None) => self.rank(group, self.me) > self.rank(group, other),
            (here, there) => here >= there,
        }
    }

    /// Since when the address of a group answers in every round.
    fn answers_on(&self, interface: InterfaceId, group: GroupId) -> Option<Moment> {
        self.evidence.watches.get(&interface)?.answering.get(&group).copied()
    }

    /// Whether another answers for the address since the first round that was asked: so it held the group before this node
    /// began to ask.
    pub(super) fn answered_at_first(&self, since: Moment) -> bool {
        self.evidence.watches.values().any(|watch| watch.active && watch.begun == since)
    }

    /// Of a group that is held here on evidence: since when another machine answers for its address, too.
    pub(super) fn rival_answers(&self, group: GroupId) -> Option<(NodeId, Moment)> {
        let other =
            self.evidence_pair().filter(|other| self.peers.get(other).is_some_and(|peer| !peer.up()))?;
        let interfaces = &self.groups.get(&group)?.group.interfaces;
        let since = interfaces.iter().filter_map(|interface| self.answers_on(*interface, group)).min()?;
        Some((other, since))
    }

    /// Whether nobody but the address itself tells the other that this node has the group: the other is not heard, and may
    /// take what has been silent for three rounds.
    pub(super) fn shown_by_address_alone(&self, group: &Group) -> bool {
        if self.mutation.is(Mutant::RestartsUnseenAddress) {
            return false;
        }
        let other = self.evidence_pair().and_then(|other| self.peers.get(&other));
        group.promise == Promise::AtMostOne && other.is_some_and(|peer| !peer.up())
    }

    /// The address of a group is proven silent on this interface.
    fn silent_on(
        &mut self,
        interface: InterfaceId,
        group: GroupId,
        owed: Span,
        head_start: Span,
        second: bool,
    ) -> bool {
        let now = self.now;
        let has_link =
            self.config.interfaces.get(usize::from(interface.0)).is_some_and(|interface| interface.has_link);
        let Some(watch) = self.evidence.watches.get(&interface).filter(|watch| watch.carrier) else {
            return false;
        };
        let Some(silence) = watch.silent.get(&group).filter(|silence| silence.rounds >= ROUNDS) else {
            return false;
        };
        // While this node held it, silence meant nothing; and silence counts up to the newest round, for the other may have
        // taken it since.
        let held_until = self.groups.get(&group).and_then(|tenure| tenure.held_until).unwrap_or_default();
        let asked =
            watch.asked.iter().rev().find(|asked| asked.closed).map_or(silence.since, |asked| asked.at);
        let patience = if second { owed } else { Span::ZERO };
        let patience = patience - asked.at_least_since(silence.since.max(held_until));
        // The other may have been seen to hold it until the cable here was whole, or the address fell silent.
        let (from, unseen) = if has_link {
            (watch.seen_since, Span::ZERO)
        } else {
            (Some(silence.since), self.slow_interval())
        };
        let Some(from) = from else { return false };
        let cut_short = self.mutation.is(Mutant::EvidenceWindowCutShort);
        let owed = if cut_short { Span::ZERO } else { owed - head_start + unseen };
        let owed = owed - now.at_least_since(from);
        if owed > Span::ZERO {
            self.wake_in(owed);
        }
        // The next round wakes who is only not patient enough.
        owed == Span::ZERO && patience == Span::ZERO
    }

    /// What stands in for the other's vote on a group, and from when a lease that rests on it runs.
    pub(super) fn stand_in(&self, group: GroupId) -> Option<(Moment, Votes)> {
        self.other_of_pair()?;
        let tenure = self.groups.get(&group)?;
        if !tenure.holds() && !tenure.by_evidence {
            return None;
        }
        match self.voters.now.method {
            TiebreakMethod::Evidence => self.pinged(&tenure.group.interfaces).map(|at| (at, Votes::Evidence)),
            // The other cannot take it without switching this node off first.
            TiebreakMethod::Fence => Some((self.now, Votes::Fence)),
            TiebreakMethod::None => self.other_left().then_some((self.now, Votes::OwnAlone)),
        }
    }

    /// The oldest of the interfaces' newest answered pings.
    fn pinged(&self, interfaces: &[InterfaceId]) -> Option<Moment> {
        if self.mutation.is(Mutant::KeepsOnStaleEvidence) {
            return Some(self.now);
        }
        let newest = |interface: &InterfaceId| {
            let watch = self.evidence.watches.get(interface).filter(|watch| watch.carrier && watch.active)?;
            watch.pinged
        };
        let mut each = interfaces.iter().map(newest);
        let first = each.next()??;
        each.try_fold(first, |oldest, next| Some(oldest.min(next?)))
    }
}
