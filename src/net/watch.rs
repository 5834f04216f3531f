//! Who else has his hands in the lease's tables: a flush by somebody would let every address be heard.
//!
//! It only sees and says. What the lease itself does must never look like an alarm, and an event that was lost must never
//! look like none.

use std::os::fd::{AsFd, BorrowedFd};

use super::lease::{KernelLease, LeaseError};
use super::netlink::{Events, Netlink, Protocol};
use super::nft::{self, text};
use super::sys;

/// The kernel's events about our tables, without our own.
#[derive(Debug)]
pub struct LeaseWatch {
    netlink: Netlink,
}

impl LeaseWatch {
    /// Watches from now on. What the lease itself does is filtered out in the kernel: it makes no event, wakes nobody and
    /// fills no buffer.
    pub fn open(lease: &KernelLease) -> Result<Self, LeaseError> {
        let netlink = Netlink::subscribe(Protocol::Netfilter, &[NFTABLES_EVENTS])?;
        // The kernel reads a frame as if it came off the network.
        let own = u32::from_be_bytes(lease.nft.port()?.to_ne_bytes());
        // Load the sender's port at offset 12; ours is dropped, any other passes whole.
        let filter = [(0x20, 0, 0, 12), (0x15, 0, 1, own), (0x06, 0, 0, 0), (0x06, 0, 0, u32::MAX)];
        sys::attach_filter(netlink.as_fd(), &filter)?;
        Ok(Self { netlink })
    }

    /// Reads what waits; whether somebody has changed our tables. Then install them again, raise what is held, and drop
    /// what is not: an element that somebody put into our sets is a change as well.
    ///
    /// Where events were lost, the tables are looked at; an element that was put in meanwhile is not found by that.
    pub fn changed(&mut self, lease: &mut KernelLease) -> Result<bool, LeaseError> {
        let (mut looks, mut changed) = (false, false);
        let table = lease.nft.table();
        let mut note = |kind: u16, body: &[u8]| {
            let body = body.get(4..).unwrap_or_default();
            let what = kind & 0xff;
            if kind >> 8 == nft::SUBSYSTEM && what != nft::NEW_GENERATION && text(body, nft::TABLE) == table {
                looks = true;
                changed |= what == nft::NEW_ELEMENT || what == nft::DELETE_ELEMENT;
            }
        };
        // The kernel reports an overrun once, and goes on losing events until everything was read.
        let mut lost = false;
        while self.netlink.events(&mut note)? == Events::Overrun {
            lost = true;
        }
        let looks = looks || lost;
        if changed || !looks {
            return Ok(changed);
        }
        let (_, print) = lease.steadily(KernelLease::print_now)?;
        Ok(print != lease.print)
    }
}

/// For epoll: readable when somebody else has changed nftables.
impl AsFd for LeaseWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// `NFNLGRP_NFTABLES`.
const NFTABLES_EVENTS: u32 = 7;
