//! A node dies, comes back, is cut off or stands still: who is disturbed, and that nobody has what another has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use nix::sys::signal::Signal;
use systole::lab::{BadCable, Fault, clock};
use systole::time::Span;

use super::cluster::{Bucket, CLIENT, CROSS, Cluster, DEADTIME, LAN, address, client};
use super::overlap::{Found, watch};
use super::service::Connection;

/// Long-lived connections, over all buckets.
const CONNECTIONS: u8 = 200;

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its cables are cut behind the switches.
    Cable,
    /// Its daemon is killed, and is not started again.
    Kill,
    /// Its daemon stands still.
    Hang,
}

/// Connections that stay, of the whole cluster, by the bucket that they fall into.
fn connect(cluster: &Cluster, port: u16) -> Vec<(Bucket, Connection)> {
    let space = cluster.lab.machine(CLIENT).unwrap().space();
    let mut all = Vec::new();
    for v6 in [false, true] {
        let (to, shared) = (address(v6), &cluster.shared[&address(v6)]);
        for number in 0..CONNECTIONS / 2 {
            let from = SocketAddr::new(client(v6, number % 50), port + u16::from(number / 50));
            let connection = space.run(move || Connection::open(from, to)).unwrap();
            let bucket = shared.bucket_of(from.ip(), Some((from.port(), 0)));
            all.push(((to, bucket), connection));
        }
    }
    all
}

