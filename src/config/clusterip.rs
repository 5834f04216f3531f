//! The agent `clusterip`: addresses that every node has, of whose packets each node keeps its share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::{self, AddressFault, ServiceAddress};
use super::agents;
use crate::types::GroupId;

/// How the nodes share an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// The group of Ethernet that neighbours are told: every node takes its frames.
    pub mac: [u8; 6],
    /// What decides into which bucket a packet falls.
    pub hash: HashOf,
    /// Another seed makes other buckets.
    pub seed: u32,
}

/// What decides into which bucket a packet falls. What has no ports, as a ping or a fragment, goes by its source alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HashOf {
    /// The address of the client: all that it sends.
    Source,
    /// Its port as well: each of its connections.
    SourcePort,
    /// And the port that it asks for.
    Ports,
}

/// As Pacemaker's `clusterip_hash` calls them.
const HASHES: [(&str, HashOf); 3] = [
    ("sourceip", HashOf::Source),
    ("sourceip-sourceport", HashOf::SourcePort),
    ("sourceip-sourceport-destport", HashOf::Ports),
];

/// What the agent takes.
pub(crate) const PARAMS: &[&str] = &["address", "interface", "hash", "seed", "mac"];

/// Each bucket is a lease of its own: many nodes have so many each, and spread those of a dead one almost evenly.
const MOST_EACH: usize = 15;

/// Whether this is the agent.
pub(crate) fn is_agent(agent: &str) -> bool {
    agents::base_name(agent) == "clusterip" && !agent.contains(':')
}

/// The arguments in a line of `haresources`: an address, in which colons may stand, and what is hashed.
pub(crate) fn arguments(rest: &str) -> Vec<String> {
    match rest.rsplit_once("::").filter(|(_, hash)| HASHES.iter().any(|(name, _)| name == hash)) {
        Some((address, hash)) => vec![address.to_owned(), hash.to_owned()],
        None => vec![rest.to_owned()],
    }
}

/// How many buckets there are, unless the file says otherwise: so many that those of a node that dies spread evenly over
/// the others; of two, that the spread of clients is even enough.
pub(crate) fn buckets(owners: usize) -> u16 {
    let each = owners.saturating_sub(1).min(MOST_EACH);
    u16::try_from(if owners < 3 { 12 } else { owners * each }).unwrap_or(u16::MAX)
}

/// The addresses, or what is wrong with them.
pub(crate) fn addresses(
    args: &[String],
    params: &BTreeMap<String, String>,
) -> Result<Vec<ServiceAddress>, AddressFault> {
    let mut params = params.clone();
    let mut args = args.iter();
    let mut found = match args.next() {
        Some(first) => vec![address::shorthand(first)?],
        None => {
            let own = ["address", "interface"].map(|key| (key, params.get(key).cloned()));
            let plain = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
            address::vip(&[], &plain)?
        }
    };
    if let Some(hash) = args.next() {
        params.insert("hash".to_owned(), hash.clone());
    }
    if let Some(more) = args.next() {
        return Err(AddressFault {
            param: None,
            label: format!("{more:?} is one word too many"),
            help: "write the address, and behind it a hash, or named parameters".to_owned(),
        });
    }
    let (hash, seed, mac) = (hash(&params)?, seed(&params)?, mac(&params)?);
    for one in &mut found {
        one.shared = Some(Sharing {
            mac: mac.unwrap_or_else(|| group_of(one)),
            hash,
            // Clients' ports are theirs to choose: who knows the seed can choose the node as well.
            seed: seed.unwrap_or(GroupId::of(&one.address.to_string()).0),
        });
    }
    Ok(found)
}

/// A group of Ethernet that shows its address, and is no protocol's: of those of IP a switch may watch who joins them.
fn group_of(address: &ServiceAddress) -> [u8; 6] {
    match address.address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            [0x03, 0x04, a, b, c, d]
        }
        IpAddr::V6(six) => {
            let [.., a, b, c, d] = six.octets();
            [0x03, 0x06, a, b, c, d]
        }
    }
}

fn hash(params: &BTreeMap<String, String>) -> Result<HashOf, AddressFault> {
    let Some(written) = params.get("hash") else { return Ok(HashOf::SourcePort) };
    let found = HASHES.iter().find(|(name, _)| name == written);
    found.map(|(_, hash)| *hash).ok_or_else(|| {
        let names: Vec<&str> = HASHES.iter().map(|(name, _)| *name).collect();
        address::fault("hash", "no such hash", &format!("write one of {}", names.join(", ")))
    })
}

