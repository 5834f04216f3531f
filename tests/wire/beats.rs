//! Beats and a small cluster to test with. The fuzz targets use this file too.

use std::collections::BTreeMap;

use systole::beat::{
    Beat, Claim, Facts, Flags, Grant, Heard, Order, Phase, ServerOrder, ServerOrders, ServerWish, Shortfall,
    Subject, Unfit, VoterDigests, Wish,
};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{Epoch, GroupId, Incarnation, LinkId, Marks, NodeId, Sequence, ServersId};
use systole::wire::{KeyRing, Life, Opener, Sealer, limits};

pub(crate) const CLUSTER: &str = "web";
pub(crate) const ALICE: NodeId = NodeId::of("alice");
pub(crate) const BOB: NodeId = NodeId::of("bob");
pub(crate) const ALICES: Life =
    Life { incarnation: Incarnation(1_800_000_001), random: 0xa11c_e000_a11c_e000 };
pub(crate) const BOBS: Life = Life { incarnation: Incarnation(1_800_000_002), random: 0x0b0b_0000_0b0b_0000 };
pub(crate) const WIRE: LinkId = LinkId(0);
pub(crate) const SERIAL: LinkId = LinkId(1);

/// The ring of every test: key 2 seals, key 1 is the one before.
pub(crate) fn ring() -> KeyRing {
    ring_of(&[2, 1])
}

/// Key N is always 32 times the byte N.
pub(crate) fn ring_of(ids: &[u8]) -> KeyRing {
    KeyRing::new(ids.iter().map(|id| (*id, vec![*id; 32])).collect()).expect("a good ring")
}

/// Alice's voice.
pub(crate) fn alice() -> Sealer {
    Sealer::new(&ring(), CLUSTER, ALICE, ALICES)
}

/// Bob's ear, which has heard nothing yet.
pub(crate) fn bob() -> Opener {
    Opener::new(&ring(), CLUSTER, BOB, BOBS, [ALICE, BOB])
}

/// The node with this number; number 0 is Alice.
pub(crate) fn node(number: usize) -> NodeId {
    if number == 0 { ALICE } else { NodeId::of(&format!("node-{number}")) }
}

/// The group with this number.
pub(crate) fn group(number: usize) -> GroupId {
    GroupId::of(&format!("group-{number}"))
}

/// Alice's beat in a healthy cluster of so many nodes, where she holds and grants all of so many groups: the longest
/// that a healthy node has to say, with numbers as they are after some weeks.
pub(crate) fn healthy(nodes: usize, groups: usize, sequence: u64) -> Beat {
    let lease = Span::seconds(1);
    let grant = |epoch| Grant {
        holder: ALICE,
        incarnation: ALICES.incarnation,
        epoch,
        sequence: Sequence(9_999_990),
    };
    let groups = || (0..groups).map(|number| (group(number), Epoch(3 + number as u64 % 500)));
    Beat {
        sender: ALICE,
        incarnation: ALICES.incarnation,
        sequence: Sequence(sequence),
        sent_at: Span::seconds(2_000_000) + Span(123_456),
        flags: Flags::default(),
        config: 0x0123_4567_89ab_cdef,
        voters: VoterDigests { now: 0xfedc_ba98_7654_3210, before: 0 },
        heard: (1..nodes).map(|number| (node(number), heard(number as u64))).collect(),
        claims: groups().map(|(group, epoch)| (group, Claim { epoch, phase: Phase::Held, lease })).collect(),
        grants: groups().map(|(group, epoch)| (group, grant(epoch))).collect(),
        facts: Facts { reach: 2, ..Facts::default() },
        marks: None,
    }
}

fn heard(number: u64) -> Heard {
    Heard {
        incarnation: Incarnation(1_800_000_000 + number),
        sequence: Sequence(10_000_000 + number),
        age: Span::millis(200) + Span(number),
    }
}

