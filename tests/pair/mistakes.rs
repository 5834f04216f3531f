//! What an operator gets wrong: a clear sentence, and nothing changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::pair::{Pair, Settings};

/// Starts a daemon that must refuse to run; what it says.
fn refused(pair: &mut Pair, more: &[&str], code: i32) -> String {
    let folder = pair.stage.lab().folder().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    command.arg("run").arg("--config").arg(pair.config());
    command.arg("--state-dir").arg(folder.join("lb0/state")).arg("--run-dir").arg(folder.join("lb0/run"));
    command.args(more);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn a_second_daemon_is_refused() {
    let mut pair = Pair::start(&Settings::default());
    let said = refused(&mut pair, &["--node", "lb0"], 2);
    assert!(said.contains("another daemon runs with") && said.contains("--run-dir"), "{said}");
    assert_eq!(pair.holder(), "lb0");
}

pub(crate) fn keys_that_others_may_read_are_refused() {
    let mut pair = Pair::build(&Settings::default());
    let keys = pair.stage.lab().folder().join("keys");
    fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).unwrap();
    let said = refused(&mut pair, &["--node", "lb0"], 2);
    assert!(said.contains("can be read by others") && said.contains("chmod 600"), "{said}");
}

pub(crate) fn a_node_that_the_configuration_does_not_name_is_told_the_names() {
    let mut pair = Pair::build(&Settings::default());
    let said = refused(&mut pair, &["--node", "lb7"], 1);
    assert!(said.contains("lb7") && said.contains("lb0, lb1"), "{said}");
}

pub(crate) fn a_peer_with_another_key_is_counted_and_not_heard() {
    let mut pair = Pair::build(&Settings::default());
    pair.stage.start("lb0").unwrap();
    pair.wait_for_word("lb0", "beats are sent");
    let keys = pair.stage.lab().folder().join("keys");
    fs::write(&keys, "1 ffeeddccbbaa99887766554433221100\n").unwrap();
    pair.stage.start("lb1").unwrap();
    pair.wait_until("the refused are counted", |pair| {
        let status = pair.ask("lb0", &["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).contains("seal")
    });
    assert!(!pair.log("lb0").contains("lb1 is up"), "{}", pair.log("lb0"));
}

pub(crate) fn an_interface_that_is_not_there_is_named() {
    let groups = "lb0 10.77.0.101/24/eth7\n";
    let mut pair = Pair::build(&Settings { groups, ..Settings::default() });
    pair.stage.start("lb0").unwrap();
    pair.stage.start("lb1").unwrap();
    pair.wait_for_word("lb0", "there is no interface `eth7`");
    pair.wait_for_holder("lb0");
}

pub(crate) fn a_node_with_another_configuration_is_named_on_both_sides_with_what_differs() {
    let mut pair = Pair::start(&Settings::default());
    pair.rewrite(&Settings { deadtime_ms: 1_200, ..Settings::default() });
    pair.order("lb0", &["reload"]);
    for (node, other) in [("lb0", "lb1"), ("lb1", "lb0")] {
        let alarm = format!("{other} has another configuration: ");
        pair.wait_until("the alarm names a key", |pair| {
            let status = pair.ask(node, &["status"]);
            let said = String::from_utf8_lossy(&status.stdout).into_owned();
            said.lines().any(|line| line.contains(&alarm) && line.contains("timing.deadtime"))
        });
    }
    pair.order("lb1", &["reload"]);
    for node in ["lb0", "lb1"] {
        pair.wait_until("the alarm goes", |pair| {
            let status = pair.ask(node, &["status"]);
            !String::from_utf8_lossy(&status.stdout).contains("another configuration")
        });
    }
    pair.settle();
    assert_eq!(pair.holder(), "lb0");
}

pub(crate) fn a_wrong_configuration_changes_nothing_at_a_reload() {
    let mut pair = Pair::start(&Settings::default());
    fs::write(pair.config(), "[cluster]\nnam = \"lab\"\n").unwrap();
    let output = pair.ask("lb0", &["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing is changed") && said.contains("name"), "{said}");
    pair.settle();
    assert_eq!(pair.holder(), "lb0");
}
