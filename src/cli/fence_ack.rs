//! `systole fence-ack`: a person stands in for the fence agent.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Confirm that a node is off, where no fence agent could switch it off.
///
/// Only with your hand on its plug: its groups are started here at once, and a node that runs after all then runs them
/// a second time. A node whose beats are heard is refused. Exit status: 0 done, 1 refused, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct FenceAck {
    /// The node that is off
    #[arg(value_name = "NODE")]
    pub node: String,
    #[command(flatten)]
    daemon: Daemon,
}

impl FenceAck {
    /// Looks whether that can be true, then confirms it.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let name = self.node.to_lowercase();
        let status = connection.status()?;
        if let Some(node) = status.nodes.iter().find(|node| node.name == name)
            && matches!(node.liveness.as_str(), "this" | "up" | "late")
        {
            return Err(Failure::NotDone(format!(
                "{name} is not off: it is {}\nswitch it off first, and confirm when its beats have ceased",
                if node.liveness == "this" { "the node that you ask" } else { "heard" }
            )));
        }
        connection.order(&Request::FenceAck { node: name.clone() })?;
        say(&format!("taken as off: {name}\n"));
        Ok(())
    }
}
