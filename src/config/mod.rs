//! Text becomes a [`Config`], or every mistake at once with its place.
//!
//! A `Config` in memory is valid: the rest of the house never checks one again. It holds no secrets (keys stay in their
//! file and are read by the daemon, see [`keys`]), and it is the same on every node.
//!
//! ```text
//! systole.toml ---> toml -------+
//!                               +--> draft --> check --> Config
//! ha.cf, haresources, authkeys -+--> heartbeat
//! ```
//!
//! [`load`] alone touches the disk. What is read is bounded by [`limits`].

mod address;
mod agents;
mod check;
mod clusterip;
mod diagnostic;
mod digest;
mod director;
mod draft;
pub mod heartbeat;
pub mod import;
pub mod keys;
pub mod limits;
mod load;
mod model;
mod monitor;
mod nearest;
pub mod notify;
mod pattern;
mod rekeyed;
mod toml;
mod values;

pub(crate) use address::carries_addresses;
pub use address::{Placement, ServiceAddress};
pub(crate) use agents::STONITH_FILE;
pub use clusterip::{HashOf, Sharing};
pub use diagnostic::{Diagnostic, Place, Report, Severity, SourceFile};
pub use digest::Differs;
pub use director::*;
pub use heartbeat::HeartbeatFiles;
pub use load::{LoadError, load};
pub use model::*;
pub use nearest::nearest;
pub use pattern::{pattern, pattern_fault};
pub use rekeyed::with_keys;

use diagnostic::Findings;
use draft::Draft;

/// A configuration, with what its reader should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notes.
    pub warnings: Report,
}

/// Reads the text of a `systole.toml`.
pub fn parse_toml(file_name: &str, text: &str) -> Result<Loaded, Report> {
    let mut findings = Findings::default();
    let draft = toml::read(0, text, &mut findings);
    let source = SourceFile { name: file_name.to_owned(), text: text.to_owned() };
    finish(draft, findings, vec![source])
}

/// Reads the texts of a Heartbeat directory.
pub fn parse_heartbeat(files: &HeartbeatFiles<'_>) -> Result<Loaded, Report> {
    let mut findings = Findings::default();
    let draft = heartbeat::read(files, &mut findings);
    finish(Some(draft), findings, files.sources())
}

fn finish(draft: Option<Draft>, mut findings: Findings, files: Vec<SourceFile>) -> Result<Loaded, Report> {
    let config = draft.and_then(|draft| check::build(draft, &mut findings));
    let report = findings.into_report(files);
    match config {
        Some(config) => Ok(Loaded { config, warnings: report }),
        None => Err(report),
    }
}
