//! A draft without mistakes becomes the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::instance_names;
use super::resources::resource_names;
use super::{director, notify, respawn, safety, timing, track};
use crate::config::clusterip;
use crate::config::director::Services;
use crate::config::draft::{Draft, DraftCast, DraftGroup, DraftLink, DraftMonitor, DraftResource, Name};
use crate::config::model::{
    Cast, Config, Fence, Group, Instance, Link, Node, Promise, Reach, Resource, Tiebreak, VotersBefore,
    Watchdog,
};
use crate::config::monitor;
use crate::time::Span;
use crate::types::{GroupId, NodeId};

/// A cluster's name, unless the file says otherwise.
const CLUSTER: &str = "systole";
/// After a failure a node is not tried again for so long: time for somebody to look, and short enough that a second
/// failure elsewhere in the same night still finds it back.
const FAILURE_WINDOW: Span = Span::seconds(10 * 60);

pub(super) fn assemble(draft: &Draft, services: Services) -> Config {
    let timing = timing::resolve(&draft.timing);
    let mut config = Config {
        cluster: draft.cluster.as_ref().map_or(CLUSTER, |name| name.value.as_str()).to_owned(),
        keys: draft.keys.clone(),
        timing,
        nodes: draft
            .nodes
            .iter()
            .map(|node| {
                let name = node.name.value.clone();
                (NodeId::of(&name), Node { name, arbiter: node.arbiter })
            })
            .collect(),
        links: draft.links.iter().map(link).collect(),
        tiebreak: Tiebreak {
            method: safety::method(draft),
            ping: draft.ping.iter().map(|group| group.iter().map(|target| target.value).collect()).collect(),
        },
        voters_before: draft
            .voters_before
            .as_ref()
            .map(|before| VotersBefore { nodes: ids(&before.nodes), method: before.method }),
        lease: draft.lease,
        watchdog: draft.watchdog.as_ref().map(|watchdog| Watchdog {
            device: watchdog.device.clone(),
            timeout: safety::watchdog_timeout(draft, watchdog.timeout.as_ref()),
        }),
        fences: draft
            .fences
            .iter()
            .map(|fence| Fence {
                name: fence.name.value.clone(),
                agent: fence.agent.value.clone(),
                params: fence.params.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
                nodes: ids(&fence.nodes),
                delay: fence.delay,
            })
            .collect(),
        interfaces: Vec::new(),
        groups: draft.groups.iter().flat_map(|group| instances(draft, group)).collect(),
        notify: draft.notify.as_ref().and_then(notify::resolve),
        tracks: draft.tracks.iter().filter_map(|one| track::resolve(draft, one)).collect(),
        respawns: draft.respawns.iter().filter_map(respawn::resolve).collect(),
        sync: draft.sync.as_ref().map(|sync| director::sync(draft, sync)),
        services,
    };
    config.fill_in_interfaces();
    config
}

fn ids(names: &[Name]) -> Vec<NodeId> {
    names.iter().map(|name| NodeId::of(&name.value)).collect()
}

fn link(link: &DraftLink) -> Link {
    let cast = match &link.cast {
        DraftCast::Unicast(peers) => {
            let id = |name: &Option<Name>| name.as_ref().map(|name| NodeId::of(&name.value));
            Cast::Unicast(peers.iter().map(|(name, address)| (id(name), address.value)).collect())
        }
        DraftCast::Multicast { group, ttl } => Cast::Multicast { group: group.value, ttl: *ttl },
        DraftCast::Broadcast => Cast::Broadcast,
    };
    Link { name: link.name.value.clone(), interface: link.interface.value.clone(), port: link.port, cast }
}

/// A group, or the instances of a cloned one; they share their resources.
fn instances(draft: &Draft, group: &DraftGroup) -> Vec<(GroupId, Group)> {
    let names = resource_names(group);
    let resources: Vec<Arc<Resource>> =
        group.resources.iter().zip(names).map(|(one, name)| Arc::new(resource(one, name))).collect();
    let instances_of = |names: &[Name]| -> Vec<GroupId> {
        let groups =
            names.iter().filter_map(|name| draft.groups.iter().find(|one| one.name.value == name.value));
        groups.flat_map(instance_names).map(|name| GroupId::of(&name)).collect()
    };
    let whole = Group {
        name: group.name.value.clone(),
        prefer: ids(&group.prefer),
        only: ids(&group.only),
        failback: group.failback,
        failback_delay: group.failback_delay.unwrap_or(timing::resolve(&draft.timing).deadtime),
        exclusive: safety::is_exclusive(group),
        promise: group.promise.as_ref().map_or(Promise::AtMostOne, |promise| promise.value),
        clone_of: None,
        with: group.with.as_ref().map(|with| GroupId::of(&with.value)),
        after: instances_of(&group.after),
        apart: instances_of(&group.apart),
        reach: group.reach.as_ref().map_or(Reach::Any, |reach| reach.value),
        failure_window: group.failure_window.unwrap_or(FAILURE_WINDOW),
        interfaces: Vec::new(),
        resources,
    };
    let weights: BTreeMap<NodeId, u16> =
        group.weights.iter().map(|(name, weight)| (NodeId::of(&name.value), *weight)).collect();
    let clone_of = |index| {
        let count = group.clones.as_ref()?.value;
        let most = group.clones_per_node.as_ref().map(|most| most.value);
        let of = GroupId::of(&group.name.value);
        Some(Instance { weights: weights.clone(), most, ..Instance::new(of, index, count) })
    };
    let instance = |(index, name): (u16, String)| {
        (GroupId::of(&name), Group { name, clone_of: clone_of(index), ..whole.clone() })
    };
    (0..).zip(instance_names(group)).map(instance).collect()
}

fn resource(resource: &DraftResource, name: String) -> Resource {
    // The kernel tells when an address of ours goes: nobody needs to look.
    let is_vip = resource.agent.value == "vip" || clusterip::is_agent(&resource.agent.value);
    Resource {
        name,
        agent: resource.agent.value.clone(),
        args: resource.args.clone(),
        params: resource.plain_params(),
        warm: resource.warm,
        monitor: match resource.monitor {
            DraftMonitor::Default if is_vip => None,
            DraftMonitor::Default => Some(monitor::DEFAULT),
            DraftMonitor::Off => None,
            DraftMonitor::Given(given) => Some(given),
        },
        start_delay: resource.start_delay.as_ref().map(|delay| delay.value),
        start_timeout: resource.start_timeout,
        stop_timeout: resource.stop_timeout,
    }
}
