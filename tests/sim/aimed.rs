//! Worlds aimed at one rule each, where chance alone is too slow. Each is a short story that goes wrong only if the rule
//! is broken; times are drawn, so that some tries hit the moment. All of them must be clean on the true core.

use std::sync::Arc;

use systole::cluster::{Action, Command, Mutant};
use systole::config::{Config, Group, Instance, Monitor, Promise};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{GroupId, InterfaceId, NodeId};

use crate::agents::AgentEnd;
use crate::cluster::{Shape, node_name};
use crate::draw::{Class, MachinePlan, PPM, Plan, draw_class, lay_out};
use crate::faults::{Moment, Op, Way, Who};
use crate::node::MemoryFate;

/// A world in which the rule that this mutant breaks has to hold.
pub(crate) fn draw(mutant: Mutant, seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ ((mutant as u64) << 32) ^ 0xa13e_d000);
    let rng = &mut rng;
    let mut plan = match mutant {
        Mutant::NoHoldOff => forgetful_voter(seed, rng),
        Mutant::HoldOffForgetsLongerLeases => forgetful_voter_of_a_longer_lease(seed, rng),
        Mutant::HoldOffExceptionWithoutHearing => replay(seed, rng, Reborn::Machine),
        Mutant::UnprovenBeatChangesState => replay(seed, rng, Reborn::Daemon),
        Mutant::OldBeatChangesState => replay(seed, rng, Reborn::Not),
        Mutant::ClaimantCountsItselfAlways => claimant_without_its_own_vote(seed, rng),
        Mutant::GrantShownBeforeCommitted | Mutant::MemoryWrittenAfterBeat => {
            voter_dies_while_granting(seed, rng)
        }
        Mutant::ElementBeforeMemory => winner_dies_while_winning(seed, rng),
        Mutant::VoterUsesOwnLease => longer_lease(seed, rng),
        Mutant::WordShortened => shortened_lease(seed, rng),
        Mutant::NoMargin => clocks_apart(seed, rng),
        Mutant::ReleasedBeforeElementDropped => slow_hand_overs(seed, rng),
        Mutant::RenewalForDeafPeer => deaf_and_slow_to_notice(seed, rng),
        Mutant::ReleaseToNonClaimant => heir_that_does_not_know(seed, rng),
        Mutant::VotersChangedInOneStep => one_step(seed, rng),
        Mutant::SecondStepTooSoon => second_step(seed, rng),
        Mutant::NoSelfSuspicion => hung_standby(seed, rng),
        Mutant::StaleProofOfClear => stale_proof(seed, rng),
        Mutant::KeepsOnStaleEvidence => silent_cable(seed, rng),
        Mutant::EvidenceWindowCutShort => swapped_cables(seed, rng),
        Mutant::LateAnswerCounts => loose_cable(seed, true, rng),
        Mutant::LostBeatCounts => loose_cable(seed, false, rng),
        Mutant::RestartsUnseenAddress => unseen_address(seed, rng),
        Mutant::ClaimWithoutNewEpoch => claims_again(seed, rng),
        Mutant::ForgetsFailures => preferred_node_fails(seed, rng),
        Mutant::WatchdogWaitsOnce => hung_and_killed(seed, rng),
        Mutant::HoldsUnguarded => hung_without_watchdog(seed, rng),
        Mutant::TrustsUnguarded => slow_stop_without_watchdog(seed, rng),
        Mutant::ClaimsBeyondMost => room_to_be(seed, rng),
        Mutant::KeepsBeyondMost => less_room(seed, rng),
        Mutant::WeightsIgnored => weighed(seed, rng),
        Mutant::ReturnsAtOnce => comes_back(seed, rng),
        Mutant::YieldsUndamped => servers_die(seed, rng),
        _ => draw_class(seed, Class::Chaos, rng),
    };
    plan.ops.sort_by_key(|(at, _)| *at);
    plan
}

const WEB: usize = 0;

fn node(place: usize) -> Who {
    Who::Node(place)
}

