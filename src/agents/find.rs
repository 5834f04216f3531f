//! Where agents lie on a machine, and which of several a bare name means.
//!
//! Heartbeat's own place comes first, for whoever still has scripts there means them. Then ours, which are made for a pair
//! of directors; then those that everybody has. Units and init scripts come last: Debian ships them with nearly every
//! daemon, without much of a `status`.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::carries_addresses;

/// Heartbeat's scripts.
const RESOURCE_D: &str = "/etc/ha.d/resource.d";
/// With a folder for each provider; the second is for what is installed without a package.
const OCF: [&str; 2] = ["/usr/lib/ocf/resource.d", "/usr/local/lib/ocf/resource.d"];
/// Our provider, and the one of the package resource-agents.
const PROVIDERS: [&str; 2] = ["systole", "heartbeat"];
/// Where systemd finds units: systemd.unit(5).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The kinds of units that can be started and stopped.
const KINDS: [&str; 7] = ["service", "socket", "target", "timer", "mount", "path", "slice"];
/// Init scripts.
const INIT_D: &str = "/etc/init.d";

/// Another word for an agent.
const ALIASES: [(&str, &str); 3] = [("httpd", "apache"), ("MailTo", "mailto"), ("SendArp", "sendarp")];

/// How an agent is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Addresses, by this program itself.
    BuiltIn,
    /// `script args… start|stop|status`, and the word that `status` prints counts.
    Heartbeat,
    /// The Open Cluster Framework: parameters in the environment, and exit codes with a meaning.
    Ocf {
        /// Whose agent it is.
        provider: String,
    },
    /// A unit of systemd.
    Systemd,
    /// An init script, by the Linux Standard Base.
    Lsb,
}

/// An agent of this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    /// How it is spoken to.
    pub class: Class,
    /// Its name within the class.
    pub name: String,
    /// The file; of what is built in there is none.
    pub path: PathBuf,
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, name, .. } = self;
        match class {
            Class::BuiltIn => write!(f, "{name}"),
            Class::Heartbeat => write!(f, "heartbeat:{name}"),
            Class::Ocf { provider } => write!(f, "ocf:{provider}:{name}"),
            Class::Systemd => write!(f, "systemd:{name}"),
            Class::Lsb => write!(f, "lsb:{name}"),
        }
    }
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// This.
    pub agent: Agent,
    /// And not these, which have that name too.
    pub others: Vec<Agent>,
}

