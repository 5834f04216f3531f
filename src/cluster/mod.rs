//! The pure core.

mod event;
mod input;

pub use event::*;
pub use input::*;
