//! Programs in a group: each runs where the group is, and nowhere else, whatever is wrong with its agent.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole::time::Span;

use super::pair::{Pair, Settings};

pub(crate) const TILL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pair/till");

/// A group with an address and a program.
fn shop() -> &'static str {
    format!(
        "[group.shop]\nprefer = [\"lb0\"]\n[[group.shop.resource]]\nagent = \"vip\"\n\
         params = {{ address = \"10.77.0.101/24\", interface = \"eth0\" }}\n\
         [[group.shop.resource]]\nname = \"till\"\nagent = \"{TILL}\"\nparams = {{ log = \"KEYS.log\" }}\n\
         monitor = {{ every = \"1s\" }}\n"
    )
    .leak()
}

/// What the agents were asked and did, in order: a word, a node, and for which group.
pub(crate) fn asked(pair: &mut Pair) -> Vec<(String, String, String)> {
    let log = fs::read_to_string(pair.stage.lab().folder().join("keys.log")).unwrap_or_default();
    let lines = log.lines().map(|line| {
        let mut words = line.split(' ').map(str::to_owned);
        let (word, node, instance) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        (word, node, instance.split_once('@').unwrap().1.to_owned())
    });
    lines.collect()
}

/// Without what it was asked: only what came of it.
fn did(pair: &mut Pair) -> Vec<(String, String)> {
    let done = asked(pair).into_iter().filter(|(word, _, _)| word == "runs" || word == "over");
    done.map(|(word, node, _)| (word, node)).collect()
}

fn said(words: &[(&str, &str)]) -> Vec<(String, String)> {
    words.iter().map(|(word, node)| ((*word).to_owned(), (*node).to_owned())).collect()
}

