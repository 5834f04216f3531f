//! What a balancer shall have: for each service the servers that get connections, and how many of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Server, Service};

/// What one balancer shall have, by the services' names. A service that is not in it is none of ours.
pub type Tables = BTreeMap<String, Table>;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// As configured.
    pub service: Arc<Service>,
    /// Who is in the table, by the servers' names; whoever is not gets nothing, and loses what he has.
    pub entries: BTreeMap<String, Entry>,
}

/// A server in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As configured.
    pub server: Arc<Server>,
    /// Its weight now; 0: no new connections.
    pub weight: u32,
}
