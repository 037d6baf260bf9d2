//! Files below a folder.

use std::fs;
use std::path::{Path, PathBuf};

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// The Rust files below a folder of the repository with their code, without comments and without the tests at the end of a file.
pub fn rust_code(folder: &str) -> Vec<(PathBuf, String)> {
    let all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into_iter();
    let sources = all.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.filter(|path| !path.ends_with("tests.rs")).map(|path| (path.clone(), code(&path))).collect()
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let ends = ["mod tests", "pub(crate) mod tests"].map(|tests| format!("#[cfg(test)]\n{tests}"));
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
