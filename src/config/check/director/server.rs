//! The real servers of a service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::names;
use super::{checks, endpoint, is_v6, means_nothing};
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::director::draft::{DraftServer, DraftService};
use crate::config::director::{At, Balancer, Check, Forwarding, Server, Transport};
use crate::config::draft::{Name, Placed};

/// A check, and where it was written.
type Written = (Arc<Check>, Place);

/// What the servers of a service have to go with.
pub(super) struct Front<'d> {
    pub(super) service: &'d DraftService,
    pub(super) at: At,
    pub(super) balancer: &'d Balancer,
}

impl Front<'_> {
    /// The port that a server has which says none; none for what is marked.
    fn port(&self) -> Option<u16> {
        match self.at {
            At::Address { port, .. } => Some(port),
            At::Mark { .. } => None,
        }
    }

    fn forwarding(&self) -> Forwarding {
        self.service.forwarding.as_ref().map_or(Forwarding::Nat, |word| word.value)
    }

    /// What is looked at where nothing is said: a port that takes connections, or a machine that answers.
    fn default_check(&self, port: u16) -> &'static str {
        match self.at {
            At::Address { protocol: Transport::Tcp, .. } if port != 0 => "tcp",
            At::Mark { .. } if port != 0 => "tcp",
            At::Address { protocol: Transport::Tcp | Transport::Udp | Transport::Sctp, .. }
            | At::Mark { .. } => "ping",
        }
    }
}

/// Those that can be used, by name.
pub(super) fn servers(front: &Front<'_>, findings: &mut Findings) -> BTreeMap<String, Arc<Server>> {
    let one = front.service;
    let mut servers = BTreeMap::new();
    let mut places: BTreeMap<(IpAddr, u16), Place> = BTreeMap::new();
    let shared = one.checks.as_deref().map(|drafts| checks::checks(drafts, findings));
    if one.servers.is_empty() {
        findings.push(
            Diagnostic::mistake(one.name.place, format!("[service.{}] has no servers", one.name.value))
                .label("who answers?")
                .help("add servers = [\"192.0.2.11:80\", …], or tables [service.NAME.server.NAME]"),
        );
    }
    let names = one.servers.iter().map(|server| &server.name);
    names::check_once("server", names, "give one of them another name", findings);
    for draft in &one.servers {
        if draft.address.as_ref().is_none_or(|address| address.place != draft.name.place) {
            names::check_name("server", &draft.name, findings);
        }
        let Some((server, place)) = server(front, draft, shared.as_deref(), findings) else { continue };
        if let Some(first) = places.insert((server.address, server.port), place) {
            findings.push(
                Diagnostic::mistake(place, "two servers have the same address and port")
                    .label("the second")
                    .also(first, "the first")
                    .help("leave out one of the two, or give it the weight of both"),
            );
        }
        servers.insert(draft.name.value.clone(), Arc::new(server));
    }
    servers
}

fn server(
    front: &Front<'_>,
    draft: &DraftServer,
    shared: Option<&[Written]>,
    findings: &mut Findings,
) -> Option<(Server, Place)> {
    let Some(address) = &draft.address else {
        findings.push(
            Diagnostic::mistake(
                draft.name.place,
                format!("the server `{}` has no address", draft.name.value),
            )
            .label("where is it?")
            .help("add address = \"192.0.2.11:80\""),
        );
        return None;
    };
    let (host, port) = placed(front, address, draft.forwarding.as_ref(), findings)?;
    let high = draft.limit.as_ref().map_or(0, |limit| limit.value);
    let low = draft.limit_low.as_ref().map_or(0, |limit| limit.value);
    if let Some(written) = draft.limit_low.as_ref().filter(|_| low > high) {
        findings.push(
            Diagnostic::mistake(written.place, "`limit-low` is above `limit`")
                .label("never again below the one and above the other")
                .help("write a smaller one, or leave it out: then it is three quarters of `limit`"),
        );
    }
    for limit in [&draft.limit, &draft.limit_low].into_iter().flatten() {
        if !matches!(front.balancer, Balancer::Ipvs) {
            means_nothing("limit", limit.place, "only IPVS counts connections for it", findings);
        }
    }
    let own = draft.checks.as_deref().map(|drafts| checks::checks(drafts, findings));
    let checks = match own.as_deref().or(shared) {
        Some(written) => {
            written.iter().filter(|_| port == 0).for_each(|one| checks::check_port(one, address, findings));
            written.iter().map(|(check, _)| Arc::clone(check)).collect()
        }
        None => vec![Arc::new(checks::plain(front.default_check(port)))],
    };
    let server = Server {
        address: host,
        port,
        weight: draft.weight.unwrap_or(1),
        forwarding: draft.forwarding.as_ref().map_or_else(|| front.forwarding(), |word| word.value),
        limits: (high, low),
        checks,
    };
    Some((server, address.place))
}

/// Address and port of a server, as they go with those of the service.
fn placed(
    front: &Front<'_>,
    written: &Name,
    forwarding: Option<&Placed<Forwarding>>,
    findings: &mut Findings,
) -> Option<(IpAddr, u16)> {
    let (host, port) = endpoint(written, findings)?;
    let own = forwarding.or(front.service.forwarding.as_ref());
    if let Some(word) =
        own.filter(|_| matches!(front.balancer, Balancer::Nftables | Balancer::Haproxy { .. }))
        && word.value != Forwarding::Nat
    {
        means_nothing("forwarding", word.place, "only IPVS forwards packets as they are", findings);
    }
    let forwarding = own.map_or(Forwarding::Nat, |word| word.value);
    let is_proxy = matches!(front.balancer, Balancer::Haproxy { .. } | Balancer::Program(_));
    if host.is_ipv6() != is_v6(front.at) && !is_proxy && forwarding != Forwarding::Tunnel {
        findings.push(
            Diagnostic::mistake(written.place, "the server and the service are not of one family")
                .label("packets of IPv4 cannot be sent on as packets of IPv6")
                .help("write an address of the service's family, or forwarding = \"tunnel\""),
        );
    }
    let service_port = front.port();
    if let (Some(port), Some(of_service)) = (port, service_port)
        && port != of_service
        && !is_proxy
        && (forwarding != Forwarding::Nat || of_service == 0)
    {
        findings.push(
            Diagnostic::mistake(written.place, "the server has another port than the service")
                .label("packets are sent on as they are")
                .help("leave the port out, or write forwarding = \"nat\""),
        );
    }
    Some((host, port.or(service_port).unwrap_or(0)))
}

/// Who answers while too few of the others are well.
pub(super) fn sorry(front: &Front<'_>, written: &Name, findings: &mut Findings) -> Option<Arc<Server>> {
    let (address, port) = placed(front, written, None, findings)?;
    let forwarding = front.forwarding();
    let server = Server { address, port, weight: 1, forwarding, limits: (0, 0), checks: Vec::new() };
    Some(Arc::new(server))
}
