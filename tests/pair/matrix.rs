//! What is wrong with an agent, on which node, and what becomes of its group: each case is a group of its own, and all of
//! them are tried in one cluster. The arbiter is there because these groups have no address.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::agents::{TILL, asked};
use super::pair::{Pair, Settings};

const ACTIONS: [&str; 3] = ["start", "monitor", "stop"];
const FAULTS: [&str; 5] = ["fails", "hangs", "lies", "killed", "floods"];

/// One case. The group is at home on lb0, which holds it; lb1 stands by.
#[derive(Clone, Copy)]
struct Case {
    node: &'static str,
    action: &'static str,
    fault: &'static str,
}

impl Case {
    fn all() -> Vec<Self> {
        let cases = ["lb0", "lb1"].into_iter().flat_map(|node| {
            ACTIONS.into_iter().flat_map(move |action| FAULTS.map(|fault| Self { node, action, fault }))
        });
        cases.collect()
    }

    fn group(self) -> String {
        format!("{}-{}-{}", self.node, self.action, self.fault)
    }

    fn text(self) -> String {
        let Self { node, action, fault } = self;
        // What hangs is waited for no longer than it must; what only takes its time is not mistaken for it.
        let limit = |of: &str| if fault == "hangs" && action == of { "2s" } else { "60s" };
        format!(
            "[group.{}]\nprefer = [\"lb0\", \"lb1\"]\nfailure-window = \"1h\"\n[[group.{}.resource]]\nname = \"till\"\n\
             agent = \"{TILL}\"\nparams = {{ log = \"KEYS.log\", fault = \"{node} {action} {fault}\" }}\n\
             monitor = {{ every = \"500ms\", timeout = \"{}\", restarts = 1 }}\n\
             start-timeout = \"{}\"\nstop-timeout = \"{}\"\n",
            self.group(),
            self.group(),
            limit("monitor"),
            limit("start"),
            limit("stop"),
        )
    }

    /// Whether the fault shows while the resource is started or runs on the node that has it.
    fn is_seen_running(self) -> bool {
        self.action != "stop" && self.fault != "floods"
    }

    /// Whether a stop on the node that has the fault leaves it running there.
    fn stays_behind(self) -> bool {
        self.action == "stop" && self.fault != "floods"
    }

    /// Where it runs once everything has started.
    fn first(self) -> Vec<&'static str> {
        if self.node == "lb0" && self.is_seen_running() { vec!["lb1"] } else { vec!["lb0"] }
    }

    /// Where it runs after it was ordered to lb1.
    fn second(self) -> Vec<&'static str> {
        match self.node {
            "lb1" if self.is_seen_running() => vec!["lb0"],
            "lb0" if self.stays_behind() => vec!["lb0", "lb1"],
            _ => vec!["lb1"],
        }
    }

    /// Where it runs after it was ordered back to lb0.
    fn third(self) -> Vec<&'static str> {
        match self.node {
            "lb0" if self.is_seen_running() => vec!["lb1"],
            "lb1" if self.stays_behind() => vec!["lb0", "lb1"],
            _ => vec!["lb0"],
        }
    }
}

/// Which groups run where, as their agents know it.
fn running(pair: &mut Pair) -> BTreeMap<String, Vec<String>> {
    let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (word, node, group) in asked(pair) {
        let nodes = running.entry(group).or_default();
        match word.as_str() {
            "runs" => nodes.push(node),
            "over" => nodes.retain(|known| *known != node),
            _ => {}
        }
        nodes.sort();
    }
    running
}

/// Whether a group ever ran on two nodes at once.
fn ran_twice(pair: &mut Pair, group: &str) -> bool {
    let mut nodes: Vec<String> = Vec::new();
    asked(pair).into_iter().filter(|(_, _, of)| of == group).any(|(word, node, _)| {
        match word.as_str() {
            "runs" => nodes.push(node),
            "over" => nodes.retain(|known| *known != node),
            _ => {}
        }
        nodes.len() > 1
    })
}

/// Waits until every group runs where it is expected; then all of it must stay so for a while.
fn expect(pair: &mut Pair, when: &str, cases: &[Case], place: impl Fn(Case) -> Vec<&'static str>) {
    let others = |pair: &mut Pair| {
        let running = running(pair);
        let mut others = String::new();
        for case in cases {
            let (seen, expected) = (running.get(&case.group()).cloned().unwrap_or_default(), place(*case));
            if seen != expected {
                let _ = write!(others, "{}: {seen:?}, not {expected:?}; ", case.group());
            }
        }
        others
    };
    pair.wait_until(&format!("{when}: every group is where it is expected"), |pair| others(pair).is_empty());
    pair.settle();
    let others = others(pair);
    assert!(others.is_empty(), "{}", pair.stage.failed(format!("{when}: it did not stay so: {others}")));
}

/// The alarms of both directors.
fn alarms(pair: &mut Pair) -> String {
    let mut alarms = String::new();
    for node in ["lb0", "lb1"] {
        let output = pair.ask(node, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let _ = writeln!(alarms, "{node}: {}", status["alarms"]);
    }
    alarms
}

pub(crate) fn whatever_an_agent_does_its_group_is_served_by_one_node_or_there_is_an_alarm() {
    let cases = Case::all();
    let text: String = cases.iter().map(|case| case.text()).collect();
    let mut pair = Pair::start(&Settings { arbiter: true, more: text.leak(), ..Settings::default() });
    expect(&mut pair, "after the start", &cases, Case::first);
    for case in &cases {
        pair.order("lb0", &["move", &case.group(), "lb1", "--wait", "0"]);
    }
    expect(&mut pair, "ordered to lb1", &cases, Case::second);
    for case in cases.iter().filter(|case| case.node == "lb0" && case.stays_behind() && case.fault != "lies")
    {
        let said = format!("{}: till could not be stopped here", case.group());
        assert!(alarms(&mut pair).contains(&said), "{said}: {}", alarms(&mut pair));
    }
    for case in &cases {
        pair.order("lb0", &["move", &case.group(), "lb0", "--wait", "0"]);
    }
    expect(&mut pair, "ordered back to lb0", &cases, Case::third);
    for case in cases {
        let twice = ran_twice(&mut pair, &case.group());
        println!("    {:22} {}", case.group(), if twice { "ran twice" } else { "never ran twice" });
        assert_eq!(twice, case.stays_behind(), "{}", case.group());
    }
    let log = pair.log("lb0").lines().count();
    assert!(log < 10_000, "{log} lines in the log of lb0");
}
