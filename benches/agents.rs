//! What it costs that a cluster runs agents: 200 scripts in 50 groups, started, handed over and taken over, and the same
//! scripts by hand, as many at once, in the same order within each group. Each script notes when it is done.
//!
//!     cargo bench --bench agents -- [--runs N]
//!
//! It prints what it measured, and judges the order within groups only. An arbiter is there, because these groups have no
//! address.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the message")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use systole::lab::{self, Lab, Plan, Program, clock};
use systole::time::Span;

const GROUPS: usize = 50;
const IN_GROUP: usize = 4;
const PATIENCE: Span = Span::seconds(120);
const NODES: [(&str, u8); 3] = [("lb0", 1), ("lb1", 2), ("witness", 3)];

/// It needs no process but its shell, and as long as it is told to.
const SCRIPT: &str = r#"#!/bin/sh
case $(cat /proc/net/fib_trie) in
    *"10.77.0.2
"*) state=$OCF_RESKEY_folder/lb1/$OCF_RESKEY_name ;;
    *) state=$OCF_RESKEY_folder/lb0/$OCF_RESKEY_name ;;
esac
case $1 in
    start) sleep "$OCF_RESKEY_takes" && echo >"$state" ;;
    stop) rm -f "$state" ;;
    monitor) [ -e "$state" ] || exit 7 ;;
esac
"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let runs = arguments.iter().position(|argument| argument == "--runs");
    let runs = runs.map_or(5, |place| arguments[place + 1].parse().expect("--runs N"));
    if let Err(error) = lab::become_root() {
        println!("{error}");
        return ExitCode::FAILURE;
    }
    println!(
        "{GROUPS} groups of {IN_GROUP} scripts; from the first that is done to the last, in milliseconds\n"
    );
    println!("| a script takes | what | median (least-most) | beyond by hand, for each script | runs |");
    println!("| --- | --- | --- | --- | --- |");
    for takes in ["0", "0.1"] {
        measure(takes, runs);
    }
    ExitCode::SUCCESS
}

/// Spans of each kind: by hand, the first start, a hand-over, a takeover.
fn measure(takes: &str, runs: usize) {
    let mut kinds =
        [("by hand", Vec::new()), ("start", Vec::new()), ("hand-over", Vec::new()), ("takeover", Vec::new())];
    for _ in 0..runs {
        let spans = run(takes);
        kinds.iter_mut().zip(spans).for_each(|((_, spans), span)| spans.push(span));
    }
    for (_, spans) in &mut kinds {
        spans.sort_by(f64::total_cmp);
    }
    let by_hand = kinds[0].1[runs / 2];
    for (what, spans) in &kinds {
        let median = spans[runs / 2];
        let beyond = match *what {
            "by hand" => String::new(),
            _ => format!("{:.2}", (median - by_hand) / (GROUPS * IN_GROUP) as f64),
        };
        let (least, most) = (spans[0], spans[runs - 1]);
        println!("| {takes} s | {what} | {median:.0} ({least:.0}-{most:.0}) | {beyond} | {runs} |");
    }
}

