//! A cluster on this one machine: namespaces, cables, faults, and a client that measures what it notices.
//!
//! | file | what it does |
//! | --- | --- |
//! | `space.rs` | namespaces without names, and what runs in them |
//! | `plan.rs` | which machines and networks there are |
//! | `network.rs` | builds them; cuts, pulls and plugs cables |
//! | `relay.rs` | a bad cable: frames that are lost or late |
//! | `daemon.rs` | starts daemons; kills, stops and continues them |
//! | `echo.rs`, `web.rs` | what answers at an address: with the name of the machine that answered |
//! | `probe.rs`, `ears.rs` | the client: asks five times a millisecond, and hears who announces and who answers |
//! | `tap.rs`, `arrivals.rs` | when beats and announcements pass an interface, and when addresses come to a machine |
//! | `outage.rs` | what the client noticed of a fault, from what it wrote down |
//! | `stage.rs` | a cluster with a client that watches one address, and tells what it sees |
//! | `demo.rs` | the pair that is shown, and what happens to it |
//! | `site.rs`, `subnet.rs` | which machines, networks and addresses stand for a configuration |
//! | `orders.rs` | what a person or a script can order, a line each |
//! | `rehearsal.rs`, `keys.rs` | a user's own configuration, its daemons, and the orders carried out |
//! | `load.rs` | keeps this machine busy, or measures how late it is |
//! | `frame.rs`, `clock.rs` | what the client and a rival put on the wire; the clock of all of them |
//!
//! It needs neither `ip` nor root, and leaves nothing behind: namespaces, interfaces and daemons go with the process.
//! It never touches the network of the machine that it runs on.

mod arrivals;
pub mod clock;
mod daemon;
pub mod demo;
mod ears;
mod echo;
mod frame;
mod keys;
mod load;
mod network;
mod orders;
mod outage;
mod plan;
mod probe;
mod rehearsal;
mod relay;
mod site;
mod space;
mod stage;
mod subnet;
mod tap;
mod web;

use std::io;

use crate::net::route::RouteError;
use crate::net::sysctl::SysctlError;

pub use arrivals::{Arrival, Arrivals};
pub use daemon::Program;
pub use ears::{Ears, Heard};
pub use load::{Busy, Idle};
pub use network::{Lab, Machine};
pub use orders::{Does, ORDERS, Order, Way};
pub use outage::{Gap, Outcome, doubles, first_by, longest_gap};
pub use plan::{MachinePlan, Plan, PortPlan};
pub use probe::{Answer, Probe};
pub use rehearsal::{Done, Rehearsal, Told};
pub use relay::{BadCable, Fault};
pub use site::{Service, Site, SiteError};
pub use space::{Space, Stop, Work, become_root, interrupts, is_root};
pub use stage::{Seen, Stage};
pub use tap::{Passed, Tap, Tapped};
pub use web::fetch;

/// Why the lab cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel, or whoever set it up, lets this user have no namespaces.
    #[error(
        "may not make namespaces: {error}; run it as root, or allow user namespaces: `sysctl \
         user.max_user_namespaces=10000`, on Debian besides `sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    Forbidden {
        /// As the kernel says it.
        error: io::Error,
    },
    /// The caller names what is not there.
    #[error("there is no {what}: take one of {known}")]
    Unknown {
        /// What was asked for.
        what: String,
        /// What there is.
        known: String,
    },
    /// The network.
    #[error(transparent)]
    Network(#[from] RouteError),
    /// A setting of the network.
    #[error(transparent)]
    Setting(#[from] SysctlError),
    /// There is nothing to do: it is so already, or is not there.
    #[error("{0}")]
    Idle(String),
    /// The cluster does not do what it is there for.
    #[error(
        "{what}; its daemons say:\n{log}\nlook there for the reason, or try `systole check` on the configuration"
    )]
    Cluster {
        /// What is wrong.
        what: String,
        /// The last that they said.
        log: String,
    },
    /// Somebody ended it by a signal.
    #[error("interrupted: start it again to see the rest")]
    Interrupted,
    /// This machine.
    #[error("cannot {what}: {error}; look at this machine's memory, disk and limits (`ulimit -a`)")]
    Machine {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
}

impl LabError {
    fn machine(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |error| Self::Machine { what, error }
    }

    fn unknown<'a>(what: String, known: impl Iterator<Item = &'a String>) -> Self {
        let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
        Self::Unknown { what, known }
    }
}
