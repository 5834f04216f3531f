//! When addresses come to a machine: the kernel tells of each. rtnetlink(7).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock};
use crate::net::netlink::{Netlink, Protocol, attribute};
use crate::net::sys;
use crate::time::Span;

/// `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 2] = [5, 9];
/// `RTM_NEWADDR`.
const NEW: u16 = 20;
/// The length of an `ifaddrmsg`, and the attributes behind it.
const HEAD: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// So often it looks whether it shall stop.
const LOOK: Span = Span::millis(5);

/// An address that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, by the lab's clock.
    pub at: Span,
    /// Which.
    pub address: IpAddr,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Arrivals {
    came: Arc<Mutex<Vec<Arrival>>>,
    _work: Work<()>,
}

impl Machine {
    /// Starts to write down which addresses come to this machine.
    pub fn arrivals(&self) -> Result<Arrivals, LabError> {
        let open = || Netlink::subscribe(Protocol::Route, &GROUPS);
        let mut netlink = self.space.run(open).map_err(LabError::machine("listen for addresses"))?;
        let came = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&came);
        let work = self.space.work("lab-arrivals", move |stop| listen(&mut netlink, &written, stop))?;
        Ok(Arrivals { came, _work: work })
    }
}

impl Arrivals {
    /// What came since it was last taken.
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn listen(netlink: &mut Netlink, came: &Mutex<Vec<Arrival>>, stop: &Stop) {
    let _ = sys::real_time(super::probe::PRIORITY);
    while !stop.is_set() {
        clock::readable(&[netlink.as_fd()], LOOK);
        if read(netlink, came).is_err() {
            return;
        }
    }
}

fn read(netlink: &mut Netlink, came: &Mutex<Vec<Arrival>>) -> io::Result<()> {
    let at = clock::now();
    let each = |kind: u16, body: &[u8]| {
        let attributes = body.get(HEAD..).filter(|_| kind == NEW);
        let address = attributes.and_then(address);
        if let Some(address) = address {
            came.lock().unwrap_or_else(PoisonError::into_inner).push(Arrival { at, address });
        }
    };
    netlink.events(each).map(drop)
}

fn address(attributes: &[u8]) -> Option<IpAddr> {
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
