//! Which interface leads to an address; default gateways; neighbours.

use std::net::IpAddr;

use super::super::frame::Mac;
use super::super::netlink::{CREATE, Message, REPLACE, attribute};
use super::{
    Address, FAMILY_IPV4, FAMILY_IPV6, Route, RouteError, address_in, family_of, number, number_at, octets,
    whole,
};

const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;

const DESTINATION: u16 = 1;
const OUT_INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const PREFERRED_SOURCE: u16 = 7;
const MULTIPATH: u16 = 9;
const VIA: u16 = 18;

const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_WORLD: u8 = 0;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
/// "Show the route itself, not the path that follows from it."
const MATCH: u32 = 0x2000;

const NEIGHBOUR_ADDRESS: u16 = 1;
const NEIGHBOUR_MAC: u16 = 2;
const STATE_PERMANENT: u16 = 0x80;
/// Reachable, stale, delay, probe, permanent: in all of these the entry's address is used.
const STATES_IN_USE: u16 = 0x02 | 0x04 | 0x08 | 0x10 | STATE_PERMANENT;
/// No neighbour is asked for: multicast, loopback.
const STATE_NO_ARP: u16 = 0x40;

/// struct rtmsg, struct ndmsg, struct rtnexthop.
const ROUTE_FIXED: usize = 12;
const NEIGHBOUR_FIXED: usize = 12;
const HOP_FIXED: usize = 8;

/// How packets get to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The interface that they leave by; for an address of this machine the one that has it.
    pub index: u32,
    /// The prefix of the route, or of this machine's own address. 0: the default route.
    pub prefix: u8,
    /// `None`: the address is in a network of the interface's own.
    pub gateway: Option<IpAddr>,
    /// The address that they leave from, where the route names one.
    pub source: Option<IpAddr>,
    /// This machine has the address itself.
    pub local: bool,
}

/// A default gateway of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// The interface.
    pub index: u32,
    /// The router.
    pub address: IpAddr,
}

/// What this machine believes of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface behind which it is.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// Where packets to it are sent; `None`: it is asked for, or did not answer.
    pub mac: Option<Mac>,
    /// Written by an administrator: it never changes by itself.
    pub permanent: bool,
}

impl Route {
    /// How packets get to this address, by the rules and tables of this namespace. `None`: no route leads there.
    pub fn path_to(&mut self, address: IpAddr) -> Result<Option<Path>, RouteError> {
        // The route of an own address leads to the loopback, and of IPv6 comes a moment after the address: only the
        // address itself knows where it belongs.
        if let Some(own) = self.addresses()?.into_iter().find(|own| own.address == address) {
            let Address { index, prefix, .. } = own;
            return Ok(Some(Path { index, prefix, gateway: None, source: Some(address), local: true }));
        }
        let mut fixed = [0; ROUTE_FIXED];
        (fixed[0], fixed[1]) = (family_of(address), whole(address));
        fixed[8..].copy_from_slice(&MATCH.to_ne_bytes());
        let message = Message::new(GETROUTE, 0, &fixed).attr(DESTINATION, &octets(address));
        let mut found = None;
        match self.netlink.ask(message, |_, body| found = Path::read(body)) {
            Ok(()) => Ok(found),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                Ok(None)
            }
            Err(error) => Err(RouteError::new(format!("find the route to {address}"), error)),
        }
    }

    /// The default gateways of an interface, of both families, in the main table.
    pub fn default_gateways(&mut self, index: u32) -> Result<Vec<Gateway>, RouteError> {
        let message = Message::new(GETROUTE, 0, &[0; ROUTE_FIXED]);
        let routes = self.list("list the routes", &message, |_, body| Some(default_gateways(body)))?;
        let mut gateways: Vec<_> =
            routes.into_iter().flatten().filter(|gateway| gateway.index == index).collect();
        gateways.sort_unstable();
        gateways.dedup();
        Ok(gateways)
    }

    /// Adds a default route, in place of one with the same metric.
    pub fn add_default_route(&mut self, gateway: Gateway) -> Result<(), RouteError> {
        let Gateway { index, address } = gateway;
        let mut fixed = [0; ROUTE_FIXED];
        fixed[0] = family_of(address);
        fixed[4..8].copy_from_slice(&[TABLE_MAIN, PROTOCOL_STATIC, SCOPE_WORLD, TYPE_UNICAST]);
        let message = Message::new(NEWROUTE, CREATE | REPLACE, &fixed)
            .attr(GATEWAY, &octets(address))
            .attr(OUT_INTERFACE, &index.to_ne_bytes());
        let done = self.netlink.request(message);
        self.refused(done, index, |name| format!("add the default route by {address} on {name}"))
    }

    /// What this machine believes of its neighbours behind an interface.
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<Neighbour>, RouteError> {
        let message = Message::new(GETNEIGH, 0, &[0; NEIGHBOUR_FIXED]);
        let mut all = self.list("list the neighbours", &message, |_, body| Neighbour::read(body))?;
        all.retain(|neighbour| neighbour.index == index);
        Ok(all)
    }

    /// What this machine believes of one neighbour; `None`: nothing.
    pub fn neighbour(&mut self, index: u32, address: IpAddr) -> Result<Option<Neighbour>, RouteError> {
        let message = neighbour_message(GETNEIGH, 0, index, address, 0);
        let mut found = None;
        let done = match self.netlink.ask(message, |_, body| found = Neighbour::read(body)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        };
        self.refused(done, index, |name| format!("look at the neighbour {address} on {name}"))?;
        Ok(found)
    }

    /// Says where a neighbour is, for ever.
    pub fn set_neighbour(&mut self, index: u32, address: IpAddr, mac: Mac) -> Result<(), RouteError> {
        let message = neighbour_message(NEWNEIGH, CREATE | REPLACE, index, address, STATE_PERMANENT);
        let done = self.netlink.request(message.attr(NEIGHBOUR_MAC, &mac.0));
        self.refused(done, index, |name| format!("set the neighbour {address} on {name}"))
    }

    /// Forgets a neighbour. One that is not known is forgotten.
    pub fn forget_neighbour(&mut self, index: u32, address: IpAddr) -> Result<(), RouteError> {
        let done = match self.netlink.request(neighbour_message(DELNEIGH, 0, index, address, 0)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        };
        self.refused(done, index, |name| format!("forget the neighbour {address} on {name}"))
    }

    /// Forgets all neighbours behind an interface, except for permanent ones.
    pub fn forget_neighbours(&mut self, index: u32) -> Result<(), RouteError> {
        for neighbour in self.neighbours(index)?.into_iter().filter(|neighbour| !neighbour.permanent) {
            self.forget_neighbour(index, neighbour.address)?;
        }
        Ok(())
    }
}

