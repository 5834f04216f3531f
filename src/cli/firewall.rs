//! `systole check --firewall`: the lines that let beats and what belongs to them pass a firewall. They follow from the
//! configuration alone, so they are the same on every node. Nothing is changed: who has the firewall puts them into it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::{Cast, Config, Link};

/// In whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Firewall {
    /// For `nft -f`
    Nft,
    /// For a shell
    Iptables,
}

/// What a link asks of a firewall.
struct Way<'a> {
    link: &'a Link,
    ipv6: bool,
    /// Of the nodes; empty where the configuration does not name them.
    nodes: Vec<String>,
    multicast: Option<IpAddr>,
}

/// What comes in first; what goes out as comments, because few filter it.
pub(super) fn lines(config: &Config, firewall: Firewall) -> String {
    let ways: Vec<Way<'_>> = config.links.iter().map(Way::of).collect();
    let ipv6 = service_interfaces_of_ipv6(config);
    let mut text =
        format!("# Cluster {}: what its nodes must let in. The same on every node.\n", config.cluster);
    text.push_str(match firewall {
        Firewall::Nft => {
            "# For `nft -f`; the table and the chain are Debian's, yours may have other names.\n"
        }
        Firewall::Iptables => "# For a shell, as root; it lasts until the next start of the machine.\n",
    });
    for way in &ways {
        let _ = writeln!(text, "# link {}", way.link.name);
        let rules = match firewall {
            Firewall::Nft => way.nft("input", "iifname", "saddr"),
            Firewall::Iptables => way.iptables("INPUT", "-i", "-s"),
        };
        text.push_str(&rules);
    }
    for interface in &ipv6 {
        let _ = writeln!(text, "# evidence, and every other use of IPv6 on {interface}");
        text.push_str(&neighbours(firewall, "input", interface));
    }
    text.push_str(
        "# Answers to pings must come back, as with any firewall that lets in what belongs to what went out.\n\
         # ARP, which IPv4 addresses are asked for and announced with, passes unless a table of arp or netdev stops it.\n\
         # Where what goes out is filtered, too:\n",
    );
    for way in &ways {
        let rules = match firewall {
            Firewall::Nft => way.nft("output", "oifname", "daddr"),
            Firewall::Iptables => way.iptables("OUTPUT", "-o", "-d"),
        };
        comment(&rules, &mut text);
    }
    for interface in &ipv6 {
        comment(&neighbours(firewall, "output", interface), &mut text);
    }
    comment(pings(firewall, !ipv6.is_empty()), &mut text);
    text
}

impl<'a> Way<'a> {
    /// A link is of one family, and IPv6 has no broadcast.
    fn of(link: &'a Link) -> Self {
        let (ipv6, nodes, multicast) = match &link.cast {
            Cast::Broadcast => (false, BTreeSet::new(), None),
            Cast::Multicast { group, .. } => (group.is_ipv6(), BTreeSet::new(), Some(*group)),
            Cast::Unicast(peers) => {
                let nodes: BTreeSet<IpAddr> = peers.iter().map(|(_, address)| *address).collect();
                (nodes.iter().any(IpAddr::is_ipv6), nodes, None)
            }
        };
        Self { link, ipv6, nodes: nodes.iter().map(ToString::to_string).collect(), multicast }
    }

    /// Rules are put before what stands there, which may refuse everything else at its end.
    fn nft(&self, chain: &str, direction: &str, who: &str) -> String {
        let Link { interface, port, .. } = self.link;
        let family = if self.ipv6 { "ip6" } else { "ip" };
        let head = format!("insert rule inet filter {chain} {direction} \"{interface}\"");
        let from = match (&self.nodes[..], self.multicast) {
            (_, Some(group)) => format!(" {family} daddr {group}"),
            ([], None) => " meta nfproto ipv4".to_owned(),
            (nodes, None) => format!(" {family} {who} {{ {} }}", nodes.join(", ")),
        };
        let mut rules = format!("{head}{from} udp dport {port} accept\n");
        if self.multicast.is_some() {
            // Without it a switch that learns who listens stops sending to us.
            rules.push_str(&match self.ipv6 {
                false => format!("{head} ip protocol igmp accept\n"),
                true => format!("{head} icmpv6 type {{ {MLD} }} accept\n"),
            });
        }
        rules
    }

    fn iptables(&self, chain: &str, direction: &str, who: &str) -> String {
        let Link { interface, port, .. } = self.link;
        let program = if self.ipv6 { "ip6tables" } else { "iptables" };
        let head = format!("{program} -I {chain} {direction} {interface}");
        let from = match (&self.nodes[..], self.multicast) {
            (_, Some(group)) => format!(" -d {group}"),
            ([], None) => String::new(),
            (nodes, None) => format!(" {who} {}", nodes.join(",")),
        };
        let mut rules = format!("{head}{from} -p udp --dport {port} -j ACCEPT\n");
        match (self.multicast.is_some(), self.ipv6) {
            (true, false) => {
                let _ = writeln!(rules, "{head} -p igmp -j ACCEPT");
            }
            (true, true) => {
                for kind in [130, 131, 132, 143] {
                    let _ = writeln!(rules, "{head} -p icmpv6 --icmpv6-type {kind} -j ACCEPT");
                }
            }
            (false, _) => {}
        }
        rules
    }
}

/// Multicast listener discovery, of both versions.
const MLD: &str = "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report";

/// The interfaces on which IPv6 is spoken, as far as the configuration names them.
fn service_interfaces_of_ipv6(config: &Config) -> BTreeSet<String> {
    let addresses = config.addresses().into_iter().map(|placed| placed.address);
    let services = addresses.filter(|one| one.address.is_ipv6()).filter_map(|one| one.interface);
    let links = config.links.iter().filter(|link| Way::of(link).ipv6);
    services.chain(links.map(|link| link.interface.clone())).collect()
}

fn comment(rules: &str, text: &mut String) {
    for line in rules.lines() {
        let _ = writeln!(text, "# {line}");
    }
}

/// Of the targets; through which interface follows from the routes.
fn pings(firewall: Firewall, ipv6: bool) -> &'static str {
    match (firewall, ipv6) {
        (Firewall::Nft, false) => "insert rule inet filter output icmp type echo-request accept\n",
        (Firewall::Nft, true) => {
            "insert rule inet filter output icmp type echo-request accept\n\
             insert rule inet filter output icmpv6 type echo-request accept\n"
        }
        (Firewall::Iptables, false) => "iptables -I OUTPUT -p icmp --icmp-type echo-request -j ACCEPT\n",
        (Firewall::Iptables, true) => {
            "iptables -I OUTPUT -p icmp --icmp-type echo-request -j ACCEPT\n\
             ip6tables -I OUTPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT\n"
        }
    }
}

/// Who cannot be asked for its hardware address cannot be reached at all. Routers advertise, and are asked to.
fn neighbours(firewall: Firewall, chain: &str, interface: &str) -> String {
    let (direction, option, router) = match chain {
        "input" => ("iifname", "-i", ("nd-router-advert", 134)),
        _ => ("oifname", "-o", ("nd-router-solicit", 133)),
    };
    match firewall {
        Firewall::Nft => format!(
            "insert rule inet filter {chain} {direction} \"{interface}\" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, {} }} accept\n",
            router.0
        ),
        Firewall::Iptables => [router.1, 135, 136]
            .map(|kind| {
                let chain = chain.to_uppercase();
                format!(
                    "ip6tables -I {chain} {option} {interface} -p icmpv6 --icmpv6-type {kind} -j ACCEPT\n"
                )
            })
            .concat(),
    }
}
