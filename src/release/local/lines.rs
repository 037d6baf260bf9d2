//! The syntax of requirements files.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::paths::url;

pub(super) static INCLUDE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*(-r|-c|--requirement|--constraint)[=\s]\s*(.+)$").expect("a regex"));
pub(super) static LINKS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*(-f|--find-links)[=\s]\s*(.+)$").expect("a regex"));
/// An option that names an index, or a folder of packages.
pub(super) static INDEX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:-i|--index-url|--extra-index-url|--no-index|-f|--find-links)(?:[=\s]|$)").expect("a regex")
});
pub(super) static REQUIREMENT: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"(?:([A-Za-z0-9](?:[\w.-]*\w)?\s*(?:\[[^\]]*\])?)\s*@\s*)?";
    Regex::new(&format!(r"^\s*(?:(-e|--editable)[=\s]\s*)?{name}([^\s;](?:.*?\S)??)(\[[^\]/]*\])?(\s*;.*|\s+--.*)?$"))
        .expect("a regex")
});
pub(super) static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{([A-Z0-9_]+)\}").expect("a regex"));

/// A requirement that names a path.
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub path: PathBuf,
    pub fragment: Option<&'a str>,
    pub extras: &'a str,
    pub rest: &'a str,
}

impl Named<'_> {
    /// The requirement with another path.
    pub fn written(&self, path: &Path) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("{} @ ", self.name.trim_end()) };
        // uv would read the extras of `#egg=lib[x]` as part of the path.
        let fragment =
            self.fragment.and_then(|fragment| fragment.split('&').find(|part| part.starts_with("subdirectory=")));
        let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
        format!("{name}{}{fragment}{} {}", url(path), self.extras, self.rest.trim_start()).trim_end().to_owned()
    }
}

/// The statements of a requirements file: without comments and line continuations, and as they are written.
pub(super) fn statements(text: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    let (mut line, mut begun) = (String::new(), 0);
    let mut end = 0;
    for part in text.split_inclusive('\n') {
        end += part.len();
        let bare = part.trim_end_matches(['\n', '\r']);
        if let Some(more) = bare.strip_suffix('\\').filter(|_| !bare.trim_start().starts_with('#')) {
            // uv reads a continuation as a space.
            line.push_str(more);
            line.push(' ');
            continue;
        }
        line.push_str(bare);
        let code = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        found.push((code.trim().to_owned(), &text[begun..end]));
        line.clear();
        begun = end;
    }
    if begun < text.len() {
        found.push((line.trim().to_owned(), &text[begun..]));
    }
    found
}

pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}
