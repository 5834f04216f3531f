//! A world and what happens to it, drawn from a seed.

use std::sync::Arc;

use systole::beat::ServerWish;
use systole::cluster::{Action, Command};
use systole::config::{Config, TiebreakMethod};
use systole::rng::Rng;
use systole::types::{InterfaceId, NodeId, ServersId};

use crate::agents::AgentEnd;
use crate::cluster::{Shape, draw_config};
use crate::faults::{Op, Way, Who};
use crate::network::Mask;
use crate::node::MemoryFate;

/// What kind of run it is, and so what is demanded of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Everything may go wrong; then it heals.
    Chaos,
    /// Nothing goes wrong, and nothing may move.
    Calm,
    /// A fifth of all datagrams is lost, and nothing may move.
    Lossy,
    /// The machine of a holder dies, and nothing else.
    Crash,
    /// A standby, an arbiter, or a daemon with its memory restarts: nothing may be interrupted.
    Restart,
    /// One fault: nothing may move twice.
    Single,
    /// Faults that stay, with a connected majority: every group must be held there.
    Persistent,
}

/// A machine to be.
#[derive(Clone, Debug)]
pub(crate) struct MachinePlan {
    pub(crate) name: String,
    pub(crate) arbiter: bool,
    pub(crate) boot_ppm: i64,
    pub(crate) raw_ppm: i64,
    /// True time at which its daemon starts first; `None`: it is off at first.
    pub(crate) starts: Option<u64>,
    /// The place of its first configuration.
    pub(crate) config: usize,
}

/// A whole run, as planned.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) class: Class,
    pub(crate) machines: Vec<MachinePlan>,
    pub(crate) configs: Vec<Arc<Config>>,
    /// Loaded one after the other on every node in the end.
    pub(crate) last_configs: Vec<usize>,
    pub(crate) over: Vec<Option<InterfaceId>>,
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    pub(crate) attacker: bool,
    pub(crate) agents_slow: u64,
    pub(crate) restart_delay: u64,
    /// Whether faults wait until every group is held.
    pub(crate) settles: bool,
    /// True times after the settling.
    pub(crate) ops: Vec<(u64, Op)>,
    /// How long faults last, after the settling.
    pub(crate) length: u64,
    /// Of a persistent plan: the machines that must hold everything.
    pub(crate) side: Mask,
    /// Of a persistent plan: how soon they must; `None`: within the bound.
    pub(crate) limit: Option<u64>,
}

/// The greatest deviation of a clock from true time, in millionths: two clocks differ by at most 1 %.
pub(crate) const PPM: i64 = 4_950;

impl Plan {
    pub(crate) fn lease(&self) -> u64 {
        self.configs[0].timing.deadtime.as_micros()
    }
}

fn ppm(rng: &mut Rng) -> i64 {
    let size = PPM.unsigned_abs();
    match rng.below(4) {
        0 => PPM,
        1 => -PPM,
        2 => 0,
        _ => i64::try_from(rng.below(2 * size + 1)).unwrap_or(0) - PPM,
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).unwrap_or(0)]
}

/// The general draw.
pub(crate) fn draw(seed: u64) -> Plan {
    let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x0d1a_57e0);
    let class = match rng.below(100) {
        0..58 => Class::Chaos,
        58..63 => Class::Calm,
        63..68 => Class::Lossy,
        68..77 => Class::Crash,
        77..84 => Class::Restart,
        84..93 => Class::Single,
        _ => Class::Persistent,
    };
    draw_class(seed, class, &mut rng)
}

pub(crate) fn draw_class(seed: u64, class: Class, rng: &mut Rng) -> Plan {
    let shape = Shape::draw(rng, class);
    let mut plan = lay_out(seed, class, &shape, rng);
    plan.attacker = class == Class::Chaos && rng.chance(300);
    match class {
        Class::Chaos => {
            plan.settles = rng.chance(700);
            plan.length = plan.lease() * (10 + rng.below(25));
            draw_reload(&mut plan, &shape, rng);
            draw_chaos(&mut plan, rng);
        }
        Class::Calm | Class::Lossy => plan.length = plan.lease() * 30,
        Class::Crash => {
            let group = usize::try_from(rng.below(6)).unwrap_or(0);
            plan.ops.push((plan.lease() * 2 + rng.below(plan.lease()), off(Who::Holder(group))));
            plan.length = plan.lease() * 8;
        }
        Class::Restart => draw_restart(&mut plan, rng),
        Class::Single => draw_single(&mut plan, rng),
        Class::Persistent => draw_persistent(&mut plan, rng),
    }
    plan.ops.sort_by_key(|(at, _)| *at);
    plan
}

