//! The way from a command to the daemon: one connection, as many questions as the command has.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::shape::{Envelope, Events, Reply, Status};
use crate::control::{Request, SOCKET_NAME, limits};

use super::failure::Failure;

/// Where the daemon's socket is.
#[derive(clap::Args, Clone, Debug)]
pub struct Daemon {
    /// The run directory of the daemon to talk to
    #[arg(long, value_name = "DIR", default_value = "/run/systole")]
    pub run_dir: PathBuf,
}

/// A connection to the daemon.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Longer than the server waits for the core: its own words are better than ours.
const UNANSWERED: Duration = Duration::from_secs(limits::UNANSWERED.as_secs() * 3);

impl Daemon {
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let path = self.run_dir.join(SOCKET_NAME);
        let stream = UnixStream::connect(&path).map_err(|error| unreachable(&path, &error))?;
        let bounded = stream
            .set_read_timeout(Some(UNANSWERED))
            .and_then(|()| stream.set_write_timeout(Some(UNANSWERED)));
        bounded.map_err(|error| unreachable(&path, &error))?;
        Ok(Connection { stream: BufReader::new(stream), path })
    }
}

impl Connection {
    /// Asks, and gives the line that is answered.
    pub(super) fn ask_line(&mut self, request: &Request) -> Result<String, Failure> {
        self.send(request)?;
        self.next_line()
    }

    /// Asks.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        let line = self.ask_line(request)?;
        self.understand(&line)
    }

    pub(super) fn status(&mut self) -> Result<Status, Failure> {
        match self.ask(&Request::Status {})? {
            Reply::Status(status) => Ok(*status),
            Reply::Events(_) | Reply::Done | Reply::Refused { .. } | Reply::Error { .. } => {
                Err(self.strange())
            }
        }
    }

    /// Gives an order; done when the daemon has taken it.
    pub(super) fn order(&mut self, request: &Request) -> Result<(), Failure> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            Reply::Status(_) | Reply::Events(_) | Reply::Refused { .. } | Reply::Error { .. } => {
                Err(self.strange())
            }
        }
    }

    pub(super) fn events(&mut self, after: u64, life: Option<u64>) -> Result<Events, Failure> {
        let reply = self.ask(&Request::Events { after, life, follow: false })?;
        self.as_events(reply)
    }

    /// Whatever comes now, comes by itself; it may take any time.
    pub(super) fn follow(&mut self, after: u64, life: Option<u64>) -> Result<(), Failure> {
        self.send(&Request::Events { after, life, follow: true })?;
        self.stream.get_ref().set_read_timeout(None).map_err(|error| self.lost(&error.to_string()))
    }

    pub(super) fn next_events(&mut self) -> Result<Events, Failure> {
        let line = self.next_line()?;
        let reply = self.understand(&line)?;
        self.as_events(reply)
    }

    fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let sent = self.stream.get_mut().write_all(request.line().as_bytes());
        // One that turned us away has said why before it closed.
        match sent {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.lost(&error.to_string())),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    fn next_line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(self.lost("it closed the connection")),
            Ok(_) => Ok(line),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(self.lost("it does not answer")),
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    /// What was refused is a failure in the daemon's words.
    fn understand(&self, line: &str) -> Result<Reply, Failure> {
        let envelope: Envelope = serde_json::from_str(line).map_err(|_| self.strange())?;
        if envelope.version != limits::VERSION {
            return Err(self.strange());
        }
        match envelope.reply {
            Reply::Refused { why } => Err(Failure::NotDone(why)),
            Reply::Error { error, help } => Err(Failure::Unusable(format!("{error}\n{help}"))),
            reply @ (Reply::Status(_) | Reply::Events(_) | Reply::Done) => Ok(reply),
        }
    }

    fn as_events(&self, reply: Reply) -> Result<Events, Failure> {
        match reply {
            Reply::Events(events) => Ok(events),
            Reply::Status(_) | Reply::Done | Reply::Refused { .. } | Reply::Error { .. } => {
                Err(self.strange())
            }
        }
    }

    fn lost(&self, why: &str) -> Failure {
        let path = self.path.display();
        Failure::Unusable(format!(
            "the daemon at {path} was lost: {why}\nlook whether it still runs, and at its log: `systemctl status systole`"
        ))
    }

    fn strange(&self) -> Failure {
        let path = self.path.display();
        Failure::Unusable(format!(
            "the daemon at {path} answered something that this command does not understand\nuse the command of the same version as the daemon"
        ))
    }
}

/// Where it looked, what is there, and how to start it.
fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let directory = path.parent().unwrap_or(path);
    let start = "start the daemon with `systemctl start systole` or `systole run`, or name its run directory with --run-dir DIR";
    let kind = error.kind();
    let (what, help) = if kind == io::ErrorKind::NotFound && !directory.exists() {
        (format!("the directory {} does not exist", directory.display()), start)
    } else if kind == io::ErrorKind::NotFound {
        ("no socket is there".to_owned(), start)
    } else if kind == io::ErrorKind::ConnectionRefused {
        let died = "a socket is there, but nobody listens: its daemon died, and a new one will replace it";
        (died.to_owned(), start)
    } else if kind == io::ErrorKind::PermissionDenied {
        let who = "ask as root, or as a member of the socket's group (see it with ls -l)";
        ("you may not connect to it".to_owned(), who)
    } else {
        (error.to_string(), start)
    };
    Failure::Unusable(format!("no daemon was reached at {}: {what}\n{help}", path.display()))
}
