//! Which machines and networks a lab has. A plan is a value: nothing is built here.

use std::net::IpAddr;

/// Machines, and the networks that join them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The networks by name, each a switch of its own.
    pub networks: Vec<String>,
    /// The machines.
    pub machines: Vec<MachinePlan>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePlan {
    /// Its name.
    pub name: String,
    /// Its interfaces.
    pub ports: Vec<PortPlan>,
    /// Its default gateways.
    pub gateways: Vec<IpAddr>,
}

/// An interface of a machine, and its cable to a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// The network.
    pub network: String,
    /// The interface's name in the machine.
    pub interface: String,
    /// Its addresses, with their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Plan {
    /// Machines on one network and, if `cross` is so long, the first of them on a second one. The numbers of a machine's
    /// addresses are given: `10.77.0.N` and `fd00:77::N` on eth0, `10.78.0.N` and `fd00:78::N` on eth1.
    pub fn simple(machines: &[(&str, u8)], cross: usize) -> Self {
        let mut plan = Self { networks: vec!["lan".to_owned()], machines: Vec::new() };
        if cross > 0 {
            plan.networks.push("cross".to_owned());
        }
        for (place, (name, number)) in machines.iter().enumerate() {
            let port = |network: &str, interface: &str, net: u8| PortPlan {
                network: network.to_owned(),
                interface: interface.to_owned(),
                addresses: vec![
                    (IpAddr::from([10, net, 0, *number]), 24),
                    (IpAddr::from([0xfd00, hex(net), 0, 0, 0, 0, 0, hex(*number)]), 64),
                ],
            };
            let mut ports = vec![port("lan", "eth0", 77)];
            if place < cross {
                ports.push(port("cross", "eth1", 78));
            }
            plan.machines.push(MachinePlan { name: (*name).to_owned(), ports, gateways: Vec::new() });
        }
        plan
    }
}

/// The number that reads in hexadecimal as this one does in decimal, so that both addresses of a machine look alike.
fn hex(number: u8) -> u16 {
    let number = u16::from(number);
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_machine_end_alike() {
        let plan = Plan::simple(&[("lb0", 10), ("client", 101)], 1);
        let shown: Vec<_> = plan
            .machines
            .iter()
            .flat_map(|machine| &machine.ports)
            .flat_map(|port| &port.addresses)
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect();
        let lan = ["10.77.0.10/24", "fd00:77::10/64"];
        let cross = ["10.78.0.10/24", "fd00:78::10/64"];
        assert_eq!(shown, [lan, cross, ["10.77.0.101/24", "fd00:77::101/64"]].concat());
    }
}