impl Path {
    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(ROUTE_FIXED..)?;
        let find = |kind| attribute(attributes, kind);
        let (hop_index, hop_gateway) = find(MULTIPATH).and_then(|hops| hops_in(hops).next()).unzip();
        Some(Self {
            index: find(OUT_INTERFACE).and_then(number).or(hop_index)?,
            prefix: body[1],
            gateway: gateway_in(attributes).or(hop_gateway.flatten()),
            source: find(PREFERRED_SOURCE).and_then(address_in),
            local: body[7] == TYPE_LOCAL,
        })
    }
}

fn default_gateways(body: &[u8]) -> Vec<Gateway> {
    let Some(attributes) = body.get(ROUTE_FIXED..) else { return Vec::new() };
    let is_default = body[1] == 0 && body[4] == TABLE_MAIN && body[7] == TYPE_UNICAST;
    if !is_default || ![FAMILY_IPV4, FAMILY_IPV6].contains(&body[0]) {
        return Vec::new();
    }
    let only = attribute(attributes, OUT_INTERFACE).and_then(number).map(|i| (i, gateway_in(attributes)));
    let hops = attribute(attributes, MULTIPATH).unwrap_or_default();
    only.into_iter()
        .chain(hops_in(hops))
        .filter_map(|(index, address)| Some(Gateway { index, address: address? }))
        .collect()
}

/// The gateway of a route; it can be of another family than what the route leads to.
fn gateway_in(attributes: &[u8]) -> Option<IpAddr> {
    let via = || attribute(attributes, VIA).and_then(|via| via.get(2..)).and_then(address_in);
    attribute(attributes, GATEWAY).and_then(address_in).or_else(via)
}

/// The interfaces and gateways of a route with several.
fn hops_in(bytes: &[u8]) -> impl Iterator<Item = (u32, Option<IpAddr>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let hop = rest.get(..length)?;
        let found = (number_at(hop, 4)?, gateway_in(hop.get(HOP_FIXED..)?));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

impl Neighbour {
    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(NEIGHBOUR_FIXED..)?;
        let state = u16::from_ne_bytes([body[8], body[9]]);
        if ![FAMILY_IPV4, FAMILY_IPV6].contains(&body[0]) || state & STATE_NO_ARP != 0 {
            return None;
        }
        let mac = attribute(attributes, NEIGHBOUR_MAC).filter(|_| state & STATES_IN_USE != 0);
        Some(Self {
            index: number_at(body, 4)?,
            address: attribute(attributes, NEIGHBOUR_ADDRESS).and_then(address_in)?,
            mac: mac.and_then(|mac| mac.try_into().ok()).map(Mac),
            permanent: state & STATE_PERMANENT != 0,
        })
    }
}

fn neighbour_message(kind: u16, flags: u16, index: u32, address: IpAddr, state: u16) -> Message {
    let mut fixed = [0; NEIGHBOUR_FIXED];
    fixed[0] = family_of(address);
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..10].copy_from_slice(&state.to_ne_bytes());
    Message::new(kind, flags, &fixed).attr(NEIGHBOUR_ADDRESS, &octets(address))
}
