//! The media of `ha.cf` become links, and its ping nodes the targets of the tie-break.

use std::net::IpAddr;

use super::ha_cf::Line;
use super::words::Word;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Draft, DraftCast, DraftLink, Name, Placed};
use crate::config::{limits, values};

/// Heartbeat's port.
const PORT: u16 = 694;

/// What has been said of media so far.
pub(super) struct Media {
    port: u16,
    /// UDP media that stand before any `udpport`, which therefore does not rule them.
    early: Option<Place>,
}

impl Default for Media {
    fn default() -> Self {
        Self { port: PORT, early: None }
    }
}

impl Media {
    pub(super) fn read(&mut self, line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
        match line.name {
            "udpport" => self.port(line, findings),
            "bcast" | "udp" => self.broadcast(line, draft, findings),
            "ucast" | "ucast6" => self.unicast(line, draft, findings),
            "mcast" | "mcast6" => multicast(line, draft, findings),
            "ping" | "ping6" => ping(line, draft, findings),
            "ping_group" => ping_group(line, draft, findings),
            _ => serial(line, findings),
        }
    }

    fn port(&mut self, line: &Line<'_>, findings: &mut Findings) {
        let Some(word) = line.args.first() else { return line.incomplete("694", findings) };
        let Some(port) = word.text.parse::<u16>().ok().filter(|port| *port > 0) else {
            return line.wrong(word, "a port from 1 to 65535", findings);
        };
        if let Some(early) = self.early
            && port != self.port
        {
            findings.push(
                Diagnostic::warning(
                    line.at(word),
                    format!("`udpport {port}` comes after a medium that it does not rule"),
                )
                .label("rules only what follows")
                .also(early, format!("keeps port {}", self.port))
                .help("move udpport above the media, as Heartbeat asks for"),
            );
        }
        self.port = port;
    }

    fn broadcast(&mut self, line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
        self.early = self.early.or(Some(line.place()));
        if line.args.is_empty() {
            line.incomplete("eth0", findings);
        }
        if line.name == "udp" {
            findings.push(
                Diagnostic::note(line.place(), "`udp` is an old name of `bcast`").help("write bcast instead"),
            );
        }
        for word in &line.args {
            add(draft, line.name_of(word), self.port, DraftCast::Broadcast);
        }
    }

    /// One link for each device, port and family, with every address that is named for it.
    fn unicast(&mut self, line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
        self.early = self.early.or(Some(line.place()));
        let [device, peer, ..] = line.args.as_slice() else {
            return line.incomplete("eth0 192.168.232.10", findings);
        };
        refuse_rest(line, 2, findings);
        let Some(address) = address(line, peer, findings) else { return };
        let port = self.port;
        for link in &mut draft.links {
            if let DraftCast::Unicast(peers) = &mut link.cast
                && link.interface.value == device.text
                && link.port == port
                && peers.iter().all(|(_, other)| values::same_family(other.value, address.value))
            {
                if peers.len() <= limits::NODES {
                    peers.push((None, address));
                }
                return;
            }
        }
        add(draft, line.name_of(device), port, DraftCast::Unicast(vec![(None, address)]));
    }
}

/// A link is named after its device; a second one on the same device gets a number.
fn add(draft: &mut Draft, interface: Name, port: u16, cast: DraftCast) {
    // One beyond the limit is reported; the rest would only be read for nothing.
    if draft.links.len() > limits::LINKS {
        return;
    }
    let on_it = draft.links.iter().filter(|link| link.interface.value == interface.value).count();
    let name =
        if on_it == 0 { interface.value.clone() } else { format!("{}-{}", interface.value, on_it + 1) };
    draft.links.push(DraftLink { name: Placed::new(name, interface.place), interface, port, cast });
}

fn refuse_rest(line: &Line<'_>, most: usize, findings: &mut Findings) {
    if let Some(word) = line.args.get(most) {
        findings.push(
            Diagnostic::mistake(line.at(word), format!("`{}` takes {most} arguments", line.name))
                .label("one too many")
                .help("write a line for each medium"),
        );
    }
}

fn address(line: &Line<'_>, word: &Word<'_>, findings: &mut Findings) -> Option<Placed<IpAddr>> {
    match values::host_address(word.text) {
        Ok(address) => Some(Placed::new(address, line.at(word))),
        Err(why) => {
            findings.push(
                Diagnostic::mistake(line.at(word), format!("`{}` cannot use \"{}\"", line.name, word.text))
                    .label(why)
                    .help("write one host's address; names are not looked up, because beats must not wait for DNS"),
            );
            None
        }
    }
}

fn multicast(line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
    let [device, group, port, ttl, repeat, ..] = line.args.as_slice() else {
        return line.incomplete("eth0 239.0.0.43 694 1 0", findings);
    };
    refuse_rest(line, 5, findings);
    let address = group.text.parse::<IpAddr>().ok().filter(IpAddr::is_multicast);
    if address.is_none() {
        line.wrong(group, "a multicast address", findings);
    }
    let port_read = port.text.parse::<u16>().ok().filter(|port| *port > 0);
    if port_read.is_none() {
        line.wrong(port, "a port from 1 to 65535", findings);
    }
    let ttl_read = ttl.text.parse::<u8>().ok();
    if ttl_read.is_none() {
        line.wrong(ttl, "a number of hops from 0 to 255", findings);
    }
    match repeat.text {
        "0" => {}
        "1" => findings.push(
            Diagnostic::note(line.at(repeat), "a node's own beats are not looped back to it").help("write 0"),
        ),
        _ => line.wrong(repeat, "0", findings),
    }
    if let (Some(address), Some(port), Some(ttl)) = (address, port_read, ttl_read) {
        let group = Placed::new(address, line.at(group));
        // With 0 hops a datagram would not leave the host; Heartbeat's own manual allows it, and means 1.
        add(draft, line.name_of(device), port, DraftCast::Multicast { group, ttl: ttl.max(1) });
    }
}

fn ping(line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
    if line.args.is_empty() {
        line.incomplete("192.168.232.1", findings);
    }
    for word in &line.args {
        draft.ping.extend(address(line, word, findings).map(|address| vec![address]));
    }
}

fn ping_group(line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
    let [_, hosts @ ..] = line.args.as_slice() else {
        return line.incomplete("NAME 192.168.232.1 192.168.232.2", findings);
    };
    if hosts.is_empty() {
        return line.incomplete("NAME 192.168.232.1 192.168.232.2", findings);
    }
    let group: Vec<_> = hosts.iter().filter_map(|word| address(line, word, findings)).collect();
    if !group.is_empty() {
        draft.ping.push(group);
    }
}

fn serial(line: &Line<'_>, findings: &mut Findings) {
    findings.push(
        Diagnostic::warning(line.place(), "`serial` is not carried over: beats travel over networks only")
            .label("this path is lost")
            .help("a second network is worth more: connect the two nodes by a cable of its own, and add bcast for it"),
    );
}
