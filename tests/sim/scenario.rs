//! Runs the scenarios. All invariants that hold always are watched in each of them as in every other world.
//!
//! `expect X within T` waits until it is so; without a time it must be so now. `A before B` waits for both since the last
//! `at`. `no A for T` and `unbroken for T` let the time pass. `loses`: the element is deleted or runs out.

use std::path::PathBuf;
use std::sync::Arc;

use systole::config::{Config, Group, Instance, Monitor, VotersBefore};
use systole::rng::Rng;
use systole::time::Span;
use systole::types::{GroupId, NodeId};

use crate::Tally;
use crate::cluster::{Shape, draw_config, draw_group};
use crate::draw::{Class, MachinePlan, Plan, lay_out};
use crate::script::{Do, Expect, GroupLine, Pattern, Script, State, Step, Verb, parse};
use crate::servers::serve;
use crate::world::{Options, Seen, Sight, What, World};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sim/scenarios")
}

/// Every scenario whose file's name begins so.
pub(crate) fn run(name: &str, timeline: bool) -> Tally {
    let mut tally = Tally::default();
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder()) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => {
            println!("{}: {error}", folder().display());
            return Tally { passed: 0, failed: 1 };
        }
    };
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "txt")) {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !stem.starts_with(name) {
            continue;
        }
        let text = std::fs::read_to_string(file).unwrap_or_default();
        match tell(&text, timeline) {
            Ok(claim) => {
                tally.passed += 1;
                println!("ok    {stem}: {claim}");
            }
            Err(why) => {
                tally.failed += 1;
                println!("FAIL  {stem}: {why}");
            }
        }
    }
    tally
}

fn tell(text: &str, timeline: bool) -> Result<String, String> {
    let script = parse(text).map_err(|error| format!("line {}: {}", error.line, error.why))?;
    let plan = lay(&script);
    let options = Options { timeline: true, watch: true, ..Options::default() };
    let mut world = World::new(&plan, options);
    let outcome = play(&mut world, &script);
    if timeline || outcome.is_err() {
        print!("{}", world.timeline.text(if timeline { usize::MAX } else { 40 }));
    }
    outcome.map(|()| script.claim)
}

/// The world that the first lines describe. Nothing in it is left to chance but delays.
fn lay(script: &Script) -> Plan {
    let mut rng = Rng::new(7);
    let of = |later: bool| -> Vec<String> {
        script.nodes.iter().filter(|node| later || !node.later).map(|node| node.name.clone()).collect()
    };
    let shape = Shape { names: of(false), groups: 0, ..script.shape.clone() };
    let config = configure(script, &shape, &mut rng);
    let mut plan = lay_out(1, Class::Calm, &shape, &mut rng);
    plan.configs = vec![Arc::new(config.clone())];
    let all = configure(script, &Shape { names: of(true), groups: 0, ..script.shape.clone() }, &mut rng);
    let mut joint = all.clone();
    joint.voters_before =
        Some(VotersBefore { nodes: config.nodes.keys().copied().collect(), method: config.tiebreak.method });
    plan.configs.extend([Arc::new(joint), Arc::new(all)]);
    plan.agents_slow = 0;
    plan.machines = script
        .nodes
        .iter()
        .map(|node| MachinePlan {
            name: node.name.clone(),
            arbiter: node.arbiter,
            boot_ppm: 0,
            raw_ppm: 0,
            starts: (!node.later).then_some(1_000),
            config: usize::from(node.later),
        })
        .collect();
    plan
}

fn configure(script: &Script, shape: &Shape, rng: &mut Rng) -> Config {
    let mut config = draw_config(shape, rng);
    for node in &script.nodes {
        if let Some(found) = config.nodes.get_mut(&NodeId::of(&node.name)) {
            found.arbiter = node.arbiter;
        }
    }
    let timing = &mut config.timing;
    timing.warntime = script.warntime.map_or(timing.warntime, Span);
    timing.initdead = script.initdead.map_or(timing.deadtime * 2, Span);
    if let Some(timeout) = script.watchdog {
        config.watchdog = Some(systole::config::Watchdog {
            device: PathBuf::from("/dev/watchdog"),
            timeout: Span(timeout),
        });
    }
    for line in &script.groups {
        let mut one = config.clone();
        one.groups.clear();
        draw_group(&mut one, shape, 0, rng);
        let Some(drawn) = one.groups.into_values().next() else { continue };
        let group = group_of(line, drawn, &config, shape.lease);
        for (index, name) in (0..).zip(line.names()) {
            let clone_of = (line.clones > 0).then(|| instance_of(line, index));
            if line.serves {
                serve(&mut config, &name);
            }
            config.groups.insert(GroupId::of(&name), Group { name, clone_of, ..group.clone() });
        }
    }
    config
}

