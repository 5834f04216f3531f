//! `systole stop`: the daemon hands over what it holds and exits.

use crate::control::Request;
use crate::control::shape::Group;
use crate::time::Span;

use super::connection::{Connection, Daemon};
use super::failure::Failure;
use super::handover::Patience;
use super::terminal::{Progress, boot_clock, say, wait_ms};

/// Hand over all groups, then stop the daemon.
///
/// Waits until it is gone. Exit status: 0 done, 1 refused or not done in time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Stop {
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    daemon: Daemon,
}

impl Stop {
    /// Orders, then waits until nobody answers any more.
    pub fn run(&self) -> Result<(), Failure> {
        let mut connection = self.daemon.connect()?;
        let node = connection.status()?.node;
        connection.order(&Request::Stop {})?;
        let limit = Span::seconds(u64::from(self.patience.wait_seconds));
        if limit == Span::ZERO {
            say(&format!("the daemon of {node} is stopping\n"));
            return Ok(());
        }
        let waited = self.until_gone(&mut connection, limit)?;
        say(&format!("the daemon of {node} has stopped, after {waited}\n"));
        Ok(())
    }

    fn until_gone(&self, connection: &mut Connection, limit: Span) -> Result<Span, Failure> {
        let began = boot_clock();
        let mut progress = Progress::default();
        loop {
            let waited = boot_clock() - began;
            let (held, answers) = match connection.status() {
                Ok(status) => {
                    let here = |group: &&Group| group.holder.as_deref() == Some(&*status.node);
                    let names: Vec<&str> =
                        status.groups.iter().filter(here).map(|group| group.name.as_str()).collect();
                    (names.join(", "), true)
                }
                Err(_) => (String::new(), false),
            };
            // A core that is gone and a process that is gone are two things; only the socket tells of the second.
            if !answers && self.daemon.connect().is_err() {
                progress.clear();
                return Ok(waited);
            }
            if waited >= limit {
                progress.clear();
                let still = if held.is_empty() {
                    "it holds nothing any more".to_owned()
                } else {
                    format!("it still holds {held}")
                };
                return Err(Failure::NotDone(format!(
                    "the daemon has not stopped in {waited}: {still}\nit goes on stopping; see `systole events`"
                )));
            }
            if waited >= Span::millis(200) {
                progress.show(&format!("stopping, {waited} {held}"));
            }
            wait_ms(if waited < Span::millis(100) { 2 } else { 50 });
        }
    }
}
