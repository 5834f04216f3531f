//! `systole cleanup`: the failures of a group are forgotten, and it is tried again.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Forget the failures of a group on the node that is asked, and try it again.
///
/// Exit status: 0 done, 1 refused, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Cleanup {
    /// The group
    #[arg(value_name = "GROUP")]
    pub group: String,
    /// Taken for those who are used to naming it; failures are forgotten for a group as a whole
    #[arg(value_name = "RESOURCE")]
    pub resource: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Cleanup {
    /// Orders.
    pub fn run(&self) -> Result<(), Failure> {
        let group = &self.group;
        self.daemon.connect()?.order(&Request::Cleanup { group: group.clone() })?;
        let whole = match &self.resource {
            Some(resource) => format!("; that is the whole group, and not {resource} alone"),
            None => String::new(),
        };
        say(&format!("the failures of {group} on this node are forgotten{whole}\n"));
        Ok(())
    }
}
