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

const NAME_IT: &str =
    "name the configuration with --config PATH: a systole.toml, or a Heartbeat directory with its ha.cf";

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
    let ha_cf = match read(&directory.join("ha.cf")) {
        Err(LoadError::Unusable { path: missing, .. }) if !missing.exists() => {
            return Err(no_heartbeat(path));
        }
        read => read?,
    };
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

fn no_heartbeat(directory: &Path) -> LoadError {
    let help = if directory.join("systole.toml").exists() {
        "there is a systole.toml in it: name that file with --config"
    } else {
        "name a systole.toml with --config PATH, or a Heartbeat directory such as /etc/ha.d"
    };
    let why = "it is a directory without an ha.cf".to_owned();
    LoadError::Unusable { path: directory.to_owned(), why, help }
}

fn read(path: &Path) -> Result<String, LoadError> {
    let unusable = |why: String, help| LoadError::Unusable { path: path.to_owned(), why, help };
    let bytes = read_bounded(path).map_err(|error| unusable(reason(&error), help(error.kind())))?;
    if bytes.len() > limits::FILE_BYTES {
        return Err(unusable(format!("larger than {} MiB", limits::FILE_BYTES >> 20), NAME_IT));
    }
    if bytes.contains(&0) {
        return Err(unusable("it is no text".to_owned(), NAME_IT));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let read = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        unusable(format!("line {line} is not UTF-8"), "save it as UTF-8, or write that line in plain ASCII")
    })?;
    // Some editors begin a file with a mark that is no part of the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limits::FILE_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the system said, without the number that only it knows.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn help(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::NotFound {
        NAME_IT
    } else if kind == io::ErrorKind::PermissionDenied {
        "read it as a user who may, or mend its mode: it holds no secrets"
    } else {
        "look at the file with ls -l"
    }
}
