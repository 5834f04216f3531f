//! The machine's watchdog: hardware, or the kernel, that resets it unless it is fed in time. It is fed for each beat that
//! says that every exclusive group here rests on a lease, and for nothing else.
//!
//! A thread of its own feeds it, for a device may take its time. What was cooked too long ago is not served: the lease that
//! it rested on may be over. A process that stands still between that look and the device is ended by a timer of the kernel.
//! The device counts from the first meal on and until a clean stop: a daemon that dies leaves it counting, and the kernel
//! feeds it once more then. So it is opened for a meal only: else each daemon that dies without one would buy another
//! timeout.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::cluster::{Input, LATEST_MEAL};
use crate::config::Config;
use crate::net::sys;
use crate::time::Span;
use crate::types::NodeId;

use super::beats::Told;
use super::clock;
use super::desk::Said;
use super::mailbox::Mailbox;

/// What is told to the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meal {
    /// All is well, as of this time of the boot clock.
    Feed(Span),
    /// Nothing runs here any more.
    End,
}

/// The last word to a device, which then stops counting.
const FAREWELL: &[u8] = b"V";

/// Why a daemon that runs cannot go on with another configuration: whose device it has must not change, nor whether it needs
/// one.
pub(super) fn cannot_change(old: &Config, new: &Config, node: NodeId) -> Option<&'static str> {
    let owner = |config: &Config| config.nodes.get(&node).is_some_and(|node| !node.arbiter);
    if old.watchdog != new.watchdog {
        return Some("the watchdog cannot change while the daemon runs: restart it");
    }
    (new.watchdog.is_some() && owner(old) != owner(new))
        .then_some("an arbiter has no watchdog, and an owner needs one: restart the daemon")
}

/// Why a device is of no use.
#[derive(Debug)]
enum Trouble {
    /// It cannot be had; it may not even count.
    Opening(io::Error),
    /// It counts, and cannot be fed.
    Feeding(io::Error),
}

/// The thread that feeds.
pub(super) struct Feeder {
    pub(super) device: PathBuf,
    pub(super) timeout: Span,
    /// In a lab nothing is opened, and all is taken to be well: the machine is not the lab's.
    pub(super) plays: bool,
    pub(super) inbox: Mailbox<Meal>,
    pub(super) to_beats: Mailbox<Told>,
    pub(super) to_desk: Mailbox<Said>,
}

impl Feeder {
    /// Until the end.
    pub(super) fn run(self) {
        let mut device: Option<Device> = None;
        let mut told = None;
        loop {
            let bell = self.inbox.bell();
            // An interrupted wait is none.
            let _ = poll(&mut [PollFd::new(bell, PollFlags::POLLIN)], PollTimeout::NONE);
            let meals = self.inbox.take();
            let feed = meals.iter().rev().find_map(|meal| match meal {
                Meal::Feed(at) => Some(*at),
                Meal::End => None,
            });
            if let Some(at) = feed {
                let served = if self.plays { Ok(true) } else { self.serve(&mut device, at) };
                self.tell(&served, &mut told);
            }
            if meals.contains(&Meal::End) {
                if let Some(device) = device.take() {
                    device.leave();
                }
                return;
            }
        }
    }

    /// Whoever takes over relies on the device: the core learns whether it counts, and the operator why not.
    fn tell(&self, served: &Result<bool, Trouble>, told: &mut Option<bool>) {
        let counts = match served {
            Ok(false) => return,
            Ok(true) => true,
            Err(_) => false,
        };
        if told.replace(counts) == Some(counts) {
            return;
        }
        self.to_beats.post(Told::Input(Input::Watchdog { counts }));
        let (place, timeout) = (self.device.display(), self.timeout);
        self.to_desk.post(match served {
            Ok(_) if self.plays => Said::Note(format!("the watchdog {place} is played: it resets nothing")),
            Ok(_) => Said::Watchdog(Ok(format!(
                "the watchdog {place} counts: unfed for {timeout}, it resets this machine"
            ))),
            Err(Trouble::Opening(error)) => Said::Watchdog(Err(format!(
                "the watchdog {place} cannot be used ({error}): no exclusive group runs here without it; {}",
                remedy(error)
            ))),
            Err(Trouble::Feeding(error)) => Said::Watchdog(Err(format!(
                "the watchdog {place} cannot be fed ({error}): no exclusive group runs here any more, and unless it can be fed again it resets this machine within {timeout}"
            ))),
        });
    }

    /// Opens the device where that is not done yet, and feeds it. Whether it did: not if the meal was cooked too long ago.
    fn serve(&self, open: &mut Option<Device>, at: Span) -> Result<bool, Trouble> {
        let latest = self.timeout / LATEST_MEAL;
        if clock::now().boot - at > latest / 2 {
            return Ok(false);
        }
        let device = match open {
            Some(device) => device,
            None => open.insert(Device::open(&self.device, self.timeout).map_err(Trouble::Opening)?),
        };
        device.feed(at + latest).map_err(Trouble::Feeding)?;
        Ok(true)
    }
}

/// What to do where a device cannot be had.
fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound {
        "a machine without one has that of the kernel: modprobe softdog"
    } else if error.kind() == io::ErrorKind::ResourceBusy {
        "see who has it with fuser, and RuntimeWatchdogSec in /etc/systemd/system.conf"
    } else {
        "see the kernel's log, and [watchdog] in docs/configuration.md"
    }
}

