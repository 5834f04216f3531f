//! Whether the network believes who holds a group: a while after another node took it, its addresses are asked for, and
//! somebody answers, or nobody, or more than one machine.
//!
//! The holder cannot see that itself: it announces, and who heard it does not say so. A look says nothing where the holder
//! was not heard saying that it holds the group after the questions left: the group may be on its way elsewhere.
//!
//! Pure: it is told what was heard, and says what to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::net::frame::Mac;
use crate::time::Span;
use crate::types::{GroupId, NodeId};

/// After the first announcements, and what is repeated of them in the first second.
const LOOK_AFTER: Span = Span::millis(1_500);

/// So long is waited for answers at least.
const ANSWERS: Span = Span::millis(500);

/// A question may be lost: nobody answers only if so many in a row were in vain.
const LOOKS: u32 = 3;

/// What is wrong is looked at again.
const LOOK_AGAIN: Span = Span::seconds(60);

/// The groups that others hold.
#[derive(Clone, Debug)]
pub(super) struct Beliefs {
    watched: BTreeMap<GroupId, Watched>,
    /// So long is waited for answers: the holder says meanwhile that it still is.
    patience: Span,
}

#[derive(Clone, Debug)]
struct Watched {
    holder: NodeId,
    /// When it was last heard saying so.
    said_at: Span,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// It is asked for then; so many looks were in vain.
    Waits { at: Span, vain: u32 },
    /// It was asked for then, and these answered for each address.
    Asked { at: Span, vain: u32, answers: BTreeMap<IpAddr, BTreeSet<Mac>> },
    /// It is known.
    Known,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// One machine answers for each address; this one for this.
    One(IpAddr, Mac),
    /// Nobody answers for this one.
    Nobody(IpAddr),
    /// All of these answer for this one.
    Many(IpAddr, BTreeSet<Mac>),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Ask for addresses of this group, and say which.
    Ask(GroupId),
    /// These are not asked for any more.
    Done(Vec<IpAddr>),
    /// This was found of a group that this node holds.
    Found(GroupId, NodeId, Belief),
}

impl Beliefs {
    pub(super) fn new(keepalive: Span) -> Self {
        Self { watched: BTreeMap::new(), patience: ANSWERS.max(keepalive * 2) }
    }

    /// The keepalive may be another one, and an address in another place. These are not asked for any more.
    pub(super) fn configure(&mut self, keepalive: Span, now: Span) -> Vec<IpAddr> {
        let mut asked = Vec::new();
        for watched in self.watched.values_mut() {
            if let Stage::Asked { vain, answers, .. } = &mut watched.stage {
                asked.extend(std::mem::take(answers).into_keys());
                watched.stage = Stage::Waits { at: now, vain: *vain };
            }
        }
        self.patience = Self::new(keepalive).patience;
        asked
    }

    /// A beat says that its sender holds a group.
    pub(super) fn said(&mut self, group: GroupId, holder: NodeId, now: Span) {
        match self.watched.get_mut(&group) {
            Some(watched) if watched.holder == holder => watched.said_at = now,
            Some(_) | None => {
                let stage = Stage::Waits { at: now + LOOK_AFTER, vain: 0 };
                self.watched.insert(group, Watched { holder, said_at: now, stage });
            }
        }
    }

    /// It is held here: whoever holds it next is looked at anew. These are not asked for any more.
    pub(super) fn forget(&mut self, group: GroupId) -> Vec<IpAddr> {
        match self.watched.remove(&group).map(|watched| watched.stage) {
            Some(Stage::Asked { answers, .. }) => answers.into_keys().collect(),
            Some(Stage::Waits { .. } | Stage::Known) | None => Vec::new(),
        }
    }

    /// These addresses of a group were asked for; none: there is nothing to ask, or no way.
    pub(super) fn asked(&mut self, group: GroupId, addresses: impl Iterator<Item = IpAddr>) {
        let Some(watched) = self.watched.get_mut(&group) else { return };
        if let Stage::Asked { answers, .. } = &mut watched.stage {
            answers.extend(addresses.map(|address| (address, BTreeSet::new())));
            if answers.is_empty() {
                watched.stage = Stage::Known;
            }
        }
    }

