//! The socket's file: who may connect, and that one daemon has it. The kernel checks the file's mode at `connect` (unix(7)),
//! so it appears at its place only when its mode and group are right.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Group;
use thiserror::Error;

/// Its name in the run directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Where it is made ready. No longer than the other: the kernel takes 107 bytes of a path.
const NEW_NAME: &str = "control.new";

/// Held as long as the daemon lives; the kernel lets go of it however that ends.
const LOCK_NAME: &str = "control.lock";

/// Members of this group may give orders.
const GROUP: &str = "systole";

/// `sun_path`, without the closing nought.
const PATH_BYTES: usize = 107;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error("another daemon runs with {}: stop it with `systole stop --run-dir {}`, or give this one a --run-dir of its own", .0.display(), .0.display())]
    Taken(PathBuf),
    /// The path does not fit into a socket's address.
    #[error("{} is too long for a socket, which takes {PATH_BYTES} bytes: name a shorter --run-dir", .0.display())]
    TooLong(PathBuf),
    /// Something else is in its place.
    #[error("{} is in the way and is no socket: look what it is, and remove it", .0.display())]
    InTheWay(PathBuf),
    /// The machine.
    #[error("{} cannot be made: {why}; see that its directory exists and is writable for the daemon", path.display())]
    Failed {
        /// What.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// A socket that listens. Its file is gone when this is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Socket {
    /// Listens in this directory. A file that a dead daemon left is replaced, that of a living one never.
    pub fn bind(run_dir: &Path) -> Result<Self, BindError> {
        let path = run_dir.join(SOCKET_NAME);
        if path.as_os_str().len() > PATH_BYTES {
            return Err(BindError::TooLong(path));
        }
        let lock = lock(run_dir)?;
        if fs::symlink_metadata(&path).is_ok_and(|file| !file.file_type().is_socket()) {
            return Err(BindError::InTheWay(path));
        }
        let new = run_dir.join(NEW_NAME);
        let failed = |why| BindError::Failed { path: path.clone(), why };
        // Whatever is there is ours: only the holder of the lock writes it.
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        admit(&new).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The lock is still held, so the file is no other daemon's.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(run_dir: &Path) -> Result<Flock<File>, BindError> {
    let path = run_dir.join(LOCK_NAME);
    let failed = |why| BindError::Failed { path: path.clone(), why };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK { BindError::Taken(run_dir.to_owned()) } else { failed(errno.into()) }
    })
}

/// Mode and group. Without the group, or where we may not give the file away, it stays with our own group.
fn admit(path: &Path) -> io::Result<()> {
    let group = Group::from_name(GROUP).ok().flatten();
    if let Some(group) = group {
        let _ = std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}

/// Why a client may not give orders; `None` if it may. Who could connect is root, us, or in the socket's group, unless
/// somebody has opened the file to all: that lets everybody look, and is no leave to give orders.
pub(super) fn no_orders(path: &Path, uid: u32, gid: u32) -> Option<String> {
    if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
        return None;
    }
    let file = fs::metadata(path).ok();
    let closed = file.as_ref().is_some_and(|file| file.mode() & 0o002 == 0);
    let in_group = file.as_ref().is_some_and(|file| file.gid() == gid);
    (!closed && !in_group).then(|| {
        format!(
            "user {uid} may look but not give orders: {} is open to all, and only root, the daemon's user and those whose first group is the file's may order; ask again as root",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in_by_the_kernel_may_order_and_a_stranger_at_an_open_socket_may_not() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let socket = Socket::bind(folder.path()).expect("the folder is empty");
        let path = socket.path();
        let group = fs::metadata(path).expect("it is there").gid();
        let (stranger, other) = (4_000_000_001, group + 1);
        assert_eq!(no_orders(path, stranger, other), None, "the kernel let it in by another of its groups");
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("the file is ours");
        let refused = no_orders(path, stranger, other).expect("anybody could be that");
        assert!(refused.starts_with("user 4000000001 may look but not give orders"), "{refused}");
        assert_eq!(no_orders(path, stranger, group), None);
        assert_eq!(no_orders(path, 0, other), None);
        assert_eq!(no_orders(path, nix::unistd::geteuid().as_raw(), other), None);
        fs::remove_file(path).expect("the file is ours");
        assert!(no_orders(path, stranger, other).is_some(), "what cannot be looked at admits nobody");
    }
}