fn start(deadtime_ms: u64) -> Pair {
    let mut pair = Pair::start(&Settings { more: shop(), deadtime_ms, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    pair.wait_for_word("lb0", "shop runs here");
    pair
}

pub(crate) fn a_program_is_stopped_before_the_other_node_starts_it() {
    let mut pair = start(1_000);
    assert_eq!(did(&mut pair), said(&[("runs", "lb0")]));
    pair.order("lb0", &["standby"]);
    pair.wait_for_word("lb1", "shop runs here");
    assert_eq!(did(&mut pair), said(&[("runs", "lb0"), ("over", "lb0"), ("runs", "lb1")]));
}

/// The deadtime is one within which even a busy machine starts a daemon again.
pub(crate) fn a_daemon_that_is_started_again_leaves_its_programs_alone() {
    let mut pair = start(4_000);
    pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap();
    pair.stage.start("lb0").unwrap();
    pair.wait_until("lb0 goes on", |pair| pair.log("lb0").matches("it is known what runs here").count() == 2);
    pair.wait_until("lb0 says that the shop runs", |pair| resource_of(pair, "lb0", "shop") == "running");
    assert_eq!(did(&mut pair), said(&[("runs", "lb0")]));
    pair.order("lb1", &["move", "shop", "lb1"]);
    assert_eq!(did(&mut pair), said(&[("runs", "lb0"), ("over", "lb0"), ("runs", "lb1")]));
}

/// The last resource of a group, as a node's status has it.
fn resource_of(pair: &mut Pair, node: &str, group: &str) -> String {
    let output = pair.ask(node, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let groups = status["groups"].as_array().cloned().unwrap_or_default();
    let group = groups.iter().find(|one| one["name"] == group);
    let last = group.and_then(|group| group["resources"].as_array()?.last().cloned()).unwrap_or_default();
    last["state"].as_str().unwrap_or_default().to_owned()
}

/// What is stopped is what was started, whatever stands in its place by now.
pub(crate) fn a_reload_stops_what_was_started_under_its_own_name() {
    let mut pair = start(1_000);
    let scale = shop().replace(
        "[[group.shop.resource]]\nname = \"till\"",
        &format!(
            "[[group.shop.resource]]\nname = \"scale\"\nagent = \"{TILL}\"\nparams = {{ log = \"KEYS.log\" }}\n\
             [[group.shop.resource]]\nname = \"till\""
        ),
    );
    pair.rewrite(&Settings { more: scale.leak(), ..Settings::default() });
    pair.order("lb1", &["reload"]);
    pair.order("lb0", &["reload"]);
    pair.wait_until("both run", |pair| did(pair).len() == 4);
    let log = fs::read_to_string(pair.stage.lab().folder().join("keys.log")).unwrap();
    let done: Vec<&str> =
        log.lines().filter(|line| line.starts_with("runs") || line.starts_with("over")).collect();
    let expected = ["runs lb0 till@shop", "over lb0 till@shop", "runs lb0 scale@shop", "runs lb0 till@shop"];
    assert_eq!(done, expected);
}

/// A node on which what the agent needs is not installed has nothing to stop, and is in nobody's way: not even of what may
/// never run twice.
pub(crate) fn a_node_without_the_program_blocks_nobody() {
    let text = format!(
        "[fence.power]\nagent = \"/bin/false\"\n[group.shop]\nprefer = [\"lb1\", \"lb0\"]\nexclusive = true\n\
         [[group.shop.resource]]\nname = \"till\"\nagent = \"{TILL}\"\n\
         params = {{ log = \"KEYS.log\", fault = \"lb1 any missing\" }}\n"
    );
    let mut pair = Pair::start(&Settings { arbiter: true, more: text.leak(), ..Settings::default() });
    pair.wait_for_word("lb0", "shop runs here");
    assert!(asked(&mut pair).iter().any(|(word, node, _)| word == "start" && node == "lb1"), "lb1 has tried");
    assert_eq!(did(&mut pair), said(&[("runs", "lb0")]));
    assert_eq!(resource_of(&mut pair, "lb1", "shop"), "stopped");
}

/// What a killed daemon has begun is brought to its end before its successor's errand begins.
pub(crate) fn two_daemons_never_have_two_agents_at_work_on_one_resource() {
    let text = shop().replace("KEYS.log\"", "KEYS.log\", fault = \"lb1 start slow\"");
    let mut pair = Pair::start(&Settings { more: text.leak(), deadtime_ms: 4_000, ..Settings::default() });
    let words = |pair: &mut Pair| -> Vec<String> {
        asked(pair).into_iter().filter(|(_, node, _)| node == "lb1").map(|(word, _, _)| word).collect()
    };
    pair.order("lb0", &["standby", "--wait", "0"]);
    pair.wait_until("lb1 starts it", |pair| words(pair) == ["start"]);
    pair.stage.lab().machine_mut("lb1").unwrap().kill().unwrap();
    pair.stage.start("lb1").unwrap();
    pair.wait_until("lb1 is asked for something else", |pair| words(pair).contains(&"stop".to_owned()));
    assert_eq!(words(&mut pair)[..3], ["start", "runs", "stop"], "the start came to its end first");
}

/// Who runs agents may be killed in the middle of one.
pub(crate) fn a_supervisor_that_is_killed_is_started_again_and_ends_what_was_under_way() {
    let text = shop().replace("KEYS.log\"", "KEYS.log\", fault = \"lb1 start stalls\"");
    let text = format!("{text}start-timeout = \"10min\"\n");
    let mut pair = Pair::start(&Settings { more: text.leak(), ..Settings::default() });
    pair.wait_for_word("lb0", "shop runs here");
    pair.order("lb0", &["standby", "--wait", "0"]);
    let run_dir = pair.stage.lab().folder().join("lb1/run");
    let note = run_dir.join("agents/till@shop");
    let starts = |pair: &mut Pair| {
        asked(pair).iter().filter(|(word, node, _)| word == "start" && node == "lb1").count()
    };
    pair.wait_until("lb1 starts it", |pair| starts(pair) == 1 && note.exists());
    let agent: u32 = fs::read_to_string(&note).unwrap().split(' ').next().unwrap().parse().unwrap();
    let supervisor = supervisor(run_dir.to_str().unwrap());
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    pair.wait_for_word("lb1", "shop runs here");
    assert_eq!(starts(&mut pair), 2, "asked again");
    assert!(!fs::read_to_string(format!("/proc/{agent}/cmdline")).is_ok_and(|line| line.contains("sleep")));
    assert_eq!(did(&mut pair), said(&[("runs", "lb0"), ("over", "lb0"), ("runs", "lb1")]));
}

/// The process that runs a node's agents.
fn supervisor(run_dir: &str) -> i32 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let is_it = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("supervise") && line.contains(run_dir)
    };
    pids.into_iter().find(is_it).unwrap()
}

/// Whoever holds what: it runs on its nodes, is begun again when it ends, and is not touched when the daemon is.
pub(crate) fn a_program_is_kept_running_beside_the_daemon() {
    let text = "[respawn.clock]\nprogram = [\"/bin/sh\", \"-c\", \"echo $$ >>KEYS.pids; exec sleep 600\"]\n\
                nodes = [\"lb1\"]\n";
    let mut pair = Pair::start(&Settings { more: text, ..Settings::default() });
    let file = pair.stage.lab().folder().join("keys.pids");
    let pids = || -> Vec<i32> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let runs = |pid: i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("sleep"))
    };
    pair.wait_until("it runs", |_| pids().len() == 1 && runs(pids()[0]));
    kill(Pid::from_raw(pids()[0]), Signal::SIGKILL).unwrap();
    pair.wait_for_word("lb1", "respawn clock: it was ended by signal 9; it is begun again in 1 s");
    pair.wait_until("it runs again", |_| pids().len() == 2 && runs(pids()[1]));
    pair.stage.lab().machine_mut("lb1").unwrap().kill().unwrap();
    pair.stage.start("lb1").unwrap();
    pair.wait_until("lb1 goes on", |pair| pair.log("lb1").matches("it is known what runs here").count() == 2);
    pair.rewrite(&Settings::default());
    assert!(runs(pids()[1]), "it went on meanwhile");
    pair.order("lb1", &["reload"]);
    pair.wait_until("it is ended by a reload", |_| !runs(pids()[1]));
    assert_eq!(pids().len(), 2, "and only that: lb0 never had it");
}
