//! Configurations of other programs become a `systole.toml`, as far as that goes: what could not be carried over is said
//! line by line. Nothing is guessed: what is written here is checked as if a person had written it.

mod keepalived;
mod ldirectord;
mod lvs;
mod text;

pub use keepalived::keepalived;
pub use ldirectord::ldirectord;
pub use lvs::lvs;

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Of a `systole.toml`.
    pub toml: String,
    /// What could not be carried over.
    pub left: Vec<Left>,
}

/// Something that could not be carried over, or not as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// In this line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
}

impl Imported {
    fn leave(&mut self, line: usize, what: impl Into<String>) {
        let left = Left { line, what: what.into() };
        if !self.left.contains(&left) {
            self.left.push(left);
        }
    }
}
