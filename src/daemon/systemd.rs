//! What systemd is told: ready, alive, and a line of status. Without systemd it goes nowhere. sd_notify(3).

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where no watchdog is asked for, its tick never matters.
pub(super) const NEVER: Duration = Duration::from_secs(3_600);

/// Tells systemd, if it started this daemon. It is never waited for.
pub(super) fn notify(what: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Some(place) = place.to_str() else { return };
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(place),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(what.as_bytes(), &address)
    });
    // A systemd that does not listen is none.
    drop(sent);
}

/// How often systemd wants to hear that the daemon lives: twice as often as it demands.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (for_us && micros > 0).then(|| Duration::from_micros(micros / 2))
}

/// Whether systemd runs this daemon.
pub(super) fn is_unit() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Those of these programs of which a process runs.
pub(super) fn running<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let name = |process: DirEntry| std::fs::read_to_string(process.path().join("comm")).ok();
    let comms: BTreeSet<String> =
        processes.flatten().filter_map(name).map(|comm| comm.trim_end().to_owned()).collect();
    // The kernel keeps 15 bytes of a name.
    names.iter().copied().filter(|name| comms.contains(&name[..name.len().min(15)])).collect()
}
