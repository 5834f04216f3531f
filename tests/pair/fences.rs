//! A node is switched off before what may never run twice starts on the other.

use std::fs;

use nix::sys::signal::Signal;

use super::agents::{TILL, asked};
use super::pair::{Pair, Settings};

const POWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pair/power");

pub(crate) fn a_node_is_off_before_the_other_starts_what_may_never_run_twice() {
    let text = format!(
        "method = \"fence\"\n[fence.power]\nagent = \"{POWER}\"\nparams = {{ log = \"KEYS.log\" }}\ndelay = \"1s\"\n\
         [group.shop]\nprefer = [\"lb0\"]\nexclusive = true\n[[group.shop.resource]]\nname = \"till\"\nagent = \"{TILL}\"\n\
         params = {{ log = \"KEYS.log\" }}\n"
    );
    let mut pair = Pair::start(&Settings { more: text.leak(), ..Settings::default() });
    pair.wait_for_word("lb0", "shop runs here");
    let folder = pair.stage.lab().folder().to_owned();
    let broken = folder.join("keys.log.broken");
    fs::write(&broken, "").unwrap();
    let lb0 = pair.stage.lab().machine_mut("lb0").unwrap();
    fs::write(folder.join("keys.log.lb0.pid"), lb0.pid().unwrap().to_string()).unwrap();
    lb0.signal(Signal::SIGSTOP).unwrap();
    pair.wait_until("lb1 says that it cannot switch it off", |pair| {
        alarms(pair, "lb1").contains("lb0 could not be switched off")
    });
    pair.settle();
    let runs = |pair: &mut Pair| asked(pair).iter().any(|(word, node, _)| word == "runs" && node == "lb1");
    assert!(!runs(&mut pair), "{}", pair.stage.failed("it was started beside one that may run on"));
    assert!(pair.log("lb1").contains("the power switch does not answer"), "{}", pair.log("lb1"));
    fs::remove_file(broken).unwrap();
    pair.wait_for_word("lb1", "shop runs here");
    let words: Vec<(String, String)> = asked(&mut pair)
        .into_iter()
        .filter(|(word, _, _)| word == "runs" || word == "off")
        .map(|(word, node, _)| (word, node))
        .collect();
    let expected = [("runs", "lb0"), ("off", "lb0"), ("runs", "lb1")];
    assert_eq!(words, expected.map(|(word, node)| (word.to_owned(), node.to_owned())));
    assert!(!alarms(&mut pair, "lb1").contains("could not be switched off"), "the alarm is over");
}

fn alarms(pair: &mut Pair, node: &str) -> String {
    let output = pair.ask(node, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["alarms"].to_string()
}
