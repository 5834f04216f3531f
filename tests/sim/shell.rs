//! The shell around a core: feeds it in the order it is owed, and carries out its effects one after the other, in either
//! order that it may.
//!
//! A process never stops or dies between reading the clock and the end of the commit that rests on the reading; it may
//! everywhere else. (In a real kernel it may there as well: then an element that was raised on an old reading stands
//! for the microseconds until the clock is read again.)

use std::sync::Arc;
use systole::cluster::{Action, Answerer, Effect, Effects, Event, Input, Round, margin, urgent_first};
use systole::time::Span;
use systole::types::{GroupId, InterfaceId, LinkId};

use crate::evidence::Cable;
use crate::faults::Moment;
use crate::node::{Daemon, Machine};
use crate::world::{Seen, What, World};

/// An effect that takes time.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// To /run or to disk.
    Write(Box<Effect>),
    /// Into the kernel's set.
    Set { group: GroupId, until: Span, renew: bool, before: Span, began: u64 },
    /// The process hung before it read the clock again after a commit.
    Read { group: GroupId, until: Span, before: Span },
    /// Out of the kernel's set.
    Delete { group: GroupId },
}

impl World {
    /// Feeds and carries out until there is nothing left to do now.
    pub(crate) fn pump(&mut self, node: usize) {
        while self.violation.is_none() {
            let machine = &mut self.machines[node];
            if !machine.acts() || machine.daemon.work.is_some() {
                return;
            }
            if let Some(effect) = machine.daemon.effects.pop_front() {
                self.carry_out(node, effect);
            } else if let Some(input) = machine.daemon.inputs.pop_front() {
                self.step(node, input);
            } else if let Some((link, beat)) = machine.daemon.inbox.pop_front() {
                self.step(node, Input::Beat { link, beat });
            } else if machine.daemon.timer_due {
                machine.daemon.timer_due = false;
                self.step(node, Input::Timer);
            } else {
                self.arm(node);
                return;
            }
        }
    }

    fn step(&mut self, node: usize, input: Input) {
        let now = self.moment(node);
        let kept = self.machines[node].daemon.recording.is_some().then(|| input.clone());
        let timer = input == Input::Timer;
        if self.timeline.on {
            self.say_input(node, &input);
        }
        if let Input::Configure(config) = &input {
            self.machines[node].daemon.config = Some(Arc::clone(config));
        }
        let Some(core) = &mut self.machines[node].daemon.core else { return };
        let mut effects = Effects::new();
        core.step(now, input, &mut effects);
        let late = timer && core.next_deadline() <= now.boot;
        self.stats.steps += 1;
        let daemon = &mut self.machines[node].daemon;
        daemon.spins = if late {
            daemon.spins + 1
        } else if timer {
            0
        } else {
            daemon.spins
        };
        if let (Some(recording), Some(input)) = (&mut daemon.recording, kept) {
            recording.steps.push((now, input, effects.clone()));
        }
        if daemon.spins > 200 {
            self.violate(
                9,
                format!("node {}: the deadline does not go beyond now", self.machines[node].name),
            );
        }
        self.check_effects(node, now.boot, &effects);
        self.queue(node, effects);
    }

    pub(crate) fn queue(&mut self, node: usize, effects: Effects) {
        let effects = if self.urgent_first { urgent_first(effects) } else { effects };
        self.machines[node].daemon.effects.extend(effects);
    }

    fn say_input(&mut self, node: usize, input: &Input) {
        match input {
            Input::Timer | Input::AgentDone { .. } => {}
            Input::Beat { link, beat } => {
                if self.timeline.beats {
                    let (link, beat) = (link.0, Arc::clone(beat));
                    self.say(node, || format!("hears on link {link} {}", beat_text(&beat)));
                }
            }
            Input::Answer { .. }
            | Input::Carrier { .. }
            | Input::Targets { .. }
            | Input::Reach { .. }
            | Input::Shortfall { .. }
            | Input::Health { .. }
            | Input::LeaseGone { .. }
            | Input::Fenced { .. }
            | Input::Watchdog { .. }
            | Input::Command(_) => {
                let text = format!("is told {input:?}");
                self.say(node, || text);
            }
            Input::Configure(config) => {
                let text = format!(
                    "is configured: deadtime {}, {} nodes",
                    config.timing.deadtime,
                    config.nodes.len()
                );
                self.say(node, || text);
            }
        }
    }

