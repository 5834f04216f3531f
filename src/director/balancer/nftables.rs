//! Our own rules, which translate the address of each new connection: for machines without IPVS, and for the lab.
//!
//! A table of our own in both families. From the two places where a connection begins, one chain is entered that knows the
//! services, and from there that of the service. In it, a rule a server: of so many connections it takes so many, and the
//! rest goes on to the next. What is established is the connection tracking's business and comes by no more: a server
//! without a weight loses nothing.
//!
//! The chain of a service is written anew when its servers are wanted otherwise, and the one that knows all services when
//! one comes, moves or goes: what is not wanted otherwise is not touched. All that is written at once is one transaction.
//!
//! It never touches another table, and marks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::IpAddr;

use crate::config::{At, Transport};
use crate::director::table::{Table, Tables};
use crate::net::nft::{Batch, Expression, Family, Header, Hook, Nftables, Word};

use super::{Balance, BalancerError};

/// Not the one of the leases.
const TABLE: &str = "systole-services";

/// Every service of ours, and what leads there.
const DISPATCH: &str = "services";

/// `NF_INET_PRE_ROUTING` and `NF_INET_LOCAL_OUT`, and `NF_IP_PRI_NAT_DST`.
const HOOKS: [(&str, u32); 2] = [("incoming", 0), ("own", 3)];
const PRIORITY: i32 = -100;

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

/// Turns of so many connections and fewer are taken one after the other; in longer ones chance does better than a hundred
/// for the one server and then a hundred for the next.
const IN_TURN: u64 = 32;

/// Seeds the hash of the clients' addresses; the same on every director, so that a client finds its server after a takeover.
const SEED: u32 = 0x7379_7374;

/// A server, and its part of the connections.
type Part = (IpAddr, u16, u32);

/// What the rules of one service shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    at: (IpAddr, u16, u8),
    by_source: bool,
    parts: Vec<Part>,
}

impl Rules {
    fn family(&self) -> Family {
        family_of(self.at.0)
    }

    /// Where the chain is.
    fn place(&self, name: &str) -> Place {
        (self.family(), chain_of(name))
    }
}

/// A chain.
type Place = (Family, String);

/// What the kernel says of each chain, as a number: thousands of rules are kept in little room so.
type Told = BTreeMap<Place, u64>;

/// What is to be written.
#[derive(Debug, Default)]
struct Differences<'a> {
    /// The chains of these services.
    services: Vec<(&'a str, &'a Rules)>,
    /// What leads to them.
    frames: BTreeSet<Family>,
    /// Chains that nobody wants.
    gone: Vec<Place>,
}

impl Differences<'_> {
    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.frames.is_empty() && self.gone.is_empty()
    }
}

/// The kernel's rules.
pub struct Own {
    kernel: Nftables,
    /// As it was made last; `None`: not by this life.
    made: Option<BTreeMap<String, Rules>>,
    /// What the kernel said of it then.
    told: Told,
}

impl Own {
    /// Opens it, and changes nothing.
    pub fn open() -> Result<Self, BalancerError> {
        let kernel = Nftables::open(TABLE).map_err(|error| {
            BalancerError(format!(
                "nftables cannot be had: {error}; it takes CAP_NET_ADMIN and a kernel that has it"
            ))
        })?;
        Ok(Self { kernel, made: None, told: Told::new() })
    }

    fn read(&mut self) -> Result<Told, BalancerError> {
        let mut all = Told::new();
        for family in FAMILIES {
            for (chain, what) in self.kernel.chains(family).map_err(unreadable)? {
                all.insert((family, chain), both(0, what));
            }
            for (chain, rule) in self.kernel.digests(family, None).map_err(unreadable)? {
                let told = all.entry((family, chain)).or_default();
                *told = both(*told, rule);
            }
        }
        Ok(all)
    }

