//! The messages of IPVS: attributes in and out, as `linux/ip_vs.h` numbers them. It asks nobody and decides nothing, and
//! what it does not know in an answer it passes over: newer kernels say more.
//!
//! A message is the header of netlink, then four bytes (command, version, two of nothing), then at the first level one
//! attribute each for a service, a destination or a daemon, with its parts inside. Numbers are the machine's; ports and the
//! mask of IPv4 are the network's.

use std::net::IpAddr;

use crate::config::{At, Transport};
use crate::net::netlink::{Message, Nest, attribute};

use super::{
    Counters, Destination, DestinationSeen, Method, Persistence, Service, ServiceSeen, Statistics, Step,
    SyncDaemon, SyncPath, SyncRole, Timeouts, Wrapping, address_bytes, is_v6, read_address,
};

/// The family that knows the others: `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `_NAME`.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `IPVS_CMD_*`.
const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DELETE_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DESTINATION: u8 = 5;
const SET_DESTINATION: u8 = 6;
const DELETE_DESTINATION: u8 = 7;
const GET_DESTINATION: u8 = 8;
const NEW_DAEMON: u8 = 9;
const DELETE_DAEMON: u8 = 10;
const GET_DAEMON: u8 = 11;
const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;
const ZERO: u8 = 16;

/// `IPVS_CMD_ATTR_*`: the first level.
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const DAEMON: u16 = 3;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_END: u16 = 5;
const TIMEOUT_UDP: u16 = 6;

/// `IPVS_SVC_ATTR_*`.
mod service {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const MARK: u16 = 5;
    pub(super) const SCHEDULER: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const MASK: u16 = 9;
    pub(super) const STATISTICS: u16 = 10;
    pub(super) const ENGINE: u16 = 11;
    pub(super) const STATISTICS_64: u16 = 12;
}

/// `IPVS_DEST_ATTR_*`.
mod destination {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const UPPER: u16 = 5;
    pub(super) const LOWER: u16 = 6;
    pub(super) const ACTIVE: u16 = 7;
    pub(super) const INACTIVE: u16 = 8;
    pub(super) const PERSISTENT: u16 = 9;
    pub(super) const STATISTICS: u16 = 10;
    pub(super) const FAMILY: u16 = 11;
    pub(super) const STATISTICS_64: u16 = 12;
    pub(super) const WRAPPING_KIND: u16 = 13;
    pub(super) const WRAPPING_PORT: u16 = 14;
    pub(super) const WRAPPING_FLAGS: u16 = 15;
}

/// `IPVS_DAEMON_ATTR_*`.
mod daemon {
    pub(super) const STATE: u16 = 1;
    pub(super) const INTERFACE: u16 = 2;
    pub(super) const ID: u16 = 3;
    pub(super) const LONGEST: u16 = 4;
    pub(super) const GROUP: u16 = 5;
    pub(super) const GROUP_6: u16 = 6;
    pub(super) const PORT: u16 = 7;
    pub(super) const HOPS: u16 = 8;
}

/// `IP_VS_SVC_F_*`. There is one more, 2, by which the kernel knows that a service is in its table: it is not ours to set.
const PERSISTENT: u32 = 0x01;
const ONE_PACKET: u32 = 0x04;
const SCHEDULER_FLAGS: [u32; 3] = [0x08, 0x10, 0x20];
const OUR_FLAGS: u32 = 0x3d;

/// `AF_INET` and `AF_INET6`.
const INET: u16 = 2;
const INET6: u16 = 10;

fn message(family: u16, command: u8) -> Message {
    // The third and the fourth are of no use to anybody; the version of IPVS has been 1 from its beginning.
    Message::new(family, 0, &[command, 1, 0, 0])
}

pub(super) fn get_family() -> Message {
    message(CONTROL, GET_FAMILY).text(FAMILY_NAME, "IPVS")
}

pub(super) fn get_services(family: u16) -> Message {
    message(family, GET_SERVICE)
}

pub(super) fn get_service(family: u16, at: At) -> Message {
    message(family, GET_SERVICE).nest(SERVICE, |nest| put_at(nest, at))
}

pub(super) fn get_destinations(family: u16, at: At) -> Message {
    message(family, GET_DESTINATION).nest(SERVICE, |nest| put_at(nest, at))
}

