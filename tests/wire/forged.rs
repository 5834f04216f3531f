//! Bad datagrams: each moves the counter that names its cause, and nothing else.
//!
//! The cluster is two nodes, Alice who speaks and Bob who listens. Each bad datagram is shown to Bob twice over: once in
//! the middle of a conversation, and once just after his restart.

use systole::beat::Beat;
use systole::types::{Incarnation, LinkId, NodeId, Sequence};
use systole::wire::{CAUSES, Datagram, KeyRing, Life, News, Opener, Refused, Sealer, limits};

use crate::beats::{self, ALICE, ALICES, BOB, BOBS, CLUSTER, SERIAL, WIRE, alice, bob, ring, ring_of};

/// Alice's beat with this number: one datagram.
fn sealed(alice: &mut Sealer, sequence: u64) -> Datagram {
    let mut parts = alice.seal(&beats::healthy(2, 2, sequence)).expect("a new beat");
    assert_eq!(parts.len(), 1);
    parts.remove(0)
}

/// A body that reads.
fn good_body() -> Vec<u8> {
    let mut body = Vec::new();
    systole::wire::body::encode(&beats::healthy(2, 2, 1), &mut body).expect("within the limits");
    body
}

/// Bob after Alice's beats 1 to 10 over one link and half of a long beat, number 11.
fn bob_in_conversation() -> Opener {
    let (mut alice, mut bob) = (alice(), bob());
    for sequence in 1..=10 {
        bob.open(WIRE, &mut sealed(&mut alice, sequence)).expect("good");
    }
    let parts = alice.seal(&beats::healthy(60, 60, 11)).expect("a new beat");
    bob.open(WIRE, &mut parts[0].clone()).expect("good");
    bob
}

/// Shows a datagram that must be refused: exactly the counter of the cause moves, and the state is the same as before.
#[track_caller]
fn refuses(bob: &mut Opener, link: LinkId, datagram: &[u8], cause: Refused) {
    let before = bob.clone();
    assert_eq!(bob.open(link, &mut datagram.to_vec()), Err(cause));
    assert!(bob.same_state(&before), "{cause} changed the state");
    let moved = before.counters().each().zip(bob.counters().each()).filter(|(before, after)| before != after);
    let moved = moved.map(|((name, before), (_, after))| (name, after - before)).collect::<Vec<_>>();
    assert_eq!(moved, [(cause.cause(), 1)]);
}

/// Shows it to Bob in conversation, and to Bob after a restart.
#[track_caller]
fn always_refuses(datagram: &[u8], cause: Refused) {
    refuses(&mut bob_in_conversation(), WIRE, datagram, cause);
    refuses(&mut bob(), WIRE, datagram, cause);
}

/// After all of that, the next beat of Alice's is taken as ever.
#[track_caller]
fn hears(bob: &mut Opener, alice: &mut Sealer, sequence: u64) {
    let opened = bob.open(WIRE, &mut sealed(alice, sequence)).expect("good");
    let beat = beats::healthy(2, 2, sequence);
    assert_eq!(
        (opened.sender, opened.sequence, opened.news),
        (ALICE, Sequence(sequence), News::Beat(beat.into()))
    );
}

#[test]
fn a_replayed_beat_moves_only_its_counter() {
    let (mut alice, mut bob) = (alice(), bob());
    let recorded: Vec<_> = (1..=5).map(|sequence| sealed(&mut alice, sequence)).collect();
    for datagram in &recorded {
        bob.open(WIRE, &mut datagram.clone()).expect("good");
    }
    for datagram in &recorded[..4] {
        refuses(&mut bob, WIRE, datagram, Refused::Stale);
    }
    refuses(&mut bob, WIRE, &recorded[4], Refused::Replayed);
    refuses(&mut bob, WIRE, &recorded[4], Refused::Replayed);
    hears(&mut bob, &mut alice, 6);
}

