//! What a world has in common with all others that will go on alike: no absolute time, number or life survives here.

use std::cell::Cell;

use systole::cluster::{Answerer, Fingerprint, Frame, Input, KERNEL_TICK, Outcome, Print, Ticket};
use systole::time::Span;
use systole::types::{Epoch, GroupId, Incarnation, NodeId, Sequence};

use crate::world::{Machine, World};

/// All beats sent long ago are alike.
const OLD: u64 = 1 << 48;

/// Numbers of a world, relative to its newest.
struct Relative<'a> {
    world: &'a World,
    newest_epoch: Cell<u64>,
    /// The newest epoch is still being looked for.
    looking: bool,
}

impl Frame for Relative<'_> {
    fn life(&self, node: NodeId, life: Incarnation) -> u64 {
        let newest = self.lives(node).last().map_or(0, |(newest, _)| newest.0);
        newest.wrapping_sub(life.0)
    }

    fn beat(&self, node: NodeId, life: Incarnation, sequence: Sequence) -> u64 {
        let Some(at) = self.world.machines.iter().position(|machine| machine.node == node) else {
            return OLD;
        };
        let machine = &self.world.machines[at];
        let Some(place) = machine.lives.iter().rposition(|(known, _)| *known == life) else { return OLD };
        let (_, newest) = machine.lives[place];
        let later = newest.0 + 1 - sequence.0;
        let long_ago = self.world.long_ago(at);
        let lately = |spoken: &&(Incarnation, Sequence, u64)| (spoken.0, spoken.1) == (life, sequence);
        let sent = machine.spoken.iter().rev().find(lately).map(|(_, _, sent)| *sent);
        match sent.filter(|sent| *sent >= long_ago) {
            // With its age: so two worlds that are alike now agree later, too, on when it was sent long ago.
            Some(sent) => (later << 20) | (self.world.tick - sent),
            None if later == 0 => 0,
            None => OLD,
        }
    }

    fn epoch(&self, _group: GroupId, epoch: Epoch) -> u64 {
        if self.looking {
            self.newest_epoch.set(self.newest_epoch.get().max(epoch.0));
        }
        self.newest_epoch.get() - epoch.0
    }
}

impl Relative<'_> {
    fn lives(&self, node: NodeId) -> &[(Incarnation, Sequence)] {
        self.world.machines.iter().find(|machine| machine.node == node).map_or(&[], |machine| &machine.lives)
    }
}

impl World {
    /// A beat sent before this renews nothing and is heard too late, whoever names it: nobody asks any more which it was.
    pub(crate) fn long_ago(&self, at: usize) -> u64 {
        let timing = self.setting.config.timing;
        self.tick - self.tick_of(at, (timing.deadtime + timing.keepalive) * 2)
    }

    /// Stands for everything that matters for what happens next.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut relative = Relative { world: self, newest_epoch: Cell::new(0), looking: true };
        self.print(&relative, &mut Print::default());
        relative.looking = false;
        let mut print = Print::default();
        self.print(&relative, &mut print);
        print.done()
    }

    fn print(&self, frame: &dyn Frame, out: &mut Print) {
        let deadtime = self.setting.config.timing.deadtime;
        out.word(u64::from(self.target));
        for (at, machine) in self.machines.iter().enumerate() {
            self.print_machine(at, machine, frame, out);
        }
        for channel in &self.channels {
            out.word(u64::from(channel.cut));
            out.word(channel.fresh.len() as u64);
            channel.fresh.iter().for_each(|beat| out.beat(frame, deadtime, beat));
            out.word(channel.held.len() as u64);
            for held in &channel.held {
                out.word(self.tick - held.since);
                out.beat(frame, deadtime, &held.beat);
            }
        }
    }

    fn print_machine(&self, at: usize, machine: &Machine, frame: &dyn Frame, out: &mut Print) {
        let Machine {
            node: _,
            on,
            core,
            paused,
            stored,
            memory,
            // What numbers are relative to.
            lives: _,
            spoken: _,
            newest: _,
            elements,
            running,
            dirty,
            stops,
            inbox,
            slow,
            slow_until,
            cable,
            fed,
            has_watchdog,
        } = machine;
        let now = self.clock(at);
        let flags = [*on, *paused, *cable, core.is_some(), memory.is_some(), fed.is_some(), slow.is_some()];
        flags.iter().chain([has_watchdog]).for_each(|flag| out.word(u64::from(*flag)));
        if let Some(core) = core {
            core.fingerprint(frame, self.moment(at), out);
        }
        out.stored(frame, stored);
        memory.iter().for_each(|memory| out.memory(frame, memory));
        out.word(elements.len() as u64);
        for (group, until) in elements {
            out.word(u64::from(group.0));
            out.word((*until + KERNEL_TICK - now).0);
        }
        out.word(running.len() as u64);
        running.iter().for_each(|(group, place)| out.word(u64::from(group.0) << 16 | u64::from(*place)));
        out.word(dirty.len() as u64);
        out.word(stops.len() as u64);
        stops.iter().for_each(|ticket| Self::print_ticket(machine, *ticket, out));
        out.word(inbox.len() as u64);
        out.word(slow_until.map_or(0, |until| 1 + until.saturating_sub(self.tick)));
        inbox.iter().chain(slow).for_each(|input| Self::print_input(machine, input, out));
        let timeout = self.setting.config.watchdog.as_ref().map_or(Span::ZERO, |watchdog| watchdog.timeout);
        out.word((now - fed.unwrap_or(now)).min(timeout).0);
    }

    fn print_ticket(machine: &Machine, ticket: Ticket, out: &mut Print) {
        let Ticket { group, resource, generation } = ticket;
        out.word(u64::from(group.0));
        out.word(u64::from(resource));
        out.word(machine.newest[0].wrapping_sub(generation));
    }

    fn print_input(machine: &Machine, input: &Input, out: &mut Print) {
        match input {
            Input::AgentDone { ticket, outcome } => {
                out.word(1);
                Self::print_ticket(machine, *ticket, out);
                out.word(match outcome {
                    Outcome::Done => 0,
                    Outcome::NotRunning => 1,
                    Outcome::Failed { .. } => 2,
                    Outcome::TimedOut => 3,
                });
            }
            Input::Answer { round, from } => {
                out.word(2);
                out.word(machine.newest[1].wrapping_sub(round.0));
                out.word(match from {
                    Answerer::Target => 0,
                    Answerer::Group(group) => 1 + u64::from(group.0),
                });
            }
            Input::LeaseGone { group } => {
                out.word(3);
                out.word(u64::from(group.0));
            }
            Input::Fenced { generation, node, off } => {
                out.word(4);
                out.word(machine.newest[2].wrapping_sub(*generation));
                out.word(u64::from(node.0));
                out.word(u64::from(*off));
            }
            Input::Watchdog { counts } => {
                out.word(6);
                out.word(u64::from(*counts));
            }
            // Nothing else is ever put into an inbox.
            Input::Timer
            | Input::Beat { .. }
            | Input::Carrier { .. }
            | Input::Targets { .. }
            | Input::Reach { .. }
            | Input::Shortfall { .. }
            | Input::Health { .. }
            | Input::Command(_)
            | Input::Configure(_) => out.word(5),
        }
    }
}
