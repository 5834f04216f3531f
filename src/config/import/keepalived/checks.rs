//! The checks of a `real_server`. Defaults are those of keepalived's code: a check each minute, 5 s for a connection; who
//! fails is asked once more, DNS three times, a program not at all; a page is well with a status of 200 to 299.

use super::read::{Entry, unescaped};
use super::said;
use crate::config::import::Imported;
use crate::config::import::text::quoted;
use crate::config::{limits, pattern_fault, values};
use crate::time::Span;

const EVERY: Span = Span::seconds(60);
const TIMEOUT: Span = Span::seconds(5);

/// What keepalived checks, as a `check` of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Not at all.
    Never,
    /// In a way that is not ours: what we check by ourselves stands for it.
    Otherwise,
    /// Like this.
    So(Vec<String>),
}

/// Where a check stands.
pub(super) struct Around<'e> {
    pub(super) service: &'e Entry,
    pub(super) server: &'e Entry,
    /// Whose rights programs have, by `global_defs`.
    pub(super) user: Option<&'e str>,
    /// The port that is checked where nothing else is said.
    pub(super) port: Option<u16>,
    /// The same, as it will be known here without a word.
    pub(super) known_port: Option<u16>,
}

/// A check, and where it stands.
struct One<'a, 'e> {
    around: &'a Around<'e>,
    entry: &'e Entry,
}

/// All checks of a server.
pub(super) fn of(around: &Around<'_>, imported: &mut Imported) -> Checked {
    let mut checks = Vec::new();
    let mut is_checked = false;
    for entry in around.server.inner() {
        let what = match entry.key() {
            "BFD_CHECK" => "BFD is not spoken here: a check of kind \"ping\" is nearest",
            "FILE_CHECK" => "write a check of kind \"program\" that reads the file",
            _ => "",
        };
        if !what.is_empty() {
            is_checked = true;
            imported.leave(entry.line, format!("`{}` is left out: {what}", entry.key()));
            continue;
        }
        let Some((_, known)) = said::KINDS.iter().find(|(kind, _)| *kind == entry.key()) else { continue };
        is_checked = true;
        said::say(entry.inner(), &[said::CHECK, known], imported);
        let one = One { around, entry };
        let (kinds, rest) = (one.kinds(imported), one.rest(imported));
        checks.extend(kinds.into_iter().map(|kind| format!("{{ {kind}, {rest} }}")));
    }
    if checks.len() > limits::CHECKS {
        let what = format!("more than {} checks: the rest is left out", limits::CHECKS);
        imported.leave(around.server.line, what);
        checks.truncate(limits::CHECKS);
    }
    match (is_checked, checks.is_empty()) {
        (false, _) => Checked::Never,
        (true, true) => Checked::Otherwise,
        (true, false) => Checked::So(checks),
    }
}

