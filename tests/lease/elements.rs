//! Raised, renewed, run out, dropped: what stands in the kernel, and for how long.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use systole::net::lease::{KernelLease, LeaseError, Renewed};
use systole::time::Span;
use systole::types::GroupId;

use super::Test;
use super::world::{
    MAIL, TABLE, VIP, VIP6, WEB, assert_left, groups, lease, nft, until_it_has_run_out, v4, v6,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_renewal_lengthens_what_stands", a_renewal_lengthens_what_stands),
    ("a_renewal_does_not_revive_what_has_run_out", a_renewal_does_not_revive_what_has_run_out),
    (
        "a_renewal_changes_nothing_where_one_element_is_gone",
        a_renewal_changes_nothing_where_one_element_is_gone,
    ),
    ("a_raise_sets_the_end_whatever_stood", a_raise_sets_the_end_whatever_stood),
    ("what_never_stood_can_be_dropped", what_never_stood_can_be_dropped),
    ("half_a_lease_can_be_raised_and_dropped", half_a_lease_can_be_raised_and_dropped),
    ("an_address_that_is_named_twice_stands_once", an_address_that_is_named_twice_stands_once),
    ("a_lease_shorter_than_a_tick_is_not_raised", a_lease_shorter_than_a_tick_is_not_raised),
    ("a_group_without_addresses_has_a_lease_too", a_group_without_addresses_has_a_lease_too),
    ("a_group_that_is_not_installed_has_no_lease", a_group_that_is_not_installed_has_no_lease),
    ("a_daemon_started_again_reads_what_stands", a_daemon_started_again_reads_what_stands),
    ("a_group_that_goes_takes_its_elements_along", a_group_that_goes_takes_its_elements_along),
    (
        "an_address_does_not_outlast_the_lease_of_its_new_group",
        an_address_does_not_outlast_the_lease_of_its_new_group,
    ),
    ("a_new_address_stands_when_its_group_is_raised", a_new_address_stands_when_its_group_is_raised),
    ("five_hundred_addresses_stand_as_one", five_hundred_addresses_stand_as_one),
    ("as_many_addresses_as_a_configuration_may_have", as_many_addresses_as_a_configuration_may_have),
    ("everything_can_be_dropped_before_anything_is_installed", everything_can_be_dropped_first),
];

const HOUR: Span = Span::seconds(3_600);
const DAY: Span = Span::seconds(24 * 3_600);

fn standing(lease: &mut KernelLease) -> Vec<GroupId> {
    lease.standing().unwrap().into_keys().collect()
}

fn a_renewal_lengthens_what_stands() {
    let mut lease = lease([(WEB, &[VIP, VIP6])]);
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Stands);
    assert_left(&mut lease, WEB, DAY);
    assert_eq!(lease.renew(WEB, HOUR).unwrap(), Renewed::Stands);
    assert_left(&mut lease, WEB, HOUR);
}

fn a_renewal_does_not_revive_what_has_run_out() {
    let mut lease = lease([(WEB, &[VIP, VIP6]), (MAIL, &[])]);
    lease.raise(WEB, Span::millis(100)).unwrap();
    lease.raise(MAIL, Span::millis(100)).unwrap();
    for group in [WEB, MAIL] {
        until_it_has_run_out(&mut lease, group);
        assert_eq!(lease.renew(group, HOUR).unwrap(), Renewed::Gone);
    }
    assert_eq!(standing(&mut lease), []);
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
}

fn a_renewal_changes_nothing_where_one_element_is_gone() {
    for missing in [
        "arp systole held { 10.9.0.100 }",
        "ip6 systole held { fd09::100 }",
        "netdev systole held4 { 10.9.0.100 }",
    ] {
        let mut lease = lease([(WEB, &[VIP, VIP6])]);
        lease.raise(WEB, HOUR).unwrap();
        nft(&format!("delete element {missing}"));
        assert_eq!(standing(&mut lease), [], "{missing}");
        assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Gone, "{missing}");
        assert!(!nft("list ruleset").contains("1d"), "{missing}");
    }
}

