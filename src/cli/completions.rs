//! `systole completions`: what a shell needs to complete our words, from the same table that parses them.

use clap_complete::{Shell, generate};

use super::failure::Failure;
use super::terminal::say;

/// Print the completions for a shell, for example: systole completions bash > /etc/bash_completion.d/systole
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

impl Completions {
    /// Of this command line.
    pub fn run(&self, command: &mut clap::Command) -> Result<(), Failure> {
        let mut text = Vec::new();
        generate(self.shell, command, "systole", &mut text);
        say(&String::from_utf8_lossy(&text));
        Ok(())
    }
}
