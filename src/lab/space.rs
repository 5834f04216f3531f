//! Network namespaces without names: each is held by a thread of its own, and is gone when the last thread and process
//! in it is gone. Nothing is written to /run/netns, so nothing can be left there.
//!
//! namespaces(7), `user_namespaces(7)`. An ordinary user gets a namespace of users first, and is root inside of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getegid, geteuid};

use super::LabError;
use crate::net::sys;

/// The bit of `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// Whether this process may make namespaces as it is.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << SYS_ADMIN) != 0
}

/// Makes an ordinary user root of a namespace of users; a real root stays what it is. Only a process of one thread can
/// do that, so it must come before anything else. Says whether this is now such a namespace.
pub fn become_root() -> Result<bool, LabError> {
    if is_root() {
        return Ok(false);
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| LabError::Forbidden { error: error.into() })?;
    let map = || {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))
    };
    map().map_err(|error| LabError::Forbidden { error })?;
    Ok(true)
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and the thread that holds it and starts what runs in it.
#[derive(Debug)]
pub struct Space {
    net: OwnedFd,
    jobs: Option<Sender<Job>>,
    holder: Option<JoinHandle<()>>,
}

impl Space {
    /// A new and empty one.
    pub fn new() -> Result<Self, LabError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (told, hears) = mpsc::channel();
        let hold = move || {
            let opened = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| fs::File::open("/proc/thread-self/ns/net"));
            let is_open = opened.is_ok();
            if told.send(opened).is_ok() && is_open {
                inbox.iter().for_each(|job| job());
            }
        };
        let holder = std::thread::Builder::new().name("lab-space".into()).spawn(hold);
        let holder = holder.map_err(|error| LabError::Machine { what: "start a thread".into(), error })?;
        let opened = hears.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let net = opened.map_err(|error| LabError::Forbidden { error })?.into();
        Ok(Self { net, jobs: Some(jobs), holder: Some(holder) })
    }

    /// Runs this in the namespace, and waits for it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, hear) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Whoever asked waits below.
            let _ = tell.send(job());
        });
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
        hear.recv().expect("the thread of a namespace lives as long as the namespace, unless a job panics")
    }

    /// Starts a program in the namespace. It is killed when this process ends, however that comes about.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || {
            sys::die_with_this_thread(&mut command);
            command.spawn()
        })
    }

    /// Starts a thread in the namespace, which goes on until it is told to stop.
    pub fn work<T: Send + 'static>(
        &self,
        name: &str,
        job: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<Work<T>, LabError> {
        let failed = |error| LabError::Machine { what: format!("start the thread {name}"), error };
        let net = self.net.try_clone().map_err(failed)?;
        let stop = Stop::default();
        let told = stop.clone();
        let enter_and_work = move || {
            setns(net, CloneFlags::CLONE_NEWNET).ok()?;
            Some(job(&told))
        };
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(enter_and_work).map_err(failed)?;
        Ok(Work { stop, thread: Some(thread) })
    }
}

impl AsFd for Space {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(holder) = self.holder.take() {
            // A panic of it has been told where it happened.
            let _ = holder.join();
        }
    }
}

/// Tells a thread to come to its end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether it shall.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Holds back the signals that end a program, for this thread and those that it starts from now on: the first one is
/// told, so that everything can be put away, and the second one ends the program at once.
pub fn interrupts() -> Result<Stop, LabError> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let held = signals.thread_block().map_err(io::Error::from);
    held.map_err(LabError::machine("hold signals back"))?;
    let stop = Stop::default();
    let told = stop.clone();
    let wait = move || {
        while signals.wait().is_ok() {
            if told.0.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    };
    let waits = std::thread::Builder::new().name("lab-signals".into()).spawn(wait);
    waits.map(|_| stop).map_err(LabError::machine("start a thread"))
}

/// A thread in a namespace. Dropped, it is stopped, and waited for.
#[derive(Debug)]
pub struct Work<T> {
    stop: Stop,
    thread: Option<JoinHandle<Option<T>>>,
}

impl<T> Work<T> {
    /// Stops it. What it brings; `None` if it could not work, or panicked.
    pub fn finish(mut self) -> Option<T> {
        self.join()
    }

    fn join(&mut self) -> Option<T> {
        self.stop.0.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).flatten()
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.join();
    }
}
