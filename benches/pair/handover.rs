//! Moves that somebody asks for: how long nobody answers, and how long the command takes.

use nix::sys::signal::Signal;
use systole::lab::clock;
use systole::time::Span;

use super::rig::{PATIENCE, Rig, length};
use super::system::{NODES, System};
use super::table::{Figures, Report, Table, lateness};
use super::turns::in_turn;
use super::{Options, Try};

const HEAD: [&str; 6] = [
    "asked",
    "outage",
    "to the first answer",
    "to the command's end",
    "runs",
    "idle thread late, p99 / most",
];
/// Below any that the other has.
const LOW: u64 = 100;

/// What one hand-over took: the outage, the time to the first answer, and to the end of the command or daemon.
type Took = (Span, Span, Option<Span>);
type Way = (&'static str, System, fn(&mut Rig, System) -> Try<Took>);

/// The ways to ask for one, of both.
pub(crate) fn handover(options: &Options) -> Try<Report> {
    let (systole, keepalived) = (System::systole(1_000), System::keepalived(330));
    let ways: [Way; 6] = [
        ("systole standby", systole, standby),
        ("systole move", systole, move_group),
        ("SIGTERM to systole", systole, terminate),
        ("SIGTERM to keepalived", keepalived, terminate),
        ("keepalived's priority lowered, reload", keepalived, lower),
        ("the same, adverts 10 ms", System::keepalived(10), lower),
    ];
    let title = "Planned hand-over; deadtime 1 s, adverts 330 ms.";
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    let mut rig = Rig::build(options, 1)?;
    for (name, system, ask) in ways {
        for runs in in_turn(options, &mut rig, &[system], ask) {
            report.failed += runs.failed;
            let outage = Figures::of(runs.values.iter().map(|took| length(took.0))).show();
            let answer = Figures::of(runs.values.iter().map(|took| length(took.1))).show();
            let ends = Figures::of(runs.values.iter().filter_map(|took| took.2).map(length)).show();
            let (mut ours, mut theirs) = (format!("{outage}; done after {ends}"), "-".to_owned());
            if !system.is_systole() {
                (ours, theirs) = ("-".to_owned(), format!("{outage}; answers after {answer}"));
            }
            report.summary.push([format!("{name}: outage"), ours, theirs]);
            table.row([name.to_owned(), outage, answer, ends, runs.count(), lateness(runs.late)]);
        }
    }
    report.tables.push(table);
    Ok(report)
}

/// Asks, and takes the time; then the group comes back by another order.
fn order(rig: &mut Rig, system: System, node: usize, words: &[&str], back: &[&str]) -> Try<Took> {
    let (seen, done) = rig.after(system, |rig| {
        let began = clock::now();
        rig.order(node, words)?;
        Ok(clock::now() - began)
    })?;
    rig.order(node, back)?;
    let answered = seen.answered().ok_or("nobody answered")?;
    Ok((seen.outcome.outage, answered - seen.fault, Some(done)))
}

fn standby(rig: &mut Rig, system: System) -> Try<Took> {
    order(rig, system, 0, &["standby"], &["online"])
}

/// Asked of the other node: the order has to travel.
fn move_group(rig: &mut Rig, system: System) -> Try<Took> {
    order(rig, system, 1, &["move", "web", NODES[1]], &["move", "web", NODES[0]])
}

fn terminate(rig: &mut Rig, system: System) -> Try<Took> {
    let (seen, done) = rig.after(system, |rig| {
        let began = clock::now();
        let machine = rig.lab.machine_mut(NODES[0])?;
        machine.signal(Signal::SIGTERM)?;
        let ended = machine.wait_for_end(PATIENCE).map(|_| clock::now() - began);
        Ok(ended.ok_or("the daemon does not end")?)
    })?;
    rig.start(system, 0)?;
    let answered = seen.answered().ok_or("nobody answered")?;
    Ok((seen.outcome.outage, answered - seen.fault, Some(done)))
}

fn lower(rig: &mut Rig, system: System) -> Try<Took> {
    let write = |rig: &Rig, text: String| rig.write(0, &text);
    let low = system.adverts(NODES[0], LOW, &rig.addresses);
    let (seen, ()) = rig.after(system, |rig| {
        write(rig, low)?;
        Ok(rig.lab.machine_mut(NODES[0])?.signal(Signal::SIGHUP)?)
    })?;
    write(rig, system.text(0, &rig.addresses, &rig.keys()))?;
    rig.lab.machine_mut(NODES[0])?.signal(Signal::SIGHUP)?;
    let answered = seen.answered().ok_or("nobody answered")?;
    Ok((seen.outcome.outage, answered - seen.fault, None))
}
