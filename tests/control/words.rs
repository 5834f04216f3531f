//! Every event in words and as data: with names, and in lines that a person reads.

use std::collections::BTreeMap;

use systole::beat::{ServerWish, Subject, Unfit, Wish};
use systole::cluster::{
    Action, DownReason, Event, LossReason, Outcome, Reason, RefusedReason, ServersRefusedReason, StopReason,
    Unable, VotersRefused, Votes, WithdrawReason,
};
use systole::config::notify::{ALARM, KINDS};
use systole::config::parse_toml;
use systole::control::variables::Told;
use systole::control::words::Words;
use systole::time::Span;
use systole::types::{Epoch, GroupId, Incarnation, InterfaceId, LinkId, NodeId, ServersId};

use super::world::{PAIR, World};

const LB1: NodeId = NodeId::of("lb1");
const WEB: GroupId = GroupId::of("web");
const T: Span = Span::millis(12);

fn of_nodes_and_claims() -> Vec<(Event, &'static str)> {
    let (group, node, epoch) = (WEB, LB1, Epoch(3));
    let next = Reason::NextInOrder { passed: LB1, because: Unable::Standby };
    vec![
        (
            Event::PeerDown { node, because: DownReason::Silent { silent: T } },
            "lb1 is dead: silent for 12ms on every link",
        ),
        (
            Event::PeerDown { node, because: DownReason::Left },
            "lb1 is dead: its daemon was stopped in good order",
        ),
        (
            Event::LinkDown { node, link: LinkId(0) },
            "lb1 is not heard over lan any more, only over another link: a warning, no takeover",
        ),
        (Event::Carrier { interface: InterfaceId(0), up: false }, "eth0 has lost its carrier"),
        (
            Event::Claimed { group, epoch, because: next },
            "this node claims web: that is the next in its order of preference, and lb1 is on standby",
        ),
        (
            Event::Withdrawn { group, because: WithdrawReason::Yields(LB1) },
            "the claim on web is withdrawn: lb1 ranks before us",
        ),
        (
            Event::Won { group, epoch, by: Votes::Evidence, after: T },
            "web is ours, 12ms after the claim, by our own vote and the evidence that the other is away",
        ),
        (Event::Running { group, after: T }, "web runs here, 12ms after it was won"),
        (
            Event::Lost { group, because: LossReason::RanOut },
            "web is lost: no majority renewed its lease in time",
        ),
        (
            Event::Stopping { group, because: StopReason::Plan(Reason::Ordered), to: Some(LB1) },
            "web is stopped here and handed over to lb1: an operator ordered it there",
        ),
    ]
}

fn of_resources_and_orders() -> Vec<(Event, &'static str)> {
    let (group, resource) = (WEB, 0);
    let failed = Unfit::Failed { retry_in: Span::seconds(60) };
    vec![
        (
            Event::ResourceFailed {
                group,
                resource,
                action: Action::Start,
                outcome: Outcome::Failed { code: 7 },
            },
            "the start of 198.51.100.1 of web failed with exit code 7",
        ),
        (
            Event::WaitsForOther { group, wait: Span(u64::MAX) },
            "web waits: nothing proves yet that its last holder does not run it any more; a fence agent can, or `systole fence-ack NODE` once you know that it is off",
        ),
        (
            Event::Fitness { group, unfit: Some(failed) },
            "this node is unfit for web: a resource failed there; it may be tried again in 60s, or after `systole cleanup`",
        ),
        (
            Event::Met { group, other: LB1, keeper: NodeId::of("lb0") },
            "lb1 was met as a second holder of web; lb0 keeps it",
        ),
        (
            Event::Ordered { subject: Subject::Group(WEB), wish: Wish::Place(LB1) },
            "an operator ordered: web on lb1",
        ),
        (
            Event::ServersOrdered { servers: ServersId(7), wish: Some(ServerWish::Weight(3)) },
            "an operator ordered: weight 3 for s0000000000000007",
        ),
        (
            Event::ServersRefused { servers: ServersId(7), because: ServersRefusedReason::ForMore },
            "they are still meant by the order for s0000000000000007, which means more servers; take that back, or order \
             otherwise for these",
        ),
        (
            Event::Refused { subject: Subject::Node(NodeId(7)), because: RefusedReason::Unknown },
            "the order about n00000007 is refused: no such node or group",
        ),
        (
            Event::VotersKept { because: VotersRefused::NotShownBy(LB1) },
            "the voters are counted as before: lb1 does not show the new ones yet",
        ),
        (
            Event::SameName { heard: Incarnation(9) },
            "another machine speaks under this node's name (life 9): rename one of the two",
        ),
        (
            Event::Planned {
                group,
                owner: None,
                because: Reason::NobodyFit { nearest: LB1, because: Unable::Down },
            },
            "web shall be nowhere: no node can serve it: lb1 is dead",
        ),
    ]
}

