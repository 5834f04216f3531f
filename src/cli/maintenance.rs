//! `systole maintenance`: the resources of the cluster, or of one group, are left alone, or no longer.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Leave all resources of the whole cluster, or of one group, as they are: nothing is started, stopped or moved until it is
/// off again. A group that loses its lease is stopped all the same.
///
/// Exit status: 0 done, 1 refused, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Maintenance {
    /// Which of the two
    #[arg(value_enum, value_name = "on|off")]
    pub wanted: Switch,
    /// Of this group only
    #[arg(value_name = "GROUP")]
    pub group: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// Resources are left alone.
    On,
    /// They are looked after.
    Off,
}

impl Maintenance {
    /// Orders.
    pub fn run(&self) -> Result<(), Failure> {
        let on = self.wanted == Switch::On;
        let mut daemon = self.daemon.connect()?;
        daemon.order(&Request::Maintenance { on, group: self.group.clone() })?;
        say(&match (&self.group, on) {
            (None, true) => {
                "maintenance is on: nobody looks after the resources until `systole maintenance off`\n"
                    .to_owned()
            }
            (Some(group), true) => format!(
                "maintenance of {group} is on: nobody looks after it until `systole maintenance off {group}`\n"
            ),
            (Some(group), false) => format!("maintenance of {group} is off: it is looked after again\n"),
            (None, false) => {
                let groups = daemon.status()?.groups;
                let alone: Vec<&str> = groups
                    .iter()
                    .filter(|group| group.maintenance)
                    .map(|group| group.name.as_str())
                    .collect();
                match &alone[..] {
                    [] => "maintenance is off: the resources are looked after again\n".to_owned(),
                    alone => format!(
                        "maintenance is off: the resources are looked after again, but for those of {0}: `systole maintenance off {0}`\n",
                        alone.join(", ")
                    ),
                }
            }
        });
        Ok(())
    }
}
