//! The other order in which a shell may carry out the effects of a step: what a takeover waits for comes first.

use super::{Effect, Effects};

/// The same effects. Leases and agents come before the beats of the step, as if the network were a little slower; and of
/// what is remembered, that is left out which a newer memory says anew before anything but a beat rests on it. Everything
/// that could rest on a beat keeps its place.
pub fn urgent_first(effects: Effects) -> Effects {
    let (mut arranged, mut memory, mut beats) = (Effects::with_capacity(effects.len()), None, Vec::new());
    for effect in effects {
        match effect {
            Effect::Remember(_) => memory = Some(effect),
            // The watchdog is fed for what a beat says.
            Effect::Send(_) | Effect::FeedWatchdog => beats.push(effect),
            Effect::RaiseLease { .. }
            | Effect::RenewLease { .. }
            | Effect::Run { .. }
            | Effect::Announce { .. } => {
                arranged.extend(memory.take());
                arranged.push(effect);
            }
            Effect::Tell(_) => arranged.push(effect),
            Effect::DropLease { .. }
            | Effect::Store(_)
            | Effect::Probe { .. }
            | Effect::Fence { .. }
            | Effect::Left => {
                arranged.extend(memory.take());
                arranged.append(&mut beats);
                arranged.push(effect);
            }
        }
    }
    arranged.extend(memory);
    arranged.append(&mut beats);
    arranged
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;
    use crate::time::Span;
    use crate::types::GroupId;

    const GROUP: GroupId = GroupId(7);

    fn raise() -> Effect {
        Effect::RaiseLease { group: GROUP, until: Span::seconds(1) }
    }

    fn remember(hold_off: bool) -> Effect {
        Effect::Remember(Memory { hold_off, ..Memory::default() })
    }

    #[test]
    fn a_takeover_waits_for_the_newest_memory_alone_and_beats_come_last() {
        let fed = Effect::FeedWatchdog;
        let given = vec![remember(true), fed.clone(), remember(false), raise(), remember(true)];
        assert_eq!(urgent_first(given), [remember(false), raise(), remember(true), fed]);
    }

    #[test]
    fn nothing_passes_what_could_rest_on_a_beat() {
        let (fed, dropped) = (Effect::FeedWatchdog, Effect::DropLease { group: GROUP });
        for resting in [dropped, Effect::Left, Effect::Fence { generation: 1, node: crate::types::NodeId(3) }]
        {
            let given = vec![remember(true), fed.clone(), resting.clone(), raise(), fed.clone()];
            assert_eq!(urgent_first(given.clone()), given);
        }
    }
}
