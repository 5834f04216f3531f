//! What a group's keys promise beyond its place: going with another, waiting before it goes back, staying.

use systole::lab::clock;
use systole::time::Span;

use super::pair::{LAN, Pair, Settings};

/// The group that every test has.
const FIRST: &str = "10.77.0.100";

fn wait_for_run(pair: &mut Pair, node: &str, group: &str, times: usize) {
    let word = format!("{group} runs here");
    let what = format!("{node}: {word}, {times} times");
    pair.wait_until(&what, |pair| pair.log(node).matches(&word).count() == times);
}

/// As keepalived's `vrrp_sync_group`: whatever moves the one moves the other.
pub(crate) fn a_group_goes_where_the_one_goes_that_it_is_with() {
    let more = "[group.mail]\nwith = \"10.77.0.100\"\n[[group.mail.resource]]\nagent = \"vip\"\n\
                params = { address = \"10.77.0.101/24\", interface = \"eth0\" }\n";
    let mut pair = Pair::start(&Settings { more, ..Settings::default() });
    wait_for_run(&mut pair, "lb0", "mail", 1);
    pair.after(
        "pulled",
        |pair| pair.stage.lab().pull("lb0", LAN).unwrap(),
        |pair| {
            pair.wait_for_holder("lb1");
            wait_for_run(pair, "lb1", "mail", 1);
        },
    );
    pair.stage.lab().plug("lb0", LAN).unwrap();
    pair.wait_for_holder("lb0");
    wait_for_run(&mut pair, "lb0", "mail", 2);
    pair.order("lb0", &["move", FIRST, "lb1"]);
    wait_for_run(&mut pair, "lb1", "mail", 2);
}

/// As keepalived's `preempt_delay` and `nopreempt`.
pub(crate) fn a_group_waits_for_its_failback_delay_and_one_without_failback_stays() {
    let delay = Span::seconds(6);
    let more = "[group.late]\nprefer = [\"lb0\", \"lb1\"]\nfailback-delay = \"6s\"\n[[group.late.resource]]\n\
                agent = \"vip\"\nparams = { address = \"10.77.0.101/24\", interface = \"eth0\" }\n\
                [group.stays]\nprefer = [\"lb0\", \"lb1\"]\nfailback = false\n[[group.stays.resource]]\n\
                agent = \"vip\"\nparams = { address = \"10.77.0.102/24\", interface = \"eth0\" }\n";
    let mut pair = Pair::start(&Settings { more, ..Settings::default() });
    for group in ["late", "stays"] {
        wait_for_run(&mut pair, "lb0", group, 1);
    }
    pair.stage.lab().pull("lb0", LAN).unwrap();
    for group in [FIRST, "late", "stays"] {
        wait_for_run(&mut pair, "lb1", group, 1);
    }
    let plugged = clock::now();
    pair.stage.lab().plug("lb0", LAN).unwrap();
    wait_for_run(&mut pair, "lb0", FIRST, 2);
    assert!(!pair.log("lb1").contains("late is stopped here"), "{}", pair.log("lb1"));
    wait_for_run(&mut pair, "lb0", "late", 2);
    let waited = clock::now() - plugged;
    println!("    a failback-delay of {delay} took {waited}");
    assert!(waited >= delay, "{waited}");
    pair.settle();
    assert!(!pair.log("lb1").contains("stays is stopped here"), "{}", pair.log("lb1"));
}
