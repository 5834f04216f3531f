//! Two namespaces with a cable between them, and somebody at the other end who asks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::{Pid, getegid, geteuid, gettid};
use socket2::{Domain, Protocol, Socket, Type};
use systole::net::lease::{Guarded, KernelLease};
use systole::net::sys::packet_socket;
use systole::time::Span;
use systole::types::GroupId;

pub(crate) const TABLE: &str = "systole";
pub(crate) const WEB: GroupId = GroupId::of("web");
pub(crate) const MAIL: GroupId = GroupId::of("mail");
/// Of no group: always to be heard.
pub(crate) const PLAIN: [IpAddr; 2] = [v4(1), v6(1)];
/// Of a group.
pub(crate) const VIP: IpAddr = v4(100);
pub(crate) const VIP6: IpAddr = v6(0x100);
/// What a machine that is busy with other things may take. Nothing is judged by it.
const PATIENCE: u16 = 20_000;

const NEAR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

pub(crate) const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, last))
}

pub(crate) const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last))
}

pub(crate) fn groups<const N: usize>(groups: [(GroupId, &[IpAddr]); N]) -> BTreeMap<GroupId, Guarded> {
    groups.into_iter().map(|(group, addresses)| (group, addresses.to_vec().into())).collect()
}

/// A lease with these groups, on no interface.
pub(crate) fn lease<const N: usize>(wanted: [(GroupId, &[IpAddr]); N]) -> KernelLease {
    let mut lease = KernelLease::open(TABLE).unwrap();
    lease.install(&groups(wanted), &[]).unwrap();
    lease
}

/// Root makes namespaces; anybody else becomes root of a namespace first, where the kernel lets him. Before any thread.
pub(crate) fn may_make_namespaces() -> Result<(), String> {
    if !geteuid().is_root() {
        let (user, group) = (geteuid(), getegid());
        let refused = |error: &dyn std::fmt::Display| format!("no user namespace can be made here: {error}");
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused(&error))?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {user} 1")),
            ("gid_map", format!("0 {group} 1")),
        ] {
            fs::write(format!("/proc/self/{file}"), text).map_err(|error| refused(&error))?;
        }
    }
    let made = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap();
    made.map_err(|error| format!("no network namespace can be made here: {error}"))
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} does not run: {error}: use tests/run lease"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

pub(crate) fn nft(command: &str) -> String {
    run("nft", &[command])
}

/// Waits a little for something that must come, without saying how long it takes.
pub(crate) fn until(what: &str, mut comes: impl FnMut() -> bool) {
    for _ in 0..PATIENCE / 2 {
        if comes() {
            return;
        }
        poll(&mut [], PollTimeout::from(2_u8)).unwrap();
    }
    panic!("never: {what}");
}

pub(crate) fn until_it_has_run_out(lease: &mut KernelLease, group: GroupId) {
    until("the lease runs out", || !lease.standing().unwrap().contains_key(&group));
}

/// What is left of a lease: no more than was set, and more than what a stopped machine could eat of it.
#[track_caller]
pub(crate) fn assert_left(lease: &mut KernelLease, group: GroupId, set: Span) {
    let left = lease.standing().unwrap().get(&group).copied();
    let plausible = left.is_some_and(|left| left <= set && left > set - Span::seconds(60));
    assert!(plausible, "{left:?} left, {set} set");
}

/// A machine with addresses on `v0`, and what somebody at the other end of its cable sees of it.
pub(crate) struct World {
    near_arp: OwnedFd,
    near_six: OwnedFd,
    far: Far,
}

struct Far {
    net: fs::File,
    arp: OwnedFd,
    six: OwnedFd,
    udp: [UdpSocket; 2],
}

