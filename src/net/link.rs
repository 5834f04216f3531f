//! The sockets that beats travel over: one end of each link of the configuration.
//!
//! A socket is bound to its interface, so a beat never leaves or arrives over another one; its datagrams are marked as
//! network control (DSCP CS6), so that a full line drops something else first. An interface may come late, go, and come
//! back under another index: [`LinkEnd::mend`] opens what can be opened, and says what changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::config::{Cast, Link};
use crate::types::NodeId;

/// DSCP CS6, "network control", in the place where the old type of service was.
const CLASS: u32 = 0xc0;

/// The greatest priority that needs no privilege; queues of the machine itself go by it.
const PRIORITY: i32 = 6;

/// Beats of a large cluster that arrive while this node is busy; each is at most a datagram.
const RECEIVE_BUFFER: usize = 1 << 20;

/// This node's end of one link.
#[derive(Debug)]
pub struct LinkEnd {
    interface: String,
    port: u16,
    to: To,
    /// The interface's index when the sockets were opened.
    index: u32,
    /// At most one of each family, as it is said of addresses: whether it is IPv6.
    sockets: Vec<(bool, Socket)>,
    /// Why it is not open, as told last.
    trouble: Option<String>,
}

/// Whom a beat is sent to.
#[derive(Debug)]
enum To {
    Unicast(Vec<IpAddr>),
    Multicast { group: IpAddr, ttl: u8 },
    Broadcast,
}

/// What became of a link's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// They are as they were.
    Unchanged,
    /// They are open now.
    Open,
    /// They are not, for this reason.
    Closed(String),
}

impl LinkEnd {
    /// The end of this node; nothing is opened yet.
    pub fn new(link: &Link, me: NodeId) -> Self {
        let to = match &link.cast {
            Cast::Unicast(addresses) => {
                let others = addresses.iter().filter(|(node, _)| *node != Some(me));
                To::Unicast(others.map(|(_, address)| *address).collect())
            }
            Cast::Multicast { group, ttl } => To::Multicast { group: *group, ttl: *ttl },
            Cast::Broadcast => To::Broadcast,
        };
        let (interface, port) = (link.interface.clone(), link.port);
        Self { interface, port, to, index: 0, sockets: Vec::new(), trouble: None }
    }

    /// Opens what is not open, and opens anew what belongs to an interface that is gone.
    pub fn mend(&mut self) -> Mended {
        let index = if_nametoindex(self.interface.as_str()).unwrap_or(0);
        if index != 0 && index == self.index && !self.sockets.is_empty() {
            return Mended::Unchanged;
        }
        self.sockets.clear();
        self.index = index;
        let opened = if index == 0 {
            Err(format!("there is no interface {}", self.interface))
        } else {
            self.open().map_err(|error| format!("{}, port {}: {error}", self.interface, self.port))
        };
        match opened {
            Ok(sockets) => {
                self.sockets = sockets;
                self.trouble = None;
                Mended::Open
            }
            Err(why) if self.trouble.as_ref() == Some(&why) => Mended::Unchanged,
            Err(why) => {
                self.trouble = Some(why.clone());
                Mended::Closed(why)
            }
        }
    }

    fn open(&self) -> io::Result<Vec<(bool, Socket)>> {
        match &self.to {
            To::Unicast(addresses) => {
                let mut sockets = Vec::new();
                if addresses.is_empty() || addresses.iter().any(IpAddr::is_ipv4) {
                    sockets.push((false, self.open_v4()?));
                }
                if addresses.iter().any(IpAddr::is_ipv6) {
                    sockets.push((true, self.open_v6()?));
                }
                Ok(sockets)
            }
            To::Multicast { group: IpAddr::V4(group), ttl } => {
                let socket = self.open_v4()?;
                let interface = InterfaceIndexOrAddress::Index(self.index);
                socket.join_multicast_v4_n(group, &interface)?;
                // By index: the interface need not have an address.
                super::sys::multicast_interface(socket.as_fd(), self.index)?;
                socket.set_multicast_ttl_v4(u32::from(*ttl))?;
                socket.set_multicast_loop_v4(false)?;
                Ok(vec![(false, socket)])
            }
            To::Multicast { group: IpAddr::V6(group), ttl } => {
                let socket = self.open_v6()?;
                socket.join_multicast_v6(group, self.index)?;
                socket.set_multicast_if_v6(self.index)?;
                socket.set_multicast_hops_v6(u32::from(*ttl))?;
                socket.set_multicast_loop_v6(false)?;
                Ok(vec![(true, socket)])
            }
            To::Broadcast => {
                let socket = self.open_v4()?;
                socket.set_broadcast(true)?;
                Ok(vec![(false, socket)])
            }
        }
    }

    fn open_v4(&self) -> io::Result<Socket> {
        let socket = self.prepared(Domain::IPV4)?;
        socket.set_tos_v4(CLASS)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)).into())?;
        Ok(socket)
    }

    fn open_v6(&self) -> io::Result<Socket> {
        let socket = self.prepared(Domain::IPV6)?;
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(CLASS)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port)).into())?;
        Ok(socket)
    }

    fn prepared(&self, domain: Domain) -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Links over several interfaces share a port.
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(self.interface.as_bytes()))?;
        // Refused where limits are tight; then bursts are lost, and counted by the sender's next beat.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        setsockopt(&socket, sockopt::Priority, &PRIORITY)?;
        Ok(socket)
    }

    /// Sends a datagram to everybody on the link. The first error is said; the others still get theirs.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let mut first_error = Ok(());
        for address in self.targets() {
            let family = self.sockets.iter().find(|(is_v6, _)| *is_v6 == address.is_ipv6());
            let Some((_, socket)) = family else { continue };
            let sent = socket.send_to(datagram, &address.into()).map(drop);
            first_error = first_error.and(sent);
        }
        first_error
    }

    fn targets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let (single, many): (_, &[IpAddr]) = match &self.to {
            To::Unicast(addresses) => (None, addresses),
            To::Multicast { group, .. } => (Some(*group), &[]),
            To::Broadcast => (Some(IpAddr::V4(Ipv4Addr::BROADCAST)), &[]),
        };
        many.iter().copied().chain(single).map(|address| match address {
            IpAddr::V4(_) => SocketAddr::new(address, self.port),
            // Only link-local addresses need the scope; for others the kernel ignores it.
            IpAddr::V6(address) => SocketAddrV6::new(address, self.port, 0, self.index).into(),
        })
    }

    /// Reads one datagram that waits; how long it was. One that does not fit is cut to the buffer.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        self.sockets.iter().find_map(|(_, socket)| io::Read::read(&mut &*socket, buffer).ok())
    }

    /// What becomes readable when something arrives.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }

    /// The interface that it is bound to.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether beats can travel over it.
    pub fn is_open(&self) -> bool {
        !self.sockets.is_empty()
    }
}
