//! Which agents are under way, noted where a supervisor that comes later finds it: what an earlier one left half done is
//! ended before anything is asked again, so that two never work on one resource.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

/// How often it is looked whether a killed one is gone, and how long.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: usize = 400;

/// What is half written begins so: as no resource's name does.
const NEW: &str = ".";

/// The note of one agent, which is gone with this.
#[derive(Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// Notes the process, which leads a group of its own. Where that cannot be written, nothing is noted: running agents
    /// matters more than what might come after a crash.
    pub fn set(path: &Path, pid: u32) -> Option<Self> {
        let began = began(pid)?;
        // Beside it and then there: half a note would be none.
        let new = path.with_file_name(format!("{NEW}{pid}"));
        fs::write(&new, format!("{pid} {began}\n")).ok()?;
        fs::rename(&new, path).ok().map(|()| Self(path.to_owned()))
    }

    /// It cannot be killed: the note stays, and nothing else is done in its place meanwhile.
    pub fn stay(self) {
        std::mem::forget(self);
    }
}

/// Whether an agent that was noted there runs on, or any process of it.
pub fn runs(path: &Path) -> bool {
    let noted = fs::read_to_string(path).ok().and_then(|text| parse(&text));
    let group_stands =
        |pid: u32| i32::try_from(pid).is_ok_and(|leader| killpg(Pid::from_raw(leader), None).is_ok());
    // What hangs in the kernel is often not the agent itself, but what it called.
    noted.is_some_and(|(pid, noted)| match began(pid) {
        Some(began) => began == noted,
        None => group_stands(pid),
    })
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Ends what is noted in a folder, and forgets it; what cannot be ended stays noted.
pub async fn end_all(folder: &Path) {
    for note in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = note.path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let ended = match parse(&text) {
            Some((pid, began)) => end(pid, began).await,
            None => true,
        };
        if ended {
            let _ = fs::remove_file(&path);
        }
    }
}

fn parse(text: &str) -> Option<(u32, u64)> {
    let (pid, began) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, began.parse().ok()?))
}

/// Whether it has ended. What it has started in groups and sessions of their own is what it was asked for, and stays.
async fn end(pid: u32, noted: u64) -> bool {
    let Some(leader) = i32::try_from(pid).ok().filter(|leader| *leader > 1) else { return true };
    for _ in 0..LOOKS {
        if began(pid) != Some(noted) {
            return true;
        }
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        sleep(LOOK).await;
    }
    false
}

/// When a process began, in ticks of the boot clock; nothing for one that is gone or only waits to be buried.
fn began(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: the state is the third field of the line, the time the twenty-second.
    let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let state = fields.next().unwrap_or("Z");
    fields.nth(18).filter(|_| state != "Z")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn end_now(folder: &Path) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(end_all(folder))
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn what_an_earlier_life_left_under_way_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let note = folder.path().join("till@shop");
        Mark::set(&note, child.id()).unwrap().stay();
        assert!(runs(&note));
        end_now(folder.path());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "and forgotten");
        assert!(!runs(&note), "there is no note");
    }

    #[test]
    fn another_process_of_that_number_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let began = began(child.id()).unwrap();
        fs::write(folder.path().join("till@shop"), format!("{} {}\n", child.id(), began + 1)).unwrap();
        fs::write(folder.path().join("torn"), "12").unwrap();
        end_now(folder.path());
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nobody needs these notes");
    }

    #[test]
    fn what_has_ended_is_noted_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("till@shop");
        let mut child = sleeper();
        let mark = Mark::set(&path, child.id()).unwrap();
        assert!(path.exists());
        drop(mark);
        assert!(!path.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Mark::set(&path, child.id()).is_none(), "there is nothing to note");
    }
}
