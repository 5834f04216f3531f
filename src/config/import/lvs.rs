//! `lvs.cf` of Piranha and Red Hat's load balancer: two directors, their addresses, and virtual servers. Defaults are
//! those of its code.

use std::collections::BTreeMap;

use super::Imported;
use super::text::{bits, endpoint, key, name, place, quoted};

/// What has no place here, and what takes its own.
const SAID: &[(&str, &str)] = &[
    ("rsh_command", "`systole copy` brings the configuration to the other node"),
    ("sync", "`systole copy` brings the configuration to the other node"),
    ("tcp_timeout", "set it with `ipvsadm --set`, once for each boot"),
    ("tcpfin_timeout", "set it with `ipvsadm --set`, once for each boot"),
    ("udp_timeout", "set it with `ipvsadm --set`, once for each boot"),
    ("active_cmd", "write an agent into the group"),
    ("inactive_cmd", "write an agent into the group"),
    ("reservation_conflict_action", "fences are written as [fence.NAME]"),
    ("monitor_links", "every interface of a service is watched"),
    ("heartbeat_port", "beats have a port of their own in [link.NAME]"),
];

/// Blocks within blocks: a server in its service is the second.
const DEPTH: usize = 16;

/// Directives of one block, each with its line.
type Words<'t> = BTreeMap<&'t str, (usize, &'t str)>;

/// A block, and those inside it.
#[derive(Default)]
struct Block<'t> {
    kind: &'t str,
    name: &'t str,
    line: usize,
    words: Words<'t>,
    inner: Vec<Block<'t>>,
}

impl<'t> Block<'t> {
    fn word(&self, word: &str) -> Option<&'t str> {
        self.words.get(word).map(|(_, value)| *value)
    }

    fn is_on(&self, word: &str) -> bool {
        self.word(word) == Some("1")
    }

    fn is_off(&self, word: &str) -> bool {
        self.word(word).unwrap_or("0") == "0"
    }

    fn number(&self, word: &str, default: u64) -> u64 {
        self.word(word).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

/// Reads it.
pub fn lvs(text: &str) -> Imported {
    let mut imported = Imported::default();
    let global = read(text, &mut imported);
    for (word, (line, _)) in &global.words {
        if let Some((_, why)) = SAID.iter().find(|(said, _)| said == word) {
            imported.leave(*line, format!("`{word}` is left out: {why}"));
        }
    }
    write_cluster(&global, &mut imported);
    let mut services = 0;
    for block in &global.inner {
        if block.kind != "virtual" {
            imported.leave(
                block.line,
                format!("`{} {}` is left out: write a group with its agents", block.kind, block.name),
            );
        } else if block.is_off("active") {
            imported.leave(block.line, format!("{} is not active, and is left out", block.name));
        } else {
            write_service(block, &global, &mut imported);
            services += 1;
        }
    }
    if global.is_on("syncdaemon") {
        let interface = global.word("syncd_iface").unwrap_or("eth0");
        let id = Some(global.number("syncd_id", 0)).filter(|id| *id > 0);
        let id = id.map(|id| format!("id = {id}\n")).unwrap_or_default();
        imported.toml.push_str(&format!("\n[sync]\ninterface = {}\n{id}", quoted(interface)));
    }
    if services == 0 {
        imported.leave(1, "there is no active `virtual NAME { … }` in it: is this an lvs.cf?");
    }
    imported.left.sort_by_key(|left| left.line);
    imported
}

fn read<'t>(text: &'t str, imported: &mut Imported) -> Block<'t> {
    let mut open = vec![Block::default()];
    for (line, whole) in (1..).zip(text.lines()) {
        let trimmed = whole.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if trimmed == "}" {
            match open.pop() {
                Some(block) if !open.is_empty() => {
                    if let Some(outer) = open.last_mut() {
                        outer.inner.push(block);
                    }
                }
                whole => {
                    open.extend(whole);
                    imported.leave(line, "a bracket is closed that was never opened");
                }
            }
        } else if let Some(head) = trimmed.strip_suffix('{') {
            if open.len() > DEPTH {
                imported.leave(line, "blocks within blocks: nothing is read from here on");
                break;
            }
            let (kind, name) = head.trim().split_once(char::is_whitespace).unwrap_or((head.trim(), ""));
            open.push(Block { kind, name: name.trim(), line, ..Block::default() });
        } else if let (Some((word, value)), Some(block)) = (trimmed.split_once('='), open.last_mut()) {
            block.words.insert(word.trim(), (line, value.trim().trim_matches('"')));
        } else {
            imported.leave(line, format!("`{trimmed}` is no directive"));
        }
    }
    // A block that is not closed ends with the file.
    while open.len() > 1 {
        if let (Some(block), Some(outer)) = (open.pop(), open.last_mut()) {
            imported.leave(block.line, "this bracket is never closed");
            outer.inner.push(block);
        }
    }
    open.pop().unwrap_or_default()
}

