//! What the daemon keeps in files, but for its memory: its lives and the longest lease on disk, and what is tracked and bad
//! in /run; and the keys that it reads.
//!
//! A file is written beside its place and then put there, so a reader finds the old one or the new one, never half of
//! one. What must survive a power cut is fsynced, with the directory that names it; what lives in /run is not: it is
//! worthless after a reboot, and says so by the boot's id.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::Stored;
use crate::config::Report;
use crate::config::keys;
use crate::programs::trust::is_trusted;
use crate::types::Incarnation;
use crate::wire::KeyRing;

use super::memory::{self, MemoryFiles};

/// A key file is a few lines.
const LARGEST_KEY_FILE: u64 = 64 * 1024;

/// A file that cannot be read or written, or should not be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{path} cannot be {done}: {error}{help}", path = path.display())]
    System {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        done: &'static str,
        /// What the system said.
        error: io::Error,
        /// What to do, after a comma; or nothing.
        help: &'static str,
    },
    /// Others may read the keys.
    #[error(
        "{path} can be read by others (mode {mode:03o}, owner {owner}): whoever reads it can speak for this cluster. \
         Mend it with: chown root {path} && chmod 600 {path}",
        path = path.display()
    )]
    OpenKeys {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner's number.
        owner: u32,
    },
    /// The keys are mistaken.
    #[error("{0}")]
    WrongKeys(Report),
    /// The keys cannot be used.
    #[error("{path}: {why}", path = path.display())]
    BadKeys {
        /// The key file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something else than what we wrote.
    #[error(
        "{path} is damaged ({why}): this node's earlier lives are not known any more. If its clock is right, remove the \
         file, and start again",
        path = path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

pub(super) fn system(
    path: &Path,
    done: &'static str,
    help: &'static str,
) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError::System { path, done, error, help }
}

/// The directories of one daemon.
#[derive(Clone, Debug)]
pub(super) struct Places {
    state: PathBuf,
    run: PathBuf,
}

/// The names of what is tracked and bad, with the boot that they are of.
#[derive(Serialize, Deserialize)]
struct BadFile {
    boot: String,
    bad: BTreeSet<String>,
}

impl Places {
    /// What survives a reboot.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Makes the directories where they are missing.
    pub(super) fn make(state: &Path, run: &Path) -> Result<Self, FileError> {
        let help = ", run it as root, or name others with --state-dir and --run-dir";
        for directory in [state, run] {
            fs::create_dir_all(directory).map_err(system(directory, "made", help))?;
        }
        Ok(Self { state: state.to_owned(), run: run.to_owned() })
    }

