//! The daemon's side of the director: what is to be served goes there, and what somebody should look at comes back.
//!
//! The director is a program that the agents' supervisor keeps running. It is told anew whenever it is reached anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch::{self, Receiver, Sender};
use tokio::time::sleep;

use crate::beat::{ServerOrder, Shortfall};
use crate::config::{Config, Respawn};
use crate::director::message::{Ask, SOCKET_NAME, Word};
use crate::types::{GroupId, NodeId, ServersId};

use super::desk::{Said, directs};
use super::mailbox::Mailbox;

/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(100);
/// So many tries in vain, and it is an alarm: it starts within a moment, and a machine that boots may take its time.
const PATIENCE: usize = 100;

/// As the supervisor knows it. No operator's program has a colon in its name.
const NAME: &str = "systole:director";

/// What comes of it.
pub(super) enum FromDirector {
    /// Somebody should look; without a reason: need not any more.
    Trouble { about: String, why: Option<String> },
    /// So much of a group's servers is found not well.
    Servers { group: GroupId, shortfall: Shortfall },
}

/// What operators want of servers.
pub(super) type ServerOrders = Vec<(ServersId, ServerOrder)>;

/// What is to be served, for whoever connects.
pub(super) struct Director {
    config: Sender<Arc<Config>>,
    held: Sender<Option<BTreeSet<GroupId>>>,
    orders: Sender<Option<ServerOrders>>,
}

impl Director {
    /// Begins. Nobody is sought for as long as there is nothing to be served.
    pub(super) fn new(run_dir: &Path, config: Arc<Config>, node: NodeId, to_desk: Mailbox<Said>) -> Self {
        let (config, configured) = watch::channel(config);
        let (held, holds) = watch::channel(None);
        let (orders, ordered) = watch::channel(None);
        let path = run_dir.join(SOCKET_NAME);
        let way = Way { path, node, to_desk, configured, holds, ordered, found: BTreeMap::new() };
        tokio::spawn(way.run());
        Self { config, held, orders }
    }

    /// From now on this is to be served.
    pub(super) fn configure(&self, config: Arc<Config>) {
        self.config.send_replace(config);
    }

    /// From now on these groups are held here.
    pub(super) fn hold(&self, groups: &BTreeSet<GroupId>) {
        self.held.send_replace(Some(groups.clone()));
    }

    /// From now on operators want this of servers.
    pub(super) fn obey(&self, orders: &ServerOrders) {
        self.orders.send_replace(Some(orders.clone()));
    }
}

/// The program that watches and steers.
pub(super) fn program(run_dir: &Path, state_dir: &Path) -> io::Result<Respawn> {
    let folder = |path: &Path| std::path::absolute(path).map(|path| path.display().to_string());
    let args = [
        "direct".to_owned(),
        "--run-dir".to_owned(),
        folder(run_dir)?,
        "--state-dir".to_owned(),
        folder(state_dir)?,
    ];
    Ok(Respawn {
        name: NAME.to_owned(),
        program: super::reexec::program()?,
        args: args.to_vec(),
        user: None,
        nodes: Vec::new(),
    })
}

/// The way to the director.
struct Way {
    path: PathBuf,
    node: NodeId,
    to_desk: Mailbox<Said>,
    configured: Receiver<Arc<Config>>,
    /// `None`: it is not known yet.
    holds: Receiver<Option<BTreeSet<GroupId>>>,
    ordered: Receiver<Option<ServerOrders>>,
    /// How servers are found, as it was told since the director knows what is served.
    found: BTreeMap<GroupId, Shortfall>,
}

impl Way {
    async fn run(mut self) {
        let (mut in_vain, node) = (0, self.node);
        loop {
            // While there is nothing to be served nobody is missed.
            if self.configured.wait_for(|config| directs(config, node)).await.is_err() {
                return;
            }
            match UnixStream::connect(&self.path).await {
                Ok(stream) => {
                    in_vain = 0;
                    self.trouble("director", None);
                    // Whatever ends it, it begins again; what the director complained of it will say again.
                    let _ = self.talk(stream).await;
                    // How its servers are nobody here knows any more.
                    let told = std::mem::take(&mut self.found).into_keys();
                    let unknown: Vec<_> = told.map(|group| (group, Shortfall::UNKNOWN)).collect();
                    self.find(&unknown);
                }
                Err(error) => {
                    in_vain += 1;
                    if in_vain == PATIENCE {
                        let place = self.path.display();
                        let why = format!(
                            "nobody watches the servers: no director listens at {place} ({error}); its log is the daemon's, behind `{NAME}`"
                        );
                        self.trouble("director", Some(why));
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn talk(&mut self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut words = BufReader::new(read).lines();
        let mut abouts = Vec::new();
        self.configured.mark_changed();
        let ended = loop {
            let told = tokio::select! {
                changed = self.configured.changed() => match changed {
                    Ok(()) => {
                        let config = self.configured.borrow_and_update().clone();
                        // It says all anew: the core has forgotten what was served no more meanwhile.
                        self.found.clear();
                        Some(Ask::Serve {
                            services: config.services.clone(),
                            sync: config.sync.clone(),
                            held: self.holds.borrow_and_update().clone(),
                            orders: self.ordered.borrow_and_update().clone(),
                        })
                    }
                    Err(_) => break Ok(()),
                },
                changed = self.holds.changed() => match changed {
                    Ok(()) => self.holds.borrow_and_update().clone().map(|groups| Ask::Hold { groups }),
                    Err(_) => break Ok(()),
                },
                changed = self.ordered.changed() => match changed {
                    Ok(()) => self.ordered.borrow_and_update().clone().map(|orders| Ask::Obey { orders }),
                    Err(_) => break Ok(()),
                },
                word = words.next_line() => match word {
                    Ok(Some(word)) => {
                        match serde_json::from_str(&word) {
                            Ok(Word::Trouble { about, why }) => {
                                self.trouble(&about, why);
                                abouts.push(about);
                            }
                            Ok(Word::Outlook { groups }) => self.find(&groups),
                            // Nothing else is told unasked.
                            Ok(Word::Pool(_) | Word::Refused { .. }) | Err(_) => {}
                        }
                        None
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
            };
            if let Some(ask) = told {
                let mut line = serde_json::to_string(&ask)?;
                line.push('\n');
                if let Err(error) = write.write_all(line.as_bytes()).await {
                    break Err(error);
                }
            }
        };
        for about in abouts {
            self.trouble(&about, None);
        }
        ended
    }

    /// So the servers are found behind these groups.
    fn find(&mut self, groups: &[(GroupId, Shortfall)]) {
        for &(group, shortfall) in groups {
            if self.found.insert(group, shortfall) != Some(shortfall) {
                self.to_desk.post(Said::Director(FromDirector::Servers { group, shortfall }));
            }
        }
    }

    fn trouble(&self, about: &str, why: Option<String>) {
        self.to_desk.post(Said::Director(FromDirector::Trouble { about: about.to_owned(), why }));
    }
}
