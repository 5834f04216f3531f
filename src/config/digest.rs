//! Whether two nodes have the same configuration, and what differs if not.
//!
//! A digest is the beginning of SHA-256 over the canonical JSON of what is configured. Where the keys' file lies is left
//! out: it is the only thing that may differ between nodes without harm, as while one of them still reads Heartbeat's
//! directory.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::model::Config;

/// The sections, as the operator names them, and the fields of [`Config`] that they become.
const SECTIONS: &[(&str, &[&str])] = &[
    ("cluster", &["cluster"]),
    ("timing", &["timing"]),
    ("node", &["nodes"]),
    ("link", &["links"]),
    ("tiebreak", &["tiebreak"]),
    ("voters", &["voters_before"]),
    ("lease", &["lease"]),
    ("watchdog", &["watchdog"]),
    ("fence", &["fences"]),
    ("group", &["interfaces", "groups"]),
    ("notify", &["notify"]),
    ("track", &["tracks"]),
];

impl Config {
    /// Equal for equal configurations, on every machine.
    pub fn digest(&self) -> u64 {
        // What came later and is not written counts for nothing, so that a new version agrees with an old one.
        let written = self.sections().into_values().filter(|fields| !fields.is_empty());
        let all: Vec<u64> = written.map(|fields| hash(&Value::Array(fields))).collect();
        hash(&Value::from(all))
    }

    /// The digest of each section, by its name in `systole.toml`.
    pub fn section_digests(&self) -> BTreeMap<&'static str, u64> {
        let sections = self.sections();
        sections.into_iter().map(|(name, fields)| (name, hash(&Value::Array(fields)))).collect()
    }

    fn sections(&self) -> BTreeMap<&'static str, Vec<Value>> {
        let tree = self.tree();
        let section = |fields: &[&str]| fields.iter().filter_map(|field| tree.get(*field).cloned()).collect();
        SECTIONS.iter().map(|(name, fields)| (*name, section(fields))).collect()
    }

    /// What differs between two configurations, as paths into them; empty if nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differences("", &self.tree(), &other.tree(), &mut found);
        found
    }

    /// The configuration as JSON, groups and nodes by their names.
    fn tree(&self) -> Value {
        // Maps with ids as keys and no floats: there is nothing in it that JSON could refuse.
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        for field in ["nodes", "groups"] {
            if let Some(Value::Object(entries)) = tree.get_mut(field) {
                let named = std::mem::take(entries).into_iter().map(|(id, entry)| {
                    let name = entry.get("name").and_then(Value::as_str).map_or(id, str::to_owned);
                    (name, entry)
                });
                *entries = named.collect();
            }
        }
        if let Value::Object(fields) = &mut tree {
            fields.remove("keys");
        }
        tree
    }
}

fn hash(value: &Value) -> u64 {
    let text = value.to_string();
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (one, other) {
        _ if one == other => {}
        (Value::Object(ones), Value::Object(others)) => {
            let keys: std::collections::BTreeSet<&String> = ones.keys().chain(others.keys()).collect();
            for key in keys {
                let (one, other) = (ones.get(key), others.get(key));
                differences(&below(key), one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
            for (at, (one, other)) in ones.iter().zip(others).enumerate() {
                differences(&below(&at.to_string()), one, other, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}