/// One group `g0` that prefers the nodes in order; one link; nothing is drawn but times.
fn bench(seed: u64, nodes: usize, lease: u64, rng: &mut Rng) -> Plan {
    let shape = Shape::plain(nodes, lease / 6, lease);
    let mut plan = lay_out(seed, Class::Chaos, &shape, rng);
    plan.agents_slow = 0;
    plan.length = lease * 8;
    plan.restart_delay = 5_000;
    let names: Vec<NodeId> = plan.machines.iter().map(|machine| NodeId::of(&machine.name)).collect();
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.prefer.clone_from(&names);
        }
    });
    plan
}

/// Changes the first configuration.
fn tweak(plan: &mut Plan, change: impl FnOnce(&mut Config)) {
    let mut config = (*plan.configs[0]).clone();
    change(&mut config);
    plan.configs[0] = Arc::new(config);
}

/// One more configuration, made from the first.
fn another(plan: &mut Plan, change: impl FnOnce(&mut Config)) -> usize {
    let mut config = (*plan.configs[0]).clone();
    change(&mut config);
    plan.configs.push(Arc::new(config));
    plan.last_configs = vec![0];
    plan.configs.len() - 1
}

fn lengthen(config: &mut Config, times: u64) {
    let timing = &mut config.timing;
    timing.deadtime = timing.deadtime * times;
    timing.warntime = timing.deadtime / 2;
    timing.initdead = timing.deadtime * 2;
}

fn cut_off(place: usize) -> Op {
    Op::Cut { who: node(place), way: Way::Both, link: None, flap: 0, length: 0 }
}

fn apart(a: usize, b: usize) -> Op {
    Op::CutPair { a, b, one_way: false, length: 0 }
}

fn order(at: usize, command: Command) -> Op {
    Op::Command { who: node(at), command }
}

fn slow_stop(place: usize) -> Op {
    Op::Agent {
        who: node(place),
        group: WEB,
        resource: 0,
        action: Action::Stop,
        end: AgentEnd::TimesOut,
        length: 0,
    }
}

fn a_lease(rng: &mut Rng) -> u64 {
    200_000 + rng.below(800_000)
}

/// a holds by the votes of a and c, b hears only c. a is cut off and c reboots: c must not give b what a still has.
fn forgetful_voter(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let at = lease * 3 + rng.below(lease);
    plan.ops.push((lease, apart(0, 1)));
    plan.ops.push((at, cut_off(0)));
    plan.ops.push((
        at + rng.below(20_000),
        Op::Off { who: node(2), after: 1_000 + rng.below(lease / 10), ghosts: false },
    ));
    plan
}

/// The same, where a's lease is four times the voter's own deadtime.
fn forgetful_voter_of_a_longer_lease(seed: u64, rng: &mut Rng) -> Plan {
    let mut plan = forgetful_voter(seed, rng);
    let config = another(&mut plan, |config| lengthen(config, 4));
    plan.ops.push((plan.lease() * 2, Op::Configure { who: node(0), config }));
    plan.length *= 2;
    plan
}

/// What becomes of the voter that hears the replays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reborn {
    Not,
    Daemon,
    Machine,
}

/// b held, then a does; then a is cut off, and an attacker plays a's old claimless beats to the voters.
fn replay(seed: u64, rng: &mut Rng, reborn: Reborn) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    plan.attacker = true;
    let group = GroupId::of("g0");
    let at = lease * 10 + rng.below(lease);
    plan.length = lease * 16;
    plan.ops.push((lease, order(0, Command::Move { group, node: NodeId::of("b") })));
    plan.ops.push((lease * 8, order(0, Command::Move { group, node: NodeId::of("a") })));
    plan.ops.push((at - lease / 2, apart(0, 1)));
    plan.ops.push((at, cut_off(0)));
    let reborn_at = at + rng.below(10_000);
    match reborn {
        Reborn::Not => {}
        Reborn::Daemon => {
            plan.ops
                .push((reborn_at, Op::Kill { who: node(2), mid: 0, fate: MemoryFate::Kept, after: 3_000 }));
        }
        Reborn::Machine => {
            plan.ops.push((reborn_at, Op::Off { who: node(2), after: 2_000, ghosts: false }));
        }
    }
    plan.ops.push((reborn_at + 4_000, Op::Replay { to: node(2), count: 150 }));
    plan.ops.push((reborn_at + 4_000, Op::Replay { to: node(1), count: 50 }));
    plan
}