/// Which agent a name means on this machine, or why there is none. `root` is `/`, or where an image is mounted.
pub fn find(name: &str, root: &Path) -> Result<Found, String> {
    if name.starts_with('/') {
        return by_path(Path::new(name), root).map(|agent| Found { agent, others: Vec::new() });
    }
    let words: Vec<&str> = name.split(':').collect();
    let mut found = match words.as_slice() {
        [bare] => candidates(bare, root),
        ["ocf", provider, name] => ocf(provider, name, root).into_iter().collect(),
        ["heartbeat", name] => script(Class::Heartbeat, RESOURCE_D, name, root).into_iter().collect(),
        ["lsb", name] => script(Class::Lsb, INIT_D, name, root).into_iter().collect(),
        ["systemd", unit] => systemd(unit, root).into_iter().collect(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        return Err(missing(&words, root));
    }
    let agent = found.remove(0);
    Ok(Found { agent, others: found })
}

/// A script of the operator's own, which speaks as OCF's agents do, for that is what everybody writes now.
fn by_path(path: &Path, root: &Path) -> Result<Agent, String> {
    let word = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    if !within(path, root).is_file() {
        return Err(format!("there is no agent {} on this machine", path.display()));
    }
    let (name, provider) = (word(Some(path)), word(path.parent()));
    Ok(Agent { class: Class::Ocf { provider }, name, path: path.to_owned() })
}

/// Everything that has this bare name, in the order of what it means.
fn candidates(bare: &str, root: &Path) -> Vec<Agent> {
    let mut found = Vec::new();
    let alias = ALIASES.iter().find(|(word, _)| *word == bare).map(|(_, name)| *name);
    let names = || [bare].into_iter().chain(alias);
    if carries_addresses(bare) {
        found.push(Agent { class: Class::BuiltIn, name: bare.to_owned(), path: PathBuf::new() });
    }
    found.extend(names().filter_map(|name| script(Class::Heartbeat, RESOURCE_D, name, root)));
    for provider in PROVIDERS {
        found.extend(names().filter_map(|name| ocf(provider, name, root)));
    }
    found.extend(names().filter_map(|name| systemd(name, root)));
    found.extend(names().filter_map(|name| script(Class::Lsb, INIT_D, name, root)));
    found
}

fn ocf(provider: &str, name: &str, root: &Path) -> Option<Agent> {
    let class = Class::Ocf { provider: provider.to_owned() };
    OCF.iter().find_map(|folder| script(class.clone(), &format!("{folder}/{provider}"), name, root))
}

fn script(class: Class, folder: &str, name: &str, root: &Path) -> Option<Agent> {
    // A name is one step down, wherever it comes from.
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    let path = Path::new(folder).join(name);
    (is_plain && within(&path, root).is_file()).then(|| Agent { class, name: name.to_owned(), path })
}

/// A unit by its name, with or without `.service`. An instance is found by its template.
fn systemd(unit: &str, root: &Path) -> Option<Agent> {
    let has_kind = unit.rsplit_once('.').is_some_and(|(_, kind)| KINDS.contains(&kind));
    let name = if has_kind { unit.to_owned() } else { format!("{unit}.service") };
    let template = name
        .split_once('@')
        .and_then(|(stem, rest)| rest.rsplit_once('.').map(|(_, kind)| format!("{stem}@.{kind}")));
    let files = [Some(name.clone()), template].into_iter().flatten();
    files.flat_map(|file| UNITS.map(|folder| Path::new(folder).join(&file))).find_map(|path| {
        let is_plain = !name.contains('/') && !name.starts_with('.');
        (is_plain && within(&path, root).is_file()).then(|| Agent {
            class: Class::Systemd,
            name: name.clone(),
            path,
        })
    })
}

fn within(path: &Path, root: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Every agent of this machine that lies in a folder of agents, in the order in which names are looked up. Units are left
/// out: most of them are no agents to anybody.
pub fn shelves(root: &Path) -> Vec<Agent> {
    let in_folder = |class: &Class, folder: &str| {
        let names = entries(&within(Path::new(folder), root));
        let found = names.into_iter().filter_map(|name| script(class.clone(), folder, &name, root));
        found.filter(|agent| is_program(&within(&agent.path, root))).collect::<Vec<_>>()
    };
    let mut all = in_folder(&Class::Heartbeat, RESOURCE_D);
    let providers = OCF.iter().flat_map(|folder| {
        let names = entries(&within(Path::new(folder), root));
        names.into_iter().map(move |provider| (provider.clone(), format!("{folder}/{provider}")))
    });
    let mut providers: Vec<(String, String)> = providers.collect();
    let rank = |name: &str| PROVIDERS.iter().position(|known| *known == name).unwrap_or(PROVIDERS.len());
    providers.sort_by_key(|(provider, _)| (rank(provider), provider.clone()));
    for (provider, folder) in providers {
        all.extend(in_folder(&Class::Ocf { provider }, &folder));
    }
    all.extend(in_folder(&Class::Lsb, INIT_D));
    all
}

/// Folders of agents hold other things as well: texts, and what agents have in common.
fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn entries(folder: &Path) -> Vec<String> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = read.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn ocf_folders(provider: &str) -> String {
    OCF.map(|folder| format!("{folder}/{provider}")).join(", ")
}

/// Where it was looked for, and what comes near.
fn missing(words: &[&str], root: &Path) -> String {
    let name = words.join(":");
    let last = words.last().copied().unwrap_or_default();
    let looked = match words {
        [_] => {
            format!("{RESOURCE_D}, {}, systemd's units, {INIT_D}", PROVIDERS.map(ocf_folders).join(", "))
        }
        ["ocf", provider, _] => ocf_folders(provider),
        ["heartbeat", _] => RESOURCE_D.to_owned(),
        ["lsb", _] => INIT_D.to_owned(),
        ["systemd", _] => UNITS.join(", "),
        _ => {
            return format!(
                "{name:?} is no agent's name: write NAME, ocf:PROVIDER:NAME, systemd:UNIT, lsb:SCRIPT or heartbeat:SCRIPT"
            );
        }
    };
    let same = |agent: &Agent| agent.name.eq_ignore_ascii_case(last);
    let elsewhere: Vec<String> =
        shelves(root).iter().filter(|agent| same(agent)).map(ToString::to_string).collect();
    let hint = match elsewhere.as_slice() {
        [] if matches!(words, ["ocf", "heartbeat", _]) => {
            "; Debian's package resource-agents has OCF's agents: apt install resource-agents".to_owned()
        }
        [] => "; see what is here with `systole agent list`".to_owned(),
        found => format!("; did you mean {}?", found.join(" or ")),
    };
    format!("there is no agent {name} on this machine: looked in {looked}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        root
    }

    fn named(found: &Found) -> Vec<String> {
        [&found.agent].into_iter().chain(&found.others).map(ToString::to_string).collect()
    }

    #[test]
    fn a_bare_name_means_the_first_of_five_places() {
        let files = [
            "etc/init.d/nginx",
            "usr/lib/systemd/system/nginx.service",
            "usr/lib/ocf/resource.d/heartbeat/nginx",
            "usr/lib/ocf/resource.d/systole/nginx",
            "etc/ha.d/resource.d/nginx",
        ];
        let all = [
            "lsb:nginx",
            "systemd:nginx.service",
            "ocf:heartbeat:nginx",
            "ocf:systole:nginx",
            "heartbeat:nginx",
        ];
        for count in 1..=files.len() {
            let root = machine(&files[..count]);
            let expected: Vec<&str> = all[..count].iter().rev().copied().collect();
            assert_eq!(named(&find("nginx", root.path()).unwrap()), expected);
        }
    }

    #[test]
    fn httpd_is_apache_where_nobody_has_an_httpd() {
        let root = machine(&["usr/lib/ocf/resource.d/systole/apache", "etc/init.d/apache2"]);
        assert_eq!(named(&find("httpd", root.path()).unwrap()), ["ocf:systole:apache"]);
        let root = machine(&["usr/lib/ocf/resource.d/systole/apache", "etc/ha.d/resource.d/httpd"]);
        assert_eq!(named(&find("httpd", root.path()).unwrap()), ["heartbeat:httpd", "ocf:systole:apache"]);
    }

    #[test]
    fn an_address_is_carried_by_ourselves_whatever_else_is_there() {
        let root = machine(&["usr/lib/ocf/resource.d/heartbeat/IPaddr2"]);
        assert_eq!(named(&find("IPaddr2", root.path()).unwrap()), ["IPaddr2", "ocf:heartbeat:IPaddr2"]);
        assert_eq!(named(&find("ocf:heartbeat:IPaddr2", root.path()).unwrap()), ["ocf:heartbeat:IPaddr2"]);
    }

    #[test]
    fn an_instance_of_a_unit_is_found_by_its_template() {
        let root = machine(&["etc/systemd/system/pen@.service", "usr/lib/systemd/system/backup.timer"]);
        assert_eq!(find("systemd:pen@web", root.path()).unwrap().agent.name, "pen@web.service");
        assert_eq!(find("systemd:backup.timer", root.path()).unwrap().agent.name, "backup.timer");
        assert_eq!(find("systemd:pen@10.0.0.1", root.path()).unwrap().agent.name, "pen@10.0.0.1.service");
        assert!(find("systemd:pen", root.path()).is_err());
    }

    #[test]
    fn what_is_missing_is_said_with_where_it_was_sought_and_what_comes_near() {
        let root =
            machine(&["usr/lib/ocf/resource.d/heartbeat/Dummy", "usr/lib/ocf/resource.d/heartbeat/.common"]);
        let said = find("lsb:dummy", root.path()).unwrap_err();
        assert!(said.contains("/etc/init.d; did you mean ocf:heartbeat:Dummy?"), "{said}");
        let said = find("ocf:heartbeat:Filesystem", root.path()).unwrap_err();
        assert!(said.ends_with("apt install resource-agents"), "{said}");
        for wrong in ["", "ocf:Dummy", "lsb:../../bin/sh", "lsb:.common", "a:b:c:d"] {
            assert!(find(wrong, root.path()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_has_programs_only_ours_before_others() {
        let root = machine(&[
            "usr/lib/ocf/resource.d/acme/frob",
            "usr/lib/ocf/resource.d/heartbeat/Dummy",
            "usr/local/lib/ocf/resource.d/systole/pen",
            "etc/init.d/cron",
        ]);
        let readme = root.path().join("etc/init.d/README");
        fs::write(&readme, "no program").unwrap();
        fs::set_permissions(&readme, fs::Permissions::from_mode(0o644)).unwrap();
        let names: Vec<String> = shelves(root.path()).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ocf:systole:pen", "ocf:heartbeat:Dummy", "ocf:acme:frob", "lsb:cron"]);
    }
}