    /// A machine answers for an address.
    pub(super) fn answered(&mut self, address: IpAddr, mac: Mac) {
        for watched in self.watched.values_mut() {
            if let Stage::Asked { answers, .. } = &mut watched.stage
                && let Some(macs) = answers.get_mut(&address)
            {
                macs.insert(mac);
            }
        }
    }

    pub(super) fn next_due(&self) -> Span {
        let due = self.watched.values().filter_map(|watched| self.due(watched));
        due.min().unwrap_or(Span(u64::MAX))
    }

    fn due(&self, watched: &Watched) -> Option<Span> {
        match watched.stage {
            Stage::Waits { at, .. } => Some(at),
            Stage::Asked { at, .. } => Some(at + self.patience),
            Stage::Known => None,
        }
    }

    /// What is due.
    pub(super) fn run(&mut self, now: Span) -> Vec<Look> {
        let due = |watched: &Watched| self.due(watched).is_some_and(|due| due <= now);
        let due: Vec<GroupId> =
            self.watched.iter().filter(|(_, watched)| due(watched)).map(|(group, _)| *group).collect();
        due.into_iter().flat_map(|group| self.look(group, now)).collect()
    }

    fn look(&mut self, group: GroupId, now: Span) -> Vec<Look> {
        let Some(watched) = self.watched.get_mut(&group) else { return Vec::new() };
        match std::mem::replace(&mut watched.stage, Stage::Known) {
            Stage::Waits { vain, .. } => {
                watched.stage = Stage::Asked { at: now, vain, answers: BTreeMap::new() };
                vec![Look::Ask(group)]
            }
            Stage::Asked { at, vain, answers } => {
                let (holder, found) = (watched.holder, judge(&answers));
                let mut looks = vec![Look::Done(answers.into_keys().collect())];
                if watched.said_at <= at {
                    // Once it says so again, or another does, that is looked at anew.
                    self.watched.remove(&group);
                } else if matches!(found, Some(Belief::Nobody(_))) && vain + 1 < LOOKS {
                    watched.stage = Stage::Waits { at: now, vain: vain + 1 };
                } else {
                    if !matches!(found, Some(Belief::One(..))) {
                        watched.stage = Stage::Waits { at: now + LOOK_AGAIN, vain: 0 };
                    }
                    looks.extend(found.map(|found| Look::Found(group, holder, found)));
                }
                looks
            }
            Stage::Known => Vec::new(),
        }
    }
}

