//! Other hands in our tables: who notices, who does not, and how it is mended.

use std::os::fd::AsFd;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use systole::net::lease::{KernelLease, Renewed};
use systole::net::nft::{Expression, Family, Nftables};
use systole::net::watch::LeaseWatch;
use systole::time::Span;

use super::Test;
use super::world::{TABLE, VIP, VIP6, WEB, World, assert_left, groups, ip, lease, nft};

pub(crate) const TESTS: &[Test] = &[
    ("own_changes_wake_nobody", own_changes_wake_nobody),
    ("what_others_do_elsewhere_is_no_alarm", what_others_do_elsewhere_is_no_alarm),
    ("every_change_of_our_tables_is_seen_and_mended", every_change_of_our_tables_is_seen_and_mended),
    ("a_flush_is_seen_and_mended", a_flush_is_seen_and_mended),
    ("lost_events_mean_a_look", lost_events_mean_a_look),
    ("an_interface_that_vanishes_is_seen", an_interface_that_vanishes_is_seen),
    ("what_changes_while_it_is_read_is_read_again", what_changes_while_it_is_read_is_read_again),
];

const HOUR: Span = Span::seconds(3_600);

fn is_woken(watch: &LeaseWatch) -> bool {
    let mut wanted = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::ZERO).unwrap() > 0
}

fn installed() -> KernelLease {
    let mut lease = KernelLease::open(TABLE).unwrap();
    lease.install(&groups([(WEB, &[VIP, VIP6])]), &["lo".to_owned()]).unwrap();
    lease
}

fn own_changes_wake_nobody() {
    let mut lease = installed();
    let mut watch = LeaseWatch::open(&lease).unwrap();
    lease.raise(WEB, HOUR).unwrap();
    lease.renew(WEB, HOUR).unwrap();
    lease.drop_lease(WEB).unwrap();
    lease.drop_lease(WEB).unwrap();
    lease.install(&groups([(WEB, &[VIP])]), &[]).unwrap();
    lease.raise(WEB, HOUR).unwrap();
    lease.drop_all().unwrap();
    // The kernel has told everybody before a change returns.
    assert!(!is_woken(&watch));
    assert!(!watch.changed(&mut lease).unwrap());
}

fn what_others_do_elsewhere_is_no_alarm() {
    let mut lease = installed();
    let mut watch = LeaseWatch::open(&lease).unwrap();
    nft(
        "add table ip other; add chain ip other output { type filter hook output priority 0; }; add table ip systole2",
    );
    nft("delete table ip other");
    assert!(is_woken(&watch), "this is what the test is about");
    assert!(!watch.changed(&mut lease).unwrap());
    assert!(!is_woken(&watch));
}

fn every_change_of_our_tables_is_seen_and_mended() {
    let mut lease = installed();
    let whole = nft("list ruleset");
    let mut watch = LeaseWatch::open(&lease).unwrap();
    for change in [
        "flush chain arp systole output",
        "flush chain ip systole prerouting",
        "flush table ip6 systole",
        "delete table ip systole",
        "flush set ip systole vips",
        "delete element ip6 systole vips { fd09::100 }",
        "add element ip systole held { 10.9.0.100 }",
        "add element ip systole held { 10.9.0.100 timeout 1h }",
        "add element ip systole leases { 7 timeout 1h }",
        "insert rule ip systole prerouting accept",
        "add rule netdev systole egress_lo accept",
        "flush chain netdev systole egress_lo; delete chain netdev systole egress_lo",
        "add table ip systole { flags dormant; }",
        "add chain ip systole output { policy drop; }",
        "delete table netdev systole; delete table ip systole; delete table arp systole; add table arp systole; \
         add set arp systole held { type ipv6_addr; }",
    ] {
        nft(change);
        assert!(watch.changed(&mut lease).unwrap(), "unseen: {change}");
        lease.install(&groups([(WEB, &[VIP, VIP6])]), &["lo".to_owned()]).unwrap();
        assert_eq!(sorted(&nft("list ruleset")), sorted(&whole), "not mended: {change}");
        assert!(!watch.changed(&mut lease).unwrap(), "an alarm about the mending: {change}");
        lease.raise(WEB, HOUR).unwrap();
        assert_left(&mut lease, WEB, HOUR);
        lease.drop_lease(WEB).unwrap();
    }
}

