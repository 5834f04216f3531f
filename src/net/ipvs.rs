//! IPVS, the kernel's IP virtual server, over generic netlink. No `ipvsadm` is run.
//!
//! This knows the kernel's messages (`linux/ip_vs.h`) and the tables as they are; what they shall be is the director's
//! business. It must never flush: the tables are the machine's, and others have services in them.
//!
//! What the kernel does, and this follows:
//!
//! - The family has a number of the moment, which is asked for by the name `IPVS`. Asked for it, the kernel loads the module
//!   where it can; loaded anew, it has another number. Each network namespace has tables of its own.
//! - A service is known by its family with protocol, address and port, or with a firewall mark; a destination by its
//!   service, address and port.
//! - A destination needs its service: a batch is worked off in order, and what fails in it stops nothing behind it.
//! - The destinations of one service are a dump; those of all services cannot be asked for at once.
//! - A service that is set keeps its connections and destinations; one that is deleted loses both.
//! - A destination that is removed is remembered for a minute or two, and is itself again if it is added meanwhile, with the
//!   connections that it still has. For each that is added all of those are searched, one by one.

mod message;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{At, Forwarding};

use super::netlink::{Message, Netlink, Protocol};

/// The kernel takes a message of more than its send buffer for none, and drops what fails beyond what its receive buffer
/// holds; so many fit even where neither may be enlarged.
const STEPS_A_SEND: usize = 128;

/// A dump that goes on beyond this is no table that anybody has made.
const MOST_IN_A_DUMP: usize = 1 << 20;

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What clients send to.
    pub at: At,
    /// As the kernel knows it: `wlc`.
    pub scheduler: String,
    /// What they mean is the scheduler's business.
    pub scheduler_flags: [bool; 3],
    /// Each datagram is divided for itself.
    pub one_packet: bool,
    /// A client stays with its server.
    pub persistence: Option<Persistence>,
    /// What finds out by more than addresses who a client is, as `sip`; empty: nothing does.
    pub engine: String,
}

/// A client stays with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Since it was heard last.
    pub timeout_seconds: u32,
    /// Clients whose addresses agree in so many bits are one; `u8::MAX`: a mask that is no prefix.
    pub mask: u8,
}

/// A real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// How packets get there.
    pub method: Method,
    /// What they are wrapped in, if it is a tunnel.
    pub wrapping: Wrapping,
    /// 0: no new connections.
    pub weight: u32,
    /// With so many connections it gets no more; 0: no limit.
    pub upper: u32,
    /// With fewer it gets some again; 0: three quarters of the upper one.
    pub lower: u32,
}

/// How packets get to a destination: the kernel's forwarding methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Their addresses are translated.
    Nat,
    /// They stay on this machine.
    Local,
    /// In packets to the server.
    Tunnel,
    /// In frames to the server.
    Direct,
    /// To where they wanted to go anyway.
    Bypass,
    /// One that we don't know.
    Other(u8),
}

impl From<Forwarding> for Method {
    fn from(forwarding: Forwarding) -> Self {
        match forwarding {
            Forwarding::Nat => Self::Nat,
            Forwarding::Direct => Self::Direct,
            Forwarding::Tunnel => Self::Tunnel,
        }
    }
}

/// As a person says it.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat => f.write_str("nat"),
            Self::Local => f.write_str("local"),
            Self::Tunnel => f.write_str("tunnel"),
            Self::Direct => f.write_str("direct"),
            Self::Bypass => f.write_str("bypass"),
            Self::Other(number) => write!(f, "method {number}"),
        }
    }
}

/// What a tunnel wraps packets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// 0: IP in IP, 1: GUE, 2: GRE.
    pub kind: u8,
    /// Of GUE.
    pub port: u16,
    /// Of GUE and GRE: whether, and how, there are checksums.
    pub flags: u16,
}

