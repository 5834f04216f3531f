//! Configurations, drawn or built by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use systole::config::{
    Cast, Config, Enforcement, Fence, Group, Instance, Interface, Link, Monitor, Node, Promise, Reach,
    Resource, Tiebreak, TiebreakMethod, Timing, Watchdog,
};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{GroupId, InterfaceId, NodeId};

use crate::draw::{Class, pick};
use crate::servers;

/// The outline of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) names: Vec<String>,
    /// The last one is.
    pub(crate) arbiter: bool,
    pub(crate) method: TiebreakMethod,
    pub(crate) keepalive: u64,
    pub(crate) lease: u64,
    pub(crate) links: usize,
    pub(crate) link_over_service: bool,
    pub(crate) interfaces: usize,
    pub(crate) groups: usize,
    pub(crate) watchdog: bool,
    pub(crate) fences: bool,
    /// Groups of every kind, or plain ones.
    pub(crate) plain: bool,
    pub(crate) exclusive: bool,
}

/// The name of the node at this place.
pub(crate) fn node_name(place: usize) -> String {
    ["a", "b", "c", "d", "e", "f", "g", "h", "i"].get(place).copied().unwrap_or("z").to_owned()
}

impl Shape {
    pub(crate) fn draw(rng: &mut Rng, class: Class) -> Self {
        let mut nodes = match rng.below(100) {
            0..38 => 2,
            38..70 => 3,
            70..88 => 5,
            88..92 => 4,
            92..95 => 6,
            95..98 => 7,
            _ => 9,
        };
        if class == Class::Persistent && nodes == 2 {
            nodes = 3;
        }
        let method = match rng.below(10) {
            0..6 => TiebreakMethod::Evidence,
            6..9 => TiebreakMethod::Fence,
            _ => TiebreakMethod::None,
        };
        let keepalive = 1_000 * pick(rng, &[20, 25, 40, 50, 100, 100, 200, 500]);
        let (fewest, spread) = match class {
            Class::Lossy => (16, 5),
            Class::Chaos | Class::Calm => (3, 9),
            Class::Crash | Class::Single | Class::Persistent => (4, 6),
            Class::Restart => (6, 8),
        };
        let lease = keepalive * (fewest + rng.below(spread));
        Self {
            names: (0..nodes).map(node_name).collect(),
            arbiter: nodes > 2 && rng.chance(400),
            method,
            keepalive,
            lease,
            links: if class == Class::Lossy { 2 } else { pick(rng, &[1, 1, 2, 2, 3]) },
            link_over_service: rng.chance(500),
            interfaces: pick(rng, &[1, 1, 2]),
            groups: pick(rng, &[1, 1, 1, 2, 2, 3, 4, 6]),
            watchdog: rng.chance(400),
            fences: (nodes == 2 && method == TiebreakMethod::Fence) || rng.chance(200),
            plain: matches!(class, Class::Restart | Class::Crash),
            exclusive: rng.chance(500),
        }
    }

    /// For plans written by hand: plain, and the same every time.
    pub(crate) fn plain(nodes: usize, keepalive: u64, lease: u64) -> Self {
        Self {
            names: (0..nodes).map(node_name).collect(),
            arbiter: false,
            method: TiebreakMethod::Evidence,
            keepalive,
            lease,
            links: 1,
            link_over_service: false,
            interfaces: 1,
            groups: 1,
            watchdog: false,
            fences: false,
            plain: true,
            exclusive: false,
        }
    }
}

