//! The user's own folders: a cache that may be deleted at any time, and state that is private (0700). And where
//! programs are.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};

use crate::error::{Failure, Result};

/// `$XDG_CACHE_HOME/devopsctl`: the emulator's virtual environment, built releases, uv.
pub fn cache() -> Result<PathBuf> {
    Ok(base()?.cache_dir().join("devopsctl"))
}

/// `$XDG_STATE_HOME/devopsctl`: the sandbox, private keys.
pub fn state() -> Result<PathBuf> {
    let base = base()?;
    // macOS has no state folder of its own; the data folder is the nearest.
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("devopsctl"))
}

/// Makes `path` and what is missing above it, readable by this user alone.
///
/// # Errors
/// What the file system says, with the path.
pub fn private(path: &Path) -> Result<()> {
    let make = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    };
    make().map_err(|error| {
        Failure::failed(format!("cannot make the folder {}", path.display()))
            .because(error.to_string())
            .next("make it writable for you, or set XDG_STATE_HOME and XDG_CACHE_HOME to folders that are")
    })
}

/// That a folder, or a file, of ours cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write to {}", path.display()))
        .because(error.to_string())
        .next("free some space, or set XDG_CACHE_HOME to a folder that you can write to")
}

fn base() -> Result<impl BaseStrategy> {
    choose_base_strategy().map_err(|error| {
        Failure::failed("cannot tell where your home folder is").because(error.to_string()).next("set HOME")
    })
}

/// The folders of `PATH`.
pub fn path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// The first program of that name on `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    path().into_iter().map(|folder| folder.join(program)).find(|found| found.is_file())
}
