//! nftables over netlink: the few messages of it that a lease is made of. No `nft` program is run.
//!
//! A [`Batch`] is one transaction: all of it happens, or none. This knows the kernel's messages (`nf_tables.h`) and one
//! table name in every family; what the rules mean is the lease's. It never changes a table of another name.

mod expression;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::socket::{NetlinkAddr, getsockname, setsockopt, sockopt};

use crate::time::Span;
use crate::types::GroupId;

use super::netlink::{ACK, CREATE, EXCLUSIVE, Message, Netlink, Protocol, attribute, attributes};

pub use expression::{Expression, Header, Word};

/// `NFNL_SUBSYS_NFTABLES`: the upper half of every message's kind.
pub(super) const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
pub(super) const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
pub(super) const DELETE_ELEMENT: u16 = 14;
pub(super) const NEW_GENERATION: u16 = 15;
const GET_GENERATION: u16 = 16;

/// In every message but that of a generation: the table's name, and the name of the chain or set in it.
pub(super) const TABLE: u16 = 1;
pub(super) const NAME: u16 = 2;
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const RULE_EXPRESSIONS: u16 = 4;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const SET_EXPRESSION: u16 = 17;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_LEFT: u16 = 5;
const ELEMENT_EXPRESSION: u16 = 7;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;
/// An item of a list, and the value in a piece of data.
const ITEM: u16 = 1;

/// A set whose elements run out.
const TIMEOUT_FLAG: u32 = 0x10;

/// `NLM_F_APPEND`: a rule goes to the end.
const APPEND: u16 = 0x800;

/// A message is an attribute short of 64 KiB, and an answer that names what failed repeats it in a buffer of as much.
const ELEMENTS_A_MESSAGE: usize = 1_000;

/// As many services and servers as a configuration may have, each server a rule of some 400 bytes; the kernel takes twice
/// as much as this, and nothing of it is used before it is sent.
const SEND_BUFFER: usize = 16 << 20;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// ARP frames to and from this machine.
    Arp,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Whole frames, at one interface.
    Netdev,
}

impl Family {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Ip, Self::Netdev, Self::Arp, Self::Ip6];

    fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Ip6 => 10,
        }
    }

    /// What the kernel's configuration calls it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Ip => "CONFIG_NF_TABLES_IPV4",
            Self::Arp => "CONFIG_NF_TABLES_ARP",
            Self::Netdev => "CONFIG_NF_TABLES_NETDEV, and CONFIG_NETFILTER_EGRESS of 5.16",
            Self::Ip6 => "CONFIG_NF_TABLES_IPV6",
        }
    }
}

/// As nft writes it.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arp => "arp",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Netdev => "netdev",
        })
    }
}

/// What the elements of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Numbers of 32 bits; nft calls that type `mark`.
    Number,
    /// An IPv4 address and a number.
    Ipv4Number,
    /// An IPv6 address and a number.
    Ipv6Number,
    /// Single bytes; nft calls that type `inet_proto`.
    Byte,
}

impl KeyKind {
    /// nft's number of the type, by which it shows the elements, and their length.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::Number => (19, 4),
            // A type of several is their numbers, six bits each.
            Self::Ipv4Number => (7 << 6 | 19, 8),
            Self::Ipv6Number => (8 << 6 | 19, 20),
            Self::Byte => (12, 1),
        }
    }
}

/// What becomes of the elements of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// They stay.
    Stay,
    /// They stay, and count the packets that find them.
    Count,
    /// Each has its end.
    RunOut,
}

/// One element's key, as the kernel compares it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    length: usize,
    bytes: [u8; LONGEST_KEY],
}

const LONGEST_KEY: usize = 20;

