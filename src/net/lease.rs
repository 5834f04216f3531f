//! The kernel ends the lease: an address answers and is heard only while its element stands in a set with a timeout.
//!
//! Every address of every group is in `vips`. What is in `vips` and not in `held` is dropped: ARP from it, packets to it
//! and from it, neighbour advertisements about it, and, on the interfaces that are named, announcements through packet
//! sockets. `leases` has one element a group, also for a group without addresses, and is what a daemon that is started
//! again reads. All elements of a group are set in one transaction.
//!
//! It must never leave a moment without rules, and never lengthen what the kernel has ended: a renewal deletes and adds,
//! and a delete of what has run out fails the whole. It must not end later than it was told either: lengths are cut to
//! whole milliseconds, and the kernel cuts them to its tick. The tables have no owner: they outlive the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use nix::time::{ClockId, clock_getres};

use crate::time::Span;
use crate::types::GroupId;

use super::nft::{Batch, Expression, Family, Header, Hook, Key, KeyKind, Nftables, Refused, Step};

/// Where the lease of each group stands.
const LEASES: &str = "leases";

/// Before defragmentation (-400), so before connection tracking and NAT: a packet for another is not even looked at.
const EARLY: i32 = -450;

/// How often a transaction is tried again while other programs change nftables, or elements run out under it.
const TRIES: usize = 16;

/// A pair of sets: the addresses, and those that may be used now.
#[derive(Debug)]
struct Place {
    family: Family,
    vips: &'static str,
    held: &'static str,
    key: KeyKind,
}

const PLACES: [Place; 5] = [
    Place { family: Family::Ip, vips: "vips", held: "held", key: KeyKind::Ipv4 },
    Place { family: Family::Netdev, vips: "vips4", held: "held4", key: KeyKind::Ipv4 },
    Place { family: Family::Netdev, vips: "vips6", held: "held6", key: KeyKind::Ipv6 },
    Place { family: Family::Arp, vips: "vips", held: "held", key: KeyKind::Ipv4 },
    Place { family: Family::Ip6, vips: "vips", held: "held", key: KeyKind::Ipv6 },
];

