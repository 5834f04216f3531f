//! Asks the network: who answers for an address, which ping target answers, and who else speaks for what is held here.
//!
//! A round of questions leaves at once through one interface. A ping comes back with its round in it. ARP and neighbour
//! discovery have no room for one: whoever speaks *as* an address, asked or not, has shown that it lives, and that counts
//! for the newest round that asked for this address through this interface, once. So an answer can count for a round
//! later than the one that it answers, never for an earlier one: an address seems alive for one round too long, and a
//! takeover comes that much later, not sooner. When a round is over, the core says. A question alone claims nothing (an
//! ARP probe, a solicitation from no address), and what this machine says is no answer, through whichever interface.
//!
//! The kernel may keep a ping back while it looks for the target's hardware address, for seconds if nobody tells it, and
//! let it go when a cable has been mended. So an answered ping says that the cable was whole when the ping *left*. Whoever
//! counts from when it was asked must refuse answers that come late; the questions for addresses leave at once or never.
//!
//! It decides nothing and never waits. Nothing is open where nothing is asked, held or sought; the kernel's filters keep
//! the other traffic of a busy interface from waking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recvfrom,
    sendto, setsockopt, socket, sockopt,
};

use crate::time::Span;
use crate::types::GroupId;

use super::frame::{self, Echo, Interface, Mac};
use super::{filter, sys};

/// Sockets stay open for so long after the last round: longer than a keepalive, which lies between two rounds at most.
const LINGER: Span = Span::seconds(10);

/// What one look reads of one socket: a storm of ARP must not keep the caller from its timers. The rest waits for the
/// next look.
const AT_ONCE: usize = 256;

/// Longer than anything that is understood; what is cut off was padding, or is not for us.
const BUFFER: usize = 2048;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An answer to a round.
    Answer {
        /// The round that asked; for an address the newest that did.
        round: u64,
        /// Who answered.
        from: Answerer,
    },
    /// Another machine speaks for an address that is held here.
    Rival {
        /// The kernel's number of the interface through which it was heard.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// Who speaks.
        mac: Mac,
    },
    /// Another machine has an address that is sought.
    Owner {
        /// The kernel's number of the interface through which it was heard.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// Who has it.
        mac: Mac,
    },
}

/// Who answered a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// A target of the ping group at this place.
    Target(usize),
    /// Another machine than this, for an address of this group.
    Address(GroupId),
}

/// What could not be asked, or not be listened to.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot ask or listen through {interface}: {error} ({questions} questions did not leave); look at \
     `ip link show {interface}`"
)]
pub struct Failure {
    /// The interface's name.
    pub interface: Arc<str>,
    /// How many.
    pub questions: u64,
    /// Why the last of them did not leave.
    pub error: io::Error,
}

/// The kinds of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Arp,
    Neighbours,
    PingV4,
    PingV6,
}

const KINDS: [Kind; 4] = [Kind::Arp, Kind::Neighbours, Kind::PingV4, Kind::PingV6];

/// The newest round that asked for an address.
#[derive(Clone, Copy, Debug)]
struct Question {
    round: u64,
    group: GroupId,
    answered: bool,
}

/// What is listened to on one interface, and with what.
#[derive(Debug)]
struct Ear {
    interface: Interface,
    sockets: BTreeMap<Kind, OwnedFd>,
    /// Of whom the kernel's filters let frames pass.
    speakers: BTreeSet<IpAddr>,
    questions: BTreeMap<IpAddr, Question>,
    targets: Vec<Vec<IpAddr>>,
    /// When the last round was asked.
    asked: Option<Span>,
    held: BTreeSet<IpAddr>,
    sought: BTreeSet<IpAddr>,
}

impl Ear {
    fn new(interface: Interface) -> Self {
        Self {
            interface,
            sockets: BTreeMap::new(),
            speakers: BTreeSet::new(),
            questions: BTreeMap::new(),
            targets: Vec::new(),
            asked: None,
            held: BTreeSet::new(),
            sought: BTreeSet::new(),
        }
    }

    fn needs(&self, kind: Kind) -> bool {
        let mut addresses = self.questions.keys().chain(&self.held).chain(&self.sought);
        let mut targets = self.targets.iter().flatten();
        match kind {
            Kind::Arp => addresses.any(IpAddr::is_ipv4),
            Kind::Neighbours => addresses.any(IpAddr::is_ipv6),
            Kind::PingV4 => targets.any(IpAddr::is_ipv4),
            Kind::PingV6 => targets.any(IpAddr::is_ipv6),
        }
    }

