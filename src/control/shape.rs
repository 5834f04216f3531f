//! The answers, as they stand in the JSON (`docs/control.md`): names in place of hashes, times in whole microseconds, and
//! beside what is data the same as one line of text. The commands read them back, so a field that is missing is found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::beat::Flags;
use crate::cluster::{GroupView, Liveness, PeerView, Record, ResourceView, Runs, Unable};
use crate::config::{Config, Enforcement, Promise};
use crate::time::{Moment, Span};
use crate::types::{GroupId, NodeId};

use super::desk::{LeaseBy, Snapshot};
use super::watched::{Timing, Watched};
use super::words::Words;
use super::{data, limits, pull};

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Of the shapes on this page.
    pub version: u64,
    /// What it says.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Reply {
    /// How things are.
    Status(Box<Status>),
    /// What happened.
    Events(Events),
    /// An order was taken. That it is carried out is seen in the status.
    Done,
    /// An order was not taken, and nothing has changed.
    Refused {
        /// One sentence.
        why: String,
    },
    /// The request could not be understood or not be answered, and nothing has changed.
    Error {
        /// One sentence.
        error: String,
        /// What to do.
        help: String,
    },
}

/// How things are, as one node sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// Who speaks.
    pub node: String,
    /// Its daemon's process.
    pub pid: u32,
    /// Its life.
    pub life: u64,
    /// When this was so, on the boot clock of this machine.
    pub at_us: u64,
    /// The digest of its configuration, in hex.
    pub config: String,
    /// The digest of each section of its configuration, in hex, by name.
    #[serde(default)]
    pub sections: BTreeMap<String, String>,
    /// Its timers.
    #[serde(default)]
    pub timing: Timing,
    /// Whether it hears a majority of the voters.
    pub majority: bool,
    /// Resources are left alone.
    pub maintenance: bool,
    /// Whether this node may be pulled now.
    pub pull: Pull,
    /// Every node, this one first.
    pub nodes: Vec<Node>,
    /// Every group, by name.
    pub groups: Vec<Group>,
    /// What somebody should look at.
    pub alarms: Vec<String>,
    /// How late this daemon was for what was due.
    pub late: Late,
    /// Who enforces the leases of this node.
    pub lease: Lease,
    /// Datagrams refused, by cause.
    pub refused: Vec<Refused>,
}

/// Whether a node may be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Every group that is served now will be served after a takeover.
    pub safe: bool,
    /// The verdict and its reason.
    pub text: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `this`, `up`, `late`, `dead`, or `unknown` until it was heard or initdead is over.
    pub liveness: String,
    /// It votes, and owns nothing.
    pub arbiter: bool,
    /// It has just started.
    pub starting: bool,
    /// Its daemon is stopping.
    pub leaving: bool,
    /// It is to own nothing.
    pub standby: bool,
    /// It grants nothing yet.
    pub hold_off: bool,
    /// Its machine's watchdog counts.
    #[serde(default)]
    pub guarded: bool,
    /// Its life; 0 if it was not heard.
    pub life: u64,
    /// Since its newest beat; 0 for this node.
    pub silent_us: u64,
    /// The digest of its configuration, in hex; none if it was not heard.
    #[serde(default)]
    pub config: Option<String>,
    /// Where its configuration differs from this node's.
    #[serde(default)]
    pub differs: Option<String>,
    /// The links to it.
    pub links: Vec<Link>,
}

