//! The modules that Python imports first, estimated from the source. The instance compiles them first; nothing else depends on the
//! estimate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::LazyLock;

use regex::Regex;

use super::{code, source};
use crate::base::error::Result;

/// The folders on Python's path, in order.
const FOLDERS: [&str; 2] = ["app", "site"];

// Only at the start of a line: an indented import is executed later, if at all.
static FROM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^from +(\.*)([\w.]*) +import +(\([^)]*\)|[^\n#]*)").expect("a regex"));
static IMPORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^import +([\w., ]+)").expect("a regex"));
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+").expect("a regex"));

/// The archive's files of the modules `roots` and of the modules that they import, in about that order. `read` returns `None` for a
/// path that is not in the archive.
pub fn reachable(roots: &[&str], read: impl Fn(&str) -> io::Result<Option<Vec<u8>>>) -> io::Result<Vec<String>> {
    let (mut found, mut order) = (HashSet::new(), Vec::new());
    for root in roots {
        let mut queue = VecDeque::from([(*root).to_owned()]);
        while let Some(asked) = queue.pop_front() {
            // A module's packages are imported before it.
            for end in asked.match_indices('.').map(|(at, _)| at).chain([asked.len()]) {
                let name = &asked[..end];
                if !found.insert(name.to_owned()) {
                    continue;
                }
                let Some((path, text)) = locate(name, &read)? else { continue };
                let package = if path.ends_with("/__init__.py") {
                    name
                } else {
                    name.rsplit_once('.').map_or("", |(package, _)| package)
                };
                queue.extend(imported(&String::from_utf8_lossy(&text), package));
                order.push(path);
            }
        }
    }
    Ok(order)
}

/// The app's own files that its module loads, with their texts, in about that order.
pub fn loaded(files: &[source::File], module: &str) -> Result<Vec<(String, String)>> {
    let mut texts = HashMap::new();
    for file in files.iter().filter(|file| file.name.ends_with(".py")) {
        texts.insert(format!("app/{}", file.name), file.read()?);
    }
    let read = |path: &str| -> io::Result<Option<Vec<u8>>> { Ok(texts.get(path).cloned()) };
    let found = reachable(&[module], read).unwrap_or_default();
    let text = |path: &String| String::from_utf8_lossy(&texts[path]).into_owned();
    Ok(found.into_iter().map(|path| (path.clone(), text(&path))).collect())
}

/// A module's file and its text.
fn locate(name: &str, read: impl Fn(&str) -> io::Result<Option<Vec<u8>>>) -> io::Result<Option<(String, Vec<u8>)>> {
    let place = name.replace('.', "/");
    for folder in FOLDERS {
        for path in [format!("{folder}/{place}/__init__.py"), format!("{folder}/{place}.py")] {
            if let Some(text) = read(&path)? {
                return Ok(Some((path, text)));
            }
        }
    }
    Ok(None)
}

/// The full names that a module of that package imports; some of them are not modules.
fn imported(text: &str, package: &str) -> Vec<String> {
    let mut names = Vec::new();
    // A docstring may contain code.
    let text = &code::top_level(text).join("\n");
    for found in IMPORT.captures_iter(text) {
        names.extend(found[1].split(',').filter_map(|part| part.split_whitespace().next()).map(str::to_owned));
    }
    for found in FROM.captures_iter(text) {
        let (dots, module) = (found[1].len(), &found[2]);
        let above: Vec<&str> = package.split('.').filter(|part| !part.is_empty()).collect();
        let kept = if dots == 0 { 0 } else { (above.len() + 1).saturating_sub(dots) };
        let base = above[..kept].iter().copied().chain([module]).filter(|part| !part.is_empty());
        let base = base.collect::<Vec<_>>().join(".");
        names.extend(WORD.find_iter(&found[3]).map(|word| format!("{base}.{}", word.as_str())));
        names.push(base);
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_form_of_import() {
        let own = "'''Shows code:

import shown
from shown import deep
'''
import os, one.deep as d , two
TEXT = \"\"\"
import told
\"\"\"
from three import (
    four,  # a module
    five as six,
)
from . import seven
from .eight.nine import ten
from unknown import thing
if True:
    import late
";
        let mut files = BTreeMap::from([
            ("app/own/__init__.py", own),
            ("site/three/four.py", "from .. import beyond\nfrom ...far import too\nfrom three import four"),
            ("site/spaced/out/deep.py", "import data\n"),
            ("site/data", ""),
        ]);
        let plain = [
            "app/two.py",
            "site/two.py",
            "site/one/__init__.py",
            "site/one/deep.py",
            "site/three/__init__.py",
            "app/own/seven.py",
            "app/own/eight/__init__.py",
            "app/own/eight/nine.py",
            "app/own/eight/ten.py",
            "app/late.py",
            "app/shown/__init__.py",
            "app/shown/deep.py",
            "app/told.py",
        ];
        files.extend(plain.map(|name| (name, "")));
        let roots = ["own", "missing", "spaced.out.deep"];
        let mut found = reachable(&roots, |path| Ok(files.get(path).map(|text| text.as_bytes().to_vec()))).unwrap();
        assert_eq!(found[0], "app/own/__init__.py");
        found.sort();
        let asked = [
            "app/own/__init__.py",
            "app/own/eight/__init__.py",
            "app/own/eight/nine.py",
            "app/own/seven.py",
            "app/two.py",
            "site/one/__init__.py",
            "site/one/deep.py",
            "site/spaced/out/deep.py",
            "site/three/__init__.py",
            "site/three/four.py",
        ];
        assert_eq!(found, asked);
    }
}
