//! The shell around each core: feeds it, and carries out what it wants, in order. Safety is checked as it is done.

use std::collections::BTreeSet;
use std::sync::Arc;

use systole::beat::Beat;
use systole::cluster::{
    Action, Answerer, Core, Effect, Effects, Input, Outcome, RememberedGrant, Round, Start, Ticket,
};
use systole::config::Promise;
use systole::time::Span;
use systole::types::{GroupId, Incarnation, LinkId, Sequence};

use crate::world::World;

/// So long a slow stop takes.
const SLOW_TICKS: u64 = 2;

/// What a step did, for whoever tells the story.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) at: usize,
    pub(crate) input: Option<Input>,
    pub(crate) effects: Effects,
    /// So many of the effects a world can see.
    pub(crate) visible: usize,
}

/// How much of a step is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    End,
    /// So many effects that a world can see.
    Effect(usize),
}

/// Effects that a world can see: between any two of them a daemon may die.
fn is_visible(effect: &Effect) -> bool {
    match effect {
        Effect::Tell(_) | Effect::Announce { .. } | Effect::FeedWatchdog | Effect::Left => false,
        Effect::Remember(_)
        | Effect::Store(_)
        | Effect::Send(_)
        | Effect::RaiseLease { .. }
        | Effect::RenewLease { .. }
        | Effect::DropLease { .. }
        | Effect::Run { .. }
        | Effect::Probe { .. }
        | Effect::Fence { .. } => true,
    }
}

impl World {
    /// A daemon begins: with what /run remembers, or without.
    pub(crate) fn start(&mut self, at: usize, with_memory: bool) -> Done {
        let now = self.moment(at);
        let setting = Arc::clone(&self.setting);
        let machine = &mut self.machines[at];
        machine.on = true;
        let life = Incarnation(machine.lives.last().map_or(1, |(life, _)| life.0 + 1));
        machine.lives.push((life, Sequence(0)));
        machine.newest = [0; 3];
        if !with_memory {
            machine.memory = None;
            machine.elements.clear();
        }
        let standing = machine.elements.iter().map(|(group, until)| (*group, *until - now.boot));
        let start = Start {
            config: Arc::clone(&setting.config),
            node: machine.node,
            incarnation: life,
            seed: setting.seeds[at],
            now,
            stored: (*machine.stored).clone(),
            memory: machine.memory.as_deref().cloned(),
            standing: standing.filter(|(_, left)| *left > Span::ZERO).collect(),
        };
        let mut effects = Effects::new();
        let core = begin(start, &setting, &mut effects);
        machine.core = Some(Arc::new(core));
        self.carry_out(at, None, effects, Until::End)
    }

    /// One step of one core.
    pub(crate) fn step(&mut self, at: usize, input: Input, until: Until) -> Done {
        let now = self.moment(at);
        let seed = self.setting.seeds[at];
        self.before_step(at, &input);
        let Some(core) = self.machines[at].core.as_mut() else { return Done::default() };
        let core = Arc::make_mut(core);
        let mut effects = Effects::new();
        core.forget_the_past(seed);
        core.step(now, input.clone(), &mut effects);
        let done = self.carry_out(at, Some(input), effects, until);
        self.check_awake(at);
        done
    }

    /// A core that asks for no time is told something sooner or later: an agent of its has not answered.
    fn check_awake(&mut self, at: usize) {
        let machine = &self.machines[at];
        let asks = machine.core.as_ref().is_none_or(|core| core.next_deadline() < Span(u64::MAX));
        if !asks && machine.inbox.is_empty() && machine.slow.is_none() {
            self.violate(format!("machine {at} waits for nothing, and for ever"));
        }
    }

    /// What is true by the time that a core is told of it.
    fn before_step(&mut self, at: usize, input: &Input) {
        if let Input::Fenced { node, off: true, .. } = input {
            let victim = self.place(*node);
            self.switch_off(victim);
        }
        if let Input::AgentDone { ticket, outcome: Outcome::Done } = input {
            // Only a stop leaves a trace that a start did not.
            if self.machines[at].inbox_stop(*ticket) {
                self.machines[at].running.remove(&(ticket.group, ticket.resource));
            }
        }
    }

