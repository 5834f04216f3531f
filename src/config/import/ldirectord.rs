//! `ldirectord.cf`: global directives, and virtual services with indented ones.
//!
//! Defaults are those of its code. Its `negotiate` is a check of the service's kind; what it checks with a client of its own
//! (LDAP, RADIUS, SIP, Oracle) becomes a connection, and that is said.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Imported;
use super::text::{bits, endpoint, key, name, place, port, quoted};

/// What has no place here, and what takes its own.
const SAID: &[(&str, &str)] = &[
    ("autoreload", "`systole reload` reads the configuration again"),
    ("callback", "`systole copy` brings it to the other nodes"),
    ("logfile", "the log is the daemon's"),
    ("emailalert", "write a program into [notify]"),
    ("emailalertfrom", "write a program into [notify]"),
    ("emailalertfreq", "write a program into [notify]"),
    ("emailalertstatus", "write a program into [notify]"),
    ("smtp", "write a program into [notify]"),
    ("execute", "every service stands in one file"),
    ("supervised", "the supervisor keeps the director running"),
    ("fork", "no check waits for another here"),
    ("maintenancedir", "`systole pool drain SERVER` does it"),
    ("monitorfile", "write a check of kind \"program\""),
    ("fallbackcommand", "write a program into [notify]"),
    ("cleanstop", "what is set stays when the director ends"),
    ("readdquiescent", "a server that is well again has its weight at once"),
    ("checkcount", "`fall` counts for each kind of check"),
    ("comment", ""),
];