pub(super) fn step(family: u16, step: &Step) -> Message {
    let whole = |command, what: &Service| {
        message(family, command).nest(SERVICE, |nest| {
            put_at(nest, what.at);
            put_service(nest, what);
        })
    };
    let of = |command, at| message(family, command).nest(SERVICE, |nest| put_at(nest, at));
    let with = |command, at, what: &Destination| {
        of(command, at).nest(DESTINATION, |nest| put_destination(nest, what))
    };
    match step {
        Step::Make(service) => whole(NEW_SERVICE, service),
        Step::Alter(service) => whole(SET_SERVICE, service),
        Step::Delete(at) => of(DELETE_SERVICE, *at),
        Step::Add(at, destination) => with(NEW_DESTINATION, *at, destination),
        Step::Set(at, destination) => with(SET_DESTINATION, *at, destination),
        Step::Remove(at, address, port) => of(DELETE_DESTINATION, *at).nest(DESTINATION, |nest| {
            put_place(nest, *address, *port);
        }),
    }
}

pub(super) fn zero(family: u16, at: Option<At>) -> Message {
    let message = message(family, ZERO);
    match at {
        Some(at) => message.nest(SERVICE, |nest| put_at(nest, at)),
        None => message,
    }
}

pub(super) fn get_timeouts(family: u16) -> Message {
    message(family, GET_CONFIG)
}

pub(super) fn set_timeouts(family: u16, timeouts: Timeouts) -> Message {
    message(family, SET_CONFIG)
        .attr(TIMEOUT_TCP, &timeouts.tcp.to_ne_bytes())
        .attr(TIMEOUT_TCP_END, &timeouts.tcp_end.to_ne_bytes())
        .attr(TIMEOUT_UDP, &timeouts.udp.to_ne_bytes())
}

pub(super) fn get_daemons(family: u16) -> Message {
    message(family, GET_DAEMON)
}

pub(super) fn start(family: u16, what: &SyncDaemon) -> Message {
    message(family, NEW_DAEMON).nest(DAEMON, |nest| {
        nest.attr(daemon::STATE, &state(what.role).to_ne_bytes())
            .text(daemon::INTERFACE, &what.interface)
            .attr(daemon::ID, &u32::from(what.id).to_ne_bytes());
        if let Some(longest) = what.path.longest {
            nest.attr(daemon::LONGEST, &longest.to_ne_bytes());
        }
        match what.path.group {
            Some(IpAddr::V4(group)) => _ = nest.attr(daemon::GROUP, &group.octets()),
            Some(IpAddr::V6(group)) => _ = nest.attr(daemon::GROUP_6, &group.octets()),
            None => {}
        }
        if let Some(port) = what.path.port {
            nest.attr(daemon::PORT, &port.to_ne_bytes());
        }
        if let Some(hops) = what.path.hops {
            nest.attr(daemon::HOPS, &[hops]);
        }
    })
}

pub(super) fn stop(family: u16, role: SyncRole) -> Message {
    message(family, DELETE_DAEMON).nest(DAEMON, |nest| {
        nest.attr(daemon::STATE, &state(role).to_ne_bytes());
    })
}

fn state(role: SyncRole) -> u32 {
    match role {
        SyncRole::Sends => 1,
        SyncRole::Receives => 2,
    }
}

fn number_of(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Sctp => 132,
    }
}

fn put_at(nest: &mut Nest<'_>, at: At) {
    nest.attr(service::FAMILY, &if is_v6(at) { INET6 } else { INET }.to_ne_bytes());
    match at {
        At::Mark { mark, .. } => nest.attr(service::MARK, &mark.to_ne_bytes()),
        At::Address { address, port, protocol } => nest
            .attr(service::PROTOCOL, &number_of(protocol).to_ne_bytes())
            .attr(service::ADDRESS, &address_bytes(address))
            .attr(service::PORT, &port.to_be_bytes()),
    };
}

fn put_service(nest: &mut Nest<'_>, what: &Service) {
    nest.text(service::SCHEDULER, &what.scheduler);
    // The kernel takes its absence for none.
    if !what.engine.is_empty() {
        nest.text(service::ENGINE, &what.engine);
    }
    let mut flags = [0; 8];
    flags[..4].copy_from_slice(&flag_bits(what).to_ne_bytes());
    flags[4..].copy_from_slice(&OUR_FLAGS.to_ne_bytes());
    let longest = if is_v6(what.at) { 128 } else { 32 };
    let (timeout, mask) =
        what.persistence.map_or((0, longest), |persistence| (persistence.timeout_seconds, persistence.mask));
    nest.attr(service::FLAGS, &flags)
        .attr(service::TIMEOUT, &timeout.to_ne_bytes())
        .attr(service::MASK, &mask_bytes(mask.min(longest), is_v6(what.at)));
}

