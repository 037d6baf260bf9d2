//! Files that git ignores but the app needs, such as Django's `staticfiles` or a built frontend. They are not part of the release;
//! a warning is shown if the app's own files or its settings name them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use regex::Regex;

use super::source::{self, File};
use crate::base::error::Result;

/// How many of them are examined.
const MOST: usize = 100;
/// Files that may name the files that an app reads.
const CODE: [&str; 8] = ["py", "html", "toml", "yaml", "yml", "json", "ini", "cfg"];

/// A warning for each file in `folder` that git ignores although `files`, which are packed, or `env` name it.
pub fn named(folder: &Path, files: &[File], env: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let ignored = ignored(folder, files)?;
    if ignored.is_empty() {
        return Ok(Vec::new());
    }
    let texts = source::texts(files, &CODE);
    let place = folder.join(".devopsctlignore");
    let line = |entry: &Entry| {
        let by = entry.named_by(&texts, env)?;
        Some(format!(
            "{} is not deployed because git ignores it, but {by} names it; to deploy it, add the line {} to {}",
            entry.shown(),
            entry.pattern(),
            place.display()
        ))
    };
    Ok(ignored.iter().filter_map(line).collect())
}

/// A file that git ignores, or a folder whose files it ignores.
#[derive(Debug)]
struct Entry {
    name: String,
    folder: bool,
    /// Whether git ignores the folder itself.
    itself: bool,
}

impl Entry {
    fn shown(&self) -> String {
        if self.folder { format!("{}/", self.name) } else { self.name.clone() }
    }

    /// The pattern that includes it.
    fn pattern(&self) -> String {
        match (self.folder, self.itself) {
            (true, true) => format!("!/{}/", self.name),
            (true, false) => format!("!/{}/**", self.name),
            _ => format!("!/{}", self.name),
        }
    }

