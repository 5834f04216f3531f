//! Who is up, late or dead; and whether this node itself was away. Four timers, kept per peer and per link.
//!
//! A peer is up only while its beats come *and* show that they hear this incarnation: that proves both directions, and
//! that they are no replay. Only a beat newer than any before changes state (rule 3); an older one counts for its link.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::beat::{Beat, Claim, Flags};
use crate::time::{Moment, Span};
use crate::types::{GroupId, Incarnation, LinkId, NodeId, Sequence};

use super::{Core, DownReason, Effects, Event, LinkView, Liveness, LossReason, Mutant};

/// What is told of every beat of a stranger with a known name is told so often.
const TELL_AGAIN: Span = Span::seconds(60);

/// Another node, as known from its beats.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Since when it is in the configuration (or this node runs).
    pub(super) since: Moment,
    /// The greatest beat heard, whether or not it hears us.
    pub(super) newest: Option<Arc<Beat>>,
    /// The newest beat that hears this incarnation: the only kind that changes claims and grants.
    pub(super) proven: Option<Arc<Beat>>,
    /// The beat that `seen` holds: the newest that counts, while the peer is up.
    pub(super) shown: Option<Arc<Beat>>,
    /// The groups that the newest beat that counts grants to us.
    pub(super) grants_us: Vec<GroupId>,
    /// By that beat it hears a majority of the voters that count here.
    pub(super) sees_majority: bool,
    /// When `newest` came; moved on by our own absences.
    pub(super) heard_at: Moment,
    /// When the first beat of its present life came.
    pub(super) life_since: Moment,
    /// When `proven` came, really.
    pub(super) proven_at: Moment,
    pub(super) liveness: Liveness,
    /// Since when it is up without a gap.
    pub(super) up_since: Moment,
    /// Since when it says the same of its fitness.
    pub(super) steady_since: Moment,
    /// Was up at some time of this life of ours.
    pub(super) seen: bool,
    pub(super) links: BTreeMap<LinkId, Path>,
    /// The groups that it claimed in every beat since it hears this life of ours (for the hold-off's exception).
    pub(super) always_claimed: Option<BTreeSet<GroupId>>,
    /// When it was told that an earlier life speaks.
    pub(super) older_life_told: Option<Moment>,
    pub(super) config_told: Option<u64>,
}

/// A peer over one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) up: bool,
    pub(super) heard_at: Moment,
    pub(super) newest: (Incarnation, Sequence),
    pub(super) round_trip: Option<Span>,
    pub(super) beats: u64,
}

impl Peer {
    pub(super) fn new(since: Moment) -> Self {
        Self {
            since,
            newest: None,
            proven: None,
            shown: None,
            grants_us: Vec::new(),
            sees_majority: false,
            heard_at: since,
            life_since: since,
            proven_at: since,
            liveness: Liveness::Unknown,
            up_since: since,
            steady_since: since,
            seen: false,
            links: BTreeMap::new(),
            always_claimed: None,
            older_life_told: None,
            config_told: None,
        }
    }

    /// Up, if perhaps late.
    pub(super) fn up(&self) -> bool {
        matches!(self.liveness, Liveness::Up | Liveness::Late)
    }

    /// The newest beat that counts.
    pub(super) fn beat(&self) -> Option<&Arc<Beat>> {
        self.proven.as_ref()
    }

    /// The newest beat that counts, of a peer that is up.
    pub(super) fn live_beat(&self) -> Option<&Arc<Beat>> {
        self.proven.as_ref().filter(|_| self.up())
    }

    /// When the newest beat that counts came.
    pub(super) fn received(&self) -> Moment {
        self.proven_at
    }

    pub(super) fn claim(&self, group: GroupId) -> Option<Claim> {
        self.proven.as_ref()?.claims.get(&group).copied()
    }

    pub(super) fn flags(&self) -> Flags {
        self.newest.as_ref().map_or_else(Flags::default, |beat| beat.flags)
    }

    /// Since its newest beat, less the time that we were away ourselves.
    pub(super) fn silent(&self, now: Moment) -> Span {
        now.at_least_since(self.heard_at)
    }

    pub(super) fn newest(&self) -> Option<(&Arc<Beat>, Moment)> {
        self.newest.as_ref().map(|beat| (beat, self.heard_at))
    }

