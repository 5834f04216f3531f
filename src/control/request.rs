//! A line of a client becomes a request, or an error that says what is wrong with it. Names become ids here; one that is
//! not known is answered with the nearest that is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Command;
use crate::config::{Config, nearest};
use crate::types::{GroupId, NodeId};

use super::limits;
use super::shape::Reply;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How things are.
    Status {},
    /// What happened.
    Events {
        /// Only what has a greater number.
        #[serde(default)]
        after: u64,
        /// The life that the number is of; in another life everything is new.
        #[serde(default)]
        life: Option<u64>,
        /// Go on with what happens, a line each time, until the client goes away.
        #[serde(default)]
        follow: bool,
    },
    /// A node shall own nothing.
    Standby {
        /// Which; by default the one that is asked.
        #[serde(default)]
        node: Option<String>,
    },
    /// A node may own again.
    Online {
        /// Which; by default the one that is asked.
        #[serde(default)]
        node: Option<String>,
    },
    /// A group shall be on the node that is asked.
    Takeover {
        /// Which.
        group: String,
    },
    /// A group shall be on a node.
    Move {
        /// Which.
        group: String,
        /// Where.
        node: String,
    },
    /// A group shall not be on a node.
    Avoid {
        /// Which.
        group: String,
        /// Where not; by default the one that is asked.
        #[serde(default)]
        node: Option<String>,
    },
    /// A group shall be where the configuration says.
    Unmove {
        /// Which.
        group: String,
    },
    /// Resources are left alone, or no longer.
    Maintenance {
        /// Which of the two.
        on: bool,
        /// Of which group; without one: of all.
        #[serde(default)]
        group: Option<String>,
    },
    /// Forget the failures of a group on the node that is asked, and try again.
    Cleanup {
        /// Which.
        group: String,
    },
    /// A person confirms that a node is off.
    FenceAck {
        /// Which.
        node: String,
    },
    /// Read the configuration again.
    Reload {},
    /// Hand over everything and exit.
    Stop {},
}

/// Every `ask`.
const ASKS: [&str; 13] = [
    "status",
    "events",
    "standby",
    "online",
    "takeover",
    "move",
    "avoid",
    "unmove",
    "maintenance",
    "cleanup",
    "fence-ack",
    "reload",
    "stop",
];

impl Request {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, Reply> {
        let wrong = |error: String, help: String| Reply::Error { error, help };
        let example =
            || format!("send one line such as {{\"version\":{},\"ask\":\"status\"}}", limits::VERSION);
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(line) else {
            return Err(wrong("the request is no JSON object".to_owned(), example()));
        };
        match fields.remove("version") {
            Some(version) if version == limits::VERSION => {}
            Some(version) => {
                let error = format!(
                    "the request is of version {version}, and this daemon speaks {}",
                    limits::VERSION
                );
                return Err(wrong(error, "use the command of the same version as the daemon".to_owned()));
            }
            None => return Err(wrong("the request has no version".to_owned(), example())),
        }
        match fields.get("ask").and_then(Value::as_str) {
            Some(ask) if ASKS.contains(&ask) => {}
            Some(ask) => {
                let near = nearest(ask, ASKS).map_or(String::new(), |near| format!("did you mean {near}? "));
                let help = format!("{near}ask one of: {}", ASKS.join(", "));
                return Err(wrong(format!("there is nothing to ask as {ask:?}"), help));
            }
            None => return Err(wrong("the request asks nothing".to_owned(), example())),
        }
        serde_json::from_value(Value::Object(fields)).map_err(|error| {
            wrong(
                format!("the request cannot be read: {error}"),
                "see docs/control.md for its fields".to_owned(),
            )
        })
    }

    /// As a line of JSON.
    pub fn line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("version".to_owned(), limits::VERSION.into());
        }
        format!("{value}\n")
    }

    /// Whether it changes something.
    pub fn orders(&self) -> bool {
        match self {
            Self::Status {} | Self::Events { .. } => false,
            Self::Standby { .. }
            | Self::Online { .. }
            | Self::Takeover { .. }
            | Self::Move { .. }
            | Self::Avoid { .. }
            | Self::Unmove { .. }
            | Self::Maintenance { .. }
            | Self::Cleanup { .. }
            | Self::FenceAck { .. }
            | Self::Reload {}
            | Self::Stop {} => true,
        }
    }

    /// The order for the core; none where it is not one for the core.
    pub fn command(&self, config: &Config, me: NodeId) -> Result<Option<Command>, Reply> {
        let node = |name: &Option<String>| match name {
            Some(name) => node(config, name),
            None => Ok(me),
        };
        Ok(Some(match self {
            Self::Status {} | Self::Events { .. } | Self::Reload {} | Self::Stop {} => return Ok(None),
            Self::Standby { node: name } => Command::Standby { node: node(name)? },
            Self::Online { node: name } => Command::Online { node: node(name)? },
            Self::Takeover { group: name } => Command::Takeover { group: group(config, name)? },
            Self::Move { group: name, node: target } => {
                Command::Move { group: group(config, name)?, node: node(&Some(target.clone()))? }
            }
            Self::Avoid { group: name, node: target } => {
                Command::Avoid { group: group(config, name)?, node: node(target)? }
            }
            Self::Unmove { group: name } => Command::Unmove { group: group(config, name)? },
            Self::Maintenance { on, group: name } => {
                let group = name.as_ref().map(|name| group(config, name)).transpose()?;
                Command::Maintenance { on: *on, group }
            }
            Self::Cleanup { group: name } => Command::Cleanup { group: group(config, name)? },
            Self::FenceAck { node: name } => Command::FenceAck { node: node(&Some(name.clone()))? },
        }))
    }
}

fn node(config: &Config, name: &str) -> Result<NodeId, Reply> {
    let names = || config.nodes.values().map(|node| node.name.as_str());
    let found = config.nodes.iter().find(|(_, node)| node.name == name.to_lowercase());
    found.map(|(id, _)| *id).ok_or_else(|| unknown("node", name, names))
}

fn group(config: &Config, name: &str) -> Result<GroupId, Reply> {
    let names = || config.groups.values().map(|group| group.name.as_str());
    let found = config.groups.iter().find(|(_, group)| group.name == name);
    found.map(|(id, _)| *id).ok_or_else(|| unknown("group", name, names))
}

fn unknown<'a, I: Iterator<Item = &'a str>>(what: &str, name: &str, names: impl Fn() -> I) -> Reply {
    let known: Vec<&str> = names().take(20).collect();
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => format!("the configuration has no {what}"),
        None => format!("name one of: {}", known.join(", ")),
    };
    // Cut, so that the answer is not longer than a line that a person reads.
    let name: String = name.chars().take(64).collect();
    Reply::Error { error: format!("there is no {what} {name:?}"), help }
}