    /// One timer event per node, for the core's next deadline; where that has moved away, it is armed again when it fires.
    fn arm(&mut self, node: usize) {
        let machine = &self.machines[node];
        let Some(core) = &machine.daemon.core else { return };
        let deadline = core.next_deadline();
        if deadline == Span(u64::MAX) {
            return;
        }
        let at = machine.kernel.boot.when(deadline.as_micros()).max(self.now + 1);
        if machine.daemon.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        let (usual, extra) = (self.timers_late, machine.late_timers);
        let mut late = self.rng.below(usual);
        if extra > 0 && self.rng.chance(100) {
            late += self.rng.below(extra);
        }
        let life = self.machines[node].daemon.life;
        self.machines[node].daemon.armed = Some(at);
        self.schedule_at(at + late, What::Timer { node, life });
    }

    pub(crate) fn timer(&mut self, node: usize, life: u64) {
        let now = self.now;
        let machine = &mut self.machines[node];
        if machine.daemon.life != life || !machine.acts() {
            return;
        }
        if machine.daemon.armed.is_some_and(|armed| armed <= now) {
            machine.daemon.armed = None;
        }
        let boot = Span(machine.kernel.boot.read(now));
        if machine.daemon.core.as_ref().is_some_and(|core| core.next_deadline() <= boot) {
            machine.daemon.timer_due = true;
        }
        self.pump(node);
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        let life = self.machines[node].daemon.life;
        match effect {
            Effect::Tell(event) => {
                let text =
                    if self.timeline.on || self.options.watch { format!("{event:?}") } else { String::new() };
                self.stats.told(&event);
                if let Event::ReleasedDirty { group, resource } = event {
                    self.stats.bump("left dirty");
                    self.machines[node].dirty.insert((group, resource));
                }
                if let Event::Adopted { group, .. } = event {
                    self.believe_adopted(node, group);
                }
                self.see(node, Seen::Told(text.clone()));
                self.say(node, || text);
                return;
            }
            Effect::Remember(_) | Effect::Store(_) => {
                let takes = 5 + self.rng.below(40);
                self.machines[node].daemon.work = Some(Work::Write(Box::new(effect)));
                self.schedule(takes, What::Work { node, life });
            }
            Effect::Send(beat) => {
                self.send(node, &beat);
                self.note_grants(node, &beat);
            }
            Effect::RaiseLease { group, until } => self.commit(node, group, until, false),
            Effect::RenewLease { group, until } => self.commit(node, group, until, true),
            Effect::DropLease { group } => self.begin_delete(node, group),
            Effect::Run { ticket, action, resource } => {
                self.say(node, || format!("runs {action:?} of {:?}/{}", ticket.group, ticket.resource));
                self.run_agent(node, ticket, action, &resource);
                if action == Action::Start {
                    self.reach_moment(node, Moment::Started);
                }
            }
            Effect::Probe { round, interface, groups } => self.probe(node, round, interface, &groups),
            Effect::Announce { group } => self.say(node, || format!("announces {group:?}")),
            Effect::Fence { generation, node: target } => {
                self.say(node, || format!("fences {target:?}"));
                if let Some(&target) = self.index.get(&target) {
                    self.check_fence(node, target);
                    self.fence(node, generation, target);
                }
            }
            Effect::FeedWatchdog => self.feed_watchdog(node),
            Effect::Left => self.left(node),
        }
        self.maybe_die(node);
    }

    fn note_grants(&mut self, node: usize, beat: &systole::beat::Beat) {
        if self.machines[node].daemon.dies_at.is_none() {
            return;
        }
        let shown = beat.grants.iter().map(|(group, grant)| (*group, grant.holder)).collect();
        let before = std::mem::replace(&mut self.machines[node].daemon.shown, shown);
        let other = |(group, holder): (&GroupId, &systole::types::NodeId)| {
            before.get(group).is_some_and(|before| before != holder)
        };
        if self.machines[node].daemon.shown.iter().any(other) {
            self.reach_moment(node, Moment::Granted);
        }
    }

