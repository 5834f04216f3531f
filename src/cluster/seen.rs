//! What the live beats of all peers show of each group: who claims it, and to whom it is granted.
//!
//! It says nothing that the beats don't say. It is kept beside them, because every decision about a group asks for it and
//! there may be a thousand beats: what a beat changes is entered when it counts, and taken out when it no longer does.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::beat::{Beat, Claim, Grant};
use crate::types::{GroupId, NodeId};

use super::Core;

/// Every group that any peer claims or grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(BTreeMap<GroupId, Sight>);

/// One group, in the beats of the peers that are up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sight {
    /// In the order of the claimants.
    claims: Vec<(NodeId, Claim)>,
    granted: Vec<Granted>,
}

/// So many peers grant the group to this holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Granted {
    holder: NodeId,
    by_others: usize,
    by_itself: bool,
}

impl Seen {
    /// Who claims a group, in the order of nodes.
    pub(super) fn claims(&self, group: GroupId) -> &[(NodeId, Claim)] {
        self.0.get(&group).map_or(&[], |sight| &sight.claims)
    }

    /// Each group that is claimed, in order.
    pub(super) fn claimed(&self) -> impl Iterator<Item = (GroupId, &[(NodeId, Claim)])> {
        self.0.iter().map(|(group, sight)| (*group, &sight.claims[..]))
    }

    /// To whom a group is granted, each named once.
    pub(super) fn granted(&self, group: GroupId) -> impl Iterator<Item = NodeId> {
        self.0.get(&group).into_iter().flat_map(|sight| sight.granted.iter().map(|granted| granted.holder))
    }

    /// Whether a peer claims a group, or grants it to another than itself and `me`.
    pub(super) fn is_busy(&self, group: GroupId, me: NodeId) -> bool {
        self.0.get(&group).is_some_and(|sight| {
            let away = |granted: &Granted| granted.holder != me && granted.by_others > 0;
            !sight.claims.is_empty() || sight.granted.iter().any(away)
        })
    }

    /// A peer's beat takes the place of the one before.
    pub(super) fn replace(&mut self, node: NodeId, before: Option<&Beat>, after: Option<&Beat>) {
        let (no_claims, no_grants) = (BTreeMap::new(), BTreeMap::new());
        differences(
            before.map_or(&no_claims, |beat| &beat.claims),
            after.map_or(&no_claims, |beat| &beat.claims),
            |one, other| one == other,
            |group, _, claim| self.change(group, |sight| sight.claim(node, claim.copied())),
        );
        differences(
            before.map_or(&no_grants, |beat| &beat.grants),
            after.map_or(&no_grants, |beat| &beat.grants),
            |one, other| one.holder == other.holder,
            |group, before, after| {
                self.change(group, |sight| {
                    sight.grant(node, before, false);
                    sight.grant(node, after, true);
                });
            },
        );
    }

    fn change(&mut self, group: GroupId, change: impl FnOnce(&mut Sight)) {
        let sight = self.0.entry(group).or_default();
        change(sight);
        if sight.claims.is_empty() && sight.granted.is_empty() {
            self.0.remove(&group);
        }
    }
}

impl Sight {
    fn claim(&mut self, node: NodeId, claim: Option<Claim>) {
        let place = self.claims.binary_search_by_key(&node, |(claimant, _)| *claimant);
        match (place, claim) {
            (Ok(place), Some(claim)) => self.claims[place].1 = claim,
            (Ok(place), None) => drop(self.claims.remove(place)),
            (Err(place), Some(claim)) => self.claims.insert(place, (node, claim)),
            (Err(_), None) => {}
        }
    }

    fn grant(&mut self, voter: NodeId, grant: Option<&Grant>, gives: bool) {
        let Some(holder) = grant.map(|grant| grant.holder) else { return };
        let place = self.granted.binary_search_by_key(&holder, |granted| granted.holder);
        let place = place.unwrap_or_else(|place| {
            self.granted.insert(place, Granted { holder, by_others: 0, by_itself: false });
            place
        });
        let granted = &mut self.granted[place];
        match (holder == voter, gives) {
            (true, _) => granted.by_itself = gives,
            (false, true) => granted.by_others += 1,
            (false, false) => granted.by_others -= 1,
        }
        if granted.by_others == 0 && !granted.by_itself {
            self.granted.remove(place);
        }
    }
}

/// Each key whose values differ, in order: what there was before, and what there is after.
pub(super) fn differences<K: Ord + Copy, V>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    alike: impl Fn(&V, &V) -> bool,
    mut each: impl FnMut(K, Option<&V>, Option<&V>),
) {
    let (mut olds, mut news) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some((old, _)), Some((new, _))) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let old = if order == Ordering::Greater { None } else { olds.next() };
        let new = if order == Ordering::Less { None } else { news.next() };
        match (old, new) {
            (Some((key, old)), Some((_, new))) if !alike(old, new) => each(*key, Some(old), Some(new)),
            (Some((key, old)), None) => each(*key, Some(old), None),
            (None, Some((key, new))) => each(*key, None, Some(new)),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl Core {
    /// What counts of a peer may have changed: its newest beat, or whether it is up.
    pub(super) fn look_at(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let live = peer.live_beat().map(Arc::clone);
        let before = std::mem::replace(&mut peer.shown, live.clone());
        let same = match (&before, &live) {
            (Some(before), Some(live)) => Arc::ptr_eq(before, live),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            self.seen.replace(node, before.as_deref(), live.as_deref());
        }
    }

    /// Whether it is as if every beat were entered anew.
    pub(super) fn seen_is_right(&self) -> bool {
        let mut fresh = Seen::default();
        for (node, peer) in &self.peers {
            fresh.replace(*node, None, peer.live_beat().map(|beat| &**beat));
        }
        fresh == self.seen
    }
}
