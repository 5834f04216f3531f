//! The binary: parse the command line, dispatch, choose the exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use systole::cli::check::Check;

/// A cluster manager for active/passive director pairs
#[derive(Debug, Parser)]
#[command(name = "systole", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check(check) => check.run(),
    }
}
