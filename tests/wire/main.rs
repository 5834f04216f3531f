//! The wire, from outside.

mod allocations;
mod beats;
mod forged;
mod forms;
mod golden;
mod mutations;
mod sizes;
