//! Resource agents: which program a name means on this machine, how it is asked, and what its answer means.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `find.rs` | where agents lie, and which of several a bare name means |
//! | `metadata.rs` | what an OCF agent says of itself |
//! | `call.rs` | how each class is asked, and how its answer is judged |
//! | `fence.rs` | how a machine is switched off |
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
pub mod metadata;
pub mod stand_ins;
pub mod supervisor;

pub use fence::fence_fault;
pub use find::{Agent, Class, Found, find, shelves};
