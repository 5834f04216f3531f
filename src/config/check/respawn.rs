//! Programs that are kept running. Whether they are there is not seen from the text: each node looks for itself.

use super::names;
use super::notify::check_program;
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftRespawn};
use crate::config::limits;
use crate::config::model::Respawn;
use crate::types::NodeId;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let names = draft.respawns.iter().map(|respawn| &respawn.name);
    names::check_once("respawn", names, "write each program once", findings);
    for respawn in &draft.respawns {
        names::check_name("respawn", &respawn.name, findings);
        let what = format!("[respawn.{}]", respawn.name.value);
        names::check_nodes(draft, &what, &respawn.nodes, findings);
        check_program(&respawn.program, findings);
    }
    if let Some(respawn) = draft.respawns.get(limits::RESPAWNS) {
        findings.push(
            Diagnostic::mistake(
                respawn.name.place,
                format!("more than {} programs to keep running", limits::RESPAWNS),
            )
            .label("the first beyond")
            .help("leave these to systemd: it has units without number"),
        );
    }
}

pub(super) fn resolve(respawn: &DraftRespawn) -> Option<Respawn> {
    let mut words = respawn.program.iter().map(|word| word.value.clone());
    Some(Respawn {
        name: respawn.name.value.clone(),
        program: words.next()?.into(),
        args: words.collect(),
        user: respawn.user.as_ref().map(|user| user.value.clone()).filter(|user| user != "root"),
        nodes: respawn.nodes.iter().map(|node| NodeId::of(&node.value)).collect(),
    })
}