    /// A new life, greater than any before; stored when this returns.
    pub(super) fn begin_life(&self, wall_seconds: u64) -> Result<Incarnation, FileError> {
        let path = self.state.join("incarnation");
        let before = match fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse::<u64>()
                .map_err(|error| FileError::Damaged { path: path.clone(), why: error.to_string() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(system(&path, "read", "")(error)),
        };
        let life = wall_seconds.max(before.saturating_add(1));
        self.write_durably(&path, format!("{life}\n").as_bytes())?;
        Ok(Incarnation(life))
    }

    pub(super) fn stored(&self) -> Result<Stored, FileError> {
        let path = self.state.join("stored.json");
        match read_json(&path) {
            Ok(stored) => Ok(stored.unwrap_or_default()),
            Err(error) => Err(FileError::Damaged { path, why: error.to_string() }),
        }
    }

    pub(super) fn store(&self, stored: &Stored) -> Result<(), FileError> {
        let path = self.state.join("stored.json");
        let text =
            serde_json::to_vec(stored).map_err(io::Error::from).map_err(system(&path, "written", ""))?;
        self.write_durably(&path, &text)
    }

    /// What is tracked and was found bad by an earlier daemon of this boot.
    pub(super) fn bad(&self, boot: &str) -> BTreeSet<String> {
        let file: Option<BadFile> = read_json(&self.run.join("bad.json")).ok().flatten();
        file.filter(|file| file.boot == boot).map(|file| file.bad).unwrap_or_default()
    }

    pub(super) fn remember_bad(&self, bad: &BTreeSet<String>) -> Result<(), FileError> {
        let path = self.run.join("bad.json");
        let file = boot_id().map(|boot| BadFile { boot, bad: bad.clone() })?;
        let written =
            serde_json::to_vec(&file).map_err(io::Error::from).and_then(|text| put(&path, &text, |_| Ok(())));
        written.map_err(system(&path, "written", ", make room there"))
    }

    /// What the daemon leaves behind when it stops in good order: nothing runs here any more.
    pub(super) fn forget(&self) {
        memory::forget(&self.run);
        let _ = fs::remove_file(self.run.join("bad.json"));
    }

    /// The memory of the daemons of this boot.
    pub(super) fn memory(&self, boot: &str) -> MemoryFiles {
        MemoryFiles::new(&self.run, boot)
    }

    fn write_durably(&self, path: &Path, text: &[u8]) -> Result<(), FileError> {
        put(path, text, File::sync_all).and_then(|()| File::open(&self.state)?.sync_all()).map_err(system(
            path,
            "written",
            ", make room there, or name another --state-dir",
        ))
    }
}

fn put(path: &Path, text: &[u8], finish: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    finish(&file)?;
    fs::rename(&beside, path)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names this boot of this machine.
pub(super) fn boot_id() -> Result<String, FileError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(system(path, "read", ", mount /proc"))?;
    Ok(text.trim().to_owned())
}

/// The key ring, if nobody else may read it.
pub(super) fn read_keys(path: &Path) -> Result<(KeyRing, Report), FileError> {
    let help = ", make one with `systole key new`, the same on every node";
    let file = File::open(path).map_err(system(path, "read", help))?;
    let meta = file.metadata().map_err(system(path, "read", ""))?;
    let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
    if mode & 0o077 != 0 || !is_trusted(owner) {
        return Err(FileError::OpenKeys { path: path.to_owned(), mode, owner });
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(LARGEST_KEY_FILE).read_to_string(&mut text).map_err(system(path, "read", ""))?;
    let parsed = keys::KeyRing::parse(&path.display().to_string(), &text);
    let (ring, warnings) = parsed.map_err(FileError::WrongKeys)?;
    let bad = |why: String| FileError::BadKeys { path: path.to_owned(), why };
    let mut all = Vec::new();
    for (id, secret) in ring
        .keys
        .iter()
        .filter(|(id, _)| *id == ring.first)
        .chain(ring.keys.iter().filter(|(id, _)| *id != ring.first))
    {
        let id = u8::try_from(*id).map_err(|_| bad(format!("key {id}: ids on the wire are 0 to 255")))?;
        all.push((id, secret.bytes().to_vec()));
    }
    let ring = KeyRing::new(all).map_err(|why| bad(why.to_string()))?;
    Ok((ring, warnings))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::make(&directory.path().join("state"), &directory.path().join("run")).unwrap();
        (directory, places)
    }

    #[test]
    fn a_life_is_greater_than_any_before_even_if_the_clock_went_back() {
        let (_directory, places) = places();
        assert_eq!(places.begin_life(1_000).unwrap(), Incarnation(1_000));
        assert_eq!(places.begin_life(500).unwrap(), Incarnation(1_001));
        assert_eq!(places.begin_life(2_000).unwrap(), Incarnation(2_000));
    }

    #[test]
    fn a_damaged_number_of_lives_is_refused_and_not_taken_for_none() {
        let (_directory, places) = places();
        fs::write(places.state.join("incarnation"), "twelve").unwrap();
        assert!(matches!(places.begin_life(1_000), Err(FileError::Damaged { .. })));
    }

    #[test]
    fn keys_that_others_may_read_are_refused() {
        let (directory, _places) = places();
        let path = directory.path().join("keys");
        fs::write(&path, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(read_keys(&path), Err(FileError::OpenKeys { mode: 0o640, .. })));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read_keys(&path).unwrap().0.ids().collect::<Vec<_>>(), [1]);
    }
}
