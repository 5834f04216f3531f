//! Strangers' programs: run once, timed, and killed with all that they have started.
//!
//! | file | what it does |
//! | --- | --- |
//! | `program.rs` | a stranger's program, run once: it may hang, fork, write without end or be gone |
//! | `trust.rs` | whether a program may be run as root |
//! | `mark.rs` | which of them are under way |
//!
//! Nothing here knows what a program is for: agents, switches and checks are run alike.

pub mod mark;
pub mod program;
pub mod trust;
