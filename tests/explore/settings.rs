//! The worlds that are searched. Timings are chosen so that few moments differ and every limit still counts: two lost
//! beats are a deadtime, the margin of a lease is a twelfth of a keepalive, initdead is a little longer than deadtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole::cluster::Mutant;
use systole::config::{
    Cast, Config, Enforcement, Fence, Group, Interface, Link, Node, Promise, Reach, Resource, Tiebreak,
    TiebreakMethod, Timing, Watchdog,
};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{GroupId, InterfaceId, NodeId};

use crate::world::{Faults, Setting};

const DEADTIME_MS: u64 = 250;

/// Everything that cannot deceive the evidence of a pair.
const SERVICE: Faults = Faults {
    lose: false,
    delay: false,
    links: false,
    part: false,
    cable: true,
    target: true,
    crash: true,
    kill: true,
    pause: true,
    agents: true,
    fence: false,
};

/// Everything that can happen where heartbeats have a network of their own.
const ALL: Faults = Faults { lose: true, delay: true, links: true, ..SERVICE };

/// Where no cable and no target is asked.
const VOTES: Faults = Faults { cable: false, target: false, ..ALL };

/// All settings; `mutant` makes every core make one mistake.
pub(crate) fn all(mutant: Option<Mutant>) -> Vec<Arc<Setting>> {
    let pair = ["a", "b"];
    let three = ["a", "b", "c"];
    let mut settings = Vec::new();
    let mut add = |name, config: Config, faults, slow| {
        settings.push(Arc::new(Setting { mutant, ..setting(name, config, faults, slow) }));
    };
    add("pair-shared-cable", config(&pair, &[], |c| c.interfaces[0].has_link = true), SERVICE, None);
    add("pair-own-network", config(&pair, &[], failback), ALL, None);
    add("pair-fence", config(&pair, &[], fence), Faults { fence: true, ..VOTES }, None);
    add("pair-at-least-one", config(&pair, &[], at_least_one), ALL, None);
    add("pair-and-arbiter", config(&three, &["c"], failback), VOTES, None);
    add(
        "pair-and-arbiter-skewed",
        config(&three, &["c"], |_| ()),
        Faults { agents: false, ..VOTES },
        Some(0),
    );
    add("three-nodes", config(&three, &[], |_| ()), VOTES, None);
    add("exclusive-with-watchdog", config(&three, &["c"], exclusive), VOTES, None);
    // Few powers, so that more of each fit: a group that goes back to where it failed, by a stop that takes a moment; and
    // voters that forget.
    let few = Faults { part: true, ..Faults::default() };
    let handing_over =
        setting("handing-over", config(&three, &["c"], failback), Faults { agents: true, ..few }, None);
    settings.push(Arc::new(Setting { mutant, slow_stops: true, ..handing_over }));
    let forgetting =
        setting("forgetting", config(&three, &["c"], prefer_second), Faults { kill: true, ..few }, None);
    settings.push(Arc::new(Setting { mutant, ..forgetting }));
    settings
}

fn failback(config: &mut Config) {
    config.groups.values_mut().for_each(|group| group.failback = true);
}

/// Beats of the first node are read first: here that is not the holder's.
fn prefer_second(config: &mut Config) {
    config.groups.values_mut().for_each(|group| group.prefer = vec![NodeId::of("b")]);
}

fn at_least_one(config: &mut Config) {
    config.groups.values_mut().for_each(|group| group.promise = Promise::AtLeastOne);
}

fn exclusive(config: &mut Config) {
    config.watchdog = Some(Watchdog { device: "/dev/watchdog".into(), timeout: Span::millis(200) });
    config.groups.values_mut().for_each(|group| group.exclusive = true);
}

fn fence(config: &mut Config) {
    config.tiebreak.method = TiebreakMethod::Fence;
    config.fences.push(Fence {
        name: "power".into(),
        agent: "power".into(),
        params: BTreeMap::new(),
        nodes: Vec::new(),
        delay: Span::millis(100),
    });
}

/// A setting; with `slow`, that machine's clock is slower than the others' by as much as the margin of a lease allows.
fn setting(name: &'static str, config: Config, faults: Faults, slow: Option<usize>) -> Setting {
    let nodes: Vec<NodeId> = ["a", "b", "c"].map(NodeId::of)[..config.nodes.len()].to_vec();
    let normal = if slow.is_some() { 4_000 } else { 1_000 };
    let margin = systole::cluster::margin(config.timing.deadtime).as_micros();
    let behind = normal - normal * margin / config.timing.deadtime.as_micros();
    let rates = (0..nodes.len()).map(|at| if Some(at) == slow { behind } else { normal }).collect();
    let seeds = (1..).take(nodes.len()).map(|place| seed(place * 130, config.timing.deadtime * 2)).collect();
    Setting { name, config: Arc::new(config), nodes, rates, faults, mutant: None, slow_stops: false, seeds }
}

/// A seed whose first span up to `longest` is so many milliseconds exactly: odd times would multiply the states.
fn seed(millis: u64, longest: Span) -> u64 {
    let wanted = Span::millis(millis);
    (0..u64::MAX).find(|seed| Rng::new(*seed).span(Span::ZERO, longest) == wanted).unwrap_or_default()
}

fn config(names: &[&str], arbiters: &[&str], change: impl FnOnce(&mut Config)) -> Config {
    let node =
        |name: &&str| (NodeId::of(name), Node { name: (*name).to_owned(), arbiter: arbiters.contains(name) });
    let mut config = Config {
        cluster: "small".into(),
        keys: "keys".into(),
        timing: Timing {
            keepalive: Span::millis(100),
            warntime: Span::millis(150),
            deadtime: Span::millis(DEADTIME_MS),
            initdead: Span::millis(300),
        },
        nodes: names.iter().map(node).collect(),
        links: vec![Link {
            name: "beats".into(),
            interface: "eth1".into(),
            port: 694,
            cast: Cast::Broadcast,
        }],
        tiebreak: Tiebreak {
            method: TiebreakMethod::Evidence,
            ping: vec![vec![std::net::IpAddr::from([192, 0, 2, 1])]],
        },
        voters_before: None,
        lease: Enforcement::Kernel,
        watchdog: None,
        fences: Vec::new(),
        interfaces: vec![Interface { name: Some("eth0".into()), has_link: false }],
        groups: BTreeMap::from([(GroupId::of("web"), group())]),
        notify: None,
        tracks: Vec::new(),
        respawns: Vec::new(),
        services: BTreeMap::new(),
        sync: None,
    };
    change(&mut config);
    config
}

fn group() -> Group {
    Group {
        name: "web".into(),
        prefer: vec![NodeId::of("a")],
        only: Vec::new(),
        failback: false,
        failback_delay: Span::ZERO,
        exclusive: false,
        promise: Promise::AtMostOne,
        clone_of: None,
        with: None,
        after: Vec::new(),
        apart: Vec::new(),
        reach: Reach::Any,
        failure_window: Span::millis(500),
        interfaces: vec![InterfaceId(0)],
        resources: vec![Arc::new(Resource {
            name: "address".into(),
            agent: "vip".into(),
            args: vec!["192.0.2.10".into()],
            params: BTreeMap::new(),
            warm: false,
            monitor: None,
            start_delay: None,
            start_timeout: None,
            stop_timeout: None,
        })],
    }
}