    fn named_by(&self, texts: &[(String, String)], env: &BTreeMap<String, String>) -> Option<String> {
        let name = regex::escape(self.name.rsplit('/').next().unwrap_or_default());
        let module = regex::escape(self.name.rsplit('/').next()?.trim_end_matches(".py"));
        // A part of a path between quotes.
        let quoted = format!(r#"["'](?:[^"'\n]*/)?{name}(?:/[^"'\n]*)?["']"#);
        let bare = format!(r#"(?m)(?:^|[\s"'=:/]){name}(?:[\s"'/,]|$)"#);
        let import = format!(
            r#"(?m)^\s*(?:from\s+(?:[\w.]*\.)?{module}\s+import|from\s+[\w.]+\s+import\s+(?:.*\W)?{module}\b|import\s+(?:.*[\s,.])?{module}\b)|["'][\w.]*\.{module}["']"#
        );
        let quoted = Regex::new(&quoted).ok()?;
        let bare = Regex::new(&bare).ok()?;
        let import = if self.name.ends_with(".py") { Regex::new(&import).ok() } else { None };
        for (file, text) in texts {
            let by_name = if file.ends_with(".py") || file.ends_with(".html") { &quoted } else { &bare };
            let found = by_name.find(text).or_else(|| import.as_ref()?.find(text));
            if let Some(found) = found {
                let begin = found.start() + (found.as_str().len() - found.as_str().trim_start().len());
                return Some(format!("{file}:{}", text[..begin].matches('\n').count() + 1));
            }
        }
        let setting = env.iter().find(|(_, value)| bare.is_match(value));
        setting.map(|(key, _)| format!("app.env.{key}"))
    }
}

/// Whether an app usually writes such a file itself, such as a database or a log, which is not deployed.
fn is_written(name: &str) -> bool {
    let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
    matches!(end, "sqlite" | "sqlite3" | "db" | "log" | "pid")
}

/// The topmost files and folders that git ignores.
fn ignored(folder: &Path, files: &[File]) -> Result<Vec<Entry>> {
    let packed: HashSet<PathBuf> = files.iter().map(|file| folder.join(&file.name)).collect();
    let entered: HashSet<PathBuf> =
        source::candidates(folder, true)?.build().flatten().map(ignore::DirEntry::into_path).collect();
    // Folders that contain more than ignored files.
    let above: HashSet<PathBuf> = entered.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
    let found = Arc::new(Mutex::new(Vec::new()));
    let seen = found.clone();
    let root = folder.to_owned();
    let mut walk = source::candidates(folder, false)?;
    walk.filter_entry(move |entry| {
        let path = entry.path();
        if entry.depth() == 0 || above.contains(path) {
            return true;
        }
        // A file that git does not ignore is excluded for another reason.
        let other = packed.contains(path) || source::is_marked(path) || (entered.contains(path) && !path.is_dir());
        let name = path.strip_prefix(&root).ok().and_then(Path::to_str).filter(|name| !is_written(name));
        if let (false, Ok(mut seen), Some(name)) = (other, seen.lock(), name) {
            seen.push(Entry { name: name.to_owned(), folder: path.is_dir(), itself: !entered.contains(path) });
        }
        false
    });
    walk.build().for_each(drop);
    let mut found = std::mem::take(&mut *found.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.truncate(MOST);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::source::tests::folder;
    use super::*;

    fn said(root: &Path, env: &[(&str, &str)]) -> Vec<String> {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        named(root, &source::collect(root).unwrap(), &env).unwrap()
    }

    #[test]
    fn an_ignored_file_that_the_app_names_is_reported_with_the_line_to_include_it() {
        let files = [
            (
                ".gitignore",
                "staticfiles/\n/frontend/dist/*\nlocal_settings.py\n*.log\n*.sqlite3\n.cache\nmedia/\nmodel.bin\n",
            ),
            (
                "shop/settings.py",
                "from .local_settings import *\nSTATIC_ROOT = BASE_DIR / 'staticfiles'\nNAME = BASE_DIR / 'db.sqlite3'\n",
            ),
            ("shop/local_settings.py", "DEBUG = True\n"),
            ("app.py", "app = Flask(static_folder=\"frontend/dist\")\n# not: media, debug.log\n"),
            ("staticfiles/admin/a.css", ""),
            ("frontend/dist/index.html", ""),
            ("debug.log", ""),
            ("db.sqlite3", ""),
            ("media/x", ""),
            ("model.bin", ""),
            (".cache/x", ""),
            ("env39/pyvenv.cfg", ""),
        ];
        let (_keep, root) = folder(&files);
        let lines = said(&root, &[("MODEL", "/srv/model.bin"), ("X", "media-x")]);
        let expected = [
            ("frontend/dist/", "app.py:1", "!/frontend/dist/**"),
            ("model.bin", "app.env.MODEL", "!/model.bin"),
            ("shop/local_settings.py", "shop/settings.py:1", "!/shop/local_settings.py"),
            ("staticfiles/", "shop/settings.py:2", "!/staticfiles/"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, (name, by, pattern)) in lines.iter().zip(expected) {
            assert!(
                line.starts_with(&format!("{name} is not deployed")) && line.contains(&format!(" {by} ")),
                "{line}"
            );
            assert!(line.contains(&format!(" {pattern} to {}", root.join(".devopsctlignore").display())), "{line}");
        }
        // The suggested lines work.
        let patterns: String = expected.iter().map(|(_, _, pattern)| format!("{pattern}\n")).collect();
        fs::write(root.join(".devopsctlignore"), patterns).unwrap();
        assert_eq!(said(&root, &[("MODEL", "/srv/model.bin")]), [""; 0]);
        let names: Vec<String> = source::collect(&root).unwrap().into_iter().map(|file| file.name).collect();
        for name in ["frontend/dist/index.html", "model.bin", "shop/local_settings.py", "staticfiles/admin/a.css"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
    }
}
