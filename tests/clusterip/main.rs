//! One address on every node: real daemons, real sockets, and every node's kernel asked what it keeps.
//!
//! Behaviour is judged here, and no time: what was measured is printed. A program of its own, as `tests/pair` is. Arguments
//! are parts of the tests' names.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod cluster;
mod faults;
mod overlap;
mod service;
mod spread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use systole::lab;

/// Its name, and itself.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("two_nodes_share_every_connection", || spread::every_connection_has_one_node(2)),
    ("three_nodes_share_every_connection", || spread::every_connection_has_one_node(3)),
    ("four_nodes_share_every_connection", || spread::every_connection_has_one_node(4)),
    ("six_nodes_share_every_connection", || spread::every_connection_has_one_node(6)),
    ("a_ping_and_a_fragment_have_one_node", spread::a_ping_and_a_fragment_have_one_node),
    ("a_datagram_in_fragments_is_answered", spread::a_datagram_in_fragments_is_answered),
    ("the_neighbours_know_one_place_whatever_the_nodes_ask", spread::the_neighbours_know_one_place),
    ("weights_and_limits_are_kept", spread::weights_and_limits_are_kept),
    ("the_buckets_of_a_node_that_is_cut_off_are_spread", || faults::a_node_dies(faults::Death::Cable)),
    ("the_buckets_of_a_node_that_is_killed_are_spread", || faults::a_node_dies(faults::Death::Kill)),
    ("the_buckets_of_a_node_that_hangs_are_spread", || faults::a_node_dies(faults::Death::Hang)),
    ("a_node_that_goes_and_comes_back_disturbs_no_other", faults::a_node_goes_and_comes_back),
    ("daemons_that_are_started_again_answer", faults::daemons_that_are_started_again_answer),
    ("a_reload_divides_anew", faults::a_reload_divides_anew),
    ("two_nodes_keep_no_bucket_twice_in_any_partition_and_pause", || faults::no_bucket_is_kept_twice(2)),
    ("three_nodes_keep_no_bucket_twice_in_any_partition_and_pause", || faults::no_bucket_is_kept_twice(3)),
    ("whoever_looks_for_a_bucket_kept_twice_finds_it", overlap::a_bucket_kept_twice_is_found),
];

fn main() -> ExitCode {
    match lab::become_root() {
        Ok(true) => println!("as an ordinary user: no real-time threads"),
        Ok(false) => println!("as root"),
        Err(error) => {
            println!("{error}\n0 passed, 0 failed, {} skipped", TESTS.len());
            return ExitCode::SUCCESS;
        }
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let began = lab::clock::now();
        let well = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {} ({})", if well { "ok" } else { "FAILED" }, lab::clock::now() - began);
        passed += usize::from(well);
        failed += usize::from(!well);
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