fn run(takes: &str) -> [f64; 4] {
    let mut lab = Lab::build(&Plan::simple(&NODES, 1)).unwrap();
    let folder = lab.folder().to_owned();
    let states = folder.join("states");
    let script = folder.join("script");
    for node in ["lb0", "lb1", "hand"] {
        fs::create_dir_all(states.join(node)).unwrap();
    }
    write(&script, SCRIPT, 0o755);
    write(&folder.join("keys"), "1 00112233445566778899aabbccddeeff\n", 0o600);
    let by_hand = by_hand(&script, &states, takes);
    let config = folder.join("systole.toml");
    write(&config, &text(&folder, &script, &states, takes), 0o644);
    for (node, _) in NODES {
        let program = Program {
            path: env!("CARGO_BIN_EXE_systole").into(),
            config: config.clone(),
            before: Vec::new(),
            plays_agents: false,
        };
        lab.start(node, &program).unwrap();
    }
    let started = span(&states.join("lb0"));
    settle(&lab, "lb0");
    order(&lab, "lb1", &["standby", "--node", "lb0"]);
    let handed_over = span(&states.join("lb1"));
    settle(&lab, "lb1");
    order(&lab, "lb1", &["online", "--node", "lb0"]);
    let home = states.join("lb0");
    span(&home);
    settle(&lab, "lb0");
    for entry in fs::read_dir(states.join("lb1")).unwrap().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    lab.machine_mut("lb0").unwrap().kill().unwrap();
    let taken_over = span(&states.join("lb1"));
    [by_hand, started, handed_over, taken_over]
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn name(group: usize, place: usize) -> String {
    format!("{group:02}-{place}")
}

fn text(folder: &Path, script: &Path, states: &Path, takes: &str) -> String {
    let mut text = format!(
        "[cluster]\nname = \"agents\"\nkeys = \"{}\"\n[timing]\ndeadtime = \"2s\"\n[node.lb0]\n[node.lb1]\n\
         [node.witness]\narbiter = true\n[link.lan]\ninterface = \"eth0\"\n\
         unicast = {{ lb0 = \"10.77.0.1\", lb1 = \"10.77.0.2\", witness = \"10.77.0.3\" }}\n",
        folder.join("keys").display()
    );
    for group in 0..GROUPS {
        text += &format!("[group.g{group}]\nprefer = [\"lb0\", \"lb1\"]\n");
        for place in 0..IN_GROUP {
            text += &format!(
                "[[group.g{group}.resource]]\nname = \"r{place}\"\nagent = \"{}\"\nmonitor = false\nstart-timeout = \"60s\"\n\
                 params = {{ name = \"{}\", folder = \"{}\", takes = \"{takes}\" }}\n",
                script.display(),
                name(group, place),
                states.display()
            );
        }
    }
    text
}

/// A thread for each group, as many as the cluster has under way.
fn by_hand(script: &Path, states: &Path, takes: &str) -> f64 {
    let scratch = states.join("hand");
    fs::create_dir_all(scratch.join("lb0")).unwrap();
    std::thread::scope(|scope| {
        for group in 0..GROUPS {
            let scratch = &scratch;
            scope.spawn(move || {
                for place in 0..IN_GROUP {
                    let mut command = Command::new(script);
                    command.arg("start").env("OCF_RESKEY_folder", scratch).env("OCF_RESKEY_takes", takes);
                    command.env("OCF_RESKEY_name", name(group, place)).stdin(Stdio::null());
                    assert!(command.status().unwrap().success());
                }
            });
        }
    });
    span(&scratch.join("lb0"))
}

fn order(lab: &Lab, node: &str, words: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    command.args(words).arg("--run-dir").arg(lab.folder().join(node).join("run")).stdout(Stdio::null());
    assert!(command.status().unwrap().success(), "{words:?}");
}

/// Waits until all of it has been done, and until nothing is under way any more.
fn settle(lab: &Lab, node: &str) {
    let runs = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(["status", "--json", "--run-dir"]).arg(lab.folder().join(node).join("run"));
        let said = command.output().unwrap().stdout;
        String::from_utf8_lossy(&said).matches("\"phase\":\"held\"").count() == GROUPS
    };
    clock::wait_for(PATIENCE, || runs().then_some(())).expect("all groups are held");
}

/// Waits until each script of a node is done; from the first to the last of them, in milliseconds.
fn span(folder: &Path) -> f64 {
    let done = |path: PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let all = || {
        let times: Option<Vec<Vec<SystemTime>>> = (0..GROUPS)
            .map(|group| (0..IN_GROUP).map(|place| done(folder.join(name(group, place)))).collect())
            .collect();
        times
    };
    let times = clock::wait_for(PATIENCE, all).expect("every script is done");
    assert!(times.iter().all(|group| group.is_sorted()), "the order within a group is kept");
    let all = || times.iter().flatten();
    let span = all().max().unwrap().duration_since(*all().min().unwrap()).unwrap_or(Duration::ZERO);
    span.as_secs_f64() * 1_000.0
}
