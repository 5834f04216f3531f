//! The servers behind a group: who loses how many of them, and when each node finds out.
//!
//! A director on each machine asks the servers, whatever its daemon does, and tells what it found, damped by the code
//! that the real one has.

use std::collections::BTreeMap;

use systole::cluster::{Effect, Event, Input, Reason, StopReason, Unable};
use systole::director::pool::Outlook;
use systole::time::Span;
use systole::types::GroupId;

use crate::faults::Who;
use crate::world::{What, World};

/// Everybody has found out after so long, in microseconds.
const FOUND: u64 = 300_000;

/// What a director waits for: to find down and up again, and the way of the news.
const WINDOW: Span = Span::millis(700);

/// What is lost of a group's servers to a node, and how that looks from there.
#[derive(Clone, Debug)]
pub(crate) struct View {
    lost: u8,
    outlook: Outlook,
}

/// Of each machine and group that ever lost servers.
pub(crate) type Views = BTreeMap<(usize, GroupId), View>;

/// What is counted where everybody loses the same; no other fault is about servers.
pub(crate) const LOST_TO_ALL: &str = "servers that everybody loses";

impl World {
    /// So much of a group's servers is lost to a node, or to everybody.
    pub(crate) fn lose_servers(&mut self, group: usize, percent: u8, of: Option<Who>) {
        let Some(group) = self.group_at(group) else { return };
        let one = of.map(|who| self.who(who));
        for node in 0..self.machines.len() {
            if self.machines[node].arbiter {
                continue;
            }
            let view = self.views.entry((node, group)).or_insert_with(|| {
                // It has been asking for a while.
                let mut outlook = Outlook::new(WINDOW);
                outlook.find(0, Span::ZERO);
                View { lost: 0, outlook }
            });
            if one.is_none_or(|one| one == node) {
                view.lost = percent;
                let after = self.rng.below(FOUND);
                self.schedule(after, What::Servers { node, group });
            }
        }
    }

    /// A director that has just begun.
    pub(crate) fn begin_views(&mut self, node: usize) {
        let groups: Vec<GroupId> = self.views.keys().filter(|(of, _)| *of == node).map(|(_, g)| *g).collect();
        for group in groups {
            if let Some(view) = self.views.get_mut(&(node, group)) {
                view.outlook = Outlook::new(WINDOW);
            }
            let after = self.rng.below(FOUND);
            self.schedule(after, What::Servers { node, group });
        }
    }

    /// A director finds out.
    pub(crate) fn find_servers(&mut self, node: usize, group: GroupId) {
        let now = self.now_after_start();
        let Some(view) = self.views.get_mut(&(node, group)).filter(|_| self.machines[node].on) else {
            return;
        };
        view.outlook.find(view.lost, now);
        self.tell_servers(node, group);
    }

    /// It tells its daemon, and again when it may look otherwise.
    pub(crate) fn tell_servers(&mut self, node: usize, group: GroupId) {
        let now = self.now_after_start();
        let Some(view) = self.views.get_mut(&(node, group)) else { return };
        view.outlook.forget(now);
        let shortfall = view.outlook.shortfall(now);
        let next = view.outlook.next();
        self.input(node, Input::Shortfall { group, shortfall });
        if let Some(next) = next {
            self.schedule((next - now).as_micros(), What::Outlook { node, group });
        }
    }

    /// To a daemon that has just started.
    pub(crate) fn tell_all_servers(&mut self, node: usize) {
        let groups: Vec<GroupId> = self.views.keys().filter(|(of, _)| *of == node).map(|(_, g)| *g).collect();
        groups.into_iter().for_each(|group| self.tell_servers(node, group));
    }

    pub(crate) fn mend_servers(&mut self) {
        for ((node, group), view) in self.views.clone() {
            if let Some(lost) = self.views.get_mut(&(node, group)).filter(|_| view.lost > 0) {
                lost.lost = 0;
                let after = self.rng.below(FOUND);
                self.schedule(after, What::Servers { node, group });
            }
        }
    }

    /// Views begin with the time at which the world does, and have been there for long.
    fn now_after_start(&self) -> Span {
        Span(self.now) + Span::seconds(60)
    }

    /// Nobody yields for what everybody has lost. Where news are late, or nodes come and go, it cannot be known.
    pub(crate) fn check_yields(&mut self, node: usize, effects: &[Effect]) {
        for effect in effects {
            let Effect::Tell(Event::Stopping { group, because, .. }) = effect else { continue };
            let StopReason::Plan(Reason::NextInOrder { because: Unable::Shortfall(percent), .. }) = because
            else {
                continue;
            };
            self.stats.exercise(10);
            let only = self.stats.faults.keys().all(|kind| *kind == LOST_TO_ALL);
            if only && !self.healed {
                let (name, group) = (self.machines[node].name.clone(), self.names_of(*group));
                let what = format!("{name} gives {group} away for {percent} % that everybody has lost");
                self.violate(10, what);
            }
        }
    }
}
