//! What the core costs: `cargo bench --bench cluster [-- SIZE...] [--groups N] [--seconds N] [--whole]`.
//!
//! Whole clusters in one process, one real core each, on an ideal network in simulated time. Only the time inside the
//! cores' steps is counted, so the event queue costs nothing. A size that takes longer than `--seconds` of real time is
//! stopped and marked. It must never judge: a person does.

#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(clippy::wildcard_enum_match_arm, reason = "one effect is looked for")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use systole::beat::Beat;
use systole::cluster::{Action, Core, Effect, Effects, Event, Input, Outcome, Start, Stored, Ticket};
use systole::config::{
    Cast, Config, Enforcement, Group, Interface, Link, Node, Promise, Reach, Resource, Tiebreak,
    TiebreakMethod, Timing,
};
use systole::rng::Rng;
use systole::time::{Moment, Span};
use systole::types::{GroupId, Incarnation, LinkId, NodeId, Sequence};
use systole::wire::{Datagram, KeyRing, Life, Opener, Sealer, frame};

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

const KEEPALIVE_MS: u64 = 100;
const DEADTIME_MS: u64 = 1_000;
/// One way, and how long an agent takes.
const LATENCY_US: u64 = 100;
const AGENT_US: u64 = 1_000;
/// So many keepalives of a quiet cluster are measured.
const QUIET: u64 = 10;
/// A cluster that has not agreed by then does not.
const LONGEST_MS: u64 = 60_000;

struct Asked {
    /// Without the tables of a single core.
    whole: bool,
    sizes: Vec<usize>,
    groups: usize,
    real: Duration,
}

fn main() {
    let asked = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(what) => {
            eprintln!("cluster: {what}");
            std::process::exit(2);
        }
    };
    println!(
        "keepalive {KEEPALIVE_MS} ms, deadtime {DEADTIME_MS} ms; medians; time inside the cores' steps only\n"
    );
    if !asked.whole {
        print_single(&asked);
    }
    println!("## Whole clusters, from a cold start\n");
    print_table(&asked.sizes, asked.groups, asked.real);
}

fn print_single(asked: &Asked) {
    println!("## One core in a quiet cluster\n");
    let small: Vec<usize> = [2, 16, 128]
        .into_iter()
        .filter(|size| *size <= asked.sizes.iter().copied().max().unwrap_or(0))
        .collect();
    for groups in [16, asked.groups] {
        print_table(&small, groups, asked.real);
    }
    println!("## A beat that says nothing new, against the bare cipher on the same bytes\n");
    print_ratios(&small, asked.real);
}

fn read(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked { whole: false, sizes: Vec::new(), groups: 1_000, real: Duration::from_secs(60) };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--groups" => asked.groups = usize::try_from(number()?).unwrap_or(usize::MAX),
            "--whole" => asked.whole = true,
            "--seconds" => asked.real = Duration::from_secs(number()?),
            // What cargo passes on to every benchmark.
            "--bench" => {}
            _ => asked.sizes.push(word.parse().map_err(|_| format!("not a number of nodes: {word}"))?),
        }
    }
    if asked.sizes.is_empty() {
        asked.sizes = vec![2, 8, 32, 128, 512, 1_000];
    }
    asked.sizes.retain(|size| *size >= 2);
    Ok(asked)
}

/// What one cluster cost.
struct Cost {
    nodes: usize,
    groups: usize,
    /// Simulated time until every group was held once; `None`: not within the limits.
    agreed: Option<Span>,
    /// Simulated time that passed while it agreed, and what all cores took for it.
    starting: (Span, Duration),
    /// Median nanoseconds of a step with a beat that says nothing new, and of a timer's step.
    renewal: Option<u64>,
    timer: Option<u64>,
    /// Simulated time of the quiet cluster, and what all cores took for it.
    quiet: (Span, Duration),
    /// Bytes and number of the beats of the quiet cluster.
    bytes: usize,
    beats: usize,
    stopped: bool,
    held_once: usize,
}

