//! A pool of sandboxes. Starting one takes six seconds of processor time, most of it in moto; emptying one takes a tenth of that.
//!
//! A sandbox is reused only if any other test would start the same one, and if nothing of its test is left. A test of how the
//! sandbox starts and ends uses [`Project::alone`](super::project::Project::alone).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use devopsctl::sandbox::Machines;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{client, runtime};
use super::project::within;

/// Folders with a running, empty sandbox.
static READY: Mutex<Vec<(Machines, TempDir)>> = Mutex::new(Vec::new());
/// Removes folders after the end of this process, because statics are not dropped.
static REMOVER: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let mut command = Command::new("sh");
    // Again after a while: the sandbox takes a moment to notice that its owner is gone.
    let script = "while read -r folder; do set -- \"$@\" \"$folder\"; done; rm -rf \"$@\"; sleep 3; rm -rf \"$@\"";
    // In its own process group, so that Ctrl-C does not reach it.
    Mutex::new(command.args(["-c", script]).stdin(Stdio::piped()).process_group(0).spawn().unwrap())
});

/// Takes a folder with such a sandbox, if there is one.
pub fn take(machines: Machines) -> Option<TempDir> {
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    let place = ready.iter().position(|(kind, _)| *kind == machines)?;
    Some(ready.swap_remove(place).1)
}

/// Returns a folder to the pool.
pub fn give(machines: Machines, root: TempDir) {
    let mut remover = REMOVER.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(remover.stdin.as_mut().unwrap(), "{}", root.path().display()).unwrap();
    READY.lock().unwrap_or_else(PoisonError::into_inner).push((machines, root));
}

/// Empties the sandbox below `state`, if this command would start the same one. Returns how its instances run.
pub fn empty(state: &Path, command: &Command) -> Option<Machines> {
    let folder = state.join("devopsctl/sandbox");
    let handle: Value = serde_json::from_str(&fs::read_to_string(folder.join("sandbox.json")).ok()?).ok()?;
    let machines: Machines = serde_json::from_value(handle["machines"].clone()).ok()?;
    if machines == Machines::Qemu || !is_plain(&handle["pid"], command) {
        return None;
    }
    let tell = |call: &str| {
        let url = format!("{}/_devopsctl/{call}", handle["endpoint"].as_str().unwrap_or_default());
        let secret = handle["control"].as_str().unwrap_or_default();
        let answer = async { client().get(url).header("x-devopsctl-sandbox", secret).send().await };
        runtime().block_on(answer).is_ok_and(|answer| answer.status().is_success())
    };
    let log = fs::OpenOptions::new().write(true).truncate(true).open(folder.join("api.log"));
    let emptied = log.is_ok() && tell("latency/0") && tell("upload-rate/0") && tell("emulator/reset");
    (emptied && gone(&folder.join("machines"))).then_some(machines)
}

/// Waits until the folders of the machines are removed, which happens after the end of their instances.
fn gone(machines: &Path) -> bool {
    let left = || fs::read_dir(machines).is_ok_and(|mut folders| folders.next().is_some());
    within(20, || (!left()).then_some(())).is_some()
}

/// Whether the process has the same environment as the command.
fn is_plain(pid: &Value, command: &Command) -> bool {
    let Ok(bytes) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let mut wanted: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wanted.insert(name.to_owned(), value.to_owned()),
            None => wanted.remove(name),
        };
    }
    let mut entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).map(|entry| {
        let mut parts = entry.splitn(2, |byte| *byte == b'=').map(|part| OsString::from_vec(part.to_vec()));
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    });
    entries.all(|(name, value)| wanted.get(&name) == Some(&value))
}