fn off(who: Who) -> Op {
    Op::Off { who, after: 0, ghosts: false }
}

/// Machines, clocks and networks of a plan without faults.
pub(crate) fn lay_out(seed: u64, class: Class, shape: &Shape, rng: &mut Rng) -> Plan {
    let config = draw_config(shape, rng);
    let calm = class != Class::Chaos;
    let spread = if calm { 20_000 } else { config.timing.deadtime.as_micros() };
    let machines = shape
        .names
        .iter()
        .enumerate()
        .map(|(place, name)| MachinePlan {
            name: name.clone(),
            arbiter: shape.arbiter && place + 1 == shape.names.len(),
            boot_ppm: ppm(rng),
            raw_ppm: ppm(rng),
            starts: Some(rng.below(spread)),
            config: 0,
        })
        .collect();
    let shares = |place: usize| (shape.link_over_service && place == 0).then_some(InterfaceId(0));
    Plan {
        seed,
        class,
        machines,
        configs: vec![Arc::new(config)],
        last_configs: Vec::new(),
        over: (0..shape.links).map(shares).collect(),
        delay: 50 + rng.below(250),
        jitter: rng.below(300),
        attacker: false,
        agents_slow: if rng.chance(300) { shape.lease / 4 } else { 0 },
        restart_delay: 5_000 + rng.below(shape.lease / 10),
        settles: true,
        ops: Vec::new(),
        length: 0,
        side: Mask::MAX,
        limit: None,
    }
}

/// Sometimes operators change the configuration, node by node.
fn draw_reload(plan: &mut Plan, shape: &Shape, rng: &mut Rng) {
    let nodes = plan.machines.len();
    let at = rng.below(plan.length / 2 + 1);
    let pause = plan.lease();
    match rng.below(10) {
        0 => {
            let mut config = (*plan.configs[0]).clone();
            crate::cluster::rescale(&mut config, 2 + rng.below(5), 4);
            load(plan, config, at, pause, nodes, rng);
        }
        1 => {
            let mut config = (*plan.configs[0]).clone();
            crate::cluster::change_groups(&mut config, shape, rng);
            load(plan, config, at, pause, nodes, rng);
        }
        2 if nodes < 8 => draw_new_voter(plan, at, rng),
        3 if nodes > 2 => draw_voter_gone(plan, at, rng),
        _ => {}
    }
}

/// One more configuration, loaded everywhere in random order, and left in place.
fn load(plan: &mut Plan, config: Config, at: u64, pause: u64, nodes: usize, rng: &mut Rng) {
    plan.configs.push(Arc::new(config));
    let place = plan.configs.len() - 1;
    plan.last_configs = vec![place];
    load_at(plan, place, at, pause, nodes, rng);
}

pub(crate) fn load_at(plan: &mut Plan, config: usize, at: u64, pause: u64, nodes: usize, rng: &mut Rng) {
    for node in 0..nodes {
        let when = at + rng.below(pause * 2);
        plan.ops.push((when, Op::Configure { who: Who::Node(node), config }));
    }
}

/// A node more: first both sets count, then the new one alone.
pub(crate) fn draw_new_voter(plan: &mut Plan, at: u64, rng: &mut Rng) {
    let old = (*plan.configs[0]).clone();
    let name = "n".to_owned();
    let mut joint = old.clone();
    joint
        .nodes
        .insert(NodeId::of(&name), systole::config::Node { name: name.clone(), arbiter: rng.chance(500) });
    let arbiter = joint.nodes[&NodeId::of(&name)].arbiter;
    plan.machines.push(MachinePlan {
        name,
        arbiter,
        boot_ppm: ppm(rng),
        raw_ppm: ppm(rng),
        starts: None,
        config: 1,
    });
    let node = plan.machines.len() - 1;
    plan.ops.push((at + rng.below(plan.lease()), Op::PowerOn { node }));
    two_steps(plan, &old, joint, at, rng);
}

/// A node less.
pub(crate) fn draw_voter_gone(plan: &mut Plan, at: u64, rng: &mut Rng) {
    let old = (*plan.configs[0]).clone();
    let mut joint = old.clone();
    let gone = plan.machines.last().map(|machine| NodeId::of(&machine.name));
    if let Some(gone) = gone {
        joint.nodes.remove(&gone);
        for group in joint.groups.values_mut() {
            group.prefer.retain(|node| *node != gone);
            group.only.retain(|node| *node != gone);
        }
    }
    two_steps(plan, &old, joint, at, rng);
}

