//! `systole agent`: finds resource agents, describes them, runs one action by hand, tries whether one keeps to the rules,
//! and makes a new one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agents::call::{Asked, Call, Given, OCF_MARKS};
use crate::agents::conform::{Ruling, Trial, describe};
use crate::agents::metadata::{Advice, MetaData, Parameter, duration};
use crate::agents::{Agent as Program, Class, Found, find, shelves};
use crate::cluster::Outcome;
use crate::time::Span;

use super::failure::Failure;
use super::terminal::say;

/// The shape of what `--json` prints.
const VERSION: u32 = 1;

/// What `new` writes, with NAME for the name.
const SKELETON: &str = include_str!("../agents/skeleton.sh");

/// Find, describe, run, try and make resource agents.
///
/// Exit status: 0 done, 1 it failed or does not run, 2 there is no such agent or action.
#[derive(clap::Args, Debug)]
pub struct Agent {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// List the agents of this machine, in the order in which a bare name is looked up
    List {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say which agent a name means here, what it takes, and what else has that name
    Info {
        /// A bare name, or ocf:PROVIDER:NAME, systemd:UNIT, lsb:SCRIPT, heartbeat:SCRIPT
        #[arg(value_name = "NAME")]
        name: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Run one action of an agent by hand, and show all that it prints
    Run {
        /// A name as for `info`, or a file
        #[arg(value_name = "AGENT")]
        name: String,
        /// start, stop, monitor, or whatever else it knows
        #[arg(value_name = "ACTION")]
        action: String,
        /// Its parameters as NAME=VALUE; of Heartbeat's scripts its arguments
        #[arg(value_name = "PARAMETER")]
        given: Vec<String>,
        /// Kill it after so long, such as 30s; by default after what the agent itself advises
        #[arg(long, value_name = "TIME", value_parser = limit)]
        timeout: Option<Span>,
        /// For which resource: RESOURCE@GROUP is one that the daemon runs
        #[arg(long, value_name = "NAME", default_value = "by-hand")]
        instance: String,
    },
    /// Try whether an agent keeps to the rules: it is started, stopped and killed, several times
    Test {
        /// A file, or a name as for `info`
        #[arg(value_name = "AGENT")]
        name: String,
        /// As for `run`
        #[arg(value_name = "PARAMETER")]
        given: Vec<String>,
    },
    /// Write a small working agent to begin with, into the present folder
    New {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

fn limit(text: &str) -> Result<Span, String> {
    duration(text)
        .filter(|span| *span > Span::ZERO)
        .ok_or_else(|| format!("{text:?} is no time: write 30s, 500ms or 2min"))
}

impl Agent {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::List { json } => {
                list(&shelves(Path::new("/")), *json);
                Ok(())
            }
            What::Info { name, json } => info(&found(name)?, *json),
            What::Run { name, action, given, timeout, instance } => {
                let agent = program(name)?;
                run(&agent, action, &read(&agent.class, given)?, instance, *timeout)
            }
            What::Test { name, given } => {
                let agent = program(name)?;
                test(&agent, &read(&agent.class, given)?)
            }
            What::New { name } => new(name),
        }
    }
}

fn found(name: &str) -> Result<Found, Failure> {
    find(name, Path::new("/")).map_err(Failure::Unusable)
}

/// A file is an agent of OCF's, for that is what everybody writes now; any other is named.
fn program(name: &str) -> Result<Program, Failure> {
    if !name.contains('/') {
        return Ok(found(name)?.agent);
    }
    let path = fs::canonicalize(name)
        .map_err(|error| Failure::Unusable(format!("{name} cannot be read: {error}")))?;
    Ok(found(&path.to_string_lossy())?.agent)
}

/// `NAME=VALUE` is a parameter with a name; of Heartbeat's scripts everything is an argument.
fn read(class: &Class, given: &[String]) -> Result<Given, Failure> {
    let mut read = Given::default();
    let by_name = |word: &str| {
        let (name, value) = word.split_once('=')?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        is_name.then(|| (name.to_owned(), value.to_owned()))
    };
    for word in given {
        match by_name(word) {
            Some((name, value)) if *class != Class::Heartbeat => {
                if read.params.insert(name.clone(), value).is_some() {
                    return Err(Failure::Unusable(format!("{name} is given twice")));
                }
            }
            _ => read.args.push(word.clone()),
        }
    }
    Ok(read)
}

// --- list and info ---

fn list(agents: &[Program], as_json: bool) {
    if as_json {
        let all: Vec<Value> = agents.iter().map(as_value).collect();
        say(&format!("{}\n", json!({ "version": VERSION, "agents": all })));
        return;
    }
    let mut by_folder: Vec<(String, Vec<String>)> =
        vec![("built in".to_owned(), ["vip", "clusterip"].map(str::to_owned).to_vec())];
    for agent in agents {
        let folder = agent.path.parent().unwrap_or(&agent.path).display().to_string();
        match by_folder.last_mut().filter(|(last, _)| *last == folder) {
            Some((_, names)) => names.push(agent.to_string()),
            None => by_folder.push((folder, vec![agent.to_string()])),
        }
    }
    let mut text = String::new();
    for (folder, names) in by_folder {
        text.push_str(&format!("{folder}\n"));
        names.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
    }
    text.push_str("systemd's units, as systemd:UNIT\n  see them with `systemctl list-unit-files`\n");
    say(&text);
}

fn as_value(agent: &Program) -> Value {
    json!({ "agent": agent.to_string(), "path": agent.path })
}

fn info(found: &Found, as_json: bool) -> Result<(), Failure> {
    let Found { agent, others } = found;
    let described = match agent.class {
        Class::Ocf { .. } => Some(runtime()?.block_on(describe(agent))),
        Class::BuiltIn | Class::Heartbeat | Class::Systemd | Class::Lsb => None,
    };
    if as_json {
        let mut value = as_value(agent);
        value["version"] = json!(VERSION);
        value["others"] = others.iter().map(as_value).collect();
        value["described"] = match &described {
            Some(Ok(data)) => described_as_value(data),
            Some(Err(_)) | None => Value::Null,
        };
        say(&format!("{value}\n"));
        return Ok(());
    }
    say(&info_text(agent, described.as_ref(), others));
    Ok(())
}

fn info_text(agent: &Program, described: Option<&Result<MetaData, String>>, others: &[Program]) -> String {
    let mut text = match agent.class {
        Class::BuiltIn => format!("{agent}  carried by systole itself\n"),
        Class::Heartbeat | Class::Ocf { .. } | Class::Systemd | Class::Lsb => {
            format!("{agent}  {}\n", agent.path.display())
        }
    };
    match described {
        Some(Ok(data)) => text.push_str(&described_text(data)),
        Some(Err(why)) => text.push_str(&format!("  it does not describe itself: {why}\n")),
        None => text.push_str(match agent.class {
            Class::Heartbeat => {
                "  its arguments stand before start, stop or status; what they are its author knows\n"
            }
            Class::BuiltIn => "  address=ADDRESS/PREFIX, one or several; see docs/configuration.md\n",
            Class::Systemd | Class::Lsb | Class::Ocf { .. } => "  it takes no parameters\n",
        }),
    }
    if !others.is_empty() {
        text.push_str("other agents of this name, which are meant only where they are named so:\n");
        others.iter().for_each(|other| text.push_str(&format!("  {other}  {}\n", other.path.display())));
    }
    text
}

fn described_text(data: &MetaData) -> String {
    let mut text = format!("  {}\n", data.short);
    if !data.parameters.is_empty() {
        text.push_str("parameters, those with * must be said:\n");
    }
    for Parameter { name, required, default, short, .. } in &data.parameters {
        let mark = if *required { "*" } else { " " };
        let default = default.as_deref().filter(|default| !default.is_empty());
        let default = default.map(|default| format!("={default}")).unwrap_or_default();
        text.push_str(&format!("  {mark} {name}{default}  {short}\n"));
    }
    text.push_str("actions, with what it advises:\n");
    for action in &data.actions {
        text.push_str(&format!("    {}\n", advice_text(action)));
    }
    text
}

fn advice_text(action: &Advice) -> String {
    let mut text = action.name.clone();
    if let Some(timeout) = action.timeout {
        text.push_str(&format!("  at most {timeout}"));
    }
    if let Some(interval) = action.interval.filter(|interval| *interval > Span::ZERO) {
        text.push_str(&format!(", each {interval}"));
    }
    if action.depth > 0 {
        text.push_str(&format!(", depth {}", action.depth));
    }
    if let Some(role) = &action.role {
        text.push_str(&format!(", as {role}"));
    }
    text
}

fn described_as_value(data: &MetaData) -> Value {
    let parameters: Vec<Value> = data
        .parameters
        .iter()
        .map(|one| {
            json!({
                "name": one.name, "required": one.required, "default": one.default, "type": one.kind,
                "short": one.short, "long": one.long,
            })
        })
        .collect();
    let milliseconds = |span: Option<Span>| span.map(|span| span.as_micros() / 1_000);
    let actions: Vec<Value> = data
        .actions
        .iter()
        .map(|one| {
            json!({
                "name": one.name, "timeout_ms": milliseconds(one.timeout), "interval_ms": milliseconds(one.interval),
                "depth": one.depth, "role": one.role,
            })
        })
        .collect();
    json!({
        "name": data.name, "version": data.version, "short": data.short, "long": data.long,
        "parameters": parameters, "actions": actions,
    })
}

// --- run and test ---

/// Agents may be slow, and print while they are at it: a runtime of its own, for as long as the command lasts.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Unusable(format!("no program can be run: {error}")))
}

fn run(
    agent: &Program,
    action: &str,
    given: &Given,
    instance: &str,
    limit: Option<Span>,
) -> Result<(), Failure> {
    // Agents keep their marks there. Who may not make it runs agents that say so better.
    let _ = fs::create_dir_all(OCF_MARKS);
    let runtime = runtime()?;
    let asked = Asked::named(action);
    let limit = match (limit, &agent.class) {
        (Some(limit), _) => Some(limit),
        (None, Class::Ocf { .. }) if action != "meta-data" => {
            let data = runtime.block_on(describe(agent));
            data.ok().and_then(|data| data.timeout(asked.name()))
        }
        (None, _) => None,
    };
    let call = Call::new(agent, asked, given, instance, limit).map_err(Failure::Unusable)?;
    let answer = runtime.block_on(call.carry_out(|line| say(&format!("{line}\n"))));
    let why = answer.why.map(|why| format!(": {why}")).unwrap_or_default();
    match (answer.outcome, asked) {
        (Outcome::Done, Asked::Monitor(_)) => say(&format!("{agent} runs\n")),
        (Outcome::Done, _) => say(&format!("{agent} {action}: done\n")),
        (Outcome::NotRunning, _) => return Err(Failure::NotDone(format!("{agent} does not run{why}"))),
        (Outcome::Failed { code: 3 }, Asked::Other(_)) if matches!(agent.class, Class::Ocf { .. }) => {
            return Err(Failure::Unusable(format!("{agent} does not know the action {action}")));
        }
        (Outcome::Failed { .. } | Outcome::TimedOut, _) => {
            return Err(Failure::NotDone(format!("{agent} {action} has failed{why}")));
        }
    }
    Ok(())
}

fn test(agent: &Program, given: &Given) -> Result<(), Failure> {
    // Agents keep their marks there. Who may not make it runs agents that say so better.
    let _ = fs::create_dir_all(OCF_MARKS);
    say(&format!("{agent}  {}\n", agent.path.display()));
    let tell = |ruling: &Ruling| match &ruling.broken {
        None => say(&format!("  kept    {}\n", ruling.rule)),
        Some(how) => say(&format!("  BROKEN  {}: {how}\n", ruling.rule)),
    };
    // What nobody can be asked is no agent's fault.
    Call::new(agent, Asked::Start, given, "trial", None).map_err(Failure::Unusable)?;
    let mut trial = Trial { agent, given, tell, broken: 0 };
    runtime()?.block_on(trial.run());
    match trial.broken {
        0 => Ok(()),
        1 => Err(Failure::NotDone(format!("{agent} breaks a rule"))),
        many => Err(Failure::NotDone(format!("{agent} breaks {many} rules"))),
    }
}

// --- new ---

fn new(name: &str) -> Result<(), Failure> {
    let is_good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !is_good {
        return Err(Failure::Unusable(format!(
            "{name:?} is no name for an agent: write letters, digits, - and _, a letter first"
        )));
    }
    let path = PathBuf::from(name);
    let text = SKELETON.replace("NAME", name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::NotDone(format!("{name} is here already, and is left as it is")));
        }
        Err(error) => return Err(Failure::Unusable(format!("{name} cannot be written: {error}"))),
    }
    say(&format!(
        "{name} works as it stands; make it yours, and then:\n\
         \x20 systole agent test ./{name} program=/bin/sleep arguments=1000\n\
         \x20 install -D -o root -m 755 {name} /usr/lib/ocf/resource.d/local/{name}   # on every node: ocf:local:{name}\n"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn parameters_with_names_are_told_from_arguments() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let ocf = Class::Ocf { provider: "heartbeat".to_owned() };
        let given = read(&ocf, &words(&["state=/run/x=y", "10.0.0.1/24", "=z"])).unwrap();
        assert_eq!(given.params, BTreeMap::from([("state".to_owned(), "/run/x=y".to_owned())]));
        assert_eq!(given.args, ["10.0.0.1/24", "=z"]);
        let given = read(&Class::Heartbeat, &words(&["/dev/a", "opt=ro"])).unwrap();
        assert_eq!(given.args, ["/dev/a", "opt=ro"]);
        assert!(read(&ocf, &words(&["a=1", "a=2"])).is_err());
    }
}