    /// A crash between two effects.
    fn maybe_die(&mut self, node: usize) {
        let Some(left) = &mut self.machines[node].daemon.dies_in else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.kill(node);
        }
    }

    fn left(&mut self, node: usize) {
        self.say(node, || "has left".to_owned());
        self.check_left(node);
        self.machines[node].kernel.fed = None;
        let recording = self.machines[node].daemon.recording.take();
        self.recordings.extend(recording);
        let life = self.machines[node].daemon.life + 1;
        self.machines[node].daemon = Daemon { life, ..Daemon::default() };
        self.machines[node].believed.clear();
        self.restart_as_planned(node);
    }

    fn send(&mut self, node: usize, beat: &Arc<systole::beat::Beat>) {
        if self.timeline.beats {
            let text = format!("says {}", beat_text(beat));
            self.say(node, || text);
        }
        self.stats.beats += 1;
        self.machines[node].daemon.beats += 1;
        for link in 0..self.net.over.len() {
            let id = LinkId(u16::try_from(link).unwrap_or(0));
            self.net.record(&mut self.rng, id, beat);
            let cable = |world: &Self, node: usize| match world.net.over[link] {
                Some(interface) => world.cable_works(node, interface),
                None => true,
            };
            if !cable(self, node) {
                continue;
            }
            for to in (0..self.machines.len()).filter(|&to| to != node) {
                if !cable(self, to) {
                    continue;
                }
                for after in self.net.copies(&mut self.rng, node, to, link, self.now).into_iter().flatten() {
                    self.net.sent += 1;
                    self.schedule(after, What::Deliver { to, link: id, beat: Arc::clone(beat) });
                }
            }
        }
    }

    /// The kernel takes a length, not an end: read the clock, then commit.
    fn commit(&mut self, node: usize, group: GroupId, until: Span, renew: bool) {
        let began = self.now;
        let before = self.moment(node).boot;
        if until <= before {
            // Too late already. What still stands ends by itself or is deleted; the core's own deadline stops the rest.
            self.begin_delete(node, group);
            return;
        }
        let takes = self.commit_time(node);
        let life = self.machines[node].daemon.life;
        self.machines[node].daemon.work = Some(Work::Set { group, until, renew, before, began });
        self.schedule(takes, What::Work { node, life });
    }

    fn begin_delete(&mut self, node: usize, group: GroupId) {
        let takes = self.commit_time(node);
        let life = self.machines[node].daemon.life;
        self.machines[node].daemon.work = Some(Work::Delete { group });
        self.schedule(takes, What::Work { node, life });
    }

    fn commit_time(&mut self, node: usize) -> u64 {
        let usual = 8 + self.rng.below(20);
        if !self.machines[node].slow_commits {
            return usual;
        }
        let e = self.margin(node);
        match self.rng.below(100) {
            0..60 => usual,
            60..90 => self.rng.below(2_000),
            90..98 => self.rng.below(e / 2),
            _ => e / 2 + self.rng.below(e),
        }
    }

    fn margin(&self, node: usize) -> u64 {
        margin(self.machines[node].config.timing.deadtime).as_micros()
    }

    pub(crate) fn work_done(&mut self, node: usize, life: u64) {
        let machine = &self.machines[node];
        if machine.daemon.life != life || !machine.alive() || machine.daemon.work.is_none() {
            return;
        }
        // A commit that has begun is finished by the kernel even if the process hangs meanwhile.
        self.finish_work(node, machine.daemon.hung);
        if self.machines[node].acts() {
            self.maybe_die(node);
            self.pump(node);
        }
    }

    /// `dying`: nobody reads the clock afterwards.
    pub(crate) fn finish_work(&mut self, node: usize, dying: bool) {
        let now = self.now;
        let Some(work) = self.machines[node].daemon.work.take() else { return };
        match work {
            Work::Write(effect) => self.written(node, *effect),
            Work::Delete { group } => {
                self.note_drop(node, group);
                self.machines[node].kernel.elements.remove(&group);
            }
            Work::Set { group, until, renew, before, began } => {
                let stands = self.machines[node].kernel.stands(group, now);
                if renew && !stands {
                    self.say(node, || format!("renewal of {group:?} finds no element"));
                    self.machines[node].daemon.inputs.push_back(Input::LeaseGone { group });
                    return;
                }
                self.set_element(node, group, (until - before).as_micros(), began);
                if dying {
                    // The clock is read when the process goes on.
                    self.machines[node].daemon.work = Some(Work::Read { group, until, before });
                } else {
                    self.read_clock_again(node, group, until, before);
                }
            }
            Work::Read { group, until, before } if dying => {
                self.machines[node].daemon.work = Some(Work::Read { group, until, before });
            }
            Work::Read { group, until, before } => self.read_clock_again(node, group, until, before),
        }
    }

    fn read_clock_again(&mut self, node: usize, group: GroupId, until: Span, before: Span) {
        let after = self.moment(node).boot;
        if (after - before).as_micros() > self.margin(node) / 2 {
            self.stats.bump("slow commits mended");
            self.say(node, || format!("commit for {group:?} was slow: sets it again"));
            self.commit(node, group, until, false);
        }
    }

    fn written(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Remember(memory) => self.machines[node].memory = Some(memory),
            Effect::Store(stored) => self.machines[node].stored = stored,
            Effect::Send(_)
            | Effect::RaiseLease { .. }
            | Effect::RenewLease { .. }
            | Effect::DropLease { .. }
            | Effect::Run { .. }
            | Effect::Probe { .. }
            | Effect::Announce { .. }
            | Effect::Fence { .. }
            | Effect::FeedWatchdog
            | Effect::Tell(_)
            | Effect::Left => {}
        }
    }

    /// A daemon that goes on from its memory takes for running what that says, until a monitor tells otherwise.
    fn believe_adopted(&mut self, node: usize, group: GroupId) {
        let machine = &mut self.machines[node];
        // As it was when it was started: the configuration may be another by now.
        let claim = machine.memory.as_ref().and_then(|memory| memory.claims.get(&group));
        let resources = claim.map_or(0, |claim| claim.group.resources.len());
        for place in (0..resources).filter_map(|place| u16::try_from(place).ok()) {
            machine.believed.entry((group, place)).or_insert(true);
        }
    }

    fn set_element(&mut self, node: usize, group: GroupId, timeout: u64, began: u64) {
        let now = self.now;
        let stood = self.machines[node].kernel.stands(group, now);
        self.machines[node].kernel.set(group, timeout, began, now);
        if self.options.watch {
            let end = self.machines[node].kernel.end_of(group).unwrap_or(now);
            self.schedule_at(end, What::Expire { node, group });
        }
        if !stood {
            self.say(node, || format!("kernel: the element of {group:?} stands, for {}", Span(timeout)));
        }
        self.note_raise(node, group, stood);
        if !stood {
            self.reach_moment(node, Moment::Raised);
        }
    }

    pub(crate) fn answered(&mut self, node: usize, life: u64, round: Round, from: Answerer) {
        if self.machines[node].daemon.life == life && self.machines[node].alive() {
            self.machines[node].daemon.inputs.push_back(Input::Answer { round, from });
            self.pump(node);
        }
    }

    /// What a daemon polls: the carrier as it is now.
    pub(crate) fn tell_carrier(&mut self, node: usize, interface: InterfaceId) {
        let machine = &mut self.machines[node];
        let up = machine.cables.get(usize::from(interface.0)) != Some(&Cable::Pulled);
        self.input(node, Input::Carrier { interface, up });
    }

    pub(crate) fn tell_reach(&mut self, node: usize) {
        let cable = self.machines[node].cables.first().is_none_or(|cable| *cable == Cable::Plugged);
        let targets = u16::from(cable && self.service.target_up);
        self.input(node, Input::Reach { targets });
    }

    /// Queues an input for a daemon that runs (it may hang), and lets it act if it can.
    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let Machine { daemon, .. } = &mut self.machines[node];
        if daemon.core.is_some() && daemon.inputs.len() < 1_000 {
            daemon.inputs.push_back(input);
            self.pump(node);
        }
    }
}

