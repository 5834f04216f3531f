//! What answers at an address: every datagram goes back with the name of the machine that answers, and from the address
//! that was asked. So an answer shows who has the address.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Socket, Type};

use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock};
use crate::time::Span;

/// The port of all responders.
pub(super) const PORT: u16 = 7;
/// Enough for a number, and for a name behind it.
pub(super) const LARGEST: usize = 256;
/// So often a responder looks whether it shall stop.
const LOOK: Span = Span::millis(20);

impl Machine {
    /// Answers at every address that it has or gets.
    pub fn answer(&self) -> Result<Work<()>, LabError> {
        let name = self.name.clone();
        let opened = self.space.run(|| Ok((open(false)?, open(true)?)));
        let sockets = opened.map_err(LabError::machine("open the sockets of a responder"))?;
        self.space.work("lab-echo", move |stop| respond(&name, &sockets, stop))
    }
}

fn open(v6: bool) -> io::Result<UdpSocket> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    let wildcard = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    if v6 {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket.bind(&SocketAddr::new(wildcard, PORT).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn respond(name: &str, sockets: &(UdpSocket, UdpSocket), stop: &Stop) {
    // A responder that is late would look like an outage.
    let _ = crate::net::sys::real_time(super::probe::PRIORITY);
    while !stop.is_set() {
        clock::readable(&[sockets.0.as_fd(), sockets.1.as_fd()], LOOK);
        for socket in [&sockets.0, &sockets.1] {
            while answer_one(socket, name).is_ok() {}
        }
    }
}

/// Fails when no question waits. An address that went away meanwhile gets no answer.
fn answer_one(socket: &UdpSocket, name: &str) -> nix::Result<()> {
    let mut bytes = [0; LARGEST];
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let fd = socket.as_raw_fd();
    let (length, from, asked) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
        (got.bytes, got.address, got.cmsgs()?.next())
    };
    let answer = [bytes.get(..length.min(8)).unwrap_or_default(), name.as_bytes()].concat();
    let parts = [IoSlice::new(&answer)];
    let Some(from) = from else { return Ok(()) };
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(fd, &parts, control, MsgFlags::MSG_DONTWAIT, Some(&from)).map(drop)
    };
    let sent = match asked {
        Some(ControlMessageOwned::Ipv4PacketInfo(mut info)) => {
            info.ipi_spec_dst = info.ipi_addr;
            info.ipi_ifindex = 0;
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(mut info)) => {
            info.ipi6_ifindex = 0;
            send(&[ControlMessage::Ipv6PacketInfo(&info)])
        }
        // The socket tells the address, or the kernel is short of memory.
        _ => Ok(()),
    };
    // Whoever asked does so again.
    let _ = sent;
    Ok(())
}