fn measure(nodes: usize, groups: usize, real: Duration) -> Cost {
    let mut cluster = Cluster::new(nodes, groups, Instant::now() + real);
    let agreed = cluster.run(Span::millis(LONGEST_MS), |cluster| cluster.held_once == groups);
    let mut cost = Cost {
        nodes,
        groups,
        agreed: agreed.then_some(cluster.now),
        starting: (cluster.now, cluster.spent),
        renewal: None,
        timer: None,
        quiet: (Span::ZERO, Duration::ZERO),
        bytes: 0,
        beats: 0,
        stopped: !agreed,
        held_once: cluster.held_once,
    };
    if !agreed {
        return cost;
    }
    // What the last change stirred up has settled after a few keepalives, and no voter holds off any more.
    let begins = cluster.now.max(Span::millis(DEADTIME_MS)) + Span::millis(KEEPALIVE_MS * 5);
    cluster.run(begins, |_| false);
    cluster.forget_figures();
    let began = cluster.now;
    cluster.run(began + Span::millis(KEEPALIVE_MS * QUIET), |_| false);
    cost.stopped = cluster.is_late();
    cost.quiet = (cluster.now - began, cluster.spent);
    cost.renewal = median(&mut cluster.renewals);
    cost.timer = median(&mut cluster.timers);
    (cost.bytes, cost.beats) = (cluster.bytes, cluster.beats);
    cost
}

fn median(figures: &mut [u64]) -> Option<u64> {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied()
}

/// What happens when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A beat, by its place among those under way, reaches everybody else.
    Arrives(usize),
    Agent(usize, Ticket),
    Timer(usize),
}

struct Cluster {
    cores: Vec<Core>,
    now: Span,
    queue: BinaryHeap<Reverse<(Span, What)>>,
    /// The deadline that each core's newest timer in the queue is for.
    due: Vec<Span>,
    under_way: BTreeMap<usize, (usize, Arc<Beat>)>,
    sent: usize,
    holders: BTreeMap<GroupId, BTreeSet<usize>>,
    held_once: usize,
    /// Real time, inside steps only.
    spent: Duration,
    renewals: Vec<u64>,
    timers: Vec<u64>,
    bytes: usize,
    beats: usize,
    newest: BTreeMap<NodeId, Arc<Beat>>,
    until: Instant,
}

impl Cluster {
    /// Everybody starts within one keepalive.
    fn new(nodes: usize, groups: usize, until: Instant) -> Self {
        let config = Arc::new(config(nodes, groups));
        let mut cluster = Self {
            cores: Vec::new(),
            now: Span::ZERO,
            queue: BinaryHeap::new(),
            due: vec![Span(u64::MAX); nodes],
            under_way: BTreeMap::new(),
            sent: 0,
            holders: BTreeMap::new(),
            held_once: 0,
            spent: Duration::ZERO,
            renewals: Vec::new(),
            timers: Vec::new(),
            bytes: 0,
            beats: 0,
            newest: BTreeMap::new(),
            until,
        };
        let mut rng = Rng::new(1);
        let mut begins: Vec<Span> =
            (0..nodes).map(|_| rng.span(Span::ZERO, Span::millis(KEEPALIVE_MS))).collect();
        begins.sort_unstable();
        for (at, (node, begin)) in config.nodes.keys().zip(begins).enumerate() {
            // Of its own effects nothing reaches the others before the last of them has started.
            let start = Start {
                config: Arc::clone(&config),
                node: *node,
                incarnation: Incarnation(1),
                seed: at as u64,
                now: Moment::at(begin),
                stored: Stored::default(),
                memory: None,
                standing: BTreeMap::new(),
            };
            cluster.now = begin;
            let mut effects = Effects::new();
            let began = Instant::now();
            let core = Core::start(start, &mut effects);
            cluster.spent += began.elapsed();
            cluster.cores.push(core);
            cluster.carry_out(at, effects);
            if cluster.is_late() {
                break;
            }
        }
        cluster
    }

    fn forget_figures(&mut self) {
        self.spent = Duration::ZERO;
        self.renewals.clear();
        self.timers.clear();
        (self.bytes, self.beats) = (0, 0);
    }

    fn is_late(&self) -> bool {
        Instant::now() > self.until
    }

    /// Runs until a time, or until something is so; whether it is.
    fn run(&mut self, until: Span, done: impl Fn(&Self) -> bool) -> bool {
        while let Some(Reverse((at, what))) = self.queue.pop() {
            if at > until {
                self.queue.push(Reverse((at, what)));
                self.now = until;
                return false;
            }
            self.now = self.now.max(at);
            match what {
                What::Arrives(place) => {
                    let Some((from, beat)) = self.under_way.remove(&place) else { continue };
                    for to in (0..self.cores.len()).filter(|to| *to != from) {
                        self.step(to, Input::Beat { link: LinkId(0), beat: Arc::clone(&beat) });
                    }
                }
                What::Agent(at, ticket) => self.step(at, Input::AgentDone { ticket, outcome: Outcome::Done }),
                What::Timer(node) if self.due[node] == at => self.step(node, Input::Timer),
                What::Timer(_) => {}
            }
            if done(self) {
                return true;
            }
            if self.is_late() {
                return false;
            }
        }
        false
    }

