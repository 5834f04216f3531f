//! `systole direct`: the process that watches real servers and steers balancers. The daemon has it started, and no person
//! has to.

use std::io;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ring::rand::{SecureRandom, SystemRandom};

use crate::daemon::abort_on_panic;
use crate::director::process;

use super::failure::Failure;

/// Watch the real servers, and steer the balancers. The daemon has this started where there are services.
///
/// Exit status: 0 it was told to end, 2 it cannot run.
#[derive(clap::Args, Debug)]
pub struct Direct {
    /// The run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = "/run/systole")]
    run_dir: PathBuf,
    /// Where orders are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/systole")]
    state_dir: PathBuf,
}

impl Direct {
    /// Runs.
    pub fn run(&self) -> Result<(), Failure> {
        let unusable = |why: String| Failure::Unusable(format!("the director cannot run: {why}"));
        abort_on_panic();
        // A check is a socket.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error: io::Error| unusable(error.to_string()))?;
        let mut seed = [0; 8];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| unusable("the kernel gives no random bytes".to_owned()))?;
        let ended = runtime.block_on(process::run(&self.run_dir, &self.state_dir, u64::from_ne_bytes(seed)));
        ended.map_err(|failed| unusable(failed.to_string()))
    }
}
