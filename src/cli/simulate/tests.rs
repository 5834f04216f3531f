//! Golden texts: what is said of a pair, of a pair with an arbiter, and of three nodes; and what is refused.

use clap::Parser;

use super::*;

const TIMING: &str = r#"
[cluster]
name = "web"
[timing]
deadtime = "1s"
keepalive = "100ms"
"#;

const PAIR: &str = r#"
[node.lb0]
[node.lb1]
[link.lan]
interface = "eth0"
unicast = { lb0 = "192.168.232.10", lb1 = "192.168.232.11" }
[link.cross]
interface = "eth1"
multicast = "239.0.0.43"
[tiebreak]
ping = ["192.168.232.1"]
[group.web]
prefer = ["lb0", "lb1"]
[[group.web.resource]]
agent = "vip"
params = { address = "192.168.232.20/24", interface = "eth0" }
"#;

const WITNESS: &str = r#"
[node.lb0]
[node.lb1]
[node.witness]
arbiter = true
[link.lan]
interface = "eth0"
unicast = { lb0 = "192.168.232.10", lb1 = "192.168.232.11", witness = "192.168.232.12" }
[link.cross]
interface = "eth1"
unicast = { lb0 = "10.0.0.10", lb1 = "10.0.0.11" }
[group.web]
prefer = ["lb0", "lb1"]
[[group.web.resource]]
agent = "vip"
params = { address = "192.168.232.20/24", interface = "eth0" }
"#;

const THREE: &str = r#"
[node.a]
[node.b]
[node.c]
[link.lan]
interface = "eth0"
multicast = "239.0.0.43"
[link.back]
interface = "eth1"
multicast = "239.0.0.44"
[group.one]
prefer = ["a", "b", "c"]
[[group.one.resource]]
agent = "vip"
params = { address = "192.168.232.20/24", interface = "eth0" }
[group.two]
prefer = ["b", "c", "a"]
[[group.two.resource]]
agent = "vip"
params = { address = "192.168.232.21/24", interface = "eth0" }
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    simulate: Simulate,
}

fn simulate(config: &str, arguments: &str) -> Result<String, Failure> {
    let line = std::iter::once("systole").chain(arguments.split_whitespace());
    let line = Line::try_parse_from(line).expect("good arguments");
    let loaded = config::parse_toml("systole.toml", &format!("{TIMING}{config}"));
    line.simulate.play(loaded.expect("a good configuration").config)
}

/// From the places before on. How long the start takes is left out.
fn told(config: &str, arguments: &str) -> String {
    let text = simulate(config, arguments).expect("it can be simulated");
    let from = text.find("\nbefore").expect("it says where each group is");
    let places = text[from + 1..].find('\n').expect("it says where each group is") + 1;
    text[from + 1 + places..].to_owned()
}

#[test]
fn what_is_told_is_as_a_reader_approved_it() {
    let golden = [
        (PAIR, "--fail lb0", "pair-node"),
        (PAIR, "--cut lan@lb0", "pair-cable"),
        (PAIR, "--cut cross lan", "pair-links"),
        (PAIR, "--cut cross --fail lb0", "pair-link-and-node"),
        (WITNESS, "--fail lb0", "arbiter-node"),
        (WITNESS, "--fail lb0 witness", "arbiter-node-and-arbiter"),
        (WITNESS, "--cut lan@lb0", "arbiter-cable"),
        (THREE, "--fail a --cut lan", "three-node-and-link"),
        (THREE, "--cut lan --fail a b", "three-link-and-nodes"),
    ];
    for (config, arguments, name) in golden {
        let path = format!("{}/src/cli/simulate/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let told = told(config, arguments);
        if std::env::var_os("SYSTOLE_BLESS").is_some() {
            std::fs::write(&path, &told).expect("it can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(told, golden, "systole simulate {arguments}");
    }
}

#[test]
fn faults_happen_in_the_order_of_the_command_line() {
    let order = |arguments: &str| {
        let text = told(THREE, arguments);
        let at = |what: &str| text.find(what).expect("both faults are told");
        at("lan is cut:") < at("a fails: its daemon")
    };
    assert!(order("--cut lan --fail a"));
    assert!(!order("--fail a --cut lan"));
    // An option again, after another: still in order.
    assert!(order("--fail b --cut lan --fail a"));
}

#[test]
fn what_is_assumed_is_said_first() {
    let text = simulate(PAIR, "").expect("it can be simulated");
    let assumed = text.split("\nbefore").next().expect("a first part");
    for said in ["no beat is lost or late", "every agent does what it is asked", "a ping target answers"] {
        assert!(assumed.contains(said), "{said}");
    }
    assert!(!assumed.contains("fence"), "there is none");
}

#[test]
fn a_name_that_is_not_there_is_refused_with_the_nearest() {
    let refused = |arguments: &str| match simulate(PAIR, arguments) {
        Err(Failure::Unusable(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("--fail lb2"), "there is no node \"lb2\" in the configuration\ndid you mean lb0?");
    assert_eq!(refused("--cut lna"), "there is no link \"lna\" in the configuration\ndid you mean lan?");
    assert_eq!(
        refused("--cut lan@backup"),
        "there is no node \"backup\" in the configuration\nname one of: lb0, lb1"
    );
}

#[test]
fn what_was_broken_already_breaks_nothing() {
    let text = told(PAIR, "--fail lb0 lb0");
    assert!(text.contains("lb0 fails again: it was gone already\n  nothing happens\n"), "{text}");
}

#[test]
fn the_same_is_told_as_data() {
    let text = simulate(PAIR, "--fail lb0 --json").expect("it can be simulated");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["version"], 1);
    assert_eq!(told["before"]["groups"][0]["holders"], serde_json::json!(["lb0"]));
    assert_eq!(told["faults"][0]["fault"], serde_json::json!({ "kind": "fail", "node": "lb0" }));
    assert_eq!(told["faults"][0]["groups"][0]["holders"], serde_json::json!(["lb1"]));
    assert_eq!(told["faults"][0]["service"][0]["runs_after_us"], 1_001_000);
    let kinds = told["faults"][0]["events"].as_array().expect("events");
    assert!(kinds.iter().any(|event| event["event"]["kind"] == "peer-down"));
}
