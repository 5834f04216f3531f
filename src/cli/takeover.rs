//! `systole takeover`: the node that is asked gets groups, by a planned hand-over.

use crate::control::Request;
use crate::control::shape::{Group, Status};

use super::connection::Daemon;
use super::failure::Failure;
use super::handover::{Goal, Patience, wait};
use super::terminal::say;

/// Bring groups to this node: those named, or all that it may own.
///
/// Waits until they run here. Exit status: 0 done, 1 refused or not done in time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Takeover {
    /// The groups; by default all that this node may own
    #[arg(value_name = "GROUP")]
    pub groups: Vec<String>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    daemon: Daemon,
}

impl Takeover {
    /// Orders, then waits.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let status = connection.status()?;
        let groups = if self.groups.is_empty() { all(&status) } else { self.groups.clone() };
        if groups.is_empty() {
            return Err(Failure::NotDone(format!(
                "{} may own no group: see the configuration, or `systole status`",
                status.node
            )));
        }
        for group in &groups {
            connection.order(&Request::Takeover { group: group.clone() })?;
        }
        wait(&mut connection, &groups, &Goal::On(status.node.clone()), self.patience)?;
        if self.patience.wait_seconds == 0 {
            say(&format!("ordered to {}: {}\n", status.node, groups.join(", ")));
        }
        Ok(())
    }
}

/// A group that goes with another comes along with it, and the instances of a clone are to be spread: neither is ordered.
fn all(status: &Status) -> Vec<String> {
    let here = |group: &&Group| group.nodes.iter().any(|able| able.node == status.node);
    let groups = status.groups.iter().filter(here).filter(|group| is_ordinary(group));
    groups.map(|group| group.name.clone()).collect()
}

/// Neither a follower of another group, nor an instance of a clone.
pub(super) fn is_ordinary(group: &Group) -> bool {
    group.because.get("kind").is_none_or(|kind| kind != "with") && group.instance.is_none()
}
