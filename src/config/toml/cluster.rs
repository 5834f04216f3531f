//! `[cluster]`, `[timing]`, `[node.NAME]`, `[link.NAME]`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::known;
use super::table::{Table, Value};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftCast, DraftLink, DraftNode, Name, Placed};
use crate::config::values;

/// Heartbeat's port.
const PORT: u16 = 694;

pub(super) fn read(top: &Table<'_>, draft: &mut Draft, findings: &mut Findings) {
    if let Some(table) = top.table("cluster", known::CLUSTER, findings) {
        draft.cluster = table.text("name", findings);
        if let Some(path) = absolute_path(&table, "keys", findings) {
            draft.keys = path;
        }
    }
    if let Some(table) = top.table("timing", known::TIMING, findings) {
        draft.timing.keepalive = table.span("keepalive", findings);
        draft.timing.warntime = table.span("warntime", findings);
        draft.timing.deadtime = table.span("deadtime", findings);
        draft.timing.initdead = table.span("initdead", findings);
    }
    for (name, table) in top.named_tables("node", known::NODE, findings) {
        let arbiter = table.boolean("arbiter", findings).is_some_and(|arbiter| arbiter.value);
        draft.nodes.push(DraftNode { name: name.map(|name| name.to_lowercase()), arbiter });
    }
    draft.lost.nodes = top.value("node").is_some() && draft.nodes.is_empty();
    for (name, table) in top.named_tables("link", known::LINK, findings) {
        let link = link(name, &table, findings);
        draft.lost.links |= link.is_none();
        draft.links.extend(link);
    }
}

/// A path that is the same wherever the daemon was started.
pub(super) fn absolute_path(table: &Table<'_>, key: &str, findings: &mut Findings) -> Option<PathBuf> {
    let written = table.text(key, findings)?;
    if written.value.starts_with('/') {
        return Some(PathBuf::from(written.value));
    }
    findings.push(
        Diagnostic::mistake(written.place, format!("`{key}` is not an absolute path"))
            .label("does not begin with /")
            .help("write the whole path: the daemon's working directory is not yours"),
    );
    None
}

fn link(name: Name, table: &Table<'_>, findings: &mut Findings) -> Option<DraftLink> {
    let port = table.whole("port", 1..=65_535, findings);
    let port = port.and_then(|port| u16::try_from(port.value).ok()).unwrap_or(PORT);
    let cast = cast(table, findings);
    let interface = table.text("interface", findings);
    if table.value("interface").is_none() {
        findings.push(
            Diagnostic::mistake(table.place, format!("the link `{}` has no interface", name.value))
                .label("on which interface?")
                .help("add interface = \"eth0\": a link is bound to one, so that its loss can be told from another's"),
        );
    }
    Some(DraftLink { name, interface: interface?, port, cast: cast? })
}

fn cast(table: &Table<'_>, findings: &mut Findings) -> Option<DraftCast> {
    let ways = ["unicast", "multicast", "broadcast"];
    let given: Vec<&str> = ways.into_iter().filter(|way| table.value(way).is_some()).collect();
    if given.len() != 1 {
        let what = if given.is_empty() { "no way to send".to_owned() } else { given.join(" and ") };
        findings.push(
            Diagnostic::mistake(table.place, format!("{} needs one of unicast, multicast, broadcast", table.name))
                .label(what)
                .help("write unicast = { NODE = \"ADDRESS\", … }, multicast = \"239.0.0.43\", or broadcast = true; a second way is a second link"),
        );
        return None;
    }
    if let (Some(ttl), None) = (table.value("ttl"), table.value("multicast")) {
        findings.push(
            Diagnostic::mistake(ttl.place, format!("`ttl` without multicast in {}", table.name))
                .label("means nothing here")
                .help("leave it out: only a multicast group is limited to so many hops"),
        );
    }
    match given.first() {
        Some(&"unicast") => unicast(table.value("unicast")?, findings),
        Some(&"multicast") => multicast(table, findings),
        _ => broadcast(table, findings),
    }
}

fn broadcast(table: &Table<'_>, findings: &mut Findings) -> Option<DraftCast> {
    let said = table.boolean("broadcast", findings)?;
    if !said.value {
        findings.push(
            Diagnostic::mistake(said.place, format!("{} has no way to send", table.name))
                .label("broadcast is all it has")
                .help("write broadcast = true, or unicast or multicast instead"),
        );
        return None;
    }
    Some(DraftCast::Broadcast)
}

/// `{ lb0 = "192.168.232.10", … }`, or addresses without names, whose nodes are learnt from their sealed beats.
fn unicast(value: Value<'_>, findings: &mut Findings) -> Option<DraftCast> {
    if !value.is_table() {
        let texts = value.texts("`unicast`", findings);
        let read: Vec<_> = texts.iter().map(|text| address(text, findings)).collect();
        let peers: Option<Vec<_>> = read.into_iter().map(|address| Some((None, address?))).collect();
        return peers.map(DraftCast::Unicast);
    }
    let table = value.table("`unicast`".to_owned(), value.place, findings)?;
    let mut peers = Vec::new();
    let mut all_read = true;
    for (node, value) in table.entries() {
        let texts = value.texts(&format!("the address of `{}`", node.value), findings);
        all_read &= !texts.is_empty();
        for text in texts {
            let node = node.clone().map(|name| name.to_lowercase());
            let address = address(&text, findings);
            all_read &= address.is_some();
            peers.extend(address.map(|address| (Some(node), address)));
        }
    }
    all_read.then_some(DraftCast::Unicast(peers))
}

/// An address that one host can have.
pub(super) fn address(text: &Name, findings: &mut Findings) -> Option<Placed<IpAddr>> {
    match values::host_address(&text.value) {
        Ok(address) => Some(Placed::new(address, text.place)),
        Err(why) => {
            findings.push(
                Diagnostic::mistake(text.place, format!("\"{}\" cannot be used as an address", text.value))
                    .label(why)
                    .help("write one address, such as \"192.168.232.10\" or \"2001:db8::10\"; names are not looked up, because beats must not wait for DNS"),
            );
            None
        }
    }
}

fn multicast(table: &Table<'_>, findings: &mut Findings) -> Option<DraftCast> {
    let ttl = table.whole("ttl", 1..=255, findings).map_or(1, |ttl| u8::try_from(ttl.value).unwrap_or(1));
    let text = table.text("multicast", findings)?;
    let group = text.value.parse::<IpAddr>().ok().filter(IpAddr::is_multicast);
    let fault = match group {
        None => Some(("not a multicast address", "an address from 224.0.0.0/4 or ff00::/8")),
        Some(IpAddr::V4(v4)) if v4.octets()[..3] == Ipv4Addr::new(224, 0, 0, 0).octets()[..3] => {
            Some(("kept for routing protocols", "one from 239.0.0.0/8, which is yours"))
        }
        Some(_) => None,
    };
    if let Some((label, help)) = fault {
        findings.push(
            Diagnostic::mistake(text.place, format!("\"{}\" cannot be a link's group", text.value))
                .label(label)
                .help(format!("write {help}, such as \"239.0.0.43\" or \"ff15::43\"")),
        );
    }
    Some(DraftCast::Multicast { group: Placed::new(group?, text.place), ttl })
}
