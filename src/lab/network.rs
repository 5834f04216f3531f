//! The machines, their cables and their switches; and what can happen to a cable.
//!
//! All switches are bridges in one namespace, with a port for each cable. A cable that is *cut* is cut behind the switch:
//! nothing passes, and both sides keep their carrier. A cable that is *pulled* is pulled at the machine: its carrier goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::plan::{MachinePlan, Plan, PortPlan};
use super::relay::{BadCable, Relay};
use super::space::Space;
use super::{LabError, clock, frame};
use crate::net::route::{Address, End, Gateway, Mac, Route};
use crate::net::{sys, sysctl};

/// Ends of cables have numbers of their own: here those in the switches, in the machines they are small.
const FIRST_SWITCH_END: u32 = 1_000;
const FIRST_MACHINE_END: u32 = 10;
/// Added once and twice, the numbers of the ends of a relay's own cable.
const RELAY_END: u32 = 1_000_000;
/// A file system in memory that everybody may write to: a real daemon's /run is one, and how long a file takes counts.
const MEMORY: &str = "/dev/shm";

/// A lab. Dropped, everything in it is gone: daemons first.
#[derive(Debug)]
pub struct Lab {
    machines: BTreeMap<String, Machine>,
    switches: Switches,
    folder: PathBuf,
    /// A folder in memory, as a daemon's files of one boot are. `None`: this machine has none that everybody may write to.
    memory: Option<PathBuf>,
}

#[derive(Debug)]
struct Switches {
    route: Route,
    bridges: BTreeMap<String, u32>,
    space: Space,
}

/// A machine of the lab.
#[derive(Debug)]
pub struct Machine {
    pub(super) name: String,
    pub(super) daemon: Option<Daemon>,
    route: Route,
    ports: BTreeMap<String, Port>,
    pub(super) space: Space,
}

#[derive(Debug)]
struct Port {
    interface: String,
    index: u32,
    switch_end: u32,
    mac: Mac,
    bridge: u32,
    relay: Option<Relay>,
}

