//! A group with hundreds of addresses: all of them are on one node, whichever has the group.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use systole::lab::clock;
use systole::net::frame::Interface;
use systole::net::probe::{Heard, Prober};
use systole::net::route::{Mac, Route};
use systole::time::Span;

use super::pair::{Pair, Settings};

const FOUR: u32 = 500;
const SIX: u128 = 8;
/// Everybody is asked for so many at a time, as often as it takes: bursts are lost on the way.
const AT_ONCE: usize = 50;
/// So long the client listens after the last address was answered for: a second answer would come now.
const AFTERTHOUGHT: Span = Span::millis(500);
const PATIENCE: Span = Span::seconds(60);

/// With the one that the client watches.
fn many() -> Settings {
    let four = (1..FOUR).map(|at| Ipv4Addr::from(0x0a4d_0400 + at).into());
    let six = (1..=SIX).map(|at| Ipv6Addr::from((0xfd00_0077_u128 << 96) + 0x1000 + at).into());
    Settings { further: four.chain(six).collect(), ..Settings::default() }
}

pub(crate) fn hundreds_of_addresses_are_handed_over_and_taken_over_as_one() {
    let settings = many();
    let mut pair = Pair::start(&settings);
    let all = settings.addresses();
    answers_for(&mut pair, "lb0", &all);
    pair.after("standby", |pair| pair.order("lb0", &["standby"]), |pair| pair.wait_for_holder("lb1"));
    answers_for(&mut pair, "lb1", &all);
    pair.after("online", |pair| pair.order("lb0", &["online"]), |pair| pair.wait_for_holder("lb0"));
    answers_for(&mut pair, "lb0", &all);
    pair.after(
        "killed",
        |pair| pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    // The addresses still stand on the dead daemon's interface; the kernel lets nobody hear of them.
    answers_for(&mut pair, "lb1", &all);
    for node in ["lb0", "lb1"] {
        let log = pair.log(node);
        assert!(!log.contains("the kernel does not enforce a lease"), "{log}");
        assert_eq!(
            log.matches("many does not run here any more").count(),
            1,
            "more than was asked for: {log}"
        );
    }
}

/// The client asks everybody: each address has one that answers for it, and that is this node.
fn answers_for(pair: &mut Pair, node: &str, addresses: &[IpAddr]) {
    let began = clock::now();
    let wanted = addresses.to_vec();
    let client = pair.stage.lab().machine("client").unwrap();
    let found = client.space().run(move || ask(&wanted));
    for address in addresses {
        let macs = found.get(address).cloned().unwrap_or_default();
        let names: Vec<String> = macs.into_iter().map(|mac| pair.stage.name(mac)).collect();
        assert_eq!(names, [node], "{}", pair.stage.failed(format!("who answers for {address}?")));
    }
    println!("    {node} answers for {} addresses, asked within {}", addresses.len(), clock::now() - began);
}

fn ask(addresses: &[IpAddr]) -> BTreeMap<IpAddr, BTreeSet<Mac>> {
    let link = Route::open().unwrap().link("eth0").unwrap();
    let interface = Interface {
        index: link.index,
        name: "eth0".into(),
        mac: link.mac.unwrap(),
        link_local: None,
        forwards: false,
    };
    let mut prober = Prober::new(7).unwrap();
    let mut found: BTreeMap<IpAddr, BTreeSet<Mac>> = BTreeMap::new();
    let until = clock::now() + PATIENCE;
    while found.len() < addresses.len() && clock::now() < until {
        let missing: Vec<IpAddr> =
            addresses.iter().copied().filter(|address| !found.contains_key(address)).collect();
        for some in missing.chunks(AT_ONCE) {
            for address in some {
                // What does not leave is asked for again.
                let _ = prober.seek(&interface, *address);
            }
            listen(&mut prober, Span::millis(50), &mut found);
        }
    }
    listen(&mut prober, AFTERTHOUGHT, &mut found);
    found
}

fn listen(prober: &mut Prober, how_long: Span, found: &mut BTreeMap<IpAddr, BTreeSet<Mac>>) {
    let until = clock::now() + how_long;
    while clock::now() < until {
        poll(&mut [PollFd::new(prober.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5_u8)).unwrap();
        let note = |heard| match heard {
            Heard::Owner { address, mac, .. } => drop(found.entry(address).or_default().insert(mac)),
            Heard::Answer { .. } | Heard::Rival { .. } => {}
        };
        prober.read(note).unwrap();
    }
}
