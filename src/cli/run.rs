//! `systole run`: the daemon, in the foreground.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use super::check::DEFAULT_PATH;
use crate::config::LoadError;
use crate::daemon::{self, Options, RunError};

/// Run the daemon in the foreground, until it is told to stop and has handed over what it holds.
///
/// SIGTERM hands over and stops, SIGHUP reads the configuration again. RUST_LOG chooses what is logged (info).
///
/// Exit status: 0 if it stopped in good order, 1 if the configuration cannot be used here, 2 if it could not run.
#[derive(clap::Args, Debug)]
pub struct Run {
    /// A systole.toml, or a Heartbeat directory such as /etc/ha.d
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Which node of the configuration this is [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Where it keeps what must survive a reboot
    #[arg(long, value_name = "DIR", default_value = "/var/lib/systole")]
    pub state_dir: PathBuf,
    /// Where it keeps what must survive the daemon, and its control socket
    #[arg(long, value_name = "DIR", default_value = "/run/systole")]
    pub run_dir: PathBuf,
    /// Run no agents, and take what they would do for done: a lab must not touch this machine's services
    #[arg(long, hide = true)]
    pub play_agents: bool,
}

impl Run {
    /// Returns when the daemon has stopped.
    pub fn run(&self) -> ExitCode {
        log_to_stderr();
        let Self { config, node, state_dir, run_dir, play_agents } = self;
        let options = Options {
            config: config.clone(),
            node: node.clone(),
            state_dir: state_dir.clone(),
            // The supervisor of agents looks for it from the root.
            run_dir: std::path::absolute(run_dir).unwrap_or_else(|_| run_dir.clone()),
            play_agents: *play_agents,
        };
        match daemon::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                error!("{why}");
                let mistaken =
                    matches!(why, RunError::Config(LoadError::Wrong(_)) | RunError::NoSuchNode { .. });
                ExitCode::from(if mistaken { 1 } else { 2 })
            }
        }
    }
}

/// With the time, unless it goes to the journal, which has its own.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A log has no colours, also on a terminal.
        .with_ansi(false)
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.with_timer(SystemTime).init();
    }
}
