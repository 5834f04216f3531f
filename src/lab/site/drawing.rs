//! How a lab is drawn: networks from what is written, then those that are invented, then who is where in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::super::plan::{MachinePlan, Plan, PortPlan};
use super::super::subnet::Subnet;
use super::{Service, Site, SiteError};
use crate::config::{Cast, Config, Link, Placement};
use crate::types::NodeId;

/// So many addresses are asked at most: each costs five questions a millisecond.
const WATCHED: usize = 4;
/// Each node is a namespace, a thread and a daemon on this one machine.
const NODES: usize = 64;
/// The numbers of a machine's cables have room for more, and no machine has so many.
const NETWORKS: usize = 64;
/// Addresses of a link that are farther apart than such a network, of IPv4 and of IPv6, are behind routers.
const SHORTEST: (u8, u8) = (16, 32);
/// The network of an address, where nothing says how large it is.
const USUAL: (u8, u8) = (24, 64);
/// A network that is smaller has no room for two hosts.
const LONGEST: (u8, u8) = (30, 126);

/// A lab that is being drawn.
pub(super) struct Drawing<'a> {
    config: &'a Config,
    /// By their names, the order in which people count them.
    nodes: Vec<(NodeId, &'a str)>,
    networks: Vec<Network>,
    /// Who has an address.
    owners: BTreeMap<IpAddr, String>,
    invented: BTreeSet<IpAddr>,
}

/// One switch, and who is at it.
struct Network {
    name: String,
    subnets: Vec<(Subnet, Size)>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    serves: bool,
}