/// An open one: it counts.
struct Device {
    file: File,
    guard: Timer,
}

impl Device {
    /// It counts from now on.
    fn open(path: &Path, timeout: Span) -> io::Result<Self> {
        // To open it would start it, and to write to a file would fill it.
        if !std::fs::metadata(path)?.file_type().is_char_device() {
            return Err(io::Error::other("it is no device: name one, such as /dev/watchdog"));
        }
        let guard = Self::guard()?;
        let device = Self { file: OpenOptions::new().write(true).open(path)?, guard };
        let seconds = i32::try_from(timeout.as_micros() / 1_000_000).unwrap_or(i32::MAX);
        match device.prepare(seconds) {
            Ok(()) => Ok(device),
            Err(error) => {
                device.leave();
                Err(error)
            }
        }
    }

    /// What kills this process when it goes off.
    fn guard() -> io::Result<Timer> {
        let kill = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
        Ok(Timer::new(ClockId::CLOCK_BOOTTIME, kill)?)
    }

    fn prepare(&self, seconds: i32) -> io::Result<()> {
        let device = self.file.as_fd();
        if !sys::watchdog_outlives_its_user(device)? {
            return Err(io::Error::other(
                "it stops counting when its program dies; try that of the kernel: modprobe softdog",
            ));
        }
        let set = match sys::watchdog_timeout(device) {
            Ok(set) if set == seconds => set,
            Ok(_) | Err(_) => sys::set_watchdog(device, seconds)?,
        };
        if set > seconds {
            return Err(io::Error::other(format!(
                "it takes {set} s at least, and {seconds} s are configured"
            )));
        }
        Ok(())
    }

    /// If this is not done by then, the process is.
    fn feed(&mut self, latest: Span) -> io::Result<()> {
        let at = TimeSpec::from_duration(Duration::from_micros(latest.as_micros()));
        self.guard.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        let fed = self.file.write_all(&[0]);
        self.guard.set(Expiration::OneShot(TimeSpec::new(0, 0)), TimerSetTimeFlags::empty())?;
        fed
    }

    fn leave(mut self) {
        // One that cannot be stopped resets the machine, and has said so in the kernel's log.
        let _ = self.file.write_all(FAREWELL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feeder(device: &Path) -> Feeder {
        Feeder {
            device: device.to_owned(),
            timeout: Span::seconds(5),
            plays: false,
            inbox: Mailbox::new().unwrap(),
            to_beats: Mailbox::new().unwrap(),
            to_desk: Mailbox::new().unwrap(),
        }
    }

    fn opened(path: &Path) -> Device {
        Device { file: File::create(path).unwrap(), guard: Device::guard().unwrap() }
    }

    #[test]
    fn a_meal_is_served_at_once_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let mut device = Some(opened(&path));
        let feeder = feeder(&path);
        let now = clock::now().boot;
        assert!(feeder.serve(&mut device, now).unwrap());
        assert!(!feeder.serve(&mut device, now - Span::seconds(1)).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), [0], "the second one was cooked too long ago");
        device.unwrap().leave();
        assert_eq!(std::fs::read(&path).unwrap(), [0, b'V']);
    }

    /// What was cooked too long ago must not even start the device.
    #[test]
    fn nothing_is_opened_for_a_meal_that_comes_too_late() {
        let feeder = feeder(Path::new("/nowhere/device"));
        assert!(!feeder.serve(&mut None, clock::now().boot - Span::seconds(1)).unwrap());
        assert!(matches!(feeder.serve(&mut None, clock::now().boot), Err(Trouble::Opening(_))));
    }

    /// It runs itself once more, in a process that must not outlive it.
    #[test]
    fn whoever_would_serve_too_late_is_killed_first() {
        const NAME: &str = "daemon::watchdog::tests::whoever_would_serve_too_late_is_killed_first";
        const DEVICE: &str = "SYSTOLE_TEST_DEVICE";
        if let Some(path) = std::env::var_os(DEVICE) {
            let mut device = opened(Path::new(&path));
            // As if the process had stood still after its look at the clock.
            let _ = device.feed(clock::now().boot - Span::millis(1));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let me = std::env::current_exe().unwrap();
        let mut again = std::process::Command::new(me);
        let ended = again.args(["--exact", NAME, "--quiet"]).env(DEVICE, &path).output().unwrap().status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
        assert_eq!(std::fs::read(&path).unwrap(), b"", "it was not fed");
    }

    #[test]
    fn a_device_that_cannot_be_used_is_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        std::fs::write(&path, "").unwrap();
        let feeder = feeder(&path);
        let (inbox, to_beats, to_desk) =
            (feeder.inbox.clone(), feeder.to_beats.clone(), feeder.to_desk.clone());
        let thread = std::thread::spawn(move || feeder.run());
        inbox.post(Meal::Feed(clock::now().boot));
        let mut told = to_beats.take();
        while told.is_empty() {
            std::thread::yield_now();
            told = to_beats.take();
        }
        inbox.post(Meal::Feed(clock::now().boot));
        inbox.post(Meal::End);
        thread.join().unwrap();
        told.extend(to_beats.take());
        assert!(matches!(told.make_contiguous(), [Told::Input(Input::Watchdog { counts: false })]));
        let mut said = to_desk.take();
        assert!(matches!(said.make_contiguous(), [Said::Watchdog(Err(why))] if why.contains("is no device")));
        assert_eq!(std::fs::read(&path).unwrap(), b"", "nothing was written to what is no device");
    }
}
