//! The daemon's control socket: one line of JSON a request, one line an answer (`docs/control.md`).
//!
//! It shows what the core knows and hands orders on. It must never hold the core up, whatever its clients do: all that it
//! asks of the daemon goes through a [`Desk`], and everything here is bounded by [`limits`].

mod data;
mod desk;
mod gaps;
pub mod limits;
mod pull;
mod request;
mod server;
pub mod shape;
mod socket;
pub mod variables;
pub mod watched;
pub mod words;

pub use desk::*;
pub use gaps::{Gaps, LATENESS_STEPS};
pub use request::{Request, Servers};
pub use server::serve;
pub use socket::{BindError, SOCKET_NAME, Socket};