fn seed(params: &BTreeMap<String, String>) -> Result<Option<u32>, AddressFault> {
    let Some(written) = params.get("seed") else { return Ok(None) };
    let read = match written.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => written.parse(),
    };
    let help = "write a number of 32 bits, such as \"0x1234abcd\"";
    read.map(Some).map_err(|_| address::fault("seed", "no number of 32 bits", help))
}

fn mac(params: &BTreeMap<String, String>) -> Result<Option<[u8; 6]>, AddressFault> {
    let Some(written) = params.get("mac") else { return Ok(None) };
    let bytes: Vec<u8> = written
        .split([':', '-'])
        .filter(|byte| byte.len() == 2)
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let help = "write a group's address, such as \"03:04:c0:a8:07:14\": its first byte is odd";
    match <[u8; 6]>::try_from(bytes) {
        Ok(_) if written.len() != 17 => Err(address::fault("mac", "no hardware address", help)),
        Ok(mac) if mac[0] & 1 == 0 => {
            Err(address::fault("mac", "it is one machine's, and every node must get the frames", help))
        }
        Ok([0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]) => Err(address::fault("mac", "no switch passes it on", help)),
        Ok(mac) if mac == [0xff; 6] => Err(address::fault("mac", "it is everybody's", help)),
        Ok(mac) => Ok(Some(mac)),
        Err(_) => Err(address::fault("mac", "no hardware address", help)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<ServiceAddress>, AddressFault> {
        let params = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        addresses(&[], &params)
    }

    #[test]
    fn an_address_has_a_group_a_hash_and_a_seed_of_its_own_unless_they_are_given() {
        let both = read(&[("address", "192.168.7.20/24 fd00::1:20/64")]).unwrap();
        let sharing: Vec<&Sharing> = both.iter().filter_map(|one| one.shared.as_ref()).collect();
        assert_eq!(sharing[0].mac, [3, 4, 192, 168, 7, 20]);
        assert_eq!(sharing[1].mac, [3, 6, 0, 1, 0, 0x20]);
        assert_eq!(sharing[0].hash, HashOf::SourcePort);
        assert_ne!(sharing[0].seed, sharing[1].seed);
        let given = [("hash", "sourceip"), ("seed", "0x10"), ("mac", "01:00:5e:00:00:64")];
        let given: Vec<_> = [("address", "10.0.0.1")].into_iter().chain(given).collect();
        let sharing = read(&given).unwrap().remove(0).shared.unwrap();
        let wanted = Sharing { mac: [1, 0, 0x5e, 0, 0, 0x64], hash: HashOf::Source, seed: 16 };
        assert_eq!(sharing, wanted);
    }

    #[test]
    fn what_cannot_be_shared_so_is_refused() {
        for (key, value, word) in [
            ("hash", "sourceport", "no such hash"),
            ("seed", "many", "32 bits"),
            ("seed", "0x123456789", "32 bits"),
            ("mac", "02:00:00:00:00:01", "one machine's"),
            ("mac", "01:80:c2:00:00:0e", "no switch"),
            ("mac", "ff:ff:ff:ff:ff:ff", "everybody's"),
            ("mac", "03:00:00:00:00", "no hardware address"),
            ("mac", "03:00:00:00:00:0g", "no hardware address"),
            ("mac", "03:00:00:00:00:01:", "no hardware address"),
        ] {
            let fault = read(&[("address", "10.0.0.1"), (key, value)]).unwrap_err();
            assert!(fault.param == Some(key) && fault.label.contains(word), "{value}: {fault:?}");
        }
    }

    #[test]
    fn a_line_names_an_address_of_either_family_and_what_is_hashed() {
        assert_eq!(arguments("10.0.0.1/24/eth0"), ["10.0.0.1/24/eth0"]);
        assert_eq!(arguments("fd00::1/64::sourceip"), ["fd00::1/64", "sourceip"]);
        let args = arguments("10.0.0.1/24::sourceip-sourceport-destport");
        let read = addresses(&args, &BTreeMap::new()).unwrap();
        assert_eq!(read[0].shared.as_ref().map(|sharing| sharing.hash), Some(HashOf::Ports));
        assert!(addresses(&["10.0.0.1".to_owned(), "port".to_owned()], &BTreeMap::new()).is_err());
    }

    #[test]
    fn the_buckets_of_a_dead_node_spread_evenly_over_the_others() {
        for owners in 2..12_usize {
            let buckets = usize::from(buckets(owners));
            assert!(buckets.is_multiple_of(owners) && (buckets / owners).is_multiple_of(owners - 1));
        }
    }
}