    fn carry_out(&mut self, at: usize, input: Option<Input>, effects: Effects, until: Until) -> Done {
        let visible = effects.iter().filter(|effect| is_visible(effect)).count();
        let allowed = match until {
            Until::End => usize::MAX,
            Until::Effect(count) => count,
        };
        let mut carried = 0;
        for effect in &effects {
            if is_visible(effect) {
                if carried == allowed {
                    break;
                }
                carried += 1;
            }
            self.carry(at, effect);
        }
        Done { at, input, effects, visible }
    }

    fn carry(&mut self, at: usize, effect: &Effect) {
        let now = self.clock(at);
        match effect {
            Effect::Remember(memory) => self.machines[at].memory = Some(Arc::new(memory.clone())),
            Effect::Store(stored) => self.machines[at].stored = Arc::new(stored.clone()),
            Effect::Send(beat) => {
                self.check_beat(at, beat);
                self.note_sent(at, beat.incarnation, beat.sequence);
                self.send(at, beat);
            }
            Effect::RaiseLease { group, until } => {
                self.machines[at].elements.insert(*group, *until);
                self.check_elements(*group);
            }
            Effect::RenewLease { group, until } => {
                if self.stands(at, *group) {
                    self.machines[at].elements.insert(*group, *until);
                    self.check_elements(*group);
                } else {
                    self.machines[at].inbox.push_back(Input::LeaseGone { group: *group });
                }
            }
            Effect::DropLease { group } => {
                self.machines[at].elements.remove(group);
            }
            Effect::Run { ticket, action, .. } => self.run(at, *ticket, *action),
            Effect::Probe { round, groups, .. } => self.probe(at, *round, groups),
            Effect::Fence { generation, node } => {
                let machine = &mut self.machines[at];
                machine.newest[2] = *generation;
                machine.inbox.push_back(Input::Fenced { generation: *generation, node: *node, off: true });
            }
            Effect::FeedWatchdog => self.feed_watchdog(at, now),
            Effect::Announce { .. } | Effect::Tell(_) | Effect::Left => {}
        }
    }

    fn feed_watchdog(&mut self, at: usize, now: Span) {
        let machine = &mut self.machines[at];
        machine.fed = Some(now);
        if !std::mem::replace(&mut machine.has_watchdog, true) {
            machine.inbox.push_back(Input::Watchdog { counts: true });
        }
    }

    fn note_sent(&mut self, at: usize, life: Incarnation, sequence: Sequence) {
        let (now, long_ago) = (self.tick, self.long_ago(at));
        let machine = &mut self.machines[at];
        if let Some(newest) = machine.lives.last_mut() {
            newest.1 = sequence;
        }
        machine.spoken.retain(|(_, _, sent)| *sent >= long_ago);
        machine.spoken.push_back((life, sequence, now));
    }

    /// An agent runs; its answer comes at once unless the adversary slows it down.
    fn run(&mut self, at: usize, ticket: Ticket, action: Action) {
        let key = (ticket.group, ticket.resource);
        let runs = self.machines[at].running.contains(&key);
        let outcome = match action {
            Action::Probe | Action::Monitor if !runs => Outcome::NotRunning,
            Action::Probe | Action::Monitor | Action::Start => Outcome::Done,
            Action::Stop if !runs => Outcome::NotRunning,
            Action::Stop => Outcome::Done,
        };
        if action == Action::Start {
            self.check_start(at, ticket.group);
            self.machines[at].running.insert(key);
        }
        let soon = self.tick + SLOW_TICKS;
        let slow = self.setting.slow_stops && action == Action::Stop && self.machines[at].slow.is_none();
        let machine = &mut self.machines[at];
        machine.newest[0] = ticket.generation;
        if action == Action::Stop && runs {
            machine.stops.insert(ticket);
        }
        let answer = Input::AgentDone { ticket, outcome };
        if slow {
            (machine.slow, machine.slow_until) = (Some(answer), Some(soon));
        } else {
            machine.inbox.push_back(answer);
        }
    }

