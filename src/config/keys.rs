//! The key ring: our own file, or Heartbeat's `authkeys`.
//!
//! Every listed key opens, the first one seals. A secret is wiped from memory when it is dropped, and is never printed:
//! not by `Debug`, and not in a diagnostic, whose text has the secrets blanked. Who may read the file is checked by the
//! daemon, which opens it.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::diagnostic::{Diagnostic, Findings, Place, Report, SourceFile};
use super::limits;
use super::nearest;

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes: key material, not yet a key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The keys of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    /// The id of the key that seals; it is one of `keys`.
    pub first: u16,
    /// All keys, in the order of the file; each opens.
    pub keys: Vec<(u16, Secret)>,
}

impl KeyRing {
    /// Reads a key file; which of the two formats it has is seen from its first word.
    pub fn parse(file_name: &str, text: &str) -> Result<(Self, Report), Report> {
        let mut findings = Findings::default();
        let ring = read(0, text, &mut findings);
        let source = SourceFile { name: file_name.to_owned(), text: blanked(text) };
        let refuse = findings.refuse();
        let report = findings.into_report(vec![source]);
        match ring {
            Some(ring) if !refuse => Ok((ring, report)),
            Some(_) | None => Err(report),
        }
    }

    /// The key with this id.
    pub fn key(&self, id: u16) -> Option<&Secret> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, secret)| secret)
    }
}

/// The text with everything blanked that may be a secret; every byte stays at its place.
pub(super) fn blanked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_id = words.first().is_some_and(|word| word.len() <= 5 && word.parse::<u16>().is_ok());
        let is_method = words.get(1).is_some_and(|word| matches!(*word, "sha1" | "md5" | "crc"));
        let keep = match words.first() {
            Some(&"auth") if words.len() <= 2 && words.get(1).is_none_or(|id| id.len() <= 5) => 2,
            Some(first) if first.starts_with('#') => usize::MAX,
            _ if is_id && is_method => 2,
            _ if is_id => 1,
            _ => 0,
        };
        blank(line, keep, &mut shown);
    }
    shown
}

fn blank(line: &str, keep: usize, shown: &mut String) {
    let mut word = 0;
    let mut inside = false;
    for c in line.chars() {
        if c.is_whitespace() {
            word += usize::from(inside);
            inside = false;
            shown.push(c);
        } else {
            inside = true;
            if word < keep {
                shown.push(c);
            } else {
                // As long in bytes as what it hides.
                shown.extend(std::iter::repeat_n('*', c.len_utf8()));
            }
        }
    }
}

struct Line<'a> {
    file: usize,
    words: Vec<(usize, &'a str)>,
}

impl<'a> Line<'a> {
    fn text(&self, at: usize) -> Option<&'a str> {
        self.words.get(at).map(|(_, word)| *word)
    }

    /// Where a word stands; where it is missing, the line's first.
    fn place(&self, at: usize) -> Place {
        let (start, word) = self.words.get(at).or(self.words.first()).copied().unwrap_or((0, ""));
        Place { file: self.file, start, end: start + word.len() }
    }
}

/// Reads file number `file`.
pub(super) fn read(file: usize, text: &str, findings: &mut Findings) -> Option<KeyRing> {
    let lines = lines(file, text);
    let Some(first) = lines.first() else {
        findings.push(Diagnostic::mistake(Place::whole(file), "there is no key in it").help(
            "make one with `systole key new`: a line is an id and at least 16 random bytes, as hex or base64",
        ));
        return None;
    };
    let is_authkeys = lines.iter().any(|line| line.text(0) == Some("auth"))
        || lines.iter().any(|line| matches!(line.text(1), Some("crc" | "sha1" | "md5")));
    if is_authkeys { authkeys(&lines, findings) } else { own(first, &lines, findings) }
}

fn lines(file: usize, text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut words = Vec::new();
        if !line.trim_start().starts_with('#') {
            for word in line.split_whitespace() {
                // Both are slices of one text.
                words.push((start + (word.as_ptr() as usize - line.as_ptr() as usize), word));
            }
        }
        if !words.is_empty() {
            lines.push(Line { file, words });
        }
        start += line.len();
    }
    lines
}

