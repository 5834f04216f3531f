//! Real connections: a client in front, two servers behind.

use std::collections::BTreeMap;

use systole::config::{At, Forwarding};
use systole::director::balancer::Balance;
use systole::net::ipvs::{Counters, Destination, Ipvs};

use crate::Test;
use crate::peer::{Connection, ask};
use crate::seen::{by_ipvsadm, by_us};
use crate::want::{all, service, settled, table, tcp};
use crate::world::{World, run};

pub(crate) const TESTS: &[Test] = &[
    ("translated_and_direct_connections_of_both_families_are_divided", divided),
    ("connections_that_the_firewall_marks_are_divided", marked),
    ("weights_divide_and_a_change_counts_at_once", weights),
    ("a_quiesced_server_keeps_what_it_has_and_gets_nothing_new", quiesced),
    ("a_removed_server_gets_nothing", removed),
    ("counters_are_what_ipvsadm_reads", counted),
];

const V4: [(&str, u32); 2] = [("10.2.0.11:80", 1), ("10.2.0.12:80", 1)];
const V6: [(&str, u32); 2] = [("[fd02::11]:80", 1), ("[fd02::12]:80", 1)];

fn shares(r1: usize, r2: usize) -> BTreeMap<String, usize> {
    let shares = [("r1", r1), ("r2", r2)];
    shares.into_iter().filter(|(_, share)| *share > 0).map(|(name, share)| (name.to_owned(), share)).collect()
}

fn divided(world: &World) {
    let to = ["10.1.0.100:80", "10.2.0.100:80", "[fd01::100]:80", "[fd02::100]:80"];
    let [nat, direct, nat_6, direct_6] = to.map(|to| service(tcp(to), "rr"));
    let _ipvs = settled(&all(&[
        table(nat, Forwarding::Nat, &V4),
        table(direct, Forwarding::Direct, &V4),
        table(nat_6, Forwarding::Nat, &V6),
        table(direct_6, Forwarding::Direct, &V6),
    ]));
    for to in to {
        let had = world.client.enter(|| ask(to, 20));
        assert_eq!(had, shares(10, 10), "{to}");
        println!("  {to}: {had:?}");
    }
    assert_eq!(by_us(), by_ipvsadm());
}

fn marked(world: &World) {
    run("nft add table inet marks");
    run("nft add chain inet marks in { type filter hook prerouting priority mangle; }");
    run("nft add rule inet marks in ip daddr { 10.1.0.101, 10.1.0.102 } tcp dport 80 meta mark set 7");
    run("nft add rule inet marks in ip6 daddr { fd01::101, fd01::102 } tcp dport 80 meta mark set 7");
    let at = |v6| At::Mark { mark: 7, v6 };
    let tables = all(&[
        table(service(at(false), "rr"), Forwarding::Nat, &V4),
        table(service(at(true), "rr"), Forwarding::Nat, &V6),
    ]);
    let _ipvs = settled(&tables);
    // Two addresses are one service, so the second goes on where the first has ended.
    for to in ["10.1.0.101:80", "10.1.0.102:80", "[fd01::101]:80", "[fd01::102]:80"] {
        assert_eq!(world.client.enter(|| ask(to, 10)), shares(5, 5), "{to}");
    }
    run("nft delete table inet marks");
}

fn weights(world: &World) {
    let to = "10.1.0.100:80";
    let weighing = |r1, r2| {
        table(service(tcp(to), "wrr"), Forwarding::Nat, &[("10.2.0.11:80", r1), ("10.2.0.12:80", r2)])
    };
    let mut ipvs = settled(&all(&[weighing(1, 1)]));
    assert_eq!(world.client.enter(|| ask(to, 12)), shares(6, 6));
    ipvs.change("s0", &weighing(3, 1)).unwrap();
    assert_eq!(world.client.enter(|| ask(to, 12)), shares(9, 3));
    ipvs.change("s0", &weighing(0, 1)).unwrap();
    assert_eq!(world.client.enter(|| ask(to, 12)), shares(0, 12));
}

