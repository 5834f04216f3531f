//! Balancers: what divides the connections. One file each, and each of them does the same two things.
//!
//! A balancer decides nothing. It may block, and has a thread of its own.

pub mod haproxy;
pub mod ipvs;
pub mod nftables;
pub mod program;

use std::collections::BTreeSet;

use crate::config::At;
use crate::director::steering::Which;
use crate::director::table::{Table, Tables};

/// What divides the connections.
pub trait Balance: Send {
    /// Reads what is there, and makes it what is wanted, by the least changes. What is there and was not made here is left
    /// alone, unless a service of ours claims its place. Told is what differed although it had been made so: somebody else
    /// has changed it, and it is mended now.
    fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError>;

    /// One service is wanted otherwise; all else is as it was settled last.
    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError>;
}

/// Why a balancer is not as it should be, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BalancerError(pub String);

/// The balancer behind a name. Nothing is changed yet. An earlier life had services of the kernel's at `earlier`.
pub(super) fn open(which: &Which, earlier: &BTreeSet<At>) -> Result<Box<dyn Balance>, BalancerError> {
    match which {
        Which::Nftables => Ok(Box::new(nftables::Own::open()?)),
        Which::Ipvs => Ok(Box::new(ipvs::Ipvs::open(earlier.clone())?)),
        Which::Haproxy(_) => Ok(Box::new(haproxy::Haproxy::new()?)),
        Which::Program(_) => Ok(Box::new(program::Programs::new()?)),
    }
}
