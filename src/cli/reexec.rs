//! `systole reexec`: the program on disk takes the running daemon's place, in the same process.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::shape::Status;
use crate::time::Span;

use super::connection::Daemon;
use super::failure::Failure;
use super::handover::Patience;
use super::terminal::{boot_clock, say, wait_ms};

/// Let the program on disk take the running daemon's place, in the same process; no resource is touched.
///
/// The new program is asked first whether it can read the configuration. Exit status: 0 done, 1 refused or not done in
/// time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Reexec {
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    daemon: Daemon,
}

impl Reexec {
    /// Tells the daemon, then waits for its next life.
    pub fn run(&self) -> Result<(), Failure> {
        let Status { pid, life, node, .. } = self.daemon.connect()?.status()?;
        let process = Pid::from_raw(i32::try_from(pid).unwrap_or_default());
        kill(process, Signal::SIGUSR2).map_err(|error| {
            Failure::NotDone(format!(
                "the daemon of {node} (pid {pid}) cannot be told: {error}; ask again as root"
            ))
        })?;
        let limit = Span::seconds(u64::from(self.patience.wait_seconds));
        let began = boot_clock();
        loop {
            let waited = boot_clock() - began;
            let now = self.daemon.connect().and_then(|mut connection| connection.status());
            if now.is_ok_and(|now| now.life != life) {
                say(&format!("a new program runs as the daemon of {node}, after {waited}\n"));
                return Ok(());
            }
            if waited >= limit {
                return Err(Failure::NotDone(format!(
                    "the daemon of {node} goes on as it was: `systole status` shows an alarm that says why"
                )));
            }
            wait_ms(5);
        }
    }
}
