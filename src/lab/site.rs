//! Which lab stands for a configuration: a machine for each node, a network for each interface that it names, and who is
//! needed besides. Pure: nothing is built here.
//!
//! Addresses that the configuration names are where it says. The others are invented, from the end of their network:
//! what a node has on a link without addresses, what it has in the network of a service address, and those of the three
//! machines that are no nodes: a client that asks, a gateway that has the ping targets, and a rival.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::plan::{MachinePlan, Plan, PortPlan};
use super::subnet::Subnet;
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

/// A lab for a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What is built.
    pub plan: Plan,
    /// The machines that have daemons: the nodes and arbiters.
    pub nodes: Vec<String>,
    /// The machine that asks.
    pub client: String,
    /// The machine that has the ping targets, and is the nodes' default gateway.
    pub gateway: String,
    /// The machine that claims what is not its own.
    pub rival: String,
    /// The service addresses; those that the client asks come first.
    pub services: Vec<Service>,
    /// The links, with the networks that they run over.
    pub links: Vec<(String, String)>,
    /// Addresses that the configuration does not name.
    pub invented: BTreeSet<IpAddr>,
}

/// A service address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The address.
    pub address: IpAddr,
    /// The prefix of the network that it is in.
    pub prefix: u8,
    /// The lab's network.
    pub network: String,
    /// Whether the client asks it.
    pub watched: bool,
}

/// Why there is no lab for a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// There is nothing to ask.
    #[error("no group has a service address, so a client has nothing to ask: add a group with one")]
    NoAddress,
    /// One machine is too small for it.
    #[error("{count} {what} are too many for one machine: take a configuration with {most} at most")]
    TooMany {
        /// So many.
        count: usize,
        /// Of what.
        what: &'static str,
        /// There may be so many.
        most: usize,
    },
    /// Every machine has it already.
    #[error("the interface {0} is in every machine already and has no cable: name another one")]
    NoCable(String),
    /// Two have the same address.
    #[error("{address} is the address of {one} and of {other}: give each its own")]
    Twice {
        /// The address.
        address: IpAddr,
        /// Who has it.
        one: String,
        /// Who has it, too.
        other: String,
    },
    /// The nodes of a link are not in one network.
    #[error(
        "the addresses of the link {link} are in no network of one cable ({addresses}): between them are routers, and the \
         lab has none"
    )]
    Apart {
        /// The link.
        link: String,
        /// Its addresses.
        addresses: String,
    },
    /// Two interfaces are in one network.
    #[error(
        "{one} and {other} both have addresses of {subnet}, so a machine cannot tell which of them to use: give each \
         interface a network of its own"
    )]
    Overlap {
        /// An interface.
        one: String,
        /// Another one.
        other: String,
        /// The network.
        subnet: String,
    },
    /// A network is full.
    #[error("{subnet} on {network} has no free address for {machine}: take a network with more room")]
    Full {
        /// The network of addresses.
        subnet: String,
        /// The interface.
        network: String,
        /// Who needs one.
        machine: String,
    },
}

impl Site {
    /// The lab for this configuration.
    pub fn of(config: &Config) -> Result<Self, SiteError> {
        let mut drawing = Drawing::new(config)?;
        drawing.service_networks();
        for link in &config.links {
            drawing.link(link)?;
        }
        let services = drawing.services()?;
        let count = drawing.networks.len();
        if count > NETWORKS {
            return Err(SiteError::TooMany { count, what: "interfaces", most: NETWORKS });
        }
        drawing.invent_networks();
        drawing.tell_apart(&services)?;
        drawing.complete_nodes()?;
        let others = ["client", "gateway", "rival"].map(|name| drawing.free_name(name));
        drawing.client(&others[0])?;
        let gateways = drawing.gateway(&others[1])?;
        drawing.rival(&others[2]);
        Ok(drawing.finish(others, &gateways, services))
    }
}

