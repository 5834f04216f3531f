//! Runs: one seed from its draw to its verdict, and many of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use systole::cluster::{Core, Effects};
use systole::config::Config;
use systole::types::{GroupId, NodeId};

use crate::draw::{Class, Plan, draw, survives_alone};
use crate::faults::Op;
use crate::invariants::Violation;
use crate::network::Mask;
use crate::node::Recording;
use crate::report::Stats;
use crate::world::{Options, What, World};

/// What came of one seed.
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) violation: Option<Violation>,
    pub(crate) stats: Stats,
    pub(crate) timeline: String,
    /// A digest of all that happened.
    pub(crate) digest: u64,
}

pub(crate) fn run_seed(seed: u64, options: Options) -> Verdict {
    run_plan(&draw(seed), options)
}

pub(crate) fn run_plan(plan: &Plan, options: Options) -> Verdict {
    let mut world = World::new(plan, options);
    world.say_world(|| format!("{:?} with {} nodes", plan.class, plan.machines.len()));
    world.follow(plan);
    world.finish();
    let lines = if world.timeline.on { usize::MAX } else { 0 };
    Verdict {
        seed: plan.seed,
        timeline: world.timeline.text(lines),
        digest: world.digest(),
        violation: world.violation,
        stats: world.stats,
    }
}

impl World {
    fn follow(&mut self, plan: &Plan) {
        match plan.class {
            Class::Chaos => self.run_chaos(plan),
            Class::Calm | Class::Lossy => self.run_quiet(plan),
            Class::Crash => self.run_crash(plan),
            Class::Restart => self.run_restart(plan),
            Class::Single => self.run_single(plan),
            Class::Persistent => self.run_persistent(plan),
        }
    }

    /// From a cold start every group must be held once.
    fn settle(&mut self) {
        self.hold_once(Mask::MAX, "after a cold start");
    }

    pub(crate) fn plan_ops(&mut self, ops: &[(u64, Op)]) {
        for (after, op) in ops {
            self.schedule(*after, What::Do(Box::new(op.clone())));
        }
    }

    /// Runs until these machines hold every group once and go on doing so for two leases.
    fn hold_once(&mut self, side: Mask, when: &str) -> bool {
        let bound = self.bound();
        self.hold_once_within(bound, side, when)
    }

    fn hold_once_within(&mut self, bound: u64, side: Mask, when: &str) -> bool {
        let (began, limit) = (self.now, self.now + bound);
        let step = self.longest_lease / 2;
        let mut since = None;
        self.stats.exercise(3);
        while self.violation.is_none() {
            match self.held_once(|node| side & (1 << node) != 0) {
                Ok(()) => {
                    let first = *since.get_or_insert(self.now);
                    if self.now >= first + 4 * step {
                        self.stats.greatest(
                            "time to hold every group once, of 1,000 bounds",
                            (first - began) * 1_000 / bound,
                        );
                        return true;
                    }
                }
                Err(why) if self.now >= limit => {
                    let ms = bound / 1_000;
                    self.violate(3, format!("{when}, {why}, {ms} ms later"));
                    return false;
                }
                Err(_) => since = None,
            }
            self.run_until(self.now + step);
        }
        false
    }

    fn run_chaos(&mut self, plan: &Plan) {
        if plan.settles {
            self.settle();
        }
        self.plan_ops(&plan.ops);
        self.run_until(self.now + plan.length);
        self.heal_and_hold(plan);
    }

    /// Everything is mended, all nodes get the same configuration, operators take back their orders.
    fn heal_and_hold(&mut self, plan: &Plan) {
        self.heal();
        let lease = self.longest_lease;
        for (place, &config) in plan.last_configs.iter().enumerate() {
            if place > 0 {
                self.run_until(self.now + self.bound() / 2 + 3 * lease);
            }
            self.config = self.configs[config].clone();
            for node in 0..self.machines.len() {
                self.configure(node, config);
            }
        }
        let heard = 4 * self.config.timing.keepalive.as_micros() + self.restart_delay + 50_000;
        self.run_until(self.now + heard);
        self.take_back_orders();
        self.stats.bump("healings");
        if survives_alone(&self.config) || self.machines.len() > 1 {
            self.hold_once(Mask::MAX, "after healing");
        }
    }

