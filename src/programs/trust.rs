//! Whether a program may be run as root: whoever can change it, or put another in its place, is root then.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// In a user namespace that does not know a file's owner, the kernel shows this one.
const NOBODY: u32 = 65_534;

/// So many users has a namespace that knows all of them.
const ALL_USERS: &str = "4294967295";

/// A kernel follows so many links.
const LINKS: usize = 40;

/// A folder in which only the owner of a file may rename or remove it.
const STICKY: u32 = 0o1000;

/// Why a program is not run as root; `None`: nothing speaks against it. `root` is `/`, or where an image is mounted.
pub fn fault(program: &Path, root: &Path) -> Option<String> {
    let shown = program.display();
    let within = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let meta = match fs::metadata(within(program)) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some(format!(
                "{shown} is not there: put it on this node, owned by root, with chmod 755, or name another `program`"
            ));
        }
        Err(error) => return Some(format!("{shown} cannot be looked at: {error}")),
    };
    if !meta.is_file() {
        return Some(format!("{shown} is no file: name a program"));
    }
    let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
    if mode & 0o022 != 0 || !is_trusted(owner) {
        return Some(format!(
            "{shown} can be changed by others (mode {mode:03o}, owner {owner}): whoever changes it is root here. Mend it with: chown root {shown} && chmod go-w {shown}"
        ));
    }
    for folder in folders(program, root) {
        let Ok(meta) = fs::metadata(within(&folder)) else { continue };
        if let Some(who) = strangers(&meta).filter(|_| meta.mode() & STICKY == 0 || !is_trusted(meta.uid())) {
            let folder = folder.display();
            return Some(format!(
                "{folder} can be changed by others ({who}): whoever puts another {shown} there is root here. Mend it with: chown root:root {folder} && chmod go-w {folder}"
            ));
        }
    }
    (meta.mode() & 0o111 == 0).then(|| format!("{shown} is not executable: chmod 755 {shown}"))
}

/// The folders on the way to it, and to what it leads to. Links are followed only where they cannot lead out of an image.
fn folders(program: &Path, root: &Path) -> Vec<PathBuf> {
    let mut steps = vec![program.to_owned()];
    while let Some(last) = steps.last()
        && let Ok(next) = fs::read_link(last)
        && root == Path::new("/")
        && steps.len() < LINKS
    {
        let folder = last.parent().unwrap_or(last).to_owned();
        steps.push(folder.join(next));
    }
    // A folder may be a link as well.
    let real = steps.iter().filter_map(|step| fs::canonicalize(step.parent()?).ok()).collect::<Vec<_>>();
    let mut found: Vec<PathBuf> =
        steps.iter().flat_map(|step| step.ancestors().skip(1)).map(Path::to_owned).collect();
    if root == Path::new("/") {
        found.extend(real.iter().flat_map(|folder| folder.ancestors()).map(Path::to_owned));
    }
    found.retain(|folder| !folder.as_os_str().is_empty());
    found.sort();
    found.dedup();
    found
}

/// Who may put something into a folder besides root and whoever runs this, as a person reads it.
fn strangers(meta: &Metadata) -> Option<String> {
    let (mode, owner, group) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    if !is_trusted(owner) {
        return Some(format!("mode {mode:03o}, owner {owner}"));
    }
    let by_group = mode & 0o020 != 0 && ![0, nix::unistd::getegid().as_raw()].contains(&group);
    (by_group || mode & 0o002 != 0).then(|| format!("mode {mode:03o}, owner {owner}, group {group}"))
}

/// Whether what this user owns is as good as ours: root, or whoever runs this.
pub fn is_trusted(owner: u32) -> bool {
    // Where all users are known, that one is a user like others.
    let map = || fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let knows_all = || map().split_whitespace().nth(2).is_some_and(|count| count == ALL_USERS);
    [0, nix::unistd::geteuid().as_raw()].contains(&owner) || owner == NOBODY && !knows_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_element_of_the_path_that_others_may_change_is_named_with_its_mend() {
        let image = tempfile::tempdir().unwrap();
        let folder = image.path().join("srv/agents");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run"), "#!/bin/sh\n").unwrap();
        let program = Path::new("/srv/agents/run");
        let said = |mend: &str| fault(program, image.path()).is_some_and(|fault| fault.contains(mend));
        assert!(said("chmod 755 /srv/agents/run"));
        mode(&folder.join("run"), 0o755);
        assert_eq!(fault(program, image.path()), None);
        mode(&folder.join("run"), 0o757);
        assert!(said("chmod go-w /srv/agents/run"));
        mode(&folder.join("run"), 0o755);
        mode(&image.path().join("srv"), 0o777);
        assert!(said("/srv can be changed by others"), "{:?}", fault(program, image.path()));
        mode(&image.path().join("srv"), 0o1777);
        assert_eq!(fault(program, image.path()), None, "as in /tmp, nobody else may replace what is in it");
    }

    #[test]
    fn what_a_link_leads_to_is_looked_at_too() {
        let place = tempfile::tempdir().unwrap();
        let (open, shut) = (place.path().join("open"), place.path().join("shut"));
        fs::create_dir_all(&open).unwrap();
        fs::create_dir_all(&shut).unwrap();
        fs::write(open.join("run"), "#!/bin/sh\n").unwrap();
        mode(&open.join("run"), 0o755);
        std::os::unix::fs::symlink(open.join("run"), shut.join("run")).unwrap();
        assert_eq!(fault(&shut.join("run"), Path::new("/")), None);
        mode(&open, 0o777);
        let said = fault(&shut.join("run"), Path::new("/")).expect("the folder is open");
        assert!(said.starts_with(&open.display().to_string()), "{said}");
    }
}
