//! The commands, one file each. They read and print; what they find out is decided elsewhere.

pub mod advise;
pub mod agent;
mod announce;
pub mod check;
pub mod cleanup;
pub mod completions;
mod connection;
pub mod copy;
pub mod demo;
pub mod events;
mod failure;
pub mod fence_ack;
pub mod firewall;
mod handover;
pub mod key;
pub mod lab;
pub mod maintenance;
pub mod move_group;
mod odds;
pub mod online;
pub mod other_names;
mod peers;
pub mod reexec;
pub mod reload;
pub mod run;
pub mod simulate;
pub mod standby;
pub mod status;
pub mod stop;
pub mod supervise;
pub mod takeover;
mod terminal;
pub mod why;

pub use connection::Daemon;
pub use failure::{Failure, finish};
pub use handover::Patience;
