//! The director: watches the real servers of each service, and steers what divides the connections among them.
//!
//! | file | what it does |
//! | --- | --- |
//! | `check/` | one file a kind of check: what is said, what is heard, and what that means |
//! | `pool.rs` | **decides**: who is well, who is wanted in the table, and why; pure |
//! | `table.rs` | what a balancer shall have |
//! | `schedule.rs` | when which server is asked next; pure |
//! | `balancer/` | one file a balancer: reads what is there, and makes it what is wanted |
//! | `steering.rs` | the balancers' threads |
//! | `sync.rs` | the kernel's daemons that tell connections from director to director |
//! | `process.rs` | the loop that asks, hears and hands on; `message.rs` is what is said over its socket |
//!
//! A check is known by what it checks, and services share it. Nothing here waits for anything else: a server that hangs,
//! and a balancer that does, hold up nobody but themselves. What a server sends is a stranger's bytes: bounded, and never
//! trusted.
//!
//! It runs in a process of its own: whatever a server sends can harm no beat.

pub mod balancer;
pub mod check;
mod clock;
pub mod message;
pub mod pool;
pub mod process;
pub mod schedule;
pub mod steering;
pub mod sync;
pub mod table;
mod words;