impl Lab {
    /// Builds what is planned. Machines start without a daemon.
    pub fn build(plan: &Plan) -> Result<Self, LabError> {
        let mut switches = Switches::new(&plan.networks)?;
        let mut machines = BTreeMap::new();
        for (place, planned) in (0_u8..).zip(&plan.machines) {
            machines.insert(planned.name.clone(), Machine::new(place, planned, &mut switches)?);
        }
        let name = format!("systole-lab-{}-{}", std::process::id(), clock::now().0);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder)
            .map_err(LabError::machine(format!("make the folder {}", folder.display())))?;
        let memory = Path::new(MEMORY).join(&name);
        let memory = std::fs::create_dir(&memory).is_ok().then_some(memory);
        Ok(Self { machines, switches, folder, memory })
    }

    /// Where its files are: of daemons, and of whoever uses the lab. It goes with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same for what is of one boot only, and is in memory on a real machine.
    pub(super) fn memory(&self) -> &Path {
        self.memory.as_deref().unwrap_or(&self.folder)
    }

    /// The machine of this name.
    pub fn machine(&self, name: &str) -> Result<&Machine, LabError> {
        let known = self.machines.keys();
        self.machines.get(name).ok_or_else(|| LabError::unknown(format!("machine `{name}`"), known))
    }

    /// The machine of this name, to do something to.
    pub fn machine_mut(&mut self, name: &str) -> Result<&mut Machine, LabError> {
        let unknown = self.machine(name).err();
        match (self.machines.get_mut(name), unknown) {
            (Some(machine), None) => Ok(machine),
            (_, unknown) => {
                Err(unknown.unwrap_or_else(|| LabError::unknown(format!("machine `{name}`"), [].iter())))
            }
        }
    }

    /// Cuts a cable behind the switch: silence, with carrier.
    pub fn cut(&mut self, machine: &str, network: &str) -> Result<(), LabError> {
        let end = self.whole(machine, network)?;
        Ok(self.switches.route.set_forwarding(end, false)?)
    }

    /// Pulls a cable at the machine: its carrier is lost.
    pub fn pull(&mut self, machine: &str, network: &str) -> Result<(), LabError> {
        let end = self.switch_end(machine, network)?;
        Ok(self.switches.route.set_up(end, false)?)
    }

    /// Makes a cable lose and delay frames. It has carrier, and is not cut.
    pub fn spoil(&mut self, machine: &str, network: &str, bad: BadCable) -> Result<(), LabError> {
        self.plug(machine, network)?;
        let end = self.switch_end(machine, network)?;
        let route = &mut self.switches.route;
        let (far, near) = (end + RELAY_END, end + 2 * RELAY_END);
        let names = [format!("r{far}"), format!("r{near}")];
        let [one, other] = names.each_ref().map(|name| End { name, mac: None, namespace: None });
        route.add_veth(one, other, Some((far, near)))?;
        let bridge = self.machine(machine)?.port(network)?.bridge;
        let route = &mut self.switches.route;
        route.set_port_of(far, Some(bridge))?;
        route.set_up(far, true)?;
        route.set_up(near, true)?;
        route.set_port_of(end, None)?;
        let relay = Relay::start(&self.switches.space, end, near, bad)?;
        self.machine_mut(machine)?.port_mut(network)?.relay = Some(relay);
        Ok(())
    }

    /// Makes a cable whole that was cut, pulled or spoilt.
    pub fn plug(&mut self, machine: &str, network: &str) -> Result<(), LabError> {
        let end = self.whole(machine, network)?;
        let route = &mut self.switches.route;
        // A port that comes up passes everything by itself, once the kernel has seen its carrier.
        let done =
            if route.link_at(end)?.up { route.set_forwarding(end, true) } else { route.set_up(end, true) };
        Ok(done?)
    }

    /// Takes the relay out of a cable, if there is one.
    fn whole(&mut self, machine: &str, network: &str) -> Result<u32, LabError> {
        let port = self.machine_mut(machine)?.port_mut(network)?;
        let (end, bridge) = (port.switch_end, port.bridge);
        if port.relay.take().is_some() {
            self.switches.route.delete_link(end + RELAY_END)?;
            self.switches.route.set_port_of(end, Some(bridge))?;
        }
        Ok(end)
    }

    fn switch_end(&self, machine: &str, network: &str) -> Result<u32, LabError> {
        Ok(self.machine(machine)?.port(network)?.switch_end)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in self.machines.values_mut() {
            machine.daemon = None;
        }
        // What cannot be removed is in folders for temporary files.
        for folder in [Some(&self.folder), self.memory.as_ref()].into_iter().flatten() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Switches {
    fn new(networks: &[String]) -> Result<Self, LabError> {
        let space = Space::new()?;
        let mut route = space.run(|| {
            // A switch is no host: it sends nothing of its own.
            sysctl::set("net/ipv6/conf/default/disable_ipv6", "1")?;
            Ok::<_, LabError>(Route::open()?)
        })?;
        let mut bridges = BTreeMap::new();
        for (place, network) in networks.iter().enumerate() {
            let name = format!("switch{place}");
            route.add_bridge(&name)?;
            let index = route.link(&name)?.index;
            route.set_up(index, true)?;
            bridges.insert(network.clone(), index);
        }
        Ok(Self { route, bridges, space })
    }

    /// A cable from a machine to its switch, up at both ends.
    fn connect(
        &mut self,
        number: (u8, u8),
        planned: &PortPlan,
        space: &Space,
        route: &mut Route,
    ) -> Result<Port, LabError> {
        let (machine, port) = number;
        let known = self.bridges.keys();
        let bridge = *self
            .bridges
            .get(&planned.network)
            .ok_or_else(|| LabError::unknown(format!("network `{}`", planned.network), known))?;
        let switch_end = FIRST_SWITCH_END + 100 * u32::from(machine) + u32::from(port);
        let index = FIRST_MACHINE_END + u32::from(port);
        let mac = Mac([2, 0, 0, 0, port, machine]);
        let near = format!("m{machine}p{port}");
        let near = End { name: &near, mac: Some(Mac([2, 0, 0, 1, port, machine])), namespace: None };
        let far = End { name: &planned.interface, mac: Some(mac), namespace: Some(space.as_fd()) };
        self.route.add_veth(near, far, Some((switch_end, index)))?;
        self.route.set_port_of(switch_end, Some(bridge))?;
        self.route.set_up(switch_end, true)?;
        route.set_up(index, true)?;
        for (address, prefix) in &planned.addresses {
            route.add_address(&Address::new(index, *address, *prefix))?;
        }
        Ok(Port { interface: planned.interface.clone(), index, switch_end, mac, bridge, relay: None })
    }
}

impl Machine {
    fn new(place: u8, planned: &MachinePlan, switches: &mut Switches) -> Result<Self, LabError> {
        let space = Space::new()?;
        let mut route = space.run(|| {
            // Nobody here has an address twice by accident, so nobody waits a second to find out.
            sysctl::set("net/ipv6/conf/all/accept_dad", "0")?;
            sysctl::set("net/ipv6/conf/default/accept_dad", "0")?;
            Ok::<_, LabError>(Route::open()?)
        })?;
        let loopback = route.link("lo")?.index;
        route.set_up(loopback, true)?;
        let mut ports = BTreeMap::new();
        for (number, port) in (0_u8..).zip(&planned.ports) {
            let made = switches.connect((place, number), port, &space, &mut route)?;
            ports.insert(port.network.clone(), made);
        }
        for address in &planned.gateways {
            if let Some(path) = route.path_to(*address)? {
                route.add_default_route(Gateway { index: path.index, address: *address })?;
            }
        }
        Ok(Self { name: planned.name.clone(), daemon: None, route, ports, space })
    }

    /// Its namespace: for what else shall run there.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Its interface's Ethernet address on a network.
    pub fn mac(&self, network: &str) -> Result<Mac, LabError> {
        Ok(self.port(network)?.mac)
    }

    /// Whether its interface on a network has carrier.
    pub fn carrier(&mut self, network: &str) -> Result<bool, LabError> {
        let index = self.port(network)?.index;
        Ok(self.route.link_at(index)?.carrier)
    }

    /// Whether it has this address on any interface.
    pub fn has(&mut self, address: IpAddr) -> Result<bool, LabError> {
        Ok(self.route.addresses()?.iter().any(|own| own.address == address))
    }

    /// Takes an address without asking anybody, and announces it: what a rival does.
    pub fn seize(&mut self, network: &str, address: IpAddr, prefix: u8) -> Result<(), LabError> {
        let port = self.port(network)?;
        let (index, mac) = (port.index, port.mac);
        self.route.add_address(&Address::new(index, address, prefix))?;
        self.announce(index, mac, address)
    }

    /// Deletes an address behind the daemon's back. Says whether it was there.
    pub fn wipe(&mut self, address: IpAddr) -> Result<bool, LabError> {
        let own = self.route.addresses()?.into_iter().find(|own| own.address == address);
        if let Some(own) = &own {
            self.route.delete_address(own)?;
        }
        Ok(own.is_some())
    }

    fn announce(&self, index: u32, mac: Mac, address: IpAddr) -> Result<(), LabError> {
        let send = move || {
            let socket = sys::packet_socket(index, frame::kind_of(address))?;
            nix::unistd::write(&socket, &frame::announcement(mac, address))?;
            Ok(())
        };
        self.space.run(send).map_err(LabError::machine(format!("announce {address}")))
    }

    /// The number of its interface on a network, and that interface's address of the same family as `like`.
    pub(super) fn source(&mut self, network: &str, like: IpAddr) -> Result<(u32, IpAddr), LabError> {
        let index = self.port(network)?.index;
        let own = self.route.addresses()?;
        let fits = |own: &&Address| own.index == index && own.address.is_ipv4() == like.is_ipv4();
        let found = own.iter().find(fits).map(|own| (index, own.address));
        let known = self.ports.keys();
        found.ok_or_else(|| LabError::unknown(format!("address of {}'s on {network}", self.name), known))
    }

    fn port(&self, network: &str) -> Result<&Port, LabError> {
        let known = self.ports.keys();
        let what = || format!("cable of {} to `{network}`", self.name);
        self.ports.get(network).ok_or_else(|| LabError::unknown(what(), known))
    }

    fn port_mut(&mut self, network: &str) -> Result<&mut Port, LabError> {
        self.port(network)?;
        let what = || format!("cable of {} to `{network}`", self.name);
        self.ports.get_mut(network).ok_or_else(|| LabError::unknown(what(), [].iter()))
    }

    /// The number of its interface on a network.
    pub(super) fn index(&self, network: &str) -> Result<u32, LabError> {
        Ok(self.port(network)?.index)
    }

    /// The name of its interface on a network.
    pub fn interface(&self, network: &str) -> Result<&str, LabError> {
        Ok(&self.port(network)?.interface)
    }
}
