//! The control socket: every request, and whatever else a client may do to it.

mod orders;
mod server;
mod words;
#[expect(dead_code, reason = "shared with the tests of the commands, which use more of it")]
mod world;
