//! What can happen next: the ordinary thing, and what the adversary can do instead.
//!
//! Without a fault everything is determined: what arrived is read, what is due is done, time goes on to the next
//! deadline. A fault costs the adversary one of his few; undoing one (a reboot, a mended link) is free, at any time
//! after. A daemon dies or a machine crashes only right after an effect: before its next step nobody can tell the
//! difference but by the time that passes, and a stopped process stands for that.

use systole::cluster::{Input, KERNEL_TICK, Outcome};

use crate::shell::{Done, Until};
use crate::world::{Held, World};

/// A beat that is held back longer is lost.
const LONGEST_DELAY_MS: u64 = 320;

/// So many beats of one channel are held back at once.
const HELD: usize = 2;

/// The ordinary next thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Feed(usize),
    Deliver(usize, usize),
    Timer(usize),
    /// All is done that is due: time goes on to this tick.
    Rest(Option<u64>),
}

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The ordinary next thing.
    Go,
    /// The ordinary next step, but the daemon is killed after so many effects.
    Kill(usize),
    /// The ordinary next step, but the machine is off after so many effects.
    Crash(usize),
    Lose,
    Delay,
    SlowAgent,
    FailAgent,
    FailFence,
    Pause(usize),
    Mute(usize),
    Deafen(usize),
    Isolate(usize),
    /// Two that don't hear each other, while both are heard by others.
    Part(usize, usize),
    Unplug(usize),
    TargetDown,
    // Free from here on: they undo a fault.
    Boot(usize),
    Start(usize, bool),
    Resume(usize),
    EndAgent(usize),
    /// From, to, which of those held back.
    Release(usize, usize, usize),
    Mend,
    Plug(usize),
    TargetUp,
    /// Everything is undone at once: only to see whether the world settles.
    Heal,
}

impl Choice {
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::Go
            | Self::Boot(_)
            | Self::Start(..)
            | Self::Resume(_)
            | Self::EndAgent(_)
            | Self::Release(..)
            | Self::Mend
            | Self::Plug(_)
            | Self::TargetUp
            | Self::Heal => false,
            Self::Kill(_)
            | Self::Crash(_)
            | Self::Lose
            | Self::Delay
            | Self::SlowAgent
            | Self::FailAgent
            | Self::FailFence
            | Self::Pause(_)
            | Self::Mute(_)
            | Self::Deafen(_)
            | Self::Isolate(_)
            | Self::Part(..)
            | Self::Unplug(_)
            | Self::TargetDown => true,
        }
    }
}

impl World {
    fn lives(&self, at: usize) -> bool {
        self.machines[at].core.is_some() && !self.machines[at].paused
    }

    /// What happens if nobody interferes.
    pub(crate) fn next(&self) -> Next {
        let places = 0..self.machines.len();
        if let Some(at) = places.clone().find(|at| self.lives(*at) && !self.machines[*at].inbox.is_empty()) {
            return Next::Feed(at);
        }
        for to in places.clone().filter(|to| self.lives(*to)) {
            let waits = |from: &usize| !self.channels[from * self.machines.len() + to].fresh.is_empty();
            if let Some(from) = places.clone().find(waits) {
                return Next::Deliver(from, to);
            }
        }
        let due = |at: &usize| self.deadline(*at).is_some_and(|tick| tick <= self.tick);
        if let Some(at) = places.clone().find(due) {
            return Next::Timer(at);
        }
        let ends = places.filter_map(|at| self.deadline(at).into_iter().chain(self.kernel_event(at)).min());
        Next::Rest(ends.min())
    }

    fn deadline(&self, at: usize) -> Option<u64> {
        let core = self.machines[at].core.as_ref().filter(|_| self.lives(at))?;
        let deadline = core.next_deadline();
        (deadline < systole::time::Span(u64::MAX)).then(|| self.tick_of(at, deadline))
    }

    /// When something happens on a machine by itself: its watchdog bites, or an element ends that no daemon cares for.
    fn kernel_event(&self, at: usize) -> Option<u64> {
        let machine = &self.machines[at];
        let timeout = self.setting.config.watchdog.as_ref().map(|watchdog| watchdog.timeout);
        let bite = machine.fed.and_then(|fed| Some(self.tick_of(at, fed + timeout?)));
        let lonely = machine.elements.values().filter(|_| !self.lives(at));
        let ends = lonely.map(|until| self.tick_of(at, *until + KERNEL_TICK)).filter(|end| *end > self.tick);
        bite.into_iter().chain(ends).chain(machine.slow_until).min()
    }

