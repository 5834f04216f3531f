//! The wire, from outside.

#![allow(clippy::cast_possible_truncation, reason = "small numbers, drawn for tests")]

mod allocations;
mod beats;
mod forged;
mod forms;
mod golden;
mod mutations;
mod sizes;
