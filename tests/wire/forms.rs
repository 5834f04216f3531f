//! There is one form of each beat, and it reads back as what was written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use systole::beat::{
    Beat, Claim, Flags, Grant, Heard, Order, Phase, ServerOrder, ServerWish, Shortfall, Subject, Unfit, Wish,
};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{Epoch, GroupId, Incarnation, Marks, NodeId, Sequence, ServersId};
use systole::wire::{Datagram, News, Refused, Unsealed, body, limits};

use crate::beats::{self, ALICE, ALICES, SERIAL, WIRE};

fn bytes_of(beat: &Beat) -> Vec<u8> {
    let mut bytes = Vec::new();
    body::encode(beat, &mut bytes).expect("within the limits");
    bytes
}

/// As Alice's beat number 1.
fn decode(body: &[u8]) -> Result<Beat, Refused> {
    body::decode(ALICE, ALICES.incarnation, Sequence(1), body)
}

/// The smallest body: everything 0 or empty. Its bytes: flags, time, two digests and a third, then counts, reach, and that
/// there are no marks.
fn empty() -> (Beat, Vec<u8>) {
    let beat = Beat {
        flags: Flags::default(),
        config: 0,
        voters: Default::default(),
        sent_at: Default::default(),
        facts: Default::default(),
        ..beats::healthy(1, 0, 1)
    };
    let bytes = bytes_of(&beat);
    assert_eq!(bytes, [0; 30], "an empty map costs one byte");
    (beat, bytes)
}

const HEARD: usize = 19;
const CLAIMS: usize = 20;
const GRANTS: usize = 21;
const REACH: usize = 22;
const SHORTFALL: usize = 24;

proptest! {
    #[test]
    fn a_beat_reads_back_as_it_was_written(seed: u64, most in 0..40_u64) {
        let beat = beats::any(&mut Rng::new(seed), 1, most);
        prop_assert_eq!(decode(&bytes_of(&beat)), Ok(beat));
    }

    #[test]
    fn what_reads_at_all_is_written_as_it_was(seed: u64, changes in 1..4_u64) {
        let mut rng = Rng::new(seed);
        let mut bytes = bytes_of(&beats::any(&mut rng, 1, 6));
        for _ in 0..changes {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        if let Ok(beat) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&beat), bytes);
        }
    }

    #[test]
    fn a_body_cut_short_never_reads(seed: u64, cut: u64) {
        let bytes = bytes_of(&beats::any(&mut Rng::new(seed), 1, 6));
        let kept = cut as usize % bytes.len();
        prop_assert!(decode(&bytes[..kept]).is_err());
    }

    #[test]
    fn a_sealed_beat_opens_as_itself_whatever_its_size_and_the_order_of_its_parts(seed: u64, most in 0..400_u64) {
        let mut rng = Rng::new(seed);
        let beat = beats::any(&mut rng, 7, most);
        let mut parts = beats::alice().seal(&beat).expect("within the limits");
        (1..parts.len()).for_each(|at| parts.swap(at, rng.below(at as u64 + 1) as usize));
        let mut bob = beats::bob();
        let news = parts.iter_mut().map(|part| bob.open(WIRE, part).expect("sealed").news).collect::<Vec<_>>();
        let (last, others) = news.split_last().expect("at least one part");
        prop_assert_eq!(last, &News::Beat(beat.into()));
        prop_assert!(others.iter().all(|news| *news == News::Part));
    }
}

#[test]
fn a_number_has_only_its_shortest_form_in_the_middle_of_a_body_and_at_its_end() {
    let (_, bytes) = empty();
    let form = |marker: u8, number: u64, length: usize| [&[marker], &number.to_le_bytes()[..length]].concat();
    // The time comes early. The reach is in the last bytes, where the cursor has no nine bytes ahead.
    let time = |form: &[u8]| decode(&[&bytes[..1], form, &bytes[2..]].concat()).map(|beat| beat.sent_at.0);
    let reach = |form: &[u8]| {
        decode(&[&bytes[..REACH], form, &bytes[REACH + 1..]].concat()).map(|beat| beat.facts.reach)
    };
    for (marker, length, least) in [(251, 2, 251), (252, 4, 1 << 16), (253, 8, 1 << 32)] {
        assert_eq!(time(&form(marker, least, length)), Ok(least));
        for too_small in [least - 1, least / 2, 0] {
            assert_eq!(
                time(&form(marker, too_small, length)),
                Err(Refused::NotCanonical),
                "{marker} {too_small}"
            );
            assert_eq!(
                reach(&form(marker, too_small, length)),
                Err(Refused::NotCanonical),
                "{marker} {too_small}"
            );
        }
    }
    assert_eq!(reach(&form(251, 65_535, 2)), Ok(65_535));
    assert_eq!(reach(&form(252, 65_536, 4)), Err(Refused::Undecodable), "more than the field can hold");
    for marker in [254, 255] {
        assert_eq!(time(&form(marker, 0, 8)), Err(Refused::Undecodable));
        assert_eq!(reach(&form(marker, 0, 2)), Err(Refused::Undecodable));
    }
}