impl World {
    pub(crate) fn new() -> Self {
        let (say_who, who) = mpsc::channel::<Pid>();
        let (plug_in, plugged_in) = mpsc::channel::<()>();
        let far = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            say_who.send(gettid()).unwrap();
            plugged_in.recv().unwrap();
            dress("v1", v4(2), v6(2), NEAR, &[PLAIN[0], PLAIN[1], VIP, VIP6]);
            let index = if_nametoindex("v1").unwrap();
            let udp = [v4(2), v6(2)].map(|address| UdpSocket::bind((address, 7)).unwrap());
            let net = fs::File::open("/proc/thread-self/ns/net").unwrap();
            Far {
                net,
                arp: packet_socket(index, ARP).unwrap(),
                six: packet_socket(index, IPV6).unwrap(),
                udp,
            }
        });
        let (near_address, far_address) = (written(NEAR), written(FAR));
        let other = who.recv().unwrap();
        ip(&format!(
            "link add v0 address {near_address} type veth peer name v1 address {far_address} netns {other}"
        ));
        plug_in.send(()).unwrap();
        let far = far.join().unwrap();
        dress("v0", PLAIN[0], PLAIN[1], FAR, &[v4(2), v6(2)]);
        ip(&format!("address add {VIP}/24 dev v0"));
        ip(&format!("address add {VIP6}/64 dev v0 nodad"));
        let index = if_nametoindex("v0").unwrap();
        let (near_arp, near_six) = (packet_socket(index, ARP).unwrap(), packet_socket(index, IPV6).unwrap());
        let world = Self { near_arp, near_six, far };
        // The kernel brings a link up behind the back of who asked for it.
        for address in PLAIN {
            until("the cable carries", || {
                world.ask(address);
                poll(&mut [], PollTimeout::from(5_u8)).unwrap();
                frames(world.ear(address)).iter().any(|frame| speaks_of(frame) == Some(address))
            });
        }
        world
    }

    /// Whether the machine says where this address is, when asked. The plain address is asked for after it, twice.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        self.is_seen(address, |address| self.ask(address))
    }

    /// Whether an announcement through a packet socket of the machine reaches the cable.
    pub(crate) fn announces(&self, address: IpAddr) -> bool {
        self.is_seen(address, |address| match address {
            IpAddr::V4(four) => put(&self.near_arp, &arp_frame(2, NEAR, four, FAR, four)),
            // From an address that nobody may silence: what counts is what it is about.
            IpAddr::V6(_) => put(&self.near_six, &neighbour_frame(136, NEAR, v6(0x7777), v6(2), address)),
        })
    }

    fn is_seen(&self, address: IpAddr, say: impl Fn(IpAddr)) -> bool {
        let plain = PLAIN[usize::from(address.is_ipv6())];
        let mut seen = false;
        frames(self.ear(address));
        for _ in 0..2 {
            say(address);
            say(plain);
            let mut ended = false;
            while !ended {
                wait_for(self.ear(address));
                for about in frames(self.ear(address)).iter().filter_map(|frame| speaks_of(frame)) {
                    seen |= about == address;
                    ended |= about == plain;
                }
            }
        }
        seen
    }

    /// Whether a datagram to this address arrives.
    pub(crate) fn hears(&self, address: IpAddr) -> bool {
        let plain = PLAIN[usize::from(address.is_ipv6())];
        let [vip, plain] = [(address, 9), (plain, 13)].map(|address| UdpSocket::bind(address).unwrap());
        let far = &self.far.udp[usize::from(address.is_ipv6())];
        for to in [&vip, &plain, &plain] {
            far.send_to(b"hello", to.local_addr().unwrap()).unwrap();
        }
        for _ in 0..2 {
            wait_for(&plain);
            plain.recv(&mut [0; 16]).unwrap();
        }
        vip.set_nonblocking(true).unwrap();
        vip.recv(&mut [0; 16]).is_ok()
    }

    /// From each of these ports at the other end a datagram to the first, and then one to the second, from any port.
    pub(crate) fn send(&self, ports: std::ops::Range<u16>, to: SocketAddr, last: SocketAddr) {
        let net = self.far.net.try_clone().unwrap();
        let send = move || {
            setns(net, CloneFlags::CLONE_NEWNET).unwrap();
            let own = if to.is_ipv4() { v4(2) } else { v6(2) };
            for port in ports {
                UdpSocket::bind((own, port)).unwrap().send_to(b"hello", to).unwrap();
            }
            UdpSocket::bind((own, 0)).unwrap().send_to(b"last", last).unwrap();
        };
        thread::spawn(send).join().unwrap();
    }

    /// Whether the machine may say something from this address.
    pub(crate) fn speaks(&self, address: IpAddr) -> bool {
        let to = SocketAddr::new(if address.is_ipv4() { v4(2) } else { v6(2) }, 7);
        match UdpSocket::bind((address, 0)).unwrap().send_to(b"hello", to) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{address}: {error}"),
        }
    }

    /// Whether the machine may advertise this address while it speaks from another: to who looks for duplicates, for one.
    pub(crate) fn advertises(&self, address: IpAddr) -> bool {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.bind(&SocketAddr::new(PLAIN[1], 0).into()).unwrap();
        let frame = neighbour_frame(136, NEAR, PLAIN[1], v6(2), address);
        match socket.send_to(&frame[54..], &SocketAddr::new(v6(2), 0).into()) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{address}: {error}"),
        }
    }

    fn ask(&self, address: IpAddr) {
        match (address, v4(2)) {
            (IpAddr::V4(four), IpAddr::V4(own)) => {
                put(&self.far.arp, &arp_frame(1, FAR, own, [0xff; 6], four));
            }
            _ => put(&self.far.six, &neighbour_frame(135, FAR, v6(2), address, address)),
        }
    }

    fn ear(&self, address: IpAddr) -> &OwnedFd {
        if address.is_ipv4() { &self.far.arp } else { &self.far.six }
    }
}

