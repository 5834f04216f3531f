//! What happened in the simulated cluster, in plain words and as data. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Event, Record, View};
use crate::config::{Config, TiebreakMethod};
use crate::control::shape;
use crate::control::words::Words;
use crate::time::{Moment, Span};
use crate::types::{GroupId, NodeId};

use super::world::{AGENT, FENCE, Fault, Told, World};

/// The version of the JSON. New fields do not raise it.
const VERSION: u64 = 1;

/// So many events of one fault are printed; the JSON has all of them.
const LINES: usize = 200;

/// Where a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    holders: Vec<NodeId>,
    /// Why it is planned there, or nowhere.
    why: String,
}

type Places = BTreeMap<GroupId, Place>;

/// One fault, and what came of it.
#[derive(Debug)]
struct Step {
    fault: Fault,
    was_whole: bool,
    at: Span,
    told: Vec<Told>,
    settled: bool,
    after: Places,
    /// Served by nobody, and by more than one, for so long.
    counted: BTreeMap<GroupId, (Span, Span)>,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Story {
    config: Arc<Config>,
    /// Until every group was where it stays.
    began: Span,
    settled: bool,
    before: Places,
    steps: Vec<Step>,
}

impl Story {
    /// Plays it.
    pub(super) fn of(config: Arc<Config>, faults: &[Fault]) -> Self {
        let mut world = World::new(Arc::clone(&config));
        let settled = world.settle();
        let began = last_move(world.told()).unwrap_or_default();
        let before = places(&world);
        let steps = faults.iter().map(|fault| step(&mut world, *fault)).collect();
        Self { config, began, settled, before, steps }
    }

    /// As a person reads it.
    pub(super) fn text(&self) -> String {
        let mut text = format!("cluster {}, simulated; nothing is done\n\nassumed\n", self.config.cluster);
        for line in assumed(&self.config) {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("\nbefore, {} after all nodes were started together\n", self.began));
        text.push_str(&self.places_text(&self.before));
        text.push_str(&restless(self.settled));
        let mut before = &self.before;
        for step in &self.steps {
            text.push_str(&self.step_text(step));
            before = &step.after;
        }
        if self.steps.is_empty() {
            text.push_str(
                "\nname faults to see what would happen: --fail NODE, --cut LINK, --cut LINK@NODE\n",
            );
        }
        text.push_str("\nwhat it means\n");
        for line in self.meaning() {
            text.push_str(&format!("  {line}\n"));
        }
        let without = before.values().filter(|place| place.holders.is_empty()).count();
        let twice = before.values().filter(|place| place.holders.len() > 1).count();
        text.push_str(&match (without, twice) {
            (0, 0) => "  nothing is left without a holder\n".to_owned(),
            (0, twice) => format!("  {} held by two nodes at once\n", counted(twice)),
            (without, 0) => format!("  {} left without a holder\n", counted(without)),
            (without, twice) => {
                format!("  {} left without a holder, {twice} held by two nodes at once\n", counted(without))
            }
        });
        text
    }

    fn step_text(&self, step: &Step) -> String {
        let words = Words::new(&self.config);
        let mut text = format!("\nat 0.0 ms {}\n", self.fault_text(step));
        let width =
            self.config.nodes.values().map(|node| node.name.chars().count()).max().unwrap_or_default();
        for told in step.told.iter().take(LINES) {
            let (after, node) = (told.at - step.at, words.node(told.node));
            text.push_str(&format!("  {:>9}  {node:width$}  {}\n", ms(after), words.event(&told.event)));
        }
        if step.told.len() > LINES {
            text.push_str(&format!("  and {} more: see --json\n", step.told.len() - LINES));
        }
        if step.told.is_empty() {
            text.push_str("  nothing happens\n");
        }
        text.push_str("after\n");
        text.push_str(&self.places_text(&step.after));
        text.push_str(&restless(step.settled));
        text
    }

    fn fault_text(&self, step: &Step) -> String {
        let words = Words::new(&self.config);
        match (step.fault, step.was_whole) {
            (Fault::Fail(node), true) => {
                format!("{} fails: its daemon and its machine are gone", words.node(node))
            }
            (Fault::Fail(node), false) => format!("{} fails again: it was gone already", words.node(node)),
            (Fault::Cut(link, None), true) => format!("{} is cut: nothing gets over it", words.link(link)),
            (Fault::Cut(link, None), false) => {
                format!("{} is cut again: it was cut already", words.link(link))
            }
            (Fault::Cut(link, Some(node)), true) => {
                format!("the cable of {} to {} is pulled", words.node(node), words.link(link))
            }
            (Fault::Cut(link, Some(node)), false) => {
                format!(
                    "the cable of {} to {} is pulled again: it was already",
                    words.node(node),
                    words.link(link)
                )
            }
        }
    }

