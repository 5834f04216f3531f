//! IPVS as a balancer: the kernel's tables are made what is wanted, by the least changes. It decides nothing about servers.
//!
//! A service is ours by its place: what is wanted now, or was wanted before, also in an earlier life. All other services are
//! somebody else's, and are not even looked into. In a service of ours every destination is ours or is removed.
//!
//! What is in the kernel is known from the last look and what was set since. So one change is one message, without a look;
//! and at the next look, whatever differs from what is known was somebody else. Where it is not known it is looked at first.
//! Nothing here may forget a place before the service in it is gone: it would stay in the kernel for ever.
//!
//! The order of steps is such that on the way no service has fewer servers than before or after ([`diff`]). The kernel keeps
//! connections and counters of what is altered in its place, so nothing is deleted to be made anew.

mod diff;
mod sync;
#[cfg(test)]
mod tests;
mod words;

pub use sync::does;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::config::{At, Forwarding};
use crate::director::table::{Entry, Table, Tables};
use crate::net::ipvs::{
    Destination, DestinationSeen, Ipvs as Kernel, OpenError, Persistence, Service, ServiceSeen, Step,
    Wrapping,
};

use super::{Balance, BalancerError};

pub use diff::{Held, Places, diff};

/// What ipvsadm takes if nothing is said, too: who has the fewest connections for its weight.
const SCHEDULER: &str = "wlc";

/// Somebody who changes the tables between our look and our steps is followed so often, and then left for the next time.
const LOOKS: usize = 3;

/// So much of what others have changed is told at once; more would say nothing new.
const MOST_NOTICED: usize = 1_000;

/// The tables that are settled: the kernel's, or those of a test.
pub trait KernelTables: Send {
    /// Before a look: the module may have been loaded anew.
    fn find_again(&mut self) -> Result<(), OpenError>;
    /// All services.
    fn services(&mut self) -> io::Result<Vec<ServiceSeen>>;
    /// One service.
    fn service(&mut self, at: At) -> io::Result<Option<ServiceSeen>>;
    /// The destinations of one service.
    fn destinations(&mut self, at: At) -> io::Result<Vec<DestinationSeen>>;
    /// Does the steps in their order. Says which failed, by their places, and why; an error of the whole says that nobody
    /// knows which have.
    fn apply(&mut self, steps: &[Step]) -> io::Result<Vec<(usize, io::Error)>>;
}

impl KernelTables for Kernel {
    fn find_again(&mut self) -> Result<(), OpenError> {
        Self::find_again(self)
    }

    fn services(&mut self) -> io::Result<Vec<ServiceSeen>> {
        Self::services(self)
    }

    fn service(&mut self, at: At) -> io::Result<Option<ServiceSeen>> {
        Self::service(self, at)
    }

    fn destinations(&mut self, at: At) -> io::Result<Vec<DestinationSeen>> {
        Self::destinations(self, at)
    }

    fn apply(&mut self, steps: &[Step]) -> io::Result<Vec<(usize, io::Error)>> {
        Self::apply(self, steps)
    }
}

/// The kernel's IP virtual server.
#[derive(Debug)]
pub struct Ipvs<K = Kernel> {
    kernel: K,
    /// Where a service is ours, whatever it is.
    ours: BTreeSet<At>,
    /// What is there, as far as it is known, of what is ours.
    known: Places,
    /// Where each service was wanted last.
    names: BTreeMap<String, At>,
    /// What others have changed, and nobody was told of yet.
    noticed: Vec<String>,
}

impl Ipvs {
    /// Opens the kernel's tables. `earlier` is where an earlier life had services ([`Self::ours`]): what is there and wanted
    /// no more goes at the first settling.
    pub fn open(earlier: BTreeSet<At>) -> Result<Self, BalancerError> {
        let kernel = Kernel::open().map_err(|error| BalancerError(error.to_string()))?;
        Ok(Self::with(kernel, earlier))
    }
}

impl<K: KernelTables> Ipvs<K> {
    fn with(kernel: K, earlier: BTreeSet<At>) -> Self {
        let (known, names, noticed) = (Places::new(), BTreeMap::new(), Vec::new());
        Self { kernel, ours: earlier, known, names, noticed }
    }

    /// Where there are services of ours, or may be: what the next life must be told.
    pub fn ours(&self) -> &BTreeSet<At> {
        &self.ours
    }

