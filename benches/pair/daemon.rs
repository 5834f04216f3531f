//! A daemon that is killed or hangs: when another takes over, and whether both answer then.

use nix::sys::signal::Signal;
use systole::time::Span;

use super::rig::{Rig, length};
use super::system::{NODES, System};
use super::table::{Figures, Report, Table, lateness};
use super::turns::in_turn;
use super::{Options, Try};

const HEAD: [&str; 7] = [
    "what",
    "system",
    "outage",
    "to the first answer of the other",
    "two answer, runs",
    "runs",
    "idle thread late, p99 / most",
];

/// What was seen: the outage, the time to the other's first answer, and the questions that two answered.
struct Took {
    outage: Span,
    other: Option<Span>,
    doubles: usize,
}

type Way = (&'static str, fn(&mut Rig, System) -> Try<Took>);

/// Killed, stopped, and killed and started.
pub(crate) fn daemon(options: &Options) -> Try<Report> {
    let systems = [System::systole(1_000), System::keepalived(330)];
    let ways: [Way; 3] = [
        ("kill -9, not started again", killed),
        ("SIGSTOP", stopped),
        ("kill -9 and started at once", started_again),
    ];
    let title = "The holder's daemon. All processes of keepalived get the signal at once.";
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    let mut rig = Rig::build(options, 1)?;
    for (name, way) in ways {
        let mut cells = ["not measured".to_owned(), "not measured".to_owned()];
        for runs in in_turn(options, &mut rig, &systems, way) {
            report.failed += runs.failed;
            let outage = Figures::of(runs.values.iter().map(|took| length(took.outage))).show();
            let others = runs.values.iter().filter_map(|took| took.other).map(length);
            let other = Figures::of(others).show();
            let both = runs.values.iter().filter(|took| took.doubles > 0).count();
            let both = format!("{both} of {}", runs.values.len());
            cells[usize::from(!runs.system.is_systole())] = format!("outage {outage}; two answer in {both}");
            table.row([
                name.to_owned(),
                runs.system.to_string(),
                outage,
                other,
                both,
                runs.count(),
                lateness(runs.late),
            ]);
        }
        let [systole, keepalived] = cells;
        report.summary.push([format!("daemon: {name}"), systole, keepalived]);
    }
    report.tables.push(table);
    Ok(report)
}

fn killed(rig: &mut Rig, system: System) -> Try<Took> {
    let (seen, ()) = rig.after(system, kill)?;
    let took = Took {
        outage: seen.outcome.outage,
        other: seen.answered().map(|answered| answered - seen.fault),
        doubles: seen.outcome.doubles,
    };
    // What keepalived leaves behind would confuse the next run.
    let address = rig.addresses[0];
    if !system.is_systole() {
        rig.lab.machine_mut(NODES[0])?.wipe(address)?;
    }
    rig.start(system, 0)?;
    Ok(took)
}

fn stopped(rig: &mut Rig, system: System) -> Try<Took> {
    let signal =
        |rig: &mut Rig, signal| -> Try<()> { Ok(rig.lab.machine_mut(NODES[0])?.signal_all(signal)?) };
    let (seen, ()) = rig.after(system, |rig| signal(rig, Signal::SIGSTOP))?;
    signal(rig, Signal::SIGCONT)?;
    Ok(Took {
        outage: seen.outcome.outage,
        other: seen.answered().map(|answered| answered - seen.fault),
        doubles: seen.outcome.doubles,
    })
}

fn started_again(rig: &mut Rig, system: System) -> Try<Took> {
    let seen = rig.while_it_lasts(system.detection() * 3, |rig| {
        kill(rig)?;
        rig.start(system, 0)
    })?;
    let other = seen.answered().map(|answered| answered - seen.fault);
    Ok(Took { outage: seen.outcome.outage, other, doubles: seen.outcome.doubles })
}

pub(crate) fn kill(rig: &mut Rig) -> Try<()> {
    let machine = rig.lab.machine_mut(NODES[0])?;
    machine.signal_all(Signal::SIGKILL)?;
    // It is waited for, so that another may have its place.
    machine.wait_for_end(super::rig::PATIENCE).ok_or("it does not end")?;
    Ok(())
}
