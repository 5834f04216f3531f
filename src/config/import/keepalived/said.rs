//! What keepalived's directives become, where they become nothing here, and what to do instead.

use super::read::Entry;
use crate::config::import::Imported;

/// Directives of a place: an empty text is carried over, any other says why not.
pub(super) type Said = &'static [(&'static str, &'static str)];

const MAILS: &str = "write a program into [notify]";
const SPREAD: &str = "checks are spread over their period by themselves";
const SOURCE: &str = "a check's `source` is an address";
const LOG: &str = "the log is the daemon's, and `systole pool` says what the last check heard";
const NAME: &str = "a service is known by its name";
const SIZES: &str = "patterns are bounded by themselves";

/// Of a `virtual_server`.
pub(super) const SERVICE: Said = &[
    ("lb_algo", ""),
    ("lvs_sched", ""),
    ("lb_kind", ""),
    ("lvs_method", ""),
    ("flag-1", ""),
    ("flag-2", ""),
    ("flag-3", ""),
    ("sh-port", ""),
    ("sh-fallback", ""),
    ("mh-port", ""),
    ("mh-fallback", ""),
    ("hashed", "it has no meaning any more"),
    ("ops", ""),
    ("persistence_engine", "name no engine: a client is known by its address"),
    ("persistence_timeout", ""),
    ("persistence_granularity", ""),
    ("protocol", ""),
    ("ha_suspend", "every node checks, always: a takeover starts with a pool that is known"),
    ("smtp_alert", MAILS),
    ("virtualhost", ""),
    ("snmp_name", NAME),
    // Nobody gets connections before a check has found him well.
    ("alpha", ""),
    ("omega", "what is set stays when the director ends; [notify] tells of each change"),
    ("quorum", ""),
    ("hysteresis", ""),
    ("quorum_up", MAILS),
    ("quorum_down", MAILS),
    ("ip_family", ""),
    ("sorry_server", ""),
    ("sorry_server_inhibit", "the sorry server is in the table only while it answers"),
    ("sorry_server_lvs_method", ""),
    ("connect_timeout", ""),
    ("retry", ""),
    ("delay_before_retry", ""),
    ("warmup", SPREAD),
    ("delay_loop", ""),
    ("inhibit_on_failure", ""),
    ("weight", ""),
    ("real_server", ""),
];

/// Of a `real_server`, beside its checks.
pub(super) const SERVER: Said = &[
    ("weight", ""),
    ("lvs_method", ""),
    ("notify_up", MAILS),
    ("notify_down", MAILS),
    ("uthreshold", ""),
    ("lthreshold", ""),
    ("smtp_alert", MAILS),
    ("virtualhost", ""),
    ("snmp_name", NAME),
    ("alpha", ""),
    ("connect_timeout", ""),
    ("retry", ""),
    ("delay_before_retry", ""),
    ("warmup", SPREAD),
    ("delay_loop", ""),
    ("inhibit_on_failure", ""),
];

/// Of every check.
pub(super) const CHECK: Said = &[
    ("connect_ip", ""),
    ("connect_port", ""),
    ("bindto", ""),
    ("bind_if", SOURCE),
    ("bind_port", SOURCE),
    ("fwmark", "packets of checks are not marked"),
    ("alpha", ""),
    ("connect_timeout", ""),
    ("retry", ""),
    ("delay_before_retry", ""),
    ("warmup", SPREAD),
    ("delay_loop", ""),
    ("log_all_failures", LOG),
];

/// Of checks of one kind.
pub(super) const KINDS: &[(&str, Said)] = &[
    ("TCP_CHECK", &[]),
    ("PING_CHECK", &[]),
    ("HTTP_GET", PAGES),
    ("SSL_GET", PAGES),
    (
        "SMTP_CHECK",
        &[("helo_name", ""), ("host", "write a check of kind \"smtp\" with its `address` and `port`")],
    ),
    ("DNS_CHECK", &[("type", ""), ("name", "")]),
    ("MISC_CHECK", &[("misc_path", ""), ("misc_timeout", ""), ("misc_dynamic", ""), ("user", "")]),
    (
        "UDP_CHECK",
        &[
            ("payload", ""),
            ("require_reply", ""),
            ("min_reply_length", "write a `text` or a `pattern` that the answer has"),
            ("max_reply_length", "write a `text` or a `pattern` that the answer has"),
        ],
    ),
];

const PAGES: Said = &[
    ("nb_get_retry", ""),
    ("virtualhost", ""),
    ("http_protocol", "pages are asked for with HTTP/1.1, each over a connection of its own"),
    // Every page is asked for at once.
    ("fast_recovery", ""),
    ("enable_sni", ""),
    ("url", ""),
];

/// Of a page.
pub(super) const PAGE: Said = &[
    ("path", ""),
    ("status_code", ""),
    ("virtualhost", ""),
    ("digest", "write a `text` or a `pattern` that the page has"),
    ("regex", ""),
    ("regex_options", ""),
    ("regex_no_match", ""),
    ("regex_min_offset", "the first 64 KiB are looked at"),
    ("regex_max_offset", "the first 64 KiB are looked at"),
    ("regex_stack", SIZES),
];

