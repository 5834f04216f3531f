//! Who should own what, and why: a pure function of the configuration and of what the newest beats show.
//!
//! It only proposes. A wrong or divided plan costs a useless move, never safety: that is the voters' business.

mod able;
mod servers;

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::{Phase, Unfit};
use crate::config::{Group, Instance, Promise, Reach};
use crate::types::{GroupId, NodeId};

use super::{Core, Effects, Event, Liveness, Mutant, Reason, Unable};

pub use able::Ability;

/// Who should own a group, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) owner: Option<NodeId>,
    pub(super) because: Reason,
}

impl Plan {
    /// Before anything is known.
    pub(super) const NOBODY: Self = Self { owner: None, because: Reason::Stays };

    /// Every node has as many instances as it may have.
    pub(super) fn is_full(self) -> bool {
        matches!(self.because, Reason::NobodyFit { because: Unable::Full, .. })
    }
}

/// Where a node stands in a group's order of preference; names decide among equals.
pub(super) type Rank = (usize, usize);

/// A plan in the making.
struct Draft<'a> {
    core: &'a Core,
    /// Base ability of every node that can own at all.
    nodes: BTreeMap<NodeId, Result<(), Unable>>,
    holders: BTreeMap<GroupId, NodeId>,
    /// How much each node owns: what was planned so far, and what it holds and is not planned yet. Of that, what goes with
    /// another group weighs nothing: its leader would flee from where it has gone ahead.
    loads: BTreeMap<NodeId, usize>,
    /// The nodes that can own at all, who owns the fewest groups first; names decide among equals.
    lightest: BTreeSet<(usize, usize, NodeId)>,
    plans: BTreeMap<GroupId, Plan>,
    /// How many instances of a cloned group each node has, by the plan so far.
    planned: BTreeMap<(GroupId, NodeId), usize>,
    /// How many more it holds that are not planned yet.
    kept: BTreeMap<(GroupId, NodeId), usize>,
    /// The groups of which some node finds servers not well.
    wanting: BTreeSet<GroupId>,
}

impl Core {
    /// Makes the plan anew.
    pub(super) fn make_plan(&mut self, fx: &mut Effects) {
        let plans = self.draft();
        for (group, plan) in plans {
            let Some(tenure) = self.groups.get_mut(&group) else { continue };
            let moved = tenure.plan.owner != plan.owner;
            tenure.plan = plan;
            if moved {
                self.changed = true;
                self.tell(fx, Event::Planned { group, owner: plan.owner, because: plan.because });
            }
        }
    }

    fn draft(&self) -> BTreeMap<GroupId, Plan> {
        let owners = self.config.nodes.iter().filter(|(_, node)| !node.arbiter).map(|(id, _)| *id);
        self.draft_among(owners.map(|node| (node, self.base_ability(node))).collect(), self.holders())
    }

    /// As if these were the nodes, and these held what is held.
    fn draft_among(
        &self,
        nodes: BTreeMap<NodeId, Result<(), Unable>>,
        holders: BTreeMap<GroupId, NodeId>,
    ) -> BTreeMap<GroupId, Plan> {
        let mut draft = Draft::new(self, nodes, holders);
        let (free, mut bound): (Vec<_>, Vec<_>) =
            self.config.groups.iter().partition(|(_, group)| group.with.is_none() && group.apart.is_empty());
        for (id, group) in free {
            let plan = draft.plan(*id, group);
            draft.set(*id, plan);
        }
        // First those on which others look, however long the chain; what is left then looks at nobody who is planned.
        while !bound.is_empty() {
            let bound_before = bound.len();
            bound.retain(|(id, group)| {
                let ready =
                    group.with.iter().chain(&group.apart).all(|other| draft.plans.contains_key(other));
                if ready {
                    let plan = draft.follow(**id, group);
                    draft.set(**id, plan);
                }
                !ready
            });
            if bound.len() == bound_before {
                break;
            }
        }
        draft.plans
    }