fn two_steps(plan: &mut Plan, old: &Config, mut joint: Config, at: u64, rng: &mut Rng) {
    let alone = joint.clone();
    joint.voters_before = Some(systole::config::VotersBefore {
        nodes: old.nodes.keys().copied().collect(),
        method: old.tiebreak.method,
    });
    plan.configs.extend([Arc::new(joint), Arc::new(alone)]);
    plan.last_configs = vec![1, 2];
    let (pause, nodes) = (plan.lease(), plan.machines.len());
    load_at(plan, 1, at, pause, nodes, rng);
    load_at(plan, 2, at + plan.lease() * (2 + rng.below(4)), pause, nodes, rng);
}

fn any_node(plan: &Plan, rng: &mut Rng) -> Who {
    let group = usize::try_from(rng.below(6)).unwrap_or(0);
    match rng.below(10) {
        0..4 => Who::Holder(group),
        4 => Who::Other(group),
        _ => Who::Node(usize::try_from(rng.below(plan.machines.len() as u64)).unwrap_or(0)),
    }
}

fn draw_chaos(plan: &mut Plan, rng: &mut Rng) {
    let count = 2 + rng.below(9);
    for _ in 0..count {
        let at = rng.below(plan.length);
        let op = draw_fault(plan, rng);
        plan.ops.push((at, op));
    }
}

/// Mostly around a lease; sometimes short, sometimes long, sometimes until healing.
fn lasting(plan: &Plan, rng: &mut Rng) -> u64 {
    let lease = plan.lease();
    match rng.below(10) {
        0 => 0,
        1..4 => 1_000 + rng.below(lease),
        4..8 => lease * 3 / 4 + rng.below(lease * 3 / 2),
        _ => rng.below(lease * 8) + 1_000,
    }
}

pub(crate) fn draw_fault(plan: &Plan, rng: &mut Rng) -> Op {
    match rng.below(100) {
        0..26 => draw_network_fault(plan, rng),
        26..34 => draw_service_fault(plan, rng),
        34..72 => draw_machine_fault(plan, rng),
        _ => draw_other_fault(plan, rng),
    }
}

fn draw_network_fault(plan: &Plan, rng: &mut Rng) -> Op {
    let length = lasting(plan, rng);
    let who = any_node(plan, rng);
    let way = pick(rng, &[Way::Both, Way::Both, Way::Out, Way::In]);
    let nodes = plan.machines.len();
    let some_node = |rng: &mut Rng| usize::try_from(rng.below(nodes as u64)).unwrap_or(0);
    let a_link = |rng: &mut Rng| u16::try_from(rng.below(plan.over.len() as u64)).unwrap_or(0);
    match rng.below(12) {
        0..4 => Op::Cut { who, way, link: None, flap: 0, length },
        4 => Op::Cut { who, way, link: Some(a_link(rng)), flap: 0, length },
        5 => Op::Cut { who, way, link: None, flap: 5_000 + rng.below(plan.lease() * 2), length },
        6..8 => {
            let side = Mask::try_from(rng.below(1 << nodes)).unwrap_or(1);
            Op::Split { side, way, link: None, length }
        }
        8 => Op::CutPair { a: some_node(rng), b: some_node(rng), one_way: rng.chance(500), length },
        9 => Op::Noise { loss: 50 + rng.below(500), duplication: rng.below(300), extra: 0, length },
        10 => Op::Noise { loss: 0, duplication: rng.below(500), extra: rng.below(plan.lease()), length },
        _ => Op::Replay { to: who, count: 1 + rng.below(40) },
    }
}

fn draw_service_fault(plan: &Plan, rng: &mut Rng) -> Op {
    let length = lasting(plan, rng);
    let interfaces = plan.configs[0].interfaces.len() as u64;
    let interface = u16::try_from(rng.below(interfaces.max(1))).unwrap_or(0);
    if on_evidence(&plan.configs[0]) && rng.chance(500) {
        let swapped = rng.chance(400);
        let draw = if swapped { draw_swapped_cables } else { draw_loose_cable };
        return draw(plan, interface, rng);
    }
    match rng.below(10) {
        0..6 => Op::Cable { who: any_node(plan, rng), interface, cut: rng.chance(500), length },
        6..8 => Op::TargetDown { length },
        8 => Op::ServiceSplit { length },
        _ => Op::EvidenceLoss { loss: 100 + rng.below(900), length },
    }
}

