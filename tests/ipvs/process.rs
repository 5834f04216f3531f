//! The director as it runs, beside IPVS: what its process sets, when a server leaves and returns, and connections that go on
//! through the other director.

use std::collections::BTreeMap;

use systole::lab::clock;
use systole::net::ipvs::{Ipvs, SyncRole};
use systole::time::Span;

use crate::Test;
use crate::peer::Connection;
use crate::site::{DIRECT, DIRECTORS, Site, TRANSLATED, lines};
use crate::world::run;

pub(crate) const TESTS: &[Test] = &[
    ("the_directors_process_sets_what_ipvsadm_reads_and_a_pulled_cable_takes_a_server_out", |_| leaves()),
    ("connections_go_on_through_the_other_director", |_| go_on()),
    ("a_firewall_that_knows_connections_takes_settings_and_then_they_go_on", |_| firewalled()),
    ("a_firewall_that_is_not_loose_ends_translated_connections", |_| strict()),
];

/// The ends of the names of connections: who speaks first when another director has them.
const CLIENT: &str = "the client speaks";
const SERVER: &str = "the server speaks";

/// Where nobody waits for a check.
const QUICK: &str = "{ kind = \"tcp\", every = \"1s\", timeout = \"1s\" }";

/// Longer than a connection pauses that goes on, on an emulated machine.
const LONG: Span = Span::seconds(100);
/// Where it is expected to be dead. What would come later is no answer to the test.
const SHORT: Span = Span::seconds(12);

/// Checks as a site has them that is not in a hurry.
const EVERY: Span = Span::seconds(6);
const TIMEOUT: Span = Span::seconds(2);
const FALL: u32 = 2;

fn leaves() {
    let check = format!(
        "{{ kind = \"tcp\", every = \"{EVERY}\", timeout = \"{TIMEOUT}\", rise = 1, fall = {FALL} }}"
    );
    let mut site = Site::start(&check);
    let (all, one) = (lines(&[11, 12]), lines(&[11]));
    all.iter().for_each(|line| println!("  {line}"));
    assert_eq!(site.tables(), site.tables_by_us());
    for to in [TRANSLATED, DIRECT] {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..6 {
            *counts.entry(site.open(to).server).or_default() += 1;
        }
        assert_eq!(counts, BTreeMap::from([("one".to_owned(), 4), ("two".to_owned(), 2)]), "{to}");
    }
    assert!(serves(&site, &all));
    site.lab.pull("two", "back").unwrap();
    let left = site.wait("it leaves both tables", |site| serves(site, &one));
    assert_eq!(site.open(TRANSLATED).server, "one");
    assert_eq!(site.open(DIRECT).server, "one");
    site.lab.plug("two", "back").unwrap();
    let returned = site.wait("it returns", |site| serves(site, &all));
    let most = EVERY * u64::from(FALL) + TIMEOUT;
    println!("  checked every {EVERY}: it left after {left} (at most {most}), and returned after {returned}");
}

/// Whether both tables are so, whatever connections there are and have been.
fn serves(site: &Site, wanted: &[String]) -> bool {
    site.tables().iter().all(|lines| without_counts(lines) == without_counts(wanted))
}

/// What `ipvsadm` reads, without the numbers of connections.
fn without_counts(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect()
}

/// A connection, and what it is.
type Named = (String, Connection);

/// Of each service two connections: on one of them the client speaks first after the takeover, on the other one the server.
fn open_all(site: &Site) -> Vec<Named> {
    let mut open = Vec::new();
    for (name, to) in [("translated", TRANSLATED), ("direct", DIRECT)] {
        open.push((format!("{name}, {CLIENT}"), site.open(to)));
        let mut stream = site.open(to);
        stream.stream();
        open.push((format!("{name}, {SERVER}"), stream));
    }
    open
}

/// The director dies through which they go. Says whether each went on, and waits so long for each.
fn fail_over(site: &mut Site, mut open: Vec<Named>, patience: fn(&str) -> Span) -> Vec<(String, bool)> {
    let daemon = |role| vec![(role, "eth1".to_owned(), 7)];
    let (sends, receives) = (daemon(SyncRole::Sends), daemon(SyncRole::Receives));
    site.wait("the holder tells its connections, and the other learns them", |site| {
        roles(site) == [sends.clone(), receives.clone()]
    });
    site.wait("the other director knows them", |site| {
        for (_, connection) in open.iter_mut().filter(|(name, _)| name.ends_with(CLIENT)) {
            assert!(connection.lives());
        }
        let known = site.within("lb1", known);
        open.iter().all(|(_, connection)| known.contains(&connection.port()))
    });
    site.lab.machine_mut("lb0").unwrap().kill().unwrap();
    for cable in ["lan", "back"] {
        site.lab.pull("lb0", cable).unwrap();
    }
    let took = site.wait("the other director has the addresses", |site| site.holds("lb1"));
    let moved = clock::now();
    println!("  the addresses moved after {took}");
    let changed = site.wait("it tells its connections now", |site| roles(site)[1] == sends);
    println!("  it tells its own {changed} later");
    let went_on = open.into_iter().map(|(name, mut connection)| {
        let well = match name.ends_with(CLIENT) {
            true => connection.lives_within(patience(&name)),
            false => connection.streams_after(moved, patience(&name)),
        };
        println!("  {name}: {}", if well { "goes on" } else { "does not go on" });
        (name, well)
    });
    went_on.collect()
}