#[test]
fn a_beat_on_a_second_link_is_a_copy_once_and_then_a_replay() {
    let (mut alice, mut bob) = (alice(), bob());
    let datagram = sealed(&mut alice, 1);
    let first = bob.open(WIRE, &mut datagram.clone()).expect("good");
    let second = bob.open(SERIAL, &mut datagram.clone()).expect("good");
    let beat = std::sync::Arc::new(beats::healthy(2, 2, 1));
    assert_eq!((first.news, second.news), (News::Beat(beat.clone()), News::Copy(beat)));
    refuses(&mut bob, SERIAL, &datagram, Refused::Replayed);
}

#[test]
fn an_older_beat_on_a_slower_link_is_no_news() {
    let (mut alice, mut bob) = (alice(), bob());
    let late = sealed(&mut alice, 1);
    hears(&mut bob, &mut alice, 2);
    let opened = bob.open(SERIAL, &mut late.clone()).expect("good");
    assert_eq!(opened.news, News::Older);
    refuses(&mut bob, WIRE, &late, Refused::Stale);
}

#[test]
fn a_beat_forged_without_the_key_moves_only_its_counter() {
    let forger = KeyRing::new(vec![(2, vec![0x66; 32])]).expect("a good ring");
    for sequence in [1, 10, 11, 1_000_000] {
        let mut forger = Sealer::new(&forger, CLUSTER, ALICE, ALICES);
        always_refuses(&sealed(&mut forger, sequence), Refused::BadSeal);
    }
    let later = Life { incarnation: Incarnation(u64::MAX), random: 1 };
    let beat = Beat { incarnation: later.incarnation, ..beats::healthy(2, 2, 1) };
    let datagrams = Sealer::new(&forger, CLUSTER, ALICE, later).seal(&beat).expect("a new beat");
    always_refuses(&datagrams[0], Refused::BadSeal);
}

#[test]
fn a_beat_cut_short_or_made_longer_anywhere_moves_only_a_counter() {
    let datagram = sealed(&mut alice(), 20);
    for kept in 0..datagram.len() {
        let cause = if kept < 56 { Refused::TooShort } else { Refused::BadSeal };
        always_refuses(&datagram[..kept], cause);
    }
    always_refuses(&[&datagram[..], &[0]].concat(), Refused::BadSeal);
    let padded = [&datagram[..], &vec![0; limits::DATAGRAM_BYTES]].concat();
    always_refuses(&padded, Refused::TooLong);
}

#[test]
fn a_beat_with_any_bit_flipped_moves_only_a_counter() {
    let datagram = sealed(&mut alice(), 20);
    for bit in 0..datagram.len() * 8 {
        let mut flipped = datagram.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        always_refuses(&flipped, cause_of_a_flip(bit));
    }
}

/// By the table of the header.
fn cause_of_a_flip(bit: usize) -> Refused {
    match bit / 8 {
        0..=2 => Refused::Foreign,
        3 => Refused::UnknownVersion,
        4..=7 => Refused::WrongCluster,
        8..=11 => Refused::UnknownSender,
        36 => Refused::UnknownKey,
        // A part after the last one; or a last part of 128 and more.
        37 | 39 => Refused::BadHeader,
        38 if bit % 8 == 7 => Refused::BadHeader,
        _ => Refused::BadSeal,
    }
}

#[test]
fn a_beat_of_another_cluster_moves_only_its_counter_even_with_the_same_keys() {
    let mut other = Sealer::new(&ring(), "mail", ALICE, ALICES);
    let mut datagram = sealed(&mut other, 20);
    always_refuses(&datagram, Refused::WrongCluster);
    // Even if it pretends in the header.
    datagram[4..8].copy_from_slice(&sealed(&mut alice(), 20)[4..8]);
    always_refuses(&datagram, Refused::BadSeal);
}

#[test]
fn a_beat_sealed_with_a_key_that_was_taken_off_the_ring_moves_only_its_counter() {
    let mut old = Sealer::new(&ring_of(&[1]), CLUSTER, ALICE, ALICES);
    let datagram = sealed(&mut old, 20);
    let mut bob = bob_in_conversation();
    bob.set_keys(&ring_of(&[2]), CLUSTER);
    refuses(&mut bob, WIRE, &datagram, Refused::UnknownKey);
    // The same id with another secret.
    let mut renewed =
        Opener::new(&KeyRing::new(vec![(1, vec![9; 32])]).expect("good"), CLUSTER, BOB, BOBS, [ALICE]);
    refuses(&mut renewed, WIRE, &datagram, Refused::BadSeal);
}

