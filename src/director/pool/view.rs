//! What an operator sees of the pool: data, and no words.

use serde::{Deserialize, Serialize};

use crate::beat::{ServerWish, Shortfall};
use crate::config::At;
use crate::time::Span;

use super::{Member, Pool, Pooled, Probed, State};

/// All services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// In the order of their names.
    pub services: Vec<ServiceView>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// What clients send to.
    pub at: At,
    /// What divides the connections: `ipvs`, `nftables`, `haproxy`, or a program's path.
    pub balancer: String,
    /// Whether enough servers are well.
    pub has_enough: bool,
    /// Whether somebody else answers instead.
    pub is_sorry: bool,
    /// Whether it is kept out of this node's balancer, for this node does not hold it, and is a server of it.
    #[serde(default)]
    pub is_withheld: bool,
    /// How much of its group's servers is found not well, in hundredths of the worst of its services: of late, at best and
    /// at worst; 101 at worst: it is not known for long enough. Nothing: no group serves it.
    #[serde(default)]
    pub shortfall: Option<Shortfall>,
    /// What the balancer complains of.
    pub trouble: Option<String>,
    /// In the order of their names.
    pub servers: Vec<ServerView>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its name.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// `up`, `down`, `unknown`, `draining`, `drained`.
    pub state: String,
    /// For so many microseconds.
    pub for_us: u64,
    /// Its weight in the table; nothing: it is not in it.
    pub weight: Option<u32>,
    /// What an operator has ordered.
    pub order: Option<ServerWish>,
    /// Why it is down.
    pub why: Option<String>,
    /// Each of its checks.
    pub checks: Vec<CheckView>,
}

/// A check, and what it heard last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its kind.
    pub kind: String,
    /// Whether the last answer was well; nothing: there was none yet.
    pub is_well: Option<bool>,
    /// The last answer.
    pub answer: Option<String>,
    /// It took so many microseconds.
    pub took_us: Option<u64>,
    /// So many microseconds ago.
    pub ago_us: Option<u64>,
}

impl Pool {
    /// As it is now.
    pub fn view(&self, now: Span) -> PoolView {
        let service = |(name, pooled): (&String, &Pooled)| self.service_view(name, pooled, now);
        PoolView { services: self.services.iter().map(service).collect() }
    }

    fn service_view(&self, name: &str, pooled: &Pooled, now: Span) -> ServiceView {
        let table = self.wish(name).and_then(|(_, table)| table);
        let weight = |server: &str| Some(table.as_ref()?.entries.get(server)?.weight);
        let server = |(server, member): (&String, &Member)| {
            let order = member.order;
            let state = match (order, &member.state) {
                (Some(ServerWish::Drain), _) if self.orders.is_draining(name, server) => "draining",
                (Some(ServerWish::Drain), _) => "drained",
                (_, State::Unknown) => "unknown",
                (_, State::Well) => "up",
                (_, State::Bad(_)) => "down",
            };
            let why = match &member.state {
                State::Bad(why) => Some(why.clone()),
                State::Unknown | State::Well => None,
            };
            let checks = member.probes.iter().filter_map(|id| self.probes.get(id));
            ServerView {
                name: server.clone(),
                address: std::net::SocketAddr::new(member.server.address, member.server.port).to_string(),
                state: state.to_owned(),
                for_us: (now - member.since).as_micros(),
                weight: weight(server),
                order,
                why,
                checks: checks.map(|probed| check_view(probed, now)).collect(),
            }
        };
        ServiceView {
            name: name.to_owned(),
            at: pooled.service.at,
            balancer: pooled.service.balancer.word(),
            has_enough: pooled.has_enough,
            is_sorry: !pooled.has_enough && pooled.service.sorry.is_some(),
            is_withheld: self.withheld.contains(name),
            shortfall: self.outlook_of(pooled).map(|outlook| outlook.shortfall(now)),
            trouble: None,
            servers: pooled.servers.iter().map(server).collect(),
        }
    }
}

fn check_view(probed: &Probed, now: Span) -> CheckView {
    let last = probed.health.last();
    CheckView {
        kind: probed.probe.check.kind.word().to_owned(),
        is_well: last.map(|last| last.is_well),
        answer: last.map(|last| last.text.clone()),
        took_us: last.map(|last| last.took.as_micros()),
        ago_us: last.map(|last| (now - last.at).as_micros()),
    }
}
