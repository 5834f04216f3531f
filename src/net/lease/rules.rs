//! The rules of the lease: what is dropped on the way in and out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::HashOf;

use super::super::nft::{Batch, Elements, Expression, Family, Header, Hook, Key, KeyKind, Word};
use super::bucket::Shared;
use super::{BUCKETS, DROPPED, KEPT};

/// Before defragmentation (-400), so before connection tracking and NAT: a packet for another is not even looked at.
const EARLY: i32 = -450;

/// What has ports.
const PORTED: &str = "ported";
/// The messages by which routers and hosts tell of errors: whose connection it was stands inside of them.
const ERRORS: &str = "errors";

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
/// A neighbour advertisement. Its target, at offset 8, is what it is about; its source may be any address of the sender.
const ADVERTISEMENT: u8 = 136;
/// The header of a fragment.
const FRAGMENT: u8 = 44;
/// `ARPHRD_LOOPBACK`
const LOOPBACK: u16 = 772;

/// Unreachable, source quench, time exceeded, parameter problem.
const ERRORS_V4: [u8; 4] = [3, 4, 11, 12];
/// Unreachable, too big, time exceeded, parameter problem.
const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];

/// The name of the chain for an interface.
pub(super) fn egress(interface: &str) -> String {
    format!("egress_{interface}")
}

/// The names of the chains for a shared address, in and out.
fn side_chains(address: IpAddr) -> (String, String) {
    let name = address.to_string().replace(':', "_");
    (format!("{TO}{name}"), format!("{FROM}{name}"))
}

const TO: &str = "to_";
const FROM: &str = "from_";

/// Where what the neighbours ask comes in; only shared addresses need it.
const ASKED: &str = "asked";

/// Whether a chain is there for shared addresses only.
pub(super) fn is_of_shared(name: &str) -> bool {
    name.starts_with(TO) || name.starts_with(FROM) || name == ASKED
}

/// What does not change is in sets, too.
pub(super) fn constants(batch: &mut Batch, family: Family) {
    let errors = if family == Family::Ip { ERRORS_V4 } else { ERRORS_V6 };
    for (set, bytes) in [(PORTED, &[TCP, UDP][..]), (ERRORS, &errors)] {
        batch.set(family, set, KeyKind::Byte, Elements::Stay);
        let keys: Vec<Key> = bytes.iter().map(|byte| Key::byte(*byte)).collect();
        batch.add(family, set, &keys, None);
    }
}

/// What is dropped on the way in and out, for all interfaces; and the chains that were made for shared addresses.
pub(super) fn of_host(batch: &mut Batch, family: Family, shared: &[&Shared]) -> BTreeSet<String> {
    use Expression::{Drop, In, Is, Load, LoadCarried, NotIn};
    let silence = |load| [load, In("vips"), load, NotIn("held"), Drop];
    let hook = |number| Hook { number, priority: EARLY, device: None, translates: false };
    let is_ours = |shared: &&&Shared| (family == Family::Ip6) == shared.address.is_ipv6();
    let shared: Vec<&Shared> = shared.iter().filter(is_ours).copied().collect();
    let mut chains = BTreeSet::new();
    // Sender or source, then destination.
    let (source, destination) = match family {
        Family::Arp => (Load(Header::Network, 14, 4), None),
        Family::Ip => (Load(Header::Network, 12, 4), Some(Load(Header::Network, 16, 4))),
        Family::Ip6 => (Load(Header::Network, 8, 16), Some(Load(Header::Network, 24, 16))),
        Family::Netdev => return chains,
    };
    let output = if family == Family::Arp { NF_ARP_OUT } else { NF_INET_LOCAL_OUT };
    if let Some(destination) = destination {
        batch.chain(family, "prerouting", hook(NF_INET_PRE_ROUTING));
        batch.chain(family, "output", hook(output));
        for shared in &shared {
            let (to, from) = divide(batch, family, shared);
            let address = bytes(shared.address);
            let [incoming, outgoing] = [destination, source].map(|load| [load, Is(&address)]);
            let goto = |[load, is]: [_; 2], chain| [load, is, Expression::Goto(chain)];
            batch.rule(family, "prerouting", &goto(incoming, &to));
            batch.rule(family, "output", &goto(outgoing, &from));
            chains.extend([to, from]);
        }
        batch.rule(family, "prerouting", &silence(destination));
    } else {
        batch.chain(family, "output", hook(output));
        if !shared.is_empty() {
            batch.chain(family, ASKED, hook(NF_ARP_IN));
            chains.insert(ASKED.to_owned());
        }
        shared.iter().for_each(|shared| of_neighbours(batch, shared));
    }
    batch.rule(family, "output", &silence(source));
    if family == Family::Ip6 {
        let [load, vip, again, free, drop] = silence(Load(Header::Transport, 8, 16));
        let advert = [LoadCarried, Is(&[ICMPV6]), Load(Header::Transport, 0, 1), Is(&[ADVERTISEMENT])];
        let rule: Vec<Expression<'_>> = advert.into_iter().chain([load, vip, again, free, drop]).collect();
        batch.rule(family, "output", &rule);
    }
    chains
}

