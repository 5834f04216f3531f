//! The service addresses of a configuration: which resources carry one, on which interface, and under which
//! [`InterfaceId`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::agents;
use super::clusterip::{self, Sharing};
use super::limits;
use super::model::{Config, Interface, Resource};
use super::values;
use crate::types::{GroupId, InterfaceId};

/// An address that a resource carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAddress {
    /// The address.
    pub address: IpAddr,
    /// Its network's prefix; `None` where it is found from the route.
    pub prefix: Option<u8>,
    /// The interface; `None` where it is found from the route.
    pub interface: Option<String>,
    /// A label, as `ip address` shows it.
    pub label: Option<String>,
    /// The broadcast address, where it is not the network's last.
    pub broadcast: Option<Ipv4Addr>,
    /// Every node has it, and this is how they share it; `None`: one node has it.
    pub shared: Option<Sharing>,
}

/// Where a service address belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The group; an instance, if it is cloned.
    pub group: GroupId,
    /// The resource, by its place in the group.
    pub resource: usize,
    /// The address.
    pub address: ServiceAddress,
    /// Its interface.
    pub interface: InterfaceId,
}

/// What is wrong with the addresses of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressFault {
    /// The parameter; `None` if it is missing, or an argument.
    pub(crate) param: Option<&'static str>,
    /// What stands under it.
    pub(crate) label: String,
    /// What to write.
    pub(crate) help: String,
}

impl Config {
    /// Every service address with its interface. The order, and with it the numbers of interfaces, follows from the
    /// configuration alone: it is the same on every node.
    pub fn addresses(&self) -> Vec<Placement> {
        self.place_addresses().0
    }

    /// Fills in what follows from the groups' addresses: the interfaces, and each group's share of them.
    pub(crate) fn fill_in_interfaces(&mut self) {
        let (placements, interfaces) = self.place_addresses();
        for group in self.groups.values_mut() {
            group.interfaces.clear();
        }
        for placement in placements {
            if let Some(group) = self.groups.get_mut(&placement.group)
                && !group.interfaces.contains(&placement.interface)
            {
                group.interfaces.push(placement.interface);
            }
        }
        self.interfaces = interfaces;
    }

    fn place_addresses(&self) -> (Vec<Placement>, Vec<Interface>) {
        let mut known: BTreeMap<InterfaceKey, InterfaceId> = BTreeMap::new();
        let mut interfaces = Vec::new();
        let mut placements = Vec::new();
        for (id, group) in &self.groups {
            for (place, resource) in group.resources.iter().enumerate() {
                for address in resource.addresses() {
                    let key = InterfaceKey::of(&address);
                    // Limits::ADDRESSES is far below what an id holds.
                    let next = InterfaceId(u16::try_from(interfaces.len()).unwrap_or(u16::MAX));
                    let interface = *known.entry(key).or_insert_with(|| {
                        interfaces.push(self.interface(address.interface.clone()));
                        next
                    });
                    placements.push(Placement { group: *id, resource: place, address, interface });
                }
            }
        }
        (placements, interfaces)
    }

    fn interface(&self, name: Option<String>) -> Interface {
        let has_link =
            name.as_ref().is_some_and(|name| self.links.iter().any(|link| link.interface == *name));
        Interface { name, has_link }
    }
}

/// Addresses with equal keys are on the same interface.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum InterfaceKey {
    Named(String),
    /// Found from the route: the same for all addresses of one network.
    Network(IpAddr, u8),
}

impl InterfaceKey {
    fn of(address: &ServiceAddress) -> Self {
        match (&address.interface, address.address) {
            (Some(name), _) => Self::Named(name.clone()),
            (None, IpAddr::V4(v4)) => {
                let prefix = address.prefix.unwrap_or(32).min(32);
                let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
                Self::Network(IpAddr::V4((u32::from(v4) & mask).into()), prefix)
            }
            (None, IpAddr::V6(v6)) => {
                let prefix = address.prefix.unwrap_or(128).min(128);
                let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
                Self::Network(IpAddr::V6((u128::from(v6) & mask).into()), prefix)
            }
        }
    }
}

