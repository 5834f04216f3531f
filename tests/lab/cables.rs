//! What a cable does, and what happens when it is cut or pulled.

use std::net::IpAddr;

use systole::lab::{BadCable, Fault, Lab, LabError, Machine, Plan, clock};
use systole::time::Span;

/// Long enough for anything that will ever happen.
pub(crate) const PATIENCE: Span = Span::seconds(10);
/// Long enough for a hundred questions, so that silence is no accident.
const SILENCE: Span = Span::millis(100);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two directors, on two networks, and a client.
pub(crate) fn pair() -> Lab {
    Lab::build(&Plan::simple(&[("lb0", 10), ("lb1", 11), ("client", 1)], 2)).unwrap()
}

/// Whether the address answers, within reason; the name of what answers.
fn reaches(from: &Machine, address: &str) -> Option<String> {
    let probe = from.probe(ip(address)).unwrap();
    clock::wait_for(PATIENCE, || probe.latest()).map(|answer| answer.from.to_string())
}

/// Whether the address is silent.
fn is_silent(from: &Machine, address: &str) -> bool {
    let probe = from.probe(ip(address)).unwrap();
    clock::wait(SILENCE);
    probe.latest().is_none()
}

pub(crate) fn two_machines_see_each_other_through_the_switch() {
    let lab = pair();
    let _echoes = ["lb0", "lb1"].map(|name| lab.machine(name).unwrap().answer().unwrap());
    let client = lab.machine("client").unwrap();
    for (address, name) in
        [("10.77.0.10", "lb0"), ("fd00:77::10", "lb0"), ("10.77.0.11", "lb1"), ("fd00:77::11", "lb1")]
    {
        assert_eq!(reaches(client, address).as_deref(), Some(name), "{address}");
    }
    assert!(is_silent(client, "10.77.0.99"), "nobody has it");
    assert!(is_silent(client, "10.78.0.10"), "the client is not on this network");
}

pub(crate) fn a_cut_behind_the_switch_stops_packets_and_keeps_carrier() {
    let mut lab = pair();
    let _echoes = ["lb0", "lb1"].map(|name| lab.machine(name).unwrap().answer().unwrap());
    assert!(reaches(lab.machine("client").unwrap(), "10.77.0.10").is_some());
    lab.cut("lb0", "lan").unwrap();
    for address in ["10.77.0.10", "fd00:77::10"] {
        assert!(is_silent(lab.machine("client").unwrap(), address), "{address}");
    }
    for address in ["10.77.0.1", "10.77.0.11", "fd00:77::11"] {
        assert!(is_silent(lab.machine("lb0").unwrap(), address), "{address}: nothing comes out either");
    }
    assert!(lab.machine_mut("lb0").unwrap().carrier("lan").unwrap());
    assert!(reaches(lab.machine("client").unwrap(), "10.77.0.11").is_some(), "the others go on");
    lab.plug("lb0", "lan").unwrap();
    assert_eq!(reaches(lab.machine("client").unwrap(), "10.77.0.10").as_deref(), Some("lb0"));
    assert_eq!(reaches(lab.machine("client").unwrap(), "fd00:77::10").as_deref(), Some("lb0"));
}

pub(crate) fn a_cable_pulled_at_the_machine_takes_its_carrier() {
    let mut lab = pair();
    let _echo = lab.machine("lb0").unwrap().answer().unwrap();
    assert!(lab.machine_mut("lb0").unwrap().carrier("lan").unwrap());
    lab.pull("lb0", "lan").unwrap();
    assert!(!lab.machine_mut("lb0").unwrap().carrier("lan").unwrap());
    assert!(lab.machine_mut("lb0").unwrap().carrier("cross").unwrap(), "it has another cable");
    assert!(lab.machine_mut("lb1").unwrap().carrier("lan").unwrap());
    assert!(is_silent(lab.machine("client").unwrap(), "10.77.0.10"));
    lab.plug("lb0", "lan").unwrap();
    assert!(lab.machine_mut("lb0").unwrap().carrier("lan").unwrap());
    assert_eq!(reaches(lab.machine("client").unwrap(), "10.77.0.10").as_deref(), Some("lb0"));
    lab.cut("lb0", "lan").unwrap();
    lab.pull("lb0", "lan").unwrap();
    lab.plug("lb0", "lan").unwrap();
    assert!(reaches(lab.machine("client").unwrap(), "10.77.0.10").is_some(), "a plug mends both");
}

pub(crate) fn a_second_network_is_cut_by_itself() {
    let mut lab = pair();
    let _echo = lab.machine("lb1").unwrap().answer().unwrap();
    let other = ["10.78.0.11", "fd00:78::11"];
    for address in other {
        assert_eq!(reaches(lab.machine("lb0").unwrap(), address).as_deref(), Some("lb1"));
    }
    lab.cut("lb1", "cross").unwrap();
    for address in other {
        assert!(is_silent(lab.machine("lb0").unwrap(), address));
    }
    assert!(reaches(lab.machine("lb0").unwrap(), "10.77.0.11").is_some(), "the first one goes on");
}

