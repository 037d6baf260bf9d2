//! Whose file it is: a `deploy.yaml` that was found by searching counts only if no other user can have written it.
//!
//! The rule is git's for a repository's folder (`safe.directory`): the file, a link to it and the folder that they are in
//! belong to the caller, to root, or to the user who called `sudo`.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Exit, Failure, Result};

/// The users whose files count.
struct Trusted {
    caller: u32,
    sudo: Option<u32>,
}

impl Trusted {
    fn now() -> Self {
        let caller = rustix::process::geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        // Only root can have been made so by sudo.
        Self { caller, sudo: sudo.filter(|_| caller == 0) }
    }

    fn has(&self, uid: u32) -> bool {
        uid == 0 || uid == self.caller || Some(uid) == self.sudo
    }
}

/// Reads a file that was found by searching.
///
/// # Errors
/// That another user owns or can write it, and what the file system says.
pub fn read(file: &Path) -> Result<std::io::Result<String>> {
    let open = || -> std::io::Result<_> {
        let opened = File::open(file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(folder)?;
        let parts = [(folder.clone(), fs::metadata(&folder)?), (file.to_owned(), fs::symlink_metadata(file)?)];
        let found = opened.metadata()?;
        Ok((opened, parts, found))
    };
    let (mut opened, parts, found) = match open() {
        Ok(all) => all,
        Err(error) => return Ok(Err(error)),
    };
    let trusted = Trusted::now();
    for (path, metadata) in &parts {
        owned(&trusted, file, path, metadata)?;
    }
    // The open file, so that what is checked is what is read.
    owned(&trusted, file, file, &found)?;
    if writable_by_others(found.mode(), found.uid(), found.gid()) {
        return Err(refuse(
            file,
            format!("{} is writable by other users (mode {:03o})", file.display(), found.mode() & 0o777),
        )
        .next(format!(
            "chmod go-w {}, or name the file if you trust it: --file {}",
            file.display(),
            file.display()
        )));
    }
    let mut text = String::new();
    Ok(opened.read_to_string(&mut text).map(|_| text))
}

fn owned(trusted: &Trusted, file: &Path, path: &Path, metadata: &Metadata) -> Result<()> {
    if trusted.has(metadata.uid()) {
        return Ok(());
    }
    let why = format!("{} belongs to {}, and you are {}", path.display(), user(metadata.uid()), user(trusted.caller));
    Err(refuse(file, why).next(format!("if you trust that user, name the file: --file {}", file.display())))
}

fn refuse(file: &Path, why: String) -> crate::error::Failing {
    Failure::new(Exit::Usage, format!("{} was found, but another user may have written it", file.display()))
        .because(why)
        .standing("The file was not read; nothing was called.")
}

/// A group that has its user's number is that user's own, as most Linux systems make it, with a umask to match.
fn writable_by_others(mode: u32, uid: u32, gid: u32) -> bool {
    mode & 0o002 != 0 || (mode & 0o020 != 0 && gid != uid)
}

/// A user by number and, where this machine knows it, by name.
fn user(uid: u32) -> String {
    let users = fs::read_to_string(PathBuf::from("/etc/passwd")).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then_some(name)
    });
    name.map_or_else(|| format!("user {uid}"), |name| format!("user {name} ({uid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_root_and_the_user_of_sudo_are_trusted() {
        let user = Trusted { caller: 1000, sudo: None };
        assert!(user.has(1000) && user.has(0) && !user.has(1001));
        let sudo = Trusted { caller: 0, sudo: Some(1000) };
        assert!(sudo.has(0) && sudo.has(1000) && !sudo.has(1001));
    }

    #[test]
    fn a_users_own_group_may_write() {
        assert!(!writable_by_others(0o644, 1000, 100) && !writable_by_others(0o664, 1000, 1000));
        assert!(writable_by_others(0o664, 1000, 100) && writable_by_others(0o646, 1000, 1000));
    }
}