fn own(first: &Line<'_>, lines: &[Line<'_>], findings: &mut Findings) -> Option<KeyRing> {
    let mut ring = Ring::default();
    for line in lines {
        let Some(id) = id(line, 0, findings) else { continue };
        let Some(text) = line.text(1) else {
            findings.push(
                Diagnostic::mistake(line.place(0), format!("the key {id} is empty"))
                    .label("no key behind it")
                    .help("write at least 16 random bytes behind the id, as hex or base64; `systole key new` makes them"),
            );
            continue;
        };
        refuse_rest(line, 2, findings);
        match decode(text) {
            Some(bytes) => {
                if let Some(why) = weakness(&bytes) {
                    findings.push(
                        Diagnostic::mistake(line.place(1), format!("the key {id} cannot be used"))
                            .label(why)
                            .help("make one with `systole key new`"),
                    );
                }
                ring.add(id, bytes, line.place(0), findings);
            }
            None => findings.push(
                Diagnostic::mistake(line.place(1), format!("the key {id} is neither hex nor base64"))
                    .label("cannot be read")
                    .help("make one with `systole key new`; a passphrase is no key"),
            ),
        }
    }
    let first = first.text(0)?.parse().ok()?;
    ring.finish(first)
}

fn weakness(bytes: &[u8]) -> Option<String> {
    if !(limits::KEY_BYTES_LEAST..=limits::KEY_BYTES_MOST).contains(&bytes.len()) {
        return Some(format!(
            "{} bytes; a key has {} to {}",
            bytes.len(),
            limits::KEY_BYTES_LEAST,
            limits::KEY_BYTES_MOST
        ));
    }
    let first = bytes.first()?;
    bytes.iter().all(|byte| byte == first).then(|| "not random: one byte, repeated".to_owned())
}