impl Key {
    fn read(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST_KEY];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { length: value.len(), bytes })
    }

    fn of(parts: &[&[u8]]) -> Self {
        let (mut bytes, mut length) = ([0; LONGEST_KEY], 0);
        for part in parts {
            bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        Self { length, bytes }
    }

    /// An address, and a number as the kernel has it in a register.
    pub fn numbered(address: IpAddr, number: u32) -> Self {
        match address {
            IpAddr::V4(address) => Self::of(&[&address.octets(), &number.to_ne_bytes()]),
            IpAddr::V6(address) => Self::of(&[&address.octets(), &number.to_ne_bytes()]),
        }
    }

    /// The address and the number that such a key was made of.
    pub fn as_numbered(&self) -> Option<(IpAddr, u32)> {
        let (address, number) = self.as_bytes().split_last_chunk::<4>()?;
        let address = match address.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
            _ => return None,
        };
        Some((address, u32::from_ne_bytes(*number)))
    }

    /// One byte.
    pub fn byte(byte: u8) -> Self {
        Self::of(&[&[byte]])
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of(&[&address.octets()]),
            IpAddr::V6(address) => Self::of(&[&address.octets()]),
        }
    }
}

impl From<GroupId> for Key {
    fn from(group: GroupId) -> Self {
        Self::of(&[&group.0.to_ne_bytes()])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}

/// Where a chain hangs.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Its number in the family.
    pub number: u32,
    /// Lower is earlier.
    pub priority: i32,
    /// The interface, for the family that has one.
    pub device: Option<&'a str>,
    /// Whether its rules may translate addresses: then only the first packet of a connection comes by.
    pub translates: bool,
}

