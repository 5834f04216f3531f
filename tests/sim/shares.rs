//! What is promised of the instances of a cloned group: no node wins more of them than it may have; and in the end none is
//! without a node while one may have it, and each node has its share, as the weights say, to within one.
//!
//! What a node may have is what its core goes by when it wins: the configuration that was fed last. A lease that was won
//! before that one is not counted against it, for nothing that runs blinks when a file is loaded; another may not be won
//! beside it, and in the end it is released.

use std::collections::{BTreeMap, BTreeSet};

use systole::cluster::{Effect, Event, Reason, StopReason};
use systole::config::{Config, Group, Instance};
use systole::types::{GroupId, NodeId};

use crate::world::World;

/// The instances of one cloned group, as configured.
struct Clones<'a> {
    instances: Vec<(GroupId, &'a Group)>,
    of: &'a Instance,
}

/// Every cloned group of a configuration.
fn clones(config: &Config) -> Vec<Clones<'_>> {
    let mut found: BTreeMap<GroupId, Clones> = BTreeMap::new();
    for (id, group) in &config.groups {
        let Some(of) = &group.clone_of else { continue };
        let clones = found.entry(of.group).or_insert_with(|| Clones { instances: Vec::new(), of });
        clones.instances.push((*id, group));
    }
    found.into_values().collect()
}

fn instance(config: &Config, group: GroupId) -> Option<&Instance> {
    config.groups.get(&group)?.clone_of.as_ref()
}

impl World {
    /// What a core decided about its leases, in the order in which it did.
    pub(crate) fn check_leases(&mut self, node: usize, effects: &[Effect]) {
        for effect in effects {
            if let Effect::RaiseLease { group, .. } = effect {
                self.check_most(node, *group);
                self.machines[node].daemon.leased.insert(*group);
            } else if let Effect::DropLease { group } = effect {
                self.machines[node].daemon.leased.remove(group);
            } else if let Effect::Tell(Event::Stopping {
                group,
                because: StopReason::Plan(Reason::Share),
                to: Some(heir),
            }) = effect
            {
                self.check_return(*group, *heir);
            }
        }
    }

    /// A node wins no instance more than it may have.
    fn check_most(&mut self, node: usize, group: GroupId) {
        let daemon = &self.machines[node].daemon;
        let Some(config) = &daemon.config else { return };
        let Some((of, most)) = instance(config, group).and_then(|of| Some((of.group, of.most?))) else {
            return;
        };
        let same = |id: &&GroupId| instance(config, **id).is_some_and(|other| other.group == of);
        let has = daemon.leased.iter().filter(same).filter(|id| **id != group).count();
        let too_many = has >= usize::from(most) && !daemon.leased.contains(&group);
        self.stats.exercise(7);
        if too_many {
            let (name, group) = (self.machines[node].name.clone(), self.names_of(group));
            self.violate(7, format!("{name} has {has} instances, may have {most}, and wins {group}"));
        }
    }

    /// An instance whose holder can go on goes to no node that has run for less than the delay of a failback. Who dies or
    /// boots makes no other node unable; after any other fault the holder may be.
    fn check_return(&mut self, group: GroupId, heir: NodeId) {
        let harmless = ["reboots", "machines off for long"];
        let Some(&to) = self.index.get(&heir) else { return };
        if !self.stats.faults.keys().all(|kind| harmless.contains(kind)) || self.healed {
            return;
        }
        let delay = self.config.groups.get(&group).map_or(0, |group| group.failback_delay.as_micros());
        let fit = self.now - self.machines[to].began;
        self.stats.exercise(7);
        self.stats.bump("instances that moved to a node that lacked one");
        // Two clocks may differ by a hundredth.
        if fit < delay * 98 / 100 {
            let (name, group) = (self.machines[to].name.clone(), self.names_of(group));
            self.violate(7, format!("{group} goes to {name}, which has run for {fit} us of {delay}"));
        }
    }

    /// Whether each instance that some node may have is held once, and each node has its share of them.
    pub(crate) fn clones_held(&self, by: impl Fn(usize) -> bool) -> Result<(), String> {
        clones(&self.config).iter().try_for_each(|clones| self.shared_out(clones, &by))
    }

    fn shared_out(&self, clones: &Clones, by: impl Fn(usize) -> bool) -> Result<(), String> {
        let may_own = |id: &NodeId| {
            let owner = self.config.nodes.get(id).is_some_and(|node| !node.arbiter);
            owner
                && clones.instances.iter().all(|(_, group)| group.only.is_empty() || group.only.contains(id))
        };
        let nodes: Vec<usize> =
            (0..self.machines.len()).filter(|&node| by(node) && may_own(&self.machines[node].id)).collect();
        let mut held: BTreeMap<usize, u64> = BTreeMap::new();
        let mut nobodys = BTreeSet::new();
        for (id, group) in &clones.instances {
            match self.held_at_most_once(*id, &by)? {
                Some(holder) => *held.entry(holder).or_default() += 1,
                None => {
                    nobodys.insert(&group.name);
                }
            }
        }
        let most = clones.of.most.map_or(u64::MAX, u64::from);
        let has = |node: usize| held.get(&node).copied().unwrap_or(0);
        if let Some((node, count)) = held.iter().find(|(_, count)| **count > most) {
            let name = &self.machines[*node].name;
            return Err(format!("{name} has {count} instances and may have {most}"));
        }
        let roomy = nodes.iter().find(|node| has(**node) < most);
        if let Some((group, node)) = nobodys.first().zip(roomy) {
            return Err(format!("nobody holds {group}, and {} may", self.machines[*node].name));
        }
        // Where nothing goes back by itself, what runs stays where it is.
        if clones.instances.iter().all(|(_, group)| group.failback) {
            self.spread(clones.of, &nodes, has)?;
        }
        Ok(())
    }

    /// Each node has as many as its weight makes of those that nodes with as many as they may have leave, to within one.
    fn spread(&self, of: &Instance, nodes: &[usize], has: impl Fn(usize) -> u64) -> Result<(), String> {
        let weight = |node: usize| of.weights.get(&self.machines[node].id).copied().map_or(1, u64::from);
        let most = of.most.map_or(u64::MAX, u64::from);
        let (mut free, mut left): (Vec<usize>, u64) = (nodes.to_vec(), u64::from(of.count));
        loop {
            let sum: u64 = free.iter().map(|node| weight(*node)).sum();
            let is_full = |node: &usize| left * weight(*node) >= most.saturating_mul(sum);
            let Some(place) = free.iter().position(is_full) else { break };
            let full = free.remove(place);
            left -= most;
            if has(full) != most {
                let name = &self.machines[full].name;
                return Err(format!("{name} has {} instances, and its share is all of {most}", has(full)));
            }
        }
        let sum: u64 = free.iter().map(|node| weight(*node)).sum();
        let off = |node: &usize| (has(*node) * sum).abs_diff(left * weight(*node)) > sum;
        match free.into_iter().find(off) {
            Some(node) => {
                let (name, parts) = (&self.machines[node].name, weight(node));
                Err(format!("{name} has {} instances: not {parts} parts of {sum} of {left}", has(node)))
            }
            None => Ok(()),
        }
    }
}
