//! A line of a client becomes a request, or an error that says what is wrong with it. Names become ids here; one that is
//! not known is answered with the nearest that is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::beat::ServerWish;
use crate::cluster::Command;
use crate::config::{Config, nearest};
use crate::types::{GroupId, NodeId, ServersId};

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
    /// Servers shall get no new connections, and after a while none at all.
    Drain(Servers),
    /// Servers shall have connections again, as their checks and the configuration say.
    Undrain(Servers),
    /// Servers shall have another weight.
    Weigh {
        /// Of this service only.
        #[serde(default)]
        service: Option<String>,
        /// Their name or address.
        server: String,
        /// While they are well.
        weight: u16,
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

/// Servers, as an operator names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Servers {
    /// Of this service only.
    #[serde(default)]
    pub service: Option<String>,
    /// Their name or address.
    pub server: String,
}

/// Every `ask`.
const ASKS: [&str; 16] = [
    "status",
    "events",
    "standby",
    "online",
    "takeover",
    "move",
    "avoid",
    "unmove",
    "maintenance",
    "drain",
    "undrain",
    "weigh",
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
            | Self::Drain(_)
            | Self::Undrain(_)
            | Self::Weigh { .. }
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
            Self::Drain(Servers { service, server }) => {
                let servers = servers(config, service.as_deref(), server)?;
                Command::OrderServers { servers, wish: ServerWish::Drain }
            }
            Self::Weigh { service, server, weight } => {
                let servers = servers(config, service.as_deref(), server)?;
                Command::OrderServers { servers, wish: ServerWish::Weight(*weight) }
            }
            Self::Undrain(Servers { service, server }) => {
                let (servers, wider) = all_for(config, service.as_deref(), server)?;
                Command::FreeServers { servers, wider }
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

/// A server of a service.
type Member<'a> = (&'a str, &'a str, IpAddr);

/// Those of this name or address.
fn meant<'a>(config: &'a Config, service: Option<&str>, server: &str) -> Result<Vec<Member<'a>>, Reply> {
    if let Some(name) = service.filter(|name| !config.services.contains_key(*name)) {
        return Err(unknown("service", name, || config.services.keys().map(String::as_str)));
    }
    let wanted: Option<IpAddr> = server.parse().ok();
    let all = members(config).filter(|(of, ..)| service.is_none_or(|service| service == *of));
    let meant: Vec<_> =
        all.filter(|(_, name, address)| *name == server || Some(*address) == wanted).collect();
    if meant.is_empty() {
        return Err(unknown("server", server, || members(config).map(|(_, name, _)| name)));
    }
    Ok(meant)
}

fn members(config: &Config) -> impl Iterator<Item = Member<'_>> {
    let services = config.services.iter();
    services.flat_map(|(service, one)| {
        let servers = one.servers.iter();
        servers.map(move |(name, server)| (service.as_str(), name.as_str(), server.address))
    })
}

/// By what an order for them is known. An address is written as everybody else does.
fn id(service: Option<&str>, server: &str) -> ServersId {
    let address = server.parse::<IpAddr>().map(|address| address.to_string());
    ServersId::of(service, address.as_deref().unwrap_or(server))
}

fn servers(config: &Config, service: Option<&str>, server: &str) -> Result<ServersId, Reply> {
    meant(config, service, server).map(|_| id(service, server))
}

/// Every order that is for these and for nobody else, however it was given; and those that are for others as well.
fn all_for(
    config: &Config,
    service: Option<&str>,
    server: &str,
) -> Result<(Vec<ServersId>, Vec<ServersId>), Reply> {
    let meant = meant(config, service, server)?;
    let all = |(service, name, address): &Member<'_>| ServersId::all_of(service, name, *address);
    let others: BTreeSet<ServersId> =
        members(config).filter(|member| !meant.contains(member)).flat_map(|member| all(&member)).collect();
    let asked = id(service, server);
    let ids: BTreeSet<ServersId> = meant.iter().flat_map(all).chain([asked]).collect();
    Ok(ids.into_iter().partition(|id| *id == asked || !others.contains(id)))
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
