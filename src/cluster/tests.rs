//! Whole cores, side by side on an ideal network in virtual time: what an operator does, and where groups end up.
//! Faults are the simulator's business (`tests/sim`); here a test sets a scene and compares where everything is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::*;
use crate::beat::Phase;
use crate::config::*;
use crate::types::{InterfaceId, LinkId};

mod instances;
mod servers;

/// The way from node to node.
const WAY: Span = Span::micros(300);

/// How long an agent takes.
const AGENT: Span = Span::millis(1);

/// Cores on an ideal network.
struct Lab {
    config: Arc<Config>,
    now: Span,
    cores: BTreeMap<NodeId, Core>,
    coming: VecDeque<(Span, NodeId, Input)>,
    held: BTreeMap<GroupId, BTreeSet<NodeId>>,
    events: Vec<(NodeId, Event)>,
    fails: BTreeSet<(NodeId, GroupId, Action)>,
    left: BTreeSet<NodeId>,
    /// The machines whose watchdog was fed.
    guarded: BTreeSet<NodeId>,
    /// How often a core was woken by its timer.
    timers: usize,
}

impl Lab {
    fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let mut lab = Self {
            now: Span::seconds(1_000),
            cores: BTreeMap::new(),
            coming: VecDeque::new(),
            held: BTreeMap::new(),
            events: Vec::new(),
            fails: BTreeSet::new(),
            left: BTreeSet::new(),
            guarded: BTreeSet::new(),
            timers: 0,
            config,
        };
        let nodes: Vec<NodeId> = lab.config.nodes.keys().copied().collect();
        nodes.into_iter().for_each(|node| lab.boot(node, 1));
        lab
    }

    fn boot(&mut self, node: NodeId, incarnation: u64) {
        let start = Start {
            config: Arc::clone(&self.config),
            node,
            incarnation: Incarnation(incarnation),
            seed: u64::from(node.0),
            now: Moment::at(self.now),
            stored: Stored::default(),
            memory: None,
            standing: BTreeMap::new(),
        };
        let mut effects = Effects::new();
        let core = Core::start(start, &mut effects);
        self.cores.insert(node, core);
        self.carry_out(node, effects);
    }

    fn crash(&mut self, name: &str) {
        let node = NodeId::of(name);
        self.cores.remove(&node);
        self.held.values_mut().for_each(|holders| {
            holders.remove(&node);
        });
    }

    fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let timer =
                self.cores.iter().map(|(node, core)| (core.next_deadline().max(self.now), *node)).min();
            let arrival = self.coming.front().map(|(at, _, _)| *at);
            let timer_at = timer.map_or(end, |(at, _)| at);
            if arrival.unwrap_or(end).min(timer_at) >= end {
                break;
            }
            if arrival.is_some_and(|at| at <= timer_at) {
                if let Some((at, node, input)) = self.coming.pop_front() {
                    self.now = at;
                    self.feed(node, input);
                }
            } else if let Some((at, node)) = timer {
                self.now = at;
                self.timers += 1;
                self.feed(node, Input::Timer);
            }
        }
        self.now = end;
    }

    fn feed(&mut self, node: NodeId, input: Input) {
        let mut effects = Effects::new();
        if let Some(core) = self.cores.get_mut(&node) {
            core.step(Moment::at(self.now), input, &mut effects);
            self.carry_out(node, effects);
        }
    }

    fn command(&mut self, name: &str, command: Command) {
        self.feed(NodeId::of(name), Input::Command(command));
    }

    fn later(&mut self, wait: Span, node: NodeId, input: Input) {
        let at = self.now + wait;
        let place = self.coming.partition_point(|(other, _, _)| *other <= at);
        self.coming.insert(place, (at, node, input));
    }

    fn carry_out(&mut self, node: NodeId, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Send(beat) => {
                    let others: Vec<NodeId> =
                        self.cores.keys().copied().filter(|other| *other != node).collect();
                    for other in others {
                        self.later(WAY, other, Input::Beat { link: LinkId(0), beat: Arc::clone(&beat) });
                    }
                }
                Effect::RaiseLease { group, .. } => {
                    let holders = self.held.entry(group).or_default();
                    holders.insert(node);
                    assert_eq!(holders.len(), 1, "two hold {group:?} at {}", self.now);
                }
                Effect::DropLease { group } => {
                    self.held.entry(group).or_default().remove(&node);
                }
                Effect::Run { ticket, action, .. } => {
                    let outcome = match action {
                        _ if self.fails.contains(&(node, ticket.group, action)) => {
                            Outcome::Failed { code: 1 }
                        }
                        Action::Probe => Outcome::NotRunning,
                        Action::Start | Action::Stop | Action::Monitor => Outcome::Done,
                    };
                    self.later(AGENT, node, Input::AgentDone { ticket, outcome });
                }
                Effect::Tell(event) => self.events.push((node, event)),
                Effect::Left => {
                    self.left.insert(node);
                }
                Effect::Remember(_)
                | Effect::Store(_)
                | Effect::RenewLease { .. }
                | Effect::Probe { .. }
                | Effect::Announce { .. }
                | Effect::Fence { .. } => {}
                Effect::FeedWatchdog => {
                    if self.guarded.insert(node) {
                        self.later(Span::ZERO, node, Input::Watchdog { counts: true });
                    }
                }
            }
        }
    }

    /// Who runs a group, all of it.
    fn holder(&self, group: &str) -> Option<String> {
        let id = GroupId::of(group);
        let holds =
            |core: &Core| core.view().groups.get(&id).is_some_and(|view| view.phase == Some(Phase::Held));
        let holders: Vec<&NodeId> =
            self.cores.iter().filter(|(_, core)| holds(core)).map(|(node, _)| node).collect();
        assert!(holders.len() < 2, "{group} is held by {holders:?}");
        holders.first().map(|node| self.config.nodes[node].name.clone())
    }

    fn moves(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, Event::Won { .. })).count()
    }
}

