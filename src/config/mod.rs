//! Text becomes a [`Config`], or every mistake at once with its place.
//!
//! A `Config` in memory is valid: the rest of the house never checks one again. It holds no secrets (keys stay in their
//! file and are read by the daemon), and it is the same on every node.

mod model;

pub use model::*;
