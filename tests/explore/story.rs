//! A schedule as a person reads it: what the adversary did, and what the cores did about it.

use std::sync::Arc;

use systole::cluster::{Effect, Event, Input};

use crate::moves::Choice;
use crate::search::beginning;
use crate::shell::Done;
use crate::world::{Setting, World};

/// After healing so many ordinary moves are told.
const AFTER_HEALING: usize = 120;

/// Prints how a world got where it is.
pub(crate) fn tell(setting: &Arc<Setting>, path: &[Choice]) {
    let mut world = beginning(setting);
    let began = world.tick;
    let rest = usize::from(path.last() == Some(&Choice::Heal)) * AFTER_HEALING;
    for choice in path.iter().copied().chain(std::iter::repeat_n(Choice::Go, rest)) {
        let before = world.tick;
        let who = world.next();
        let done = world.play(choice);
        let at = (before - began) * setting.rates.iter().max().copied().unwrap_or(1) / 1_000;
        if choice != Choice::Go {
            line(setting, at, "*", &format!("{choice:?} ({who:?})"));
        }
        tell_step(setting, at, &done);
        if let Some(violation) = &world.violation {
            line(setting, at, "!", &violation.0);
            return;
        }
    }
    tell_end(setting, &world);
}

fn tell_step(setting: &Setting, at: u64, done: &Done) {
    let node = setting.config.nodes.get(&setting.nodes[done.at]).map_or("?", |node| &node.name);
    if let Some(Input::Fenced { .. } | Input::LeaseGone { .. }) = &done.input {
        line(setting, at, node, &format!("{:?}", done.input));
    }
    for effect in &done.effects {
        match effect {
            Effect::Tell(Event::Planned { .. } | Event::LinkDown { .. } | Event::LinkUp { .. }) => {}
            Effect::Tell(event) => line(setting, at, node, &format!("{event:?}")),
            Effect::Send(beat) => {
                let flags = if beat.flags.hold_off { " hold-off" } else { "" };
                let claims: Vec<_> =
                    beat.claims.values().map(|c| format!("{:?}@{}", c.phase, c.epoch.0)).collect();
                let grants: Vec<_> = beat
                    .grants
                    .values()
                    .map(|g| format!("{:?}@{}/{}", g.holder, g.epoch.0, g.sequence.0))
                    .collect();
                let heard: Vec<_> =
                    beat.heard.iter().map(|(n, h)| format!("{n:?}/{}", h.sequence.0)).collect();
                line(
                    setting,
                    at,
                    node,
                    &format!(
                        "  beat {}{flags} claims {} grants {} heard {}",
                        beat.sequence.0,
                        claims.join(" "),
                        grants.join(" "),
                        heard.join(" ")
                    ),
                );
            }
            Effect::RaiseLease { .. }
            | Effect::RenewLease { .. }
            | Effect::DropLease { .. }
            | Effect::Fence { .. } => line(setting, at, node, &format!("  {effect:?}")),
            Effect::Run { action, .. } => line(setting, at, node, &format!("  {action:?} resource")),
            Effect::Remember(_)
            | Effect::Store(_)
            | Effect::Probe { .. }
            | Effect::Announce { .. }
            | Effect::FeedWatchdog
            | Effect::Left => {}
        }
    }
}

fn tell_end(setting: &Setting, world: &World) {
    for (group, configured) in &setting.config.groups {
        println!("        {} elements stand for group {}", world.standing(*group), configured.name);
    }
}

/// With names in the place of ids.
fn line(setting: &Setting, at: u64, who: &str, what: &str) {
    let named = setting
        .config
        .nodes
        .iter()
        .fold(what.to_owned(), |text, (id, node)| text.replace(&format!("{id:?}"), &node.name));
    let named = setting
        .config
        .groups
        .iter()
        .fold(named, |text, (id, group)| text.replace(&format!("{id:?}"), &group.name));
    println!("{at:>8} ms  {who}  {named}");
}