    fn step(&mut self, at: usize, input: Input) {
        let (is_beat, is_timer) = (matches!(input, Input::Beat { .. }), input == Input::Timer);
        let mut effects = Effects::new();
        let began = Instant::now();
        self.cores[at].step(Moment::at(self.now), input, &mut effects);
        let took = began.elapsed();
        self.spent += took;
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if is_beat {
            self.renewals.push(nanoseconds);
        } else if is_timer {
            self.timers.push(nanoseconds);
        }
        self.carry_out(at, effects);
    }

    fn carry_out(&mut self, at: usize, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Send(beat) => {
                    self.bytes += size(&beat);
                    self.beats += 1;
                    self.newest.insert(beat.sender, Arc::clone(&beat));
                    self.sent += 1;
                    self.under_way.insert(self.sent, (at, beat));
                    self.queue.push(Reverse((self.now + Span(LATENCY_US), What::Arrives(self.sent))));
                }
                Effect::Run { ticket, action, .. } => {
                    let took = if action == Action::Probe { Span::ZERO } else { Span(AGENT_US) };
                    if action == Action::Probe {
                        // Nothing runs before the start: answered as such at once.
                        self.probed(at, ticket);
                    } else {
                        self.queue.push(Reverse((self.now + took, What::Agent(at, ticket))));
                    }
                }
                Effect::Tell(Event::Running { group, .. }) => self.note(group, at, true),
                Effect::Tell(Event::Lost { group, .. } | Event::Released { group, .. }) => {
                    self.note(group, at, false)
                }
                Effect::Remember(_)
                | Effect::Store(_)
                | Effect::RaiseLease { .. }
                | Effect::RenewLease { .. }
                | Effect::DropLease { .. }
                | Effect::Probe { .. }
                | Effect::Announce { .. }
                | Effect::Fence { .. }
                | Effect::FeedWatchdog
                | Effect::Tell(_)
                | Effect::Left => {}
            }
        }
        let due = self.cores[at].next_deadline();
        if due != self.due[at] {
            self.due[at] = due;
            self.queue.push(Reverse((due, What::Timer(at))));
        }
    }

    fn probed(&mut self, at: usize, ticket: Ticket) {
        let mut effects = Effects::new();
        let began = Instant::now();
        self.cores[at].step(
            Moment::at(self.now),
            Input::AgentDone { ticket, outcome: Outcome::NotRunning },
            &mut effects,
        );
        self.spent += began.elapsed();
        if !self.is_late() {
            self.carry_out(at, effects);
        }
    }

    fn note(&mut self, group: GroupId, at: usize, holds: bool) {
        let holders = self.holders.entry(group).or_default();
        self.held_once -= usize::from(holders.len() == 1);
        if holds {
            holders.insert(at);
        } else {
            holders.remove(&at);
        }
        self.held_once += usize::from(holders.len() == 1);
    }
}

/// The bytes of a beat's body, without header and seal.
fn size(beat: &Beat) -> usize {
    let mut bytes = Vec::new();
    // One that is too large for the wire is never sent: it counts for nothing.
    systole::wire::body::encode(beat, &mut bytes).map_or(0, |()| bytes.len())
}

/// Measures and prints, a line as soon as it is known.
fn print_table(sizes: &[usize], groups: usize, real: Duration) {
    println!(
        "{:>6} {:>7} {:>11} {:>12} {:>11} {:>11} {:>13} {:>9} {:>13} {:>9}",
        "nodes",
        "groups",
        "agreed, ms",
        "CPU/node, ms",
        "renewal, ns",
        "timer, ns",
        "keepalive, us",
        "CPU, %",
        "bytes/s/node",
        "exponent"
    );
    let mut before: Option<(usize, f64)> = None;
    for cost in sizes.iter().map(|size| measure(*size, groups, real)) {
        let nodes = cost.nodes as f64;
        let keepalives = cost.quiet.0.as_micros() as f64 / (KEEPALIVE_MS as f64 * 1_000.0);
        let per_keepalive = cost.quiet.1.as_secs_f64() * 1e6 / nodes / keepalives;
        let share = cost.quiet.1.as_secs_f64() * 1e8 / nodes / cost.quiet.0.as_micros() as f64;
        let bytes = cost.bytes as f64 / nodes / cost.quiet.0.as_micros() as f64 * 1e6;
        let exponent =
            before.map(|(size, figure)| (per_keepalive / figure).ln() / (nodes / size as f64).ln());
        let or_none = |shown: Option<String>| shown.unwrap_or_else(|| "-".to_owned());
        let quiet = cost.quiet.1 > Duration::ZERO && !cost.stopped;
        println!(
            "{:>6} {:>7} {:>11} {:>12.1} {:>11} {:>11} {:>13} {:>9} {:>13} {:>9}{}",
            cost.nodes,
            cost.groups,
            or_none(cost.agreed.map(|agreed| (agreed.as_micros() / 1_000).to_string())),
            cost.starting.1.as_secs_f64() * 1e3 / nodes,
            or_none(cost.renewal.map(|figure| figure.to_string())),
            or_none(cost.timer.map(|figure| figure.to_string())),
            or_none(quiet.then(|| format!("{per_keepalive:.1}"))),
            or_none(quiet.then(|| format!("{share:.3}"))),
            or_none(quiet.then(|| format!("{bytes:.0}"))),
            or_none(exponent.filter(|_| quiet).map(|exponent| format!("{exponent:.2}"))),
            if cost.stopped {
                format!(
                    "  stopped at {} simulated, {} of {} groups held once",
                    cost.starting.0, cost.held_once, cost.groups
                )
            } else {
                String::new()
            }
        );
        before = quiet.then_some((cost.nodes, per_keepalive));
    }
    println!();
}

