//! The app's dependencies, resolved once and installed for the target by uv.

mod environment;
mod install;
mod lock;
mod logins;
mod refusals;
mod servers;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::local::Local;
use super::projects::{self, PIPFILE};
use super::{text, wheels};
use crate::aws::Target;
use crate::base::digest::hex;
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Exit, Failure, Result};
use crate::base::toml_file::{self, PROJECT, at};
use crate::base::uv;
use crate::config::App;
pub use environment::create as environment;
pub use install::{Installed, install};

/// The requirements file, and the files beside it that it may refer to.
#[derive(Debug)]
pub struct Requirements {
    file: PathBuf,
    /// The file for uv: another one if uv cannot read this file.
    read: PathBuf,
    text: String,
    /// The project's lock file, and the versions in it as constraints.
    locked: Option<(PathBuf, Vec<String>)>,
    around: Vec<u8>,
    /// Whether to build packages, which runs their code on this machine.
    builds: bool,
    /// The packages that they name by a path.
    local: Local,
    /// Whether the app is ASGI.
    asgi: bool,
}

impl Requirements {
    /// Finds the file: the one that `deploy.yaml` names, else requirements.txt, else pyproject.toml, else Pipfile.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn find(app: &App, asgi: bool) -> Result<Self> {
        let candidates = ["requirements.txt", PROJECT, PIPFILE].map(PathBuf::from);
        let named = app
            .requirements
            .iter()
            .chain(candidates.iter())
            .map(|name| app.path.join(name))
            .find(|path| path.is_file() && !(is_settings(path) && app.path.join(PIPFILE).is_file()));
        let Some(file) = named else {
            return Err(Failure::new(Exit::Usage, format!("{} has no requirements", app.path.display()))
                .because("it contains neither a requirements.txt nor a pyproject.toml nor a Pipfile")
                .next(
                    "write a requirements.txt that lists the packages the app imports, for example one line: flask",
                ));
        };
        let read = || -> std::io::Result<(String, Vec<u8>)> {
            let text = text::decode(&fs::read(&file)?).map_err(std::io::Error::other)?;
            let mut beside: Vec<PathBuf> =
                fs::read_dir(&app.path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            beside.retain(|path| {
                path.is_file() && path.extension().is_some_and(|end| end == "txt" || end == "in" || end == "toml")
            });
            beside.sort();
            let mut around = Vec::new();
            for path in beside {
                around.extend(fs::read(path)?);
            }
            Ok((text, around))
        };
        let (text, mut around) = read().map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot read {}", file.display()))
                .because(error.to_string())
                .next("make it a readable text file")
        })?;
        let (read, text) = lines(&file, text)?;
        let own = [PROJECT, PIPFILE].iter().any(|name| file.file_name().is_some_and(|file| file == *name));
        let locked = if own { locked(&app.path)? } else { None };
        let pins = locked.iter().flat_map(|(_, pins)| pins);
        around.extend([&text].into_iter().chain(pins).flat_map(|line| format!("{line}\n").into_bytes()));
        if !app.build_dependencies {
            around.extend(wheels::check(app, &read, &text)?);
        }
        let local = Local::find(&read, &text)?;
        logins::check(&app.path, &local)?;
        servers::check(&file, &text, asgi)?;
        local.requirements().try_for_each(|(file, text)| servers::check(file, text, asgi))?;
        if app.build_dependencies {
            let included = local.requirements().filter(|(included, _)| *included != read);
            around.extend(included.flat_map(|(_, text)| text.bytes()));
        }
        Ok(Self { file, read, text, locked, around, builds: app.build_dependencies, local, asgi })
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The folder of the file, from which uv looks for its settings.
    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Whether they list this package; dashes, dots and underscores are equivalent.
    pub fn mentions(&self, package: &str) -> bool {
        let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
        let other = |c: char| !c.is_alphanumeric() && !"-_.".contains(c);
        let code = self.text.lines().map(|line| line.split('#').next().unwrap_or_default());
        code.flat_map(|line| line.split(other)).any(|word| plain(word) == plain(package))
    }

    /// Whether the app is ASGI.
    pub fn is_asgi(&self) -> bool {
        self.asgi
    }

    /// The constraints for uv.
    fn pins(&self) -> String {
        self.locked.as_ref().map(|(_, pins)| pins.join("\n")).unwrap_or_default()
    }

    /// How to correct them.
    fn correction(&self) -> String {
        let file = self.file.display();
        let Some((lock, _)) = &self.locked else { return format!("correct {file}, then run the same command again") };
        let tool = match lock.file_name().and_then(|name| name.to_str()) {
            Some("poetry.lock") => "poetry",
            Some("pdm.lock") => "pdm",
            Some("Pipfile.lock") => "pipenv",
            _ => "uv",
        };
        format!(
            "if {} is older than {file}, update it with `{tool} lock`; else correct {file}; then run the same command again",
            lock.display()
        )
    }

    fn hashed(&self) -> bool {
        self.text.contains("--hash=")
    }

    /// The local packages.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The requirements for the servers, the preferred ones first.
    fn servers(&self, target: &Target) -> Vec<Vec<String>> {
        let listed = format!("{}\n{}\n{}", self.text, self.local.text(), self.pins());
        servers::wanted(target, self.asgi, &listed)
    }

    /// A hash of the requirements and the target.
    pub fn lock_key(&self, target: &Target) -> String {
        let mut hash = Sha256::new();
        // If builds are allowed, requirements resolve to other versions.
        let builds = if self.builds { "builds" } else { "wheels" };
        let servers = servers::wanted(target, self.asgi, "").concat().join("\n");
        hash.update(format!("{target:?}\n{servers}\n{builds}\n{}", uv::indexes()));
        hash.update(self.file.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default());
        hash.update(&self.around);
        hex(&hash.finalize())
    }

    /// The cached lock; empty if there is none.
    pub fn lock_state(&self, target: &Target) -> Result<String> {
        Ok(fs::read_to_string(self.lock(target)?).ok().filter(|text| lock::is_whole(text)).unwrap_or_default())
    }

    /// Deletes the cached lock, so that unpinned requirements are resolved again.
    pub fn forget(&self, target: &Target) -> Result<()> {
        let lock = self.lock(target)?;
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(&lock, &error)),
            _ => Ok(()),
        }
    }

    fn lock(&self, target: &Target) -> Result<PathBuf> {
        Ok(dirs::cache()?.join("locks").join(format!("{}.txt", self.lock_key(target))))
    }
}

