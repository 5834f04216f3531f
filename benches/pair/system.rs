//! The two that are measured in turn, and how each is set up: systole, and keepalived as a careful operator has it. Pure:
//! texts and times.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use systole::time::Span;

/// Both directors, the preferred one first.
pub(crate) const NODES: [&str; 2] = ["lb0", "lb1"];
/// Their numbers and the client's on the networks of the lab.
pub(crate) const NUMBERS: [(&str, u8); 3] = [("lb0", 1), ("lb1", 2), ("client", 9)];
/// Of keepalived, in the order of the nodes. The closer to 255, the shorter the skew.
const PRIORITIES: [u64; 2] = [254, 253];
/// Of keepalived's process, where it shall have one: as systole's thread of beats.
const REAL_TIME: u8 = 50;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// systole, with beats ten times a deadtime.
    Systole {
        /// Its deadtime.
        deadtime: Span,
        /// A second link over a cable of its own.
        cross: bool,
    },
    /// keepalived.
    Keepalived {
        /// Hundredths of a second between two adverts: VRRPv3 counts in them.
        advert: u64,
        /// Whether its process is a real-time one.
        real_time: bool,
    },
}

impl System {
    /// systole with one link.
    pub(crate) const fn systole(deadtime_ms: u64) -> Self {
        Self::Systole { deadtime: Span::millis(deadtime_ms), cross: false }
    }

    /// keepalived at its best.
    pub(crate) const fn keepalived(advert_ms: u64) -> Self {
        Self::Keepalived { advert: advert_ms / 10, real_time: true }
    }

    /// Whether it is ours.
    pub(crate) const fn is_systole(self) -> bool {
        matches!(self, Self::Systole { .. })
    }

    /// From the last beat of a holder that falls silent until another may take: what the timers prescribe.
    pub(crate) fn detection(self) -> Span {
        match self {
            Self::Systole { deadtime, .. } => deadtime,
            Self::Keepalived { .. } => {
                // RFC 5798, 6.1: three intervals and the skew of the one that takes over.
                self.beat() * 3 + self.beat() * (256 - PRIORITIES[1]) / 256
            }
        }
    }

    /// Between two beats.
    pub(crate) fn beat(self) -> Span {
        match self {
            Self::Systole { deadtime, .. } => deadtime / 10,
            Self::Keepalived { advert, .. } => Span::millis(advert * 10),
        }
    }

    /// The configuration of one node, of systole the same for all.
    pub(crate) fn text(self, node: usize, addresses: &[IpAddr], keys: &Path) -> String {
        match self {
            Self::Systole { deadtime, cross } => {
                let head = cluster(deadtime, cross, addresses, keys);
                head + &group("web", addresses)
            }
            Self::Keepalived { .. } => self.adverts(NODES[node], PRIORITIES[node], addresses),
        }
    }

    /// keepalived's configuration with a priority.
    pub(crate) fn adverts(self, node: &str, priority: u64, addresses: &[IpAddr]) -> String {
        let Self::Keepalived { advert, real_time } = self else { return String::new() };
        // Its own limit on what it may run without a pause, 10 ms, has it killed by a reload, or by many addresses.
        let real_time = if real_time {
            format!("    vrrp_rt_priority {REAL_TIME}\n    vrrp_rlimit_rttime 1000000\n    vrrp_no_swap\n")
        } else {
            String::new()
        };
        let seconds = format!("{}.{:02}", advert / 100, advert % 100);
        let line = |address: &IpAddr| format!("        {address}/{} dev eth0\n", prefix(*address));
        // One byte counts the addresses of an advert. Those beyond are added and announced all the same.
        let (said, others) = addresses.split_at(addresses.len().min(1));
        let mut said: String = said.iter().map(line).collect();
        if addresses.first().is_some_and(IpAddr::is_ipv6) {
            said.insert_str(0, "        fe80::77:100/64 dev eth0\n");
        }
        let others: String = others.iter().map(line).collect();
        format!(
            "global_defs {{\n    router_id {node}\n    vrrp_version 3\n{real_time}}}\n\
             vrrp_instance web {{\n    interface eth0\n    virtual_router_id 77\n    priority {priority}\n    \
             advert_int {seconds}\n    virtual_ipaddress {{\n{said}    }}\n    \
             virtual_ipaddress_excluded {{\n{others}    }}\n}}\n"
        )
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systole { deadtime, .. } => write!(f, "systole, deadtime {deadtime}"),
            Self::Keepalived { real_time, .. } => {
                let ordinary = if *real_time { "" } else { ", not real-time" };
                write!(f, "keepalived, adverts {}{ordinary}", self.beat())
            }
        }
    }
}

/// A group of systole's configuration.
pub(crate) fn group(name: &str, addresses: &[IpAddr]) -> String {
    let list: Vec<_> =
        addresses.iter().map(|address| format!("\"{address}/{}\"", prefix(*address))).collect();
    format!(
        "[group.{name}]\nprefer = [\"lb0\", \"lb1\"]\n[[group.{name}.resource]]\nagent = \"vip\"\n\
         params = {{ address = [{}], interface = \"eth0\" }}\n",
        list.join(", ")
    )
}

fn cluster(deadtime: Span, cross: bool, addresses: &[IpAddr], keys: &Path) -> String {
    let v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let address = |net: u8, number: u8| {
        if v6 { format!("fd00:{net}::{number}") } else { format!("10.{net}.0.{number}") }
    };
    let link = |name: &str, interface: &str, net: u8| {
        let [one, other] = [1, 2].map(|number| address(net, number));
        format!(
            "[link.{name}]\ninterface = \"{interface}\"\nunicast = {{ lb0 = \"{one}\", lb1 = \"{other}\" }}\n"
        )
    };
    let second = if cross { link("cross", "eth1", 78) } else { String::new() };
    let initdead = deadtime.max(Span::seconds(1)) * 2;
    format!(
        "[cluster]\nname = \"bench\"\nkeys = \"{}\"\n\
         [timing]\nkeepalive = \"{}\"\nwarntime = \"{}\"\ndeadtime = \"{deadtime}\"\ninitdead = \"{initdead}\"\n\
         [node.lb0]\n[node.lb1]\n{}{second}[tiebreak]\nping = [\"{}\"]\n",
        keys.display(),
        deadtime / 10,
        deadtime * 3 / 10,
        link("lan", "eth0", 77),
        address(77, 9),
    )
}

/// So many service addresses.
pub(crate) fn addresses(v6: bool, count: u16) -> Vec<IpAddr> {
    let numbered = |number: u16| -> IpAddr {
        let [high, low] = number.to_be_bytes();
        if v6 { [0xfd00, 0x77, 0, 0, 0, 0, 1, number].into() } else { [10, 77, 1 + high, low].into() }
    };
    (1..=count).map(numbered).collect()
}

/// The prefix of an address on the service network, which is wide enough for hundreds of them.
pub(crate) fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 16 } else { 64 }
}