    /// Whether a node can own anything at all.
    fn base_ability(&self, node: NodeId) -> Result<(), Unable> {
        let flags = if node == self.me {
            self.flags()
        } else {
            let Some(peer) = self.peers.get(&node) else { return Err(Unable::Down) };
            match peer.liveness {
                Liveness::Down => return Err(Unable::Down),
                Liveness::Unknown => return Err(Unable::NotYetHeard),
                Liveness::Up | Liveness::Late => {}
            }
            if !peer.sees_majority {
                return Err(Unable::NoMajority);
            }
            peer.flags()
        };
        let reasons = [
            (flags.leaving, Unable::Leaving),
            (flags.standby || self.orders.standby(node), Unable::Standby),
            (flags.starting, Unable::Starting),
        ];
        reasons.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, why)| Err(*why))
    }

    /// Whether a peer's newest beat that counts shows that it hears a majority of the voters.
    pub(super) fn hears_majority(&self, node: NodeId) -> bool {
        let deadtime = self.config.timing.deadtime;
        let Some(beat) = self.peers.get(&node).and_then(|peer| peer.beat()) else { return false };
        if !self.counts_like_us(beat.voters) {
            return false;
        }
        let hears = beat.heard.iter().filter(|(_, heard)| heard.age < deadtime).map(|(node, _)| *node);
        self.majority_among(hears.filter(|voter| *voter != node), node)
    }

    /// Who holds what, as the newest beats of those that are up show it.
    fn holders(&self) -> BTreeMap<GroupId, NodeId> {
        let mut holders: BTreeMap<GroupId, (Phase, NodeId)> = BTreeMap::new();
        let mut note = |group, phase: Phase, node| {
            let better = |old: &(Phase, NodeId)| phase == Phase::Held && old.0 != Phase::Held;
            if phase.occupies() && holders.get(&group).is_none_or(better) {
                holders.insert(group, (phase, node));
            }
        };
        for (group, claim) in self.claims() {
            note(group, claim.phase, self.me);
        }
        for (group, claims) in self.seen.claimed() {
            for (node, claim) in claims {
                note(group, claim.phase, *node);
            }
        }
        holders.into_iter().map(|(group, (_, node))| (group, node)).collect()
    }

    /// Who holds a group, as far as this node knows.
    pub(super) fn holder(&self, group: GroupId) -> Option<NodeId> {
        let occupies = |phase: Phase| phase.occupies();
        if self.groups.get(&group).and_then(|tenure| tenure.claim()).is_some_and(|(_, phase)| occupies(phase))
        {
            return Some(self.me);
        }
        let held = self.seen.claims(group).iter().find(|(_, claim)| occupies(claim.phase));
        held.map(|(node, _)| *node)
    }

    /// Where a node stands in a group's order of preference. Lower is better.
    pub(super) fn rank(&self, group: GroupId, node: NodeId) -> Rank {
        let prefer = self.config.groups.get(&group).map_or(&[][..], |group| &group.prefer);
        let place = prefer.iter().position(|preferred| *preferred == node).unwrap_or(prefer.len());
        (place, self.place_of_name(node))
    }

    /// How many nodes a group would rather have than this one.
    pub(super) fn rank_before_us(&self, group: GroupId) -> u64 {
        let prefer = self.config.groups.get(&group).map_or(&[][..], |group| &group.prefer);
        let own = self.rank(group, self.me);
        let known = |node: &&NodeId| self.names.contains_key(node);
        let preferred: BTreeSet<&NodeId> = prefer.iter().filter(known).collect();
        let before = preferred.iter().filter(|node| self.rank(group, ***node) < own).count();
        if own.0 < prefer.len() {
            return before as u64;
        }
        // Among those that are not preferred names decide.
        let named_before = preferred.iter().filter(|node| self.place_of_name(***node) < own.1).count();
        let before = before + own.1.min(self.names.len()) - named_before;
        debug_assert_eq!(before, self.names.keys().filter(|node| self.rank(group, **node) < own).count());
        before as u64
    }

    /// The cloned group that it is an instance of.
    fn clone_of(&self, group: GroupId) -> Option<GroupId> {
        self.config.groups.get(&group).and_then(|group| group.clone_of.as_ref()).map(|of| of.group)
    }

    fn is_led(&self, group: GroupId) -> bool {
        self.config.groups.get(&group).is_some_and(|group| group.with.is_some())
    }

    fn place_of_name(&self, node: NodeId) -> usize {
        self.names.get(&node).copied().unwrap_or(usize::MAX)
    }

    /// Whether the configuration lets a node own a group.
    pub(super) fn may_own(&self, group: &Group, node: NodeId) -> bool {
        let owner = self.config.nodes.get(&node).is_some_and(|node| !node.arbiter);
        owner && (group.only.is_empty() || group.only.contains(&node))
    }

    /// Whether this node could serve a group, by all that the planner asks.
    pub(super) fn able(&self, group: GroupId) -> bool {
        let Some(configured) = self.config.groups.get(&group) else { return false };
        self.base_ability(self.me).is_ok() && self.ability(group, configured, self.me).is_ok()
    }

    /// Whether a node that can own at all can serve this group.
    fn ability(&self, id: GroupId, group: &Group, node: NodeId) -> Result<(), Unable> {
        if !self.may_own(group, node) {
            return Err(Unable::NotAllowed);
        }
        let (unfit, reach) = if node == self.me {
            (self.groups.get(&id).and_then(|tenure| self.unfit(tenure)), self.reach)
        } else {
            let facts = self.peers.get(&node).and_then(|peer| peer.live_beat()).map(|beat| &beat.facts);
            let unfit = facts.and_then(|facts| facts.unfit.get(&id).copied());
            (unfit, facts.map_or(0, |facts| facts.reach))
        };
        let forgets = self.mutation.is(Mutant::ForgetsFailures);
        match unfit {
            Some(Unfit::Failed { .. }) if forgets => {}
            Some(unfit) => return Err(Unable::Unfit(unfit)),
            None => {}
        }
        match group.reach {
            Reach::AtLeast(least) if reach < least => Err(Unable::Reach(reach)),
            Reach::AtLeast(_) | Reach::Any | Reach::Best => Ok(()),
        }
    }

    fn reach_of(&self, node: NodeId) -> u16 {
        let beat = self.peers.get(&node).and_then(|peer| peer.live_beat());
        if node == self.me { self.reach } else { beat.map_or(0, |beat| beat.facts.reach) }
    }

    /// A node has been up and fit for as long as a failback must wait. Counted alike on both sides: from when the two heard
    /// each other, and from the last change of what it says of itself.
    fn settled_for(&self, group: GroupId, node: NodeId, holder: NodeId) -> bool {
        let Some(delay) = self.config.groups.get(&group).map(|group| group.failback_delay) else {
            return true;
        };
        let since = |peer: &super::Peer| peer.up_since.max(peer.steady_since);
        let since = if node == self.me {
            self.peers.get(&holder).map_or(self.now, |peer| peer.up_since.max(self.steady_since))
        } else {
            self.peers.get(&node).map_or(self.now, since)
        };
        self.now.since(since) >= delay
    }

    /// Everything of a group runs, somewhere.
    pub(super) fn is_served(&self, group: GroupId) -> bool {
        let held = |phase: Phase| phase == Phase::Held;
        let here = self.groups.get(&group).and_then(|tenure| tenure.claim());
        here.is_some_and(|(_, phase)| held(phase))
            || self.seen.claims(group).iter().any(|(_, claim)| held(claim.phase))
    }
}

