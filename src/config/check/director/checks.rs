//! How servers are checked: each kind has its own keys, and no others.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::notify::check_program;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::director::draft::{DraftCheck, DraftKeys};
use crate::config::director::{Certificate, Check, CheckKind, DnsRecord, Expect, Page, StatusRange, Tls};
use crate::config::draft::Name;
use crate::config::{limits, nearest, pattern_fault, values};
use crate::time::Span;

/// Often enough that a server that fails is gone before most clients have given up, and no load.
const EVERY: Span = Span::seconds(2);
const TIMEOUT: Span = Span::seconds(2);
/// One that failed may fail again; one that comes back has to show it.
const RISE: u32 = 2;
const FALL: u32 = 3;

/// The kinds, and the keys that each has beside those that all have.
const KINDS: &[(&str, &[&str])] = &[
    ("tcp", &[]),
    ("tls", &["certificate", "ca", "host"]),
    ("http", &["method", "path", "host", "login", "status", "text", "pattern"]),
    ("https", &["method", "path", "host", "login", "status", "text", "pattern", "certificate", "ca"]),
    ("talk", &["send", "text", "pattern", "tls", "certificate", "ca", "host"]),
    ("udp", &["send", "text", "pattern"]),
    ("ping", &[]),
    ("dns", &["name", "record", "answer"]),
    ("smtp", &["hello"]),
    ("mysql", &[]),
    ("postgresql", &[]),
    ("program", &["program", "user", "weighs"]),
];

const RECORDS: &[(&str, DnsRecord)] = &[
    ("A", DnsRecord::A),
    ("AAAA", DnsRecord::Aaaa),
    ("CNAME", DnsRecord::Cname),
    ("MX", DnsRecord::Mx),
    ("NS", DnsRecord::Ns),
    ("PTR", DnsRecord::Ptr),
    ("SOA", DnsRecord::Soa),
    ("SRV", DnsRecord::Srv),
    ("TXT", DnsRecord::Txt),
];

const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST"];

/// What was asked for is there, or somewhere else.
const STATUS: &[StatusRange] = &[StatusRange(200, 399)];

/// A check of a kind that needs no keys.
pub(super) fn plain(kind: &str) -> Check {
    let kind = if kind == "ping" { CheckKind::Ping } else { CheckKind::Tcp };
    with_times(kind)
}

fn with_times(kind: CheckKind) -> Check {
    Check {
        kind,
        address: None,
        port: None,
        source: None,
        every: EVERY,
        timeout: TIMEOUT,
        rise: RISE,
        fall: FALL,
    }
}

/// Each of them, with where it was written.
pub(super) fn checks(drafts: &[DraftCheck], findings: &mut Findings) -> Vec<(Arc<Check>, Place)> {
    if let Some(one) = drafts.get(limits::CHECKS) {
        findings.push(
            Diagnostic::mistake(one.place, format!("more than {} checks", limits::CHECKS))
                .label("the first beyond")
                .help("let one program look at several things"),
        );
    }
    let read = |draft| Some((Arc::new(check(draft, findings)?), draft.place));
    drafts.iter().filter_map(read).collect()
}

/// Reports a check that does not know the port, where the server does not either.
pub(super) fn check_port((check, place): &(Arc<Check>, Place), server: &Name, findings: &mut Findings) {
    let is_needed = match check.kind {
        CheckKind::Ping | CheckKind::Program { .. } | CheckKind::Dns { .. } => false,
        CheckKind::Tcp
        | CheckKind::Tls(_)
        | CheckKind::Http { .. }
        | CheckKind::Talk { .. }
        | CheckKind::Udp { .. }
        | CheckKind::Smtp { .. }
        | CheckKind::Mysql
        | CheckKind::Postgresql => true,
    };
    if is_needed && check.port.is_none() {
        findings.push(
            Diagnostic::mistake(*place, "which port is checked?")
                .label("the server has none of its own")
                .also(server.place, "this server")
                .help("add port = NUMBER"),
        );
    }
}

