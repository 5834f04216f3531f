//! `systole supervise`: the process that runs agents. The daemon or systemd starts it, and no person has to.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::agents::call::OCF_MARKS;
use crate::agents::supervisor;
use crate::daemon::abort_on_panic;

use super::failure::Failure;

/// Run agents for the daemon, outside of its sandbox. systemd or the daemon starts this.
///
/// Exit status: 0 nobody needs it any more, or another one serves there, 2 it cannot listen.
#[derive(clap::Args, Debug)]
pub struct Supervise {
    /// The run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = "/run/systole")]
    run_dir: PathBuf,
    /// End when no daemon has been connected for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    idle: u64,
    /// Run nothing, and say that all is done
    #[arg(long)]
    play: bool,
}

impl Supervise {
    /// Serves.
    pub fn run(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            let place = self.run_dir.display();
            Failure::Unusable(format!(
                "agents cannot be run from {place}: {error}\nlook who owns that directory"
            ))
        };
        let run_dir = std::path::absolute(&self.run_dir).unwrap_or_else(|_| self.run_dir.clone());
        // An errand that was lost with a panic would never be answered; the next supervisor is asked again.
        abort_on_panic();
        // Each agent is some files. And what starts from here starts at the root.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        let _ = std::env::set_current_dir("/");
        // Agents keep their marks there. Who may not make it runs agents that say so better.
        let _ = std::fs::create_dir_all(OCF_MARKS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let serve = async {
            let Some(supervisor) = supervisor::listen(&run_dir).await? else { return Ok(()) };
            supervisor::serve(supervisor, Duration::from_secs(self.idle.max(1)), self.play).await
        };
        runtime.block_on(serve).map_err(failed)
    }
}