    /// One chain, to which only rules lead.
    fn read_chain(&mut self, place: &Place) -> Result<u64, BalancerError> {
        let rules = self.kernel.digests(place.0, Some(&place.1)).map_err(unreadable)?;
        Ok(rules.into_iter().fold(both(0, Vec::<u8>::new()), |told, (_, rule)| both(told, rule)))
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BalancerError> {
        self.kernel.commit(batch, None).map_err(|refused| {
            BalancerError(format!("the kernel refused {}: {}", refused.step, refused.error))
        })
    }

    /// What differs between what is there and what is wanted.
    fn differences<'a>(&self, present: &'a Told, wanted: &'a BTreeMap<String, Rules>) -> Differences<'a> {
        let none = BTreeMap::new();
        let made = self.made.as_ref().unwrap_or(&none);
        let is_as_made =
            |place: &Place| present.contains_key(place) && present.get(place) == self.told.get(place);
        let differs = |(name, rules): &(&String, &Rules)| {
            made.get(*name) != Some(*rules) || !is_as_made(&rules.place(name))
        };
        let services = wanted.iter().filter(differs).map(|(name, rules)| (name.as_str(), rules)).collect();
        let mut frames = BTreeSet::new();
        let mut kept: BTreeSet<Place> = wanted.iter().map(|(name, rules)| rules.place(name)).collect();
        for family in FAMILIES {
            let framing = HOOKS.map(|(name, _)| name).into_iter().chain([DISPATCH]);
            let framing: Vec<Place> = framing.map(|name| (family, name.to_owned())).collect();
            if !framing.iter().all(is_as_made) || !places(made, family).eq(places(wanted, family)) {
                frames.insert(family);
            }
            kept.extend(framing);
        }
        let gone = present.keys().filter(|place| !kept.contains(place)).cloned().collect();
        Differences { services, frames, gone }
    }

    /// Writes it over what is there; or the whole tables anew, with whatever anybody has added to them.
    fn write(
        &mut self,
        differences: &Differences<'_>,
        wanted: &BTreeMap<String, Rules>,
        anew: bool,
    ) -> Result<(), BalancerError> {
        let mut batch = self.kernel.batch();
        for family in FAMILIES {
            batch.table(family);
            if anew {
                batch.delete_table(family);
                batch.table(family);
            }
        }
        for (name, rules) in &differences.services {
            fill(&mut batch, name, rules);
        }
        for family in &differences.frames {
            frame(&mut batch, *family, wanted);
        }
        for (family, chain) in &differences.gone {
            batch.delete_chain(*family, chain);
        }
        self.commit(batch)
    }

    /// Nobody is served any more.
    fn clear(&mut self) -> Result<(), BalancerError> {
        let mut batch = self.kernel.batch();
        for family in FAMILIES {
            batch.table(family);
            batch.delete_table(family);
        }
        self.commit(batch)
    }

    /// Makes it what is wanted, by the least changes.
    fn make(&mut self, present: &Told, wanted: &BTreeMap<String, Rules>) -> Result<(), BalancerError> {
        let differences = self.differences(present, wanted);
        if differences.is_empty() {
            return Ok(());
        }
        if self.write(&differences, wanted, false).is_err() {
            // Somebody has put there what cannot be written over, or what hangs on what is to go.
            let all = wanted.iter().map(|(name, rules)| (name.as_str(), rules)).collect();
            let all = Differences { services: all, frames: FAMILIES.into(), gone: Vec::new() };
            self.write(&all, wanted, true)?;
        }
        self.told = self.read()?;
        Ok(())
    }
}

impl Balance for Own {
    fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError> {
        let present = self.read()?;
        let rules: BTreeMap<String, Rules> =
            wanted.iter().filter_map(|(name, table)| Some((name.clone(), rules(table)?))).collect();
        let mut mended = Vec::new();
        if self.made.is_some() && present != self.told {
            mended.push(format!("the rules of table {TABLE} were not as they were made"));
        }
        if !rules.is_empty() {
            self.make(&present, &rules)?;
        } else if self.made.as_ref() != Some(&rules) || present != self.told {
            self.clear()?;
            self.told = self.read()?;
        }
        self.made = Some(rules);
        Ok(mended)
    }

    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError> {
        let Some(new) = rules(wanted) else { return Ok(()) };
        let mut made = self.made.take().unwrap_or_default();
        let place = new.place(name);
        let old = made.insert(name.to_owned(), new.clone());
        if old.as_ref() != Some(&new) {
            let mut differences = Differences { services: vec![(name, &new)], ..Differences::default() };
            let moved = old.is_none_or(|old| {
                let left = Some(old.place(name)).filter(|left| *left != place);
                differences.frames.extend(left.iter().map(|(family, _)| *family));
                differences.gone.extend(left);
                old.at != new.at
            });
            differences.frames.extend(moved.then_some(place.0));
            self.write(&differences, &made, false)?;
            // What else was changed meanwhile is found when all of it is compared.
            if moved {
                self.told = self.read()?;
            } else {
                let now = self.read_chain(&place)?;
                self.told.insert(place, now);
            }
        }
        self.made = Some(made);
        Ok(())
    }
}

/// A number for what came before and what follows.
fn both(before: u64, next: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, next).hash(&mut hasher);
    hasher.finish()
}

