//! `systole reload`: the daemon reads its configuration again.

use crate::control::Request;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Let the daemon read its configuration and its keys again; what is unchanged goes on untouched.
///
/// A configuration with mistakes is refused, and the old one stays: see `systole check`. Exit status: 0 done, 1 refused,
/// 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Reload {
    #[command(flatten)]
    daemon: Daemon,
}

impl Reload {
    /// Orders.
    pub fn run(&self) -> Result<(), Failure> {
        self.daemon.connect()?.order(&Request::Reload {})?;
        say("the configuration was read again and is in use\n");
        Ok(())
    }
}