/// b holds by its own and a's votes and stops slowly; a claims: c's vote and its own are two, but its own is b's.
fn claimant_without_its_own_vote(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let group = GroupId::of("g0");
    plan.ops.push((lease, order(0, Command::Move { group, node: NodeId::of("b") })));
    plan.ops.push((lease * 2, apart(1, 2)));
    plan.ops.push((lease * 3, slow_stop(1)));
    plan.ops.push((lease * 4 + rng.below(lease), order(0, Command::Move { group, node: NodeId::of("a") })));
    plan
}

/// a and b hear only c, an arbiter. a is cut off and c grants b; c dies as it says so and b is cut off in its turn. a comes
/// back and wants the group from a c that lives anew.
fn voter_dies_while_granting(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    plan.machines[2].arbiter = true;
    tweak(&mut plan, |config| {
        if let Some(node) = config.nodes.get_mut(&NodeId::of("c")) {
            node.arbiter = true;
        }
    });
    let at = lease * 3 + rng.below(lease);
    let length = lease + rng.below(lease / 2);
    plan.ops.push((lease, apart(0, 1)));
    plan.ops.push((at, Op::Cut { who: node(0), way: Way::Both, link: None, flap: 0, length }));
    let then = vec![(1_200 + rng.below(2_000), cut_off(1))];
    let (fate, after) = (MemoryFate::Kept, 300 + rng.below(3_000));
    let op = Op::KillAt { who: node(2), at: Moment::Granted, fate, after, then };
    plan.ops.push((at + lease / 2, op));
    plan
}

/// b wins, starts, and dies at once; a is told to take the group, and b lives again.
fn winner_dies_while_winning(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let group = GroupId::of("g0");
    let at = lease * 3 + rng.below(lease);
    let (fate, after) = (MemoryFate::Kept, 300 + rng.below(5_000));
    let back = Command::Move { group, node: NodeId::of("a") };
    let then = vec![(100 + rng.below(2_000), order(0, back))];
    plan.ops.push((at, Op::KillAt { who: node(1), at: Moment::Started, fate, after, then }));
    plan.ops.push((at + 1_000, order(0, Command::Move { group, node: NodeId::of("b") })));
    plan
}

/// The heartbeat path dies, and the holder's cable is cut behind the switch.
fn silent_cable(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 2, lease, rng);
    let at = lease * 2 + rng.below(lease);
    plan.ops.push((at, cut_off(0)));
    let cable = Op::Cable { who: node(0), interface: 0, cut: true, length: 0 };
    plan.ops.push((at + rng.below(lease * 2), cable));
    plan
}

/// The cable of the node that would take is cut, and then the holder's instead: what could not be seen was no silence.
fn swapped_cables(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 2, lease, rng);
    let linked = rng.chance(500);
    tweak(&mut plan, |config| config.interfaces.iter_mut().for_each(|it| it.has_link = linked));
    let at = lease * 2 + rng.below(lease);
    if linked {
        plan.over.fill(Some(InterfaceId(0)));
    } else {
        plan.ops.push((at, cut_off(0)));
    }
    let (cut, sooner, later) = (rng.below(lease * 2), rng.below(lease / 5), rng.below(lease / 5));
    plan.ops.push((at, Op::SwappedCables { who: node(1), interface: 0, cut, sooner, later, length: 0 }));
    plan
}

