//! What must not move anything: busy processors, and a network that loses packets.

use systole::lab::{BadCable, Fault, clock};
use systole::time::Span;

use super::rig::{LAN, Rig};
use super::system::{NODES, System};
use super::table::{Report, Table};
use super::{Options, Try};

/// Deadtimes, the shortest that a configuration may have first.
const DEADTIMES_MS: [u64; 5] = [25, 35, 50, 100, 200];
const BUSY: [usize; 2] = [8, 64];
const LOSSES: [u8; 3] = [10, 20, 30];

/// Busy loops, and loss on the holder's cable. How often the address came to the other director, which nothing had
/// happened to.
pub(crate) fn load(options: &Options) -> Try<Report> {
    let mut report = Report::default();
    let ordinary = System::Keepalived { advert: 1, real_time: false };
    let mut systems: Vec<_> = DEADTIMES_MS.iter().rev().map(|ms| System::systole(*ms)).collect();
    systems.extend([System::keepalived(10), ordinary]);
    let title = format!("False takeovers in {} s of busy loops.", options.seconds);
    let heads = BUSY.map(|threads| format!("{threads} loops"));
    busy(options, &mut report, &systems, (&title, &heads))?;
    let systems = [
        System::systole(1_000),
        System::systole(200),
        System::systole(100),
        System::keepalived(330),
        System::keepalived(100),
        System::keepalived(10),
    ];
    let title =
        format!("False takeovers in {} s of random loss on the holder's cable, each way.", options.seconds);
    let heads = LOSSES.map(|percent| format!("{percent} %"));
    lossy(options, &mut report, &systems, (&title, &heads))?;
    Ok(report)
}

/// The shortest deadtime at which neither few nor many busy loops move anything.
pub(crate) fn tightest(options: &Options) -> Try<Option<System>> {
    let length = Span::seconds(options.seconds);
    let mut rig = Rig::build(options, 1)?;
    for system in DEADTIMES_MS.map(System::systole) {
        let mut moved = 0;
        for threads in BUSY {
            rig.begin(system)?;
            rig.arrivals().take();
            let loops = rig.lab.machine("client")?.load(threads, length)?;
            moved += takeovers(&mut rig, length);
            drop(loops);
            rig.end()?;
        }
        println!("{system}: {moved} false takeovers under {BUSY:?} busy loops");
        if moved == 0 {
            return Ok(Some(system));
        }
    }
    Ok(None)
}

fn busy(options: &Options, report: &mut Report, systems: &[System], words: (&str, &[String])) -> Try<()> {
    let length = Span::seconds(options.seconds);
    count(options, report, systems, words, |rig, kind| {
        let loops = rig.lab.machine("client")?.load(BUSY[kind], length)?;
        let count = takeovers(rig, length);
        drop(loops);
        Ok(count)
    })
}

fn lossy(options: &Options, report: &mut Report, systems: &[System], words: (&str, &[String])) -> Try<()> {
    let length = Span::seconds(options.seconds);
    count(options, report, systems, words, |rig, kind| {
        let fault = Fault { loss_percent: LOSSES[kind], delay: Span::ZERO };
        rig.lab.spoil(NODES[0], LAN, BadCable { out: fault, into: fault })?;
        // The cable is changed in a moment without one, which is not what is counted.
        rig.arrivals().take();
        let count = takeovers(rig, length);
        rig.lab.plug(NODES[0], LAN)?;
        Ok(count)
    })
}

/// A table with a line a system, and a column for each kind of trouble.
fn count(
    options: &Options,
    report: &mut Report,
    systems: &[System],
    (title, kinds): (&str, &[String]),
    trouble: impl Fn(&mut Rig, usize) -> Try<usize>,
) -> Try<()> {
    let head: Vec<&str> = std::iter::once("system").chain(kinds.iter().map(String::as_str)).collect();
    let mut table = Table::new(title, &head);
    let mut rig = Rig::build(options, 1)?;
    let mut lines = [Vec::new(), Vec::new()];
    for system in systems.iter().filter(|system| system.is_systole() || options.keepalived.is_some()) {
        let mut cells = Vec::new();
        for (kind, name) in kinds.iter().enumerate() {
            let counted = rig.begin(*system).and_then(|()| {
                rig.forget();
                rig.arrivals().take();
                trouble(&mut rig, kind)
            });
            cells.push(match counted {
                Ok(count) => count.to_string(),
                Err(error) => {
                    println!("{system}, {name}: {error}");
                    report.failed += 1;
                    "not measured".to_owned()
                }
            });
            rig.end()?;
        }
        lines[usize::from(!system.is_systole())].push(format!("{} at {system}", cells.join(", ")));
        table.row(std::iter::once(system.to_string()).chain(cells));
    }
    let [systole, keepalived] = lines.map(|lines| lines.join("; "));
    report.summary.push([format!("{title} {}", kinds.join(", ")), systole, keepalived]);
    report.tables.push(table);
    Ok(())
}

/// How often the address comes to the second director within so long.
fn takeovers(rig: &mut Rig, length: Span) -> usize {
    let end = clock::now() + length;
    let mut count = 0;
    while clock::now() < end {
        clock::wait(Span::millis(20).min(end - clock::now()));
        rig.forget();
        let address = rig.addresses[0];
        count += rig.arrivals().take().iter().filter(|arrival| arrival.address == address).count();
    }
    count
}
