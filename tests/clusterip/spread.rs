//! Who has which connection: one node, the one whose bucket it falls into, and each its share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use systole::lab::clock;

use super::cluster::{CLIENT, CLIENTS, Cluster, DEADTIME, address, client};
use super::service::{Connection, ask_all, ask_at_length};

/// From 50 addresses, 200 ports each.
const CONNECTIONS: usize = 10_000;
/// At the same time.
const AT_ONCE: usize = 200;

/// So many clients, each with a port of its own, the same in each run.
fn clients(v6: bool, count: usize) -> Vec<SocketAddr> {
    let port = |number: usize| 20_000 + u16::try_from(number / usize::from(CLIENTS)).unwrap() * 7;
    let own = |number: usize| client(v6, u8::try_from(number % usize::from(CLIENTS)).unwrap());
    (0..count).map(|number| SocketAddr::new(own(number), port(number))).collect()
}

pub(crate) fn every_connection_has_one_node(nodes: usize) {
    let mut cluster = Cluster::start(nodes, "");
    let names: Vec<String> = cluster.nodes.clone();
    cluster.settle(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for v6 in [false, true] {
        let owners = cluster.owners();
        let shared = cluster.shared[&address(v6)].clone();
        let all = clients(v6, CONNECTIONS);
        let to = shared.address;
        let space = cluster.lab.machine(CLIENT).unwrap().space();
        let (connected, answered) = {
            let all = all.clone();
            let asks = move |_: &systole::lab::Stop| {
                let connect =
                    |from: &SocketAddr| Connection::open(*from, to).map(|connection| connection.node);
                let connected: Vec<_> = all.iter().map(connect).collect();
                let mut answered = BTreeMap::new();
                for some in all.chunks(AT_ONCE) {
                    answered.extend(ask_all(some, to));
                }
                (connected, answered)
            };
            space.work("clients", asks).unwrap().finish().unwrap()
        };
        let mut buckets: BTreeMap<u32, usize> = BTreeMap::new();
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        for (from, connected) in all.iter().zip(&connected) {
            let bucket = shared.bucket_of(from.ip(), Some((from.port(), 0)));
            let owner = &owners[&(to, bucket)];
            assert_eq!(connected.as_ref().ok(), Some(owner), "{from}: {connected:?}");
            // The first question and the second, once each.
            assert_eq!(answered[from], [owner.clone(), owner.clone()], "{from}");
            *buckets.entry(bucket).or_default() += 1;
            *shares.entry(owner).or_default() += 1;
        }
        let of_buckets = chi_squared(&buckets.values().copied().collect::<Vec<_>>(), shared.buckets);
        let of_nodes =
            chi_squared(&shares.values().copied().collect::<Vec<_>>(), u32::try_from(nodes).unwrap());
        println!(
            "    {nodes} nodes, {to}: {CONNECTIONS} connections and as many datagrams, none lost and none answered twice; \
             {shares:?}; chi-squared over {} buckets {of_buckets:.1}, over the nodes {of_nodes:.1}",
            shared.buckets
        );
        // What comes by chance once in a thousand times; the clients are the same each time.
        assert!(of_buckets < at_most(shared.buckets), "{buckets:?}");
        assert!(of_nodes < at_most(u32::try_from(nodes).unwrap()), "{shares:?}");
    }
}

/// How far counts are from being equal.
fn chi_squared(counts: &[usize], of: u32) -> f64 {
    let sum: usize = counts.iter().sum();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let even = number(sum) / f64::from(of);
    let missing = f64::from(of) - number(counts.len());
    counts.iter().map(|count| (number(*count) - even).powi(2) / even).sum::<f64>() + missing * even
}

/// The chi-squared that counts of so many places exceed once in a thousand times, by Wilson and Hilferty.
fn at_most(places: u32) -> f64 {
    let free = f64::from(places - 1);
    let part = 2.0 / (9.0 * free);
    free * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
}

/// What has no ports goes by its source: a ping, and a datagram in fragments.
pub(crate) fn a_ping_and_a_fragment_have_one_node() {
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    let space = cluster.lab.machine(CLIENT).unwrap().space();
    for v6 in [false, true] {
        for number in 0..10 {
            let (from, to) = (client(v6, number), address(v6));
            let said = space.run(move || ping(from, to, 56));
            assert!(said.contains("3 received") && !said.contains("DUP"), "{said}");
            let said = space.run(move || ping(from, to, 4_000));
            assert!(said.contains("3 received") && !said.contains("DUP"), "{said}");
        }
    }
}

/// A question in fragments goes by its source, and its answer, which has ports, comes back all the same.
pub(crate) fn a_datagram_in_fragments_is_answered() {
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    let owners = cluster.owners();
    for v6 in [false, true] {
        let shared = cluster.shared[&address(v6)].clone();
        for from in clients(v6, 100) {
            let owner = &owners[&(shared.address, shared.bucket_of(from.ip(), None))];
            let (space, to) = (cluster.lab.machine(CLIENT).unwrap().space(), shared.address);
            assert_eq!(space.run(move || ask_at_length(from, to)).as_ref(), Some(owner), "{from}");
        }
    }
}

fn ping(from: IpAddr, to: IpAddr, bytes: u16) -> String {
    let mut command = Command::new("ping");
    command.args(["-n", "-i", "0.01", "-c", "3", "-W", "20", "-s", &bytes.to_string()]);
    let output = command.arg("-I").arg(from.to_string()).arg(to.to_string()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A node that asks for a neighbour in the name of the address teaches it nothing wrong: all go on.
pub(crate) fn the_neighbours_know_one_place() {
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    for v6 in [false, true] {
        let shared = cluster.shared[&address(v6)].clone();
        for round in 0..3_u16 {
            // Each node forgets its neighbours, and has to ask before it can answer.
            for node in &cluster.nodes {
                let space = cluster.lab.machine(node).unwrap().space();
                space.run(|| ip("neighbour flush dev eth0"));
            }
            let space = cluster.lab.machine(CLIENT).unwrap().space();
            let to = shared.address;
            for number in 0..CLIENTS {
                let from = SocketAddr::new(client(v6, number), 30_000 + round);
                space.run(move || Connection::open(from, to).map(drop)).unwrap();
                let known = space.run(move || ip(&format!("neighbour show {to}")));
                assert!(known.contains(&shared.mac.to_string()), "{known}");
            }
        }
    }
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node with twice the weight has twice as many, and none has more than it may.
pub(crate) fn weights_and_limits_are_kept() {
    let mut cluster = Cluster::start(3, "clones = 12\nclones-per-node = 5\nweights = { lb0 = 4 }");
    let count = |cluster: &mut Cluster| {
        let kept = cluster.kept();
        ["lb0", "lb1", "lb2"].map(|node| kept[node].len() / 2)
    };
    cluster.wait_until("lb0 has five, the others what is left", |cluster| {
        count(cluster) == [5, 4, 3] || count(cluster) == [5, 3, 4]
    });
    cluster.lab.machine_mut("lb2").unwrap().kill().unwrap();
    cluster.wait_until("the two others have five each", |cluster| {
        let now = count(cluster);
        now[0] == 5 && now[1] == 5 && now[2] == 0
    });
    // Longer than anybody waits before he steps in where nobody serves.
    let until = clock::now() + DEADTIME * 5;
    cluster.wait_until("time passes", |_| clock::now() >= until);
    assert_eq!(count(&mut cluster), [5, 5, 0]);
    let said = String::from_utf8(cluster.ask("lb0", &["status"]).stdout).unwrap();
    assert!(said.contains("as many instances as it may have"), "{said}");
}
