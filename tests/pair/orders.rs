//! What an operator asks for. Deadtime is far longer than a test waits: whoever waits for it fails.

use nix::sys::signal::Signal;
use systole::time::Span;

use super::pair::{Pair, Settings};

fn slow() -> Settings {
    Settings { deadtime_ms: 4_000, ..Settings::default() }
}

fn start() -> Pair {
    let mut pair = Pair::start(&slow());
    pair.deadtime = Span::seconds(1);
    pair
}

pub(crate) fn a_stopping_daemon_hands_over_at_once() {
    let mut pair = start();
    let outcome = pair.after(
        "SIGTERM",
        |pair| pair.stage.lab().machine_mut("lb0").unwrap().signal(Signal::SIGTERM).unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    assert!(outcome.outage < Span::seconds(2), "{outcome:?}");
    let ended = pair.stage.lab().machine_mut("lb0").unwrap().wait_for_end(Span::seconds(60));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    let address = pair.stage.address();
    assert!(
        !pair.stage.lab().machine_mut("lb0").unwrap().has(address).unwrap(),
        "the address is still there"
    );
}

pub(crate) fn standby_moves_the_group_at_once_and_online_lets_it_come_back() {
    let mut pair = start();
    let outcome =
        pair.after("standby", |pair| pair.order("lb0", &["standby"]), |pair| pair.wait_for_holder("lb1"));
    assert!(outcome.outage < Span::seconds(2), "{outcome:?}");
    let outcome =
        pair.after("online", |pair| pair.order("lb0", &["online"]), |pair| pair.wait_for_holder("lb0"));
    assert!(outcome.outage < Span::seconds(2), "{outcome:?}");
}

/// Asked of the other node: an order spreads with the beats.
pub(crate) fn a_move_is_done_when_the_command_ends() {
    let mut pair = start();
    let group = "10.77.0.100";
    pair.after(
        "move",
        |pair| pair.order("lb1", &["move", group, "lb1"]),
        |pair| {
            let status = pair.ask("lb1", &["status", "--json"]);
            let said = String::from_utf8_lossy(&status.stdout).into_owned();
            assert!(said.contains("\"holder\":\"lb1\""), "{said}");
            pair.wait_for_holder("lb1");
        },
    );
}

pub(crate) fn a_reload_does_not_touch_what_stays() {
    let mut pair = start();
    let more = Settings { groups: "lb1 10.77.0.101/24/eth0\n", ..slow() };
    let outcome = pair.after(
        "a group is added",
        |pair| {
            pair.rewrite(&more);
            pair.order("lb0", &["reload"]);
            pair.order("lb1", &["reload"]);
        },
        |pair| pair.wait_for_word("lb1", "10.77.0.101 runs here"),
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    let outcome = pair.after(
        "and removed",
        |pair| {
            pair.rewrite(&slow());
            pair.order("lb1", &["reload"]);
            pair.order("lb0", &["reload"]);
        },
        |pair| pair.wait_for_word("lb1", "10.77.0.101 does not run here any more"),
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert!(outcome.outage < Span::seconds(1), "{outcome:?}");
}

pub(crate) fn a_new_version_in_place_keeps_the_address() {
    let mut pair = start();
    let outcome = pair.after(
        "reexec",
        |pair| pair.order("lb0", &["reexec"]),
        |pair| pair.wait_for_word("lb0", "goes on as an earlier daemon left it"),
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert!(outcome.outage < Span::seconds(1), "{outcome:?}");
    assert!(pair.stage.lab().machine_mut("lb0").unwrap().is_running(), "it is the same process");
}