/// The only cable of the holder is cut, whole for less than a keepalive when its lease is nearly over, and cut again: what
/// was asked, or said, in the first cut must not count.
fn loose_cable(seed: u64, keeps: bool, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 2, lease, rng);
    let linked = rng.chance(500);
    tweak(&mut plan, |config| config.interfaces.iter_mut().for_each(|it| it.has_link = linked));
    let at = lease * 2 + rng.below(lease);
    if linked {
        plan.over.fill(Some(InterfaceId(0)));
    } else {
        plan.ops.push((at, cut_off(0)));
    }
    let cut = lease * 7 / 10 + rng.below(lease * 3 / 10);
    let whole = 1_500 + rng.below(lease / 6);
    let loose = Op::LooseCable { who: node(0), interface: 0, cut, whole, length: 0, keeps };
    plan.ops.push((at, loose));
    plan
}

/// The heartbeat path dies, then the holder's address, unnoticed at first: the other takes what is silent.
fn unseen_address(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 2, lease, rng);
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            for resource in &mut group.resources {
                let monitor = Monitor { every: Span(lease * 2), timeout: Some(Span(lease)), restarts: 3 };
                Arc::make_mut(resource).monitor = Some(monitor);
            }
        }
    });
    let at = lease * 2 + rng.below(lease);
    plan.ops.push((at, apart(0, 1)));
    plan.ops.push((at + lease + rng.below(lease * 2), Op::Dies { group: WEB }));
    plan
}

/// a gives the group to b and from then on hears nobody; told to take it back, it must not count the old grants.
fn claims_again(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let group = GroupId::of("g0");
    let at = lease * 3 + rng.below(lease);
    plan.ops.push((at, order(1, Command::Move { group, node: NodeId::of("b") })));
    let deaf = Op::Cut { who: node(0), way: Way::In, link: None, flap: 0, length: 0 };
    plan.ops.push((at + 600 + rng.below(1_500), deaf));
    for again in 0..4 {
        let when = at + 4_000 + again * lease / 10 + rng.below(4_000);
        plan.ops.push((when, order(0, Command::Takeover { group })));
    }
    plan
}

/// The preferred node cannot start the group: it is not tried again and again.
fn preferred_node_fails(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    plan.class = Class::Persistent;
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.failure_window = Span(lease * 1_000);
        }
    });
    let (action, end) = (Action::Start, AgentEnd::Fails);
    plan.ops.push((lease, Op::Agent { who: node(0), group: WEB, resource: 0, action, end, length: 0 }));
    plan.ops.push((
        lease * 2 + rng.below(lease),
        Op::Kill { who: node(0), mid: 0, fate: MemoryFate::Lost, after: 5_000 },
    ));
    plan.length = lease * 4;
    plan.limit = Some(lease * 12);
    plan
}

/// a's deadtime is longer than the voters': they keep their word for a's length.
fn longer_lease(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let config = another(&mut plan, |config| lengthen(config, 4));
    plan.ops.push((lease, Op::Configure { who: node(0), config }));
    plan.ops.push((lease * 3 + rng.below(lease), cut_off(0)));
    plan.length = lease * 12;
    plan
}

/// a rests on a beat that asked for six times as much as its newest ones, and never hears what became of those.
fn shortened_lease(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let config = another(&mut plan, |config| lengthen(config, 6));
    let at = lease * 8 + rng.below(lease);
    plan.ops.push((lease, Op::Configure { who: node(0), config }));
    plan.ops.push((at, Op::Cut { who: node(0), way: Way::In, link: None, flap: 0, length: 0 }));
    plan.ops.push((at + 1_000, Op::Configure { who: node(0), config: 0 }));
    plan.ops.push((at + lease / 2, Op::Cut { who: node(0), way: Way::Out, link: None, flap: 0, length: 0 }));
    plan.length = lease * 20;
    plan
}

/// A slow holder and fast voters, with leases so long that a hundredth of them is more than a tick.
fn clocks_apart(seed: u64, rng: &mut Rng) -> Plan {
    let lease = 1_000_000 + rng.below(4_000_000);
    let mut plan = bench(seed, 3, lease, rng);
    for (place, machine) in plan.machines.iter_mut().enumerate() {
        let ppm = if place == 0 { -PPM } else { PPM };
        (machine.boot_ppm, machine.raw_ppm) = (ppm, ppm);
    }
    plan.ops.push((lease * 2 + rng.below(lease), cut_off(0)));
    plan
}

