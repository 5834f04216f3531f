//! The texts for people, whole, as they come out for a pair with one group. To accept other words, look at what the test
//! prints, and put it into the file beside it.

use systole::beat::Unfit;
use systole::cli::{events, status, why};
use systole::cluster::{Command, Unable};
use systole::config::Config;
use systole::control::LeaseBy;
use systole::control::shape::{Events, Status, Told};
use systole::time::Span;
use systole::types::{GroupId, NodeId};

use super::world::{PAIR, SHARED, World};

/// How long ago the daemon saw what is shown.
const AGE: Span = Span::micros(400);

#[track_caller]
fn assert_text(shown: &str, wanted: &str) {
    assert!(shown == wanted, "--- shown\n{shown}--- wanted\n{wanted}---");
}

fn shown(world: &World) -> String {
    status::render(&Status::new(&world.snapshot("lb0")), AGE, false)
}

fn because(world: &World, time: impl Fn(u64) -> String) -> String {
    let status = Status::new(&world.snapshot("lb0"));
    let group = &status.groups[0];
    let journal = told(world).events;
    let moves = why::timeline(&journal, &group.name);
    why::render(&status, group) + &why::render_moves(&moves, &status.node, time)
}

fn told(world: &World) -> Events {
    Events::new(&world.snapshot("lb0"), 0, &world.journal("lb0"), false)
}

/// Of the virtual clock, which began at 1,000 s.
fn time(at_us: u64) -> String {
    format!("{:>8}", (Span::micros(at_us) - Span::seconds(1_000)).to_string())
}

fn events_text(world: &World) -> String {
    let told = told(world);
    told.events.iter().map(|one: &Told| events::text(&told, one, &time(one.at_us))).collect()
}

#[test]
fn a_healthy_pair() {
    let world = World::new(PAIR);
    assert_text(&shown(&world), include_str!("texts/healthy-status"));
    assert_text(&because(&world, time), include_str!("texts/healthy-why"));
    assert_text(&events_text(&world), include_str!("texts/healthy-events"));
}

#[test]
fn a_pair_whose_other_node_is_on_standby() {
    let mut world = World::new(PAIR);
    world.order("lb0", Command::Standby { node: NodeId::of("lb1") });
    world.run_for(Span::seconds(1));
    assert_text(&shown(&world), include_str!("texts/standby-status"));
}

#[test]
fn a_pair_whose_other_node_is_dead() {
    let mut world = World::new(PAIR);
    world.order("lb0", Command::Standby { node: NodeId::of("lb0") });
    world.run_for(Span::seconds(1));
    world.crash("lb1");
    world.run_for(Span::seconds(10));
    assert_text(&shown(&world), include_str!("texts/dead-status"));
    assert_text(&because(&world, time), include_str!("texts/dead-why"));
}

#[test]
fn an_address_on_every_node() {
    let world = World::new(&SHARED.replace("MORE", ""));
    assert_text(&shown(&world), include_str!("texts/shared-status"));
}

/// Each instance by itself: what is held and does not run, what is on its way, what nobody has, and where one cannot be.
#[test]
fn an_address_of_which_each_bucket_is_otherwise() {
    let mut world = World::new(&SHARED.replace("MORE", "clones-per-node = 3"));
    world.order("lb0", Command::Standby { node: NodeId::of("lb2") });
    world.run_for(Span::seconds(2));
    let mut snapshot = world.snapshot("lb0");
    let instance = |number: u64| GroupId::of(&format!("web:{number}"));
    // One has failed on lb1 a little later than the other, and a third was ordered away from there.
    for (number, retry_in) in [(0, Span::seconds(58)), (1, Span::seconds(59))] {
        let nodes = &mut snapshot.abilities.get_mut(&instance(number)).expect("there are six").nodes;
        nodes[1].1 = Some(Unable::Unfit(Unfit::Failed { retry_in }));
    }
    snapshot.abilities.get_mut(&instance(4)).expect("there are six").nodes[1].1 = Some(Unable::Avoided);
    // web:2 is held and has not started yet, and web:0 is on its way from there.
    snapshot.abilities.get_mut(&instance(2)).expect("there are six").served = false;
    let holder = snapshot.view.groups[&instance(0)].holder;
    let other = snapshot.view.groups.values().map(|group| group.holder).find(|other| *other != holder);
    snapshot.view.groups.get_mut(&instance(0)).expect("there are six").planned = other.flatten();
    snapshot.view.groups.get_mut(&instance(5)).expect("there are six").holder = None;
    snapshot.abilities.get_mut(&instance(5)).expect("there are six").served = false;
    let text = status::render(&Status::new(&snapshot), AGE, false);
    let groups = text.split_once("groups\n").expect("they stand last").1;
    assert_text(groups, include_str!("texts/shared-groups"));
}

#[test]
fn everything_that_can_be_wrong_is_shown() {
    let world = World::new(PAIR);
    let mut snapshot = world.snapshot("lb0");
    snapshot.lease = LeaseBy::Daemon("the kernel has no nftables".to_owned());
    snapshot.alarms = vec!["nobody answers for 192.168.232.20".to_owned()];
    let mut theirs = Config::clone(&snapshot.config);
    theirs.timing.deadtime = theirs.timing.deadtime * 2;
    let peer = snapshot.view.peers.values_mut().next().expect("the other of the pair");
    (peer.config, peer.marks) = (Some(theirs.digest()), Some(theirs.marks()));
    snapshot.view.majority = false;
    snapshot.view.maintenance = true;
    snapshot.view.groups.values_mut().for_each(|group| group.maintenance = true);
    let text = status::render(&Status::new(&snapshot), AGE, false);
    for line in [
        "  lb0 does not hear a majority of the voters\n",
        "  maintenance: the resources are left alone until `systole maintenance off`\n",
        "  leases are enforced by the daemon: the kernel has no nftables\n",
        "  alarm: lb1 has another configuration: timing.deadtime differs; say `systole copy` where the right one is\n",
        "  alarm: nobody answers for 192.168.232.20\n",
        "lb0 must not be pulled: it holds web, and nothing moves it during maintenance\n",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    assert!(!text.contains("no alarms"));
    snapshot.view.maintenance = false;
    let text = status::render(&Status::new(&snapshot), AGE, false);
    let line = "  maintenance: web is left alone until `systole maintenance off web`\n";
    assert!(text.contains(line), "{line} is missing from\n{text}");
}
