//! What of this machine does not go with the configuration: agents and fence agents that are not there, the programs of
//! `[notify]` and `[track.NAME]`, and units that systemd would start by itself. It is seen from files alone and asked of
//! nobody, so that it can be said of an image that does not run, and by an ordinary user.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::agents::{Class, fence_fault, find};
use crate::config::{Config, Group, Resource, Respawn, Tracked};
use crate::programs::trust::fault;
use crate::types::NodeId;

/// Where systemd finds units, the strongest first: systemd.unit(5). What is made for one boot under /run is left out.
const UNITS: [&str; 4] =
    ["etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// The folders beside a unit in which stand the units that come with it.
const PULLS: [&str; 3] = [".wants", ".requires", ".upholds"];

/// What starts a service of its name when somebody calls, when it is time, or when a file appears.
const STARTERS: [&str; 4] = ["service", "socket", "timer", "path"];

/// Where the scripts of /etc/init.d are named that are run at a start of the machine.
const RUN_LEVELS: [&str; 5] = ["etc/rcS.d", "etc/rc2.d", "etc/rc3.d", "etc/rc4.d", "etc/rc5.d"];

/// Whole sentences, each with what to do. Which node it is counts where that is known. `root` is `/`, or where an image is
/// mounted.
pub fn remarks(config: &Config, node: Option<NodeId>, root: &Path) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    if let Some(notify) = &config.notify {
        said.extend(fault(&notify.program, root).map(|fault| format!("nothing is told of events: {fault}")));
    }
    for track in &config.tracks {
        if let Tracked::Program { program, .. } = &track.what {
            said.extend(
                fault(program, root).map(|fault| format!("[track.{}] is bad here: {fault}", track.name)),
            );
        }
    }
    let runs_here = |respawn: &&Respawn| {
        node.is_none_or(|node| respawn.nodes.is_empty() || respawn.nodes.contains(&node))
    };
    for respawn in config.respawns.iter().filter(runs_here) {
        let fault = fault(&respawn.program, root);
        said.extend(fault.map(|fault| format!("[respawn.{}] cannot run here: {fault}", respawn.name)));
    }
    for group in config.groups.values().filter(|group| may_own(config, group, node)) {
        let faults: BTreeSet<String> =
            group.resources.iter().filter_map(|resource| agent_fault(resource, root)).collect();
        said.extend(faults.iter().map(|fault| format!("{} cannot run: {fault}", group.name)));
    }
    for fence in &config.fences {
        said.extend(
            fence_fault(fence, root)
                .map(|fault| format!("[fence.{}] cannot switch anything off: {fault}", fence.name)),
        );
    }
    let resources = config.groups.values().flat_map(|group| &group.resources);
    // What is warm runs on every node anyhow.
    let names: BTreeSet<String> =
        resources.filter(|resource| !resource.warm).flat_map(|resource| services(resource)).collect();
    let units = Units { root, enabled: enabled(root) };
    said.extend(names.iter().flat_map(|name| units.remark(name)));
    said
}

/// Whether this machine may be asked to run a group.
fn may_own(config: &Config, group: &Group, node: Option<NodeId>) -> bool {
    node.is_none_or(|node| {
        let is_arbiter = config.nodes.get(&node).is_some_and(|node| node.arbiter);
        !is_arbiter && (group.only.is_empty() || group.only.contains(&node))
    })
}

/// Why the agent of a resource cannot be run here.
fn agent_fault(resource: &Resource, root: &Path) -> Option<String> {
    if resource.carries_addresses() {
        return None;
    }
    match find(&resource.agent, root) {
        Ok(found) => match found.agent.class {
            Class::BuiltIn | Class::Systemd => None,
            Class::Heartbeat | Class::Ocf { .. } | Class::Lsb => fault(&found.agent.path, root),
        },
        Err(why) => Some(why),
    }
}

/// The services that a resource stands for by its agent's name. OCF agents have names of their own, and say nothing of it.
fn services(resource: &Resource) -> Vec<String> {
    if resource.carries_addresses() {
        return Vec::new();
    }
    let name = match resource.agent.split_once(':') {
        Some(("systemd" | "lsb" | "heartbeat", name)) => name,
        Some(_) => return Vec::new(),
        None => &resource.agent,
    };
    let name = name.strip_suffix(".service").unwrap_or(name).to_owned();
    // Heartbeat's word for what Debian calls so.
    let is_apache = resource.agent == "httpd" || resource.agent == "apache";
    if is_apache { vec![name, "apache2".to_owned()] } else { vec![name] }
}

/// A unit that comes with another, and the file that says so.
struct Enabled {
    /// The name of the file, and of what it leads to: an alias counts for its unit.
    names: [String; 2],
    file: PathBuf,
}

