//! The daemon's side of the supervisor, which runs agents: errands go there, and what came of them comes back as an input.
//!
//! An errand that is not answered is asked for again when the supervisor is back: agents are asked twice without harm.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
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
use crate::cluster::{Action, Input, Outcome};
use crate::config::Respawn;
use crate::time::Span;

use super::beats::Told;
use super::clock;
use super::desk::Said;
use super::mailbox::Mailbox;
use super::systemd;

/// Between two tries to reach the supervisor.
const AGAIN: Duration = Duration::from_millis(50);
/// After so many in vain it is started once more.
const START_AGAIN: usize = 40;
/// After so many it is an alarm: a machine that boots may take its time.
const PATIENCE: usize = 200;
/// So many connections on which no word came, and it is an alarm, too.
const STRANGE: u32 = 5;
/// What was asked for so long ago may not be wanted any more.
const STALE: Span = Span::seconds(10);

/// systemd's unit of it, and the only directory that this serves.
const UNIT: &str = "systole-agents.service";
const UNITS_RUN_DIR: &str = "/run/systole";

/// Where the supervisor is found, and how it is started.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    pub(super) run_dir: PathBuf,
    /// It runs nothing, and says that all is done.
    pub(super) plays: bool,
}

/// Where errands go.
pub(super) struct Agents {
    errands: UnboundedSender<(Errand, Span)>,
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
        let way = Way {
            supervisor: supervisor.clone(),
            to_beats,
            to_desk,
            open: BTreeMap::new(),
            kept: None,
            is_new: true,
        };
        tokio::spawn(way.run(are_needed, inbox));
        Self { errands }
    }

    /// These programs run from now on, and no others.
    pub(super) fn keep(&self, programs: Vec<Respawn>) {
        self.ask(Errand::Keep { programs });
    }

    /// The core has one errand at most for each resource and each node, so no more than that wait.
    pub(super) fn ask(&self, errand: Errand) {
        // It listens for as long as this daemon lives.
        let _ = self.errands.send((errand, clock::now().boot));
    }
}

/// The way to the supervisor.
struct Way {
    supervisor: Supervisor,
    to_beats: Mailbox<Told>,
    to_desk: Mailbox<Said>,
    /// What is not answered yet: the latest about each thing, and when it was asked for.
    open: BTreeMap<String, (Errand, Span)>,
    /// The programs that are kept running, as they were told last: nothing is answered to that.
    kept: Option<Errand>,
    /// This connection has not brought a word yet.
    is_new: bool,
}

impl Way {
    async fn run(mut self, are_needed: bool, mut inbox: UnboundedReceiver<(Errand, Span)>) {
        if !are_needed {
            let Some(errand) = inbox.recv().await else { return };
            self.note(errand);
        }
        let mut in_vain = 0;
        // From now on it is held on to: one that is there when the machine shuts down need not be started then.
        while !inbox.is_closed() {
            let (read, mut write) = self.connect().await.into_split();
            while let Ok(errand) = inbox.try_recv() {
                self.note(errand);
            }
            self.give_up_what_is_old();
            if self.open.is_empty() {
                self.to_desk.post(Said::Supervisor(None));
            }
            let mut words = BufReader::new(read).lines();
            self.is_new = true;
            let lost = self.talk(&mut words, &mut write, &mut inbox).await;
            in_vain = if self.is_new { in_vain + 1 } else { 0 };
            warn!("the agents' supervisor is gone ({lost}); what it was doing is asked again");
            if in_vain == STRANGE {
                self.to_desk.post(Said::Supervisor(Some(format!(
                    "no agent can be run: the supervisor does not answer ({lost}); it may be of another version: systemctl restart {UNIT}"
                ))));
            }
            sleep(AGAIN * 2_u32.pow(in_vain.min(5))).await;
        }
    }

    fn note(&mut self, (errand, at): (Errand, Span)) {
        match errand {
            Errand::Keep { .. } => self.kept = Some(errand),
            Errand::Agent { .. } | Errand::Fence { .. } => {
                self.open.insert(errand.about(), (errand, at));
            }
        }
    }

