//! `[service.NAME]`: what the director watches over.

use super::known;
use super::table::{Table, Value};
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::director::draft::{DraftCheck, DraftKeys, DraftServer, DraftService, DraftSync};
use crate::config::director::{Forwarding, Transport, WhenDown};
use crate::config::draft::{Name, Placed};
use crate::config::limits;

const FORWARDINGS: &[(&str, Forwarding)] =
    &[("nat", Forwarding::Nat), ("direct", Forwarding::Direct), ("tunnel", Forwarding::Tunnel)];

pub(super) fn read(top: &Table<'_>, findings: &mut Findings) -> Vec<DraftService> {
    let tables = top.named_tables("service", known::SERVICE, findings);
    tables.into_iter().map(|(name, table)| service(name, &table, findings)).collect()
}

pub(super) fn sync(top: &Table<'_>, findings: &mut Findings) -> Option<DraftSync> {
    let table = top.table("sync", known::SYNC, findings)?;
    if table.value("interface").is_none() {
        findings.push(
            Diagnostic::mistake(table.place, "[sync] names no interface")
                .label("over which one?")
                .help("add interface = \"eth1\": one that leads to the other directors, and to nobody else"),
        );
    }
    let id = table.whole("id", 1..=u32::from(u8::MAX), findings);
    Some(DraftSync { place: table.place, interface: table.text("interface", findings)?, id })
}

fn service(name: Name, table: &Table<'_>, findings: &mut Findings) -> DraftService {
    let protocols = [("tcp", Transport::Tcp), ("udp", Transport::Udp), ("sctp", Transport::Sctp)];
    let when_down = [("remove", WhenDown::Remove), ("quiesce", WhenDown::Quiesce)];
    let total = limits::WEIGHT_OF_ALL;
    DraftService {
        address: table.text("address", findings),
        mark: table.whole("fwmark", 1..=u32::MAX, findings),
        protocol: table.choice("protocol", &protocols, findings),
        group: table.text("group", findings),
        balancer: table.text("balancer", findings),
        socket: table.text("socket", findings),
        backend: table.text("backend", findings),
        scheduler: table.text("scheduler", findings),
        flags: table.texts("scheduler-flags", findings),
        persistence: table.span("persistence", findings),
        persistence_mask: table.whole("persistence-mask", 1..=128, findings),
        one_packet: table.boolean("one-packet", findings),
        forwarding: table.choice("forwarding", FORWARDINGS, findings),
        servers: servers(table, findings),
        sorry: table.text("sorry", findings),
        quorum: table.whole("quorum", 1..=total, findings),
        hysteresis: table.whole("hysteresis", 0..=total, findings),
        when_down: table.choice("when-down", &when_down, findings).map(|word| word.value),
        drain: table.span("drain", findings).map(|span| span.value),
        checks: checks(table, findings),
        name,
    }
}

/// `servers = [ADDRESS, …]`, whose names are their addresses, and `[service.NAME.server.NAME]`.
fn servers(table: &Table<'_>, findings: &mut Findings) -> Vec<DraftServer> {
    let plain = table.texts("servers", findings).into_iter().map(|address| DraftServer {
        name: address.clone(),
        address: Some(address),
        weight: None,
        forwarding: None,
        limit: None,
        limit_low: None,
        checks: None,
    });
    let mut servers: Vec<DraftServer> = plain.collect();
    for (name, table) in table.named_tables("server", known::SERVER, findings) {
        servers.push(DraftServer {
            name,
            address: table.text("address", findings),
            weight: table.whole("weight", 0..=limits::SERVER_WEIGHT, findings).map(|weight| weight.value),
            forwarding: table.choice("forwarding", FORWARDINGS, findings),
            limit: table.whole("limit", 1..=u32::MAX, findings),
            limit_low: table.whole("limit-low", 0..=u32::MAX, findings),
            checks: checks(&table, findings),
        });
    }
    servers
}

/// `check = "tcp"`, `check = { kind = "tcp" }`, several of both, or `false`.
fn checks(table: &Table<'_>, findings: &mut Findings) -> Option<Vec<DraftCheck>> {
    let value = table.value("check")?;
    if value.as_bool() == Some(false) {
        return Some(Vec::new());
    }
    let all = value.list().unwrap_or_else(|| vec![value]);
    Some(all.into_iter().filter_map(|one| check(&table.name, one, findings)).collect())
}

fn check(within: &str, value: Value<'_>, findings: &mut Findings) -> Option<DraftCheck> {
    if value.is_text() {
        let kind = value.text("`check`", findings)?;
        let place = kind.place;
        return Some(DraftCheck {
            place,
            kind: Some(kind),
            address: None,
            port: None,
            source: None,
            every: None,
            timeout: None,
            rise: None,
            fall: None,
            keys: DraftKeys::default(),
        });
    }
    let table = value.table(format!("`check` of {within}"), value.place, findings)?;
    table.refuse_unknown(known::CHECK, findings);
    let number = |count: Option<Placed<u32>>| count.map(|count| count.value);
    Some(DraftCheck {
        place: value.place,
        kind: table.text("kind", findings),
        address: table.text("address", findings),
        port: table.whole("port", 1..=65_535, findings),
        source: table.text("source", findings),
        every: table.span("every", findings),
        timeout: table.span("timeout", findings),
        rise: number(table.whole("rise", 1..=limits::IN_A_ROW, findings)),
        fall: number(table.whole("fall", 1..=limits::IN_A_ROW, findings)),
        keys: keys(&table, findings),
    })
}

fn keys(table: &Table<'_>, findings: &mut Findings) -> DraftKeys {
    let list = |key: &str, findings: &mut Findings| {
        table.value(key).map(|value| value.texts(&format!("`{key}`"), findings))
    };
    DraftKeys {
        tls: table.boolean("tls", findings),
        certificate: table.text("certificate", findings),
        ca: table.text("ca", findings),
        host: table.text("host", findings),
        method: table.text("method", findings),
        path: table.text("path", findings),
        login: table.text("login", findings),
        status: list("status", findings),
        text: table.text("text", findings),
        pattern: table.text("pattern", findings),
        send: table.text("send", findings),
        name: table.text("name", findings),
        record: table.text("record", findings),
        answer: table.text("answer", findings),
        hello: table.text("hello", findings),
        program: list("program", findings),
        user: table.text("user", findings),
        weighs: table.boolean("weighs", findings),
    }
}
