//! The body of a beat as bytes, and back. The only file that names bincode.
//!
//! bincode 2.0.1 is without a maintainer (RUSTSEC-2025-0141), so it is kept in this cage: it sees only bytes whose seal
//! has verified, under a limit, and lends us no more than numbers and the cursor. The order of fields and the form of maps
//! are written out here (`docs/wire.md` has the table), the golden files hold them, and another codec can take its place
//! without a change of format.
//!
//! Numbers are varints (bincode's `standard`): see the test `sizes` for what its `legacy` would cost. Hashes are random
//! and therefore of fixed size. What the header says is not said again, so the two cannot disagree.
//!
//! There is exactly one form of each beat: keys ascend, numbers are as short as they can be, unused bits are 0 and
//! nothing follows the end. Whatever else is refused, so that "the same beat" and "the same bytes" mean the same.

use std::collections::{BTreeMap, BTreeSet};

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::{Reader, SliceReader};
use bincode::de::{Decode, Decoder, DecoderImpl};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, Encoder, EncoderImpl};
use bincode::error::{DecodeError, EncodeError};

use crate::beat::{
    Beat, Claim, Facts, Flags, Grant, Heard, Order, Phase, ServerOrder, ServerOrders, ServerWish, Shortfall,
    Subject, Unfit, VoterDigests, Wish,
};
use crate::time::Span;
use crate::types::{Epoch, GroupId, Incarnation, Marks, NodeId, Sequence, ServersId};

use super::frame::PART_BYTES;
use super::limits;
use super::refused::Refused;

/// The longest form of a number: a marker and eight bytes.
const NUMBER: usize = 9;
/// A hash.
const HASH: usize = 4;
/// The longest form of a weight: a marker and two bytes.
const WEIGHT: usize = 3;
/// A digest.
const DIGEST: usize = 8;

/// No beat within the limits has a longer body: each map at its limit, each number at its longest, each grant of another
/// holder.
pub const MOST_BYTES: usize = 64
    + limits::NODES * (HASH + 3 * NUMBER)
    + limits::GROUPS * (HASH + NUMBER + 1 + NUMBER)
    + limits::GROUPS * (HASH + 2 * NUMBER + 1 + HASH + NUMBER)
    + limits::GROUPS * (HASH + 1 + NUMBER)
    + limits::GROUPS * (HASH + 2)
    + limits::GROUPS * (HASH + HASH)
    + limits::ORDERS * (1 + HASH + NUMBER + 1 + HASH)
    + limits::SERVER_ORDERS_BY * (HASH + NUMBER)
    + limits::SERVER_ORDERS * (DIGEST + NUMBER + HASH + 1 + WEIGHT)
    + Marks::MOST * DIGEST;
const _: () = assert!(MOST_BYTES <= limits::PARTS * PART_BYTES, "every beat within the limits must fit");

/// bincode counts a number as the eight bytes it takes in memory, of which there may be one in each byte of the body.
const MOST_COUNTED: usize = 8 * limits::PARTS * PART_BYTES;

type Config = Configuration<LittleEndian, Varint, Limit<MOST_COUNTED>>;
const CONFIG: Config = bincode::config::standard().with_limit::<MOST_COUNTED>();

/// Appends the body of a beat.
pub fn encode(beat: &Beat, bytes: &mut Vec<u8>) -> Result<(), TooMany> {
    let facts = &beat.facts;
    let of_facts = [facts.unfit.len(), facts.shortfall.len(), facts.handover.len()];
    let most_groups = [beat.claims.len(), beat.grants.len()].into_iter().chain(of_facts);
    let groups_fit = most_groups.into_iter().all(|count| count <= limits::GROUPS);
    let marks = beat.marks.as_ref().map_or(0, |marks| marks.places.len());
    let servers = &facts.servers;
    let servers_fit =
        servers.given.len() <= limits::SERVER_ORDERS_BY && servers.hold.len() <= limits::SERVER_ORDERS;
    let rest_fits = facts.orders.len() <= limits::ORDERS && servers_fit && marks <= Marks::MOST;
    if beat.heard.len() > limits::NODES || !groups_fit || !rest_fits {
        return Err(TooMany);
    }
    encode_as(beat, bytes, CONFIG);
    Ok(())
}