impl<'e> One<'_, 'e> {
    /// The directive of the check, or of its server, or of its service.
    fn find(&self, key: &str) -> Option<&'e Entry> {
        let Around { server, service, .. } = *self.around;
        self.entry.find(key).or_else(|| server.find(key)).or_else(|| service.find(key))
    }

    fn text(&self, key: &str) -> Option<&'e str> {
        self.entry.find(key).and_then(Entry::value)
    }

    /// What is looked at; several pages are several checks.
    fn kinds(&self, imported: &mut Imported) -> Vec<String> {
        let plain = |kind: &str| vec![format!("kind = \"{kind}\"")];
        let line = self.entry.line;
        let all = match self.entry.key() {
            "TCP_CHECK" => plain("tcp"),
            "PING_CHECK" => return plain("ping"),
            "HTTP_GET" => self.pages("http", imported),
            "SSL_GET" => self.pages("https", imported),
            "SMTP_CHECK" => match self.text("helo_name") {
                Some(name) if is_line(name) => vec![format!("kind = \"smtp\", hello = {}", quoted(name))],
                _ => plain("smtp"),
            },
            "DNS_CHECK" => return self.dns(imported),
            "MISC_CHECK" => return self.program(imported).into_iter().collect(),
            "UDP_CHECK" => vec![self.datagram(imported)],
            _ => Vec::new(),
        };
        if self.port().is_none() && !all.is_empty() {
            imported.leave(line, "nothing says which port is checked: it becomes a ping");
            return plain("ping");
        }
        all
    }

    fn port(&self) -> Option<u16> {
        let own = self.text("connect_port").and_then(|port| port.parse::<u16>().ok());
        own.filter(|port| *port > 0).or(self.around.port)
    }

    fn pages(&self, kind: &str, imported: &mut Imported) -> Vec<String> {
        let urls: Vec<&Entry> = self.entry.inner().iter().filter(|entry| entry.key() == "url").collect();
        if urls.is_empty() {
            imported.leave(self.entry.line, format!("`{}` names no page, and is left out", self.entry.key()));
        }
        urls.into_iter().filter_map(|url| self.page(kind, url, imported)).collect()
    }

    fn page(&self, kind: &str, url: &Entry, imported: &mut Imported) -> Option<String> {
        said::say(url.inner(), &[said::PAGE], imported);
        let text = |key: &str| url.find(key).and_then(Entry::value);
        let Some(path) = text("path") else {
            imported.leave(url.line, "a page without a `path` is left out");
            return None;
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if !is_line(&path) {
            imported.leave(url.line, "the path cannot be asked for, and the page is left out");
            return None;
        }
        let mut out = format!("kind = \"{kind}\", path = {}", quoted(&path));
        let host = url.find("virtualhost").or_else(|| self.find("virtualhost"));
        if let Some(host) = host.and_then(Entry::value).filter(|host| is_line(host)) {
            out.push_str(&format!(", host = {}", quoted(host)));
        }
        out.push_str(&format!(", status = {}", status(url, imported)));
        if let Some(pattern) = expression(url, imported) {
            out.push_str(&format!(", pattern = {}", quoted(&pattern)));
        }
        if kind == "https" {
            out.push_str(", certificate = \"any\"");
        }
        Some(out)
    }

    fn dns(&self, imported: &mut Imported) -> Vec<String> {
        let name = self.text("name").unwrap_or(".");
        let mut labels = name.trim_end_matches('.').split('.');
        let is_label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if name != "." && (name.len() > 253 || !labels.all(is_label)) {
            imported
                .leave(self.entry.line, format!("`{name}` cannot be asked for, and the check is left out"));
            return Vec::new();
        }
        let record = self.text("type").map_or_else(|| "SOA".to_owned(), str::to_uppercase);
        if !["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"].contains(&record.as_str()) {
            imported.leave(self.entry.line, format!("records of type `{record}` are not asked for"));
            return Vec::new();
        }
        vec![format!("kind = \"dns\", name = {}, record = \"{record}\"", quoted(name))]
    }

    fn program(&self, imported: &mut Imported) -> Option<String> {
        let line = self.entry.find("misc_path").map_or(self.entry.line, |path| path.line);
        let whole = self.entry.find("misc_path").and_then(|path| unescaped(&path.whole).into_iter().nth(1));
        let words = unescaped(&whole.unwrap_or_default());
        let Some(program) = words.first().filter(|program| program.starts_with('/')) else {
            imported.leave(line, "a program without its whole path is left out");
            return None;
        };
        if words.len() > limits::PARAMS || words.iter().any(|word| word.contains('\0')) {
            imported.leave(line, format!("`{program}` has too many words, or a zero byte in one"));
            return None;
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let mut out = format!("kind = \"program\", program = [{}]", words.join(", "));
        match self.text("user").or(self.around.user) {
            Some(user) => out.push_str(&format!(", user = {}", quoted(user))),
            None => imported.leave(
                line,
                "it has root's rights here: where there is a user `keepalived_script`, add user = \"keepalived_script\"",
            ),
        }
        if self.entry.find("user").is_some_and(|user| user.words.len() > 2) {
            imported.leave(line, "the program has its user's own group");
        }
        if self.entry.find("misc_dynamic").is_some() {
            out.push_str(", weighs = true");
        }
        Some(out)
    }

    fn datagram(&self, imported: &mut Imported) -> String {
        let mut out = "kind = \"udp\"".to_owned();
        let send = self.entry.find("payload").map(|entry| (entry, hex(entry)));
        match send {
            Some((_, Some(bytes))) if bytes.iter().all(Option::is_some) && fits(&bytes) => {
                out.push_str(&format!(", send = {}", quoted(&escaped(&bytes))));
            }
            Some((entry, _)) => imported.leave(entry.line, "`payload` is not in hexadecimal, or too long"),
            None => {}
        }
        let Some(reply) = self.entry.find("require_reply") else { return out };
        let bytes = hex(reply).unwrap_or_default();
        let first: Vec<_> = bytes.iter().copied().take_while(Option::is_some).collect();
        if reply.words.len() > 1 && (first.is_empty() || first.len() < bytes.len() || !fits(&first)) {
            imported
                .leave(reply.line, "of `require_reply` only what stands before the first `X` is looked for");
        }
        if first.is_empty() || !fits(&first) {
            // Any answer has nothing in it.
            out.push_str(", pattern = \"\"");
        } else {
            out.push_str(&format!(", text = {}", quoted(&escaped(&first))));
        }
        out
    }

    /// What every check has: where, and when.
    fn rest(&self, imported: &mut Imported) -> String {
        let mut out = Vec::new();
        for (key, ours) in [("connect_ip", "address"), ("bindto", "source")] {
            let Some(entry) = self.entry.find(key) else { continue };
            match values::host_address(entry.value().unwrap_or_default()) {
                Ok(address) => out.push(format!("{ours} = \"{address}\"")),
                Err(why) => imported.leave(entry.line, format!("`{key}` is left out: {why}")),
            }
        }
        let is_placed = !matches!(self.entry.key(), "PING_CHECK" | "MISC_CHECK");
        if let Some(port) = self.port().filter(|port| is_placed && Some(*port) != self.around.known_port) {
            out.push(format!("port = {port}"));
        }
        let (every, timeout, fall) = self.times(imported);
        out.push(format!("every = \"{every}\", timeout = \"{timeout}\", rise = 1, fall = {fall}"));
        out.join(", ")
    }

    fn times(&self, imported: &mut Imported) -> (Span, Span, u32) {
        let mut every = self.find("delay_loop").map_or(EVERY, |entry| span(entry, EVERY, imported));
        if every < limits::CHECK_EVERY_LEAST {
            imported.leave(
                self.entry.line,
                format!("{every} is too often, and becomes {}", limits::CHECK_EVERY_LEAST),
            );
            every = limits::CHECK_EVERY_LEAST;
        }
        let timeout = if self.entry.key() == "MISC_CHECK" {
            let own = self.entry.find("misc_timeout").map(|entry| span(entry, every, imported));
            let of_service =
                || self.around.service.find("delay_loop").map(|entry| span(entry, every, imported));
            own.filter(|own| *own > Span::ZERO).or_else(of_service).unwrap_or(EVERY)
        } else {
            self.find("connect_timeout").map_or(TIMEOUT, |entry| span(entry, TIMEOUT, imported))
        };
        let (retries, before) = match self.entry.key() {
            "DNS_CHECK" => (3, every),
            "MISC_CHECK" => (0, Span::seconds(1)),
            "HTTP_GET" | "SSL_GET" => (1, Span::seconds(3)),
            _ => (1, Span::seconds(1)),
        };
        let written = self.entry.find("nb_get_retry").or_else(|| self.find("retry"));
        let retries = match written.map(|entry| (entry, entry.value().and_then(|text| text.parse().ok()))) {
            Some((_, Some(retries))) if retries < limits::IN_A_ROW => retries,
            Some((entry, _)) => {
                imported.leave(entry.line, format!("`retry` is a number below {}", limits::IN_A_ROW));
                retries
            }
            None => retries,
        };
        let before = self.find("delay_before_retry").map_or(before, |entry| span(entry, before, imported));
        let theirs = every.0 + before.0 * u64::from(retries);
        let ours = every.0 * u64::from(retries + 1);
        if ours > theirs {
            let what = format!(
                "from a failure to the table it takes {} here, and took {}: nobody is asked sooner after a failure; write a shorter `every`",
                Span(ours),
                Span(theirs)
            );
            // Once for a service.
            imported.leave(self.around.service.line, what);
        }
        (every, timeout.max(Span::millis(1)), retries + 1)
    }
}

/// Seconds, and parts of them.
pub(super) fn span(entry: &Entry, default: Span, imported: &mut Imported) -> Span {
    values::span(entry.value().unwrap_or_default()).unwrap_or_else(|why| {
        imported.leave(entry.line, format!("`{}` becomes {default}: {why}", entry.key()));
        default
    })
}

/// A text that becomes part of a line.
fn is_line(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::CHECK_BYTES
        && !text.contains(|c: char| c.is_control() || c == ' ')
}

fn status(url: &Entry, imported: &mut Imported) -> String {
    let mut ranges = Vec::new();
    for entry in url.inner().iter().filter(|entry| entry.key() == "status_code") {
        for word in entry.words.iter().skip(1) {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            let is_status = |text: &str| text.parse().is_ok_and(|status: u16| (100..=999).contains(&status));
            if is_status(from) && is_status(to) && from <= to {
                ranges.push(quoted(word));
            } else {
                imported.leave(entry.line, format!("`{word}` is no status"));
            }
        }
    }
    match ranges.as_slice() {
        [] => "\"200-299\"".to_owned(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// The regular expression, with its options in it.
fn expression(url: &Entry, imported: &mut Imported) -> Option<String> {
    let entry = url.find("regex")?;
    let pattern = unescaped(&entry.whole).into_iter().nth(1)?;
    if let Some(not) = url.find("regex_no_match") {
        let what = "what a page must not have cannot be said: write a check of kind \"program\"";
        imported.leave(not.line, what);
        return None;
    }
    let mut flags = String::new();
    for option in url.find("regex_options").map_or(&[][..], |options| &options.words).iter().skip(1) {
        match option.as_str() {
            "caseless" => flags.push('i'),
            "multiline" => flags.push('m'),
            "dotall" => flags.push('s'),
            "extended" => flags.push('x'),
            "ungreedy" => flags.push('U'),
            other => {
                imported.leave(entry.line, format!("the option `{other}` of the expression is left out"))
            }
        }
    }
    let pattern = if flags.is_empty() { pattern } else { format!("(?{flags}){pattern}") };
    match pattern_fault(&pattern) {
        None => Some(pattern),
        Some(why) => {
            imported.leave(entry.line, format!("the expression is left out: {why}"));
            None
        }
    }
}

/// Bytes in hexadecimal; `None` among them: it may be any. An odd digit at the end of a word is a byte.
fn hex(entry: &Entry) -> Option<Vec<Option<u8>>> {
    let mut bytes = Vec::new();
    for word in entry.words.iter().skip(1).flat_map(|word| word.split_whitespace()) {
        for pair in word.as_bytes().chunks(2) {
            let digits = std::str::from_utf8(pair).ok()?;
            let is_any = digits.contains(['x', 'X']);
            if !digits.chars().all(|digit| digit.is_ascii_hexdigit() || matches!(digit, 'x' | 'X')) {
                return None;
            }
            bytes.push(if is_any { None } else { Some(u8::from_str_radix(digits, 16).ok()?) });
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// As a text of ours says them.
fn escaped(bytes: &[Option<u8>]) -> String {
    let one = |byte: &u8| match byte {
        b'\\' => "\\x5c".to_owned(),
        byte if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    bytes.iter().flatten().map(one).collect()
}

fn fits(bytes: &[Option<u8>]) -> bool {
    escaped(bytes).len() <= limits::CHECK_BYTES
}
