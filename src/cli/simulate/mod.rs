//! `systole simulate`: what the cluster would do, without doing it. It starts no daemon, opens no socket, needs no root.

mod faults;
mod story;
mod world;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Config, LoadError, nearest};
use crate::types::{LinkId, NodeId};

use super::check::DEFAULT_PATH;
use super::failure::{Failure, finish};
use super::terminal::{complain, say, wants_colour};

use faults::{Faults, Named};
use story::Story;
use world::Fault;

/// Say what the cluster of a configuration would do if nodes failed and links were cut, without doing it.
///
/// The faults happen in the order of the command line, each after the cluster has settled from the one before. What it
/// assumes is said first.
///
/// Exit status: 0 said, 1 the configuration has mistakes, 2 unusable (it cannot be read, no such node or link).
#[derive(clap::Args, Debug)]
pub struct Simulate {
    /// A systole.toml, or a Heartbeat directory such as /etc/ha.d
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    #[command(flatten)]
    faults: Faults,
    /// One JSON object in place of the text
    #[arg(long)]
    pub json: bool,
}

impl Simulate {
    /// Reads, plays, prints.
    pub fn run(&self) -> ExitCode {
        let config = match config::load(&self.config) {
            Ok(loaded) => loaded.config,
            Err(LoadError::Wrong(report)) => {
                complain(&report.render(wants_colour(io::stderr().is_terminal())));
                complain("nothing was simulated: mend the mistakes, and look with `systole check`\n");
                return ExitCode::from(1);
            }
            Err(error @ LoadError::Unusable { .. }) => {
                return finish(Err(Failure::Unusable(error.to_string())));
            }
        };
        finish(self.play(config).map(|told| say(&told)))
    }

    fn play(&self, config: Config) -> Result<String, Failure> {
        let faults = self.faults.named.iter().map(|named| find(&config, named));
        let faults: Vec<Fault> = faults.collect::<Result<_, _>>()?;
        let story = Story::of(Arc::new(config), &faults);
        Ok(if self.json { format!("{}\n", story.json()) } else { story.text() })
    }
}

fn find(config: &Config, named: &Named) -> Result<Fault, Failure> {
    match named {
        Named::Fail(node) => Ok(Fault::Fail(find_node(config, node)?)),
        Named::Cut(link) => match link.split_once('@') {
            Some((link, node)) => Ok(Fault::Cut(find_link(config, link)?, Some(find_node(config, node)?))),
            None => Ok(Fault::Cut(find_link(config, link)?, None)),
        },
    }
}

pub(super) fn find_node(config: &Config, name: &str) -> Result<NodeId, Failure> {
    let found = config.nodes.iter().find(|(_, node)| node.name == name.to_lowercase());
    let names = || config.nodes.values().map(|node| node.name.as_str());
    found.map(|(id, _)| *id).ok_or_else(|| unknown("node", name, names().collect()))
}

fn find_link(config: &Config, name: &str) -> Result<LinkId, Failure> {
    let place = config.links.iter().position(|link| link.name == name);
    let names = || config.links.iter().map(|link| link.name.as_str());
    let place = place.and_then(|place| u16::try_from(place).ok());
    place.map(LinkId).ok_or_else(|| unknown("link", name, names().collect()))
}

fn unknown(what: &str, name: &str, mut known: Vec<&str>) -> Failure {
    known.sort_unstable();
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("name one of: {}", known.into_iter().take(20).collect::<Vec<_>>().join(", ")),
    };
    Failure::Unusable(format!("there is no {what} {name:?} in the configuration\n{help}"))
}

#[cfg(test)]
mod tests;