pub(crate) fn draw_config(shape: &Shape, rng: &mut Rng) -> Config {
    let last = shape.names.len() - 1;
    let node = |(place, name): (usize, &String)| {
        let arbiter = shape.arbiter && place == last;
        (NodeId::of(name), Node { name: name.clone(), arbiter })
    };
    let nodes: BTreeMap<NodeId, Node> = shape.names.iter().enumerate().map(node).collect();
    let links = (0..shape.links).map(|link| Link {
        name: format!("link{link}"),
        interface: format!("eth{link}"),
        port: 694,
        cast: Cast::Broadcast,
    });
    let warn = shape.keepalive + (shape.lease - shape.keepalive) / 2;
    let fence = Fence {
        name: "ipmi".to_owned(),
        agent: "fence_ipmilan".to_owned(),
        params: BTreeMap::new(),
        nodes: Vec::new(),
        delay: Span(rng.below(shape.lease / 2)),
    };
    let mut config = Config {
        cluster: "sim".to_owned(),
        keys: PathBuf::new(),
        timing: Timing {
            keepalive: Span(shape.keepalive),
            warntime: Span(warn),
            deadtime: Span(shape.lease),
            initdead: Span(shape.lease * (2 + rng.below(3))),
        },
        nodes,
        links: links.collect(),
        tiebreak: Tiebreak { method: shape.method, ping: Vec::new() },
        voters_before: None,
        lease: Enforcement::Kernel,
        watchdog: shape.watchdog.then(|| Watchdog {
            device: PathBuf::from("/dev/watchdog"),
            timeout: Span(shape.lease + rng.below(shape.lease * 2)),
        }),
        fences: if shape.fences { vec![fence] } else { Vec::new() },
        interfaces: (0..shape.interfaces)
            .map(|place| Interface { name: None, has_link: shape.link_over_service && place == 0 })
            .collect(),
        groups: BTreeMap::new(),
        notify: None,
        tracks: Vec::new(),
        respawns: Vec::new(),
        services: BTreeMap::new(),
        sync: None,
    };
    for place in 0..shape.groups {
        draw_group(&mut config, shape, place, rng);
    }
    config
}

/// Adds the group at this place; a clone adds several.
pub(crate) fn draw_group(config: &mut Config, shape: &Shape, place: usize, rng: &mut Rng) {
    let name = format!("g{place}");
    let owners: Vec<NodeId> =
        config.nodes.iter().filter(|(_, node)| !node.arbiter).map(|(id, _)| *id).collect();
    let pair = shape.names.len() == 2;
    let lease = shape.lease;
    // Evidence can be deceived: `check` refuses an exclusive group there.
    let by_evidence = pair && shape.method == TiebreakMethod::Evidence;
    let can_be_exclusive = !by_evidence && (!config.fences.is_empty() || config.watchdog.is_some());
    let exclusive = shape.exclusive && can_be_exclusive && rng.chance(500);
    let prefer = if rng.chance(700) { rotated(&owners, rng) } else { Vec::new() };
    let earlier: Vec<GroupId> =
        config.groups.iter().filter(|(_, group)| group.clone_of.is_none()).map(|(id, _)| *id).collect();
    let special = !shape.plain && !earlier.is_empty();
    let count = if shape.plain { 1 + rng.below(2) } else { 1 + rng.below(3) };
    let with = (special && rng.chance(150)).then(|| pick(rng, &earlier));
    let after = if special && rng.chance(150) { vec![pick(rng, &earlier)] } else { Vec::new() };
    let keeps_apart = special && with.is_none() && rng.chance(150);
    let apart = if keeps_apart { vec![pick(rng, &earlier)] } else { Vec::new() };
    let group = Group {
        name: name.clone(),
        prefer,
        only: Vec::new(),
        failback: !shape.plain && rng.chance(400),
        failback_delay: Span(if rng.chance(500) { 0 } else { rng.below(lease * 3) }),
        exclusive,
        promise: if !exclusive && !shape.plain && rng.chance(120) {
            Promise::AtLeastOne
        } else {
            Promise::AtMostOne
        },
        clone_of: None,
        with,
        after,
        apart,
        reach: if !shape.plain && rng.chance(100) {
            pick(rng, &[Reach::AtLeast(1), Reach::Best])
        } else {
            Reach::Any
        },
        failure_window: Span(lease * (2 + rng.below(5))),
        interfaces: vec![InterfaceId(u16::try_from(place % shape.interfaces.max(1)).unwrap_or(0))],
        resources: (0..count).map(|at| Arc::new(draw_resource(at, shape, exclusive, rng))).collect(),
    };
    let clones = !(shape.plain || by_evidence) && rng.chance(150);
    if clones && group.with.is_none() && group.apart.is_empty() {
        let count = pick(rng, &[2, 3, 4, 4, 6, 8]);
        let weights = if rng.chance(400) { draw_weights(&owners, rng) } else { BTreeMap::new() };
        let most = draw_most(count, rng);
        for index in 0..count {
            let name = format!("{name}:{index}");
            let instance = Instance::new(GroupId::of(&group.name), index, count);
            let instance = Instance { weights: weights.clone(), most, ..instance };
            config.groups.insert(
                GroupId::of(&name),
                Group { name, clone_of: Some(instance), prefer: Vec::new(), ..group.clone() },
            );
        }
    } else {
        if place.is_multiple_of(2) {
            servers::serve(config, &name);
        }
        config.groups.insert(GroupId::of(&name), group);
    }
}