struct Units<'a> {
    root: &'a Path,
    enabled: Vec<Enabled>,
}

impl Units<'_> {
    fn remark(&self, service: &str) -> Option<String> {
        for starter in STARTERS {
            let unit = format!("{service}.{starter}");
            let found = self.enabled.iter().find(|enabled| enabled.names.contains(&unit));
            if let Some(found) = found.filter(|_| !self.is_masked(&unit)) {
                let what = if starter == "service" { "it" } else { &format!("{service}.service") };
                return Some(format!(
                    "{unit} is enabled ({}): systemd would start {what} by itself, on whichever node. Leave that to systole: systemctl disable {unit}",
                    self.shown(&found.file),
                ));
            }
        }
        self.script(service)
    }

    /// A script without a unit of its name gets one from systemd, enabled where these links say so.
    fn script(&self, name: &str) -> Option<String> {
        let has_unit =
            UNITS.iter().any(|folder| self.root.join(folder).join(format!("{name}.service")).exists());
        let is_start = |file: &PathBuf| {
            let file = file.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let number = file.strip_prefix('S').and_then(|file| file.strip_suffix(name));
            number.is_some_and(|number| number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let files = RUN_LEVELS.iter().flat_map(|folder| entries(&self.root.join(folder)));
        let found = files.into_iter().find(is_start).filter(|_| !has_unit)?;
        Some(format!(
            "/etc/init.d/{name} is run at a start of the machine ({}), on whichever node. Leave that to systole: update-rc.d {name} disable",
            self.shown(&found),
        ))
    }

    fn is_masked(&self, unit: &str) -> bool {
        let strongest = self.root.join(UNITS[0]).join(unit);
        fs::read_link(strongest).is_ok_and(|target| target == Path::new("/dev/null"))
    }

    /// As the machine itself names it.
    fn shown(&self, file: &Path) -> String {
        Path::new("/").join(file.strip_prefix(self.root).unwrap_or(file)).display().to_string()
    }
}

/// Everything that comes with another unit.
fn enabled(root: &Path) -> Vec<Enabled> {
    let folders = UNITS.iter().flat_map(|folder| entries(&root.join(folder)));
    let pulls = folders.filter(|folder| {
        let name = folder.to_string_lossy();
        PULLS.iter().any(|pull| name.ends_with(pull))
    });
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = pulls.flat_map(|folder| entries(&folder)).map(|file| {
        // A link leads out of an image, so it is read and not followed.
        let target = fs::read_link(&file).unwrap_or_default();
        Enabled { names: [name_of(&file), name_of(&target)], file }
    });
    found.collect()
}

/// What is in a folder, in order; nothing if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::parse_toml;

    fn config(resources: &[&str], more: &str) -> Config {
        let text: String =
            resources.iter().map(|agent| format!("[[group.web.resource]]\nagent = \"{agent}\"\n")).collect();
        let text = format!(
            "[node.a]\n[node.b]\n[node.c]\narbiter = true\n[link.lan]\ninterface = \"eth0\"\nbroadcast = true\n\
             {more}[group.web]\n[[group.web.resource]]\nagent = \"vip\"\nparams = {{ address = \"10.0.0.9/24\" }}\n{text}"
        );
        parse_toml("a.toml", &text).unwrap_or_else(|report| panic!("{report}")).config
    }

    fn image(links: &[(&str, &str)]) -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        for (file, target) in links {
            let file = image.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            symlink(target, file).unwrap();
        }
        image
    }

    /// Without what is said of agents that are not there.
    fn of_units(config: &Config, root: &Path) -> Vec<String> {
        let said = remarks(config, None, root).into_iter();
        said.filter(|remark| !remark.contains(" cannot run: ")).collect()
    }

    #[test]
    fn an_agent_that_is_not_there_or_that_others_may_change_is_named_with_its_group() {
        let image = tempfile::tempdir().unwrap();
        let config = config(&["ocf:systole:pen"], "");
        let said = remarks(&config, None, image.path());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("web cannot run: there is no agent ocf:systole:pen on this machine"),
            "{said:?}"
        );
        let agent = image.path().join("usr/lib/ocf/resource.d/systole/pen");
        fs::create_dir_all(agent.parent().unwrap()).unwrap();
        fs::write(&agent, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&agent, PermissionsExt::from_mode(0o777)).unwrap();
        let said = remarks(&config, None, image.path());
        assert!(said[0].contains("pen can be changed by others (mode 777"), "{said:?}");
        fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(remarks(&config, None, image.path()), [""; 0]);
    }

    #[test]
    fn a_unit_that_systemd_would_start_by_itself_is_named_with_the_file_that_says_so() {
        let wants = "etc/systemd/system/multi-user.target.wants/nginx.service";
        let image = image(&[(wants, "/lib/systemd/system/nginx.service")]);
        for agent in ["systemd:nginx", "systemd:nginx.service", "lsb:nginx", "nginx"] {
            let said = of_units(&config(&[agent], ""), image.path());
            assert_eq!(
                said,
                [format!(
                    "nginx.service is enabled (/{wants}): systemd would start it by itself, on whichever node. Leave that to systole: systemctl disable nginx.service"
                )],
                "{agent}"
            );
        }
        // Of other names, of an agent with a name of its own, and of nothing at all there is nothing to say.
        for agent in ["systemd:ngin", "systemd:nginx2", "ocf:heartbeat:nginx", "IPaddr::10.0.0.8"] {
            let agent = agent.split("::").next().unwrap();
            let more = if agent == "IPaddr" { "params = { ip = \"10.0.0.8\" }\n" } else { "" };
            let config =
                config(&[], &format!("[group.b]\n[[group.b.resource]]\nagent = \"{agent}\"\n{more}"));
            assert_eq!(of_units(&config, image.path()), [""; 0], "{agent}");
        }
        assert_eq!(of_units(&config(&["systemd:nginx"], ""), tempfile::tempdir().unwrap().path()), [""; 0]);
    }

    #[test]
    fn aliases_starters_and_what_the_distribution_enables_count_and_what_is_masked_does_not() {
        let alias =
            ("etc/systemd/system/graphical.target.requires/web.service", "/lib/systemd/system/nginx.service");
        let vendor = ("lib/systemd/system/sockets.target.wants/cups.socket", "../cups.socket");
        let apache = (
            "etc/systemd/system/multi-user.target.wants/apache2.service",
            "/lib/systemd/system/apache2.service",
        );
        let image = image(&[alias, vendor, apache]);
        let said = of_units(&config(&["systemd:nginx", "systemd:cups", "httpd"], ""), image.path());
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("apache2.service is enabled"), "{said:?}");
        assert!(
            said[1].contains("cups.socket is enabled") && said[1].contains("start cups.service by"),
            "{said:?}"
        );
        assert!(said[2].contains("requires/web.service"), "{said:?}");
        symlink("/dev/null", image.path().join("etc/systemd/system/nginx.service")).unwrap();
        assert_eq!(of_units(&config(&["systemd:nginx"], ""), image.path()), [""; 0]);
    }

    #[test]
    fn a_script_that_is_run_at_a_start_is_named_unless_a_unit_stands_for_it() {
        let image =
            image(&[("etc/rc2.d/S03pen", "../init.d/pen"), ("etc/rc2.d/K01slapd", "../init.d/slapd")]);
        let said = of_units(&config(&["lsb:pen", "lsb:slapd", "heartbeat:en"], ""), image.path());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("/etc/init.d/pen is run at a start of the machine (/etc/rc2.d/S03pen)"),
            "{said:?}"
        );
        let units = image.path().join("lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join("pen.service"), "").unwrap();
        assert_eq!(of_units(&config(&["lsb:pen"], ""), image.path()), [""; 0]);
    }

    #[test]
    fn what_is_warm_runs_everywhere_and_may_be_enabled() {
        let wants = "etc/systemd/system/multi-user.target.wants/nginx.service";
        let image = image(&[(wants, "/lib/systemd/system/nginx.service")]);
        let group = "[group.b]\n[[group.b.resource]]\nagent = \"systemd:nginx\"\nwarm = true\n";
        assert_eq!(of_units(&config(&[], group), image.path()), [""; 0]);
    }

    #[test]
    fn a_program_that_cannot_be_run_or_that_others_may_change_is_refused_with_what_to_do() {
        let image = tempfile::tempdir().unwrap();
        let program = image.path().join("notify");
        let config = config(&[], "[notify]\nprogram = \"/notify\"\n");
        let said = || remarks(&config, None, image.path()).join("\n");
        let mode = |mode| fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
        assert!(said().contains("/notify is not there: put it on this node"), "{}", said());
        fs::write(&program, "#!/bin/sh\n").unwrap();
        mode(0o644);
        assert!(said().contains("is not executable: chmod 755 /notify"), "{}", said());
        mode(0o775);
        assert!(said().contains("mode 775") && said().contains("chmod go-w /notify"), "{}", said());
        mode(0o755);
        assert_eq!(said(), "");
        fs::remove_file(&program).unwrap();
        fs::create_dir(&program).unwrap();
        assert!(said().contains("/notify is no file"), "{}", said());
    }
}