fn flag_bits(what: &Service) -> u32 {
    let mut bits = 0;
    bits |= if what.persistence.is_some() { PERSISTENT } else { 0 };
    bits |= if what.one_packet { ONE_PACKET } else { 0 };
    for (set, bit) in what.scheduler_flags.iter().zip(SCHEDULER_FLAGS) {
        bits |= if *set { bit } else { 0 };
    }
    bits
}

/// A mask in the network's order for IPv4, and the number of its bits in the machine's for IPv6.
fn mask_bytes(mask: u8, v6: bool) -> [u8; 4] {
    if v6 {
        u32::from(mask).to_ne_bytes()
    } else {
        u32::MAX.checked_shl(32 - u32::from(mask)).unwrap_or(0).to_be_bytes()
    }
}

fn put_place(nest: &mut Nest<'_>, address: IpAddr, port: u16) {
    let family = if address.is_ipv6() { INET6 } else { INET };
    nest.attr(destination::FAMILY, &family.to_ne_bytes())
        .attr(destination::ADDRESS, &address_bytes(address))
        .attr(destination::PORT, &port.to_be_bytes());
}

fn put_destination(nest: &mut Nest<'_>, what: &Destination) {
    put_place(nest, what.address, what.port);
    nest.attr(destination::METHOD, &u32::from(method_number(what.method)).to_ne_bytes())
        .attr(destination::WEIGHT, &what.weight.to_ne_bytes())
        .attr(destination::UPPER, &what.upper.to_ne_bytes())
        .attr(destination::LOWER, &what.lower.to_ne_bytes());
    // Kernels before 5.3 know of no other wrapping than IP in IP, and take the absence of these for it, as newer ones do.
    if what.wrapping != Wrapping::default() {
        nest.attr(destination::WRAPPING_KIND, &[what.wrapping.kind])
            .attr(destination::WRAPPING_PORT, &what.wrapping.port.to_be_bytes())
            .attr(destination::WRAPPING_FLAGS, &what.wrapping.flags.to_ne_bytes());
    }
}

fn method_number(method: Method) -> u8 {
    match method {
        Method::Nat => 0,
        Method::Local => 1,
        Method::Tunnel => 2,
        Method::Direct => 3,
        Method::Bypass => 4,
        Method::Other(number) => number,
    }
}

/// What follows the four bytes of generic netlink.
fn content(body: &[u8]) -> &[u8] {
    body.get(4..).unwrap_or_default()
}

pub(super) fn read_family(body: &[u8]) -> Option<u16> {
    half(attribute(content(body), FAMILY_ID)?)
}

/// `None`: it carries what we have no name for, or is cut.
pub(super) fn read_service(body: &[u8]) -> Option<ServiceSeen> {
    let parts = attribute(content(body), SERVICE)?;
    let v6 = read_family_of(half(attribute(parts, service::FAMILY)?)?)?;
    let at = match attribute(parts, service::MARK) {
        Some(mark) => At::Mark { mark: word(mark)?, v6 },
        None => At::Address {
            address: read_address(attribute(parts, service::ADDRESS)?, v6)?,
            port: port(attribute(parts, service::PORT)?)?,
            protocol: read_transport(half(attribute(parts, service::PROTOCOL)?)?)?,
        },
    };
    let bits = word(attribute(parts, service::FLAGS)?.get(..4)?)?;
    let persistence = if bits & PERSISTENT == 0 {
        None
    } else {
        Some(Persistence {
            timeout_seconds: word(attribute(parts, service::TIMEOUT)?)?,
            mask: read_mask(attribute(parts, service::MASK)?, v6)?,
        })
    };
    let service = Service {
        at,
        scheduler: text(attribute(parts, service::SCHEDULER)?),
        scheduler_flags: SCHEDULER_FLAGS.map(|bit| bits & bit != 0),
        one_packet: bits & ONE_PACKET != 0,
        persistence,
        engine: attribute(parts, service::ENGINE).map(text).unwrap_or_default(),
    };
    let statistics = read_statistics(parts, service::STATISTICS_64, service::STATISTICS);
    Some(ServiceSeen { service, statistics })
}

