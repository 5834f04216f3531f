//! Services: whether each can be served as it is written. What the real servers do is not seen from the text.

mod checks;
mod server;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names;
use super::resources::addresses;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::director::draft::{DraftService, DraftSync};
use crate::config::director::{
    At, Balancer, ConnectionSync, Persistence, Scheduler, Server, Service, Services, Transport, WhenDown,
};
use crate::config::draft::{Draft, Name};
use crate::config::{limits, nearest, values};
use crate::time::Span;
use crate::types::{GroupId, hash_name};

use server::Front;

/// HAProxy's socket, where Debian's package puts it.
const SOCKET: &str = "/run/haproxy/admin.sock";

/// What most connections need to end by themselves.
const DRAIN: Span = Span::seconds(60);

/// Every bit of an address.
const WHOLE_V4: u8 = 32;
const WHOLE_V6: u8 = 128;

const IPVS_SCHEDULERS: &[&str] =
    &["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];
const NFTABLES_SCHEDULERS: &[&str] = &["wrr", "rr", "sh"];

/// What the flags are called, in the order of their bits.
const FLAGS: &[(&str, usize)] = &[
    ("flag-1", 0),
    ("flag-2", 1),
    ("flag-3", 2),
    ("sh-fallback", 0),
    ("sh-port", 1),
    ("mh-fallback", 0),
    ("mh-port", 1),
];

/// Every service, if nothing is wrong with any of them.
pub(super) fn check(draft: &Draft, findings: &mut Findings) -> Services {
    let drafts = &draft.services;
    check_count(draft, findings);
    let owners = owners(draft);
    let (mut addresses, mut backends) = (BTreeMap::new(), BTreeMap::new());
    let mut services = Services::new();
    for one in drafts {
        names::check_name("service", &one.name, findings);
        let Some((at, place)) = at(one, findings) else { continue };
        check_address(one, (at, place), &mut addresses, findings);
        let Some(service) = service(draft, &owners, one, (at, place), findings) else { continue };
        if let Balancer::Haproxy { socket, backend } = &service.balancer {
            check_backend(one, (socket, backend), &mut backends, findings);
        }
        services.insert(one.name.value.clone(), Arc::new(service));
    }
    services
}

/// What clients send to belongs to one service. HAProxy divides by more than that: several of its backends may be behind
/// one address.
fn check_address(
    one: &DraftService,
    (at, place): (At, Place),
    seen: &mut BTreeMap<At, (Place, bool)>,
    findings: &mut Findings,
) {
    let is_haproxy = one.balancer.as_ref().is_some_and(|balancer| balancer.value == "haproxy");
    let (first, others) = *seen.entry(at).or_insert((place, is_haproxy));
    if first != place && !(is_haproxy && others) {
        findings.push(
            Diagnostic::mistake(place, "two services have the same address, port and protocol")
                .label("the second")
                .also(first, "the first")
                .help("give one of them another port, or put all servers into one"),
        );
    }
}

fn check_backend(
    one: &DraftService,
    (socket, backend): (&Path, &str),
    seen: &mut BTreeMap<(PathBuf, String), Place>,
    findings: &mut Findings,
) {
    let place = one.backend.as_ref().unwrap_or(&one.name).place;
    if let Some(first) = seen.insert((socket.to_owned(), backend.to_owned()), place) {
        findings.push(
            Diagnostic::mistake(place, format!("two services have the backend {backend} of one HAProxy"))
                .label("the second")
                .also(first, "the first")
                .help("give each of them a backend of its own, or put all servers into one"),
        );
    }
}

fn check_count(draft: &Draft, findings: &mut Findings) {
    if let Some(one) = draft.services.get(limits::SERVICES) {
        findings.push(
            Diagnostic::mistake(one.name.place, format!("more than {} services", limits::SERVICES))
                .label("the first beyond")
                .help("one with port 0 and persistence takes all ports of an address"),
        );
    }
    let mut count = 0;
    for one in &draft.services {
        count += one.servers.len();
        if count > limits::SERVERS {
            findings.push(
                Diagnostic::mistake(one.name.place, format!("more than {} servers", limits::SERVERS))
                    .label("with this service it is more")
                    .help("divide them among several clusters"),
            );
            return;
        }
    }
}

/// Which group has an address. Every node has one of a cloned group.
fn owners(draft: &Draft) -> BTreeMap<IpAddr, Option<GroupId>> {
    let mut owners = BTreeMap::new();
    for group in &draft.groups {
        let owner = group.clones.is_none().then(|| GroupId::of(&group.name.value));
        let all = group.resources.iter().flat_map(addresses);
        owners.extend(all.map(|address| (address.address, owner)));
    }
    owners
}

fn at(one: &DraftService, findings: &mut Findings) -> Option<(At, Place)> {
    match (&one.address, &one.mark) {
        (Some(address), None) => {
            let protocol = one.protocol.as_ref().map_or(Transport::Tcp, |protocol| protocol.value);
            let (host, port) = endpoint(address, findings)?;
            let Some(port) = port else {
                findings.push(
                    Diagnostic::mistake(address.place, "the service has no port")
                        .label("an address alone")
                        .help("write \"ADDRESS:PORT\" or \"[ADDRESS]:PORT\"; port 0 is each port, and takes `persistence`"),
                );
                return None;
            };
            Some((At::Address { address: host, port, protocol }, address.place))
        }
        (None, Some(mark)) => {
            if let Some(protocol) = &one.protocol {
                findings.push(
                    Diagnostic::mistake(protocol.place, "`protocol` means nothing beside `fwmark`")
                        .label("a mark has packets of any protocol")
                        .help("leave it out"),
                );
            }
            let addresses = one.servers.iter().filter_map(|server| server.address.as_ref());
            let v6 = addresses.filter_map(|text| split(&text.value).ok()).any(|(host, _)| host.is_ipv6());
            Some((At::Mark { mark: mark.value, v6 }, mark.place))
        }
        (Some(_), Some(mark)) => {
            findings.push(
                Diagnostic::mistake(mark.place, "a service has `address` or `fwmark`, not both")
                    .label("which of them?")
                    .help("leave out one of the two"),
            );
            None
        }
        (None, None) => {
            findings.push(
                Diagnostic::mistake(one.name.place, format!("[service.{}] has no address", one.name.value))
                    .label("what do clients send to?")
                    .help("add address = \"ADDRESS:PORT\", or fwmark = NUMBER"),
            );
            None
        }
    }
}

/// `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
fn endpoint(text: &Name, findings: &mut Findings) -> Option<(IpAddr, Option<u16>)> {
    match split(&text.value) {
        Ok(read) => Some(read),
        Err(why) => {
            findings.push(
                Diagnostic::mistake(text.place, format!("\"{}\" is not an address and a port", text.value))
                    .label(why)
                    .help("write \"192.0.2.1:80\" or \"[2001:db8::1]:80\""),
            );
            None
        }
    }
}

fn split(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("behind the bracket belongs a colon and the port".to_owned()),
            }
        }
        None if text.matches(':').count() == 1 => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (host, Some(port))
        }
        None => (text, None),
    };
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = |port: &str| Some(port).filter(digits).and_then(|port| port.parse().ok());
    let port = port.map(|port| number(port).ok_or("a port is 0 to 65535")).transpose()?;
    Ok((values::host_address(host)?, port))
}

