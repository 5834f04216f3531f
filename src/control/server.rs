//! Serves the socket: each client a task of its own, so that none can hold up another, and each wait with an end.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::Record;

use super::desk::{Answer, Desk, Question, RECORDS_AT_ONCE, Snapshot};
use super::limits;
use super::request::Request;
use super::shape::{Envelope, Events, Reply, Status};
use super::socket::{Socket, no_orders};

/// Serves until it is dropped, or the socket itself fails. Needs a runtime with I/O and time; one thread will do.
pub async fn serve<D: Desk>(socket: Socket, desk: D) -> io::Result<()> {
    let path: Arc<Path> = Arc::from(socket.path());
    socket.listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let mut clients = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(limits::ACCEPT_AGAIN).await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        if clients.len() >= limits::CLIENTS {
            turn_away(&stream);
            continue;
        }
        let client = Client { stream, desk: desk.clone(), path: Arc::clone(&path), read: Vec::new() };
        clients.spawn(client.serve());
    }
}

/// Said at once or not at all: a socket that was just accepted has room for a line.
fn turn_away(stream: &UnixStream) {
    let full = error(
        &format!("{} others are connected, which is all that this daemon serves at once", limits::CLIENTS),
        "close one of them (`systole status --watch`, `systole events --follow`), and ask again",
    );
    let _ = stream.try_write(line(full).as_bytes());
}

/// A connection came to its end: the client left, or was dropped.
struct Ended;

struct Client<D> {
    stream: UnixStream,
    desk: D,
    path: Arc<Path>,
    /// What was read and not answered yet.
    read: Vec<u8>,
}

impl<D: Desk> Client<D> {
    async fn serve(mut self) {
        while let Ok(true) = self.serve_one().await {}
    }

    /// Whether there may be another request.
    async fn serve_one(&mut self) -> Result<bool, Ended> {
        let line = match timeout(limits::IDLE, self.next_line()).await {
            Err(_) => return Ok(false),
            Ok(Err(TooLong)) => {
                let most = limits::REQUEST_BYTES;
                self.say(error(&format!("the request is longer than {most} bytes"), "send one short line"))
                    .await?;
                return Ok(false);
            }
            Ok(Ok(None)) => return Ok(false),
            Ok(Ok(Some(line))) => line,
        };
        match Request::parse(&line) {
            Err(reply) => self.say(reply).await?,
            Ok(Request::Events { after, life, follow }) => return self.events(after, life, follow).await,
            Ok(request) => {
                let reply = self.answer(&request).await.unwrap_or_else(|reply| reply);
                self.say(reply).await?;
            }
        }
        Ok(true)
    }

    async fn answer(&self, request: &Request) -> Result<Reply, Reply> {
        if request.orders()
            && let Some(why) = self.no_orders()
        {
            return Err(Reply::Refused { why });
        }
        let question = match request {
            Request::Status {} => return Ok(Reply::Status(Box::new(Status::new(&*self.snapshot().await?)))),
            Request::Reload {} => Question::Reload,
            Request::Stop {} => Question::Stop,
            Request::Events { .. }
            | Request::Standby { .. }
            | Request::Online { .. }
            | Request::Takeover { .. }
            | Request::Move { .. }
            | Request::Avoid { .. }
            | Request::Unmove { .. }
            | Request::Maintenance { .. }
            | Request::Drain(_)
            | Request::Undrain(_)
            | Request::Weigh { .. }
            | Request::Cleanup { .. }
            | Request::FenceAck { .. } => {
                let snapshot = self.snapshot().await?;
                match request.command(&snapshot.config, snapshot.view.node)? {
                    Some(command) => Question::Order(command),
                    None => return Err(unexpected()),
                }
            }
        };
        match self.ask(question).await? {
            Answer::Done => Ok(Reply::Done),
            Answer::Refused(why) => Ok(Reply::Refused { why }),
            Answer::Snapshot(_) | Answer::Journal(_) => Err(unexpected()),
        }
    }

    /// Whoever is not known to the kernel gives no orders.
    fn no_orders(&self) -> Option<String> {
        match self.stream.peer_cred() {
            Ok(who) => no_orders(&self.path, who.uid(), who.gid()),
            Err(error) => Some(format!("the kernel does not say who asks: {error}; ask again")),
        }
    }

