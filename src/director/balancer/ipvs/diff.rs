//! What is to be done so that the tables are what is wanted. Pure: it asks no kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::At;
use crate::net::ipvs::{Destination, Service, Step};

/// Services by their places.
pub type Places = BTreeMap<At, Held>;

/// A service with its destinations, by address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The service.
    pub service: Service,
    /// Who serves it.
    pub destinations: BTreeMap<(IpAddr, u16), Destination>,
}

/// By what the kernel knows a destination of a service.
pub(super) fn place(destination: &Destination) -> (IpAddr, u16) {
    (destination.address, destination.port)
}

/// The steps from what is there to what is wanted. What is there and not wanted goes if its place is in `ours`, and is
/// otherwise left alone. Services that go do so last: what comes may serve the same clients.
pub fn diff(present: &Places, wanted: &Places, ours: &BTreeSet<At>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, wanted) in wanted {
        one(present.get(at), wanted, &mut steps);
    }
    let gone = present.keys().filter(|at| ours.contains(at) && !wanted.contains_key(at));
    steps.extend(gone.copied().map(Step::Delete));
    steps
}

/// The steps for one service: itself, then the servers that come and those that get more, then those that get less, and
/// those that go last.
pub(super) fn one(present: Option<&Held>, wanted: &Held, steps: &mut Vec<Step>) {
    let at = wanted.service.at;
    let nobody = BTreeMap::new();
    let before = match present {
        None => {
            steps.push(Step::Make(wanted.service.clone()));
            &nobody
        }
        Some(present) => {
            if present.service != wanted.service {
                steps.push(Step::Alter(wanted.service.clone()));
            }
            &present.destinations
        }
    };
    let after = &wanted.destinations;
    let come = after.iter().filter(|(place, _)| !before.contains_key(place));
    steps.extend(come.map(|(_, destination)| Step::Add(at, destination.clone())));
    let changed = after.iter().filter_map(|(place, destination)| {
        let before = before.get(place).filter(|before| *before != destination)?;
        Some((before.weight < destination.weight, destination))
    });
    let (more, less): (Vec<_>, Vec<_>) = changed.partition(|(more, _)| *more);
    steps.extend(more.into_iter().chain(less).map(|(_, destination)| Step::Set(at, destination.clone())));
    let go = before.keys().filter(|place| !after.contains_key(place));
    steps.extend(go.map(|(address, port)| Step::Remove(at, *address, *port)));
}

/// What is there after a step that the kernel has done.
pub(super) fn record(places: &mut Places, step: &Step) {
    match step {
        Step::Make(service) => {
            let destinations = BTreeMap::new();
            places.insert(service.at, Held { service: service.clone(), destinations });
        }
        Step::Alter(service) => {
            if let Some(held) = places.get_mut(&service.at) {
                held.service = service.clone();
            }
        }
        Step::Delete(at) => _ = places.remove(at),
        Step::Add(at, destination) | Step::Set(at, destination) => {
            if let Some(held) = places.get_mut(at) {
                held.destinations.insert(place(destination), destination.clone());
            }
        }
        Step::Remove(at, address, port) => {
            if let Some(held) = places.get_mut(at) {
                held.destinations.remove(&(*address, *port));
            }
        }
    }
}
