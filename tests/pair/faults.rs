//! What breaks: cables, daemons, the address itself.

use nix::sys::signal::Signal;
use systole::lab::{BadCable, Fault, clock};
use systole::time::Span;

use super::pair::{CROSS, LAN, Pair, Settings};

pub(crate) fn a_cable_cut_behind_the_switch_is_a_takeover_after_deadtime() {
    let mut pair = Pair::start(&Settings { cross: false, ..Settings::default() });
    let outcome = pair.after(
        "cut",
        |pair| pair.stage.lab().cut("lb0", LAN).unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    // A grant of the last beat that arrived is a promise for a whole lease from then on.
    assert!(outcome.outage + Span::millis(100) >= pair.deadtime, "{outcome:?}");
    pair.after(
        "mended",
        |pair| pair.stage.lab().plug("lb0", LAN).unwrap(),
        |pair| pair.wait_for_holder("lb0"),
    );
}

/// Deadtime is far longer than a test waits: whoever waits for it fails.
pub(crate) fn a_cable_pulled_at_the_node_with_a_second_link_moves_the_group_at_once() {
    let mut pair = Pair::start(&Settings { deadtime_ms: 4_000, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    let outcome = pair.after(
        "pulled",
        |pair| pair.stage.lab().pull("lb0", LAN).unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    assert!(outcome.outage < Span::seconds(2), "{outcome:?}");
    assert!(pair.log("lb0").contains("eth0 has lost its carrier"), "{}", pair.log("lb0"));
}

/// Beats over the second link say that everybody is well, and the carrier stays.
pub(crate) fn a_cable_cut_behind_the_switch_with_a_second_link_is_found_by_its_silence() {
    let mut pair = Pair::start(&Settings::default());
    pair.after("cut", |pair| pair.stage.lab().cut("lb0", LAN).unwrap(), |pair| pair.wait_for_holder("lb1"));
    assert!(pair.log("lb0").contains("nothing passes through eth0 on this side"), "{}", pair.log("lb0"));
    pair.after(
        "mended",
        |pair| pair.stage.lab().plug("lb0", LAN).unwrap(),
        |pair| pair.wait_for_holder("lb0"),
    );
}

pub(crate) fn the_same_where_the_route_says_which_interface_it_is() {
    let mut pair = Pair::start(&Settings { routed: true, ..Settings::default() });
    pair.after("cut", |pair| pair.stage.lab().cut("lb0", LAN).unwrap(), |pair| pair.wait_for_holder("lb1"));
    assert!(pair.log("lb0").contains("nothing passes through"), "{}", pair.log("lb0"));
}

pub(crate) fn a_killed_daemon_that_starts_again_in_time_goes_on() {
    let mut pair = Pair::start(&Settings { deadtime_ms: 4_000, ..Settings::default() });
    pair.deadtime = Span::seconds(1);
    let outcome = pair.after(
        "killed and started",
        |pair| {
            pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap();
            pair.stage.start("lb0").unwrap();
        },
        |pair| pair.wait_for_word("lb0", "goes on as an earlier daemon left it"),
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    // The address answers without the daemon: only the probe's own lateness is between two answers.
    assert!(outcome.outage < Span::seconds(1), "{outcome:?}");
    assert_eq!(pair.holder(), "lb0");
}

pub(crate) fn a_killed_daemon_that_stays_away_loses_the_address_to_one_other() {
    let mut pair = Pair::start(&Settings::default());
    pair.after(
        "killed",
        |pair| pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
    // The address still stands on the dead daemon's interface; the kernel lets nobody hear of it.
    let address = pair.stage.address();
    assert!(pair.stage.lab().machine_mut("lb0").unwrap().has(address).unwrap());
    pair.after("started", |pair| pair.stage.start("lb0").unwrap(), |pair| pair.wait_for_holder("lb0"));
}

pub(crate) fn a_hung_daemon_loses_the_address_and_yields_when_it_wakes() {
    let mut pair = Pair::start(&Settings::default());
    let signal = |pair: &mut Pair, signal| {
        pair.stage.lab().machine_mut("lb0").unwrap().signal(signal).unwrap();
    };
    pair.after("hung", |pair| signal(pair, Signal::SIGSTOP), |pair| pair.wait_for_holder("lb1"));
    // When it wakes, it has lost the lease; it may get the group back, because that is its preferred node.
    pair.after("awake", |pair| signal(pair, Signal::SIGCONT), |pair| pair.wait_for_holder("lb0"));
    assert!(pair.log("lb0").contains("this node was away"), "{}", pair.log("lb0"));
}

/// For so long, which is many keepalives: a busy machine may make them late, and they still come.
const TROUBLE: Span = Span::seconds(3);

/// Deadtime is long enough for a machine whose processors are taken away for a moment.
pub(crate) fn busy_processors_move_nothing() {
    let mut pair = Pair::start(&Settings { deadtime_ms: 2_000, ..Settings::default() });
    let outcome = pair.after(
        "busy",
        |pair| {
            let loops = pair.stage.lab().machine("client").unwrap().load(8, TROUBLE).unwrap();
            clock::wait(TROUBLE);
            drop(loops);
        },
        |_| {},
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert_eq!(pair.holder(), "lb0");
}

/// Deadtime is ten keepalives. Where a fifth of the beats is lost, nine in a row are lost once in two million times.
pub(crate) fn a_cable_that_loses_packets_moves_nothing() {
    let mut pair = Pair::start(&Settings { cross: false, ..Settings::default() });
    let outcome = pair.after(
        "spoiled",
        |pair| {
            let fault = Fault { loss_percent: 20, delay: Span::ZERO };
            pair.stage.lab().spoil("lb1", LAN, BadCable { out: fault, into: fault }).unwrap();
            clock::wait(TROUBLE);
            pair.stage.lab().plug("lb1", LAN).unwrap();
        },
        |_| {},
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert_eq!(pair.holder(), "lb0");
}

pub(crate) fn an_address_that_somebody_removes_is_back() {
    let mut pair = Pair::start(&Settings::default());
    let address = pair.stage.address();
    pair.after(
        "removed",
        |pair| assert!(pair.stage.lab().machine_mut("lb0").unwrap().wipe(address).unwrap()),
        |pair| pair.wait_for_word("lb0", "somebody removed 10.77.0.100; it is back"),
    );
    assert_eq!(pair.holder(), "lb0");
    assert!(pair.stage.lab().machine_mut("lb0").unwrap().has(address).unwrap());
}

/// Two answer while the rival is there: that is what a rival is. The holder speaks up, and it is seen who it was.
pub(crate) fn a_rival_is_answered_with_another_announcement() {
    let mut pair = Pair::start(&Settings::default());
    let address = pair.stage.address();
    let began = clock::now();
    pair.stage.lab().machine_mut("client").unwrap().seize(LAN, address, 24).unwrap();
    pair.wait_for_word("lb0", "speaks for 10.77.0.100, which is held here");
    println!("    a rival was heard after {}", clock::now() - began);
}

/// The other looks, a while after it heard who holds the group.
pub(crate) fn the_other_says_whether_the_network_believes_the_holder() {
    let mut pair = Pair::start(&Settings::default());
    let address = pair.stage.address();
    pair.wait_for_word("lb1", "the network believes lb0: ");
    pair.stage.lab().machine_mut("client").unwrap().seize(LAN, address, 24).unwrap();
    pair.order("lb0", &["move", "10.77.0.100", "lb1"]);
    pair.wait_for_word("lb0", "lb1 holds it, and more than one machine answers for 10.77.0.100: ");
    let status = pair.ask("lb0", &["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("more than one machine answers"), "{status}");
}

pub(crate) fn the_other_says_so_when_nobody_answers_in_its_network() {
    let mut pair = Pair::build(&Settings::default());
    pair.stage.lab().cut("lb1", LAN).unwrap();
    ["lb0", "lb1"].into_iter().for_each(|node| pair.stage.start(node).unwrap());
    pair.wait_for_holder("lb0");
    pair.wait_for_word("lb1", "lb0 holds it, and nobody answers for 10.77.0.100 in this node's network");
    assert!(!pair.log("lb1").contains("the network believes"), "{}", pair.log("lb1"));
}

pub(crate) fn the_same_holds_for_ipv6() {
    let mut pair = Pair::start(&Settings { ipv6: true, ..Settings::default() });
    pair.after(
        "both cables cut",
        |pair| {
            pair.stage.lab().cut("lb0", LAN).unwrap();
            pair.stage.lab().cut("lb0", CROSS).unwrap();
        },
        |pair| pair.wait_for_holder("lb1"),
    );
    pair.after(
        "mended",
        |pair| {
            pair.stage.lab().plug("lb0", LAN).unwrap();
            pair.stage.lab().plug("lb0", CROSS).unwrap();
        },
        |pair| pair.wait_for_holder("lb0"),
    );
    pair.after(
        "killed",
        |pair| pair.stage.lab().machine_mut("lb0").unwrap().kill().unwrap(),
        |pair| pair.wait_for_holder("lb1"),
    );
}