impl Resource {
    /// The service addresses that it carries; none if its agent is not one of addresses.
    pub fn addresses(&self) -> Vec<ServiceAddress> {
        // A resource of a valid configuration has readable addresses: the check has read them.
        addresses(&self.agent, &self.args, &self.params).unwrap_or_default()
    }

    /// Whether it carries addresses, so that the network shows whether it runs.
    pub fn carries_addresses(&self) -> bool {
        carries_addresses(&self.agent)
    }
}

/// Whether the agent carries addresses.
pub(crate) fn carries_addresses(agent: &str) -> bool {
    matches!(agents::base_name(agent).as_str(), "vip" | "ipaddr" | "ipaddr2" | "ipv6addr")
        || clusterip::is_agent(agent)
}

/// The addresses of a resource, or what is wrong with them.
pub(crate) fn addresses(
    agent: &str,
    args: &[String],
    params: &BTreeMap<String, String>,
) -> Result<Vec<ServiceAddress>, AddressFault> {
    match agents::base_name(agent).as_str() {
        "vip" => vip(args, params),
        "ipaddr" | "ipaddr2" => foreign(args, params, "ip"),
        "ipv6addr" => foreign(args, params, "ipv6addr"),
        _ if clusterip::is_agent(agent) => clusterip::addresses(args, params),
        _ => Ok(Vec::new()),
    }
}

/// Our own agent: `address` (several, separated by blanks), `interface`, `label`, `broadcast`.
pub(super) fn vip(
    args: &[String],
    params: &BTreeMap<String, String>,
) -> Result<Vec<ServiceAddress>, AddressFault> {
    if let Some(first) = args.first() {
        return shorthand(first).map(|address| vec![address]);
    }
    let text = required(params, "address", "address = \"192.168.232.20/24\"")?;
    let interface = interface(params, "interface")?;
    let label = label(params, "label")?;
    let broadcast = broadcast(params)?;
    let mut addresses = Vec::new();
    for word in text.split_whitespace() {
        let (address, prefix) = values::network_address(word)
            .map_err(|why| fault("address", &format!("{word}: {why}"), "write it as ADDRESS/PREFIX"))?;
        if broadcast.is_some() && address.is_ipv6() {
            return Err(fault("broadcast", "IPv6 has no broadcast", "leave it out"));
        }
        addresses.push(ServiceAddress {
            address,
            prefix,
            interface: interface.clone(),
            label: label.clone(),
            broadcast,
            shared: None,
        });
    }
    if addresses.is_empty() {
        return Err(fault("address", "no address", "write it as ADDRESS/PREFIX"));
    }
    Ok(addresses)
}

/// Heartbeat's and the OCF agents: `ip`, `nic`, `cidr_netmask`, `iflabel`, or a shorthand as the first argument.
fn foreign(
    args: &[String],
    params: &BTreeMap<String, String>,
    address: &'static str,
) -> Result<Vec<ServiceAddress>, AddressFault> {
    if let Some(first) = args.first() {
        return shorthand(first).map(|address| vec![address]);
    }
    let text = required(params, address, &format!("{address} = \"192.168.232.20\""))?;
    let (ip, mut prefix) =
        values::network_address(text.trim()).map_err(|why| fault(address, &why, "write one address"))?;
    if let Some(mask) = params.get("cidr_netmask") {
        let read = values::prefix_length(ip, mask.trim());
        prefix = Some(read.map_err(|why| fault("cidr_netmask", &why, "write it as cidr_netmask = \"24\""))?);
    }
    Ok(vec![ServiceAddress {
        address: ip,
        prefix,
        interface: interface(params, "nic")?,
        label: label(params, "iflabel")?,
        broadcast: if ip.is_ipv4() { broadcast(params)? } else { None },
        shared: None,
    }])
}

