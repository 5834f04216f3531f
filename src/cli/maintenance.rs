//! `systole maintenance`: all resources of the cluster are left alone, or no longer.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Leave all resources of the whole cluster as they are: nothing is started, stopped or moved until it is off again.
///
/// Exit status: 0 done, 1 refused, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Maintenance {
    /// Which of the two
    #[arg(value_enum, value_name = "on|off")]
    pub wanted: Switch,
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
        self.daemon.connect()?.order(&Request::Maintenance { on })?;
        say(if on {
            "maintenance is on: nobody looks after the resources until `systole maintenance off`\n"
        } else {
            "maintenance is off: the resources are looked after again\n"
        });
        Ok(())
    }
}
