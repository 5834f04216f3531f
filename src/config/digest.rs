//! Whether two nodes have the same configuration, and what differs if not.
//!
//! A digest is the beginning of SHA-256 over the canonical JSON of what is configured. Where the keys' file lies is left
//! out: it is the only thing that may differ between nodes without harm, as while one of them still reads Heartbeat's
//! directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::types::Marks;

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
    ("respawn", &["respawns"]),
    ("service", &["services"]),
    ("sync", &["sync"]),
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

    /// Of what it consists, as deep as a beat has room for.
    pub fn marks(&self) -> Marks {
        let tree = self.tree();
        let count = |depth| {
            let mut count = 0;
            each_place(&tree, depth, &mut |_, _| count += 1);
            count
        };
        let depth = (1..=DEEPEST).take_while(|depth| count(*depth) <= Marks::MOST).last().unwrap_or(1);
        Marks { depth, places: places(&tree, depth).into_keys().collect() }
    }

    /// Where it differs from a configuration with these marks.
    pub fn differs_from(&self, marks: &Marks) -> Differs {
        let places = places(&self.tree(), marks.depth);
        let theirs = marks.places.iter().filter(|place| !places.contains_key(place)).count();
        let here: BTreeSet<String> = places
            .into_iter()
            .filter(|(place, _)| !marks.places.contains(place))
            .map(|(_, path)| path)
            .collect();
        Differs { only_there: theirs.saturating_sub(here.len()), here: here.into_iter().collect() }
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

/// Where two configurations differ, as one of them sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    /// Paths that say something else there, or are not there.
    pub here: Vec<String>,
    /// So many more places are there, and not here.
    pub only_there: usize,
}

impl Differs {
    /// Whether nothing of these sections or tables differs, as `timing` or `group.web`.
    pub fn spares(&self, places: &[&str]) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.here.iter().all(|path| !places.iter().any(|place| within(path, place) || within(place, path)))
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.here.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.here.len() {
            0 => {}
            1 => write!(f, "{named} differs")?,
            few if few <= NAMED => write!(f, "{named} differ")?,
            many => write!(f, "{named} and {} more differ", many - NAMED)?,
        }
        let and = if self.here.is_empty() { "" } else { "; " };
        match self.only_there {
            0 => Ok(()),
            1 => write!(f, "{and}a key there is not here"),
            many => write!(f, "{and}{many} keys there are not here"),
        }
    }
}

/// So many places are named in a line.
const NAMED: usize = 3;

/// No configuration is deeper.
const DEEPEST: u8 = 8;

/// The places so many steps down, by the hash of path and value: the paths, as the operator writes them.
fn places(tree: &Value, depth: u8) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    each_place(tree, depth, &mut |path, value| {
        found.insert(hash(&Value::from(vec![Value::from(path), value.clone()])), path.to_owned());
    });
    found
}

fn each_place(tree: &Value, depth: u8, visit: &mut impl FnMut(&str, &Value)) {
    for (section, fields) in SECTIONS {
        // Interfaces follow from the groups.
        for value in
            fields.iter().filter(|field| **field != "interfaces").filter_map(|field| tree.get(*field))
        {
            each_below(section, value, depth.saturating_sub(1), visit);
        }
    }
}

fn each_below(path: &str, value: &Value, depth: u8, visit: &mut impl FnMut(&str, &Value)) {
    let mut below = |key: &str, value| each_below(&format!("{path}.{key}"), value, depth - 1, visit);
    match value {
        Value::Object(fields) if depth > 0 && !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| below(key, value));
        }
        // Links and resources have names; what has none is a list of values, and they go together.
        Value::Array(entries) if depth > 0 && !entries.is_empty() && entries.iter().all(is_named) => {
            for (at, entry) in entries.iter().enumerate() {
                below(entry.get("name").and_then(Value::as_str).unwrap_or(&at.to_string()), entry);
            }
        }
        // What is not written says nothing.
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            visit(path, value);
        }
    }
}

fn is_named(value: &Value) -> bool {
    value.get("name").is_some_and(Value::is_string)
}

fn hash(value: &Value) -> u64 {
    let text = value.to_string();
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