    fn run_quiet(&mut self, plan: &Plan) {
        self.settle();
        if plan.class == Class::Lossy {
            self.note_coherence();
            self.net.loss = 200;
            self.stats.odds += odds(plan);
        }
        let lease = self.longest_lease;
        if plan.class == Class::Calm {
            // Failback may still be waiting for its delay.
            self.run_until(self.now + 6 * lease);
        }
        let (moves, gaps) = (self.checks.moves.clone(), self.checks.gaps.clone());
        let beats: Vec<u64> = self.machines.iter().map(|machine| machine.daemon.beats).collect();
        let began = self.now;
        self.run_until(self.now + plan.length);
        if self.violation.is_some() {
            return;
        }
        self.stats.exercise(5);
        if self.checks.moves != moves || self.checks.gaps != gaps {
            self.violate(5, format!("something moved or blinked in a {:?} run", plan.class));
        } else if let Err(why) = self.held_once(|_| true) {
            self.violate(5, format!("in a {:?} run {why}", plan.class));
        }
        if plan.class == Class::Calm {
            self.check_beats(&beats, self.now - began);
        }
    }

    fn check_beats(&mut self, before: &[u64], length: u64) {
        for (node, before) in before.iter().enumerate() {
            let keepalive = self.machines[node].config.timing.keepalive.as_micros();
            let most = length / keepalive * 105 / 100 + 5;
            let sent = self.machines[node].daemon.beats - before;
            if sent > most {
                let name = self.machines[node].name.clone();
                self.violate(9, format!("{name} sent {sent} beats in a quiet time for at most {most}"));
            }
        }
    }

    fn run_crash(&mut self, plan: &Plan) {
        self.settle();
        self.finish_failback();
        let before: Vec<(GroupId, Option<usize>)> =
            self.config.groups.keys().map(|&group| (group, self.holder(group))).collect();
        self.plan_ops(&plan.ops);
        let at = self.now + plan.ops.first().map_or(0, |(after, _)| *after);
        self.run_until(at);
        let down = (0..self.machines.len()).find(|&node| !self.machines[node].on);
        let Some(down) = down.filter(|_| survives_alone(&self.config)) else { return };
        if before.iter().any(|&(group, holder)| self.is_only_able(group, holder)) {
            return;
        }
        let lost: Vec<GroupId> =
            before.iter().filter(|(_, holder)| *holder == Some(down)).map(|(group, _)| *group).collect();
        let mut limits: Vec<(GroupId, u64)> =
            lost.into_iter().map(|group| (group, self.takeover_limit(plan, group))).collect();
        while self.violation.is_none() && !limits.is_empty() {
            self.time_takeovers(&mut limits, at);
            self.run_until(self.now + 1_000);
        }
        self.heal();
        self.hold_once(Mask::MAX, "after a crash and a reboot");
    }

    fn is_only_able(&self, _group: GroupId, _holder: Option<usize>) -> bool {
        self.machines.iter().filter(|machine| !machine.arbiter).count() < 2
    }

    /// deadtime (on the slower of two clocks) and one keepalive, beats to and fro, the agents, and what an exclusive
    /// group must wait for.
    fn takeover_limit(&self, plan: &Plan, group: GroupId) -> u64 {
        let lease = self.longest_lease;
        let keepalive = self.config.timing.keepalive.as_micros();
        let Some(found) = self.config.groups.get(&group) else { return 0 };
        let agents = found.resources.len() as u64 * (2_000 + plan.agents_slow) + 1_000;
        let travel = 4 * (plan.delay + plan.jitter + 2_000);
        let fencing = if self.fences() || (found.exclusive && !self.config.fences.is_empty()) {
            // An agent takes up to a lease and fails one time in five.
            8 * lease + 60_000 * 5
        } else if found.exclusive {
            // After the wait a beat of the taker's, and one of each voter's that names it (chapter 11, (y)).
            self.watchdog_time() * 102 / 100 + lease / 50 + 16_000 + 2 * keepalive
        } else {
            0
        };
        lease * 102 / 100 + keepalive + travel + agents + fencing
    }

