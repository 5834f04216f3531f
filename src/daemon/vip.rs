//! The built-in agent of addresses: where each of them belongs, and whether it is there.
//!
//! An address is added without asking the network whether somebody else has it (IPv6's detection would make it wait for
//! a second): the lease says whose it is. It is announced by the caller, and only while its element stands in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Config, Resource, ServiceAddress};
use crate::net::frame::{Interface, Mac};
use crate::net::route::{AT_ONCE, Address, Link, Route, RouteError};
use crate::net::sysctl;
use crate::types::GroupId;

/// Where shared addresses stand.
const LOOPBACK: &str = "lo";

/// A resource of a group, by its place.
pub(super) type Place = (GroupId, u16);

/// The addresses that this node has for its groups.
#[derive(Debug)]
pub(super) struct Vips {
    route: Route,
    here: BTreeMap<Place, Vec<Placed>>,
    /// Where addresses that are not here would be. `None`: the network has changed since it was looked up.
    ahead: Option<BTreeMap<Place, Ahead>>,
}

#[derive(Debug)]
struct Ahead {
    /// As it was configured then.
    of: Arc<Resource>,
    placed: Vec<Placed>,
}

/// An address where it belongs.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) address: Address,
    /// Where the neighbours are that ask for it.
    pub(super) interface: Interface,
    /// What they are told, where every node has it. Then it stands on the loopback interface: the kernel must not speak for
    /// it by itself.
    pub(super) shared: Option<Mac>,
}

/// Why an address is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum VipError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(
        "{0} is in no network of this machine: name its interface, as in {0}/24/eth0, or give the machine an address in \
         that network"
    )]
    NoNetwork(IpAddr),
    #[error("the interface {LOOPBACK} is down, where shared addresses stand: ip link set {LOOPBACK} up")]
    NoLoopback,
    #[error("{address} on {interface}: only an interface of Ethernet's kind can announce an address")]
    NotEthernet { address: IpAddr, interface: String },
}

impl Vips {
    pub(super) fn new(route: Route) -> Self {
        Self { route, here: BTreeMap::new(), ahead: None }
    }

    /// Adds the addresses of a resource; those that stand are left as they are. Hundreds take a while, so it is said at
    /// once of each part of them that it stands.
    pub(super) fn start(
        &mut self,
        place: Place,
        resource: &Resource,
        mut stand: impl FnMut(&[Placed]),
    ) -> Result<(), VipError> {
        let placed = match self.found_ahead(place, resource)? {
            Some(placed) => placed,
            None => self.places_of(resource)?,
        };
        // Also what was added beside one that failed: the stop that follows takes it away.
        self.here.insert(place, placed.clone());
        for some in placed.chunks(AT_ONCE) {
            let addresses: Vec<Address> = some.iter().map(|placed| placed.address.clone()).collect();
            if let Some((_, error)) = self.route.add_addresses(&addresses)?.into_iter().next() {
                return Err(error.into());
            }
            stand(some);
        }
        Ok(())
    }

    /// Looks up where all addresses would be that are not here, unless that is known.
    pub(super) fn look_ahead(&mut self, config: &Config) {
        if self.ahead.is_some() {
            return;
        }
        let (mut found, mut known) = (BTreeMap::new(), Known::default());
        for (id, group) in &config.groups {
            for (place, resource) in (0..).zip(&group.resources).filter(|(_, one)| one.carries_addresses()) {
                let place = (*id, place);
                // One that has no place will say so when it is started.
                if !self.here.contains_key(&place)
                    && let Ok(placed) = self.places_with(resource, &mut known)
                {
                    found.insert(place, Ahead { of: Arc::clone(resource), placed });
                }
            }
        }
        self.ahead = Some(found);
    }