/// Whether a `pyproject.toml` has only settings of tools.
fn is_settings(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == PROJECT)
        && toml_file::read(file)
            .is_some_and(|table| at(&table, &["project"]).is_none() && at(&table, &["tool", "poetry"]).is_none())
}

/// The file that uv reads, and its text: the file itself, or the lines of a requirements file that stand for it.
fn lines(file: &Path, text: String) -> Result<(PathBuf, String)> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match projects::requirements(&name, &text) {
        None => Ok((file.to_owned(), text)),
        Some(Ok(lines)) => Ok((file.with_file_name(format!("{name}.txt")), lines.join("\n"))),
        Some(Err(why)) => Err(Failure::new(Exit::Usage, format!("cannot read the requirements in {}", file.display()))
            .because(why)
            .standing("Nothing was changed in AWS.")
            .next("write a requirements.txt beside it, which is used instead")),
    }
}

/// The project's lock file, and the versions in it.
fn locked(folder: &Path) -> Result<Option<(PathBuf, Vec<String>)>> {
    let Some(file) = projects::lock(folder) else { return Ok(None) };
    let text = fs::read_to_string(&file).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read {}", file.display()))
            .because(error.to_string())
            .next("make it a readable text file, or remove it")
    })?;
    let pins = projects::pins(&file.file_name().unwrap_or_default().to_string_lossy(), &text);
    Ok(Some((file, pins)))
}
