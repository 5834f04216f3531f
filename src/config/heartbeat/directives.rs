//! Every directive of `ha.cf`, and what becomes of it here.

/// A directive.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// Its name in `ha.cf`.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It means here what it meant there.
    Carried,
    /// It is not carried over: why, and what to do instead.
    Explained(&'static str, &'static str),
}

use Fate::{Carried, Explained};

const fn carried(name: &'static str) -> Directive {
    Directive { name, fate: Carried }
}

const fn explained(name: &'static str, why: &'static str, instead: &'static str) -> Directive {
    Directive { name, fate: Explained(why, instead) }
}

const CRM: &str = "it steered the cluster resource manager, which systole does not run";
const LOG: &str = "systole writes to standard error and the journal";
const LOG_HELP: &str = "leave it out; journald keeps, rotates and forwards the log";
const MESSAGES: &str = "it shaped Heartbeat's text messages; a beat has one sealed form";
const NONE: &str = "leave it out; nothing is lost";

/// All of them, in the order of Heartbeat's manual by subject.
pub const DIRECTIVES: &[Directive] = &[
    carried("node"),
    carried("cluster"),
    carried("keepalive"),
    carried("deadtime"),
    carried("warntime"),
    carried("initdead"),
    explained(
        "deadping",
        "how long a ping target may be silent follows from deadtime",
        "leave it out; `deadtime` rules both",
    ),
    explained("hopfudge", "beats are not forwarded around serial rings", NONE),
    explained(
        "hbgenmethod",
        "each start is numbered by a counter on disk, and never by the clock alone",
        NONE,
    ),
    carried("autojoin"),
    explained("uuidfrom", "a node is known by its name, and each start of it by its number", NONE),
    explained(
        "quorum_server",
        "there is no quorum server",
        "add a third node as arbiter in a systole.toml: it votes, and owns nothing",
    ),
    explained("max_rexmit_delay", "nothing is sent twice: each beat carries the whole state", NONE),
    carried("serial"),
    explained("baud", "serial lines are not used", "leave it out, with the `serial` lines"),
    carried("bcast"),
    carried("udp"),
    carried("mcast"),
    carried("mcast6"),
    carried("ucast"),
    carried("ucast6"),
    carried("ping"),
    carried("ping6"),
    carried("ping_group"),
    explained(
        "hbaping",
        "Fibre Channel adapters are not pinged",
        "watch the path with a resource of its own, or use `ping` on a network",
    ),
    explained("rds", "beats travel over UDP only", "write ucast, mcast or bcast for the same interface"),
    explained("tipc", "beats travel over UDP only", "write ucast, mcast or bcast for the same interface"),
    carried("udpport"),
    carried("auto_failback"),
    carried("nice_failback"),
    carried("stonith"),
    carried("stonith_host"),
    carried("crm"),
    carried("pacemaker"),
    explained("crm_daemon_dir", CRM, NONE),
    explained("crmd_spawns_pengine", CRM, NONE),
    explained("record_config_changes", CRM, "leave it out; `systole events` keeps what happened"),
    explained("record_pengine_inputs", CRM, "leave it out; `systole why GROUP` tells the reasons of a move"),
    explained("enable_config_writes", CRM, NONE),
    carried("respawn"),
    carried("failfast"),
    explained(
        "apiauth",
        "there is no client API; who may ask the daemon is ruled by the mode of its control socket",
        NONE,
    ),
    explained("env", "the daemon runs no clients to hand it to", "set it where the program is started"),
    explained(
        "use_apphbd",
        "there is no apphbd",
        "systemd watches the daemon; `watchdog` watches the machine",
    ),
    carried("watchdog"),
    explained(
        "realtime",
        "beats always run with real-time priority where the kernel allows it; the status says whether it does",
        NONE,
    ),
    explained("rtprio", "the priority is fixed, just above ordinary processes", NONE),
    explained("memreserve", "the daemon locks what it uses and allocates little", NONE),
    explained("debug", LOG, "choose what is logged when the daemon is started"),
    explained("logfacility", LOG, LOG_HELP),
    explained("logfile", LOG, LOG_HELP),
    explained("debugfile", LOG, LOG_HELP),
    explained("use_logd", LOG, "leave it out; no log ever holds up a beat"),
    explained("conn_logd_time", LOG, LOG_HELP),
    explained("syslogmsgfmt", LOG, LOG_HELP),
    explained(
        "log_badpack",
        "datagrams that cannot be opened are counted by cause, and the log of them is limited",
        NONE,
    ),
    explained("coredumps", "systemd decides about core dumps", "set LimitCORE= in the unit"),
    explained("coreroot", "systemd decides about core dumps", "see coredumpctl"),
    explained("msgfmt", MESSAGES, NONE),
    explained("compression", MESSAGES, NONE),
    explained("compression_threshold", MESSAGES, NONE),
    explained("traditional_compression", MESSAGES, NONE),
];

/// The directive of this name; Heartbeat wrote them in lower case, and we are not stricter.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name.eq_ignore_ascii_case(name))
}
