//! The daemon's side of the supervisor, which runs agents: errands go there, and what came of them comes back as an input.
//!
//! An errand that is not answered is asked for again when the supervisor is back: agents are asked twice without harm.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::agents::supervisor::{Errand, SOCKET_NAME, Word};
use crate::cluster::Input;

use super::beats::Told;
use super::desk::Said;
use super::mailbox::Mailbox;
use super::systemd;

/// Between two tries to reach the supervisor.
const AGAIN: Duration = Duration::from_millis(50);
/// After so many in vain it is started once more, and that is an alarm.
const PATIENCE: usize = 40;

/// systemd's unit of it.
const UNIT: &str = "systole-agents.service";

/// Where the supervisor is found, and how it is started.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    pub(super) run_dir: PathBuf,
    /// It runs nothing, and says that all is done.
    pub(super) plays: bool,
}

/// Where errands go.
pub(super) struct Agents {
    errands: UnboundedSender<Errand>,
}

impl Agents {
    /// Begins. Where resources are programs the supervisor is sought now, and else when there is something for it to do.
    pub(super) fn new(
        supervisor: &Supervisor,
        are_needed: bool,
        to_beats: Mailbox<Told>,
        to_desk: Mailbox<Said>,
    ) -> Self {
        let (errands, inbox) = mpsc::unbounded_channel();
        let way = Way { supervisor: supervisor.clone(), to_beats, to_desk, open: BTreeMap::new() };
        tokio::spawn(way.run(are_needed, inbox));
        Self { errands }
    }

    /// The core has one errand at most for each resource and each node, so no more than that wait.
    pub(super) fn ask(&self, errand: Errand) {
        // It listens for as long as this daemon lives.
        let _ = self.errands.send(errand);
    }
}

/// The way to the supervisor.
struct Way {
    supervisor: Supervisor,
    to_beats: Mailbox<Told>,
    to_desk: Mailbox<Said>,
    /// What is not answered yet: the latest about each thing.
    open: BTreeMap<String, Errand>,
}

impl Way {
    async fn run(mut self, are_needed: bool, mut inbox: UnboundedReceiver<Errand>) {
        if !are_needed {
            let Some(errand) = inbox.recv().await else { return };
            self.note(errand);
        }
        // From now on it is held on to: one that is there when the machine shuts down need not be started then.
        while !inbox.is_closed() {
            let (read, mut write) = self.connect().await.into_split();
            let mut words = BufReader::new(read).lines();
            let lost = self.talk(&mut words, &mut write, &mut inbox).await;
            warn!("the agents' supervisor is gone ({lost}); what it was doing is asked again");
            sleep(AGAIN).await;
        }
    }

    fn note(&mut self, errand: Errand) {
        self.open.insert(errand.about(), errand);
    }

    /// Until there is one.
    async fn connect(&self) -> UnixStream {
        let Supervisor { run_dir, .. } = &self.supervisor;
        let path = run_dir.join(SOCKET_NAME);
        let mut tries = 0_usize;
        loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => {
                    self.to_desk.post(Said::Supervisor(None));
                    return stream;
                }
                Err(error) if tries > 0 && tries.is_multiple_of(PATIENCE) => {
                    let place = path.display();
                    self.to_desk.post(Said::Supervisor(Some(format!(
                        "no agent can be run: nobody listens at {place} ({error}); see why with: systole supervise --run-dir {}",
                        run_dir.display()
                    ))));
                }
                Err(_) => {}
            }
            if tries.is_multiple_of(PATIENCE)
                && let Err(error) = self.start()
            {
                warn!("the agents' supervisor cannot be started: {error}");
            }
            tries += 1;
            sleep(AGAIN).await;
        }
    }

    /// Outside of this daemon's sandbox, and so that it is not ended with it.
    fn start(&self) -> io::Result<()> {
        let Supervisor { run_dir, plays } = &self.supervisor;
        let mut command = if systemd::is_unit() && !plays {
            let mut command = Command::new("systemctl");
            command.args(["start", "--no-block", UNIT]);
            command
        } else {
            let mut command = Command::new(super::reexec::program()?);
            command.args(["supervise", "--run-dir"]).arg(run_dir).process_group(0);
            command.args(plays.then_some("--play"));
            command
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().map(drop)
    }

    async fn talk(
        &mut self,
        words: &mut Lines<BufReader<OwnedReadHalf>>,
        write: &mut OwnedWriteHalf,
        inbox: &mut UnboundedReceiver<Errand>,
    ) -> String {
        for errand in self.open.values() {
            if let Err(error) = send(write, errand).await {
                return error.to_string();
            }
        }
        loop {
            tokio::select! {
                errand = inbox.recv() => {
                    let Some(errand) = errand else { return "this daemon ends".to_owned() };
                    let sent = send(write, &errand).await;
                    self.note(errand);
                    if let Err(error) = sent {
                        return error.to_string();
                    }
                }
                word = words.next_line() => match word {
                    Ok(Some(word)) => match serde_json::from_str(&word) {
                        Ok(word) => self.hear(word),
                        Err(error) => return format!("it is of another version: {error}"),
                    },
                    Ok(None) => return "it closed the connection".to_owned(),
                    Err(error) => return error.to_string(),
                },
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Line { about, line } => info!("{about}: {line}"),
            Word::Done { about, ticket, outcome, why } => {
                let is_it = |errand: &Errand| matches!(errand, Errand::Agent { ticket: asked, .. } if *asked == ticket);
                self.strike(&about, is_it, why);
                self.to_beats.post(Told::Input(Input::AgentDone { ticket, outcome }));
            }
            Word::Fenced { about, generation, node, why } => {
                let is_it = |errand: &Errand| matches!(errand, Errand::Fence { generation: asked, .. } if *asked == generation);
                let off = why.is_none();
                self.strike(&about, is_it, why);
                self.to_beats.post(Told::Input(Input::Fenced { generation, node, off }));
            }
        }
    }

    /// It is answered, unless that was the answer to an older one.
    fn strike(&mut self, about: &str, is_it: impl Fn(&Errand) -> bool, why: Option<String>) {
        if self.open.get(about).is_some_and(is_it) {
            self.open.remove(about);
            if let Some(why) = why {
                warn!("{about}: {why}");
            }
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, errand: &Errand) -> io::Result<()> {
    let mut line = serde_json::to_string(errand)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await
}
