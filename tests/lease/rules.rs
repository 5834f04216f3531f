//! What is installed, as nft reads it.

use std::net::IpAddr;

use systole::net::lease::{KernelLease, LeaseError};
use systole::time::Span;
use systole::types::GroupId;

use super::world::{MAIL, TABLE, VIP, VIP6, WEB, groups, ip, lease, nft, run, v4, v6};
use super::{OPEN_ONLY, Test};

pub(crate) const TESTS: &[Test] = &[
    ("nft_reads_the_rules_as_they_are_meant", nft_reads_the_rules_as_they_are_meant),
    ("only_the_families_that_have_addresses_are_touched", only_the_families_that_have_addresses_are_touched),
    ("an_interface_that_goes_takes_its_chain_along", an_interface_that_goes_takes_its_chain_along),
    ("an_interface_that_is_missing_stops_nothing_else", an_interface_that_is_missing_stops_nothing_else),
    ("a_clean_stop_leaves_what_others_have", a_clean_stop_leaves_what_others_have),
    ("an_address_of_two_groups_is_refused", an_address_of_two_groups_is_refused),
    (
        "nft_takes_the_lines_that_check_prints_for_a_firewall",
        nft_takes_the_lines_that_check_prints_for_a_firewall,
    ),
    ("who_may_not_is_told_what_to_do", who_may_not_is_told_what_to_do),
];

const EXPECTED: &str = include_str!("rules.nft");

fn list() -> String {
    nft("list ruleset")
}

fn nft_reads_the_rules_as_they_are_meant() {
    let mut lease = KernelLease::open(TABLE).unwrap();
    let wanted = groups([(WEB, &[VIP, VIP6, v4(101)]), (MAIL, &[v6(0x102)])]);
    let installed = lease.install(&wanted, &["lo".to_owned()]).unwrap();
    assert!(installed.egress() && !installed.remade, "{installed:?}");
    if std::env::var_os("SYSTOLE_BLESS").is_some() {
        std::fs::write("tests/lease/rules.nft", list()).unwrap();
    }
    assert_eq!(list(), EXPECTED);
    lease.raise(MAIL, Span::seconds(3_000)).unwrap();
    let held = nft("list set ip6 systole held");
    assert!(held.contains("elements = { fd09::102 timeout 50m expires "), "{held}");
}

/// What goes out stands there in comments, and must be right as well.
fn nft_takes_the_lines_that_check_prints_for_a_firewall() {
    let lines = include_str!("../cli/firewall/links.nft");
    let rules = lines.lines().filter_map(|line| {
        let rule = line.trim_start_matches("# ");
        rule.starts_with("insert rule ").then_some(rule)
    });
    nft("add table inet filter; add chain inet filter input; add chain inet filter output");
    let mut count = 0;
    for rule in rules {
        nft(rule);
        count += 1;
    }
    assert_eq!((count, list().matches(" accept").count()), (22, 22), "{}", list());
    assert!(
        list().contains("iifname \"eth0\" ip saddr { 192.168.232.10, 192.168.232.11 } udp dport 694 accept")
    );
}

fn only_the_families_that_have_addresses_are_touched() {
    let mut lease = lease([(WEB, &[VIP]), (MAIL, &[])]);
    let families = || nft("list tables");
    assert_eq!(families(), "table ip systole\ntable netdev systole\ntable arp systole\n");
    lease.install(&groups([(WEB, &[VIP6])]), &[]).unwrap();
    assert_eq!(families(), "table ip systole\ntable netdev systole\ntable ip6 systole\n");
}

fn an_interface_that_goes_takes_its_chain_along() {
    ip("link add v0 type veth peer name v1");
    let mut lease = KernelLease::open(TABLE).unwrap();
    let wanted = groups([(WEB, &[VIP])]);
    let on = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(lease.install(&wanted, &on(&["v0", "v1"])).unwrap().egress());
    assert!(list().contains("chain egress_v0 {") && list().contains("chain egress_v1 {"));
    assert!(lease.install(&wanted, &on(&["v1"])).unwrap().egress());
    assert!(!list().contains("chain egress_v0 {") && list().contains("chain egress_v1 {"));
}

/// Kernels before 6.16 refuse a chain on it; later ones keep the chain until the interface comes.
fn an_interface_that_is_missing_stops_nothing_else() {
    let mut lease = KernelLease::open(TABLE).unwrap();
    let names = ["lo".to_owned(), "nowhere0".to_owned()];
    let installed = lease.install(&groups([(WEB, &[VIP])]), &names).unwrap();
    let listed = list();
    assert!(listed.contains("chain egress_lo {") && listed.contains("ip daddr @vips"), "{listed}");
    assert_ne!(installed.unfiltered.contains_key("nowhere0"), listed.contains("chain egress_nowhere0 {"));
    assert!(!installed.unfiltered.contains_key("lo"));
}

fn a_clean_stop_leaves_what_others_have() {
    nft("add table ip systole2; add table inet other");
    let before = list();
    let lease = lease([(WEB, &[VIP, VIP6])]);
    assert_ne!(list(), before);
    lease.remove().unwrap();
    assert_eq!(list(), before);
    KernelLease::open(TABLE).unwrap().remove().unwrap();
}

fn an_address_of_two_groups_is_refused() {
    let mut lease = KernelLease::open(TABLE).unwrap();
    let shared: [(GroupId, &[IpAddr]); 2] = [(WEB, &[VIP, v4(101)]), (MAIL, &[v4(101)])];
    let error = lease.install(&groups(shared), &[]).unwrap_err();
    assert!(matches!(error, LeaseError::Shared { address, .. } if address == v4(101)), "{error}");
    assert_eq!(list(), "");
}

fn who_may_not_is_told_what_to_do() {
    let myself = std::env::current_exe().unwrap();
    let bare = ["--bounding-set", "-all", "--inh-caps", "-all", myself.to_str().unwrap(), OPEN_ONLY];
    let said = run("setpriv", &bare);
    assert_eq!(said, "nftables are refused to this process: run it as root, or give it CAP_NET_ADMIN\n");
}
