//! How a command ends: here, and nowhere else, the exit code is chosen.

use std::process::ExitCode;

use super::terminal::complain;

/// Why a command did not do what it was asked: begins with what was wrong, and ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was understood, and was refused or did not come about.
    NotDone(String),
    /// It could not even be asked: no daemon, wrong words.
    Unusable(String),
}

/// The code of a command: 0 done, 1 refused or failed, 2 unusable.
pub fn finish(ended: Result<(), Failure>) -> ExitCode {
    let (text, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::NotDone(text)) => (text, 1),
        Err(Failure::Unusable(text)) => (text, 2),
    };
    complain(&format!("systole: {text}\n"));
    ExitCode::from(code)
}