/// What speaks against it comes first.
fn judge(answers: &BTreeMap<IpAddr, BTreeSet<Mac>>) -> Option<Belief> {
    let (address, macs) = answers.iter().min_by_key(|(_, macs)| (macs.len() < 2, !macs.is_empty()))?;
    Some(match macs.first() {
        None => Belief::Nobody(*address),
        Some(_) if macs.len() > 1 => Belief::Many(*address, macs.clone()),
        Some(mac) => Belief::One(*address, *mac),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: GroupId = GroupId(7);
    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10));
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const C: Mac = Mac([2, 0, 0, 0, 0, 3]);

    fn holder() -> NodeId {
        NodeId::of("lb1")
    }

    /// A minute and a half of a holder whose beats come as said; who answers when for which address. What was found, and
    /// when.
    fn play(
        beats: impl Fn(u64) -> bool,
        answers: impl Fn(u64, IpAddr) -> Vec<Mac>,
    ) -> (Vec<(u64, Belief)>, Vec<u64>) {
        let mut beliefs = Beliefs::new(Span::millis(100));
        let (mut found, mut asked) = (Vec::new(), Vec::new());
        for at in (10_000..100_000).step_by(10) {
            let now = Span::millis(at);
            if at % 100 == 0 && beats(at) {
                beliefs.said(WEB, holder(), now);
            }
            if beliefs.next_due() > now {
                continue;
            }
            for look in beliefs.run(now) {
                match look {
                    Look::Ask(group) => {
                        assert_eq!(group, WEB);
                        asked.push(at);
                        beliefs.asked(WEB, [VIP, OTHER].into_iter());
                        for address in [VIP, OTHER] {
                            answers(at, address).into_iter().for_each(|mac| beliefs.answered(address, mac));
                        }
                    }
                    Look::Done(addresses) => assert_eq!(addresses, [VIP, OTHER]),
                    Look::Found(group, by, belief) => {
                        assert_eq!((group, by), (WEB, holder()));
                        found.push((at, belief));
                    }
                }
            }
        }
        (found, asked)
    }

    #[test]
    fn one_answer_for_each_address_is_belief_and_is_looked_for_once() {
        let (found, asked) = play(|_| true, |_, _| vec![B]);
        assert_eq!(found, [(12_000, Belief::One(VIP, B))]);
        assert_eq!(asked, [11_500]);
    }

    #[test]
    fn nobody_is_nobody_after_three_questions_and_one_lost_question_is_nothing() {
        let (found, asked) = play(|_| true, |_, address| if address == VIP { vec![B] } else { vec![] });
        assert_eq!(found, [(13_020, Belief::Nobody(OTHER)), (74_540, Belief::Nobody(OTHER))]);
        assert_eq!(asked, [11_500, 12_010, 12_520, 73_020, 73_530, 74_040]);
        let (found, asked) = play(|_| true, |at, _| if at > 11_500 { vec![B] } else { vec![] });
        assert_eq!(found, [(12_510, Belief::One(VIP, B))]);
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn two_machines_are_said_at_once_whatever_else_is_found_until_there_is_one() {
        let (found, _) = play(
            |_| true,
            |at, address| match (address == VIP, at < 60_000) {
                (true, _) => vec![B],
                (false, true) => vec![C, B, C],
                (false, false) => vec![C],
            },
        );
        let two = Belief::Many(OTHER, BTreeSet::from([B, C]));
        assert_eq!(found, [(12_000, two), (72_500, Belief::One(VIP, B))]);
        let (found, _) = play(|_| true, |_, address| if address == VIP { vec![] } else { vec![C, B] });
        assert!(matches!(found[0], (12_000, Belief::Many(OTHER, _))), "{found:?}");
    }

    #[test]
    fn a_holder_that_fell_silent_is_not_judged_and_looked_at_anew_when_it_speaks() {
        let (found, asked) = play(|at| !(11_600..60_000).contains(&at), |_, _| vec![]);
        assert_eq!(asked, [11_500, 61_500, 62_010, 62_520]);
        assert_eq!(found, [(63_020, Belief::Nobody(VIP))]);
    }

    #[test]
    fn another_holder_and_one_that_comes_back_are_looked_at_anew_and_nothing_to_ask_is_no_look() {
        let mut beliefs = Beliefs::new(Span::millis(100));
        beliefs.said(WEB, holder(), Span::ZERO);
        assert_eq!(beliefs.run(LOOK_AFTER), [Look::Ask(WEB)]);
        beliefs.asked(WEB, [VIP].into_iter());
        assert_eq!(beliefs.forget(WEB), [VIP]);
        assert_eq!((beliefs.forget(WEB), beliefs.next_due()), (vec![], Span(u64::MAX)));
        beliefs.said(WEB, holder(), LOOK_AFTER);
        assert_eq!(beliefs.next_due(), LOOK_AFTER * 2);
        beliefs.said(WEB, NodeId::of("lb2"), LOOK_AFTER * 2);
        assert_eq!(beliefs.next_due(), LOOK_AFTER * 3);
        assert_eq!(beliefs.run(LOOK_AFTER * 3), [Look::Ask(WEB)]);
        beliefs.asked(WEB, std::iter::empty());
        assert_eq!(beliefs.next_due(), Span(u64::MAX));
    }
}