    /// Everything that is ours, as it is.
    fn look(&mut self) -> Result<(), BalancerError> {
        let mut present = Places::new();
        for seen in self.kernel.services().map_err(words::unread)? {
            if self.ours.contains(&seen.service.at) {
                present.insert(seen.service.at, self.look_into(seen.service)?);
            }
        }
        // Of a table that somebody has emptied each service is named.
        let names: BTreeMap<At, &str> = self.names.iter().map(|(name, at)| (*at, name.as_str())).collect();
        let told = words::strayed(&self.known, &present, |at| words::service(names.get(&at).copied(), at));
        self.notice(told);
        self.known = present;
        Ok(())
    }

    /// One service, as it is.
    fn look_at(&mut self, at: At) -> Result<(), BalancerError> {
        let mut present = Places::new();
        if let Some(seen) = self.kernel.service(at).map_err(words::unread)? {
            present.insert(at, self.look_into(seen.service)?);
        }
        let known = self.known.remove_entry(&at).into_iter().collect();
        let told = words::strayed(&known, &present, |at| self.called(at));
        self.notice(told);
        self.known.append(&mut present);
        Ok(())
    }

    fn look_into(&mut self, service: Service) -> Result<Held, BalancerError> {
        let seen = self.kernel.destinations(service.at).map_err(words::unread)?;
        let placed = |seen: DestinationSeen| (diff::place(&seen.destination), seen.destination);
        Ok(Held { service, destinations: seen.into_iter().map(placed).collect() })
    }

    fn notice(&mut self, told: Vec<String>) {
        let before: BTreeSet<String> = self.noticed.iter().cloned().collect();
        let room = MOST_NOTICED.saturating_sub(before.len());
        self.noticed.extend(told.into_iter().filter(|told| !before.contains(told)).take(room));
    }

    fn called(&self, at: At) -> String {
        let name = self.names.iter().find(|(_, place)| **place == at).map(|(name, _)| name.as_str());
        words::service(name, at)
    }

    /// Does the steps, and knows what came of them. Handed back are those that failed, each with the reason.
    fn apply(&mut self, steps: &[Step]) -> Result<Vec<(Step, io::Error)>, BalancerError> {
        let mut failed = match self.kernel.apply(steps) {
            Ok(failed) => failed,
            Err(error) => {
                // Some have happened: nothing is known of any.
                steps.iter().for_each(|step| drop(self.known.remove(&step.at())));
                return Err(words::unsettled(&error));
            }
        };
        failed.retain(|(place, error)| !is_done_anyway(&steps[*place], error));
        let places: BTreeSet<usize> = failed.iter().map(|(place, _)| *place).collect();
        for (_, step) in steps.iter().enumerate().filter(|(place, _)| !places.contains(place)) {
            diff::record(&mut self.known, step);
        }
        Ok(failed.into_iter().map(|(place, error)| (steps[place].clone(), error)).collect())
    }

    /// What is to be said of steps that failed.
    fn judge(&self, failed: &[(Step, io::Error)]) -> Result<(), BalancerError> {
        if failed.is_empty() { Ok(()) } else { Err(words::refused(failed, |at| self.called(at))) }
    }

    /// What is neither wanted nor there is ours no more.
    fn forget(&mut self, wanted: impl Fn(&At) -> bool) {
        let known = &self.known;
        self.ours.retain(|at| wanted(at) || known.contains_key(at));
    }
}

impl<K: KernelTables> Balance for Ipvs<K> {
    fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError> {
        let goal = places(wanted);
        self.ours.extend(goal.keys().copied());
        self.kernel.find_again().map_err(|error| BalancerError(error.to_string()))?;
        // Whatever strayed did so under its old name.
        self.look()?;
        self.names = wanted.iter().map(|(name, table)| (name.clone(), table.service.at)).collect();
        let mut failed = self.apply(&diff(&self.known, &goal, &self.ours))?;
        for _ in 1..LOOKS {
            if overtaken(&failed).is_empty() {
                break;
            }
            self.look()?;
            failed = self.apply(&diff(&self.known, &goal, &self.ours))?;
        }
        self.judge(&failed)?;
        self.forget(|at| goal.contains_key(at));
        Ok(std::mem::take(&mut self.noticed))
    }

    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError> {
        let goal = held(wanted);
        let at = goal.service.at;
        self.ours.insert(at);
        // What had this name elsewhere goes, unless another has taken that place.
        let left = self.names.insert(name.to_owned(), at).filter(|before| {
            *before != at && self.ours.contains(before) && self.names.values().all(|place| place != before)
        });
        if !self.known.contains_key(&at) {
            self.look_at(at)?;
        }
        let mut failed = Vec::new();
        for look in 0..LOOKS {
            if look > 0 {
                self.look_at(at)?;
            }
            let mut steps = Vec::new();
            diff::one(self.known.get(&at), &goal, &mut steps);
            steps.extend(left.filter(|left| self.ours.contains(left)).map(Step::Delete));
            failed = self.apply(&steps)?;
            if overtaken(&failed).is_empty() {
                break;
            }
        }
        self.judge(&failed)?;
        if let Some(left) = left {
            self.forget(|at| *at != left);
        }
        Ok(())
    }
}

