//! Filters in the kernel, as `sys::attach_filter` takes them: frames of no concern wake nobody.

use std::net::IpAddr;

use super::frame::{ADVERTISEMENT, ECHO_REPLY_V4, ECHO_REPLY_V6, HOP_LIMIT, SOLICITATION};

pub(super) type Instruction = (u16, u8, u8, u32);

const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
const BYTE_AFTER: u16 = 0x50;
const HALF_AFTER: u16 = 0x48;
const AFTER_IPV4: u16 = 0xb1;
const EQUAL: u16 = 0x15;
const SKIP: u16 = 0x05;
const RETURN: u16 = 0x06;
const DROP: Instruction = (RETURN, 0, 0, 0);
const PASS: Instruction = (RETURN, 0, 0, 0xffff);

/// The kind of a message of ICMPv6 is loaded, if a neighbour has sent it.
const KIND_OF_A_NEIGHBOUR: [Instruction; 7] = [
    (BYTE, 0, 0, 20),
    (EQUAL, 1, 0, 58),
    DROP,
    (BYTE, 0, 0, 21),
    (EQUAL, 1, 0, HOP_LIMIT as u32),
    DROP,
    (BYTE, 0, 0, 54),
];

/// A longer list is not looked through for every frame: then everybody passes.
const MOST: usize = 64;

/// Whether the word that was loaded is one of these.
fn one_of(words: &[u32]) -> Vec<Instruction> {
    if words.len() > MOST {
        return vec![PASS];
    }
    words.iter().flat_map(|word| [(EQUAL, 0, 1, *word), PASS]).chain([DROP]).collect()
}

/// ARP of whoever speaks as one of these addresses.
pub(super) fn arp(speakers: &[u32]) -> Vec<Instruction> {
    [(WORD, 0, 0, 28)].into_iter().chain(one_of(speakers)).collect()
}

/// Advertisements of addresses that end so, and solicitations from one; from a neighbour, and without headers in
/// between.
pub(super) fn neighbours(speakers: &[u32]) -> Vec<Instruction> {
    let kinds = [
        (EQUAL, 4, 0, u32::from(ADVERTISEMENT)),
        (EQUAL, 1, 0, u32::from(SOLICITATION)),
        DROP,
        (WORD, 0, 0, 34),
        (SKIP, 0, 0, 1),
        (WORD, 0, 0, 74),
    ];
    KIND_OF_A_NEIGHBOUR.into_iter().chain(kinds).chain(one_of(speakers)).collect()
}

/// Our own pings, answered.
pub(super) fn ping_v4(identifier: u16) -> [Instruction; 7] {
    [
        (AFTER_IPV4, 0, 0, 0),
        (BYTE_AFTER, 0, 0, 0),
        (EQUAL, 0, 2, u32::from(ECHO_REPLY_V4)),
        (HALF_AFTER, 0, 0, 4),
        (EQUAL, 1, 0, u32::from(identifier)),
        DROP,
        PASS,
    ]
}

/// Our own pings, answered: a raw socket of IPv6 shows no header of the packet.
pub(super) fn ping_v6(identifier: u16) -> [Instruction; 6] {
    [
        (BYTE, 0, 0, 0),
        (EQUAL, 0, 2, u32::from(ECHO_REPLY_V6)),
        (HALF, 0, 0, 4),
        (EQUAL, 1, 0, u32::from(identifier)),
        DROP,
        PASS,
    ]
}

/// Requests of ARP for one of these addresses.
pub(super) fn arp_questions(targets: &[u32]) -> Vec<Instruction> {
    [(HALF, 0, 0, 20), (EQUAL, 1, 0, 1), DROP, (WORD, 0, 0, 38)].into_iter().chain(one_of(targets)).collect()
}

/// Solicitations of addresses that end so; from a neighbour, and without headers in between.
pub(super) fn solicitations(targets: &[u32]) -> Vec<Instruction> {
    let kind = [(EQUAL, 1, 0, u32::from(SOLICITATION)), DROP, (WORD, 0, 0, 74)];
    KIND_OF_A_NEIGHBOUR.into_iter().chain(kind).chain(one_of(targets)).collect()
}

/// The end of an address, which a filter compares.
pub(super) fn last_word(address: IpAddr) -> u32 {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    u32::try_from(bits & u128::from(u32::MAX)).unwrap_or_default()
}
