//! Finds uv, which installs Python packages for releases and for the sandbox.
//!
//! uv is taken from `PATH`; where it is not there, the user's own pip puts a pinned one into the cache folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Failure, Result};
use crate::{child, dirs};

/// The version that is installed where there is none.
const PINNED: &str = "0.13.9";

/// A uv that answers.
#[derive(Clone, Debug)]
pub struct Uv {
    program: PathBuf,
}

impl Uv {
    /// Finds uv, or installs it with pip.
    ///
    /// # Errors
    /// When there is neither uv nor a pip that can install it.
    pub async fn find() -> Result<Self> {
        let cached = cached()?;
        if let Some((program, _)) = look(&cached).await {
            return Ok(Self { program });
        }
        install(&cached).await?;
        Ok(Self { program: cached.join("bin/uv") })
    }

    /// What the uv that [`Uv::find`] would find says it is; nothing is installed.
    pub async fn there() -> Option<String> {
        look(&cached().ok()?).await.map(|(_, version)| version)
    }

    /// A uv command that reads nothing from the terminal.
    pub fn command(&self) -> Command {
        let mut command = child::command(&self.program);
        command.stdin(Stdio::null()).env("UV_NO_PROGRESS", "1").kill_on_drop(true);
        command
    }
}

/// What to do where there is neither.
pub const ADVICE: &str =
    "install uv (pipx install uv, or see docs.astral.sh/uv), or Python's pip (Debian: apt install python3-pip)";

/// Whether there is a pip that could install it.
pub async fn pip() -> bool {
    version(child::command("python3").args(["-m", "pip"])).await.is_some()
}

fn cached() -> Result<PathBuf> {
    Ok(dirs::cache()?.join(format!("uv-{PINNED}")))
}

async fn look(cached: &Path) -> Option<(PathBuf, String)> {
    for program in [PathBuf::from("uv"), cached.join("bin/uv")] {
        if let Some(version) = version(&mut child::command(&program)).await {
            return Some((program, version));
        }
    }
    None
}

async fn version(command: &mut Command) -> Option<String> {
    let output = command.arg("--version").stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What uv says of a failure. Versions that do not go together it explains in lines of a width of its own.
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
    let output = child::command("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
            "--only-binary",
            ":all:",
            "--target",
        ])
        .arg(target)
        .arg(format!("uv=={PINNED}"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Failure::failed("neither uv nor python3 is on this machine").because(error.to_string()).next(ADVICE)
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed("uv is not on this machine, and pip cannot install it")
        .because(said.trim().lines().last().unwrap_or("pip says nothing").to_owned())
        .next(ADVICE))
}