#[test]
fn keys_that_come_twice_or_out_of_order_are_refused() {
    let (_, bytes) = empty();
    let with_heard = |peers: &[u8]| {
        let entries = peers.iter().flat_map(|peer| [0, 0, 0, *peer, 1, 1, 1]).collect::<Vec<_>>();
        decode(&[&bytes[..HEARD], &[peers.len() as u8], &entries, &bytes[HEARD + 1..]].concat()).map(|_| ())
    };
    assert_eq!(with_heard(&[1, 2]), Ok(()));
    assert_eq!(with_heard(&[2, 1]), Err(Refused::NotCanonical));
    assert_eq!(with_heard(&[1, 1]), Err(Refused::NotCanonical));
}

#[test]
fn grants_are_refused_unless_each_group_comes_once_and_each_run_is_whole() {
    let (_, bytes) = empty();
    let with_grants =
        |runs: &[u8]| decode(&[&bytes[..GRANTS], runs, &bytes[GRANTS + 1..]].concat()).map(|_| ());
    let run = |holder: u8, groups: &[u8]| {
        let entries = groups.iter().flat_map(|group| [*group, 0, 0, 0, 1]).collect::<Vec<_>>();
        [&[holder, 0, 0, 0, 1, 1, groups.len() as u8], &entries[..]].concat()
    };
    let runs = |runs: &[Vec<u8>]| [&[runs.len() as u8], &runs.concat()[..]].concat();
    assert_eq!(with_grants(&runs(&[run(1, &[1, 2]), run(2, &[3])])), Ok(()));
    assert_eq!(
        with_grants(&runs(&[run(1, &[1]), run(2, &[1])])),
        Err(Refused::NotCanonical),
        "granted to two"
    );
    assert_eq!(with_grants(&runs(&[run(1, &[2, 1])])), Err(Refused::NotCanonical), "out of order");
    assert_eq!(with_grants(&runs(&[run(1, &[1]), run(1, &[2])])), Err(Refused::NotCanonical), "a run in two");
    assert_eq!(with_grants(&runs(&[run(1, &[])])), Err(Refused::NotCanonical), "an empty run");
}

#[test]
fn counts_beyond_the_limits_are_refused_before_anything_is_made_for_them() {
    let (_, bytes) = empty();
    let with_count = |at: usize, count: u16| {
        let [low, high] = count.to_le_bytes();
        // Too few bytes follow for one entry.
        decode(&[&bytes[..at], &[251, low, high], &[0; 3]].concat())
    };
    for at in [HEARD, CLAIMS, GRANTS] {
        assert_eq!(with_count(at, 1_001), Err(Refused::TooMany));
        assert_eq!(with_count(at, 1_000), Err(Refused::Undecodable), "there are no such entries");
    }
}

#[test]
fn a_byte_that_means_nothing_is_refused() {
    let (_, bytes) = empty();
    for flag in [1 << 6, 1 << 7] {
        assert_eq!(decode(&[&[flag], &bytes[1..]].concat()), Err(Refused::Undecodable));
    }
    let phase = [&bytes[..CLAIMS], &[1, 0, 0, 0, 9, 1, 6, 1], &bytes[CLAIMS + 1..]].concat();
    assert_eq!(decode(&phase), Err(Refused::Undecodable));
    assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(Refused::Trailing));
    let shortfall = |least: u8, most: u8| {
        decode(&[&bytes[..SHORTFALL], &[1, 0, 0, 0, 9, least, most], &bytes[SHORTFALL + 1..]].concat())
            .map(|_| ())
    };
    assert_eq!([shortfall(0, 1), shortfall(100, 100), shortfall(0, 101)], [Ok(()), Ok(()), Ok(())]);
    for (least, most) in [(0, 0), (2, 1), (0, 102), (255, 255)] {
        assert_eq!(shortfall(least, most), Err(Refused::Undecodable), "{least} to {most}");
    }
}