#[test]
fn keys_are_changed_without_losing_a_beat() {
    let (mut alice, mut bob) = (Sealer::new(&ring_of(&[1]), CLUSTER, ALICE, ALICES), bob());
    bob.set_keys(&ring_of(&[1]), CLUSTER);
    hears(&mut bob, &mut alice, 1);
    bob.set_keys(&ring_of(&[1, 2]), CLUSTER);
    let recorded = sealed(&mut alice, 2);
    bob.open(WIRE, &mut recorded.clone()).expect("good");
    alice.set_keys(&ring_of(&[2, 1]), CLUSTER);
    hears(&mut bob, &mut alice, 3);
    refuses(&mut bob, WIRE, &recorded, Refused::Stale);
    bob.set_keys(&ring_of(&[2]), CLUSTER);
    hears(&mut bob, &mut alice, 4);
    refuses(&mut bob, WIRE, &recorded, Refused::UnknownKey);
}

#[test]
fn a_sender_that_is_not_configured_moves_only_its_counter() {
    let mallory = NodeId::of("mallory");
    let mut sealer = Sealer::new(&ring(), CLUSTER, mallory, ALICES);
    let beat = Beat { sender: mallory, ..beats::healthy(2, 2, 1) };
    always_refuses(&sealer.seal(&beat).expect("a new beat")[0], Refused::UnknownSender);
}

#[test]
fn a_peer_that_leaves_the_configuration_is_forgotten_and_the_others_are_not() {
    let mut bob = bob_in_conversation();
    let before = bob.clone();
    bob.set_peers([ALICE, BOB]);
    assert!(bob.same_state(&before));
    bob.set_peers([NodeId::of("carol")]);
    refuses(&mut bob, WIRE, &sealed(&mut alice(), 20), Refused::UnknownSender);
}

#[test]
fn our_own_beat_that_comes_back_moves_only_its_counter() {
    let own = Beat { sender: BOB, incarnation: BOBS.incarnation, ..beats::healthy(2, 2, 1) };
    let datagram = Sealer::new(&ring(), CLUSTER, BOB, BOBS).seal(&own).expect("a new beat").remove(0);
    always_refuses(&datagram, Refused::Reflected);
    let mut forged = datagram;
    forged[50] ^= 1;
    always_refuses(&forged, Refused::BadSeal);
}

#[test]
fn another_machine_under_our_name_is_an_alarm_and_nothing_else() {
    let incarnation = Incarnation(BOBS.incarnation.0 + 1);
    let own = Beat { sender: BOB, incarnation, ..beats::healthy(2, 2, 1) };
    let mut twin = Sealer::new(&ring(), CLUSTER, BOB, Life { incarnation, random: 1 });
    always_refuses(&twin.seal(&own).expect("a new beat")[0], Refused::SameName { incarnation });
}

#[test]
fn a_recording_of_an_earlier_life_is_an_alarm_and_nothing_else() {
    let incarnation = Incarnation(ALICES.incarnation.0 - 1);
    let mut earlier = Sealer::new(&ring(), CLUSTER, ALICE, Life { incarnation, random: 1 });
    let beat = Beat { incarnation, ..beats::healthy(2, 2, 1_000) };
    let datagram = earlier.seal(&beat).expect("a new beat").remove(0);
    let older = Refused::OlderLife { sender: ALICE, incarnation, known: ALICES.incarnation };
    refuses(&mut bob_in_conversation(), WIRE, &datagram, older);
}