/// The services of a family, and where they are.
fn places(
    rules: &BTreeMap<String, Rules>,
    family: Family,
) -> impl Iterator<Item = (&String, (IpAddr, u16, u8))> {
    rules.iter().filter(move |(_, rules)| rules.family() == family).map(|(name, rules)| (name, rules.at))
}

fn unreadable(error: io::Error) -> BalancerError {
    BalancerError(format!("the rules cannot be read: {error}"))
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ip } else { Family::Ip6 }
}

/// Names of services have no blanks and no colons in them.
fn chain_of(service: &str) -> String {
    format!("to:{service}")
}

/// What a table means; `None` for what no rule of ours can do, which the configuration does not let through.
fn rules(table: &Table) -> Option<Rules> {
    let At::Address { address, port, protocol } = table.service.at else { return None };
    let carried = match protocol {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Sctp => 132,
    };
    let scheduler = table.service.scheduler.as_ref().map_or("wrr", |scheduler| scheduler.name.as_str());
    let mut parts = Vec::new();
    for entry in table.entries.values() {
        let weight = if scheduler == "rr" { entry.weight.min(1) } else { entry.weight };
        if weight > 0 {
            parts.push((entry.server.address, entry.server.port, weight));
        }
    }
    let divisor = parts.iter().map(|(_, _, weight)| *weight).fold(0, greatest_common_divisor).max(1);
    parts.iter_mut().for_each(|(_, _, weight)| *weight /= divisor);
    Some(Rules { at: (address, port, carried), by_source: scheduler == "sh", parts })
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// The way from the chain of all services to that of one.
fn dispatch(batch: &mut Batch, name: &str, (address, port, carried): (IpAddr, u16, u8)) {
    let (bytes, offset) = match address {
        IpAddr::V4(address) => (address.octets().to_vec(), 16),
        IpAddr::V6(address) => (address.octets().to_vec(), 24),
    };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    batch.rule(
        family_of(address),
        DISPATCH,
        &[
            Expression::Load(Header::Network, offset, length),
            Expression::Is(&bytes),
            Expression::LoadCarried,
            Expression::Is(&[carried]),
            Expression::Load(Header::Transport, 2, 2),
            Expression::Is(&port.to_be_bytes()),
            Expression::Goto(&chain_of(name)),
        ],
    );
}

/// What leads to the services of a family, whatever was there.
fn frame(batch: &mut Batch, family: Family, wanted: &BTreeMap<String, Rules>) {
    batch.side_chain(family, DISPATCH);
    for (name, number) in HOOKS {
        batch.chain(family, name, Hook { number, priority: PRIORITY, device: None, translates: true });
        batch.rule(family, name, &[Expression::Jump(DISPATCH)]);
    }
    for (name, at) in places(wanted, family) {
        dispatch(batch, name, at);
    }
}

/// The chain of a service, whatever was in it.
fn fill(batch: &mut Batch, name: &str, rules: &Rules) {
    let (family, chain) = rules.place(name);
    batch.side_chain(family, &chain);
    let total: u64 = rules.parts.iter().map(|(_, _, weight)| u64::from(*weight)).sum();
    let modulus = |left: u64| u32::try_from(left).unwrap_or(u32::MAX);
    let mut before = 0;
    for (address, port, weight) in &rules.parts {
        let here = u64::from(*weight);
        let source = if address.is_ipv4() { (12, 4) } else { (8, 16) };
        let translate = Expression::Translate(*address, *port);
        if before + here == total {
            // Whoever came so far.
            batch.rule(family, &chain, &[translate]);
        } else if rules.by_source {
            let load = Expression::LoadInto(Word::FIRST, Header::Network, source.0, source.1);
            let hash = Expression::Hash {
                from: Word::FIRST,
                length: source.1,
                to: Word::FIRST,
                modulus: modulus(total),
                seed: SEED,
            };
            batch.rule(family, &chain, &[load, hash, Expression::Below(modulus(before + here)), translate]);
        } else {
            let left = modulus(total - before);
            let turn = if total <= IN_TURN { Expression::Next(left) } else { Expression::Chance(left) };
            batch.rule(family, &chain, &[turn, Expression::Below(*weight), translate]);
        }
        before += here;
    }
}