impl<'a> Draft<'a> {
    fn new(
        core: &'a Core,
        nodes: BTreeMap<NodeId, Result<(), Unable>>,
        holders: BTreeMap<GroupId, NodeId>,
    ) -> Self {
        let mut loads: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (_, holder) in holders.iter().filter(|(group, _)| !core.is_led(**group)) {
            *loads.entry(*holder).or_default() += 1;
        }
        let able = nodes.iter().filter(|(_, base)| base.is_ok()).map(|(node, _)| *node);
        let lightest = able
            .map(|node| (loads.get(&node).copied().unwrap_or_default(), core.place_of_name(node), node))
            .collect();
        let mut kept: BTreeMap<(GroupId, NodeId), usize> = BTreeMap::new();
        for (group, holder) in &holders {
            if let Some(of) = core.clone_of(*group) {
                *kept.entry((of, *holder)).or_default() += 1;
            }
        }
        let (plans, planned) = (BTreeMap::new(), BTreeMap::new());
        let wanting = core.wanting();
        Self { core, nodes, holders, loads, lightest, plans, planned, kept, wanting }
    }

    fn set(&mut self, group: GroupId, plan: Plan) {
        let holder = self.holders.get(&group).copied().filter(|_| !self.core.is_led(group));
        if holder != plan.owner {
            self.weigh(holder, |load| load - 1);
            self.weigh(plan.owner, |load| load + 1);
        }
        if let Some(of) = self.core.clone_of(group) {
            if let Some(kept) = self.holders.get(&group).and_then(|holder| self.kept.get_mut(&(of, *holder)))
            {
                *kept -= 1;
            }
            if let Some(owner) = plan.owner {
                *self.planned.entry((of, owner)).or_default() += 1;
            }
        }
        self.plans.insert(group, plan);
    }

