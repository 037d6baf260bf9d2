//! Paths of packages, here and in the copy.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;

use super::super::source::File;

/// The characters of a path that are not escaped in a URL.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+');
pub(super) static ARCHIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\.(?:whl|zip|tgz|tar\.(?:gz|bz2|xz))$").expect("a regex"));

/// The path without `.` and `..`, as uv reads it: links are not followed.
pub(super) fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = normalized.pop(),
            Component::CurDir => {}
            other => normalized.push(other),
        }
    }
    normalized
}

/// The place of a path in the copy below `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A `file:` URL.
pub(super) fn url(path: &Path) -> String {
    format!("file://{}", utf8_percent_encode(&path.to_string_lossy(), PLAIN))
}

/// Whether an earlier build left the file in the source, so that the next build would include it.
pub(super) fn is_left_over(name: &str) -> bool {
    let mut folders = name.split('/').rev().skip(1).peekable();
    folders.any(|folder| folder.ends_with(".egg-info"))
        || name.starts_with("build/lib")
        || name.starts_with("build/bdist.")
}

/// The packages in a folder of `--find-links`.
pub(super) fn archives(folder: &Path) -> Vec<File> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |path: PathBuf| Some(File { name: path.file_name()?.to_str()?.to_owned(), path, executable: false });
    let mut files: Vec<File> = entries.filter_map(|entry| file(entry.path())).collect();
    files.retain(|file| ARCHIVE.is_match(&file.name) && file.path.is_file());
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