    fn time_takeovers(&mut self, limits: &mut Vec<(GroupId, u64)>, crashed: u64) {
        let (lease, took) = (self.longest_lease, self.now - crashed);
        let served = |group: GroupId| {
            self.holder(group).is_some_and(|node| self.machines[node].serves(group, &self.config))
        };
        let waiting: Vec<(GroupId, u64)> =
            limits.iter().filter(|(group, _)| !served(*group)).copied().collect();
        let done: Vec<(GroupId, u64)> = limits.iter().filter(|(group, _)| served(*group)).copied().collect();
        for (_, limit) in done {
            self.stats.exercise(4);
            if limit < 2 * lease {
                self.stats.greatest("takeover after a crash, of 1,000 deadtimes", took * 1_000 / lease);
            }
        }
        if let Some((group, limit)) = waiting.iter().find(|(_, limit)| took > *limit).copied() {
            let name = self.names_of(group);
            self.violate(
                4,
                format!("{name} is not taken over {} ms after its holder's crash", limit / 1_000),
            );
        }
        *limits = waiting;
    }

    fn finish_failback(&mut self) {
        self.run_until(self.now + 4 * self.longest_lease);
    }

    fn run_restart(&mut self, plan: &Plan) {
        self.settle();
        self.finish_failback();
        let before = (self.checks.moves.clone(), self.checks.gaps.clone(), self.checks.stops);
        self.plan_ops(&plan.ops);
        self.run_until(self.now + plan.length);
        if self.violation.is_some() {
            return;
        }
        self.stats.exercise(4);
        let op = plan.ops.first().map(|(_, op)| format!("{op:?}")).unwrap_or_default();
        if (&self.checks.moves, &self.checks.gaps, self.checks.stops) != (&before.0, &before.1, before.2) {
            self.violate(4, format!("a restart interrupted something: {op}"));
        } else if let Err(why) = self.held_once(|_| true) {
            self.violate(4, format!("after a restart ({op}) {why}"));
        }
    }

    /// Away, and back where it goes back; and who keeps apart from others gives way each time that one of them moves.
    fn moves_allowed(&self, group: GroupId) -> u64 {
        let Some(found) = self.config.groups.get(&group) else { return 1 };
        let gives_way: u64 = found.apart.iter().map(|other| self.moves_allowed(*other)).sum();
        let own = 1 + u64::from(self.moves_back(&self.config, group)) + gives_way;
        own.max(found.with.map_or(0, |leader| self.moves_allowed(leader)))
    }

    fn run_single(&mut self, plan: &Plan) {
        self.settle();
        self.finish_failback();
        let before = self.checks.moves.clone();
        self.plan_ops(&plan.ops);
        self.run_until(self.now + plan.length);
        self.heal();
        self.hold_once(Mask::MAX, "after a single fault");
        if self.violation.is_some() {
            return;
        }
        self.stats.exercise(6);
        for (group, moves) in self.checks.moves.clone() {
            let moved = moves - before.get(&group).copied().unwrap_or(0);
            let allowed = self.moves_allowed(group);
            if moved > allowed {
                let (name, op) = (self.names_of(group), plan.ops.first().map(|(_, op)| format!("{op:?}")));
                self.violate(
                    6,
                    format!("{name} moved {moved} times after one fault: {}", op.unwrap_or_default()),
                );
            }
        }
    }

    /// Goes back, or goes with a group that does; one that promises at least one may have two holders that meet again.
    fn moves_back(&self, config: &Config, group: GroupId) -> bool {
        let Some(group) = config.groups.get(&group) else { return false };
        let twice = group.failback || group.promise == systole::config::Promise::AtLeastOne;
        twice || group.with.is_some_and(|with| self.moves_back(config, with))
    }

    fn run_persistent(&mut self, plan: &Plan) {
        self.settle();
        self.plan_ops(&plan.ops);
        self.run_until(self.now + plan.length);
        let bound = plan.limit.unwrap_or_else(|| self.bound());
        self.hold_once_within(bound, plan.side, "with faults that stay");
        if self.violation.is_none() {
            self.heal_and_hold(plan);
        }
    }