    /// Opens what is needed, and gives up what is not.
    fn fit(&mut self, epoll: &Epoll, identifier: u16, spent: &mut Vec<OwnedFd>) -> io::Result<()> {
        self.filter_anew(epoll, identifier, spent);
        let mut outcome = Ok(());
        for kind in KINDS {
            if !self.needs(kind) {
                self.give_up(kind, epoll, spent);
            } else if !self.sockets.contains_key(&kind) {
                match self.open(kind, epoll, identifier) {
                    Ok(socket) => drop(self.sockets.insert(kind, socket)),
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }

    /// Frames of others than those who are listened for wake nobody. A socket that keeps its old filter would be deaf: it
    /// is given up, and opened anew.
    fn filter_anew(&mut self, epoll: &Epoll, identifier: u16, spent: &mut Vec<OwnedFd>) {
        let listened = self.questions.keys().chain(&self.held).chain(&self.sought);
        let speakers: BTreeSet<IpAddr> = listened.copied().collect();
        if speakers == self.speakers {
            return;
        }
        self.speakers = speakers;
        let is_deaf = |kind: &Kind, socket: &OwnedFd| {
            sys::attach_filter(socket.as_fd(), &self.filter(*kind, identifier)).is_err()
        };
        let deaf: Vec<Kind> = self
            .sockets
            .iter()
            .filter(|(kind, socket)| is_deaf(kind, socket))
            .map(|(kind, _)| *kind)
            .collect();
        deaf.into_iter().for_each(|kind| self.give_up(kind, epoll, spent));
    }

    /// What the kernel lets pass on a socket of this kind.
    fn filter(&self, kind: Kind, identifier: u16) -> Vec<filter::Instruction> {
        let ends = |is_v6: bool| -> Vec<u32> {
            let speakers = self.speakers.iter().filter(|address| address.is_ipv6() == is_v6);
            speakers.map(|address| filter::last_word(*address)).collect()
        };
        match kind {
            Kind::Arp => filter::arp(&ends(false)),
            Kind::Neighbours => filter::neighbours(&ends(true)),
            Kind::PingV4 => filter::ping_v4(identifier).to_vec(),
            Kind::PingV6 => filter::ping_v6(identifier).to_vec(),
        }
    }

    /// It wakes nobody any more; who closes it, waits.
    fn give_up(&mut self, kind: Kind, epoll: &Epoll, spent: &mut Vec<OwnedFd>) {
        if let Some(socket) = self.sockets.remove(&kind) {
            // One that cannot be taken out leaves the epoll when it is closed.
            let _ = epoll.delete(&socket);
            spent.push(socket);
        }
    }

    fn open(&self, kind: Kind, epoll: &Epoll, identifier: u16) -> io::Result<OwnedFd> {
        let index = self.interface.index;
        let socket = match kind {
            Kind::Arp => sys::packet_socket(index, frame::ETHERTYPE_ARP)?,
            Kind::Neighbours => sys::packet_socket(index, frame::ETHERTYPE_IPV6)?,
            Kind::PingV4 => self.raw(AddressFamily::Inet, SockProtocol::Icmp)?,
            Kind::PingV6 => self.raw(AddressFamily::Inet6, SockProtocol::IcmpV6)?,
        };
        sys::attach_filter(socket.as_fd(), &self.filter(kind, identifier))?;
        // The events of this socket carry where it belongs.
        let place = u64::from(index) << 2 | kind as u64;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place))?;
        Ok(socket)
    }

    /// Bound to the interface: the ping leaves through it, and its answer counts only if it came back through it.
    fn raw(&self, family: AddressFamily, protocol: SockProtocol) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Raw, flags, protocol)?;
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(&*self.interface.name))?;
        Ok(socket)
    }

    fn socket(&self, kind: Kind) -> io::Result<&OwnedFd> {
        self.sockets.get(&kind).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn ask(&self, address: IpAddr) -> io::Result<()> {
        let Interface { mac, link_local, .. } = self.interface;
        let (kind, frame) = match address {
            // From no address: then no neighbour learns anything wrong, whatever becomes of us.
            IpAddr::V4(target) => {
                (Kind::Arp, frame::arp_question(mac, std::net::Ipv4Addr::UNSPECIFIED, target))
            }
            IpAddr::V6(target) => (Kind::Neighbours, frame::neighbour_question(mac, link_local, target)),
        };
        let socket = self.socket(kind)?;
        let send = || nix::unistd::write(socket, &frame).map(drop);
        match send() {
            // An interface that was down leaves this behind with the socket, once.
            Err(nix::errno::Errno::ENETDOWN) => Ok(send()?),
            sent => Ok(sent?),
        }
    }

    fn ping(&self, target: IpAddr, echo: &Echo) -> io::Result<()> {
        match target {
            IpAddr::V4(target) => {
                let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
                let socket = self.socket(Kind::PingV4)?;
                sendto(socket.as_raw_fd(), &echo.request_v4(), &to, MsgFlags::empty())?;
            }
            IpAddr::V6(target) => {
                let scope = if target.is_unicast_link_local() { self.interface.index } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(target, 0, 0, scope));
                let socket = self.socket(Kind::PingV6)?;
                sendto(socket.as_raw_fd(), &echo.request_v6(), &to, MsgFlags::empty())?;
            }
        }
        Ok(())
    }

    /// A frame of ARP or of neighbour discovery.
    fn frame(&mut self, bytes: &[u8], from: &LinkAddr, own: &BTreeSet<Mac>, each: &mut impl FnMut(Heard)) {
        // Frames of a VLAN are shown to sockets of the interface below it, too.
        let here = u32::try_from(from.ifindex()) == Ok(self.interface.index);
        if !here {
            return;
        }
        let Some(notice) = frame::notice(bytes) else { return };
        let Some(address) = notice.address else { return };
        let ours = |mac: Mac| mac == self.interface.mac || own.contains(&mac);
        if ours(notice.mac) || frame::source(bytes).is_none_or(ours) {
            return;
        }
        if let Some(question) = self.questions.get_mut(&address).filter(|question| !question.answered) {
            question.answered = true;
            each(Heard::Answer { round: question.round, from: Answerer::Address(question.group) });
        }
        let (interface, mac) = (self.interface.index, notice.mac);
        if self.held.contains(&address) {
            each(Heard::Rival { interface, address, mac });
        }
        if self.sought.contains(&address) {
            each(Heard::Owner { interface, address, mac });
        }
    }

    fn echo(&self, source: IpAddr, echo: Echo, token: u64, each: &mut impl FnMut(Heard)) {
        let group = usize::from(echo.group);
        if echo.token == token && self.targets.get(group).is_some_and(|targets| targets.contains(&source)) {
            each(Heard::Answer { round: echo.round, from: Answerer::Target(group) });
        }
    }

    /// Reads one message of a socket; false if there is none.
    fn receive(
        &mut self,
        kind: Kind,
        buffer: &mut [u8],
        known: (&BTreeSet<Mac>, u64),
        each: &mut impl FnMut(Heard),
    ) -> bool {
        let Some(socket) = self.sockets.get(&kind).map(AsRawFd::as_raw_fd) else { return false };
        let (own, token) = known;
        let outcome = match kind {
            Kind::Arp | Kind::Neighbours => recvfrom::<LinkAddr>(socket, buffer).map(|(length, from)| {
                if let Some(from) = from {
                    self.frame(&buffer[..length], &from, own, each);
                }
            }),
            Kind::PingV4 => recvfrom::<SockaddrIn>(socket, buffer).map(|(length, _)| {
                if let Some((source, echo)) = Echo::reply_v4(&buffer[..length]) {
                    self.echo(source.into(), echo, token, each);
                }
            }),
            Kind::PingV6 => recvfrom::<SockaddrIn6>(socket, buffer).map(|(length, from)| {
                let echo = Echo::reply_v6(&buffer[..length]);
                if let Some((from, echo)) = from.zip(echo) {
                    self.echo(from.ip().into(), echo, token, each);
                }
            }),
        };
        // Any other error is one that the interface left behind as it went down: reading it has cleared it.
        outcome != Err(nix::errno::Errno::EAGAIN)
    }
}

