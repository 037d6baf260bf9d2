//! The user's folders: a cache, which may be deleted at any time, and the state. Both are private (0700).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};

use crate::base::error::{Failure, Result};

/// The errors of a full disk or an exceeded quota.
const FULL: [io::ErrorKind; 2] = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];

/// `$XDG_CACHE_HOME/devopsctl`: the emulator's virtual environment, built releases, uv. It contains programs that are run.
pub fn cache() -> Result<PathBuf> {
    existing(base()?.cache_dir().join("devopsctl"))
}

/// `$XDG_STATE_HOME/devopsctl`: the sandbox, private keys.
pub fn state() -> Result<PathBuf> {
    let base = base()?;
    // macOS has no state folder; the data folder is the closest one.
    existing(base.state_dir().unwrap_or_else(|| base.data_dir()).join("devopsctl"))
}

/// Checks an existing folder as [`private`] does, without creating it. If other users can write to it, its content is not trusted.
fn existing(path: PathBuf) -> Result<PathBuf> {
    let Ok(found) = fs::symlink_metadata(&path) else { return Ok(path) };
    if found.is_dir() && found.mode() & 0o022 != 0 {
        return Err(refusal(&path, "other users can write to it: inspect its content, and remove it".into()));
    }
    private(&path)?;
    Ok(path)
}

/// Creates the folder and missing folders above it, readable only by this user.
///
/// A link in its place, or a folder of another user, is refused: other users could read its content.
pub fn private(path: &Path) -> Result<()> {
    let make = || -> io::Result<()> {
        if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
            && !path.is_symlink()
        {
            return Err(error);
        }
        let found = fs::symlink_metadata(path)?;
        if !found.is_dir() {
            return Err(io::Error::other("it is a symbolic link, not a folder"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("it belongs to another user (uid {})", found.uid())));
        }
        if found.mode() & 0o777 == 0o700 {
            return Ok(());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    };
    make().map_err(|error| refusal(path, reason(&error)))
}

fn refusal(path: &Path, why: String) -> Failure {
    Failure::failed(format!("cannot create the folder {}", path.display()))
        .because(why)
        .next("make it writable for your user, or set XDG_STATE_HOME and XDG_CACHE_HOME to writable folders")
}

/// Writes a file atomically: readers find the old or the new content, even after a power failure. Only this user can read it.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = tempfile::NamedTempFile::new_in(folder_of(path))?;
    draft.write_all(content)?;
    settle(draft, path)
}

/// Renames a complete draft; it is synced first, so that the file is never incomplete.
pub fn settle(draft: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    File::open(folder_of(path))?.sync_all()
}

/// The folder of a file, as it is written.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error when a folder or a file of devopsctl cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let next = if FULL.contains(&error.kind()) {
        "free some space, or set XDG_CACHE_HOME to a folder on another disk, then run the same command again"
    } else {
        "free some space, or set XDG_CACHE_HOME to a folder that you can write to"
    };
    Failure::failed(format!("cannot write to {}", path.display())).because(reason(error)).next(next)
}

/// The error of the file system; a full disk is named as such.
pub fn reason(error: &io::Error) -> String {
    if FULL.contains(&error.kind()) { format!("the disk is full: {error}") } else { error.to_string() }
}

fn base() -> Result<impl BaseStrategy> {
    choose_base_strategy()
        .map_err(|error| Failure::failed("cannot find your home folder").because(error.to_string()).next("set HOME"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_link_in_place_of_a_private_folder_is_refused_and_its_target_is_unchanged() {
        let root = tempfile::tempdir().unwrap();
        let (foreign, link) = (root.path().join("foreign"), root.path().join("cache"));
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&foreign, &link).unwrap();
        let failure = private(&link).unwrap_err();
        assert!(failure.reasons().concat().contains("symbolic link"), "{failure:?}");
        assert_eq!(mode(&foreign), 0o755);
    }

    #[test]
    fn other_users_cannot_read_a_private_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        private(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_file_is_replaced_atomically_and_no_draft_is_left() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("state.json");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!((mode(&file), fs::read_dir(root.path()).unwrap().count()), (0o600, 1));
    }

    #[test]
    fn a_full_disk_is_named_as_the_reason() {
        let failure = unwritable(Path::new("/cache"), &io::ErrorKind::StorageFull.into());
        assert!(failure.reasons().concat().starts_with("the disk is full"), "{failure:?}");
        let failure = unwritable(Path::new("/cache"), &io::ErrorKind::PermissionDenied.into());
        assert!(!failure.reasons().concat().contains("full"), "{failure:?}");
    }
}