/// A beat with more entries than the limits allow: nothing was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a beat with more entries than the limits allow")]
pub struct TooMany;

/// What the body of this beat will about take: enough in a healthy cluster, so that it is written without moving.
pub(super) fn likely_bytes(beat: &Beat) -> usize {
    let facts = &beat.facts;
    let of_facts = facts.unfit.len() + facts.shortfall.len() + facts.handover.len();
    let groups = beat.claims.len() + beat.grants.len() + of_facts;
    let marks = beat.marks.as_ref().map_or(0, |marks| marks.places.len());
    64 + (beat.heard.len() + groups + facts.orders.len()) * (HASH + 2 * NUMBER) + marks * DIGEST
}

fn encode_as<C: bincode::config::Config>(beat: &Beat, bytes: &mut Vec<u8>, config: C) {
    let written = put_beat(&mut EncoderImpl::new(Bytes(bytes), config), beat);
    // Only a writer that is full fails, and a vector never is.
    debug_assert!(written.is_ok(), "a vector takes everything");
}

/// Reads a body. Who speaks, in which life and which beat is known from the header.
pub fn decode(
    sender: NodeId,
    incarnation: Incarnation,
    sequence: Sequence,
    body: &[u8],
) -> Result<Beat, Refused> {
    let mut beat = Beat {
        sender,
        incarnation,
        sequence,
        sent_at: Span::ZERO,
        flags: Flags::default(),
        config: 0,
        voters: VoterDigests::default(),
        heard: BTreeMap::new(),
        claims: BTreeMap::new(),
        grants: BTreeMap::new(),
        facts: Facts::default(),
        marks: None,
    };
    let mut from = DecoderImpl::new(SliceReader::new(body), CONFIG, ());
    take_beat(&mut from, &mut beat).map_err(|error| cause(&error))?;
    match from.reader().peek_read(1) {
        None => Ok(beat),
        Some(_) => Err(Refused::Trailing),
    }
}

/// What our own two refusals are called inside bincode, which has no place for them.
const NOT_CANONICAL: DecodeError = DecodeError::Other("not canonical");
const TOO_MANY: DecodeError = DecodeError::LimitExceeded;

fn cause(error: &DecodeError) -> Refused {
    if matches!(error, DecodeError::Other(_)) {
        Refused::NotCanonical
    } else if matches!(error, DecodeError::LimitExceeded) {
        Refused::TooMany
    } else {
        Refused::Undecodable
    }
}

/// What bincode's `legacy` would take, with its numbers of fixed size: so that a test can show what the choice saves.
pub fn legacy_bytes(beat: &Beat) -> usize {
    let mut bytes = Vec::new();
    encode_as(beat, &mut bytes, bincode::config::legacy());
    bytes.len()
}

/// Where bincode writes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Writer for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn put_beat<E: Encoder>(to: &mut E, beat: &Beat) -> Result<(), EncodeError> {
    put_byte(to, flags_to_byte(beat.flags))?;
    put(to, beat.sent_at.0)?;
    put_digest(to, beat.config)?;
    put_digest(to, beat.voters.now)?;
    put(to, beat.voters.before)?;
    put_count(to, beat.heard.len())?;
    for (peer, heard) in &beat.heard {
        put_hash(to, peer.0)?;
        put(to, heard.incarnation.0)?;
        put(to, heard.sequence.0)?;
        put(to, heard.age.0)?;
    }
    put_count(to, beat.claims.len())?;
    for (group, claim) in &beat.claims {
        put_hash(to, group.0)?;
        put(to, claim.epoch.0)?;
        put_byte(to, phase_to_byte(claim.phase))?;
        put(to, claim.lease.0)?;
    }
    put_grants(to, &beat.grants)?;
    put_facts(to, &beat.facts)?;
    put_marks(to, beat.marks.as_ref())
}

