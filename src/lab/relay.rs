//! A bad cable: a relay between a machine's cable and its switch, which loses and delays frames, each way by itself.
//!
//! The kernel leaves checksums of UDP and TCP to the interface, and takes them as written where frames come out of one
//! that has none: so the relay writes them. Frames that one card would have cut into several are not for it: it is a
//! cable for beats and small pages, not for bulk.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{LinkAddr, recvfrom};
use nix::unistd::write;

use super::frame::checksum;
use super::space::{Space, Stop, Work};
use super::{LabError, clock};
use crate::net::sys;
use crate::rng::Rng;
use crate::time::Span;

/// `ETH_P_ALL`.
const EVERYTHING: u16 = 3;
/// More than any frame that an interface of ours hands over whole.
const LONGEST: usize = 65_600;
/// So often it looks whether it shall stop.
const LOOK: Span = Span::millis(20);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What happens to frames on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// So many of a hundred are lost.
    pub loss_percent: u8,
    /// The others arrive so much later.
    pub delay: Span,
}

/// What is wrong with a cable: on the way out of the machine, and on the way in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadCable {
    /// From the machine to the switch.
    pub out: Fault,
    /// From the switch to the machine.
    pub into: Fault,
}

#[derive(Debug)]
pub(super) struct Relay {
    _work: Work<()>,
}

impl Relay {
    /// Joins these two interfaces of the switches' namespace: the machine's cable and one that is a port of its switch.
    pub(super) fn start(space: &Space, machine: u32, switch: u32, bad: BadCable) -> Result<Self, LabError> {
        let open =
            move || Ok((sys::packet_socket(machine, EVERYTHING)?, sys::packet_socket(switch, EVERYTHING)?));
        let ends = space.run(open).map_err(LabError::machine("open the sockets of a relay"))?;
        let work = space.work("lab-relay", move |stop| relay(&ends.0, &ends.1, bad, stop))?;
        Ok(Self { _work: work })
    }
}

/// One direction.
struct Way<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    fault: Fault,
    under_way: VecDeque<(Span, Vec<u8>)>,
}

fn relay(machine: &OwnedFd, switch: &OwnedFd, bad: BadCable, stop: &Stop) {
    let _ = sys::real_time(super::probe::PRIORITY);
    // The same losses in every run.
    let mut rng = Rng::new(u64::from(bad.out.loss_percent) << 8 | u64::from(bad.into.loss_percent));
    let out = Way { from: machine, to: switch, fault: bad.out, under_way: VecDeque::new() };
    let into = Way { from: switch, to: machine, fault: bad.into, under_way: VecDeque::new() };
    let (mut ways, mut bytes) = ([out, into], vec![0; LONGEST]);
    while !stop.is_set() {
        let due = ways.iter().filter_map(|way| way.under_way.front()).map(|(due, _)| *due).min();
        let wait = due.map_or(LOOK, |due| (due - clock::now()).min(LOOK));
        clock::readable(&[machine.as_fd(), switch.as_fd()], wait);
        for way in &mut ways {
            way.take(&mut bytes, &mut rng);
            way.deliver();
        }
    }
}

impl Way<'_> {
    fn take(&mut self, bytes: &mut [u8], rng: &mut Rng) {
        while let Ok(length) = incoming(self.from, bytes) {
            let Some(frame) = bytes.get(..length).filter(|frame| !frame.is_empty()) else { continue };
            if rng.below(100) >= u64::from(self.fault.loss_percent) {
                let mut frame = frame.to_vec();
                complete(&mut frame);
                self.under_way.push_back((clock::now() + self.fault.delay, frame));
            }
        }
    }

    fn deliver(&mut self) {
        let now = clock::now();
        let due = self.under_way.iter().take_while(|(due, _)| *due <= now).count();
        for (_, frame) in self.under_way.drain(..due) {
            // A cable that is out loses it as well.
            let _ = write(self.to, &frame);
        }
    }
}

/// The length of a frame that comes in. One that goes out, by this relay, has none.
fn incoming(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), bytes)?;
    let is_ours = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
    Ok(if is_ours { 0 } else { length })
}

/// Writes the checksum of a UDP or TCP packet without extension headers. Fragments have theirs already.
fn complete(frame: &mut [u8]) -> Option<()> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let packet = frame.get_mut(14..)?;
    let (head, length, protocol, addresses) = match kind {
        0x0800 => {
            let head = usize::from(packet.first()? & 0xf) * 4;
            let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let is_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
            (head, length.checked_sub(head).filter(|_| !is_fragment)?, *packet.get(9)?, packet.get(12..20)?)
        }
        0x86dd => {
            let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
            (40, length, *packet.get(6)?, packet.get(8..40)?)
        }
        _ => return None,
    };
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let size = u32::try_from(length).ok()?.to_be_bytes();
    let mut summed = [addresses, &size, &[0, 0, 0, protocol]].concat();
    let segment = packet.get_mut(head..head + length)?;
    segment.get_mut(at..at + 2)?.fill(0);
    summed.extend_from_slice(segment);
    if length % 2 == 1 {
        summed.push(0);
    }
    // Zero says that there is none; both are the same to who adds them up.
    let sum = Some(checksum(&summed)).filter(|sum| *sum != 0).unwrap_or(0xffff);
    segment.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram `hi` from 10.0.0.1:1 to 10.0.0.2:2; its checksum was worked out by hand.
    const DATAGRAM: [u8; 44] = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0, 1, 0, 2, 0, 10, 0xff, 0xff, b'h', b'i', // UDP
    ];

    #[test]
    fn the_checksum_of_a_datagram_is_written() {
        let mut frame = DATAGRAM.to_vec();
        complete(&mut frame).unwrap();
        // 0a00 + 0001 + 0a00 + 0002 + 0011 + 000a + 0001 + 0002 + 000a + 6869 = 7c94, and its complement.
        assert_eq!(frame[40..42], [0x83, 0x6b]);
        let mut again = frame.clone();
        complete(&mut again).unwrap();
        assert_eq!(again, frame);
    }

    #[test]
    fn a_fragment_a_cut_frame_and_what_is_neither_stay_as_they_are() {
        let mut fragment = DATAGRAM.to_vec();
        fragment[20] = 0x20;
        let mut other = DATAGRAM.to_vec();
        other[23] = 1;
        for frame in [fragment, other, DATAGRAM[..41].to_vec()] {
            let mut after = frame.clone();
            assert_eq!(complete(&mut after), None);
            assert_eq!(after, frame);
        }
    }
}