fn service(
    draft: &Draft,
    owners: &BTreeMap<IpAddr, Option<GroupId>>,
    one: &DraftService,
    (at, place): (At, Place),
    findings: &mut Findings,
) -> Option<Service> {
    let balancer = balancer(one, findings)?;
    let front = Front { service: one, at, balancer: &balancer };
    let scheduler = scheduler(one, &balancer, findings);
    let persistence = persistence(one, at, &balancer, findings);
    check_words(one, at, &balancer, findings);
    let servers = server::servers(&front, findings);
    let sorry = one.sorry.as_ref().and_then(|sorry| server::sorry(&front, sorry, findings));
    let quorum = quorum(one, &servers, findings);
    Some(Service {
        at,
        group: group(draft, owners, one, (at, place), findings),
        balancer,
        scheduler,
        persistence,
        one_packet: one.one_packet.as_ref().is_some_and(|flag| flag.value),
        servers,
        sorry,
        quorum,
        hysteresis: one.hysteresis.as_ref().map_or(0, |number| number.value),
        when_down: one.when_down.unwrap_or(WhenDown::Remove),
        drain: one.drain.unwrap_or(DRAIN),
    })
}

/// The group whose holder serves it.
fn group(
    draft: &Draft,
    owners: &BTreeMap<IpAddr, Option<GroupId>>,
    one: &DraftService,
    (at, place): (At, Place),
    findings: &mut Findings,
) -> Option<GroupId> {
    if let Some(name) = one.group.as_ref().filter(|_| !draft.lost.groups) {
        let what = format!("[service.{}]", one.name.value);
        let found = names::find_group(draft, &what, name, findings)?;
        return found.clones.is_none().then(|| GroupId::of(&name.value));
    }
    let At::Address { address, .. } = at else { return None };
    let owner = owners.get(&address);
    if owner.is_none() && !draft.lost.groups {
        findings.push(
            Diagnostic::warning(place, format!("no group has the address {address}"))
                .label("every node serves it, always")
                .help("name it in a group's `vip`, or say whose holder serves it: group = \"NAME\""),
        );
    }
    owner.copied().flatten()
}