/// Many hand-overs, while the kernels are slow.
fn slow_hand_overs(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let group = GroupId::of("g0");
    plan.ops.extend((0..3).map(|place| (0, Op::SlowCommits { who: node(place), length: 0 })));
    for round in 0..12 {
        let heir = usize::try_from(1 + round % 2).unwrap_or(0);
        let at = lease * (1 + round * 2) + rng.below(lease);
        plan.ops.push((at, order(0, Command::Move { group, node: NodeId::of(&node_name(heir)) })));
    }
    plan.length = lease * 26;
    plan
}

/// The holder, with a deadtime ten times as long, hears nobody: the others must not go on granting it what it soon loses.
fn deaf_and_slow_to_notice(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    plan.class = Class::Persistent;
    plan.side = !1;
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.promise = Promise::AtLeastOne;
        }
    });
    let config = another(&mut plan, |config| lengthen(config, 10));
    let at = lease * 4 + rng.below(lease);
    plan.ops.push((lease, Op::Configure { who: node(0), config }));
    plan.ops.push((at, Op::Cut { who: node(0), way: Way::In, link: None, flap: 0, length: 0 }));
    plan.length = at + lease;
    plan.limit = Some(lease * 16);
    plan
}

/// b is planned and does not claim, for its configuration does not know the group: who has it keeps it.
fn heir_that_does_not_know(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    plan.class = Class::Persistent;
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.prefer.rotate_left(1);
            group.failback = true;
            group.failback_delay = Span::ZERO;
        }
    });
    let config = another(&mut plan, |config| config.groups.clear());
    plan.ops.push((lease + rng.below(lease), Op::Configure { who: node(1), config }));
    plan.length = lease * 4;
    plan
}

fn newcomer(plan: &mut Plan, config: usize) {
    let name = node_name(plan.machines.len());
    plan.machines.push(MachinePlan { name, arbiter: false, boot_ppm: 0, raw_ppm: 0, starts: None, config });
    let node = plan.machines.len() - 1;
    plan.ops.push((0, Op::PowerOn { node }));
}

fn member(config: &mut Config, place: usize) {
    let name = node_name(place);
    config.nodes.insert(NodeId::of(&name), systole::config::Node { name, arbiter: false });
}

/// c is told of five voters while a and b count three: two majorities that share nobody, had c believed it.
fn one_step(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let config = another(&mut plan, |config| (3..5).for_each(|place| member(config, place)));
    newcomer(&mut plan, config);
    newcomer(&mut plan, config);
    plan.ops.push((lease * 2, Op::Configure { who: node(2), config }));
    let split = Op::Split { side: 0b11, way: Way::Both, link: None, length: 0 };
    plan.ops.push((lease * 4 + rng.below(lease), split));
    plan.length = lease * 12;
    plan
}

/// a holds by the old set's a and b and stops slowly. e is to have it, and c, d and f, who do not hear a, are most of the
/// new set: e must not count that one alone before a's lease has run out.
fn second_step(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let old: Vec<NodeId> = plan.configs[0].nodes.keys().copied().collect();
    let method = plan.configs[0].tiebreak.method;
    let new_set = |config: &mut Config| {
        (3..6).for_each(|place| member(config, place));
        config.nodes.remove(&NodeId::of("b"));
        for group in config.groups.values_mut() {
            group.prefer = vec![NodeId::of("a")];
        }
    };
    let joint = another(&mut plan, |config| {
        new_set(config);
        config.voters_before = Some(systole::config::VotersBefore { nodes: old, method });
    });
    let alone = another(&mut plan, new_set);
    plan.last_configs = vec![joint, alone];
    (0..3).for_each(|_| newcomer(&mut plan, joint));
    plan.ops.extend([2, 3, 5].map(|other| (0, apart(0, other))));
    plan.ops.push((lease * 2, Op::Configure { who: node(2), config: joint }));
    plan.ops.push((lease * 4, Op::Configure { who: node(4), config: alone }));
    plan.ops.push((lease * 5, slow_stop(0)));
    plan.ops.push((lease * 6, Op::Configure { who: node(1), config: joint }));
    let at = lease * 8 + rng.below(lease);
    let (group, heir) = (GroupId::of("g0"), NodeId::of("e"));
    plan.ops.push((at - rng.below(lease / 3), order(4, Command::Move { group, node: heir })));
    plan.ops.push((at, Op::Configure { who: node(0), config: joint }));
    plan.length = lease * 12;
    plan
}

