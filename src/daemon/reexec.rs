//! A new version takes the old one's place in the same process: `systole reexec`, SIGUSR2.
//!
//! What it needs is in /run already: the new version goes on from the memory of the old one, as after a crash, only
//! sooner. The leases in the kernel run on meanwhile, and no resource is touched. Before anything is given up, the new
//! version is asked whether it runs at all here and can read the configuration.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::process;
use tracing::info;

use crate::config::Config;
use crate::types::NodeId;

use super::notify::Notifier;
use super::watchdog;

/// What the kernel writes behind the path of a program whose file was replaced.
const REPLACED: &str = " (deleted)";

/// This program, as it is on disk now.
pub(super) fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(PathBuf::from(path.to_string_lossy().trim_end_matches(REPLACED)))
}

/// Does not return if it succeeds; else says why it did not.
pub(super) async fn replace(
    path: &Path,
    (running, node): (&Config, NodeId),
    notifier: &mut Notifier,
) -> String {
    // Nobody would tell a device that is taken out of the file to stop counting.
    let refused = match crate::config::load(path) {
        Ok(loaded) => watchdog::cannot_change(running, &loaded.config, node),
        Err(_) if running.watchdog.is_some() => Some("this version cannot read the configuration any more"),
        Err(_) => None,
    };
    if let Some(why) = refused {
        return why.to_owned();
    }
    let program = match program() {
        Ok(program) => program,
        Err(error) => return format!("its program cannot be found: {error}"),
    };
    let check = process::Command::new(&program).arg("check").arg("--config").arg(path).output().await;
    match check {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("it says nothing");
            return format!("{} check refuses the configuration: {first}", program.display());
        }
        Err(error) => return format!("{} cannot be run: {error}", program.display()),
    }
    // The new version would not know what it is the parent of.
    notifier.finish().await;
    info!("{} takes this daemon's place", program.display());
    let error = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    format!("{} cannot be run: {error}", program.display())
}