/// Reads into a beat that stands in its place, because moving one costs as much as reading a small one.
fn take_beat<D: Decoder>(from: &mut D, beat: &mut Beat) -> Result<(), DecodeError> {
    beat.flags = byte_to_flags(take_byte(from)?)?;
    beat.sent_at = Span(take(from)?);
    beat.config = take_digest(from)?;
    beat.voters.now = take_digest(from)?;
    beat.voters.before = take(from)?;
    take_map(from, &mut beat.heard, limits::NODES, |from| {
        let peer = NodeId(take_hash(from)?);
        let (incarnation, sequence) = (Incarnation(take(from)?), Sequence(take(from)?));
        Ok((peer, Heard { incarnation, sequence, age: Span(take(from)?) }))
    })?;
    take_map(from, &mut beat.claims, limits::GROUPS, |from| {
        let (group, epoch) = (GroupId(take_hash(from)?), Epoch(take(from)?));
        let phase = PHASES.get(usize::from(take_byte(from)?)).copied().ok_or_else(meaningless)?;
        Ok((group, Claim { epoch, phase, lease: Span(take(from)?) }))
    })?;
    take_grants(from, &mut beat.grants)?;
    take_facts(from, &mut beat.facts)?;
    beat.marks = take_marks(from)?;
    Ok(())
}

/// Grants of one holder, life and beat. Most of a holder's were renewed by the same beat, so its 14 bytes are said once.
type Run = (NodeId, Incarnation, Sequence);

fn put_grants<E: Encoder>(to: &mut E, grants: &BTreeMap<GroupId, Grant>) -> Result<(), EncodeError> {
    let mut sorted: Vec<(Run, GroupId, Epoch)> =
        grants.iter().map(|(group, grant)| (run_of(grant), *group, grant.epoch)).collect();
    sorted.sort_unstable();
    let runs = || sorted.chunk_by(|(one, ..), (next, ..)| one == next);
    put_count(to, runs().count())?;
    for run in runs() {
        let (holder, incarnation, sequence) = run[0].0;
        put_hash(to, holder.0)?;
        put(to, incarnation.0)?;
        put(to, sequence.0)?;
        put_count(to, run.len())?;
        for (_, group, epoch) in run {
            put_hash(to, group.0)?;
            put(to, epoch.0)?;
        }
    }
    Ok(())
}

fn run_of(grant: &Grant) -> Run {
    (grant.holder, grant.incarnation, grant.sequence)
}

fn take_grants<D: Decoder>(from: &mut D, grants: &mut BTreeMap<GroupId, Grant>) -> Result<(), DecodeError> {
    let mut before = None;
    for _ in 0..take_count(from, limits::GROUPS)? {
        let run = (NodeId(take_hash(from)?), Incarnation(take(from)?), Sequence(take(from)?));
        ascend(&mut before, run)?;
        let (holder, incarnation, sequence) = run;
        let count = take_count(from, limits::GROUPS - grants.len())?;
        if count == 0 {
            return Err(NOT_CANONICAL);
        }
        let mut group_before = None;
        for _ in 0..count {
            let (group, epoch) = (GroupId(take_hash(from)?), Epoch(take(from)?));
            ascend(&mut group_before, group)?;
            if grants.insert(group, Grant { holder, incarnation, epoch, sequence }).is_some() {
                return Err(NOT_CANONICAL);
            }
        }
    }
    Ok(())
}

