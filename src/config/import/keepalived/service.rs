//! A `virtual_server` that is asked at one address, or at one mark.

use std::net::IpAddr;

use super::Written;
use super::checks::{self, Checked};
use super::read::Entry;
use super::server::{self, Server};
use crate::config::import::Imported;
use crate::config::import::text::{bits, endpoint, key, name, quoted};
use crate::config::{limits, values};
use crate::time::Span;

/// What `persistence_timeout` is without a number.
const PERSISTENCE: Span = Span::seconds(360);

const SCHEDULERS: &[&str] =
    &["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

/// A name that others are appended to, in bytes.
const NAME_BYTES: usize = 56;

/// What clients send to.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Port 0 is each port.
    Address(IpAddr, u16),
    Mark(u32),
}

impl At {
    /// As a part of a name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Address(address, 0) => name(&address.to_string()),
            Self::Address(address, port) => name(&endpoint(address, Some(port))),
            Self::Mark(mark) => format!("mark-{mark}"),
        }
    }

    /// The port that a server has which says none.
    pub(super) fn port(self) -> Option<u16> {
        match self {
            Self::Address(_, port) => Some(port),
            Self::Mark(_) => None,
        }
    }
}

/// One of ours.
pub(super) struct Service<'e> {
    pub(super) entry: &'e Entry,
    pub(super) at: At,
    /// Whose rights programs have, by `global_defs`.
    pub(super) user: Option<&'e str>,
}