fn draw_weights(owners: &[NodeId], rng: &mut Rng) -> BTreeMap<NodeId, u16> {
    let weigh = |owner: &NodeId| rng.chance(600).then(|| (*owner, pick(rng, &[2, 2, 3, 5])));
    owners.iter().filter_map(weigh).collect()
}

/// How many instances a node may have; often fewer than all nodes would need.
fn draw_most(count: u16, rng: &mut Rng) -> Option<u16> {
    let most = 1 + u16::try_from(rng.below(u64::from(count))).unwrap_or(0);
    rng.chance(500).then_some(most)
}

/// Every instance of a clone shall be shared out otherwise.
fn change_shares(config: &mut Config, rng: &mut Rng) {
    let owners: Vec<NodeId> =
        config.nodes.iter().filter(|(_, node)| !node.arbiter).map(|(id, _)| *id).collect();
    let (seed, all) = (rng.next_u64(), config.groups.values_mut());
    for of in all.filter_map(|group| group.clone_of.as_mut()) {
        // The same for all instances of one clone.
        let mut rng = Rng::new(seed ^ u64::from(of.group.0));
        of.most = draw_most(of.count, &mut rng);
        of.weights = draw_weights(&owners, &mut rng);
    }
}

fn rotated(owners: &[NodeId], rng: &mut Rng) -> Vec<NodeId> {
    let mut order = owners.to_vec();
    let turn = usize::try_from(rng.below(owners.len() as u64)).unwrap_or(0);
    order.rotate_left(turn);
    order
}

fn draw_resource(at: u64, shape: &Shape, exclusive: bool, rng: &mut Rng) -> Resource {
    let lease = shape.lease;
    let warm = at > 0 && !exclusive && !shape.plain && rng.chance(250);
    let monitor = Monitor {
        every: Span(lease / 2 + rng.below(lease * 2)),
        timeout: Some(Span(lease / 2)),
        restarts: u32::try_from(rng.below(3)).unwrap_or(0),
    };
    Resource {
        name: format!("r{at}"),
        agent: if at == 0 { "vip" } else { "service" }.to_owned(),
        args: Vec::new(),
        params: BTreeMap::new(),
        warm,
        monitor: rng.chance(700).then_some(monitor),
        start_delay: None,
        start_timeout: Some(Span(lease)),
        stop_timeout: Some(Span(lease)),
    }
}

/// Deadtimes and what hangs on them become `by / of` of what they were.
pub(crate) fn rescale(config: &mut Config, by: u64, of: u64) {
    let timing = &mut config.timing;
    let deadtime = (timing.deadtime * by / of).max(timing.keepalive * 3);
    timing.deadtime = deadtime;
    timing.warntime = timing.keepalive + (deadtime - timing.keepalive) / 2;
    timing.initdead = deadtime * 2;
}

/// A group goes, another comes, and one changes.
pub(crate) fn change_groups(config: &mut Config, shape: &Shape, rng: &mut Rng) {
    if config.groups.len() > 1 {
        let groups: Vec<GroupId> = config.groups.keys().copied().collect();
        let gone = pick(rng, &groups);
        let needed = config.groups.values().any(|group| {
            let names = group.with.iter().chain(&group.after).chain(&group.apart).any(|other| *other == gone);
            names || group.clone_of.is_some()
        });
        if !needed {
            config.groups.remove(&gone);
            config.services.retain(|_, service| service.group != Some(gone));
        }
    }
    if rng.chance(500) {
        change_shares(config, rng);
    }
    draw_group(config, shape, 7, rng);
    if let Some(group) = config.groups.values_mut().next() {
        group.failback = !group.failback;
        if rng.chance(500) {
            group.resources.push(Arc::new(draw_resource(9, shape, group.exclusive, rng)));
        }
    }
}
