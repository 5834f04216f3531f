//! Every key there is, by table: unknown ones are told where they belong, or what is nearest.

/// Outside of every table.
pub(super) const TOP: &[&str] = &[
    "haresources",
    "cluster",
    "timing",
    "node",
    "link",
    "tiebreak",
    "lease",
    "watchdog",
    "fence",
    "voters",
    "notify",
    "track",
    "respawn",
    "group",
    "service",
    "sync",
];
/// `[cluster]`
pub(super) const CLUSTER: &[&str] = &["name", "keys"];
/// `[timing]`
pub(super) const TIMING: &[&str] = &["keepalive", "warntime", "deadtime", "initdead"];
/// `[node.NAME]`
pub(super) const NODE: &[&str] = &["arbiter"];
/// `[link.NAME]`
pub(super) const LINK: &[&str] = &["interface", "unicast", "multicast", "broadcast", "port", "ttl"];
/// `[tiebreak]`
pub(super) const TIEBREAK: &[&str] = &["method", "ping"];
/// `[lease]`
pub(super) const LEASE: &[&str] = &["enforce"];
/// `[watchdog]`
pub(super) const WATCHDOG: &[&str] = &["device", "timeout"];
/// `[sync]`
pub(super) const SYNC: &[&str] = &["interface", "id"];
/// `[fence.NAME]`
pub(super) const FENCE: &[&str] = &["agent", "params", "nodes", "delay"];
/// `[voters]`
pub(super) const VOTERS: &[&str] = &["before", "before-tiebreak"];
/// `[notify]`
pub(super) const NOTIFY: &[&str] = &["program", "events", "timeout"];
/// `[track.NAME]`
pub(super) const TRACK: &[&str] =
    &["program", "file", "no-file", "process", "every", "timeout", "fall", "rise", "groups", "weight"];
/// `[respawn.NAME]`
pub(super) const RESPAWN: &[&str] = &["program", "user", "nodes"];
/// `[group.NAME]`
pub(super) const GROUP: &[&str] = &[
    "prefer",
    "only",
    "failback",
    "failback-delay",
    "exclusive",
    "promise",
    "with",
    "after",
    "apart",
    "clones",
    "clones-per-node",
    "weights",
    "reach",
    "failure-window",
    "resource",
];
/// `[[group.NAME.resource]]`
pub(super) const RESOURCE: &[&str] =
    &["name", "agent", "params", "args", "warm", "monitor", "start-delay", "start-timeout", "stop-timeout"];
/// `[service.NAME]`
pub(super) const SERVICE: &[&str] = &[
    "address",
    "fwmark",
    "protocol",
    "group",
    "balancer",
    "socket",
    "backend",
    "scheduler",
    "scheduler-flags",
    "persistence",
    "persistence-mask",
    "one-packet",
    "forwarding",
    "servers",
    "server",
    "sorry",
    "quorum",
    "hysteresis",
    "when-down",
    "drain",
    "check",
];
/// `[service.NAME.server.NAME]`
pub(super) const SERVER: &[&str] = &["address", "weight", "forwarding", "limit", "limit-low", "check"];
/// `[service.NAME.check]`
pub(super) const CHECK: &[&str] = &[
    "kind",
    "address",
    "port",
    "source",
    "every",
    "timeout",
    "rise",
    "fall",
    "tls",
    "certificate",
    "ca",
    "host",
    "method",
    "path",
    "login",
    "status",
    "text",
    "pattern",
    "send",
    "name",
    "record",
    "answer",
    "hello",
    "program",
    "user",
    "weighs",
];
/// `monitor = { … }`
pub(super) const MONITOR: &[&str] = &["every", "timeout", "restarts"];

/// Where a key belongs that stands in the wrong table.
pub(super) fn home(key: &str) -> Option<&'static str> {
    let tables = [
        (TOP, "at the top of the file, before the first table"),
        (CLUSTER, "in [cluster]"),
        (TIMING, "in [timing]"),
        (NODE, "in [node.NAME]"),
        (LINK, "in [link.NAME]"),
        (TIEBREAK, "in [tiebreak]"),
        (LEASE, "in [lease]"),
        (WATCHDOG, "in [watchdog]"),
        (FENCE, "in [fence.NAME]"),
        (VOTERS, "in [voters]"),
        (NOTIFY, "in [notify]"),
        (TRACK, "in [track.NAME]"),
        (RESPAWN, "in [respawn.NAME]"),
        (GROUP, "in [group.NAME]"),
        (RESOURCE, "in [[group.NAME.resource]]"),
        (SERVICE, "in [service.NAME]"),
        (SYNC, "in [sync]"),
        (SERVER, "in [service.NAME.server.NAME]"),
        (CHECK, "in [service.NAME.check]"),
        (MONITOR, "in a resource's `monitor = { … }`"),
    ];
    tables.into_iter().find(|(keys, _)| keys.contains(&key)).map(|(_, home)| home)
}
