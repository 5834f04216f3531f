//! One address on every node: real daemons, real sockets, and every node's kernel asked what it keeps.
//!
//! Behaviour is judged here, and no time: what was measured is printed. A program of its own, as `tests/pair` is. Arguments
//! are parts of the tests' names.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod cluster;
mod faults;
mod overlap;
mod partitions;
#[path = "../lab/runner.rs"]
mod runner;
mod service;
mod spread;

use std::process::ExitCode;

use runner::Test;

const TESTS: &[Test] = &[
    Test::once("two_nodes_share_every_connection", || spread::every_connection_has_one_node(2)),
    Test::once("three_nodes_share_every_connection", || spread::every_connection_has_one_node(3)),
    Test::once("four_nodes_share_every_connection", || spread::every_connection_has_one_node(4)),
    Test::once("six_nodes_share_every_connection", || spread::every_connection_has_one_node(6)),
    Test::once("a_ping_and_a_fragment_have_one_node", spread::a_ping_and_a_fragment_have_one_node),
    Test::once("a_datagram_in_fragments_is_answered", spread::a_datagram_in_fragments_is_answered),
    Test::once("the_neighbours_know_one_place_whatever_the_nodes_ask", spread::the_neighbours_know_one_place),
    Test::once("weights_and_limits_are_kept", spread::weights_and_limits_are_kept),
    Test::once("the_buckets_of_a_node_that_is_cut_off_are_spread", || {
        faults::a_node_dies(faults::Death::Cable)
    }),
    Test::once("the_buckets_of_a_node_that_is_killed_are_spread", || {
        faults::a_node_dies(faults::Death::Kill)
    }),
    Test::once("the_buckets_of_a_node_that_hangs_are_spread", || faults::a_node_dies(faults::Death::Hang)),
    Test::once("a_node_that_goes_and_comes_back_disturbs_no_other", faults::a_node_goes_and_comes_back),
    Test::once("daemons_that_are_started_again_answer", faults::daemons_that_are_started_again_answer),
    Test::once("a_reload_divides_anew", faults::a_reload_divides_anew),
    Test::once("two_nodes_keep_no_bucket_twice_in_any_partition_and_pause", || {
        faults::no_bucket_is_kept_twice(2)
    }),
    Test::once("three_nodes_keep_no_bucket_twice_in_any_partition_and_pause", || {
        faults::no_bucket_is_kept_twice(3)
    }),
    Test::once("two_nodes_keep_no_bucket_twice_whoever_does_not_hear_whom", || partitions::pairs_apart(2)),
    Test::once("three_nodes_keep_no_bucket_twice_whoever_does_not_hear_whom", || partitions::pairs_apart(3)),
    Test::once(
        "without_the_arbiter_two_nodes_go_on_and_one_keeps_nothing",
        partitions::the_arbiter_is_cut_off,
    ),
    Test::once("an_address_that_somebody_removes_is_back_and_told_once", faults::a_removed_address_is_back),
    Test::once("whoever_looks_for_a_bucket_kept_twice_finds_it", overlap::a_bucket_kept_twice_is_found),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    runner::run(TESTS, &runner::wanted(&arguments))
}
