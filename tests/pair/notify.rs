//! The program of `[notify]`: told in order, on every node, and never in the way.

use std::fs;

use nix::sys::signal::Signal;
use systole::time::Span;

use super::pair::{Pair, Settings};

/// What the programs of a node have written, beside the keys, whose place they know.
fn told(pair: &mut Pair, node: &str) -> String {
    let file = pair.stage.lab().folder().join(format!("keys.{node}"));
    fs::read_to_string(file).unwrap_or_default()
}

fn wait_until_told(pair: &mut Pair, node: &str, line: &str) {
    pair.wait_until(&format!("{node} is told: {line}"), |pair| told(pair, node).contains(line));
}

pub(crate) fn a_hand_over_is_told_on_both_nodes_in_the_order_in_which_it_happened() {
    // Slow enough that two at once would be mixed up.
    let more = r#"
[notify]
events = ["running", "stopping", "released"]
program = ["/bin/sh", "-c", '''
line="$SYSTOLE_EVENT $SYSTOLE_GROUP $SYSTOLE_STATE peer=$SYSTOLE_PEER why=$SYSTOLE_REASON"
[ $SYSTOLE_EVENT = stopping ] && sleep 0.3
echo "$line" >> KEYS.$SYSTOLE_NODE
''']
"#;
    let mut pair = Pair::start(&Settings { more, deadtime_ms: 4_000, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    wait_until_told(&mut pair, "lb0", "running");
    pair.after("standby", |pair| pair.order("lb0", &["standby"]), |pair| pair.wait_for_holder("lb1"));
    wait_until_told(&mut pair, "lb0", "released");
    wait_until_told(&mut pair, "lb1", "running");
    let running = "running 10.77.0.100 held peer= why=\n";
    let stopping = "stopping 10.77.0.100 stopping peer=lb1 why=fewest-groups\n";
    let released = "released 10.77.0.100 released peer= why=\n";
    assert_eq!(told(&mut pair, "lb0"), [running, stopping, released].concat());
    assert_eq!(told(&mut pair, "lb1"), running);
}

/// Deadtime is far longer than a test waits: whoever waits for it fails.
pub(crate) fn a_program_that_hangs_delays_nothing_and_does_not_outlive_a_stop() {
    let more = r#"
[notify]
timeout = "1h"
program = ["/bin/sh", "-c", "sleep 3600 & echo $! >> KEYS.$SYSTOLE_NODE; wait"]
"#;
    let mut pair = Pair::start(&Settings { more, deadtime_ms: 4_000, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    for node in ["lb0", "lb1"] {
        wait_until_told(&mut pair, node, "\n");
    }
    let outcome = pair.after(
        "SIGTERM",
        |pair| pair.stage.lab().machine_mut("lb0").unwrap().signal(Signal::SIGTERM).unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    assert!(outcome.outage < Span::seconds(2), "{outcome:?}");
    let ended = pair.stage.lab().machine_mut("lb0").unwrap().wait_for_end(Span::seconds(60));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert!(pair.log("lb0").contains("is not waited for: it is killed"), "{}", pair.log("lb0"));
    for hung in told(&mut pair, "lb0").lines() {
        // Nobody may be there to bury it, so a dead one may still have its number.
        let state = fs::read_to_string(format!("/proc/{hung}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z ") || state.contains(") X "), "it lives: {state}");
    }
    // The other one's hangs at its first event, and that node answers all the same.
    assert!(pair.ask("lb1", &["status"]).status.success());
    assert_eq!(told(&mut pair, "lb1").lines().count(), 1);
    // Who is killed with the lab leaves its program behind, for an hour.
    pair.stage.lab().machine_mut("lb1").unwrap().signal(Signal::SIGTERM).unwrap();
    assert!(pair.stage.lab().machine_mut("lb1").unwrap().wait_for_end(Span::seconds(60)).is_some());
}

pub(crate) fn a_program_that_is_missing_is_named_and_a_reload_brings_another() {
    let missing = "[notify]\nprogram = \"/nowhere/notify\"\n";
    let mut pair = Pair::start(&Settings { more: missing, ..Settings::default() });
    pair.wait_for_word("lb0", "nothing is told of events: /nowhere/notify is not there: put it on this node");
    pair.wait_for_word("lb0", "/nowhere/notify has failed at `running`");
    let failing = r#"
[notify]
events = ["released"]
program = ["/bin/sh", "-c", "echo no mail today >&2; exit 7"]
"#;
    pair.rewrite(&Settings { more: failing, ..Settings::default() });
    pair.order("lb0", &["reload"]);
    pair.wait_for_word("lb0", "what is told of events is changed");
    pair.order("lb0", &["standby"]);
    pair.wait_for_word("lb0", "/bin/sh: no mail today");
    pair.wait_for_word("lb0", "/bin/sh has failed at `released`: exit code 7");
}
