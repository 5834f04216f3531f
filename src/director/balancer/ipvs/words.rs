//! What this balancer says to people: whose service, what somebody else has done to it, and why the kernel refuses a step.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::config::{At, Transport};
use crate::director::balancer::BalancerError;
use crate::net::ipvs::{Destination, Persistence, Service, Step};

use super::diff::{Held, Places};

/// Of more services nobody reads what is wrong with each.
const MOST_REFUSED: usize = 3;

pub(super) fn service(name: Option<&str>, at: At) -> String {
    let place = match at {
        At::Address { address, port, protocol } => {
            let protocol = match protocol {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
                Transport::Sctp => "sctp",
            };
            format!("{protocol} {}", SocketAddr::new(address, port))
        }
        At::Mark { mark, v6: false } => format!("mark {mark}"),
        At::Mark { mark, v6: true } => format!("mark {mark} of IPv6"),
    };
    match name {
        Some(name) => format!("service {name} ({place})"),
        None => format!("service {place}"),
    }
}

/// What is there otherwise than it was known to be.
pub(super) fn strayed(known: &Places, present: &Places, called: impl Fn(At) -> String) -> Vec<String> {
    let mut told = Vec::new();
    for (at, known) in known {
        let present = present.get(at);
        if present != Some(known) {
            strayed_one(&called(*at), known, present, &mut told);
        }
    }
    told
}

fn strayed_one(called: &str, known: &Held, present: Option<&Held>, told: &mut Vec<String>) {
    let Some(present) = present else {
        told.push(format!("somebody else has deleted {called}"));
        return;
    };
    if present.service != known.service {
        let what = service_changes(&known.service, &present.service);
        told.push(format!("somebody else has changed {called}: {what}"));
    }
    for ((address, port), destination) in &known.destinations {
        let server = SocketAddr::new(*address, *port);
        match present.destinations.get(&(*address, *port)) {
            None => told.push(format!("somebody else has removed server {server} from {called}")),
            Some(found) if found != destination => {
                let what = destination_changes(destination, found);
                told.push(format!("somebody else has changed server {server} of {called}: {what}"));
            }
            Some(_) => {}
        }
    }
    for (address, port) in present.destinations.keys().filter(|place| !known.destinations.contains_key(place))
    {
        let server = SocketAddr::new(*address, *port);
        told.push(format!("somebody else has added server {server} to {called}"));
    }
}

/// What is different, each with what it is and what it was.
struct Changes(Vec<String>);

impl Changes {
    fn look<T: PartialEq>(&mut self, what: &str, known: &T, found: &T, show: impl Fn(&T) -> String) {
        if known != found {
            self.0.push(format!("{what} {} in place of {}", show(found), show(known)));
        }
    }
}

fn shown<T: Display>(value: &T) -> String {
    value.to_string()
}

fn service_changes(known: &Service, found: &Service) -> String {
    let mut changes = Changes(Vec::new());
    changes.look("scheduler", &known.scheduler, &found.scheduler, shown);
    changes.look("scheduler flags", &known.scheduler_flags, &found.scheduler_flags, |flags| {
        let set: Vec<String> =
            (1..=3).zip(flags).filter(|(_, set)| **set).map(|(at, _)| at.to_string()).collect();
        if set.is_empty() { "none".to_owned() } else { set.join(" and ") }
    });
    changes.look("one-packet", &known.one_packet, &found.one_packet, shown);
    changes.look("persistence", &known.persistence, &found.persistence, |persistence| match persistence {
        None => "none".to_owned(),
        Some(Persistence { timeout_seconds, mask: u8::MAX }) => {
            format!("{timeout_seconds} s with a mask that is no prefix")
        }
        Some(Persistence { timeout_seconds, mask }) => format!("{timeout_seconds} s with mask {mask}"),
    });
    changes.look("engine", &known.engine, &found.engine, |engine| match engine.as_str() {
        "" => "none".to_owned(),
        engine => engine.to_owned(),
    });
    changes.0.join(", ")
}

