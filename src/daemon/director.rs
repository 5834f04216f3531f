//! The daemon's side of the director: what is to be served goes there, and what somebody should look at comes back.
//!
//! The director is a program that the agents' supervisor keeps running. It is told anew whenever it is reached anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch::{self, Receiver, Sender};
use tokio::time::sleep;

use crate::config::{Config, Respawn};
use crate::director::message::{Ask, SOCKET_NAME, Word};
use crate::types::NodeId;

use super::desk::{Said, directs};
use super::mailbox::Mailbox;

/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(100);
/// So many tries in vain, and it is an alarm: it starts within a moment, and a machine that boots may take its time.
const PATIENCE: usize = 100;

/// As the supervisor knows it. No operator's program has a colon in its name.
const NAME: &str = "systole:director";

/// What is to be served, for whoever connects.
pub(super) struct Director {
    config: Sender<Arc<Config>>,
}

impl Director {
    /// Begins. Nobody is sought for as long as there is nothing to be served.
    pub(super) fn new(run_dir: &Path, config: Arc<Config>, node: NodeId, to_desk: Mailbox<Said>) -> Self {
        let (sender, receiver) = watch::channel(config);
        let way = Way { path: run_dir.join(SOCKET_NAME), node, to_desk };
        tokio::spawn(way.run(receiver));
        Self { config: sender }
    }

    /// From now on this is to be served.
    pub(super) fn configure(&self, config: Arc<Config>) {
        self.config.send_replace(config);
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
}

impl Way {
    async fn run(self, mut config: Receiver<Arc<Config>>) {
        let mut in_vain = 0;
        loop {
            // While there is nothing to be served nobody is missed.
            if config.wait_for(|config| directs(config, self.node)).await.is_err() {
                return;
            }
            match UnixStream::connect(&self.path).await {
                Ok(stream) => {
                    in_vain = 0;
                    self.trouble("director", None);
                    // Whatever ends it, it begins again; what the director complained of it will say again.
                    let _ = self.talk(stream, &mut config).await;
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

    async fn talk(&self, stream: UnixStream, config: &mut Receiver<Arc<Config>>) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut words = BufReader::new(read).lines();
        let mut abouts = Vec::new();
        let mut is_first = true;
        let ended = loop {
            if std::mem::take(&mut is_first) {
                let services = config.borrow_and_update().services.clone();
                let mut line = serde_json::to_string(&Ask::Serve { services })?;
                line.push('\n');
                if let Err(error) = write.write_all(line.as_bytes()).await {
                    break Err(error);
                }
            }
            tokio::select! {
                changed = config.changed() => match changed {
                    Ok(()) => is_first = true,
                    Err(_) => break Ok(()),
                },
                word = words.next_line() => match word {
                    Ok(Some(word)) => if let Ok(Word::Trouble { about, why }) = serde_json::from_str(&word) {
                        self.trouble(&about, why);
                        abouts.push(about);
                    },
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
            }
        };
        for about in abouts {
            self.trouble(&about, None);
        }
        ended
    }

    fn trouble(&self, about: &str, why: Option<String>) {
        self.to_desk.post(Said::Director { about: about.to_owned(), trouble: why });
    }
}
