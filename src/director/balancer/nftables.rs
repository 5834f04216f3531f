//! Our own rules, which translate the address of each new connection: for machines without IPVS, and for the lab.
//!
//! A table of our own in both families. From the two places where a connection begins, one chain is entered that knows the
//! services, and from there that of the service. In it, a rule a server: of so many connections it takes so many, and the
//! rest goes on to the next. What is established is the connection tracking's business and comes by no more: a server
//! without a weight loses nothing.
//!
//! It never touches another table, and marks nothing.

use std::collections::BTreeMap;
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

/// The kernel's rules.
pub struct Own {
    kernel: Nftables,
    /// As it was made last; `None`: not by this life.
    made: Option<BTreeMap<String, Rules>>,
    /// What the kernel said of it then.
    told: Vec<(String, Vec<u8>)>,
}

impl Own {
    /// Opens it, and changes nothing.
    pub fn open() -> Result<Self, BalancerError> {
        let kernel = Nftables::open(TABLE).map_err(|error| {
            BalancerError(format!(
                "nftables cannot be had: {error}; it takes CAP_NET_ADMIN and a kernel that has it"
            ))
        })?;
        Ok(Self { kernel, made: None, told: Vec::new() })
    }

    fn read(&mut self) -> Result<Vec<(String, Vec<u8>)>, BalancerError> {
        let mut all = Vec::new();
        for family in FAMILIES {
            all.extend(self.kernel.rules(family).map_err(unreadable)?);
        }
        Ok(all)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BalancerError> {
        self.kernel.commit(batch, None).map_err(|refused| {
            BalancerError(format!("the kernel refused {}: {}", refused.step, refused.error))
        })
    }

    fn make(&mut self, wanted: BTreeMap<String, Rules>) -> Result<(), BalancerError> {
        let mut batch = self.kernel.batch();
        for family in FAMILIES {
            batch.table(family);
            // The whole table is written anew: whatever anybody added is gone.
            batch.delete_table(family);
            if wanted.is_empty() {
                continue;
            }
            batch.table(family);
            batch.side_chain(family, DISPATCH);
            for (name, number) in HOOKS {
                batch.chain(
                    family,
                    name,
                    Hook { number, priority: PRIORITY, device: None, translates: true },
                );
                batch.rule(family, name, &[Expression::Jump(DISPATCH)]);
            }
        }
        for (name, rules) in &wanted {
            fill(&mut batch, name, rules);
            dispatch(&mut batch, name, rules);
        }
        self.commit(batch)?;
        self.told = self.read()?;
        self.made = Some(wanted);
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
        if self.made.as_ref() != Some(&rules) || present != self.told {
            self.make(rules)?;
        }
        Ok(mended)
    }

    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError> {
        let chain = chain_of(name);
        let old = self.made.as_ref().and_then(|made| made.get(name)).cloned();
        let Some(new) = rules(wanted) else { return Ok(()) };
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        if old.is_none_or(|old| old.at != new.at) {
            let mut all = self.made.clone().unwrap_or_default();
            all.insert(name.to_owned(), new);
            return self.make(all);
        }
        let mut batch = self.kernel.batch();
        fill(&mut batch, name, &new);
        self.commit(batch)?;
        let family = family_of(new.at.0);
        let now = self.kernel.rules(family).map_err(unreadable)?;
        // What else was changed meanwhile is found when all of it is compared.
        self.told.retain(|(one, _)| *one != chain);
        let of_chain: Vec<_> = now.into_iter().filter(|(one, _)| *one == chain).collect();
        self.told.extend(of_chain);
        self.told.sort();
        if let Some(made) = &mut self.made {
            made.insert(name.to_owned(), new);
        }
        Ok(())
    }
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
fn dispatch(batch: &mut Batch, name: &str, rules: &Rules) {
    let (address, port, carried) = rules.at;
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

/// The chain of a service, whatever was in it.
fn fill(batch: &mut Batch, name: &str, rules: &Rules) {
    let (family, chain) = (family_of(rules.at.0), chain_of(name));
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
