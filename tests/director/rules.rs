//! Our own rules in a kernel: only what differs is written, and whatever stands in the way of it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use systole::config::{At, Server, Service, Services, Transport, parse_toml};
use systole::director::balancer::Balance;
use systole::director::balancer::nftables::Own;
use systole::director::table::{Entry, Table, Tables};
use systole::net::netlink::{Events, Netlink, Protocol, attribute};
use systole::net::nft::{Batch, Expression, Family, Hook, Nftables};

use super::world::{Test, alone};

pub(crate) const TESTS: &[Test] = &[
    Test::new("rules_of_what_is_not_wanted_otherwise_are_not_touched", || alone(only_what_differs)),
    Test::new("rules_that_an_earlier_life_left_are_written_over", || alone(written_over)),
    Test::new("rules_come_about_whatever_stands_in_their_place", || alone(in_the_way)),
    Test::new("as_many_rules_as_a_configuration_may_have_are_one_transaction", || alone(as_many_as_may_be)),
];

const TABLE: &str = "systole-services";

/// Services by their addresses, each with two servers of these weights.
fn tables(wanted: &[(&str, &str, u32)]) -> Tables {
    let mut text = "[cluster]\n[node.a]\n[node.b]\n[link.x]\ninterface = \"x\"\nbroadcast = true\n\
                    [[group.web.resource]]\nagent = \"vip\"\nargs = [\"192.0.2.1/24/x\"]\n\
                    [[group.web.resource]]\nagent = \"vip\"\nargs = [\"2001:db8::1/64/x\"]\n"
        .to_owned();
    for (name, address, weight) in wanted {
        let (one, two) = if address.starts_with('[') {
            ("[2001:db8:1::1]:80", "[2001:db8:1::2]:80")
        } else {
            ("10.0.0.1:80", "10.0.0.2:80")
        };
        writeln!(
            text,
            "[service.{name}]\naddress = \"{address}\"\nbalancer = \"nftables\"\n[service.{name}.server]\n\
             one = {{ address = \"{one}\", weight = {weight} }}\ntwo = {{ address = \"{two}\", weight = 1 }}"
        )
        .unwrap();
    }
    of(&parse_toml("x", &text).unwrap_or_else(|report| panic!("{report}")).config.services)
}

/// All servers get connections.
fn of(services: &Services) -> Tables {
    let table = |(name, service): (&String, &Arc<Service>)| {
        let entry = |server: &Arc<Server>| Entry { server: Arc::clone(server), weight: server.weight };
        let entries = service.servers.iter().map(|(name, server)| (name.clone(), entry(server))).collect();
        (name.clone(), Table { service: Arc::clone(service), entries })
    };
    services.iter().map(table).collect()
}

/// What the kernel tells of what it has changed.
struct Told(Netlink);

impl Told {
    fn listen() -> Self {
        // NFNLGRP_NFTABLES.
        Self(Netlink::subscribe(Protocol::Netfilter, &[7]).unwrap())
    }

    /// The chains whose rules came or went since the last time.
    fn chains(&mut self) -> BTreeSet<String> {
        let mut chains = BTreeSet::new();
        let events = self.0.events(|kind, body| {
            // NFT_MSG_NEWRULE and NFT_MSG_DELRULE; NFTA_RULE_CHAIN.
            if matches!(kind, 0xa06 | 0xa08) {
                let name = attribute(&body[4..], 2).unwrap();
                chains.insert(String::from_utf8_lossy(&name[..name.len() - 1]).into_owned());
            }
        });
        assert_eq!(events.unwrap(), Events::Read);
        chains
    }
}

fn names(chains: &[&str]) -> BTreeSet<String> {
    chains.iter().map(|&chain| chain.to_owned()).collect()
}

/// How many rules each chain has, and chains without any.
fn chains() -> BTreeMap<(Family, String), usize> {
    let mut kernel = Nftables::open(TABLE).unwrap();
    let mut all = BTreeMap::new();
    for family in [Family::Ip, Family::Ip6] {
        let chains = kernel.chains(family).unwrap().into_iter();
        all.extend(chains.map(|(chain, _)| ((family, chain), 0)));
        for (chain, _) in kernel.rules(family).unwrap() {
            *all.get_mut(&(family, chain)).unwrap() += 1;
        }
    }
    all
}

/// So many services of IPv4.
fn has(services: usize) {
    let chains = chains();
    let of = |name: &str| chains.get(&(Family::Ip, name.to_owned())).copied();
    assert_eq!((of("incoming"), of("own"), of("services")), (Some(1), Some(1), Some(services)), "{chains:?}");
    let to = chains.iter().filter(|((_, name), _)| name.starts_with("to:")).map(|(_, rules)| *rules);
    assert_eq!(to.collect::<Vec<_>>(), vec![2; services]);
    assert_eq!(chains.len(), 6 + services, "{chains:?}");
}

const ABC: [(&str, &str, u32); 3] =
    [("a", "192.0.2.1:80", 1), ("b", "192.0.2.1:81", 1), ("c", "192.0.2.1:82", 1)];

