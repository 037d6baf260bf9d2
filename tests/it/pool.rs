//! Sandboxes that one test hands on to the next. To start one takes six seconds of a processor, most of them moto's; to empty
//! one takes a tenth of that.
//!
//! Only a sandbox that is as any other test would start it is handed on, and only when nothing of its test is left. A test
//! of the sandbox's own life takes [`Project::alone`](crate::project::Project::alone).

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

use crate::http::{client, runtime};
use crate::project::within;

/// Folders in which a sandbox runs that holds nothing.
static READY: Mutex<Vec<(Machines, TempDir)>> = Mutex::new(Vec::new());
/// Removes folders when this process has ended, however it ends: nothing drops what is static.
static REMOVER: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let mut command = Command::new("sh");
    // Once more after a while: the sandbox takes a moment to notice that its owner is gone.
    let script = "while read -r folder; do set -- \"$@\" \"$folder\"; done; rm -rf \"$@\"; sleep 3; rm -rf \"$@\"";
    // A process group of its own, so that Ctrl-C does not reach it.
    Mutex::new(command.args(["-c", script]).stdin(Stdio::piped()).process_group(0).spawn().unwrap())
});

/// A folder with such a sandbox that holds nothing, if there is one.
pub fn take(machines: Machines) -> Option<TempDir> {
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    let place = ready.iter().position(|(kind, _)| *kind == machines)?;
    Some(ready.swap_remove(place).1)
}

/// Hands it on.
pub fn give(machines: Machines, root: TempDir) {
    let mut remover = REMOVER.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(remover.stdin.as_mut().unwrap(), "{}", root.path().display()).unwrap();
    READY.lock().unwrap_or_else(PoisonError::into_inner).push((machines, root));
}

/// Empties the sandbox below `state`, if one runs there that is as this command would start it: what its machines are.
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
    let log = fs::OpenOptions::new().write(true).truncate(true).open(folder.join("front.log"));
    let emptied = log.is_ok() && tell("latency/0") && tell("line/0") && tell("emulator/reset");
    (emptied && gone(&folder.join("machines"))).then_some(machines)
}

/// Waits until the folders of the machines are removed: the sandbox notices only then that their instances are gone.
fn gone(machines: &Path) -> bool {
    let left = || fs::read_dir(machines).is_ok_and(|mut folders| folders.next().is_some());
    within(20, || (!left()).then_some(())).is_some()
}

/// Whether that process was started with just the environment that the command has.
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
