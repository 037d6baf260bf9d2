//! Finds uv, which installs Python packages for releases and for the sandbox.
//!
//! uv comes from `PATH`. If it is missing or too old, the user's own pip installs a pinned one into the cache folder.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::base::error::{Failure, Result};
use crate::base::logins::masked;
use crate::base::{child, dirs};

/// The version to install, and the oldest one to accept: `release/wheels.rs` relies on how this version reads its settings.
const PINNED: [u32; 3] = [0, 13, 9];

/// A uv that runs.
#[derive(Clone, Debug)]
pub struct Uv {
    program: PathBuf,
}

impl Uv {
    /// Finds uv, or installs it with pip.
    pub async fn find() -> Result<Self> {
        let cached = cached()?;
        if let Some((program, _)) = look(&cached).await {
            return Ok(Self { program });
        }
        install(&cached).await?;
        Ok(Self { program: cached.join("bin/uv") })
    }

    /// The version of the uv that [`Uv::find`] would use; nothing is installed.
    pub async fn there() -> Option<String> {
        look(&cached().ok()?).await.map(|(_, version)| version)
    }

    /// A uv command that reads nothing from the terminal.
    pub fn command(&self) -> Command {
        let mut command = child::command(&self.program);
        command.envs(child::installer_settings()).envs(of_pip(|name| env::var_os(name)));
        command.env("UV_NO_PROGRESS", "1").stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Runs a command of uv. The inner error is what uv printed, without logins.
///
/// # Errors
/// It cannot be started.
pub async fn run(command: &mut Command) -> Result<Result<(), String>> {
    let output = command.output().await.map_err(|error| {
        Failure::failed("cannot start uv")
            .because(error.to_string())
            .next("install uv, then run the same command again")
    })?;
    match output.status.success() {
        true => Ok(Ok(())),
        false => Ok(Err(masked(&String::from_utf8_lossy(&output.stderr)))),
    }
}

/// The variables with uv's indexes: the default one, and the others.
const INDEXES: [[&str; 2]; 2] = [["UV_DEFAULT_INDEX", "UV_INDEX_URL"], ["UV_INDEX", "UV_EXTRA_INDEX_URL"]];
/// pip's variables for the same.
const OF_PIP: [&str; 2] = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"];

/// The indexes of pip's variables as settings of uv, unless uv has its own. uv does not read them
/// (<https://docs.astral.sh/uv/pip/compatibility/>), and would take a public package that has the name of a private one.
fn of_pip(get: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let get = |name: &str| get(name).filter(|value| !value.is_empty());
    let index = |([name, other], pip): ([&'static str; 2], &str)| match (get(name), get(other)) {
        (None, None) => Some((name, get(pip)?)),
        _ => None,
    };
    INDEXES.into_iter().zip(OF_PIP).filter_map(index).collect()
}

/// The indexes in the environment, without logins: another index can have other versions.
pub fn indexes() -> String {
    let names = INDEXES.into_iter().flatten().chain(OF_PIP);
    let values = names.filter_map(|name| Some(format!("{name}={}\n", env::var(name).ok()?)));
    masked(&values.collect::<String>())
}

/// What to do if there is neither uv nor pip.
pub const ADVICE: &str =
    "install uv (pipx install uv, or see docs.astral.sh/uv), or Python's pip (Debian: apt install python3-pip)";

/// Whether there is a pip that could install uv.
pub async fn pip() -> bool {
    said(&mut pip_command()).await.is_some()
}

fn cached() -> Result<PathBuf> {
    Ok(dirs::cache()?.join(format!("uv-{}", pinned())))
}

fn pinned() -> String {
    PINNED.map(|part| part.to_string()).join(".")
}

/// Runs pip without the working folder on `sys.path`: a project could contain a module `pip`.
const PIP: &str = "import sys; sys.path.remove(''); from runpy import run_module; \
                   run_module('pip', run_name='__main__', alter_sys=True)";

fn pip_command() -> Command {
    let mut command = child::command("python3");
    command.args(["-c", PIP]).envs(child::installer_settings());
    command
}

async fn look(cached: &Path) -> Option<(PathBuf, String)> {
    for program in [PathBuf::from("uv"), cached.join("bin/uv")] {
        let version = said(&mut child::command(&program)).await;
        if let Some(version) = version.filter(|version| recent(version)) {
            return Some((program, version));
        }
    }
    None
}

/// The program's output for `--version`.
async fn said(command: &mut Command) -> Option<String> {
    let output = command.arg("--version").stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the output, such as `uv 0.13.9 (x86_64-unknown-linux-gnu)`, is of the pinned version or a later one.
fn recent(version: &str) -> bool {
    let number = version.strip_prefix("uv ").and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let parts: Vec<u32> = number.split(['.', '+', '-']).map_while(|part| part.parse().ok()).collect();
    parts.as_slice() >= PINNED.as_slice()
}

/// uv's error message. uv wraps its explanation of a version conflict to a width of its own; this undoes it.
pub fn words(said: &str) -> String {
    let said = said.trim().trim_start_matches("error: ").trim_start_matches('×').trim();
    if !said.starts_with("No solution found") {
        return said.to_owned();
    }
    let paragraph = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = said.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n");
    text.replacen(" cause: ", ": ", 1).replacen(": ╰─▶ ", ": ", 1)
}

async fn install(target: &Path) -> Result<()> {
    let output = pip_command()
        .args(["install", "--quiet", "--disable-pip-version-check", "--upgrade", "--only-binary", ":all:", "--target"])
        .arg(target)
        .arg(format!("uv=={}", pinned()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Failure::failed("neither uv nor python3 is installed on this machine")
                .because(error.to_string())
                .next(ADVICE)
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!(
        "uv {} or newer is not installed on this machine, and pip cannot install it",
        pinned()
    ))
    .because(masked(said.trim().lines().last().unwrap_or("pip printed nothing")))
    .next(ADVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_indexes_count_unless_uv_has_its_own() {
        let settings = |set: &[(&str, &str)]| -> Vec<(&'static str, OsString)> {
            of_pip(|name| set.iter().find(|(one, _)| *one == name).map(|(_, value)| value.into()))
        };
        let pip = [("PIP_INDEX_URL", "https://a"), ("PIP_EXTRA_INDEX_URL", "https://b https://c")];
        let both = [("UV_DEFAULT_INDEX", "https://a".into()), ("UV_INDEX", "https://b https://c".into())];
        assert_eq!(settings(&pip), both);
        assert_eq!(settings(&[pip[0], pip[1], ("UV_INDEX_URL", "https://d")]), both[1..]);
        assert_eq!(settings(&[pip[0], pip[1], ("UV_EXTRA_INDEX_URL", "https://d")]), both[..1]);
        assert_eq!(settings(&[pip[0], ("UV_INDEX_URL", "")]), both[..1]);
        assert_eq!(settings(&[]), []);
    }

    #[test]
    fn an_old_uv_is_not_used() {
        for version in ["uv 0.13.9", "uv 0.13.10 (abc 2026-11-01)", "uv 0.14.0", "uv 1.0.0-rc1", "uv 0.13.9+1 (x)"] {
            assert!(recent(version), "{version}");
        }
        for version in ["uv 0.13.8 (abc)", "uv 0.9.30", "uv 0.13", "uv", "", "uv x", "0.14.0", "uvx 1.0.0"] {
            assert!(!recent(version), "{version}");
        }
    }
}