/// A link to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Heard within deadtime.
    pub up: bool,
    /// Since the node was last heard over it; none if never in this life.
    pub silent_us: Option<u64>,
    /// The newest round trip.
    pub round_trip_us: Option<u64>,
    /// Beats heard over it.
    pub beats: u64,
    /// What became of them.
    #[serde(default)]
    pub watched: Option<Watched>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Everything of it runs, somewhere.
    pub served: bool,
    /// Who holds it.
    pub holder: Option<String>,
    /// Who should.
    pub planned: Option<String>,
    /// Why.
    pub because: Value,
    /// Why, in words.
    pub because_text: String,
    /// How far this node's own claim got.
    pub phase: Option<String>,
    /// The epoch of this node's own claim; 0 without one.
    pub epoch: u64,
    /// How long this node's lease runs on.
    pub lease_left_us: Option<u64>,
    /// Whom this node's vote is given to.
    pub granted_to: Option<String>,
    /// `at-most-one` or `at-least-one`.
    pub promise: String,
    /// It may never run twice.
    pub exclusive: bool,
    /// It is left alone, by an order about it alone.
    #[serde(default)]
    pub maintenance: bool,
    /// Who may own it, in the order of preference.
    pub nodes: Vec<Able>,
    /// What it consists of, in the order in which it starts, as it is on this node.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Which instance of which cloned group it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Of a bucket of a shared address: what this node's kernel did with its packets since the rules were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<Packets>,
}

/// One of the instances of a cloned group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The cloned group's name.
    pub of: String,
    /// From 0.
    pub index: u16,
}

/// What became of a bucket's packets on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// They were for this node.
    pub kept: u64,
    /// They were for another.
    pub dropped: u64,
}

/// A resource on the node that speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Its agent, as it is configured.
    pub agent: String,
    /// `stopped`, `running`, `failed`, `stuck` (it could not be stopped), or `unknown`: it may run, or half of it.
    pub state: String,
    /// What its agent is being asked: `probe`, `start`, `monitor` or `stop`.
    pub doing: Option<String>,
}

/// A node that may own a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Able {
    /// The node.
    pub node: String,
    /// Whether it could serve the group now.
    pub able: bool,
    /// Why not.
    pub because: Option<Value>,
    /// Why not, in words.
    pub text: Option<String>,
}

/// How late a daemon was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// At its newest timer.
    pub newest_us: u64,
    /// The greatest of this life.
    pub greatest_us: u64,
    /// How often by more than half of keepalive.
    pub over_half_keepalive: u64,
}

/// Who enforces the leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// `kernel` or `daemon`.
    pub by: String,
    /// Why it is not the kernel.
    pub why: Option<String>,
    /// It is as the configuration asks.
    pub as_configured: bool,
}

/// Datagrams refused for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The cause.
    pub cause: String,
    /// How many.
    pub count: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Who speaks.
    pub node: String,
    /// Its life: numbers count within one.
    pub life: u64,
    /// When this was asked, on the boot clock.
    pub now_us: u64,
    /// To ask for what comes next.
    pub next_after: u64,
    /// There are more: ask again, after `next_after`.
    pub more: bool,
    /// The oldest first.
    pub events: Vec<Told>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Its place in the journal of this life.
    pub number: u64,
    /// When, on the boot clock.
    pub at_us: u64,
    /// What, in one word.
    pub kind: String,
    /// What, as data.
    pub facts: Value,
    /// What, in words.
    pub text: String,
}

impl Envelope {
    /// In the present version.
    pub fn new(reply: Reply) -> Self {
        Self { version: limits::VERSION, reply }
    }
}

impl Told {
    /// With the names of a configuration.
    pub fn new(words: &Words<'_>, record: &Record) -> Self {
        let (kind, facts) = data::event(words, &record.event);
        let text = words.event(&record.event);
        Self { number: record.number, at_us: record.at.boot.0, kind: kind.to_owned(), facts, text }
    }
}

impl Events {
    /// As many as the daemon handed over.
    pub fn new(snapshot: &Snapshot, after: u64, records: &[Record], more: bool) -> Self {
        let words = Words::new(&snapshot.config);
        Self {
            node: words.node(snapshot.view.node),
            life: snapshot.view.incarnation.0,
            now_us: snapshot.now.boot.0,
            next_after: records.last().map_or(after, |last| last.number),
            more,
            events: records.iter().map(|record| Told::new(&words, record)).collect(),
        }
    }
}

