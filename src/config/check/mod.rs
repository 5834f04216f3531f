//! What the values mean together. Every check looks at the whole draft and reports all it finds; only a draft without
//! mistakes is assembled.

mod assemble;
mod clusterip;
mod director;
mod evidence;
mod groups;
mod links;
mod names;
mod nodes;
mod notify;
mod resources;
mod respawn;
mod rounds;
mod safety;
mod service;
mod timing;
mod track;

use super::diagnostic::Findings;
use super::draft::Draft;
use super::model::Config;

/// Checks a draft, and makes a configuration of it if nothing is wrong.
pub(super) fn build(mut draft: Draft, findings: &mut Findings) -> Option<Config> {
    clusterip::fill_in_buckets(&mut draft);
    let draft = &draft;
    timing::check(draft, findings);
    nodes::check(draft, findings);
    links::check(draft, findings);
    groups::check(draft, findings);
    resources::check(draft, findings);
    clusterip::check(draft, findings);
    service::check(draft, findings);
    safety::check(draft, findings);
    evidence::check(draft, findings);
    notify::check(draft, findings);
    track::check(draft, findings);
    respawn::check(draft, findings);
    let services = director::check(draft, findings);
    director::check_sync(draft, &services, findings);
    (!findings.refuse()).then(|| assemble::assemble(draft, services))
}