/// `ADDRESS[/PREFIX[/INTERFACE][/BROADCAST]]`, of either family.
pub(crate) fn shorthand(text: &str) -> Result<ServiceAddress, AddressFault> {
    let wrong = |why: String| AddressFault {
        param: None,
        label: why,
        help: "write ADDRESS, ADDRESS/PREFIX, ADDRESS/PREFIX/INTERFACE or ADDRESS/PREFIX/INTERFACE/BROADCAST"
            .to_owned(),
    };
    let mut parts = text.split('/');
    let address = values::host_address(parts.next().unwrap_or_default()).map_err(wrong)?;
    let prefix = parts.next().map(|part| values::prefix_length(address, part)).transpose().map_err(wrong)?;
    let mut found =
        ServiceAddress { address, prefix, interface: None, label: None, broadcast: None, shared: None };
    for part in parts {
        match part.parse::<Ipv4Addr>() {
            Ok(_) if address.is_ipv6() => return Err(wrong("IPv6 has no broadcast".to_owned())),
            Ok(broadcast) if found.broadcast.is_none() => found.broadcast = Some(broadcast),
            Err(_) if found.interface.is_none() && found.broadcast.is_none() => {
                let (interface, label) = split_label(part);
                if let Some(why) = values::interface_fault(interface) {
                    return Err(wrong(why));
                }
                found.interface = Some(interface.to_owned());
                found.label = label.map(str::to_owned);
            }
            _ => return Err(wrong(format!("{part:?} is one part too many"))),
        }
    }
    Ok(found)
}

/// `eth0:1` is the interface `eth0`, and its label as `ifconfig` showed it.
fn split_label(name: &str) -> (&str, Option<&str>) {
    match name.split_once(':') {
        Some((interface, _)) => (interface, Some(name)),
        None => (name, None),
    }
}

fn required<'a>(
    params: &'a BTreeMap<String, String>,
    key: &'static str,
    example: &str,
) -> Result<&'a str, AddressFault> {
    params.get(key).map(String::as_str).ok_or_else(|| AddressFault {
        param: None,
        label: format!("no parameter `{key}`"),
        help: format!("write params = {{ {example} }}"),
    })
}

fn interface(params: &BTreeMap<String, String>, key: &'static str) -> Result<Option<String>, AddressFault> {
    let Some(written) = params.get(key) else { return Ok(None) };
    let (name, _) = split_label(written);
    match values::interface_fault(name) {
        Some(why) => Err(fault(key, &why, "write a name that `ip link` shows")),
        None => Ok(Some(name.to_owned())),
    }
}

fn label(params: &BTreeMap<String, String>, key: &'static str) -> Result<Option<String>, AddressFault> {
    match params.get(key) {
        Some(label) if label.is_empty() || label.len() > limits::LABEL_BYTES => {
            let why = format!("a label has 1 to {} bytes", limits::LABEL_BYTES);
            Err(fault(key, &why, "shorten it"))
        }
        label => Ok(label.cloned()),
    }
}

fn broadcast(params: &BTreeMap<String, String>) -> Result<Option<Ipv4Addr>, AddressFault> {
    let Some(text) = params.get("broadcast") else { return Ok(None) };
    let read =
        text.parse().map_err(|_| fault("broadcast", "not an IPv4 address", "leave it out, or write one"))?;
    Ok(Some(read))
}

pub(super) fn fault(param: &'static str, label: &str, help: &str) -> AddressFault {
    AddressFault { param: Some(param), label: label.to_owned(), help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorthand_of_heartbeat_reads_in_each_of_its_forms() {
        let full = shorthand("192.168.1.20/24/eth0:0/192.168.1.255").unwrap();
        assert_eq!(full.interface.as_deref(), Some("eth0"));
        assert_eq!(full.label.as_deref(), Some("eth0:0"));
        assert_eq!(full.broadcast, Some(Ipv4Addr::new(192, 168, 1, 255)));
        let without_interface = shorthand("192.168.1.20/24/192.168.1.255").unwrap();
        assert_eq!((without_interface.interface, without_interface.broadcast), (None, full.broadcast));
        let six = shorthand("2001:db8::10/64/eth0").unwrap();
        assert_eq!((six.prefix, six.interface.as_deref()), (Some(64), Some("eth0")));
        for wrong in ["1.2.3", "1.2.3.4/33", "1.2.3.4/24/eth0/eth1", "::1/64/eth0/1.2.3.4", "1.2.3.4/24/"] {
            assert!(shorthand(wrong).is_err(), "{wrong}");
        }
    }
}