    pub(super) fn links(&self, now: Moment) -> BTreeMap<LinkId, LinkView> {
        let view = |path: &Path| LinkView {
            up: path.up,
            silent: now.since(path.heard_at),
            round_trip: path.round_trip,
            beats: path.beats,
        };
        self.links.iter().map(|(link, path)| (*link, view(path))).collect()
    }
}

impl Core {
    /// A beat came in. Whether it says anything new.
    pub(super) fn receive(&mut self, link: LinkId, beat: Arc<Beat>, fx: &mut Effects) -> bool {
        if beat.sender == self.me {
            let told = self.same_name_told.is_some_and(|at| self.now.since(at) < TELL_AGAIN);
            if beat.incarnation != self.incarnation && !told {
                self.same_name_told = Some(self.now);
                self.tell(fx, Event::SameName { heard: beat.incarnation });
            }
            return false;
        }
        let Some(peer) = self.peers.get_mut(&beat.sender) else { return false };
        let name = (beat.incarnation, beat.sequence);
        let came_up = peer.hear_over(link, name, self.now);
        let known =
            peer.newest.as_ref().map_or(Default::default(), |newest| (newest.incarnation, newest.sequence));
        let told = peer.older_life_told.is_some_and(|at| self.now.since(at) < TELL_AGAIN);
        let older_life = name.0 < known.0 && !told;
        if older_life {
            peer.older_life_told = Some(self.now);
        }
        if came_up {
            self.tell(fx, Event::LinkUp { node: beat.sender, link });
        }
        if older_life {
            self.tell(fx, Event::OlderLife { node: beat.sender, heard: name.0, known: known.0 });
        }
        if name <= known && !self.mutation.is(Mutant::OldBeatChangesState) {
            return false;
        }
        self.accept(link, beat, name.0 != known.0, fx)
    }

    /// A beat newer than any before it. Whether it says anything new.
    fn accept(&mut self, link: LinkId, beat: Arc<Beat>, new_life: bool, fx: &mut Effects) -> bool {
        let round_trip = self.round_trip(&beat);
        let hears_us = beat.heard.get(&self.me).is_some_and(|heard| heard.incarnation == self.incarnation);
        let Some(peer) = self.peers.get_mut(&beat.sender) else { return false };
        if let Some(path) = peer.links.get_mut(&link) {
            path.round_trip = round_trip.or(path.round_trip);
        }
        if new_life {
            // It waits to see that it is heard.
            self.voice.greet();
            peer.life_since = self.now;
            if !peer.up() {
                let forgotten = peer.proven.take();
                self.recount(beat.sender, forgotten.as_deref(), None);
                self.note_majority(beat.sender);
            }
        }
        let Some(peer) = self.peers.get_mut(&beat.sender) else { return false };
        if self.voter.holds_off() && (hears_us || self.mutation.is(Mutant::HoldOffExceptionWithoutHearing)) {
            peer.note_claims(&beat);
        }
        peer.heard_at = self.now;
        peer.newest = Some(Arc::clone(&beat));
        if !hears_us && !self.mutation.is(Mutant::UnprovenBeatChangesState) {
            return true;
        }
        let before = peer.proven.replace(Arc::clone(&beat));
        peer.proven_at = self.now;
        let up = peer.liveness == Liveness::Up;
        let repeats = before.as_deref().is_some_and(|before| beat.repeats(before));
        if repeats && up {
            peer.shown = Some(Arc::clone(&beat));
        }
        self.recount(beat.sender, before.as_deref(), Some(&beat));
        self.note_majority(beat.sender);
        if repeats && up && self.hears_in_time(&beat) {
            self.hear_claims(before.as_deref(), &beat);
            return self.voter.holds_off() || self.renew_by(beat.sender, fx);
        }
        self.learn(before.as_deref(), &beat, fx);
        true
    }