/// The kernel says that it is not there, and that is what was wanted.
fn is_done_anyway(step: &Step, error: &io::Error) -> bool {
    match step {
        Step::Delete(_) => error.raw_os_error() == Some(libc::ESRCH),
        Step::Remove(..) => error.raw_os_error() == Some(libc::ENOENT),
        Step::Make(_) | Step::Alter(_) | Step::Add(..) | Step::Set(..) => false,
    }
}

/// The services that are not as they were known to be, so somebody else has changed them. What fails after another step of
/// its service is judged by that one: without its service a destination cannot be added.
fn overtaken(failed: &[(Step, io::Error)]) -> BTreeSet<At> {
    let mut first: BTreeMap<At, bool> = BTreeMap::new();
    for (step, error) in failed {
        let strange = match step {
            Step::Make(_) => &[libc::EEXIST][..],
            // ENOENT is the scheduler.
            Step::Alter(_) | Step::Remove(..) => &[libc::ESRCH],
            Step::Add(..) => &[libc::EEXIST, libc::ESRCH],
            Step::Set(..) => &[libc::ENOENT, libc::ESRCH],
            Step::Delete(_) => &[],
        };
        let is_strange = error.raw_os_error().is_some_and(|number| strange.contains(&number));
        first.entry(step.at()).or_insert(is_strange);
    }
    first.into_iter().filter(|(_, strange)| *strange).map(|(at, _)| at).collect()
}

/// What the kernel shall have. Of two services in one place the first by name has it; a configuration has no such.
fn places(tables: &Tables) -> Places {
    let mut places = Places::new();
    for table in tables.values() {
        places.entry(table.service.at).or_insert_with(|| held(table));
    }
    places
}

fn held(table: &Table) -> Held {
    let service = &table.service;
    let (scheduler, scheduler_flags) = match &service.scheduler {
        Some(scheduler) => (scheduler.name.clone(), scheduler.flags),
        None => (SCHEDULER.to_owned(), [false; 3]),
    };
    let persistence = service.persistence.map(|persistence| Persistence {
        // The kernel counts whole seconds, and 0 of them are none.
        timeout_seconds: u32::try_from(persistence.timeout.as_micros().div_ceil(1_000_000))
            .unwrap_or(u32::MAX)
            .max(1),
        mask: persistence.mask,
    });
    let mut destinations = BTreeMap::new();
    for entry in table.entries.values() {
        let destination = destination(service.at, entry);
        // Two names for one server are one destination, with what the better of them may have.
        let known: &mut Destination =
            destinations.entry(diff::place(&destination)).or_insert_with(|| destination.clone());
        if known.weight < destination.weight {
            *known = destination;
        }
    }
    let service = Service {
        at: service.at,
        scheduler,
        scheduler_flags,
        one_packet: service.one_packet,
        persistence,
        engine: String::new(),
    };
    Held { service, destinations }
}

fn destination(at: At, entry: &Entry) -> Destination {
    let server = &entry.server;
    let port = match (at, server.forwarding) {
        // These packets arrive with the port that the client has sent to.
        (At::Address { port, .. }, Forwarding::Direct | Forwarding::Tunnel) => port,
        (At::Address { .. }, Forwarding::Nat) | (At::Mark { .. }, _) => server.port,
    };
    Destination {
        address: server.address,
        port,
        method: server.forwarding.into(),
        wrapping: Wrapping::default(),
        weight: entry.weight,
        upper: server.limits.0,
        lower: server.limits.1,
    }
}