/// A directive, and its line.
type Words<'t> = BTreeMap<&'t str, (usize, &'t str)>;

/// A virtual service.
struct Virtual<'t> {
    line: usize,
    place: &'t str,
    words: Words<'t>,
    reals: Vec<(usize, &'t str)>,
}

/// Reads it.
pub fn ldirectord(text: &str) -> Imported {
    let mut imported = Imported::default();
    let (global, services) = read(text, &mut imported);
    let mut names = BTreeMap::new();
    for service in &services {
        write(service, &global, &mut names, &mut imported);
    }
    if services.is_empty() {
        imported.leave(1, "there is no `virtual =` in it: is this an ldirectord.cf?");
    }
    imported.left.sort_by_key(|left| left.line);
    imported
}

fn read<'t>(text: &'t str, imported: &mut Imported) -> (Words<'t>, Vec<Virtual<'t>>) {
    let (mut global, mut services) = (Words::new(), Vec::<Virtual<'t>>::new());
    for (line, whole) in (1..).zip(text.lines()) {
        let is_inside = whole.starts_with([' ', '\t']);
        let trimmed = whole.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let Some((word, value)) = trimmed.split_once('=') else {
            imported.leave(line, format!("`{trimmed}` is no directive"));
            continue;
        };
        let (word, value) = (word.trim(), value.trim());
        let service = services.last_mut().filter(|_| is_inside);
        match (word, service) {
            ("virtual" | "virtual6", _) => {
                let (place, words) = (value.trim_matches('"'), Words::new());
                services.push(Virtual { line, place, words, reals: Vec::new() });
            }
            ("real" | "real6", Some(service)) => service.reals.push((line, value)),
            (word, Some(service)) => drop(service.words.insert(word, (line, value.trim_matches('"')))),
            (word, None) => drop(global.insert(word, (line, value.trim_matches('"')))),
        }
    }
    let all = services.iter().map(|service| &service.words).chain([&global]);
    for (word, (line, _)) in all.flatten() {
        if let Some((_, why)) = SAID.iter().find(|(said, why)| said == word && !why.is_empty()) {
            imported.leave(*line, format!("`{word}` is left out: {why}"));
        }
    }
    (global, services)
}

impl<'t> Virtual<'t> {
    /// Its own word, or the global one.
    fn word(&self, global: &Words<'t>, word: &str) -> Option<&'t str> {
        self.words.get(word).or_else(|| global.get(word)).map(|(_, value)| *value)
    }

    fn line_of(&self, word: &str) -> usize {
        self.words.get(word).map_or(self.line, |(line, _)| *line)
    }
}

fn write(
    service: &Virtual<'_>,
    global: &Words<'_>,
    names: &mut BTreeMap<String, usize>,
    imported: &mut Imported,
) {
    let word = |word: &str| service.word(global, word);
    let mark = service.place.parse::<u32>().ok();
    let at = place(service.place);
    let (address, of_port) = match (mark, at) {
        (Some(mark), _) => (format!("fwmark = {mark}"), None),
        (None, Some((address, Some(port)))) => {
            (format!("address = {}", quoted(&endpoint(address, Some(port)))), Some(port))
        }
        (None, Some((_, None)) | None) => {
            let what =
                format!("`{}` is no address with a port: a host's name is not looked up", service.place);
            imported.leave(service.line, what);
            return;
        }
    };
    let called = name(word("servicename").unwrap_or(service.place));
    let count = names.entry(called.clone()).and_modify(|count| *count += 1).or_insert(1);
    let called = if *count > 1 { format!("{called}-{count}") } else { called };
    let mut lines = vec![format!("[service.{}]", key(&called)), address];
    if let Some(protocol) = word("protocol").filter(|protocol| matches!(*protocol, "udp" | "sctp")) {
        lines.push(format!("protocol = {}", quoted(protocol)));
    }
    lines.push(format!("scheduler = {}", quoted(word("scheduler").unwrap_or("wrr"))));
    if let Some(flags) = word("schedflags") {
        let flags: Vec<String> = flags.split(',').map(|flag| quoted(flag.trim())).collect();
        lines.push(format!("scheduler-flags = [{}]", flags.join(", ")));
    }
    if let Some(seconds) = word("persistent") {
        lines.push(format!("persistence = {}", quoted(&format!("{seconds}s"))));
        if let Some(mask) = word("netmask").and_then(bits) {
            lines.push(format!("persistence-mask = {mask}"));
        }
    }
    if word("ops").is_some_and(is_yes) {
        lines.push("one-packet = true".to_owned());
    }
    if word("quiescent").is_some_and(is_yes) {
        lines.push("when-down = \"quiesce\"".to_owned());
    }
    let fallback = if at.is_some_and(|(address, _)| address.is_ipv6()) { "fallback6" } else { "fallback" };
    if let Some((sorry, port)) = word(fallback).and_then(|text| place(text.split_whitespace().next()?)) {
        lines.push(format!("sorry = {}", quoted(&endpoint(sorry, port.or(of_port)))));
    }
    let (check, external) = check(service, global, imported);
    lines.extend(check.map(|check| format!("check = {check}")));
    imported.toml.push_str(&format!("{}\n", lines.join("\n")));
    for (line, real) in &service.reals {
        write_real(service, (&called, of_port), (*line, real), external.as_deref(), imported);
    }
    imported.toml.push('\n');
}

fn is_yes(word: &str) -> bool {
    matches!(word, "yes" | "true" | "on" | "1")
}

/// `ADDRESS[->ADDRESS][:PORT] gate|masq|ipip [WEIGHT] ["REQUEST", "RECEIVE"] [<LOW] [>HIGH]`
fn write_real(
    service: &Virtual<'_>,
    (called, of_port): (&str, Option<u16>),
    (line, real): (usize, &str),
    external: Option<&str>,
    imported: &mut Imported,
) {
    let (plain, own) = real.split_once('"').map_or((real, None), |(plain, own)| (plain, Some(own)));
    let mut words = plain.split_whitespace();
    let Some(written) = words.next() else { return imported.leave(line, "a real server without an address") };
    let all = each(written);
    if all.is_empty() {
        return imported.leave(line, format!("`{written}` is no address: a host's name is not looked up"));
    }
    let forwarding = match words.next() {
        Some("gate") => "direct",
        Some("ipip") => "tunnel",
        _ => "nat",
    };
    let mut more = String::new();
    for word in words {
        if let Some(limit) = word.strip_prefix('>') {
            more.push_str(&format!("limit = {limit}\n"));
        } else if let Some(limit) = word.strip_prefix('<') {
            more.push_str(&format!("limit-low = {limit}\n"));
        } else if word.parse::<u32>().is_ok() {
            more.push_str(&format!("weight = {word}\n"));
        } else {
            imported.leave(line, format!("`{word}` is left out"));
        }
    }
    if own.is_some() {
        imported.leave(line, "a request of the server's own is left out: give its table a `check`");
    }
    for (address, port) in all {
        let server = name(&endpoint(address, port));
        // Packets that are sent on as they are keep their port.
        let port = port.filter(|_| forwarding == "nat");
        let of_server = port.or(of_port);
        imported.toml.push_str(&format!(
            "[service.{}.server.{}]\naddress = {}\nforwarding = \"{forwarding}\"\n{more}",
            key(called),
            key(&server),
            quoted(&endpoint(address, port))
        ));
        if let Some(command) = external {
            let (virtual_address, virtual_port) = match place(service.place) {
                Some((address, port)) => (address.to_string(), port.unwrap_or(0).to_string()),
                None => (service.place.to_owned(), "0".to_owned()),
            };
            let args =
                [virtual_address, virtual_port, address.to_string(), of_server.unwrap_or(0).to_string()];
            let args: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
            imported.toml.push_str(&format!("check = {}\n", command.replace("ARGS", &args.join(", "))));
        }
    }
}

/// One address, or `FIRST->LAST`.
fn each(written: &str) -> Vec<(IpAddr, Option<u16>)> {
    let Some((first, last)) = written.split_once("->") else {
        return place(written).into_iter().collect();
    };
    let (Ok(IpAddr::V4(first)), Some((IpAddr::V4(last), port))) = (first.parse(), place(last)) else {
        return Vec::new();
    };
    let all = u32::from(first)..=u32::from(last);
    all.take(4_096).map(|address| (IpAddr::from(std::net::Ipv4Addr::from(address)), port)).collect()
}

/// The check of the whole service; and of each server, where it is told whom it checks.
fn check(
    service: &Virtual<'_>,
    global: &Words<'_>,
    imported: &mut Imported,
) -> (Option<String>, Option<String>) {
    let word = |word: &str| service.word(global, word);
    let kind = word("checktype").unwrap_or("negotiate");
    let negotiates = kind == "negotiate" || kind.parse::<u32>().is_ok();
    let seconds = |own: &str, other: &str, default: &str| {
        word(own).or_else(|| word(other)).unwrap_or(default).to_owned()
    };
    let timeout = if negotiates {
        seconds("negotiatetimeout", "checktimeout", "30")
    } else {
        seconds("checktimeout", "negotiatetimeout", "5")
    };
    let mut times = format!(
        "every = \"{}s\", timeout = \"{timeout}s\", rise = 1, fall = {}",
        word("checkinterval").unwrap_or("10"),
        word("failurecount").unwrap_or("1")
    );
    if let Some(port) = word("checkport").and_then(port) {
        times.push_str(&format!(", port = {port}"));
    }
    if kind.parse::<u32>().is_ok() {
        let what = "every check is whole: the plain connections between two of them are left out";
        imported.leave(service.line_of("checktype"), what);
    }
    match kind {
        "connect" if word("protocol") == Some("udp") => {
            (Some(format!("{{ kind = \"ping\", {times} }}")), None)
        }
        "connect" => (Some(format!("{{ kind = \"tcp\", {times} }}")), None),
        "ping" => (Some(format!("{{ kind = \"ping\", {times} }}")), None),
        "on" => (Some("false".to_owned()), None),
        "off" => {
            imported.leave(
                service.line_of("checktype"),
                "`off` serves nobody: drain the servers, or leave them out",
            );
            (Some("false".to_owned()), None)
        }
        "external" | "external-perl" => {
            let command = quoted(word("checkcommand").unwrap_or("/bin/true"));
            (None, Some(format!("{{ kind = \"program\", program = [{command}, ARGS], {times} }}")))
        }
        _ => (Some(format!("{{ {}, {times} }}", negotiate(service, global, imported))), None),
    }
}

/// The check of the service's kind.
fn negotiate(service: &Virtual<'_>, global: &Words<'_>, imported: &mut Imported) -> String {
    let word = |word: &str| service.word(global, word);
    let kind = word("service").unwrap_or_else(|| of_port(service.place));
    let pair = |key: &str, value: Option<&str>| value.map(|value| format!(", {key} = {}", quoted(value)));
    let more = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<String>();
    let greets = |text: &str, tls: bool| {
        let tls = if tls { ", tls = true, certificate = \"any\"" } else { "" };
        format!("kind = \"talk\", text = {}{tls}", quoted(text))
    };
    match kind {
        "http" | "https" | "http_proxy" => {
            let path = word("request")
                .map(|path| if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
            let login = word("login").map(|login| format!("{login}:{}", word("passwd").unwrap_or_default()));
            let certificate = (kind == "https").then_some("any");
            format!(
                "kind = \"{}\"{}",
                if kind == "https" { "https" } else { "http" },
                more(&[
                    pair("path", path.as_deref()),
                    pair("host", word("virtualhost")),
                    pair("method", word("httpmethod").filter(|method| *method != "GET")),
                    pair("login", login.as_deref()),
                    pair("pattern", word("receive")),
                    pair("certificate", certificate),
                ])
            )
        }
        "dns" => format!(
            "kind = \"dns\", name = {}{}",
            quoted(word("request").unwrap_or("localhost")),
            more(&[pair("answer", word("receive"))])
        ),
        "smtp" | "submission" => "kind = \"smtp\"".to_owned(),
        "mysql" => "kind = \"mysql\"".to_owned(),
        "pgsql" => "kind = \"postgresql\"".to_owned(),
        "ftp" => greets("220", false),
        "pop" => greets("+OK", false),
        "pops" => greets("+OK", true),
        "imap" => greets("* OK", false),
        "imaps" => greets("* OK", true),
        "nntp" => greets("20", false),
        "simpletcp" if word("receive").is_some() => {
            format!(
                "kind = \"talk\"{}",
                more(&[pair("send", word("request")), pair("pattern", word("receive"))])
            )
        }
        other => {
            if other != "none" {
                let what =
                    format!("a check of `{other}` becomes a plain connection: write one of kind \"program\"");
                imported.leave(service.line_of("service"), what);
            }
            "kind = \"tcp\"".to_owned()
        }
    }
}

/// What usually listens there.
fn of_port(written: &str) -> &'static str {
    match place(written).and_then(|(_, port)| port) {
        Some(21) => "ftp",
        Some(25) => "smtp",
        Some(53) => "dns",
        Some(80) => "http",
        Some(110) => "pop",
        Some(119) => "nntp",
        Some(143) => "imap",
        Some(443) => "https",
        Some(587) => "submission",
        Some(993) => "imaps",
        Some(995) => "pops",
        Some(3306) => "mysql",
        Some(5432) => "pgsql",
        _ => "none",
    }
}
