//! An address that every node has: what falls into a bucket of this node's passes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use systole::config::HashOf;
use systole::net::frame::Mac;
use systole::net::lease::{Bucket, Counted, Guarded, KernelLease, LeaseError, Renewed, Shared, counters};
use systole::net::watch::LeaseWatch;
use systole::time::Span;
use systole::types::GroupId;

use super::Test;
use super::world::{PLAIN, TABLE, VIP, VIP6, WEB, World, groups, nft, until_it_has_run_out, v4, v6};

pub(crate) const TESTS: &[Test] = &[
    ("a_bucket_of_ipv4_passes_only_while_its_lease_stands", || passes_only_while_its_lease_stands(VIP)),
    ("a_bucket_of_ipv6_passes_only_while_its_lease_stands", || passes_only_while_its_lease_stands(VIP6)),
    ("what_is_hashed_decides_what_stays_together", what_is_hashed_decides_what_stays_together),
    ("packets_are_counted_by_bucket_and_go_on_being", packets_are_counted_by_bucket_and_go_on_being),
    ("a_bucket_of_two_groups_is_refused", a_bucket_of_two_groups_is_refused),
    ("the_kernel_does_not_say_where_a_shared_address_is", the_kernel_does_not_say_where_it_is),
    ("buckets_come_and_go_with_the_configuration", buckets_come_and_go_with_the_configuration),
];

const LONG: Span = Span::seconds(3_600);
const BUCKETS: u32 = 8;
const PORTS: std::ops::Range<u16> = 20_000..20_064;

fn shared(address: IpAddr, hash: HashOf) -> Arc<Shared> {
    let mac = Mac([3, 0, 0, 0, 0, 1]);
    Arc::new(Shared { address, mac, hash, buckets: BUCKETS, seed: 0x1234_abcd })
}

fn instance(number: u32) -> GroupId {
    GroupId::of(&format!("web:{number}"))
}

/// A group for each bucket of these addresses.
fn divided(all: &[Arc<Shared>]) -> BTreeMap<GroupId, Guarded> {
    let bucket = |number| all.iter().map(move |of| Bucket { of: Arc::clone(of), number }).collect();
    let guarded = |number| Guarded { addresses: Vec::new(), buckets: bucket(number) };
    (0..BUCKETS).map(|number| (instance(number), guarded(number))).collect()
}

fn far(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { v4(2) } else { v6(2) }
}

/// From which of the ports a datagram from the other end reaches this address and port, and to which an answer may go.
fn seen(world: &World, address: IpAddr, own: u16) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let near = UdpSocket::bind((address, own)).unwrap();
    let plain = UdpSocket::bind((PLAIN[usize::from(address.is_ipv6())], own)).unwrap();
    world.send(PORTS, near.local_addr().unwrap(), plain.local_addr().unwrap());
    // What is sent to the plain address comes last, and comes.
    plain.recv(&mut [0; 16]).unwrap();
    near.set_nonblocking(true).unwrap();
    let heard =
        std::iter::from_fn(|| near.recv_from(&mut [0; 16]).ok().map(|(_, from)| from.port())).collect();
    near.set_nonblocking(false).unwrap();
    let may = |port: &u16| match near.send_to(b"hello", SocketAddr::new(far(address), *port)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{address}: {error}"),
    };
    (heard, PORTS.filter(may).collect())
}

fn expected(shared: &Shared, held: &[u32], own: u16) -> BTreeSet<u16> {
    let is_held = |port: &u16| held.contains(&shared.bucket_of(far(shared.address), Some((*port, own))));
    PORTS.filter(is_held).collect()
}

/// What answers a datagram in fragments has ports, and the question had none: so the source's bucket counts as well.
fn expected_answers(shared: &Shared, held: &[u32]) -> BTreeSet<u16> {
    match held.contains(&shared.bucket_of(far(shared.address), None)) {
        true => PORTS.collect(),
        false => expected(shared, held, 9),
    }
}

#[track_caller]
fn assert_held(world: &World, shared: &Shared, held: &[u32]) {
    let wanted = (expected(shared, held, 9), expected_answers(shared, held));
    assert_eq!(seen(world, shared.address, 9), wanted, "{held:?}");
}

fn passes_only_while_its_lease_stands(address: IpAddr) {
    let world = World::new();
    let shared = shared(address, HashOf::SourcePort);
    let mut lease = KernelLease::open(TABLE).unwrap();
    lease.install(&divided(&[Arc::clone(&shared)]), &[]).unwrap();
    assert_held(&world, &shared, &[]);
    lease.raise(instance(2), LONG).unwrap();
    lease.raise(instance(5), LONG).unwrap();
    assert_held(&world, &shared, &[2, 5]);
    assert_eq!(lease.renew(instance(2), LONG).unwrap(), Renewed::Stands);
    lease.drop_lease(instance(5)).unwrap();
    assert_held(&world, &shared, &[2]);
    lease.raise(instance(7), Span::millis(200)).unwrap();
    until_it_has_run_out(&mut lease, instance(7));
    assert_held(&world, &shared, &[2]);
    assert_eq!(lease.renew(instance(7), LONG).unwrap(), Renewed::Gone);
    assert_eq!(lease.standing().unwrap().into_keys().collect::<Vec<_>>(), [instance(2)]);
    (0..BUCKETS).for_each(|number| lease.raise(instance(number), LONG).unwrap());
    assert_held(&world, &shared, &(0..BUCKETS).collect::<Vec<_>>());
    lease.drop_all().unwrap();
    assert_held(&world, &shared, &[]);
}

