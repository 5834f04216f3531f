//! What was read, before it is checked: every value with its place. Both readers write a draft; the check turns it into
//! a [`super::Config`], or into mistakes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::diagnostic::Place;
use super::director::draft::{DraftService, DraftSync};
use super::model::{Enforcement, Monitor, Promise, Reach, TiebreakMethod};
use crate::time::Span;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Placed<T> {
    pub(crate) const fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: change(self.value), place: self.place }
    }
}

/// A name with its place.
pub(crate) type Name = Placed<String>;

/// A whole configuration.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Which words help has to use.
    pub(crate) dialect: Dialect,
    pub(crate) cluster: Option<Name>,
    pub(crate) keys: PathBuf,
    pub(crate) timing: DraftTiming,
    pub(crate) nodes: Vec<DraftNode>,
    pub(crate) links: Vec<DraftLink>,
    pub(crate) method: Option<Placed<TiebreakMethod>>,
    pub(crate) ping: Vec<Vec<Placed<IpAddr>>>,
    pub(crate) voters_before: Option<DraftVoters>,
    pub(crate) lease: Enforcement,
    pub(crate) watchdog: Option<DraftWatchdog>,
    pub(crate) fences: Vec<DraftFence>,
    pub(crate) groups: Vec<DraftGroup>,
    pub(crate) notify: Option<DraftNotify>,
    pub(crate) tracks: Vec<DraftTrack>,
    pub(crate) respawns: Vec<DraftRespawn>,
    pub(crate) services: Vec<DraftService>,
    pub(crate) sync: Option<DraftSync>,
    pub(crate) lost: Lost,
}

/// What could not be read and is reported: its absence is nobody's mistake.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) nodes: bool,
    pub(crate) links: bool,
    pub(crate) targets: bool,
    pub(crate) groups: bool,
}

impl Draft {
    pub(crate) fn new(dialect: Dialect, keys: PathBuf) -> Self {
        Self {
            dialect,
            cluster: None,
            keys,
            timing: DraftTiming::default(),
            nodes: Vec::new(),
            links: Vec::new(),
            method: None,
            ping: Vec::new(),
            voters_before: None,
            lease: Enforcement::Kernel,
            watchdog: None,
            fences: Vec::new(),
            groups: Vec::new(),
            notify: None,
            tracks: Vec::new(),
            respawns: Vec::new(),
            services: Vec::new(),
            sync: None,
            lost: Lost::default(),
        }
    }
}

/// Whose words the operator wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `systole.toml`.
    Toml,
    /// Heartbeat's directory.
    Heartbeat,
}

