//! Links, addresses, routes and neighbours, in network namespaces of the tests' own.
//!
//! Each test runs in a thread with a namespace of its own. That takes root, or `unshare --user --map-root-user`, which
//! `tests/run route` sees to.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test waits for the kernel, and a panic is its message"
)]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use systole::net::frame::Mac;
use systole::net::route::{Address, Change, End, Gateway, Link, Route, RouteError, Watch};
use systole::net::sysctl;

/// Runs a test in a namespace of its own.
fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let mend = "run the tests as root, or through `unshare --user --map-root-user`";
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("no namespace: {error}; {mend}"));
        test()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The namespace of the calling thread.
fn here() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn end(name: &str) -> End<'_> {
    End { name, mac: None, namespace: None }
}

/// Two interfaces that are the ends of one cable, both up.
fn cable(route: &mut Route) -> (Link, Link) {
    route.add_veth(end("left"), end("right"), None).unwrap();
    for name in ["left", "right"] {
        let index = route.link(name).unwrap().index;
        route.set_up(index, true).unwrap();
    }
    (route.link("left").unwrap(), route.link("right").unwrap())
}

/// Until it is so, or for ten seconds.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it does not become so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_pair_of_interfaces_has_the_names_numbers_and_macs_it_was_given() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left_mac, right_mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let left = End { mac: Some(left_mac), ..end("left") };
        let right = End { mac: Some(right_mac), ..end("right") };
        route.add_veth(left, right, Some((11, 22))).unwrap();
        let left = route.link("left").unwrap();
        let right = route.link("right").unwrap();
        assert_eq!((left.index, left.mac, left.peer), (11, Some(left_mac), Some(22)));
        assert_eq!((right.index, right.mac, right.peer), (22, Some(right_mac), Some(11)));
        assert_eq!((left.kind.as_deref(), left.mtu, left.up), (Some("veth"), 1500, false));
        assert_eq!(route.link_at(22).unwrap(), right);
        assert_eq!(route.links().unwrap().len(), 3, "the loopback and these two");
    });
}

#[test]
fn carrier_is_there_when_both_ends_are_up_and_lost_when_the_other_end_goes_down() {
    alone(|| {
        let mut route = Route::open().unwrap();
        route.add_veth(end("left"), end("right"), None).unwrap();
        let (left, right) = (route.link("left").unwrap().index, route.link("right").unwrap().index);
        route.set_up(left, true).unwrap();
        let link = route.link_at(left).unwrap();
        assert_eq!((link.up, link.carrier), (true, false));
        route.set_up(right, true).unwrap();
        assert!(route.link_at(left).unwrap().carrier);
        route.set_up(right, false).unwrap();
        let link = route.link_at(left).unwrap();
        assert_eq!((link.up, link.carrier), (true, false));
        route.set_up(left, false).unwrap();
        assert!(!route.link_at(left).unwrap().up);
    });
}

#[test]
fn an_end_is_made_in_another_namespace_and_a_link_moves_there() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let home = here();
        let (there, mut other) = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            (here(), Route::open().unwrap())
        })
        .join()
        .unwrap();
        let right = End { namespace: Some(there.as_fd()), ..end("eth0") };
        route.add_veth(end("left"), right, Some((66, 77))).unwrap();
        assert!(matches!(route.link("eth0"), Err(RouteError::NoLink { .. })));
        assert_eq!(other.link("eth0").unwrap().index, 77);
        other.move_link(77, home.as_fd()).unwrap();
        assert!(other.link("eth0").is_err());
        let moved = route.link("eth0").unwrap();
        assert_eq!(moved.peer, Some(route.link("left").unwrap().index));
    });
}

#[test]
fn a_bridge_takes_ports_and_lets_them_go() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        route.add_bridge("switch").unwrap();
        let bridge = route.link("switch").unwrap();
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        route.set_port_of(left.index, Some(bridge.index)).unwrap();
        assert_eq!(route.link("left").unwrap().port_of, Some(bridge.index));
        route.set_port_of(left.index, None).unwrap();
        assert_eq!(route.link("left").unwrap().port_of, None);
        route.delete_link(left.index).unwrap();
        assert!(route.link("right").is_err(), "the other end goes with it");
        route.delete_link(left.index).expect("what is gone is deleted");
    });
}

