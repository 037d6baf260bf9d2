//! Resolves and installs the requirements with uv.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::lock::{is_whole, packages_line, packages_of, sealed};
use super::{Requirements, refusals, servers, sources};
use crate::aws::Target;
use crate::base::child;
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Exit, Failure, Result};
use crate::base::toml_file::PROJECT;
use crate::base::uv::{self, Uv};
use crate::release::local::Local;
use crate::release::wheels;

/// The result of an installation.
pub struct Installed {
    /// The list of the packages, for uv.
    pub list: PathBuf,
    /// Whether the cached lock was damaged, so that the requirements were resolved again.
    pub resolved_anew: bool,
}

/// Installs the requirements into `work/site`.
pub async fn install(requirements: &Requirements, target: &Target, work: &Path) -> Result<Installed> {
    let install =
        Install { uv: Uv::find().await?, requirements, target, site: work.join("site"), tree: work.join("tree") };
    let file = requirements.local.stage(&install.tree, &requirements.read)?;
    let (mut damaged, mut list) = (false, file.clone());
    if requirements.hashed() {
        install.run(install.pip_install().arg("--require-hashes").arg("-r").arg(&file)).await?;
        install.servers().await?;
    } else {
        let file_of_lock = requirements.lock(target)?;
        let known = fs::read_to_string(&file_of_lock).ok();
        let whole = known.as_deref().filter(|text| is_whole(text));
        damaged = known.is_some() && whole.is_none();
        let packages = packages_line(&requirements.local.metadata()?);
        let text = match whole {
            Some(text) if packages_of(text) == packages => text.to_owned(),
            // The requirements of a local package may have changed; all other versions are kept.
            _ => install.resolve(&file, &file_of_lock, whole, &packages).await?,
        };
        list = write_list(requirements, &Local::to_install(&text, &install.tree), work, &install.tree)?;
        install.run(install.pip_install().arg("--no-deps").arg("-r").arg(&list)).await?;
    }
    check_tags(&install.site, target)?;
    Ok(Installed { list, resolved_anew: damaged })
}

/// Writes the packages of a lock as a file for uv, with the indexes, which a lock does not name.
fn write_list(requirements: &Requirements, lock: &str, work: &Path, tree: &Path) -> Result<PathBuf> {
    let (list, text) = match sources::project(&requirements.file, lock) {
        Some(project) => (work.join("lock").join(PROJECT), project),
        None => (work.join("lock.txt"), requirements.local.indexes(tree) + lock),
    };
    let written = fs::create_dir_all(list.parent().unwrap_or(work)).and_then(|()| fs::write(&list, text));
    written.map_err(|error| unwritable(&list, &error))?;
    Ok(list)
}

/// The calls of uv for a release.
struct Install<'a> {
    uv: Uv,
    requirements: &'a Requirements,
    target: &'a Target,
    site: PathBuf,
    /// The copy of the requirements and of the local packages.
    tree: PathBuf,
}

