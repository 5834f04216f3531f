//! What the client notices is what was there.

use std::time::Duration;

use systole::lab::{Lab, Outcome, clock, doubles, fetch, first_by, longest_gap};
use systole::time::Span;

use super::cables::{PATIENCE, ip, pair};

const OUTAGE: Span = Span::millis(150);

/// Both families of one address.
const ADDRESSES: [(&str, u8); 2] = [("10.77.0.100", 24), ("fd00:77::100", 64)];

fn seize(lab: &mut Lab, machine: &str, address: &str, prefix: u8) {
    lab.machine_mut(machine).unwrap().seize("lan", ip(address), prefix).unwrap();
}

pub(crate) fn an_address_that_moves_is_an_outage_of_that_length_and_another_machine() {
    for (address, prefix) in ADDRESSES {
        let mut lab = pair();
        let _echoes = ["lb0", "lb1"].map(|name| lab.machine(name).unwrap().answer().unwrap());
        seize(&mut lab, "lb0", address, prefix);
        let client = lab.machine_mut("client").unwrap();
        let ears = client.listen("lan", ip(address)).unwrap();
        let probe = client.probe(ip(address)).unwrap();
        let answered = |name: &str| {
            let is_it = || probe.latest().filter(|answer| answer.from.as_ref() == name);
            clock::wait_for(PATIENCE, is_it).unwrap_or_else(|| panic!("{name} never answers at {address}"))
        };
        answered("lb0");
        let heard = || ears.heard().into_iter().next();
        clock::wait_for(PATIENCE, heard).unwrap_or_else(|| panic!("nobody is heard of {address}"));
        let fault = clock::now();
        assert!(lab.machine_mut("lb0").unwrap().wipe(ip(address)).unwrap());
        let wiped = clock::now();
        clock::wait(OUTAGE);
        let taken = clock::now();
        seize(&mut lab, "lb1", address, prefix);
        answered("lb1");
        let until = clock::now();
        let (answers, late) = probe.finish();
        let outcome = Outcome::of(fault, until, &answers, &ears.heard());
        println!("  {address}: {outcome:?}, the probe was late by {late} at most");
        // The outage that was there; a busy machine blurs its ends.
        assert!(outcome.outage >= OUTAGE / 2, "{outcome:?}");
        let gap = longest_gap(&answers, fault, until);
        assert!(gap.from <= taken && gap.to >= taken, "{gap:?}, wiped at {wiped}, taken at {taken}");
        let (first, name) = outcome.first_answer.unwrap();
        assert_eq!(name.as_ref(), "lb1");
        assert_eq!(first_by(&answers, "lb1", fault).unwrap().at, fault + first);
        let (announced, mac) = outcome.first_announcement.unwrap();
        assert_eq!(mac, lab.machine("lb1").unwrap().mac("lan").unwrap());
        assert!(fault + announced >= taken && announced <= until - fault, "{announced}");
        assert_eq!(outcome.doubles, 0);
    }
}

pub(crate) fn who_answers_twice_is_seen_and_who_answers_once_is_not() {
    for (address, prefix) in ADDRESSES {
        let mut lab = pair();
        seize(&mut lab, "lb0", address, prefix);
        let ears = lab.machine_mut("client").unwrap().listen("lan", ip(address)).unwrap();
        let asked = |more: u64| {
            let questions =
                || ears.heard().iter().filter(|heard| !heard.announced).map(|heard| heard.question).max();
            let goal = questions().unwrap_or(0) + more;
            clock::wait_for(PATIENCE, || questions().filter(|question| *question >= goal)).unwrap();
        };
        asked(5);
        assert_eq!(doubles(&ears.heard()), [], "{address}");
        let rival = clock::now();
        seize(&mut lab, "lb1", address, prefix);
        let seen = clock::wait_for(PATIENCE, || doubles(&ears.heard()).into_iter().next());
        let (at, mut macs) = seen.unwrap_or_else(|| panic!("{address}: {:?}", ears.heard()));
        macs.sort_unstable();
        assert_eq!(macs, ["lb0", "lb1"].map(|name| lab.machine(name).unwrap().mac("lan").unwrap()));
        assert!(at >= rival);
        lab.machine_mut("lb1").unwrap().wipe(ip(address)).unwrap();
        asked(2);
        let after = clock::now();
        asked(5);
        let later: Vec<_> = ears.heard().into_iter().filter(|heard| heard.at > after).collect();
        assert_eq!(doubles(&later), [], "{address}");
    }
}

pub(crate) fn how_late_this_machine_is_is_measured_and_load_ends() {
    let lab = pair();
    let client = lab.machine("client").unwrap();
    let idle = client.idle().unwrap();
    clock::wait(Span::millis(100));
    let (usual, most) = idle.finish();
    assert!(most >= usual, "{usual}, {most}");
    println!("  this machine is late by {usual} in 99 of 100 cases at most, and by {most} at most");
    let began = clock::now();
    let busy = client.load(2, Span::millis(50)).unwrap();
    drop(busy);
    assert!(clock::now() - began < PATIENCE, "dropped, it stops");
}

pub(crate) fn a_page_comes_from_the_machine_that_has_the_address() {
    let mut lab = pair();
    let _pages = ["lb0", "lb1"].map(|name| lab.machine(name).unwrap().serve().unwrap());
    let get = |lab: &Lab, address: &str, wait: Duration| {
        let address = ip(address);
        lab.machine("client").unwrap().space().run(move || fetch(address, wait))
    };
    let long = Duration::from_secs(10);
    for (address, prefix) in ADDRESSES {
        assert!(get(&lab, address, Duration::from_millis(100)).is_err(), "nobody has {address}");
        seize(&mut lab, "lb0", address, prefix);
        assert_eq!(get(&lab, address, long).unwrap().0, "lb0");
        lab.machine_mut("lb0").unwrap().wipe(ip(address)).unwrap();
        seize(&mut lab, "lb1", address, prefix);
        assert_eq!(get(&lab, address, long).unwrap().0, "lb1");
    }
}