fn check(draft: &DraftCheck, findings: &mut Findings) -> Option<Check> {
    let kind = kind(draft, findings)?;
    let address = |name: &Option<Name>, findings: &mut Findings| {
        name.as_ref().and_then(|name| own_address(name, findings))
    };
    let read = Check {
        address: address(&draft.address, findings),
        source: address(&draft.source, findings),
        port: draft.port.as_ref().and_then(|port| u16::try_from(port.value).ok()),
        every: draft.every.as_ref().map_or(EVERY, |every| every.value),
        timeout: draft.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.value),
        rise: draft.rise.unwrap_or(RISE),
        fall: draft.fall.unwrap_or(FALL),
        kind,
    };
    check_times(draft, findings);
    Some(read)
}

fn own_address(name: &Name, findings: &mut Findings) -> Option<IpAddr> {
    match values::host_address(&name.value) {
        Ok(address) => Some(address),
        Err(why) => {
            findings.push(
                Diagnostic::mistake(name.place, format!("\"{}\" is not an address", name.value))
                    .label(why)
                    .help("write one address, without a port"),
            );
            None
        }
    }
}

fn check_times(draft: &DraftCheck, findings: &mut Findings) {
    let least = limits::CHECK_EVERY_LEAST;
    if let Some(every) = draft.every.as_ref().filter(|every| every.value < least) {
        findings.push(
            Diagnostic::mistake(every.place, format!("nothing is checked every {}", every.value))
                .label("too often")
                .help(format!("write at least \"{least}\", or leave it out: then it is {EVERY}")),
        );
    }
    if let Some(timeout) = draft.timeout.as_ref().filter(|timeout| timeout.value < Span::millis(1)) {
        findings.push(
            Diagnostic::mistake(timeout.place, "`timeout` is no time at all")
                .label("nobody answers so fast")
                .help(format!("write a longer one, or leave it out: then it is {TIMEOUT}")),
        );
    }
}

fn kind(draft: &DraftCheck, findings: &mut Findings) -> Option<CheckKind> {
    let Some(word) = &draft.kind else {
        findings.push(
            Diagnostic::mistake(draft.place, "a check without a `kind`")
                .label("what is looked at?")
                .help(format!("add kind = one of {}", words(KINDS.iter().map(|(name, _)| *name)))),
        );
        return None;
    };
    let Some((name, known)) = KINDS.iter().find(|(name, _)| *name == word.value) else {
        let near = nearest::nearest(&word.value, KINDS.iter().map(|(name, _)| *name));
        let help = near.map_or_else(
            || format!("write one of {}", words(KINDS.iter().map(|(name, _)| *name))),
            |near| format!("did you mean \"{near}\"?"),
        );
        findings.push(
            Diagnostic::mistake(word.place, format!("\"{}\" is no kind of check", word.value))
                .label("no such kind")
                .help(help),
        );
        return None;
    };
    for (key, place) in draft.keys.written() {
        if !known.contains(&key) {
            let homes = KINDS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name);
            findings.push(
                Diagnostic::mistake(place, format!("`{key}` means nothing for a check of kind \"{name}\""))
                    .label("not looked at")
                    .help(format!("leave it out; it goes with {}", words(homes))),
            );
        }
    }
    let keys = &draft.keys;
    match *name {
        "tls" => Some(CheckKind::Tls(tls(keys, findings))),
        "http" => Some(CheckKind::Http { tls: None, page: page(keys, findings) }),
        "https" => Some(CheckKind::Http { tls: Some(tls(keys, findings)), page: page(keys, findings) }),
        "talk" => talk(draft, findings),
        "udp" => Some(CheckKind::Udp { send: bytes(&keys.send, findings), expect: expect(keys, findings) }),
        "ping" => Some(CheckKind::Ping),
        "dns" => dns(draft, findings),
        "smtp" => Some(CheckKind::Smtp { hello: hello(keys, findings) }),
        "mysql" => Some(CheckKind::Mysql),
        "postgresql" => Some(CheckKind::Postgresql),
        "program" => program(draft, findings),
        _ => Some(CheckKind::Tcp),
    }
}

