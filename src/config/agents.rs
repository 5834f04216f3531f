//! What the configuration knows of agents by name, without looking at the machine: which make a group exclusive, and
//! which of a line's words are surely agents.
//!
//! This is the only list; the agents themselves are found when they are run.

/// The parameter of a stonith plugin that names the file with its others.
pub(crate) const STONITH_FILE: &str = "configfile";

/// Agents of what the kernel cannot take back when a lease ends: run twice, they ruin data. Lower case.
const EXCLUSIVE: &[&str] = &[
    // What is mounted or assembled on shared storage.
    "filesystem",
    "lvm",
    "lvm-activate",
    "zfs",
    "zpool",
    "raid1",
    "mdraid",
    "drbd",
    "drbddisk",
    "drbdupper",
    "linuxscsi",
    "serveraid",
    "icp",
    "sg_persist",
    "iscsilogicalunit",
    "nfsserver",
    // What writes to it.
    "mysql",
    "mysqld",
    "mariadb",
    "pgsql",
    "postgresql",
    "oracle",
    "db2",
    "sybasease",
    "informix",
    "exchange",
    // Machines with disks.
    "virtualdomain",
    "xen",
    "lxc",
    "lxd-info",
];

/// Agents that a `haresources` line is likely to name: a node of the same name does not make them a slip.
const COMMON: &[&str] = &[
    "apache",
    "apache2",
    "bind9",
    "clusterip",
    "conntrackd",
    "delay",
    "dummy",
    "haproxy",
    "heartbeat",
    "httpd",
    "icp",
    "ipaddr",
    "ipaddr2",
    "ipsrcaddr",
    "ipv6addr",
    "ipvsadm",
    "keepalived",
    "ldirectord",
    "mailto",
    "named",
    "nginx",
    "ocf",
    "pen",
    "portblock",
    "postfix",
    "pound",
    "sendarp",
    "squid",
    "varnish",
    "vip",
    "xinetd",
];

/// Fence agents that reach one machine by its management board, so that their address alone says which.
const ONE_MACHINE: &[&str] = &[
    "fence_amt",
    "fence_amt_ws",
    "fence_drac",
    "fence_idrac",
    "fence_ilo",
    "fence_ilo2",
    "fence_ilo3",
    "fence_ilo3_ssh",
    "fence_ilo4",
    "fence_ilo4_ssh",
    "fence_ilo5",
    "fence_ilo5_ssh",
    "fence_ilo_ssh",
    "fence_imm",
    "fence_ipmilan",
    "fence_ipmilanplus",
    "fence_redfish",
    "fence_rsa",
    "fence_rsb",
];

/// Whether a fence agent switches off one machine, whatever name it is told.
pub(crate) fn fences_one_machine(agent: &str) -> bool {
    let name = agent.rsplit(['/', ':']).next().unwrap_or(agent);
    ONE_MACHINE.contains(&name)
}

/// The agent's own name: without class, provider, unit suffix and template instance, in lower case.
pub(crate) fn base_name(agent: &str) -> String {
    let last = agent.rsplit(':').next().unwrap_or(agent);
    let unit = last.strip_suffix(".service").unwrap_or(last);
    unit.split('@').next().unwrap_or(unit).to_lowercase()
}

/// Whether running it twice ruins data. `args` because Heartbeat's wrapper script `OCF` names the agent there.
pub(crate) fn is_exclusive(agent: &str, args: &[String]) -> bool {
    let mut base = base_name(agent);
    if let ("ocf", Some(wrapped)) = (base.as_str(), args.first()) {
        base = wrapped.to_lowercase();
    }
    EXCLUSIVE.contains(&base.as_str())
}

/// Whether a bare word of a `haresources` line is surely an agent.
pub(crate) fn is_common(agent: &str) -> bool {
    let base = base_name(agent);
    COMMON.contains(&base.as_str()) || EXCLUSIVE.contains(&base.as_str())
}

/// Whether a parameter of this name is a secret.
pub(crate) fn is_secret(param: &str) -> bool {
    let name = param.to_lowercase();
    let is_path = name.ends_with("_script") || name.ends_with("file") || name.ends_with("path");
    !is_path && ["passw", "secret", "token"].iter().any(|word| name.contains(word))
}

/// Why this cannot be an agent's name; `None` if it can.
pub(crate) fn name_fault(agent: &str) -> Option<String> {
    if agent.is_empty() {
        return Some("an agent has a name".to_owned());
    }
    let bad = agent
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_' | ':' | '@' | '/' | '+'));
    if let Some(bad) = bad {
        return Some(format!("{bad:?} cannot stand in an agent's name"));
    }
    let parts: Vec<&str> = agent.split(':').collect();
    let class = parts.first().copied().unwrap_or_default();
    match (class, parts.len()) {
        _ if parts.iter().any(|part| part.is_empty()) => Some("a part of its name is empty".to_owned()),
        ("ocf", 3) | ("systemd" | "lsb" | "heartbeat" | "stonith" | "fence", 2) | (_, 1) => None,
        ("ocf", _) => Some("an OCF agent is named ocf:PROVIDER:NAME".to_owned()),
        ("systemd" | "lsb" | "heartbeat" | "stonith" | "fence", _) => {
            Some(format!("an agent of this class is named {class}:NAME"))
        }
        _ => Some(format!("{class:?} is not a class of agents")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_known_under_each_of_its_names() {
        for agent in
            ["Filesystem", "ocf:heartbeat:Filesystem", "systemd:postgresql@15-main.service", "lsb:mysql"]
        {
            assert!(is_exclusive(agent, &[]), "{agent}");
        }
        assert!(is_exclusive("OCF", &["Filesystem".to_owned(), "srv".to_owned()]));
        assert!(!is_exclusive("systemd:nginx", &[]));
    }
}
