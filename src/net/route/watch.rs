//! What changes about links and addresses, as it changes.

use std::os::fd::{AsFd, BorrowedFd};

use super::super::netlink::{Events, Netlink, Protocol};
use super::{Address, Link, RouteError};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;

const GROUP_LINK: u32 = 1;
const GROUP_IPV4_ADDRESS: u32 = 5;
const GROUP_IPV6_ADDRESS: u32 = 9;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is new, or is as it says now.
    Link(Link),
    /// A link is gone, or has moved to another namespace.
    LinkGone(Link),
    /// An address is new, or is as it says now.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// Changes were lost: read all links and addresses again.
    Everything,
}

/// Tells what changes in one namespace. Carrier that is lost is told up to a second late: the kernel holds it back.
#[derive(Debug)]
pub struct Watch {
    netlink: Netlink,
}

impl Watch {
    /// For the namespace of the calling thread, from now on.
    pub fn open() -> Result<Self, RouteError> {
        let groups = [GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS];
        let netlink = Netlink::subscribe(Protocol::Route, &groups)
            .map_err(|error| RouteError::new("subscribe to changes of the network", error))?;
        Ok(Self { netlink })
    }

    /// Hands over the changes that wait; it does not wait for any.
    pub fn changes(&mut self, mut each: impl FnMut(Change)) -> Result<(), RouteError> {
        let events = self.netlink.events(|kind, body| {
            let change = match kind {
                NEWLINK => Link::read(body).map(Change::Link),
                DELLINK => Link::read(body).map(Change::LinkGone),
                NEWADDR => Address::read(body).map(Change::Address),
                DELADDR => Address::read(body).map(Change::AddressGone),
                _ => None,
            };
            if let Some(change) = change {
                each(change);
            }
        });
        match events.map_err(|error| RouteError::new("read changes of the network", error))? {
            Events::Read => {}
            Events::Overrun => each(Change::Everything),
        }
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}
