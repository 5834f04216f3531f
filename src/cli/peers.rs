//! `systole check --peers`: whether the running daemons have the configuration of this file.
//!
//! A beat carries one digest of the whole configuration, and tells where it differs while somebody hears it who has another
//! one. Of this node's own daemon the sections are known.

use crate::config::Config;
use crate::control::shape::{Status, sections};

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::say;

/// Asks the daemon, and says what it says.
pub(super) fn check(config: &Config, daemon: &Daemon) -> Result<(), Failure> {
    let status = daemon.connect()?.status()?;
    let (text, same) = compare(config, &status);
    if same {
        say(&text);
        return Ok(());
    }
    Err(Failure::NotDone(text.trim_end().to_owned()))
}

/// A line for each node, and whether nothing was found to differ.
fn compare(config: &Config, status: &Status) -> (String, bool) {
    let node = &status.node;
    let digest = format!("{:016x}", config.digest());
    let mut same = digest == status.config;
    let mut lines = vec![if same {
        format!("the running daemon of {node} has the configuration of this file")
    } else {
        let file = sections(config);
        let differs = file.iter().filter(|(name, of_file)| status.sections.get(*name) != Some(of_file));
        let differs: Vec<String> = differs.map(|(name, _)| format!("[{name}]")).collect();
        let place =
            if status.sections.is_empty() { String::new() } else { format!(" in {}", differs.join(", ")) };
        format!(
            "the running daemon of {node} has another configuration than this file{place}: `systole reload` makes it read the file"
        )
    }];
    for peer in status.nodes.iter().filter(|peer| peer.liveness != "this") {
        let heard = matches!(peer.liveness.as_str(), "up" | "late");
        let name = &peer.name;
        lines.push(match peer.config.as_ref().filter(|_| heard) {
            None => format!("{name} is not heard: what it has is not known"),
            Some(theirs) if *theirs == digest => format!("{name} has the configuration of this file"),
            Some(theirs) if *theirs == status.config => format!("{name} has what the daemon of {node} has"),
            Some(_) => {
                same = false;
                let place =
                    peer.differs.as_ref().map_or(String::new(), |differs| format!(" than {node}: {differs}"));
                format!("{name} has ANOTHER configuration{place}; say `systole copy` where the right one is")
            }
        });
    }
    (lines.join("\n") + "\n", same)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pair-and-arbiter.toml");
        crate::config::load(&path).expect("it is checked").config
    }

    /// As the daemon of lb0 with this configuration says it; of the others with the digests that they show.
    fn status(running: &Config, lb1: (&str, Option<u64>), witness: (&str, Option<u64>)) -> Status {
        let node = |name: &str, liveness: &str, config: Option<u64>| {
            serde_json::json!({
                "name": name, "liveness": liveness, "arbiter": false, "starting": false, "leaving": false,
                "standby": false, "hold_off": false, "life": 1, "silent_us": 0, "links": [],
                "config": config.map(|digest| format!("{digest:016x}")),
            })
        };
        serde_json::from_value(serde_json::json!({
            "cluster": "web", "node": "lb0", "pid": 1, "life": 1, "at_us": 0,
            "config": format!("{:016x}", running.digest()), "sections": sections(running),
            "majority": true, "maintenance": false, "pull": { "safe": true, "text": "" },
            "nodes": [node("lb0", "this", None), node("lb1", lb1.0, lb1.1), node("witness", witness.0, witness.1)],
            "groups": [], "alarms": [], "refused": [],
            "late": { "newest_us": 0, "greatest_us": 0, "over_half_keepalive": 0 },
            "lease": { "by": "kernel", "why": null, "as_configured": true },
        }))
        .expect("the shape of a status")
    }

    #[test]
    fn nothing_differs_where_all_have_this_file() {
        let config = config();
        let has = Some(config.digest());
        let (text, same) = compare(&config, &status(&config, ("up", has), ("late", has)));
        assert!(same, "{text}");
        assert_eq!(
            text.lines().filter(|line| line.contains("has the configuration of this file")).count(),
            3
        );
    }

    #[test]
    fn a_node_with_another_one_is_named_with_what_differs() {
        let config = config();
        let mut status = status(&config, ("up", Some(1)), ("dead", Some(2)));
        let (text, same) = compare(&config, &status);
        assert!(!same && text.contains("lb1 has ANOTHER configuration; say `systole copy`"), "{text}");
        status.nodes[1].differs = Some("timing.deadtime differs".to_owned());
        let (text, _) = compare(&config, &status);
        assert!(
            text.contains("lb1 has ANOTHER configuration than lb0: timing.deadtime differs; say"),
            "{text}"
        );
        assert!(text.contains("witness is not heard: what it has is not known"), "{text}");
    }

    #[test]
    fn a_file_that_was_changed_and_not_reloaded_is_told_by_its_section() {
        let running = config();
        let mut file = running.clone();
        file.timing.deadtime = file.timing.deadtime * 2;
        let has = Some(running.digest());
        let (text, same) = compare(&file, &status(&running, ("up", has), ("up", Some(file.digest()))));
        assert!(!same);
        assert!(
            text.contains("another configuration than this file in [timing]: `systole reload`"),
            "{text}"
        );
        assert!(text.contains("lb1 has what the daemon of lb0 has"), "{text}");
        assert!(text.contains("witness has the configuration of this file"), "{text}");
    }
}
