//! Netlink: requests to the kernel, and its answers and events. RFC 3549.
//!
//! Routing, addresses, nftables and IPVS speak the same frames: a header, a fixed part, then attributes that may nest.
//! This knows the frames; `route.rs`, `ipvs.rs` and the lease know what is in them. Every request waits for its answer, so
//! a call that returns has happened. An overrun of an event socket is said, never hidden: then everything must be read
//! again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};

/// The fixed part of every message.
const HEADER: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// "What was listed changed meanwhile."
const DUMP_INTERRUPTED: u16 = 0x10;

/// "This is a request."
pub const REQUEST: u16 = 1;
/// "Say how it went."
pub const ACK: u16 = 4;
/// "All of them."
pub const DUMP: u16 = 0x300;
/// "Make it if it is missing."
pub const CREATE: u16 = 0x400;
/// "It must be missing."
pub const EXCLUSIVE: u16 = 0x200;
/// "Put it in the place of what is there."
pub const REPLACE: u16 = 0x100;

const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// The kernel's answers come in pieces of this at most.
const BUFFER: usize = 64 * 1024;

/// A list that changes while it is read is read again, so often at most: the last one may have holes, and is refused.
const DUMPS: u8 = 10;

/// Which part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables.
    Netfilter,
    /// What has no number of its own, and is found by its name: IPVS.
    Generic,
}

/// One message in the making.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this kind, with its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    /// One more attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.bytes, kind, value);
        self
    }

    /// A text, with the zero that the kernel wants at its end.
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute made of attributes.
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(&mut Nest<'_>)) -> Self {
        nest(&mut self.bytes, kind, fill);
        self
    }

    /// What follows the header, for who compares bytes.
    #[cfg(test)]
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    fn finish(&mut self, sequence: u32, more: u16) {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | more;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// Attributes inside of an attribute.
pub struct Nest<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Nest<'_> {
    /// One more attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        put(self.bytes, kind, value);
        self
    }

    /// A text, with the zero that the kernel wants at its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute made of attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Nest<'_>)) -> &mut Self {
        nest(self.bytes, kind, fill);
        self
    }

    /// Bytes that are no attribute: some kinds have a fixed part of their own.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        pad(self.bytes);
        self
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("an attribute of ours is short");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

fn nest(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Nest<'_>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    fill(&mut Nest { bytes });
    let length = u16::try_from(bytes.len() - start).expect("callers keep a nest below 64 KiB");
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in some bytes: kind and value.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & KIND;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// One answer or event: its kind, and what follows the header.
#[derive(Clone, Copy, Debug)]
struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

fn answers(bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(rest.get(6..8)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(rest.get(8..12)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind, flags, sequence, body })
    })
}

/// What an answer says of a request: nothing yet, or how it went.
fn verdict(answer: &Answer<'_>) -> Option<io::Result<()>> {
    match answer.kind {
        NLMSG_ERROR | NLMSG_DONE => {
            let code =
                answer.body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
            Some(if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) })
        }
        _ => None,
    }
}

/// What became of the events since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// All of them were read.
    Read,
    /// Some were lost: whatever they told of must be read again.
    Overrun,
}

