//! The app's dependencies, resolved once and installed for the target by uv.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::local::Local;
use super::{text, wheels};
use crate::aws::Target;
use crate::base::child;
use crate::base::digest::{hex, sha256};
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Exit, Failure, Result, command};
use crate::base::uv::{self, Uv};
use crate::config::App;

/// The file that names the dependencies, and whatever lies beside it that it may refer to.
#[derive(Debug)]
pub struct Requirements {
    file: PathBuf,
    text: String,
    around: Vec<u8>,
    /// Whether packages may be built, which runs their code here.
    builds: bool,
    /// What they name by a path.
    local: Local,
}

impl Requirements {
    /// Finds the file: as named in `deploy.yaml`, else requirements.txt, else pyproject.toml.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(app: &App) -> Result<Self> {
        let candidates = ["requirements.txt", "pyproject.toml"].map(PathBuf::from);
        let named = app
            .requirements
            .iter()
            .chain(candidates.iter())
            .map(|name| app.path.join(name))
            .find(|path| path.is_file());
        let Some(file) = named else {
            return Err(Failure::new(Exit::Usage, format!("{} has no requirements", app.path.display()))
                .because("there is neither a requirements.txt nor a pyproject.toml in it")
                .next("write a requirements.txt that names what the app imports, for example one line: flask"));
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
                .next("make it readable text")
        })?;
        if !app.build_dependencies {
            around.extend(wheels::check(app, &file, &text)?);
        }
        let local = Local::find(&file, &text)?;
        check_gunicorn(&file, &text)?;
        local.requirements().try_for_each(|(file, text)| check_gunicorn(file, text))?;
        if app.build_dependencies {
            let included = local.requirements().filter(|(included, _)| *included != file);
            around.extend(included.flat_map(|(_, text)| text.bytes()));
        }
        Ok(Self { file, text, around, builds: app.build_dependencies, local })
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether a package of this name is asked for; a dash, a dot and an underscore are the same in one.
    pub fn mentions(&self, package: &str) -> bool {
        let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
        let other = |c: char| !c.is_alphanumeric() && !"-_.".contains(c);
        let code = self.text.lines().map(|line| line.split('#').next().unwrap_or_default());
        code.flat_map(|line| line.split(other)).any(|word| plain(word) == plain(package))
    }

    fn hashed(&self) -> bool {
        self.text.contains("--hash=")
    }

    /// The local packages.
    pub fn local(&self) -> &Local {
        &self.local
    }

    fn names_gunicorn(&self) -> bool {
        names_gunicorn(&self.text) || names_gunicorn(&self.local.text())
    }

    /// Names the requirements for a target: the same for the same text.
    pub fn lock_key(&self, target: &Target) -> String {
        let mut hash = Sha256::new();
        // Requirements resolve to other versions where builds are allowed.
        let builds = if self.builds { "builds" } else { "wheels" };
        hash.update(format!("{target:?}\n{}\n{builds}\n", gunicorn(target)));
        hash.update(self.file.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default());
        hash.update(&self.around);
        hex(&hash.finalize())
    }

    /// What the requirements resolved to, if they were resolved before.
    ///
    /// # Errors
    /// When the cache cannot be found.
    pub fn lock_state(&self, target: &Target) -> Result<String> {
        Ok(fs::read_to_string(self.lock(target)?).ok().filter(|text| is_whole(text)).unwrap_or_default())
    }

    /// Has unpinned requirements resolved anew.
    ///
    /// # Errors
    /// When the cache cannot be written.
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

/// gunicorn where the app does not name it: the newest that the target's Python can run, pinned.
fn gunicorn(target: &Target) -> &'static str {
    if target.python() == "3.9" { "gunicorn==23.0.0" } else { "gunicorn==27.0.1" }
}

