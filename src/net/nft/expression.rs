//! What rules are made of: the few expressions of nftables that a lease needs.

use std::net::IpAddr;

use super::super::netlink::Nest;

/// From which header bytes are loaded.
#[derive(Clone, Copy, Debug)]
pub enum Header {
    /// IP's, or ARP's.
    Network,
    /// What IP carries.
    Transport,
}

impl Header {
    fn number(self) -> u32 {
        match self {
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

/// One of the sixteen words of four bytes that rules calculate in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u32);

impl Word {
    /// What is loaded without a place of its own, and what is looked up.
    pub const FIRST: Self = Self(0);

    /// `NFT_REG32_00` and on.
    fn register(self) -> u32 {
        8 + self.0
    }
}

/// What a rule consists of. Where no word is named, it is the first.
#[derive(Clone, Copy, Debug)]
pub enum Expression<'a> {
    /// Load so many bytes from this place.
    Load(Header, u32, u32),
    /// Load so many bytes from this place into this word and those behind it; what is left of the last is zero.
    LoadInto(Word, Header, u32, u32),
    /// Load the frame's kind (an `ETH_P_*`), in network order.
    LoadProtocol,
    /// Load what IP carries (an `IPPROTO_*`).
    LoadCarried,
    /// Load the kind of interface (an `ARPHRD_*`, in the machine's order) that it came in by.
    LoadEntry,
    /// Load the kind of interface that it leaves by.
    LoadExit,
    /// Keep these bits.
    Mask(&'a [u8]),
    /// Put the number below the modulus that Jenkins' hash makes of these bytes into a word.
    Hash {
        /// The first word of the bytes.
        from: Word,
        /// How many bytes.
        length: u32,
        /// Where the number goes.
        to: Word,
        /// How many numbers there are.
        modulus: u32,
        /// Another seed makes other numbers.
        seed: u32,
    },
    /// Put a number below this one into the first word: each packet gets the next.
    Next(u32),
    /// Put a number below this one into the first word, by chance.
    Chance(u32),
    /// Go on only if the number in the first word is below this one.
    Below(u32),
    /// Send the connection to this address and port instead.
    Translate(IpAddr, u16),
    /// Go on only if it is this.
    Is(&'a [u8]),
    /// Go on only if it is not this.
    IsNot(&'a [u8]),
    /// Go on only if it is in the set; one that counts, counts it.
    In(&'a str),
    /// Go on only if it is not in the set.
    NotIn(&'a str),
    /// Write this into a header, at this place. No checksum is mended.
    Write(Header, u32, &'a [u8]),
    /// Take it for a frame that was meant for this machine alone.
    MeantForUs,
    /// Go on in this chain, and come back.
    Jump(&'a str),
    /// Go on in this chain, and do not come back.
    Goto(&'a str),
    /// Let it pass.
    Accept,
    /// Drop the packet.
    Drop,
}

/// `NFT_META_*`
mod meta {
    pub(super) const PROTOCOL: u32 = 1;
    pub(super) const ENTRY_TYPE: u32 = 8;
    pub(super) const EXIT_TYPE: u32 = 9;
    pub(super) const CARRIED: u32 = 16;
    pub(super) const PACKET_TYPE: u32 = 19;
}

/// `NF_DROP`, `NF_ACCEPT`, `NFT_JUMP`, `NFT_GOTO`, as verdicts.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const JUMP: u32 = (-3_i32).cast_unsigned();
const GOTO: u32 = (-4_i32).cast_unsigned();

/// `PACKET_HOST`.
const HOST: u8 = 0;

/// An item of a list, and the value in a piece of data.
const ITEM: u16 = 1;
/// The register of the verdict.
const VERDICT: u32 = 0;

fn number(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn item(list: &mut Nest<'_>, name: &str, fill: impl FnOnce(&mut Nest<'_>)) {
    list.nest(ITEM, |item| {
        item.text(1, name).nest(2, fill);
    });
}

fn value(data: &mut Nest<'_>, kind: u16, bytes: &[u8]) {
    data.nest(kind, |inner| {
        inner.attr(ITEM, bytes);
    });
}

fn load(list: &mut Nest<'_>, to: Word, header: Header, offset: u32, length: u32) {
    item(list, "payload", |data| {
        data.attr(1, &number(to.register())).attr(2, &number(header.number()));
        data.attr(3, &number(offset)).attr(4, &number(length));
    });
}

fn load_meta(list: &mut Nest<'_>, key: u32) {
    item(list, "meta", |data| {
        data.attr(1, &number(Word::FIRST.register())).attr(2, &number(key));
    });
}

fn load_value(list: &mut Nest<'_>, to: Word, bytes: &[u8]) {
    item(list, "immediate", |data| {
        data.attr(1, &number(to.register()));
        value(data, 2, bytes);
    });
}

fn compare(list: &mut Nest<'_>, operation: u32, bytes: &[u8]) {
    item(list, "cmp", |data| {
        data.attr(1, &number(Word::FIRST.register())).attr(2, &number(operation));
        value(data, 3, bytes);
    });
}

/// `NFT_NG_INCREMENTAL`, `NFT_NG_RANDOM`.
const COUNT: u32 = 0;
const RANDOM: u32 = 1;

/// `NFT_BYTEORDER_HTON`, `NFT_CMP_LT`.
const TO_NETWORK: u32 = 1;
const LESS: u32 = 2;

fn generate(list: &mut Nest<'_>, modulus: u32, how: u32) {
    item(list, "numgen", |data| {
        data.attr(1, &number(Word::FIRST.register())).attr(2, &number(modulus));
        data.attr(3, &number(how)).attr(4, &number(0));
    });
}

/// `NFT_NAT_DNAT`, `AF_INET`, `AF_INET6`.
const DESTINATION: u32 = 1;
const V4: u32 = 2;
const V6: u32 = 10;

/// Where a port stands, behind an address of either family.
const PORT: Word = Word(4);

fn translate(list: &mut Nest<'_>, address: IpAddr, port: u16) {
    let family = match address {
        IpAddr::V4(address) => {
            load_value(list, Word::FIRST, &address.octets());
            V4
        }
        IpAddr::V6(address) => {
            load_value(list, Word::FIRST, &address.octets());
            V6
        }
    };
    load_value(list, PORT, &port.to_be_bytes());
    item(list, "nat", |data| {
        data.attr(1, &number(DESTINATION)).attr(2, &number(family));
        data.attr(3, &number(Word::FIRST.register())).attr(5, &number(PORT.register()));
    });
}

fn lookup(list: &mut Nest<'_>, set: &str, inverted: u32) {
    item(list, "lookup", |data| {
        data.text(1, set).attr(2, &number(Word::FIRST.register())).attr(5, &number(inverted));
    });
}

fn verdict(list: &mut Nest<'_>, code: u32, chain: Option<&str>) {
    item(list, "immediate", |data| {
        data.attr(1, &number(VERDICT)).nest(2, |value| {
            value.nest(2, |verdict| {
                verdict.attr(1, &number(code));
                if let Some(chain) = chain {
                    verdict.text(2, chain);
                }
            });
        });
    });
}

impl Expression<'_> {
    pub(super) fn put(self, list: &mut Nest<'_>) {
        match self {
            Self::Load(header, offset, length) => load(list, Word::FIRST, header, offset, length),
            Self::LoadInto(to, header, offset, length) => load(list, to, header, offset, length),
            Self::LoadProtocol => load_meta(list, meta::PROTOCOL),
            Self::LoadCarried => load_meta(list, meta::CARRIED),
            Self::LoadEntry => load_meta(list, meta::ENTRY_TYPE),
            Self::LoadExit => load_meta(list, meta::EXIT_TYPE),
            Self::Mask(mask) => item(list, "bitwise", |data| {
                let register = number(Word::FIRST.register());
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                data.attr(1, &register).attr(2, &register).attr(3, &number(length));
                value(data, 4, mask);
                value(data, 5, &vec![0; mask.len()]);
            }),
            Self::Hash { from, length, to, modulus, seed } => item(list, "hash", |data| {
                data.attr(1, &number(from.register())).attr(2, &number(to.register()));
                data.attr(3, &number(length)).attr(4, &number(modulus)).attr(5, &number(seed));
            }),
            Self::Next(modulus) => generate(list, modulus, COUNT),
            Self::Chance(modulus) => generate(list, modulus, RANDOM),
            Self::Below(bound) => {
                // Words are compared byte by byte, so the number has to stand with its highest byte first.
                item(list, "byteorder", |data| {
                    let register = number(Word::FIRST.register());
                    data.attr(1, &register).attr(2, &register).attr(3, &number(TO_NETWORK));
                    data.attr(4, &number(4)).attr(5, &number(4));
                });
                compare(list, LESS, &number(bound));
            }
            Self::Translate(address, port) => translate(list, address, port),
            Self::Is(wanted) => compare(list, 0, wanted),
            Self::IsNot(unwanted) => compare(list, 1, unwanted),
            Self::In(set) => lookup(list, set, 0),
            Self::NotIn(set) => lookup(list, set, 1),
            Self::Write(header, offset, bytes) => {
                load_value(list, Word::FIRST, bytes);
                item(list, "payload", |data| {
                    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    data.attr(2, &number(header.number())).attr(3, &number(offset));
                    data.attr(4, &number(length)).attr(5, &number(Word::FIRST.register()));
                    data.attr(6, &number(0)).attr(7, &number(0));
                });
            }
            Self::MeantForUs => {
                load_value(list, Word::FIRST, &[HOST]);
                item(list, "meta", |data| {
                    data.attr(2, &number(meta::PACKET_TYPE)).attr(3, &number(Word::FIRST.register()));
                });
            }
            Self::Jump(chain) => verdict(list, JUMP, Some(chain)),
            Self::Goto(chain) => verdict(list, GOTO, Some(chain)),
            Self::Accept => verdict(list, ACCEPT, None),
            Self::Drop => verdict(list, DROP, None),
        }
    }
}
