//! The same `systole.toml` with another key ring: for whoever may not read the real one.

use std::path::Path;

use ::toml::de::{DeTable, DeValue};

use super::model::Config;
use super::parse_toml;

/// The text, changed in nothing but the file of the keys. `None` if it is no valid configuration, or if the keys cannot
/// be named in it.
pub fn with_keys(text: &str, keys: &Path) -> Option<String> {
    let wanted = Config { keys: keys.to_owned(), ..parse_toml("systole.toml", text).ok()?.config };
    let quoted = ::toml::Value::String(keys.to_str()?.to_owned()).to_string();
    let tree = DeTable::parse(text).ok()?;
    let cluster = tree.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "cluster");
    let value = |name: &str| {
        let (_, cluster) = cluster?;
        let DeValue::Table(cluster) = cluster.get_ref() else { return None };
        cluster.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value.span())
    };
    if let Some(old) = value("keys") {
        return Some(format!("{}{quoted}{}", text.get(..old.start)?, text.get(old.end..)?));
    }
    // Beside the cluster's name, in whichever of the three ways that is written; or in a table without one.
    let end = value("name").map_or(text.len(), |name| name.end);
    let (before, after) = (text.get(..end)?, text.get(end..)?);
    let ways = ["\nkeys = ", ", keys = ", "\ncluster.keys = ", "\n[cluster]\nkeys = "];
    let beside = ways.into_iter().map(|way| format!("{before}{way}{quoted}{after}"));
    let alone = text.replacen("[cluster]", &format!("[cluster]\nkeys = {quoted}"), 1);
    let mut written = beside.chain([alone]);
    written.find(|text| parse_toml("systole.toml", text).is_ok_and(|loaded| loaded.config == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "[node.lb0]\n[node.lb1]\n[link.lan]\ninterface = \"eth0\"\nmulticast = \"239.0.0.43\"\n\
                        [group.web]\nresource = [{ agent = \"vip\", params = { address = \"10.0.0.20/24\" } }]\n";

    #[test]
    fn only_the_keys_are_changed_however_the_cluster_is_written() {
        for head in [
            "[cluster]\nname = \"web\" # ours\n",
            "[cluster]\nkeys = \"/etc/systole/keys\"\nname = \"web\"\n",
            "cluster = { name = \"web\" }\n",
            "cluster = { name = \"web\", keys = '/etc/other' }\n",
            "cluster.name = \"web\"\n",
            "[cluster]\n",
            "",
        ] {
            let text = format!("{head}{REST}");
            let before = parse_toml("systole.toml", &text).unwrap_or_else(|report| panic!("{report}")).config;
            let keys = Path::new("/tmp/a \"lab\"/keys");
            let changed = with_keys(&text, keys).unwrap_or_else(|| panic!("{head}"));
            let after =
                parse_toml("systole.toml", &changed).unwrap_or_else(|report| panic!("{report}")).config;
            assert_eq!(after, Config { keys: keys.to_owned(), ..before }, "{changed}");
        }
        assert_eq!(with_keys("no configuration", Path::new("/tmp/keys")), None);
    }
}
