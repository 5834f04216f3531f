//! The client's ears: who announces an address, and who answers when everybody is asked. Two that answer one question
//! both believe that they have it, whatever a switch or a cache makes of that.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{read, write};

use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock, frame};
use crate::net::route::Mac;
use crate::net::sys;
use crate::time::Span;

/// Everybody is asked so often.
const EVERY: Span = Span::millis(10);
const LONGEST_FRAME: usize = 1_514;

/// Something that was heard of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When, by the lab's clock.
    pub at: Span,
    /// Who said so.
    pub mac: Mac,
    /// The number of the last question before it.
    pub question: u64,
    /// Nobody had asked: it was announced.
    pub announced: bool,
}

/// Listens, and asks, until it is dropped.
#[derive(Debug)]
pub struct Ears {
    heard: Arc<Mutex<Vec<Heard>>>,
    _work: Work<()>,
}

impl Machine {
    /// Starts to listen on a network for who has this address, and to ask everybody.
    pub fn listen(&mut self, network: &str, address: IpAddr) -> Result<Ears, LabError> {
        let (index, source) = self.source(network, address)?;
        let question = frame::question(self.mac(network)?, source, address).unwrap_or_default();
        let open = move || {
            let socket = sys::packet_socket(index, frame::kind_of(address))?;
            if address.is_ipv6() {
                // Otherwise every packet of a probe would come along.
                sys::attach_filter(socket.as_fd(), &frame::ONLY_ADVERTISEMENTS)?;
            }
            Ok(socket)
        };
        let socket = self.space.run(open).map_err(LabError::machine("listen for announcements"))?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&heard);
        let work =
            self.space.work("lab-ears", move |stop| listen(&socket, &question, address, &written, stop))?;
        Ok(Ears { heard, _work: work })
    }
}

impl Ears {
    /// What was heard since it was last taken.
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was heard so far, except for what was taken.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn listen(socket: &OwnedFd, question: &[u8], address: IpAddr, heard: &Mutex<Vec<Heard>>, stop: &Stop) {
    let _ = sys::real_time(super::probe::PRIORITY);
    let (mut asked, mut next) = (0, clock::now());
    let mut bytes = [0; LONGEST_FRAME];
    while !stop.is_set() {
        let now = clock::now();
        if now >= next {
            // A cable that is out is what is being measured.
            let _ = write(socket, question);
            asked += 1;
            next = now + EVERY;
        }
        clock::readable(&[socket.as_fd()], next - clock::now());
        while let Ok(length) = read(socket, &mut bytes) {
            let said = bytes.get(..length).and_then(frame::read);
            if let Some(said) = said.filter(|said| said.address == address) {
                let (mac, announced) = (said.mac, said.unasked);
                let entry = Heard { at: clock::now(), mac, question: asked, announced };
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            }
        }
    }
}