    fn weigh(&mut self, node: Option<NodeId>, change: impl Fn(usize) -> usize) {
        let Some(node) = node else { return };
        let load = self.loads.entry(node).or_default();
        let name = self.core.place_of_name(node);
        let before = std::mem::replace(load, change(*load));
        if self.lightest.remove(&(before, name, node)) {
            self.lightest.insert((*load, name, node));
        }
    }

    fn ability(&self, id: GroupId, group: &Group, node: NodeId) -> Result<(), Unable> {
        match self.nodes.get(&node) {
            None => Err(Unable::NotAllowed),
            Some(Err(Unable::NoMajority)) if group.promise == Promise::AtLeastOne => {
                self.core.ability(id, group, node)
            }
            Some(Err(why)) => Err(*why),
            Some(Ok(())) => self.core.ability(id, group, node),
        }
    }

    /// Every node in the order in which the group would have them.
    fn order<'b>(&'b self, group: &'b Group) -> impl Iterator<Item = NodeId> + use<'a, 'b> {
        let others = self.core.owners.iter().filter(|node| !group.prefer.contains(node));
        self.preferred(group).chain(others.copied())
    }

    fn preferred<'b>(&'b self, group: &'b Group) -> impl DoubleEndedIterator<Item = NodeId> + use<'a, 'b> {
        group.prefer.iter().copied().filter(|node| self.nodes.contains_key(node))
    }

    /// A holder that can go on, and that nobody better can follow, keeps the group: what is most often so is seen first.
    fn stays_at_best(&self, id: GroupId, group: &Group, holder: Option<NodeId>) -> Option<Plan> {
        let holder = holder?;
        let first = group.prefer.first().is_none_or(|first| *first == holder || !group.failback);
        let ordinary = group.clone_of.is_none()
            && group.reach != Reach::Best
            && group.apart.is_empty()
            && self.core.orders.placed(id).is_none()
            && self.core.orders.avoided(id).is_none()
            && !self.wanting.contains(&id)
            && !self.core.mutation.is(Mutant::PlanIgnoresHolder);
        let able = first && ordinary && self.ability(id, group, holder).is_ok();
        able.then_some(Plan { owner: Some(holder), because: Reason::Stays })
    }

    fn plan(&self, id: GroupId, group: &Group) -> Plan {
        let core = self.core;
        let holder = self.holders.get(&id).copied();
        if core.orders.is_left_alone(id) {
            return Plan { owner: holder, because: Reason::Stays };
        }
        if let Some(waits) = group.after.iter().find(|first| !core.is_served(**first))
            && holder.is_none()
        {
            return Plan { owner: None, because: nobody(core.me, Unable::Waits(*waits)) };
        }
        if let Some(stays) = self.stays_at_best(id, group, holder) {
            return stays;
        }
        if let Some(plan) = self.plan_ordinary(id, group, holder) {
            return plan;
        }
        let mut able = self.able(id, group);
        if let Some((of, first)) = group.clone_of.as_ref().zip(able.first().copied()) {
            able = self.below_quota(id, group, of, holder, &able);
            // Among those that may have one more, balance comes before everything else.
            able.truncate(1);
            if able.is_empty() {
                return Plan { owner: None, because: nobody(first, Unable::Full) };
            }
        }
        if let Some(node) = core.orders.placed(id).filter(|node| able.contains(node)) {
            return Plan { owner: Some(node), because: Reason::Ordered };
        }
        let worse = self.leave_out_worse(id, holder, &mut able);
        let kept_from = self.keep_apart(group, &mut able);
        let Some(first) = able.first().copied() else { return self.nobody_able(id, group, holder) };
        let stays = holder.filter(|holder| able.contains(holder));
        let best = able.iter().copied().min_by_key(|node| self.key(id, *node)).unwrap_or(first);
        let plan = self.stay_or_move((id, group), holder, stays, first, best);
        match kept_from {
            Some(other) if plan.owner == Some(best) && stays.is_none() => {
                Plan { because: Reason::Apart(other), ..plan }
            }
            Some(_) | None => self.because_of(id, plan, worse),
        }
    }

    /// Takes away the nodes of those from which a group keeps apart, as long as another node is left. Who has the node that
    /// was the best.
    fn keep_apart(&self, group: &Group, able: &mut Vec<NodeId>) -> Option<GroupId> {
        let owner = |other: &GroupId| self.plans.get(other).and_then(|plan| plan.owner);
        let taken: BTreeMap<NodeId, GroupId> =
            group.apart.iter().filter_map(|other| Some((owner(other)?, *other))).collect();
        let first = able.first().copied()?;
        if able.iter().any(|node| !taken.contains_key(node)) {
            able.retain(|node| !taken.contains_key(node));
            return taken.get(&first).copied();
        }
        None
    }

    /// The plan of a group that does not ask for a comparison of all nodes: those preferred, then the least loaded, are
    /// looked at in turn, up to the first that is able.
    fn plan_ordinary(&self, id: GroupId, group: &Group, holder: Option<NodeId>) -> Option<Plan> {
        let orders = &self.core.orders;
        let ordinary = group.clone_of.is_none()
            && group.reach != Reach::Best
            && group.promise == Promise::AtMostOne
            && group.apart.is_empty()
            && orders.placed(id).is_none()
            && orders.avoided(id).is_none()
            && !self.wanting.contains(&id);
        if !ordinary {
            return None;
        }
        let able = |node: &NodeId| self.ability(id, group, *node).is_ok();
        let any = || match &group.only[..] {
            [] => self.lightest.iter().map(|(.., node)| *node).find(able),
            only => only.iter().copied().filter(able).min_by_key(|node| self.key(id, *node)),
        };
        let Some(best) = self.preferred(group).find(able).or_else(any) else {
            return Some(self.nobody_able(id, group, holder));
        };
        Some(self.stay_or_move((id, group), holder, holder.filter(able), best, best))
    }

    /// Where a group goes that some node is able to serve: where it is, if that holder can go on, or to the best. `first`
    /// comes first in the order of preference.
    fn stay_or_move(
        &self,
        (id, group): (GroupId, &Group),
        holder: Option<NodeId>,
        able_holder: Option<NodeId>,
        first: NodeId,
        best: NodeId,
    ) -> Plan {
        if let Some(holder) = able_holder
            && !self.goes_back(id, group, holder, first)
        {
            return Plan { owner: Some(holder), because: Reason::Stays };
        }
        if let Some(waited) = self.worth_waiting_for(id, group, holder, first) {
            return waited;
        }
        Plan { owner: Some(best), because: self.why_best(id, group, best) }
    }

    /// The nodes that can serve a group, best first.
    fn able(&self, id: GroupId, group: &Group) -> Vec<NodeId> {
        let mut able: Vec<NodeId> =
            self.order(group).filter(|node| self.ability(id, group, *node).is_ok()).collect();
        if group.reach == Reach::Best {
            let best = able.iter().map(|node| self.core.reach_of(*node)).max().unwrap_or_default();
            able.retain(|node| self.core.reach_of(*node) == best);
        }
        if let Some(avoided) = self.core.orders.avoided(id)
            && able.len() > 1
        {
            able.retain(|node| *node != avoided);
        }
        able
    }

    /// Whether the group leaves an able holder for a better node.
    fn goes_back(&self, id: GroupId, group: &Group, holder: NodeId, first: NodeId) -> bool {
        if self.core.mutation.is(Mutant::PlanIgnoresHolder) {
            return true;
        }
        let place = |node| self.core.rank(id, node).0;
        group.failback && place(first) < place(holder) && self.core.settled_for(id, first, holder)
    }

    /// At a cold start a preferred node may still come: until initdead is over the group waits for it.
    fn worth_waiting_for(
        &self,
        id: GroupId,
        group: &Group,
        holder: Option<NodeId>,
        first: NodeId,
    ) -> Option<Plan> {
        if holder.is_some() || self.core.groups.get(&id).is_none_or(|tenure| tenure.seen_held) {
            return None;
        }
        let place = |node| self.core.rank(id, node).0;
        let young = self.core.now.since(self.core.started) < self.core.config.timing.initdead;
        let comes = |node: &NodeId| match self.nodes.get(node) {
            Some(Err(why @ (Unable::NotYetHeard | Unable::Starting))) => Some(*why),
            Some(Err(why @ Unable::NoMajority)) if young => Some(*why),
            Some(Err(_) | Ok(())) | None => None,
        };
        let better = |node: &NodeId| place(*node) < place(first) && self.core.may_own(group, *node);
        let (node, why) =
            self.preferred(group).filter(better).find_map(|node| Some((node, comes(&node)?)))?;
        Some(Plan { owner: None, because: nobody(node, why) })
    }

    fn nobody_able(&self, id: GroupId, group: &Group, holder: Option<NodeId>) -> Plan {
        let unable =
            self.order(group).find_map(|node| self.ability(id, group, node).err().map(|why| (node, why)));
        let (nearest, why) = unable.unwrap_or((self.core.me, Unable::Waits(id)));
        let stays =
            holder.filter(|holder| !matches!(self.nodes.get(holder), Some(Err(Unable::Leaving)) | None));
        Plan { owner: stays, because: nobody(nearest, why) }
    }

    /// The first in the order of preference comes first; among equals the one that owns the fewest groups.
    fn key(&self, id: GroupId, node: NodeId) -> (usize, usize, usize) {
        let (place, name) = self.core.rank(id, node);
        (place, self.loads.get(&node).copied().unwrap_or_default(), name)
    }

    fn why_best(&self, id: GroupId, group: &Group, owner: NodeId) -> Reason {
        let place = self.core.rank(id, owner).0;
        if group.clone_of.is_some() {
            return Reason::Share;
        }
        if place >= group.prefer.len() {
            return Reason::FewestGroups;
        }
        let before = self.preferred(group).filter(|node| self.core.rank(id, *node).0 < place);
        let passed =
            before.filter_map(|node| self.ability(id, group, node).err().map(|why| (node, why))).next_back();
        passed.map_or(Reason::Preferred, |(passed, because)| Reason::NextInOrder { passed, because })
    }

    /// Where the group goes that this one goes with.
    fn follow(&self, id: GroupId, group: &Group) -> Plan {
        let Some(leader) = group.with.filter(|_| !self.core.orders.is_left_alone(id)) else {
            return self.plan(id, group);
        };
        let Some(Plan { owner: Some(owner), .. }) = self.plans.get(&leader) else {
            let holder = self.holders.get(&id).copied();
            return Plan { owner: holder, because: nobody(self.core.me, Unable::Waits(leader)) };
        };
        match self.ability(id, group, *owner) {
            Ok(()) => Plan { owner: Some(*owner), because: Reason::With(leader) },
            Err(why) => Plan { owner: None, because: nobody(*owner, why) },
        }
    }

    /// Instances of a clone spread as their nodes' weights say: the nodes that may still take one more, best first. A holder
    /// is kept while it owns no more than its share.
    fn below_quota(
        &self,
        id: GroupId,
        group: &Group,
        of: &Instance,
        holder: Option<NodeId>,
        able: &[NodeId],
    ) -> Vec<NodeId> {
        let planned = |node: NodeId| self.planned.get(&(of.group, node)).copied().unwrap_or_default();
        // Those that it holds further down the list count as its own.
        let kept =
            |node: NodeId| planned(node) + self.kept.get(&(of.group, node)).copied().unwrap_or_default();
        let most = of.most.map_or(usize::MAX, usize::from);
        let ignores = self.core.mutation.is(Mutant::WeightsIgnored);
        let equal = ignores.then(|| Instance { weights: BTreeMap::new(), ..of.clone() });
        let Shares { whole, over } = shares(equal.as_ref().unwrap_or(of), able);
        let share = |node: NodeId| whole.get(&node).copied().unwrap_or_default();
        let full = able.iter().filter(|node| planned(**node) > share(**node)).count();
        let quota = |node: NodeId| (share(node) + usize::from(full < over)).min(most);
        let stays = |node: NodeId| !group.failback && planned(node) < most;
        if let Some(placed) = self.core.orders.placed(id).filter(|placed| able.contains(placed))
            && (Some(placed) == holder || kept(placed) < most)
        {
            return vec![placed];
        }
        if let Some(holder) = holder.filter(|holder| able.contains(holder))
            && (stays(holder) || planned(holder) < quota(holder))
        {
            return vec![holder];
        }
        let mut open: Vec<NodeId> = able.iter().copied().filter(|node| kept(*node) < quota(*node)).collect();
        let may_stay = holder.filter(|holder| able.contains(holder) && kept(*holder) <= most);
        if let Some(holder) = may_stay.filter(|_| !self.core.mutation.is(Mutant::ReturnsAtOnce)) {
            // What runs goes to nobody who has just come, and may go again.
            open.retain(|node| self.core.settled_for(id, *node, holder));
        }
        if open.is_empty() {
            // Rather uneven than not at all; nothing that runs makes room for what does not.
            if let Some(holder) = may_stay {
                return vec![holder];
            }
            open = able.iter().copied().filter(|node| kept(*node) < most).collect();
        }
        // Each instance has a node of its own in turn, so that those that are planned before it do not shift it; where that
        // node has its share, who lacks most of his gets it.
        let lacks = |node: NodeId| share(node).saturating_sub(kept(node));
        let turn = able.get(usize::from(of.index) % able.len().max(1)).copied();
        open.sort_by_key(|node| {
            let is_its_turn = Some(*node) == turn && lacks(*node) > 0;
            (!is_its_turn, std::cmp::Reverse(lacks(*node)), kept(*node), self.core.rank(id, *node))
        });
        open
    }
}

