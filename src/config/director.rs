//! What a valid configuration says of services: an address that clients know, the real servers behind it, and how it is
//! found out which of them are well.

pub(crate) mod draft;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Span;
use crate::types::{GroupId, ServersId};

use super::Config;

/// How the directors of IPVS tell each other the connections that they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSync {
    /// Over which interface.
    pub interface: String,
    /// Of which number the datagrams are: others are not heard.
    pub id: u8,
}

/// Services, by name: the same on every node.
pub type Services = BTreeMap<String, Arc<Service>>;

impl Config {
    /// All by which servers can be named.
    pub fn named_servers(&self) -> impl Iterator<Item = ServersId> {
        let servers = self.services.iter().flat_map(|(service, one)| {
            one.servers.iter().map(move |(name, server)| (service, name, server.address))
        });
        servers.flat_map(|(service, name, address)| ServersId::all_of(service, name, address))
    }
}

/// What clients ask, and who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What clients send to.
    pub at: At,
    /// Whose holder serves it; `None`: each node, always.
    pub group: Option<GroupId>,
    /// What divides the connections.
    pub balancer: Balancer,
    /// The balancer's own word for how it chooses; `None`: what it does by itself.
    pub scheduler: Option<Scheduler>,
    /// A client stays with its server.
    pub persistence: Option<Persistence>,
    /// Each datagram is divided for itself.
    pub one_packet: bool,
    /// By name.
    pub servers: BTreeMap<String, Arc<Server>>,
    /// Answers while too few of the others are well.
    pub sorry: Option<Arc<Server>>,
    /// The weights of the servers that are well add up to this, or too few are well.
    pub quorum: u32,
    /// So far below is too few, and so far above is enough again.
    pub hysteresis: u32,
    /// What becomes of a server that is not well.
    pub when_down: WhenDown,
    /// A server that is to go is given so long for the connections that it has.
    pub drain: Span,
}

/// What clients send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum At {
    /// An address and a port. Port 0: each port, which takes persistence.
    Address {
        /// Address.
        address: IpAddr,
        /// Port.
        port: u16,
        /// Protocol.
        protocol: Transport,
    },
    /// What the firewall marked.
    Mark {
        /// With this number.
        mark: u32,
        /// In packets of IPv6.
        v6: bool,
    },
}

/// What carries the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What divides the connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Balancer {
    /// The kernel's IP virtual server.
    Ipvs,
    /// Our own rules, which translate addresses: for machines without IPVS.
    Nftables,
    /// HAProxy, over its runtime socket.
    Haproxy {
        /// The socket.
        socket: PathBuf,
        /// The backend whose servers these are.
        backend: String,
    },
    /// A program that is told of each change.
    Program(PathBuf),
}

impl Balancer {
    /// As the configuration writes it.
    pub fn word(&self) -> String {
        match self {
            Self::Ipvs => "ipvs".to_owned(),
            Self::Nftables => "nftables".to_owned(),
            Self::Haproxy { .. } => "haproxy".to_owned(),
            Self::Program(path) => path.display().to_string(),
        }
    }
}

/// How a server is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// The balancer's own word for it, as `wlc`.
    pub name: String,
    /// The scheduler's flags of IPVS: the first to the third.
    pub flags: [bool; 3],
}

/// A client stays with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// Since it was heard last.
    pub timeout: Span,
    /// Clients whose addresses agree in so many bits are one.
    pub mask: u8,
}

/// How packets get to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Forwarding {
    /// Their addresses are translated.
    Nat,
    /// As they are, in frames to the server, which has the service's address itself.
    Direct,
    /// As they are, in packets to the server, which has the service's address itself.
    Tunnel,
}

/// What becomes of a server that is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenDown {
    /// It is taken out, with the connections that it has.
    Remove,
    /// It gets no new connections.
    Quiesce,
}

/// A machine that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// A server with twice the weight gets twice as many.
    pub weight: u32,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// With so many connections it gets no more, until it has fewer than the second number; 0: no limit.
    pub limits: (u32, u32),
    /// It is well while each of them is.
    pub checks: Vec<Arc<Check>>,
}

