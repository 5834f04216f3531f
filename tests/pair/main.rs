//! The real daemon in the lab: two directors and a client, cables to pull, daemons to kill and to hang.
//!
//! Behaviour is judged here, and no time: a busy machine must not break a test. What was measured is printed. A program of
//! its own and no harness of cargo's, as `tests/lab` says. Arguments are parts of the tests' names; `--runs N` repeats
//! each.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

mod agents;
mod faults;
mod fences;
mod groups;
mod many;
mod matrix;
mod mistakes;
mod notify;
mod orders;
mod pair;
#[path = "../lab/runner.rs"]
mod runner;
mod split;
mod tracks;

use std::process::ExitCode;

use runner::Test;

/// What programs do, and what is said of mistakes, does not hang on a moment between two beats: once is enough, unless such
/// a test is asked for by name.
const ONCE: [&str; 5] = ["agents", "fences", "matrix", "mistakes", "notify"];

macro_rules! tests {
    ($($room:ident: $($name:ident),+ $(,)?;)+) => {
        /// Each with its room.
        const TESTS: &[(&str, Test)] =
            &[$($((stringify!($room), Test::once(stringify!($name), $room::$name))),+),+];
    };
}

tests! {
    faults:
        a_cable_cut_behind_the_switch_is_a_takeover_after_deadtime,
        a_cable_pulled_at_the_node_with_a_second_link_moves_the_group_at_once,
        a_cable_cut_behind_the_switch_with_a_second_link_is_found_by_its_silence,
        the_same_where_the_route_says_which_interface_it_is,
        a_killed_daemon_that_starts_again_in_time_goes_on,
        a_killed_daemon_that_stays_away_loses_the_address_to_one_other,
        a_hung_daemon_loses_the_address_and_yields_when_it_wakes,
        an_address_that_somebody_removes_is_back,
        a_rival_is_answered_with_another_announcement,
        the_other_says_whether_the_network_believes_the_holder,
        the_other_says_so_when_nobody_answers_in_its_network,
        busy_processors_move_nothing,
        a_cable_that_loses_packets_moves_nothing,
        the_same_holds_for_ipv6;
    many:
        hundreds_of_addresses_are_handed_over_and_taken_over_as_one;
    orders:
        a_stopping_daemon_hands_over_at_once,
        standby_moves_the_group_at_once_and_online_lets_it_come_back,
        a_move_is_done_when_the_command_ends,
        a_reload_does_not_touch_what_stays,
        a_new_version_in_place_keeps_the_address;
    groups:
        a_group_goes_where_the_one_goes_that_it_is_with,
        a_group_waits_for_its_failback_delay_and_one_without_failback_stays;
    agents:
        a_program_is_stopped_before_the_other_node_starts_it,
        a_daemon_that_is_started_again_leaves_its_programs_alone,
        a_supervisor_that_is_killed_is_started_again_and_ends_what_was_under_way,
        two_daemons_never_have_two_agents_at_work_on_one_resource,
        a_reload_stops_what_was_started_under_its_own_name,
        a_program_is_kept_running_beside_the_daemon,
        a_node_without_the_program_blocks_nobody;
    fences:
        a_node_is_off_before_the_other_starts_what_may_never_run_twice;
    matrix:
        whatever_an_agent_does_its_group_is_served_by_one_node_or_there_is_an_alarm;
    notify:
        a_hand_over_is_told_on_both_nodes_in_the_order_in_which_it_happened,
        a_program_that_hangs_delays_nothing_and_does_not_outlive_a_stop,
        a_program_that_is_missing_is_named_and_a_reload_brings_another;
    tracks:
        a_node_whose_program_fails_gives_the_group_away_and_gets_it_back,
        a_daemon_that_is_started_again_knows_what_was_bad;
    split:
        a_dead_heartbeat_network_moves_nothing_and_is_an_alarm,
        an_arbiter_decides_whoever_is_cut_off;
    mistakes:
        a_second_daemon_is_refused,
        keys_that_others_may_read_are_refused,
        a_node_that_the_configuration_does_not_name_is_told_the_names,
        a_peer_with_another_key_is_counted_and_not_heard,
        an_interface_that_is_not_there_is_named,
        a_node_with_another_configuration_is_named_on_both_sides_with_what_differs,
        a_wrong_configuration_changes_nothing_at_a_reload;
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut runs = 1;
    if let Some(place) = arguments.iter().position(|argument| argument == "--runs") {
        runs = arguments.get(place + 1).and_then(|number| number.parse().ok()).expect("--runs N");
        arguments.drain(place..place + 2);
    }
    let wanted = runner::wanted(&arguments);
    let often = |room: &str| if wanted.is_empty() && ONCE.contains(&room) { 1 } else { runs };
    let tests = TESTS.iter().map(|(room, test)| Test { runs: often(room), ..*test });
    runner::run(&tests.collect::<Vec<_>>(), &wanted)
}
