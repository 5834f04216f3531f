//! What the commands print, and the codes they end with: the texts of a pair, and the binary with and without a daemon.

mod binary;
mod copy;
mod firewall;
mod texts;
#[path = "../control/world.rs"]
mod world;
