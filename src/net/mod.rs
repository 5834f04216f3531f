//! The kernel's network: what beats travel over, and what a lease lets through.
//!
//! | file | what it does |
//! | --- | --- |
//! | `lease.rs` | the lease in the kernel: sets with a timeout, without which an address is silent |
//! | `nft.rs` | the few messages of nftables that the lease is made of |
//! | `netlink.rs` | requests to the kernel and its answers; no crate's idea of them, only bytes and attributes |
//! | `sys.rs` | the few calls that no crate wraps safely: the only `unsafe` of the house |
//! | `watch.rs` | whether others have changed the rules of the lease |
//!
//! Nothing here decides: it is told what to do, does it at once, and says what came of it. No call waits for anything but
//! the kernel's answer to it.

pub mod lease;
pub mod netlink;
pub mod nft;
pub mod sys;
pub mod watch;
