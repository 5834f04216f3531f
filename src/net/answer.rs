//! Answers for addresses that every node has: "it is at this group of Ethernet", so that every node gets every frame.
//!
//! The kernel answers no such question itself: it would name one machine. Every node that has an address answers, and all
//! say the same. It decides nothing and never waits; a question that is not answered is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{LinkAddr, recvfrom};

use super::frame::{self, Interface, Mac};
use super::{filter, sys};

/// What one look reads of one socket; the rest waits for the next.
const AT_ONCE: usize = 256;

/// Longer than anything that is understood.
const BUFFER: usize = 2048;

/// Why questions for an address are not answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "{interface} cannot take the part of a shared address: {error}; look at `ip link show {interface}` and \
     `ip maddress show dev {interface}`"
)]
pub struct Failure {
    /// The interface's name.
    pub interface: Arc<str>,
    /// Why.
    pub error: String,
}

/// What is answered for on one interface, and with what.
#[derive(Debug)]
struct Mouth {
    interface: Interface,
    shared: BTreeMap<IpAddr, Mac>,
    arp: Option<OwnedFd>,
    neighbours: Option<OwnedFd>,
    /// Questions of IPv6 come to groups, which a switch may pass on to members only. Membership ends with the socket.
    member: Option<UdpSocket>,
    groups: BTreeSet<Ipv6Addr>,
    /// What could not be done of it.
    error: Option<String>,
}

/// Answers, through any number of interfaces.
#[derive(Debug)]
pub struct Answerer {
    epoll: Epoll,
    mouths: BTreeMap<u32, Mouth>,
}

