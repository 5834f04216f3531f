//! Networks of addresses, of either family: what lies in one, and which of its addresses are free. Pure.

use std::fmt;
use std::net::IpAddr;

/// A network: its first address, and how long its prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subnet {
    first: IpAddr,
    prefix: u8,
}

/// No more addresses of a network than these are looked at for a free one.
const LOOKED_AT: u128 = 1 << 12;

impl Subnet {
    /// The network of this address. A prefix that is too long for its family counts as the longest.
    pub(super) fn of(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        let first = bits(address) & !host_mask(address, prefix);
        Self { first: back(first, address), prefix }
    }

    /// The smallest network in which all of these are hosts: it begins before the first of them and ends behind the
    /// last. `None` for no addresses, and for two families.
    pub(super) fn around(addresses: &[IpAddr], longest: u8) -> Option<Self> {
        let first = *addresses.first()?;
        let is_host = |subnet: &Self, address: &IpAddr| {
            let host = bits(*address) & host_mask(first, subnet.prefix);
            host != 0 && (address.is_ipv6() || host != host_mask(first, subnet.prefix))
        };
        let holds = |subnet: &Self| {
            addresses.iter().all(|address| subnet.contains(*address) && is_host(subnet, address))
        };
        (0..=longest).rev().map(|prefix| Self::of(first, prefix)).find(holds)
    }

    /// How long its prefix is.
    pub(super) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub(super) fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether the address lies in it.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && Self::of(address, self.prefix) == self
    }

    /// Whether one lies in the other.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Its hosts' addresses from the last one down, some thousands of them at most. People count from the other end.
    pub(super) fn hosts(self) -> impl Iterator<Item = IpAddr> {
        // So an address stays short in a network of IPv6, and none is looked for among billions.
        let most = host_mask(self.first, self.prefix).min(if self.is_ipv4() { u128::MAX } else { 0xffff });
        let (first, like) = (bits(self.first), self.first);
        (1..most)
            .rev()
            .take(usize::try_from(LOOKED_AT).unwrap_or(usize::MAX))
            .map(move |host| back(first | host, like))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address with these bits, of the same family as `like`.
fn back(bits: u128, like: IpAddr) -> IpAddr {
    match (like, u32::try_from(bits)) {
        (IpAddr::V4(_), Ok(bits)) => IpAddr::V4(bits.into()),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => IpAddr::V6(bits.into()),
    }
}

fn host_mask(like: IpAddr, prefix: u8) -> u128 {
    let hosts = width(like).saturating_sub(prefix);
    1_u128.checked_shl(u32::from(hosts)).map_or(u128::MAX, |end| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let lan = Subnet::of(ip("192.168.7.9"), 24);
        assert_eq!(lan.to_string(), "192.168.7.0/24");
        assert!(
            lan.contains(ip("192.168.7.255")) && !lan.contains(ip("192.168.8.1")) && !lan.contains(ip("::7"))
        );
        assert!(
            lan.overlaps(Subnet::of(ip("192.168.0.0"), 16))
                && Subnet::of(ip("192.168.0.0"), 16).overlaps(lan)
        );
        assert!(!lan.overlaps(Subnet::of(ip("192.168.6.0"), 24)));
        assert!(
            Subnet::of(ip("::"), 0).contains(ip("ffff::1"))
                && Subnet::of(ip("1.2.3.4"), 0).contains(ip("9.9.9.9"))
        );
        assert_eq!(Subnet::of(ip("fd00:7::1"), 200).to_string(), "fd00:7::1/128");
    }

    #[test]
    fn the_smallest_network_around_addresses_has_them_as_hosts() {
        let around = |addresses: &[&str], longest| {
            let addresses: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
            Subnet::around(&addresses, longest).map(|subnet| subnet.to_string())
        };
        assert_eq!(around(&["10.0.0.1", "10.0.0.2"], 30).as_deref(), Some("10.0.0.0/30"));
        assert_eq!(
            around(&["10.0.0.3", "10.0.0.4"], 30).as_deref(),
            Some("10.0.0.0/29"),
            "neither end is a host"
        );
        assert_eq!(around(&["10.0.1.10", "10.0.2.10"], 24).as_deref(), Some("10.0.0.0/22"));
        assert_eq!(around(&["fd00::1", "fd00::2"], 64).as_deref(), Some("fd00::/64"));
        assert_eq!((around(&[], 24), around(&["10.0.0.1", "fd00::1"], 24)), (None, None));
    }

    #[test]
    fn hosts_are_counted_from_the_end() {
        let hosts = |text: &str, prefix| {
            Subnet::of(ip(text), prefix).hosts().take(2).map(|host| host.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(hosts("10.1.2.3", 16), ["10.1.255.254", "10.1.255.253"]);
        assert_eq!(hosts("10.1.2.3", 30), ["10.1.2.2", "10.1.2.1"]);
        assert_eq!(hosts("10.1.2.3", 32), Vec::<String>::new());
        assert_eq!(hosts("fd00::1", 64), ["fd00::fffe", "fd00::fffd"]);
    }
}
