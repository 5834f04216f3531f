//! Why the kernel does not enforce a lease, in words that say what to do.

use std::io;
use std::net::IpAddr;

use crate::time::Span;
use crate::types::GroupId;

use super::super::nft::{Refused, Step};
use super::TRIES;

/// Why the kernel does not enforce a lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Not root.
    #[error("nftables are refused to this process: run it as root, or give it CAP_NET_ADMIN")]
    Permission,
    /// No nftables at all.
    #[error(
        "this kernel has no nftables ({0}): load the module nf_tables, or write `enforce = \"daemon\"` under `[lease]`"
    )]
    Unavailable(io::Error),
    /// Not for this kind of packets.
    #[error(
        "this kernel refuses {step} ({error}): it needs {}; load the module or build it, or write `enforce = \"daemon\"` \
         under `[lease]`",
        step.family().option()
    )]
    Family {
        /// What was refused.
        step: Step,
        /// Why.
        error: io::Error,
    },
    /// No hash.
    #[error(
        "this kernel cannot divide a shared address ({0}): it needs CONFIG_NFT_HASH and CONFIG_NFT_META; load the module \
         nft_hash, or use a `vip`"
    )]
    NoHash(io::Error),
    /// The lease would be over before it can be set.
    #[error("a lease of {length} is shorter than {least}, the kernel's tick: let it go")]
    TooShort {
        /// What was asked for.
        length: Span,
        /// What can be set.
        least: Span,
    },
    /// Not among those that were installed.
    #[error("{0:?} has no lease here: install the rules with it first")]
    UnknownGroup(GroupId),
    /// An address can be silenced for one group only.
    #[error("{address} is in {first:?} and in {second:?}: leave it, or that bucket of it, to one of them")]
    Shared {
        /// The address.
        address: IpAddr,
        /// One of the groups.
        first: GroupId,
        /// The other.
        second: GroupId,
    },
    /// Somebody deleted the tables.
    #[error("the tables that enforce the lease are gone: install them again")]
    Missing,
    /// The rules change under every look.
    #[error(
        "nftables did not stand still for {TRIES} tries: stop what changes them all the time, and try again"
    )]
    Busy,
    /// Anything else.
    #[error("the kernel refuses {step}: {error}: look at `nft list ruleset`, and install the rules again")]
    Refused {
        /// What was refused.
        step: Step,
        /// Why.
        error: io::Error,
    },
    /// The socket to the kernel.
    #[error("nftables do not answer: {0}: try again")]
    Netlink(#[from] io::Error),
}

impl From<Refused> for LeaseError {
    fn from(refused: Refused) -> Self {
        match refused.error.raw_os_error() {
            Some(libc::EPERM) => Self::Permission,
            Some(libc::ENOENT) => Self::Missing,
            _ => Self::Refused { step: refused.step, error: refused.error },
        }
    }
}

/// An element, a set or a table is not there.
pub(super) fn is_missing(refused: &Refused) -> bool {
    refused.error.raw_os_error() == Some(libc::ENOENT)
}