impl Status {
    /// With the names of its configuration.
    pub fn new(snapshot: &Snapshot) -> Self {
        let Snapshot { view, config, now: Moment { boot, .. }, .. } = snapshot;
        let words = Words::new(config);
        let mut groups: Vec<Group> =
            view.groups.iter().map(|(id, group)| group_shape(snapshot, &words, *id, group)).collect();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        let nodes = nodes(snapshot, &words);
        let another = nodes.iter().filter_map(|node| another_configuration(node, snapshot.digest));
        let stuck = groups.iter().flat_map(stuck);
        let alarms = another.chain(stuck).chain(snapshot.alarms.iter().cloned()).collect();
        let refused = snapshot.refused.iter().filter(|(_, count)| *count > 0);
        Self {
            cluster: config.cluster.clone(),
            node: words.node(view.node),
            pid: snapshot.pid,
            life: view.incarnation.0,
            at_us: boot.0,
            config: hex(snapshot.digest),
            sections: sections(config),
            timing: Timing::new(config),
            majority: view.majority,
            maintenance: view.maintenance,
            pull: pull::verdict(snapshot),
            nodes,
            groups,
            alarms,
            late: Late {
                newest_us: snapshot.late.newest.0,
                greatest_us: snapshot.late.greatest.0,
                over_half_keepalive: snapshot.late.over_half_keepalive,
            },
            lease: lease(&snapshot.lease, config.lease),
            refused: refused
                .map(|(cause, count)| Refused { cause: (*cause).to_owned(), count: *count })
                .collect(),
        }
    }
}