/// How many instances each node has at least, and how many nodes have one more.
struct Shares {
    whole: BTreeMap<NodeId, usize>,
    over: usize,
}

/// As the weights say; what a node may not have is shared out among the others.
fn shares(of: &Instance, able: &[NodeId]) -> Shares {
    let weight = |node: NodeId| usize::from(of.weights.get(&node).copied().unwrap_or(1));
    let most = of.most.map_or(usize::MAX, usize::from);
    let mut whole: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut left = usize::from(of.count);
    let mut open: Vec<NodeId> = able.to_vec();
    loop {
        let sum: usize = open.iter().map(|node| weight(*node)).sum();
        let Some(sum) = std::num::NonZeroUsize::new(sum) else { return Shares { whole, over: 0 } };
        let share = |node: NodeId| left * weight(node) / sum;
        let (bounded, free): (Vec<NodeId>, Vec<NodeId>) =
            open.iter().copied().partition(|node| share(*node) >= most);
        if bounded.is_empty() {
            let given: usize = free.iter().map(|node| share(*node)).sum();
            whole.extend(free.iter().map(|node| (*node, share(*node))));
            return Shares { whole, over: left - given };
        }
        left -= bounded.len() * most;
        whole.extend(bounded.into_iter().map(|node| (node, most)));
        open = free;
    }
}

fn nobody(nearest: NodeId, because: Unable) -> Reason {
    Reason::NobodyFit { nearest, because }
}