fn a_raise_sets_the_end_whatever_stood() {
    let mut lease = lease([(WEB, &[VIP, VIP6])]);
    for length in [HOUR, DAY, DAY, HOUR] {
        lease.raise(WEB, length).unwrap();
        assert_left(&mut lease, WEB, length);
    }
    lease.raise(WEB, Span::millis(100)).unwrap();
    until_it_has_run_out(&mut lease, WEB);
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
}

fn what_never_stood_can_be_dropped() {
    let mut lease = lease([(WEB, &[VIP, VIP6]), (MAIL, &[])]);
    lease.raise(MAIL, HOUR).unwrap();
    lease.drop_lease(WEB).unwrap();
    lease.drop_lease(WEB).unwrap();
    lease.drop_lease(GroupId::of("nobody's")).unwrap();
    assert_eq!(standing(&mut lease), [MAIL]);
    assert!(!nft("list ruleset").contains("expires 1"), "what is added to be deleted is never seen");
}

fn half_a_lease_can_be_raised_and_dropped() {
    let mut lease = lease([(WEB, &[VIP, VIP6])]);
    let lose_one = || nft("delete element ip systole held { 10.9.0.100 }");
    lease.raise(WEB, HOUR).unwrap();
    lose_one();
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
    lose_one();
    lease.drop_lease(WEB).unwrap();
    assert!(!nft("list ruleset").contains("expires"));
}

fn an_address_that_is_named_twice_stands_once() {
    let mut lease = lease([(WEB, &[VIP, VIP6, VIP, VIP6])]);
    lease.raise(WEB, HOUR).unwrap();
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Stands);
    lease.drop_lease(WEB).unwrap();
    assert_eq!(standing(&mut lease), []);
}

fn a_lease_shorter_than_a_tick_is_not_raised() {
    let mut lease = lease([(WEB, &[VIP])]);
    let error = lease.raise(WEB, Span::micros(999)).unwrap_err();
    assert!(matches!(error, LeaseError::TooShort { .. }), "{error}");
    assert!(!nft("list ruleset").contains("elements = { 10.9.0.100 timeout"));
    lease.raise(WEB, HOUR).unwrap();
    assert!(matches!(lease.renew(WEB, Span::ZERO), Err(LeaseError::TooShort { .. })));
    assert_left(&mut lease, WEB, HOUR);
    // The shortest that is raised ends as well: a timeout of no ticks would never.
    let LeaseError::TooShort { least, .. } = error else { return };
    lease.raise(WEB, least).unwrap();
    until_it_has_run_out(&mut lease, WEB);
}

fn a_group_without_addresses_has_a_lease_too() {
    let mut lease = lease([(WEB, &[])]);
    assert_eq!(lease.renew(WEB, HOUR).unwrap(), Renewed::Gone);
    lease.raise(WEB, HOUR).unwrap();
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Stands);
    assert_left(&mut lease, WEB, DAY);
    lease.drop_lease(WEB).unwrap();
    assert_eq!(standing(&mut lease), []);
}

fn a_group_that_is_not_installed_has_no_lease() {
    let mut lease = lease([(WEB, &[VIP])]);
    assert!(matches!(lease.raise(MAIL, HOUR), Err(LeaseError::UnknownGroup(MAIL))));
    assert!(matches!(lease.renew(MAIL, HOUR), Err(LeaseError::UnknownGroup(MAIL))));
}

fn a_daemon_started_again_reads_what_stands() {
    let all: [(GroupId, &[IpAddr]); 3] =
        [(WEB, &[VIP, VIP6]), (MAIL, &[v4(101)]), (GroupId::of("files"), &[])];
    let mut first = lease(all);
    first.raise(WEB, HOUR).unwrap();
    first.raise(GroupId::of("files"), DAY).unwrap();
    drop(first);
    let mut second = lease(all);
    assert_left(&mut second, WEB, HOUR);
    assert_left(&mut second, GroupId::of("files"), DAY);
    assert_eq!(second.standing().unwrap().len(), 2);
    assert_eq!(second.renew(WEB, DAY).unwrap(), Renewed::Stands);
}