fn balancer(one: &DraftService, findings: &mut Findings) -> Option<Balancer> {
    let word = one.balancer.as_ref().map_or("ipvs", |word| word.value.as_str());
    let balancer = match word {
        "ipvs" => Balancer::Ipvs,
        "nftables" => Balancer::Nftables,
        "haproxy" => Balancer::Haproxy {
            socket: one.socket.as_ref().map_or(SOCKET, |path| path.value.as_str()).into(),
            backend: one.backend.as_ref().unwrap_or(&one.name).value.clone(),
        },
        path if path.starts_with('/') && !path.contains('\0') => Balancer::Program(path.into()),
        other => {
            let known = ["ipvs", "nftables", "haproxy"];
            let help = nearest::nearest(other, known.iter().copied()).map_or_else(
                || "write \"ipvs\", \"nftables\", \"haproxy\", or the path of a program".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            let place = one.balancer.as_ref().map_or(one.name.place, |word| word.place);
            findings.push(
                Diagnostic::mistake(place, format!("\"{other}\" is no balancer"))
                    .label("what divides the connections?")
                    .help(help),
            );
            return None;
        }
    };
    let is_haproxy = matches!(balancer, Balancer::Haproxy { .. });
    for (key, written) in [("socket", &one.socket), ("backend", &one.backend)] {
        let Some(written) = written else { continue };
        if !is_haproxy {
            means_nothing(key, written.place, "only HAProxy has it", findings);
        }
    }
    if let Some(socket) = one.socket.as_ref().filter(|path| is_haproxy && !path.value.starts_with('/')) {
        findings.push(
            Diagnostic::mistake(socket.place, "the path of HAProxy's socket is not absolute")
                .label("does not begin with /")
                .help(format!("write it as haproxy.cfg has it behind `stats socket`, such as \"{SOCKET}\"")),
        );
    }
    // It is one word of a command.
    let is_word = |name: &Name| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        !name.value.is_empty() && name.value.bytes().all(allowed)
    };
    if let Some(backend) = one.backend.as_ref().filter(|backend| is_haproxy && !is_word(backend)) {
        findings.push(
            Diagnostic::mistake(backend.place, "that is not the name of a backend")
                .label("letters, digits, -, _, . and :")
                .help("write it as haproxy.cfg has it behind `backend`"),
        );
    }
    Some(balancer)
}

fn means_nothing(key: &str, place: Place, why: &str, findings: &mut Findings) {
    findings.push(
        Diagnostic::mistake(place, format!("`{key}` means nothing here")).label(why).help("leave it out"),
    );
}