/// What was deleted and made again stands in another order.
fn sorted(listed: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = listed.split("table ").collect();
    lines.sort_unstable();
    lines
}

fn a_flush_is_seen_and_mended() {
    let world = World::new();
    let mut lease = lease([(WEB, &[VIP])]);
    let mut watch = LeaseWatch::open(&lease).unwrap();
    lease.raise(WEB, HOUR).unwrap();
    lease.drop_lease(WEB).unwrap();
    nft("flush ruleset");
    assert!(world.answers(VIP), "this is why it is watched");
    assert!(is_woken(&watch));
    assert!(watch.changed(&mut lease).unwrap());
    assert!(watch.changed(&mut lease).is_ok());
    assert_eq!(lease.renew(WEB, HOUR).unwrap(), Renewed::Gone);
    assert!(lease.raise(WEB, HOUR).is_err(), "there is nothing to raise it in");
    lease.install(&groups([(WEB, &[VIP])]), &[]).unwrap();
    assert!(!world.answers(VIP));
    lease.raise(WEB, HOUR).unwrap();
    assert!(world.answers(VIP));
    assert!(!watch.changed(&mut lease).unwrap());
}

fn lost_events_mean_a_look() {
    let mut lease = installed();
    let mut watch = LeaseWatch::open(&lease).unwrap();
    nft("add table ip other; add set ip other numbers { type mark; }");
    for round in 0..20 {
        let elements: Vec<String> = (round * 3_000..(round + 1) * 3_000).map(|at| at.to_string()).collect();
        nft(&format!("add element ip other numbers {{ {} }}", elements.join(",")));
    }
    assert!(!watch.changed(&mut lease).unwrap());
    nft("flush set ip other numbers");
    nft("flush chain ip systole output");
    assert!(watch.changed(&mut lease).unwrap());
}

/// Kernels before 6.16 delete the chain with the interface; later ones keep it for when the interface comes back.
fn an_interface_that_vanishes_is_seen() {
    ip("link add v0 type veth peer name v1");
    let mut lease = KernelLease::open(TABLE).unwrap();
    let wanted = (groups([(WEB, &[VIP])]), ["v0".to_owned()]);
    lease.install(&wanted.0, &wanted.1).unwrap();
    let mut watch = LeaseWatch::open(&lease).unwrap();
    ip("link delete v0");
    let stands = nft("list ruleset").contains("chain egress_v0 {");
    assert_ne!(watch.changed(&mut lease).unwrap(), stands);
    ip("link add v0 type veth peer name v1");
    assert!(lease.install(&wanted.0, &wanted.1).unwrap().egress());
    assert!(!watch.changed(&mut lease).unwrap());
    assert!(nft("list chain netdev systole egress_v0").contains("drop"));
}

fn what_changes_while_it_is_read_is_read_again() {
    const RULES: usize = 5_000;
    const CHANGES: usize = 50;
    const CHAIN: &str = "many";
    let mut ours = Nftables::open(TABLE).unwrap();
    let mut batch = ours.batch();
    batch.table(Family::Ip);
    batch.side_chain(Family::Ip, CHAIN);
    (0..RULES).for_each(|_| batch.rule(Family::Ip, CHAIN, &[Expression::LoadCarried]));
    ours.commit(batch, None).unwrap();
    // A thread has the namespace of the one that starts it.
    let other = thread::spawn(|| {
        let mut other = Nftables::open("other").unwrap();
        for _ in 0..CHANGES {
            let mut batch = other.batch();
            batch.table(Family::Ip);
            other.commit(batch, None).unwrap();
            poll(&mut [], 20_u8).unwrap();
        }
    });
    let mut looks = 0;
    while !other.is_finished() {
        assert_eq!(ours.rules(Family::Ip).unwrap().len(), RULES);
        looks += 1;
    }
    other.join().unwrap();
    assert!(looks > 0);
}
