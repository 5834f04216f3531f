//! Single values: times, names, addresses. Each reader returns the value, or why not in half a sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::limits;
use crate::time::Span;

/// A time: `200ms`, `1s`, `1.5s`, `2min`, `250us`; without a unit, seconds.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let micros = match unit.trim() {
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "" | "s" | "sec" => 1_000_000,
        "min" | "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err("this is not a time".to_owned()),
    };
    let span = decimal(number, micros).ok_or_else(|| "this is not a time".to_owned())?;
    if span > limits::SPAN_MOST { Err("longer than a day".to_owned()) } else { Ok(span) }
}

/// `number * unit` microseconds, exactly; `None` if it is no decimal number. What is below a microsecond is dropped.
fn decimal(number: &str, unit: u64) -> Option<Span> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || number.len() > 30 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX) };
    let mut micros = whole.saturating_mul(unit);
    let mut part = unit;
    for digit in fraction.bytes() {
        part /= 10;
        micros = micros.saturating_add(u64::from(digit - b'0') * part);
    }
    Some(Span::micros(micros))
}

/// Why this is no name of a node, a link or a fence; `None` if it is one.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name cannot be empty".to_owned());
    }
    if name.len() > limits::NAME_BYTES {
        return Some(format!("longer than {} bytes", limits::NAME_BYTES));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Some("a name begins with a letter or a digit".to_owned());
    }
    let bad = name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_'))?;
    Some(format!("{bad:?} cannot stand in a name"))
}

/// As [`name_fault`], for a group: an IPv6 address is a name, too, as a `haresources` line is named after its address.
pub(crate) fn group_name_fault(name: &str) -> Option<String> {
    if name.parse::<Ipv6Addr>().is_ok() { None } else { name_fault(name) }
}

/// Why this is no name of a network interface; `None` if it is one.
pub(crate) fn interface_fault(name: &str) -> Option<String> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("not an interface's name".to_owned());
    }
    if name.len() > limits::INTERFACE_BYTES {
        return Some(format!("longer than the kernel's {} bytes", limits::INTERFACE_BYTES));
    }
    let bad = name.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))?;
    Some(format!("{bad:?} cannot stand in an interface's name"))
}

/// An address that one host can have.
pub(crate) fn host_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| address_fault(text))?;
    match unusable(address) {
        Some(why) => Err(why.to_owned()),
        None => Ok(address),
    }
}

/// What looks like an address and is none, told apart from what is a name.
fn address_fault(text: &str) -> String {
    if text.contains('/') {
        "an address without a prefix belongs here".to_owned()
    } else if text.contains(':') {
        "not an IPv6 address".to_owned()
    } else if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        "not an IPv4 address".to_owned()
    } else {
        "an address belongs here, not a name".to_owned()
    }
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("no host has this address")
    } else if address.is_multicast() {
        Some("this is a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("this is the broadcast address")
    } else {
        None
    }
}

/// `ADDRESS` or `ADDRESS/PREFIX`.
pub(crate) fn network_address(text: &str) -> Result<(IpAddr, Option<u8>), String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = host_address(address)?;
    Ok((address, prefix.map(|prefix| prefix_length(address, prefix)).transpose()?))
}

/// A prefix length that fits the address; a dotted netmask is told how it is written here.
pub(crate) fn prefix_length(address: IpAddr, text: &str) -> Result<u8, String> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = u32::from(mask);
        return Err(match bits.leading_ones() + bits.trailing_zeros() {
            32.. if bits != 0 => format!("a prefix length belongs here: /{}", bits.leading_ones()),
            _ => "a prefix length belongs here, not a netmask".to_owned(),
        });
    }
    match text.parse::<u8>() {
        Ok(prefix) if (1..=most).contains(&prefix) && !text.starts_with('+') => Ok(prefix),
        _ => Err(format!("a prefix length is 1 to {most}")),
    }
}

/// Whether two addresses are of one family.
pub(crate) fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_a_person_writes_it() {
        let read = ["200ms", "1s", "1.5s", "2", "0.25", "250us", ".5", "2 s", "1min"]
            .map(|text| span(text).unwrap().0);
        assert_eq!(
            read,
            [200_000, 1_000_000, 1_500_000, 2_000_000, 250_000, 250, 500_000, 2_000_000, 60_000_000]
        );
        for wrong in ["", ".", "s", "1.2.3", "-1", "1 fortnight", "1e3", "99999999999999999999", "25h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_netmask_is_told_its_prefix() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(prefix_length(address, "255.255.255.0").unwrap_err(), "a prefix length belongs here: /24");
        assert_eq!(
            prefix_length(address, "255.0.255.0").unwrap_err(),
            "a prefix length belongs here, not a netmask"
        );
        assert_eq!(prefix_length(address, "33").unwrap_err(), "a prefix length is 1 to 32");
    }
}
