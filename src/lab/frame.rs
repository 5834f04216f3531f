//! Ethernet frames that ask for an address, announce it, and answer for it: ARP (RFC 826, 5227) and neighbour discovery
//! (RFC 4861). It is what a client needs to see who answers, and what a rival sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::route::Mac;

/// `ETH_P_ARP`.
const ARP: u16 = 0x0806;
/// `ETH_P_IPV6`.
const IPV6: u16 = 0x86dd;

const EVERYBODY: Mac = Mac([0xff; 6]);
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ICMPV6: u8 = 58;
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Lets only neighbour advertisements in, in the form of `sys::attach_filter`: the next header is ICMPv6, its type 136.
pub(super) const ONLY_ADVERTISEMENTS: [(u16, u8, u8, u32); 6] = [
    (0x30, 0, 0, 20),
    (0x15, 0, 3, ICMPV6 as u32),
    (0x30, 0, 0, 54),
    (0x15, 0, 1, ADVERTISEMENT as u32),
    (0x06, 0, 0, 0xffff),
    (0x06, 0, 0, 0),
];

/// What a frame says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The address.
    pub(super) address: IpAddr,
    /// Where it is.
    pub(super) mac: Mac,
    /// Nobody had asked: it was announced.
    pub(super) unasked: bool,
}

/// The kind of frame that says something of an address.
pub(super) const fn kind_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => ARP,
        IpAddr::V6(_) => IPV6,
    }
}

/// Asks everybody who has an address.
pub(super) fn question(mac: Mac, source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            Some(arp(REQUEST, mac, source, (Mac([0; 6]), target), EVERYBODY))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let [.., a, b, c] = target.octets();
            let group =
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
            Some(discovery(SOLICITATION, 0, mac, (source, group), target))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Tells everybody, unasked, that the address is here.
pub(super) fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp(REQUEST, mac, v4, (Mac([0; 6]), v4), EVERYBODY),
        IpAddr::V6(v6) => {
            let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            discovery(ADVERTISEMENT, OVERRIDE, mac, (v6, everybody), v6)
        }
    }
}

/// What a frame says of an address; nothing if it is of another kind, or broken.
pub(super) fn read(frame: &[u8]) -> Option<Said> {
    match u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?) {
        ARP => read_arp(frame.get(14..)?),
        IPV6 => read_discovery(frame.get(14..)?),
        _ => None,
    }
}

fn read_arp(arp: &[u8]) -> Option<Said> {
    let operation = u16::from_be_bytes(arp.get(6..8)?.try_into().ok()?);
    let sender: [u8; 4] = arp.get(14..18)?.try_into().ok()?;
    let target: [u8; 4] = arp.get(24..28)?.try_into().ok()?;
    let unasked = sender == target;
    // A question for another address says nothing that a client relies upon.
    if operation != REPLY && !unasked {
        return None;
    }
    let mac = Mac(arp.get(8..14)?.try_into().ok()?);
    Some(Said { address: IpAddr::from(sender), mac, unasked })
}

fn read_discovery(packet: &[u8]) -> Option<Said> {
    let icmp = packet.get(40..)?;
    if packet[6] != ICMPV6 || *icmp.first()? != ADVERTISEMENT {
        return None;
    }
    let target: [u8; 16] = icmp.get(8..24)?.try_into().ok()?;
    let option = icmp.get(24..32).filter(|option| option[0] == TARGET_MAC)?;
    let mac = Mac(option[2..8].try_into().ok()?);
    Some(Said { address: IpAddr::from(target), mac, unasked: icmp[4] & SOLICITED == 0 })
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &kind.to_be_bytes()].concat()
}

fn arp(operation: u16, mac: Mac, sender: Ipv4Addr, target: (Mac, Ipv4Addr), to: Mac) -> Vec<u8> {
    let mut frame = ethernet(to, mac, ARP);
    // Ethernet and IPv4, with addresses of six and four bytes.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend(target.0.0);
    frame.extend(target.1.octets());
    frame
}

fn discovery(kind: u8, flags: u8, mac: Mac, way: (Ipv6Addr, Ipv6Addr), target: Ipv6Addr) -> Vec<u8> {
    let (source, destination) = way;
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend([if kind == SOLICITATION { SOURCE_MAC } else { TARGET_MAC }, 1]);
    icmp.extend(mac.0);
    let length = u16::try_from(icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0], &length, &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo[..], &icmp].concat());
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let [.., a, b, c, d] = destination.octets();
    let mut frame = ethernet(Mac([0x33, 0x33, a, b, c, d]), mac, IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length);
    // Neighbour discovery is believed only with 255 hops: no router has passed it on.
    frame.extend([ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(icmp);
    frame
}

/// RFC 1071, over an even number of bytes.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_announcement_reads_as_one_and_a_question_says_nothing() {
        for (address, other) in [("10.0.0.7", "10.0.0.1"), ("fd00::7", "fd00::1")] {
            let (address, other) = (address.parse().unwrap(), other.parse().unwrap());
            assert_eq!(read(&announcement(MAC, address)), Some(Said { address, mac: MAC, unasked: true }));
            assert_eq!(read(&question(MAC, other, address).unwrap()), None);
        }
        assert_eq!(question(MAC, "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()), None);
    }

    #[test]
    fn a_cut_frame_says_nothing() {
        for address in ["10.0.0.7", "fd00::7"] {
            let frame = announcement(MAC, address.parse().unwrap());
            for length in 0..frame.len() {
                assert_eq!(read(&frame[..length]), None, "{length} bytes of {address}");
            }
        }
    }

    #[test]
    fn a_reply_is_an_answer_and_no_announcement() {
        let frame =
            arp(REPLY, MAC, Ipv4Addr::new(10, 0, 0, 7), (EVERYBODY, Ipv4Addr::new(10, 0, 0, 1)), EVERYBODY);
        let address = "10.0.0.7".parse().unwrap();
        assert_eq!(read(&frame), Some(Said { address, mac: MAC, unasked: false }));
    }
}