fn put_facts<E: Encoder>(to: &mut E, facts: &Facts) -> Result<(), EncodeError> {
    put(to, facts.reach.into())?;
    put_count(to, facts.unfit.len())?;
    for (group, unfit) in &facts.unfit {
        put_hash(to, group.0)?;
        match unfit {
            Unfit::Carrier => put_byte(to, 0)?,
            Unfit::Health => put_byte(to, 1)?,
            Unfit::Failed { retry_in } => put_byte(to, 2).and_then(|()| put(to, retry_in.0))?,
            Unfit::Watchdog => put_byte(to, 3)?,
        }
    }
    put_count(to, facts.shortfall.len())?;
    for (group, shortfall) in &facts.shortfall {
        put_hash(to, group.0)?;
        put_byte(to, shortfall.least)?;
        put_byte(to, shortfall.most)?;
    }
    put_count(to, facts.handover.len())?;
    for (group, node) in &facts.handover {
        put_hash(to, group.0)?;
        put_hash(to, node.0)?;
    }
    put_count(to, facts.orders.len())?;
    for (subject, order) in &facts.orders {
        match subject {
            Subject::Cluster => put_byte(to, 0)?,
            Subject::Node(node) => put_byte(to, 1).and_then(|()| put_hash(to, node.0))?,
            Subject::Group(group) => put_byte(to, 2).and_then(|()| put_hash(to, group.0))?,
            Subject::Care(group) => put_byte(to, 3).and_then(|()| put_hash(to, group.0))?,
        }
        put(to, order.version)?;
        put_wish(to, order.wish)?;
    }
    put_servers(to, &facts.servers)
}

fn put_servers<E: Encoder>(to: &mut E, orders: &ServerOrders) -> Result<(), EncodeError> {
    put_count(to, orders.given.len())?;
    for (node, last) in &orders.given {
        put_hash(to, node.0)?;
        put(to, *last)?;
    }
    put_count(to, orders.hold.len())?;
    for (servers, ServerOrder { number, by, wish }) in &orders.hold {
        put_digest(to, servers.0)?;
        put(to, *number)?;
        put_hash(to, by.0)?;
        match wish {
            ServerWish::Drain => put_byte(to, 0)?,
            ServerWish::Weight(weight) => put_byte(to, 1).and_then(|()| put(to, u64::from(*weight)))?,
        }
    }
    Ok(())
}

fn take_servers<D: Decoder>(from: &mut D, orders: &mut ServerOrders) -> Result<(), DecodeError> {
    take_map(from, &mut orders.given, limits::SERVER_ORDERS_BY, |from| {
        Ok((NodeId(take_hash(from)?), take(from)?))
    })?;
    let mut before = None;
    for _ in 0..take_count(from, limits::SERVER_ORDERS)? {
        let servers = ServersId(take_digest(from)?);
        let (number, by) = (take(from)?, NodeId(take_hash(from)?));
        let wish = match take_byte(from)? {
            0 => ServerWish::Drain,
            1 => ServerWish::Weight(u16::try_from(take(from)?).map_err(|_| meaningless())?),
            _ => return Err(meaningless()),
        };
        let order = (servers, ServerOrder { number, by, wish });
        ascend(&mut before, order)?;
        orders.hold.insert(order);
    }
    Ok(())
}

fn take_facts<D: Decoder>(from: &mut D, facts: &mut Facts) -> Result<(), DecodeError> {
    facts.reach = u16::try_from(take(from)?).map_err(|_| meaningless())?;
    take_map(from, &mut facts.unfit, limits::GROUPS, |from| {
        let group = GroupId(take_hash(from)?);
        let unfit = match take_byte(from)? {
            0 => Unfit::Carrier,
            1 => Unfit::Health,
            2 => Unfit::Failed { retry_in: Span(take(from)?) },
            3 => Unfit::Watchdog,
            _ => return Err(meaningless()),
        };
        Ok((group, unfit))
    })?;
    take_map(from, &mut facts.shortfall, limits::GROUPS, |from| {
        let group = GroupId(take_hash(from)?);
        let shortfall = Shortfall { least: take_byte(from)?, most: take_byte(from)? };
        let is_one = shortfall.least <= shortfall.most && shortfall.most <= Shortfall::UNKNOWN.most;
        if is_one && shortfall != Shortfall::NONE { Ok((group, shortfall)) } else { Err(meaningless()) }
    })?;
    take_map(from, &mut facts.handover, limits::GROUPS, |from| {
        Ok((GroupId(take_hash(from)?), NodeId(take_hash(from)?)))
    })?;
    take_map(from, &mut facts.orders, limits::ORDERS, |from| {
        let subject = match take_byte(from)? {
            0 => Subject::Cluster,
            1 => Subject::Node(NodeId(take_hash(from)?)),
            2 => Subject::Group(GroupId(take_hash(from)?)),
            3 => Subject::Care(GroupId(take_hash(from)?)),
            _ => return Err(meaningless()),
        };
        Ok((subject, Order { version: take(from)?, wish: take_wish(from)? }))
    })?;
    take_servers(from, &mut facts.servers)
}