/// What was counted, as long as the service or destination is there. The kernel adds it up every two seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients; with direct routing and tunnels nobody sees those.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// The counters of a service or a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Since it is there.
    pub total: Counters,
    /// In a second, of late.
    pub rate: Counters,
}

/// A service as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// What was set.
    pub service: Service,
    /// What was counted.
    pub statistics: Statistics,
}

/// A destination as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSeen {
    /// What was set.
    pub destination: Destination,
    /// Connections that are open.
    pub active: u32,
    /// Connections that are over, or of which little is known.
    pub inactive: u32,
    /// Clients that are bound to it.
    pub persistent: u32,
    /// What was counted.
    pub statistics: Statistics,
}

/// One change of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A service that is not there; fails with EEXIST where it is.
    Make(Service),
    /// A service that is there, otherwise; fails with ESRCH where it is not.
    Alter(Service),
    /// A service, its destinations, and their connections; fails with ESRCH where it is not.
    Delete(At),
    /// A destination that is not there; fails with EEXIST where it is, with ESRCH without its service.
    Add(At, Destination),
    /// A destination that is there, otherwise; fails with ENOENT where it is not, with ESRCH without its service.
    Set(At, Destination),
    /// A destination by address and port; fails with ENOENT where it is not, with ESRCH without its service.
    Remove(At, IpAddr, u16),
}

impl Step {
    /// The service that it is about.
    pub fn at(&self) -> At {
        match self {
            Self::Make(service) | Self::Alter(service) => service.at,
            Self::Delete(at) | Self::Add(at, _) | Self::Set(at, _) | Self::Remove(at, _, _) => *at,
        }
    }
}

/// After which silence a connection is over, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of TCP.
    pub tcp: u32,
    /// Of TCP, after one side has said that it is done.
    pub tcp_end: u32,
    /// Of UDP.
    pub udp: u32,
}

/// What one of the two daemons does that tell connections from director to director.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncRole {
    /// Tells others of the connections of this machine: the kernel's state 1.
    Sends,
    /// Learns of the connections of others: the kernel's state 2.
    Receives,
}

/// One of the two daemons that tell connections from director to director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDaemon {
    /// What it does.
    pub role: SyncRole,
    /// Over which interface.
    pub interface: String,
    /// Who receives hears those of the same number only, or of all if its own is 0.
    pub id: u8,
    /// Where to, and how.
    pub path: SyncPath,
}

/// Where the datagrams of a daemon go, and how; what is `None` is as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncPath {
    /// The multicast group: 224.0.0.81 of the kernel's own.
    pub group: Option<IpAddr>,
    /// The UDP port: 8848 of the kernel's own.
    pub port: Option<u16>,
    /// How many routers they pass: none but the first of the kernel's own.
    pub hops: Option<u8>,
    /// How long one is at most: as long as the interface takes, of the kernel's own.
    pub longest: Option<u16>,
}

/// Why there is no IPVS to speak to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The module is not loaded, or there is none.
    #[error("this kernel has no IPVS: modprobe ip_vs, or balancer = \"nftables\"")]
    Missing,
    /// The kernel does not let us ask.
    #[error("generic netlink: {0}")]
    Netlink(#[from] io::Error),
}

/// The kernel's IPVS, of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Ipvs {
    netlink: Netlink,
    family: u16,
}

impl Ipvs {
    /// Opens it. Says plainly if this kernel has none.
    pub fn open() -> Result<Self, OpenError> {
        let mut netlink = Netlink::open(Protocol::Generic)?;
        let family = resolve(&mut netlink)?;
        Ok(Self { netlink, family })
    }

    /// Asks again for the number of the family: the module may have been loaded anew.
    pub fn find_again(&mut self) -> Result<(), OpenError> {
        self.family = resolve(&mut self.netlink)?;
        Ok(())
    }

    /// All services, whoever has made them.
    pub fn services(&mut self) -> io::Result<Vec<ServiceSeen>> {
        let asked = message::get_services(self.family);
        self.list(&asked, message::read_service)
    }