#[test]
fn events_are_said_with_names_in_plain_words() {
    let world = World::new(PAIR);
    let words = Words::new(&world.config);
    for (event, wanted) in of_nodes_and_claims().into_iter().chain(of_resources_and_orders()) {
        assert_eq!(words.event(&event), wanted);
    }
}

fn variables(event: &Event) -> (&'static str, BTreeMap<&'static str, String>) {
    let world = World::new(PAIR);
    let told = Told::event(&Words::new(&world.config), event);
    (told.kind, told.variables.into_iter().collect())
}

/// The compiler knows that the kinds are whole in one place. The configuration, which stands below it, has them by hand.
#[test]
fn a_program_can_be_told_of_every_kind_of_event_and_of_no_other() {
    let named = include_str!("../../src/control/data.rs")
        .split("fn kind(")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let kinds: Vec<&str> = named.split('"').skip(1).step_by(2).chain([ALARM]).collect();
    assert!(kinds.len() > 30, "{kinds:?}");
    assert_eq!(kinds, KINDS);
    let page = include_str!("../../docs/control.md");
    for kind in KINDS.iter().filter(|kind| **kind != ALARM) {
        assert!(page.contains(&format!("`{kind}`")), "{kind} is not in docs/control.md");
    }
    let of_note =
        parse_toml("a", &format!("{PAIR}\n[notify]\nprogram = \"/p\"\n")).unwrap().config.notify.unwrap();
    let page = include_str!("../../docs/configuration.md").replace("\n  ", " ");
    let listed = format!("- Of note are: {}.", of_note.events.join(", "));
    assert!(page.contains(&listed), "docs/configuration.md does not say: {listed}");
}

#[test]
fn a_program_reads_the_facts_of_an_event_in_its_environment() {
    let is = |event: Event, wanted: &[(&str, &str)]| {
        let (_, mut found) = variables(&event);
        found.remove("SYSTOLE_FACTS");
        found.remove("SYSTOLE_TEXT");
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(found, wanted);
    };
    let to = Some(LB1);
    is(
        Event::Stopping { group: WEB, because: StopReason::Plan(Reason::Ordered), to },
        &[
            ("SYSTOLE_EVENT", "stopping"),
            ("SYSTOLE_GROUP", "web"),
            ("SYSTOLE_PEER", "lb1"),
            ("SYSTOLE_REASON", "ordered"),
            ("SYSTOLE_STATE", "stopping"),
        ],
    );
    is(
        Event::Stopping { group: WEB, because: StopReason::LeaseLost, to: None },
        &[
            ("SYSTOLE_EVENT", "stopping"),
            ("SYSTOLE_GROUP", "web"),
            ("SYSTOLE_REASON", "lease-lost"),
            ("SYSTOLE_STATE", "stopping"),
        ],
    );
    is(
        Event::PeerDown { node: LB1, because: DownReason::Left },
        &[
            ("SYSTOLE_EVENT", "peer-down"),
            ("SYSTOLE_PEER", "lb1"),
            ("SYSTOLE_REASON", "left"),
            ("SYSTOLE_STATE", "dead"),
        ],
    );
    is(
        Event::Fitness { group: WEB, unfit: None },
        &[("SYSTOLE_EVENT", "fitness"), ("SYSTOLE_GROUP", "web"), ("SYSTOLE_STATE", "fit")],
    );
    is(Event::Ready, &[("SYSTOLE_EVENT", "ready")]);
    let (_, found) = variables(&Event::Running { group: WEB, after: T });
    assert_eq!(found["SYSTOLE_FACTS"], r#"{"after_us":12000,"group":"web"}"#);
    assert_eq!(found["SYSTOLE_TEXT"], "web runs here, 12ms after it was won");
    let alarm = Told::alarm("look\0here").variables;
    assert_eq!(alarm, [("SYSTOLE_EVENT", "alarm".to_owned()), ("SYSTOLE_TEXT", "lookhere".to_owned())]);
}
