//! Pings of one family, all through one raw socket: ICMP (RFC 792) and ICMPv6 (RFC 4443), the echo.
//!
//! A ping carries a token of chance and a number of its own. So its answer is told from those of other programs, which the
//! kernel's filter keeps from waking anybody, and from late answers to earlier pings. It never blocks and decides nothing.
//! Sockets for one target and one round through one interface are in `probe.rs`.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    recvfrom, sendmsg, setsockopt, socket, sockopt,
};

use super::frame::Echo;
use super::{filter, sys};

/// Longer than an answer; what is cut off is not for us.
const BUFFER: usize = 256;

/// Room for the answers to some thousand pings: those on one machine are there before anybody can look.
const ROOM: usize = 4 << 20;

/// Asks and hears, for one family.
#[derive(Debug)]
pub struct Pings {
    socket: sys::Awaited,
    is_v6: bool,
    token: u64,
}

impl Pings {
    /// In a runtime, and with the right to raw sockets. The token is chance.
    pub fn open(is_v6: bool, token: u64) -> io::Result<Self> {
        let (family, protocol) = match is_v6 {
            false => (AddressFamily::Inet, SockProtocol::Icmp),
            true => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Raw, flags, protocol)?;
        // An ordinary user gets less, and an answer may be lost when many come at once.
        if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &ROOM);
        }
        let identifier = Echo { token, round: 0, group: 0 }.identifier();
        match is_v6 {
            false => sys::attach_filter(socket.as_fd(), &filter::ping_v4(identifier))?,
            true => sys::attach_filter(socket.as_fd(), &filter::ping_v6(identifier))?,
        }
        Ok(Self { socket: sys::Awaited::new(socket)?, is_v6, token })
    }

    /// Asks a target of this family, from this address or from where the route says.
    pub fn ask(&self, number: u64, to: IpAddr, from: Option<IpAddr>) -> io::Result<()> {
        let echo = Echo { token: self.token, round: number, group: 0 };
        let socket = self.socket.as_raw_fd();
        match (to, from) {
            (IpAddr::V4(to), None | Some(IpAddr::V4(_))) if !self.is_v6 => {
                let source = match from {
                    Some(IpAddr::V4(from)) => u32::from_ne_bytes(from.octets()),
                    None | Some(IpAddr::V6(_)) => 0,
                };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: source },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                let bytes = echo.request_v4();
                let control = [ControlMessage::Ipv4PacketInfo(&info)];
                let control = if source == 0 { &[][..] } else { &control[..] };
                sendmsg(socket, &[IoSlice::new(&bytes)], control, MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V6(to), None | Some(IpAddr::V6(_))) if self.is_v6 => {
                let source = match from {
                    Some(IpAddr::V6(from)) => from.octets(),
                    None | Some(IpAddr::V4(_)) => [0; 16],
                };
                let info =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source }, ipi6_ifindex: 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                let bytes = echo.request_v6();
                let control = [ControlMessage::Ipv6PacketInfo(&info)];
                let control = if from.is_none() { &[][..] } else { &control[..] };
                sendmsg(socket, &[IoSlice::new(&bytes)], control, MsgFlags::empty(), Some(&to))?;
            }
            // An address of the other family.
            (IpAddr::V4(_) | IpAddr::V6(_), _) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    /// Waits for a packet: who has answered which ping; `None`: it was no answer to one of these.
    pub async fn hear(&self) -> io::Result<Option<(IpAddr, u64)>> {
        self.socket.read(|| self.read()).await
    }

    /// The same, if there is a packet already.
    pub fn read(&self) -> io::Result<Option<(IpAddr, u64)>> {
        let mut buffer = [0; BUFFER];
        let socket = self.socket.as_raw_fd();
        let heard: Option<(IpAddr, Echo)> = if self.is_v6 {
            let (length, from) = recvfrom::<SockaddrIn6>(socket, &mut buffer)?;
            let echo = Echo::reply_v6(buffer.get(..length).unwrap_or_default());
            from.zip(echo).map(|(from, echo)| (from.ip().into(), echo))
        } else {
            let (length, _) = recvfrom::<SockaddrIn>(socket, &mut buffer)?;
            let heard = Echo::reply_v4(buffer.get(..length).unwrap_or_default());
            heard.map(|(from, echo)| (from.into(), echo))
        };
        Ok(heard.filter(|(_, echo)| echo.token == self.token).map(|(from, echo)| (from, echo.round)))
    }
}