/// The group that was drawn, with everything as the line says.
fn group_of(line: &GroupLine, drawn: Group, config: &Config, lease: u64) -> Group {
    let prefer = line.prefer.iter().map(|name| NodeId::of(name));
    let mut resource = (*drawn.resources[0]).clone();
    resource.monitor = line.monitor.map(|every| Monitor {
        every: Span(every),
        timeout: Some(Span(every)),
        restarts: line.restarts,
    });
    let resources = (0..line.resources).map(|place| {
        let warm = line.warm && place > 0;
        Arc::new(systole::config::Resource { name: format!("r{place}"), warm, ..resource.clone() })
    });
    Group {
        prefer: prefer.filter(|id| config.nodes.contains_key(id)).collect(),
        failback: line.failback,
        failback_delay: Span(line.failback_delay),
        exclusive: line.exclusive,
        promise: line.promise(),
        after: line.after.iter().map(|name| GroupId::of(name)).collect(),
        apart: line.apart.iter().map(|name| GroupId::of(name)).collect(),
        with: line.with.as_ref().map(|name| GroupId::of(name)),
        failure_window: Span(line.window.unwrap_or(lease * 4)),
        resources: resources.collect(),
        ..drawn
    }
}

fn instance_of(line: &GroupLine, index: u16) -> Instance {
    let weights = line.weights.iter().map(|(node, weight)| (NodeId::of(node), *weight)).collect();
    let instance = Instance::new(GroupId::of(&line.name), index, line.clones);
    Instance { weights, most: line.most, ..instance }
}

fn play(world: &mut World, script: &Script) -> Result<(), String> {
    let mut since = 0;
    for (line, text, step) in &script.steps {
        let failed = |why: String| Err(format!("line {line}: {text}: {why}"));
        match step {
            Step::At(when, _) if *when < world.now => {
                return failed(format!("it is {} ms already", world.now / 1_000));
            }
            Step::At(when, what) => {
                world.run_until(*when);
                since = world.sights.len();
                world.checks.moves.clear();
                world.perform(what);
            }
            Step::Wait(span) => world.run_until(world.now + span),
            Step::Expect(expect) => {
                if let Err(why) = meets(world, expect, since) {
                    return failed(why);
                }
            }
        }
        if let Some(violation) = &world.violation {
            return failed(format!("invariant {} is broken: {}", violation.invariant, violation.what));
        }
    }
    Ok(())
}

/// How finely a scenario looks: a millisecond.
const LOOK: u64 = 1_000;

/// How long `before` waits for both.
const PATIENCE: u64 = 60_000_000;

fn until(world: &mut World, limit: u64, so: impl Fn(&World) -> Result<(), String>) -> Result<(), String> {
    let end = world.now + limit;
    loop {
        match so(world) {
            Ok(()) => return Ok(()),
            Err(why) if world.now >= end || world.violation.is_some() => return Err(why),
            Err(_) => world.run_until((world.now + LOOK).min(end)),
        }
    }
}

fn meets(world: &mut World, expect: &Expect, since: usize) -> Result<(), String> {
    match expect {
        Expect::Now(state, limit) => until(world, *limit, |world| is(world, state)),
        Expect::Seen(pattern, limit) => until(world, *limit, |world| {
            first(world, pattern, since).map(|_| ()).ok_or("it did not".to_owned())
        }),
        Expect::Order(earlier, later) => {
            let both = |world: &World| {
                let found = first(world, earlier, since).and(first(world, later, since));
                found.map(|_| ()).ok_or("one of the two did not happen".to_owned())
            };
            until(world, PATIENCE, both)?;
            let (a, b) = (first(world, earlier, since), first(world, later, since));
            if a < b { Ok(()) } else { Err(format!("it was the other way round: {a:?} and {b:?}")) }
        }
        Expect::Never(pattern, span) => {
            world.run_until(world.now + span);
            first(world, pattern, since)
                .map_or(Ok(()), |(at, _)| Err(format!("it did, at {} ms", at / 1_000)))
        }
        Expect::Unbroken(group, span) => {
            let before = (world.checks.gaps.get(group).copied(), world.checks.moves.get(group).copied());
            let stops = world.checks.stops;
            world.run_until(world.now + span);
            let after = (world.checks.gaps.get(group).copied(), world.checks.moves.get(group).copied());
            let raised = world.sights[since..].iter().any(|sight| sight.what == Seen::Raised(*group));
            let whole =
                world.holder(*group).is_some() && before == after && stops == world.checks.stops && !raised;
            if whole { Ok(()) } else { Err("it was interrupted".to_owned()) }
        }
        Expect::NothingMoves(span) => {
            let seen = world.sights.len();
            world.run_until(world.now + span);
            let moved = |sight: &&Sight| {
                matches!(sight.what, Seen::Raised(_) | Seen::Dropped(_) | Seen::RanOut(_) | Seen::Stopped(..))
            };
            world.sights[seen..]
                .iter()
                .find(moved)
                .map_or(Ok(()), |sight| Err(format!("{:?} at {} ms", sight.what, sight.at / 1_000)))
        }
        Expect::Beats(node, most, span) => {
            let before = world.machines[*node].daemon.beats;
            world.run_until(world.now + span);
            let sent = world.machines[*node].daemon.beats - before;
            if sent <= *most { Ok(()) } else { Err(format!("{sent} beats")) }
        }
        Expect::Moves(group, most) => {
            let moves = world.checks.moves.get(group).copied().unwrap_or(0);
            if moves <= *most { Ok(()) } else { Err(format!("{moves} moves")) }
        }
    }
}

