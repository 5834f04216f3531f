//! What the lease in the kernel costs: `cargo bench --bench lease [SECTION]`, as root, with `ip`. It prints what it
//! measured, and judges nothing.
//!
//! It works in network namespaces of its own. Figures that are compared are taken in turn within the same rounds.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the message")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use nix::poll::{PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use systole::config::HashOf;
use systole::net::announce::{Announcer, Pace};
use systole::net::frame::{Interface, Mac};
use systole::net::lease::{Bucket, Guarded, KernelLease, Renewed, Shared};
use systole::net::route::{AT_ONCE, Address, Route};
use systole::net::watch::LeaseWatch;
use systole::time::Span;
use systole::types::GroupId;

const GROUP: GroupId = GroupId::of("web");
/// Calls of each kind.
const CALLS: usize = 200;
/// Rounds of which the median is taken, and packets in a round.
const ROUNDS: usize = 31;
const PACKETS: u32 = 20_000;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    unshare(CloneFlags::CLONE_NEWNET).expect("this needs root");
    let sections: [(&str, fn()); 4] =
        [("calls", calls), ("packets", packets), ("buckets", buckets), ("takeover", takeover)];
    for (name, run) in sections {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            println!("\n## {name}\n");
            run();
        }
    }
}

/// The time of one transaction, by the number of addresses; and beside a watch, for whom the kernel makes events.
fn calls() {
    println!("| addresses | watched | call | median, us | most, us |\n| --- | --- | --- | --- | --- |");
    for (name, addresses) in [
        ("1 IPv4", four(1)),
        ("1 IPv6", vec![six(0)]),
        ("100 IPv4", four(100)),
        ("500 IPv4", four(500)),
        ("500 IPv6", (0..500).map(six).collect()),
    ] {
        let mut lease = KernelLease::open("systole").unwrap();
        lease.install(&BTreeMap::from([(GROUP, addresses.into())]), &["lo".to_owned()]).unwrap();
        for watched in [false, true] {
            let _watch = watched.then(|| LeaseWatch::open(&lease).unwrap());
            let said = if watched { "yes" } else { "no" };
            for (call, times) in ["raise", "renew", "drop"].into_iter().zip(time_calls(&mut lease)) {
                let (median, most) = (times[CALLS / 2], times[CALLS - 1]);
                println!("| {name} | {said} | {call} | {median:.0} | {most:.0} |");
            }
        }
        lease.remove().unwrap();
    }
}

fn four(count: u32) -> Vec<IpAddr> {
    (1..=count).map(|at| Ipv4Addr::from(0x0a0a_0000 + at).into()).collect()
}

fn six(at: u32) -> IpAddr {
    Ipv6Addr::from((0xfd0a_u128 << 112) + 1 + u128::from(at)).into()
}

