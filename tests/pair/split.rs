//! Nodes that do not hear each other.

use systole::time::Span;

use super::pair::{CROSS, LAN, Pair, Settings};

/// Beats travel over one network, the address is on the other, which is alive.
pub(crate) fn a_dead_heartbeat_network_moves_nothing_and_is_an_alarm() {
    let mut pair = Pair::start(&Settings { lan: false, ..Settings::default() });
    let outcome = pair.after(
        "beats cut",
        |pair| pair.stage.lab().cut("lb0", CROSS).unwrap(),
        |pair| pair.wait_for_word("lb1", "still answers"),
    );
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert!(outcome.outage < Span::seconds(1), "{outcome:?}");
    let outcome =
        pair.after("mended", |pair| pair.stage.lab().plug("lb0", CROSS).unwrap(), |pair| pair.settle());
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert_eq!(pair.holder(), "lb0");
}

/// Three voters: whoever is with a majority has the group, whoever is not has nothing.
pub(crate) fn an_arbiter_decides_whoever_is_cut_off() {
    let mut pair = Pair::start(&Settings { arbiter: true, ..Settings::default() });
    let both = |pair: &mut Pair, node: &str, cut: bool| {
        for network in [LAN, CROSS] {
            let lab = pair.stage.lab();
            let done = if cut { lab.cut(node, network) } else { lab.plug(node, network) };
            done.unwrap();
        }
    };
    pair.after("lb0 cut off", |pair| both(pair, "lb0", true), |pair| pair.wait_for_holder("lb1"));
    pair.after("lb0 back", |pair| both(pair, "lb0", false), |pair| pair.wait_for_holder("lb0"));
    let outcome = pair.after("witness cut off", |pair| both(pair, "witness", true), |pair| pair.settle());
    assert_eq!(outcome.first_answer, None, "another node answered");
    pair.after("witness back", |pair| both(pair, "witness", false), |pair| pair.settle());
    let outcome = pair.after("lb1 cut off", |pair| both(pair, "lb1", true), |pair| pair.settle());
    assert_eq!(outcome.first_answer, None, "another node answered");
    assert_eq!(pair.holder(), "lb0");
}
