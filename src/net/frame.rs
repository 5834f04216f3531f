//! The bytes of ARP (RFC 826, 5227), neighbour discovery (RFC 4861) and echo (RFC 792, 4443), both ways.
//!
//! Whatever is read here was sent by a stranger: any bytes give a value or nothing. It opens no socket and never decides
//! what a frame means for a lease.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The kind of frame that ARP travels in.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// The kind of frame that IPv6 travels in.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Destination, source, kind.
const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// Type, code, checksum, flags, an address.
const NEIGHBOUR: usize = 24;
/// An option with a link-layer address.
const OPTION: usize = 8;

const ARP: usize = 28;
/// Ethernet, IPv4, six bytes of the one and four of the other.
const ARP_FIXED: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// What a router has forwarded has less: neighbours only.
pub(super) const HOP_LIMIT: u8 = 255;

const ICMPV6: u8 = 58;
const ICMPV4: u8 = 1;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A hardware address of Ethernet.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Nobody: where an address is asked for.
    pub const ZERO: Self = Self([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A network interface, as far as frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// The kernel's name for it, for sockets that are bound by name and for messages.
    pub name: Arc<str>,
    /// Frames leave with this source.
    pub mac: Mac,
    /// Its link-local address, to ask from. Without one the question comes from no address, and the answer goes to all.
    pub link_local: Option<Ipv6Addr>,
    /// It forwards IPv6. Its advertisements must say so: hosts drop a default route whose router says that it is none.
    pub forwards: bool,
}

/// What a frame of ARP or of neighbour discovery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who speaks.
    pub mac: Mac,
    /// The address that the speaker says it has; none where it asks without saying so.
    pub address: Option<IpAddr>,
    /// The address asked for, or spoken about.
    pub target: IpAddr,
    /// A question; otherwise an answer or an announcement.
    pub asks: bool,
}

/// A gratuitous ARP request: who keeps a neighbour table updates it.
pub fn gratuitous_request(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(REQUEST, (mac, address), (Mac::ZERO, address), ethernet(Mac::BROADCAST, mac, ETHERTYPE_ARP))
}

/// A gratuitous ARP reply: some switches and old routers believe only this form. Linux does where both hardware addresses
/// are the sender's.
pub fn gratuitous_reply(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(REPLY, (mac, address), (mac, address), ethernet(Mac::BROADCAST, mac, ETHERTYPE_ARP))
}

/// "Who has `target`?" From 0.0.0.0 it is an ARP probe, which no neighbour table learns from.
pub fn arp_question(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp(REQUEST, (mac, sender), (Mac::ZERO, target), ethernet(Mac::BROADCAST, mac, ETHERTYPE_ARP))
}

/// "`speaker` has what you asked for", to who asked; from this interface, whose own hardware address the frame has.
pub fn answer(from: &Interface, speaker: Mac, question: &Notice) -> Vec<u8> {
    match (question.target, question.address) {
        (IpAddr::V4(target), asker) => {
            let asker = match asker {
                Some(IpAddr::V4(asker)) => asker,
                Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
            };
            let frame = ethernet(question.mac, from.mac, ETHERTYPE_ARP);
            arp(REPLY, (speaker, target), (question.mac, asker), frame)
        }
        (IpAddr::V6(target), asker) => {
            // RFC 4861, 7.2.4: whoever asks from no address is answered by an announcement to all.
            let (flags, asker) = match asker {
                Some(IpAddr::V6(asker)) => (SOLICITED | OVERRIDE, Some(asker)),
                Some(IpAddr::V4(_)) | None => (OVERRIDE, None),
            };
            let flags = flags | if from.forwards { ROUTER } else { 0 };
            let hardware = asker.map_or(multicast(ALL_NODES), |_| question.mac);
            let frame = ethernet(hardware, from.mac, ETHERTYPE_IPV6);
            let option = Some((TARGET_LINK, speaker));
            neighbour((ADVERTISEMENT, flags), (target, asker.unwrap_or(ALL_NODES)), target, option, frame)
        }
    }
}

/// The group in which a solicitation of this address is sent.
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

type Speaker = (Mac, Ipv4Addr);