pub(crate) fn on_evidence(config: &Config) -> bool {
    config.nodes.len() == 2 && config.tiebreak.method == TiebreakMethod::Evidence
}

fn draw_swapped_cables(plan: &Plan, interface: u16, rng: &mut Rng) -> Op {
    let lease = plan.lease();
    let (cut, sooner, later) = (rng.below(lease * 3), rng.below(lease / 5), rng.below(lease / 5));
    let length = lease + rng.below(lease * 2);
    Op::SwappedCables { who: any_node(plan, rng), interface, cut, sooner, later, length }
}

/// Cut until its holder has nearly given up, and whole for too short to be sure of a beat.
fn draw_loose_cable(plan: &Plan, interface: u16, rng: &mut Rng) -> Op {
    let keepalive = plan.configs[0].timing.keepalive.as_micros();
    let cut = keepalive + rng.below(plan.lease());
    let whole = 200 + rng.below(keepalive * 3 / 2);
    let length = plan.lease() + rng.below(plan.lease() * 2);
    Op::LooseCable { who: any_node(plan, rng), interface, cut, whole, length, keeps: rng.chance(700) }
}

fn draw_machine_fault(plan: &Plan, rng: &mut Rng) -> Op {
    let length = lasting(plan, rng);
    let who = any_node(plan, rng);
    let lease = plan.lease();
    let fate = pick(rng, &[MemoryFate::Kept, MemoryFate::Kept, MemoryFate::Lost, MemoryFate::Damaged]);
    let soon = plan.restart_delay;
    match rng.below(16) {
        0..3 => Op::Kill { who, mid: 0, fate, after: soon },
        3 => Op::Kill { who, mid: 0, fate, after: rng.below(lease * 4) },
        4..6 => {
            let mid = u32::try_from(1 + rng.below(12)).unwrap_or(1);
            Op::Kill { who, mid, fate, after: soon }
        }
        6..9 => Op::Off { who, after: 10_000 + rng.below(lease * 3), ghosts: rng.chance(200) },
        9 => Op::Off { who, after: 0, ghosts: false },
        10..12 => Op::Hang { who, length },
        12..14 => Op::Pause { who, length, jumps: rng.chance(500), queues: rng.chance(500) },
        14 if plan.configs[0].watchdog.is_some() && rng.chance(500) => {
            Op::BreakWatchdog { who, disarms: rng.chance(300), length }
        }
        14 => Op::SlowCommits { who, length },
        _ => Op::LateTimers { who, extra: rng.below(lease), length },
    }
}

fn draw_other_fault(plan: &Plan, rng: &mut Rng) -> Op {
    let length = lasting(plan, rng);
    let who = any_node(plan, rng);
    let group = usize::try_from(rng.below(6)).unwrap_or(0);
    match rng.below(18) {
        0..5 => {
            let action = pick(rng, &[Action::Start, Action::Start, Action::Stop, Action::Monitor]);
            let end = pick(rng, &[AgentEnd::Fails, AgentEnd::TimesOut]);
            Op::Agent { who, group, resource: u16::try_from(rng.below(3)).unwrap_or(0), action, end, length }
        }
        5..7 => Op::Dies { group },
        7 => Op::Leave { who, after: 1_000 + rng.below(plan.lease() * 2) },
        8 => Op::Flush { who },
        9 => Op::Unhealthy { who, group, length },
        10..12 => {
            let percent = pick(rng, &[30, 50, 70, 100]);
            Op::Servers { group, percent, of: rng.chance(600).then_some(who), length }
        }
        _ => draw_command(plan, who, rng),
    }
}

fn draw_command(plan: &Plan, who: Who, rng: &mut Rng) -> Op {
    let config = &plan.configs[0];
    let nodes: Vec<NodeId> = config.nodes.keys().copied().collect();
    let groups: Vec<_> = config.groups.keys().copied().collect();
    let (node, group) = (pick(rng, &nodes), pick(rng, &groups));
    let command = match rng.below(17) {
        0..4 => Command::Standby { node },
        4..6 => Command::Online { node },
        6..8 => Command::Takeover { group },
        8..10 => Command::Move { group, node },
        10 => Command::Avoid { group, node },
        11 => Command::Unmove { group },
        12 => Command::Maintenance { on: rng.chance(500), group: rng.chance(500).then_some(group) },
        13 => Command::Cleanup { group },
        _ => {
            let servers = ServersId(rng.below(3));
            match pick(
                rng,
                &[None, Some(ServerWish::Drain), Some(ServerWish::Weight(3)), Some(ServerWish::Weight(5))],
            ) {
                Some(wish) => Command::OrderServers { servers, wish },
                None => Command::FreeServers { servers: vec![servers], wider: vec![ServersId(rng.below(3))] },
            }
        }
    };
    Op::Command { who, command }
}

