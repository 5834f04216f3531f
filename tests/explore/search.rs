//! Everywhere the adversary can get with so many faults, and whether it is safe there.
//!
//! Depth first, with a set of the fingerprints seen. First without faults, then with one, then with two: what was
//! completed is exhaustive, up to the fingerprint's 128 bits. From a sample of the states all faults are undone, and the
//! ordinary course of things must end in a cycle in which every group is held exactly once: that needs no time limit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::moves::Choice;
use crate::twins::Twins;
use crate::world::{Setting, World};

/// From one state in so many it is seen whether the world settles.
const SAMPLE: u128 = 61;

/// No world takes longer to repeat itself.
const LONGEST_CYCLE: usize = 200_000;

/// No schedule goes on for longer without coming to a state seen before.
const DEEPEST: usize = 20_000;

/// How much is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) faults: u8,
    pub(crate) states: usize,
    pub(crate) seconds: u64,
    /// Stop at the first violation.
    pub(crate) first: bool,
}

/// What was found in one world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: u64,
    pub(crate) depth: usize,
    pub(crate) settled: u64,
    pub(crate) twins: u64,
    pub(crate) seconds: f64,
    /// Everything with so many faults was seen.
    pub(crate) complete: Option<u8>,
    /// Of each kind the first.
    pub(crate) violations: BTreeMap<String, Vec<Choice>>,
}

/// Fingerprints are mixed already.
#[derive(Default)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value >> 64).unwrap_or_default()
            ^ u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
    }
}

pub(crate) type ByPrint<V> = HashMap<u128, V, BuildHasherDefault<Mixed>>;

struct Frame {
    world: World,
    left: u8,
    choices: Vec<Choice>,
    tried: usize,
}

pub(crate) struct Search {
    setting: Arc<Setting>,
    limits: Limits,
    began: Instant,
    /// With how many faults left each state was seen.
    seen: ByPrint<u8>,
    /// States whose ordinary course ends well.
    good: HashSet<u128, BuildHasherDefault<Mixed>>,
    twins: Twins,
    found: Found,
}

/// Searches one world.
pub(crate) fn search(setting: &Arc<Setting>, limits: Limits) -> Found {
    let mut search = Search {
        setting: Arc::clone(setting),
        limits,
        began: Instant::now(),
        seen: HashMap::default(),
        good: HashSet::default(),
        twins: Twins::default(),
        found: Found::default(),
    };
    for faults in 0..=limits.faults {
        if !search.round(faults) {
            break;
        }
        search.found.complete = Some(faults);
        if limits.first && !search.found.violations.is_empty() {
            break;
        }
    }
    search.found.states = search.seen.len();
    search.found.twins = search.twins.compared;
    search.found.seconds = search.began.elapsed().as_secs_f64();
    search.found
}

/// How every story begins: all machines are switched on.
pub(crate) fn beginning(setting: &Arc<Setting>) -> World {
    let mut world = World::new(setting);
    world.heal();
    world
}

impl Search {
    /// Whether everything with so many faults was seen.
    fn round(&mut self, faults: u8) -> bool {
        let mut stack: Vec<Frame> = Vec::new();
        let mut path: Vec<Choice> = Vec::new();
        self.visit(beginning(&self.setting), faults, &mut stack, &path);
        while let Some(frame) = stack.last_mut() {
            let Some(choice) = frame.choices.get(frame.tried).copied() else {
                stack.pop();
                path.pop();
                continue;
            };
            frame.tried += 1;
            self.found.transitions += 1;
            let mut world = frame.world.clone();
            let left = frame.left - u8::from(choice.is_fault());
            path.push(choice);
            match catch_unwind(AssertUnwindSafe(|| world.play(choice))) {
                Ok(done) => {
                    if choice == Choice::Go && frame.left > 0 {
                        frame.choices.extend(world.cuts(&done));
                    }
                }
                Err(_) => world.violate("a core panicked".to_owned()),
            }
            let depth = stack.len();
            self.visit(world, left, &mut stack, &path);
            if stack.len() == depth {
                path.pop();
            }
            if self.is_enough() {
                return false;
            }
        }
        true
    }

    fn is_enough(&self) -> bool {
        let looks = self.found.transitions.is_multiple_of(1_024);
        self.seen.len() >= self.limits.states
            || (looks && self.began.elapsed().as_secs() >= self.limits.seconds)
            || (self.limits.first && !self.found.violations.is_empty())
    }

    /// A state: goes on the stack unless it was seen with as many faults left. What violates is not followed further.
    fn visit(&mut self, world: World, left: u8, stack: &mut Vec<Frame>, path: &[Choice]) {
        if let Some(violation) = &world.violation {
            return self.violated(violation.0.clone(), path);
        }
        let print = world.fingerprint().0;
        if self.seen.get(&print).is_some_and(|before| *before > left) {
            // Of a core that errs nothing is to be learnt about fingerprints.
            let honest = self.setting.mutant.is_none();
            if honest && let Err(what) = self.twins.compare(print, &world) {
                self.violated(what, path);
            }
            return;
        }
        self.twins.keep(print, &world);
        self.seen.insert(print, left + 1);
        if print.is_multiple_of(SAMPLE) {
            self.found.settled += 1;
            if let Err(what) = self.settles(&world) {
                let healed: Vec<Choice> = path.iter().copied().chain([Choice::Heal]).collect();
                self.violated(what, &healed);
            }
        }
        let choices = world.choices(left);
        stack.push(Frame { world, left, choices, tried: 0 });
        self.found.depth = self.found.depth.max(stack.len());
        if stack.len() == DEEPEST {
            self.violated("a schedule that never repeats".to_owned(), path);
            stack.pop();
        }
    }

    /// The shortest story of each kind is kept.
    fn violated(&mut self, what: String, path: &[Choice]) {
        let known = self.found.violations.entry(what).or_insert_with(|| path.to_vec());
        if path.len() < known.len() {
            *known = path.to_vec();
        }
    }

    /// With all faults undone the world comes to a cycle in which all is well.
    fn settles(&mut self, world: &World) -> Result<(), String> {
        let mut world = world.clone();
        world.heal();
        let mut places: ByPrint<usize> = HashMap::default();
        let mut well: Vec<bool> = Vec::new();
        while well.len() < LONGEST_CYCLE {
            if let Some(violation) = &world.violation {
                return Err(format!("after healing: {}", violation.0));
            }
            let print = world.fingerprint().0;
            if self.good.contains(&print) {
                self.good.extend(places.into_keys());
                return Ok(());
            }
            if let Some(first) = places.insert(print, well.len()) {
                if well[first..].iter().all(|well| *well) {
                    self.good.extend(places.into_keys());
                    return Ok(());
                }
                return Err("after healing: not every group is held exactly once, and it stays so".to_owned());
            }
            well.push(world.is_well());
            world.play(Choice::Go);
        }
        Err("after healing: the world does not come to rest".to_owned())
    }
}