/// `None`: it is cut. Kernels before 3.18 don't say of which family it is: then it is its service's.
pub(super) fn read_destination(body: &[u8], v6: bool) -> Option<DestinationSeen> {
    let parts = attribute(content(body), DESTINATION)?;
    let v6 = match attribute(parts, destination::FAMILY) {
        Some(family) => read_family_of(half(family)?)?,
        None => v6,
    };
    let number = |kind| attribute(parts, kind).and_then(word);
    let half_of = |kind| attribute(parts, kind).and_then(half);
    let method = u8::try_from(number(destination::METHOD)? & 7).ok()?;
    let destination = Destination {
        address: read_address(attribute(parts, destination::ADDRESS)?, v6)?,
        port: port(attribute(parts, destination::PORT)?)?,
        method: match method {
            0 => Method::Nat,
            1 => Method::Local,
            2 => Method::Tunnel,
            3 => Method::Direct,
            4 => Method::Bypass,
            other => Method::Other(other),
        },
        wrapping: Wrapping {
            kind: attribute(parts, destination::WRAPPING_KIND)
                .and_then(|kind| kind.first().copied())
                .unwrap_or(0),
            port: attribute(parts, destination::WRAPPING_PORT).and_then(port).unwrap_or(0),
            flags: half_of(destination::WRAPPING_FLAGS).unwrap_or(0),
        },
        weight: number(destination::WEIGHT)?,
        upper: number(destination::UPPER).unwrap_or(0),
        lower: number(destination::LOWER).unwrap_or(0),
    };
    Some(DestinationSeen {
        destination,
        active: number(destination::ACTIVE).unwrap_or(0),
        inactive: number(destination::INACTIVE).unwrap_or(0),
        persistent: number(destination::PERSISTENT).unwrap_or(0),
        statistics: read_statistics(parts, destination::STATISTICS_64, destination::STATISTICS),
    })
}

pub(super) fn read_timeouts(body: &[u8]) -> Option<Timeouts> {
    let number = |kind| attribute(content(body), kind).and_then(word);
    Some(Timeouts { tcp: number(TIMEOUT_TCP)?, tcp_end: number(TIMEOUT_TCP_END)?, udp: number(TIMEOUT_UDP)? })
}

pub(super) fn read_daemon(body: &[u8]) -> Option<SyncDaemon> {
    let parts = attribute(content(body), DAEMON)?;
    let role = match word(attribute(parts, daemon::STATE)?)? {
        1 => SyncRole::Sends,
        2 => SyncRole::Receives,
        // A state that no kernel has.
        _ => return None,
    };
    let v4 = attribute(parts, daemon::GROUP).and_then(|group| read_address(group, false));
    let v6 = attribute(parts, daemon::GROUP_6).and_then(|group| read_address(group, true));
    let path = SyncPath {
        group: v4.or(v6),
        port: attribute(parts, daemon::PORT).and_then(half),
        hops: attribute(parts, daemon::HOPS).and_then(|hops| hops.first().copied()),
        longest: attribute(parts, daemon::LONGEST).and_then(half),
    };
    let id = u8::try_from(word(attribute(parts, daemon::ID)?)?).ok()?;
    Some(SyncDaemon { role, interface: text(attribute(parts, daemon::INTERFACE)?), id, path })
}

/// Those of 64 bits are there from 4.1 on; the older ones have 32 where it mattered less.
fn read_statistics(parts: &[u8], wide: u16, narrow: u16) -> Statistics {
    let Some(parts) = attribute(parts, wide).or_else(|| attribute(parts, narrow)) else {
        return Statistics::default();
    };
    let number = |kind| attribute(parts, kind).and_then(long).unwrap_or(0);
    // `IPVS_STATS_ATTR_*`: five totals from 1 on, then the same five as rates.
    let counters = |first: u16| Counters {
        connections: number(first),
        packets_in: number(first + 1),
        packets_out: number(first + 2),
        bytes_in: number(first + 3),
        bytes_out: number(first + 4),
    };
    Statistics { total: counters(1), rate: counters(6) }
}

fn read_family_of(number: u16) -> Option<bool> {
    match number {
        INET => Some(false),
        INET6 => Some(true),
        // A family that IPVS does not serve.
        _ => None,
    }
}

fn read_transport(number: u16) -> Option<Transport> {
    match number {
        6 => Some(Transport::Tcp),
        17 => Some(Transport::Udp),
        132 => Some(Transport::Sctp),
        // Somebody else's service, of a protocol that ours cannot have.
        _ => None,
    }
}

fn read_mask(bytes: &[u8], v6: bool) -> Option<u8> {
    if v6 {
        return u8::try_from(word(bytes)?).ok();
    }
    let mask = u32::from_be_bytes(bytes.try_into().ok()?);
    let ones = mask.leading_ones();
    if ones == mask.count_ones() { u8::try_from(ones).ok() } else { Some(u8::MAX) }
}

fn half(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn long(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_ne_bytes).or_else(|| word(bytes).map(u64::from))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}
