//! A stranger's program, run once: it may hang, fork, write without end or be gone.
//!
//! So it is started from a thread that nobody waits for, and it is ended with its whole process group when its time is
//! over, or when nobody waits for it any more. What it writes is handed over by the line.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::time::Span;

use super::mark::Mark;
use super::trust;

/// A line is cut off here.
const LINE_BYTES: usize = 500;

/// Of what is read as a whole nothing beyond this is kept.
const WHOLE_BYTES: usize = 1 << 20;

/// A pipe takes so much although nobody reads it yet: pipe(7).
const INPUT_BYTES: usize = 4_096;

/// What the program wrote before it ended is in the pipe already, and is read at once; what it left running in the
/// background may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Whose time is over is asked to end, and killed so much later: it may have something to take back.
const GRACE: Duration = Duration::from_secs(2);

/// What is killed is gone by then, or nobody can say when.
const BURIAL: Duration = Duration::from_secs(5);

/// How often it is looked whether all of them have ended.
const LOOK: Duration = Duration::from_millis(10);

/// What systemd tells the daemon is not for its children, who would speak in its name or take its log for their own.
const NOT_INHERITED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM"];

/// What is run.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// The file.
    pub path: &'a PathBuf,
    /// Behind it on its command line.
    pub args: &'a [String],
    /// In its environment.
    pub variables: Vec<(&'a str, String)>,
    /// Nothing else is in its environment.
    pub bare: bool,
    /// Longer, and it is ended.
    pub limit: Span,
    /// What it reads.
    pub input: &'a str,
    /// Where it is noted while it is under way.
    pub mark: Option<PathBuf>,
    /// Whose rights it has; else ours.
    pub user: Option<User>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// By us: its time was over.
    Late,
}

impl<'a> Program<'a> {
    /// As agents are run: with nothing in its environment but this.
    pub fn bare(
        path: &'a PathBuf,
        args: &'a [String],
        variables: &'a [(String, String)],
        limit: Span,
    ) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Self { path, args, variables, bare: true, limit, input: "", mark: None, user: None }
    }
}

impl Program<'_> {
    /// Runs it, and hands over each line that it writes. Why it has failed, if it has.
    pub async fn run(self, say: impl FnMut(String) + Send) -> Result<(), String> {
        let limit = self.limit;
        match self.end(say).await? {
            Ended::Code(0) => Ok(()),
            Ended::Code(code) => Err(format!("exit code {code}")),
            Ended::Signal(signal) => Err(format!("ended by signal {signal}")),
            Ended::Late => {
                Err(format!("it took longer than {limit}, and was killed with all that it had started"))
            }
        }
    }

    /// Runs it, and hands over each line that it writes. How it ended, or why it could not be run.
    pub async fn end(self, say: impl FnMut(String) + Send) -> Result<Ended, String> {
        let limit = sleep(Duration::from_micros(self.limit.as_micros()));
        let mut lines = Lines { line: Vec::new(), say };
        let ended = self.attempt((true, false), limit, &mut |bytes: &[u8]| lines.take(bytes)).await;
        lines.end();
        ended
    }

    /// Runs it until it ends, or until this does, whatever its limit says. Nothing that it has started in its group is left
    /// then.
    pub async fn whole(
        self,
        over: impl Future<Output = ()> + Send,
        say: impl FnMut(String) + Send,
    ) -> Result<Ended, String> {
        let mut lines = Lines { line: Vec::new(), say };
        let ended = self.attempt((true, true), over, &mut |bytes: &[u8]| lines.take(bytes)).await;
        lines.end();
        ended
    }

    /// Runs it for what it writes to standard output; its errors are nobody's.
    pub async fn read(self) -> Result<(Ended, String), String> {
        let mut whole = Vec::new();
        let keep = &mut |bytes: &[u8]| {
            let room = WHOLE_BYTES.saturating_sub(whole.len());
            whole.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        };
        let limit = sleep(Duration::from_micros(self.limit.as_micros()));
        let ended = self.attempt((false, false), limit, keep).await?;
        Ok((ended, String::from_utf8_lossy(&whole).into_owned()))
    }

    async fn attempt(
        self,
        (with_errors, whole): (bool, bool),
        over: impl Future<Output = ()> + Send,
        sink: &mut (impl FnMut(&[u8]) + Send),
    ) -> Result<Ended, String> {
        let failed = |error: io::Error| format!("it cannot be run: {error}");
        let (sender, mut receiver) = pipe::pipe().map_err(failed)?;
        let output = sender.into_blocking_fd().map_err(failed)?;
        let mut command = Command::new(self.path);
        if self.bare {
            command.env_clear();
        }
        command.args(self.args).envs(self.variables).process_group(0);
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
        }
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let errors = match with_errors {
            true => Stdio::from(output.try_clone().map_err(failed)?),
            false => Stdio::null(),
        };
        let input =
            if self.input.is_empty() { Stdio::null() } else { whole_input(self.input).map_err(failed)? };
        command.stdin(input).stdout(output).stderr(errors);
        let (path, mark) = (self.path.clone(), self.mark);
        // A file system that hangs would hold up whoever starts a program from it.
        let started = spawn_blocking(move || match trust::fault(&path, Path::new("/")) {
            Some(fault) => Err(fault),
            // Killed with the group, should nobody wait for it any more at this moment.
            None => match command.spawn() {
                Ok(child) => {
                    let mark = mark.zip(child.id()).and_then(|(mark, pid)| Mark::set(&mark, pid));
                    Ok((ProcessGroup::of(&child), child, mark))
                }
                Err(error) => Err(format!("it cannot be run: {error}; look at its first line")),
            },
        });
        let (mut group, mut child, mark) = started.await.map_err(|error| error.to_string())??;
        let ended = tokio::select! {
            status = listen(&mut child, &mut receiver, sink) => Some(status),
            () = over => None,
        };
        let Some(status) = ended else {
            let is_over = end(&mut group, &mut child, &mut receiver, sink).await;
            if let Some(mark) = mark.filter(|_| !is_over) {
                mark.stay();
            }
            return Ok(Ended::Late);
        };
        if whole && group.stands() {
            end(&mut group, &mut child, &mut receiver, sink).await;
        }
        group.0 = None;
        let status = status.map_err(failed)?;
        Ok(status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or_default()), Ended::Code))
    }
}