fn draw_restart(plan: &mut Plan, rng: &mut Rng) {
    let at = plan.lease() * 2 + rng.below(plan.lease());
    plan.length = plan.lease() * 8;
    let after = plan.restart_delay;
    let fate = pick(rng, &[MemoryFate::Kept, MemoryFate::Lost]);
    let arbiter = plan.machines.iter().position(|machine| machine.arbiter);
    // Where two of three or more votes stay, a standby and an arbiter may forget everything.
    let op = match (rng.below(3), arbiter) {
        (0, Some(arbiter)) => Op::Kill { who: Who::Node(arbiter), mid: 0, fate, after },
        (1, _) if plan.configs[0].groups.len() == 1 && plan.machines.len() > 2 => {
            Op::Off { who: Who::Other(0), after: after * 3, ghosts: false }
        }
        _ => {
            let who = Who::Node(usize::try_from(rng.below(plan.machines.len() as u64)).unwrap_or(0));
            Op::Kill { who, mid: 0, fate: MemoryFate::Kept, after }
        }
    };
    plan.ops.push((at, op));
}

fn draw_single(plan: &mut Plan, rng: &mut Rng) {
    let lease = plan.lease();
    let group = usize::try_from(rng.below(6)).unwrap_or(0);
    let who = Who::Holder(group);
    let length = lease * 2 + rng.below(lease * 4);
    plan.length = lease * 12;
    let pair = plan.machines.len() == 2;
    let op = match rng.below(8) {
        0 => Op::Off { who, after: length, ghosts: false },
        1 => Op::Hang { who, length },
        2 => Op::Pause { who, length, jumps: rng.chance(500), queues: rng.chance(500) },
        3 if !pair => Op::Cut { who, way: Way::Both, link: None, flap: 0, length },
        4 => Op::Cable { who, interface: 0, cut: false, length },
        5 => Op::Kill { who, mid: 0, fate: MemoryFate::Lost, after: plan.restart_delay },
        6 => Op::Dies { group },
        _ => Op::Kill { who, mid: 0, fate: MemoryFate::Kept, after: length },
    };
    plan.ops.push((lease * 2 + rng.below(lease), op));
}

/// A minority goes for ever, one way or another, and a link besides.
fn draw_persistent(plan: &mut Plan, rng: &mut Rng) {
    let nodes = plan.machines.len();
    plan.length = plan.lease() * 4;
    let lost = (nodes - 1) / 2;
    let at = plan.lease() + rng.below(plan.lease());
    let first = usize::try_from(rng.below(nodes as u64)).unwrap_or(0);
    let mut side: Mask = 0;
    for place in (0..lost).map(|place| (first + place) % nodes) {
        side |= 1 << place;
    }
    let able = |place: usize| side & (1 << place) == 0 && !plan.machines[place].arbiter;
    if (0..nodes).filter(|place| able(*place)).count() == 0 {
        side = 0;
    }
    plan.side = !side;
    if plan.over.len() > 1 && rng.chance(500) {
        plan.ops.push((at, Op::Split { side: 1, way: Way::Both, link: Some(0), length: 0 }));
    }
    match rng.below(4) {
        0 => {
            let gone = (0..nodes).filter(|place| side & (1 << place) != 0);
            plan.ops.extend(gone.map(|place| (at, off(Who::Node(place)))));
        }
        1 => plan.ops.push((at, Op::Split { side, way: Way::Both, link: None, length: 0 })),
        2 => plan.ops.push((at, Op::Split { side, way: Way::Out, link: None, length: 0 })),
        _ => plan.ops.push((at, Op::Split { side, way: Way::In, link: None, length: 0 })),
    }
}

/// Whether a lone survivor of this plan's pair can go on.
pub(crate) fn survives_alone(config: &Config) -> bool {
    config.nodes.len() > 2 || config.tiebreak.method != TiebreakMethod::None
}
