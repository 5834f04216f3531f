//! What our own reading says of the tables, in the words of `ipvsadm -L -n`, so that both can be compared line for line.

use std::net::{IpAddr, SocketAddr};

use systole::config::{At, Transport};
use systole::net::ipvs::{DestinationSeen, Ipvs, Method, Service};

use crate::world::run;

/// The lines of `ipvsadm -L -n` below its title, with one space between words.
pub(crate) fn by_ipvsadm() -> Vec<String> {
    let lines = run("ipvsadm -L -n");
    lines.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The same, read by ourselves.
pub(crate) fn by_us() -> Vec<String> {
    let mut kernel = Ipvs::open().unwrap();
    let mut services: Vec<Service> =
        kernel.services().unwrap().into_iter().map(|seen| seen.service).collect();
    services.sort_by_key(|service| order(service.at));
    let mut lines = Vec::new();
    for service in services {
        let mut destinations = kernel.destinations(service.at).unwrap();
        destinations.sort_by_key(|seen| (seen.destination.address, seen.destination.port));
        lines.push(service_line(&service));
        lines.extend(destinations.iter().map(destination_line));
    }
    lines
}

/// ipvsadm's: by mark, family, protocol, address and port.
fn order(at: At) -> (u32, bool, Transport, Option<IpAddr>, u16) {
    match at {
        At::Mark { mark, v6 } => (mark, v6, Transport::Tcp, None, 0),
        At::Address { address, port, protocol } => (0, address.is_ipv6(), protocol, Some(address), port),
    }
}

fn service_line(service: &Service) -> String {
    let v6 = systole::net::ipvs::is_v6(service.at);
    let mut line = match service.at {
        At::Address { address, port, protocol } => {
            let protocol = match protocol {
                Transport::Tcp => "TCP",
                Transport::Udp => "UDP",
                Transport::Sctp => "SCTP",
            };
            format!("{protocol} {}", SocketAddr::new(address, port))
        }
        At::Mark { mark, v6: false } => format!("FWM {mark}"),
        At::Mark { mark, v6: true } => format!("FWM {mark} IPv6"),
    };
    line += &format!(" {}", service.scheduler);
    let words = match service.scheduler.as_str() {
        "sh" => ["sh-fallback", "sh-port", "flag-3"],
        "mh" => ["mh-fallback", "mh-port", "flag-3"],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let set: Vec<&str> = words
        .into_iter()
        .zip(service.scheduler_flags)
        .filter(|(_, set)| *set)
        .map(|(word, _)| word)
        .collect();
    if !set.is_empty() {
        line += &format!(" ({})", set.join(","));
    }
    if service.one_packet {
        line += " ops";
    }
    if let Some(persistence) = service.persistence {
        line += &format!(" persistent {}", persistence.timeout_seconds);
        match (persistence.mask, v6) {
            (32, false) | (128, true) => {}
            (mask, true) => line += &format!(" mask {mask}"),
            (mask, false) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(mask)).unwrap_or(0);
                line += &format!(" mask {}", IpAddr::from(mask.to_be_bytes()));
            }
        }
    }
    line
}

fn destination_line(seen: &DestinationSeen) -> String {
    let to = &seen.destination;
    let method = match to.method {
        Method::Nat => "Masq",
        Method::Tunnel => "Tunnel",
        Method::Direct => "Route",
        Method::Local => "Local",
        Method::Bypass => "Bypass",
        Method::Other(_) => "Unknown",
    };
    let server = SocketAddr::new(to.address, to.port);
    format!("-> {server} {method} {} {} {}", to.weight, seen.active, seen.inactive)
}