/// For as many groups as nodes, and a pair with one and two.
fn print_ratios(sizes: &[usize], real: Duration) {
    println!(
        "{:>6} {:>7} {:>6} {:>14} {:>11} {:>9} {:>6} {:>9}",
        "nodes", "groups", "bytes", "bare open, ns", "opened, ns", "step, ns", "ratio", "with step"
    );
    let pairs = [(2, 1), (2, 2)].into_iter();
    for (nodes, groups) in pairs.chain(sizes.iter().filter(|size| **size > 2).map(|size| (*size, *size))) {
        let mut cluster = Cluster::new(nodes, groups, Instant::now() + real);
        let agreed = cluster.run(Span::millis(LONGEST_MS), |cluster| cluster.held_once == groups);
        cluster.run(cluster.now + Span::millis(KEEPALIVE_MS * 5), |_| false);
        let (Some(beat), true) = (cluster.newest.values().next().cloned(), agreed) else {
            println!("{nodes:>6} {groups:>7}  not agreed");
            continue;
        };
        let step = stepping(&cluster);
        let (bytes, bare, opened) = opening(&beat);
        let ratio = |whole: u64| whole as f64 / bare as f64;
        println!(
            "{nodes:>6} {groups:>7} {bytes:>6} {bare:>14} {opened:>11} {step:>9} {:>6.2} {:>9.2}",
            ratio(opened),
            ratio(opened + step)
        );
    }
    println!();
}

/// Median nanoseconds of a step with a beat that says nothing new and renews what is held: one node of a quiet cluster,
/// many times over, to which its peers go on saying the same.
fn stepping(cluster: &Cluster) -> u64 {
    let holder = cluster.newest.values().max_by_key(|beat| beat.claims.len()).map(|beat| beat.sender);
    let Some(place) = cluster.cores.iter().position(|core| Some(core.view().node) == holder) else {
        return 0;
    };
    let me = cluster.cores[place].view().node;
    let mut peers: Vec<Beat> =
        cluster.newest.values().filter(|beat| beat.sender != me).map(|beat| (**beat).clone()).collect();
    let mut copies: Vec<Core> =
        (0..64 / cluster.cores.len() + 1).map(|_| cluster.cores[place].clone()).collect();
    let (mut figures, mut effects) = (Vec::new(), Effects::new());
    for _ in 0..301 {
        let now = Moment::at(copies[0].next_deadline());
        effects.clear();
        copies.iter_mut().for_each(|core| core.step(now, Input::Timer, &mut effects));
        let said = effects.iter().find_map(|effect| match effect {
            Effect::Send(beat) => Some(beat.sequence),
            _ => None,
        });
        for beat in &mut peers {
            beat.sequence = Sequence(beat.sequence.0 + 1);
            let Some(said) = said else { continue };
            beat.heard.values_mut().for_each(|heard| heard.age = Span::ZERO);
            beat.heard.entry(me).and_modify(|heard| heard.sequence = said);
            beat.grants
                .values_mut()
                .filter(|grant| grant.holder == me)
                .for_each(|grant| grant.sequence = said);
        }
        let say = |beat: &Beat| Input::Beat { link: LinkId(0), beat: Arc::new(beat.clone()) };
        let mut inputs: Vec<Vec<Input>> = copies.iter().map(|_| peers.iter().map(say).collect()).collect();
        effects.clear();
        let steps = copies.len() * peers.len();
        figures.push(time(steps as u64, || {
            for (core, inputs) in copies.iter_mut().zip(&mut inputs) {
                inputs.drain(..).for_each(|input| core.step(now, input, &mut effects));
            }
        }));
    }
    median(&mut figures).unwrap_or_default()
}