/// What the kernel's daemons of each director do.
fn roles(site: &Site) -> Vec<Vec<(SyncRole, String, u8)>> {
    let read = || {
        let all = Ipvs::open().unwrap().daemons().unwrap();
        all.into_iter().map(|daemon| (daemon.role, daemon.interface, daemon.id)).collect()
    };
    DIRECTORS.map(|node| site.within(node, read)).into()
}

/// The client's ports of the connections that are open as this kernel knows it.
fn known() -> Vec<u16> {
    let text = std::fs::read_to_string("/proc/thread-self/net/ip_vs_conn").unwrap();
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(7) == Some(&"ESTABLISHED"))
        .map(|row| u16::from_str_radix(row[2], 16).unwrap())
        .collect()
}

fn go_on() {
    let mut site = Site::start(QUICK);
    let open = open_all(&site);
    let went_on = fail_over(&mut site, open, |_| LONG);
    assert!(went_on.iter().all(|(_, well)| *well), "{went_on:?}");
    assert_eq!(without_counts(&site.tables()[1]), without_counts(&lines(&[11, 12])));
    // And new ones are divided as before.
    for to in [TRANSLATED, DIRECT] {
        let servers = [(); 3].map(|()| site.open(to).server);
        assert_eq!(servers.iter().filter(|server| *server == "one").count(), 2, "{servers:?}");
    }
}

fn firewalled() {
    let mut site = Site::start(QUICK);
    site.within("lb0", guard);
    site.within("lb1", guard);
    println!("  net.ipv4.vs.conntrack = 0:");
    // What is translated comes back as a connection that nobody knows.
    check_opens(&site, [false, true]);
    set(&site, "ipv4/vs/conntrack", "1");
    println!("  net.ipv4.vs.conntrack = 1:");
    // Of what is direct the answers are not seen.
    check_opens(&site, [true, false]);
    leave_direct_alone(&site);
    println!("  and what is direct is not tracked:");
    check_opens(&site, [true, true]);
    let open = open_all(&site);
    let went_on = fail_over(&mut site, open, |_| LONG);
    assert!(went_on.iter().all(|(_, well)| *well), "{went_on:?}");
}

fn strict() {
    let mut site = Site::start(QUICK);
    site.within("lb0", guard);
    site.within("lb1", guard);
    set(&site, "ipv4/vs/conntrack", "1");
    leave_direct_alone(&site);
    set(&site, "netfilter/nf_conntrack_tcp_loose", "0");
    let open = open_all(&site);
    let went_on = fail_over(&mut site, open, |name| if name.starts_with("direct") { LONG } else { SHORT });
    for (name, well) in &went_on {
        assert_eq!(*well, name.starts_with("direct"), "{name}");
    }
    let rules = site.within("lb1", || run("nft list chain inet guard input"));
    assert!(rules.contains("invalid counter") && !rules.contains("packets 0 "), "{rules}");
}

/// A firewall of this machine that drops what belongs to no connection that it knows.
fn guard() {
    run("nft add table inet guard");
    for hook in ["input", "forward", "output"] {
        run(&format!("nft add chain inet guard {hook} {{ type filter hook {hook} priority 0; }}"));
        run(&format!("nft add rule inet guard {hook} ct state invalid counter drop"));
    }
}

fn set(site: &Site, name: &'static str, value: &'static str) {
    for node in DIRECTORS {
        site.within(node, move || std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }
}

fn leave_direct_alone(site: &Site) {
    for node in DIRECTORS {
        site.within(node, || {
            run("nft add chain inet guard first { type filter hook prerouting priority raw; }");
            run("nft add rule inet guard first ip daddr 10.78.0.101 tcp dport 80 notrack");
        });
    }
}

/// Connections to which of both services come about and hold.
fn check_opens(site: &Site, wanted: [bool; 2]) {
    for ((name, to), wanted) in [("translated", TRANSLATED), ("direct", DIRECT)].into_iter().zip(wanted) {
        let patience = if wanted { LONG } else { SHORT };
        let opens = site.within("client", move || Connection::opens(to, patience));
        println!("    {name}: {}", if opens { "can be opened" } else { "cannot be opened" });
        assert_eq!(opens, wanted);
    }
}