/// A standby of a pair that hung, while its link was dead, does not take its own absence for the other's silence.
fn hung_standby(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 2, lease, rng);
    plan.class = Class::Restart;
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.promise = Promise::AtLeastOne;
        }
    });
    let at = lease * 2 + rng.below(lease);
    let length = lease * 3 / 2 + rng.below(lease * 2);
    plan.ops.push((at, Op::Hang { who: node(1), length }));
    let cut = Op::Cut { who: node(1), way: Way::In, link: None, flap: 0, length: length - 1_000 };
    plan.ops.push((at + 10, cut));
    plan.length = lease * 8;
    plan
}

/// c hung since before a won an exclusive group from b; a hangs in its turn, c wakes with a's old
/// beats, and wins: it must wait.
fn stale_proof(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    guarded(&mut plan, lease * 3);
    tweak(&mut plan, |config| {
        for group in config.groups.values_mut() {
            group.prefer = vec![NodeId::of("b"), NodeId::of("a"), NodeId::of("c")];
        }
    });
    let at = lease * 6 + rng.below(lease);
    let length = lease * 3 / 2 + rng.below(lease);
    plan.ops.push((at, Op::Hang { who: node(2), length }));
    plan.ops.push((at + 1_000, Op::CutPair { a: 0, b: 2, one_way: false, length: 0 }));
    plan.ops.push((at + 20_000, order(1, Command::Standby { node: NodeId::of("b") })));
    plan.ops.push((at + 30_000 + rng.below(lease / 2), Op::Hang { who: node(0), length: 0 }));
    let group = GroupId::of("g0");
    plan.ops.push((at + length + 1_000 + rng.below(20_000), order(2, Command::Takeover { group })));
    plan.length = lease * 12;
    plan
}

/// Its groups are exclusive, and each machine has a watchdog.
fn guarded(plan: &mut Plan, timeout: u64) {
    tweak(plan, |config| {
        config.watchdog = Some(systole::config::Watchdog {
            device: std::path::PathBuf::from("/dev/watchdog"),
            timeout: Span(timeout),
        });
        config.groups.values_mut().for_each(|group| group.exclusive = true);
    });
}

/// The holder hangs, and is killed shortly before its watchdog bites: the kernel feeds that once more. In every other world
/// it is started again, cannot stop what runs, and is killed once more, at which nothing feeds it any more.
fn hung_and_killed(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let timeout = lease * 3;
    guarded(&mut plan, timeout);
    let at = lease * 3 + rng.below(lease);
    plan.ops.push((at, Op::Hang { who: node(0), length: 0 }));
    let killed = at + lease + rng.below(lease * 2);
    let again = rng.chance(500);
    let after = if again { plan.restart_delay } else { 0 };
    plan.ops.push((killed, Op::Kill { who: node(0), mid: 0, fate: MemoryFate::Kept, after }));
    if again {
        plan.ops.push((0, slow_stop(0)));
        let killed = killed + lease + rng.below(timeout - lease);
        plan.ops.push((killed, Op::Kill { who: node(0), mid: 0, fate: MemoryFate::Kept, after: 0 }));
    }
    plan.length = lease * 20;
    plan
}

/// The holder's watchdog is disarmed, so the holder stops, and takes its time; meanwhile it is cut off.
fn slow_stop_without_watchdog(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    guarded(&mut plan, lease * 2);
    plan.ops.push((0, slow_stop(0)));
    let at = lease * 3 + rng.below(lease);
    plan.ops.push((at, Op::BreakWatchdog { who: node(0), disarms: true, length: 0 }));
    plan.ops.push((at + lease / 2 + rng.below(lease / 2), cut_off(0)));
    plan.length = lease * 16;
    plan
}

