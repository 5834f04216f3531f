//! A tap: when beats or announcements pass a machine's interface, by the kernel's own time. So a reader that is late
//! changes no figure.
//!
//! packet(7); SO_TIMESTAMPNS in socket(7). Beats are ours, on port 694, and the adverts of VRRP (RFC 5798), so that both
//! are measured by the same thing.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};

use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock, frame};
use crate::net::route::Mac;
use crate::net::sys;
use crate::time::Span;

/// `ETH_P_ALL`.
const EVERYTHING: u16 = 3;
const LONGEST: usize = 2_048;
/// Hundreds of announcements can come at once.
const BUFFER: usize = 8 << 20;
/// So often it looks whether it shall stop.
const LOOK: Span = Span::millis(5);

/// Beats and adverts, over IPv4 without options and over IPv6 without extensions: in the form of `sys::attach_filter`.
const BEATS: [(u16, u8, u8, u32); 15] = [
    (0x28, 0, 0, 12),
    (0x15, 0, 5, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 10, 0, VRRP),
    (0x15, 0, 8, UDP),
    (0x28, 0, 0, 36),
    (0x15, 7, 6, PORT),
    (0x15, 0, 5, 0x86dd),
    (0x30, 0, 0, 20),
    (0x15, 4, 0, VRRP),
    (0x15, 0, 2, UDP),
    (0x28, 0, 0, 56),
    (0x15, 1, 0, PORT),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xffff),
];
/// ARP, and neighbour advertisements.
const ANNOUNCEMENTS: [(u16, u8, u8, u32); 9] = [
    (0x28, 0, 0, 12),
    (0x15, 6, 0, 0x0806),
    (0x15, 0, 4, 0x86dd),
    (0x30, 0, 0, 20),
    (0x15, 0, 2, 58),
    (0x30, 0, 0, 54),
    (0x15, 1, 0, 136),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xffff),
];
const VRRP: u32 = 112;
const UDP: u32 = 17;
const PORT: u32 = 694;

/// What a tap is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tapped {
    /// Beats, and adverts of VRRP.
    Beats,
    /// Addresses that somebody announces unasked.
    Announcements,
}

/// A frame that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When, by the lab's clock.
    pub at: Span,
    /// Who sent it.
    pub from: Mac,
    /// What it announces.
    pub address: Option<IpAddr>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Tap {
    passed: Arc<Mutex<Vec<Passed>>>,
    _work: Work<()>,
}

impl Machine {
    /// Starts to write down what passes its interface on a network, in and out.
    pub fn tap(&self, network: &str, tapped: Tapped) -> Result<Tap, LabError> {
        let index = self.index(network)?;
        let open = move || {
            let socket = sys::packet_socket(index, EVERYTHING)?;
            match tapped {
                Tapped::Beats => sys::attach_filter(socket.as_fd(), &BEATS)?,
                Tapped::Announcements => sys::attach_filter(socket.as_fd(), &ANNOUNCEMENTS)?,
            }
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            // An ordinary user gets less.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
            Ok(socket)
        };
        let socket = self.space.run(open).map_err(LabError::machine("open the socket of a tap"))?;
        let passed = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&passed);
        let work = self.space.work("lab-tap", move |stop| while_told(&socket, tapped, &written, stop))?;
        Ok(Tap { passed, _work: work })
    }
}

impl Tap {
    /// What passed since it was last taken.
    pub fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut self.passed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn while_told(socket: &OwnedFd, tapped: Tapped, passed: &Mutex<Vec<Passed>>, stop: &Stop) {
    let _ = sys::real_time(super::probe::PRIORITY);
    while !stop.is_set() {
        clock::readable(&[socket.as_fd()], LOOK);
        while let Ok(came) = receive(socket) {
            let wanted = came.filter(|came| tapped == Tapped::Beats || came.address.is_some());
            if let Some(came) = wanted {
                passed.lock().unwrap_or_else(PoisonError::into_inner).push(came);
            }
        }
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Passed>> {
    let mut bytes = [0; LONGEST];
    let mut space = nix::cmsg_space!(TimeSpec);
    let (length, stamp) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let got = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let stamp = got.cmsgs()?.find_map(|message| {
            if let ControlMessageOwned::ScmTimestampns(stamp) = message { Some(stamp) } else { None }
        });
        (got.bytes, stamp)
    };
    let frame = bytes.get(..length).unwrap_or_default();
    let from = frame.get(6..12).and_then(|mac| mac.try_into().ok()).map(Mac);
    let address = frame::read(frame).filter(|said| said.unasked).map(|said| said.address);
    let age = stamp.map_or(Span::ZERO, age);
    Ok(from.map(|from| Passed { at: clock::now() - age, from, address }))
}

/// How long ago that was. The kernel stamps by the time of day; over so short a time a step of it would be an accident.
fn age(stamp: TimeSpec) -> Span {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or(stamp);
    Span::micros(u64::try_from((now - stamp).num_microseconds()).unwrap_or(0))
}