/// Asks a program and all that it has started to end, then kills them. Whether all are gone: one of them may wait in the
/// kernel for what does not come.
async fn end(
    group: &mut ProcessGroup,
    child: &mut Child,
    receiver: &mut Receiver,
    sink: &mut impl FnMut(&[u8]),
) -> bool {
    group.signal(Signal::SIGTERM);
    let over = async {
        let _ = listen(child, receiver, sink).await;
        while group.stands() {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(GRACE, over).await;
    group.signal(Signal::SIGKILL);
    // That is a matter of moments.
    let gone = async {
        let _ = child.wait().await;
        while group.stands() {
            sleep(LOOK).await;
        }
    };
    timeout(BURIAL, gone).await.is_ok()
}

/// All of it before anybody reads: in a pipe if it fits, else in a file in memory that has no name.
fn whole_input(text: &str) -> io::Result<Stdio> {
    if text.len() > INPUT_BYTES {
        let mut file = File::from(memfd_create("input", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        return Ok(file.into());
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text.as_bytes())?;
    Ok(reader.into())
}

/// Waits for its end, and reads what it says meanwhile.
async fn listen(
    child: &mut Child,
    pipe: &mut Receiver,
    sink: &mut impl FnMut(&[u8]),
) -> io::Result<ExitStatus> {
    let mut buffer = [0; 4096];
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            read = pipe.read(&mut buffer), if open => open = pass_on(&buffer, read, sink),
        }
    };
    let rest = async {
        while open {
            let read = pipe.read(&mut buffer).await;
            open = pass_on(&buffer, read, sink);
        }
    };
    // Whoever holds the pipe open beyond that is not listened to.
    let _ = timeout(LAST_WORDS, rest).await;
    status
}

/// Whether more can come.
fn pass_on(buffer: &[u8], read: io::Result<usize>, sink: &mut impl FnMut(&[u8])) -> bool {
    let read = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
    sink(read);
    !read.is_empty()
}

/// What a program has started and is not over, which ends when this is dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.map(Pid::from_raw))
    }

    /// Whether anybody of it is left.
    fn stands(&self) -> bool {
        self.0.is_some_and(|leader| killpg(leader, None).is_ok())
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // Gone already is as good.
            let _ = killpg(leader, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// What it writes, by the line.
struct Lines<S> {
    line: Vec<u8>,
    say: S,
}

impl<S: FnMut(String)> Lines<S> {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.say(),
                byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
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
