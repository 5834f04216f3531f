//! Two cores with the timers of a configuration: what the check warns of happens, and what it does not warn of does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use systole::cluster::{Action, Answerer, Core, Effect, Effects, Input, Outcome, Start, Stored};
use systole::config::{Config, Loaded, parse_toml};
use systole::time::{Moment, Span};
use systole::types::{Incarnation, LinkId, NodeId};

/// How long a beat is under way, and an agent busy.
const WAY: Span = Span::micros(200);

/// How long an answer takes that is just in time.
const ANSWER: Span = Span::micros(1_500);

struct Pair {
    now: Span,
    cores: BTreeMap<NodeId, Core>,
    coming: VecDeque<(Span, NodeId, Input)>,
    holders: BTreeSet<NodeId>,
    links_live: bool,
    /// How long a beat is under way.
    way: Span,
}

impl Pair {
    /// Both have been up for so long, and one holds the group.
    fn after(span: Span, config: &Arc<Config>) -> Self {
        let mut pair = Self {
            now: Span::seconds(1_000),
            cores: BTreeMap::new(),
            coming: VecDeque::new(),
            holders: BTreeSet::new(),
            links_live: true,
            way: WAY,
        };
        for node in config.nodes.keys().copied() {
            let mut effects = Effects::new();
            let start = Start {
                config: Arc::clone(config),
                node,
                incarnation: Incarnation(1),
                seed: u64::from(node.0),
                now: Moment::at(pair.now),
                stored: Stored::default(),
                memory: None,
                standing: BTreeMap::new(),
            };
            pair.cores.insert(node, Core::start(start, &mut effects));
            pair.carry_out(node, effects);
        }
        pair.run_for(span);
        assert_eq!(pair.holders.len(), 1);
        pair
    }

    fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let timer = self.cores.iter().map(|(node, core)| (core.next_deadline(), *node)).min();
            let arrival = self.coming.front().map(|(at, ..)| *at);
            let timer_at = timer.map_or(end, |(at, _)| at);
            let next = arrival.unwrap_or(end).min(timer_at).max(self.now);
            if next >= end {
                break;
            }
            self.now = next;
            if arrival.is_some_and(|at| at <= timer_at) {
                let (_, node, input) = self.coming.pop_front().unwrap();
                self.feed(node, input);
            } else {
                self.feed(timer.unwrap().1, Input::Timer);
            }
        }
        self.now = end;
    }

    fn feed(&mut self, node: NodeId, input: Input) {
        let mut effects = Effects::new();
        let Some(core) = self.cores.get_mut(&node) else { return };
        core.step(Moment::at(self.now), input, &mut effects);
        self.carry_out(node, effects);
    }

    fn later(&mut self, wait: Span, node: NodeId, input: Input) {
        let at = self.now + wait;
        let place = self.coming.partition_point(|(other, ..)| *other <= at);
        self.coming.insert(place, (at, node, input));
    }

    fn carry_out(&mut self, node: NodeId, effects: Effects) {
        let others: Vec<NodeId> = self.cores.keys().copied().filter(|other| *other != node).collect();
        for effect in effects {
            match effect {
                Effect::Send(beat) if self.links_live => {
                    for other in &others {
                        let input = Input::Beat { link: LinkId(0), beat: Arc::clone(&beat) };
                        self.later(self.way, *other, input);
                    }
                }
                Effect::RaiseLease { .. } => drop(self.holders.insert(node)),
                Effect::DropLease { .. } => drop(self.holders.remove(&node)),
                Effect::Run { ticket, action, .. } => {
                    let outcome = if action == Action::Probe { Outcome::NotRunning } else { Outcome::Done };
                    self.later(WAY, node, Input::AgentDone { ticket, outcome });
                }
                Effect::Probe { round, groups, .. } => {
                    self.later(ANSWER, node, Input::Answer { round, from: Answerer::Target });
                    let answers = others.iter().any(|other| self.holders.contains(other));
                    for group in groups.into_iter().filter(|_| answers) {
                        self.later(ANSWER, node, Input::Answer { round, from: Answerer::Group(group) });
                    }
                }
                Effect::Send(_)
                | Effect::Remember(_)
                | Effect::Store(_)
                | Effect::RenewLease { .. }
                | Effect::Announce { .. }
                | Effect::Fence { .. }
                | Effect::FeedWatchdog
                | Effect::Tell(_)
                | Effect::Left => {}
            }
        }
    }
}

