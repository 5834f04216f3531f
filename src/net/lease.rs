//! The kernel ends the lease: an address answers and is heard only while its element stands in a set with a timeout.
//!
//! Every address of every group is in `vips`. What is in `vips` and not in `held` is dropped: ARP from it, packets to it
//! and from it, neighbour advertisements about it, and, on the interfaces that are named, announcements through packet
//! sockets. `leases` has one element a group, also for a group without addresses, and is what a daemon that is started
//! again reads. All elements of a group are set in one transaction.
//!
//! An address that every node has is in neither: its packets fall into buckets by who sends them, and what falls into a
//! bucket that is not in `buckets` is dropped ([`Guarded::buckets`]). `kept` and `dropped` count for each of them.
//!
//! It must never leave a moment without rules, and never lengthen what the kernel has ended: a renewal deletes and adds,
//! and a delete of what has run out fails the whole. It must not end later than it was told either: lengths are cut to
//! whole milliseconds, and the kernel cuts them to its tick. The tables have no owner: they outlive the daemon.

mod bucket;
mod error;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use nix::time::{ClockId, clock_getres};

use crate::time::Span;
use crate::types::GroupId;

use super::nft::{Batch, Elements, Family, Key, KeyKind, Nftables, Refused, Step};

pub use bucket::{Bucket, Shared};
pub use error::LeaseError;
use error::is_missing;
use rules::egress;

/// Where the lease of each group stands.
const LEASES: &str = "leases";

/// How often a transaction is tried again while other programs change nftables, or elements run out under it.
const TRIES: usize = 16;

/// A pair of sets: the addresses or buckets that there are, and those that may be used now.
#[derive(Debug)]
struct Place {
    family: Family,
    vips: &'static str,
    held: &'static str,
    key: KeyKind,
}

const PLACES: [Place; 7] = [
    Place { family: Family::Ip, vips: "vips", held: "held", key: KeyKind::Ipv4 },
    Place { family: Family::Netdev, vips: "vips4", held: "held4", key: KeyKind::Ipv4 },
    Place { family: Family::Netdev, vips: "vips6", held: "held6", key: KeyKind::Ipv6 },
    Place { family: Family::Arp, vips: "vips", held: "held", key: KeyKind::Ipv4 },
    Place { family: Family::Ip6, vips: "vips", held: "held", key: KeyKind::Ipv6 },
    Place { family: Family::Ip, vips: DROPPED, held: BUCKETS, key: KeyKind::Ipv4Number },
    Place { family: Family::Ip6, vips: DROPPED, held: BUCKETS, key: KeyKind::Ipv6Number },
];

/// The buckets that are this node's now.
const BUCKETS: &str = "buckets";
/// All buckets: how many packets of each were dropped, and how many kept.
const DROPPED: &str = "dropped";
const KEPT: &str = "kept";

impl Place {
    fn is_of_buckets(&self) -> bool {
        self.held == BUCKETS
    }
}

/// What of a group the kernel guards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// Addresses that are nobody else's while the lease stands.
    pub addresses: Vec<IpAddr>,
    /// Of addresses that every node has, the part of the packets that is this node's while the lease stands.
    pub buckets: Vec<Bucket>,
}

impl From<Vec<IpAddr>> for Guarded {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, buckets: Vec::new() }
    }
}

/// What became of a bucket's packets here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// They reached this node's sockets.
    pub kept: u64,
    /// They were another node's.
    pub dropped: u64,
}

/// What a renewal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It stands for the new length.
    Stands,
    /// An element had run out, or somebody removed it: nothing was changed.
    Gone,
}

/// What an installation came to.
#[derive(Debug, Default)]
pub struct Installed {
    /// Interfaces on which announcements through packet sockets are not filtered, and why: the kernel is older than 5.16,
    /// or there is no such interface yet.
    pub unfiltered: BTreeMap<String, io::Error>,
    /// What stood under our name could not be mended in place and was made anew, in the same transaction: no lease stands.
    pub remade: bool,
}

impl Installed {
    /// Whether egress is filtered on every interface that was named.
    pub fn egress(&self) -> bool {
        self.unfiltered.is_empty()
    }
}

/// Elements of a set, and how long each of them stands.
type Standing = BTreeMap<Key, Option<Span>>;

/// How often the sets are read where elements seem to be missing.
const LOOKS: usize = 10;

