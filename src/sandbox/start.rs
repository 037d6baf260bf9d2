//! The command line's side: start the sandbox if none runs, find it, stop it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::child;
use crate::base::error::{Failing, Failure, Result};
use crate::base::next::Next;

use super::leash::own_program;
use super::python::Python;
use super::state::{Ended, Folder};
use super::{Handle, IDLE, Machines, Status, anew, emulator, machine};

/// How a sandbox is to be, if one has to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of the AWS endpoint. `None`: any free one.
    pub port: Option<u16>,
    /// How long it stays without being used.
    pub idle: Duration,
    /// What an instance is. `None`: whatever it is in the one that runs, else a process.
    pub machines: Option<Machines>,
}

impl Default for Options {
    fn default() -> Self {
        let told = std::env::var(IDLE).ok().and_then(|seconds| seconds.parse().ok());
        Self { port: None, idle: Duration::from_secs(told.unwrap_or(30 * 60)), machines: None }
    }
}

/// What a sandbox says to the command that started it, as one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Started {
    /// It can be used.
    Ready,
    /// It cannot, and why.
    Failed {
        /// What failed.
        what: String,
        /// Why.
        reasons: Vec<String>,
        /// What to do.
        next: Option<String>,
    },
}

/// What is wrong where a sandbox runs and cannot be asked anything.
const TORN: &str = "sandbox.json of the running sandbox cannot be read";

/// The running sandbox; one is started if there is none. `say` gets lines for a person.
///
/// # Errors
/// When this machine lacks what it needs, or it does not start.
pub async fn ensure(options: &Options, say: &dyn Fn(&str)) -> Result<Handle> {
    let folder = Folder::open()?;
    if let Some(handle) = usable(&folder, options)? {
        return Ok(handle);
    }
    // Of two commands at once, one starts the sandbox and the other finds it.
    let _one = folder.hold("start.lock").await?;
    if let Some(handle) = usable(&folder, options)? {
        return Ok(handle);
    }
    let known = folder.running()?.is_some();
    if stop_running(&folder).await? {
        let why = if known { "another version of devopsctl had started the sandbox" } else { TORN };
        say(&format!("{why}: it is started anew, and what it held is gone"));
    }
    folder.clean_stale()?;
    if let Some(ended) = folder.take_ended()? {
        say(&ended.line());
    }
    // Looked for here as well, so that what is missing is said before anything is downloaded or started.
    if options.machines == Some(Machines::Qemu) {
        machine::Image::find()?;
    }
    let python = Python::find().await?;
    let others = python.others().await;
    let emulator = emulator::install(say).await?;
    say("starting the local AWS");
    spawn(&folder, options, emulator, &python, &others).await?;
    folder.running()?.ok_or_else(|| {
        Failure::failed("the sandbox ended as soon as it had started").next(again(&folder.log("sandbox")))
    })
}

/// What to do about an option that the running sandbox does not have.
fn stop_first(option: &str) -> Next {
    Next::from(format!("omit {option}, or delete the running sandbox first: ")).run_bare("sandbox stop")
}