fn words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn tls(keys: &DraftKeys, findings: &mut Findings) -> Tls {
    let certificate = match (&keys.certificate, &keys.ca) {
        (None, None) => Certificate::Trusted,
        (None, Some(file)) => {
            absolute(file, findings);
            Certificate::TrustedBy(file.value.clone().into())
        }
        (Some(word), ca) => {
            if let Some(ca) = ca.as_ref().filter(|_| word.value != "trusted") {
                super::means_nothing("ca", ca.place, "nobody has to vouch for the certificate", findings);
            }
            match (word.value.as_str(), ca) {
                ("trusted", None) => Certificate::Trusted,
                ("trusted", Some(file)) => Certificate::TrustedBy(file.value.clone().into()),
                ("in-time", _) => Certificate::InTime,
                ("any", _) => Certificate::Any,
                _ => {
                    findings.push(
                        Diagnostic::mistake(
                            word.place,
                            format!("`certificate` cannot be \"{}\"", word.value),
                        )
                        .label("what must it be?")
                        .help("write \"trusted\", \"in-time\" for one that is only not expired, or \"any\""),
                    );
                    Certificate::Trusted
                }
            }
        }
    };
    Tls { name: keys.host.as_ref().map(|host| line(host, "`host`", findings)), certificate }
}

fn absolute(path: &Name, findings: &mut Findings) {
    if !path.value.starts_with('/') || path.value.contains('\0') {
        findings.push(
            Diagnostic::mistake(path.place, "the file's path is not absolute")
                .label("does not begin with /")
                .help("write the whole path"),
        );
    }
}

/// A text that becomes part of a line, and must not begin another one.
fn line(name: &Name, what: &str, findings: &mut Findings) -> String {
    let is_bad = |c: char| c.is_control() || c == ' ';
    if name.value.is_empty() || name.value.contains(is_bad) || name.value.len() > limits::CHECK_BYTES {
        findings.push(
            Diagnostic::mistake(name.place, format!("{what} cannot be sent as it is"))
                .label("empty, too long, or with a blank or a control character")
                .help("write it as it stands in the request; a blank in a path is %20"),
        );
    }
    name.value.clone()
}

fn page(keys: &DraftKeys, findings: &mut Findings) -> Page {
    let method = keys.method.as_ref().map_or("GET", |method| method.value.as_str());
    if let Some(written) = keys.method.as_ref().filter(|_| !METHODS.contains(&method)) {
        findings.push(
            Diagnostic::mistake(written.place, format!("`method` cannot be \"{method}\""))
                .label("how is the page asked for?")
                .help(format!("write one of {}", words(METHODS.iter().copied()))),
        );
    }
    let path = keys.path.as_ref().map_or_else(|| "/".to_owned(), |path| line(path, "`path`", findings));
    if let Some(written) = keys.path.as_ref().filter(|path| !path.value.starts_with('/')) {
        findings.push(
            Diagnostic::mistake(written.place, "`path` does not begin with /")
                .label("the page on the server")
                .help("write what stands behind the host in the page's address; the host goes into `host`"),
        );
    }
    if let Some(login) = &keys.login {
        findings.hide(login.place);
        if !login.value.contains(':') || login.value.contains(char::is_control) {
            findings.push(
                Diagnostic::mistake(login.place, "`login` is not a name and a password")
                    .label("no colon, or a control character")
                    .help("write \"NAME:PASSWORD\""),
            );
        }
    }
    Page {
        method: method.to_owned(),
        path,
        host: keys.host.as_ref().map(|host| line(host, "`host`", findings)),
        login: keys.login.as_ref().map(|login| login.value.clone()),
        status: status(keys, findings),
        expect: expect(keys, findings),
    }
}

fn status(keys: &DraftKeys, findings: &mut Findings) -> Vec<StatusRange> {
    let Some(written) = keys.status.as_ref().filter(|written| !written.is_empty()) else {
        return STATUS.to_vec();
    };
    let range = |name: &Name| {
        let (from, to) = name.value.split_once('-').unwrap_or((&name.value, &name.value));
        let (from, to) = (from.trim().parse::<u16>(), to.trim().parse::<u16>());
        let range = from.and_then(|from| to.map(|to| StatusRange(from, to)));
        let read = range.ok().filter(|range| range.0 <= range.1 && range.0 >= 100 && range.1 <= 999);
        if read.is_none() {
            findings.push(
                Diagnostic::mistake(name.place, format!("\"{}\" is no status", name.value))
                    .label("a number of three digits, or from one to another")
                    .help("write status = \"200\", \"200-299\", or a list of those"),
            );
        }
        read
    };
    written.iter().filter_map(range).collect()
}

fn expect(keys: &DraftKeys, findings: &mut Findings) -> Expect {
    if let Some(pattern) = &keys.pattern
        && let Some(why) = pattern_fault(&pattern.value)
    {
        findings.push(
            Diagnostic::mistake(pattern.place, "`pattern` cannot be used")
                .label(why)
                .help("a backslash is written twice in a text in quotes, or once in one in 'single quotes'"),
        );
    }
    let text = keys.text.as_ref().map(|_| bytes(&keys.text, findings));
    Expect { text, pattern: keys.pattern.as_ref().map(|pattern| pattern.value.clone()) }
}