fn timing() -> Timing {
    Timing {
        keepalive: Span::millis(100),
        warntime: Span::millis(300),
        deadtime: Span::seconds(1),
        initdead: Span::seconds(3),
    }
}

fn resource(name: &str) -> Arc<Resource> {
    Arc::new(Resource {
        name: name.to_owned(),
        agent: name.to_owned(),
        args: Vec::new(),
        params: BTreeMap::new(),
        warm: false,
        monitor: None,
        start_delay: None,
        start_timeout: None,
        stop_timeout: None,
    })
}

fn group(name: &str, prefer: &[&str]) -> Group {
    Group {
        name: name.to_owned(),
        prefer: prefer.iter().map(|node| NodeId::of(node)).collect(),
        only: Vec::new(),
        failback: true,
        failback_delay: Span::ZERO,
        exclusive: false,
        promise: Promise::AtMostOne,
        clone_of: None,
        with: None,
        after: Vec::new(),
        apart: Vec::new(),
        reach: Reach::Any,
        failure_window: Span::seconds(60),
        interfaces: vec![InterfaceId(0)],
        resources: vec![resource("vip"), resource("pen")],
    }
}

/// Three directors and these groups.
fn three(groups: impl IntoIterator<Item = Group>) -> Config {
    let node = |name: &str| (NodeId::of(name), Node { name: name.to_owned(), arbiter: false });
    Config {
        cluster: "test".to_owned(),
        keys: "keys".into(),
        timing: timing(),
        nodes: ["lb0", "lb1", "lb2"].into_iter().map(node).collect(),
        links: Vec::new(),
        tiebreak: Tiebreak { method: TiebreakMethod::Evidence, ping: Vec::new() },
        voters_before: None,
        lease: Enforcement::Kernel,
        watchdog: None,
        fences: Vec::new(),
        interfaces: vec![Interface { name: None, has_link: true }],
        groups: groups.into_iter().map(|group| (GroupId::of(&group.name), group)).collect(),
        notify: None,
        tracks: Vec::new(),
        respawns: Vec::new(),
        services: BTreeMap::new(),
        sync: None,
    }
}

fn settled(groups: impl IntoIterator<Item = Group>) -> Lab {
    let mut lab = Lab::new(three(groups));
    lab.run_for(Span::seconds(5));
    lab
}

const WEB: GroupId = GroupId::of("web");

#[test]
fn at_a_cold_start_every_group_comes_to_its_preferred_node_and_waits_for_nothing() {
    let mut lab = Lab::new(three([group("web", &["lb1"]), group("db", &["lb2", "lb0"])]));
    lab.run_for(Span::millis(20));
    assert_eq!((lab.holder("web").as_deref(), lab.holder("db").as_deref()), (Some("lb1"), Some("lb2")));
    assert_eq!(lab.moves(), 2);
}