    fn places_text(&self, places: &Places) -> String {
        let words = Words::new(&self.config);
        let mut lines: Vec<String> = places
            .iter()
            .map(|(group, place)| match &place.holders[..] {
                [] => format!("  {} runs nowhere: {}\n", words.group(*group), place.why),
                [holder] => format!("  {} runs on {}\n", words.group(*group), words.node(*holder)),
                holders => {
                    format!("  {} runs on {} AT ONCE\n", words.group(*group), self.names(holders, " and "))
                }
            })
            .collect();
        lines.sort();
        if lines.is_empty() {
            lines.push("  the configuration has no groups\n".to_owned());
        }
        lines.concat()
    }

    fn names(&self, nodes: &[NodeId], between: &str) -> String {
        let words = Words::new(&self.config);
        nodes.iter().map(|node| words.node(*node)).collect::<Vec<_>>().join(between)
    }

    /// A sentence for each group that a fault moved, and one for those that it left alone.
    fn meaning(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut before = &self.before;
        for step in &self.steps {
            let mut moved: Vec<String> =
                before.iter().filter_map(|(group, place)| self.move_text(step, *group, place)).collect();
            moved.sort();
            if moved.is_empty() {
                lines.push(format!("{}: nothing moves", self.cause(step.fault)));
            }
            lines.extend(moved.into_iter().map(|line| format!("{}: {line}", self.cause(step.fault))));
            before = &step.after;
        }
        lines
    }

    fn cause(&self, fault: Fault) -> String {
        let words = Words::new(&self.config);
        match fault {
            Fault::Fail(node) => format!("{} fails", words.node(node)),
            Fault::Cut(link, None) => format!("{} is cut", words.link(link)),
            Fault::Cut(link, Some(node)) => format!("{} of {} is pulled", words.link(link), words.node(node)),
        }
    }

    fn move_text(&self, step: &Step, group: GroupId, before: &Place) -> Option<String> {
        let after = step.after.get(&group)?;
        let name = Words::new(&self.config).group(group);
        let (unserved, twice) = step.counted.get(&group).copied().unwrap_or_default();
        let from = self.names(&before.holders, " and ");
        let to = self.names(&after.holders, " and ");
        let when = runs_at(step, group).map_or(String::new(), |at| format!(" after {}", ms(at)));
        let gap =
            if unserved > Span::ZERO { format!(", unserved for {}", ms(unserved)) } else { String::new() };
        let both =
            if twice > Span::ZERO { format!(", on two nodes for {}", ms(twice)) } else { String::new() };
        match (&before.holders[..], &after.holders[..]) {
            (was, is) if was == is && (was.is_empty() || unserved == Span::ZERO) => None,
            (was, is) if was == is => Some(format!("{name} comes back on {to}{when}{gap}{both}")),
            ([], _) => Some(format!("{name} comes up on {to}{when}")),
            (_, []) => Some(format!("{name} is left without a holder: {}", after.why)),
            (_, [_]) => Some(format!("{name} moves from {from} to {to}{when}{gap}{both}")),
            (_, _) => Some(format!("{name} is held by {to} at once{when}")),
        }
    }

    /// As a program reads it.
    pub(super) fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "cluster": self.config.cluster,
            "assumed": assumed(&self.config),
            "before": { "after_us": self.began.0, "settled": self.settled, "groups": self.places_json(&self.before) },
            "faults": self.steps.iter().map(|step| self.step_json(step)).collect::<Vec<_>>(),
            "meaning": self.meaning(),
        })
    }

    fn places_json(&self, places: &Places) -> Value {
        let words = Words::new(&self.config);
        let group = |(group, place): (&GroupId, &Place)| {
            let holders: Vec<String> = place.holders.iter().map(|node| words.node(*node)).collect();
            json!({ "group": words.group(*group), "holders": holders, "because": place.why })
        };
        places.iter().map(group).collect()
    }

    fn step_json(&self, step: &Step) -> Value {
        let words = Words::new(&self.config);
        let fault = match step.fault {
            Fault::Fail(node) => json!({ "kind": "fail", "node": words.node(node) }),
            Fault::Cut(link, node) => {
                json!({ "kind": "cut", "link": words.link(link), "node": node.map(|node| words.node(node)) })
            }
        };
        let events = (1u64..).zip(&step.told).map(|(number, told)| {
            let at = Moment::at(told.at - step.at);
            let record = Record { number, at, event: told.event.clone() };
            json!({ "node": words.node(told.node), "event": shape::Told::new(&words, &record) })
        });
        let service = |(group, (unserved, twice)): (&GroupId, &(Span, Span))| {
            let runs_after = runs_at(step, *group).map(Span::as_micros);
            let (unserved_us, twice_us) = (unserved.0, twice.0);
            json!({
                "group": words.group(*group), "runs_after_us": runs_after,
                "unserved_us": unserved_us, "held_twice_us": twice_us,
            })
        };
        json!({
            "fault": fault,
            "events": events.collect::<Vec<_>>(),
            "settled": step.settled,
            "groups": self.places_json(&step.after),
            "service": step.counted.iter().map(service).collect::<Vec<_>>(),
        })
    }
}

