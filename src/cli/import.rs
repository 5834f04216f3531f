//! `systole import`: another program's configuration as a `systole.toml`.

use std::fs;
use std::path::PathBuf;

use crate::config::import::{Imported, keepalived, ldirectord, lvs};
use crate::config::limits;

use super::failure::Failure;
use super::terminal::{complain, say};

const NAME_IT: &str = "name a keepalived.conf, an ldirectord.cf or an lvs.cf";

/// What begins a block of keepalived's.
const OF_KEEPALIVED: &[&str] = &[
    "virtual_server",
    "virtual_server_group",
    "vrrp_instance",
    "vrrp_sync_group",
    "vrrp_script",
    "global_defs",
];

/// Print another program's configuration as parts of a systole.toml, and say what could not be carried over.
///
/// It reads keepalived.conf (its virtual servers), ldirectord.cf and lvs.cf. A directory of Heartbeat's needs no import:
/// --config reads it as it stands. Exit status: 0 all of it was carried over, 1 all but what is said on standard error, 2 it
/// cannot be read.
#[derive(clap::Args, Debug)]
pub struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

impl Import {
    /// Reads, and prints.
    pub fn run(&self) -> Result<(), Failure> {
        let path = self.file.display();
        if self.file.is_dir() {
            return Err(Failure::Unusable(format!(
                "{path} is a directory\nHeartbeat's needs no import: `systole check --config {path}`, and then `systole run --config {path}`"
            )));
        }
        let text = fs::read(&self.file)
            .map_err(|error| Failure::Unusable(format!("{path} cannot be read: {error}\n{NAME_IT}")))?;
        let text = String::from_utf8(text).ok().filter(|text| text.len() <= limits::FILE_BYTES);
        let text = text.ok_or_else(|| {
            Failure::Unusable(format!("{path} is no text, or too long for a configuration\n{NAME_IT}"))
        })?;
        let Some(read) = reader(&text) else {
            return Err(Failure::Unusable(format!(
                "{path} is no keepalived.conf, ldirectord.cf or lvs.cf\nwhat stands for what in other files is in docs/migrating.md"
            )));
        };
        let Imported { toml, left } = read(&text);
        say(&toml);
        if left.is_empty() {
            return Ok(());
        }
        for one in &left {
            complain(&format!("{path}:{}: {}\n", one.line, one.what));
        }
        let many =
            if left.len() == 1 { "one thing is".to_owned() } else { format!("{} things are", left.len()) };
        Err(Failure::NotDone(format!("{many} not as in {path}: see above, and then `systole check`")))
    }
}

/// Who reads such a file: keepalived's blocks have names of their own, one of the others has directives and blocks in
/// brackets, and one indented lines.
fn reader(text: &str) -> Option<fn(&str) -> Imported> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let is_virtual = |line: &str| {
        let line = line.strip_prefix("virtual6").or_else(|| line.strip_prefix("virtual"));
        line.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let begins_block = |line: &str| {
        let word = line.split(|c: char| c.is_whitespace() || c == '{').next();
        word.is_some_and(|word| OF_KEEPALIVED.contains(&word))
    };
    if lines().any(begins_block) {
        Some(keepalived)
    } else if lines().any(is_virtual) {
        Some(ldirectord)
    } else if lines().any(|line| line.starts_with("virtual ") && line.ends_with('{')) {
        Some(lvs)
    } else {
        None
    }
}