/// `ADDRESS INTERFACE:LABEL`
fn on_interface(written: &str) -> (&str, &str) {
    let (address, interface) = written.split_once(char::is_whitespace).unwrap_or((written, ""));
    (address, interface.trim().split(':').next().unwrap_or_default())
}

fn write_cluster(global: &Block<'_>, imported: &mut Imported) {
    let mut out = String::from("[cluster]\nname = \"lvs\"\n\n");
    let (keepalive, deadtime) = (global.number("keepalive", 2), global.number("deadtime", 5));
    out.push_str(&format!("[timing]\nkeepalive = \"{keepalive}s\"\n"));
    // A peer is late before it is dead, and two beats fit into that.
    if deadtime > 2 * keepalive {
        out.push_str(&format!("deadtime = \"{deadtime}s\"\n"));
    } else {
        let line = global.words.get("deadtime").map_or(1, |(line, _)| *line);
        let what = format!(
            "a deadtime of {deadtime}s is no more than two beats of {keepalive}s: it is {}s here",
            3 * keepalive
        );
        imported.leave(line, what);
        out.push_str(&format!("deadtime = \"{}s\"\n", 3 * keepalive));
    }
    out.push_str(
        "\n# Call the nodes as the machines are called, or name them with `systole run --node NAME`.\n",
    );
    out.push_str("[node.primary]\n[node.backup]\n");
    let first = global.inner.iter().find_map(|block| block.word("address"));
    let public = first.map_or("eth0", |address| on_interface(address).1);
    let private = global.word("nat_router").map_or("eth1", |address| on_interface(address).1);
    for (link, interface, of) in [("public", public, ""), ("private", private, "_private")] {
        let one = global.word(&format!("primary{of}"));
        let other = global.word(&format!("backup{of}"));
        if let (Some(one), Some(other)) = (one, other) {
            out.push_str(&format!(
                "\n[link.{link}]\ninterface = {}\nunicast = {{ primary = {}, backup = {} }}\n",
                quoted(if interface.is_empty() { "eth0" } else { interface }),
                quoted(one),
                quoted(other)
            ));
        }
    }
    if global.word("backup").is_none_or(|backup| backup == "0.0.0.0") {
        imported.leave(
            1,
            "there is no second director: write it as [node.NAME], with a [link.NAME] that reaches it",
        );
    }
    out.push_str("\n[group.lvs]\nprefer = [\"primary\"]\nfailback = false\n");
    let mut addresses = Vec::new();
    let router = global.word("nat_router").map(|address| (address, global.word("nat_nmask")));
    let virtuals = global.inner.iter().filter(|block| block.kind == "virtual" && !block.is_off("active"));
    let all = virtuals.filter_map(|block| Some((block.word("address")?, block.word("vip_nmask"))));
    for (written, mask) in router.into_iter().chain(all) {
        let (address, interface) = on_interface(written);
        let prefix = mask.and_then(bits).map(|bits| format!("/{bits}")).unwrap_or_default();
        let one = (format!("{address}{prefix}"), interface.to_owned());
        if !addresses.iter().any(|(known, _): &(String, String)| known.split('/').next() == Some(address)) {
            addresses.push(one);
        }
    }
    for (address, interface) in addresses {
        let interface = if interface.is_empty() {
            String::new()
        } else {
            format!(", interface = {}", quoted(&interface))
        };
        out.push_str(&format!(
            "[[group.lvs.resource]]\nagent = \"vip\"\nparams = {{ address = {}{interface} }}\n",
            quoted(&address)
        ));
    }
    imported.toml = format!("{out}\n");
}

