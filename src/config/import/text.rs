//! Pieces of TOML, and the words that the other programs' files have in common.

use std::net::{IpAddr, Ipv4Addr};

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `ADDRESS:PORT`, as both families write it.
pub(super) fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, None) => address.to_string(),
    }
}

/// A name that may stand in brackets, made of a text: letters, digits, `-`, `.` and `_`.
pub(super) fn name(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '-' };
    let name: String = text.chars().map(allowed).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "service".to_owned() } else { name.chars().take(60).collect() }
}

/// A table's name: one with a dot in it stands in quotes.
pub(super) fn key(name: &str) -> String {
    let is_bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// How many bits a netmask has.
pub(super) fn bits(mask: &str) -> Option<u32> {
    if let Ok(bits) = mask.parse::<u32>() {
        return (1..=128).contains(&bits).then_some(bits);
    }
    let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() == 32 && mask != 0).then(|| mask.leading_ones())
}

/// A port by number or by the name that everybody knows.
pub(super) fn port(text: &str) -> Option<u16> {
    const NAMES: &[(&str, u16)] = &[
        ("ftp", 21),
        ("ssh", 22),
        ("telnet", 23),
        ("smtp", 25),
        ("domain", 53),
        ("http", 80),
        ("www", 80),
        ("pop3", 110),
        ("nntp", 119),
        ("imap", 143),
        ("imap2", 143),
        ("ldap", 389),
        ("https", 443),
        ("submission", 587),
        ("ldaps", 636),
        ("imaps", 993),
        ("pop3s", 995),
        ("mysql", 3306),
        ("postgresql", 5432),
    ];
    let named = || NAMES.iter().find(|(name, _)| *name == text).map(|(_, port)| *port);
    text.parse().ok().or_else(named)
}

/// `ADDRESS[:PORT]` and `[ADDRESS][:PORT]`.
pub(super) fn place(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let port = match after.strip_prefix(':') {
            Some(text) => Some(port(text)?),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((address.parse().ok()?, port));
    }
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let (address, named) = text.rsplit_once(':')?;
    Some((address.parse().ok()?, Some(port(named)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let read = |text| place(text).map(|(address, port)| endpoint(address, port));
        assert_eq!(read("192.0.2.1:http").as_deref(), Some("192.0.2.1:80"));
        assert_eq!(read("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(read("[2001:db8::1]:443").as_deref(), Some("[2001:db8::1]:443"));
        assert_eq!(read("2001:db8::1").as_deref(), Some("2001:db8::1"));
        for wrong in ["www.example.org:80", "192.0.2.1:", "[2001:db8::1]x", "192.0.2.1:gopherd"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn masks_and_names_become_what_may_stand_here() {
        assert_eq!((bits("255.255.255.0"), bits("24"), bits("255.0.255.0")), (Some(24), Some(24), None));
        assert_eq!((name("My Web (1)"), name("[::]")), ("My-Web--1-".to_owned(), "service".to_owned()));
        assert_eq!((key("web"), key("192.0.2.1-80")), ("web".to_owned(), "\"192.0.2.1-80\"".to_owned()));
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\n\"");
    }
}