    /// Answers according to truth: what stands in the others' kernels, and which cables are whole.
    fn probe(&mut self, at: usize, round: Round, groups: &[GroupId]) {
        self.machines[at].newest[1] = round.0;
        if !self.cabled(at) {
            return;
        }
        let answers = |group: &GroupId| {
            (0..self.machines.len()).any(|other| {
                let runs = self.machines[other].running.contains(&(*group, 0));
                other != at && self.cabled(other) && runs && self.stands(other, *group)
            })
        };
        let answering: Vec<GroupId> = groups.iter().filter(|group| answers(group)).copied().collect();
        let target = self.target.then_some(Answerer::Target);
        for from in target.into_iter().chain(answering.into_iter().map(Answerer::Group)) {
            self.machines[at].inbox.push_back(Input::Answer { round, from });
        }
    }

    /// Never two elements for one group.
    fn check_elements(&mut self, group: GroupId) {
        let at_most_one =
            self.setting.config.groups.get(&group).is_some_and(|group| group.promise == Promise::AtMostOne);
        if at_most_one && self.standing(group) > 1 {
            let holders: Vec<usize> = (0..self.machines.len()).filter(|at| self.stands(*at, group)).collect();
            self.violate(format!("two elements stand at once, on machines {holders:?}"));
        }
    }

    /// Nothing starts without a lease, and an exclusive group nowhere twice.
    fn check_start(&mut self, at: usize, group: GroupId) {
        if !self.stands(at, group) {
            self.violate(format!("machine {at} starts a group without a lease"));
        }
        let exclusive = self.setting.config.groups.get(&group).is_some_and(|group| group.exclusive);
        let runs = |other: &usize| self.machines[*other].running.iter().any(|(running, _)| *running == group);
        if exclusive && (0..self.machines.len()).filter(|other| *other != at).any(|other| runs(&other)) {
            self.violate(format!("machine {at} starts an exclusive group that runs elsewhere"));
        }
    }

    /// A beat rests on what is written down, and says nothing false about this machine.
    fn check_beat(&mut self, at: usize, beat: &Beat) {
        let machine = &self.machines[at];
        let empty = systole::cluster::Memory::default();
        let memory = machine.memory.as_deref().unwrap_or(&empty);
        let covered = beat.grants.iter().all(|(group, grant)| {
            memory.grants.get(group).is_some_and(|kept| {
                let RememberedGrant { holder, incarnation, epoch, sequence: _, lease: _ } = *kept;
                (holder, incarnation, epoch) == (grant.holder, grant.incarnation, grant.epoch)
            })
        });
        let claimed = beat.claims.iter().all(|(group, claim)| {
            memory
                .claims
                .get(group)
                .is_some_and(|kept| (kept.epoch, kept.phase) == (claim.epoch, claim.phase))
        });
        let runs: BTreeSet<GroupId> = machine.running.iter().map(|(group, _)| *group).collect();
        let groups: Vec<GroupId> = self.setting.config.groups.keys().copied().collect();
        let false_about = groups.into_iter().find(|group| {
            let runs = runs.contains(group) && !machine.dirty.contains(group);
            !beat.claims.contains_key(group) && (runs || self.stands(at, *group))
        });
        if !covered || !claimed {
            self.violate(format!("machine {at} sends a beat that its memory does not cover"));
        }
        if false_about.is_some() {
            self.violate(format!(
                "machine {at} claims nothing while its element stands or its resources run"
            ));
        }
    }

    /// What a beat is fed as.
    pub(crate) fn arrival(beat: Arc<Beat>) -> Input {
        Input::Beat { link: LinkId(0), beat }
    }
}

impl crate::world::Machine {
    /// Whether this run is a stop of something that ran; it is over now.
    fn inbox_stop(&mut self, ticket: Ticket) -> bool {
        self.stops.remove(&ticket)
    }
}

#[cfg(feature = "mutants")]
fn begin(start: Start, setting: &crate::world::Setting, effects: &mut Effects) -> Core {
    match setting.mutant {
        Some(mutant) => Core::start_mutated(start, mutant, effects),
        None => Core::start(start, effects),
    }
}

#[cfg(not(feature = "mutants"))]
fn begin(start: Start, _setting: &crate::world::Setting, effects: &mut Effects) -> Core {
    Core::start(start, effects)
}
