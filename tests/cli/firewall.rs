//! The lines for a firewall, whole, beside the configuration that they are for. That `nft` takes them is proved where the
//! tests have it, in `tests/lease/rules.rs`.

use std::process::Command;

fn lines(config: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    command.args(["check", "--config", config]).args(arguments);
    let output = command.output().expect("the binary is there");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

#[track_caller]
fn assert_lines(config: &str, arguments: &[&str], wanted: &str) {
    let shown = lines(config, arguments);
    assert!(shown == wanted, "--- shown\n{shown}--- wanted\n{wanted}---");
}

#[test]
fn each_link_has_its_lines_for_what_comes_in_and_for_what_goes_out() {
    let every_kind = "tests/cli/firewall/links.toml";
    assert_lines(every_kind, &["--firewall"], include_str!("firewall/links.nft"));
    assert_lines(every_kind, &["--firewall", "nft"], include_str!("firewall/links.nft"));
    assert_lines(every_kind, &["--firewall", "iptables"], include_str!("firewall/links.iptables"));
    let heartbeat = "tests/config/right/heartbeat-talk";
    assert_lines(heartbeat, &["--firewall"], include_str!("firewall/heartbeat-talk.nft"));
}
