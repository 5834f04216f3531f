//! Which lab stands for a configuration: a machine for each node, a network for each interface that it names, and who is
//! needed besides. Pure: nothing is built here.
//!
//! Addresses that the configuration names are where it says. The others are invented, from the end of their network:
//! what a node has on a link without addresses, what it has in the network of a service address, and those of the three
//! machines that are no nodes: a client that asks, a gateway that has the ping targets, and a rival.

mod drawing;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::plan::Plan;
use crate::config::Config;
use drawing::Drawing;

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
        Drawing::new(config)?.draw()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{MachinePlan, PortPlan};
    use super::*;
    use crate::config::{self, Cast};

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
