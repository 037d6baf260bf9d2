//! A process machine: it runs the user-data as a process.
//!
//! - It gets a clean environment with the addresses of its metadata service and of the AWS endpoint, in place of EC2's link-local
//!   address and DNS.
//! - It changes nothing outside its folder.
//! - cloud-init runs user-data at the first boot only, and the units that it installs run at each boot. A process machine has no
//!   units, so it runs the user-data at each boot.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{Result, SupervisedChild, remove_tree};

/// `PATH` after the machine's own `bin`, as on every image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The folders of a machine. `dev`, `run` and `tmp` are empty after each boot, as on tmpfs.
const FOLDERS: [&str; 9] = ["bin", "dev", "net", "opt", "run", "tmp", "root", "var/lib", "var/log"];
const EMPTIED: [&str; 4] = ["dev", "net", "run", "tmp"];
const PROGRAM: &str = "var/lib/user-data";

/// The magic number of gzip. cloud-init unpacks such user-data.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The agent's socket for a TCP port.
pub fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("net/{port}.sock"))
}

/// Prepares the machine's folder for a boot.
pub fn prepare(root: &Path, python: &Path, user_data: &[u8]) -> io::Result<()> {
    for name in EMPTIED {
        remove_tree(&root.join(name))?;
    }
    for name in FOLDERS {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name))?;
    }
    let link = root.join("bin/python3");
    if fs::symlink_metadata(&link).is_err() {
        symlink(python, link)?;
    }
    let program = root.join(PROGRAM);
    if user_data.starts_with(&GZIP) {
        io::copy(&mut GzDecoder::new(user_data), &mut File::create(&program)?)?;
    } else {
        fs::write(&program, user_data)?;
    }
    fs::set_permissions(program, fs::Permissions::from_mode(0o700))
}

/// Starts the machine.
pub fn boot(root: &Path, metadata: &str, endpoint: &str) -> Result<SupervisedChild> {
    let path = format!("{}:{PATH}", root.join("bin").display());
    SupervisedChild::start(&root.join("var/log/console.log"), |command| {
        command.arg(root.join(PROGRAM)).current_dir(root).env_clear().env("PATH", path).env("LANG", "C.UTF-8");
        command.env("HOME", root.join("root")).env("TMPDIR", root.join("tmp"));
        command.env("DEVOPSCTL_ROOT", root).env("DEVOPSCTL_RUNNER", "process");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata);
        command.env("AWS_ENDPOINT_URL", endpoint);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_clears_tmpfs_and_keeps_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let program = root.join(PROGRAM);
        prepare(root, Path::new("/usr/bin/python3"), b"#!/bin/sh\n\xff").unwrap();
        assert_eq!(fs::read(&program).unwrap(), b"#!/bin/sh\n\xff");
        fs::write(root.join("run/token"), "x").unwrap();
        fs::write(root.join("opt/release"), "x").unwrap();
        prepare(root, Path::new("/usr/bin/python3"), b"#!/bin/sh\n").unwrap();
        assert!(!root.join("run/token").exists());
        assert!(root.join("opt/release").exists());
        assert_eq!(fs::read_link(root.join("bin/python3")).unwrap(), Path::new("/usr/bin/python3"));
    }
}
