//! The owner of a `deploy.yaml`: a file that was found by searching must not belong to another user.
//!
//! The rule is git's for a repository (`safe.directory`): the file, a link to it and their folder belong to the caller, to root,
//! or to the user who called `sudo`.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::base::dirs::folder_of;
use crate::base::error::{Exit, Failure, Result};

/// The users whose files are trusted.
struct Trusted {
    caller: u32,
    sudo: Option<u32>,
}

impl Trusted {
    fn now() -> Self {
        let caller = rustix::process::geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        // Only root can come from sudo.
        Self { caller, sudo: sudo.filter(|_| caller == 0) }
    }

    fn has(&self, uid: u32) -> bool {
        uid == 0 || uid == self.caller || Some(uid) == self.sudo
    }
}

/// Checks a file that was found by searching and is open as `opened`, so that the checked file is the one that is read.
pub fn check(file: &Path, opened: &File) -> Result<()> {
    let look = || -> std::io::Result<_> {
        let folder = fs::canonicalize(folder_of(file))?;
        let whose = fs::metadata(&folder)?;
        Ok([(folder, whose), (file.to_owned(), fs::symlink_metadata(file)?), (file.to_owned(), opened.metadata()?)])
    };
    let trusted = Trusted::now();
    for (path, metadata) in look().map_err(|error| super::unreadable(file, &error))? {
        owned(&trusted, file, &path, &metadata)?;
    }
    Ok(())
}

fn owned(trusted: &Trusted, file: &Path, path: &Path, metadata: &Metadata) -> Result<()> {
    if trusted.has(metadata.uid()) {
        return Ok(());
    }
    let why = format!("{} belongs to {}, and you are {}", path.display(), user(metadata.uid()), user(trusted.caller));
    Err(Failure::new(Exit::Usage, format!("{} was found, but another user may have written it", file.display()))
        .because(why)
        .standing("The file was not read, and no call was made.")
        .next(format!("if you trust that user, pass the file: --file {}", file.display())))
}

/// A user's id and, if this machine knows it, the name.
fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
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
}