const NF_ARP_IN: u32 = 0;
const NF_ARP_OUT: u32 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The kernel answers no question for a shared address: it would name one machine. When it asks for a neighbour in the name
/// of the address, the neighbour learns the hardware address that all share.
fn of_neighbours(batch: &mut Batch, shared: &Shared) {
    use Expression::{Drop, Is, Load, Write};
    let address = bytes(shared.address);
    let (operation, sender, target) =
        (Load(Header::Network, 6, 2), Load(Header::Network, 14, 4), Load(Header::Network, 24, 4));
    batch.rule(Family::Arp, ASKED, &[target, Is(&address), operation, Is(&[0, 1]), Drop]);
    let rewrite = [sender, Is(&address), Write(Header::Network, 8, &shared.mac.0)];
    batch.rule(Family::Arp, "output", &rewrite);
}

/// Where the headers have what decides.
#[derive(Clone, Copy)]
struct Way {
    /// Of our address.
    own: u32,
    /// Of the client's.
    client: u32,
    client_port: u32,
    own_port: u32,
}

/// Bytes of an address, what IP carries, and the offsets on the way in and out.
fn ways(family: Family) -> (u32, u32, Way, Way) {
    match family {
        Family::Ip6 => {
            let way = Way { own: 24, client: 8, client_port: 0, own_port: 2 };
            (16, 6, way, Way { own: 8, client: 24, client_port: 2, own_port: 0 })
        }
        Family::Ip | Family::Arp | Family::Netdev => {
            let way = Way { own: 16, client: 12, client_port: 0, own_port: 2 };
            (4, 9, way, Way { own: 12, client: 16, client_port: 2, own_port: 0 })
        }
    }
}

/// Looks up the bucket of a packet: our address and the number behind it are the key, in the first words.
fn bucket(family: Family, shared: &Shared, way: Way, hash: HashOf) -> Vec<Expression<'static>> {
    use Expression::{Hash, LoadInto};
    let (length, ..) = ways(family);
    let words = length / 4;
    // Behind the greatest key.
    let from = Word(5);
    let mut all = vec![
        LoadInto(Word::FIRST, Header::Network, way.own, length),
        LoadInto(from, Header::Network, way.client, length),
    ];
    let ports = match hash {
        HashOf::Source => &[][..],
        HashOf::SourcePort => &[way.client_port],
        HashOf::Ports => &[way.client_port, way.own_port],
    };
    let mut next = Word(from.0 + words);
    for port in ports {
        all.push(LoadInto(next, Header::Transport, *port, 2));
        next = Word(next.0 + 1);
    }
    let length = (next.0 - from.0) * 4;
    all.push(Hash { from, length, to: Word(words), modulus: shared.buckets, seed: shared.seed });
    all
}