impl<'e> Service<'e> {
    pub(super) fn find(&self, key: &str) -> Option<&'e Entry> {
        self.entry.find(key)
    }

    fn text(&self, key: &str) -> Option<&'e str> {
        self.find(key).and_then(Entry::value)
    }

    /// Writes it, with its servers.
    pub(super) fn write(&self, called: Option<&str>, written: &mut Written, imported: &mut Imported) {
        let line = self.entry.line;
        let protocol = self.protocol(imported);
        let place = format!("{:?} {protocol:?}", self.at);
        if written.places.contains(&place) {
            return imported.leave(line, format!("{} is there twice, and left out here", self.at.name()));
        }
        let servers = server::all(self, imported);
        if servers.is_empty() {
            return imported.leave(line, format!("{} has no servers, and is left out", self.at.name()));
        }
        if written.servers + servers.len() > limits::SERVERS {
            return imported.leave(line, format!("more than {} servers: it is left out", limits::SERVERS));
        }
        written.servers += servers.len();
        written.places.insert(place);
        let called = self.called(called, protocol, written);
        let mut lines = vec![format!("[service.{}]", key(&called))];
        lines.push(match self.at {
            At::Address(address, port) => format!("address = {}", quoted(&endpoint(address, Some(port)))),
            At::Mark(mark) => format!("fwmark = {mark}"),
        });
        lines.extend(protocol.filter(|one| *one != "tcp").map(|one| format!("protocol = \"{one}\"")));
        lines.push(format!("forwarding = \"{}\"", self.forwarding(imported)));
        self.scheduler(&mut lines, imported);
        self.persistence(&mut lines, imported);
        if self.find("ops").is_some() && protocol.is_none_or(|protocol| protocol == "udp") {
            lines.push("one-packet = true".to_owned());
        }
        self.when_down(&servers, &mut lines, imported);
        self.sorry(&servers, &mut lines, imported);
        self.quorum(&servers, &mut lines, imported);
        let common = common(&servers);
        lines.extend(common.and_then(check));
        imported.toml.push_str(&format!("{}\n", lines.join("\n")));
        for server in &servers {
            server.write(&key(&called), self.forwarding(imported), common.is_none(), imported);
        }
        imported.toml.push('\n');
    }

    /// What carries it; a mark has packets of any protocol.
    fn protocol(&self, imported: &mut Imported) -> Option<&'static str> {
        if matches!(self.at, At::Mark(_)) {
            return None;
        }
        match self.text("protocol").map(str::to_lowercase).as_deref() {
            Some("tcp") => Some("tcp"),
            Some("sctp") => Some("sctp"),
            Some("udp") => Some("udp"),
            _ => {
                let what = "without a protocol that it knows keepalived serves UDP: write protocol = \"tcp\" if that is meant";
                imported.leave(self.find("protocol").map_or(self.entry.line, |entry| entry.line), what);
                Some("udp")
            }
        }
    }

    /// A name that no other service has.
    fn called(&self, called: Option<&str>, protocol: Option<&str>, written: &mut Written) -> String {
        let own = called.map_or_else(|| self.at.name(), name);
        let mut own: String = own.chars().take(NAME_BYTES).collect();
        if let Some(protocol) = protocol.filter(|protocol| *protocol != "tcp") {
            own = format!("{own}-{protocol}");
        }
        let mut unique = own.clone();
        let mut count = 1;
        while !written.names.insert(unique.clone()) {
            count += 1;
            unique = own.chars().take(NAME_BYTES).collect::<String>() + &format!("-{count}");
        }
        unique
    }

    /// The service's own, which is that of its sorry server: a server can have another.
    pub(super) fn forwarding(&self, imported: &mut Imported) -> &'static str {
        let of_sorry = self.find("sorry_server_lvs_method").filter(|_| self.find("sorry_server").is_some());
        match of_sorry {
            Some(entry) => method(entry, imported),
            None => self.method(imported),
        }
    }

    /// What `lvs_method` of the service says.
    pub(super) fn method(&self, imported: &mut Imported) -> &'static str {
        let entry = self.find("lvs_method").or_else(|| self.find("lb_kind"));
        entry.map_or("nat", |entry| method(entry, imported))
    }

    fn scheduler(&self, lines: &mut Vec<String>, imported: &mut Imported) {
        let entry = self.find("lvs_sched").or_else(|| self.find("lb_algo"));
        let word = entry.and_then(Entry::value).unwrap_or("wlc");
        let known = SCHEDULERS.contains(&word);
        if let Some(entry) = entry.filter(|_| !known) {
            imported.leave(entry.line, format!("the scheduler `{word}` becomes wlc: it is not known here"));
        }
        let word = if known { word } else { "wlc" };
        lines.push(format!("scheduler = \"{word}\""));
        let mut flags = Vec::new();
        for flag in ["flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback"] {
            let Some(entry) = self.find(flag) else { continue };
            if flag.starts_with("flag") || flag.starts_with(word) {
                flags.push(quoted(flag));
            } else {
                imported.leave(entry.line, format!("`{flag}` means nothing for the scheduler {word}"));
            }
        }
        if !flags.is_empty() {
            lines.push(format!("scheduler-flags = [{}]", flags.join(", ")));
        }
    }

    fn persistence(&self, lines: &mut Vec<String>, imported: &mut Imported) {
        let timeout = self.find("persistence_timeout");
        let granularity = self.find("persistence_granularity");
        let each_port = self.at.port() == Some(0);
        if timeout.is_none() && granularity.is_none() && !each_port {
            return;
        }
        let seconds = match timeout.filter(|entry| entry.value().is_some()) {
            Some(entry) => checks::span(entry, PERSISTENCE, imported),
            None => PERSISTENCE,
        };
        let seconds = if seconds < Span::seconds(1) { PERSISTENCE } else { seconds };
        lines.push(format!("persistence = \"{seconds}\""));
        let Some(entry) = granularity else { return };
        let text = entry.value().unwrap_or_default();
        // A mask of IPv4 has dots, and one of IPv6 is a number.
        let is_v6 = match self.at {
            At::Address(address, _) => address.is_ipv6(),
            At::Mark(_) => !text.contains('.'),
        };
        match bits(text).filter(|bits| text.contains('.') != is_v6 && (is_v6 || *bits <= 32)) {
            Some(bits) => lines.push(format!("persistence-mask = {bits}")),
            None => imported
                .leave(entry.line, format!("`{text}` is left out: a mask is so many bits from the left")),
        }
    }

    fn when_down(&self, servers: &[Server], lines: &mut Vec<String>, imported: &mut Imported) {
        if servers.iter().all(|server| server.is_inhibited) {
            lines.push("when-down = \"quiesce\"".to_owned());
        } else if servers.iter().any(|server| server.is_inhibited) {
            let what =
                "`inhibit_on_failure` of some servers is left out: `when-down` holds for all of a service";
            imported.leave(self.entry.line, what);
        }
    }

    fn sorry(&self, servers: &[Server], lines: &mut Vec<String>, imported: &mut Imported) {
        let Some(entry) = self.find("sorry_server") else { return };
        let text = entry.value().unwrap_or_default();
        let address = match values::host_address(text) {
            Ok(address) => address,
            Err(why) => return imported.leave(entry.line, format!("`{text}` is left out: {why}")),
        };
        let forwarding = self.forwarding(imported);
        let is_v6 = match self.at {
            At::Address(address, _) => address.is_ipv6(),
            At::Mark(_) => servers.iter().any(|server| server.is_v6),
        };
        if address.is_ipv6() != is_v6 && forwarding != "tunnel" {
            return imported
                .leave(entry.line, format!("{address} is not of the service's family, and is left out"));
        }
        let port = Some(super::port(entry.words.get(2).map(String::as_str)));
        let port = port.filter(|port| *port > 0 && forwarding == "nat" && self.at.port() != Some(0));
        lines.push(format!("sorry = {}", quoted(&endpoint(address, port))));
    }

    fn quorum(&self, servers: &[Server], lines: &mut Vec<String>, imported: &mut Imported) {
        let total: u32 = servers.iter().map(|server| server.weight).sum();
        let number = |key: &str, least: u32| {
            let entry = self.find(key)?;
            Some((entry, entry.value()?.parse::<u32>().ok().filter(|number| *number >= least)))
        };
        let mut quorum = 1;
        match number("quorum", 1) {
            Some((_, Some(wanted))) if wanted <= total => quorum = wanted,
            Some((entry, wanted)) => {
                quorum = if wanted.is_some() { total.max(1) } else { 1 };
                let what = format!("`quorum` becomes {quorum}: all weights together are {total}");
                imported.leave(entry.line, what);
            }
            None => {}
        }
        if quorum > 1 {
            lines.push(format!("quorum = {quorum}"));
        }
        let most = (quorum - 1).min(total.saturating_sub(quorum));
        match number("hysteresis", 0) {
            Some((_, Some(0))) | None => {}
            Some((_, Some(wanted))) if wanted <= most => lines.push(format!("hysteresis = {wanted}")),
            Some((entry, _)) => {
                if most > 0 {
                    lines.push(format!("hysteresis = {most}"));
                }
                let what = format!(
                    "`hysteresis` becomes {most}: it is below `quorum`, and both together are at most all weights"
                );
                imported.leave(entry.line, what);
            }
        }
    }
}

/// `NAT`, `DR`, `TUN type …`
pub(super) fn method(entry: &Entry, imported: &mut Imported) -> &'static str {
    match entry.value().unwrap_or_default() {
        "NAT" => "nat",
        "DR" => "direct",
        "TUN" => {
            if entry.words.iter().any(|word| matches!(word.as_str(), "gue" | "gre")) {
                imported.leave(entry.line, "tunnels are IPIP here: the servers must take those");
            }
            "tunnel"
        }
        other => {
            imported.leave(entry.line, format!("`{other}` becomes NAT: it is no way to forward"));
            "nat"
        }
    }
}

/// The checks that all of the servers have.
fn common(servers: &[Server]) -> Option<&Checked> {
    let first = &servers.first()?.checked;
    servers.iter().all(|server| server.checked == *first).then_some(first)
}

/// `check = …`; nothing where it is left to us.
pub(super) fn check(checked: &Checked) -> Option<String> {
    match checked {
        Checked::Never => Some("check = false".to_owned()),
        Checked::Otherwise => None,
        Checked::So(all) => Some(match all.as_slice() {
            [one] => format!("check = {one}"),
            many => format!("check = [\n    {},\n]", many.join(",\n    ")),
        }),
    }
}
