//! The table of the README, between two marks.

use std::fs;
use std::path::Path;

use super::{Options, Try};

const BEGIN: &str = "<!-- figures: written by tests/run bench --write-readme -->";
const END: &str = "<!-- end of figures -->";

/// The table, and what it was measured on.
pub(crate) fn text(options: &Options, summary: &[[String; 3]]) -> String {
    let first = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "Milliseconds where nothing else is said, median (least-most) of {} runs, on one machine with {processors} \
         processors and Linux {}.\n\n| what | systole | keepalived |\n| --- | --- | --- |\n",
        options.runs,
        first("/proc/sys/kernel/osrelease"),
    );
    for [what, systole, keepalived] in summary {
        text.push_str(&format!("| {what} | {systole} | {keepalived} |\n"));
    }
    text
}

/// Puts the text between the marks.
pub(crate) fn write(text: &str) -> Try<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let old = fs::read_to_string(&path)?;
    let (before, rest) = old.split_once(BEGIN).ok_or("the first mark is missing")?;
    let (_, after) = rest.split_once(END).ok_or("the second mark is missing")?;
    Ok(fs::write(path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?)
}