fn put_marks<E: Encoder>(to: &mut E, marks: Option<&Marks>) -> Result<(), EncodeError> {
    let Some(Marks { depth, places }) = marks else { return put_byte(to, 0) };
    put_byte(to, *depth)?;
    put_count(to, places.len())?;
    places.iter().try_for_each(|place| put_digest(to, *place))
}

fn take_marks<D: Decoder>(from: &mut D) -> Result<Option<Marks>, DecodeError> {
    let depth = take_byte(from)?;
    if depth == 0 {
        return Ok(None);
    }
    let (mut places, mut before) = (BTreeSet::new(), None);
    for _ in 0..take_count(from, Marks::MOST)? {
        let place = take_digest(from)?;
        ascend(&mut before, place)?;
        places.insert(place);
    }
    Ok(Some(Marks { depth, places }))
}

fn put_wish<E: Encoder>(to: &mut E, wish: Wish) -> Result<(), EncodeError> {
    match wish {
        Wish::Nothing => put_byte(to, 0),
        Wish::Standby => put_byte(to, 1),
        Wish::Maintenance => put_byte(to, 2),
        Wish::Place(node) => put_byte(to, 3).and_then(|()| put_hash(to, node.0)),
        Wish::Avoid(node) => put_byte(to, 4).and_then(|()| put_hash(to, node.0)),
    }
}

fn take_wish<D: Decoder>(from: &mut D) -> Result<Wish, DecodeError> {
    match take_byte(from)? {
        0 => Ok(Wish::Nothing),
        1 => Ok(Wish::Standby),
        2 => Ok(Wish::Maintenance),
        3 => Ok(Wish::Place(NodeId(take_hash(from)?))),
        4 => Ok(Wish::Avoid(NodeId(take_hash(from)?))),
        _ => Err(meaningless()),
    }
}

fn flags_to_byte(flags: Flags) -> u8 {
    let Flags { starting, leaving, standby, arbiter, hold_off, guarded } = flags;
    let bits = [starting, leaving, standby, arbiter, hold_off, guarded];
    bits.into_iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(bit))
}

fn byte_to_flags(byte: u8) -> Result<Flags, DecodeError> {
    if byte >= 1 << 6 {
        return Err(meaningless());
    }
    let bit = |place: u8| byte >> place & 1 == 1;
    let [starting, leaving, standby] = [bit(0), bit(1), bit(2)];
    Ok(Flags { starting, leaving, standby, arbiter: bit(3), hold_off: bit(4), guarded: bit(5) })
}

/// Phases by their byte.
const PHASES: [Phase; 6] =
    [Phase::Claiming, Phase::Starting, Phase::Held, Phase::Stopping, Phase::Blocked, Phase::Waiting];

fn phase_to_byte(phase: Phase) -> u8 {
    match phase {
        Phase::Claiming => 0,
        Phase::Starting => 1,
        Phase::Held => 2,
        Phase::Stopping => 3,
        Phase::Blocked => 4,
        Phase::Waiting => 5,
    }
}

/// A byte that stands for nothing.
fn meaningless() -> DecodeError {
    DecodeError::UnexpectedEnd { additional: 0 }
}

