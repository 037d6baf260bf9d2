//! The directory of a session on this machine: the private key, and the host key of the instance.
//!
//! The session locks it as long as its process lives: the kernel releases the lock however the process ends. So a
//! directory without a lock belongs to a killed session.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::base::error::{Failure, Result};
use crate::base::{dirs, secret};

const LOCK: &str = "lock";
const KEY: &str = "key";
const HOSTS: &str = "known_hosts";
/// After this time no lease can exist, so a killed session is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// The directory of a session. It is deleted when the session ends.
pub struct SessionDir {
    /// The lease of the session.
    pub id: String,
    /// The public key in OpenSSH's format.
    pub public: String,
    path: PathBuf,
    // Locked.
    _lock: File,
}

impl SessionDir {
    /// Creates a directory with a new key.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn new() -> Result<Self> {
        Self::new_in(&all()?)
    }

    fn new_in(all: &Path) -> Result<Self> {
        let id = secret::random_hex(4)?;
        let path = all.join(&id);
        dirs::private(&path)?;
        let failed = |error: io::Error| dirs::unwritable(&path, &error);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK));
        let lock = lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(failed)?;
        let no_key = |error: ssh_key::Error| {
            Failure::failed("cannot create a key").because(error.to_string()).next("run the same command again")
        };
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(no_key)?;
        let public = key.public_key().to_openssh().map_err(no_key)?;
        write(&path.join(KEY), key.to_openssh(LineEnding::LF).map_err(no_key)?.as_bytes()).map_err(failed)?;
        Ok(Self { id, public, path, _lock: lock })
    }

    /// The private key.
    pub fn key(&self) -> PathBuf {
        self.path.join(KEY)
    }

    /// Writes the instance's host key under this name. Returns the file.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn know(&self, name: &str, host_key: &str) -> Result<PathBuf> {
        let path = self.path.join(HOSTS);
        write(&path, format!("{name} {host_key}\n").as_bytes()).map_err(|error| dirs::unwritable(&path, &error))?;
        Ok(path)
    }
}

impl Drop for SessionDir {
    fn drop(&mut self) {
        // The next command deletes it otherwise.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The leases of sessions that were killed on this machine. Their keys are deleted at once.
pub fn gone() -> BTreeSet<String> {
    all().map(|all| gone_in(&all)).unwrap_or_default()
}

fn gone_in(all: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let folders = fs::read_dir(all).into_iter().flatten().flatten();
    for folder in folders.filter(|folder| is_left(&folder.path())) {
        let old = folder.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
        // A file that cannot be deleted now is deleted by a later command.
        for file in [KEY, HOSTS] {
            let _ = fs::remove_file(folder.path().join(file));
        }
        if old.is_some_and(|age| age > FORGOTTEN) {
            let _ = fs::remove_dir_all(folder.path());
        }
        found.extend(folder.file_name().into_string());
    }
    found
}

/// Forgets a killed session, because its lease has ended.
pub fn forget(id: &str) {
    if let Ok(path) = all().map(|folder| folder.join(id)) {
        let _ = fs::remove_dir_all(path);
    }
}

/// Without a lock file the directory is not complete yet, or already deleted.
fn is_left(folder: &Path) -> bool {
    match OpenOptions::new().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn all() -> Result<PathBuf> {
    Ok(dirs::state()?.join("ssh"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_private_and_is_deleted_with_its_session() {
        let root = tempfile::tempdir().unwrap();
        let all = root.path().join("ssh");
        let (one, other) = (SessionDir::new_in(&all).unwrap(), SessionDir::new_in(&all).unwrap());
        assert_ne!((&one.id, &one.public), (&other.id, &other.public));
        assert!(one.public.starts_with("ssh-ed25519 ") && one.public.len() == 80, "{}", one.public);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&all.join(&one.id)), mode(&one.key())), (0o700, 0o600));
        let hosts = one.know("i-1", "ssh-ed25519 AAAA").unwrap();
        assert_eq!(fs::read_to_string(hosts).unwrap(), "i-1 ssh-ed25519 AAAA\n");
        assert_eq!(gone_in(&all), BTreeSet::new());
        drop(one);
        assert_eq!((gone_in(&all), fs::read_dir(&all).unwrap().count()), (BTreeSet::new(), 1));
    }

    #[test]
    fn the_key_of_a_killed_session_is_deleted_and_its_lease_is_known() {
        let root = tempfile::tempdir().unwrap();
        let killed = SessionDir::new_in(root.path()).unwrap();
        let (id, key) = (killed.id.clone(), killed.key());
        // The lock is released as by the kernel; nothing else is done.
        let SessionDir { _lock: lock, .. } = &killed;
        lock.unlock().unwrap();
        assert_eq!(gone_in(root.path()), BTreeSet::from([id.clone()]));
        assert!(!key.exists());
        assert_eq!(gone_in(root.path()), BTreeSet::from([id]), "it is remembered until the lease is deleted");
    }
}
