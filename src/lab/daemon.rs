//! Daemons as children: in the namespace of their machine, each with folders of its own, and what can happen to them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::network::{Lab, Machine};
use super::{LabError, clock};
use crate::time::Span;

/// What is started as a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The executable; for the one that runs now `/proc/self/exe`.
    pub path: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// What stands before `run`: nothing for systole itself.
    pub before: Vec<OsString>,
    /// Agents are not run: this machine's services are not the lab's.
    pub plays_agents: bool,
}

#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
}

impl Lab {
    /// Starts a machine's daemon. It finds what an earlier one has left in its folders.
    pub fn start(&mut self, machine: &str, program: &Program) -> Result<(), LabError> {
        let folder = self.folder().join(machine);
        let (state, run) = (folder.join("state"), folder.join("run"));
        let memory = self.memory().join(machine).join("memory");
        let ready = fs::create_dir_all(&state)
            .and_then(|()| fs::create_dir_all(&memory))
            .and_then(|()| if run.exists() { Ok(()) } else { symlink(&memory, &run) });
        ready.map_err(LabError::machine(format!("write to {}", folder.display())))?;
        let mut command = Command::new(&program.path);
        command.args(&program.before).arg("run");
        command.arg("--config").arg(&program.config).args(["--node", machine]);
        command.arg("--state-dir").arg(&state).arg("--run-dir").arg(&run);
        command.args(program.plays_agents.then_some("--play-agents"));
        self.launch(machine, command)
    }

    /// Starts any other program in the place of a machine's daemon. It stays in the foreground, and is killed and stopped
    /// with all its processes; its words are kept in the same log.
    pub fn launch(&mut self, machine: &str, mut command: Command) -> Result<(), LabError> {
        let folder = self.folder().join(machine);
        let machine = self.machine_mut(machine)?;
        let log = folder.join("log");
        let opened = fs::create_dir_all(&folder)
            .and_then(|()| File::options().create(true).append(true).open(&log))
            .and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = opened.map_err(LabError::machine(format!("write to {}", folder.display())))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // The keys that end the lab are not the daemon's.
        command.process_group(0);
        let failed = LabError::machine(format!("start {}", command.get_program().display()));
        let child = machine.space.spawn(command).map_err(failed)?;
        machine.daemon = Some(Daemon { child });
        Ok(())
    }

    /// What a machine's daemons have said so far.
    pub fn log(&self, machine: &str) -> String {
        let log = fs::read(self.folder().join(machine).join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Where the control socket of a machine's daemon is.
    pub fn control_socket(&self, machine: &str) -> PathBuf {
        self.folder().join(machine).join("run").join("control.sock")
    }
}

impl Machine {
    /// Sends its daemon a signal: SIGSTOP hangs it, SIGCONT lets it go on, SIGTERM lets it hand over and stop.
    pub fn signal(&mut self, signal: Signal) -> Result<(), LabError> {
        let daemon = self.running()?;
        daemon.signal(signal).map_err(LabError::machine(format!("send {signal}")))
    }

    /// Sends the same to all processes of its daemon. One that is killed so has no time to say goodbye to its children,
    /// which would then put things in order.
    pub fn signal_all(&mut self, signal: Signal) -> Result<(), LabError> {
        let daemon = self.running()?;
        daemon.signal_all(signal).map_err(LabError::machine(format!("send {signal}")))
    }

    /// The number of its daemon's first process; its process group has the same.
    pub fn pid(&mut self) -> Result<u32, LabError> {
        Ok(self.running()?.child.id())
    }

    /// Kills its daemon without a word.
    pub fn kill(&mut self) -> Result<(), LabError> {
        self.running()?;
        self.daemon = None;
        Ok(())
    }

    /// Waits for its daemon's end. How it ended; `None`: it runs on.
    pub fn wait_for_end(&mut self, at_most: Span) -> Option<ExitStatus> {
        let daemon = self.daemon.as_mut()?;
        let status = clock::wait_for(at_most, || daemon.child.try_wait().ok().flatten())?;
        self.daemon = None;
        Some(status)
    }

    /// Whether its daemon runs, or hangs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| matches!(daemon.child.try_wait(), Ok(None)))
    }

    fn running(&mut self) -> Result<&mut Daemon, LabError> {
        let name = &self.name;
        let gone = |status: &str| LabError::Unknown {
            what: format!("running daemon on {name}{status}"),
            known: "those that were started and have not ended".to_owned(),
        };
        let daemon = self.daemon.as_mut().ok_or_else(|| gone(""))?;
        match daemon.child.try_wait() {
            Ok(Some(status)) => {
                let how =
                    status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
                Err(gone(&format!(" (it ended: {how})")))
            }
            Ok(None) | Err(_) => Ok(daemon),
        }
    }
}

impl Daemon {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    fn signal_all(&self, signal: Signal) -> io::Result<()> {
        let group = i32::try_from(self.child.id()).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(killpg(Pid::from_raw(group), signal)?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, or ends now; in either case it is waited for. Once it has been, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal_all(Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
