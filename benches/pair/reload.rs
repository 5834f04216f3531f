//! Changes of a running cluster under load, which the client of what stays must not notice: at which deadtimes it does
//! not. Only systole: what keepalived does at a kill is in `daemon`.

use std::fs;

use systole::lab::clock;
use systole::time::Span;

use super::rig::{PATIENCE, Rig, length};
use super::system::{NODES, System, group};
use super::table::{Figures, Report, Table, lateness};
use super::turns::in_turn;
use super::{Options, Try};

const DEADTIMES: [u64; 7] = [1_000, 500, 300, 200, 100, 50, 25];
/// So many busy loops.
const LOOPS: usize = 8;
const HEAD: [&str; 7] = [
    "what",
    "deadtime",
    "outage",
    "questions lost",
    "runs without a loss",
    "runs",
    "idle thread late, p99 / most",
];

struct Took {
    outage: Span,
    lost: u64,
    moved: bool,
}

type Way = (&'static str, fn(&mut Rig, System) -> Try<()>);

/// Each change at shorter and shorter deadtimes.
pub(crate) fn reload(options: &Options) -> Try<Report> {
    let ways: [Way; 3] = [("reload", change), ("reexec", reexec), ("kill -9 and started at once", restart)];
    let title = format!(
        "systole under {LOOPS} busy loops, asked five times a millisecond; a reload adds, removes and changes groups."
    );
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    let mut rig = Rig::build(options, 1)?;
    for (name, way) in ways {
        let mut shortest = None;
        let mut all_before = true;
        for deadtime in DEADTIMES {
            let run = |rig: &mut Rig, system: System| under_load(rig, system, way);
            for runs in in_turn(options, &mut rig, &[System::systole(deadtime)], run) {
                report.failed += runs.failed;
                let is_whole = |took: &&Took| !took.moved && took.lost == 0;
                let whole = runs.values.iter().filter(is_whole).count();
                all_before &= whole == runs.values.len() && runs.failed == 0;
                shortest = if all_before { Some(deadtime) } else { shortest };
                table.row([
                    name.to_owned(),
                    format!("{deadtime} ms"),
                    Figures::of(runs.values.iter().map(|took| length(took.outage))).show(),
                    Figures::of(runs.values.iter().map(|took| took.lost as f64)).show(),
                    format!("{whole} of {}", runs.values.len()),
                    runs.count(),
                    lateness(runs.late),
                ]);
            }
            // Shorter ones only wait for a calm that does not come.
            if !all_before {
                break;
            }
        }
        let survives = shortest.map_or("none".to_owned(), |deadtime| format!("{deadtime} ms"));
        let line = format!("shortest deadtime at which nothing is lost: {survives}");
        report.summary.push([format!("{name}, under {LOOPS} busy loops"), line, "-".to_owned()]);
    }
    report.tables.push(table);
    Ok(report)
}

fn under_load(rig: &mut Rig, system: System, way: fn(&mut Rig, System) -> Try<()>) -> Try<Took> {
    let loops = rig.lab.machine("client")?.load(LOOPS, PATIENCE)?;
    let fault = clock::now();
    let seen = rig.while_it_lasts((system.detection() * 3).max(Span::millis(500)), |rig| way(rig, system));
    drop(loops);
    let seen = seen?;
    let moved = seen.outcome.first_answer.is_some();
    Ok(Took { outage: seen.outcome.outage, lost: rig.lost(fault), moved })
}

/// Two groups are added, then one of them is removed and the other changed; then it is as before.
fn change(rig: &mut Rig, system: System) -> Try<()> {
    let text = system.text(0, &rig.addresses, &rig.keys());
    let address = |number: u16| -> Try<Vec<std::net::IpAddr>> {
        Ok(super::system::addresses(rig.addresses[0].is_ipv6(), number).split_off(usize::from(number) - 1))
    };
    let (one, other, changed) = (address(201)?, address(202)?, address(203)?);
    let texts = [
        text.clone() + &group("one", &one) + &group("other", &other),
        text.clone() + &group("other", &changed),
        text,
    ];
    for text in texts {
        for node in 0..NODES.len() {
            fs::write(rig.config(node), &text)?;
            rig.order(node, &["reload"])?;
        }
        clock::wait(system.detection());
    }
    Ok(())
}

fn reexec(rig: &mut Rig, _: System) -> Try<()> {
    rig.order(0, &["reexec"])
}

fn restart(rig: &mut Rig, system: System) -> Try<()> {
    super::daemon::kill(rig)?;
    rig.start(system, 0)
}