    /// Everything that can happen, the ordinary thing first; cuts between effects are added when their number is known.
    pub(crate) fn choices(&self, faults_left: u8) -> Vec<Choice> {
        let may = self.setting.faults;
        let next = self.next();
        let mut choices = Vec::new();
        if next != Next::Rest(None) {
            choices.push(Choice::Go);
        }
        let mut add = |allowed: bool, choice: Choice| {
            if allowed && (faults_left > 0 || !choice.is_fault()) {
                choices.push(choice);
            }
        };
        match next {
            Next::Feed(at) => {
                let head = self.machines[at].inbox.front();
                let agent = matches!(head, Some(Input::AgentDone { .. }));
                add(may.agents && agent && self.machines[at].slow.is_none(), Choice::SlowAgent);
                add(may.agents && agent, Choice::FailAgent);
                add(may.fence && matches!(head, Some(Input::Fenced { .. })), Choice::FailFence);
            }
            Next::Deliver(from, to) => {
                add(may.lose, Choice::Lose);
                let held = self.channels[from * self.machines.len() + to].held.len();
                add(may.delay && held < HELD, Choice::Delay);
            }
            Next::Timer(_) => {}
            Next::Rest(_) => self.choices_at_rest(&mut add),
        }
        choices
    }

    fn choices_at_rest(&self, add: &mut impl FnMut(bool, Choice)) {
        let may = self.setting.faults;
        let count = self.machines.len();
        add(!self.target, Choice::TargetUp);
        add(may.target && self.target, Choice::TargetDown);
        let cut = self.channels.iter().any(|channel| channel.cut);
        add(cut, Choice::Mend);
        for (at, machine) in self.machines.iter().enumerate() {
            add(!machine.on, Choice::Boot(at));
            let dead = machine.on && machine.core.is_none();
            add(dead && machine.memory.is_some(), Choice::Start(at, true));
            add(dead, Choice::Start(at, false));
            add(machine.paused, Choice::Resume(at));
            add(machine.slow.is_some() && machine.slow_until.is_none(), Choice::EndAgent(at));
            add(!machine.cable, Choice::Plug(at));
            add(may.pause && self.lives(at), Choice::Pause(at));
            add(may.cable && machine.on && machine.cable, Choice::Unplug(at));
            add(may.links && !cut && machine.on, Choice::Mute(at));
            // Of two, one's dumbness is the other's deafness.
            add(may.links && !cut && machine.on && count > 2, Choice::Deafen(at));
            add(may.links && !cut && machine.on && (count > 2 || at == 0), Choice::Isolate(at));
            for other in (at + 1..count).filter(|_| count > 2) {
                add((may.links || may.part) && !cut, Choice::Part(at, other));
            }
        }
        for (index, channel) in self.channels.iter().enumerate() {
            let (from, to) = (index / count, index % count);
            for held in 0..channel.held.len() {
                add(self.machines[to].core.is_some(), Choice::Release(from, to, held));
            }
        }
    }

    /// Where the next step may be cut short, once it is known how many effects it has.
    pub(crate) fn cuts(&self, done: &Done) -> Vec<Choice> {
        let may = self.setting.faults;
        let kills = (1..=done.visible).filter(|_| may.kill).map(Choice::Kill);
        let crashes = (1..=done.visible).filter(|_| may.crash).map(Choice::Crash);
        kills.chain(crashes).collect()
    }

    /// Makes a move.
    pub(crate) fn play(&mut self, choice: Choice) -> Done {
        match choice {
            Choice::Go => self.go(Until::End),
            Choice::Kill(effects) => {
                let done = self.go(Until::Effect(effects));
                self.kill(done.at);
                done
            }
            Choice::Crash(effects) => {
                let done = self.go(Until::Effect(effects));
                self.switch_off(done.at);
                done
            }
            Choice::Boot(at) => self.start(at, false),
            Choice::Start(at, with_memory) => self.start(at, with_memory),
            Choice::Heal => {
                self.heal();
                Done::default()
            }
            Choice::Lose
            | Choice::Delay
            | Choice::SlowAgent
            | Choice::FailAgent
            | Choice::FailFence
            | Choice::Pause(_)
            | Choice::Mute(_)
            | Choice::Deafen(_)
            | Choice::Isolate(_)
            | Choice::Part(..)
            | Choice::Unplug(_)
            | Choice::TargetDown
            | Choice::Resume(_)
            | Choice::EndAgent(_)
            | Choice::Release(..)
            | Choice::Mend
            | Choice::Plug(_)
            | Choice::TargetUp => {
                self.interfere(choice);
                Done::default()
            }
        }
    }

    fn go(&mut self, until: Until) -> Done {
        match self.next() {
            Next::Feed(at) => match self.machines[at].inbox.pop_front() {
                Some(input) => self.step(at, input, until),
                None => Done::default(),
            },
            Next::Deliver(from, to) => match self.channel(from, to).fresh.pop_front() {
                Some(beat) => self.step(to, Self::arrival(beat), until),
                None => Done::default(),
            },
            Next::Timer(at) => self.step(at, Input::Timer, until),
            Next::Rest(tick) => {
                self.pass(tick.unwrap_or(self.tick));
                Done::default()
            }
        }
    }