    /// One answer, or many until the client goes away.
    async fn events(&mut self, after: u64, life: Option<u64>, follow: bool) -> Result<bool, Ended> {
        let mut after = after;
        // The first is said even when it is empty: it names the life and the number to resume from.
        let mut first = Some(life);
        loop {
            let events = match self.look(after, first.take()).await {
                Ok(events) => events,
                Err(reply) => {
                    self.say(reply).await?;
                    return Ok(true);
                }
            };
            let mut more = false;
            if let Some(events) = events {
                (after, more) = (events.next_after, events.more);
                self.say(Reply::Events(events)).await?;
            }
            if !follow {
                return Ok(true);
            }
            if !more {
                self.rest().await?;
            }
        }
    }

    /// What is new, if anything is; at the `first` look also that nothing is. A life does not change while a client is
    /// connected. The core is asked for names only where there is something to name.
    async fn look(&self, after: u64, first: Option<Option<u64>>) -> Result<Option<Events>, Reply> {
        let mut after = after;
        let mut snapshot = None;
        if let Some(life) = first {
            let present = self.snapshot().await?;
            if life.is_some_and(|life| life != present.view.incarnation.0) {
                after = 0;
            }
            snapshot = Some(present);
        }
        let records: Vec<Record> = match self.ask(Question::Journal { after }).await? {
            Answer::Journal(records) => records,
            Answer::Snapshot(_) | Answer::Done | Answer::Refused(_) => return Err(unexpected()),
        };
        let snapshot = match snapshot {
            None if records.is_empty() => return Ok(None),
            None => self.snapshot().await?,
            Some(snapshot) => snapshot,
        };
        let more = records.len() >= RECORDS_AT_ONCE;
        Ok(Some(Events::new(&snapshot, after, &records, more)))
    }

    /// Waits until it is time to look again. Who follows says nothing more, so whatever is read ends it.
    async fn rest(&mut self) -> Result<(), Ended> {
        let mut byte = [0];
        match timeout(limits::FOLLOW, self.stream.read(&mut byte)).await {
            Err(_) => Ok(()),
            Ok(_) => Err(Ended),
        }
    }

    async fn snapshot(&self) -> Result<Box<Snapshot>, Reply> {
        match self.ask(Question::Snapshot).await? {
            Answer::Snapshot(snapshot) => Ok(snapshot),
            Answer::Journal(_) | Answer::Done | Answer::Refused(_) => Err(unexpected()),
        }
    }

    async fn ask(&self, question: Question) -> Result<Answer, Reply> {
        let (reply, answer) = oneshot::channel();
        self.desk.ask(question, reply);
        match timeout(limits::UNANSWERED, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(error(
                "the daemon is stopping and answers no more",
                "ask again when it runs: `systemctl status systole` tells",
            )),
            Err(_) => Err(error(
                "the daemon's core did not answer in time: it hangs, or this machine is badly overloaded",
                "look at the daemon's log and at the load of this machine; an order may have been taken nevertheless",
            )),
        }
    }

    /// The next line without its end; `None` when the client has gone.
    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(end);
                return Ok(Some(line));
            }
            if self.read.len() >= limits::REQUEST_BYTES {
                return Err(TooLong);
            }
            let mut bytes = [0; 1_024];
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => self.read.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            }
        }
    }

    async fn say(&mut self, reply: Reply) -> Result<(), Ended> {
        match timeout(limits::UNREAD, self.stream.write_all(line(reply).as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }
}

/// A request without an end.
struct TooLong;

fn line(reply: Reply) -> String {
    // Plain data with text as keys: there is nothing in it that JSON could refuse.
    let mut text = serde_json::to_string(&Envelope::new(reply)).unwrap_or_default();
    text.push('\n');
    text
}

fn error(error: &str, help: &str) -> Reply {
    Reply::Error { error: error.to_owned(), help: help.to_owned() }
}

/// Only a fault of ours comes here.
fn unexpected() -> Reply {
    error("the daemon answered something else than was asked", "please report this")
}