fn scheduler(one: &DraftService, balancer: &Balancer, findings: &mut Findings) -> Option<Scheduler> {
    let known = match balancer {
        Balancer::Ipvs => IPVS_SCHEDULERS,
        Balancer::Nftables => NFTABLES_SCHEDULERS,
        Balancer::Haproxy { .. } => {
            if let Some(word) = &one.scheduler {
                means_nothing("scheduler", word.place, "`balance` in haproxy.cfg says it", findings);
            }
            &[]
        }
        // It has its own words.
        Balancer::Program(_) => &[],
    };
    let default = match balancer {
        Balancer::Ipvs => Some("wlc"),
        Balancer::Nftables => Some("wrr"),
        Balancer::Haproxy { .. } | Balancer::Program(_) => None,
    };
    let name = one.scheduler.as_ref().map(|word| word.value.as_str()).or(default);
    if let Some(word) =
        one.scheduler.as_ref().filter(|word| !known.is_empty() && !known.contains(&word.value.as_str()))
    {
        let near = nearest::nearest(&word.value, known.iter().copied());
        let help = near.map_or_else(
            || format!("write one of {}", known.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        );
        findings.push(
            Diagnostic::mistake(word.place, format!("`scheduler` cannot be \"{}\"", word.value))
                .label("the balancer has no such scheduler")
                .help(help),
        );
    }
    let mut flags = [false; 3];
    for flag in &one.flags {
        if !matches!(balancer, Balancer::Ipvs) {
            means_nothing("scheduler-flags", flag.place, "only IPVS has them", findings);
            break;
        }
        let bit = FLAGS.iter().find(|(name, _)| *name == flag.value);
        if let Some(flag) = bit.and_then(|(_, bit)| flags.get_mut(*bit)) {
            *flag = true;
        } else {
            let all: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
            findings.push(
                Diagnostic::mistake(flag.place, format!("\"{}\" is no flag of a scheduler", flag.value))
                    .label("no such flag")
                    .help(format!("write some of {}", all.join(", "))),
            );
        }
    }
    name.map(|name| Scheduler { name: name.to_owned(), flags })
}

fn persistence(
    one: &DraftService,
    at: At,
    balancer: &Balancer,
    findings: &mut Findings,
) -> Option<Persistence> {
    let whole = if is_v6(at) { WHOLE_V6 } else { WHOLE_V4 };
    let Some(timeout) = &one.persistence else {
        if let Some(mask) = &one.persistence_mask {
            means_nothing("persistence-mask", mask.place, "nothing says `persistence`", findings);
        }
        return None;
    };
    match balancer {
        Balancer::Ipvs | Balancer::Program(_) => {}
        Balancer::Nftables => {
            let why = "with scheduler = \"sh\" a client has the same server while the table is the same";
            means_nothing("persistence", timeout.place, why, findings);
        }
        Balancer::Haproxy { .. } => {
            means_nothing(
                "persistence",
                timeout.place,
                "`stick-table` or `cookie` in haproxy.cfg says it",
                findings,
            );
        }
    }
    if timeout.value < Span::seconds(1) {
        findings.push(
            Diagnostic::mistake(timeout.place, "`persistence` is too short")
                .label("balancers count seconds")
                .help("write at least \"1s\""),
        );
    }
    let mask = one.persistence_mask.as_ref().map_or(u32::from(whole), |mask| mask.value);
    if let Some(written) = one.persistence_mask.as_ref().filter(|mask| mask.value > u32::from(whole)) {
        findings.push(
            Diagnostic::mistake(written.place, "`persistence-mask` is longer than an address")
                .label(format!("at most {whole}"))
                .help("write how many bits two clients must have in common to be one"),
        );
    }
    Some(Persistence { timeout: timeout.value, mask: u8::try_from(mask).unwrap_or(whole) })
}

fn is_v6(at: At) -> bool {
    match at {
        At::Address { address, .. } => address.is_ipv6(),
        At::Mark { v6, .. } => v6,
    }
}

/// What goes together, and what does not.
fn check_words(one: &DraftService, at: At, balancer: &Balancer, findings: &mut Findings) {
    if let Some(flag) = one.one_packet.as_ref().filter(|flag| flag.value) {
        let is_udp = matches!(at, At::Address { protocol: Transport::Udp, .. } | At::Mark { .. });
        if !is_udp || !matches!(balancer, Balancer::Ipvs) {
            means_nothing(
                "one-packet",
                flag.place,
                "only IPVS divides the datagrams of UDP one by one",
                findings,
            );
        }
    }
    let any_port = matches!(at, At::Address { port: 0, .. });
    if any_port && (one.persistence.is_none() || !matches!(balancer, Balancer::Ipvs)) {
        let place = one.address.as_ref().map_or(one.name.place, |address| address.place);
        findings.push(
            Diagnostic::mistake(place, "port 0 needs IPVS and `persistence`")
                .label("each port of the address")
                .help("add persistence = \"5min\", or write one port"),
        );
    }
    if let (At::Mark { .. }, Balancer::Nftables) = (at, balancer) {
        let place = one.mark.as_ref().map_or(one.name.place, |mark| mark.place);
        findings.push(
            Diagnostic::mistake(place, "our own rules do not look at marks")
                .label("with balancer = \"nftables\"")
                .help("write an address and a port, or balancer = \"ipvs\""),
        );
    }
    if let Some(hysteresis) = &one.hysteresis
        && one.quorum.as_ref().map_or(1, |quorum| quorum.value) <= hysteresis.value
    {
        findings.push(
            Diagnostic::mistake(hysteresis.place, "`hysteresis` is not below `quorum`")
                .label("then too few would never be too few")
                .help("write a smaller one, or a larger `quorum`"),
        );
    }
}

fn quorum(one: &DraftService, servers: &BTreeMap<String, Arc<Server>>, findings: &mut Findings) -> u32 {
    let quorum = one.quorum.as_ref().map_or(1, |quorum| quorum.value);
    let hysteresis = one.hysteresis.as_ref().map_or(0, |number| number.value);
    let total: u32 = servers.values().map(|server| server.weight).sum();
    if let Some(written) = one.quorum.as_ref()
        && u64::from(quorum) + u64::from(hysteresis) > u64::from(total)
        && !servers.is_empty()
    {
        findings.push(
            Diagnostic::mistake(written.place, "`quorum` can never be reached")
                .label(format!("all weights together are {total}"))
                .help("write a smaller one: quorum and hysteresis together are at most all weights"),
        );
    }
    quorum
}

/// Datagrams of the connections of IPVS, over an interface that may be.
pub(super) fn check_sync(draft: &Draft, services: &Services, findings: &mut Findings) {
    let Some(sync) = &draft.sync else { return };
    if let Some(why) = values::interface_fault(&sync.interface.value) {
        findings.push(
            Diagnostic::mistake(
                sync.interface.place,
                format!("\"{}\" is no interface", sync.interface.value),
            )
            .label(why)
            .help("write one that leads to the other directors, and to nobody else: interface = \"eth1\""),
        );
    }
    let mut balancers = services.values().map(|service| &service.balancer);
    if !findings.refuse() && balancers.all(|balancer| *balancer != Balancer::Ipvs) {
        findings.push(
            Diagnostic::warning(sync.place, "[sync] has nothing to tell")
                .label("no service has the balancer ipvs")
                .help("IPVS alone tells its connections to the other directors; take the table out"),
        );
    }
}

/// Its number is the cluster's own, unless the file says otherwise: two clusters on one network do not mix.
pub(super) fn sync(draft: &Draft, sync: &DraftSync) -> ConnectionSync {
    let name = draft.cluster.as_ref().map_or("", |name| name.value.as_str());
    let own = || hash_name(name) % u32::from(u8::MAX) + 1;
    let id = sync.id.as_ref().map_or_else(own, |id| id.value);
    ConnectionSync { interface: sync.interface.value.clone(), id: u8::try_from(id).unwrap_or(u8::MAX) }
}