impl Dialect {
    /// Picks the words.
    pub(crate) const fn say(self, toml: &'static str, heartbeat: &'static str) -> &'static str {
        match self {
            Self::Toml => toml,
            Self::Heartbeat => heartbeat,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DraftTiming {
    pub(crate) keepalive: Option<Placed<Span>>,
    pub(crate) warntime: Option<Placed<Span>>,
    pub(crate) deadtime: Option<Placed<Span>>,
    pub(crate) initdead: Option<Placed<Span>>,
}

#[derive(Debug)]
pub(crate) struct DraftNode {
    pub(crate) name: Name,
    pub(crate) arbiter: bool,
}

#[derive(Debug)]
pub(crate) struct DraftLink {
    pub(crate) name: Name,
    pub(crate) interface: Name,
    pub(crate) port: u16,
    pub(crate) cast: DraftCast,
}

#[derive(Debug)]
pub(crate) enum DraftCast {
    Unicast(Vec<(Option<Name>, Placed<IpAddr>)>),
    Multicast { group: Placed<IpAddr>, ttl: u8 },
    Broadcast,
}

#[derive(Debug)]
pub(crate) struct DraftVoters {
    pub(crate) place: Place,
    pub(crate) nodes: Vec<Name>,
    pub(crate) method: TiebreakMethod,
}

#[derive(Debug)]
pub(crate) struct DraftWatchdog {
    pub(crate) device: PathBuf,
    pub(crate) timeout: Option<Placed<Span>>,
}

#[derive(Debug)]
pub(crate) struct DraftFence {
    pub(crate) name: Name,
    pub(crate) agent: Name,
    pub(crate) params: BTreeMap<String, Name>,
    pub(crate) nodes: Vec<Name>,
    pub(crate) delay: Span,
}

#[derive(Debug)]
pub(crate) struct DraftNotify {
    pub(crate) place: Place,
    /// The path, and the arguments.
    pub(crate) program: Vec<Name>,
    /// `None`: not said.
    pub(crate) events: Option<Vec<Name>>,
    pub(crate) timeout: Option<Placed<Span>>,
}

#[derive(Debug)]
pub(crate) struct DraftRespawn {
    pub(crate) name: Name,
    /// The path, and the arguments.
    pub(crate) program: Vec<Name>,
    pub(crate) user: Option<Name>,
    pub(crate) nodes: Vec<Name>,
}

#[derive(Debug)]
pub(crate) struct DraftGroup {
    pub(crate) name: Name,
    pub(crate) prefer: Vec<Name>,
    pub(crate) only: Vec<Name>,
    pub(crate) failback: bool,
    pub(crate) failback_delay: Option<Span>,
    pub(crate) exclusive: Option<Placed<bool>>,
    pub(crate) promise: Option<Placed<Promise>>,
    pub(crate) with: Option<Name>,
    pub(crate) after: Vec<Name>,
    pub(crate) apart: Vec<Name>,
    pub(crate) clones: Option<Placed<u16>>,
    pub(crate) clones_per_node: Option<Placed<u16>>,
    /// Of nodes, by name.
    pub(crate) weights: Vec<(Name, u16)>,
    pub(crate) reach: Option<Placed<Reach>>,
    pub(crate) failure_window: Option<Span>,
    pub(crate) resources: Vec<DraftResource>,
    /// Whether a resource could not be read, which is reported.
    pub(crate) lost_resources: bool,
}

impl DraftGroup {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            prefer: Vec::new(),
            only: Vec::new(),
            failback: true,
            failback_delay: None,
            exclusive: None,
            promise: None,
            with: None,
            after: Vec::new(),
            apart: Vec::new(),
            clones: None,
            clones_per_node: None,
            weights: Vec::new(),
            reach: None,
            failure_window: None,
            resources: Vec::new(),
            lost_resources: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct DraftResource {
    /// Where it begins.
    pub(crate) place: Place,
    pub(crate) name: Option<Name>,
    pub(crate) agent: Name,
    pub(crate) args: Vec<String>,
    pub(crate) params: BTreeMap<String, Name>,
    pub(crate) warm: bool,
    pub(crate) monitor: DraftMonitor,
    pub(crate) start_delay: Option<Placed<Span>>,
    pub(crate) start_timeout: Option<Span>,
    pub(crate) stop_timeout: Option<Span>,
}

impl DraftResource {
    pub(crate) fn new(agent: Name) -> Self {
        Self {
            place: agent.place,
            name: None,
            agent,
            args: Vec::new(),
            params: BTreeMap::new(),
            warm: false,
            monitor: DraftMonitor::Default,
            start_delay: None,
            start_timeout: None,
            stop_timeout: None,
        }
    }

    /// The parameters without their places.
    pub(crate) fn plain_params(&self) -> BTreeMap<String, String> {
        self.params.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DraftMonitor {
    /// Not said.
    Default,
    /// `monitor = false`.
    Off,
    /// As said.
    Given(Monitor),
}

/// What a node looks at by itself. Which of the ways are written, is for the check.
#[derive(Debug)]
pub(crate) struct DraftTrack {
    pub(crate) name: Name,
    pub(crate) has_program: bool,
    pub(crate) program: Vec<Name>,
    pub(crate) file: Option<Name>,
    pub(crate) no_file: Option<Name>,
    pub(crate) process: Option<Name>,
    pub(crate) every: Option<Placed<Span>>,
    pub(crate) timeout: Option<Placed<Span>>,
    pub(crate) fall: Option<Placed<u32>>,
    pub(crate) rise: Option<Placed<u32>>,
    /// `None`: all.
    pub(crate) groups: Option<Vec<Name>>,
    pub(crate) weight: Option<Placed<u32>>,
}