    /// What a beat says that the one before did not.
    fn learn(&mut self, before: Option<&Beat>, beat: &Beat, fx: &mut Effects) {
        let sender = beat.sender;
        let Some(peer) = self.peers.get_mut(&sender) else { return };
        let steady = |before: &Beat| {
            before.flags == beat.flags && before.facts.unfit.keys().eq(beat.facts.unfit.keys())
        };
        let to_us = beat.grants.iter().filter(|(_, grant)| grant.holder == self.me);
        peer.grants_us.clear();
        peer.grants_us.extend(to_us.map(|(group, _)| *group));
        if !before.is_some_and(steady) {
            peer.steady_since = self.now;
        }
        if beat.config != self.digest && peer.config_told.replace(beat.config) != Some(beat.config) {
            self.tell(fx, Event::ConfigDiffers { node: sender });
        }
        self.judge_peer(sender, fx);
        self.look_at(sender);
        self.learn_epochs(beat);
        self.learn_orders(beat, fx);
        self.learn_server_orders(beat, fx);
        self.note_releases(before, beat);
        self.hear_claims(before, beat);
    }

    /// A beat shows that the newest of ours are heard.
    fn hears_in_time(&self, beat: &Beat) -> bool {
        self.unheard_by(beat).is_some_and(|unheard| unheard < self.config.timing.warntime)
    }

    /// Deadlines and silence, for every peer.
    pub(super) fn judge_peers(&mut self, fx: &mut Effects) {
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.judge_peer(peer, fx);
        }
    }

    fn judge_peer(&mut self, node: NodeId, fx: &mut Effects) {
        let (verdict, wake) = self.verdict(node);
        self.wake_in(wake);
        self.judge_links(node, fx);
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let (was, is) = (peer.liveness, verdict.liveness());
        peer.liveness = is;
        if was == is {
            return;
        }
        let silent = peer.silent(now);
        if matches!(was, Liveness::Unknown | Liveness::Down) && peer.up() {
            peer.up_since = now;
            peer.seen = true;
        }
        let incarnation = peer.newest.as_ref().map_or(Incarnation(0), |beat| beat.incarnation);
        let counts = |liveness| usize::from(matches!(liveness, Liveness::Up | Liveness::Late));
        self.peers_up = self.peers_up + counts(is) - counts(was);
        self.changed = true;
        self.look_at(node);
        match (was, verdict) {
            (Liveness::Unknown | Liveness::Down, Verdict::Up | Verdict::Late) => {
                self.tell(fx, Event::PeerUp { node, incarnation });
            }
            (Liveness::Up, Verdict::Late) => self.tell(fx, Event::PeerLate { node, silent }),
            (_, Verdict::Down(because)) => self.tell(fx, Event::PeerDown { node, because }),
            (Liveness::Up | Liveness::Late, Verdict::Up | Verdict::Late) | (_, Verdict::Unknown) => {}
        }
    }

    /// How a peer is to be judged now, and in how long that may change by itself.
    fn verdict(&self, node: NodeId) -> (Verdict, Span) {
        let timing = &self.config.timing;
        let never = Span(u64::MAX);
        let Some(peer) = self.peers.get(&node) else { return (Verdict::Unknown, never) };
        let initdead_left = timing.initdead - self.now.at_least_since(peer.since);
        let Some(newest) = &peer.newest else {
            return if initdead_left == Span::ZERO {
                (Verdict::Down(DownReason::NeverHeard), never)
            } else {
                (Verdict::Unknown, initdead_left)
            };
        };
        let silent = peer.silent(self.now);
        // A new life that does not hear us yet is judged by what the life before heard.
        let unheard = self.unheard_by(peer.proven.as_ref().unwrap_or(newest));
        let lag = unheard.unwrap_or(never).max(silent);
        if silent >= timing.deadtime {
            let because = if newest.flags.leaving { DownReason::Left } else { DownReason::Silent { silent } };
            return (Verdict::Down(because), never);
        }
        match unheard {
            Some(unheard) if unheard < timing.deadtime => {
                let next = if lag < timing.warntime { timing.warntime } else { timing.deadtime };
                (if lag < timing.warntime { Verdict::Up } else { Verdict::Late }, next - lag)
            }
            Some(_) if silent >= timing.warntime => (Verdict::Down(DownReason::Silent { silent }), never),
            None if peer.liveness == Liveness::Unknown && initdead_left > Span::ZERO => {
                (Verdict::Unknown, initdead_left.min(timing.deadtime - silent))
            }
            unheard => {
                let hears_us_since = unheard.unwrap_or_else(|| self.now.since(self.started));
                (Verdict::Down(DownReason::Deaf { hears_us_since }), timing.deadtime - silent)
            }
        }
    }

    /// For how long this peer has not heard what we sent: since the first beat after the newest of ours that it shows.
    /// `None` where it shows none of this life. Our own absence does not count: we sent nothing then.
    fn unheard_by(&self, beat: &Beat) -> Option<Span> {
        let heard = beat.heard.get(&self.me).filter(|heard| heard.incarnation == self.incarnation)?;
        Some(match self.voice.sent_after(heard.sequence) {
            Ok(None) => Span::ZERO,
            Ok(Some(sent)) => self.now.since(sent),
            Err(_) => Span(u64::MAX),
        })
    }

    /// For how long this peer has been of no use: silent, or deaf to us. A life that never heard us is deaf from its
    /// first beat on.
    pub(super) fn useless_for(&self, peer: &Peer) -> Span {
        let deaf_since_birth = || self.now.since(peer.life_since);
        let deaf = peer.newest().map(|(beat, _)| self.unheard_by(beat).unwrap_or_else(deaf_since_birth));
        peer.silent(self.now).max(deaf.unwrap_or_default())
    }

    fn judge_links(&mut self, node: NodeId, fx: &mut Effects) {
        let deadtime = self.config.timing.deadtime;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let mut down = Vec::new();
        let mut wake = Span(u64::MAX);
        for (link, path) in peer.links.iter_mut().filter(|(_, path)| path.up) {
            let left = deadtime - self.now.since(path.heard_at);
            if left > Span::ZERO {
                wake = wake.min(left);
            } else {
                path.up = false;
                down.push(*link);
            }
        }
        let beside_others = peer.links.values().any(|path| path.up);
        self.wake_in(wake);
        for link in down.into_iter().filter(|_| beside_others) {
            self.tell(fx, Event::LinkDown { node, link });
        }
    }

    /// What this node held may have run out while it was away: that comes before everything else (rule 6). Then its own
    /// absence is taken off the silence of others (rule 5), and nothing is judged before what arrived has been read.
    pub(super) fn lapse(&mut self, late: Span, fx: &mut Effects) {
        let away = late > self.config.timing.keepalive / 2;
        let because = if away { LossReason::WasAway } else { LossReason::RanOut };
        self.drop_lapsed_leases(because, fx);
        if !away || self.mutation.is(Mutant::NoSelfSuspicion) {
            return;
        }
        if !self.catching_up {
            self.tell(fx, Event::WasAway { late });
        }
        self.catching_up = true;
        for peer in self.peers.values_mut() {
            let shifted = peer.heard_at + late;
            peer.heard_at =
                Moment { boot: shifted.boot.min(self.now.boot), raw: shifted.raw.min(self.now.raw) };
            for path in peer.links.values_mut() {
                let shifted = path.heard_at + late;
                path.heard_at =
                    Moment { boot: shifted.boot.min(self.now.boot), raw: shifted.raw.min(self.now.raw) };
            }
        }
        self.voice.was_away(late, self.now);
        self.evidence.forget_rounds();
        self.deadline = self.now.boot;
    }
}