#[test]
fn addresses_come_back_as_they_were_added_and_adding_one_that_stands_is_success() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        let labelled = Address {
            label: Some("left:web".to_owned()),
            broadcast: Some(Ipv4Addr::new(10, 1, 0, 255)),
            ..Address::new(left.index, ip("10.1.0.7"), 24)
        };
        let plain = Address::new(left.index, ip("10.2.0.7"), 16);
        let v6 = Address::new(left.index, ip("fd00::7"), 64);
        for _ in 0..2 {
            for address in [&labelled, &plain, &v6] {
                route.add_address(address).unwrap();
            }
        }
        let all = route.addresses().unwrap();
        let find = |wanted: &Address| {
            let mut found = all.iter().filter(|address| address.address == wanted.address);
            let first = found.next().expect("it was added").clone();
            assert_eq!(found.next(), None, "only once");
            first
        };
        assert_eq!(find(&labelled), labelled);
        let read = find(&plain);
        assert_eq!((read.prefix, read.label.as_deref()), (16, Some("left")));
        assert_eq!(read.broadcast, Some(Ipv4Addr::new(10, 2, 255, 255)));
        assert_eq!(find(&v6), v6, "usable at once: nobody is asked");
        for _ in 0..2 {
            for address in [&labelled, &plain, &v6] {
                route.delete_address(address).unwrap();
            }
        }
        let left_over =
            |address: &Address| [ip("10.1.0.7"), ip("10.2.0.7"), ip("fd00::7")].contains(&address.address);
        assert!(!route.addresses().unwrap().iter().any(left_over));
    });
}

#[test]
fn five_hundred_addresses_stand_after_one_call_and_are_gone_after_another() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        for (network, prefix) in [("10.9", 16), ("fd00:9:", 64)] {
            let some: Vec<_> = (0..500_u16)
                .map(|at| {
                    if prefix == 16 {
                        format!("{network}.{}.{}", at / 250, at % 250)
                    } else {
                        format!("{network}:{at:x}")
                    }
                })
                .map(|text| Address::new(left.index, ip(&text), prefix))
                .collect();
            let start = Instant::now();
            assert!(route.add_addresses(&some).unwrap().is_empty());
            let added = start.elapsed();
            let count = |route: &mut Route| {
                let all = route.addresses().unwrap();
                some.iter().filter(|wanted| all.iter().any(|found| found.address == wanted.address)).count()
            };
            assert_eq!(count(&mut route), 500);
            let start = Instant::now();
            assert!(route.delete_addresses(&some).unwrap().is_empty());
            println!("500 addresses of {network}: added in {added:?}, deleted in {:?}", start.elapsed());
            assert_eq!(count(&mut route), 0);
            assert!(route.delete_addresses(&some).unwrap().is_empty(), "missing ones are deleted");
        }
    });
}

#[test]
fn addresses_that_fail_are_named_and_the_others_stand() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        let some: Vec<_> = (0..600_u32)
            .map(|at| {
                let index = if at == 3 || at == 599 { 4_000 } else { left.index };
                Address::new(index, IpAddr::from(Ipv4Addr::from(0x0a09_0001 + at)), 16)
            })
            .collect();
        let failed = route.add_addresses(&some).unwrap();
        assert_eq!(failed.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [3, 599]);
        assert!(failed.iter().all(|(_, error)| error.is_missing_link()));
        let shown = failed[0].1.to_string();
        assert_eq!(
            shown,
            "cannot add 10.9.0.4/16 on interface 4000: No such device (os error 19); the interface is gone: look at \
             `ip link`"
        );
        assert_eq!(route.addresses().unwrap().len(), 598 + 2, "two link-local ones besides");
    });
}

#[test]
fn a_missing_interface_is_named_with_what_to_do() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let error = route.link("eth7").unwrap_err();
        let mend = "look at `ip link` for the one that is meant";
        assert_eq!(error.to_string(), format!("there is no interface `eth7`: {mend}"));
        for name in ["", "a-name-that-is-too-long", "a\0b"] {
            assert!(matches!(route.link(name), Err(RouteError::NoLink { .. })), "{name:?}");
        }
        assert!(route.link_at(77).unwrap_err().is_missing_link());
        assert!(route.set_up(77, true).unwrap_err().is_missing_link());
    });
}

#[test]
fn without_the_right_to_it_the_message_says_how_to_get_it() {
    const INDEX: &str = "SYSTOLE_TEST_INDEX";
    if let Ok(index) = std::env::var(INDEX) {
        let address = Address::new(index.parse().unwrap(), ip("10.1.0.7"), 24);
        println!("{}", Route::open().unwrap().add_address(&address).unwrap_err());
        return;
    }
    alone(|| {
        let (left, _) = cable(&mut Route::open().unwrap());
        // This test again, in a namespace of users inside of this one: its root has no rights over this network.
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "without_the_right_to_it_the_message_says_how_to_get_it"])
            .env(INDEX, left.index.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let wanted = "may not add 10.1.0.7/24 on left: run as root, or with the capability CAP_NET_ADMIN";
        assert!(said.contains(wanted), "{said}{}", String::from_utf8_lossy(&child.stderr));
    });
}

