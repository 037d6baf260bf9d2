//! The app's own files: those that git does not ignore, without those that never belong on a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use crate::base::error::{Exit, Failure, Result};

/// Never packed: repositories, environments, caches, secrets, and the databases of Flask's instance folder here.
const NEVER: [&str; 22] = [
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".jj",
    "CVS",
    "_darcs",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    "*.pyc",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".env",
    ".DS_Store",
    "/instance/*.db",
    "/instance/*.sqlite",
    "/instance/*.sqlite3",
];
/// A folder with one of these files is a virtual environment or a cache (<https://bford.info/cachedir/>), whatever its name.
const MARKS: [&str; 2] = ["pyvenv.cfg", "CACHEDIR.TAG"];

/// A file of the app.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path in the app's folder, with forward slashes.
    pub name: String,
    /// Its full path.
    pub path: PathBuf,
    /// Whether it is executable.
    pub executable: bool,
}

impl File {
    /// Its content.
    pub fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).map_err(|error| unreadable(&self.path, &error.to_string()))
    }
}

/// Walks a folder by git's rules, even outside of a repository, and excludes what `.devopsctlignore` lists.
pub fn walk(folder: &Path) -> WalkBuilder {
    let mut walk = WalkBuilder::new(folder);
    walk.hidden(false).git_global(false).git_exclude(false).require_git(false);
    walk.add_custom_ignore_filename(".devopsctlignore");
    walk
}

/// All files except those that are never packed. `git`: also except those that git ignores.
pub(super) fn candidates(folder: &Path, git: bool) -> Result<WalkBuilder> {
    let mut never = OverrideBuilder::new(folder);
    for pattern in NEVER {
        never.add(&format!("!{pattern}")).map_err(|error| unreadable(folder, &error.to_string()))?;
    }
    let never = never.build().map_err(|error| unreadable(folder, &error.to_string()))?;
    let mut walk = walk(folder);
    walk.overrides(never).git_ignore(git).filter_entry(|entry| entry.depth() == 0 || !is_marked(entry.path()));
    Ok(walk)
}

pub(super) fn is_marked(path: &Path) -> bool {
    MARKS.iter().any(|mark| path.join(mark).is_file())
}

/// The maximum size of handwritten source code.
const LARGEST: u64 = 256 * 1024;

/// The names and texts of the files with these extensions, without large and unreadable ones.
pub fn texts(files: &[File], ends: &[&str]) -> Vec<(String, String)> {
    let text = |file: &&File| {
        let end = Path::new(&file.name).extension().unwrap_or_default().to_string_lossy();
        ends.contains(&&*end) && fs::metadata(&file.path).is_ok_and(|found| found.len() <= LARGEST)
    };
    let read = |file: &File| Some((file.name.clone(), String::from_utf8_lossy(&file.read().ok()?).into_owned()));
    files.iter().filter(text).filter_map(read).collect()
}

/// All files below `folder`, sorted, without those that `.gitignore` and `.devopsctlignore` exclude.
///
/// # Errors
/// A file cannot be read, a link's target is outside or a folder, or a name is not text.
pub fn collect(folder: &Path) -> Result<Vec<File>> {
    collect_all(folder, true)
}

/// The same with the files that `.gitignore` excludes, for a folder in which a build has run.
///
/// # Errors
/// As [`collect`].
pub fn collect_built(folder: &Path) -> Result<Vec<File>> {
    collect_all(folder, false)
}

fn collect_all(folder: &Path, git: bool) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in candidates(folder, git)?.build() {
        let entry = entry.map_err(|error| unreadable(folder, &error.to_string()))?;
        let path = entry.path();
        let target = fs::canonicalize(path).map_err(|error| unreadable(path, &error.to_string()))?;
        if target.is_dir() && !entry.path_is_symlink() {
            continue;
        }
        if !target.starts_with(folder) {
            return Err(Failure::new(Exit::Usage, format!("{} links out of the app's folder", path.display()))
                .because(format!("it is a link to {}", target.display()))
                .next("copy the link's target into the folder, or list the link in .devopsctlignore"));
        }
        if target.is_dir() {
            return Err(Failure::new(Exit::Usage, format!("{} is a link to a folder", path.display()))
                .next("copy the folder, or list the link in .devopsctlignore"));
        }
        files.push(file(folder, path)?);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn file(folder: &Path, path: &Path) -> Result<File> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable(path, "it is not a regular file"));
    }
    let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
    let name = name.ok_or_else(|| unreadable(path, "its name is not valid UTF-8"))?.to_owned();
    Ok(File { name, path: path.to_owned(), executable: metadata.permissions().mode() & 0o111 != 0 })
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("cannot include {} in the release", path.display()))
        .because(why.to_owned())
        .next("make it readable, or list it in .devopsctlignore")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder with these files, and its real path.
    pub fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (folder, root)
    }

    fn names(root: &Path) -> Vec<String> {
        collect(root).unwrap().into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn ignored_files_and_secrets_are_excluded() {
        let (_keep, root) = folder(&[
            ("app.py", ""),
            ("static/.well-known/x", ""),
            ("sub/__pycache__/a.pyc", ""),
            (".env", "SECRET=1"),
            (".git/config", ""),
            ("notes.txt", ""),
            ("big.bin", ""),
            (".gitignore", "notes.txt\n"),
            (".devopsctlignore", "*.bin\n"),
            ("venv/lib/x.py", ""),
            ("env-3.13/pyvenv.cfg", ""),
            ("env-3.13/lib/x.py", ""),
            ("assets/node_modules/x.js", ""),
            (".svn/entries", ""),
            (".some_cache/CACHEDIR.TAG", ""),
            (".some_cache/x", ""),
            ("caches/x.py", ""),
            ("instance/app.sqlite", ""),
            ("instance/config.py", ""),
        ]);
        let packed = ["app.py", "caches/x.py", "instance/config.py", "static/.well-known/x"];
        assert_eq!(names(&root), [&[".devopsctlignore", ".gitignore"], &packed[..]].concat());
    }

    #[test]
    fn links_inside_are_followed_and_links_out_are_refused() {
        let (_keep, root) = folder(&[("a.txt", "a")]);
        std::os::unix::fs::symlink("a.txt", root.join("b.txt")).unwrap();
        assert_eq!(names(&root), ["a.txt", "b.txt"]);
        std::os::unix::fs::symlink("/etc/hostname", root.join("c.txt")).unwrap();
        assert!(collect(&root).unwrap_err().what().contains("links out"));
    }
}
