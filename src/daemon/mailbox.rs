//! How the threads of the daemon tell each other something without ever waiting for each other.
//!
//! A real-time thread must not wait for an ordinary one that holds a lock and is not running. So what it posts goes into
//! a box only if the box is free at this moment, else it is kept and posted a moment later ([`Outbox`]); and it takes what
//! is in its own box only if that is free: whoever holds it wakes the reader when he is done.
//!
//! A box has no limit of its own. What is in it is bounded by what the core has under way: one run for each resource, one
//! order for each lease, one call to stay awake for each deadline, and the events of one step; renewals of a lease that wait
//! take the place of older ones.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Both ends of a box.
#[derive(Debug)]
pub(super) struct Mailbox<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    waiting: Mutex<VecDeque<T>>,
    bell: EventFd,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Inner { waiting: Mutex::default(), bell })))
    }

    /// For an ordinary thread: posts one.
    pub(super) fn post(&self, what: T) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(what);
        self.ring();
    }

    /// Takes all that waits, or nothing where somebody is posting at this moment: he rings when he is done.
    pub(super) fn take(&self) -> VecDeque<T> {
        // Nothing to read is no error: the bell was heard before.
        let _ = self.0.bell.read();
        match self.0.waiting.try_lock() {
            Ok(mut waiting) => std::mem::take(&mut *waiting),
            Err(TryLockError::Poisoned(poisoned)) => std::mem::take(&mut *poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => VecDeque::new(),
        }
    }

    fn ring(&self) {
        // A bell that cannot be rung any more is ringing.
        let _ = self.0.bell.write(1);
    }

    /// What becomes readable when something was posted.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

/// A real-time thread's way into a box.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    to: Mailbox<T>,
    kept: VecDeque<T>,
}

impl<T> Outbox<T> {
    pub(super) fn new(to: Mailbox<T>) -> Self {
        Self { to, kept: VecDeque::new() }
    }

    /// Will be posted by the next [`Outbox::flush`].
    pub(super) fn keep(&mut self, what: T) {
        self.kept.push_back(what);
    }

    /// What was kept and not posted yet, for taking back what is out of date.
    pub(super) fn kept(&mut self) -> &mut VecDeque<T> {
        &mut self.kept
    }

    /// Posts what was kept; whether nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        if self.kept.is_empty() {
            return true;
        }
        let posted = match self.to.0.waiting.try_lock() {
            Ok(mut waiting) => {
                waiting.append(&mut self.kept);
                true
            }
            Err(TryLockError::Poisoned(poisoned)) => {
                poisoned.into_inner().append(&mut self.kept);
                true
            }
            Err(TryLockError::WouldBlock) => false,
        };
        if posted {
            self.to.ring();
        }
        posted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_comes_out_in_order_and_once() {
        let mailbox = Mailbox::new().unwrap();
        mailbox.post(1);
        let mut outbox = Outbox::new(mailbox.clone());
        outbox.keep(2);
        outbox.keep(3);
        assert!(outbox.flush());
        assert_eq!(mailbox.take(), [1, 2, 3]);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn a_held_box_keeps_nobody_waiting_and_loses_nothing() {
        let mailbox = Mailbox::new().unwrap();
        let mut outbox = Outbox::new(mailbox.clone());
        outbox.keep(1);
        let held = mailbox.0.waiting.lock().unwrap();
        assert!(!outbox.flush());
        assert!(mailbox.take().is_empty());
        drop(held);
        assert!(outbox.flush());
        assert_eq!(mailbox.take(), [1]);
    }
}