/// Microseconds of each raise, renewal and drop, the quickest first.
fn time_calls(lease: &mut KernelLease) -> [Vec<f64>; 3] {
    let length = Span::seconds(60);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..CALLS {
        let start = Instant::now();
        lease.raise(GROUP, length).unwrap();
        times[0].push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        assert_eq!(lease.renew(GROUP, length).unwrap(), Renewed::Stands);
        times[1].push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        lease.drop_lease(GROUP).unwrap();
        times[2].push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    times
}

/// What a holder does when it has won, as the daemon does it: the lease, the addresses, the announcements. Milliseconds
/// from the beginning.
fn takeover() {
    let _far = cable();
    let mut route = Route::open().unwrap();
    let link = route.link("v0").unwrap();
    let interface = Interface {
        index: link.index,
        name: "v0".into(),
        mac: link.mac.unwrap(),
        link_local: None,
        forwards: false,
    };
    println!("| addresses | raised | first announced | last added | last announced | and in both forms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, addresses) in [
        ("1 IPv4", four(1)),
        ("100 IPv4", four(100)),
        ("500 IPv4", four(500)),
        ("500 IPv6", (0..500).map(six).collect()),
    ] {
        let mut lease = KernelLease::open("systole").unwrap();
        lease.install(&BTreeMap::from([(GROUP, addresses.clone().into())]), &["v0".to_owned()]).unwrap();
        let mut rounds: Vec<[f64; 5]> =
            (0..ROUNDS).map(|_| one_takeover(&mut lease, &mut route, &interface, &addresses)).collect();
        let mut median = |at: usize| {
            rounds.sort_by(|one, other| one[at].total_cmp(&other[at]));
            rounds[ROUNDS / 2][at]
        };
        let medians: Vec<String> = (0..5).map(|at| format!("{:.2}", median(at))).collect();
        println!("| {name} | {} |", medians.join(" | "));
        lease.remove().unwrap();
    }
}

fn one_takeover(
    lease: &mut KernelLease,
    route: &mut Route,
    interface: &Interface,
    addresses: &[IpAddr],
) -> [f64; 5] {
    let mut announcer = Announcer::new(Pace { repeats: Vec::new(), ..Pace::default() });
    let prefix = |address: &IpAddr| if address.is_ipv4() { 16 } else { 64 };
    let placed: Vec<Address> =
        addresses.iter().map(|address| Address::new(interface.index, *address, prefix(address))).collect();
    let start = Instant::now();
    let now = || Span::micros(u64::try_from(start.elapsed().as_micros()).unwrap());
    let mut times = [0.0; 5];
    let mut note = |at: usize| times[at] = start.elapsed().as_secs_f64() * 1e3;
    lease.raise(GROUP, Span::seconds(60)).unwrap();
    note(0);
    let mut frames = 0;
    for some in placed.chunks(AT_ONCE) {
        assert!(route.add_addresses(some).unwrap().is_empty());
        note(2);
        let here: Vec<_> = some.iter().map(|placed| (interface.clone(), placed.address)).collect();
        announcer.add(GROUP, &here, now());
        let sent = announcer.run(now()).frames;
        if frames == 0 {
            note(1);
        }
        frames += sent;
    }
    while let Some(due) = announcer.next_due() {
        if frames < addresses.len() as u64 {
            note(3);
        }
        // As the daemon waits: in whole milliseconds, rounded up.
        let milliseconds = (due - now()).as_micros().div_ceil(1_000);
        poll(&mut [], PollTimeout::try_from(milliseconds).unwrap()).unwrap();
        frames += announcer.run(now()).frames;
    }
    note(4);
    lease.drop_lease(GROUP).unwrap();
    assert!(route.delete_addresses(&placed).unwrap().is_empty());
    times
}

/// A datagram over a cable, to and from an address that is held among 500: without rules, with them, and with the filter
/// of announcements.
fn packets() {
    let far = cable();
    let vip: IpAddr = [10, 9, 0, 100].into();
    let near = UdpSocket::bind((vip, 9)).unwrap();
    near.connect(far.local_addr().unwrap()).unwrap();
    far.connect(near.local_addr().unwrap()).unwrap();
    let others = (0..499).map(|at: u32| Ipv4Addr::from(0x0a0a_0000 + at).into());
    let groups = BTreeMap::from([(GROUP, std::iter::once(vip).chain(others).collect::<Vec<_>>().into())]);
    let kinds: [(&str, Option<&[String]>); 3] =
        [("none", None), ("ip, arp", Some(&[])), ("ip, arp, egress", Some(&["v0".to_owned()]))];
    let mut times = vec![(Vec::new(), Vec::new()); kinds.len()];
    for _ in 0..ROUNDS {
        for ((_, interfaces), times) in kinds.iter().zip(&mut times) {
            let lease = interfaces.map(|interfaces| {
                let mut lease = KernelLease::open("systole").unwrap();
                lease.install(&groups, interfaces).unwrap();
                lease.raise(GROUP, Span::seconds(60)).unwrap();
                lease
            });
            times.0.push(time_packets(&far));
            times.1.push(time_packets(&near));
            lease.into_iter().for_each(|lease| lease.remove().unwrap());
        }
    }
    println!("| rules | to it, ns a packet | from it, ns a packet |\n| --- | --- | --- |");
    for ((name, _), (mut inward, mut outward)) in kinds.into_iter().zip(times) {
        inward.sort_by(f64::total_cmp);
        outward.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} | {:.0} |", inward[ROUNDS / 2], outward[ROUNDS / 2]);
    }
}