fn put<E: Encoder>(to: &mut E, number: u64) -> Result<(), EncodeError> {
    number.encode(to)
}

/// A number, in its shortest form only. Read here where its bytes are at hand, as they are but near the end, because
/// bincode's own way costs three times as much (`cargo bench --bench core wire`); the form is the same.
#[inline]
fn take<D: Decoder>(from: &mut D) -> Result<u64, DecodeError> {
    let Some(&[marker, a, b, c, d, e, f, g, h]) = from.reader().peek_read(NUMBER) else {
        return take_last(from);
    };
    let (number, used, least) = match marker {
        0..=250 => (u64::from(marker), 1, 0),
        251 => (u64::from(u16::from_le_bytes([a, b])), 3, 251),
        252 => (u64::from(u32::from_le_bytes([a, b, c, d])), 5, 1 << 16),
        253 => (u64::from_le_bytes([a, b, c, d, e, f, g, h]), 9, 1 << 32),
        _ => return Err(meaningless()),
    };
    from.reader().consume(used);
    if number < least { Err(NOT_CANONICAL) } else { Ok(number) }
}

/// The same near the end.
#[cold]
fn take_last<D: Decoder>(from: &mut D) -> Result<u64, DecodeError> {
    let marker = from.reader().peek_read(1).map_or(0, |bytes| bytes[0]);
    let number = u64::decode(from)?;
    let is_shortest = match marker {
        0..=250 => true,
        251 => number > 250,
        252 => number > u16::MAX.into(),
        _ => number > u32::MAX.into(),
    };
    if is_shortest { Ok(number) } else { Err(NOT_CANONICAL) }
}

fn put_byte<E: Encoder>(to: &mut E, byte: u8) -> Result<(), EncodeError> {
    byte.encode(to)
}

fn take_byte<D: Decoder>(from: &mut D) -> Result<u8, DecodeError> {
    u8::decode(from)
}

fn put_hash<E: Encoder>(to: &mut E, hash: u32) -> Result<(), EncodeError> {
    hash.to_le_bytes().encode(to)
}

fn take_hash<D: Decoder>(from: &mut D) -> Result<u32, DecodeError> {
    Ok(u32::from_le_bytes(<[u8; HASH]>::decode(from)?))
}

fn put_digest<E: Encoder>(to: &mut E, digest: u64) -> Result<(), EncodeError> {
    digest.to_le_bytes().encode(to)
}

fn take_digest<D: Decoder>(from: &mut D) -> Result<u64, DecodeError> {
    Ok(u64::from_le_bytes(<[u8; DIGEST]>::decode(from)?))
}

fn put_count<E: Encoder>(to: &mut E, count: usize) -> Result<(), EncodeError> {
    (count as u64).encode(to)
}

fn take_count<D: Decoder>(from: &mut D, most: usize) -> Result<usize, DecodeError> {
    let count = take(from)?;
    usize::try_from(count).ok().filter(|count| *count <= most).ok_or(TOO_MANY)
}

/// A map: its length, then its entries by ascending key. Nothing is set aside before an entry is there.
#[inline]
fn take_map<D: Decoder, K: Ord + Copy, V>(
    from: &mut D,
    map: &mut BTreeMap<K, V>,
    most: usize,
    entry: impl Fn(&mut D) -> Result<(K, V), DecodeError>,
) -> Result<(), DecodeError> {
    let mut before = None;
    for _ in 0..take_count(from, most)? {
        let (key, value) = entry(from)?;
        ascend(&mut before, key)?;
        map.insert(key, value);
    }
    Ok(())
}

/// Keys come in ascending order, so none comes twice.
fn ascend<K: Ord + Copy>(before: &mut Option<K>, key: K) -> Result<(), DecodeError> {
    if before.replace(key).is_some_and(|before| before >= key) { Err(NOT_CANONICAL) } else { Ok(()) }
}