/// How a peer is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Up,
    Late,
    Down(DownReason),
}

impl Verdict {
    fn liveness(self) -> Liveness {
        match self {
            Self::Unknown => Liveness::Unknown,
            Self::Up => Liveness::Up,
            Self::Late => Liveness::Late,
            Self::Down(_) => Liveness::Down,
        }
    }
}

impl Peer {
    /// Counts a beat for its link; whether the link came up by it. A repeated or older one does not count: a replay must
    /// not make a dead link look alive.
    fn hear_over(&mut self, link: LinkId, name: (Incarnation, Sequence), now: Moment) -> bool {
        let fresh = Path { up: true, heard_at: now, newest: name, round_trip: None, beats: 0 };
        let first = !self.links.contains_key(&link);
        let path = self.links.entry(link).or_insert(fresh);
        if !first && name <= path.newest {
            return false;
        }
        let came_up = !path.up;
        *path = Path { up: true, heard_at: now, newest: name, beats: path.beats + 1, ..*path };
        came_up
    }

    /// Of the groups that were claimed in every beat so far, those that are claimed in this one, too.
    fn note_claims(&mut self, beat: &Beat) {
        let claimed = beat.claims.keys().copied();
        self.always_claimed = Some(match self.always_claimed.take() {
            None => claimed.collect(),
            Some(always) => claimed.filter(|group| always.contains(group)).collect(),
        });
    }
}
