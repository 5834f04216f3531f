//! What is tracked: a node that lacks it gives the group away, and nothing comes to it before it has it again.

use std::fs;

use systole::time::Span;

use super::pair::{Pair, Settings};

/// While it is there, the node is unfit.
fn flag(pair: &mut Pair, node: &str) -> std::path::PathBuf {
    pair.stage.lab().folder().join(format!("keys.{node}"))
}

const TRACK: &str = r#"
[track.flag]
every = "100ms"
program = ["/bin/sh", "-c", "! [ -e KEYS.$SYSTOLE_NODE ] || { echo it is there; exit 3; }"]
"#;

pub(crate) fn a_node_whose_program_fails_gives_the_group_away_and_gets_it_back() {
    // Deadtime is far longer than a test waits: whoever waits for it fails.
    let mut pair = Pair::start(&Settings { more: TRACK, deadtime_ms: 4_000, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    let file = flag(&mut pair, "lb0");
    pair.after("a program fails", |_| fs::write(&file, "").unwrap(), |pair| pair.wait_for_holder("lb1"));
    let status = String::from_utf8(pair.ask("lb0", &["status"]).stdout).unwrap();
    assert!(status.contains("flag is bad: /bin/sh: exit code 3; it says: it is there"), "{status}");
    pair.after("it is well again", |_| fs::remove_file(&file).unwrap(), |pair| pair.wait_for_holder("lb0"));
    let status = String::from_utf8(pair.ask("lb0", &["status"]).stdout).unwrap();
    assert!(!status.contains("flag is bad"), "{status}");
}

pub(crate) fn a_daemon_that_is_started_again_knows_what_was_bad() {
    let mut pair = Pair::start(&Settings { more: TRACK, ..Settings::default() });
    let file = flag(&mut pair, "lb0");
    pair.after("a program fails", |_| fs::write(&file, "").unwrap(), |pair| pair.wait_for_holder("lb1"));
    let known = pair.log("lb0").matches("is unfit for").count();
    let claimed = pair.log("lb0").matches("claims").count();
    pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap();
    pair.stage.start("lb0").unwrap();
    let is_unfit = |pair: &mut Pair| pair.log("lb0").matches("is unfit for").count() > known;
    pair.wait_until("it is unfit from the start", is_unfit);
    pair.wait_until("it has looked", |pair| pair.log("lb0").matches("flag is bad").count() > 1);
    assert_eq!(pair.log("lb0").matches("claims").count(), claimed, "{}", pair.log("lb0"));
    assert_eq!(pair.holder(), "lb1");
}
