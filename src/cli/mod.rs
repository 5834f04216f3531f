//! The commands, one file each. They read and print; what they find out is decided elsewhere.

pub mod check;
pub mod demo;