/// Where the size of a network is from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Guessed,
    Written,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(config: &'a Config) -> Result<Self, SiteError> {
        let mut nodes: Vec<_> = config.nodes.iter().map(|(id, node)| (*id, node.name.as_str())).collect();
        nodes.sort_unstable_by_key(|(_, name)| *name);
        if nodes.len() > NODES {
            return Err(SiteError::TooMany { count: nodes.len(), what: "nodes", most: NODES });
        }
        if config.addresses().is_empty() {
            return Err(SiteError::NoAddress);
        }
        let named = config.interfaces.iter().filter_map(|interface| interface.name.as_deref());
        let mut named = config.links.iter().map(|link| link.interface.as_str()).chain(named);
        if let Some(name) = named.find(|name| *name == "lo") {
            return Err(SiteError::NoCable(name.to_owned()));
        }
        let (owners, invented) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { config, nodes, networks: Vec::new(), owners, invented })
    }

    /// The whole lab.
    pub(super) fn draw(mut self) -> Result<Site, SiteError> {
        self.service_networks();
        for link in &self.config.links {
            self.link(link)?;
        }
        let services = self.services()?;
        let count = self.networks.len();
        if count > NETWORKS {
            return Err(SiteError::TooMany { count, what: "interfaces", most: NETWORKS });
        }
        self.invent_networks();
        self.tell_apart(&services)?;
        self.complete_nodes()?;
        let others = ["client", "gateway", "rival"].map(|name| self.free_name(name));
        self.client(&others[0])?;
        let gateways = self.gateway(&others[1])?;
        self.rival(&others[2]);
        Ok(self.finish(others, &gateways, services))
    }

    /// The number of the network of this interface.
    fn network(&mut self, name: &str) -> usize {
        if let Some(at) = self.networks.iter().position(|network| network.name == name) {
            return at;
        }
        let name = name.to_owned();
        self.networks.push(Network { name, subnets: Vec::new(), hosts: BTreeMap::new(), serves: false });
        self.networks.len() - 1
    }

    /// The networks that service addresses name whole. They come first: the links' addresses may be in them.
    fn service_networks(&mut self) {
        for Placement { address, .. } in self.config.addresses() {
            let Some(interface) = &address.interface else { continue };
            let at = self.network(interface);
            self.networks[at].serves = true;
            if let Some(subnet) = written(address.address, address.prefix) {
                self.networks[at].add(subnet, Size::Written);
            }
        }
    }

    fn link(&mut self, link: &Link) -> Result<(), SiteError> {
        let at = self.network(&link.interface);
        let Cast::Unicast(addresses) = &link.cast else {
            for (_, name) in &self.nodes {
                self.networks[at].hosts.entry((*name).to_owned()).or_default();
            }
            return Ok(());
        };
        for (node, address) in self.dealt(addresses) {
            let Some(address) = address else {
                self.networks[at].hosts.entry(node).or_default();
                continue;
            };
            self.give(&node, address, at)?;
        }
        for is_ipv4 in [true, false] {
            let subnets = &self.networks[at].subnets;
            let is_outside = |address: &IpAddr| {
                address.is_ipv4() == is_ipv4 && !subnets.iter().any(|(subnet, _)| subnet.contains(*address))
            };
            let outside: Vec<IpAddr> =
                addresses.iter().map(|(_, address)| *address).filter(is_outside).collect();
            let Some(subnet) = Subnet::around(&outside, of_family(USUAL, is_ipv4)) else { continue };
            if subnet.prefix() < of_family(SHORTEST, is_ipv4) {
                let addresses = outside.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
                return Err(SiteError::Apart { link: link.name.clone(), addresses });
            }
            self.networks[at].add(subnet, Size::Guessed);
        }
        Ok(())
    }

    /// Who has which address of a link. Heartbeat's `ucast` names no nodes: those addresses go round in the order of the
    /// nodes' names, for the daemons learn who is where; and whoever is left over is on that link without one.
    fn dealt(&self, addresses: &[(Option<NodeId>, IpAddr)]) -> Vec<(String, Option<IpAddr>)> {
        let has_name = |id: NodeId| addresses.iter().any(|(node, _)| *node == Some(id));
        let mut nameless =
            addresses.iter().filter(|(node, _)| node.is_none()).map(|(_, address)| *address).peekable();
        let are_nameless = nameless.peek().is_some();
        let mut dealt = Vec::new();
        for (id, name) in &self.nodes {
            let own = addresses.iter().filter(|(node, _)| *node == Some(*id));
            dealt.extend(own.map(|(_, address)| ((*name).to_owned(), Some(*address))));
            if are_nameless && !has_name(*id) {
                dealt.push(((*name).to_owned(), nameless.next()));
            }
        }
        dealt
    }

    /// This address is this machine's, here.
    fn give(&mut self, machine: &str, address: IpAddr, at: usize) -> Result<(), SiteError> {
        self.claim(address, machine)?;
        let own = self.networks[at].hosts.entry(machine.to_owned()).or_default();
        if !own.contains(&address) {
            own.push(address);
        }
        Ok(())
    }

    fn claim(&mut self, address: IpAddr, owner: &str) -> Result<(), SiteError> {
        match self.owners.insert(address, owner.to_owned()) {
            Some(one) if one != owner => Err(SiteError::Twice { address, one, other: owner.to_owned() }),
            Some(_) | None => Ok(()),
        }
    }

    /// The service addresses, each in a network: its interface's, the one that it lies in, or one of its own.
    fn services(&mut self) -> Result<Vec<(usize, Placement)>, SiteError> {
        let mut services: Vec<(usize, Placement)> = Vec::new();
        for placement in self.config.addresses() {
            let address = &placement.address;
            // What all nodes share is there once, whatever the number of its buckets.
            let is_known = |(_, known): &(usize, Placement)| known.address.address == address.address;
            if address.shared.is_some() && services.iter().any(is_known) {
                continue;
            }
            let wanted = written(address.address, address.prefix);
            let is_in = |network: &Network| {
                network.subnets.iter().any(|(subnet, _)| match wanted {
                    Some(wanted) => wanted.overlaps(*subnet),
                    None => subnet.contains(address.address),
                })
            };
            let at = match &address.interface {
                Some(name) => self.network(name),
                None => match self.networks.iter().position(is_in) {
                    Some(at) => at,
                    None => {
                        let name = self.free_interface();
                        self.network(&name)
                    }
                },
            };
            let network = &mut self.networks[at];
            network.serves = true;
            if let Some(wanted) = wanted {
                network.add(wanted, Size::Written);
            } else if !network.subnets.iter().any(|(subnet, _)| subnet.contains(address.address)) {
                let usual = of_family(USUAL, address.address.is_ipv4());
                network.add(Subnet::of(address.address, usual), Size::Guessed);
            }
            let group = self.config.groups.get(&placement.group).map_or("?", |group| &group.name);
            self.claim(address.address, &format!("the group {group}"))?;
            services.push((at, placement));
        }
        Ok(services)
    }

    fn free_interface(&self) -> String {
        let is_free = |name: &String| self.networks.iter().all(|network| network.name != *name);
        (0_u32..).map(|number| format!("eth{number}")).find(is_free).unwrap_or_default()
    }

    fn free_name(&self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.nodes.iter().any(|(_, node)| *node == name) {
            name.push_str("-of-lab");
        }
        name
    }

    /// A network that nobody names an address of gets one that nobody else has.
    fn invent_networks(&mut self) {
        let targets: Vec<IpAddr> = self.config.tiebreak.ping.iter().flatten().copied().collect();
        for at in 0..self.networks.len() {
            if !self.networks[at].subnets.is_empty() {
                continue;
            }
            let others = || self.networks.iter().flat_map(|network| &network.subnets);
            let is_free = |subnet: &Subnet| {
                others().all(|(other, _)| !other.overlaps(*subnet))
                    && !targets.iter().any(|target| subnet.contains(*target))
            };
            let numbered = |number: u8| Subnet::of(Ipv4Addr::new(10, 200, number, 0).into(), 24);
            if let Some(subnet) = (0..=u8::MAX).map(numbered).find(is_free) {
                self.networks[at].add(subnet, Size::Guessed);
            }
        }
    }

    /// No address is in the networks of two interfaces. One whose size was guessed becomes as small as it can be.
    fn tell_apart(&mut self, services: &[(usize, Placement)]) -> Result<(), SiteError> {
        for (narrow, one, other) in
            self.pairs().into_iter().flat_map(|(one, other)| [(true, one, other), (false, one, other)])
        {
            let Some(shared) = self.shared(one, other) else { continue };
            if !narrow {
                let [one, other] = [one, other].map(|at| self.networks[at].name.clone());
                return Err(SiteError::Overlap { one, other, subnet: shared.to_string() });
            }
            for at in [one, other] {
                let placed = services.iter().filter(|(place, _)| *place == at);
                let services: Vec<IpAddr> = placed.map(|(_, placement)| placement.address.address).collect();
                self.networks[at].narrow(&services);
            }
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.networks.len();
        (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other))).collect()
    }

    fn shared(&self, one: usize, other: usize) -> Option<Subnet> {
        let (one, other) = (&self.networks[one].subnets, &self.networks[other].subnets);
        let mut pairs = one.iter().flat_map(|(one, _)| other.iter().map(move |(other, _)| (*one, *other)));
        pairs
            .find(|(one, other)| one.overlaps(*other))
            .map(|(one, other)| if one.prefix() < other.prefix() { one } else { other })
    }

    /// Who may own a group is where its addresses are, and everybody has an address in every network that it is in.
    fn complete_nodes(&mut self) -> Result<(), SiteError> {
        for at in 0..self.networks.len() {
            let owners = self.nodes.iter().filter(|(id, _)| !self.config.nodes[id].arbiter);
            for (_, name) in owners.filter(|_| self.networks[at].serves).copied().collect::<Vec<_>>() {
                self.networks[at].hosts.entry(name.to_owned()).or_default();
            }
            let members: Vec<String> = self.networks[at].hosts.keys().cloned().collect();
            for member in members {
                self.complete(&member, at)?;
            }
        }
        Ok(())
    }

    /// Gives a machine an address in every network of addresses in which it has none.
    fn complete(&mut self, machine: &str, at: usize) -> Result<(), SiteError> {
        self.networks[at].hosts.entry(machine.to_owned()).or_default();
        for (subnet, _) in self.networks[at].subnets.clone() {
            if self.networks[at].address_of(machine, subnet).is_some() {
                continue;
            }
            let is_target =
                |address: &IpAddr| self.config.tiebreak.ping.iter().flatten().any(|target| target == address);
            let free = subnet.hosts().find(|host| !self.owners.contains_key(host) && !is_target(host));
            let Some(free) = free else {
                let (network, machine) = (self.networks[at].name.clone(), machine.to_owned());
                return Err(SiteError::Full { subnet: subnet.to_string(), network, machine });
            };
            self.invented.insert(free);
            self.give(machine, free, at)?;
        }
        Ok(())
    }

    fn serving(&self) -> Vec<usize> {
        (0..self.networks.len()).filter(|at| self.networks[*at].serves).collect()
    }

    fn client(&mut self, name: &str) -> Result<(), SiteError> {
        self.serving().into_iter().try_for_each(|at| self.complete(name, at))
    }

    fn rival(&mut self, name: &str) {
        for at in self.serving() {
            self.networks[at].hosts.entry(name.to_owned()).or_default();
        }
    }

    /// Whoever is pinged and is nobody else. Targets beyond the networks of the lab are reached by the default route.
    /// Says which networks the gateway is in.
    fn gateway(&mut self, name: &str) -> Result<Vec<usize>, SiteError> {
        let mut places = self.serving();
        for target in self.config.tiebreak.ping.iter().flatten() {
            if self.owners.contains_key(target) {
                continue;
            }
            let holds =
                |network: &Network| network.subnets.iter().any(|(subnet, _)| subnet.contains(*target));
            let at = self.networks.iter().position(holds).or(places.first().copied()).unwrap_or(0);
            if !places.contains(&at) {
                places.push(at);
            }
            self.give(name, *target, at)?;
        }
        places.iter().try_for_each(|at| self.complete(name, *at))?;
        Ok(places)
    }

    /// A machine's default gateways: for each family the first that is in a network with it.
    fn gateways_of(&self, machine: &str, gateway: &str, places: &[usize]) -> Vec<IpAddr> {
        let near =
            places.iter().map(|at| &self.networks[*at]).filter(|network| network.hosts.contains_key(machine));
        let subnets =
            near.flat_map(|network| network.subnets.iter().map(move |(subnet, _)| (network, *subnet)));
        let found: Vec<_> =
            subnets.filter_map(|(network, subnet)| network.address_of(gateway, subnet)).collect();
        [true, false]
            .iter()
            .filter_map(|v4| found.iter().find(|address| address.is_ipv4() == *v4).copied())
            .collect()
    }

    fn finish(self, others: [String; 3], places: &[usize], placed: Vec<(usize, Placement)>) -> Site {
        let nodes: Vec<String> = self.nodes.iter().map(|(_, name)| (*name).to_owned()).collect();
        let [client, gateway, rival] = others;
        let machine = |name: &String| MachinePlan {
            name: name.clone(),
            ports: self.networks.iter().filter_map(|network| network.port(name)).collect(),
            gateways: if [&gateway, &rival].contains(&name) {
                Vec::new()
            } else {
                self.gateways_of(name, &gateway, places)
            },
        };
        let machines = nodes.iter().chain([&client, &gateway, &rival]).map(machine).collect();
        let networks = self.networks.iter().map(|network| network.name.clone()).collect();
        let links = self.config.links.iter();
        let links = links.map(|link| (link.name.clone(), link.interface.clone())).collect();
        let services = self.watched(placed);
        Site {
            plan: Plan { networks, machines },
            nodes,
            client,
            gateway,
            rival,
            services,
            links,
            invented: self.invented,
        }
    }

    /// The first address of each group is asked, as far as there are not too many.
    fn watched(&self, placed: Vec<(usize, Placement)>) -> Vec<Service> {
        let mut seen = BTreeSet::new();
        let service = |(at, placement): (usize, Placement)| {
            let (network, address) = (&self.networks[at], placement.address.address);
            let subnet = network.subnets.iter().find(|(subnet, _)| subnet.contains(address));
            let watched = seen.insert(placement.group) && seen.len() <= WATCHED;
            let prefix =
                subnet.map_or(if address.is_ipv4() { 32 } else { 128 }, |(subnet, _)| subnet.prefix());
            Service { address, prefix, network: network.name.clone(), watched }
        };
        let mut services: Vec<_> = placed.into_iter().map(service).collect();
        services.sort_by_key(|service| (!service.watched, service.address));
        services
    }
}