#[test]
fn the_route_names_the_interface_the_prefix_and_the_gateway() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, right) = cable(&mut route);
        assert_eq!(route.path_to(ip("10.1.0.9")).unwrap(), None);
        for (index, address, prefix) in
            [(left.index, "10.1.0.1", 24), (right.index, "10.2.0.1", 16), (left.index, "fd00::1", 64)]
        {
            route.add_address(&Address::new(index, ip(address), prefix)).unwrap();
        }
        let path = route.path_to(ip("10.1.0.9")).unwrap().unwrap();
        assert_eq!((path.index, path.prefix, path.gateway, path.local), (left.index, 24, None, false));
        assert_eq!(path.source, Some(ip("10.1.0.1")));
        let path = route.path_to(ip("fd00::9")).unwrap().unwrap();
        assert_eq!((path.index, path.prefix, path.gateway, path.local), (left.index, 64, None, false));
        let own = route.path_to(ip("10.2.0.1")).unwrap().unwrap();
        assert_eq!((own.index, own.prefix, own.local), (right.index, 16, true), "not the loopback");
        let own = route.path_to(ip("fd00::1")).unwrap().unwrap();
        assert_eq!((own.index, own.prefix, own.local), (left.index, 64, true));
        route.add_default_route(Gateway { index: left.index, address: ip("10.1.0.254") }).unwrap();
        let path = route.path_to(ip("192.0.2.1")).unwrap().unwrap();
        assert_eq!((path.index, path.prefix, path.gateway), (left.index, 0, Some(ip("10.1.0.254"))));
    });
}

#[test]
fn default_gateways_are_those_of_the_interface_in_both_families() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, right) = cable(&mut route);
        assert_eq!(route.default_gateways(left.index).unwrap(), []);
        for (index, address, prefix) in
            [(left.index, "10.1.0.1", 24), (right.index, "10.2.0.1", 24), (left.index, "fd00::1", 64)]
        {
            route.add_address(&Address::new(index, ip(address), prefix)).unwrap();
        }
        let v4 = Gateway { index: left.index, address: ip("10.1.0.254") };
        let v6 = Gateway { index: left.index, address: ip("fd00::ff") };
        for _ in 0..2 {
            route.add_default_route(v4).unwrap();
            route.add_default_route(v6).unwrap();
        }
        assert_eq!(route.default_gateways(left.index).unwrap(), [v4, v6]);
        assert_eq!(route.default_gateways(right.index).unwrap(), []);
        let refused =
            route.add_default_route(Gateway { index: right.index, address: ip("10.7.0.1") }).unwrap_err();
        assert!(
            refused.to_string().starts_with("cannot add the default route by 10.7.0.1 on right: "),
            "{refused}"
        );
    });
}

#[test]
fn neighbours_are_written_read_and_forgotten() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, right) = cable(&mut route);
        let (v4, v6, mac) = (ip("10.1.0.9"), ip("fd00::9"), Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(route.neighbour(left.index, v4).unwrap(), None);
        for address in [v4, v6] {
            route.set_neighbour(left.index, address, mac).unwrap();
            let found = route.neighbour(left.index, address).unwrap().unwrap();
            assert_eq!((found.address, found.mac, found.permanent), (address, Some(mac), true));
        }
        assert_eq!(route.neighbours(left.index).unwrap().len(), 2);
        assert_eq!(route.neighbours(right.index).unwrap(), []);
        route.forget_neighbours(left.index).unwrap();
        assert_eq!(route.neighbours(left.index).unwrap().len(), 2, "they are permanent");
        for _ in 0..2 {
            route.forget_neighbour(left.index, v4).unwrap();
        }
        assert_eq!(route.neighbour(left.index, v4).unwrap().and_then(|found| found.mac), None);
    });
}

#[test]
fn a_neighbour_that_is_asked_for_in_vain_has_no_mac_and_is_flushed() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        route.add_address(&Address::new(left.index, ip("10.1.0.1"), 24)).unwrap();
        let socket = std::net::UdpSocket::bind("10.1.0.1:0").unwrap();
        socket.send_to(b"who?", "10.1.0.9:7").unwrap();
        let asked = route.neighbour(left.index, ip("10.1.0.9")).unwrap().unwrap();
        assert_eq!((asked.mac, asked.permanent), (None, false));
        route.forget_neighbours(left.index).unwrap();
        assert_eq!(route.neighbour(left.index, ip("10.1.0.9")).unwrap(), None);
    });
}

