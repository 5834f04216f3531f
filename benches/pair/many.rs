//! Many addresses in one group: when they are added, announced and answered for.

use std::collections::BTreeSet;

use systole::lab::{Tapped, clock};
use systole::time::Span;

use super::rig::{LAN, Rig, milliseconds};
use super::system::{NODES, System};
use super::table::{Figures, Report, Table, lateness};
use super::turns::in_turn;
use super::{Options, Try};

const COUNTS: [u16; 3] = [1, 100, 500];
const HEAD: [&str; 9] = [
    "addresses",
    "system",
    "first added",
    "last added",
    "last announced",
    "first answers",
    "last answers",
    "runs",
    "idle thread late, p99 / most",
];

/// Milliseconds after the timers let the other take over: in the order of the table.
type Took = [f64; 5];

/// The holder's cable is cut.
pub(crate) fn many(options: &Options) -> Try<Report> {
    let title = "The holder's cable is cut. Times are from the moment at which the timers let the other take over \
                 (the last beat and deadtime, or three adverts and the skew).";
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    for count in COUNTS {
        let mut rig = Rig::build(options, count)?;
        let mut cells = ["not measured".to_owned(), "not measured".to_owned()];
        for runs in in_turn(options, &mut rig, &[System::systole(300), System::keepalived(100)], cut) {
            report.failed += runs.failed;
            let shown: Vec<String> =
                (0..5).map(|place| Figures::of(runs.values.iter().map(|took| took[place])).show()).collect();
            cells[usize::from(!runs.system.is_systole())] =
                format!("added {}; announced {}; last answers {}", shown[1], shown[2], shown[4]);
            let row = [count.to_string(), runs.system.to_string()].into_iter().chain(shown);
            table.row(row.chain([runs.count(), lateness(runs.late)]));
        }
        let [systole, keepalived] = cells;
        report.summary.push([format!("{count} addresses, from the decision"), systole, keepalived]);
    }
    report.tables.push(table);
    Ok(report)
}

fn cut(rig: &mut Rig, system: System) -> Try<Took> {
    let mac = rig.lab.machine(NODES[1])?.mac(LAN)?;
    let wanted: BTreeSet<_> = rig.addresses.iter().copied().collect();
    let last = *rig.addresses.last().ok_or("no addresses")?;
    let client = rig.lab.machine("client")?;
    let (tap, probe) = (client.tap(LAN, Tapped::Announcements)?, client.probe(last)?);
    // What came before the fault is of the run before this one.
    rig.arrivals().take();
    let (seen, ()) = rig.after(system, |rig| Ok(rig.lab.cut(NODES[0], LAN)?))?;
    let answers = || {
        clock::wait_for(Span::seconds(5), || {
            probe
                .answers()
                .iter()
                .find(|answer| answer.at >= seen.fault && answer.from.as_ref() == NODES[1])
                .cloned()
        })
    };
    let answered = answers().ok_or("the last address does not answer")?.at;
    rig.lab.plug(NODES[0], LAN)?;
    let due = seen.last_beat.ok_or("no beat was heard")? + system.detection();
    // The first time of each: keepalived announces five times, systole again later.
    let first = |times: Vec<(Span, std::net::IpAddr)>| {
        let mut left = wanted.clone();
        let times = times.into_iter().filter(|(at, address)| *at >= seen.fault && left.remove(address));
        let times: Vec<_> = times.map(|(at, _)| at).collect();
        (times.len() == wanted.len()).then_some(times).ok_or("some addresses are missing")
    };
    let added = first(rig.arrivals().take().into_iter().map(|came| (came.at, came.address)).collect())?;
    let announced = tap.take().into_iter().filter(|passed| passed.from == mac);
    let announced = first(announced.filter_map(|passed| Some((passed.at, passed.address?))).collect())?;
    let after = |at: Option<&Span>| at.map_or(f64::NAN, |at| milliseconds(*at, due));
    Ok([
        after(added.first()),
        after(added.last()),
        after(announced.last()),
        after(seen.answered().as_ref()),
        after(Some(&answered)),
    ])
}