/// Installs everything into `work/site`. Says whether what the requirements resolved to before was kept, but damaged, so that
/// they were resolved anew.
///
/// # Errors
/// What does not resolve, and what has neither a wheel for the target nor is pure Python.
pub async fn install(requirements: &Requirements, target: &Target, work: &Path) -> Result<bool> {
    let install =
        Install { uv: Uv::find().await?, requirements, target, site: work.join("site"), tree: work.join("tree") };
    let file = requirements.local.stage(&install.tree, &requirements.file)?;
    let mut damaged = false;
    if requirements.hashed() {
        install.run(install.pip_install().arg("--require-hashes").arg("-r").arg(&file)).await?;
        if !has_gunicorn(&install.site) {
            install.run(install.pip_install().arg(gunicorn(target))).await?;
        }
    } else {
        let lock = requirements.lock(target)?;
        let known = fs::read_to_string(&lock).ok();
        let whole = known.as_deref().filter(|text| is_whole(text));
        damaged = known.is_some() && whole.is_none();
        let packages = packages_line(&requirements.local.metadata()?);
        let text = match whole {
            Some(text) if packages_of(text) == packages => text.to_owned(),
            // What a local package asks for may be other than it was; all else stays at its version.
            _ => install.resolve(&file, &lock, whole, &packages).await?,
        };
        let list = work.join("lock.txt");
        fs::write(&list, Local::to_install(&text, &install.tree)).map_err(|error| unwritable(&list, &error))?;
        install.run(install.pip_install().arg("--no-deps").arg("-r").arg(&list)).await?;
    }
    check_tags(&install.site, target)?;
    Ok(damaged)
}

/// How uv is called for a release.
struct Install<'a> {
    uv: Uv,
    requirements: &'a Requirements,
    target: &'a Target,
    site: PathBuf,
    /// Where the copy of the requirements and of the local packages is.
    tree: PathBuf,
}

impl Install<'_> {
    /// What the requirements resolve to, which is kept in `lock`. The versions in `before` are kept where they can be.
    async fn resolve(&self, file: &Path, lock: &Path, before: Option<&str>, packages: &str) -> Result<String> {
        let Self { requirements, target, .. } = self;
        let folder = lock.parent().unwrap_or(lock);
        dirs::private(folder)?;
        let draft = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(folder, &error))?;
        let mut extra =
            tempfile::Builder::new().suffix(".in").tempfile_in(folder).map_err(|error| unwritable(folder, &error))?;
        // A bare name never overrules the app's own pin; the version is ours only where the app names none.
        let wanted = if requirements.names_gunicorn() { "gunicorn" } else { gunicorn(target) };
        std::io::Write::write_all(&mut extra, wanted.as_bytes()).map_err(|error| unwritable(folder, &error))?;
        // uv keeps to the versions in the file that it is to write.
        let pins = before.unwrap_or_default().lines().filter(|line| !line.contains("file://"));
        fs::write(draft.path(), pins.map(|line| format!("{line}\n")).collect::<String>())
            .map_err(|error| unwritable(folder, &error))?;
        let mut command = self.uv.command();
        command.args(["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--output-file"]).arg(draft.path());
        aim(&mut command, requirements, target);
        self.run(command.arg(file).arg(extra.path())).await?;
        let text = fs::read_to_string(draft.path()).map_err(|error| unwritable(folder, &error))?;
        if !requirements.builds {
            wheels::check_resolved(&requirements.file, &self.as_here(&text))?;
        }
        check_gunicorn(&requirements.file, &text)?;
        let text = requirements.local.resolved(&requirements.file, &text, &self.tree)?;
        let text = sealed(&format!("{packages}{text}"));
        dirs::write(lock, text.as_bytes()).map_err(|error| unwritable(lock, &error))?;
        Ok(text)
    }

    fn pip_install(&self) -> Command {
        let mut command = self.uv.command();
        command.args(["pip", "install", "--quiet", "--link-mode", "copy", "--target"]).arg(&self.site);
        aim(&mut command, self.requirements, self.target);
        command
    }

    /// With the paths of this machine, and not those of the copy.
    fn as_here(&self, said: &str) -> String {
        said.replace(&*self.tree.to_string_lossy(), "")
    }

    async fn run(&self, command: &mut Command) -> Result<()> {
        let Self { requirements, target, .. } = self;
        let output = command.output().await.map_err(|error| {
            Failure::failed("uv cannot be started")
                .because(error.to_string())
                .next("install uv, then run the same command again")
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = self.as_here(&String::from_utf8_lossy(&output.stderr));
        let file = requirements.name();
        if let Some(packages) = wheels::unbuilt(&said).filter(|_| !requirements.builds) {
            return Err(no_wheels(&packages, &file, target, &said));
        }
        if let Target::Host { version, image, .. } = target
            && version != image
        {
            return Err(another_python(&file, version, image, &said));
        }
        let what = format!("the requirements in {file} cannot be had for Python {}", target.python());
        Err(Failure::new(Exit::Usage, what)
            .because(uv::words(&said))
            .standing("Nothing was touched in AWS.")
            .next(format!("correct {}, then run the same command again", requirements.file.display())))
    }
}

/// Says in a lock for which state of the local packages it is.
const PACKAGES: &str = "# local packages: ";

fn packages_line(content: &[u8]) -> String {
    if content.is_empty() { String::new() } else { format!("{PACKAGES}{}\n", sha256(content)) }
}

fn packages_of(lock: &str) -> &str {
    let text = lock.split_once('\n').map_or("", |(_, text)| text);
    if text.starts_with(PACKAGES) { text.split_inclusive('\n').next().unwrap_or_default() } else { "" }
}

/// How the first line of a lock begins: a comment to uv.
const SEAL: &str = "# sha256: ";

/// The lock with its digest as the first line, so that one which was cut short is noticed.
fn sealed(text: &str) -> String {
    format!("{SEAL}{}\n{text}", sha256(text))
}

fn is_whole(lock: &str) -> bool {
    let parts = lock.strip_prefix(SEAL).and_then(|rest| rest.split_once('\n'));
    parts.is_some_and(|(digest, text)| digest == sha256(text))
}

static GUNICORN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?mi)(?:^|["'])\s*(gunicorn\s*(?:\[[^\]\n]*\])?\s*(?:===?\s*([0-9][0-9a-z.]*))?)(?:[^\w.-]|$)"#)
        .expect("a regex")
});

