//! `systole check`: every mistake of a configuration, with its place and what to write instead.

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Config, LoadError, Loaded, Report, Severity};
use crate::daemon::{machine, which_node};

use super::connection::Daemon;
use super::failure::finish;
use super::firewall::{self, Firewall};
use super::terminal::{complain, say, wants_colour};
use super::{announce, peers};

/// Where the configuration is, unless the caller says otherwise.
pub const DEFAULT_PATH: &str = "/etc/systole/systole.toml";

/// Read the configuration and print every mistake with its place and what to write instead.
///
/// Exit status: 0 if it can be used, 1 if there are mistakes or nodes differ, 2 if it could not be read or no daemon was
/// reached.
#[derive(clap::Args, Debug)]
pub struct Check {
    /// A systole.toml, or a Heartbeat directory such as /etc/ha.d
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Ask the running daemon, too, whether all nodes have this configuration
    #[arg(long)]
    pub peers: bool,
    /// Try, as root, on a spare address whether the network takes an announcement; nothing else is checked
    #[arg(long, value_name = "ADDRESS", conflicts_with = "peers")]
    pub announce: Option<IpAddr>,
    /// The interface for the spare address [default: the one in its network]
    #[arg(long, value_name = "NAME", requires = "announce")]
    pub interface: Option<String>,
    /// Print the firewall's lines that the links of this configuration need, and nothing else
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "nft", conflicts_with_all = ["peers", "announce"])]
    pub firewall: Option<Firewall>,
    /// Where this node's units and programs are looked for: an image that is mounted there
    #[arg(long, value_name = "DIR", default_value = "/", conflicts_with_all = ["announce", "firewall"])]
    pub root: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

impl Check {
    /// Mistakes go to standard error, and so do warnings; what was understood goes to standard output.
    pub fn run(&self) -> ExitCode {
        if let Some(address) = self.announce {
            return finish(announce::attempt(address, self.interface.as_deref()));
        }
        let loaded = match read(&self.config) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        if let Some(firewall) = self.firewall {
            say(&firewall::lines(&loaded.config, firewall));
            return ExitCode::SUCCESS;
        }
        tell(&loaded, &self.root);
        if self.peers {
            return finish(peers::check(&loaded.config, &self.daemon));
        }
        ExitCode::SUCCESS
    }
}

/// Reads it; what is wrong with it goes to standard error. Without a configuration, the code to end with.
pub(super) fn read(path: &Path) -> Result<Loaded, ExitCode> {
    let colour = wants_colour(io::stderr().is_terminal());
    match config::load(path) {
        Ok(loaded) => {
            complain(&loaded.warnings.render(colour));
            Ok(loaded)
        }
        Err(LoadError::Wrong(report)) => {
            complain(&report.render(colour));
            complain(&verdict(&report, &path.display().to_string()));
            Err(ExitCode::from(1))
        }
        Err(error @ LoadError::Unusable { .. }) => {
            complain(&format!("{error}\n"));
            Err(ExitCode::from(2))
        }
    }
}

/// What of this machine does not go with it, to standard error; what was understood, to standard output.
pub(super) fn tell(loaded: &Loaded, root: &Path) {
    let node = which_node(&loaded.config, None).ok();
    let remarks = machine::remarks(&loaded.config, node, root);
    for remark in &remarks {
        complain(&format!("warning: on this machine {remark}\n"));
    }
    say(&summary(&loaded.config, loaded.warnings.count(Severity::Warning) + remarks.len()));
}

fn verdict(report: &Report, path: &str) -> String {
    let mistakes = counted(report.count(Severity::Mistake) + report.left_out, "mistake");
    let warnings = counted(report.count(Severity::Warning), "warning");
    format!("{path} cannot be used: {mistakes}, {warnings}. Mend the mistakes, and check again.\n")
}

fn summary(config: &Config, warnings: usize) -> String {
    let arbiters = config.nodes.values().filter(|node| node.arbiter).count();
    let mut parts = vec![counted(config.nodes.len() - arbiters, "node")];
    if arbiters > 0 {
        parts.push(counted(arbiters, "arbiter"));
    }
    parts.push(counted(config.links.len(), "link"));
    parts.push(counted(config.groups.len(), "group"));
    parts.push(counted(warnings, "warning"));
    format!("cluster {}: {}; deadtime {}\n", config.cluster, parts.join(", "), config.timing.deadtime)
}

fn counted(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
