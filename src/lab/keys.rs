//! The keys of a lab: those of the configuration where this user may read them, and otherwise new ones, for which a copy
//! of the configuration is changed in nothing but their place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::LabError;
use crate::config::{self, Config};

/// Writes a new key ring.
pub(super) fn write_new(path: &Path) -> io::Result<()> {
    let mut secret = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "1 {hex}")
}

/// Where daemons find this configuration with keys that this user may read: there, or in this folder. Says whether the
/// keys are new ones.
pub(super) fn readable(written: &Path, config: &Config, folder: &Path) -> Result<(PathBuf, bool), LabError> {
    if File::open(&config.keys).is_ok() {
        return Ok((written.to_owned(), false));
    }
    let copied = if written.is_dir() { copy_directory(written, folder) } else { copy_file(written, folder) };
    let place = copied.map_err(LabError::machine(format!("copy {} with new keys", written.display())))?;
    Ok((place, true))
}

fn copy_file(written: &Path, folder: &Path) -> io::Result<PathBuf> {
    let (keys, place) = (folder.join("keys"), folder.join("systole.toml"));
    let text = fs::read_to_string(written)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text =
        config::with_keys(text, &keys).ok_or_else(|| io::Error::other("its [cluster] cannot name them"))?;
    write_new(&keys)?;
    fs::write(&place, text)?;
    Ok(place)
}

fn copy_directory(written: &Path, folder: &Path) -> io::Result<PathBuf> {
    let place = folder.join("ha.d");
    fs::create_dir(&place)?;
    for name in ["ha.cf", "haresources"] {
        match fs::copy(written.join(name), place.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => drop(done?),
        }
    }
    write_new(&place.join("authkeys"))?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("ring");
        let text = format!(
            "haresources = \"lb0 10.0.0.20/24/eth0\"\n[cluster]\nname = \"web\"\nkeys = \"{}\"\n[node.lb0]\n[node.lb1]\n\
             [link.lan]\ninterface = \"eth0\"\nmulticast = \"239.0.0.43\"\n",
            keys.display()
        );
        let written = folder.path().join("written.toml");
        fs::write(&written, text).unwrap();
        let config = config::load(&written).unwrap().config;
        let lab = folder.path().join("lab");
        fs::create_dir(&lab).unwrap();
        let (place, is_new) = readable(&written, &config, &lab).unwrap();
        assert!(is_new && place == lab.join("systole.toml"));
        let copy = config::load(&place).unwrap().config;
        assert_eq!(copy, Config { keys: lab.join("keys"), ..config.clone() });
        let ring = fs::read_to_string(&copy.keys).unwrap();
        assert!(config::keys::KeyRing::parse("keys", &ring).is_ok());
        write_new(&keys).unwrap();
        assert_eq!(readable(&written, &config, &lab).unwrap(), (written, false));
    }

    #[test]
    fn a_heartbeat_directory_is_copied_with_new_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (written, lab) = (folder.path().join("written"), folder.path().join("lab"));
        fs::create_dir(&written).unwrap();
        fs::create_dir(&lab).unwrap();
        fs::write(written.join("ha.cf"), "node lb0\nnode lb1\nbcast eth0\nping 10.0.0.1\n").unwrap();
        fs::write(written.join("haresources"), "lb0 10.0.0.20/24/eth0\n").unwrap();
        let config = config::load(&written).unwrap().config;
        let (place, is_new) = readable(&written, &config, &lab).unwrap();
        let copy = config::load(&place).unwrap().config;
        assert!(is_new);
        assert_eq!(copy, Config { keys: place.join("authkeys"), ..config });
    }
}