/// Those whose node answers still, and those that are gone: torn down, not silent.
fn ask(cluster: &Cluster, all: Vec<(Bucket, Connection)>) -> (Vec<(Bucket, Connection)>, Vec<Bucket>) {
    let space = cluster.lab.machine(CLIENT).unwrap().space();
    space.run(move || {
        let (mut well, mut gone) = (Vec::new(), Vec::new());
        for (bucket, mut connection) in all {
            match connection.asks_again() {
                Ok(same) => {
                    assert!(same, "{} has another node", connection.from);
                    well.push((bucket, connection));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => gone.push(bucket),
                Err(error) => panic!("{}: {error}", connection.from),
            }
        }
        (well, gone)
    })
}

pub(crate) fn assert_none_twice(found: &Found) {
    println!("    each kernel was read {} times, and no bucket was kept by two", found.rounds);
    assert!(found.overlaps.is_empty(), "{:?}", found.overlaps);
    assert!(found.rounds > 50, "{}", found.rounds);
}

fn of<'a>(owners: &'a BTreeMap<Bucket, String>, node: &'a str) -> impl Iterator<Item = Bucket> + 'a {
    owners.iter().filter(move |(_, owner)| *owner == node).map(|(bucket, _)| *bucket)
}

pub(crate) fn a_node_dies(death: Death) {
    let mut cluster = Cluster::start(4, "");
    cluster.settle(&["lb0", "lb1", "lb2", "lb3"]);
    let before = cluster.owners();
    let dead: BTreeSet<Bucket> = of(&before, "lb3").collect();
    let connections = connect(&cluster, 40_000);
    let watch = watch(&cluster);
    let all = cluster.all().len();
    let began = clock::now();
    match death {
        Death::Cable => {
            cluster.lab.cut("lb3", LAN).unwrap();
            cluster.lab.cut("lb3", CROSS).unwrap();
        }
        Death::Kill => cluster.lab.machine_mut("lb3").unwrap().kill().unwrap(),
        Death::Hang => cluster.lab.machine_mut("lb3").unwrap().signal_all(Signal::SIGSTOP).unwrap(),
    }
    let survivors = ["lb0", "lb1", "lb2"];
    cluster.wait_until("the survivors keep all", |cluster| {
        let kept = cluster.kept();
        survivors.iter().map(|node| kept[*node].len()).sum::<usize>() == all
    });
    let took = clock::now() - began;
    let beyond = Span(took.0.saturating_sub(DEADTIME.0));
    println!("    {death:?}: all buckets are kept after {took}, {beyond} beyond deadtime");
    let after = cluster.owners();
    let counts = survivors.map(|node| of(&after, node).count() / 2);
    println!("    buckets of the survivors: {counts:?}");
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    for (bucket, owner) in &before {
        assert!(dead.contains(bucket) || after[bucket] == *owner, "{bucket:?} has moved, and needed not");
    }
    let total = connections.len();
    let (well, gone) = ask(&cluster, connections);
    println!(
        "    of {total} connections {} go on, {} were the dead node's and are reset",
        well.len(),
        gone.len()
    );
    assert!(gone.iter().all(|bucket| dead.contains(bucket)), "{gone:?}");
    assert!(well.iter().all(|(bucket, _)| !dead.contains(bucket)));
    assert!(!gone.is_empty() && !well.is_empty());
    assert_none_twice(&watch.finish().unwrap());
}

pub(crate) fn a_node_goes_and_comes_back() {
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    let watch = watch(&cluster);
    let began = clock::now();
    let output = cluster.ask("lb2", &["standby"]);
    assert!(output.status.success(), "{output:?}");
    cluster.settle(&["lb0", "lb1"]);
    let two = clock::now() - began;
    let before = cluster.owners();
    let connections = connect(&cluster, 45_000);
    let began = clock::now();
    let output = cluster.ask("lb2", &["online"]);
    assert!(output.status.success(), "{output:?}");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    let three = clock::now() - began;
    let after = cluster.owners();
    let moved: BTreeSet<Bucket> = before
        .iter()
        .filter(|(bucket, owner)| after[*bucket] != **owner)
        .map(|(bucket, _)| *bucket)
        .collect();
    assert_eq!(moved, of(&after, "lb2").collect(), "only what lb2 has now has moved");
    let total = connections.len();
    let (well, gone) = ask(&cluster, connections);
    println!(
        "    lb2 gave all away within {two}, and had its share again within {three}: {} of {} buckets moved; of {total} connections {} go on, {} are reset",
        moved.len(),
        after.len(),
        well.len(),
        gone.len()
    );
    assert!(gone.iter().all(|bucket| moved.contains(bucket)), "{gone:?}");
    assert!(well.iter().all(|(bucket, _)| !moved.contains(bucket)));
    assert_none_twice(&watch.finish().unwrap());
}

/// Nobody's neighbour tables hold what the nodes do not tell: all daemons are started again, and the client asks anew.
pub(crate) fn daemons_that_are_started_again_answer() {
    let nodes = ["lb0", "lb1", "lb2"];
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&nodes);
    let connections = connect(&cluster, 40_000);
    for node in nodes {
        cluster.lab.machine_mut(node).unwrap().kill().unwrap();
        cluster.boot(node);
    }
    cluster.settle(&nodes);
    let space = cluster.lab.machine(CLIENT).unwrap().space();
    let flush =
        || std::process::Command::new("ip").args(["neighbour", "flush", "dev", "eth0"]).status().unwrap();
    assert!(space.run(flush).success());
    let total = connections.len();
    let (well, gone) = ask(&cluster, connections);
    println!("    of {total} connections {} go on, {} are reset", well.len(), gone.len());
    connect(&cluster, 42_000);
}

/// Other buckets, while everything runs: afterwards each connection has one node again.
pub(crate) fn a_reload_divides_anew() {
    let nodes = ["lb0", "lb1", "lb2"];
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&nodes);
    cluster.reload("clones = 9");
    cluster.settle(&nodes);
    let owners = cluster.owners();
    assert_eq!(owners.len(), 18);
    for (bucket, connection) in connect(&cluster, 40_000) {
        assert_eq!(connection.node, owners[&bucket], "{}", connection.from);
    }
}

/// Another program takes both addresses away, three times: that is three times for each, however many families there are
/// and however many buckets are here; and no reason for a bucket to leave.
pub(crate) fn a_removed_address_is_back() {
    let mut cluster = Cluster::start(2, "");
    cluster.settle(&["lb0", "lb1"]);
    let before = cluster.owners();
    for time in 1..=3 {
        for removed in [address(false), address(true)] {
            assert!(cluster.lab.machine_mut("lb0").unwrap().wipe(removed).unwrap());
        }
        for removed in [address(false), address(true)] {
            cluster.wait_until("it is back, and that is told", |cluster| {
                let is_back = cluster.lab.machine_mut("lb0").unwrap().has(removed).unwrap();
                is_back && times(cluster, removed).contains(&time)
            });
        }
    }
    for removed in [address(false), address(true)] {
        assert_eq!(times(&cluster, removed), [1, 2, 3], "{}", cluster.lab.log("lb0"));
    }
    assert_eq!(cluster.owners(), before);
}