/// A group's elements, by the kind of their sets.
#[derive(Clone, Debug, Default)]
struct Keys {
    four: Vec<Key>,
    six: Vec<Key>,
    buckets_of_four: Vec<Key>,
    buckets_of_six: Vec<Key>,
}

impl Keys {
    fn of(guarded: &Guarded) -> Self {
        // Twice the same would be deleted twice, and the second time it is not there.
        let keys = |is_v4: bool, all: &[(IpAddr, Key)]| {
            let wanted = all.iter().filter(|(address, _)| address.is_ipv4() == is_v4);
            wanted.map(|(_, key)| *key).collect::<BTreeSet<Key>>().into_iter().collect()
        };
        let addresses: Vec<(IpAddr, Key)> =
            guarded.addresses.iter().map(|address| (*address, Key::from(*address))).collect();
        let buckets: Vec<(IpAddr, Key)> =
            guarded.buckets.iter().map(|bucket| (bucket.of.address, bucket.key())).collect();
        Self {
            four: keys(true, &addresses),
            six: keys(false, &addresses),
            buckets_of_four: keys(true, &buckets),
            buckets_of_six: keys(false, &buckets),
        }
    }

    fn at(&self, place: &Place) -> &[Key] {
        match place.key {
            KeyKind::Ipv4 => &self.four,
            KeyKind::Ipv6 => &self.six,
            KeyKind::Ipv4Number => &self.buckets_of_four,
            KeyKind::Ipv6Number => &self.buckets_of_six,
            KeyKind::Number | KeyKind::Byte => &[],
        }
    }
}