impl Answerer {
    /// One that answers for nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, mouths: BTreeMap::new() })
    }

    /// The shared addresses that this node has, by interface, instead of those named before: it answers for these, and takes
    /// the frames that come to their groups. The latter goes on when this process dies. What fails keeps nothing else from
    /// being done, and is tried again by [`mend`](Self::mend).
    ///
    /// Nothing is closed here: to close a packet socket takes the kernel milliseconds.
    pub fn hold(&mut self, all: &[(Interface, BTreeSet<(IpAddr, Mac)>)]) -> Vec<Failure> {
        let mut wanted: BTreeMap<u32, (&Interface, BTreeMap<IpAddr, Mac>)> = BTreeMap::new();
        for (interface, shared) in all {
            let (_, known) = wanted.entry(interface.index).or_insert((interface, BTreeMap::new()));
            known.extend(shared.iter().copied());
        }
        for (index, mouth) in &mut self.mouths {
            if !wanted.contains_key(index) && !mouth.shared.is_empty() {
                mouth.change(BTreeMap::new(), &self.epoll);
            }
        }
        let mut failures = Vec::new();
        for (index, (interface, shared)) in wanted {
            if !self.mouths.contains_key(&index) && shared.is_empty() {
                continue;
            }
            let mouth = self.mouths.entry(index).or_insert_with(|| Mouth::new(interface.clone()));
            let is_renamed = mouth.interface.name != interface.name;
            mouth.interface = interface.clone();
            if mouth.shared != shared || is_renamed {
                mouth.change(shared, &self.epoll);
                failures.extend(mouth.failure());
            }
        }
        failures
    }

    /// Tries again what failed; says what fails otherwise than before.
    pub fn mend(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for mouth in self.mouths.values_mut().filter(|mouth| mouth.error.is_some()) {
            let before = mouth.error.clone();
            mouth.change(mouth.shared.clone(), &self.epoll);
            if mouth.error != before {
                failures.extend(mouth.failure());
            }
        }
        failures
    }

    /// Answers what has come. Its descriptor is ready for as long as there is more.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 16];
        let mut buffer = [0; BUFFER];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..ready] {
            let index = u32::try_from(event.data() >> 1).unwrap_or_default();
            let Some(mouth) = self.mouths.get(&index) else { continue };
            let socket = if event.data() & 1 == 0 { &mouth.arp } else { &mouth.neighbours };
            let Some(socket) = socket else { continue };
            for _ in 0..AT_ONCE {
                match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
                    Ok((length, from)) => mouth.answer(socket, &buffer[..length], from),
                    Err(nix::errno::Errno::EAGAIN) => break,
                    // One that the interface left behind as it went down: reading it has cleared it.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

impl Mouth {
    fn new(interface: Interface) -> Self {
        Self {
            interface,
            shared: BTreeMap::new(),
            arp: None,
            neighbours: None,
            member: None,
            groups: BTreeSet::new(),
            error: None,
        }
    }

    /// All that can be done is done; of what could not the last error is kept.
    fn change(&mut self, shared: BTreeMap<IpAddr, Mac>, epoll: &Epoll) {
        let groups = |all: &BTreeMap<IpAddr, Mac>| all.values().copied().collect::<BTreeSet<Mac>>();
        let (before, after) = (groups(&self.shared), groups(&shared));
        for gone in before.difference(&after) {
            // An interface that is gone has no groups.
            let _ = sys::take_group(&self.interface.name, gone.0, false);
        }
        self.shared = shared;
        let taken: Vec<io::Result<()>> =
            after.iter().map(|group| sys::take_group(&self.interface.name, group.0, true)).collect();
        let joined = self.join();
        let heard = [self.listen(false, epoll), self.listen(true, epoll)];
        let failed = taken.into_iter().chain([joined]).chain(heard).filter_map(Result::err).last();
        self.error = failed.map(|error| error.to_string());
    }

    fn failure(&self) -> Option<Failure> {
        let failure =
            |error: &String| Failure { interface: Arc::clone(&self.interface.name), error: error.clone() };
        self.error.as_ref().map(failure)
    }

    /// Hears questions for the addresses of one family, and for no others.
    fn listen(&mut self, is_v6: bool, epoll: &Epoll) -> io::Result<()> {
        let of_family = self.shared.keys().filter(|address| address.is_ipv6() == is_v6);
        let targets: Vec<u32> = of_family.map(|address| filter::last_word(*address)).collect();
        let (place, kind, filter) = if is_v6 {
            (&mut self.neighbours, frame::ETHERTYPE_IPV6, filter::solicitations(&targets))
        } else {
            (&mut self.arp, frame::ETHERTYPE_ARP, filter::arp_questions(&targets))
        };
        if let Some(socket) = place {
            return sys::attach_filter(socket.as_fd(), &filter);
        }
        if targets.is_empty() {
            return Ok(());
        }
        let index = self.interface.index;
        let socket = sys::packet_socket(index, kind)?;
        sys::attach_filter(socket.as_fd(), &filter)?;
        let event = u64::from(index) << 1 | u64::from(is_v6);
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, event))?;
        *place = Some(socket);
        Ok(())
    }

    /// Hears questions of IPv6 for these addresses, and for no others any more.
    fn join(&mut self) -> io::Result<()> {
        let wanted: BTreeSet<Ipv6Addr> = self
            .shared
            .keys()
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(frame::solicited_node(*address)),
                IpAddr::V4(_) => None,
            })
            .collect();
        if wanted == self.groups {
            return Ok(());
        }
        self.member = None;
        self.groups = BTreeSet::new();
        if !wanted.is_empty() {
            let member = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            wanted.iter().try_for_each(|group| member.join_multicast_v6(group, self.interface.index))?;
            (self.member, self.groups) = (Some(member), wanted);
        }
        Ok(())
    }

    /// What cannot leave is asked for again.
    fn answer(&self, socket: &OwnedFd, bytes: &[u8], from: Option<LinkAddr>) {
        // Frames of a VLAN are shown to sockets of the interface below it, too.
        let here = from.is_some_and(|from| u32::try_from(from.ifindex()) == Ok(self.interface.index));
        let question = frame::notice(bytes).filter(|notice| here && notice.asks);
        let Some(question) = question else { return };
        if let Some(mac) = self.shared.get(&question.target) {
            let _ = nix::unistd::write(socket, &frame::answer(&self.interface, *mac, &question));
        }
    }
}

/// One descriptor for all questions, for as long as the answerer lives.
impl AsFd for Answerer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