pub(crate) fn a_machine_has_its_default_gateway() {
    let mut plan = Plan::simple(&[("lb0", 10), ("router", 1)], 0);
    plan.machines[0].gateways = vec![ip("10.77.0.1"), ip("fd00:77::1")];
    plan.machines[1].ports[0].addresses.push((ip("192.0.2.1"), 32));
    let lab = Lab::build(&plan).unwrap();
    let _echo = lab.machine("router").unwrap().answer().unwrap();
    assert_eq!(reaches(lab.machine("lb0").unwrap(), "192.0.2.1").as_deref(), Some("router"));
}

pub(crate) fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let mut lab = pair();
    let said = |refused: Result<(), LabError>| refused.unwrap_err().to_string();
    assert_eq!(said(lab.cut("lb7", "lan")), "there is no machine `lb7`: take one of client, lb0, lb1");
    assert_eq!(said(lab.pull("client", "cross")), "there is no cable of client to `cross`: take one of lan");
    assert_eq!(
        said(lab.machine_mut("lb7").map(drop)),
        "there is no machine `lb7`: take one of client, lb0, lb1"
    );
    let mut plan = Plan::simple(&[("lb0", 10)], 0);
    plan.machines[0].ports[0].network = "wan".to_owned();
    assert_eq!(said(Lab::build(&plan).map(drop)), "there is no network `wan`: take one of lan");
}

/// Rarer than a probe asks: a machine that stalls for half a second still has room for all that come meanwhile.
const EVERY: Span = Span::millis(2);

/// Chance alone leaves the bounds below less than once in ten thousand times.
const QUESTIONS: u64 = 200;

/// So many of a hundred questions are answered, and how long the quickest answer took, by the clock of who asks.
fn answered(from: &Machine, address: &str) -> (u64, Span) {
    let probe = from.probe_every(ip(address), EVERY).unwrap();
    let began = clock::now();
    let first = clock::wait_for(PATIENCE, || probe.latest()).expect("something comes");
    let last = first.question + QUESTIONS;
    clock::wait_for(PATIENCE, || probe.latest().filter(|answer| answer.question >= last))
        .expect("more comes");
    let (answers, _) = probe.finish();
    // From the first one that is answered on: before it the address has to be found.
    let questions = answers.iter().map(|answer| answer.question);
    let asked = questions.clone().max().unwrap_or(0) - questions.min().unwrap_or(0) + 1;
    (answers.len() as u64 * 100 / asked, first.at - began)
}

pub(crate) fn a_bad_cable_loses_frames_one_way_or_both_and_a_new_one_does_not() {
    let mut lab = pair();
    let _echoes = ["lb0", "client"].map(|name| lab.machine(name).unwrap().answer().unwrap());
    for address in ["10.77.0.10", "fd00:77::10"] {
        let client = |lab: &Lab| answered(lab.machine("client").unwrap(), address).0;
        // A busy machine loses some as well, but not so many.
        let good = client(&lab);
        assert!(good >= 80, "{address}: a good cable, and {good} % came");
        let half = Fault { loss_percent: 50, delay: Span::ZERO };
        lab.spoil("lb0", "lan", BadCable { out: half, into: Fault::default() }).unwrap();
        let one_way = client(&lab);
        assert!((35..=65).contains(&one_way), "{address}: half of the answers are lost, {one_way} % came");
        lab.spoil("lb0", "lan", BadCable { out: half, into: half }).unwrap();
        let both = client(&lab);
        assert!((12..=38).contains(&both), "{address}: a quarter gets both ways, {both} % came");
        assert!(lab.machine_mut("lb0").unwrap().carrier("lan").unwrap());
        lab.plug("lb0", "lan").unwrap();
        let new = client(&lab);
        assert!(new >= 80, "{address}: a new cable, and {new} % came");
    }
    let deaf = Fault { loss_percent: 100, delay: Span::ZERO };
    lab.spoil("lb0", "lan", BadCable { out: Fault::default(), into: deaf }).unwrap();
    assert!(is_silent(lab.machine("client").unwrap(), "10.77.0.10"), "it speaks and does not hear");
}

pub(crate) fn a_long_cable_delays_frames() {
    let mut lab = pair();
    let _echo = lab.machine("lb0").unwrap().answer().unwrap();
    let late = Fault { loss_percent: 0, delay: Span::millis(30) };
    lab.spoil("lb0", "lan", BadCable { out: late, into: late }).unwrap();
    let (share, first) = answered(lab.machine("client").unwrap(), "10.77.0.10");
    assert!(first >= Span::millis(60), "there and back: {first}");
    assert!(share >= 80, "{share} %");
}
