//! A program under a [`supervisor`](super::supervisor). Dropping it ends the program and all of its descendants.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::base::child;
use crate::base::error::{Failure, Result};

use super::supervisor::STOP;

/// The supervisor's process. It ends everything below it when its standard input is closed, also if the sandbox is killed.
pub struct SupervisedChild {
    supervisor: Child,
    // Not in the child: waiting for a child closes its standard input.
    stdin: Option<ChildStdin>,
}

impl SupervisedChild {
    /// Starts a program; its output goes to `log`. `prepare` adds the program, its arguments, environment and folder.
    ///
    /// # Errors
    /// When the supervisor cannot be started or the log cannot be written.
    pub fn start(log: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::failed("the sandbox cannot start a program")
                .because(error.to_string())
                .next(super::restart_advice())
        };
        let output = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let mut command = child::own(own_program().map_err(failed)?);
        command.args(["sandbox", "supervise", "--"]).stdin(Stdio::piped()).stdout(output).stderr(errors);
        prepare(&mut command);
        let mut supervisor = command.spawn().map_err(failed)?;
        let stdin = supervisor.stdin.take();
        Ok(Self { supervisor, stdin })
    }

    /// The exit status, once no process of the program is left.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Waits until no process is left.
    pub async fn wait(&mut self) {
        let _ = self.supervisor.wait().await;
    }

    /// Ends all processes, and waits until none is left.
    pub async fn end(mut self) {
        self.stdin = None;
        self.wait().await;
    }

    /// Asks the program to stop, and waits until no process is left.
    pub async fn stop(mut self) {
        if let Some(stdin) = self.stdin.as_mut() {
            // A write fails only if the supervisor has ended already.
            let _ = stdin.write_all(format!("{STOP}\n").as_bytes()).await;
        }
        self.wait().await;
    }
}

/// The file of this program, also after a newer build has replaced it.
pub(super) fn own_program() -> std::io::Result<OsString> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    Ok(std::env::current_exe()?.into())
}
