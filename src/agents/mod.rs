//! Resource agents: which program a name means on this machine, how it is asked, and what its answer means.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `find.rs` | where agents lie, and which of several a bare name means |
//! | `trust.rs` | whether a program may be run as root |
//! | `metadata.rs` | what an OCF agent says of itself |
//! | `call.rs` | how each class is asked, and how its answer is judged |
//! | `program.rs` | a stranger's program, run once: it may hang, fork, write without end or be gone |
//! | `fence.rs` | how a machine is switched off |
//! | `mark.rs` | which of them are under way |
//! | `keep.rs` | programs that are kept running beside the daemon |
//! | `stand_ins.rs` | what agents call by the names of Pacemaker's programs |
//! | `skeleton.sh` | an agent to begin with |
//! | `supervisor.rs` | the process that runs agents for the daemon, and outlives it |
//! | `conform.rs` | whether an agent keeps to the rules |

pub mod call;
pub mod conform;
mod fence;
mod find;
mod keep;
mod mark;
pub mod metadata;
pub mod program;
pub mod stand_ins;
pub mod supervisor;
pub mod trust;

pub use fence::fence_fault;
pub use find::{Agent, Class, Found, find, shelves};