/// A beat on one line.
pub(crate) fn beat_text(beat: &systole::beat::Beat) -> String {
    let claims: Vec<String> =
        beat.claims.iter().map(|(g, c)| format!("{g:?}:{:?}@{}", c.phase, c.epoch.0)).collect();
    let grants: Vec<String> = beat
        .grants
        .iter()
        .map(|(g, t)| format!("{g:?}->{:?}@{}#{}.{}", t.holder, t.epoch.0, t.incarnation.0, t.sequence.0))
        .collect();
    let heard: Vec<String> = beat
        .heard
        .iter()
        .map(|(n, h)| format!("{n:?}#{}.{}-{}", h.incarnation.0, h.sequence.0, h.age))
        .collect();
    let mut flags = String::new();
    for (on, text) in [
        (beat.flags.starting, " starting"),
        (beat.flags.leaving, " leaving"),
        (beat.flags.standby, " standby"),
        (beat.flags.hold_off, " hold-off"),
    ] {
        if on {
            flags.push_str(text);
        }
    }
    format!(
        "{:?}#{}.{}{flags} claims [{}] grants [{}] hears [{}]",
        beat.sender,
        beat.incarnation.0,
        beat.sequence.0,
        claims.join(" "),
        grants.join(" "),
        heard.join(" ")
    )
}