fn arp(operation: u16, sender: Speaker, target: Speaker, mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend_from_slice(&ARP_FIXED);
    frame.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend_from_slice(&mac.0);
        frame.extend_from_slice(&address.octets());
    }
    frame
}

/// "I have `address`", unasked, to all nodes, over whatever they knew before.
pub fn unsolicited_advertisement(mac: Mac, address: Ipv6Addr, forwards: bool) -> Vec<u8> {
    let flags = OVERRIDE | if forwards { ROUTER } else { 0 };
    let frame = ethernet(multicast(ALL_NODES), mac, ETHERTYPE_IPV6);
    neighbour((ADVERTISEMENT, flags), (address, ALL_NODES), address, Some((TARGET_LINK, mac)), frame)
}

/// "Who has `target`?" From no address it is what duplicate detection sends: no neighbour table learns from it.
pub fn neighbour_question(mac: Mac, sender: Option<Ipv6Addr>, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    // RFC 4861, 4.3: whoever has no address yet must not send the option.
    let option = sender.map(|_| (SOURCE_LINK, mac));
    let frame = ethernet(multicast(group), mac, ETHERTYPE_IPV6);
    neighbour((SOLICITATION, 0), (sender.unwrap_or(Ipv6Addr::UNSPECIFIED), group), target, option, frame)
}

/// The hardware address of a multicast group (RFC 2464, 7).
fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

fn neighbour(
    (kind, flags): (u8, u8),
    (source, destination): (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
    mut frame: Vec<u8>,
) -> Vec<u8> {
    let length = NEIGHBOUR + if option.is_some() { OPTION } else { 0 };
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&u16::try_from(length).unwrap_or_default().to_be_bytes());
    frame.extend_from_slice(&[ICMPV6, HOP_LIMIT]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&destination.octets());
    frame.extend_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    frame.extend_from_slice(&target.octets());
    if let Some((option, mac)) = option {
        frame.extend_from_slice(&[option, 1]);
        frame.extend_from_slice(&mac.0);
    }
    let sum = icmpv6_checksum(source, destination, &frame[ETHERNET + IPV6..]);
    frame[ETHERNET + IPV6 + 2..ETHERNET + IPV6 + 4].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn ethernet(destination: Mac, source: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + IPV6 + NEIGHBOUR + OPTION);
    frame.extend_from_slice(&destination.0);
    frame.extend_from_slice(&source.0);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame
}

/// What a frame says, if it is ARP or neighbour discovery and says it properly.
pub fn notice(frame: &[u8]) -> Option<Notice> {
    let kind = u16::from_be_bytes(array(frame, 12)?);
    let source = source(frame)?;
    match kind {
        ETHERTYPE_ARP => arp_notice(frame.get(ETHERNET..ETHERNET + ARP)?),
        ETHERTYPE_IPV6 => neighbour_notice(source, &frame[ETHERNET..]),
        _ => None,
    }
}

/// The hardware address that a frame comes from.
pub fn source(frame: &[u8]) -> Option<Mac> {
    array(frame, 6).map(Mac)
}

fn arp_notice(bytes: &[u8]) -> Option<Notice> {
    let operation = u16::from_be_bytes(array(bytes, 6)?);
    if bytes[..6] != ARP_FIXED || !(REQUEST..=REPLY).contains(&operation) {
        return None;
    }
    let sender = Ipv4Addr::from(array::<4>(bytes, 14)?);
    let address = (!sender.is_unspecified()).then_some(IpAddr::V4(sender));
    let (mac, target) = (Mac(array(bytes, 8)?), Ipv4Addr::from(array::<4>(bytes, 24)?));
    let asks = operation == REQUEST && sender != target;
    speaker(mac).then_some(Notice { mac, address, target: target.into(), asks })
}