fn destination_changes(known: &Destination, found: &Destination) -> String {
    let mut changes = Changes(Vec::new());
    changes.look("weight", &known.weight, &found.weight, shown);
    changes.look("forwarding", &known.method, &found.method, shown);
    changes.look("upper limit", &known.upper, &found.upper, shown);
    changes.look("lower limit", &known.lower, &found.lower, shown);
    changes.look("tunnel type", &known.wrapping.kind, &found.wrapping.kind, shown);
    changes.look("tunnel port", &known.wrapping.port, &found.wrapping.port, shown);
    changes.look("tunnel flags", &known.wrapping.flags, &found.wrapping.flags, shown);
    changes.0.join(", ")
}

pub(super) fn unread(error: io::Error) -> BalancerError {
    BalancerError(match error.raw_os_error() {
        Some(libc::EPERM) => "IPVS: only root may read its tables: it takes CAP_NET_ADMIN".to_owned(),
        _ => format!("IPVS: its tables cannot be read: {error}"),
    })
}

pub(super) fn unsettled(error: &io::Error) -> BalancerError {
    BalancerError(format!(
        "IPVS: {error}: it is not known what of the changes has been done, and is looked at again"
    ))
}

/// What the kernel refused, each service with its first reason: those behind it often only follow from it.
pub(super) fn refused(failed: &[(Step, io::Error)], called: impl Fn(At) -> String) -> BalancerError {
    let mut first = BTreeMap::new();
    for (step, error) in failed {
        first.entry(step.at()).or_insert((step, error));
    }
    let mut said: Vec<String> = first
        .iter()
        .take(MOST_REFUSED)
        .map(|(at, (step, error))| format!("{}: {}", called(*at), why(step, error)))
        .collect();
    if first.len() > MOST_REFUSED {
        said.push(format!("and {} more services", first.len() - MOST_REFUSED));
    }
    BalancerError(format!("IPVS: {}", said.join("; ")))
}

fn why(step: &Step, error: &io::Error) -> String {
    match step {
        Step::Make(service) | Step::Alter(service) => why_service(service, error),
        Step::Delete(_) => format!("it cannot be deleted: {error}"),
        Step::Add(at, destination) | Step::Set(at, destination) => {
            format!("server {}: {}", SocketAddr::new(destination.address, destination.port), {
                why_destination(*at, destination, error)
            })
        }
        Step::Remove(_, address, port) => {
            format!("server {} cannot be removed: {error}", SocketAddr::new(*address, *port))
        }
    }
}

fn why_service(service: &Service, error: &io::Error) -> String {
    let scheduler = &service.scheduler;
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            format!("this kernel has no scheduler \"{scheduler}\", nor a module ip_vs_{scheduler}")
        }
        Some(libc::EAFNOSUPPORT) => "this kernel's IPVS has no IPv6".to_owned(),
        Some(libc::EINVAL) if service.persistence.is_some() => {
            format!(
                "the kernel takes it for invalid, perhaps the mask or the flags of scheduler \"{scheduler}\""
            )
        }
        Some(libc::EPERM) => "only root may change it: it takes CAP_NET_ADMIN".to_owned(),
        Some(libc::EEXIST | libc::ESRCH) => "somebody else makes and deletes it at the same time".to_owned(),
        _ => error.to_string(),
    }
}

fn why_destination(at: At, destination: &Destination, error: &io::Error) -> String {
    let other_family = destination.address.is_ipv6() != crate::net::ipvs::is_v6(at);
    match error.raw_os_error() {
        Some(libc::EINVAL) if other_family => {
            "it is of another family than its service: that takes a tunnel, and no daemon that tells of connections"
                .to_owned()
        }
        Some(libc::EINVAL) => no_server(destination.address),
        Some(libc::ERANGE) => {
            let Destination { weight, upper, lower, .. } = destination;
            format!("weight {weight} or limits {upper} and {lower} are out of range: the second limit is the lower one")
        }
        Some(libc::EAFNOSUPPORT) => "this kernel's IPVS has no IPv6".to_owned(),
        Some(libc::EPERM) => "only root may change it: it takes CAP_NET_ADMIN".to_owned(),
        Some(libc::EEXIST | libc::ENOENT | libc::ESRCH) => {
            "somebody else changes its service at the same time".to_owned()
        }
        _ => error.to_string(),
    }
}

fn no_server(address: IpAddr) -> String {
    format!(
        "the kernel takes {address} for no address of a server: it is one of broadcast, multicast or a single link"
    )
}
