//! The binary: parse the command line, dispatch, choose the exit code.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use systole::cli::check::Check;
use systole::cli::run::Run;

/// A cluster manager for active/passive director pairs
#[derive(Debug, Parser)]
#[command(name = "systole", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    Check(Check),
}

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Run(run) }) => run.run(),
        Ok(Arguments { command: Command::Check(check) }) => check.run(),
        Err(error) => with_tip(error).exit(),
    }
}

/// A bare word is nearly always the configuration, as other programs take it.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let is_word =
        |value: &ContextValue| matches!(value, ContextValue::String(text) if !text.starts_with("--"));
    if error.kind() == ErrorKind::UnknownArgument && error.get(ContextKind::InvalidArg).is_some_and(is_word) {
        let tip = "the configuration is named with --config PATH".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}