impl Network {
    /// Of two of which one lies in the other, the larger one stays.
    fn add(&mut self, subnet: Subnet, size: Size) {
        let is_inside =
            |(other, _): &&(Subnet, Size)| other.overlaps(subnet) && other.prefix() <= subnet.prefix();
        if self.subnets.iter().find(is_inside).is_some() {
            return;
        }
        let inside = self.subnets.iter().filter(|(other, _)| other.overlaps(subnet)).map(|(_, size)| *size);
        let size = inside.max().unwrap_or(size).max(size);
        self.subnets.retain(|(other, _)| !other.overlaps(subnet));
        self.subnets.push((subnet, size));
    }

    fn narrow(&mut self, services: &[IpAddr]) {
        let own: Vec<IpAddr> = self.hosts.values().flatten().chain(services).copied().collect();
        for (subnet, size) in &mut self.subnets {
            let inside: Vec<IpAddr> =
                own.iter().copied().filter(|address| subnet.contains(*address)).collect();
            let smallest = Subnet::around(&inside, of_family(LONGEST, subnet.is_ipv4()));
            if let (Size::Guessed, Some(smallest)) = (*size, smallest) {
                *subnet = smallest;
            }
        }
    }

    fn address_of(&self, machine: &str, subnet: Subnet) -> Option<IpAddr> {
        self.hosts.get(machine)?.iter().copied().find(|address| subnet.contains(*address))
    }

    fn port(&self, machine: &str) -> Option<PortPlan> {
        let own = self.hosts.get(machine)?;
        let with_prefix = |address: &IpAddr| {
            let subnet = self.subnets.iter().find(|(subnet, _)| subnet.contains(*address));
            let alone = if address.is_ipv4() { 32 } else { 128 };
            (*address, subnet.map_or(alone, |(subnet, _)| subnet.prefix()))
        };
        let addresses = own.iter().map(with_prefix).collect();
        Some(PortPlan { network: self.name.clone(), interface: self.name.clone(), addresses })
    }
}

/// The network that an address was written with, if that has room for hosts.
fn written(address: IpAddr, prefix: Option<u8>) -> Option<Subnet> {
    let prefix = prefix.filter(|prefix| *prefix <= of_family(LONGEST, address.is_ipv4()))?;
    Some(Subnet::of(address, prefix))
}

fn of_family((v4, v6): (u8, u8), is_ipv4: bool) -> u8 {
    if is_ipv4 { v4 } else { v6 }
}