/// What one message of a batch is about, to say what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A table.
    Table(Family),
    /// A chain, by its name; also its rules.
    Chain(Family, String),
    /// A set.
    Set(Family, &'static str),
    /// Elements of a set.
    Elements(Family, &'static str),
}

impl Step {
    /// Where it was.
    pub fn family(&self) -> Family {
        match self {
            Self::Table(family)
            | Self::Chain(family, _)
            | Self::Set(family, _)
            | Self::Elements(family, _) => *family,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(family) => write!(f, "the table of family {family}"),
            Self::Chain(family, name) => write!(f, "chain {name} of family {family}"),
            Self::Set(family, name) => write!(f, "set {name} of family {family}"),
            Self::Elements(family, name) => write!(f, "the elements of set {name} of family {family}"),
        }
    }
}

/// A transaction in the making.
#[derive(Debug)]
pub struct Batch {
    table: Arc<str>,
    messages: Vec<Message>,
    steps: Vec<Step>,
}

impl Batch {
    fn push(&mut self, kind: u16, step: Step, fill: impl FnOnce(Message) -> Message) {
        let flags = if matches!(kind, NEW_RULE) { CREATE | APPEND } else { CREATE };
        self.push_with(kind, flags, step, fill);
    }

    fn push_with(&mut self, kind: u16, flags: u16, step: Step, fill: impl FnOnce(Message) -> Message) {
        let message = message(kind, flags, step.family()).text(TABLE, &self.table);
        self.messages.push(fill(message));
        self.steps.push(step);
    }

    /// Makes the table unless it is there; one that somebody put to sleep wakes.
    pub fn table(&mut self, family: Family) {
        self.push(NEW_TABLE, Step::Table(family), |message| message.attr(TABLE_FLAGS, &[0; 4]));
    }

    /// Deletes the table with all that is in it.
    pub fn delete_table(&mut self, family: Family) {
        self.push(DELETE_TABLE, Step::Table(family), |message| message);
    }

    /// Makes the set unless it is there.
    pub fn set(&mut self, family: Family, name: &'static str, key: KeyKind, elements: Elements) {
        let (kind, length) = key.numbers();
        let flags = if elements == Elements::RunOut { TIMEOUT_FLAG } else { 0 };
        self.push(NEW_SET, Step::Set(family, name), |message| {
            let message = message
                .text(NAME, name)
                .attr(SET_FLAGS, &flags.to_be_bytes())
                .attr(SET_KEY_TYPE, &kind.to_be_bytes())
                .attr(SET_KEY_LENGTH, &length.to_be_bytes())
                .attr(SET_ID, &[0, 0, 0, 1]);
            match elements {
                Elements::Count => message.nest(SET_EXPRESSION, |expression| {
                    expression.text(1, "counter");
                }),
                Elements::Stay | Elements::RunOut => message,
            }
        });
    }

    /// Makes the chain unless it is there, and takes its rules away. Only rules of other chains lead to it.
    pub fn side_chain(&mut self, family: Family, name: &str) {
        let step = || Step::Chain(family, name.to_owned());
        self.push(NEW_CHAIN, step(), |message| message.text(CHAIN_NAME, name));
        self.push(DELETE_RULE, step(), |message| message.text(NAME, name));
    }

    /// Makes the chain unless it is there, and takes its rules away.
    pub fn chain(&mut self, family: Family, name: &str, hook: Hook<'_>) {
        let step = || Step::Chain(family, name.to_owned());
        self.push(NEW_CHAIN, step(), |message| {
            message
                .text(CHAIN_NAME, name)
                .nest(CHAIN_HOOK, |nest| {
                    nest.attr(1, &hook.number.to_be_bytes()).attr(2, &hook.priority.to_be_bytes());
                    if let Some(device) = hook.device {
                        nest.text(3, device);
                    }
                })
                // NF_ACCEPT.
                .attr(CHAIN_POLICY, &1_u32.to_be_bytes())
                .text(CHAIN_TYPE, if hook.translates { "nat" } else { "filter" })
        });
        self.push(DELETE_RULE, step(), |message| message.text(NAME, name));
    }

    /// Deletes the chain and its rules.
    pub fn delete_chain(&mut self, family: Family, name: &str) {
        let step = Step::Chain(family, name.to_owned());
        self.push(DELETE_CHAIN, step, |message| message.text(CHAIN_NAME, name));
    }

    /// One more rule at the end of the chain.
    pub fn rule(&mut self, family: Family, chain: &str, expressions: &[Expression<'_>]) {
        self.push(NEW_RULE, Step::Chain(family, chain.to_owned()), |message| {
            message.text(NAME, chain).nest(RULE_EXPRESSIONS, |list| {
                expressions.iter().for_each(|expression| expression.put(list));
            })
        });
    }

    /// Empties the set.
    pub fn clear(&mut self, family: Family, set: &'static str) {
        self.push(DELETE_ELEMENT, Step::Elements(family, set), |message| message.text(NAME, set));
    }

    /// Adds the elements; in a set whose elements run out, for so many milliseconds. One that is there stays as it is.
    pub fn add(&mut self, family: Family, set: &'static str, keys: &[Key], timeout_ms: Option<u64>) {
        self.elements(NEW_ELEMENT, CREATE, family, set, keys, timeout_ms);
    }

    /// Adds the elements for so many milliseconds; one that is there fails the whole batch with EEXIST.
    pub fn add_new(&mut self, family: Family, set: &'static str, keys: &[Key], timeout_ms: u64) {
        self.elements(NEW_ELEMENT, CREATE | EXCLUSIVE, family, set, keys, Some(timeout_ms));
    }

    /// Deletes the elements; one that is not there fails the whole batch with ENOENT.
    pub fn delete(&mut self, family: Family, set: &'static str, keys: &[Key]) {
        self.elements(DELETE_ELEMENT, CREATE, family, set, keys, None);
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        set: &'static str,
        keys: &[Key],
        timeout_ms: Option<u64>,
    ) {
        for keys in keys.chunks(ELEMENTS_A_MESSAGE) {
            self.push_with(kind, flags, Step::Elements(family, set), |message| {
                message.text(NAME, set).nest(ELEMENTS, |list| {
                    for key in keys {
                        list.nest(ITEM, |element| {
                            element.nest(ELEMENT_KEY, |value| {
                                value.attr(ITEM, key.as_bytes());
                            });
                            if let Some(timeout_ms) = timeout_ms {
                                element.attr(ELEMENT_TIMEOUT, &timeout_ms.to_be_bytes());
                            }
                        });
                    }
                })
            });
        }
    }
}

fn message(kind: u16, flags: u16, family: Family) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family.number(), 0, 0, 0])
}

