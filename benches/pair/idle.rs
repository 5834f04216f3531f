//! What a cluster costs while nothing happens: memory, processor, packets. Nobody asks and nobody listens meanwhile.

use std::fs;

use systole::lab::clock;
use systole::time::Span;

use super::rig::Rig;
use super::system::{NODES, System};
use super::table::{Report, Table, short};
use super::{Options, Try};

const HEAD: [&str; 9] = [
    "system",
    "node",
    "processes",
    "resident, MB",
    "proportional, MB",
    "CPU, ms a minute",
    "packets/s sent",
    "bytes/s sent",
    "packets/s received",
];

/// What all processes of a daemon have used, and what its machine has sent and received on the service network.
#[derive(Clone, Copy, Default)]
struct Used {
    processes: usize,
    resident_kb: u64,
    proportional_kb: u64,
    nanoseconds: u64,
    sent: (u64, u64),
    received: u64,
}

/// Beats each 100 ms, and adverts as often.
pub(crate) fn idle(options: &Options) -> Try<Report> {
    let title = format!("Idle for {} s.", options.seconds);
    let (mut report, mut table) = (Report::default(), Table::new(title, &HEAD));
    let systems = [System::systole(1_000), System::keepalived(100), System::keepalived(1_000)];
    let mut lines = [Vec::new(), Vec::new()];
    for system in systems.iter().filter(|system| system.is_systole() || options.keepalived.is_some()) {
        // A rig of its own: nobody asks any more once it is measured.
        let mut rig = Rig::build(options, 1)?;
        rig.begin(*system)?;
        rig.hush();
        // After a takeover addresses are announced again for five seconds.
        clock::wait(Span::seconds(6));
        let before = NODES.map(|node| used(&mut rig, node));
        let began = clock::now();
        clock::wait(Span::seconds(options.seconds));
        let seconds = (clock::now() - began).as_micros() as f64 / 1e6;
        for ((node, role), before) in NODES.iter().zip(["holder", "standby"]).zip(before) {
            let (before, after) = (before?, used(&mut rig, node)?);
            let rate = |before: u64, after: u64| (after - before) as f64 / seconds;
            let megabytes = |kb: u64| short(kb as f64 / 1_000.0);
            let cpu = short(rate(before.nanoseconds, after.nanoseconds) * 60.0 / 1e6);
            let packets = short(rate(before.sent.0, after.sent.0));
            let (resident, bytes) = (megabytes(after.resident_kb), short(rate(before.sent.1, after.sent.1)));
            lines[usize::from(!system.is_systole())].push(format!(
                "{role}, beats each {}: {resident} MB, CPU {cpu} ms a minute, {packets} packets/s, {bytes} bytes/s",
                system.beat()
            ));
            table.row([
                system.to_string(),
                role.to_owned(),
                after.processes.to_string(),
                resident,
                megabytes(after.proportional_kb),
                cpu,
                packets,
                bytes,
                short(rate(before.received, after.received)),
            ]);
        }
        rig.end()?;
    }
    let [systole, keepalived] = lines.map(|lines| lines.join("; "));
    report.summary.push(["idle".to_owned(), systole, keepalived]);
    report.tables.push(table);
    Ok(report)
}

fn used(rig: &mut Rig, node: &str) -> Try<Used> {
    let first = rig.lab.machine_mut(node)?.pid()?;
    let mut used = Used::default();
    for process in processes(first)? {
        used.processes += 1;
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        used.resident_kb += field("Rss:");
        used.proportional_kb += field("Pss:");
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            used.nanoseconds += schedstat.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0);
        }
    }
    // In the namespace of that process: what eth0 has received and sent.
    let devices = fs::read_to_string(format!("/proc/{first}/net/dev"))?;
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let counts: Vec<u64> =
        line.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let count = |place: usize| counts.get(place).copied().unwrap_or(0);
    (used.received, used.sent) = (count(1), (count(9), count(8)));
    Ok(used)
}

/// All processes of the group that this one leads.
fn processes(first: u32) -> Try<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile. The name, in brackets, may hold anything; the third field behind it is the group.
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let group = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)?.parse().ok());
        if group == Some(first) {
            found.push(number);
        }
    }
    Ok(found)
}