/// The first request of a batch that failed, by its place, and why.
#[derive(Debug, thiserror::Error)]
#[error("request {place} of the batch: {error}")]
pub struct BatchError {
    /// Counted from 0.
    pub place: usize,
    /// Why.
    pub error: io::Error,
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// For requests.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        Self::bound(protocol, 0, SockFlag::empty())
    }

    /// For the events of these multicast groups (`RTNLGRP_*`, `NFNLGRP_*`: numbers from 1 to 31). It never blocks.
    pub fn subscribe(protocol: Protocol, groups: &[u32]) -> io::Result<Self> {
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        Self::bound(protocol, mask, SockFlag::SOCK_NONBLOCK)
    }

    fn bound(protocol: Protocol, groups: u32, flags: SockFlag) -> io::Result<Self> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
            Protocol::Generic => SockProtocol::NetlinkGeneric,
        };
        let flags = flags | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // Hundreds of addresses in one batch, and bursts of events; refused only where limits are tight.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &(1 << 20));
        let _ = setsockopt(&socket, sockopt::SndBuf, &(1 << 20));
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Asks for one thing, and waits until it is done.
    pub fn request(&mut self, message: Message) -> io::Result<()> {
        self.ask(message, |_, _| {})
    }

    /// Asks for one thing; what comes back before the end is its kind and what follows the header.
    pub fn ask(&mut self, message: Message, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.exchange(message, ACK, each)
    }

    /// Asks for all of something, again if it changed meanwhile: what is read of each, from its kind and what follows the
    /// header.
    pub fn list<T, I: IntoIterator<Item = T>>(
        &mut self,
        message: &Message,
        mut read: impl FnMut(u16, &[u8]) -> I,
    ) -> io::Result<Vec<T>> {
        let mut attempt = 1_u8;
        loop {
            let mut found = Vec::new();
            match self.dump(message.clone(), |kind, body| found.extend(read(kind, body))) {
                Ok(()) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::Interrupted && attempt < DUMPS => {
                    // The kernel goes on changing what was ordered, hundreds of addresses at a time: it gets the time.
                    let _ = poll(&mut [], PollTimeout::from(attempt));
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for all of something; each of them is its kind and what follows the header. `Interrupted`: it changed
    /// meanwhile, so the list may have holes, and must be asked for again.
    pub fn dump(&mut self, message: Message, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.exchange(message, DUMP, each)
    }

    fn exchange(
        &mut self,
        mut message: Message,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let sequence = self.next_sequence();
        message.finish(sequence, flags);
        self.send(&message.bytes)?;
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
            for answer in answers(&self.buffer[..length]).filter(|answer| answer.sequence == sequence) {
                interrupted |= answer.flags & DUMP_INTERRUPTED != 0;
                match verdict(&answer) {
                    Some(Ok(())) if interrupted => return Err(io::Error::from_raw_os_error(libc::EINTR)),
                    Some(done) => return done,
                    None => each(answer.kind, answer.body),
                }
            }
        }
    }

    /// Asks for several things that don't hang together, in one call of the system. Says which of them failed, by their
    /// places, and why; the others have happened.
    pub fn pipeline(&mut self, messages: Vec<Message>) -> io::Result<Vec<(usize, io::Error)>> {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(Vec::new()) };
        let (first_sequence, mut bytes) = (self.sequence.wrapping_add(1), Vec::new());
        for (at, mut message) in messages.into_iter().enumerate() {
            // The kernel works them off in order, and says unasked what fails: the last answer ends them all.
            message.finish(self.next_sequence(), if at == last { ACK } else { 0 });
            bytes.extend_from_slice(&message.bytes);
        }
        self.send(&bytes)?;
        let mut failed = Vec::new();
        loop {
            let length = self.receive()?;
            for answer in answers(&self.buffer[..length]) {
                let place =
                    usize::try_from(answer.sequence.wrapping_sub(first_sequence)).unwrap_or(usize::MAX);
                let Some(verdict) = verdict(&answer).filter(|_| place <= last) else { continue };
                if let Err(error) = verdict {
                    failed.push((place, error));
                }
                if place == last {
                    return Ok(failed);
                }
            }
        }
    }

    /// Asks for several things at once, as nftables wants them: all of them happen, or none. `begin` and `end` frame them.
    pub fn batch(&mut self, begin: Message, messages: Vec<Message>, end: Message) -> Result<(), BatchError> {
        let failed = |error: io::Error| BatchError { place: 0, error };
        if messages.is_empty() {
            return Ok(());
        }
        let (last, mut bytes) = (messages.len() - 1, Vec::new());
        let first_sequence = self.sequence.wrapping_add(2);
        let framed = std::iter::once((begin, 0))
            .chain(
                messages
                    .into_iter()
                    .enumerate()
                    .map(|(at, message)| (message, if at == last { ACK } else { 0 })),
            )
            .chain(std::iter::once((end, 0)));
        for (mut message, flags) in framed {
            message.finish(self.next_sequence(), flags);
            bytes.extend_from_slice(&message.bytes);
        }
        self.send(&bytes).map_err(failed)?;
        let mut first_error = None;
        loop {
            let length = self.receive().map_err(failed)?;
            for answer in answers(&self.buffer[..length]) {
                let place =
                    usize::try_from(answer.sequence.wrapping_sub(first_sequence)).unwrap_or(usize::MAX);
                let Some(verdict) = verdict(&answer) else { continue };
                // What frames the batch fails as a whole: one before the first, or one after the last.
                let frames = place == last + 1 || answer.sequence.wrapping_add(1) == first_sequence;
                if place > last && !frames {
                    continue;
                }
                if let Err(error) = verdict {
                    first_error.get_or_insert(BatchError { place: place.min(last), error });
                }
                if place == last || frames {
                    return first_error.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Reads the events that wait, each with its kind and what follows the header. Also after some were lost: until all
    /// are read, the kernel goes on losing more without another word.
    pub fn events(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<Events> {
        let mut came = Events::Read;
        loop {
            match self.receive() {
                Ok(length) => {
                    answers(&self.buffer[..length]).for_each(|answer| each(answer.kind, answer.body));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(came),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => came = Events::Overrun,
                Err(error) => return Err(error),
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = sendto(self.socket.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => return Ok(length),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let message = Message::new(1, 0, &[9; 4]).attr(3, b"abc").text(4, "eth0").nest(5, |nest| {
            nest.attr(6, &7_u32.to_ne_bytes()).attr(8, &[]);
        });
        let body = &message.bytes[HEADER + 4..];
        assert_eq!(attribute(body, 3), Some(&b"abc"[..]));
        assert_eq!(attribute(body, 4), Some(&b"eth0\0"[..]));
        let inner = attribute(body, 5).unwrap();
        assert_eq!(attribute(inner, 6), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(inner, 8), Some(&[][..]));
        assert_eq!(attribute(body, 9), None);
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        let mut message = Message::new(16, 0, &[1, 2, 3, 4]);
        message.finish(7, 0);
        for length in 0..message.bytes.len() {
            assert_eq!(answers(&message.bytes[..length]).count(), 0, "{length} bytes");
        }
        assert_eq!(answers(&message.bytes).count(), 1);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "an attribute is no shorter than its header");
    }

    #[test]
    fn the_loopback_interface_is_among_the_links() {
        let mut netlink = Netlink::open(Protocol::Route).unwrap();
        let mut names = Vec::new();
        // RTM_GETLINK with an empty ifinfomsg; IFLA_IFNAME.
        netlink
            .dump(Message::new(18, 0, &[0; 16]), |_, body| {
                names.extend(attribute(&body[16..], 3).map(<[u8]>::to_vec));
            })
            .unwrap();
        assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
    }
}