fn step(world: &mut World, fault: Fault) -> Step {
    if let Fault::Fail(node) | Fault::Cut(_, Some(node)) = fault {
        world.await_beat(node);
    }
    let at = world.now;
    let was_whole = world.apply(fault);
    let settled = world.settle();
    let groups: Vec<GroupId> = world.config.groups.keys().copied().collect();
    Step {
        fault,
        was_whole,
        at,
        told: world.told().to_vec(),
        settled,
        after: places(world),
        counted: groups.into_iter().map(|group| (group, world.counted(group))).collect(),
    }
}

/// When a group ran again for the last time, counted from the fault.
fn runs_at(step: &Step, group: GroupId) -> Option<Span> {
    let runs = |told: &&Told| matches!(&told.event, Event::Running { group: runs, .. } if *runs == group);
    step.told.iter().rev().find(runs).map(|told| told.at - step.at)
}

fn last_move(told: &[Told]) -> Option<Span> {
    told.iter().rev().find(|told| matches!(told.event, Event::Running { .. })).map(|told| told.at)
}

fn places(world: &World) -> Places {
    let views = world.views();
    let words = Words::new(&world.config);
    let place = |group: &GroupId| {
        let holders = world.holders(*group);
        Place { why: why(&words, &views, *group, &holders), holders }
    };
    world.config.groups.keys().map(|group| (*group, place(group))).collect()
}

/// As its holder sees it; of a group without one, as the first node does that could have had a say.
fn why(words: &Words<'_>, views: &[View], group: GroupId, holders: &[NodeId]) -> String {
    let by_holder = views.iter().find(|view| holders.contains(&view.node));
    let Some(view) = by_holder.or_else(|| views.iter().find(|view| !view.flags.arbiter)).or(views.first())
    else {
        return "no machine is left".to_owned();
    };
    if holders.is_empty() && !view.majority {
        return format!("{} does not hear a majority of the voters", words.node(view.node));
    }
    let because = view.groups.get(&group).map(|group| words.reason(group.because));
    because.unwrap_or_else(|| format!("{} does not know it", words.node(view.node)))
}

fn assumed(config: &Config) -> Vec<String> {
    let mut lines = vec![
        "no beat is lost or late but by the faults named; each takes 0.1 ms over every link".to_owned(),
        format!("every agent does what it is asked, within {AGENT}: add what yours take to start and to stop"),
        "a failed node is gone at once and whole, and nothing comes back; a fault waits until the one before has settled"
            .to_owned(),
        "a node fails just after a beat of its own was heard, so that it is missed latest: else it goes up to a keepalive faster"
            .to_owned(),
        "every node has this configuration, and clocks that agree".to_owned(),
    ];
    let pair = config.tiebreak.method == TiebreakMethod::Evidence && config.nodes.len() == 2;
    if pair || config.groups.values().any(|group| !group.interfaces.is_empty()) {
        lines.push(
            "a ping target answers behind each interface that carries addresses, unless every link over that interface is cut or its cable is pulled"
                .to_owned(),
        );
    }
    if !config.fences.is_empty() {
        lines.push(format!("a fence agent switches a machine off within {FENCE}, whatever is cut"));
    }
    lines
}

fn restless(settled: bool) -> String {
    if settled {
        return String::new();
    }
    "  it has not come to rest: what is shown is how it was when the simulation was given up\n".to_owned()
}

fn counted(groups: usize) -> String {
    if groups == 1 { "1 group is".to_owned() } else { format!("{groups} groups are") }
}

/// In virtual milliseconds, so that the column can be compared at a glance.
fn ms(span: Span) -> String {
    format!("{}.{} ms", span.0 / 1_000, span.0 % 1_000 / 100)
}