#[test]
fn changes_of_links_and_addresses_are_told() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let mut watch = Watch::open().unwrap();
        let mut told = Vec::new();
        watch.changes(|change| told.push(change)).unwrap();
        assert_eq!(told, [], "nothing has changed");
        let (left, right) = cable(&mut route);
        let address =
            Address { label: Some("left:a".to_owned()), ..Address::new(left.index, ip("10.1.0.7"), 24) };
        route.add_address(&address).unwrap();
        route.delete_address(&address).unwrap();
        route.set_up(right.index, false).unwrap();
        // Carrier that is lost is told late.
        eventually(|| {
            watch.changes(|change| told.push(change)).unwrap();
            let lost = |change: &Change| matches!(change, Change::Link(link) if link.name == "left" && link.up && !link.carrier);
            let position = told.iter().rposition(lost)?;
            let had =
                |change: &Change| matches!(change, Change::Link(link) if link.name == "left" && link.carrier);
            told[..position].iter().any(had).then_some(())
        });
        let broadcast = Some(Ipv4Addr::new(10, 1, 0, 255));
        let shown = Address { broadcast, ..address };
        let added = told.iter().position(|change| *change == Change::Address(shown.clone()));
        let gone = told.iter().position(|change| *change == Change::AddressGone(shown.clone()));
        assert!(added.is_some() && gone > added, "{told:?}");
        route.delete_link(left.index).unwrap();
        watch.changes(|change| told.push(change)).unwrap();
        let gone = |change: &Change| matches!(change, Change::LinkGone(link) if link.name == "left");
        assert_eq!(told.iter().filter(|change| gone(change)).count(), 1);
    });
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_told_as_a_link_that_is_gone() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        route.add_bridge("switch").unwrap();
        let bridge = route.link("switch").unwrap().index;
        route.set_port_of(left.index, Some(bridge)).unwrap();
        let mut watch = Watch::open().unwrap();
        route.set_port_of(left.index, None).unwrap();
        let mut told = Vec::new();
        watch.changes(|change| told.push(change)).unwrap();
        let is_left = |link: &Link| link.index == left.index && link.port_of.is_none();
        let has_left = |change: &Change| matches!(change, Change::Link(link) if is_left(link));
        assert!(told.iter().any(has_left), "{told:?}");
        assert!(!told.iter().any(|change| matches!(change, Change::LinkGone(_))), "{told:?}");
    });
}

#[test]
fn changes_that_were_lost_are_said_to_be() {
    alone(|| {
        let mut route = Route::open().unwrap();
        let (left, _) = cable(&mut route);
        let mut watch = Watch::open().unwrap();
        let some: Vec<_> = (1..1_000)
            .map(|at| Address::new(left.index, ip(&format!("10.7.{}.{}", at / 250, at % 250)), 16))
            .collect();
        for _ in 0..10 {
            assert!(route.add_addresses(&some).unwrap().is_empty());
            assert!(route.delete_addresses(&some).unwrap().is_empty());
        }
        let mut everything = 0;
        eventually(|| {
            let mut count = 0;
            watch
                .changes(|change| {
                    count += 1;
                    everything += usize::from(change == Change::Everything);
                })
                .unwrap();
            (count == 0).then_some(())
        });
        assert!(everything > 0, "twenty thousand changes fit in no buffer");
    });
}

#[test]
fn a_setting_is_that_of_the_threads_namespace() {
    let before = sysctl::get("net/ipv4/ip_nonlocal_bind").unwrap();
    alone(|| {
        assert_eq!(sysctl::get("net/ipv4/ip_nonlocal_bind").unwrap(), "0");
        sysctl::set("net/ipv4/ip_nonlocal_bind", "1").unwrap();
        assert_eq!(sysctl::get("net/ipv4/ip_nonlocal_bind").unwrap(), "1");
        let error = sysctl::set("net/ipv4/conf/eth7/arp_notify", "1").unwrap_err().to_string();
        assert!(error.starts_with("cannot write /proc/sys/net/ipv4/conf/eth7/arp_notify: "), "{error}");
        assert!(error.ends_with("look for it with `sysctl -a`"), "{error}");
    });
    assert_eq!(sysctl::get("net/ipv4/ip_nonlocal_bind").unwrap(), before);
}