/// What stops a transaction, and at which of its steps.
#[derive(Debug)]
pub struct Refused {
    /// Where; a transaction that fails as a whole names its last.
    pub step: Step,
    /// Why.
    pub error: io::Error,
}

/// The kernel's nftables, for tables of one name.
#[derive(Debug)]
pub struct Nftables {
    netlink: Netlink,
    table: Arc<str>,
}

impl Nftables {
    /// Opens it, and asks one thing to see that it is there and that this process may.
    pub fn open(table: &str) -> io::Result<Self> {
        let netlink = Netlink::open(Protocol::Netfilter)?;
        // Refused to whom is root of a namespace only; then a large transaction fails, and says so.
        let _ = setsockopt(&netlink, sockopt::SndBufForce, &SEND_BUFFER);
        let mut nftables = Self { netlink, table: table.into() };
        nftables.generation()?;
        Ok(nftables)
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// A transaction in which nothing is yet.
    pub fn batch(&self) -> Batch {
        Batch { table: Arc::clone(&self.table), messages: Vec::new(), steps: Vec::new() }
    }

    /// What the kernel calls this socket; its own changes carry it in their events.
    pub fn port(&self) -> io::Result<u32> {
        Ok(getsockname::<NetlinkAddr>(self.netlink.as_fd().as_raw_fd())?.pid())
    }

    /// Does all of it, or nothing; with a generation, only if nobody has changed anything since.
    pub fn commit(&mut self, batch: Batch, generation: Option<u32>) -> Result<(), Refused> {
        let frame = |kind| Message::new(kind, 0, &[0, 0, 0, 10]);
        let begin = match generation {
            Some(generation) => frame(BATCH_BEGIN).attr(1, &generation.to_be_bytes()),
            None => frame(BATCH_BEGIN),
        };
        let mut steps = batch.steps;
        self.netlink.batch(begin, batch.messages, frame(BATCH_END)).map_err(|failed| Refused {
            step: steps.swap_remove(failed.place.min(steps.len().saturating_sub(1))),
            error: failed.error,
        })
    }

    /// Counts the transactions of this network namespace, everybody's.
    pub fn generation(&mut self) -> io::Result<u32> {
        let mut generation = None;
        // Not a dump: one answer, and the end of it is the acknowledgement that is asked for here.
        self.netlink.dump(message(GET_GENERATION, ACK, Family::Ip), |kind, body| {
            if kind == SUBSYSTEM << 8 | NEW_GENERATION {
                generation = attribute(body.get(4..).unwrap_or_default(), 1).and_then(read_number);
            }
        })?;
        generation.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Whether the family has a table of our name, and the bytes of its flags.
    pub fn table_flags(&mut self, family: Family) -> io::Result<Option<Vec<u8>>> {
        let flags = |body: &[u8]| [attribute(body, TABLE_FLAGS).unwrap_or_default().to_vec()];
        Ok(self.list(family, GET_TABLE, None, flags)?.pop())
    }

    /// The chains of our table: each name with the attributes that say what the chain does.
    pub fn chains(&mut self, family: Family) -> io::Result<Vec<(String, Vec<u8>)>> {
        self.list(family, GET_CHAIN, None, |body| {
            [(text(body, CHAIN_NAME), pick(body, &[CHAIN_HOOK, CHAIN_POLICY, CHAIN_TYPE]))]
        })
    }

    /// The rules of our table in their order: the chain's name, and the bytes of the expressions.
    pub fn rules(&mut self, family: Family) -> io::Result<Vec<(String, Vec<u8>)>> {
        self.list(family, GET_RULE, None, |body| [(text(body, NAME), pick(body, &[RULE_EXPRESSIONS]))])
    }

    /// The rules of our table in their order, or those of one chain: the chain's name, and a number that tells one rule's
    /// expressions from another's.
    pub fn digests(&mut self, family: Family, chain: Option<&str>) -> io::Result<Vec<(String, u64)>> {
        self.list(family, GET_RULE, chain, |body| {
            let name = text(body, NAME);
            // A kernel may not know how to list one chain only.
            let is_meant = chain.is_none_or(|chain| chain == name);
            is_meant.then(|| {
                let mut hasher = DefaultHasher::new();
                attribute(body, RULE_EXPRESSIONS).hash(&mut hasher);
                (name, hasher.finish())
            })
        })
    }

    /// The names of the sets of our table, and the bytes of what they are.
    pub fn sets(&mut self, family: Family) -> io::Result<BTreeSet<(String, Vec<u8>)>> {
        let sets = self.list(family, GET_SET, None, |body| {
            [(text(body, NAME), pick(body, &[SET_FLAGS, SET_KEY_TYPE, SET_KEY_LENGTH]))]
        })?;
        Ok(sets.into_iter().collect())
    }

    /// The elements of a set, and for how long each still stands; none where there is no such set.
    pub fn elements(&mut self, family: Family, set: &str) -> io::Result<Vec<(Key, Option<Span>)>> {
        let read = |element: &[u8]| {
            let key = Key::read(attribute(attribute(element, ELEMENT_KEY)?, ITEM)?)?;
            let left = attribute(element, ELEMENT_LEFT).and_then(|left| left.try_into().ok());
            Some((key, left.map(|left| Span::millis(u64::from_be_bytes(left)))))
        };
        self.list(family, GET_ELEMENT, Some(set), |body| each_element(body, read))
    }

    /// How many packets have found each element of a set that counts them.
    pub fn counters(&mut self, family: Family, set: &str) -> io::Result<Vec<(Key, u64)>> {
        let read = |element: &[u8]| {
            let key = Key::read(attribute(attribute(element, ELEMENT_KEY)?, ITEM)?)?;
            let counter = attribute(attribute(element, ELEMENT_EXPRESSION)?, EXPRESSION_DATA)?;
            let packets = attribute(counter, COUNTER_PACKETS)?.try_into().ok()?;
            Some((key, u64::from_be_bytes(packets)))
        };
        self.list(family, GET_ELEMENT, Some(set), |body| each_element(body, read))
    }

    /// What is of this kind in our table, or in this set or chain of it. That there is none is no error: then there is
    /// nothing in it.
    fn list<T, I: IntoIterator<Item = T>>(
        &mut self,
        family: Family,
        kind: u16,
        of: Option<&str>,
        read: impl Fn(&[u8]) -> I,
    ) -> io::Result<Vec<T>> {
        let asked = message(kind, 0, family).text(TABLE, &self.table);
        let asked = match of {
            Some(of) => asked.text(NAME, of),
            None => asked,
        };
        let table = &self.table;
        let result = self.netlink.list(&asked, |_, body| {
            let body = body.get(4..).unwrap_or_default();
            (text(body, TABLE) == **table).then(|| read(body)).into_iter().flatten()
        });
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
            result => result,
        }
    }
}

impl AsFd for Nftables {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// The text of an attribute, without the zero at its end; empty where it is missing.
pub(super) fn text(body: &[u8], kind: u16) -> String {
    let value = attribute(body, kind).unwrap_or_default();
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

fn each_element<T>(body: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
    let list = attribute(body, ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(|(_, element)| read(element)).collect()
}

/// These attributes, one after the other, each with its number.
fn pick(body: &[u8], kinds: &[u16]) -> Vec<u8> {
    let mut picked = Vec::new();
    for (kind, value) in attributes(body).filter(|(kind, _)| kinds.contains(kind)) {
        picked.extend_from_slice(&kind.to_be_bytes());
        picked.extend_from_slice(value);
    }
    picked
}

fn read_number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}
