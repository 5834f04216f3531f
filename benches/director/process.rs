//! What processes have used: all of a tree, as one of the peers checks in many.

use std::fs;

/// What a process and those that it has started have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Alive now.
    pub(crate) processes: usize,
    /// Nanoseconds of processors' time of those that are alive, and of those of theirs that were waited for.
    pub(crate) nanoseconds: u64,
    /// The memory that is shared is counted by halves, thirds and so on.
    pub(crate) proportional_kb: u64,
    /// The most that one of them has ever had.
    pub(crate) most_kb: u64,
}

/// A field of /proc/PID/status or smaps_rollup, in kB.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The fields of /proc/PID/stat behind the name, which stands in brackets and may hold anything.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect())
}

/// This process and all below it.
fn tree(first: u32) -> Vec<u32> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Some(pid) = entry.unwrap().file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.first().copied()) {
            pairs.push((pid, u32::try_from(parent).unwrap_or(0)));
        }
    }
    let mut all = vec![first];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        all.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

/// Processors' time is counted in these.
const TICKS_A_SECOND: u64 = 100;

/// What they have used until now.
pub(crate) fn used(first: u32) -> Used {
    let mut used = Used::default();
    for pid in tree(first) {
        let Some(fields) = stat(pid) else { continue };
        used.processes += 1;
        // utime, stime, cutime, cstime: the fourteenth to the seventeenth field, of which the third is the first here.
        let ticks: u64 = fields.get(10..14).unwrap_or_default().iter().sum();
        used.nanoseconds += ticks * (1_000_000_000 / TICKS_A_SECOND);
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        used.proportional_kb += field(&rollup, "Pss:");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        used.most_kb = used.most_kb.max(field(&status, "VmHWM:"));
    }
    used
}

/// In megabytes.
pub(crate) fn megabytes(kb: u64) -> String {
    format!("{:.1}", kb as f64 / 1_000.0)
}
