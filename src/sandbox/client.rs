//! The command line's side of the sandbox: start it if none is running, find it, stop it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::child;
use crate::base::error::{Failing, Failure, Result};
use crate::base::next::Next;

use super::python::Python;
use super::state_dir::{Ended, StateDir};
use super::supervised_child::own_program;
use super::{Handle, IDLE, Machines, Status, emulator, log_advice, machine, restart_advice};

/// Settings of a sandbox that has to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of the AWS endpoint. `None`: any free port.
    pub port: Option<u16>,
    /// The idle time after which it ends.
    pub idle: Duration,
    /// How instances run. `None`: as in the running sandbox, else as processes.
    pub machines: Option<Machines>,
}

impl Default for Options {
    fn default() -> Self {
        let told = std::env::var(IDLE).ok().and_then(|seconds| seconds.parse().ok());
        Self { port: None, idle: Duration::from_secs(told.unwrap_or(30 * 60)), machines: None }
    }
}

/// The result of a start, as one line of JSON on standard output.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Started {
    /// It is ready.
    Ready,
    /// It did not start.
    Failed {
        /// What failed.
        what: String,
        /// Why.
        reasons: Vec<String>,
        /// The next step.
        next: Option<String>,
    },
}

/// A sandbox is running, but its address is unknown.
const UNREADABLE: &str = "cannot read sandbox.json of the running sandbox";

/// Finds the running sandbox, or starts one. `say` gets progress lines.
///
/// # Errors
/// When this machine lacks a requirement, or the sandbox does not start.
pub async fn ensure(options: &Options, say: &dyn Fn(&str)) -> Result<Handle> {
    let state_dir = StateDir::open()?;
    if let Some(handle) = usable(&state_dir, options)? {
        return Ok(handle);
    }
    // Of two concurrent commands, one starts the sandbox and the other finds it.
    let _one = state_dir.lock("start.lock").await?;
    if let Some(handle) = usable(&state_dir, options)? {
        return Ok(handle);
    }
    let known = state_dir.running()?.is_some();
    if stop_running(&state_dir).await? {
        let why = if known { "another version of devopsctl started the sandbox" } else { UNREADABLE };
        say(&format!("{why}: it is restarted, and its contents are gone"));
    }
    state_dir.clean_stale()?;
    if let Some(ended) = state_dir.take_ended()? {
        say(&ended.line());
    }
    // Also checked here, so that a missing requirement is reported before anything is downloaded or started.
    if options.machines == Some(Machines::Qemu) {
        machine::Image::find()?;
    }
    let python = Python::find().await?;
    let others = python.others().await;
    let emulator = emulator::install(say).await?;
    say("starting the local AWS");
    spawn(&state_dir, options, emulator, &python, &others).await?;
    state_dir.running()?.ok_or_else(|| {
        Failure::failed("the sandbox ended as soon as it had started").next(log_advice(&state_dir.log("sandbox")))
    })
}

/// What to do about an option that the running sandbox does not have.
fn stop_first(option: &str) -> Next {
    Next::from(format!("omit {option}, or delete the running sandbox first: ")).run_bare("sandbox stop")
}

/// The running sandbox, if its version is this one. Fails if its settings are not the requested ones.
fn usable(state_dir: &StateDir, options: &Options) -> Result<Option<Handle>> {
    let Some(handle) = state_dir.running()?.filter(|handle| handle.version == env!("CARGO_PKG_VERSION")) else {
        return Ok(None);
    };
    if let Some(machines) = options.machines.filter(|machines| *machines != handle.machines) {
        let (runs, asked) = (handle.machines.name(), machines.name());
        return Err(Failure::failed(format!("the running sandbox has --machine {runs}, not {asked}"))
            .next(stop_first("--machine")));
    }
    match options.port {
        Some(port) if !handle.endpoint.ends_with(&format!(":{port}")) => {
            Err(Failure::failed(format!("the sandbox is already running at {}, not on port {port}", handle.endpoint))
                .next(stop_first("--port")))
        }
        _ => Ok(Some(handle)),
    }
}

/// The running sandbox, if there is one.
///
/// # Errors
/// When the state folder cannot be read.
pub async fn find() -> Result<Option<Handle>> {
    StateDir::open()?.running()
}

/// Why the last sandbox ended, unless a command has shown it already or a sandbox is running.
///
/// # Errors
/// When the state folder cannot be read.
pub async fn ended() -> Result<Option<Ended>> {
    let state_dir = StateDir::open()?;
    let _one = state_dir.lock("start.lock").await?;
    // A running sandbox can have an unreadable file, so only the lock counts.
    let Some(_none_runs) = state_dir.try_lock_file("running.lock")? else { return Ok(None) };
    state_dir.clean_stale()?;
    state_dir.take_ended()
}