/// A node that is heard, and goes by another configuration than this one.
fn another_configuration(node: &Node, ours: u64) -> Option<String> {
    let heard = matches!(node.liveness.as_str(), "up" | "late");
    node.config.as_ref().filter(|theirs| heard && **theirs != hex(ours))?;
    let place = node.differs.as_ref().map_or(String::new(), |differs| format!(": {differs}"));
    Some(format!("{} has another configuration{place}; say `systole copy` where the right one is", node.name))
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// As a daemon and a command of the same file both see it.
pub fn sections(config: &Config) -> BTreeMap<String, String> {
    config.section_digests().into_iter().map(|(name, digest)| (name.to_owned(), hex(digest))).collect()
}

fn nodes(snapshot: &Snapshot, words: &Words<'_>) -> Vec<Node> {
    let view = &snapshot.view;
    let this = node("this", words.node(view.node), view.flags, view.incarnation.0);
    let mut others: Vec<Node> =
        view.peers.iter().map(|(id, peer)| peer_shape(snapshot, words, *id, peer)).collect();
    others.sort_by(|one, other| one.name.cmp(&other.name));
    std::iter::once(this).chain(others).collect()
}

fn node(liveness: &str, name: String, flags: Flags, life: u64) -> Node {
    let Flags { starting, leaving, standby, arbiter, hold_off, guarded } = flags;
    let liveness = liveness.to_owned();
    Node {
        name,
        liveness,
        arbiter,
        starting,
        leaving,
        standby,
        hold_off,
        guarded,
        life,
        silent_us: 0,
        config: None,
        differs: None,
        links: Vec::new(),
    }
}

fn peer_shape(snapshot: &Snapshot, words: &Words<'_>, id: NodeId, peer: &PeerView) -> Node {
    let liveness = match peer.liveness {
        Liveness::Unknown => "unknown",
        Liveness::Up => "up",
        Liveness::Late => "late",
        Liveness::Down => "dead",
    };
    let link = |(place, link): (&crate::types::LinkId, &crate::cluster::LinkView)| Link {
        watched: snapshot.gaps.get(&(id, *place)).map(Watched::new),
        name: words.link(*place),
        up: link.up,
        silent_us: (link.beats > 0).then_some(link.silent.0),
        round_trip_us: link.round_trip.map(Span::as_micros),
        beats: link.beats,
    };
    let mut shape = node(liveness, words.node(id), peer.flags, peer.incarnation.0);
    // Before it was heard its flags say nothing; what it is stands in the configuration.
    shape.arbiter = snapshot.config.nodes.get(&id).is_some_and(|node| node.arbiter);
    shape.silent_us = peer.silent.0;
    shape.config = peer.config.map(hex);
    let differs = peer.marks.as_ref().filter(|_| peer.config.is_some_and(|digest| digest != snapshot.digest));
    shape.differs = differs.map(|marks| snapshot.config.differs_from(marks).to_string());
    shape.links = peer.links.iter().map(link).collect();
    shape
}

fn group_shape(snapshot: &Snapshot, words: &Words<'_>, id: GroupId, group: &GroupView) -> Group {
    let configured = snapshot.config.groups.get(&id);
    let ability = snapshot.abilities.get(&id);
    let able = |(node, why): &(NodeId, Option<Unable>)| Able {
        node: words.node(*node),
        able: why.is_none(),
        because: why.map(|why| data::unable(words, why)),
        text: why.map(|why| words.unable(*node, why)),
    };
    let promise = match configured.map(|group| group.promise) {
        Some(Promise::AtLeastOne) => "at-least-one",
        Some(Promise::AtMostOne) | None => "at-most-one",
    };
    Group {
        name: words.group(id),
        served: ability.is_some_and(|ability| ability.served),
        holder: group.holder.map(|node| words.node(node)),
        planned: group.planned.map(|node| words.node(node)),
        because: data::reason(words, group.because),
        because_text: words.reason(group.because),
        phase: group.phase.map(|phase| data::phase(phase).to_owned()),
        epoch: group.epoch.0,
        lease_left_us: group.lease_left.map(Span::as_micros),
        granted_to: snapshot.view.grants.get(&id).map(|grant| words.node(grant.holder)),
        promise: promise.to_owned(),
        exclusive: configured.is_some_and(|group| group.exclusive),
        maintenance: group.maintenance,
        nodes: ability.map(|ability| ability.nodes.iter().map(able).collect()).unwrap_or_default(),
        resources: group.resources.iter().map(resource_shape).collect(),
        instance: configured
            .and_then(|group| group.clone_of.as_ref())
            .map(|instance| Instance { of: words.whole_group(id), index: instance.index }),
        packets: snapshot.packets.get(&id).copied(),
    }
}

fn resource_shape(resource: &ResourceView) -> Resource {
    let ResourceView { name, agent, runs, doing } = resource;
    let state = match runs {
        Runs::No => "stopped",
        Runs::Yes => "running",
        Runs::Failed => "failed",
        Runs::Stuck => "stuck",
        Runs::Unknown => "unknown",
    };
    let (name, agent, state) = (name.clone(), agent.clone(), state.to_owned());
    Resource { name, agent, state, doing: doing.map(|action| data::asked(action).to_owned()) }
}

/// What could not be stopped and may run beside another one somewhere else.
fn stuck(group: &Group) -> impl Iterator<Item = String> {
    let stuck = group.resources.iter().filter(|resource| resource.state == "stuck");
    stuck.map(|resource| {
        format!(
            "{}: {} could not be stopped here, and may still run: stop it by hand, then systole cleanup {}",
            group.name, resource.name, group.name
        )
    })
}

fn lease(by: &LeaseBy, configured: Enforcement) -> Lease {
    match by {
        LeaseBy::Kernel => {
            Lease { by: "kernel".to_owned(), why: None, as_configured: configured == Enforcement::Kernel }
        }
        LeaseBy::Daemon(why) => Lease {
            by: "daemon".to_owned(),
            why: Some(why.clone()),
            as_configured: configured == Enforcement::Daemon,
        },
    }
}