fn is(world: &World, state: &State) -> Result<(), String> {
    match state {
        State::Holds(node, group) => {
            let machine = &world.machines[*node];
            match machine.kernel.stands(*group, world.now) {
                true if machine.serves(*group, &world.config) => Ok(()),
                true => Err("it holds it, and does not serve it".to_owned()),
                false => Err(match world.holder(*group) {
                    Some(holder) => format!("{} holds it", world.machines[holder].name),
                    None => "nobody holds it".to_owned(),
                }),
            }
        }
        State::NobodyHolds(group) => match world.holder(*group) {
            None => Ok(()),
            Some(holder) => Err(format!("{} holds it", world.machines[holder].name)),
        },
        State::HeldOnce(group) => world.group_held_once(*group, |_| true),
        State::RunsNothing(node, group) => {
            let runs = world.machines[*node].running.iter().any(|(of, _)| of == group);
            if runs { Err("something runs".to_owned()) } else { Ok(()) }
        }
        State::Has(node, count, instances) => {
            let machine = &world.machines[*node];
            let held = |group: &&GroupId| {
                machine.kernel.stands(**group, world.now) && machine.serves(**group, &world.config)
            };
            let has = instances.iter().filter(held).count();
            if has == *count { Ok(()) } else { Err(format!("it has {has}")) }
        }
    }
}

/// When it was first seen since the last `at`, and as which sight.
fn first(world: &World, pattern: &Pattern, since: usize) -> Option<(u64, usize)> {
    let matches = |sight: &Sight| {
        let what = match (&pattern.verb, &sight.what) {
            (Verb::Raises(a), Seen::Raised(b)) | (Verb::Drops(a), Seen::Dropped(b)) => a == b,
            (Verb::Loses(a), Seen::Dropped(b) | Seen::RanOut(b)) => a == b,
            (Verb::Starts(group, place), Seen::Started(of, at))
            | (Verb::Stops(group, place), Seen::Stopped(of, at)) => (group, place) == (of, at),
            (Verb::GoesOff, Seen::Off) => true,
            (Verb::Says(name), Seen::Told(text)) => text.starts_with(name.as_str()),
            (
                Verb::Raises(_)
                | Verb::Drops(_)
                | Verb::Loses(_)
                | Verb::Starts(..)
                | Verb::Stops(..)
                | Verb::GoesOff
                | Verb::Says(_),
                _,
            ) => false,
        };
        what && pattern.node.is_none_or(|node| node == sight.node)
    };
    let found = world.sights[since..].iter().position(matches)?;
    Some((world.sights[since + found].at, since + found))
}

impl World {
    fn perform(&mut self, what: &Do) {
        match what {
            Do::Op(op) => self.apply(op),
            Do::Heal => {
                self.heal();
                self.healed = false;
            }
            Do::Boot(node) => self.boot_after(*node, 0, false),
            Do::Start(node, fate) => {
                let (boots, life) = (self.machines[*node].boots, self.machines[*node].daemon.life);
                self.schedule(0, What::Start { node: *node, boots, life, fate: *fate });
            }
            Do::Clock { node, ppm } => {
                let now = self.now;
                let kernel = &mut self.machines[*node].kernel;
                for clock in [&mut kernel.boot, &mut kernel.raw] {
                    clock.stop(now);
                    clock.ppm = *ppm;
                    clock.go(now, 0);
                }
            }
            Do::Attacker => self.net.tape = Some(Vec::new()),
            Do::Voters { joint, nodes } => {
                let config = if *joint { 1 } else { 2 };
                self.config = Arc::clone(&self.configs[config]);
                nodes.iter().for_each(|node| self.configure(*node, config));
            }
            Do::Deadtime { span, nodes } => {
                self.longest_lease = self.longest_lease.max(*span);
                self.load(nodes, |config| {
                    config.timing.deadtime = Span(*span);
                    config.timing.warntime = config.timing.keepalive + Span(*span / 2);
                    config.timing.initdead = Span(*span * 2);
                });
            }
            Do::Most { most, nodes } => self.load(nodes, |config| {
                let instances = config.groups.values_mut().filter_map(|group| group.clone_of.as_mut());
                instances.for_each(|instance| instance.most = Some(*most));
            }),
        }
    }

    /// These nodes get the configuration with this change.
    fn load(&mut self, nodes: &[usize], change: impl FnOnce(&mut Config)) {
        let mut config = (*self.config).clone();
        change(&mut config);
        self.configs.push(Arc::new(config));
        let place = self.configs.len() - 1;
        nodes.iter().for_each(|node| self.configure(*node, place));
    }
}