fn names_gunicorn(text: &str) -> bool {
    GUNICORN.is_match(text)
}

/// The first gunicorn that takes the name of the app as a setting, as the agent gives it.
const OLDEST: [u32; 2] = [20, 1];

/// Checks that no gunicorn is pinned that cannot run an app here.
fn check_gunicorn(file: &Path, text: &str) -> Result<()> {
    for found in GUNICORN.captures_iter(text) {
        // `==20.*` may well be a newer one.
        let version = found.get(2).map(|version| version.as_str()).filter(|version| !version.ends_with('.'));
        let Some(version) = version else { continue };
        let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
        if parts.as_slice() < OLDEST.as_slice() {
            let what = format!("{} asks for gunicorn {version}, which cannot run the app", file.display());
            return Err(Failure::new(Exit::Usage, what)
                .because("devopsctl needs gunicorn 20.1 or newer")
                .standing("Nothing was touched in AWS.")
                .next(format!("in {}, write `gunicorn>=20.1` for `{}`", file.display(), found[1].trim())));
        }
    }
    Ok(())
}

fn has_gunicorn(site: &Path) -> bool {
    site.join("gunicorn").is_dir()
}

fn aim(command: &mut Command, requirements: &Requirements, target: &Target) {
    match target {
        Target::Image { python, platform } => command.args(["--python-version", python, "--python-platform", platform]),
        Target::Host { python, .. } => command.arg("--python").arg(python),
    };
    if requirements.builds {
        return;
    }
    command.arg("--no-build");
    if let Target::Image { .. } = target {
        // uv asks a Python about itself, and would take one from a `.venv` here: that may be a program of the project.
        match child::program("python3") {
            Some(python) => command.arg("--python").arg(python),
            None => command.arg("--system"),
        };
    }
}

/// The requirements may be right for the image.
fn another_python(file: &str, version: &str, image: &str, said: &str) -> Failure {
    Failure::new(Exit::Usage, format!("the requirements in {file} cannot be had for this machine's Python {version}"))
        .because(uv::words(said))
        .because(format!("the instance's image has Python {image}, which is not on this machine"))
        .standing("Nothing was touched in AWS.")
        .next(format!(
            "install Python {image} (for example: uv python install {image}), run {}, then the same command again",
            command("sandbox stop")
        ))
}