    /// One service; `None`: it is not there.
    pub fn service(&mut self, at: At) -> io::Result<Option<ServiceSeen>> {
        let mut found = None;
        let asked = message::get_service(self.family, at);
        match self.netlink.ask(asked, |_, body| found = message::read_service(body)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// The destinations of a service; none where there is no such service.
    pub fn destinations(&mut self, at: At) -> io::Result<Vec<DestinationSeen>> {
        let asked = message::get_destinations(self.family, at);
        self.list(&asked, |body| message::read_destination(body, is_v6(at)))
    }

    fn list<T>(&mut self, asked: &Message, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        let mut left = MOST_IN_A_DUMP;
        let found = self.netlink.list(asked, |_, body| {
            left = left.saturating_sub(1);
            if left > 0 { read(body) } else { None }
        })?;
        if left > 0 { Ok(found) } else { Err(io::ErrorKind::OutOfMemory.into()) }
    }

    /// Does them in their order. Says which of them failed, by their places, and why; the others have happened. An error of
    /// the whole says that nobody knows which have.
    pub fn apply(&mut self, steps: &[Step]) -> io::Result<Vec<(usize, io::Error)>> {
        let mut failed = Vec::new();
        for (part, steps) in steps.chunks(STEPS_A_SEND).enumerate() {
            let messages = steps.iter().map(|step| message::step(self.family, step)).collect();
            let refused = self.netlink.pipeline(messages)?;
            failed.extend(refused.into_iter().map(|(place, error)| (part * STEPS_A_SEND + place, error)));
        }
        Ok(failed)
    }

    /// Sets the counters of a service and of its destinations back to 0; `None`: all there are.
    pub fn zero(&mut self, at: Option<At>) -> io::Result<()> {
        self.netlink.request(message::zero(self.family, at))
    }

    /// After which silence connections are over.
    pub fn timeouts(&mut self) -> io::Result<Timeouts> {
        let mut found = None;
        self.netlink
            .ask(message::get_timeouts(self.family), |_, body| found = message::read_timeouts(body))?;
        found.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Sets them, for connections from their next packet on; 0: stays as it is.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) -> io::Result<()> {
        self.netlink.request(message::set_timeouts(self.family, timeouts))
    }

    /// The daemons that run.
    pub fn daemons(&mut self) -> io::Result<Vec<SyncDaemon>> {
        let mut found = Vec::new();
        self.netlink.dump(message::get_daemons(self.family), |_, body| {
            // There are two kinds, and one of each.
            if found.len() < 2 {
                found.extend(message::read_daemon(body));
            }
        })?;
        Ok(found)
    }

    /// Starts one; fails with EEXIST while one of this role runs, with ENODEV without its interface.
    pub fn start(&mut self, daemon: &SyncDaemon) -> io::Result<()> {
        self.netlink.request(message::start(self.family, daemon))
    }

    /// Stops the one of this role; fails with ESRCH where none runs.
    pub fn stop(&mut self, role: SyncRole) -> io::Result<()> {
        self.netlink.request(message::stop(self.family, role))
    }
}

/// Whether a service is one of IPv6.
pub fn is_v6(at: At) -> bool {
    match at {
        At::Address { address, .. } => address.is_ipv6(),
        At::Mark { v6, .. } => v6,
    }
}

fn resolve(netlink: &mut Netlink) -> Result<u16, OpenError> {
    let mut family = None;
    match netlink.ask(message::get_family(), |_, body| family = message::read_family(body)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Err(OpenError::Missing),
        Err(error) => Err(error.into()),
        Ok(()) => family.ok_or(OpenError::Missing),
    }
}

/// The kernel has one form for addresses of both kinds: sixteen bytes, of which IPv4 has the first four.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

fn read_address(bytes: &[u8], v6: bool) -> Option<IpAddr> {
    Some(if v6 {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?))
    } else {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?))
    })
}