/// The bytes of a beat, and the median nanoseconds of opening it: bare, and with check and decoding.
fn opening(beat: &Beat) -> (usize, u64, u64) {
    const EACH: u64 = 64;
    let keys = KeyRing::new(vec![(1, vec![1; 32])]).expect("a good ring");
    let life = Life { incarnation: beat.incarnation, random: 1 };
    let mut sealer = Sealer::new(&keys, "bench", beat.sender, life);
    let mut opener = Opener::new(&keys, "bench", NodeId::of("ear"), life, [beat.sender]);
    let bare = LessSafeKey::new(UnboundKey::new(&aead::AES_256_GCM, &[1; 32]).expect("a good key"));
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let header = || Aad::from([0; frame::HEADER_BYTES]);
    let mut beat = beat.clone();
    let (mut bytes, mut bares, mut wholes) = (0, Vec::new(), Vec::new());
    for _ in 0..301 {
        let mut next = || {
            beat.sequence = Sequence(beat.sequence.0 + 1);
            sealer.seal(&beat).expect("a new beat")
        };
        let mut sealed: Vec<Vec<Datagram>> = (0..EACH).map(|_| next()).collect();
        bytes = sealed[0].iter().map(Vec::len).sum();
        let mut same = sealed.clone();
        for datagram in same.iter_mut().flatten() {
            let body = &mut datagram[frame::HEADER_BYTES..];
            let end = body.len() - frame::SEAL_BYTES;
            let tag = bare.seal_in_place_separate_tag(nonce(), header(), &mut body[..end]).expect("short");
            body[end..].copy_from_slice(tag.as_ref());
        }
        bares.push(time(EACH, || {
            let open = |bytes: &mut Datagram| {
                bare.open_in_place(nonce(), header(), &mut bytes[frame::HEADER_BYTES..]).is_ok()
            };
            assert!(same.iter_mut().flatten().all(open));
        }));
        wholes.push(time(EACH, || {
            assert!(sealed.iter_mut().flatten().all(|bytes| opener.open(LinkId(0), bytes).is_ok()));
        }));
    }
    (bytes, median(&mut bares).unwrap_or_default(), median(&mut wholes).unwrap_or_default())
}

/// Nanoseconds of each.
fn time(each: u64, work: impl FnOnce()) -> u64 {
    let began = Instant::now();
    work();
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX) / each
}

fn config(nodes: usize, groups: usize) -> Config {
    let node = |at: usize| {
        let name = format!("node{at}");
        (NodeId::of(&name), Node { name, arbiter: false })
    };
    let group = |at: usize| {
        let name = format!("group{at}");
        (GroupId::of(&name), group(name))
    };
    Config {
        cluster: "bench".into(),
        keys: "keys".into(),
        timing: Timing {
            keepalive: Span::millis(KEEPALIVE_MS),
            warntime: Span::millis(DEADTIME_MS / 2),
            deadtime: Span::millis(DEADTIME_MS),
            initdead: Span::seconds(10),
        },
        nodes: (0..nodes).map(node).collect(),
        links: vec![Link {
            name: "beats".into(),
            interface: "eth1".into(),
            port: 694,
            cast: Cast::Broadcast,
        }],
        tiebreak: Tiebreak { method: TiebreakMethod::None, ping: Vec::new() },
        voters_before: None,
        lease: Enforcement::Kernel,
        watchdog: None,
        fences: Vec::new(),
        interfaces: vec![Interface { name: Some("eth0".into()), has_link: false }],
        groups: (0..groups).map(group).collect(),
        notify: None,
        tracks: Vec::new(),
        respawns: Vec::new(),
        services: BTreeMap::new(),
        sync: None,
    }
}

fn group(name: String) -> Group {
    Group {
        name,
        prefer: Vec::new(),
        only: Vec::new(),
        failback: false,
        failback_delay: Span::ZERO,
        exclusive: false,
        promise: Promise::AtMostOne,
        clone_of: None,
        with: None,
        after: Vec::new(),
        apart: Vec::new(),
        reach: Reach::Any,
        failure_window: Span::seconds(60),
        interfaces: Vec::new(),
        resources: vec![Arc::new(Resource {
            name: "address".into(),
            agent: "vip".into(),
            args: Vec::new(),
            params: BTreeMap::new(),
            warm: false,
            monitor: None,
            start_delay: None,
            start_timeout: None,
            stop_timeout: None,
        })],
    }
}
