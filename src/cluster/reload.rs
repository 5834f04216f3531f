//! What a new configuration changes. What stays the same does not blink.

use std::sync::Arc;

use crate::config::{Config, Group};
use crate::types::{GroupId, NodeId};

use super::groups::Tenure;
use super::liveness::Peer;
use super::{Core, Effects, VoterSets};

impl Core {
    /// A new configuration, checked.
    pub(super) fn configure(&mut self, config: Arc<Config>, fx: &mut Effects) {
        self.config = config;
        self.read_config();
        self.evidence.reload(&self.config);
        self.change_voters(VoterSets::of(&self.config), fx);
        self.meet_nodes();
        let ids: Vec<GroupId> = self.groups.keys().chain(self.config.groups.keys()).copied().collect();
        for id in ids {
            self.configure_group(id);
        }
        self.changed = true;
        self.store(fx);
    }

    fn configure_group(&mut self, id: GroupId) {
        let now = self.now;
        let wanted = self.config.groups.get(&id);
        match (self.groups.get_mut(&id), wanted) {
            (None, Some(group)) => {
                self.groups.insert(id, Tenure::new(group, self.epoch_floor, now));
            }
            (Some(tenure), Some(group)) if runs_alike(&tenure.group, group) => {
                tenure.group = Arc::new(group.clone());
                tenure.outdated = false;
            }
            (Some(tenure), _) => {
                tenure.outdated = true;
                if tenure.nothing_runs() {
                    self.renew_tenure(id);
                }
            }
            (None, None) => {}
        }
    }

    /// What was outdated has stopped: it is forgotten, or begun anew as the configuration has it now. What could not be
    /// stopped is not forgotten: another stop is tried later, by the new definition where there is one.
    pub(super) fn renew_tenure(&mut self, id: GroupId) {
        let Some(old) = self.groups.get(&id) else { return };
        let stuck = || old.units.iter().zip(&old.group.resources).filter(|(unit, _)| unit.is_stuck());
        if let Some(group) = self.config.groups.get(&id) {
            let mut fresh = Tenure::new(group, old.epoch_seen, self.now);
            for (unit, resource) in stuck() {
                let place = group.resources.iter().position(|new| new.name == resource.name);
                if let Some(place) = place {
                    fresh.units[place] = *unit;
                }
            }
            let seen_held = old.seen_held;
            self.groups.insert(id, Tenure { seen_held, ..fresh });
        } else if stuck().next().is_none() {
            // It may come back within this life: its epochs go on.
            self.epoch_floor = self.epoch_floor.max(old.epoch_seen);
            self.groups.remove(&id);
        } else {
            return;
        }
        self.changed = true;
    }

    /// Every node of the configuration, and every voter that still counts, is a peer; others are forgotten.
    pub(super) fn meet_nodes(&mut self) {
        let mut known = self.voters.all();
        known.extend(self.config.nodes.keys());
        known.remove(&self.me);
        let Self { peers, seen, peers_up, .. } = self;
        peers.retain(|node, peer| {
            let stays = known.contains(node);
            if !stays {
                *peers_up -= usize::from(peer.up());
                seen.replace(*node, peer.shown.as_deref(), None);
            }
            stays
        });
        self.forget_votes();
        let now = self.now;
        let missing: Vec<NodeId> = known.into_iter().filter(|node| !self.peers.contains_key(node)).collect();
        for node in missing {
            self.peers.insert(node, Peer::new(now));
        }
        let all: Vec<NodeId> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|node| self.note_majority(node));
    }
}

/// The same resources in the same order, so that nothing needs to stop.
pub(super) fn runs_alike(old: &Group, new: &Group) -> bool {
    let count = |group: &Group| group.clone_of.as_ref().map(|instance| instance.count);
    old.interfaces == new.interfaces
        && count(old) == count(new)
        && old.resources.len() == new.resources.len()
        && old.resources.iter().zip(&new.resources).all(|(old, new)| {
            (&old.name, &old.agent, &old.args, &old.params, old.warm)
                == (&new.name, &new.agent, &new.args, &new.params, new.warm)
        })
}
