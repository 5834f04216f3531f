//! Switching a machine off: by a fence agent, which reads options from its standard input, or by a plugin of Heartbeat's
//! stonith.
//!
//! Success means that the machine is off. Whoever waits for that starts what may never run twice, so nothing else may end
//! in success: an agent that is not there, takes too long or says anything but 0 has failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Fence, STONITH_FILE};
use crate::programs::program::Program;
use crate::programs::trust;
use crate::time::Span;

use super::call::common_variables;

/// Where fence agents lie.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin"];
/// Where the scripts among the stonith plugins lie; the others are libraries, which only the program `stonith` can load.
const EXTERNAL: &str = "/usr/lib/stonith/plugins/external";
const STONITH: &str = "/usr/sbin/stonith";
/// Switching a machine off by its management board takes ten seconds, and more with a slow one.
const LIMIT: Span = Span::seconds(60);

/// One way to switch a machine off.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    program: PathBuf,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    input: String,
}

/// Switches a node off by the first of its devices that can, and says why the others could not.
pub(super) async fn switch_off(
    devices: &[Fence],
    node: &str,
    mark: &Path,
    mut say: impl FnMut(String) + Send,
) -> Result<(), String> {
    let mut failed = Vec::new();
    for device in devices {
        let way = Way::new(&device.agent, &device.params, node, Path::new("/"));
        let done = match way {
            Ok(way) => way.program(mark).run(&mut say).await,
            Err(why) => Err(why),
        };
        match done {
            Ok(()) => return Ok(()),
            Err(why) => failed.push(format!("{}: {why}", device.name)),
        }
    }
    Err(if failed.is_empty() { "no device can switch it off".to_owned() } else { failed.join("; ") })
}

/// Why a fence agent cannot be run on this machine.
pub fn fence_fault(device: &Fence, root: &Path) -> Option<String> {
    match Way::new(&device.agent, &device.params, "node", root) {
        Ok(way) => trust::fault(&way.program, root),
        Err(why) => Some(why),
    }
}

impl Way {
    fn new(agent: &str, params: &BTreeMap<String, String>, node: &str, root: &Path) -> Result<Self, String> {
        let is_there = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path)).is_file();
        match agent.strip_prefix("stonith:") {
            Some(kind) => {
                let script = kind.strip_prefix("external/").map(|name| Path::new(EXTERNAL).join(name));
                match script.filter(|script| is_there(script) && !params.contains_key(STONITH_FILE)) {
                    Some(script) => Ok(Self::external(script, params, node)),
                    None if is_there(Path::new(STONITH)) => Ok(Self::by_stonith(kind, params, node)),
                    None => Err(format!(
                        "{agent} is not on this machine: looked for {EXTERNAL} and {STONITH}; Debian's package cluster-glue has them"
                    )),
                }
            }
            None => {
                let name = agent.strip_prefix("fence:").unwrap_or(agent);
                let places = FOLDERS.map(|folder| Path::new(folder).join(name));
                let places = if name.starts_with('/') { vec![PathBuf::from(name)] } else { places.to_vec() };
                let program = places.into_iter().find(|path| is_there(path)).ok_or_else(|| {
                    format!(
                        "there is no fence agent {agent} on this machine: looked in {}; Debian's package fence-agents has them",
                        FOLDERS.join(", ")
                    )
                })?;
                Ok(Self::fence_agent(program, params, node))
            }
        }
    }

    /// A line an option. What the configuration says counts; the machine's name is what most devices know a plug by.
    fn fence_agent(program: PathBuf, params: &BTreeMap<String, String>, node: &str) -> Self {
        let mut options = BTreeMap::from(
            [("nodename", node), ("plug", node)].map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        if params.contains_key("port") {
            options.remove("plug");
        }
        options.extend(params.clone());
        options.insert("action".to_owned(), "off".to_owned());
        let input = options.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        Self { program, args: Vec::new(), variables: common_variables(), input }
    }

    /// A script that takes its parameters from the environment.
    fn external(program: PathBuf, params: &BTreeMap<String, String>, node: &str) -> Self {
        let mut variables = common_variables();
        variables.retain(|(name, _)| !params.contains_key(name));
        variables.extend(params.clone());
        Self { program, args: ["off", node].map(str::to_owned).into(), variables, input: String::new() }
    }

    fn by_stonith(kind: &str, params: &BTreeMap<String, String>, node: &str) -> Self {
        let mut args = ["-t", kind, "-T", "off"].map(str::to_owned).to_vec();
        for (name, value) in params {
            match name.as_str() {
                STONITH_FILE => args.extend(["-F".to_owned(), value.clone()]),
                _ => args.push(format!("{name}={value}")),
            }
        }
        args.push(node.to_owned());
        Self { program: STONITH.into(), args, variables: common_variables(), input: String::new() }
    }

    fn program<'a>(&'a self, mark: &Path) -> Program<'a> {
        let bare = Program::bare(&self.program, &self.args, &self.variables, LIMIT);
        Program { input: &self.input, mark: Some(mark.to_owned()), ..bare }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn machine(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
        }
        root
    }

    #[test]
    fn a_fence_agent_reads_its_options_and_the_machine_from_its_input() {
        let root = machine(&["usr/sbin/fence_ipmilan"]);
        let given = params(&[("ip", "10.0.0.9"), ("lanplus", "1")]);
        let way = Way::new("fence_ipmilan", &given, "lb1", root.path()).unwrap();
        assert_eq!(way.program, Path::new("/usr/sbin/fence_ipmilan"));
        assert_eq!(way.input, "action=off\nip=10.0.0.9\nlanplus=1\nnodename=lb1\nplug=lb1\n");
        let given = params(&[("port", "7"), ("action", "status")]);
        let way = Way::new("fence_ipmilan", &given, "lb1", root.path()).unwrap();
        assert_eq!(way.input, "action=off\nnodename=lb1\nport=7\n", "nothing else switches it off");
    }

    #[test]
    fn an_external_plugin_finds_its_parameters_in_the_environment() {
        let root = machine(&["usr/lib/stonith/plugins/external/ipmi", "usr/sbin/stonith"]);
        let given = params(&[("ipaddr", "10.0.0.9")]);
        let way = Way::new("stonith:external/ipmi", &given, "lb1", root.path()).unwrap();
        assert_eq!(way.args, ["off", "lb1"]);
        assert!(way.variables.contains(&("ipaddr".to_owned(), "10.0.0.9".to_owned())));
        let given = params(&[(STONITH_FILE, "/etc/ha.d/ipmi")]);
        let way = Way::new("stonith:external/ipmi", &given, "lb1", root.path()).unwrap();
        assert_eq!(way.program, Path::new("/usr/sbin/stonith"));
        assert_eq!(way.args, ["-t", "external/ipmi", "-T", "off", "-F", "/etc/ha.d/ipmi", "lb1"]);
        let way =
            Way::new("stonith:rps10", &params(&[("serial", "/dev/ttyS0")]), "lb1", root.path()).unwrap();
        assert_eq!(way.args, ["-t", "rps10", "-T", "off", "serial=/dev/ttyS0", "lb1"]);
    }

    #[test]
    fn what_is_not_there_is_said_with_the_package_that_has_it() {
        let root = machine(&[]);
        let why = |agent: &str| Way::new(agent, &params(&[]), "lb1", root.path()).unwrap_err();
        assert!(why("fence_nobody").contains("Debian's package fence-agents"), "{}", why("fence_nobody"));
        assert!(why("stonith:external/ipmi").contains("cluster-glue"), "{}", why("stonith:external/ipmi"));
    }
}