fn bytes(name: &Option<Name>, findings: &mut Findings) -> Vec<u8> {
    let Some(name) = name else { return Vec::new() };
    if name.value.len() > limits::CHECK_BYTES {
        findings.push(
            Diagnostic::mistake(name.place, "so much is not sent or looked for in a check")
                .label(format!("more than {} bytes", limits::CHECK_BYTES))
                .help("write less, or let a program check"),
        );
    }
    unescaped(&name.value)
}

/// `\xHH` is a byte that a text cannot have: TOML's own escapes end with characters.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = rest.strip_prefix(b"\\x").and_then(|hex| hex.get(..2));
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

fn needs(draft: &DraftCheck, message: &str, help: &str, findings: &mut Findings) {
    let place: Place = draft.kind.as_ref().map_or(draft.place, |kind| kind.place);
    findings.push(Diagnostic::mistake(place, message).label("what is missing?").help(help));
}

fn talk(draft: &DraftCheck, findings: &mut Findings) -> Option<CheckKind> {
    let keys = &draft.keys;
    if keys.text.is_none() && keys.pattern.is_none() {
        needs(
            draft,
            "a check of kind \"talk\" that expects nothing",
            "add text = \"…\" or pattern = \"…\", or let it be of kind \"tcp\"",
            findings,
        );
        return None;
    }
    let is_tls = keys.tls.as_ref().is_some_and(|flag| flag.value);
    for (key, place) in keys.written() {
        if ["certificate", "ca", "host"].contains(&key) && !is_tls {
            super::means_nothing(key, place, "nothing says tls = true", findings);
        }
    }
    let tls = is_tls.then(|| tls(keys, findings));
    Some(CheckKind::Talk { tls, send: bytes(&keys.send, findings), expect: expect(keys, findings) })
}

fn dns(draft: &DraftCheck, findings: &mut Findings) -> Option<CheckKind> {
    let keys = &draft.keys;
    let Some(name) = &keys.name else {
        needs(draft, "a check of kind \"dns\" without a name", "add name = \"www.example.org\"", findings);
        return None;
    };
    let labels = name.value.trim_end_matches('.').split('.');
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic());
    if name.value != "." && (name.value.len() > 253 || !labels.clone().all(is_label)) {
        findings.push(
            Diagnostic::mistake(name.place, format!("\"{}\" cannot be asked for", name.value))
                .label("labels of 1 to 63 characters, 253 in all")
                .help("write a name such as \"www.example.org\""),
        );
    }
    let word = keys.record.as_ref().map_or("A", |record| record.value.as_str());
    let Some((_, record)) = RECORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
        let place = keys.record.as_ref().map_or(draft.place, |record| record.place);
        findings.push(
            Diagnostic::mistake(place, format!("`record` cannot be \"{word}\""))
                .label("no such type, or not one that is asked for here")
                .help(format!("write one of {}", words(RECORDS.iter().map(|(name, _)| *name)))),
        );
        return None;
    };
    let answer = keys.answer.as_ref().map(|answer| answer.value.clone());
    Some(CheckKind::Dns { name: name.value.clone(), record: *record, answer })
}

fn hello(keys: &DraftKeys, findings: &mut Findings) -> String {
    keys.hello.as_ref().map_or_else(|| "localhost".to_owned(), |hello| line(hello, "`hello`", findings))
}

fn program(draft: &DraftCheck, findings: &mut Findings) -> Option<CheckKind> {
    let keys = &draft.keys;
    let written = keys.program.as_deref().unwrap_or_default();
    let mut all = written.iter().map(|word| word.value.clone());
    let Some(program) = all.next() else {
        needs(
            draft,
            "a check of kind \"program\" without one",
            "add program = [\"/path\", \"argument\", …]",
            findings,
        );
        return None;
    };
    check_program(written, findings);
    Some(CheckKind::Program {
        program: program.into(),
        args: all.collect(),
        user: keys.user.as_ref().map(|user| user.value.clone()),
        weighs: keys.weighs.as_ref().is_some_and(|flag| flag.value),
    })
}