/// Any beat of Alice's at all, with at most so many entries in each map.
pub(crate) fn any(rng: &mut Rng, sequence: u64, most: u64) -> Beat {
    Beat {
        sender: ALICE,
        incarnation: ALICES.incarnation,
        sequence: Sequence(sequence),
        sent_at: Span(number(rng)),
        flags: any_flags(rng),
        config: rng.next_u64(),
        voters: VoterDigests { now: rng.next_u64(), before: number(rng) },
        heard: map(rng, most, |rng| {
            let (incarnation, sequence) = (Incarnation(number(rng)), Sequence(number(rng)));
            (NodeId(hash(rng)), Heard { incarnation, sequence, age: Span(number(rng)) })
        }),
        claims: map(rng, most, |rng| {
            let phases = [
                Phase::Claiming,
                Phase::Waiting,
                Phase::Starting,
                Phase::Held,
                Phase::Stopping,
                Phase::Blocked,
            ];
            let phase = phases[rng.below(6) as usize];
            (GroupId(hash(rng)), Claim { epoch: Epoch(number(rng)), phase, lease: Span(number(rng)) })
        }),
        grants: map(rng, most, |rng| {
            // Few holders, lives and beats, so that runs of grants happen.
            let (holder, incarnation) = (NodeId(rng.below(3) as u32), Incarnation(rng.below(2)));
            let (epoch, sequence) = (Epoch(number(rng)), Sequence(rng.below(3)));
            (GroupId(hash(rng)), Grant { holder, incarnation, epoch, sequence })
        }),
        facts: any_facts(rng, most),
        marks: any_marks(rng, most),
    }
}

fn any_marks(rng: &mut Rng, most: u64) -> Option<Marks> {
    let places = (0..rng.below(most + 1)).map(|_| rng.next_u64()).collect();
    rng.chance(500).then(|| Marks { depth: 1 + rng.below(255) as u8, places })
}

fn any_flags(rng: &mut Rng) -> Flags {
    let [starting, leaving, standby, arbiter, hold_off, guarded] = std::array::from_fn(|_| rng.chance(500));
    Flags { starting, leaving, standby, arbiter, hold_off, guarded }
}

fn any_facts(rng: &mut Rng, most: u64) -> Facts {
    Facts {
        reach: number(rng) as u16,
        unfit: map(rng, most, |rng| {
            let failed = Unfit::Failed { retry_in: Span(number(rng)) };
            let unfit = [Unfit::Carrier, Unfit::Health, Unfit::Watchdog, failed];
            (GroupId(hash(rng)), unfit[rng.below(4) as usize])
        }),
        shortfall: map(rng, most, |rng| {
            let (one, other) = (rng.below(100) as u8, 1 + rng.below(100) as u8);
            (GroupId(hash(rng)), Shortfall { least: one.min(other), most: one.max(other) })
        }),
        handover: map(rng, most, |rng| (GroupId(hash(rng)), NodeId(hash(rng)))),
        orders: map(rng, most, |rng| {
            let (node, group) = (NodeId(hash(rng)), GroupId(hash(rng)));
            let subjects =
                [Subject::Cluster, Subject::Node(node), Subject::Group(group), Subject::Care(group)];
            let node = NodeId(hash(rng));
            let wishes =
                [Wish::Nothing, Wish::Standby, Wish::Maintenance, Wish::Place(node), Wish::Avoid(node)];
            let wish = wishes[rng.below(5) as usize];
            (subjects[rng.below(4) as usize], Order { version: number(rng), wish })
        }),
        servers: ServerOrders {
            given: map(rng, most.min(limits::SERVER_ORDERS_BY as u64), |rng| {
                (NodeId(hash(rng)), number(rng))
            }),
            hold: (0..rng.below(most.min(limits::SERVER_ORDERS as u64) + 1))
                .map(|_| {
                    let weight = ServerWish::Weight(number(rng) as u16);
                    let wish = if rng.chance(500) { ServerWish::Drain } else { weight };
                    let order = ServerOrder { number: number(rng), by: NodeId(hash(rng)), wish };
                    (ServersId(rng.next_u64()), order)
                })
                .collect(),
        },
    }
}

fn map<K: Ord, V>(rng: &mut Rng, most: u64, mut entry: impl FnMut(&mut Rng) -> (K, V)) -> BTreeMap<K, V> {
    (0..rng.below(most + 1)).map(|_| entry(rng)).collect()
}

/// A number of any length.
fn number(rng: &mut Rng) -> u64 {
    let bits = rng.below(64);
    rng.next_u64() >> bits
}

fn hash(rng: &mut Rng) -> u32 {
    rng.next_u64() as u32
}
