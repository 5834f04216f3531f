//! The lab itself: its cables, its faults, its daemons and its probes, with a stand-in for the daemon; and a user's own
//! cluster in it, with the daemon itself.
//!
//! A program of its own and no harness of cargo's: an ordinary user becomes root of a namespace first, which only a
//! process of one thread can do; and measurements want one test at a time. Arguments are parts of the tests' names.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod cables;
mod children;
mod demo;
mod pair;
mod probes;
mod rehearsal;
mod runner;
mod stand_in;

use std::process::ExitCode;

use runner::Test;

macro_rules! tests {
    ($($room:ident: $($name:ident),+ $(,)?;)+) => {
        const TESTS: &[Test] = &[$($(Test::once(stringify!($name), $room::$name)),+),+];
    };
}

tests! {
    cables:
        two_machines_see_each_other_through_the_switch,
        a_cut_behind_the_switch_stops_packets_and_keeps_carrier,
        a_cable_pulled_at_the_machine_takes_its_carrier,
        a_second_network_is_cut_by_itself,
        a_bad_cable_loses_frames_one_way_or_both_and_a_new_one_does_not,
        a_long_cable_delays_frames,
        a_machine_has_its_default_gateway,
        a_name_that_is_not_there_is_refused_with_those_that_are;
    probes:
        an_address_that_moves_is_an_outage_of_that_length_and_another_machine,
        who_answers_twice_is_seen_and_who_answers_once_is_not,
        how_late_this_machine_is_is_measured_and_load_ends,
        a_page_comes_from_the_machine_that_has_the_address;
    children:
        a_daemon_is_in_its_machine_and_its_words_are_kept,
        a_stopped_daemon_hangs_and_goes_on,
        a_daemon_that_has_ended_takes_no_signal,
        nothing_is_left_of_a_lab_that_ends_panics_or_is_killed,
        an_ordinary_user_has_the_same_lab;
    demo:
        the_play_shows_what_a_pair_does_and_what_it_does_wrong,
        a_pair_that_does_not_start_is_reported_with_its_last_words,
        keys_decide_what_happens_and_every_line_is_an_object,
        a_demo_that_is_interrupted_puts_everything_away;
    rehearsal:
        orders_from_standard_input_happen_to_the_cluster_of_a_file,
        a_mistyped_order_is_answered_and_changes_nothing,
        agents_are_played_for_what_they_start_would_be_this_machines,
        what_a_daemon_refuses_is_shown_in_its_own_words,
        what_cannot_be_a_lab_is_refused_before_anything_is_built,
        an_ordinary_user_rehearses_a_heartbeat_directory_without_its_keys;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("run") => return stand_in::run(&arguments),
        Some("--leave-a-lab") => return children::leave_a_lab(),
        Some("--demo") => return demo::command(&arguments),
        _ => {}
    }
    runner::run(TESTS, &runner::wanted(&arguments))
}
