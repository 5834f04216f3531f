//! systole: a cluster manager for active/passive director pairs.
//!
//! One sentence holds the house together: **the core decides, the edge does, and what was done comes back as an input.**
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`types`], [`time`], [`rng`] | ids, times and randomness as plain values; everything lies above them |
//! | [`beat`] | the one message that nodes exchange |
//! | [`config`] | text becomes a `Config`, or every mistake at once with its place |
//! | [`wire`] | bytes become a `Beat`, or a counted reason why not |
//! | [`cluster`] | the pure core: liveness, leases, evidence, planner, groups, journal |
//! | [`net`] | the kernel's network: sockets, netlink, frames, the lease in nftables |
//! | [`programs`] | strangers' programs: run once, timed, and killed with all that they have started |
//! | [`agents`] | resource agents: which program a name means, how it is asked, what its answer means |
//! | [`director`] | real servers: checks, pools, balancers |
//! | [`control`] | the socket over which the commands ask the daemon, and the words it answers in |
//! | [`daemon`] | the loop: the only clock; feeds the core and carries out its effects |
//! | [`lab`] | a cluster on this one machine, in namespaces: cables to pull, daemons to kill, a client that measures |
//! | [`cli`] | the commands, one file each |
//!
//! `ARCHITECTURE.md` is the tour, `docs/protocol.md` the heart.

pub mod agents;
pub mod beat;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod daemon;
pub mod director;
pub mod lab;
pub mod net;
pub mod programs;
pub mod rng;
pub mod time;
pub mod types;
pub mod wire;