#[test]
fn a_quiet_pair_is_woken_by_one_timer_in_a_keepalive() {
    let mut pair = three([group("web", &["lb0"])]);
    pair.nodes.remove(&NodeId::of("lb2"));
    let mut lab = Lab::new(pair);
    lab.run_for(Span::seconds(5));
    let before = lab.timers;
    lab.run_for(timing().keepalive * 1_000);
    let timers = lab.timers - before;
    // One speaks, and the other along with it; nobody wakes to see that all is well.
    assert!((1_000..1_010).contains(&timers), "{timers} timers in 1,000 keepalives");
}

#[test]
fn a_group_goes_back_to_its_preferred_node_and_one_without_failback_stays() {
    let stays = Group { failback: false, ..group("stays", &["lb0", "lb1"]) };
    let mut lab = settled([group("web", &["lb0", "lb1"]), stays]);
    lab.crash("lb0");
    lab.run_for(Span::seconds(2));
    assert_eq!((lab.holder("web").as_deref(), lab.holder("stays").as_deref()), (Some("lb1"), Some("lb1")));
    lab.boot(NodeId::of("lb0"), 2);
    lab.run_for(Span::seconds(5));
    assert_eq!((lab.holder("web").as_deref(), lab.holder("stays").as_deref()), (Some("lb0"), Some("lb1")));
}

#[test]
fn a_planned_hand_over_takes_the_round_trips_and_the_agents_time_whatever_the_timers_are() {
    let mut lab = settled([group("web", &["lb0"])]);
    lab.command("lb0", Command::Standby { node: NodeId::of("lb0") });
    // The claim there, the release back; two stops, two starts; and at each end a change may wait for its millisecond.
    lab.run_for(WAY * 4 + AGENT * 4 + Span::millis(2));
    assert_ne!(lab.holder("web").as_deref(), Some("lb0"));
    assert!(lab.holder("web").is_some());
    lab.command("lb2", Command::Online { node: NodeId::of("lb0") });
    lab.run_for(Span::seconds(1));
    assert_eq!(
        lab.holder("web").as_deref(),
        Some("lb0"),
        "the order reached it through another node's beats"
    );
}

#[test]
fn a_node_that_nobody_can_stand_in_for_keeps_its_groups_in_standby() {
    let only = Group { only: vec![NodeId::of("lb0")], ..group("web", &["lb0"]) };
    let mut lab = settled([only]);
    lab.command("lb0", Command::Standby { node: NodeId::of("lb0") });
    lab.run_for(Span::seconds(10));
    assert_eq!(lab.holder("web").as_deref(), Some("lb0"));
}

#[test]
fn a_leaving_node_hands_over_then_is_gone() {
    let mut lab = settled([group("web", &["lb0"])]);
    lab.command("lb0", Command::Leave);
    lab.run_for(Span::millis(20));
    assert_ne!(lab.holder("web").as_deref(), Some("lb0"));
    assert!(lab.left.contains(&NodeId::of("lb0")));
    lab.run_for(Span::seconds(5));
    assert!(lab.holder("web").is_some());
}

#[test]
fn a_move_holds_where_groups_go_back_and_is_done_with_where_they_stay() {
    let stays = Group { failback: false, ..group("stays", &["lb0"]) };
    let mut lab = settled([group("web", &["lb0"]), stays]);
    for group in [WEB, GroupId::of("stays")] {
        lab.command("lb1", Command::Move { group, node: NodeId::of("lb2") });
    }
    lab.run_for(Span::seconds(5));
    assert_eq!((lab.holder("web").as_deref(), lab.holder("stays").as_deref()), (Some("lb2"), Some("lb2")));
    lab.command("lb0", Command::Unmove { group: WEB });
    lab.run_for(Span::seconds(5));
    assert_eq!((lab.holder("web").as_deref(), lab.holder("stays").as_deref()), (Some("lb0"), Some("lb2")));
}

#[test]
fn an_order_about_something_unknown_is_refused() {
    let mut lab = settled([group("web", &["lb0"])]);
    lab.command("lb0", Command::Move { group: WEB, node: NodeId::of("lb9") });
    lab.command("lb0", Command::Takeover { group: GroupId::of("wbe") });
    let refused = |(_, event): &&(NodeId, Event)| {
        matches!(event, Event::Refused { because: RefusedReason::Unknown, .. })
    };
    assert_eq!(lab.events.iter().filter(refused).count(), 2);
}

