//! The host's own Python, which stands for the one on a machine's image.

use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::child;
use crate::error::{Failure, Result};

/// The oldest Python that any supported image has, so the agent is written for it.
const OLDEST: (u32, u32) = (3, 9);

/// A Python interpreter: the real file, not a shim or a virtual environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Python {
    /// Its executable.
    pub path: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Python {
    /// The `python3` on `PATH`.
    ///
    /// # Errors
    /// When there is none, or it is older than 3.9.
    pub async fn find() -> Result<Self> {
        let advice = "install Python 3.9 or newer (Debian: apt install python3; macOS: brew install python)";
        let missing = |why: String| {
            Failure::failed("the sandbox needs python3, which stands for the one on a machine")
                .because(why)
                .next(advice)
        };
        // In a virtual environment the base is what a machine would have: no packages but its own.
        let program = "import sys; print(getattr(sys, '_base_executable', None) or sys.executable); \
                       print(*sys.version_info[:2], sep='.')";
        let asked = child::command("python3").args(["-I", "-c", program]).stdin(Stdio::null()).output().await;
        let output = asked.map_err(|error| missing(format!("python3 cannot be started: {error}")))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found = parse(&said).ok_or_else(|| missing("the python3 on PATH does not answer".to_owned()))?;
        if found.version < OLDEST {
            let (major, minor) = found.version;
            return Err(missing(format!("the python3 on PATH is {major}.{minor}")));
        }
        Ok(found)
    }
}

fn parse(said: &str) -> Option<Python> {
    let mut lines = said.lines();
    let path = lines.next().filter(|line| line.starts_with('/'))?;
    Some(Python { path: path.into(), version: version(lines.next()?).ok()? })
}

/// A version such as 3.11.
pub(super) fn version(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text} is no version of Python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_path_and_a_version() {
        let python = parse("/usr/bin/python3.11\n3.11\n").unwrap();
        assert_eq!((python.path.to_str(), python.version), (Some("/usr/bin/python3.11"), (3, 11)));
        assert!(parse("").is_none());
        assert!(parse("python3\n3.11\n").is_none());
    }
}