#[test]
fn a_beat_beyond_the_limits_is_not_sealed_and_one_at_all_limits_is() {
    let mut alice = beats::alice();
    let mut beat = beats::healthy(limits::NODES, limits::GROUPS, 1);
    assert!(alice.seal(&beat).is_ok());
    let heard = *beat.heard.values().next().expect("hears somebody");
    beat.sequence = Sequence(2);
    beat.heard.extend([1, 2].map(|id| (NodeId(id), heard)));
    assert_eq!(alice.seal(&beat), Err(Unsealed::TooMany(body::TooMany)));
}

#[test]
fn no_beat_within_the_limits_is_longer_than_its_limit_and_the_longest_is_nearly_so_long() {
    // Each map at its limit, each number at its longest.
    let (far, nodes) = (u64::MAX, || (0..limits::NODES as u32).map(NodeId));
    let groups = || (0..limits::GROUPS as u32).map(GroupId);
    let mut beat = beats::healthy(2, 2, 1);
    (beat.incarnation, beat.sequence, beat.sent_at) = (Incarnation(far), Sequence(far), Span(far));
    beat.heard = nodes()
        .map(|node| (node, Heard { incarnation: Incarnation(far), sequence: Sequence(far), age: Span(far) }))
        .collect();
    let claim = Claim { epoch: Epoch(far), phase: Phase::Held, lease: Span(far) };
    beat.claims = groups().map(|group| (group, claim)).collect();
    let grant = |group: GroupId| Grant {
        holder: NodeId(group.0 ^ 1),
        incarnation: Incarnation(far),
        epoch: Epoch(far),
        sequence: Sequence(far - u64::from(group.0)),
    };
    beat.grants = groups().map(|group| (group, grant(group))).collect();
    let facts = &mut beat.facts;
    facts.reach = u16::MAX;
    facts.unfit = groups().map(|group| (group, Unfit::Failed { retry_in: Span(far) })).collect();
    facts.shortfall = groups().map(|group| (group, Shortfall { least: 100, most: 100 })).collect();
    facts.handover = groups().map(|group| (group, NodeId(0))).collect();
    let order = Order { version: far, wish: Wish::Avoid(NodeId(0)) };
    facts.orders = (0..limits::ORDERS as u32).map(|id| (Subject::Group(GroupId(id)), order)).collect();
    facts.servers.given = nodes().take(limits::SERVER_ORDERS_BY).map(|node| (node, far)).collect();
    let order = ServerOrder { number: far, by: NodeId(0), wish: ServerWish::Weight(u16::MAX) };
    let servers = (0..limits::SERVER_ORDERS as u64).map(ServersId);
    facts.servers.hold = servers.map(|servers| (servers, order)).collect();
    beat.marks = Some(Marks { depth: 1, places: (0..Marks::MOST as u64).map(|place| far - place).collect() });
    let mut bytes = Vec::new();
    body::encode(&beat, &mut bytes).expect("it is within the limits");
    assert!(bytes.len() <= body::MOST_BYTES, "{} of {}", bytes.len(), body::MOST_BYTES);
    assert!(
        bytes.len() > body::MOST_BYTES - 200,
        "{} of {}: the limit has forgotten something",
        bytes.len(),
        body::MOST_BYTES
    );
}

#[test]
fn no_sequence_number_is_sealed_twice_and_no_beat_of_another_life() {
    let mut alice = beats::alice();
    let beat = beats::healthy(2, 2, 5);
    assert!(alice.seal(&beat).is_ok());
    assert_eq!(alice.seal(&beat), Err(Unsealed::UsedSequence(Sequence(5))));
    let earlier = Beat { sequence: Sequence(4), ..beat.clone() };
    assert_eq!(alice.seal(&earlier), Err(Unsealed::UsedSequence(Sequence(4))));
    let another = Beat { incarnation: beats::BOBS.incarnation, ..beat };
    assert_eq!(alice.seal(&another), Err(Unsealed::NotMine));
}

#[test]
fn parts_complete_each_other_over_different_links() {
    let beat = beats::healthy(60, 60, 3);
    let parts: Vec<Datagram> = beats::alice().seal(&beat).expect("within the limits");
    let mut bob = beats::bob();
    let links = BTreeMap::from([(0, SERIAL), (1, WIRE)]);
    let news = (parts.iter().enumerate())
        .map(|(at, part)| bob.open(links[&(at % 2)], &mut part.clone()).expect("sealed").news);
    assert_eq!(news.last(), Some(News::Beat(beat.into())));
    let again = bob.open(WIRE, &mut parts[0].clone()).expect("sealed, and new on this link");
    assert!(matches!(again.news, News::Copy(_)));
}