fn only_what_differs() {
    let mut own = Own::open().unwrap();
    assert_eq!(own.settle(&tables(&ABC)).unwrap(), [""; 0]);
    has(3);
    let mut told = Told::listen();
    own.settle(&tables(&ABC)).unwrap();
    assert_eq!(told.chains(), names(&[]));
    let mut wanted = ABC;
    wanted[1].2 = 3;
    own.change("b", &tables(&wanted)["b"]).unwrap();
    assert_eq!(told.chains(), names(&["to:b"]));
    assert_eq!(own.settle(&tables(&wanted)).unwrap(), [""; 0]);
    assert_eq!(told.chains(), names(&[]), "what was changed is known");
    wanted[2].2 = 2;
    own.settle(&tables(&wanted)).unwrap();
    assert_eq!(told.chains(), names(&["to:c"]));
    let more = [wanted[0], wanted[1], wanted[2], ("d", "192.0.2.1:83", 1)];
    own.settle(&tables(&more)).unwrap();
    has(4);
    let frame = ["incoming", "own", "services"];
    assert_eq!(told.chains(), names(&[&frame[..], &["to:d"]].concat()));
    own.settle(&tables(&more[1..])).unwrap();
    has(3);
    assert_eq!(told.chains(), names(&[&frame[..], &["to:a"]].concat()));
    // To another place, and from there into the other family.
    own.change("b", &tables(&[("b", "192.0.2.1:90", 3)])["b"]).unwrap();
    assert_eq!(told.chains(), names(&[&frame[..], &["to:b"]].concat()));
    own.change("b", &tables(&[("b", "[2001:db8::1]:90", 3)])["b"]).unwrap();
    assert_eq!(chains().get(&(Family::Ip, "to:b".to_owned())), None);
    assert_eq!(chains()[&(Family::Ip6, "to:b".to_owned())], 2);
    assert_eq!(own.settle(&Tables::new()).unwrap(), [""; 0]);
    assert_eq!(chains(), BTreeMap::new());
}

fn written_over() {
    Own::open().unwrap().settle(&tables(&ABC)).unwrap();
    let mut next = Own::open().unwrap();
    let other = [("b", "192.0.2.1:81", 5), ("z", "192.0.2.1:99", 1)];
    assert_eq!(next.settle(&tables(&other)).unwrap(), [""; 0]);
    has(2);
    let mut told = Told::listen();
    assert_eq!(next.settle(&tables(&other)).unwrap(), [""; 0]);
    assert_eq!(told.chains(), names(&[]));
}

/// Somebody else's doing, each of which is seen, and mended.
fn in_the_way() {
    let mut own = Own::open().unwrap();
    let mut kernel = Nftables::open(TABLE).unwrap();
    own.settle(&tables(&ABC)).unwrap();
    let hook = |priority| Hook { number: 0, priority, device: None, translates: true };
    type Doing<'a> = (&'a str, &'a dyn Fn(&mut Batch));
    let doings: [Doing<'_>; 6] = [
        ("a rule more", &|batch| batch.rule(Family::Ip, "to:b", &[Expression::Drop])),
        ("a chain is emptied", &|batch| batch.side_chain(Family::Ip, "to:c")),
        ("the way there is gone", &|batch| batch.side_chain(Family::Ip, "services")),
        ("a chain more, which is entered", &|batch| {
            batch.side_chain(Family::Ip, "stranger");
            batch.rule(Family::Ip, "to:a", &[Expression::Jump("stranger")]);
        }),
        ("all is gone", &|batch| {
            batch.delete_table(Family::Ip);
            batch.delete_table(Family::Ip6);
        }),
        // It cannot be moved: the table has to go.
        ("it hangs elsewhere, and two chains hang together", &|batch| {
            batch.delete_chain(Family::Ip, "incoming");
            batch.chain(Family::Ip, "incoming", hook(-50));
            batch.side_chain(Family::Ip, "x");
            batch.side_chain(Family::Ip, "y");
            batch.rule(Family::Ip, "x", &[Expression::Jump("y")]);
        }),
    ];
    for (what, does) in doings {
        let mut batch = kernel.batch();
        does(&mut batch);
        kernel.commit(batch, None).unwrap();
        assert_eq!(own.settle(&tables(&ABC)).unwrap().len(), 1, "{what} is told");
        has(3);
        assert_eq!(own.settle(&tables(&ABC)).unwrap(), [""; 0], "{what} is mended");
    }
}

/// The limits on services and servers, and the longer addresses.
fn as_many_as_may_be() {
    let one = tables(&[("a", "[2001:db8::1]:80", 1)]).remove("a").unwrap();
    let server = Arc::clone(&one.entries["one"].server);
    let mut wanted = Tables::new();
    for number in 0..4_096_u16 {
        let mut service = (*one.service).clone();
        let at = [0x2001, 0xdb8, 0, 0, 0, 0, 1, number].into();
        service.at = At::Address { address: IpAddr::V6(at), port: 80, protocol: Transport::Tcp };
        let entry = |place: u16| {
            let mut server = (*server).clone();
            server.address = IpAddr::V6([0x2001, 0xdb8, 1, place, 0, 0, 1, number].into());
            let entry = Entry { server: Arc::new(server), weight: u32::from(100 + place) };
            (format!("r{place}"), entry)
        };
        let name = format!("{number:04}-of-a-service-whose-name-is-as-long-as-a-name-may-ever-be");
        let table = Table { service: Arc::new(service), entries: (0..8).map(entry).collect() };
        wanted.insert(name, table);
    }
    let mut own = Own::open().unwrap();
    own.settle(&wanted).unwrap();
    let rules: usize = chains().values().sum();
    assert_eq!(rules, 4_096 * 9 + 4);
}