fn write_service(block: &Block<'_>, global: &Block<'_>, imported: &mut Imported) {
    let forwarding = match global.word("network") {
        Some("direct") => "direct",
        Some("tunnel") => "tunnel",
        _ => "nat",
    };
    let port = u16::try_from(block.number("port", 80)).unwrap_or(80);
    let address = block.word("address").map(|written| on_interface(written).0);
    let at = match (block.word("fwmark").filter(|mark| *mark != "0"), address.and_then(place)) {
        (Some(mark), _) => format!("fwmark = {mark}"),
        (None, Some((address, _))) => format!("address = {}", quoted(&endpoint(address, Some(port)))),
        (None, None) => {
            return imported.leave(block.line, format!("{} has no address, and is left out", block.name));
        }
    };
    let called = key(&name(block.name));
    let mut lines = vec![format!("[service.{called}]"), at, format!("forwarding = \"{forwarding}\"")];
    if block.word("fwmark").is_some_and(|mark| mark != "0") {
        lines.push("group = \"lvs\"".to_owned());
    } else if let Some(protocol) = block.word("protocol").filter(|protocol| *protocol != "tcp") {
        lines.push(format!("protocol = {}", quoted(protocol)));
    }
    lines.push(format!("scheduler = {}", quoted(block.word("scheduler").unwrap_or("wlc"))));
    if block.number("persistent", 0) > 0 {
        lines.push(format!("persistence = \"{}s\"", block.number("persistent", 0)));
        if let Some(mask) = block.word("pmask").and_then(bits) {
            lines.push(format!("persistence-mask = {mask}"));
        }
    }
    if block.is_on("quiesce_server") {
        lines.push("when-down = \"quiesce\"".to_owned());
    }
    if let Some((sorry, own)) = block.word("sorry_server").and_then(|text| place(on_interface(text).0)) {
        lines.push(format!("sorry = {}", quoted(&endpoint(sorry, Some(own.unwrap_or(port))))));
    }
    if let Some((line, _)) = block.words.get("load_monitor").filter(|(_, kind)| *kind != "none") {
        imported.leave(
            *line,
            "`load_monitor` is left out: a check of kind \"program\" with weighs = true gives weights",
        );
    }
    if let Some((line, _)) = block.words.get("send_program").filter(|_| block.word("expect").is_some()) {
        imported
            .leave(*line, "what the program prints is not looked at: it has to end with 0 if all is well");
    }
    let check = check(block, port);
    lines.extend(check.clone().filter(|check| !check.contains("%h")).map(|check| format!("check = {check}")));
    imported.toml.push_str(&format!("{}\n", lines.join("\n")));
    for server in block.inner.iter().filter(|inner| inner.kind == "server") {
        write_server(server, (&called, port, forwarding), check.as_deref(), imported);
    }
    imported.toml.push('\n');
}

fn write_server(
    server: &Block<'_>,
    (called, port, forwarding): (&str, u16, &str),
    check: Option<&str>,
    imported: &mut Imported,
) {
    if server.is_off("active") {
        return imported.leave(server.line, format!("{} is not active, and is left out", server.name));
    }
    let Some((address, _)) = server.word("address").and_then(place) else {
        return imported.leave(server.line, format!("{} has no address, and is left out", server.name));
    };
    let own = server.word("port").and_then(|text| text.parse::<u16>().ok());
    let at = endpoint(address, own.filter(|_| forwarding == "nat"));
    imported.toml.push_str(&format!(
        "[service.{called}.server.{}]\naddress = {}\nweight = {}\n",
        key(&name(server.name)),
        quoted(&at),
        server.number("weight", 1)
    ));
    if let Some(check) = check.filter(|check| check.contains("%h")) {
        let port = own.unwrap_or(port).to_string();
        let check = check.replace("%h", &address.to_string()).replace("%p", &port);
        imported.toml.push_str(&format!("check = {check}\n"));
    }
}

/// What nanny does: a connection, something said, the beginning of an answer. `None`: a plain connection of ours.
fn check(block: &Block<'_>, port: u16) -> Option<String> {
    let every = block.number("timeout", 10).max(1);
    let rise = (block.number("reentry", 180) / every).clamp(1, 100);
    let times = format!("every = \"{every}s\", timeout = \"{every}s\", rise = {rise}, fall = 1");
    if let Some(program) = block.word("send_program").filter(|program| !program.is_empty()) {
        let words: Vec<String> = program.split_whitespace().map(quoted).collect();
        return Some(format!("{{ kind = \"program\", program = [{}], {times} }}", words.join(", ")));
    }
    let (send, expect) = (block.word("send").map(unescaped), block.word("expect").map(unescaped));
    let (send, expect) = match (send, expect) {
        (None, None) if port == 80 => (Some("GET / HTTP/1.0\r\n\r\n".to_owned()), Some("HTTP".to_owned())),
        other => other,
    };
    let Some(expect) = expect.filter(|expect| !expect.is_empty() && expect != "*") else {
        return Some(format!("{{ kind = \"tcp\", {times} }}"));
    };
    let send = send.map(|send| format!("send = {}, ", quoted(&send))).unwrap_or_default();
    let by = if block.is_on("use_regex") { "pattern" } else { "text" };
    Some(format!("{{ kind = \"talk\", {send}{by} = {}, {times} }}", quoted(&expect)))
}

/// As nanny reads it.
fn unescaped(text: &str) -> String {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('r') => out.push('\r'),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                other => out.extend(other),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}
