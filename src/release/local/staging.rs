//! The copy for uv: its files, its requirements, and the way back to the original paths.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use regex::Regex;

use super::Local;
use super::lines::{INCLUDE, INDEX, LINKS, REQUIREMENT, statements, unquoted};
use super::paths::{below, normalized, url};
use crate::base::dirs::unwritable;
use crate::base::error::{Exit, Failure, Result};
use crate::base::toml_file::PROJECT;

/// A path in a table of TOML.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?m)(^|[{,\s])path(\s*=\s*)(?:"([^"\\\n]*)"|'([^'\n]*)')"#).expect("a regex"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"file:[^\s"';,\]#]+"#).expect("a regex"));

impl Local {
    /// Copies everything below `root`. Returns the requirements file for uv.
    pub fn stage(&self, root: &Path, file: &Path) -> Result<PathBuf> {
        let write = |path: &Path, bytes: &[u8]| -> Result<()> {
            let place = below(root, path);
            let folder = place.parent().unwrap_or(root);
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&place, bytes));
            written.map_err(|error| unwritable(&place, &error))
        };
        for (path, files) in &self.packages {
            for file in files {
                let place = if file.name.is_empty() { path.clone() } else { path.join(&file.name) };
                if file.name.rsplit('/').next() == Some(PROJECT) {
                    let text = String::from_utf8_lossy(&file.read()?).into_owned();
                    write(&place, self.staged_project(root, &place, &text).as_bytes())?;
                } else {
                    write(&place, &file.read()?)?;
                }
                if file.executable {
                    executable(&below(root, &place))?;
                }
            }
        }
        for path in self.members.iter().filter(|path| !below(root, path).exists()) {
            let text = fs::read_to_string(path).unwrap_or_default();
            write(path, self.staged_project(root, path, &text).as_bytes())?;
        }
        for (path, text) in &self.requirements {
            write(path, self.staged(root, path, text).as_bytes())?;
        }
        Ok(below(root, file))
    }

    /// The text of a requirements file whose local paths are below `root`.
    fn staged(&self, root: &Path, file: &Path, text: &str) -> String {
        let mut staged = String::new();
        for (line, written) in statements(text) {
            if let Some(found) = INCLUDE.captures(&line) {
                let path = self.resolve(file, unquoted(&found[2]));
                if self.requirements.contains_key(&path) {
                    staged.push_str(&format!("{} {}\n", &found[1], below(root, &path).display()));
                    continue;
                }
            } else if let Some(links) = LINKS.captures(&line) {
                let path = self.target(file, unquoted(&links[2]), true).filter(|path| self.packages.contains_key(path));
                if let Some(path) = path {
                    staged.push_str(&format!("{} {}\n", &links[1], url(&below(root, &path))));
                    continue;
                }
            } else if let Some(named) = self.requirement(file, &line) {
                staged.push_str(&named.written(&below(root, &named.path)));
                staged.push('\n');
                continue;
            } else if let Some(found) = REQUIREMENT.captures(&line).filter(|found| found.get(1).is_some()) {
                // A repository, as `pip freeze` writes the project that it runs in.
                staged.push_str(
                    line[found.get(1).map_or(0, |option| option.end())..].trim_start_matches(['=', ' ', '\t']),
                );
                staged.push('\n');
                continue;
            }
            staged.push_str(written);
        }
        staged
    }

    /// The options of all requirements files that name indexes and folders of packages, with paths below `root`.
    pub fn indexes(&self, root: &Path) -> String {
        let staged = |(file, text): (&PathBuf, &String)| self.staged(root, file, text) + "\n";
        let text: String = self.requirements.iter().map(staged).collect();
        let mut lines: Vec<String> = Vec::new();
        for (line, _) in statements(&text).into_iter().filter(|(line, _)| INDEX.is_match(line)) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// The text of a `pyproject.toml` whose paths are below `root`: uv copies a relative path into a lock without resolving it.
    fn staged_project(&self, root: &Path, file: &Path, text: &str) -> String {
        let path = |found: &regex::Captures<'_>| {
            let written = found.get(3).or(found.get(4)).map_or("", |path| path.as_str());
            let path = self.target(file, written, true).filter(|path| self.packages.contains_key(path));
            let path = path.map_or_else(|| written.to_owned(), |path| below(root, &path).display().to_string());
            format!("{}path{}{}", &found[1], &found[2], serde_json::Value::from(path))
        };
        let address = |found: &regex::Captures<'_>| match self.target(file, &found[0], true) {
            Some(path) if self.packages.contains_key(&path) => url(&below(root, &path)),
            _ => found[0].to_owned(),
        };
        ADDRESS.replace_all(&PATH.replace_all(text, path), address).into_owned()
    }

    /// uv's lock of the staged requirements, with the original paths.
    pub fn resolved(&self, file: &Path, lock: &str, root: &Path) -> Result<String> {
        let here = env::current_dir().unwrap_or_default();
        let mut resolved = String::new();
        for line in lock.lines() {
            let (name, path) = match local_line(line) {
                Some((name, path)) => (name, normalized(&here.join(path))),
                None => {
                    resolved.push_str(line);
                    resolved.push('\n');
                    continue;
                }
            };
            let real = path.strip_prefix(root).ok().map(|inside| Path::new("/").join(inside));
            let Some(real) = real.filter(|real| self.packages.contains_key(real)) else {
                return Err(unseen(file, &path));
            };
            resolved.push_str(&format!("{name}{}\n", url(&real)));
        }
        Ok(resolved)
    }

    /// The requirements of such a lock, with paths below `root`.
    pub fn to_install(lock: &str, root: &Path) -> String {
        let line = |line: &str| match local_line(line) {
            Some((name, path)) => format!("{name}{}\n", url(&below(root, &path))),
            None => format!("{line}\n"),
        };
        lock.lines().map(line).collect()
    }
}

fn unseen(file: &Path, path: &Path) -> Failure {
    let what = format!(
        "{} refers to the local package {} in a way that devopsctl does not support",
        file.display(),
        path.display()
    );
    Failure::new(Exit::Usage, what)
        .because("local packages are built from a copy, so that the build does not write into your source")
        .standing("Nothing was changed in AWS.")
        .next(format!("list it on a line of its own in {}", file.display()))
}

/// The name and the path in a line of a lock that refers to this machine.
fn local_line(line: &str) -> Option<(String, PathBuf)> {
    let line = line.strip_prefix("-e ").unwrap_or(line);
    let (name, target) =
        line.split_once(" @ ").map_or((String::new(), line), |(name, url)| (format!("{name} @ "), url));
    let target = target.split(['#', ' ']).next().unwrap_or_default();
    if let Some(path) = target.strip_prefix("file://") {
        return Some((name, PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.as_ref())));
    }
    (name.is_empty() && target.starts_with(['.', '/'])).then(|| (name, PathBuf::from(target)))
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|error| unwritable(path, &error))
}