/// Why the kernel does not enforce a lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Not root.
    #[error("nftables are refused to this process: run it as root, or give it CAP_NET_ADMIN")]
    Permission,
    /// No nftables at all.
    #[error(
        "this kernel has no nftables ({0}): load the module nf_tables, or write `enforce = \"daemon\"` under `[lease]`"
    )]
    Unavailable(io::Error),
    /// Not for this kind of packets.
    #[error(
        "this kernel refuses {step} ({error}): it needs {}; load the module or build it, or write `enforce = \"daemon\"` \
         under `[lease]`",
        step.family().option()
    )]
    Family {
        /// What was refused.
        step: Step,
        /// Why.
        error: io::Error,
    },
    /// The lease would be over before it can be set.
    #[error("a lease of {length} is shorter than {least}, the kernel's tick: let it go")]
    TooShort {
        /// What was asked for.
        length: Span,
        /// What can be set.
        least: Span,
    },
    /// Not among those that were installed.
    #[error("{0:?} has no lease here: install the rules with it first")]
    UnknownGroup(GroupId),
    /// An address can be silenced for one group only.
    #[error("{address} is in {first:?} and in {second:?}: leave it to one of them")]
    Shared {
        /// The address.
        address: IpAddr,
        /// One of the groups.
        first: GroupId,
        /// The other.
        second: GroupId,
    },
    /// Somebody deleted the tables.
    #[error("the tables that enforce the lease are gone: install them again")]
    Missing,
    /// The rules change under every look.
    #[error(
        "nftables did not stand still for {TRIES} tries: stop what changes them all the time, and try again"
    )]
    Busy,
    /// Anything else.
    #[error("the kernel refuses {step}: {error}: look at `nft list ruleset`, and install the rules again")]
    Refused {
        /// What was refused.
        step: Step,
        /// Why.
        error: io::Error,
    },
    /// The socket to the kernel.
    #[error("nftables do not answer: {0}: try again")]
    Netlink(#[from] io::Error),
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
type Elements = BTreeMap<Key, Option<Span>>;

/// How often the sets are read where elements seem to be missing.
const LOOKS: usize = 10;

/// The addresses of a group, by family.
#[derive(Clone, Debug, Default)]
struct Addresses {
    four: Vec<Key>,
    six: Vec<Key>,
}

impl Addresses {
    fn of(addresses: &[IpAddr]) -> Self {
        // Twice the same address would be deleted twice, and the second time it is not there.
        let distinct: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        let (four, six): (Vec<IpAddr>, Vec<IpAddr>) = distinct.into_iter().partition(IpAddr::is_ipv4);
        let keys = |addresses: Vec<IpAddr>| addresses.into_iter().map(Key::from).collect();
        Self { four: keys(four), six: keys(six) }
    }

    fn at(&self, place: &Place) -> &[Key] {
        match place.key {
            KeyKind::Ipv4 => &self.four,
            KeyKind::Ipv6 => &self.six,
            KeyKind::Number => &[],
        }
    }
}

/// What stood before an installation.
#[derive(Debug, Default)]
struct Found {
    tables: BTreeSet<Family>,
    egress: Vec<String>,
    stale: Vec<(Family, &'static str, Vec<Key>)>,
}

/// The leases in the kernel.
#[derive(Debug)]
pub struct KernelLease {
    pub(super) nft: Nftables,
    least_ms: u64,
    groups: BTreeMap<GroupId, Addresses>,
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
        Ok(Self { nft, least_ms: tick_ms()?, groups: BTreeMap::new(), places: Vec::new(), print: Vec::new() })
    }

    /// Makes the rules as the configuration wants them, in one transaction; also after somebody has changed them. What
    /// stands stays: nothing blinks at a reload, or when a daemon is started again. What goes is the element of an address
    /// that no group has any more, or that would outlast its group's lease: it was another group's.
    ///
    /// A group that has got another address does not stand as a whole until it is raised anew.
    pub fn install(
        &mut self,
        groups: &BTreeMap<GroupId, Vec<IpAddr>>,
        interfaces: &[String],
    ) -> Result<Installed, LeaseError> {
        let owners = owners(groups)?;
        self.groups = groups.iter().map(|(id, addresses)| (*id, Addresses::of(addresses))).collect();
        let mut families = BTreeSet::from([Family::Ip, Family::Netdev]);
        families.extend(owners.keys().map(|key| if key.is_ipv4() { Family::Arp } else { Family::Ip6 }));
        let mut installed = Installed::default();
        let mut tries = 0;
        while tries < TRIES {
            let (generation, found) = self.steadily(|this| this.look(&owners))?;
            self.places = PLACES.iter().filter(|place| families.contains(&place.family)).collect();
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
                batch.set(family, place.vips, place.key, false);
                batch.set(family, place.held, place.key, true);
            }
            if family == Family::Ip {
                batch.set(family, LEASES, KeyKind::Number, true);
            }
            if family == Family::Netdev {
                let wanted =
                    |chain: &&String| interfaces.iter().any(|interface| egress(interface) == **chain);
                let old = found.egress.iter().filter(|chain| !remake && !wanted(chain));
                old.for_each(|chain| batch.delete_chain(family, chain));
                interfaces.iter().for_each(|interface| egress_rules(&mut batch, interface));
            } else {
                host_rules(&mut batch, family);
            }
        }
        if !remake {
            for (family, set, keys) in found.stale.iter().filter(|(family, ..)| families.contains(family)) {
                batch.delete(*family, set, keys);
            }
        }
        for place in self.places.iter().rev() {
            batch.clear(place.family, place.vips);
            for addresses in self.groups.values() {
                batch.add(place.family, place.vips, addresses.at(place), None);
            }
        }
        batch
    }

    /// What stands now, and what of it must go. Leases are read before the elements of addresses, and set after them: so an
    /// element of the same group never seems to have longer to go.
    fn look(&mut self, owners: &BTreeMap<IpAddr, GroupId>) -> io::Result<Found> {
        let mut found = Found::default();
        for family in Family::ALL {
            if self.nft.table_flags(family)?.is_some() {
                found.tables.insert(family);
            }
        }
        found.egress = self.nft.chains(Family::Netdev)?.into_iter().map(|(name, _)| name).collect();
        let known: BTreeSet<Key> = self.groups.keys().map(|group| Key::from(*group)).collect();
        let leases: BTreeMap<Key, Option<Span>> =
            self.nft.elements(Family::Ip, LEASES)?.into_iter().collect();
        let unknown = leases.keys().filter(|group| !known.contains(group)).copied().collect();
        found.stale.push((Family::Ip, LEASES, unknown));
        let owners: BTreeMap<Key, Key> =
            owners.iter().map(|(address, group)| (Key::from(*address), Key::from(*group))).collect();
        let lease_of = |address: &Key| leases.get(owners.get(address)?).copied().flatten();
        for place in &PLACES {
            let elements = self.nft.elements(place.family, place.held)?;
            // One without an end stands against us for ever, and goes, too.
            let outlasts = |(address, left): &(Key, Option<Span>)| {
                left.is_none_or(|left| lease_of(address).is_none_or(|lease| left > lease))
            };
            let stale = elements.into_iter().filter(outlasts).map(|(address, _)| address).collect();
            found.stale.push((place.family, place.held, stale));
        }
        Ok(found)
    }

    /// For how long each group's lease still stands: the least over its own element and those of all its addresses. A group
    /// of which any is missing is not there.
    ///
    /// A set that has just grown is put in another order by the kernel, and a list that is read meanwhile can miss
    /// elements. So where a group's own element stands and another is missing, the sets are read again, a few times.
    pub fn standing(&mut self) -> Result<BTreeMap<GroupId, Span>, LeaseError> {
        let mut seen: Vec<Elements> = vec![Elements::new(); self.places.len()];
        let mut look = 1;
        loop {
            let (_, (leases, held)) = self.steadily(|this| {
                let leases: Elements = this.nft.elements(Family::Ip, LEASES)?.into_iter().collect();
                let mut held: Vec<Elements> = Vec::new();
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
                .filter_map(|(group, addresses)| {
                    let lease = leases.get(&Key::from(*group)).copied().flatten()?;
                    Some((*group, self.least(lease, addresses, &seen)))
                })
                .collect();
            if look == LOOKS || left.values().all(Option::is_some) {
                return Ok(left.into_iter().filter_map(|(group, left)| Some((group, left?))).collect());
            }
            look += 1;
        }
    }

    /// The least of a group's own element and those of its addresses; `None` where any is missing.
    fn least(&self, lease: Span, addresses: &Addresses, seen: &[Elements]) -> Option<Span> {
        let mut left = lease;
        for (place, held) in self.places.iter().zip(seen) {
            for address in addresses.at(place) {
                left = left.min(held.get(address).copied().flatten()?);
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
        if let Some(addresses) = self.groups.get(&group) {
            self.places.iter().for_each(|place| each(place.family, place.held, addresses.at(place)));
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

impl From<Refused> for LeaseError {
    fn from(refused: Refused) -> Self {
        match refused.error.raw_os_error() {
            Some(libc::EPERM) => Self::Permission,
            Some(libc::ENOENT) => Self::Missing,
            _ => Self::Refused { step: refused.step, error: refused.error },
        }
    }
}

/// An element, a set or a table is not there.
fn is_missing(refused: &Refused) -> bool {
    refused.error.raw_os_error() == Some(libc::ENOENT)
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

fn owners(groups: &BTreeMap<GroupId, Vec<IpAddr>>) -> Result<BTreeMap<IpAddr, GroupId>, LeaseError> {
    let mut owners = BTreeMap::new();
    for (group, addresses) in groups {
        for address in addresses {
            match owners.insert(*address, *group) {
                Some(first) if first != *group => {
                    return Err(LeaseError::Shared { address: *address, first, second: *group });
                }
                _ => {}
            }
        }
    }
    Ok(owners)
}

/// The name of the chain for an interface.
fn egress(interface: &str) -> String {
    format!("egress_{interface}")
}

/// What is dropped on the way in and out, for all interfaces.
fn host_rules(batch: &mut Batch, family: Family) {
    use Expression::{Drop, In, Is, Load, LoadCarried, NotIn};
    let silence = |load| [load, In("vips"), load, NotIn("held"), Drop];
    let hook = |number| Hook { number, priority: EARLY, device: None };
    // Sender or source, then destination.
    let (source, destination) = match family {
        Family::Arp => (Load(Header::Network, 14, 4), None),
        Family::Ip => (Load(Header::Network, 12, 4), Some(Load(Header::Network, 16, 4))),
        Family::Ip6 => (Load(Header::Network, 8, 16), Some(Load(Header::Network, 24, 16))),
        Family::Netdev => return,
    };
    if let Some(destination) = destination {
        batch.chain(family, "prerouting", hook(0));
        batch.rule(family, "prerouting", &silence(destination));
    }
    // NF_ARP_OUT, NF_INET_LOCAL_OUT.
    batch.chain(family, "output", hook(if family == Family::Arp { 1 } else { 3 }));
    batch.rule(family, "output", &silence(source));
    if family == Family::Ip6 {
        let [load, vip, again, free, drop] = silence(Load(Header::Transport, 8, 16));
        let advert = [LoadCarried, Is(&[ICMPV6]), Load(Header::Transport, 0, 1), Is(&[ADVERTISEMENT])];
        let rule: Vec<Expression<'_>> = advert.into_iter().chain([load, vip, again, free, drop]).collect();
        batch.rule(family, "output", &rule);
    }
}

const ICMPV6: u8 = 58;
/// A neighbour advertisement. Its target, at offset 8, is what it is about; its source may be any address of the sender.
const ADVERTISEMENT: u8 = 136;

/// What packet sockets send passes no other hook.
fn egress_rules(batch: &mut Batch, interface: &str) {
    use Expression::{Drop, In, Is, Load, LoadCarried, LoadProtocol, NotIn};
    let (chain, family) = (egress(interface), Family::Netdev);
    // NF_NETDEV_EGRESS.
    batch.chain(family, &chain, Hook { number: 1, priority: 0, device: Some(interface) });
    let sender = Load(Header::Network, 14, 4);
    let arp = [LoadProtocol, Is(&[0x08, 0x06]), sender, In("vips4"), sender, NotIn("held4"), Drop];
    batch.rule(family, &chain, &arp);
    let target = Load(Header::Transport, 8, 16);
    let advert = [
        LoadProtocol,
        Is(&[0x86, 0xdd]),
        LoadCarried,
        Is(&[ICMPV6]),
        Load(Header::Transport, 0, 1),
        Is(&[ADVERTISEMENT]),
        target,
        In("vips6"),
        target,
        NotIn("held6"),
        Drop,
    ];
    batch.rule(family, &chain, &advert);
}
