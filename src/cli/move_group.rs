//! `systole move`: a group goes to a node, by a planned hand-over.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::handover::{Goal, Patience, wait};
use super::terminal::say;

/// Bring a group to a node; it stays there while that node can serve it.
///
/// Waits until it runs there. Exit status: 0 done, 1 refused or not done in time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Move {
    /// The group
    #[arg(value_name = "GROUP")]
    pub group: String,
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    daemon: Daemon,
}

impl Move {
    /// Orders, then waits.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let (group, node) = (self.group.clone(), self.node.to_lowercase());
        connection.order(&Request::Move { group: group.clone(), node: node.clone() })?;
        if self.patience.wait_seconds == 0 {
            say(&format!("ordered to {node}: {group}\n"));
        }
        wait(&mut connection, &[group], &Goal::On(node), self.patience)
    }
}
