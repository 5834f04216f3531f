//! What somebody at the other end of the cable sees of an address: everything while its lease stands, and nothing else.

use std::net::IpAddr;

use systole::net::lease::{KernelLease, Renewed};
use systole::time::Span;

use super::Test;
use super::world::{MAIL, PLAIN, TABLE, VIP, VIP6, WEB, World, groups, lease, until_it_has_run_out, v4};

pub(crate) const TESTS: &[Test] = &[
    ("an_ipv4_address_is_there_only_while_its_lease_stands", || is_there_only_while_its_lease_stands(VIP)),
    ("an_ipv6_address_is_there_only_while_its_lease_stands", || is_there_only_while_its_lease_stands(VIP6)),
    (
        "an_announcement_is_dropped_unless_the_lease_stands",
        an_announcement_is_dropped_unless_the_lease_stands,
    ),
    ("an_advertisement_is_dropped_whoever_sends_it", an_advertisement_is_dropped_whoever_sends_it),
    ("each_group_has_a_lease_of_its_own", each_group_has_a_lease_of_its_own),
    ("a_second_installation_leaves_what_stands", a_second_installation_leaves_what_stands),
    ("an_address_that_no_group_has_is_let_alone", an_address_that_no_group_has_is_let_alone),
];

const LONG: Span = Span::seconds(3_600);

#[track_caller]
fn assert_there(world: &World, address: IpAddr) {
    let seen = (world.answers(address), world.hears(address), world.speaks(address));
    assert_eq!(seen, (true, true, true), "{address} answers, hears, speaks");
}

#[track_caller]
fn assert_silent(world: &World, address: IpAddr) {
    let seen = (world.answers(address), world.hears(address), world.speaks(address));
    assert_eq!(seen, (false, false, false), "{address} answers, hears, speaks");
}

fn is_there_only_while_its_lease_stands(address: IpAddr) {
    let world = World::new();
    assert_there(&world, address);
    let mut lease = lease([(WEB, &[address])]);
    assert_silent(&world, address);
    lease.raise(WEB, LONG).unwrap();
    assert_there(&world, address);
    assert_eq!(lease.renew(WEB, LONG).unwrap(), Renewed::Stands);
    assert_there(&world, address);
    lease.drop_lease(WEB).unwrap();
    assert_silent(&world, address);
    lease.raise(WEB, Span::millis(200)).unwrap();
    until_it_has_run_out(&mut lease, WEB);
    assert_silent(&world, address);
    lease.raise(WEB, LONG).unwrap();
    lease.drop_all().unwrap();
    assert_silent(&world, address);
    lease.remove().unwrap();
    assert_there(&world, address);
}

fn an_announcement_is_dropped_unless_the_lease_stands() {
    let world = World::new();
    let mut lease = KernelLease::open(TABLE).unwrap();
    let installed = lease.install(&groups([(WEB, &[VIP, VIP6])]), &["v0".to_owned()]).unwrap();
    assert!(installed.egress(), "{installed:?}");
    for address in [VIP, VIP6] {
        assert!(!world.announces(address), "{address}");
    }
    lease.raise(WEB, LONG).unwrap();
    for address in [VIP, VIP6] {
        assert!(world.announces(address), "{address}");
        assert_there(&world, address);
    }
    lease.drop_lease(WEB).unwrap();
    for address in [VIP, VIP6] {
        assert!(!world.announces(address), "{address}");
        assert_silent(&world, address);
    }
    lease.install(&groups([(WEB, &[VIP, VIP6])]), &[]).unwrap();
    assert!(world.announces(VIP) && world.announces(VIP6), "no interface is filtered any more");
}

fn an_advertisement_is_dropped_whoever_sends_it() {
    let world = World::new();
    let mut lease = lease([(WEB, &[VIP6])]);
    assert!(world.advertises(PLAIN[1]));
    assert!(!world.advertises(VIP6));
    lease.raise(WEB, LONG).unwrap();
    assert!(world.advertises(VIP6));
}

fn each_group_has_a_lease_of_its_own() {
    let world = World::new();
    let mut lease = lease([(WEB, &[VIP]), (MAIL, &[VIP6])]);
    lease.raise(WEB, LONG).unwrap();
    assert_there(&world, VIP);
    assert_silent(&world, VIP6);
    lease.raise(MAIL, LONG).unwrap();
    lease.drop_lease(WEB).unwrap();
    assert_silent(&world, VIP);
    assert_there(&world, VIP6);
}

fn a_second_installation_leaves_what_stands() {
    let world = World::new();
    let mut first = lease([(WEB, &[VIP]), (MAIL, &[VIP6])]);
    first.raise(WEB, LONG).unwrap();
    drop(first);
    let _second = lease([(WEB, &[VIP]), (MAIL, &[VIP6])]);
    assert_there(&world, VIP);
    assert_silent(&world, VIP6);
}

fn an_address_that_no_group_has_is_let_alone() {
    let world = World::new();
    let mut lease = lease([(WEB, &[VIP, VIP6])]);
    PLAIN.into_iter().for_each(|address| assert_there(&world, address));
    lease.install(&groups([(WEB, &[v4(101)])]), &[]).unwrap();
    assert_there(&world, VIP);
    assert_there(&world, VIP6);
}