fn a_group_that_goes_takes_its_elements_along() {
    let mut lease = lease([(WEB, &[VIP]), (MAIL, &[v4(101), VIP6])]);
    lease.raise(WEB, HOUR).unwrap();
    lease.raise(MAIL, DAY).unwrap();
    lease.install(&groups([(WEB, &[VIP])]), &[]).unwrap();
    let listed = nft("list ruleset");
    assert!(!listed.contains("10.9.0.101") && !listed.contains("fd09::100"), "{listed}");
    assert_left(&mut lease, WEB, HOUR);
    lease.install(&groups([(WEB, &[VIP]), (MAIL, &[v4(101), VIP6])]), &[]).unwrap();
    assert_eq!(standing(&mut lease), [WEB], "what went does not come back by itself");
    assert!(!nft("list ruleset").contains("1d"));
}

fn an_address_does_not_outlast_the_lease_of_its_new_group() {
    let mut lease = lease([(WEB, &[VIP]), (MAIL, &[v4(101)])]);
    lease.raise(WEB, HOUR).unwrap();
    lease.raise(MAIL, DAY).unwrap();
    lease.install(&groups([(WEB, &[VIP, v4(101)]), (MAIL, &[])]), &[]).unwrap();
    let held = nft("list set ip systole held");
    assert!(held.contains("10.9.0.100") && !held.contains("10.9.0.101"), "{held}");
    assert_eq!(standing(&mut lease), [MAIL]);
}

fn a_new_address_stands_when_its_group_is_raised() {
    let mut lease = lease([(WEB, &[VIP])]);
    lease.raise(WEB, HOUR).unwrap();
    lease.install(&groups([(WEB, &[VIP, v4(101)])]), &[]).unwrap();
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Gone);
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Stands);
}

fn many(count: u32) -> Vec<IpAddr> {
    let four = (0..count / 2).map(|at| Ipv4Addr::from(0x0a0a_0000 + at).into());
    let six = (0..count / 2).map(|at| Ipv6Addr::from((0xfd0a_u128 << 112) + u128::from(at)).into());
    four.chain(six).collect()
}

fn stand_as_one(count: u32) {
    let addresses = many(count);
    let mut lease = lease([(WEB, &addresses), (MAIL, &[VIP])]);
    lease.raise(MAIL, HOUR).unwrap();
    lease.raise(WEB, HOUR).unwrap();
    assert_left(&mut lease, WEB, HOUR);
    assert_eq!(lease.renew(WEB, DAY).unwrap(), Renewed::Stands);
    assert_left(&mut lease, WEB, DAY);
    let held = nft("list set ip6 systole held");
    assert_eq!(held.matches("timeout 1d").count(), addresses.len() / 2);
    lease.drop_lease(WEB).unwrap();
    assert_eq!(standing(&mut lease), [MAIL]);
    lease.raise(WEB, Span::millis(100)).unwrap();
    until_it_has_run_out(&mut lease, WEB);
    assert_eq!(lease.renew(WEB, HOUR).unwrap(), Renewed::Gone);
    assert_eq!(standing(&mut lease), [MAIL]);
}

fn five_hundred_addresses_stand_as_one() {
    stand_as_one(500);
}

fn as_many_addresses_as_a_configuration_may_have() {
    stand_as_one(u32::try_from(systole::config::limits::ADDRESSES).unwrap() - 2);
}

fn everything_can_be_dropped_first() {
    let mut empty = KernelLease::open(TABLE).unwrap();
    empty.drop_all().unwrap();
    let mut first = lease([(WEB, &[VIP, v6(0x101)])]);
    first.raise(WEB, HOUR).unwrap();
    empty.drop_all().unwrap();
    assert_eq!(standing(&mut first), []);
    assert!(!nft("list ruleset").contains("expires"));
}
