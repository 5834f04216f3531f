//! A stranger's program, run once from the ordinary thread: it may hang, fork, write without end or be gone.
//!
//! So it is started from a thread that nobody waits for, and it is killed with its whole process group when its time is
//! over, or when nobody waits for it any more. What it writes is handed over by the line.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::time::Span;

use super::machine;

/// A line is cut off here.
const LINE_BYTES: usize = 500;

/// What the program wrote before it ended is in the pipe already, and is read at once; what it left running in the
/// background may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What systemd tells the daemon is not for its children, who would speak in its name or take its log for their own.
const NOT_INHERITED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM"];

/// What is run.
#[derive(Clone, Debug)]
pub(super) struct Program<'a> {
    pub(super) path: &'a PathBuf,
    pub(super) args: &'a [String],
    pub(super) variables: Vec<(&'static str, String)>,
    /// Longer, and it is killed.
    pub(super) limit: Span,
}

impl Program<'_> {
    /// Runs it, and hands over each line that it writes. Why it has failed, if it has.
    pub(super) async fn run(self, mut say: impl FnMut(String) + Send) -> Result<(), String> {
        let status = self.attempt(&mut say).await?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("exit code {code}")),
            (None, signal) => Err(format!("ended by signal {}", signal.unwrap_or_default())),
        }
    }

    async fn attempt(self, say: &mut (impl FnMut(String) + Send)) -> Result<ExitStatus, String> {
        let failed = |error: io::Error| format!("it cannot be run: {error}");
        let (sender, receiver) = pipe::pipe().map_err(failed)?;
        let output = sender.into_blocking_fd().map_err(failed)?;
        let mut command = Command::new(self.path);
        command.args(self.args).envs(self.variables).process_group(0);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let errors = output.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let path = self.path.clone();
        // A file system that hangs would hold up whoever starts a program from it.
        let started = spawn_blocking(move || match machine::fault(&path, Path::new("/")) {
            Some(fault) => Err(fault),
            None => {
                command.spawn().map_err(|error| format!("it cannot be run: {error}; look at its first line"))
            }
        });
        let mut child = started.await.map_err(|error| error.to_string())??;
        let mut group = ProcessGroup::of(&child);
        let mut lines = Lines { line: Vec::new(), say };
        let limit = Duration::from_micros(self.limit.as_micros());
        let ended = timeout(limit, listen(&mut child, receiver, &mut lines)).await;
        lines.end();
        let Ok(status) = ended else {
            drop(group);
            // It is killed: that is a matter of moments.
            let _ = child.wait().await;
            return Err(format!(
                "it took longer than {}, and was killed with all that it had started",
                self.limit
            ));
        };
        group.0 = None;
        status.map_err(failed)
    }
}

/// Waits for its end, and reads what it says meanwhile.
async fn listen<S: FnMut(String)>(
    child: &mut Child,
    mut pipe: Receiver,
    lines: &mut Lines<'_, S>,
) -> io::Result<ExitStatus> {
    let mut buffer = [0; 4096];
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            read = pipe.read(&mut buffer), if open => open = lines.take(&buffer, read),
        }
    };
    let rest = async {
        while open {
            let read = pipe.read(&mut buffer).await;
            open = lines.take(&buffer, read);
        }
    };
    // Whoever holds the pipe open beyond that is not listened to.
    let _ = timeout(LAST_WORDS, rest).await;
    status
}

/// What a program has started and is not over, which ends when this is dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.map(Pid::from_raw))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Gone already is as good.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// What it writes, by the line.
struct Lines<'a, S> {
    line: Vec<u8>,
    say: &'a mut S,
}

impl<S: FnMut(String)> Lines<'_, S> {
    /// Whether more can come.
    fn take(&mut self, buffer: &[u8], read: io::Result<usize>) -> bool {
        let read = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
        for byte in read {
            match byte {
                b'\n' => self.say(),
                byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
        !read.is_empty()
    }

    fn say(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line).replace(char::is_control, " ");
        (self.say)(line.trim_end().to_owned());
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.say();
        }
    }
}
