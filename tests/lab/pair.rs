//! A simple pair in the daemon's place: enough to show what the lab measures, and with the mistakes of a simple pair. It
//! has no lease: who hangs or was killed keeps the address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use systole::config::{self, Cast, Config};
use systole::lab::clock;
use systole::net::route::{Address, Link, Route};
use systole::net::sys;
use systole::time::Span;
use systole::types::NodeId;

const EVERY: Span = Span::millis(10);
const DEAD: Span = Span::millis(150);
const ARP: u16 = 0x0806;

struct Pair {
    route: Route,
    vip: Address,
    interface: Link,
    packets: OwnedFd,
    own: Ipv4Addr,
    target: Ipv4Addr,
    is_first: bool,
    holds: bool,
    /// When the peer was heard, whether it held, and whether it could.
    peer: (Span, bool, bool),
    /// When the ping target answered.
    pong: Span,
}

pub(crate) fn run(config: &str, node: &str) -> ! {
    let config = config::load(config.as_ref()).unwrap().config;
    let own = NodeId::of(node);
    let mut pair = Pair::new(&config, own);
    let sockets = beats(&config, own);
    let mask = SigSet::from_iter([Signal::SIGTERM]);
    mask.thread_block().unwrap();
    let end = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK).unwrap();
    pair.release();
    let began = clock::now();
    let mut last = began;
    loop {
        let now = clock::now();
        if now - last > DEAD && pair.holds {
            println!("was away for {}", now - last);
            pair.release();
        }
        last = now;
        pair.ping();
        pair.hear(&sockets);
        let ends = end.read_signal().unwrap().is_some();
        if ends {
            pair.release();
        } else if now - began > DEAD {
            pair.decide(now);
        }
        let beat = [u8::from(pair.holds), u8::from(!ends && now - pair.pong < DEAD)];
        for (socket, peer) in &sockets {
            // A cable can be out.
            let _ = socket.send_to(&beat, peer);
        }
        if ends {
            std::process::exit(0);
        }
        clock::wait(EVERY);
    }
}

fn beats(config: &Config, own: NodeId) -> Vec<(UdpSocket, SocketAddr)> {
    let sockets = config.links.iter().map(|link| {
        let Cast::Unicast(addresses) = &link.cast else { panic!("links of the demo are unicast") };
        let of = |is_own: bool| addresses.iter().find(|(node, _)| (*node == Some(own)) == is_own).unwrap().1;
        let socket = UdpSocket::bind((of(true), link.port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, SocketAddr::new(of(false), link.port))
    });
    sockets.collect()
}

fn v4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(v4) = address else { panic!("the demo's address is IPv4") };
    v4
}

impl Pair {
    fn new(config: &Config, own: NodeId) -> Self {
        let service = config.addresses().remove(0).address;
        let mut route = Route::open().unwrap();
        let interface = route.link(service.interface.as_deref().unwrap()).unwrap();
        let address =
            route.addresses().unwrap().into_iter().find(|known| known.index == interface.index).unwrap();
        Self {
            vip: Address::new(interface.index, service.address, service.prefix.unwrap()),
            packets: sys::packet_socket(interface.index, ARP).unwrap(),
            own: v4(address.address),
            target: v4(config.tiebreak.ping[0][0]),
            is_first: config.groups.values().next().unwrap().prefer.first() == Some(&own),
            holds: false,
            peer: (Span::ZERO, false, false),
            pong: Span::ZERO,
            interface,
            route,
        }
    }

    fn decide(&mut self, now: Span) {
        let is_fit = now - self.pong < DEAD;
        let is_alone = now - self.peer.0 > DEAD;
        let (_, peer_holds, peer_is_fit) = self.peer;
        if self.holds && !is_alone && ((!is_fit && peer_is_fit) || (peer_holds && !self.is_first)) {
            self.release();
        } else if !self.holds && is_fit && (is_alone || (!peer_holds && (self.is_first || !peer_is_fit))) {
            println!("takes the address");
            self.route.add_address(&self.vip).unwrap();
            self.holds = true;
            let vip = v4(self.vip.address);
            self.arp(vip, vip);
        } else if self.holds
            && !self.route.addresses().unwrap().iter().any(|known| known.address == self.vip.address)
        {
            self.route.add_address(&self.vip).unwrap();
        }
    }

    fn release(&mut self) {
        println!("has not the address");
        self.route.delete_address(&self.vip).unwrap();
        self.holds = false;
    }

    fn hear(&mut self, sockets: &[(UdpSocket, SocketAddr)]) {
        let mut beat = [0; 2];
        for (socket, _) in sockets {
            while socket.recv(&mut beat).is_ok() {
                self.peer = (clock::now(), beat[0] == 1, beat[1] == 1);
            }
        }
    }

    fn ping(&mut self) {
        let mut frame = [0; 64];
        while let Ok(length) = nix::unistd::read(&self.packets, &mut frame) {
            if length >= 42 && frame[21] == 2 && frame[28..32] == self.target.octets() {
                self.pong = clock::now();
            }
        }
        self.arp(self.own, self.target);
    }

    fn arp(&self, sender: Ipv4Addr, target: Ipv4Addr) {
        let mac = self.interface.mac.unwrap().0;
        let head = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
        let frame = [&head[..], &mac, &sender.octets(), &[0; 6], &target.octets()].concat();
        // A cable can be out.
        let _ = nix::unistd::write(&self.packets, &frame);
    }
}