/// How it is found out whether a server is well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Check {
    /// What is done.
    pub kind: CheckKind,
    /// Another address than the server's.
    pub address: Option<IpAddr>,
    /// Another port than the server's.
    pub port: Option<u16>,
    /// Sent from here; `None`: from where the route says.
    pub source: Option<IpAddr>,
    /// From one to the next.
    pub every: Span,
    /// What takes longer has failed.
    pub timeout: Span,
    /// So many in a row that went well, and the server is well.
    pub rise: u32,
    /// So many in a row that failed, and it is not.
    pub fall: u32,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CheckKind {
    /// It takes a connection.
    Tcp,
    /// It takes a connection, and shows a certificate.
    Tls(Tls),
    /// A page is asked for.
    Http {
        /// Behind TLS.
        tls: Option<Tls>,
        /// The page.
        page: Page,
    },
    /// Something is said, and something is answered.
    Talk {
        /// Behind TLS.
        tls: Option<Tls>,
        /// Said first; empty: the server speaks first.
        send: Vec<u8>,
        /// What the answer must have in it.
        expect: Expect,
    },
    /// A datagram is sent, and something is answered.
    Udp {
        /// Its payload.
        send: Vec<u8>,
        /// What the answer must have in it; where it is nothing at all, silence is well, and only a refusal is not.
        expect: Expect,
    },
    /// An echo is asked for.
    Ping,
    /// A name is asked for.
    Dns {
        /// The name.
        name: String,
        /// The type of the record.
        record: DnsRecord,
        /// One of the records must be this one; `None`: any answer without an error will do.
        answer: Option<String>,
    },
    /// A mail server greets and is greeted.
    Smtp {
        /// What this machine calls itself.
        hello: String,
    },
    /// MySQL or MariaDB greets.
    Mysql,
    /// PostgreSQL takes logins.
    Postgresql,
    /// A program is run: it ends with 0 if all is well.
    Program {
        /// Its absolute path.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// Whose rights it has; `None`: root's.
        user: Option<String>,
        /// It also ends with 2 to 255, two more than the weight that the server shall have.
        weighs: bool,
    },
}

impl CheckKind {
    /// As the configuration writes it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Http { tls: None, .. } => "http",
            Self::Http { tls: Some(_), .. } => "https",
            Self::Talk { .. } => "talk",
            Self::Udp { .. } => "udp",
            Self::Ping => "ping",
            Self::Dns { .. } => "dns",
            Self::Smtp { .. } => "smtp",
            Self::Mysql => "mysql",
            Self::Postgresql => "postgresql",
            Self::Program { .. } => "program",
        }
    }
}

/// A page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Page {
    /// `GET`, `HEAD`, `OPTIONS` or `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The host that is asked for; `None`: the server's address.
    pub host: Option<String>,
    /// `NAME:PASSWORD`, for a page that asks who one is.
    pub login: Option<String>,
    /// Which answers are well.
    pub status: Vec<StatusRange>,
    /// What the answer's text must have in it.
    pub expect: Expect,
}

/// Which answers are well: from, to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatusRange(pub u16, pub u16);

impl StatusRange {
    /// The same as a range.
    pub fn range(self) -> RangeInclusive<u16> {
        self.0..=self.1
    }
}

/// What an answer must have in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Expect {
    /// These bytes.
    pub text: Option<Vec<u8>>,
    /// Something that this regular expression describes.
    pub pattern: Option<String>,
}

impl Expect {
    /// Whether anything will do.
    pub fn is_anything(&self) -> bool {
        self.text.is_none() && self.pattern.is_none()
    }
}

/// Behind TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tls {
    /// The name that the server is asked for, and that its certificate is for; `None`: its address.
    pub name: Option<String>,
    /// What the certificate must be.
    pub certificate: Certificate,
}

/// What a certificate must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Certificate {
    /// One that the machine's authorities vouch for, for this name, at this time.
    Trusted,
    /// As [`Self::Trusted`], with the authorities of this file.
    TrustedBy(PathBuf),
    /// Valid at this time, whoever made it and for whom.
    InTime,
    /// Anything.
    Any,
}

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DnsRecord {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// A mail server.
    Mx,
    /// A name server.
    Ns,
    /// The name of an address.
    Ptr,
    /// The zone's beginning.
    Soa,
    /// Where a service is.
    Srv,
    /// A text.
    Txt,
}
