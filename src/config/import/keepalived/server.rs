//! The `real_server`s of a service.

use std::net::IpAddr;

use super::checks::{self, Around, Checked};
use super::read::Entry;
use super::said;
use super::service::{self, At, Service};
use crate::config::import::Imported;
use crate::config::import::text::{endpoint, key, name, quoted};
use crate::config::{limits, values};

/// One of ours, as it is written below its service.
pub(super) struct Server {
    name: String,
    address: String,
    pub(super) is_v6: bool,
    pub(super) weight: u32,
    forwarding: &'static str,
    limits: String,
    pub(super) is_inhibited: bool,
    pub(super) checked: Checked,
}

impl Server {
    pub(super) fn write(&self, service: &str, of_service: &str, with_check: bool, imported: &mut Imported) {
        let mut lines = vec![
            format!("[service.{service}.server.{}]", key(&self.name)),
            format!("address = {}", quoted(&self.address)),
        ];
        if self.weight != 1 {
            lines.push(format!("weight = {}", self.weight));
        }
        if self.forwarding != of_service {
            lines.push(format!("forwarding = \"{}\"", self.forwarding));
        }
        if with_check {
            lines.extend(service::check(&self.checked));
        }
        imported.toml.push_str(&format!("{}\n{}", lines.join("\n"), self.limits));
    }
}

/// Those that can be used, each once.
pub(super) fn all(service: &Service<'_>, imported: &mut Imported) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let mut family = match service.at {
        At::Address(address, _) => Some(address.is_ipv6()),
        At::Mark(_) => None,
    };
    for entry in service.entry.inner().iter().filter(|entry| entry.key() == "real_server") {
        let known = said::KINDS.iter().map(|(kind, _)| *kind).chain(["BFD_CHECK", "FILE_CHECK"]);
        let known: Vec<&str> = known.collect();
        for inner in entry.inner().iter().filter(|inner| !known.contains(&inner.key())) {
            said::say(std::slice::from_ref(inner), &[said::SERVER], imported);
        }
        let text = entry.value().unwrap_or_default();
        let address = match values::host_address(text) {
            Ok(address) => address,
            Err(why) => {
                imported.leave(entry.line, format!("`{text}` is left out: {why}"));
                continue;
            }
        };
        let server = server(service, entry, address, imported);
        // Of what is marked the first server says the family.
        let of_service = *family.get_or_insert(address.is_ipv6());
        let is_mixed = address.is_ipv6() != of_service;
        if is_mixed && (server.forwarding != "tunnel" || matches!(service.at, At::Mark(_))) {
            imported.leave(entry.line, format!("{address} is not of the service's family, and is left out"));
            continue;
        }
        if servers.iter().any(|other| other.address == server.address || other.name == server.name) {
            imported.leave(entry.line, format!("{} is there twice, and left out here", server.address));
            continue;
        }
        servers.push(server);
    }
    let of_family = |family: bool| if family { "inet6" } else { "inet" };
    if let (Some(entry), Some(family)) = (service.find("ip_family"), family)
        && entry.value() != Some(of_family(family))
    {
        imported.leave(entry.line, "`ip_family` is left out: the family is that of the servers");
    }
    servers
}

fn server(service: &Service<'_>, entry: &Entry, address: IpAddr, imported: &mut Imported) -> Server {
    let of_service = service.method(imported);
    let forwarding = entry.find("lvs_method").map_or(of_service, |entry| service::method(entry, imported));
    let own = Some(super::port(entry.words.get(2).map(String::as_str))).filter(|port| *port > 0);
    // Packets that are sent on as they are keep their port, and so do those of each port.
    let keeps = forwarding != "nat" || service.at.port() == Some(0);
    let of_service = service.at.port().filter(|port| *port > 0);
    if keeps && own.is_some() && own != of_service && !matches!(service.at, At::Mark(_)) {
        imported.leave(entry.line, "its port is left out: packets keep the one that they have");
    }
    let port = own.filter(|_| !keeps).filter(|port| Some(*port) != of_service);
    let checked = Around {
        service: service.entry,
        server: entry,
        user: service.user,
        port: own.or(of_service),
        known_port: port.or(of_service),
    };
    Server {
        name: name(&endpoint(address, own.or(of_service))),
        address: endpoint(address, port),
        is_v6: address.is_ipv6(),
        weight: weight(service.entry, entry, imported),
        forwarding,
        limits: thresholds(entry, imported),
        is_inhibited: entry
            .find("inhibit_on_failure")
            .map_or_else(|| service.find("inhibit_on_failure").is_some(), Entry::is_on),
        checked: checks::of(&checked, imported),
    }
}

fn weight(service: &Entry, server: &Entry, imported: &mut Imported) -> u32 {
    let Some(entry) = server.find("weight").or_else(|| service.find("weight")) else { return 1 };
    match entry.value().and_then(|text| text.parse::<u32>().ok()) {
        Some(weight) if weight <= limits::SERVER_WEIGHT => weight,
        Some(_) => {
            imported
                .leave(entry.line, format!("`weight` becomes {}, which is the most", limits::SERVER_WEIGHT));
            limits::SERVER_WEIGHT
        }
        None => {
            imported.leave(entry.line, "`weight` becomes 1: it is no number");
            1
        }
    }
}

/// `limit` and `limit-low`.
fn thresholds(server: &Entry, imported: &mut Imported) -> String {
    let number = |key: &str, imported: &mut Imported| {
        let entry = server.find(key)?;
        let number = entry.value().and_then(|text| text.parse::<u32>().ok());
        if number.is_none() {
            imported.leave(entry.line, format!("`{key}` is left out: it is no number"));
        }
        number.filter(|number| *number > 0).map(|number| (entry.line, number))
    };
    let (high, low) = (number("uthreshold", imported), number("lthreshold", imported));
    let mut out = String::new();
    if let Some((_, high)) = high {
        out.push_str(&format!("limit = {high}\n"));
    }
    match (high, low) {
        (Some((_, high)), Some((_, low))) if low <= high => out.push_str(&format!("limit-low = {low}\n")),
        (_, Some((line, _))) => {
            imported.leave(line, "`lthreshold` is left out: it is not below `uthreshold`")
        }
        (_, None) => {}
    }
    out
}
