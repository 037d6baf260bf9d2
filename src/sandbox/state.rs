//! What the sandbox keeps on disk: how to reach the running one, and why the last one ended.
//!
//! Whether a sandbox runs is told by a lock that it holds for as long as it lives, not by a process id: the kernel lets go
//! of it however the process ends, so neither a power failure nor a reused id can make a dead sandbox look alive.

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

/// The longest path of a Unix socket: 104 bytes on macOS and the BSDs, 108 on Linux, its ending zero among them.
const LONGEST_SOCKET: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The sandbox's own folder and what lies in it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// Why the last sandbox is no more. Said once, by the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Nobody used it for this many seconds.
    Idle(u64),
    /// It was killed, or the machine was switched off.
    Killed,
    /// Its emulator ended by itself.
    EmulatorEnded,
}

impl Ended {
    /// The line for a person.
    pub fn line(self) -> String {
        let why = match self {
            Self::Idle(seconds) if seconds % 60 == 0 => format!("ended after {} idle minutes", seconds / 60),
            Self::Idle(seconds) => format!("ended after {seconds} idle seconds"),
            Self::Killed => "was killed, or the machine was switched off".to_owned(),
            Self::EmulatorEnded => "ended because its emulator did".to_owned(),
        };
        format!("the last sandbox {why}; what it held is gone")
    }
}

impl Folder {
    /// The folder of this user, made if it is not there.
    pub fn open() -> Result<Self> {
        let folder = Self(dirs::state()?.join("sandbox"));
        // Measured on the longest socket there can be, so that it fails now and not when a machine boots.
        let longest = folder.machine("i-0123456789abcdef0").join("net/65535.sock");
        let length = longest.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(Failure::failed(format!("the sandbox's folder has too long a path: {}", folder.0.display()))
                .because(format!("a Unix socket's path may have {LONGEST_SOCKET} bytes here; one in it has {length}"))
                .next("set XDG_STATE_HOME to a folder with a short path, such as /tmp/devopsctl"));
        }
        dirs::private(&folder.0)?;
        Ok(folder)
    }

    /// Where everything of the sandbox lies.
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

    /// What the sandbox itself, the emulator and the front write.
    pub fn log(&self, of: &str) -> PathBuf {
        self.0.join(format!("{of}.log"))
    }

    /// The folder that stands for an instance's disk.
    pub fn machine(&self, instance: &str) -> PathBuf {
        self.0.join("machines").join(instance)
    }

    /// What the machines and their apps print.
    pub fn machine_logs(&self) -> Vec<PathBuf> {
        let mut machines: Vec<PathBuf> =
            fs::read_dir(self.0.join("machines")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        machines.sort();
        let logs = machines
            .iter()
            .flat_map(|machine| ["console", "app"].map(|log| machine.join(format!("var/log/{log}.log"))));
        logs.filter(|log| log.is_file()).collect()
    }

    /// How to reach the sandbox, if one is running.
    pub fn running(&self) -> Result<Option<Handle>> {
        match self.try_hold("running.lock")? {
            None => self.read("sandbox.json"),
            Some(_held) => Ok(None),
        }
    }

    /// Whether a sandbox runs whose `sandbox.json` is there and cannot be read.
    pub fn torn(&self) -> Result<bool> {
        Ok(self.try_hold("running.lock")?.is_none()
            && self.0.join("sandbox.json").exists()
            && self.read::<Handle>("sandbox.json")?.is_none())
    }

    /// Notes in the lock file which process holds it, for a command that cannot read `sandbox.json`.
    pub fn note_holder(&self, mut held: &File) -> Result<()> {
        let note = held.set_len(0).and_then(|()| held.write_all(std::process::id().to_string().as_bytes()));
        note.map_err(|error| self.trouble("running.lock", &error))
    }

    /// The process that holds the lock, as it noted it itself.
    pub fn holder(&self) -> Option<Pid> {
        fs::read_to_string(self.0.join("running.lock")).ok()?.parse().ok().and_then(Pid::from_raw)
    }

    /// Takes the lock that says "running". `None`: somebody else has it.
    pub fn try_hold(&self, name: &str) -> Result<Option<File>> {
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.trouble(name, &error)),
        }
    }

    /// Waits for the lock of that name.
    pub async fn hold(&self, name: &'static str) -> Result<File> {
        let folder = self.clone();
        let held = tokio::task::spawn_blocking(move || {
            let file = folder.lock_file(name)?;
            file.lock().map_err(|error| folder.trouble(name, &error))?;
            Ok(file)
        });
        held.await.map_err(|error| Failure::bug(format!("a task ended early: {error}")))?
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(path).map_err(|error| self.trouble(name, &error))
    }

    /// Writes how to reach this sandbox.
    pub fn announce(&self, handle: &Handle) -> Result<()> {
        self.write("sandbox.json", handle)
    }

    /// Leaves word of why the sandbox ended. A user who stops it needs none.
    pub fn leave(&self, ended: Option<Ended>) -> Result<()> {
        if let Some(ended) = ended {
            self.write("ended.json", &ended)?;
        }
        self.clean()
    }

    /// Why the last sandbox ended; the second time it is asked, nobody says it again.
    pub fn take_ended(&self) -> Result<Option<Ended>> {
        let ended = self.read("ended.json")?;
        self.remove("ended.json")?;
        Ok(ended)
    }

    /// Clears away what a sandbox left behind that could not do it itself. Only while no sandbox runs.
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
        for name in ["machines", "emulator"] {
            remove_tree(&self.0.join(name)).map_err(|error| self.trouble(name, &error))?;
        }
        Ok(())
    }

    /// Writes it whole, for this user alone.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let put = || dirs::write(&self.0.join(name), &serde_json::to_vec(value)?);
        put().map_err(|error| self.trouble(name, &error))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match fs::read(self.0.join(name)) {
            // A file that another version wrote is as good as none.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.trouble(name, &error)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.trouble(name, &error)),
            _ => Ok(()),
        }
    }

    pub(super) fn trouble(&self, name: &str, error: &std::io::Error) -> Failure {
        Failure::failed(format!("cannot use {}", self.0.join(name).display()))
            .because(dirs::reason(error))
            .next("make it writable for you, or set XDG_STATE_HOME to a folder that is")
    }
}

/// Removes a folder and all in it; processes that are just ending may still add to it, so more than once if need be.
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
