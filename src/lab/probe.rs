//! The client that asks an address five times a millisecond, and writes down who answered and when.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::echo::{LARGEST, PORT};
use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock};
use crate::net::sys;
use crate::time::Span;

/// Between two questions.
pub(super) const EVERY: Span = Span::micros(200);
/// Real-time priority of what measures, where this process may have it.
pub(super) const PRIORITY: i32 = 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of its question, from 0.
    pub question: u64,
    /// When it came, by the lab's clock.
    pub at: Span,
    /// Who answered.
    pub from: Arc<str>,
}

/// Asks until it is finished or dropped.
#[derive(Debug)]
pub struct Probe {
    answers: Arc<Mutex<Vec<Answer>>>,
    work: Work<Span>,
}

impl Machine {
    /// Starts to ask who has this address.
    pub fn probe(&self, address: IpAddr) -> Result<Probe, LabError> {
        self.probe_every(address, EVERY)
    }

    /// The same at another pace: where questions are counted, a machine that stalls must not lose them for want of room.
    pub fn probe_every(&self, address: IpAddr, every: Span) -> Result<Probe, LabError> {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&answers);
        let local: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let open = move || {
            let socket = UdpSocket::bind((local, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = self.space.run(open).map_err(LabError::machine("open the socket of a probe"))?;
        let to = SocketAddr::new(address, PORT);
        let work = self.space.work("lab-probe", move |stop| ask(&socket, (to, every), &written, stop))?;
        Ok(Probe { answers, work })
    }
}

impl Probe {
    /// The answers so far, except for those that were taken.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answers since they were last taken.
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest answer that was not taken.
    pub fn latest(&self) -> Option<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Stops. The answers, and how late the probe itself was at most: an outage shorter than that says nothing.
    pub fn finish(self) -> (Vec<Answer>, Span) {
        let late = self.work.finish().unwrap_or_default();
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        (answers, late)
    }
}

fn ask(
    socket: &UdpSocket,
    (to, every): (SocketAddr, Span),
    answers: &Mutex<Vec<Answer>>,
    stop: &Stop,
) -> Span {
    // An ordinary user has no real-time threads; the lateness below says what that costs.
    let _ = sys::real_time(PRIORITY);
    let (mut question, mut next, mut latest) = (0_u64, clock::now(), Span::ZERO);
    let mut names: Vec<Arc<str>> = Vec::new();
    while !stop.is_set() {
        let now = clock::now();
        if now >= next {
            latest = latest.max(now - next);
            // An address that cannot be reached is what is being measured.
            let _ = socket.send_to(&question.to_be_bytes(), to);
            question += 1;
            // Questions that are overdue are left out.
            next = (next + every).max(now);
        }
        clock::readable(&[socket.as_fd()], next - clock::now());
        let came = receive(socket, to, &mut names);
        if !came.is_empty() {
            answers.lock().unwrap_or_else(PoisonError::into_inner).extend(came);
        }
    }
    latest
}

fn receive(socket: &UdpSocket, to: SocketAddr, names: &mut Vec<Arc<str>>) -> Vec<Answer> {
    let (mut bytes, mut came) = ([0; LARGEST], Vec::new());
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let at = clock::now();
        let whole = bytes.get(..length).and_then(|bytes| bytes.split_first_chunk::<8>());
        let Some((question, name)) = whole.filter(|_| from == to) else { continue };
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let known = names.iter().find(|known| known.as_ref() == name).cloned();
        let from = known.unwrap_or_else(|| {
            names.push(Arc::from(name));
            Arc::from(name)
        });
        came.push(Answer { question: u64::from_be_bytes(*question), at, from });
    }
    came
}
