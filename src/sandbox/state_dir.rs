//! The sandbox's state folder: how to reach the running sandbox, and why the last one ended.
//!
//! A sandbox is running if its lock is held, whatever process ids say. The kernel releases the lock however the process ends,
//! so a power failure or a reused process id cannot make a dead sandbox look alive.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::dirs;
use crate::base::error::{Failure, Result};

use super::Handle;

/// The longest path of a Unix socket: 104 bytes on macOS and the BSDs, 108 on Linux, including the final zero.
const LONGEST_SOCKET: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The sandbox's folder and its files.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

/// Why the last sandbox ended. The next command shows it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It was idle for this many seconds.
    Idle(u64),
    /// It was killed, or the machine was switched off.
    Killed,
    /// Its emulator ended by itself.
    EmulatorEnded,
}

impl Ended {
    /// The line that the next command shows.
    pub fn line(self) -> String {
        let why = match self {
            Self::Idle(seconds) if seconds % 60 == 0 => format!("ended after {} idle minutes", seconds / 60),
            Self::Idle(seconds) => format!("ended after {seconds} idle seconds"),
            Self::Killed => "was killed, or the machine was switched off".to_owned(),
            Self::EmulatorEnded => "ended because its emulator ended".to_owned(),
        };
        format!("the last sandbox {why}; its contents are gone")
    }
}

impl StateDir {
    /// Opens the user's folder, and creates it if necessary.
    pub fn open() -> Result<Self> {
        let folder = Self(dirs::state()?.join("sandbox"));
        // Checked with the longest possible socket, so that it fails now and not when a machine boots.
        let longest = folder.machine("i-0123456789abcdef0").join("net/65535.sock");
        let length = longest.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(Failure::failed(format!(
                "the path of the sandbox's folder is too long: {}",
                folder.0.display()
            ))
            .because(format!(
                "the path of a Unix socket has at most {LONGEST_SOCKET} bytes here; one in this folder needs {length}"
            ))
            .next("set XDG_STATE_HOME to a folder with a short path, such as /tmp/devopsctl"));
        }
        dirs::private(&folder.0)?;
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The emulator's program.
    pub fn emulator(&self) -> PathBuf {
        self.0.join("emulator")
    }

    /// The emulator's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("emulator.sock")
    }

    /// The log of the `sandbox`, the `emulator` or the `api`.
    pub fn log(&self, of: &str) -> PathBuf {
        self.0.join(format!("{of}.log"))
    }

    /// The folder that is an instance's disk.
    pub fn machine(&self, instance: &str) -> PathBuf {
        self.0.join("machines").join(instance)
    }

    /// The folder of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// The folder that is a volume.
    pub fn volume(&self, id: &str) -> PathBuf {
        self.volumes().join(id)
    }

    /// The logs of the machines and their apps.
    pub fn machine_logs(&self) -> Vec<PathBuf> {
        let mut machines: Vec<PathBuf> =
            fs::read_dir(self.0.join("machines")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        machines.sort();
        let logs = machines
            .iter()
            .flat_map(|machine| ["console", "app"].map(|log| machine.join(format!("var/log/{log}.log"))));
        logs.filter(|log| log.is_file()).collect()
    }

    /// How to reach the running sandbox, if there is one.
    pub fn running(&self) -> Result<Option<Handle>> {
        match self.try_lock_file("running.lock")? {
            None => self.read("sandbox.json"),
            Some(_held) => Ok(None),
        }
    }

    /// Whether a sandbox is running and its `sandbox.json` exists but is unreadable.
    pub fn is_handle_unreadable(&self) -> Result<bool> {
        Ok(self.try_lock_file("running.lock")?.is_none()
            && self.0.join("sandbox.json").exists()
            && self.read::<Handle>("sandbox.json")?.is_none())
    }

    /// Writes the process id of the holder into the lock file, for a command that cannot read `sandbox.json`.
    pub fn note_holder(&self, mut held: &File) -> Result<()> {
        let note = held.set_len(0).and_then(|()| held.write_all(std::process::id().to_string().as_bytes()));
        note.map_err(|error| self.unusable("running.lock", &error))
    }

    /// The process id that the holder wrote into the lock file.
    pub fn holder(&self) -> Option<Pid> {
        fs::read_to_string(self.0.join("running.lock")).ok()?.parse().ok().and_then(Pid::from_raw)
    }

    /// Takes the lock, unless another process holds it.
    pub fn try_lock_file(&self, name: &str) -> Result<Option<File>> {
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.unusable(name, &error)),
        }
    }

    /// Waits for the lock of that name.
    pub async fn lock(&self, name: &'static str) -> Result<File> {
        let folder = self.clone();
        let held = tokio::task::spawn_blocking(move || {
            let file = folder.lock_file(name)?;
            file.lock().map_err(|error| folder.unusable(name, &error))?;
            Ok(file)
        });
        held.await.map_err(|error| Failure::bug(format!("a task ended early: {error}")))?
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(path).map_err(|error| self.unusable(name, &error))
    }

    /// Writes how to reach this sandbox.
    pub fn announce(&self, handle: &Handle) -> Result<()> {
        self.write("sandbox.json", handle)
    }

    /// Records why the sandbox ended, unless a user stopped it, and removes its files.
    pub fn close(&self, ended: Option<Ended>) -> Result<()> {
        if let Some(ended) = ended {
            self.write("ended.json", &ended)?;
        }
        self.clean()
    }

    /// Why the last sandbox ended. Returned once.
    pub fn take_ended(&self) -> Result<Option<Ended>> {
        let ended = self.read("ended.json")?;
        self.remove("ended.json")?;
        Ok(ended)
    }

    /// Removes the files of a sandbox that was killed. Only while no sandbox runs.
    pub fn clean_stale(&self) -> Result<()> {
        if self.0.join("sandbox.json").exists() {
            self.write("ended.json", &Ended::Killed)?;
        }
        self.clean()
    }

    fn clean(&self) -> Result<()> {
        for name in ["sandbox.json", "emulator.sock"] {
            self.remove(name)?;
        }
        for name in ["machines", "volumes", "emulator"] {
            remove_tree(&self.0.join(name)).map_err(|error| self.unusable(name, &error))?;
        }
        Ok(())
    }

    /// Writes a private file atomically.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let put = || dirs::write(&self.0.join(name), &serde_json::to_vec(value)?);
        put().map_err(|error| self.unusable(name, &error))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match fs::read(self.0.join(name)) {
            // A file of another version counts as missing.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(name, &error)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.unusable(name, &error)),
            _ => Ok(()),
        }
    }

    pub(super) fn unusable(&self, name: &str, error: &std::io::Error) -> Failure {
        Failure::failed(format!("cannot use {}", self.0.join(name).display()))
            .because(dirs::reason(error))
            .next("make it writable for you, or set XDG_STATE_HOME to a writable folder")
    }
}

/// Removes a folder. It retries, because processes that are ending can still add files.
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    for _ in 0..20 {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            result => return result,
        }
    }
    fs::remove_dir_all(path)
}