/// What stood before an installation.
#[derive(Debug, Default)]
struct Found {
    tables: BTreeSet<Family>,
    egress: Vec<String>,
    /// Those that only rules lead to.
    side_chains: Vec<(Family, String)>,
    stale: Vec<(Family, &'static str, Vec<Key>)>,
}

/// The leases in the kernel.
#[derive(Debug)]
pub struct KernelLease {
    pub(super) nft: Nftables,
    least_ms: u64,
    groups: BTreeMap<GroupId, Keys>,
    /// The addresses of which groups have buckets.
    shared: BTreeMap<IpAddr, Arc<Shared>>,
    places: Vec<&'static Place>,
    /// What the tables looked like when they were installed.
    pub(super) print: Vec<String>,
}

impl KernelLease {
    /// Opens the kernel's nftables, for tables of this name in every family. It changes nothing yet.
    pub fn open(table: &str) -> Result<Self, LeaseError> {
        let nft = Nftables::open(table).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => LeaseError::Permission,
            _ => LeaseError::Unavailable(error),
        })?;
        Ok(Self {
            nft,
            least_ms: tick_ms()?,
            groups: BTreeMap::new(),
            shared: BTreeMap::new(),
            places: Vec::new(),
            print: Vec::new(),
        })
    }

    /// Makes the rules as the configuration wants them, in one transaction; also after somebody has changed them. What
    /// stands stays: nothing blinks at a reload, or when a daemon is started again. What goes is the element of an address
    /// that no group has any more, or that would outlast its group's lease: it was another group's.
    ///
    /// A group that has got another address does not stand as a whole until it is raised anew.
    pub fn install(
        &mut self,
        groups: &BTreeMap<GroupId, Guarded>,
        interfaces: &[String],
    ) -> Result<Installed, LeaseError> {
        let owners = owners(groups)?;
        self.groups = groups.iter().map(|(id, guarded)| (*id, Keys::of(guarded))).collect();
        let buckets = groups.values().flat_map(|guarded| &guarded.buckets);
        self.shared = buckets.map(|bucket| (bucket.of.address, Arc::clone(&bucket.of))).collect();
        let mut families = BTreeSet::from([Family::Ip, Family::Netdev]);
        let addresses = groups.values().flat_map(|guarded| &guarded.addresses).chain(self.shared.keys());
        families.extend(addresses.map(|key| if key.is_ipv4() { Family::Arp } else { Family::Ip6 }));
        let mut installed = Installed::default();
        let mut tries = 0;
        while tries < TRIES {
            let (generation, found) = self.steadily(|this| this.look(&owners))?;
            self.places = PLACES.iter().filter(|place| self.has(place, &families)).collect();
            let filtered =
                interfaces.iter().filter(|name| !installed.unfiltered.contains_key(name.as_str())).collect();
            let batch = self.rules(&families, &found, filtered, installed.remade);
            match self.nft.commit(batch, Some(generation)) {
                Ok(()) => {
                    let (seen, print) = self.steadily(Self::print_now)?;
                    self.print = print;
                    if seen == following(generation) {
                        return Ok(installed);
                    }
                    // Somebody came between, and what was read may be his: set it right once more.
                    tries += 1;
                }
                Err(refused) => {
                    tries += 1;
                    self.yield_to(refused, &mut families, interfaces, &found, &mut installed)?;
                }
            }
        }
        Err(LeaseError::Busy)
    }

    fn has(&self, place: &Place, families: &BTreeSet<Family>) -> bool {
        let is_v4 = place.family == Family::Ip;
        families.contains(&place.family)
            && (!place.is_of_buckets() || self.shared.keys().any(|address| address.is_ipv4() == is_v4))
    }

    /// Makes the next try possible, or says why there is none.
    fn yield_to(
        &self,
        refused: Refused,
        families: &mut BTreeSet<Family>,
        interfaces: &[String],
        found: &Found,
        installed: &mut Installed,
    ) -> Result<(), LeaseError> {
        let Refused { step, error } = refused;
        let number = error.raw_os_error().unwrap_or_default();
        let same = || io::Error::from_raw_os_error(number);
        match (number, &step) {
            (libc::EPERM, _) => Err(LeaseError::Permission),
            // The generation is not the one that was looked at, or an element ran out since.
            (libc::ERESTART, _) | (libc::ENOENT, Step::Elements(..)) => Ok(()),
            (libc::ENOMEM | libc::ENOBUFS | libc::EMSGSIZE, _) => Err(LeaseError::Refused { step, error }),
            (_, Step::Chain(Family::Netdev, chain)) if installed.remade || !found.egress.contains(chain) => {
                let refused = interfaces.iter().filter(|interface| egress(interface) == *chain);
                installed.unfiltered.extend(refused.map(|interface| (interface.clone(), same())));
                Ok(())
            }
            (_, Step::Table(Family::Netdev) | Step::Set(Family::Netdev, _))
                if installed.remade || !found.tables.contains(&Family::Netdev) =>
            {
                families.remove(&Family::Netdev);
                installed.unfiltered.extend(interfaces.iter().map(|interface| (interface.clone(), same())));
                Ok(())
            }
            _ if !found.tables.is_empty() && !installed.remade => {
                installed.remade = true;
                Ok(())
            }
            (_, Step::Chain(_, chain)) if rules::is_of_shared(chain) => Err(LeaseError::NoHash(error)),
            (_, Step::Table(_) | Step::Chain(..)) => Err(LeaseError::Family { step, error }),
            _ => Err(LeaseError::Refused { step, error }),
        }
    }

    /// The whole installation. Its last message is about a family that is always there: a transaction that fails as a whole
    /// names it, and must not look like an egress that is refused.
    fn rules(
        &self,
        families: &BTreeSet<Family>,
        found: &Found,
        interfaces: BTreeSet<&String>,
        remake: bool,
    ) -> Batch {
        let mut batch = self.nft.batch();
        let unwanted = |family: &&Family| remake || !families.contains(family);
        found.tables.iter().filter(unwanted).for_each(|family| batch.delete_table(*family));
        for family in Family::ALL.into_iter().filter(|family| families.contains(family)) {
            batch.table(family);
            for place in self.places.iter().filter(|place| place.family == family) {
                let all = if place.is_of_buckets() { Elements::Count } else { Elements::Stay };
                batch.set(family, place.vips, place.key, all);
                batch.set(family, place.held, place.key, Elements::RunOut);
                if place.is_of_buckets() {
                    batch.set(family, KEPT, place.key, Elements::Count);
                    rules::constants(&mut batch, family);
                }
            }
            if family == Family::Ip {
                batch.set(family, LEASES, KeyKind::Number, Elements::RunOut);
            }
            if family == Family::Netdev {
                let wanted =
                    |chain: &&String| interfaces.iter().any(|interface| egress(interface) == **chain);
                let old = found.egress.iter().filter(|chain| !remake && !wanted(chain));
                old.for_each(|chain| batch.delete_chain(family, chain));
                interfaces.iter().for_each(|interface| rules::of_egress(&mut batch, interface));
            } else {
                let shared: Vec<&Shared> = self.shared.values().map(AsRef::as_ref).collect();
                let chains = rules::of_host(&mut batch, family, &shared);
                let old = found.side_chains.iter().filter(|(of, _)| *of == family && !remake);
                let old = old.filter(|(_, name)| !chains.contains(name));
                old.for_each(|(family, name)| batch.delete_chain(*family, name));
            }
        }
        if !remake {
            for (family, set, keys) in found.stale.iter().filter(|(family, ..)| families.contains(family)) {
                batch.delete(*family, set, keys);
            }
        }
        for place in self.places.iter().rev() {
            // What counts goes on counting.
            let counts = place.is_of_buckets();
            if !counts {
                batch.clear(place.family, place.vips);
            }
            for keys in self.groups.values() {
                batch.add(place.family, place.vips, keys.at(place), None);
                if counts {
                    batch.add(place.family, KEPT, keys.at(place), None);
                }
            }
        }
        batch
    }

    /// What stands now, and what of it must go. Leases are read before the elements of addresses, and set after them: so an
    /// element of the same group never seems to have longer to go.
    fn look(&mut self, owners: &BTreeMap<Key, GroupId>) -> io::Result<Found> {
        let mut found = Found::default();
        for family in Family::ALL {
            if self.nft.table_flags(family)?.is_some() {
                found.tables.insert(family);
            }
            if family != Family::Netdev {
                let chains = self.nft.chains(family)?.into_iter().map(|(name, _)| (family, name));
                found.side_chains.extend(chains.filter(|(_, name)| rules::is_of_shared(name)));
            }
        }
        found.egress = self.nft.chains(Family::Netdev)?.into_iter().map(|(name, _)| name).collect();
        let known: BTreeSet<Key> = self.groups.keys().map(|group| Key::from(*group)).collect();
        let leases: BTreeMap<Key, Option<Span>> =
            self.nft.elements(Family::Ip, LEASES)?.into_iter().collect();
        let unknown = leases.keys().filter(|group| !known.contains(group)).copied().collect();
        found.stale.push((Family::Ip, LEASES, unknown));
        let lease_of = |key: &Key| leases.get(&Key::from(*owners.get(key)?)).copied().flatten();
        for place in &PLACES {
            let elements = self.nft.elements(place.family, place.held)?;
            // One without an end stands against us for ever, and goes, too.
            let outlasts = |(key, left): &(Key, Option<Span>)| {
                left.is_none_or(|left| lease_of(key).is_none_or(|lease| left > lease))
            };
            let stale = elements.into_iter().filter(outlasts).map(|(key, _)| key).collect();
            found.stale.push((place.family, place.held, stale));
            for set in [DROPPED, KEPT].into_iter().filter(|_| place.is_of_buckets()) {
                let counted = self.nft.elements(place.family, set)?.into_iter().map(|(key, _)| key);
                let unknown = counted.filter(|key| !owners.contains_key(key)).collect();
                found.stale.push((place.family, set, unknown));
            }
        }
        Ok(found)
    }

    /// For how long each group's lease still stands: the least over its own element and those of all its addresses. A group
    /// of which any is missing is not there.
    ///
    /// A set that has just grown is put in another order by the kernel, and a list that is read meanwhile can miss
    /// elements. So where a group's own element stands and another is missing, the sets are read again, a few times.
    pub fn standing(&mut self) -> Result<BTreeMap<GroupId, Span>, LeaseError> {
        let mut seen: Vec<Standing> = vec![Standing::new(); self.places.len()];
        let mut look = 1;
        loop {
            let (_, (leases, held)) = self.steadily(|this| {
                let leases: Standing = this.nft.elements(Family::Ip, LEASES)?.into_iter().collect();
                let mut held: Vec<Standing> = Vec::new();
                for place in &this.places {
                    held.push(this.nft.elements(place.family, place.held)?.into_iter().collect());
                }
                Ok((leases, held))
            })?;
            for (seen, held) in seen.iter_mut().zip(held) {
                seen.extend(held);
            }
            let left: BTreeMap<GroupId, Option<Span>> = self
                .groups
                .iter()
                .filter_map(|(group, keys)| {
                    let lease = leases.get(&Key::from(*group)).copied().flatten()?;
                    Some((*group, self.least(lease, keys, &seen)))
                })
                .collect();
            if look == LOOKS || left.values().all(Option::is_some) {
                return Ok(left.into_iter().filter_map(|(group, left)| Some((group, left?))).collect());
            }
            look += 1;
        }
    }

    /// The least of a group's own element and its others; `None` where any is missing.
    fn least(&self, lease: Span, keys: &Keys, seen: &[Standing]) -> Option<Span> {
        let mut left = lease;
        for (place, held) in self.places.iter().zip(seen) {
            for key in keys.at(place) {
                left = left.min(held.get(key).copied().flatten()?);
            }
        }
        Some(left)
    }

    /// Lets the group's addresses be heard for this long, whatever stood before.
    ///
    /// Where nothing stands, as after a takeover, they are only added: for hundreds of addresses that takes a third of the
    /// time. Else an add would leave an element that stands as it is (before 6.12, with its old end), and a delete fails
    /// where nothing stands. So each is added, deleted and added in one transaction.
    pub fn raise(&mut self, group: GroupId, length: Span) -> Result<(), LeaseError> {
        let timeout_ms = self.whole_ms(length)?;
        if !self.groups.contains_key(&group) {
            return Err(LeaseError::UnknownGroup(group));
        }
        let mut batch = self.nft.batch();
        self.each_place(group, |family, set, keys| batch.add_new(family, set, keys, timeout_ms));
        match self.nft.commit(batch, None) {
            Err(refused) if refused.error.raw_os_error() == Some(libc::EEXIST) => {}
            result => return result.map_err(LeaseError::from),
        }
        self.until_nothing_runs_out(|this| {
            let mut batch = this.nft.batch();
            this.add(&mut batch, group, timeout_ms);
            this.delete(&mut batch, group);
            this.add(&mut batch, group, timeout_ms);
            batch
        })
    }

    /// Lets the group's addresses be heard for this long from now, if they are heard now.
    pub fn renew(&mut self, group: GroupId, length: Span) -> Result<Renewed, LeaseError> {
        let timeout_ms = self.whole_ms(length)?;
        if !self.groups.contains_key(&group) {
            return Err(LeaseError::UnknownGroup(group));
        }
        let mut batch = self.nft.batch();
        self.delete(&mut batch, group);
        self.add(&mut batch, group, timeout_ms);
        match self.nft.commit(batch, None) {
            Ok(()) => Ok(Renewed::Stands),
            Err(refused) if is_missing(&refused) => Ok(Renewed::Gone),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Silences the group, whatever stood of it. A group that nobody knows has no addresses here.
    pub fn drop_lease(&mut self, group: GroupId) -> Result<(), LeaseError> {
        let mut batch = self.nft.batch();
        self.delete(&mut batch, group);
        match self.nft.commit(batch, None) {
            Err(refused) if is_missing(&refused) => {}
            result => return result.map_err(LeaseError::from),
        }
        // A part of it is not there. What is added first can be deleted, and outside of the transaction nobody sees it.
        let timeout_ms = self.least_ms;
        self.until_nothing_runs_out(|this| {
            let mut batch = this.nft.batch();
            this.add(&mut batch, group, timeout_ms);
            this.delete(&mut batch, group);
            batch
        })
    }

    /// Silences every address, also those of an earlier daemon and before anything is installed.
    pub fn drop_all(&mut self) -> Result<(), LeaseError> {
        let mut sets = Vec::new();
        let held = PLACES.iter().map(|place| (place.family, place.held));
        for (family, set) in held.chain([(Family::Ip, LEASES)]) {
            if self.nft.sets(family)?.iter().any(|(name, _)| name == set) {
                sets.push((family, set));
            }
        }
        let mut batch = self.nft.batch();
        sets.into_iter().for_each(|(family, set)| batch.clear(family, set));
        Ok(self.nft.commit(batch, None)?)
    }

    /// Takes the tables away, with every rule: at a clean stop, when the addresses are gone.
    pub fn remove(mut self) -> Result<(), LeaseError> {
        let mut batch = Vec::new();
        for family in Family::ALL {
            if self.nft.table_flags(family)?.is_some() {
                batch.push(family);
            }
        }
        let mut deletion = self.nft.batch();
        batch.into_iter().for_each(|family| deletion.delete_table(family));
        Ok(self.nft.commit(deletion, None)?)
    }

    fn add(&self, batch: &mut Batch, group: GroupId, timeout_ms: u64) {
        self.each_place(group, |family, set, keys| batch.add(family, set, keys, Some(timeout_ms)));
    }

    fn delete(&self, batch: &mut Batch, group: GroupId) {
        self.each_place(group, |family, set, keys| batch.delete(family, set, keys));
    }

    /// The sets in which a group has elements; that of the leases is the last.
    fn each_place(&self, group: GroupId, mut each: impl FnMut(Family, &'static str, &[Key])) {
        if let Some(keys) = self.groups.get(&group) {
            self.places.iter().for_each(|place| each(place.family, place.held, keys.at(place)));
        }
        each(Family::Ip, LEASES, &[group.into()]);
    }

    /// A lease in the kernel's unit, cut short. Below a tick some kernels before 6.11 make an element that never ends.
    fn whole_ms(&self, length: Span) -> Result<u64, LeaseError> {
        let whole = length.as_micros() / 1_000;
        let least = Span::millis(self.least_ms);
        if whole >= self.least_ms { Ok(whole) } else { Err(LeaseError::TooShort { length, least }) }
    }

    /// Commits; an element that runs out between its add, which left it alone, and its delete is no reason to fail.
    fn until_nothing_runs_out(&mut self, make: impl Fn(&Self) -> Batch) -> Result<(), LeaseError> {
        for _ in 0..TRIES {
            let batch = make(self);
            match self.nft.commit(batch, None) {
                Err(refused) if is_missing(&refused) => {}
                result => return result.map_err(LeaseError::from),
            }
        }
        Err(LeaseError::Missing)
    }

    /// Reads several things as of one generation, and says which.
    pub(super) fn steadily<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Result<(u32, T), LeaseError> {
        for _ in 0..TRIES {
            let before = self.nft.generation()?;
            let value = read(self)?;
            if self.nft.generation()? == before {
                return Ok((before, value));
            }
        }
        Err(LeaseError::Busy)
    }

    /// All of our tables but the elements with an end, in a form that can be compared.
    pub(super) fn print_now(&mut self) -> io::Result<Vec<String>> {
        let mut print = Vec::new();
        for family in Family::ALL {
            print.push(format!("{family} table {:02x?}", self.nft.table_flags(family)?));
            for (name, chain) in self.nft.chains(family)? {
                print.push(format!("{family} chain {name} {chain:02x?}"));
            }
            for (chain, rule) in self.nft.rules(family)? {
                print.push(format!("{family} rule {chain} {rule:02x?}"));
            }
            for (name, set) in self.nft.sets(family)? {
                print.push(format!("{family} set {name} {set:02x?}"));
            }
        }
        for place in &self.places {
            let elements: BTreeMap<Key, _> =
                self.nft.elements(place.family, place.vips)?.into_iter().collect();
            print.push(format!("{} vips {:?}", place.family, elements.keys()));
        }
        Ok(print)
    }
}

/// How many packets of each bucket were kept and dropped on this node, since its rules were made.
pub fn counters(table: &str) -> io::Result<BTreeMap<(IpAddr, u32), Counted>> {
    let mut nft = Nftables::open(table)?;
    let mut counted: BTreeMap<(IpAddr, u32), Counted> = BTreeMap::new();
    for family in [Family::Ip, Family::Ip6] {
        for (key, dropped) in nft.counters(family, DROPPED)? {
            counted.extend(key.as_numbered().map(|bucket| (bucket, Counted { kept: 0, dropped })));
        }
        for (key, kept) in nft.counters(family, KEPT)? {
            let known = key.as_numbered().and_then(|bucket| counted.get_mut(&bucket));
            known.into_iter().for_each(|counted| counted.kept = kept);
        }
    }
    Ok(counted)
}

/// The kernel's tick, in whole milliseconds.
fn tick_ms() -> io::Result<u64> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
    let nanos = u64::try_from(tick.tv_nsec()).unwrap_or_default();
    Ok(nanos.div_ceil(1_000_000).max(1))
}

/// The generation after this one; the kernel never calls one 0.
fn following(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

/// Whose each element is.
fn owners(groups: &BTreeMap<GroupId, Guarded>) -> Result<BTreeMap<Key, GroupId>, LeaseError> {
    let mut owners = BTreeMap::new();
    for (group, guarded) in groups {
        let addresses = guarded.addresses.iter().map(|address| (*address, Key::from(*address)));
        let buckets = guarded.buckets.iter().map(|bucket| (bucket.of.address, bucket.key()));
        for (address, key) in addresses.chain(buckets) {
            match owners.insert(key, *group) {
                Some(first) if first != *group => {
                    return Err(LeaseError::Shared { address, first, second: *group });
                }
                _ => {}
            }
        }
    }
    Ok(owners)
}
