//! The machine's watchdog: hardware, or the kernel, that resets it unless it is fed in time. It is fed for each beat that
//! says that every exclusive group here rests on a lease, and for nothing else.
//!
//! A thread of its own feeds it, for a device may take its time. What was cooked too long ago is not served: the lease that
//! it rested on may be over. It counts from the first meal on, when it is known what runs here, and until a clean stop; a
//! daemon that dies leaves it counting.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cluster::{Command, Input, margin};
use crate::config;
use crate::net::sys;
use crate::time::Span;

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

/// Why a device cannot be used; nothing is opened, for that would start it.
pub(super) fn fault(watchdog: &config::Watchdog) -> Option<String> {
    let place = watchdog.device.display();
    match std::fs::metadata(&watchdog.device) {
        Ok(meta) if meta.file_type().is_char_device() => None,
        Ok(_) => Some(format!("the watchdog {place} is no device: name one, such as /dev/watchdog")),
        Err(error) => Some(format!(
            "the watchdog {place} cannot be used: {error}; a machine without one has that of the kernel: modprobe softdog"
        )),
    }
}

/// The thread that feeds.
pub(super) struct Feeder {
    pub(super) device: PathBuf,
    pub(super) timeout: Span,
    pub(super) inbox: Mailbox<Meal>,
    pub(super) to_beats: Mailbox<Told>,
    pub(super) to_desk: Mailbox<Said>,
}

impl Feeder {
    /// Until the end.
    pub(super) fn run(self) {
        let mut device: Option<Device> = None;
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
                if device.is_none() {
                    device = self.begin();
                }
                if let Some(device) = &mut device {
                    self.feed(device, at);
                }
            }
            if meals.contains(&Meal::End) {
                if let Some(device) = device.take() {
                    device.leave();
                }
                return;
            }
        }
    }

    /// Whoever takes over relies on it: without it nothing may be held here.
    fn begin(&self) -> Option<Device> {
        match Device::open(&self.device, self.timeout) {
            Ok(device) => {
                let (place, timeout) = (self.device.display(), self.timeout);
                self.to_desk.post(Said::Note(format!(
                    "the watchdog {place} counts: unfed for {timeout}, it resets this machine"
                )));
                Some(device)
            }
            Err(error) => {
                let place = self.device.display();
                self.to_desk.post(Said::Alarm(format!(
                    "the watchdog {place} cannot be used ({error}): nothing is held here without it, and this daemon stops; see who has it: fuser {place}, and RuntimeWatchdogSec in /etc/systemd/system.conf"
                )));
                self.to_beats.post(Told::Input(Input::Command(Command::Leave)));
                None
            }
        }
    }

    fn feed(&self, device: &mut Device, at: Span) {
        if clock::now().boot - at > margin(self.timeout) {
            return;
        }
        if let Err(error) = device.feed() {
            let place = self.device.display();
            self.to_desk.post(Said::Alarm(format!("the watchdog {place} cannot be fed: {error}")));
        }
    }
}

/// An open one: it counts.
struct Device(File);

impl Device {
    fn open(path: &Path, timeout: Span) -> io::Result<Self> {
        let device = Self(OpenOptions::new().write(true).open(path)?);
        let seconds = i32::try_from(timeout.as_micros() / 1_000_000).unwrap_or(i32::MAX);
        match sys::set_watchdog(device.0.as_fd(), seconds) {
            Ok(set) if set <= seconds => Ok(device),
            refused => {
                device.leave();
                Err(match refused {
                    Ok(set) => {
                        io::Error::other(format!("it takes {set} s at least, and {timeout} are configured"))
                    }
                    Err(error) => error,
                })
            }
        }
    }

    fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(&[0])
    }

    fn leave(mut self) {
        // One that cannot be stopped resets the machine, and has said so in the kernel's log.
        let _ = self.0.write_all(FAREWELL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feeder(device: &Path) -> Feeder {
        Feeder {
            device: device.to_owned(),
            timeout: Span::seconds(5),
            inbox: Mailbox::new().unwrap(),
            to_beats: Mailbox::new().unwrap(),
            to_desk: Mailbox::new().unwrap(),
        }
    }

    #[test]
    fn a_meal_is_served_at_once_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let mut device = Device(File::create(&path).unwrap());
        let feeder = feeder(&path);
        let now = clock::now().boot;
        feeder.feed(&mut device, now);
        feeder.feed(&mut device, now - Span::seconds(1));
        assert_eq!(std::fs::read(&path).unwrap(), [0], "the second one was cooked too long ago");
        device.leave();
        assert_eq!(std::fs::read(&path).unwrap(), [0, b'V']);
    }

    #[test]
    fn without_its_device_a_node_holds_nothing_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        std::fs::write(&path, "").unwrap();
        let feeder = feeder(&path);
        let (inbox, to_beats, to_desk) =
            (feeder.inbox.clone(), feeder.to_beats.clone(), feeder.to_desk.clone());
        inbox.post(Meal::Feed(clock::now().boot));
        inbox.post(Meal::End);
        feeder.run();
        assert!(matches!(to_beats.take()[0], Told::Input(Input::Command(Command::Leave))));
        assert!(matches!(&to_desk.take()[0], Said::Alarm(what) if what.contains("cannot be used")));
        assert_eq!(std::fs::read(&path).unwrap(), b"V", "it was opened, and is told not to count");
        let watchdog = config::Watchdog { device: path, timeout: Span::seconds(5) };
        assert!(fault(&watchdog).unwrap().contains("is no device"));
    }
}