fn authkeys(lines: &[Line<'_>], findings: &mut Findings) -> Option<KeyRing> {
    let mut ring = Ring::default();
    let mut sealing = None;
    for (number, line) in lines.iter().enumerate() {
        if line.text(0) == Some("auth") {
            if number > 0 {
                findings.push(
                    Diagnostic::mistake(line.place(0), "`auth` is not the first line, or there twice")
                        .label("belongs on top, once")
                        .help("begin the file with auth N, where N is the key that seals"),
                );
            }
            if line.text(1).is_none() {
                let missing =
                    Diagnostic::mistake(line.place(0), "`auth` names no key").label("which one seals?");
                findings.push(missing.help("write auth 1, for the key 1"));
            } else if let Some(id) = id(line, 1, findings) {
                sealing = Some((id, line.place(1)));
            }
            continue;
        }
        authkey(line, &mut ring, findings);
    }
    let Some((id, place)) = sealing else {
        if lines.iter().all(|line| line.text(0) != Some("auth")) {
            findings.push(
                Diagnostic::mistake(lines.first()?.place(0), "no line says which key seals")
                    .help("begin the file with auth N"),
            );
        }
        return None;
    };
    if !ring.places.contains_key(&id) {
        findings.push(
            Diagnostic::mistake(place, format!("`auth` names the key {id}, which is not in the file"))
                .label("no such key")
                .help(format!("add a line such as {id} sha1 SECRET, or name another")),
        );
    }
    ring.finish(id)
}

fn authkey(line: &Line<'_>, ring: &mut Ring, findings: &mut Findings) {
    let Some(id) = id(line, 0, findings) else { return };
    let method = line.text(1).unwrap_or_default();
    if !matches!((method, line.text(2)), ("sha1" | "md5", Some(_))) {
        // Known as a key, so that `auth` is not blamed as well.
        ring.places.entry(id).or_insert(line.place(0));
    }
    match method {
        "crc" => {
            findings.push(
                Diagnostic::mistake(line.place(1), "`crc` keeps nobody out: whoever reaches the network could speak as a node")
                    .label("a checksum, not a key")
                    .help(format!("write {id} sha1 SECRET with a long random one (`systole key new` makes it), the same on every node")),
            );
            return;
        }
        "sha1" | "md5" => {}
        _ => {
            let help = match nearest::nearest(method, ["sha1", "md5"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {id} sha1 SECRET; the secret is what counts, each is used alike"),
            };
            findings.push(
                Diagnostic::mistake(line.place(0), format!("the key {id} has no known method"))
                    .label("sha1 or md5 follows the number")
                    .help(help),
            );
            return;
        }
    }
    let Some(secret) = line.text(2) else {
        findings.push(
            Diagnostic::mistake(line.place(1), format!("the key {id} has no secret"))
                .label("nothing behind it")
                .help(format!("write {id} {method} SECRET")),
        );
        return;
    };
    refuse_rest(line, 3, findings);
    if secret.len() > limits::PARAM_BYTES {
        findings.push(
            Diagnostic::mistake(line.place(2), format!("the secret of the key {id} is too long"))
                .label(format!("more than {} bytes", limits::PARAM_BYTES))
                .help("32 random bytes are enough"),
        );
    } else if secret.len() < limits::PASSPHRASE_BYTES {
        findings.push(
            Diagnostic::warning(line.place(2), format!("the secret of the key {id} is short: it can be guessed"))
                .label(format!("fewer than {} bytes", limits::PASSPHRASE_BYTES))
                .help("use a longer one, best made by `systole key new`; add it everywhere first, then change `auth`"),
        );
    }
    ring.add(id, Zeroizing::new(secret.as_bytes().to_vec()), line.place(0), findings);
}

fn id(line: &Line<'_>, at: usize, findings: &mut Findings) -> Option<u16> {
    let id = line.text(at)?.parse::<u16>().ok();
    if id.is_none() {
        findings.push(
            Diagnostic::mistake(line.place(at), "a key's number is missing")
                .label("a number from 0 to 65535 belongs here")
                .help("write the number of the key first, then the key"),
        );
    }
    id
}

fn refuse_rest(line: &Line<'_>, most: usize, findings: &mut Findings) {
    if line.words.len() > most {
        findings.push(
            Diagnostic::mistake(line.place(most), "there is something behind the key")
                .label("a key has no blanks")
                .help("write one key a line; a comment stands on a line of its own, behind #"),
        );
    }
}

#[derive(Default)]
struct Ring {
    keys: Vec<(u16, Secret)>,
    places: BTreeMap<u16, Place>,
}

impl Ring {
    fn add(&mut self, id: u16, bytes: Zeroizing<Vec<u8>>, place: Place, findings: &mut Findings) {
        if let Some(first) = self.places.insert(id, place) {
            findings.push(
                Diagnostic::mistake(place, format!("two keys have the number {id}"))
                    .label("the second")
                    .also(first, "the first")
                    .help("give it another number: a datagram names its key by it"),
            );
            return;
        }
        if self.keys.len() == limits::KEYS {
            findings.push(
                Diagnostic::mistake(place, format!("more than {} keys", limits::KEYS))
                    .label("the first beyond")
                    .help("remove the keys that no node seals with any more"),
            );
        }
        if self.keys.len() < limits::KEYS {
            self.keys.push((id, Secret(bytes)));
        }
    }

    fn finish(self, first: u16) -> Option<KeyRing> {
        let ring = KeyRing { first, keys: self.keys };
        ring.key(first).is_some().then_some(ring)
    }
}

/// Hex, if it is all hex digits; else base64, with or without its padding.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pairs = text.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?);
        return pairs.map(byte).collect::<Option<Vec<u8>>>().map(Zeroizing::new);
    }
    base64(text.trim_end_matches('='))
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() % 4 == 1 {
        return None;
    }
    // Room for all at once: a growing vector would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bits = 0_u32;
    let mut held = 0;
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            let byte = bits >> held & 0xff;
            bytes.push(u8::try_from(byte).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_seals_and_every_line_opens() {
        let text = "# ours\n7 000102030405060708090a0b0c0d0e0f\n2 AAECAwQFBgcICQoLDA0ODw==\n";
        let (ring, report) = KeyRing::parse("keys", text).unwrap();
        assert!(report.is_empty());
        assert_eq!(ring.first, 7);
        assert_eq!(ring.key(7), ring.key(2));
        assert_eq!(ring.key(2).unwrap().bytes(), (0..16).collect::<Vec<u8>>());
    }

    #[test]
    fn heartbeat_s_secret_becomes_key_material() {
        let text = "auth 2\n1 md5 short\n2 sha1 a-secret-that-is-long-enough\n";
        let (ring, report) = KeyRing::parse("authkeys", text).unwrap();
        assert_eq!((ring.first, ring.keys.len()), (2, 2));
        assert_eq!(ring.key(2).unwrap().bytes(), b"a-secret-that-is-long-enough");
        assert_eq!(report.count(super::super::Severity::Warning), 1);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let wrong = "auth 1\n1 sha256 tiger-lily\n2 sha1 tiger-lily more\n3 tiger-lily\nauth tiger-lily\ntiger-lily\n";
        for text in [wrong, "1 tiger-lily\n1 sha1\n", "1 tiger-lily\ntiger-lily sha1\n"] {
            let report = KeyRing::parse("authkeys", text).unwrap_err();
            assert!(!report.render(false).contains("tiger"), "{report}");
            assert!(!format!("{report:?}").contains("tiger"));
        }
        let (ring, _) = KeyRing::parse("authkeys", "auth 1\n1 sha1 tiger-lily\n").unwrap();
        assert!(!format!("{ring:?}").contains("tiger"));
    }
}