    /// The network has changed.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead = None;
    }

    /// What was looked up for just this resource. Of a change of routes nobody tells, so where the interface was left to
    /// the route, the route is asked, for one address in the place of all.
    fn found_ahead(&mut self, place: Place, resource: &Resource) -> Result<Option<Vec<Placed>>, VipError> {
        let Some(Ahead { of, placed }) = self.ahead.as_mut().and_then(|ahead| ahead.remove(&place)) else {
            return Ok(None);
        };
        if *of != *resource {
            return Ok(None);
        }
        let unnamed = resource.addresses().into_iter().find(|wanted| wanted.interface.is_none());
        let Some(unnamed) = unnamed else { return Ok(Some(placed)) };
        let (index, _) = self.network_of(unnamed.address, &mut Known::default())?;
        let same =
            |placed: &Placed| placed.address.address != unnamed.address || placed.interface.index == index;
        let stays = placed.iter().all(same);
        Ok(stays.then_some(placed))
    }

    /// Takes the addresses of a resource away, wherever they stand.
    pub(super) fn stop(&mut self, place: Place, resource: &Resource) -> Result<(), VipError> {
        // Forgotten first, so that the guard does not put back what goes.
        let known = self.here.remove(&place);
        let standing: Vec<Address> = match &known {
            Some(placed) => placed.iter().map(|placed| placed.address.clone()).collect(),
            None => self.standing(resource)?,
        };
        // Of a shared address other buckets may be here.
        let is = |one: &Address, other: &Address| (one.index, one.address) == (other.index, other.address);
        let needed =
            |address: &Address| self.here.values().flatten().any(|other| is(&other.address, address));
        let standing: Vec<Address> = standing.into_iter().filter(|address| !needed(address)).collect();
        let failed = self.route.delete_addresses(&standing)?;
        match failed.into_iter().next() {
            Some((_, error)) => {
                if let Some(known) = known {
                    self.here.insert(place, known);
                }
                Err(error.into())
            }
            None => Ok(()),
        }
    }

    /// How many of a resource's addresses stand on this machine, of how many.
    pub(super) fn count(&mut self, resource: &Resource) -> Result<(usize, usize), VipError> {
        Ok((self.standing(resource)?.len(), resource.addresses().len()))
    }

    /// Adopts what an earlier daemon added: from now on it is guarded.
    pub(super) fn adopt(&mut self, place: Place, resource: &Resource) -> Result<Vec<Placed>, VipError> {
        let placed = self.places_of(resource)?;
        self.here.insert(place, placed.clone());
        Ok(placed)
    }

    /// Those of a group that should be here.
    pub(super) fn of(&self, group: GroupId) -> impl Iterator<Item = &Placed> {
        self.here.iter().filter(move |((of, _), _)| *of == group).flat_map(|(_, placed)| placed)
    }

    /// Those that should be on this interface.
    pub(super) fn on(&self, index: u32) -> impl Iterator<Item = IpAddr> {
        let all = self.here.values().flatten();
        all.filter(move |placed| placed.address.index == index).map(|placed| placed.address.address)
    }

    /// The shared addresses that should be here, for neighbours on this interface, and what these are told.
    pub(super) fn shared_on(&self, interface: &Interface) -> BTreeSet<(IpAddr, Mac)> {
        // By its name: the address does not go with an interface that is made anew.
        let all = self.here.values().flatten().filter(|placed| placed.interface.name == interface.name);
        all.filter_map(|placed| Some((placed.address.address, placed.shared?))).collect()
    }

    /// Whose address this is, if it should be here.
    pub(super) fn owner(&self, index: u32, address: IpAddr) -> Option<GroupId> {
        let is_it = |placed: &Placed| placed.address.index == index && placed.address.address == address;
        self.here.iter().find(|(_, all)| all.iter().any(is_it)).map(|((group, _), _)| *group)
    }

    /// Puts back what somebody else took away; the groups that missed something.
    pub(super) fn put_back(&mut self) -> Result<Vec<(GroupId, IpAddr)>, VipError> {
        let standing = self.route.addresses()?;
        let stands = |wanted: &Address| {
            standing.iter().any(|there| there.index == wanted.index && there.address == wanted.address)
        };
        let mut missing: Vec<(GroupId, Address)> = self
            .here
            .iter()
            .flat_map(|((group, _), placed)| placed.iter().map(|placed| (*group, placed.address.clone())))
            .filter(|(_, address)| !stands(address))
            .collect();
        missing.sort_by_key(|(group, address)| (*group, address.index, address.address));
        missing.dedup_by_key(|(group, address)| (*group, address.index, address.address));
        // Of a shared address each bucket misses the same.
        let mut addresses: Vec<Address> = Vec::new();
        for (_, address) in &missing {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let failed = self.route.add_addresses(&addresses)?;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error.into());
        }
        Ok(missing.into_iter().map(|(group, address)| (group, address.address)).collect())
    }

    /// The addresses of a resource that stand, as they stand.
    fn standing(&mut self, resource: &Resource) -> Result<Vec<Address>, VipError> {
        let wanted: Vec<IpAddr> = resource.addresses().iter().map(|wanted| wanted.address).collect();
        let standing = self.route.addresses()?;
        Ok(standing.into_iter().filter(|there| wanted.contains(&there.address)).collect())
    }

    /// Where the addresses of a resource belong, on this machine.
    pub(super) fn places_of(&mut self, resource: &Resource) -> Result<Vec<Placed>, VipError> {
        self.places_with(resource, &mut Known::default())
    }

    fn places_with(&mut self, resource: &Resource, known: &mut Known) -> Result<Vec<Placed>, VipError> {
        resource.addresses().iter().map(|address| self.place(address, known)).collect()
    }

    fn place(&mut self, wanted: &ServiceAddress, known: &mut Known) -> Result<Placed, VipError> {
        if let Some(sharing) = &wanted.shared {
            return self.place_shared(wanted, Mac(sharing.mac), known);
        }
        let (interface, found_prefix) = match &wanted.interface {
            Some(name) => (self.interface(name, wanted.address, known)?, None),
            None => {
                let (index, prefix) = self.network_of(wanted.address, known)?;
                let name = match known.interfaces.values().find(|interface| interface.index == index) {
                    Some(interface) => interface.name.to_string(),
                    None => self.route.link_at(index)?.name,
                };
                (self.interface(&name, wanted.address, known)?, prefix)
            }
        };
        let prefix = match wanted.prefix.or(found_prefix) {
            Some(prefix) => prefix,
            None => self.prefix_on(interface.index, wanted.address, known)?,
        };
        let mut address = Address::new(interface.index, wanted.address, prefix);
        address.label.clone_from(&wanted.label);
        address.broadcast = wanted.broadcast;
        Ok(Placed { address, interface, shared: None })
    }

    fn place_shared(
        &mut self,
        wanted: &ServiceAddress,
        mac: Mac,
        known: &mut Known,
    ) -> Result<Placed, VipError> {
        let standing = self.here.values().flatten().find(|placed| placed.address.address == wanted.address);
        let name = match (&wanted.interface, standing) {
            (Some(name), _) => name.clone(),
            (None, Some(standing)) => standing.interface.name.to_string(),
            (None, None) => {
                let (index, _) = self.network_of(wanted.address, known)?;
                self.route.link_at(index)?.name
            }
        };
        let interface = self.interface(&name, wanted.address, known)?;
        let loopback = self.route.link(LOOPBACK)?;
        if !loopback.up {
            return Err(VipError::NoLoopback);
        }
        let whole = if wanted.address.is_ipv4() { 32 } else { 128 };
        Ok(Placed {
            address: Address::new(loopback.index, wanted.address, whole),
            interface,
            shared: Some(mac),
        })
    }

    fn interface(&mut self, name: &str, address: IpAddr, known: &mut Known) -> Result<Interface, VipError> {
        if let Some(interface) = known.interfaces.get(name) {
            return Ok(interface.clone());
        }
        let link = self.route.link(name)?;
        let interface = interface_of(&mut self.route, &link)
            .map_err(|NotEthernet| VipError::NotEthernet { address, interface: name.to_owned() })?;
        known.interfaces.insert(name.to_owned(), interface.clone());
        Ok(interface)
    }

    /// The interface that is in the address's network, and the network's prefix.
    fn network_of(&mut self, address: IpAddr, known: &mut Known) -> Result<(u32, Option<u8>), VipError> {
        let path = self.route.path_to(address)?.ok_or(VipError::NoNetwork(address))?;
        if path.local {
            let standing = known.standing(&mut self.route)?;
            let found = standing.iter().find(|there| there.address == address);
            if path.index == self.route.link(LOOPBACK)?.index {
                return self.network_around(address, known);
            }
            return Ok((path.index, found.map(|there| there.prefix)));
        }
        if path.gateway.is_some() || path.prefix == 0 {
            return Err(VipError::NoNetwork(address));
        }
        Ok((path.index, Some(path.prefix)))
    }

    /// The interface whose own network has the address in it: of one that stands on the loopback interface the route says
    /// nothing.
    fn network_around(&mut self, address: IpAddr, known: &mut Known) -> Result<(u32, Option<u8>), VipError> {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let standing = known.standing(&mut self.route)?;
        let networks = standing.iter().filter(|there| there.prefix < whole);
        let found = networks.filter(|there| in_network(address, there.address, there.prefix));
        // Of equals the one that the route has: the first.
        let nearest = found
            .max_by_key(|there| (there.prefix, std::cmp::Reverse(there.index)))
            .ok_or(VipError::NoNetwork(address))?;
        Ok((nearest.index, Some(nearest.prefix)))
    }

    /// The interface through which the neighbours of an address are reached, as the route has it.
    pub(super) fn interface_to(&mut self, address: IpAddr) -> Option<u32> {
        self.network_of(address, &mut Known::default()).ok().map(|(index, _)| index)
    }

    /// The prefix of the network of this interface that the address is in; a network of its own, if it is in none.
    fn prefix_on(&mut self, index: u32, address: IpAddr, known: &mut Known) -> Result<u8, VipError> {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let standing = known.standing(&mut self.route)?;
        let networks = standing.iter().filter(|there| there.index == index && there.prefix < whole);
        let found = networks.filter(|there| in_network(address, there.address, there.prefix));
        Ok(found.map(|there| there.prefix).max().unwrap_or(whole))
    }
}