#[test]
fn in_maintenance_nothing_is_moved_or_started() {
    let mut lab = settled([group("web", &["lb0"])]);
    lab.command("lb1", Command::Maintenance { on: true, group: None });
    lab.run_for(Span::seconds(1));
    lab.command("lb0", Command::Standby { node: NodeId::of("lb0") });
    lab.run_for(Span::seconds(5));
    assert_eq!((lab.holder("web").as_deref(), lab.moves()), (Some("lb0"), 1));
    lab.command("lb2", Command::Maintenance { on: false, group: None });
    lab.run_for(Span::seconds(1));
    assert_ne!(lab.holder("web").as_deref(), Some("lb0"));
}

#[test]
fn a_failed_start_moves_the_group_to_the_next_in_order_and_a_cleanup_brings_it_back() {
    let mut lab = Lab::new(three([group("web", &["lb0", "lb1", "lb2"])]));
    lab.fails.insert((NodeId::of("lb0"), WEB, Action::Start));
    lab.run_for(Span::seconds(3));
    assert_eq!(lab.holder("web").as_deref(), Some("lb1"));
    lab.fails.clear();
    lab.command("lb0", Command::Cleanup { group: WEB });
    lab.run_for(Span::seconds(3));
    assert_eq!(lab.holder("web").as_deref(), Some("lb0"));
}

#[test]
fn a_failed_monitor_is_repaired_in_place_so_often_and_then_the_group_moves() {
    let monitor = Some(Monitor { every: Span::millis(500), timeout: None, restarts: 2 });
    let watched = Arc::new(Resource { monitor, ..Resource::clone(&resource("pen")) });
    let mut lab =
        settled([Group { resources: vec![resource("vip"), watched], ..group("web", &["lb0", "lb1"]) }]);
    lab.fails.insert((NodeId::of("lb0"), WEB, Action::Monitor));
    lab.run_for(Span::millis(900));
    assert_eq!(lab.holder("web").as_deref(), Some("lb0"), "two repairs");
    lab.run_for(Span::seconds(1));
    assert_eq!(lab.holder("web").as_deref(), Some("lb1"));
}

#[test]
fn a_stop_that_fails_blocks_an_exclusive_group_and_releases_any_other() {
    let exclusive = Group { exclusive: true, ..group("db", &["lb0"]) };
    let mut lab = Lab::new(Config {
        fences: vec![Fence {
            name: "ipmi".to_owned(),
            agent: "fence_ipmilan".to_owned(),
            params: BTreeMap::new(),
            nodes: Vec::new(),
            delay: Span::ZERO,
        }],
        ..three([group("web", &["lb0"]), exclusive])
    });
    lab.run_for(Span::seconds(5));
    let db = GroupId::of("db");
    for group in [WEB, db] {
        lab.fails.insert((NodeId::of("lb0"), group, Action::Stop));
    }
    lab.command("lb0", Command::Standby { node: NodeId::of("lb0") });
    lab.run_for(Span::seconds(5));
    assert_eq!((lab.holder("web").is_some(), lab.holder("db")), (true, None));
    assert_eq!(lab.cores[&NodeId::of("lb0")].view().groups[&db].phase, Some(Phase::Blocked));
    lab.fails.clear();
    lab.command("lb0", Command::Cleanup { group: db });
    lab.run_for(Span::seconds(10));
    assert!(lab.holder("db").is_some_and(|holder| holder != "lb0"));
}

/// Three directors with a watchdog of 5 s each, and a group that may never run twice.
fn guarded() -> Config {
    let watchdog = Some(Watchdog { device: "/dev/watchdog".into(), timeout: Span::seconds(5) });
    Config { watchdog, ..three([Group { exclusive: true, ..group("db", &["lb0", "lb1"]) }]) }
}

#[test]
fn what_may_never_run_twice_waits_for_more_than_two_timeouts_of_a_watchdog() {
    let mut lab = Lab::new(guarded());
    lab.run_for(Span::seconds(5));
    assert_eq!(lab.holder("db").as_deref(), Some("lb0"));
    lab.crash("lb0");
    lab.run_for(timing().deadtime + Span::seconds(11));
    assert_eq!(lab.holder("db"), None);
    lab.run_for(Span::seconds(2));
    assert_eq!(lab.holder("db").as_deref(), Some("lb1"));
}

/// lb0 reads another file, and dies.
fn dies_with(another: impl FnOnce(&mut Config)) -> Lab {
    let mut lab = Lab::new(guarded());
    lab.run_for(Span::seconds(5));
    let mut config = guarded();
    another(&mut config);
    lab.feed(NodeId::of("lb0"), Input::Configure(Arc::new(config)));
    lab.run_for(Span::seconds(1));
    assert_eq!(lab.holder("db").as_deref(), Some("lb0"));
    lab.crash("lb0");
    lab
}