fn quiesced(world: &World) {
    let to = "10.1.0.100:80";
    let tables = |r1| {
        all(&[table(service(tcp(to), "rr"), Forwarding::Nat, &[("10.2.0.11:80", r1), ("10.2.0.12:80", 1)])])
    };
    let mut ipvs = settled(&tables(1));
    let open = |_| world.client.enter(|| Connection::open(to));
    let mut open: Vec<Connection> = (0..4).map(open).collect();
    assert_eq!(open.iter().filter(|one| one.server == "r1").count(), 2);
    ipvs.change("s0", &tables(0)["s0"]).unwrap();
    assert_eq!(world.client.enter(|| ask(to, 10)), shares(0, 10));
    assert!(open.iter_mut().all(Connection::lives), "what was open stays open");
    let mut kernel = Ipvs::open().unwrap();
    let seen = kernel.destinations(tcp(to)).unwrap();
    let r1 = seen.iter().find(|seen| seen.destination.weight == 0).unwrap();
    // The kernel remembers servers that have connections, so those that earlier ones left may be among the inactive.
    assert_eq!(r1.active, 2);
    assert_eq!(by_us(), by_ipvsadm());
    // It comes back, and who looks at the tables finds nothing strange.
    assert_eq!(ipvs.settle(&tables(1)), Ok(vec![]));
    assert_eq!(world.client.enter(|| ask(to, 10)), shares(5, 5));
}

fn removed(world: &World) {
    let to = "10.1.0.100:80";
    let both = table(service(tcp(to), "rr"), Forwarding::Nat, &V4);
    let mut ipvs = settled(&all(std::slice::from_ref(&both)));
    assert_eq!(world.client.enter(|| ask(to, 10)), shares(5, 5));
    ipvs.change("s0", &table(service(tcp(to), "rr"), Forwarding::Nat, &V4[1..])).unwrap();
    assert_eq!(world.client.enter(|| ask(to, 10)), shares(0, 10));
    // Somebody takes the last one; the next look puts it back.
    run("ipvsadm -d -t 10.1.0.100:80 -r 10.2.0.12:80");
    let told = "somebody else has removed server 10.2.0.12:80 from service s0 (tcp 10.1.0.100:80)";
    assert_eq!(ipvs.settle(&all(&[both])), Ok(vec![told.to_owned()]));
    assert_eq!(world.client.enter(|| ask(to, 10)), shares(5, 5));
}

fn counted(world: &World) {
    let to = "10.1.0.100:80";
    let _ipvs = settled(&all(&[table(service(tcp(to), "rr"), Forwarding::Nat, &V4)]));
    let mut kernel = Ipvs::open().unwrap();
    world.client.enter(|| ask(to, 10));
    // They are added up every two seconds, and the last packets of a connection may come a moment after it was closed.
    let found = (0..100).any(|_| {
        pause();
        let counters = counters(&mut kernel, to);
        let read = run("ipvsadm -L -n --stats --exact");
        let read: Vec<String> =
            read.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        counters[0].1.connections == 10
            && counters.iter().all(|(who, total)| read.contains(&line(who, total)))
    });
    let counters = counters(&mut kernel, to);
    assert!(found, "{counters:?} is not in {}", run("ipvsadm -L -n --stats --exact"));
    let total = counters[0].1;
    assert!(total.packets_in >= 40 && total.packets_out >= 30 && total.bytes_in > 2_000, "{total:?}");
    kernel.zero(Some(tcp(to))).unwrap();
    assert_eq!(kernel.service(tcp(to)).unwrap().unwrap().statistics.total, Counters::default());
}

/// Of the service and of each of its servers, in the words of ipvsadm.
fn counters(kernel: &mut Ipvs, to: &str) -> Vec<(String, Counters)> {
    let service = kernel.service(tcp(to)).unwrap().unwrap().statistics.total;
    let mut counters = vec![(format!("TCP {to}"), service)];
    for seen in kernel.destinations(tcp(to)).unwrap() {
        let Destination { address, port, .. } = seen.destination;
        counters.push((format!("-> {address}:{port}"), seen.statistics.total));
    }
    counters
}

fn line(who: &str, total: &Counters) -> String {
    let Counters { connections, packets_in, packets_out, bytes_in, bytes_out } = total;
    format!("{who} {connections} {packets_in} {packets_out} {bytes_in} {bytes_out}")
}

#[expect(clippy::disallowed_methods, reason = "the kernel says nothing when it has added up")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}
