//! The host's Python interpreters for process machines. Each image gets one of its own version, if the host has it (on `PATH`,
//! from uv or from pyenv), else the `python3` on `PATH`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::base::child;
use crate::base::error::{Failure, Result};
use crate::config::Image;

/// The oldest Python of all supported images. The agent supports it.
const OLDEST: (u32, u32) = (3, 9);

/// A Python interpreter: the real executable, not a shim or a virtual environment.
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
        let missing =
            |why: String| Failure::failed("the sandbox needs python3 for its machines").because(why).next(advice);
        let asked = ask(Path::new("python3")).await;
        let said = asked.map_err(|error| missing(format!("python3 cannot be started: {error}")))?;
        let found = parse(&said).ok_or_else(|| missing("the python3 on PATH does not answer".to_owned()))?;
        if found.version < OLDEST {
            let (major, minor) = found.version;
            return Err(missing(format!("the python3 on PATH is {major}.{minor}")));
        }
        Ok(found)
    }

    /// Interpreters for the other versions of the images, as far as the host has them.
    pub async fn others(&self) -> Vec<Self> {
        let mut others: Vec<Self> = Vec::new();
        for wanted in Image::ALL.map(|image| version(image.python()).unwrap_or(OLDEST)) {
            if self.version == wanted || others.iter().any(|other| other.version == wanted) {
                continue;
            }
            for candidate in candidates(wanted) {
                let found = ask(&candidate).await.ok().and_then(|said| parse(&said));
                if let Some(found) = found.filter(|found| found.version == wanted) {
                    others.push(found);
                    break;
                }
            }
        }
        others
    }
}

/// Asks an interpreter for its path and version. In a virtual environment this is the base, which has no installed packages.
async fn ask(python: &Path) -> std::io::Result<String> {
    let program = "import sys; print(getattr(sys, '_base_executable', None) or sys.executable); \
                   print(*sys.version_info[:2], sep='.')";
    let output = child::command(python).args(["-I", "-c", program]).stdin(Stdio::null()).output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Possible places of an interpreter: `PATH`, and the folders of uv and pyenv.
fn candidates((major, minor): (u32, u32)) -> Vec<PathBuf> {
    let name = format!("python{major}.{minor}");
    let home = std::env::home_dir().unwrap_or_default();
    let given = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = given("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
    let uv = given("UV_PYTHON_INSTALL_DIR").unwrap_or_else(|| data.join("uv/python"));
    let pyenv = given("PYENV_ROOT").unwrap_or_else(|| home.join(".pyenv")).join("versions");
    let within = |folder: PathBuf, start: String| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let fits = |entry: &fs::DirEntry| {
            let rest = entry.file_name().to_string_lossy().strip_prefix(&start).map(str::to_owned);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
        };
        let mut found: Vec<PathBuf> = entries.filter(fits).map(|entry| entry.path().join("bin").join(&name)).collect();
        found.sort();
        found.into_iter().rev()
    };
    let mut all: Vec<PathBuf> = child::program(&name).into_iter().collect();
    all.extend(within(uv, format!("cpython-{major}.{minor}")));
    all.extend(within(pyenv, format!("{major}.{minor}")));
    all
}

/// The interpreter of that version, else the first one.
pub(super) fn for_version<'a>(pythons: &'a [Python], wanted: &str) -> &'a Python {
    let wanted = version(wanted).ok();
    pythons.iter().find(|python| Some(python.version) == wanted).unwrap_or(&pythons[0])
}

/// The interpreter for an image, by its name in emulator/images.json.
pub(super) fn of_image<'a>(pythons: &'a [Python], name: &str) -> &'a Python {
    let of = |image: &Image| name.starts_with(&format!("devopsctl-{}-", image.process()));
    // The name of the default image is a prefix of all others.
    let image = Image::ALL.into_iter().rev().find(of).unwrap_or(Image::ALL[0]);
    for_version(pythons, image.python())
}

/// Parses a version and a path such as `3.13=/usr/bin/python3.13`.
pub(super) fn given(text: &str) -> Result<Python, String> {
    let (number, path) = text.split_once('=').ok_or_else(|| format!("{text} is not a version and a path"))?;
    Ok(Python { path: path.into(), version: version(number)? })
}

impl super::ServeArgs {
    /// The interpreters for process machines, the default first.
    pub(super) fn pythons(&self) -> Vec<Python> {
        let first = Python { path: self.python.clone(), version: self.python_version };
        std::iter::once(first).chain(self.other_python.iter().cloned()).collect()
    }
}

impl super::Handle {
    /// The interpreter for that version.
    pub fn python_for(&self, wanted: &str) -> &Python {
        for_version(&self.pythons, wanted)
    }
}

fn parse(said: &str) -> Option<Python> {
    let mut lines = said.lines();
    let path = lines.next().filter(|line| line.starts_with('/'))?;
    Some(Python { path: path.into(), version: version(lines.next()?).ok()? })
}

/// Parses a version such as 3.11.
pub(super) fn version(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text} is not a version of Python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_gets_its_version_if_the_host_has_it() {
        let python = |minor| Python { path: format!("/usr/bin/python3.{minor}").into(), version: (3, minor) };
        let pythons = [python(11), given("3.12=/usr/bin/python3.12").unwrap(), python(9)];
        let version = |name| of_image(&pythons, name).version;
        assert_eq!(version("devopsctl-process-ubuntu-24.04-x86_64"), (3, 12));
        assert_eq!(version("devopsctl-process-al2023-arm64"), (3, 9));
        assert_eq!(version("devopsctl-process-x86_64"), (3, 11), "none here has its version");
        assert!(given("3.12").is_err() && given("x=/usr/bin/python3").is_err());
    }

    #[test]
    fn an_answer_is_a_path_and_a_version() {
        let python = parse("/usr/bin/python3.11\n3.11\n").unwrap();
        assert_eq!((python.path.to_str(), python.version), (Some("/usr/bin/python3.11"), (3, 11)));
        assert!(parse("").is_none());
        assert!(parse("python3\n3.11\n").is_none());
    }
}