/// The two chains that keep or drop by bucket: first what every node must hear, then what has ports, then the rest.
fn divide(batch: &mut Batch, family: Family, shared: &Shared) -> (String, String) {
    use Expression::{Accept, Drop, In, Is, Load, LoadCarried, LoadEntry, LoadExit, MeantForUs, NotIn};
    let (to, from) = side_chains(shared.address);
    let (_, carried, incoming, outgoing) = ways(family);
    let icmp: &[u8] = if family == Family::Ip6 { &[ICMPV6] } else { &[ICMPV4] };
    let is_error = [Load(Header::Network, carried, 1), Is(icmp), Load(Header::Transport, 0, 1), In(ERRORS)];
    let has_ports = [is_whole(family), &[LoadCarried, In(PORTED)]].concat();
    let cases = match shared.hash {
        HashOf::Source => vec![(Vec::new(), HashOf::Source)],
        hash @ (HashOf::SourcePort | HashOf::Ports) => vec![(has_ports, hash), (Vec::new(), HashOf::Source)],
    };
    let loopback = LOOPBACK.to_ne_bytes();
    batch.side_chain(family, &to);
    let mut rule = |expressions: &[&[Expression<'_>]]| batch.rule(family, &to, &expressions.concat());
    rule(&[&[LoadEntry, Is(&loopback), Accept]]);
    // Still meant for a group: whoever forwards must not send it on.
    rule(&[&is_error, &[Accept]]);
    for (case, hash) in &cases {
        let bucket = bucket(family, shared, incoming, *hash);
        // Most packets are another node's, so what is dropped is hashed once, and what is kept a second time.
        rule(&[case, &bucket, &[NotIn(BUCKETS), In(DROPPED), Drop]]);
        rule(&[case, &bucket, &[In(BUCKETS), In(KEPT), MeantForUs, Accept]]);
        rule(&[case, &[Drop]]);
    }
    batch.side_chain(family, &from);
    let mut rule = |expressions: &[&[Expression<'_>]]| batch.rule(family, &from, &expressions.concat());
    rule(&[&[LoadExit, Is(&loopback), Accept]]);
    rule(&[&is_error, &[Accept]]);
    for (case, hash) in &cases {
        let bucket = bucket(family, shared, outgoing, *hash);
        rule(&[case, &bucket, &[In(BUCKETS), Accept]]);
        // What answers a datagram that came in fragments goes by its source, too. TCP is not sent so.
        let ends: &[Expression<'_>] =
            if case.is_empty() { &[Drop] } else { &[LoadCarried, Is(&[TCP]), Drop] };
        rule(&[case, ends]);
    }
    (to, from)
}

/// A fragment has no ports, but the first. In IPv6 a header of its own stands there.
fn is_whole(family: Family) -> &'static [Expression<'static>] {
    use Expression::{Is, IsNot, Load, Mask};
    const OFFSET_AND_MORE: &[u8] = &[0x3f, 0xff];
    if family == Family::Ip6 {
        &[Load(Header::Network, 6, 1), IsNot(&[FRAGMENT])]
    } else {
        &[Load(Header::Network, 6, 2), Mask(OFFSET_AND_MORE), Is(&[0, 0])]
    }
}

/// What packet sockets send passes no other hook.
pub(super) fn of_egress(batch: &mut Batch, interface: &str) {
    use Expression::{Drop, In, Is, Load, LoadCarried, LoadProtocol, NotIn};
    let (chain, family) = (egress(interface), Family::Netdev);
    // NF_NETDEV_EGRESS.
    batch.chain(family, &chain, Hook { number: 1, priority: 0, device: Some(interface), translates: false });
    let sender = Load(Header::Network, 14, 4);
    let arp = [LoadProtocol, Is(&[0x08, 0x06]), sender, In("vips4"), sender, NotIn("held4"), Drop];
    batch.rule(family, &chain, &arp);
    let target = Load(Header::Transport, 8, 16);
    let advert = [
        LoadProtocol,
        Is(&[0x86, 0xdd]),
        LoadCarried,
        Is(&[ICMPV6]),
        Load(Header::Transport, 0, 1),
        Is(&[ADVERTISEMENT]),
        target,
        In("vips6"),
        target,
        NotIn("held6"),
        Drop,
    ];
    batch.rule(family, &chain, &advert);
}
