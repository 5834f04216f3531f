//! When to send a beat, and what it says.
//!
//! Each keepalive; and at once when claims, flags, planner facts or the holder in a grant change. A few changes in a row
//! leave so, as many as a hand-over has; further ones wait, up to a millisecond, and then leave together. Ages and sequence
//! numbers are no change, or two nodes would answer each other for ever (rule 1). What a beat rests on is in memory before
//! it leaves.

use std::collections::{BTreeMap, VecDeque};
use std::mem::discriminant;
use std::sync::Arc;

use crate::beat::{Beat, Claim, Facts, Flags, Grant, Heard, VoterDigests};
use crate::time::{Moment, Span};
use crate::types::{GroupId, Marks, NodeId, Sequence};

use super::{Core, Effect, Effects, Memory, Mutant};

/// In the long run one beat leaves for changes in so long.
const NEWS_EVERY: Span = Span::millis(1);

/// So many in a row need not wait for it: a hand-over has no more. In a crowd each beat costs, so there all but one wait.
const NEWS_AT_ONCE: u64 = 4;

/// A beat that is due within this part of a keepalive leaves along with a peer's that comes: one waking less.
const ALONG: u64 = 4;

/// Who is not the first waits this part of a keepalive longer, for the beat that takes its own along.
const WAITS_LONGER: u64 = 32;

/// So many keepalives a node that leaves waits to see its last beat heard.
const LINGER: u64 = 3;

/// Beats of ours that are remembered. A grant that names an older one counts as not renewed, and who shows that he heard
/// nothing younger counts as deaf: the safe side of both.
const LOG_LENGTH: usize = 4_096;

/// What this node has said.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) sequence: Sequence,
    /// The newest beats, one sequence number after the other.
    pub(super) log: VecDeque<Spoken>,
    pub(super) last: Option<Arc<Beat>>,
    /// Beats that left for their news, and not for the keepalive, are paid for until then, [`NEWS_EVERY`] each.
    pub(super) news_paid: Span,
    /// A peer began a new life and waits to see that it is heard.
    pub(super) greet: bool,
    /// A peer has spoken at this moment.
    pub(super) along: bool,
}

/// One beat of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken {
    pub(super) at: Moment,
    /// The same, moved on by our own absences: for judging who hears us.
    pub(super) counted_from: Moment,
    /// The lease that its claims asked for.
    pub(super) lease: Span,
    /// The reach that it showed.
    pub(super) reach: u16,
}

/// Said too long ago to be known, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten;

impl Voice {
    pub(super) fn new() -> Self {
        Self {
            sequence: Sequence(0),
            log: VecDeque::new(),
            last: None,
            news_paid: Span::ZERO,
            greet: false,
            along: false,
        }
    }

    pub(super) fn greet(&mut self) {
        self.greet = true;
    }

    pub(super) fn sent(&self, sequence: Sequence) -> Option<Spoken> {
        let first = self.first();
        let place = usize::try_from(sequence.0.checked_sub(first)?).ok()?;
        self.log.get(place).copied()
    }

    /// When the beat after this one was sent, less our own absences since; `None` where this is the newest.
    pub(super) fn sent_after(&self, sequence: Sequence) -> Result<Option<Moment>, Forgotten> {
        if sequence >= self.sequence {
            return Ok(None);
        }
        self.sent(Sequence(sequence.0 + 1)).map(|spoken| Some(spoken.counted_from)).ok_or(Forgotten)
    }

    /// We were away for so long: nobody can have heard us then, and nobody is deaf for it.
    pub(super) fn was_away(&mut self, late: Span, now: Moment) {
        for spoken in &mut self.log {
            let shifted = spoken.counted_from + late;
            spoken.counted_from = Moment { boot: shifted.boot.min(now.boot), raw: shifted.raw.min(now.raw) };
        }
    }

    /// The newest beat sent.
    pub(super) fn newest(&self) -> Option<(Sequence, Spoken)> {
        self.log.back().map(|spoken| (self.sequence, *spoken))
    }

    fn first(&self) -> u64 {
        self.sequence.0 + 1 - self.log.len() as u64
    }

    fn last_at(&self) -> Option<Moment> {
        self.log.back().map(|spoken| spoken.at)
    }
}

impl Core {
    /// Sends a beat where one is due.
    pub(super) fn speak(&mut self, fx: &mut Effects) -> bool {
        if !self.beat_is_due() {
            return false;
        }
        let mistaken = self.mutation.is(Mutant::MemoryWrittenAfterBeat);
        if !mistaken {
            self.remember(fx);
        }
        self.say(fx);
        true
    }

