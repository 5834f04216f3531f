//! `systole online`: takes back what `standby`, `move` and `takeover` ordered.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Let a node own groups again after `systole standby`; or end the orders about the groups named.
///
/// Where groups go then is as the configuration says. Exit status: 0 done, 1 refused, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Online {
    /// End what `move`, `takeover` or `standby` ordered about these groups, and nothing else
    #[arg(value_name = "GROUP", conflicts_with = "node")]
    pub groups: Vec<String>,
    /// The node; by default the one that is asked
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Online {
    /// Orders; there is nothing to wait for, because it may well be that nothing moves.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        if self.groups.is_empty() {
            connection.order(&Request::Online { node: self.node.clone() })?;
            let node = match &self.node {
                Some(node) => node.to_lowercase(),
                None => connection.status()?.node,
            };
            say(&format!("{node} may own groups again\n"));
            return Ok(());
        }
        for group in &self.groups {
            connection.order(&Request::Unmove { group: group.clone() })?;
            say(&format!("{group} goes where the configuration says\n"));
        }
        Ok(())
    }
}