#[test]
fn whose_file_says_otherwise_of_the_watchdog_or_of_the_group_is_off_only_by_a_persons_word() {
    let longer = |config: &mut Config| {
        config.watchdog.as_mut().unwrap().timeout = Span::seconds(20);
    };
    let ordinary = |config: &mut Config| {
        config.groups.values_mut().for_each(|group| group.exclusive = false);
    };
    for mut lab in [dies_with(longer), dies_with(ordinary)] {
        lab.run_for(Span::seconds(60));
        assert_eq!(lab.holder("db"), None);
        lab.command("lb1", Command::FenceAck { node: NodeId::of("lb0") });
        lab.run_for(Span::seconds(1));
        assert_eq!(lab.holder("db").as_deref(), Some("lb1"));
    }
}

#[test]
fn whose_file_differs_in_something_else_is_waited_for() {
    let mut lab = dies_with(|config| {
        config.groups.insert(WEB, group("web", &["lb0"]));
    });
    lab.run_for(timing().deadtime + Span::seconds(11));
    assert_eq!(lab.holder("db"), None);
    lab.run_for(Span::seconds(2));
    assert_eq!(lab.holder("db").as_deref(), Some("lb1"));
}

#[test]
fn what_was_found_and_cannot_be_stopped_is_not_taken_for_reset() {
    let mut lab = Lab::new(guarded());
    let (lb0, db) = (NodeId::of("lb0"), GroupId::of("db"));
    lab.crash("lb0");
    lab.coming.retain(|(_, node, _)| *node != lb0);
    lab.guarded.clear();
    lab.fails.extend([(lb0, db, Action::Probe), (lb0, db, Action::Stop)]);
    lab.boot(lb0, 2);
    lab.run_for(Span::seconds(2));
    assert_eq!(lab.cores[&lb0].view().groups[&db].phase, Some(Phase::Blocked));
    assert!(!lab.guarded.contains(&lb0), "a watchdog that was never fed does not count, and resets nothing");
    lab.crash("lb0");
    lab.run_for(Span::seconds(60));
    assert_eq!(lab.holder("db"), None);
}

#[test]
fn without_a_watchdog_that_counts_a_node_gives_up_what_may_never_run_twice() {
    let mut lab = Lab::new(guarded());
    lab.run_for(Span::seconds(5));
    for node in ["lb0", "lb1", "lb2"] {
        lab.feed(NodeId::of(node), Input::Watchdog { counts: false });
    }
    lab.run_for(Span::seconds(1));
    assert_eq!(lab.holder("db"), None, "not even where it was, for nobody has one");
    lab.feed(NodeId::of("lb1"), Input::Watchdog { counts: true });
    lab.run_for(Span::seconds(1));
    assert_eq!(lab.holder("db").as_deref(), Some("lb1"));
}

#[test]
fn groups_that_keep_apart_share_a_node_only_while_there_is_no_other() {
    let apart = Group { apart: vec![GroupId::of("db")], ..group("web", &["lb0"]) };
    let mut lab = settled([group("db", &["lb0"]), apart]);
    let holders = |lab: &Lab| (lab.holder("db"), lab.holder("web"));
    let both = holders(&lab);
    assert!(both.0 == Some("lb0".to_owned()) && both.1.is_some() && both.0 != both.1, "{both:?}");
    lab.command("lb1", Command::Standby { node: NodeId::of("lb1") });
    lab.command("lb2", Command::Standby { node: NodeId::of("lb2") });
    lab.run_for(Span::seconds(2));
    assert_eq!(holders(&lab), (Some("lb0".to_owned()), Some("lb0".to_owned())));
    lab.command("lb2", Command::Online { node: NodeId::of("lb2") });
    lab.run_for(Span::seconds(2));
    assert_eq!(holders(&lab), (Some("lb0".to_owned()), Some("lb2".to_owned())));
    let told = |(node, event): &(NodeId, Event)| {
        let because = Reason::Apart(GroupId::of("db"));
        *node == NodeId::of("lb0") && matches!(event, Event::Planned { because: why, .. } if *why == because)
    };
    assert!(lab.events.iter().any(told), "and says why");
}

