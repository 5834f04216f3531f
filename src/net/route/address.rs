//! Addresses of interfaces: list, add and delete, hundreds at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::super::netlink::{CREATE, Message, REPLACE, attribute};
use super::{
    FAMILY_IPV4, FAMILY_IPV6, Route, RouteError, address_in, family_of, number, number_at, octets, text,
};

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const LABEL: u16 = 3;
const BROADCAST: u16 = 4;
const FLAGS: u16 = 8;

const NO_DAD: u32 = 0x02;
const DAD_FAILED: u32 = 0x08;
const TENTATIVE: u32 = 0x40;

/// struct ifaddrmsg.
const FIXED: usize = 8;

/// Requests in one call of the system: well below what a socket's buffers hold, and hundreds take few calls.
pub const AT_ONCE: usize = 128;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Its network's prefix.
    pub prefix: u8,
    /// What `ip` shows beside it; IPv4 only. `None`: the interface's name.
    pub label: Option<String>,
    /// `None`: the network's last address, where it has one.
    pub broadcast: Option<Ipv4Addr>,
    /// As read, not as added: whether nobody else is known to have it. IPv6 alone asks; ours are added without asking.
    pub usable: bool,
}

impl Address {
    /// With the label and the broadcast address that follow from these.
    pub fn new(index: u32, address: IpAddr, prefix: u8) -> Self {
        Self { index, address, prefix, label: None, broadcast: None, usable: true }
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(FIXED..)?;
        let find = |kind| attribute(attributes, kind);
        if ![FAMILY_IPV4, FAMILY_IPV6].contains(&body[0]) {
            return None;
        }
        // Of a point-to-point address LOCAL is this side and ADDRESS the other; IPv6 has LOCAL only there.
        let address = find(LOCAL).or_else(|| find(ADDRESS)).and_then(address_in)?;
        let flags = find(FLAGS).and_then(number).unwrap_or_else(|| u32::from(body[2]));
        let broadcast = match find(BROADCAST).and_then(address_in) {
            Some(IpAddr::V4(v4)) => Some(v4),
            Some(IpAddr::V6(_)) | None => None,
        };
        Some(Self {
            index: number_at(body, 4)?,
            address,
            prefix: body[1],
            label: find(LABEL).and_then(text),
            broadcast,
            usable: flags & (TENTATIVE | DAD_FAILED) == 0,
        })
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let mut fixed = [family_of(self.address), self.prefix, 0, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&self.index.to_ne_bytes());
        let bytes = octets(self.address);
        Message::new(kind, flags, &fixed).attr(LOCAL, &bytes).attr(ADDRESS, &bytes)
    }

    fn added(&self) -> Message {
        let message = self.message(NEWADDR, CREATE | REPLACE);
        match self.address {
            // Asking the network first would take a second, and a holder has asked the voters.
            IpAddr::V6(_) => message.attr(FLAGS, &NO_DAD.to_ne_bytes()),
            IpAddr::V4(v4) => {
                let broadcast = self.broadcast.or_else(|| network_broadcast(v4, self.prefix));
                let message = broadcast
                    .iter()
                    .fold(message, |message, broadcast| message.attr(BROADCAST, &broadcast.octets()));
                self.label.iter().fold(message, |message, label| message.text(LABEL, label))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The last address of a network; a network of one or two addresses has none to spare.
pub fn network_broadcast(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    (prefix < 31).then(|| Ipv4Addr::from(u32::from(address) | (u32::MAX >> prefix)))
}

impl Route {
    /// The addresses of all interfaces.
    pub fn addresses(&mut self) -> Result<Vec<Address>, RouteError> {
        let mut all = Vec::new();
        // Each family for itself: the kernel counts their changes apart, and takes the step from one to the other in one
        // list for a change.
        for family in [super::FAMILY_IPV4, super::FAMILY_IPV6] {
            let mut fixed = [0; FIXED];
            fixed[0] = family;
            let message = Message::new(GETADDR, 0, &fixed);
            all.extend(self.list("list the addresses", &message, |_, body| Address::read(body))?);
        }
        Ok(all)
    }

    /// Adds an address. One that stands is as it should be.
    pub fn add_address(&mut self, address: &Address) -> Result<(), RouteError> {
        let failed = self.add_addresses(std::slice::from_ref(address))?;
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Adds addresses in as few calls as can be. Those that failed come back by their places; the others stand.
    pub fn add_addresses(&mut self, addresses: &[Address]) -> Result<Vec<(usize, RouteError)>, RouteError> {
        self.change(addresses, "add", Address::added, |_| false)
    }

    /// Deletes an address. One that is not there is deleted.
    pub fn delete_address(&mut self, address: &Address) -> Result<(), RouteError> {
        let failed = self.delete_addresses(std::slice::from_ref(address))?;
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Deletes addresses in as few calls as can be. Those that failed come back by their places; the others are gone.
    pub fn delete_addresses(
        &mut self,
        addresses: &[Address],
    ) -> Result<Vec<(usize, RouteError)>, RouteError> {
        let gone = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO))
        };
        self.change(addresses, "delete", |address| address.message(DELADDR, 0), gone)
    }

    fn change(
        &mut self,
        addresses: &[Address],
        verb: &str,
        message: impl Fn(&Address) -> Message,
        is_success: impl Fn(&io::Error) -> bool,
    ) -> Result<Vec<(usize, RouteError)>, RouteError> {
        let mut failed = Vec::new();
        for (chunk, some) in addresses.chunks(AT_ONCE).enumerate() {
            let messages = some.iter().map(&message).collect();
            let answers = self.netlink.pipeline(messages);
            let answers = answers
                .map_err(|error| RouteError::new(format!("{verb} {} addresses", some.len()), error))?;
            for (place, error) in answers.into_iter().filter(|(_, error)| !is_success(error)) {
                let address = &some[place];
                let what = format!("{verb} {address} on {}", self.name_of(address.index));
                failed.push((chunk * AT_ONCE + place, RouteError::new(what, error)));
            }
        }
        Ok(failed)
    }
}