    /// A node may have come back meanwhile, and a lease may be over: the core asks again for what it still wants. Stops and
    /// looks do no harm at any time.
    fn give_up_what_is_old(&mut self) {
        let now = clock::now().boot;
        let to_beats = &self.to_beats;
        self.open.retain(|_, (errand, at)| {
            let input = match errand {
                _ if now - *at < STALE => return true,
                Errand::Fence { generation, node, .. } => {
                    Input::Fenced { generation: *generation, node: *node, off: false }
                }
                Errand::Agent { ticket, action: Action::Start, .. } => {
                    Input::AgentDone { ticket: *ticket, outcome: Outcome::TimedOut }
                }
                Errand::Agent { action: Action::Stop | Action::Monitor | Action::Probe, .. }
                | Errand::Keep { .. } => return true,
            };
            to_beats.post(Told::Input(input));
            false
        });
    }

    /// Until there is one.
    async fn connect(&self) -> UnixStream {
        let Supervisor { run_dir, .. } = &self.supervisor;
        let path = run_dir.join(SOCKET_NAME);
        let mut tries = 0_usize;
        loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => return stream,
                Err(error) if tries > 0 && tries.is_multiple_of(PATIENCE) => {
                    let place = path.display();
                    let why = if self.is_unit() {
                        format!("journalctl -u {UNIT}")
                    } else {
                        format!("systole supervise --run-dir {}", run_dir.display())
                    };
                    self.to_desk.post(Said::Supervisor(Some(format!(
                        "no agent can be run: nobody listens at {place} ({error}); see why with: {why}"
                    ))));
                }
                Err(_) => {}
            }
            if tries.is_multiple_of(START_AGAIN)
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
        let mut command = if self.is_unit() {
            let mut command = Command::new("systemctl");
            command.args(["start", "--no-block", UNIT]);
            command
        } else {
            let mut command = Command::new(super::reexec::program()?);
            command.args(["supervise", "--run-dir"]).arg(run_dir).process_group(0);
            command.args(plays.then_some("--play"));
            command
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/").spawn().map(drop)
    }

    /// Whether systemd runs it.
    fn is_unit(&self) -> bool {
        let Supervisor { run_dir, plays } = &self.supervisor;
        systemd::is_unit() && !plays && run_dir == Path::new(UNITS_RUN_DIR)
    }

    async fn talk(
        &mut self,
        words: &mut Lines<BufReader<OwnedReadHalf>>,
        write: &mut OwnedWriteHalf,
        inbox: &mut UnboundedReceiver<(Errand, Span)>,
    ) -> String {
        for errand in self.kept.iter().chain(self.open.values().map(|(errand, _)| errand)) {
            if let Err(error) = send(write, errand).await {
                return error.to_string();
            }
        }
        loop {
            tokio::select! {
                errand = inbox.recv() => {
                    let Some(errand) = errand else { return "this daemon ends".to_owned() };
                    let sent = send(write, &errand.0).await;
                    self.note(errand);
                    if let Err(error) = sent {
                        return error.to_string();
                    }
                }
                word = words.next_line() => match word {
                    Ok(Some(word)) => match serde_json::from_str(&word) {
                        Ok(word) => {
                            if std::mem::take(&mut self.is_new) {
                                self.to_desk.post(Said::Supervisor(None));
                            }
                            self.hear(word);
                        }
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
            Word::Line { about, line } => match about.strip_prefix("respawn:systole:") {
                Some(own) => info!("{own}: {line}"),
                None => info!("{about}: {line}"),
            },
            Word::Kept { name, trouble } => self.to_desk.post(Said::Kept { name, trouble }),
            Word::Done { about, ticket, outcome, why } => {
                self.strike(&about, ticket.generation, why);
                self.to_beats.post(Told::Input(Input::AgentDone { ticket, outcome }));
            }
            Word::Fenced { about, generation, node, why } => {
                let off = why.is_none();
                self.strike(&about, generation, why);
                self.to_beats.post(Told::Input(Input::Fenced { generation, node, off }));
            }
        }
    }

    /// It is answered, unless that was the answer to an older one.
    fn strike(&mut self, about: &str, generation: u64, why: Option<String>) {
        if self.open.get(about).is_some_and(|(errand, _)| errand.generation() == generation) {
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
