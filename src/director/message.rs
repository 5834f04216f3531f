//! What is said over the director's socket: a line of JSON each way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::beat::{ServerOrder, Shortfall};
use crate::config::{ConnectionSync, Services};
use crate::types::{GroupId, ServersId};

use super::pool::PoolView;

/// Its name in the run directory.
pub const SOCKET_NAME: &str = "director.sock";

/// The version of the JSON that [`PoolView`] is shown as.
pub const VERSION: u32 = 1;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// By the daemon: these are served from now on. Troubles are told over this connection for as long as it lasts.
    Serve {
        /// All of them.
        services: Services,
        /// Whether and how directors tell each other their connections.
        sync: Option<ConnectionSync>,
        /// The groups that are held here; `None`: the daemon has just begun, and does not know yet.
        held: Option<BTreeSet<GroupId>>,
        /// What operators want of servers; `None`: as above.
        orders: Option<Vec<(ServersId, ServerOrder)>>,
    },
    /// By the daemon: this is what operators want of servers from now on.
    Obey {
        /// All of it.
        orders: Vec<(ServersId, ServerOrder)>,
    },
    /// By the daemon: these groups are held here from now on.
    Hold {
        /// All of them.
        groups: BTreeSet<GroupId>,
    },
    /// How is it?
    Pool,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// To [`Ask::Pool`].
    Pool(PoolView),
    /// What was asked cannot be understood.
    Refused {
        /// In words.
        why: String,
    },
    /// To the daemon: so the servers are found behind each group that has any.
    Outlook {
        /// All of them.
        groups: Vec<(GroupId, Shortfall)>,
    },
    /// To the daemon: somebody should look, or need not any more.
    Trouble {
        /// What it is about.
        about: String,
        /// In words; nothing: it is over.
        why: Option<String>,
    },
}
