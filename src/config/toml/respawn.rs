//! `[respawn.NAME]`.

use super::known;
use super::safety::nodes;
use super::table::Table;
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::DraftRespawn;

pub(super) fn read(top: &Table<'_>, findings: &mut Findings) -> Vec<DraftRespawn> {
    let mut respawns = Vec::new();
    for (name, table) in top.named_tables("respawn", known::RESPAWN, findings) {
        if table.value("program").is_none() {
            findings.push(
                Diagnostic::mistake(table.place, format!("{} names no program", table.name))
                    .label("which one?")
                    .help(
                        "add program = [\"/usr/sbin/ldirectord\", \"-d\"]: one that stays in the foreground",
                    ),
            );
        }
        respawns.push(DraftRespawn {
            name,
            program: table.texts("program", findings),
            user: table.text("user", findings),
            nodes: nodes(&table, "nodes", findings),
        });
    }
    respawns
}
