//! Local packages: packages that the requirements name by a path on this machine.
//!
//! uv gets a copy of them below a folder of the build ([`Local::stage`]), in which every file has the same absolute path below that
//! folder. So a build backend does not write into the source, relative paths in a `pyproject.toml` stay valid, and no two builds
//! share a path, by which uv would reuse an earlier build of a package. In the copy no package is editable.

mod lines;
mod paths;
mod project;
mod staging;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::source::{self, File};
use super::text;
use crate::base::error::Result;
use crate::base::toml_file::{self, PROJECT, at};
use lines::{INCLUDE, LINKS, Named, REQUIREMENT, VARIABLE, statements, unquoted};
use paths::{ARCHIVE, archives, is_left_over, normalized};
use project::{members, project_name, referenced, shared, sources};

/// How many requirements files may include each other.
const MOST: usize = 64;

/// The local packages of an app, and the files that name them.
#[derive(Debug, Default)]
pub struct Local {
    /// The folder of the app's own requirements, where pip would be run.
    main: PathBuf,
    /// The app's own requirements file, and the files that it includes.
    requirements: BTreeMap<PathBuf, String>,
    /// The packages and their files: folders, wheels and archives, and folders of archives.
    packages: BTreeMap<PathBuf, Vec<File>>,
    /// Projects of a workspace of which only the `pyproject.toml` is needed.
    members: BTreeSet<PathBuf>,
}

impl Local {
    /// Finds all packages that the requirements in `file`, with the content `text`, name by a path.
    pub fn find(file: &Path, text: &str) -> Result<Self> {
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut local = Self { main: folder.to_owned(), ..Self::default() };
        local.requirements.insert(file.to_owned(), text.to_owned());
        match file.file_name().and_then(|name| name.to_str()) {
            // uv may have to build the project to get its requirements.
            Some(PROJECT | "setup.py" | "setup.cfg") => {
                local.requirements.clear();
                local.package(folder.to_owned())?;
            }
            _ if file.extension().is_some_and(|end| end == "toml" || end == "py") => {}
            _ => local.lines(file, text)?,
        }
        Ok(local)
    }

    /// The app's own requirements file, and the files that it includes.
    pub fn requirements(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.requirements.iter().map(|(file, text)| (file.as_path(), text.as_str()))
    }

    /// The packages that are folders.
    pub fn folders(&self) -> impl Iterator<Item = (&Path, &[File])> {
        let folders = self.packages.iter().filter(|(path, _)| path.is_dir());
        folders.map(|(path, files)| (path.as_path(), files.as_slice()))
    }

    /// The text of all requirements files.
    pub fn text(&self) -> String {
        self.requirements.values().map(|text| format!("{text}\n")).collect()
    }

    /// The content of all packages, for a hash; empty if there are none.
    pub fn content(&self) -> Result<Vec<u8>> {
        self.state(|_| true)
    }

    /// The content of the files that may contain the requirements of a package.
    pub fn metadata(&self) -> Result<Vec<u8>> {
        let asks = |end: &str| matches!(end, "toml" | "cfg" | "txt" | "in");
        self.state(|file| {
            let name = file.name.rsplit('/').next().unwrap_or_default();
            let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
            // The name is empty for a wheel or an archive.
            name.is_empty() || name == "setup.py" || asks(end) || ARCHIVE.is_match(name)
        })
    }

