//! The kernel's network: what beats travel over, and what a lease lets through.
//!
//! | file | what it does |
//! | --- | --- |
//! | `link.rs` | the sockets that beats travel over |
//! | `lease.rs` | the lease in the kernel: sets with a timeout, without which an address is silent |
//! | `nft.rs` | the few messages of nftables that the lease is made of |
//! | `ipvs.rs` | the kernel's IP virtual server: services, destinations, and who tells whom of connections |
//! | `netlink.rs` | requests to the kernel and its answers; no crate's idea of them, only bytes and attributes |
//! | `route.rs` | links, addresses, routes, neighbours: what `ip` shows and changes |
//! | `sysctl.rs` | settings of the kernel's network |
//! | `answer.rs` | answers for addresses that every node has, with the hardware address that all share |
//! | `filter.rs` | filters in the kernel: frames of no concern wake nobody |
//! | `announce.rs` | tells the neighbours where an address is now: paced, repeated, and no more once the lease has ended |
//! | `frame.rs` | the bytes of ARP, neighbour discovery and echo |
//! | `ping.rs` | pings of one family, all through one socket |
//! | `probe.rs` | who answers for an address, which ping target answers, and who else speaks for what is held here |
//! | `sys.rs` | the few calls that no crate wraps safely: the only `unsafe` of the house |
//! | `watch.rs` | whether others have changed the rules of the lease |
//!
//! Nothing here decides: it is told what to do, does it at once, and says what came of it. No call waits for anything but
//! the kernel's answer to it.

pub mod announce;
pub mod answer;
mod filter;
pub mod frame;
pub mod ipvs;
pub mod lease;
pub mod link;
pub mod netlink;
pub mod nft;
pub mod ping;
pub mod probe;
pub mod route;
pub mod sys;
pub mod sysctl;
pub mod watch;
