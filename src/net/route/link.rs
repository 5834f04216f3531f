//! Interfaces: list, make, set up, move to another namespace, delete.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::frame::Mac;
use super::super::netlink::{CREATE, EXCLUSIVE, Message, attribute};
use super::{Route, RouteError, number, number_at, text};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;

const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const PEER: u16 = 5;
const PORT_OF: u16 = 10;
const PROTOCOL_INFO: u16 = 12;
const LINKINFO: u16 = 18;
const KIND: u16 = 1;
const DATA: u16 = 2;
const NET_NS_FD: u16 = 28;
const EXT_MASK: u16 = 29;
const CARRIER: u16 = 33;
const VETH_PEER: u16 = 1;
const PORT_STATE: u16 = 1;

const FAMILY_BRIDGE: u8 = 7;
const STATE_DISABLED: u8 = 0;
const STATE_FORWARDING: u8 = 3;

const UP: u32 = 1;
/// "Leave the counters out."
const SKIP_STATISTICS: u32 = 1 << 3;
/// The kernel's limit, with the zero at the end.
const NAME_LENGTH: usize = 16;
/// struct ifinfomsg.
const FIXED: usize = 16;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `None`: not of Ethernet's kind.
    pub mac: Option<Mac>,
    /// Set up by whoever administers it.
    pub up: bool,
    /// The cable is in, and the other side is up. Only an interface that is up has it.
    pub carrier: bool,
    /// The longest packet.
    pub mtu: u32,
    /// `veth`, `bridge`, `vlan`...; `None`: hardware, or the loopback.
    pub kind: Option<String>,
    /// The bridge or bond that it is a port of.
    pub port_of: Option<u32>,
    /// Of a veth: the other end's number, in the other end's namespace.
    pub peer: Option<u32>,
}

/// One end of a veth in the making.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address; `None`: the kernel's choice.
    pub mac: Option<Mac>,
    /// The namespace where it is made; `None`: here.
    pub namespace: Option<BorrowedFd<'a>>,
}

impl Route {
    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, RouteError> {
        let message = Message::new(GETLINK, 0, &info(0, 0, 0)).attr(EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        self.list("list the interfaces", &message, |_, body| Link::read(body))
    }

    /// The interface with this name, or with this alternative name.
    pub fn link(&mut self, name: &str) -> Result<Link, RouteError> {
        // A longer name cannot be the first one of an interface, and no alternative name is looked for.
        if name.is_empty() || name.len() >= NAME_LENGTH || name.contains('\0') {
            return Err(RouteError::NoLink { name: name.to_owned() });
        }
        self.one(0, Some(name), || name.to_owned())
    }

    /// The interface with this number.
    pub fn link_at(&mut self, index: u32) -> Result<Link, RouteError> {
        self.one(index, None, || format!("number {index}"))
    }

    fn one(
        &mut self,
        index: u32,
        name: Option<&str>,
        shown: impl Fn() -> String,
    ) -> Result<Link, RouteError> {
        let message = Message::new(GETLINK, 0, &info(index, 0, 0));
        let message = message.attr(EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let message = name.into_iter().fold(message, |message, name| message.text(IFNAME, name));
        let mut found = None;
        match self.netlink.ask(message, |_, body| found = Link::read(body)) {
            Ok(()) => found.ok_or_else(|| RouteError::NoLink { name: shown() }),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                Err(RouteError::NoLink { name: shown() })
            }
            Err(error) => Err(RouteError::new(format!("look at interface {}", shown()), error)),
        }
    }

    /// Makes two interfaces that are the ends of one cable; both are down. The numbers are of the kernel's choice unless
    /// both are given; ends with the same number, in two namespaces, look like one interface to some programs.
    pub fn add_veth(
        &mut self,
        end: End<'_>,
        peer: End<'_>,
        numbers: Option<(u32, u32)>,
    ) -> Result<(), RouteError> {
        let (number, peer_number) = numbers.unwrap_or_default();
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE, &info(number, 0, 0));
        let message = message.text(IFNAME, end.name);
        let message = end.mac.iter().fold(message, |message, mac| message.attr(ADDRESS, &mac.0));
        let message =
            end.namespace.iter().fold(message, |message, fd| message.attr(NET_NS_FD, &fd_number(*fd)));
        let message = message.nest(LINKINFO, |link_info| {
            link_info.text(KIND, "veth").nest(DATA, |data| {
                data.nest(VETH_PEER, |other| {
                    other.raw(&info(peer_number, 0, 0)).text(IFNAME, peer.name);
                    if let Some(mac) = peer.mac {
                        other.attr(ADDRESS, &mac.0);
                    }
                    if let Some(fd) = peer.namespace {
                        other.attr(NET_NS_FD, &fd_number(fd));
                    }
                });
            });
        });
        let what = || format!("make the pair of interfaces {} and {}", end.name, peer.name);
        self.netlink.request(message).map_err(|error| RouteError::new(what(), error))
    }

