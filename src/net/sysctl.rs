//! Settings of the kernel's network, in the namespace of the calling thread: /proc/sys/net.
//!
//! It writes what it is told and nothing else. A name is a path below /proc/sys, with slashes, because the name of an
//! interface may have a dot in it: `net/ipv4/conf/eth0.7/arp_notify`.

use std::fs;
use std::io;

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} /proc/sys/{name}: {error}; {}", mend(.error))]
pub struct SysctlError {
    verb: &'static str,
    name: String,
    error: io::Error,
}

fn mend(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "this kernel or interface has no such setting: look for it with `sysctl -a`",
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => "run as root, and where /proc/sys may be written",
        Some(libc::EINVAL) => "write a value that the setting may have",
        _ => "look at `dmesg` for what the kernel says of it",
    }
}

/// What it is now.
pub fn get(name: &str) -> Result<String, SysctlError> {
    let failed = |error| SysctlError { verb: "read", name: name.to_owned(), error };
    fs::read_to_string(path(name)).map(|text| text.trim_end().to_owned()).map_err(failed)
}

/// Sets it.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let failed = |error| SysctlError { verb: "write", name: name.to_owned(), error };
    fs::write(path(name), value).map_err(failed)
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}