/// What was found on the way, so that hundreds of addresses don't each ask for the same.
#[derive(Debug, Default)]
struct Known {
    interfaces: BTreeMap<String, Interface>,
    standing: Option<Vec<Address>>,
}

impl Known {
    fn standing(&mut self, route: &mut Route) -> Result<&[Address], RouteError> {
        match &mut self.standing {
            Some(standing) => Ok(standing),
            none => Ok(none.insert(route.addresses()?)),
        }
    }
}

/// An interface of no kind that can announce.
#[derive(Debug)]
pub(super) struct NotEthernet;

/// An interface with all that its frames need to know.
pub(super) fn interface_of(route: &mut Route, link: &Link) -> Result<Interface, NotEthernet> {
    let mac = link.mac.ok_or(NotEthernet)?;
    let link_local = |address: &Address| match address.address {
        IpAddr::V6(v6) => Some(v6).filter(|v6| address.index == link.index && v6.is_unicast_link_local()),
        IpAddr::V4(_) => None,
    };
    // Where it cannot be read there is no IPv6.
    let forwarding = sysctl::get(&format!("net/ipv6/conf/{}/forwarding", link.name));
    Ok(Interface {
        index: link.index,
        name: link.name.as_str().into(),
        mac,
        link_local: route.addresses().ok().and_then(|all| all.iter().find_map(link_local)),
        forwards: forwarding.is_ok_and(|text| text.trim() == "1"),
    })
}

fn in_network(address: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (address, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            (u32::from(one) ^ u32::from(other)) & !host == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            (u128::from(one) ^ u128::from(other)) & !host == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_first_and_last_address_and_no_other() {
        let within = |a: &str, b: &str, prefix| in_network(a.parse().unwrap(), b.parse().unwrap(), prefix);
        assert!(within("10.0.0.0", "10.0.0.255", 24));
        assert!(!within("10.0.1.0", "10.0.0.255", 24));
        assert!(within("10.0.1.0", "192.168.0.1", 0));
        assert!(within("fd00::1", "fd00::ffff", 64));
        assert!(!within("fd00:0:0:1::1", "fd00::1", 64));
        assert!(!within("10.0.0.1", "fd00::1", 0));
    }
}