fn no_wheels(packages: &[String], file: &str, target: &Target, said: &str) -> Failure {
    let advice = wheels::ALLOW;
    if packages.is_empty() {
        return wheels::refused(format!("a project that {file} names by its path would have to be built"))
            .because(uv::words(said))
            .next(format!("write it as `name @ file:///path/to/name.whl`; or, {advice}"));
    }
    let (names, them) = (packages.join(", "), if packages.len() == 1 { "it" } else { "each" });
    let refused = wheels::refused(format!("there is no wheel of {names} for Python {}", target.python()));
    let refused = match target {
        Target::Host { version, image, .. } if version != image => refused.because(format!(
            "the instance's image has Python {image}, which is not on this machine: it may have one for that"
        )),
        _ => refused,
    };
    refused
        .because(uv::words(said))
        .next(format!("in {file}, ask for a version of {them} that has wheels; or, {advice}"))
}

/// A source distribution with compiled code is built for *this* machine, whatever the target: its wheel says so.
fn check_tags(site: &Path, target: &Target) -> Result<()> {
    let Target::Image { python, platform } = target else { return Ok(()) };
    let entries = fs::read_dir(site).map_err(|error| unwritable(site, &error))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(wheel) = fs::read_to_string(path.join("WHEEL")) else { continue };
        let tags: Vec<&str> = wheel.lines().filter_map(|line| line.strip_prefix("Tag: ")).collect();
        if !tags.is_empty() && !tags.iter().any(|tag| travels(tag)) {
            let package = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Failure::new(Exit::Usage, format!("{package} has no wheel for Python {python} on {platform}"))
                .because("it would have to be compiled, and what is compiled here need not run there")
                .standing("Nothing was touched in AWS.")
                .next("pin a version of it that has wheels, or choose another instance.image"));
        }
    }
    Ok(())
}

/// Pure Python, or built to be moved: a wheel that was built here is tagged `linux_*` or `macosx_*`.
fn travels(tag: &str) -> bool {
    let platform = tag.rsplit('-').next().unwrap_or(tag);
    platform == "any" || platform.contains("manylinux") || platform.contains("musllinux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_cut_short_or_changed_is_not_taken() {
        let lock = sealed("flask==3.1.0\ngunicorn==23.0.0\n");
        assert!(is_whole(&lock) && is_whole(&sealed("")));
        assert!((0..lock.len()).all(|end| !is_whole(&lock[..end])), "{lock}");
        assert!(!is_whole(&lock.replace("3.1.0", "3.1.1")));
        assert!(!is_whole("flask==3.1.0\n"), "what an earlier version wrote");
    }

    #[test]
    fn gunicorn_is_seen_where_it_is_named() {
        for text in [
            "gunicorn",
            "gunicorn==23.0.0",
            "flask\ngunicorn>=20",
            "dependencies = [\n  \"gunicorn\",\n]",
            "gunicorn[gthread]",
            "dependencies = [\"flask\", \"gunicorn==20.1.0\"]",
            "Gunicorn == 20.1.0",
        ] {
            assert!(names_gunicorn(text), "{text}");
        }
        for text in ["flask", "gunicorn-extras", "# gunicorn", "not-gunicorn"] {
            assert!(!names_gunicorn(text), "{text}");
        }
    }

    #[test]
    fn a_gunicorn_that_is_too_old_is_refused_with_the_line_to_change() {
        let file = Path::new("app/requirements.txt");
        for (text, line) in [
            ("flask\ngunicorn==19.9.0\n", "gunicorn==19.9.0"),
            ("gunicorn==20.0.4 --hash=sha256:0", "gunicorn==20.0.4"),
            ("gunicorn==20", "gunicorn==20"),
            ("gunicorn[gevent] === 19.10.0 ; python_version > '3'", "gunicorn[gevent] === 19.10.0"),
            ("dependencies = ['flask', 'gunicorn==0.17']", "gunicorn==0.17"),
        ] {
            let failure = check_gunicorn(file, text).unwrap_err();
            assert!(failure.next_step().is_some_and(|next| next.contains(&format!("for `{line}`"))), "{failure:?}");
        }
        for text in [
            "gunicorn==20.1.0",
            "gunicorn==21.2",
            "gunicorn==27.0.1",
            "gunicorn==20.*",
            "gunicorn>=19",
            "gunicorn-x==1",
            "gunicorn",
        ] {
            assert!(check_gunicorn(file, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_was_built_here_does_not_travel() {
        assert!(travels("py3-none-any"));
        assert!(travels("cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64"));
        assert!(!travels("cp311-cp311-linux_x86_64"));
        assert!(!travels("cp313-cp313-macosx_14_0_arm64"));
    }
}