fn load(keepalive: &str, warntime: &str, deadtime: &str, linked: bool) -> Loaded {
    let second = if linked { "eth0" } else { "eth2" };
    let text = format!(
        r#"
        haresources = "a 10.0.0.9/24/eth0"
        [timing]
        keepalive = "{keepalive}"
        warntime = "{warntime}"
        deadtime = "{deadtime}"
        [node.a]
        [node.b]
        [link.one]
        interface = "eth1"
        broadcast = true
        [link.two]
        interface = "{second}"
        broadcast = true
        [tiebreak]
        ping = ["10.0.0.1"]
        "#
    );
    parse_toml("rounds.toml", &text).unwrap_or_else(|report| panic!("{report}"))
}

fn warns(loaded: &Loaded, of: &str) -> bool {
    loaded.warnings.diagnostics.iter().any(|one| one.message.contains(of))
}

/// Timers, and whether a holder can keep its groups with a link over their interface, and without: there it need not wait
/// for a beat after the first answer. The check warns of what is not kept with one.
const KEPT: [([&str; 3], bool, bool); 12] = [
    (["200ms", "1s", "2s"], true, true),
    (["200ms", "600ms", "1s"], true, true),
    (["1s", "15s", "30s"], true, true),
    (["2s", "10s", "30s"], true, true),
    (["5ms", "25ms", "50ms"], true, true),
    (["200ms", "1700ms", "2s"], true, true),
    (["200ms", "1970ms", "2s"], true, true),
    (["500ms", "1s", "2s"], true, true),
    (["700ms", "1s", "2s"], false, true),
    (["900ms", "1s", "2s"], false, false),
    (["10ms", "15ms", "30ms"], false, false),
    (["2500us", "12500us", "25ms"], false, false),
];

#[test]
fn a_holder_keeps_its_group_on_evidence_just_where_the_check_does_not_warn() {
    for ([keepalive, warntime, deadtime], with_link, without_link) in KEPT {
        for (linked, expected) in [(true, with_link), (false, without_link)] {
            let loaded = load(keepalive, warntime, deadtime, linked);
            let config = Arc::new(loaded.config.clone());
            let timing = config.timing;
            let kept = (0..5).all(|phase| {
                let mut pair = Pair::after(timing.deadtime * 5 + timing.keepalive * phase / 5, &config);
                let holder = pair.holders.clone();
                // The last beats are slower than those before, so that none leaves along with the other's.
                pair.way = timing.keepalive / 8;
                pair.run_for(timing.keepalive);
                pair.links_live = false;
                (0..100).all(|_| {
                    pair.run_for(timing.deadtime / 10);
                    pair.holders == holder
                })
            });
            assert_eq!(kept, expected, "{timing:?}, linked: {linked}");
            let warned = warns(&loaded, "a holder gives up");
            assert_eq!(warned, !with_link, "{timing:?}, linked: {linked}: {}", loaded.warnings);
        }
    }
}

#[test]
fn a_dead_holder_is_followed_on_evidence_just_where_the_check_does_not_warn() {
    let timers = [
        (["200ms", "1s", "2s"], true),
        (["5ms", "25ms", "50ms"], true),
        (["2ms", "20ms", "40ms"], false),
        (["200ms", "1995ms", "2s"], true),
    ];
    for ([keepalive, warntime, deadtime], expected) in timers {
        let loaded = load(keepalive, warntime, deadtime, true);
        let config = Arc::new(loaded.config.clone());
        let mut pair = Pair::after(config.timing.deadtime * 5, &config);
        let dead = pair.holders.pop_first().unwrap();
        pair.cores.remove(&dead);
        pair.run_for(config.timing.deadtime * 5);
        let followed = !pair.holders.is_empty();
        let warned = warns(&loaded, "longer rounds");
        assert_eq!((followed, warned), (expected, !expected), "{:?}: {}", config.timing, loaded.warnings);
    }
}
