//! What happened, in words.

use super::pool::Event;

/// A line for the log.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Down { service, server, why } => format!("{service}: {server} is down: {why}"),
        Event::Up { service, server, after: None } => format!("{service}: {server} is up"),
        Event::Up { service, server, after: Some(after) } => {
            format!("{service}: {server} is up again, after {after}")
        }
        Event::TooFew { service, sorry: true } => {
            format!("{service}: too few servers are well; the sorry server answers")
        }
        Event::TooFew { service, sorry: false } => {
            format!("{service}: too few servers are well, and there is no sorry server: those that are go on")
        }
        Event::Enough { service } => format!("{service}: enough servers are well again"),
    }
}
