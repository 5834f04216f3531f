//! Bytes become a [`Beat`](crate::beat::Beat), or a counted reason why not; and a beat becomes sealed datagrams.
//!
//! What arrives is an attacker's until its seal has verified. So nothing of it is decoded, remembered or allocated for
//! before; and whatever is refused has changed one counter that names the cause, and nothing else (`docs/wire.md`).
//!
//! No sockets here: the daemon hands in bytes and the link they came over, and sends out what [`Sealer`] gives it.

pub mod body;
pub mod frame;
pub mod limits;

mod opener;
mod parts;
mod refused;
mod replay;
mod seal;
mod sealer;

pub use frame::{Header, KeyId, Life};
pub use opener::{News, Opened, Opener};
pub use refused::{CAUSES, Counters, Refused};
pub use seal::{BadRing, KeyRing};
pub use sealer::{Datagram, Sealer, Unsealed};