#[test]
fn two_machines_in_the_same_life_are_an_alarm_and_nothing_else() {
    let life = Life { random: ALICES.random ^ 1, ..ALICES };
    let mut twin = Sealer::new(&ring(), CLUSTER, ALICE, life);
    let cause = Refused::Twin { sender: ALICE, incarnation: ALICES.incarnation };
    refuses(&mut bob_in_conversation(), WIRE, &sealed(&mut twin, 1_000), cause);
}

#[test]
fn a_later_life_is_heard_from_its_first_beat() {
    let mut bob = bob_in_conversation();
    let incarnation = Incarnation(ALICES.incarnation.0 + 1);
    let mut later = Sealer::new(&ring(), CLUSTER, ALICE, Life { incarnation, random: 1 });
    let beat = Beat { incarnation, ..beats::healthy(2, 2, 1) };
    let opened = bob.open(WIRE, &mut later.seal(&beat).expect("a new beat")[0]).expect("good");
    assert_eq!(opened.news, News::Beat(beat.into()));
    let recorded = sealed(&mut alice(), 1_000);
    let older = Refused::OlderLife { sender: ALICE, incarnation: ALICES.incarnation, known: incarnation };
    refuses(&mut bob, WIRE, &recorded, older);
}

/// After a restart the wire alone cannot tell a recording from the present. It opens once, and the beat says so itself:
/// it does not hear this incarnation, and for the core that is no beat of a living peer.
#[test]
fn after_a_restart_a_recording_opens_at_most_once_and_gives_way_to_the_living() {
    let mut alice = alice();
    let recorded = [sealed(&mut alice, 1), sealed(&mut alice, 2)];
    let mut bob = bob();
    let opened = bob.open(WIRE, &mut recorded[1].clone()).expect("nothing is known yet");
    let News::Beat(beat) = opened.news else { panic!("the first beat is news") };
    assert!(beat.heard.get(&BOB).is_none_or(|heard| heard.incarnation != BOBS.incarnation));
    refuses(&mut bob, WIRE, &recorded[1], Refused::Replayed);
    refuses(&mut bob, WIRE, &recorded[0], Refused::Stale);
    hears(&mut bob, &mut alice, 3);
}

#[test]
fn a_sealed_body_that_does_not_read_moves_only_its_counter() {
    let (alice, good) = (alice(), good_body());
    let seal = |body: &[u8]| alice.seal_part(Sequence(20), 0, 0, body);
    always_refuses(&seal(&[]), Refused::Undecodable);
    always_refuses(&seal(&good[..good.len() - 1]), Refused::Undecodable);
    always_refuses(&seal(&[&good[..], &[0]].concat()), Refused::Trailing);
    always_refuses(&seal(&[&good[..1], &[251, 7, 0], &good[10..]].concat()), Refused::NotCanonical);
    let most = [&[0; 19][..], &[251, 0xe9, 0x03], &[0; 1_000]].concat();
    always_refuses(&seal(&most), Refused::TooMany);
}

#[test]
fn parts_that_contradict_each_other_move_only_their_counter() {
    let alice = alice();
    let mut bob = bob_in_conversation();
    let full = vec![0; systole::wire::frame::PART_BYTES];
    refuses(&mut bob, WIRE, &alice.seal_part(Sequence(11), 1, 7, &full), Refused::BadParts);
    refuses(&mut bob, WIRE, &alice.seal_part(Sequence(12), 0, 1, &full[1..]), Refused::BadParts);
    refuses(&mut bob, WIRE, &alice.seal_part(Sequence(12), 1, 1, &[]), Refused::BadParts);
}

#[test]
fn a_whole_beat_in_parts_that_does_not_read_is_as_if_its_last_part_had_never_come() {
    let alice = alice();
    let full = vec![0xff; systole::wire::frame::PART_BYTES];
    let mut bob = bob_in_conversation();
    bob.open(WIRE, &mut alice.seal_part(Sequence(12), 0, 1, &full)).expect("a good part");
    refuses(&mut bob, WIRE, &alice.seal_part(Sequence(12), 1, 1, &[1, 2, 3]), Refused::Undecodable);
}

#[test]
fn every_cause_has_a_name_of_its_own() {
    let mut names = CAUSES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CAUSES.len());
}