    fn say(&mut self, fx: &mut Effects) {
        if self.has_news() {
            self.voice.news_paid = self.voice.news_paid.max(self.now.boot) + NEWS_EVERY;
        }
        self.voice.sequence.0 += 1;
        if self.voice.log.len() == LOG_LENGTH {
            self.voice.log.pop_front();
        }
        let spoken =
            Spoken { at: self.now, counted_from: self.now, lease: self.lease_length(), reach: self.reach };
        self.voice.log.push_back(spoken);
        let lease = self.lease_length();
        self.voter.renew_own(self.me, self.incarnation, self.voice.sequence, lease, self.now);
        let beat = Arc::new(Beat { marks: self.tell_apart(), ..self.compose() });
        self.voice.last = Some(Arc::clone(&beat));
        self.voice.greet = false;
        fx.push(Effect::Send(beat));
        self.feed_watchdog(fx);
    }

    /// Whether it leaves now.
    pub(super) fn beat_is_due(&self) -> bool {
        let along = self.voice.along && self.until_regular() <= self.config.timing.keepalive / ALONG;
        self.speaks() && (along || self.until_beat() == Span::ZERO)
    }

    /// Wakes for the next beat.
    pub(super) fn wake_for_beat(&mut self) {
        if self.speaks() {
            self.wake_in(self.until_beat());
        }
    }

    fn speaks(&self) -> bool {
        self.ready && !self.leave.is_some_and(|leave| leave.gone)
    }

    /// How long until a beat is due.
    fn until_beat(&self) -> Span {
        let Some(last) = self.voice.last_at() else { return Span::ZERO };
        let regular = self.until_regular();
        if self.pace.rests.is_some() {
            return regular;
        }
        let at_once = if self.crowd().is_some() { 1 } else { NEWS_AT_ONCE };
        let held_back = self.voice.news_paid - self.now.boot - NEWS_EVERY * (at_once - 1);
        if self.says_otherwise() {
            regular.min(held_back)
        } else if self.voice.greet {
            regular.min(held_back.max(self.greeting_waits(self.now.since(last))))
        } else {
            regular
        }
    }

    /// How long until the regular beat. In a crowd nobody goes along with anybody.
    fn until_regular(&self) -> Span {
        let Some(last) = self.voice.last_at() else { return Span::ZERO };
        let keepalive = self.config.timing.keepalive;
        let mut before = self.peers.range(..self.me).filter(|(_, peer)| peer.up());
        let waits = if self.crowd().is_none() && before.next().is_some() { WAITS_LONGER } else { u64::MAX };
        keepalive + keepalive / waits - self.now.since(last)
    }

    /// Whether somebody waits for a beat.
    pub(super) fn has_news(&self) -> bool {
        self.voice.greet || self.says_otherwise()
    }

    /// Whether the newest beat is out of date in anything but ages and sequence numbers.
    fn says_otherwise(&self) -> bool {
        let Some(last) = &self.voice.last else { return true };
        last.flags != self.flags()
            || last.voters != self.voter_digests
            || !self.claims().eq(last.claims.iter().map(|(group, claim)| (*group, *claim)))
            || !self
                .voter
                .shown()
                .map(unnumbered)
                .eq(last.grants.iter().map(|(g, grant)| unnumbered((*g, *grant))))
            || self.facts_changed(&last.facts)
    }

    fn facts_changed(&self, last: &Facts) -> bool {
        self.reach != last.reach
            || self.shortfall != last.shortfall
            || !self
                .unfit_groups()
                .map(|(group, why)| (group, discriminant(&why)))
                .eq(last.unfit.iter().map(|(group, why)| (*group, discriminant(why))))
            || !self.handovers().eq(last.handover.iter().map(|(group, heir)| (*group, *heir)))
            || *self.orders.all() != last.orders
            || self.server_orders != last.servers
    }

    fn compose(&self) -> Beat {
        Beat {
            sender: self.me,
            incarnation: self.incarnation,
            sequence: self.voice.sequence,
            sent_at: self.now.boot,
            flags: self.flags(),
            config: self.digest,
            voters: self.voter_digests,
            heard: self.heard(),
            claims: self.claims().collect(),
            grants: self.voter.shown().collect(),
            facts: self.facts(),
            marks: None,
        }
    }

    /// Of what the configuration consists, while somebody is up who has another one: he can say where it differs.
    fn tell_apart(&mut self) -> Option<Marks> {
        let another =
            |peer: &super::Peer| peer.up() && peer.beat().is_some_and(|beat| beat.config != self.digest);
        if self.peers.values().any(another) {
            self.marks.get_or_insert_with(|| self.config.marks());
            return self.marks.clone();
        }
        None
    }