    /// Time goes on; what is due in kernels and on the way happens.
    fn pass(&mut self, tick: u64) {
        self.tick = tick;
        let timeout = self.setting.config.watchdog.as_ref().map(|watchdog| watchdog.timeout);
        for at in 0..self.machines.len() {
            let hungry = |(fed, timeout): (systole::time::Span, _)| self.clock(at) >= fed + timeout;
            if self.machines[at].fed.zip(timeout).is_some_and(hungry) {
                self.switch_off(at);
            }
        }
        for machine in &mut self.machines {
            if machine.slow_until.is_some_and(|until| until <= tick) {
                machine.slow_until = None;
                let answer = machine.slow.take();
                machine.inbox.extend(answer);
            }
        }
        let oldest = self.tick - LONGEST_DELAY_MS * 1_000 / self.setting.rates[0];
        self.channels.iter_mut().for_each(|channel| channel.held.retain(|held| held.since >= oldest));
    }

    fn interfere(&mut self, choice: Choice) {
        match (choice, self.next()) {
            (Choice::Lose, Next::Deliver(from, to)) => {
                self.channel(from, to).fresh.pop_front();
            }
            (Choice::Delay, Next::Deliver(from, to)) => {
                let since = self.tick;
                let channel = self.channel(from, to);
                let beat = channel.fresh.pop_front();
                channel.held.extend(beat.map(|beat| Held { beat, since }));
            }
            (Choice::SlowAgent, Next::Feed(at)) => {
                self.machines[at].slow = self.machines[at].inbox.pop_front()
            }
            (Choice::FailAgent, Next::Feed(at)) => self.fail_agent(at),
            (Choice::FailFence, Next::Feed(at)) => {
                if let Some(Input::Fenced { off, .. }) = self.machines[at].inbox.front_mut() {
                    *off = false;
                }
            }
            (Choice::Pause(at), _) => self.machines[at].paused = true,
            (Choice::Resume(at), _) => self.machines[at].paused = false,
            (Choice::Unplug(at), _) => self.machines[at].cable = false,
            (Choice::Plug(at), _) => self.machines[at].cable = true,
            (Choice::Mute(at), _) => self.cut(|from, _| from == at),
            (Choice::Deafen(at), _) => self.cut(|_, to| to == at),
            (Choice::Isolate(at), _) => self.cut(|from, to| from == at || to == at),
            (Choice::Part(one, other), _) => {
                self.cut(|from, to| (from, to) == (one, other) || (from, to) == (other, one));
            }
            (Choice::Mend, _) => self.channels.iter_mut().for_each(|channel| channel.cut = false),
            (Choice::TargetDown, _) => self.target = false,
            (Choice::TargetUp, _) => self.target = true,
            (Choice::EndAgent(at), _) => {
                let answer = self.machines[at].slow.take();
                self.machines[at].inbox.extend(answer);
            }
            (Choice::Release(from, to, held), _) => {
                let channel = self.channel(from, to);
                if held < channel.held.len() {
                    let beat = channel.held.remove(held).beat;
                    channel.fresh.push_back(beat);
                }
            }
            (_, _) => {}
        }
    }

    fn cut(&mut self, which: impl Fn(usize, usize) -> bool) {
        let count = self.machines.len();
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.cut |= which(index / count, index % count);
        }
    }

    /// A failed stop leaves it running; a failed start may have left half of it.
    fn fail_agent(&mut self, at: usize) {
        let exclusive = |group| self.setting.config.groups.get(&group).is_some_and(|group| group.exclusive);
        let Some(Input::AgentDone { ticket, .. }) = self.machines[at].inbox.front().cloned() else { return };
        let exclusive = exclusive(ticket.group);
        let machine = &mut self.machines[at];
        if machine.stops.remove(&ticket) && !exclusive {
            machine.dirty.insert(ticket.group);
        }
        if let Some(Input::AgentDone { outcome, .. }) = machine.inbox.front_mut() {
            *outcome = Outcome::Failed { code: 1 };
        }
    }

    /// All faults are undone at once.
    pub(crate) fn heal(&mut self) {
        self.target = true;
        for channel in &mut self.channels {
            channel.cut = false;
            channel.held.clear();
        }
        for at in 0..self.machines.len() {
            let machine = &mut self.machines[at];
            machine.cable = true;
            machine.paused = false;
            machine.slow_until = None;
            let answer = machine.slow.take();
            machine.inbox.extend(answer);
            if !machine.on || machine.core.is_none() {
                let with_memory = machine.on && machine.memory.is_some();
                self.start(at, with_memory);
            }
        }
    }
}