    /// Whoever hears the others wants what they want of servers, whatever became of orders and memories before.
    fn want_the_same(&mut self) {
        let wishes = |world: &Self| -> Vec<_> {
            // Who is configured no more hears nobody.
            let nodes = &world.config.nodes;
            let belong =
                world.machines.iter().filter(|machine| nodes.contains_key(&NodeId::of(&machine.name)));
            belong.filter_map(|machine| machine.daemon.core.as_ref()).map(Core::server_orders).collect()
        };
        if !self.healed || wishes(self).iter().all(BTreeMap::is_empty) {
            return;
        }
        self.run_until(self.now + 2 * self.longest_lease);
        self.stats.exercise(11);
        let all = wishes(self);
        if all.windows(2).any(|pair| pair[0] != pair[1]) {
            self.violate(11, format!("not all want the same of servers: {all:?}"));
        }
    }

    /// What every run ends with.
    fn finish(&mut self) {
        if self.violation.is_none() {
            self.want_the_same();
        }
        self.stats.cluster_time = self.now * self.machines.len() as u64;
        for node in 0..self.machines.len() {
            let recording = self.machines[node].daemon.recording.take();
            self.recordings.extend(recording);
        }
        for recording in std::mem::take(&mut self.recordings) {
            self.stats.exercise(8);
            if let Err(what) = play_again(&recording, self.options) {
                self.violate(8, what);
            }
        }
    }

    fn digest(&self) -> u64 {
        let text = format!("{:?} {:?} {}", self.stats, self.violation, self.now);
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

/// A fresh core, told the same, does the same.
fn play_again(recording: &Recording, options: Options) -> Result<(), String> {
    let mut effects = Effects::new();
    let start = recording.start.clone();
    #[cfg(feature = "mutants")]
    let mut core = match options.mutant {
        Some(mutant) => Core::start_mutated(start, mutant, &mut effects),
        None => Core::start(start, &mut effects),
    };
    #[cfg(not(feature = "mutants"))]
    let mut core = {
        let _ = options;
        Core::start(start, &mut effects)
    };
    if effects != recording.begun {
        return Err("a core began differently from the same start".to_owned());
    }
    for (now, input, expected) in &recording.steps {
        let mut effects = Effects::new();
        core.step(*now, input.clone(), &mut effects);
        if effects != *expected {
            return Err(format!("at {now:?} {input:?} gave {effects:?} and not {expected:?}"));
        }
    }
    Ok(())
}

/// The odds that loss alone makes a lease run out during a lossy run, at most. A lease is lost when for all of its
/// length (less both margins and one keepalive) some beats are lost in a row and then the answers to the others: with
/// n keepalives, (n - 1) ways of it, each with the odds of n - 2 losses on every link at once; this for each keepalive
/// of the run and each voter that is needed besides the holder.
#[allow(clippy::cast_precision_loss, reason = "odds")]
fn odds(plan: &Plan) -> f64 {
    let timing = plan.configs[0].timing;
    let keepalive = timing.keepalive.as_micros();
    let usable = plan.lease() - 2 * systole::cluster::margin(timing.deadtime).as_micros();
    let tries = i32::try_from((usable / keepalive).saturating_sub(1)).unwrap_or(0);
    let lost = 0.2_f64.powi(i32::try_from(plan.over.len()).unwrap_or(1));
    let one = f64::from(tries) * lost.powi(tries - 1);
    let keepalives = plan.length / keepalive;
    one * keepalives as f64 * plan.machines.len() as f64 * plan.configs[0].groups.len() as f64
}

/// What many seeds came to.
pub(crate) struct Search {
    pub(crate) stats: Stats,
    pub(crate) failures: Vec<Verdict>,
    pub(crate) seeds: u64,
}

/// Runs seeds on several threads; gives up after a few failures.
pub(crate) fn search(from: u64, count: u64, jobs: usize, options: Options, limit: usize) -> Search {
    let next = AtomicU64::new(from);
    let total = Mutex::new(Search { stats: Stats::default(), failures: Vec::new(), seeds: 0 });
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let verdict = run_seed(seed, Options { record: seed.is_multiple_of(50), ..options });
                    let Ok(mut total) = total.lock() else { return };
                    total.seeds += 1;
                    total.stats.add(&verdict.stats);
                    if verdict.violation.is_some() {
                        total.failures.push(verdict);
                        if total.failures.len() >= limit {
                            return;
                        }
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.failures.sort_by_key(|verdict| verdict.seed);
    total
}