    fn state(&self, counts: impl Fn(&File) -> bool) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut part = |bytes: &[u8]| {
            content.extend((bytes.len() as u64).to_le_bytes());
            content.extend(bytes);
        };
        for (path, files) in &self.packages {
            part(path.as_os_str().as_encoded_bytes());
            for file in files.iter().filter(|file| counts(file)) {
                part(file.name.as_bytes());
                part(&[u8::from(file.executable)]);
                part(&file.read()?);
            }
        }
        for path in &self.members {
            part(&fs::read(path).unwrap_or_default());
        }
        Ok(content)
    }

    fn lines(&mut self, file: &Path, text: &str) -> Result<()> {
        for (line, _) in statements(text) {
            if let Some(include) = INCLUDE.captures(&line) {
                let path = self.resolve(file, unquoted(&include[2]));
                if self.requirements.contains_key(&path) || self.requirements.len() >= MOST {
                    continue;
                }
                // uv reports a file that cannot be read.
                let Some(text) = fs::read(&path).ok().and_then(|bytes| text::decode(&bytes).ok()) else { continue };
                self.requirements.insert(path.clone(), text.clone());
                self.lines(&path, &text)?;
            } else if let Some(links) = LINKS.captures(&line) {
                if let Some(path) = self.target(file, unquoted(&links[2]), true) {
                    self.package(path)?;
                }
            } else if let Some(found) = self.requirement(file, &line) {
                self.package(found.path)?;
            }
        }
        Ok(())
    }

    /// The package that a line names by its path.
    fn requirement<'a>(&self, file: &Path, line: &'a str) -> Option<Named<'a>> {
        let found = REQUIREMENT.captures(line)?;
        let part = |number| found.get(number).map_or("", |part: regex::Match<'a>| part.as_str());
        let (editable, name, target) = (!part(1).is_empty(), part(2), unquoted(part(3)));
        if target.starts_with('-') {
            return None;
        }
        let (target, fragment) = target.split_once('#').map_or((target, None), |(path, rest)| (path, Some(rest)));
        let path = self.target(file, target, editable || !name.is_empty())?;
        Some(Named { name, path, fragment, extras: part(4), rest: part(5) })
    }

    /// The path that a requirement refers to. `sure`: whether a bare word is a path.
    fn target(&self, file: &Path, written: &str, sure: bool) -> Option<PathBuf> {
        let written = VARIABLE.replace_all(written, |found: &regex::Captures<'_>| match &found[1] {
            "PROJECT_ROOT" => self.main.display().to_string(),
            "HOME" => env::var("HOME").unwrap_or_default(),
            _ => found[0].to_owned(),
        });
        if written.contains("${") {
            return None;
        }
        if let Some(url) = written.strip_prefix("file:") {
            let path = url.strip_prefix("//").map_or(url, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
            return Some(self.resolve(file, &percent_decode_str(path).decode_utf8().ok()?));
        }
        let foreign = written.contains("://") || written.starts_with("git@");
        let path = sure || written.starts_with(['.', '/']) || written.contains('/') || ARCHIVE.is_match(&written);
        (path && !foreign).then(|| self.resolve(file, &written))
    }

    /// A path is relative to the folder of the file that names it; if nothing is there, to the folder where pip would be run.
    fn resolve(&self, file: &Path, written: &str) -> PathBuf {
        let near = normalized(&file.parent().unwrap_or(&self.main).join(written));
        let far = normalized(&self.main.join(written));
        if !near.exists() && far.exists() { far } else { near }
    }

    /// Adds a package, and the packages that it names by a path. uv reports one that does not exist.
    fn package(&mut self, path: PathBuf) -> Result<()> {
        if self.packages.contains_key(&path) || !path.exists() {
            return Ok(());
        }
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let project = ["setup.py", "setup.cfg", PROJECT].iter().any(|name| real.join(name).is_file());
        let files = if !real.is_dir() {
            vec![File { name: String::new(), path: real.clone(), executable: false }]
        } else if project {
            source::collect(&real)?.into_iter().filter(|file| !is_left_over(&file.name)).collect()
        } else {
            archives(&real)
        };
        self.packages.insert(path.clone(), files);
        if project { self.project(&path) } else { Ok(()) }
    }

    /// Adds the packages that a project's `pyproject.toml` names by a path.
    fn project(&mut self, folder: &Path) -> Result<()> {
        let Some(table) = toml_file::read(&folder.join(PROJECT)) else { return Ok(()) };
        let root = folder.ancestors().find_map(|root| {
            let table = toml_file::read(&root.join(PROJECT))?;
            at(&table, &["tool", "uv", "workspace"]).is_some().then_some((root.to_owned(), table))
        });
        let mut found: Vec<PathBuf> = referenced(&table).iter().filter_map(|path| self.named(folder, path)).collect();
        let mut shared = shared(&table);
        if let Some((root, table)) = root {
            self.members.insert(root.join(PROJECT));
            // The root's sources apply to all members.
            found.extend(sources(&table).iter().filter_map(|path| self.named(&root, path)));
            shared.extend(project::shared(&table));
            for member in members(&root, &table) {
                let name = toml_file::read(&member.join(PROJECT)).and_then(|table| project_name(&table));
                self.members.insert(member.join(PROJECT));
                if name.is_some_and(|name| shared.contains(&name)) {
                    found.push(member);
                }
            }
        }
        found.into_iter().try_for_each(|path| self.package(path))
    }

    fn named(&self, folder: &Path, written: &str) -> Option<PathBuf> {
        let written = written.replace("{root:uri}", &format!("file://{}", folder.display()));
        self.target(&folder.join(PROJECT), &written, true)
    }
}