/// Which times lb0 has told of this address, line by line.
fn times(cluster: &Cluster, removed: IpAddr) -> Vec<usize> {
    let log = cluster.lab.log("lb0");
    let lines = log.lines().filter_map(|line| line.split_once("web: somebody removed "));
    let told = lines.filter_map(|(_, told)| told.split_once("; "));
    let of = told.filter(|(addresses, _)| addresses.split(", ").any(|one| one == removed.to_string()));
    let time = |rest: &str| rest.split_once("(time ")?.1.split(' ').next()?.parse().ok();
    of.filter_map(|(_, rest)| time(rest)).collect()
}

pub(crate) fn no_bucket_is_kept_twice(count: usize) {
    let mut cluster = Cluster::start(count, "");
    let nodes = cluster.nodes.clone();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    cluster.settle(&nodes);
    let watch = watch(&cluster);
    let (first, last) = (nodes[0], nodes[count - 1]);
    for node in [first, last] {
        for both in [false, true] {
            cluster.lab.cut(node, LAN).unwrap();
            if both {
                cluster.lab.cut(node, CROSS).unwrap();
                let others = nodes.iter().copied().filter(|other| *other != node);
                cluster.settle(&others.collect::<Vec<_>>());
            }
            pass(&mut cluster, DEADTIME * 2);
            whole_again(&mut cluster, node, &nodes);
        }
        // Deaf, and then mute.
        let lost = Fault { loss_percent: 100, delay: Span::ZERO };
        let well = Fault { loss_percent: 0, delay: Span::ZERO };
        for bad in [BadCable { out: well, into: lost }, BadCable { out: lost, into: well }] {
            cluster.lab.spoil(node, LAN, bad).unwrap();
            cluster.lab.spoil(node, CROSS, bad).unwrap();
            pass(&mut cluster, DEADTIME * 3);
            whole_again(&mut cluster, node, &nodes);
        }
        for length in [DEADTIME / 2, DEADTIME * 2] {
            cluster.lab.machine_mut(node).unwrap().signal_all(Signal::SIGSTOP).unwrap();
            pass(&mut cluster, length);
            cluster.lab.machine_mut(node).unwrap().signal_all(Signal::SIGCONT).unwrap();
            cluster.settle(&nodes);
        }
        cluster.lab.pull(node, LAN).unwrap();
        pass(&mut cluster, DEADTIME * 2);
        whole_again(&mut cluster, node, &nodes);
        cluster.lab.machine_mut(node).unwrap().kill().unwrap();
        cluster.boot(node);
        cluster.settle(&nodes);
    }
    // Everybody alone: nobody keeps anything.
    for node in &nodes {
        cluster.lab.cut(node, LAN).unwrap();
        cluster.lab.cut(node, CROSS).unwrap();
    }
    cluster.wait_until("nobody keeps anything", |cluster| cluster.kept().values().all(BTreeSet::is_empty));
    for node in &nodes {
        whole_again(&mut cluster, node, &[]);
    }
    cluster.settle(&nodes);
    assert_none_twice(&watch.finish().unwrap());
}

pub(crate) fn pass(cluster: &mut Cluster, length: Span) {
    let until = clock::now() + length;
    cluster.wait_until("time passes", |_| clock::now() >= until);
}

/// Mends both cables of a node, and waits until all is shared out among these; among none: does not wait.
pub(crate) fn whole_again(cluster: &mut Cluster, node: &str, among: &[&str]) {
    cluster.lab.plug(node, LAN).unwrap();
    cluster.lab.plug(node, CROSS).unwrap();
    if !among.is_empty() {
        cluster.settle(among);
    }
}