/// A lab that is being drawn.
struct Drawing<'a> {
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
    fn new(config: &'a Config) -> Result<Self, SiteError> {
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
        let mut services = Vec::new();
        for placement in self.config.addresses() {
            let address = &placement.address;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const HEAD: &str = "[cluster]\nname = \"web\"\n[node.lb0]\n[node.lb1]\n";
    const LAN: &str =
        "[link.lan]\ninterface = \"eth0\"\nunicast = { lb0 = \"192.168.7.10\", lb1 = \"192.168.7.11\" }\n";

    fn drawn(before: &str, after: &str) -> Result<Site, SiteError> {
        let text = format!("{before}\n{HEAD}{after}");
        let loaded = config::parse_toml("systole.toml", &text).unwrap_or_else(|report| panic!("{report}"));
        Site::of(&loaded.config)
    }

    /// A machine a line: its cables with their addresses, and its gateways.
    fn shown(site: &Site) -> Vec<String> {
        let port = |port: &PortPlan| {
            let addresses = port.addresses.iter().map(|(address, prefix)| format!(" {address}/{prefix}"));
            format!(" {}:{}", port.interface, addresses.collect::<String>())
        };
        let machine = |machine: &MachinePlan| {
            let ports: String = machine.ports.iter().map(port).collect();
            let gateways: String = machine.gateways.iter().map(|gateway| format!(" via {gateway}")).collect();
            format!("{}{ports}{gateways}", machine.name)
        };
        site.plan.machines.iter().map(machine).collect()
    }

    #[test]
    fn what_is_written_is_where_it_says_and_the_rest_is_invented() {
        let cross = "[link.cross]\ninterface = \"eth1\"\nmulticast = \"239.0.0.43\"\n";
        let ping = "[tiebreak]\nping = [\"192.168.7.1\", \"9.9.9.9\"]\n";
        let site = drawn("haresources = \"lb0 192.168.7.20/24/eth0\"", &[LAN, cross, ping].concat()).unwrap();
        assert_eq!(
            shown(&site),
            [
                "lb0 eth0: 192.168.7.10/24 eth1: 10.200.0.254/24 via 192.168.7.1",
                "lb1 eth0: 192.168.7.11/24 eth1: 10.200.0.253/24 via 192.168.7.1",
                "client eth0: 192.168.7.254/24 via 192.168.7.1",
                "gateway eth0: 192.168.7.1/24 9.9.9.9/32",
                "rival eth0:",
            ]
        );
        assert_eq!(site.plan.networks, ["eth0", "eth1"]);
        assert_eq!(
            site.links,
            [("lan", "eth0"), ("cross", "eth1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        let invented: Vec<_> = site.invented.iter().map(IpAddr::to_string).collect();
        assert_eq!(invented, ["10.200.0.253", "10.200.0.254", "192.168.7.254"]);
        let service = Service {
            address: "192.168.7.20".parse().unwrap(),
            prefix: 24,
            network: "eth0".to_owned(),
            watched: true,
        };
        assert_eq!(site.services, [service]);
    }

    #[test]
    fn an_address_without_an_interface_is_in_the_network_that_it_lies_in_or_in_one_of_its_own() {
        let near = drawn("haresources = \"lb0 192.168.7.20\"", LAN).unwrap();
        assert_eq!((near.services[0].network.as_str(), near.services[0].prefix), ("eth0", 24));
        let wide = drawn("haresources = \"lb0 192.168.200.20/16\"", LAN).unwrap();
        assert_eq!(shown(&wide)[0], "lb0 eth0: 192.168.7.10/16 via 192.168.255.253");
        let far = drawn("haresources = \"lb0 172.16.0.20/28\"", LAN).unwrap();
        assert_eq!(shown(&far)[0], "lb0 eth0: 192.168.7.10/24 eth1: 172.16.0.30/28 via 172.16.0.27");
        assert_eq!(shown(&far)[2], "client eth1: 172.16.0.28/28 via 172.16.0.27");
    }

    #[test]
    fn a_node_without_an_address_in_a_service_network_gets_one_of_either_family() {
        let site = drawn(
            "haresources = \"lb0 192.168.7.20/24/eth2 fd00:7::20/64/eth2\"",
            LAN.replace("192.168.7", "10.0.0").as_str(),
        )
        .unwrap();
        assert_eq!(
            shown(&site)[0],
            "lb0 eth2: 192.168.7.254/24 fd00:7::fffe/64 eth0: 10.0.0.10/24 via 192.168.7.251 via fd00:7::fffb"
        );
    }

    #[test]
    fn an_arbiter_is_on_its_links_and_owns_nothing() {
        let text = "[node.w]\narbiter = true\n[link.lan]\ninterface = \"eth0\"\n\
                    unicast = { lb0 = \"10.0.0.1\", lb1 = \"10.0.0.2\", w = \"10.0.0.3\" }\n";
        let site = drawn("haresources = \"lb0 192.168.7.20/24/eth1\"", text).unwrap();
        assert_eq!(site.nodes, ["lb0", "lb1", "w"]);
        assert_eq!(shown(&site)[2], "w eth0: 10.0.0.3/24");
    }

    #[test]
    fn cables_whose_networks_could_be_one_are_told_apart() {
        let link = |name: &str, interface: &str, one: &str, other: &str| {
            format!(
                "[link.{name}]\ninterface = \"{interface}\"\nunicast = {{ lb0 = \"{one}\", lb1 = \"{other}\" }}\n"
            )
        };
        let apart = link("a", "eth1", "10.0.0.1", "10.0.0.2") + &link("b", "eth2", "10.0.0.5", "10.0.0.6");
        let site = drawn("haresources = \"lb0 192.168.7.20/24/eth0\"", &apart).unwrap();
        assert_eq!(
            shown(&site)[0],
            "lb0 eth0: 192.168.7.254/24 eth1: 10.0.0.1/30 eth2: 10.0.0.5/30 via 192.168.7.251"
        );
        let mixed = link("a", "eth1", "10.0.0.1", "10.0.0.4") + &link("b", "eth2", "10.0.0.2", "10.0.0.3");
        let error = drawn("haresources = \"lb0 192.168.7.20/24/eth0\"", &mixed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "eth1 and eth2 both have addresses of 10.0.0.0/29, so a machine cannot tell which of them to use: give each \
             interface a network of its own"
        );
        let routed = link("wan", "eth1", "10.0.0.1", "192.0.2.1");
        let error = drawn("haresources = \"lb0 192.168.7.20/24/eth0\"", &routed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the addresses of the link wan are in no network of one cable (10.0.0.1, 192.0.2.1): between them are routers, \
             and the lab has none"
        );
    }

    #[test]
    fn what_one_machine_cannot_be_is_refused() {
        let text = format!("haresources = \"lb0 192.168.7.20/24/eth0\"\n{HEAD}{LAN}");
        let mut config = config::parse_toml("systole.toml", &text).unwrap().config;
        let Cast::Unicast(addresses) = &mut config.links[0].cast else { panic!("{config:?}") };
        addresses[1].1 = addresses[0].1;
        let two = Site::of(&config).unwrap_err().to_string();
        assert!(two.starts_with("192.168.7.10 is the address of lb"), "{two}");
        assert!(two.ends_with(": give each its own"), "{two}");
        assert_eq!(drawn("", LAN).map(drop), Err(SiteError::NoAddress));
        let own = drawn("haresources = \"lb0 192.168.7.20/24/lo\"", LAN).unwrap_err();
        assert!(own.to_string().starts_with("the interface lo is in every machine already"), "{own}");
        let full = drawn("haresources = \"lb0 172.16.0.1/30/eth1\"", LAN).unwrap_err();
        assert_eq!(
            full.to_string(),
            "172.16.0.0/30 on eth1 has no free address for lb1: take a network with more room"
        );
    }

    #[test]
    fn heartbeat_s_addresses_without_nodes_are_dealt_out() {
        let files = config::HeartbeatFiles {
            directory: std::path::Path::new("/etc/ha.d"),
            ha_cf: "node lb0\nnode lb1\nucast eth1 10.0.0.10\nucast eth1 10.0.0.11\nbcast eth0\nping 192.168.7.1\n",
            haresources: "lb0 192.168.7.20/24/eth0\nlb1 192.168.7.21/24/eth0\n",
            authkeys: None,
        };
        let loaded = config::parse_heartbeat(&files).unwrap_or_else(|report| panic!("{report}"));
        let site = Site::of(&loaded.config).unwrap();
        assert_eq!(
            shown(&site)[..2],
            [
                "lb0 eth0: 192.168.7.254/24 eth1: 10.0.0.10/24 via 192.168.7.1",
                "lb1 eth0: 192.168.7.253/24 eth1: 10.0.0.11/24 via 192.168.7.1"
            ]
        );
        assert!(site.services.iter().all(|service| service.watched));
    }

    #[test]
    fn a_node_may_be_called_as_a_machine_of_the_lab_is() {
        let text = "[cluster]\nname = \"web\"\n[node.client]\n[node.rival]\n[link.lan]\ninterface = \"eth0\"\n\
                    unicast = { client = \"10.0.0.1\", rival = \"10.0.0.2\" }\n";
        let text = format!("haresources = \"client 10.0.0.20/24/eth0\"\n{text}");
        let loaded = config::parse_toml("systole.toml", &text).unwrap_or_else(|report| panic!("{report}"));
        let site = Site::of(&loaded.config).unwrap();
        assert_eq!(
            (site.client.as_str(), site.gateway.as_str(), site.rival.as_str()),
            ("client-of-lab", "gateway", "rival-of-lab")
        );
    }
}