    /// Makes a bridge; it is down.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), RouteError> {
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE, &info(0, 0, 0)).text(IFNAME, name);
        let message = message.nest(LINKINFO, |link_info| {
            link_info.text(KIND, "bridge");
        });
        let refused = |error| RouteError::new(format!("make the bridge {name}"), error);
        self.netlink.request(message).map_err(refused)
    }

    /// Sets an interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), RouteError> {
        let done = self.netlink.request(Message::new(NEWLINK, 0, &info(index, if up { UP } else { 0 }, UP)));
        self.refused(done, index, |name| format!("set {name} {}", if up { "up" } else { "down" }))
    }

    /// Makes an interface a port of a bridge or bond; `None`: of none.
    pub fn set_port_of(&mut self, index: u32, bridge: Option<u32>) -> Result<(), RouteError> {
        let message = Message::new(NEWLINK, 0, &info(index, 0, 0));
        let done = self.netlink.request(message.attr(PORT_OF, &bridge.unwrap_or(0).to_ne_bytes()));
        self.refused(done, index, |name| match bridge {
            Some(bridge) => format!("make {name} a port of interface {bridge}"),
            None => format!("take {name} out of its bridge"),
        })
    }

    /// Lets a port of a bridge pass frames, or neither way; its carrier stays. A port that comes up passes them.
    pub fn set_forwarding(&mut self, index: u32, forwarding: bool) -> Result<(), RouteError> {
        let state = if forwarding { STATE_FORWARDING } else { STATE_DISABLED };
        let mut fixed = info(index, 0, 0);
        fixed[0] = FAMILY_BRIDGE;
        let message = Message::new(SETLINK, 0, &fixed).nest(PROTOCOL_INFO, |port| {
            port.attr(PORT_STATE, &[state]);
        });
        let done = self.netlink.request(message);
        let verb = if forwarding { "open" } else { "close" };
        self.refused(done, index, |name| format!("{verb} the port {name} of its bridge"))
    }

    /// Moves an interface to another namespace. It is down there, and has lost its addresses.
    pub fn move_link(&mut self, index: u32, namespace: BorrowedFd<'_>) -> Result<(), RouteError> {
        let message = Message::new(NEWLINK, 0, &info(index, 0, 0)).attr(NET_NS_FD, &fd_number(namespace));
        let done = self.netlink.request(message);
        self.refused(done, index, |name| format!("move {name} to another namespace"))
    }

    /// Deletes an interface, and of a pair the other one as well. One that is not there is deleted.
    pub fn delete_link(&mut self, index: u32) -> Result<(), RouteError> {
        let done = match self.netlink.request(Message::new(DELLINK, 0, &info(index, 0, 0))) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            done => done,
        };
        self.refused(done, index, |name| format!("delete {name}"))
    }
}

impl Link {
    /// Reads an ifinfomsg with its attributes. A bridge's view of its ports is of another family, and no link.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(FIXED..)?;
        if body[0] != 0 {
            return None;
        }
        let flags = number_at(body, 8)?;
        let find = |kind| attribute(attributes, kind);
        let kind = find(LINKINFO).and_then(|link_info| attribute(link_info, KIND)).and_then(text);
        Some(Self {
            index: number_at(body, 4)?,
            name: find(IFNAME).and_then(text)?,
            mac: find(ADDRESS).and_then(|mac| mac.try_into().ok()).map(Mac),
            up: flags & UP != 0,
            carrier: flags & UP != 0 && find(CARRIER).is_some_and(|carrier| carrier == [1]),
            mtu: find(MTU).and_then(number).unwrap_or(0),
            peer: find(PEER).and_then(number).filter(|_| kind.as_deref() == Some("veth")),
            kind,
            port_of: find(PORT_OF).and_then(number),
        })
    }
}

/// struct ifinfomsg.
fn info(index: u32, flags: u32, change: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn fd_number(fd: BorrowedFd<'_>) -> [u8; 4] {
    fd.as_raw_fd().to_ne_bytes()
}
