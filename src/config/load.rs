//! The one part of the configuration that touches the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::diagnostic::Report;
use super::heartbeat::HeartbeatFiles;
use super::{Loaded, limits, parse_heartbeat, parse_toml};

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It was read, and is wrong.
    #[error("{0}")]
    Wrong(Report),
    /// It could not be read.
    #[error("{path} cannot be read: {why}\n{help}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said, or we.
        why: String,
        /// What to do.
        help: &'static str,
    },
}

/// Reads a `systole.toml`, or a Heartbeat directory.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    if path.is_dir() {
        return load_directory(path);
    }
    let text = read(path)?;
    parse_toml(&path.display().to_string(), &text).map_err(LoadError::Wrong)
}

fn load_directory(path: &Path) -> Result<Loaded, LoadError> {
    // The daemon's keys are named from the root, so that it finds them whatever its working directory is.
    let directory = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let ha_cf = read(&directory.join("ha.cf"))?;
    let haresources = match read(&directory.join("haresources")) {
        Err(LoadError::Unusable { path, .. }) if !path.exists() => String::new(),
        read => read?,
    };
    // `check` is run by ordinary users, too, who cannot read it and need not; the daemon reads it again.
    let authkeys = read(&directory.join("authkeys")).ok().map(zeroize::Zeroizing::new);
    let files = HeartbeatFiles {
        directory: &directory,
        ha_cf: &ha_cf,
        haresources: &haresources,
        authkeys: authkeys.as_ref().map(|text| text.as_str()),
    };
    parse_heartbeat(&files).map_err(LoadError::Wrong)
}

fn read(path: &Path) -> Result<String, LoadError> {
    let unusable = |why: String, help| LoadError::Unusable { path: path.to_owned(), why, help };
    match read_bounded(path) {
        Err(error) => Err(unusable(error.to_string(), help(error.kind()))),
        Ok(bytes) if bytes.len() > limits::FILE_BYTES => Err(unusable(
            format!("larger than {} MiB", limits::FILE_BYTES >> 20),
            "name a configuration with --config: a systole.toml, or a Heartbeat directory",
        )),
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n');
            unusable(format!("line {} is not UTF-8", line.count() + 1), "save it as UTF-8")
        }),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limits::FILE_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn help(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::NotFound {
        "name the configuration with --config PATH: a systole.toml, or a Heartbeat directory with its ha.cf"
    } else if kind == io::ErrorKind::PermissionDenied {
        "read it as a user who may, or mend its mode: it holds no secrets"
    } else {
        "look at the file with ls -l"
    }
}