/// Addresses, and where the other end is: nobody has to ask before a datagram.
fn dress(interface: &str, four: IpAddr, six: IpAddr, other: [u8; 6], others: &[IpAddr]) {
    ip("link set lo up");
    ip(&format!("link set {interface} up"));
    ip(&format!("address add {four}/24 dev {interface}"));
    ip(&format!("address add {six}/64 dev {interface} nodad"));
    for address in others {
        ip(&format!("neighbour replace {address} lladdr {} dev {interface} nud permanent", written(other)));
    }
}

fn written(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn wait_for(socket: &impl AsFd) {
    let ready = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE));
    assert_eq!(ready, Ok(1), "nothing comes");
}

fn put(socket: &OwnedFd, frame: &[u8]) {
    // On the way out a filter that drops says so to the sender.
    match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
        Ok(_) | Err(nix::errno::Errno::EPERM | nix::errno::Errno::ENOBUFS) => {}
        Err(error) => panic!("{error}"),
    }
}

fn frames(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| {
        recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok().map(|n| buffer[..n].to_vec())
    })
    .collect()
}

/// Of which address an ARP reply or a neighbour advertisement says where it is.
fn speaks_of(frame: &[u8]) -> Option<IpAddr> {
    match u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?) {
        ARP if frame.get(20..22)? == [0, 2] => {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?).into())
        }
        IPV6 if *frame.get(20)? == 58 && *frame.get(54)? == 136 => {
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(62..78)?).ok()?).into())
        }
        _ => None,
    }
}

fn arp_frame(operation: u8, from: [u8; 6], sender: Ipv4Addr, to: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let head: &[u8] = &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation];
    [&to[..], &from, head, &from, &sender.octets(), &to, &target.octets()].concat()
}

/// A neighbour solicitation (135) or advertisement (136), with the sender's link-layer address.
fn neighbour_frame(kind: u8, from: [u8; 6], source: IpAddr, to: IpAddr, target: IpAddr) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (destination, link) = if kind == 135 {
        let last = &octets(to)[13..];
        let group = [&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff], last].concat();
        (group, [&[0x33, 0x33, 0xff], last].concat())
    } else {
        (octets(to).to_vec(), FAR.to_vec())
    };
    let (flags, option) = if kind == 135 { (0, 1) } else { (0x20, 2) };
    let mut message = [&[kind, 0, 0, 0, flags, 0, 0, 0], &octets(target)[..], &[option, 1], &from].concat();
    let pseudo = [&octets(source)[..], &destination, &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
    let sum: u32 = [pseudo, message.clone()]
        .concat()
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    message[2..4].copy_from_slice(&(!folded).to_be_bytes()[2..]);
    let head: &[u8] = &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
    [&link[..], &from, head, &octets(source), &destination, &message].concat()
}