/// The node that is preferred has a watchdog that cannot be used, and hangs; whoever follows it has never heard of its
/// claim.
fn hung_without_watchdog(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    guarded(&mut plan, lease * 3);
    plan.ops.push((0, Op::BreakWatchdog { who: node(0), disarms: true, length: 0 }));
    plan.ops.push((0, apart(0, 1)));
    plan.ops.push((lease * 3 + rng.below(lease), Op::Hang { who: node(0), length: 0 }));
    plan.length = lease * 16;
    plan
}

/// The group becomes a clone of so many instances.
fn cloned(plan: &mut Plan, count: u16, change: impl Fn(&mut Group, &mut Instance)) {
    tweak(plan, |config| {
        let groups = std::mem::take(&mut config.groups);
        for (group, index) in groups.values().flat_map(|group| (0..count).map(move |index| (group, index))) {
            let mut one =
                Group { name: format!("{}:{index}", group.name), prefer: Vec::new(), ..group.clone() };
            let mut instance = Instance::new(GroupId::of(&group.name), index, count);
            one.failback = true;
            change(&mut one, &mut instance);
            one.clone_of = Some(instance);
            config.groups.insert(GroupId::of(&one.name), one);
        }
    });
}

/// a, which must start what it has anew, cannot start one of its instances, and takes one of those that nobody could have
/// before; it takes its time to stop the first.
fn room_to_be(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    cloned(&mut plan, 8, |_, instance| instance.most = Some(2));
    let (action, end, length) = (Action::Start, AgentEnd::Fails, lease * 6);
    for group in (0..8).filter(|_| rng.chance(500)) {
        plan.ops.push((0, Op::Agent { who: node(0), group, resource: 0, action, end, length }));
    }
    let at = lease * 2 + rng.below(lease);
    plan.ops.push((at, Op::Kill { who: node(0), mid: 0, fate: MemoryFate::Lost, after: 5_000 }));
    plan
}

/// A node may have fewer instances than it has, and there is no room elsewhere.
fn less_room(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    cloned(&mut plan, 9, |_, instance| instance.most = Some(3));
    let config = another(&mut plan, |config| {
        let instances = config.groups.values_mut().filter_map(|group| group.clone_of.as_mut());
        instances.for_each(|instance| instance.most = Some(2));
    });
    plan.last_configs = vec![config];
    let at = lease * 2;
    (0..3)
        .for_each(|place| plan.ops.push((at + rng.below(lease), Op::Configure { who: node(place), config })));
    plan
}

/// The first node shall have three times as many as another, and one of them reboots.
fn weighed(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    cloned(&mut plan, 10, |_, instance| instance.weights = [(NodeId::of("a"), 3)].into());
    let (who, after) = (node(usize::try_from(rng.below(3)).unwrap_or(0)), rng.below(lease * 2) + 10_000);
    plan.ops.push((lease * 2 + rng.below(lease), Op::Off { who, after, ghosts: false }));
    plan
}

/// A node dies and comes back: what the others took over stays there for a while.
fn comes_back(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let delay = Span(lease + rng.below(lease * 3));
    cloned(&mut plan, 6, |group, _| group.failback_delay = delay);
    let (who, after) = (node(usize::try_from(rng.below(3)).unwrap_or(0)), lease * 2 + rng.below(lease));
    plan.ops.push((lease * 2 + rng.below(lease), Op::Off { who, after, ghosts: false }));
    plan.length = lease * 12;
    plan
}

/// Everybody loses the same servers, and each node finds out in its own time; and gets them back.
fn servers_die(seed: u64, rng: &mut Rng) -> Plan {
    let lease = a_lease(rng);
    let mut plan = bench(seed, 3, lease, rng);
    let length = 500_000 + rng.below(1_000_000);
    plan.ops.push((lease * 3 + rng.below(lease), Op::Servers { group: WEB, percent: 100, of: None, length }));
    plan.length = lease * 3 + 3_000_000;
    plan
}