    pub(super) fn flags(&self) -> Flags {
        Flags {
            starting: self.starting,
            leaving: self.leaving(),
            standby: self.orders.standby(self.me),
            arbiter: self.config.nodes.get(&self.me).is_some_and(|node| node.arbiter),
            hold_off: self.voter.holds_off(),
            guarded: self.config.watchdog.is_some() && self.fencing.watchdog_counts == Some(true),
        }
    }

    fn heard(&self) -> BTreeMap<NodeId, Heard> {
        let worth_it = self.config.timing.initdead;
        let recent = self.peers.iter().filter_map(|(node, peer)| peer.newest().map(|newest| (node, newest)));
        recent
            .map(|(node, (beat, at))| {
                let age = self.now.since(at);
                (*node, Heard { incarnation: beat.incarnation, sequence: beat.sequence, age })
            })
            .filter(|(_, heard)| heard.age < worth_it)
            .collect()
    }

    /// The claims of this node, in the order of their groups.
    pub(super) fn claims(&self) -> impl Iterator<Item = (GroupId, Claim)> {
        let lease = self.lease_length();
        self.claimed.keys().filter_map(move |group| {
            let (epoch, phase) = self.groups.get(group)?.claim()?;
            Some((*group, Claim { epoch, phase, lease }))
        })
    }

    fn facts(&self) -> Facts {
        Facts {
            reach: self.reach,
            unfit: self.unfit_groups().collect(),
            shortfall: self.shortfall.clone(),
            handover: self.handovers().collect(),
            orders: self.orders.all().clone(),
            servers: self.server_orders.clone(),
        }
    }

    /// The round trip that a beat shows: our beat's way there, its time there, and this beat's way back.
    pub(super) fn round_trip(&self, beat: &Beat) -> Option<Span> {
        let heard = beat.heard.get(&self.me).filter(|heard| heard.incarnation == self.incarnation)?;
        let sent = self.voice.sent(heard.sequence)?;
        Some(self.now.since(sent.at) - heard.age)
    }

    /// Writes down what a beat will rest on.
    pub(super) fn remember(&mut self, fx: &mut Effects) {
        // Before it is known what runs here, memory must not say that nothing does.
        if !self.touched || !self.ready {
            return;
        }
        self.touched = false;
        let mut memory = Memory {
            grants: self.voter.remembered(),
            claims: self.remembered_claims(),
            warm: self.warm_running(),
            unsure: self.unsure(),
            orders: self.orders.all().clone(),
            servers: self.server_orders.clone(),
            hold_off: self.voter.holds_off(),
        };
        if self.memory.as_ref() == Some(&memory) {
            return;
        }
        if self.mutation.is(Mutant::GrantShownBeforeCommitted) {
            let late = self.memory.replace(memory.clone());
            memory.grants = late.unwrap_or_default().grants;
            fx.push(Effect::Remember(memory));
            return;
        }
        self.memory = Some(memory.clone());
        fx.push(Effect::Remember(memory));
    }

    /// The last beat gives everything back, so it should arrive: the daemon stays until every peer that is up has shown
    /// that it did, or for some keepalives.
    pub(super) fn leave_if_done(&mut self, fx: &mut Effects) {
        if self.leave.is_none() {
            return;
        }
        let idle = self.groups.values().all(|tenure| tenure.nothing_runs());
        let Some((newest, _)) = self.voice.newest() else { return };
        let said = self.voice.last.as_ref().is_some_and(|last| last.flags.leaving && last.claims.is_empty());
        let Some(leave) = self.leave.as_mut().filter(|leave| idle && said && !leave.gone) else { return };
        let (first, since) = *leave.done.get_or_insert((newest, self.now));
        let heard = |peer: &super::Peer| {
            let heard = peer.newest().and_then(|(beat, _)| beat.heard.get(&self.me));
            heard.is_some_and(|heard| heard.incarnation == self.incarnation && heard.sequence >= first)
        };
        let left = self.config.timing.keepalive * LINGER - self.now.since(since);
        if left == Span::ZERO || self.peers.values().filter(|peer| peer.up()).all(heard) {
            leave.gone = true;
            fx.push(Effect::Left);
        } else {
            self.wake_in(left);
        }
    }
}

/// A grant without what changes by itself: the holder's newest beat.
fn unnumbered((group, grant): (GroupId, Grant)) -> (GroupId, Grant) {
    (group, Grant { sequence: Sequence(0), ..grant })
}

impl super::VoterSets {
    pub(super) fn digests(&self) -> VoterDigests {
        VoterDigests {
            now: self.now.digest(),
            before: self.before.as_ref().map_or(0, super::VoterSet::digest),
        }
    }
}