/// The running one, if it is of this version and where it was asked for.
fn usable(folder: &Folder, options: &Options) -> Result<Option<Handle>> {
    let Some(handle) = folder.running()?.filter(|handle| handle.version == env!("CARGO_PKG_VERSION")) else {
        return Ok(None);
    };
    if let Some(machines) = options.machines.filter(|machines| *machines != handle.machines) {
        let (runs, asked) = (handle.machines.name(), machines.name());
        return Err(Failure::failed(format!("the sandbox that runs has --machine {runs}, not {asked}"))
            .next(stop_first("--machine")));
    }
    match options.port {
        Some(port) if !handle.endpoint.ends_with(&format!(":{port}")) => {
            Err(Failure::failed(format!("the sandbox already runs at {}, not on port {port}", handle.endpoint))
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
    Folder::open()?.running()
}

/// Why the last sandbox ended, if nobody has been told yet and none runs now.
///
/// # Errors
/// When the state folder cannot be read.
pub async fn ended() -> Result<Option<Ended>> {
    let folder = Folder::open()?;
    let _one = folder.hold("start.lock").await?;
    // One that runs may have a file that cannot be read: only the lock tells.
    let Some(_none_runs) = folder.try_hold("running.lock")? else { return Ok(None) };
    folder.clean_stale()?;
    folder.take_ended()
}

/// Stops the sandbox and waits until nothing of it runs. `false`: there was none.
///
/// # Errors
/// When it does not end.
pub async fn stop() -> Result<bool> {
    let folder = Folder::open()?;
    let _one = folder.hold("start.lock").await?;
    let stopped = stop_running(&folder).await?;
    folder.clean_stale()?;
    folder.take_ended()?;
    Ok(stopped)
}

/// How the running sandbox is.
///
/// # Errors
/// When it does not answer.
pub async fn status() -> Result<Option<Status>> {
    let folder = Folder::open()?;
    let Some(handle) = folder.running()? else {
        return if folder.torn()? { Err(Failure::failed(TORN).next(anew())) } else { Ok(None) };
    };
    let said = handle.control("GET", "status").await?;
    let status = serde_json::from_str(&said);
    status
        .map(Some)
        .map_err(|error| Failure::failed("the sandbox's status is unreadable").because(error.to_string()).next(anew()))
}

/// What the sandbox, the emulator and the front write, in this order; then what each machine and its app print.
///
/// # Errors
/// When the state folder cannot be had.
pub fn log_files() -> Result<Vec<PathBuf>> {
    let folder = Folder::open()?;
    let mut files = ["sandbox", "emulator", "front"].map(|name| folder.log(name)).to_vec();
    files.extend(folder.machine_logs());
    Ok(files)
}

/// Asks the running one to end and waits for its lock; one that does not listen is killed, and its guards clean up.
async fn stop_running(folder: &Folder) -> Result<bool> {
    if let Some(held) = folder.try_hold("running.lock")? {
        drop(held);
        return Ok(false);
    }
    let handle = folder.running()?;
    if let Some(handle) = &handle {
        // Whether it has heard is seen from the lock.
        let _ = handle.control("POST", "stop").await;
    } else {
        // A command that only looks holds the lock for a moment, and the noted process may be long gone then.
        if let Ok(held) = tokio::time::timeout(Duration::from_secs(1), folder.hold("running.lock")).await {
            return held.map(|_| false);
        }
        // Its file is torn, so it cannot be asked; a signal has it end in the same way.
        if let Some(pid) = folder.holder() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let gone = tokio::time::timeout(Duration::from_secs(15), folder.hold("running.lock")).await;
    if let Ok(held) = gone {
        return held.map(|_| true);
    }
    let pid = handle.and_then(|handle| rustix::process::Pid::from_raw(handle.pid.cast_signed()));
    if let Some(pid) = pid.or_else(|| folder.holder()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    match tokio::time::timeout(Duration::from_secs(10), folder.hold("running.lock")).await {
        Ok(held) => held.map(|_| true),
        Err(_) => Err(Failure::failed("the sandbox does not end")
            .next(format!("see {}, and end its process by hand", folder.log("sandbox").display()))),
    }
}

/// What to do where a log says more.
pub(super) fn again(log: &Path) -> String {
    format!("see {}, then run the same command again", log.display())
}

/// Starts the detached process and waits until it says that it is ready.
async fn spawn(
    folder: &Folder,
    options: &Options,
    emulator: PathBuf,
    python: &Python,
    others: &[Python],
) -> Result<()> {
    let log = folder.log("sandbox");
    let failed = |why: String| Failure::failed("the sandbox does not start").because(why).next(again(&log));
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
            Err(failure.next(next.unwrap_or_else(|| again(&log))))
        }
        Err(_) => Err(failed("it ended without a word".to_owned())),
    }
}
