//! The table of the README, between two marks.

use std::fs;
use std::path::Path;

use super::{Options, Try};

const BEGIN: &str = "<!-- figures: written by tests/run bench --write-readme -->";
const END: &str = "<!-- end of figures -->";

/// A row: what was measured, of systole, and of keepalived.
pub(crate) type Row = [String; 3];

/// The table, and what it was measured on.
pub(crate) fn text(options: &Options, rows: &[Row]) -> String {
    let mut text = format!("{}\n\n| what | systole | keepalived |\n| --- | --- | --- |\n", origin(options));
    for [what, systole, keepalived] in rows {
        text.push_str(&format!("| {what} | {systole} | {keepalived} |\n"));
    }
    text
}

fn origin(options: &Options) -> String {
    let first = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Milliseconds where nothing else is said, median (least-most) of {} runs, on one machine with {processors} \
         processors and Linux {}.",
        options.runs,
        first("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default(),
    )
}

/// Puts the table between the marks. Rows that were not measured this time stay if they are of as many runs on a machine
/// like this one: so the measurements may be taken one after the other.
pub(crate) fn write(options: &Options, fresh: &[Row]) -> Try<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let file = fs::read_to_string(&path)?;
    let (before, rest) = file.split_once(BEGIN).ok_or("the first mark is missing")?;
    let (old, after) = rest.split_once(END).ok_or("the second mark is missing")?;
    let mut rows = if old.contains(&origin(options)) { rows(old) } else { Vec::new() };
    for row in fresh {
        match rows.iter_mut().find(|known| known[0] == row[0]) {
            Some(known) => known.clone_from(row),
            None => rows.push(row.clone()),
        }
    }
    Ok(fs::write(path, format!("{before}{BEGIN}\n\n{}\n{END}{after}", text(options, &rows)))?)
}

/// The rows of a table that [`text`] wrote, without its head.
fn rows(text: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.filter_map(|line| Vec::try_into(cells(line)).ok()).collect()
}