/// What stands in no bracket.
const ROOT: Said = &[
    ("virtual_server", ""),
    ("virtual_server_group", ""),
    ("global_defs", "nothing of it is needed here"),
    ("vrrp_sync_group", "`with` keeps groups together, or one group has all the addresses"),
    ("vrrp_script", "write a [track.NAME] with its program"),
    ("vrrp_track_process", "write a [track.NAME] with the process"),
    ("track_process", "write a [track.NAME] with the process"),
    ("vrrp_track_file", "write a [track.NAME] with the file"),
    ("track_file", "write a [track.NAME] with the file"),
    ("bfd_instance", "BFD is not spoken here: a check of kind \"ping\" is nearest"),
    ("static_ipaddress", "leave it to what configures the machine's network"),
    ("static_routes", "leave it to what configures the machine's network"),
    ("static_rules", "leave it to what configures the machine's network"),
    ("static_track_group", "leave it to what configures the machine's network"),
    ("garp_group", "announcements pace themselves"),
    ("interface_up_down_delays", "an interface counts from the moment at which the kernel tells of it"),
    ("linkbeat_interfaces", "the kernel tells of each carrier"),
    ("linkbeat_use_polling", "the kernel tells of each carrier"),
    ("SSL", "a check's `ca` is a file; nothing is proved to the server"),
    ("net_namespace", "start the daemon in it"),
    ("net_namespace_ipvs", "start the daemon in it"),
    ("namespace_with_ipsets", "start the daemon in it"),
    ("instance", "name the run directory with `systole run --run-dir DIR`"),
    ("use_pid_dir", "name the run directory with `systole run --run-dir DIR`"),
    ("child_wait_time", "the supervisor keeps the director running"),
    ("random_seed", "nothing of it is needed here"),
    ("daemon", "systemd keeps the daemon running"),
];

/// What `global_defs` says about services.
const GLOBAL: Said = &[
    ("lvs_sync_daemon", "connections are not synchronised yet"),
    ("lvs_timeouts", "set them with `ipvsadm --set`, once for each boot"),
    ("lvs_notify_fifo", MAILS),
    ("lvs_notify_fifo_script", MAILS),
    ("lvs_netlink_cmd_rcv_bufs", "the director sizes its own"),
    ("checker_log_all_failures", LOG),
    ("nftables_ipvs", "services of one group of addresses are checked once all the same"),
];

/// Says of each directive that is not carried over why, and what to do.
pub(super) fn say(entries: &[Entry], known: &[Said], imported: &mut Imported) {
    for entry in entries {
        let key = entry.key();
        if is_include(key) {
            let file = entry.value().unwrap_or_default();
            imported.leave(
                entry.line,
                format!("`{file}` is not read: put it where this line stands, and import that"),
            );
            continue;
        }
        match known.iter().copied().flatten().find(|(said, _)| *said == key) {
            Some((_, "")) => {}
            Some((_, why)) => imported.leave(entry.line, format!("`{key}` is left out: {why}")),
            None => imported.leave(entry.line, format!("`{key}` is no directive that is known here")),
        }
    }
}

fn is_include(key: &str) -> bool {
    matches!(key, "include" | "includer" | "includem" | "includew" | "includeb" | "includea")
}

/// Says what becomes of everything that is no service.
pub(super) fn say_around(entries: &[Entry], imported: &mut Imported) {
    for entry in entries {
        match entry.key() {
            "vrrp_instance" => say_instance(entry, imported),
            "global_defs" => {
                say(std::slice::from_ref(entry), &[ROOT], imported);
                let of_services = |entry: &&Entry| GLOBAL.iter().any(|(said, _)| *said == entry.key());
                for entry in entry.inner().iter().filter(of_services) {
                    say(std::slice::from_ref(entry), &[GLOBAL], imported);
                }
            }
            _ => say(std::slice::from_ref(entry), &[ROOT], imported),
        }
    }
}

/// Its addresses and its priority are named: whoever writes the group needs them.
fn say_instance(entry: &Entry, imported: &mut Imported) {
    const NAMED: usize = 8;
    let name = entry.value().unwrap_or_default();
    let interface = entry.find("interface").and_then(Entry::value);
    let addresses: Vec<String> = entry
        .inner()
        .iter()
        .filter(|block| matches!(block.key(), "virtual_ipaddress" | "virtual_ipaddress_excluded"))
        .flat_map(Entry::inner)
        .map(|address| {
            let own = address.words.iter().skip_while(|word| *word != "dev").nth(1);
            let on = own.map(String::as_str).or(interface).map(|on| format!(" on {on}"));
            format!("{}{}", address.key(), on.unwrap_or_default())
        })
        .collect();
    let mut named = addresses.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if addresses.len() > NAMED {
        named.push_str(&format!(" and {} more", addresses.len() - NAMED));
    }
    let resources = match addresses.len() {
        0 => "write a group for it".to_owned(),
        1 => format!("write a group with a `vip` for {named}"),
        _ => format!("write a group with a `vip` for each of {named}"),
    };
    let priority = entry.find("priority").and_then(Entry::value);
    let priority = priority
        .map(|priority| format!("; instead of priority {priority} the nodes stand in order in its `prefer`"));
    let what = format!("`vrrp_instance {name}` is left out: {resources}{}", priority.unwrap_or_default());
    imported.leave(entry.line, what);
}
