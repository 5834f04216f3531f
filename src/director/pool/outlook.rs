//! How a group's servers look from here, damped: what was found in a while just past, at its best and at its worst.
//!
//! The while is as long as it takes to find a server down and up again. A node that lost servers that everybody lost has
//! not yet lost them at its best when the last of the others has at his worst; and one that was down too shortly for
//! others to find out is up again before that.

use std::collections::VecDeque;

use crate::beat::Shortfall;
use crate::time::Span;

/// One group's.
#[derive(Clone, Debug)]
pub struct Outlook {
    window: Span,
    /// What is found now; `None`: not everybody was asked yet.
    found: Option<u8>,
    /// What was found before, and until when.
    past: VecDeque<(Span, u8)>,
}

impl Outlook {
    /// Nothing is known yet.
    pub fn new(window: Span) -> Self {
        Self { window, found: None, past: VecDeque::new() }
    }

    /// The while is so long from now on.
    pub fn set_window(&mut self, window: Span) {
        self.window = window;
    }

    /// So much is found not well, from now on.
    pub fn find(&mut self, percent: u8, now: Span) {
        match self.found.replace(percent) {
            Some(before) if before == percent => {}
            Some(before) => self.past.push_back((now, before)),
            None => {
                self.past.extend([Shortfall::UNKNOWN.least, Shortfall::UNKNOWN.most].map(|end| (now, end)))
            }
        }
    }

    /// What others are told.
    pub fn shortfall(&self, now: Span) -> Shortfall {
        let Some(found) = self.found else { return Shortfall::UNKNOWN };
        let past = || self.past.iter().filter(|(until, _)| *until + self.window > now);
        let all = || past().map(|(_, percent)| *percent).chain([found]);
        Shortfall { least: all().min().unwrap_or(found), most: all().max().unwrap_or(found) }
    }

    /// What was found too long ago is forgotten.
    pub fn forget(&mut self, now: Span) {
        let window = self.window;
        self.past.retain(|(until, _)| *until + window > now);
    }

    /// When it may look otherwise, though nothing else is found.
    pub fn next(&self) -> Option<Span> {
        self.past.front().map(|(until, _)| *until + self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Span = Span::seconds(10);

    fn at(seconds: u64) -> Span {
        Span::seconds(seconds)
    }

    fn told(least: u8, most: u8) -> Shortfall {
        Shortfall { least, most }
    }

    #[test]
    fn nothing_is_said_before_it_is_known_for_a_while() {
        let mut outlook = Outlook::new(WINDOW);
        assert_eq!(outlook.shortfall(at(1)), Shortfall::UNKNOWN);
        assert_eq!(outlook.next(), None);
        outlook.find(0, at(2));
        assert_eq!(outlook.shortfall(at(2)), Shortfall::UNKNOWN);
        assert_eq!(outlook.next(), Some(at(12)));
        assert_eq!(outlook.shortfall(at(11)), Shortfall::UNKNOWN);
        assert_eq!(outlook.shortfall(at(12)), Shortfall::NONE);
        outlook.forget(at(12));
        assert_eq!(outlook.next(), None);
    }

    #[test]
    fn a_loss_is_at_once_the_worst_and_later_the_best() {
        let mut outlook = Outlook::new(WINDOW);
        outlook.find(0, at(0));
        outlook.find(60, at(20));
        assert_eq!(outlook.shortfall(at(20)), told(0, 60));
        outlook.find(60, at(25));
        assert_eq!(outlook.shortfall(at(29)), told(0, 60));
        assert_eq!(outlook.shortfall(at(30)), told(60, 60));
        outlook.find(0, at(40));
        assert_eq!(outlook.shortfall(at(49)), told(0, 60));
        assert_eq!(outlook.shortfall(at(50)), Shortfall::NONE);
    }

    #[test]
    fn what_comes_and_goes_is_both_and_known() {
        let mut outlook = Outlook::new(WINDOW);
        outlook.find(0, at(0));
        for round in 0..10 {
            outlook.find(100, at(20 + 2 * round));
            outlook.find(0, at(21 + 2 * round));
        }
        assert_eq!(outlook.shortfall(at(39)), told(0, 100));
        assert!(outlook.shortfall(at(39)).is_known());
        assert_eq!(outlook.shortfall(at(49)), Shortfall::NONE);
    }
}