fn what_is_hashed_decides_what_stays_together() {
    let world = World::new();
    for hash in [HashOf::Source, HashOf::SourcePort, HashOf::Ports] {
        let shared = shared(VIP, hash);
        let mut lease = KernelLease::open(TABLE).unwrap();
        lease.install(&divided(&[Arc::clone(&shared)]), &[]).unwrap();
        let held: Vec<u32> = (0..BUCKETS / 2).collect();
        held.iter().for_each(|number| lease.raise(instance(*number), LONG).unwrap());
        let [nine, ten] = [9, 10].map(|own| seen(&world, VIP, own).0);
        assert_eq!([&nine, &ten], [&expected(&shared, &held, 9), &expected(&shared, &held, 10)], "{hash:?}");
        assert_eq!(nine == ten, hash != HashOf::Ports, "{hash:?}");
        assert_eq!(nine.len() == 64 || nine.is_empty(), hash == HashOf::Source, "{hash:?}");
    }
}

fn packets_are_counted_by_bucket_and_go_on_being() {
    let world = World::new();
    let shared = shared(VIP, HashOf::SourcePort);
    let mut lease = KernelLease::open(TABLE).unwrap();
    let wanted = divided(&[Arc::clone(&shared)]);
    lease.install(&wanted, &[]).unwrap();
    lease.raise(instance(3), LONG).unwrap();
    for rounds in 1..3 {
        seen(&world, VIP, 9);
        let counters = counters(TABLE).unwrap();
        assert_eq!(counters.len(), usize::try_from(BUCKETS).unwrap());
        for number in 0..BUCKETS {
            let packets = expected(&shared, &[number], 9).len() as u64 * rounds;
            let counted = if number == 3 {
                Counted { kept: packets, dropped: 0 }
            } else {
                Counted { kept: 0, dropped: packets }
            };
            assert_eq!(counters[&(VIP, number)], counted, "bucket {number}");
        }
        // Neither a renewal nor a reload forgets.
        assert_eq!(lease.renew(instance(3), LONG).unwrap(), Renewed::Stands);
        lease.install(&wanted, &[]).unwrap();
    }
}

fn a_bucket_of_two_groups_is_refused() {
    let of = shared(VIP, HashOf::SourcePort);
    let mut wanted = divided(&[Arc::clone(&of)]);
    wanted.insert(WEB, Guarded { addresses: Vec::new(), buckets: vec![Bucket { of, number: 1 }] });
    let error = KernelLease::open(TABLE).unwrap().install(&wanted, &[]).unwrap_err();
    assert!(matches!(error, LeaseError::Shared { address, .. } if address == VIP), "{error}");
}

/// Also while this node has buckets: the answer is the group's hardware address, and comes from elsewhere.
fn the_kernel_does_not_say_where_it_is() {
    let world = World::new();
    assert!(world.answers(VIP));
    let mut lease = KernelLease::open(TABLE).unwrap();
    lease.install(&divided(&[shared(VIP, HashOf::SourcePort)]), &[]).unwrap();
    assert!(!world.answers(VIP));
    (0..BUCKETS).for_each(|number| lease.raise(instance(number), LONG).unwrap());
    assert!(!world.answers(VIP));
    assert!(world.answers(v4(1)));
}

fn buckets_come_and_go_with_the_configuration() {
    let world = World::new();
    let four = shared(VIP, HashOf::SourcePort);
    let mut lease = KernelLease::open(TABLE).unwrap();
    lease.install(&groups([(WEB, &[VIP])]), &[]).unwrap();
    lease.raise(WEB, LONG).unwrap();
    lease.install(&divided(&[Arc::clone(&four), shared(VIP6, HashOf::SourcePort)]), &[]).unwrap();
    assert_held(&world, &four, &[]);
    lease.raise(instance(1), LONG).unwrap();
    let mut watch = LeaseWatch::open(&lease).unwrap();
    assert!(!watch.changed(&mut lease).unwrap());
    // One address less: what is left of the group stands.
    lease.install(&divided(&[Arc::clone(&four)]), &[]).unwrap();
    assert_held(&world, &four, &[1]);
    assert!(!nft("list ruleset").contains("from_fd09"));
    // Somebody takes the division away.
    nft("flush chain ip systole to_10.9.0.100");
    assert!(watch.changed(&mut lease).unwrap());
    lease.install(&divided(&[Arc::clone(&four)]), &[]).unwrap();
    assert_held(&world, &four, &[1]);
    lease.install(&groups([(WEB, &[VIP])]), &[]).unwrap();
    assert!(!world.answers(VIP));
    lease.raise(WEB, LONG).unwrap();
    assert!(world.answers(VIP));
    let rules = nft("list ruleset");
    assert!(!rules.contains("jhash") && !rules.contains("to_10.9"), "{rules}");
    lease.remove().unwrap();
    assert!(world.answers(VIP));
}