#[test]
fn a_group_goes_where_its_leader_goes_and_starts_after_what_it_waits_for() {
    let follows = Group { with: Some(WEB), ..group("follows", &["lb2"]) };
    let waits = Group { after: vec![GroupId::of("follows")], ..group("waits", &["lb1"]) };
    let mut lab = settled([group("web", &["lb0", "lb1"]), follows, waits]);
    assert_eq!(
        ["web", "follows", "waits"].map(|name| lab.holder(name)),
        ["lb0", "lb0", "lb1"].map(|n| Some(n.to_owned()))
    );
    lab.crash("lb0");
    lab.run_for(Span::seconds(3));
    assert_eq!(["web", "follows"].map(|name| lab.holder(name)), ["lb1", "lb1"].map(|n| Some(n.to_owned())));
}

#[test]
fn a_new_configuration_touches_only_what_it_changes() {
    let mut lab = settled([group("web", &["lb0"]), group("db", &["lb1"])]);
    let moves = lab.moves();
    let changed = Group { resources: vec![resource("vip")], ..group("db", &["lb1"]) };
    let config = Arc::new(three([group("web", &["lb0"]), changed, group("new", &["lb2"])]));
    let nodes: Vec<NodeId> = lab.cores.keys().copied().collect();
    for node in nodes {
        lab.feed(node, Input::Configure(Arc::clone(&config)));
        lab.run_for(Span::millis(50));
    }
    lab.run_for(Span::seconds(5));
    assert_eq!(
        ["web", "db", "new"].map(|name| lab.holder(name)),
        ["lb0", "lb1", "lb2"].map(|n| Some(n.to_owned()))
    );
    assert_eq!(lab.moves() - moves, 2, "one begun anew, one new");
}

#[test]
fn voters_change_in_two_steps_and_no_lease_ends() {
    let mut lab = settled([group("web", &["lb0"])]);
    let old: Vec<NodeId> = lab.config.nodes.keys().copied().collect();
    let two = || {
        let mut config = three([group("web", &["lb0"])]);
        config.nodes.remove(&NodeId::of("lb2"));
        config
    };
    let before = Some(VotersBefore { nodes: old, method: TiebreakMethod::Evidence });
    let steps = [Config { voters_before: before, ..two() }, two()];
    lab.feed(NodeId::of("lb0"), Input::Configure(Arc::new(two())));
    assert!(
        lab.events.iter().any(|(_, e)| matches!(e, Event::VotersKept { because: VotersRefused::TwoSteps }))
    );
    for config in steps {
        for node in ["lb2", "lb0", "lb1"] {
            lab.feed(NodeId::of(node), Input::Configure(Arc::new(config.clone())));
            lab.run_for(Span::millis(700));
        }
    }
    lab.run_for(Span::seconds(3));
    assert!(lab.cores.values().all(|core| core.voters.before.is_none() && core.voters.now.nodes.len() == 2));
    assert_eq!((lab.holder("web").as_deref(), lab.moves()), (Some("lb0"), 1));
    assert!(!lab.events.iter().any(|(_, event)| matches!(event, Event::Lost { .. })));
}

#[test]
fn a_quiet_cluster_sends_one_beat_each_keepalive_and_tells_nothing() {
    let mut lab = settled([group("web", &["lb0"]), group("db", &["lb1"])]);
    let (told, before) =
        (lab.events.len(), lab.cores[&NodeId::of("lb0")].voice.newest().map(|(sequence, _)| sequence));
    lab.run_for(Span::seconds(10));
    let after = lab.cores[&NodeId::of("lb0")].voice.newest().map(|(sequence, _)| sequence);
    assert_eq!(lab.events.len(), told);
    assert_eq!(after.map(|sequence| sequence.0), before.map(|sequence| sequence.0 + 100));
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let config = Arc::new(three([group("web", &["lb0"])]));
    let start = Start {
        config: Arc::clone(&config),
        node: NodeId::of("lb0"),
        incarnation: Incarnation(7),
        seed: 1,
        now: Moment::at(Span::seconds(1)),
        stored: Stored::default(),
        memory: None,
        standing: BTreeMap::new(),
    };
    let mut recording = Recording::new(start.clone());
    let mut effects = Effects::new();
    let mut core = Core::start(start, &mut effects);
    let mut all = vec![effects];
    for step in 1..500_u64 {
        let now = Moment::at(Span::seconds(1) + Span::millis(step * 10));
        let input = if step == 250 {
            Input::Command(Command::Standby { node: NodeId::of("lb0") })
        } else {
            Input::Timer
        };
        recording.note(now, &input);
        let mut effects = Effects::new();
        core.step(now, input, &mut effects);
        all.push(effects);
    }
    let written = serde_json::to_string(&recording).expect("a recording is plain data");
    let read: Recording = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(replay(&read), all);
}