impl Install<'_> {
    /// Installs the servers that the requirements do not contain.
    async fn servers(&self) -> Result<()> {
        let mut result = Ok(());
        for wanted in self.requirements.servers(self.target) {
            let missing = servers::missing(&self.site, &wanted);
            if missing.is_empty() {
                return Ok(());
            }
            result = self.run(self.pip_install().args(missing)).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Resolves the requirements into `lock`, and keeps the versions in `before` if possible.
    async fn resolve(&self, file: &Path, lock: &Path, before: Option<&str>, packages: &str) -> Result<String> {
        let Self { requirements, target, .. } = self;
        let folder = lock.parent().unwrap_or(lock);
        dirs::private(folder)?;
        let draft = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(folder, &error))?;
        // uv keeps the versions in its output file.
        let pins = before.unwrap_or_default().lines().filter(|line| !line.contains("file://"));
        fs::write(draft.path(), pins.map(|line| format!("{line}\n")).collect::<String>())
            .map_err(|error| unwritable(folder, &error))?;
        let mut result = Ok(());
        for servers in requirements.servers(target) {
            result = self.compile(file, draft.path(), &servers).await;
            if result.is_ok() {
                break;
            }
        }
        result?;
        let text = fs::read_to_string(draft.path()).map_err(|error| unwritable(folder, &error))?;
        if !requirements.builds {
            wheels::check_resolved(&requirements.file, &self.as_here(&text))?;
        }
        servers::check(&requirements.file, &text, requirements.asgi)?;
        let text = requirements.local.resolved(&requirements.file, &text, &self.tree)?;
        let text = sealed(&format!("{packages}{text}"));
        dirs::write(lock, text.as_bytes()).map_err(|error| unwritable(lock, &error))?;
        Ok(text)
    }

    /// Resolves the requirements and those for the servers into the file `output`.
    async fn compile(&self, file: &Path, output: &Path, servers: &[String]) -> Result<()> {
        let folder = output.parent().unwrap_or(output);
        let mut extra =
            tempfile::Builder::new().suffix(".in").tempfile_in(folder).map_err(|error| unwritable(folder, &error))?;
        std::io::Write::write_all(&mut extra, servers.join("\n").as_bytes())
            .map_err(|error| unwritable(folder, &error))?;
        let mut constraints = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(folder, &error))?;
        std::io::Write::write_all(&mut constraints, self.requirements.pins().as_bytes())
            .map_err(|error| unwritable(folder, &error))?;
        let mut command = self.uv.command();
        command.args(["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--output-file"]).arg(output);
        aim(&mut command, self.requirements, self.target);
        self.run(command.arg("--constraint").arg(constraints.path()).arg(file).arg(extra.path())).await
    }

    fn pip_install(&self) -> Command {
        let mut command = self.uv.command();
        command.args(["pip", "install", "--quiet", "--link-mode", "copy", "--target"]).arg(&self.site);
        aim(&mut command, self.requirements, self.target);
        command
    }

    /// The text with the original paths instead of those of the copy.
    fn as_here(&self, said: &str) -> String {
        said.replace(&*self.tree.to_string_lossy(), "")
    }

    async fn run(&self, command: &mut Command) -> Result<()> {
        let refused = |said: String| refusals::of_release(self.requirements, self.target, &self.as_here(&said));
        uv::run(command).await?.map_err(refused)
    }
}

fn aim(command: &mut Command, requirements: &Requirements, target: &Target) {
    // uv's settings are those of the app, not those of the working directory.
    command.arg("--project").arg(requirements.folder());
    match target {
        Target::Image { python, platform } => command.args(["--python-version", python, "--python-platform", platform]),
        Target::Host { python, .. } => command.arg("--python").arg(python),
    };
    if requirements.builds {
        return;
    }
    command.arg("--no-build");
    if let Target::Image { .. } = target {
        // uv runs a Python to inspect it, and would use one from a `.venv`, which may be a program of the project.
        match child::program("python3") {
            Some(python) => command.arg("--python").arg(python),
            None => command.arg("--system"),
        };
    }
}

/// Checks the tags of the installed wheels: a source distribution with compiled code is built for this machine and not for the target.
fn check_tags(site: &Path, target: &Target) -> Result<()> {
    let Target::Image { python, platform } = target else { return Ok(()) };
    let entries = fs::read_dir(site).map_err(|error| unwritable(site, &error))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(wheel) = fs::read_to_string(path.join("WHEEL")) else { continue };
        let tags: Vec<&str> = wheel.lines().filter_map(|line| line.strip_prefix("Tag: ")).collect();
        if !tags.is_empty() && !tags.iter().any(|tag| is_portable(tag)) {
            let package = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Failure::new(Exit::Usage, format!("{package} has no wheel for Python {python} on {platform}"))
                .because("it needs to be compiled, and code compiled on this machine may not run on the instance")
                .standing("Nothing was changed in AWS.")
                .next("pin a version that has wheels, or choose another instance.image"));
        }
    }
    Ok(())
}

/// Whether a wheel with this tag is portable. A wheel that was built on this machine has a tag `linux_*` or `macosx_*`.
fn is_portable(tag: &str) -> bool {
    let platform = tag.rsplit('-').next().unwrap_or(tag);
    platform == "any" || platform.contains("manylinux") || platform.contains("musllinux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_built_on_this_machine_are_not_portable() {
        assert!(is_portable("py3-none-any"));
        assert!(is_portable("cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64"));
        assert!(!is_portable("cp311-cp311-linux_x86_64"));
        assert!(!is_portable("cp313-cp313-macosx_14_0_arm64"));
    }
}
