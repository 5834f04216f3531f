//! The binary: parse the command line, dispatch, choose the exit code.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use systole::cli::advise::Advise;
use systole::cli::agent::Agent;
use systole::cli::check::Check;
use systole::cli::cleanup::Cleanup;
use systole::cli::completions::Completions;
use systole::cli::copy::Copy;
use systole::cli::demo::Demo;
use systole::cli::direct::Direct;
use systole::cli::events::Events;
use systole::cli::fence_ack::FenceAck;
use systole::cli::finish;
use systole::cli::import::Import;
use systole::cli::key::Key;
use systole::cli::lab::Lab;
use systole::cli::maintenance::Maintenance;
use systole::cli::move_group::Move;
use systole::cli::online::Online;
use systole::cli::other_names::{Meant, meant};
use systole::cli::pool::Pool;
use systole::cli::reexec::Reexec;
use systole::cli::reload::Reload;
use systole::cli::run::Run;
use systole::cli::simulate::Simulate;
use systole::cli::standby::Standby;
use systole::cli::status::Status;
use systole::cli::stop::Stop;
use systole::cli::supervise::Supervise;
use systole::cli::takeover::Takeover;
use systole::cli::why::Why;

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
    Simulate(Simulate),
    Advise(Advise),
    Status(Status),
    Why(Why),
    Events(Events),
    Standby(Standby),
    Online(Online),
    Takeover(Takeover),
    Move(Move),
    Pool(Pool),
    Maintenance(Maintenance),
    Cleanup(Cleanup),
    FenceAck(FenceAck),
    Copy(Copy),
    Reload(Reload),
    Reexec(Reexec),
    Stop(Stop),
    #[command(hide = true)]
    Supervise(Supervise),
    #[command(hide = true)]
    Direct(Direct),
    Key(Key),
    Import(Import),
    Agent(Agent),
    Demo(Demo),
    Lab(Lab),
    Completions(Completions),
}

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let parsed = match meant(&arguments) {
        Meant::AsItStands => Arguments::try_parse(),
        Meant::Words(words) => Arguments::try_parse_from(words),
        Meant::Done(code) => return code,
    };
    match parsed {
        Ok(Arguments { command }) => run(&command),
        Err(error) => with_tip(error).exit(),
    }
}

fn run(command: &Command) -> ExitCode {
    match command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Advise(advise) => finish(advise.run()),
        Command::Simulate(simulate) => simulate.run(),
        Command::Status(status) => finish(status.run()),
        Command::Why(why) => finish(why.run()),
        Command::Events(events) => finish(events.run()),
        Command::Standby(standby) => finish(standby.run()),
        Command::Online(online) => finish(online.run()),
        Command::Takeover(takeover) => finish(takeover.run()),
        Command::Move(order) => finish(order.run()),
        Command::Maintenance(maintenance) => finish(maintenance.run()),
        Command::Cleanup(cleanup) => finish(cleanup.run()),
        Command::FenceAck(confirmed) => finish(confirmed.run()),
        Command::Copy(copy) => copy.run(),
        Command::Reload(reload) => finish(reload.run()),
        Command::Reexec(reexec) => finish(reexec.run()),
        Command::Stop(stop) => finish(stop.run()),
        Command::Supervise(supervise) => finish(supervise.run()),
        Command::Direct(direct) => finish(direct.run()),
        Command::Pool(pool) => finish(pool.run()),
        Command::Key(key) => finish(key.run()),
        Command::Import(import) => finish(import.run()),
        Command::Agent(agent) => finish(agent.run()),
        Command::Demo(demo) => demo.run(),
        Command::Lab(lab) => lab.run(),
        Command::Completions(completions) => finish(completions.run(&mut Arguments::command())),
    }
}

/// Behind `check` a bare word is nearly always the configuration, as other programs take it.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let is_word =
        |value: &ContextValue| matches!(value, ContextValue::String(text) if !text.starts_with("--"));
    let is_check = std::env::args_os().nth(1).is_some_and(|first| first == "check");
    if is_check
        && error.kind() == ErrorKind::UnknownArgument
        && error.get(ContextKind::InvalidArg).is_some_and(is_word)
    {
        let tip = "the configuration is named with --config PATH".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}