fn neighbour_notice(ethernet: Mac, packet: &[u8]) -> Option<Notice> {
    let length = usize::from(u16::from_be_bytes(array(packet, 4)?));
    let fixed = packet.get(..8)?;
    if fixed[0] >> 4 != 6 || fixed[6] != ICMPV6 || fixed[7] != HOP_LIMIT || length < NEIGHBOUR {
        return None;
    }
    let source = Ipv6Addr::from(array::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(array::<16>(packet, 24)?);
    let message = packet.get(IPV6..IPV6 + length)?;
    let target = Ipv6Addr::from(array::<16>(message, 8)?);
    if message[1] != 0 || target.is_multicast() || icmpv6_checksum(source, destination, message) != 0 {
        return None;
    }
    let (asks, wanted) = match message[0] {
        SOLICITATION => (true, SOURCE_LINK),
        ADVERTISEMENT => (false, TARGET_LINK),
        _ => return None,
    };
    // An answer to one may come without the option; then it is the frame that says who speaks.
    let mac = link_option(&message[NEIGHBOUR..], wanted)?.unwrap_or(ethernet);
    let address = if asks { source } else { target };
    let address = (!address.is_unspecified()).then_some(IpAddr::V6(address));
    speaker(mac).then_some(Notice { mac, address, target: target.into(), asks })
}

/// The option of this kind, if there is one; nothing at all if the options are broken.
fn link_option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, eights, ..] = *options {
        let length = usize::from(eights) * 8;
        if length == 0 || length > options.len() {
            return None;
        }
        if kind == wanted {
            found = Some(Mac(array(options, 2)?));
        }
        options = &options[length..];
    }
    Some(found)
}

/// One machine: a group address speaks for nobody.
fn speaker(mac: Mac) -> bool {
    mac != Mac::ZERO && mac.0[0] & 1 == 0
}

/// The checksum of a message of ICMPv6; over one that carries its own it is 0.
pub fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let header = [source.octets(), destination.octets()];
    let begun =
        header.iter().fold(length.wrapping_add(u32::from(ICMPV6)), |begun, octets| add(begun, octets));
    !fold(add(begun, message))
}