/// A datagram over a cable to an address that every node has: without rules, and where its bucket is this node's or not.
fn buckets() {
    let far = cable();
    let vip: IpAddr = [10, 9, 0, 100].into();
    let near = UdpSocket::bind((vip, 9)).unwrap();
    far.connect(near.local_addr().unwrap()).unwrap();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let shared = Shared { address: vip, mac, hash: HashOf::SourcePort, buckets: 12, seed: 0x1234_abcd };
    let number = shared.bucket_of([10, 9, 0, 2].into(), Some((7, 9)));
    let bucket = Bucket { of: Arc::new(shared), number };
    let groups = BTreeMap::from([(GROUP, Guarded { addresses: Vec::new(), buckets: vec![bucket] })]);
    let kinds =
        [("none", None), ("its bucket is this node's", Some(true)), ("its bucket is another's", Some(false))];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for ((_, held), times) in kinds.iter().zip(&mut times) {
            let lease = held.map(|held| {
                let mut lease = KernelLease::open("systole").unwrap();
                lease.install(&groups, &[]).unwrap();
                if held {
                    lease.raise(GROUP, Span::seconds(60)).unwrap();
                }
                lease
            });
            times.push(time_packets(&far));
            lease.into_iter().for_each(|lease| lease.remove().unwrap());
        }
    }
    let mut table = "| rules | ns a packet, the way over the cable included | packets a second |\n\
                     | --- | --- | --- |\n"
        .to_owned();
    for ((name, _), mut times) in kinds.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        table.push_str(&format!("| {name} | {median:.0} | {:.0} |\n", 1e9 / median));
    }
    print!("{table}");
    if std::env::args().any(|argument| argument == "--write-page") {
        write_page(&table);
    }
}

/// Puts the figures into the page that speaks of them, between its two marks.
fn write_page(table: &str) {
    let (page, [first, last]) = ("docs/clusterip.md", ["<!-- figures -->", "<!-- end of figures -->"]);
    let text = std::fs::read_to_string(page).expect("it is run from the root of the repository");
    let (before, rest) = text.split_once(first).expect("the page has a mark before the figures");
    let (_, after) = rest.split_once(last).expect("the page has a mark behind the figures");
    std::fs::write(page, format!("{before}{first}\n\n{table}\n{last}{after}")).unwrap();
}

/// Nanoseconds a packet. Who sends carries it all the way to the other's socket; that this is full soon changes nothing.
fn time_packets(from: &UdpSocket) -> f64 {
    let start = Instant::now();
    for _ in 0..PACKETS {
        from.send(&[0; 64]).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PACKETS)
}

/// `v0` here, with the address; a socket at the other end.
fn cable() -> UdpSocket {
    let (say_who, who) = mpsc::channel::<Pid>();
    let (plug_in, plugged_in) = mpsc::channel::<()>();
    let far = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        say_who.send(gettid()).unwrap();
        plugged_in.recv().unwrap();
        ip("link set v1 up");
        ip("address add 10.9.0.2/24 dev v1");
        ip("neighbour replace 10.9.0.100 lladdr 02:00:00:00:00:01 dev v1 nud permanent");
        UdpSocket::bind(("10.9.0.2", 7)).unwrap()
    });
    let (near, peer) = ("address 02:00:00:00:00:01", "address 02:00:00:00:00:02");
    ip(&format!("link add v0 {near} type veth peer name v1 {peer} netns {}", who.recv().unwrap()));
    ip("link set lo up");
    ip("link set v0 up");
    ip("address add 10.9.0.100/24 dev v0");
    ip("neighbour replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent");
    plug_in.send(()).unwrap();
    far.join().unwrap()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("`ip` is installed");
    assert!(status.success(), "ip {arguments}");
}