/// Asks and listens, through any number of interfaces.
#[derive(Debug)]
pub struct Prober {
    token: u64,
    own: BTreeSet<Mac>,
    epoll: Epoll,
    ears: BTreeMap<u32, Ear>,
    /// Sockets that nothing is heard of any more.
    spent: Vec<OwnedFd>,
}

impl Prober {
    /// One that listens to nothing yet. The token is chance: it tells its pings from those of others.
    pub fn new(token: u64) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { token, own: BTreeSet::new(), epoll, ears: BTreeMap::new(), spent: Vec::new() })
    }

    /// The hardware addresses of all of this machine's interfaces. Where two are on one network, Linux answers through
    /// either for an address of the other.
    pub fn own(&mut self, macs: BTreeSet<Mac>) {
        self.own = macs;
    }

    /// A round: at once, a question for every address and a ping to every target of every ping group.
    pub fn ask(
        &mut self,
        round: u64,
        interface: &Interface,
        addresses: &[(GroupId, IpAddr)],
        targets: &[Vec<IpAddr>],
        now: Span,
    ) -> Result<(), Failure> {
        let token = self.token;
        let (ear, opened) = self.change(interface, |ear| {
            ear.asked = Some(now);
            targets.clone_into(&mut ear.targets);
            ear.questions.extend(
                addresses
                    .iter()
                    .map(|&(group, address)| (address, Question { round, group, answered: false })),
            );
        });
        let questions = addresses.iter().map(|(_, address)| ear.ask(*address));
        let pings = targets.iter().enumerate().flat_map(|(place, group)| {
            // The configuration has a limit far below; one more could not be told from the first.
            let echo = u16::try_from(place).map(|group| Echo { token, round, group });
            group.iter().map(move |target| match echo {
                Ok(echo) => ear.ping(*target, &echo),
                Err(_) => Err(io::ErrorKind::InvalidInput.into()),
            })
        });
        outcome(interface, opened, questions.chain(pings))
    }

    /// The addresses that this machine holds on an interface, instead of those named before: rivals are listened for.
    pub fn hold(&mut self, interface: &Interface, addresses: &[IpAddr]) -> Result<(), Failure> {
        let (_, opened) = self.change(interface, |ear| ear.held = addresses.iter().copied().collect());
        let outcome = outcome(interface, opened, std::iter::empty());
        self.drop_idle();
        outcome
    }

    /// "Who has this address?" Whoever answers comes as [`Heard::Owner`], until it is forgotten. How long to wait and how
    /// often to ask is the caller's: a second question is a second call.
    pub fn seek(&mut self, interface: &Interface, address: IpAddr) -> Result<(), Failure> {
        let (ear, opened) = self.change(interface, |ear| ear.sought.extend([address]));
        outcome(interface, opened, std::iter::once(ear.ask(address)))
    }

    /// The address is not sought any more, through whichever interface, also one that is gone.
    pub fn forget(&mut self, address: IpAddr) {
        self.ears.values_mut().for_each(|ear| _ = ear.sought.remove(&address));
        self.drop_idle();
    }

    /// When `run` has something to do.
    pub fn next_due(&self) -> Option<Span> {
        self.ears.values().filter_map(|ear| ear.asked).min().map(|asked| asked + LINGER)
    }

    /// Closes what only rounds needed, where none was asked for a while.
    pub fn run(&mut self, now: Span) {
        for ear in self.ears.values_mut().filter(|ear| ear.asked.is_some_and(|asked| asked + LINGER <= now)) {
            ear.asked = None;
            ear.questions.clear();
            ear.targets.clear();
        }
        self.drop_idle();
    }

    /// Reads what has come. The prober's descriptor is ready for as long as there is more.
    pub fn read(&mut self, mut each: impl FnMut(Heard)) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 16];
        let mut buffer = [0; BUFFER];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..ready] {
            let place = event.data();
            let index = u32::try_from(place >> 2).unwrap_or_default();
            let kind = KINDS.into_iter().find(|kind| *kind as u64 == place & 3);
            let Some((ear, kind)) = self.ears.get_mut(&index).zip(kind) else { continue };
            for _ in 0..AT_ONCE {
                if !ear.receive(kind, &mut buffer, (&self.own, self.token), &mut each) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Changes what is listened to on an interface, and opens what that needs.
    fn change(&mut self, interface: &Interface, change: impl FnOnce(&mut Ear)) -> (&Ear, io::Result<()>) {
        let identifier = Echo { token: self.token, round: 0, group: 0 }.identifier();
        let ear = self.ears.entry(interface.index).or_insert_with(|| Ear::new(interface.clone()));
        if ear.interface != *interface {
            ear.interface = interface.clone();
        }
        change(ear);
        let opened = ear.fit(&self.epoll, identifier, &mut self.spent);
        (ear, opened)
    }

    fn drop_idle(&mut self) {
        let Self { ears, epoll, spent, .. } = self;
        ears.retain(|_, ear| {
            let idle = KINDS.into_iter().filter(|kind| !ear.needs(*kind));
            let idle: Vec<Kind> = idle.collect();
            idle.iter().for_each(|kind| ear.give_up(*kind, epoll, spent));
            idle.len() < KINDS.len()
        });
    }

    /// Sockets that are not needed any more, for somebody who may wait.
    pub fn take_spent(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.spent)
    }
}

/// One descriptor for all that is listened to, for as long as the prober lives.
impl AsFd for Prober {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn outcome(
    interface: &Interface,
    opened: io::Result<()>,
    questions: impl Iterator<Item = io::Result<()>>,
) -> Result<(), Failure> {
    let failure = |questions, error| Failure { interface: Arc::clone(&interface.name), questions, error };
    let (mut failed, mut last) = (0, None);
    for error in questions.filter_map(Result::err) {
        (failed, last) = (failed + 1, Some(error));
    }
    // Why a socket is missing says more than that it is.
    opened.err().or(last).map_or(Ok(()), |error| Err(failure(failed, error)))
}
