//! Links, addresses, routes and neighbours: what `ip` shows and changes, over rtnetlink. RFC 3549, rtnetlink(7).
//!
//! | file | what it does |
//! | --- | --- |
//! | `route/link.rs` | interfaces: list, make, set up, move to another namespace |
//! | `route/address.rs` | addresses of interfaces: list, add and delete, hundreds at once |
//! | `route/path.rs` | which interface leads to an address; default gateways; neighbours |
//! | `route/watch.rs` | what changed, as it changes |
//!
//! A [`Route`] belongs to the network namespace in which it was opened, wherever its thread goes later. It never decides
//! and never retries what failed; what already is as it was asked to be is a success.

mod address;
mod link;
mod path;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Message, Netlink, Protocol};

pub use super::frame::Mac;
pub use address::{AT_ONCE, Address, network_broadcast};
pub use link::{End, Link};
pub use path::{Gateway, Neighbour, Path};
pub use watch::{Change, Watch};

const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;

/// What could not be done, by whose fault.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The caller names an interface that is not there.
    #[error("there is no interface `{name}`: look at `ip link` for the one that is meant")]
    NoLink {
        /// As it was asked for.
        name: String,
    },
    /// This process may not.
    #[error("may not {what}: run as root, or with the capability CAP_NET_ADMIN")]
    NotAllowed {
        /// What was asked for.
        what: String,
    },
    /// The kernel refuses.
    #[error("cannot {what}: {error}; {}", mend(.error))]
    Refused {
        /// What was asked for.
        what: String,
        /// Why not.
        error: io::Error,
    },
}

impl RouteError {
    fn new(what: impl Into<String>, error: io::Error) -> Self {
        let what = what.into();
        match error.raw_os_error() {
            Some(libc::EPERM) => Self::NotAllowed { what },
            _ => Self::Refused { what, error },
        }
    }

    /// Whether the interface itself is missing.
    pub fn is_missing_link(&self) -> bool {
        match self {
            Self::NoLink { .. } => true,
            Self::NotAllowed { .. } => false,
            Self::Refused { error, .. } => error.raw_os_error() == Some(libc::ENODEV),
        }
    }
}

/// What to do about an error of the kernel.
fn mend(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES) => {
            "IPv6 is switched off there: write 0 to disable_ipv6 of the interface in /proc/sys/net/ipv6/conf"
        }
        Some(libc::ENODEV) => "the interface is gone: look at `ip link`",
        Some(libc::ENETDOWN) => "the interface is down: set it up first",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => "no route leads there: look at `ip route`",
        Some(libc::EEXIST) => "there is one already: delete it first, or choose another name",
        Some(libc::EOPNOTSUPP) => {
            "this kernel does not know it: load the module, or take a kernel that has it"
        }
        Some(libc::EINTR) => "it changes faster than it can be read: look at `ip monitor` for who changes it",
        Some(libc::ENOBUFS | libc::ENOMEM) => "the kernel is short of memory: free some",
        _ => "look at `dmesg` for what the kernel says of it",
    }
}

/// Asks and changes the network of one namespace.
#[derive(Debug)]
pub struct Route {
    netlink: Netlink,
}

impl Route {
    /// For the namespace of the calling thread.
    pub fn open() -> Result<Self, RouteError> {
        let netlink = Netlink::open(Protocol::Route)
            .map_err(|error| RouteError::new("open a netlink socket to the kernel", error))?;
        Ok(Self { netlink })
    }

    /// Asks for all of something.
    fn list<T>(
        &mut self,
        what: &str,
        message: &Message,
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, RouteError> {
        self.netlink.list(message, read).map_err(|error| RouteError::new(what, error))
    }

    /// The interface's name for a message; its number if it has none any more.
    fn name_of(&mut self, index: u32) -> String {
        self.link_at(index).map_or_else(|_| format!("interface {index}"), |link| link.name)
    }

    fn refused<T>(
        &mut self,
        done: io::Result<T>,
        index: u32,
        what: impl FnOnce(&str) -> String,
    ) -> Result<T, RouteError> {
        done.map_err(|error| RouteError::new(what(&self.name_of(index)), error))
    }
}

const fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => FAMILY_IPV4,
        IpAddr::V6(_) => FAMILY_IPV6,
    }
}

/// All the bits of the address.
const fn whole(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_in(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(value).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes.get(at..at + 4)?)
}

/// A text that ends with a zero.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8(value.get(..end)?.to_vec()).ok()
}
