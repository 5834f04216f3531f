//! `systole standby`: a node hands its groups over and owns nothing, or gives away some of them.

use crate::control::Request;
use crate::control::shape::Status;

use super::connection::{Connection, Daemon};
use super::failure::Failure;
use super::handover::{Goal, Patience, wait};
use super::terminal::say;

/// Hand over all groups of a node, which then owns nothing until `systole online`; or only the groups named.
///
/// Waits until they run elsewhere. Exit status: 0 done, 1 refused or not done in time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Standby {
    /// Only these groups; the node goes on owning the others
    #[arg(value_name = "GROUP")]
    pub groups: Vec<String>,
    /// The node; by default the one that is asked
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    daemon: Daemon,
}

impl Standby {
    /// Orders, then waits.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let before = connection.status()?;
        let node = self.node.as_ref().map_or_else(|| before.node.clone(), |node| node.to_lowercase());
        let held = held_by(&before, &node);
        self.order(&mut connection, &node)?;
        let moving: Vec<String> = match self.groups.as_slice() {
            [] => held,
            named => held.into_iter().filter(|group| named.contains(group)).collect(),
        };
        wait(&mut connection, &moving, &Goal::NotOn(node.clone()), self.patience)?;
        let settled = if self.groups.is_empty() {
            format!("{node} is on standby; `systole online --node {node}` takes that back\n")
        } else if moving.is_empty() {
            format!("{node} holds none of these; it is not to have them while another can serve them\n")
        } else {
            String::new()
        };
        say(&settled);
        Ok(())
    }

    fn order(&self, connection: &mut Connection, node: &str) -> Result<(), Failure> {
        let node = Some(node.to_owned());
        if self.groups.is_empty() {
            return connection.order(&Request::Standby { node });
        }
        self.groups.iter().try_for_each(|group| {
            connection.order(&Request::Avoid { group: group.clone(), node: node.clone() })
        })
    }
}

fn held_by(status: &Status, node: &str) -> Vec<String> {
    let held = status.groups.iter().filter(|group| group.holder.as_deref() == Some(node));
    held.map(|group| group.name.clone()).collect()
}