fn checksum(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

fn add(begun: u32, bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
    bytes.chunks(2).fold(begun, |sum, pair| {
        let sum = sum + word(pair);
        (sum & 0xffff) + (sum >> 16)
    })
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_default()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// What a ping carries there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// This life of this daemon, by chance: nobody who has not seen the ping can answer it.
    pub token: u64,
    /// The round that asked.
    pub round: u64,
    /// The place of the target's ping group.
    pub group: u16,
}

/// The header of an echo, then what it carries.
const ECHO: usize = 8 + 8 + 8 + 2;
const ECHO_REQUEST_V4: u8 = 8;
pub(super) const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
pub(super) const ECHO_REPLY_V6: u8 = 129;

impl Echo {
    /// The identifier in the header: a filter of the kernel can tell ours by it.
    pub fn identifier(&self) -> u16 {
        let [.., a, b] = self.token.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// A request of ICMP, to be sent in a packet of IPv4.
    pub fn request_v4(&self) -> [u8; ECHO] {
        let mut bytes = self.message(ECHO_REQUEST_V4);
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// A request of ICMPv6. The checksum covers the addresses of the packet: the kernel puts it in.
    pub fn request_v6(&self) -> [u8; ECHO] {
        self.message(ECHO_REQUEST_V6)
    }

    fn message(&self, kind: u8) -> [u8; ECHO] {
        let mut bytes = [0; ECHO];
        bytes[0] = kind;
        bytes[4..6].copy_from_slice(&self.identifier().to_be_bytes());
        // The sequence number is for those who watch the wire: it is too short to tell rounds apart.
        bytes[6..8].copy_from_slice(&self.round.to_be_bytes()[6..]);
        bytes[8..16].copy_from_slice(&self.token.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.round.to_be_bytes());
        bytes[24..].copy_from_slice(&self.group.to_be_bytes());
        bytes
    }

    /// An answer in a packet of IPv4, with its header: who sent it, and what it carries.
    pub fn reply_v4(packet: &[u8]) -> Option<(Ipv4Addr, Self)> {
        let header = usize::from(packet.first()? & 0xf) * 4;
        if packet[0] >> 4 != 4 || header < 20 || *packet.get(9)? != ICMPV4 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(array(packet, 2)?));
        let message = packet.get(header..length)?;
        let source = Ipv4Addr::from(array::<4>(packet, 12)?);
        (checksum(message) == 0).then_some((source, Self::reply(message, ECHO_REPLY_V4)?))
    }

    /// An answer of ICMPv6, whose checksum the kernel has judged: what it carries.
    pub fn reply_v6(message: &[u8]) -> Option<Self> {
        Self::reply(message, ECHO_REPLY_V6)
    }

    fn reply(message: &[u8], kind: u8) -> Option<Self> {
        let token = u64::from_be_bytes(array(message, 8)?);
        let round = u64::from_be_bytes(array(message, 16)?);
        let echo = Self { token, round, group: u16::from_be_bytes(array(message, 24)?) };
        let identifier = u16::from_be_bytes(array(message, 4)?);
        let whole = message.len() == ECHO && message[..2] == [kind, 0];
        (whole && identifier == echo.identifier()).then_some(echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 80);
    const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_gratuitous_request_is_these_42_bytes() {
        let expected = concat!(
            "ffffffffffff",
            "02000000000a",
            "0806",
            "0001080006040001",
            "02000000000a",
            "0a000050",
            "000000000000",
            "0a000050"
        );
        assert_eq!(hex(&gratuitous_request(MAC, V4)), expected);
    }

    #[test]
    fn a_gratuitous_reply_names_the_sender_as_the_target_too() {
        let expected = concat!(
            "ffffffffffff",
            "02000000000a",
            "0806",
            "0001080006040002",
            "02000000000a",
            "0a000050",
            "02000000000a",
            "0a000050"
        );
        assert_eq!(hex(&gratuitous_reply(MAC, V4)), expected);
    }

    #[test]
    fn an_advertisement_is_these_86_bytes() {
        // The checksum comes from another program.
        let expected = concat!(
            "333300000001",
            "02000000000a",
            "86dd",
            "6000000000203aff",
            "20010db8000000000000000000123456",
            "ff020000000000000000000000000001",
            "8800",
            "9053",
            "20000000",
            "20010db8000000000000000000123456",
            "0201",
            "02000000000a"
        );
        let frame = unsolicited_advertisement(MAC, V6, false);
        assert_eq!(hex(&frame), expected);
        assert_eq!(unsolicited_advertisement(MAC, V6, true)[58], 0xa0, "a router says that it is one");
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_those_who_may_have_the_address() {
        let frame = neighbour_question(MAC, Some(OTHER), V6);
        assert_eq!(hex(&frame[..6]), "3333ff123456");
        assert_eq!(hex(&frame[38..54]), "ff0200000000000000000001ff123456");
        assert_eq!(frame.len(), 86);
        let said = notice(&frame).unwrap();
        assert_eq!(said, Notice { mac: MAC, address: Some(OTHER.into()), target: V6.into(), asks: true });
        let nameless = neighbour_question(MAC, None, V6);
        assert_eq!(nameless.len(), 78, "no option without an address");
        assert_eq!(notice(&nameless).unwrap().address, None);
    }

    #[test]
    fn who_says_to_have_an_address_is_read_from_every_form() {
        let has =
            |address: IpAddr| Some(Notice { mac: MAC, address: Some(address), target: address, asks: false });
        assert_eq!(notice(&gratuitous_request(MAC, V4)), has(V4.into()));
        assert_eq!(notice(&gratuitous_reply(MAC, V4)), has(V4.into()));
        assert_eq!(notice(&unsolicited_advertisement(MAC, V6, true)), has(V6.into()));
        let probe = notice(&arp_question(MAC, Ipv4Addr::UNSPECIFIED, V4)).unwrap();
        assert_eq!(probe, Notice { mac: MAC, address: None, target: V4.into(), asks: true });
    }

    #[test]
    fn padding_is_passed_over_and_a_cut_frame_is_nothing() {
        for mut frame in [gratuitous_request(MAC, V4), unsolicited_advertisement(MAC, V6, false)] {
            let said = notice(&frame);
            assert!(said.is_some());
            for length in 0..frame.len() {
                assert_eq!(notice(&frame[..length]), None, "{length} bytes");
            }
            frame.resize(frame.len().max(60) + 4, 0x55);
            assert_eq!(notice(&frame), said);
        }
    }

    #[test]
    fn a_frame_that_breaks_a_rule_is_nothing() {
        let arp = gratuitous_request(MAC, V4);
        let advertisement = unsolicited_advertisement(MAC, V6, false);
        let rules: [(&[u8], usize, u8, &str); 10] = [
            (&arp, 13, 0x07, "another kind of frame"),
            (&arp, 15, 6, "not Ethernet"),
            (&arp, 18, 8, "longer hardware addresses"),
            (&arp, 21, 3, "a reverse request"),
            (&arp, 22, 3, "a group speaks"),
            (&advertisement, 21, 254, "it was forwarded"),
            (&advertisement, 14, 0x40, "not IPv6"),
            (&advertisement, 57, 0, "a wrong checksum"),
            (&advertisement, 79, 0, "an option without a length"),
            (&advertisement, 19, 23, "too short for its kind"),
        ];
        for (frame, at, byte, why) in rules {
            let mut broken = frame.to_vec();
            assert_ne!(broken[at], byte, "{why}");
            broken[at] = byte;
            assert_eq!(notice(&broken), None, "{why}");
        }
    }

    #[test]
    fn an_option_is_judged_even_where_the_checksum_is_right() {
        for (at, byte) in [(79, 0), (79, 2), (54, 137), (55, 1)] {
            let mut frame = unsolicited_advertisement(MAC, V6, false);
            frame[at] = byte;
            frame[56..58].fill(0);
            let sum = icmpv6_checksum(V6, ALL_NODES, &frame[54..]);
            frame[56..58].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(notice(&frame), None, "{byte} at {at}");
        }
    }

    const PING: Echo = Echo { token: 0x1122_3344_5566_7788, round: 0x0102_0304, group: 3 };

    /// As a target turns it round.
    fn answered_v4(ping: &Echo) -> Vec<u8> {
        let mut message = ping.message(ECHO_REPLY_V4);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 46, 0, 0, 0, 0, 64, ICMPV4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(&message);
        packet
    }

    #[test]
    fn a_ping_is_these_bytes() {
        let expected =
            concat!("0800", "6815", "7788", "0304", "1122334455667788", "0000000001020304", "0003");
        assert_eq!(hex(&PING.request_v4()), expected);
        assert_eq!(checksum(&PING.request_v4()), 0);
        assert_eq!(hex(&PING.request_v6()[..8]), "8000000077880304");
    }

    #[test]
    fn an_answer_carries_what_was_asked() {
        assert_eq!(Echo::reply_v4(&answered_v4(&PING)), Some((Ipv4Addr::new(10, 0, 0, 1), PING)));
        assert_eq!(Echo::reply_v6(&PING.message(ECHO_REPLY_V6)), Some(PING));
        assert_eq!(Echo::reply_v6(&PING.request_v6()), None, "our own question is no answer");
        let packet = answered_v4(&PING);
        for at in 20..packet.len() {
            let mut broken = packet.clone();
            broken[at] ^= 1;
            assert_eq!(Echo::reply_v4(&broken), None, "a wrong byte at {at}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let seeds = [
            gratuitous_request(MAC, V4),
            unsolicited_advertisement(MAC, V6, false),
            neighbour_question(MAC, None, V6),
            answered_v4(&PING),
            PING.message(ECHO_REPLY_V6).to_vec(),
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut chance = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let mut understood = 0;
        for _ in 0..200_000 {
            let mut bytes = seeds[chance(seeds.len())].clone();
            for _ in 0..chance(4) {
                let at = chance(bytes.len());
                bytes[at] = u8::try_from(chance(256)).unwrap();
            }
            if chance(3) == 0 {
                bytes.truncate(chance(bytes.len() + 1));
            }
            understood += usize::from(notice(&bytes).is_some());
            understood += usize::from(Echo::reply_v4(&bytes).is_some());
            understood += usize::from(Echo::reply_v6(&bytes).is_some());
        }
        assert!(understood > 20_000, "mutations must leave something to read: {understood}");
    }
}
