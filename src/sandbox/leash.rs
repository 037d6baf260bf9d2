//! A program under guard, as the sandbox holds it: letting go of the leash ends the program and all that it started.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::base::child;
use crate::base::error::{Failure, Result};

use super::guard::STOP;

/// The guard's process. Dropped, or gone with the sandbox, it ends everything below it.
pub struct Leash {
    guard: Child,
    // Apart from the child, because waiting for a child lets go of its standard input.
    leash: Option<ChildStdin>,
}

impl Leash {
    /// Starts a program under guard; what it prints goes to `log`. `prepare` adds the program, its arguments, its
    /// environment, its folder.
    ///
    /// # Errors
    /// When the guard cannot be started or the log cannot be written.
    pub fn start(log: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::failed("the sandbox cannot start a program").because(error.to_string()).next(super::anew())
        };
        let output = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let mut command = child::own(own_program().map_err(failed)?);
        command.args(["sandbox", "guard", "--"]).stdin(Stdio::piped()).stdout(output).stderr(errors);
        prepare(&mut command);
        let mut guard = command.spawn().map_err(failed)?;
        let leash = guard.stdin.take();
        Ok(Self { guard, leash })
    }

    /// How the guard ended, if it has: nothing of the program is left then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.try_wait().ok().flatten()
    }

    /// Waits until nothing is left.
    pub async fn wait(&mut self) {
        let _ = self.guard.wait().await;
    }

    /// Has everything end, and waits until nothing is left.
    pub async fn end(mut self) {
        self.leash = None;
        self.wait().await;
    }

    /// Asks the program to leave, and waits until nothing is left.
    pub async fn stop(mut self) {
        if let Some(leash) = self.leash.as_mut() {
            // A guard that has ended cannot be told, and need not.
            let _ = leash.write_all(format!("{STOP}\n").as_bytes()).await;
        }
        self.wait().await;
    }
}

/// This program's own file, also after a newer one was built in its place.
pub(super) fn own_program() -> std::io::Result<OsString> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    Ok(std::env::current_exe()?.into())
}
