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

/// From where the first fault is told.
fn told(config: &str, arguments: &str) -> String {
    let text = simulate(config, arguments).expect("it can be simulated");
    let from = text.find("\nbefore").expect("it says where each group is");
    text[from + 1..].to_owned()
}
