//! Cables: one that is cut behind the switch, so that only silence tells; one that is pulled at the node, with a second
//! link alive; and the first again at the tightest settings.

use systole::time::Span;

use super::rig::{LAN, Rig, Seen, length};
use super::system::{NODES, System};
use super::table::{Figures, Report, Table, lateness};
use super::turns::{Runs, in_turn};
use super::{Options, Try};

const HEAD: [&str; 6] =
    ["system", "timers prescribe", "outage", "overhead", "runs", "idle thread late, p99 / most"];

/// One link, over the service network.
pub(crate) fn cable(options: &Options) -> Try<Report> {
    let pairs = [
        ("1 s", System::systole(1_000), System::keepalived(330)),
        ("300 ms", System::systole(300), System::keepalived(100)),
        ("100 ms", System::systole(100), System::keepalived(30)),
    ];
    let mut report = cut(options, "The holder's cable is cut behind the switch.", &pairs)?;
    // What most people have.
    let usual = [System::keepalived(1_000)];
    let mut table = Table::new("The same, keepalived's default.", &HEAD);
    let mut rig = Rig::build(options, 1)?;
    for runs in in_turn(options, &mut rig, &usual, cut_once) {
        report.failed += runs.failed;
        table.row(row(&runs));
    }
    report.tables.push(table);
    Ok(report)
}

/// The shortest deadtime that stays calm under load, beside the shortest adverts.
pub(crate) fn tightest(options: &Options) -> Try<Report> {
    let ours = super::load::tightest(options)?.ok_or("no deadtime is calm under load")?;
    let pairs = [("at the tightest settings", ours, System::keepalived(10))];
    cut(options, "The holder's cable is cut behind the switch, at the tightest settings.", &pairs)
}

fn cut(options: &Options, title: &str, pairs: &[(&str, System, System)]) -> Try<Report> {
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    let mut rig = Rig::build(options, 1)?;
    for (name, ours, theirs) in pairs {
        let mut cells = ["not measured".to_owned(), "not measured".to_owned()];
        for runs in in_turn(options, &mut rig, &[*ours, *theirs], cut_once) {
            report.failed += runs.failed;
            let line = row(&runs);
            cells[usize::from(!runs.system.is_systole())] = format!("{}; overhead {}", line[2], line[3]);
            table.row(line);
        }
        let [systole, keepalived] = cells;
        report.summary.push([format!("cable cut behind the switch, {name}: outage"), systole, keepalived]);
    }
    report.tables.push(table);
    Ok(report)
}

fn cut_once(rig: &mut Rig, system: System) -> Try<Seen> {
    let (seen, ()) = rig.after(system, |rig| Ok(rig.lab.cut(NODES[0], LAN)?))?;
    rig.lab.plug(NODES[0], LAN)?;
    Ok(seen)
}

fn row(runs: &Runs<Seen>) -> [String; 6] {
    let outages = runs.values.iter().map(|seen| length(seen.outcome.outage));
    let overheads = runs.values.iter().filter_map(|seen| seen.overhead(runs.system));
    [
        runs.system.to_string(),
        runs.system.detection().to_string(),
        Figures::of(outages).show(),
        Figures::of(overheads).show(),
        runs.count(),
        lateness(runs.late),
    ]
}

/// Two links; the cable of the service network loses its carrier at the node.
pub(crate) fn carrier(options: &Options) -> Try<Report> {
    let head = ["system", "outage", "runs", "idle thread late, p99 / most"];
    let mut table = Table::new("The holder's cable is pulled at the node, a second link is alive.", &head);
    let ours = |seconds| System::Systole { deadtime: Span::seconds(seconds), cross: true };
    let systems = [ours(1), ours(3), System::keepalived(330), System::keepalived(100)];
    let (mut report, mut rig) = (Report::default(), Rig::build(options, 1)?);
    let pull = |rig: &mut Rig, system: System| {
        let (seen, ()) = rig.after(system, |rig| Ok(rig.lab.pull(NODES[0], LAN)?))?;
        rig.lab.plug(NODES[0], LAN)?;
        Ok(length(seen.outcome.outage))
    };
    let (mut systole, mut keepalived) = (Vec::new(), Vec::new());
    for runs in in_turn(options, &mut rig, &systems, pull) {
        report.failed += runs.failed;
        let outage = Figures::of(runs.values.iter().copied()).show();
        let cells = if runs.system.is_systole() { &mut systole } else { &mut keepalived };
        cells.push(format!("{outage} at {}", runs.system.detection()));
        table.row([runs.system.to_string(), outage, runs.count(), lateness(runs.late)]);
    }
    report.summary.push([
        "cable pulled at the node, a second link alive: outage".to_owned(),
        systole.join("; "),
        keepalived.join("; "),
    ]);
    report.tables.push(table);
    Ok(report)
}