/// Stops the sandbox and waits for its end. `false`: none was running.
///
/// # Errors
/// When it does not end.
pub async fn stop() -> Result<bool> {
    let state_dir = StateDir::open()?;
    let _one = state_dir.lock("start.lock").await?;
    let stopped = stop_running(&state_dir).await?;
    state_dir.clean_stale()?;
    state_dir.take_ended()?;
    Ok(stopped)
}

/// The state of the running sandbox.
///
/// # Errors
/// When it does not answer.
pub async fn status() -> Result<Option<Status>> {
    let state_dir = StateDir::open()?;
    let Some(handle) = state_dir.running()? else {
        return if state_dir.is_handle_unreadable()? {
            Err(Failure::failed(UNREADABLE).next(restart_advice()))
        } else {
            Ok(None)
        };
    };
    let said = handle.control("GET", "status").await?;
    let status = serde_json::from_str(&said);
    status.map(Some).map_err(|error| {
        Failure::failed("cannot read the status of the sandbox").because(error.to_string()).next(restart_advice())
    })
}

/// The logs of the sandbox, the emulator and the API, in this order; then those of each machine and its app.
///
/// # Errors
/// When the state folder cannot be opened.
pub fn log_files() -> Result<Vec<PathBuf>> {
    let state_dir = StateDir::open()?;
    let mut files = ["sandbox", "emulator", "api"].map(|name| state_dir.log(name)).to_vec();
    files.extend(state_dir.machine_logs());
    Ok(files)
}

/// Asks the running sandbox to end and waits for its lock. If it does not end, it is killed, and its supervisors clean up.
async fn stop_running(state_dir: &StateDir) -> Result<bool> {
    if let Some(held) = state_dir.try_lock_file("running.lock")? {
        drop(held);
        return Ok(false);
    }
    let handle = state_dir.running()?;
    if let Some(handle) = &handle {
        // The lock shows whether it ends.
        let _ = handle.control("POST", "stop").await;
    } else {
        // A command that only checks the lock holds it for a moment. The recorded process may be gone by then.
        if let Ok(held) = tokio::time::timeout(Duration::from_secs(1), state_dir.lock("running.lock")).await {
            return held.map(|_| false);
        }
        // Its address is unreadable, so it cannot be asked; a signal ends it in the same way.
        if let Some(pid) = state_dir.holder() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let gone = tokio::time::timeout(Duration::from_secs(15), state_dir.lock("running.lock")).await;
    if let Ok(held) = gone {
        return held.map(|_| true);
    }
    let pid = handle.and_then(|handle| rustix::process::Pid::from_raw(handle.pid.cast_signed()));
    if let Some(pid) = pid.or_else(|| state_dir.holder()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    match tokio::time::timeout(Duration::from_secs(10), state_dir.lock("running.lock")).await {
        Ok(held) => held.map(|_| true),
        Err(_) => Err(Failure::failed("the sandbox does not end")
            .next(format!("see {}, and end its process manually", state_dir.log("sandbox").display()))),
    }
}

/// Starts the detached process and waits until it is ready.
async fn spawn(
    state_dir: &StateDir,
    options: &Options,
    emulator: PathBuf,
    python: &Python,
    others: &[Python],
) -> Result<()> {
    let log = state_dir.log("sandbox");
    let failed = |why: String| Failure::failed("the sandbox does not start").because(why).next(log_advice(&log));
    let said = |error: std::io::Error| failed(error.to_string());
    let errors = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&log).map_err(said)?;
    let mut command = child::own(own_program().map_err(said)?).into_std();
    let (major, minor) = python.version;
    command.args(["sandbox", "serve", "--idle", &options.idle.as_secs().to_string(), "--emulator"]).arg(emulator);
    command.arg("--python").arg(&python.path).args(["--python-version", &format!("{major}.{minor}")]);
    for other in others {
        let (major, minor) = other.version;
        let path = other.path.as_os_str();
        let mut given = std::ffi::OsString::from(format!("{major}.{minor}="));
        given.push(path);
        command.arg("--other-python").arg(given);
    }
    if let Some(port) = options.port {
        command.args(["--port", &port.to_string()]);
    }
    if let Some(machines) = options.machines {
        command.args(["--machines", machines.name()]);
    }
    let mut child =
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().map_err(said)?;
    let output = child.stdout.take();
    let first_line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        output.map(|output| BufReader::new(output).read_line(&mut line));
        line
    });
    let line = match tokio::time::timeout(Duration::from_secs(120), first_line).await {
        Ok(line) => line.unwrap_or_default(),
        Err(_) => {
            let _ = child.kill();
            return Err(failed("it is not ready after two minutes".to_owned()));
        }
    };
    match serde_json::from_str(&line) {
        Ok(Started::Ready) => Ok(()),
        Ok(Started::Failed { what, reasons, next }) => {
            let failure = reasons.into_iter().fold(Failure::failed(what), Failing::because);
            Err(failure.next(next.unwrap_or_else(|| log_advice(&log))))
        }
        Err(_) => Err(failed("it ended without a message".to_owned())),
    }
}
