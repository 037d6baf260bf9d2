//! Reads typed values from the tree, and collects a finding for each mistake.

use std::path::Path;

use miette::{NamedSource, SourceSpan};

use super::keys::{self, Key, Number};
use super::tree::{self, Node, Value};
use crate::base::error::Finding;

/// Collects findings while the tree is walked.
pub struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    findings: Vec<Finding>,
    hidden: Vec<SourceSpan>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, findings: Vec::new(), hidden: Vec::new() }
    }

    /// Adds a finding.
    pub fn find(
        &mut self,
        span: SourceSpan,
        what: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let source = NamedSource::new(self.file.display().to_string(), String::new());
        self.findings.push(Finding { what: what.into(), label: label.into(), span, hint: hint.into(), source });
    }

    /// Hides a place in everything that is shown.
    pub fn hide(&mut self, span: SourceSpan) {
        self.hidden.push(span);
    }

    /// All findings in the order of the file, each with the file's text without hidden places.
    pub fn into_findings(mut self) -> Vec<Finding> {
        let mut text = self.text.as_bytes().to_vec();
        for span in &self.hidden {
            let end = (span.offset() + span.len()).min(text.len());
            text[span.offset().min(end)..end].fill(b'*');
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let name = self.file.display().to_string();
        for finding in &mut self.findings {
            finding.source = NamedSource::new(&name, text.clone()).with_language("yaml");
        }
        self.findings.sort_by_key(|finding| finding.span.offset());
        self.findings
    }

    /// The text of the file at a place.
    pub fn written(&self, span: SourceSpan) -> &'a str {
        self.text.get(span.offset()..span.offset() + span.len()).unwrap_or_default().trim()
    }

    /// The entries of a section below another one.
    pub fn sub(&mut self, above: &mut Section, of: &keys::Section) -> Section {
        let node = above.take(of).map(|found| found.node);
        self.section(of, node)
    }

    /// The entries of a map with known keys; none if it is absent or empty.
    pub fn section(&mut self, of: &keys::Section, node: Option<Node>) -> Section {
        Section { path: of.path.to_owned(), entries: self.entries(of.path, node), keys: of.keys }
    }

    /// The entries of a map whose keys the user chooses, and whose values are maps with known keys.
    pub fn sections(
        &mut self,
        above: &mut Section,
        of: &keys::Sections,
        each: &keys::Section,
    ) -> Vec<(tree::Key, Section)> {
        let node = above.take(of).map(|found| found.node);
        let entries = self.entries(of.name, node);
        self.bound(of.name, &entries, of.most);
        let section = |(key, node): (tree::Key, Node)| {
            let path = format!("{}.{}", of.name, key.name);
            let entries = match (of.text, &node.value) {
                (Some(text), Value::Text(_)) => {
                    vec![(tree::Key { name: text.name.to_owned(), span: node.span }, node)]
                }
                _ => self.entries(&path, Some(node)),
            };
            (key, Section { path, entries, keys: each.keys })
        };
        entries.into_iter().map(section).collect()
    }

    /// Adds a finding for a map with too many keys.
    fn bound(&mut self, path: &str, entries: &[(tree::Key, Node)], (most, why): (usize, &str)) {
        if let Some((key, _)) = entries.get(most) {
            self.find(key.span, format!("`{path}` has more than {most} keys"), "from here on", why);
        }
    }

    /// The entries of a map whose keys the user chooses.
    pub fn map(&mut self, of: &keys::Map, node: Option<Node>) -> Vec<(tree::Key, Found)> {
        let found = |(key, node): (tree::Key, Node)| {
            let path = format!("{}.{}", of.path, key.name);
            (key, Found { path, node })
        };
        let entries = self.entries(of.path, node);
        if let Some(most) = of.most {
            self.bound(of.path, &entries, most);
        }
        entries.into_iter().map(found).collect()
    }

    fn entries(&mut self, path: &str, node: Option<Node>) -> Vec<(tree::Key, Node)> {
        let span = node.as_ref().map(|node| node.span);
        match node.map(|node| node.value) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Map(entries)) => entries,
            Some(other) => {
                let what = format!("`{path}` must be a map of settings");
                self.find(
                    span.unwrap_or((0, 0).into()),
                    what,
                    format!("this is {}", other.kind()),
                    "write `key: value` lines, indented below it",
                );
                Vec::new()
            }
        }
    }

    /// A key's text; `check` returns what is wrong and how to correct it.
    pub fn text(
        &mut self,
        section: &mut Section,
        key: &dyn Key,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Option<String> {
        let found = section.take(key);
        self.text_of(found, check)
    }

    /// A key's text, or its default.
    pub fn text_or_default(
        &mut self,
        section: &mut Section,
        key: &keys::Text,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> String {
        self.text(section, key, check).unwrap_or_else(|| key.default.unwrap_or_default().to_owned())
    }

    /// A value that is text.
    pub fn text_of(&mut self, found: Option<Found>, check: impl Fn(&str) -> Result<(), Wrong>) -> Option<String> {
        let found = found?;
        match &found.node.value {
            Value::Text(text) => match check(text) {
                Ok(()) => return Some(text.clone()),
                Err(wrong) => self.wrong(&found, wrong),
            },
            other => self.find(
                found.node.span,
                format!("`{}` must be text", found.path),
                format!("this is {}", other.kind()),
                "put it in quotes if it is text",
            ),
        }
        None
    }

    /// The values of a list; `hint` shows how to write one.
    pub fn list(&mut self, found: Option<Found>, hint: &str) -> Vec<Found> {
        let Some(Found { path, node }) = found else { return Vec::new() };
        match node.value {
            Value::List(nodes) => nodes.into_iter().map(|node| Found { path: path.clone(), node }).collect(),
            other => {
                let label = format!("this is {}", other.kind());
                self.find(node.span, format!("`{path}` must be a list"), label, hint);
                Vec::new()
            }
        }
    }

    /// The values of one text or a list of them.
    pub fn texts(&mut self, found: Option<Found>, check: impl Fn(&str) -> Result<(), Wrong>) -> Vec<String> {
        let found = match found {
            Some(Found { path, node: Node { value: Value::List(nodes), .. } }) => {
                nodes.into_iter().map(|node| Found { path: path.clone(), node }).collect()
            }
            one => Vec::from_iter(one),
        };
        found.into_iter().filter_map(|found| self.text_of(Some(found), &check)).collect()
    }

    /// A key's whole number, or its default.
    pub fn number(&mut self, section: &mut Section, key: &Number) -> u32 {
        let found = section.take(key);
        found.and_then(|found| self.bounded(&found, key.least, key.most)).unwrap_or(key.default)
    }

    /// A key's number, if it is given.
    pub fn count(&mut self, section: &mut Section, key: &keys::Count) -> Option<u32> {
        let found = section.take(key)?;
        self.bounded(&found, key.least, key.most)
    }

    fn bounded(&mut self, found: &Found, least: u32, most: u32) -> Option<u32> {
        match found.node.value {
            Value::Integer(value) => match u32::try_from(value) {
                Ok(value) if (least..=most).contains(&value) => return Some(value),
                _ => self.find(
                    found.node.span,
                    format!("`{}` is out of range", found.path),
                    "this number",
                    format!("choose one from {least} to {most}"),
                ),
            },
            ref other => self.find(
                found.node.span,
                format!("`{}` must be a whole number", found.path),
                format!("this is {}", other.kind()),
                format!("write a number from {least} to {most}, without quotes"),
            ),
        }
        None
    }

    /// A key's `true` or `false`, or its default.
    pub fn flag(&mut self, section: &mut Section, key: &keys::Flag) -> bool {
        let Some(found) = section.take(key) else { return key.default };
        if let Value::Bool(value) = found.node.value {
            return value;
        }
        let kind = found.node.value.kind();
        self.find(
            found.node.span,
            format!("`{}` must be true or false", found.path),
            format!("this is {kind}"),
            "write true or false, without quotes",
        );
        key.default
    }

    /// A key's word, one of several.
    pub fn word(&mut self, section: &mut Section, key: &keys::Word) -> Option<String> {
        self.text(section, key, |word| match key.words.contains(&word) {
            true => Ok(()),
            false => Err(Wrong::new("is not a known value", format!("write one of: {}", key.words.join(", ")))),
        })
    }

    /// Adds the finding of a check.
    pub fn wrong(&mut self, found: &Found, wrong: Wrong) {
        self.find(found.node.span, format!("`{}` {}", found.path, wrong.what), "here", wrong.hint);
    }
}

/// The error of a check.
pub struct Wrong {
    /// Continues the key's name: "is not a region".
    pub what: String,
    pub hint: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// A value with its path.
pub struct Found {
    pub path: String,
    pub node: Node,
}

/// The entries of one map with known keys.
pub struct Section {
    path: String,
    entries: Vec<(tree::Key, Node)>,
    keys: &'static [&'static dyn Key],
}

impl Section {
    /// Its full path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Removes and returns the value of a key. An empty value counts as absent.
    pub fn take(&mut self, key: &dyn Key) -> Option<Found> {
        let name = key.name();
        let index = self.entries.iter().position(|(found, _)| found.name == name)?;
        let (_, node) = self.entries.remove(index);
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        (!matches!(node.value, Value::Null)).then_some(Found { path, node })
    }

    /// The value of a key that was not taken yet.
    pub fn given(&self, key: &dyn Key) -> Option<&Node> {
        let (_, node) = self.entries.iter().find(|(found, _)| found.name == key.name())?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The place of such a value.
    pub fn place(&self, key: &dyn Key) -> Option<SourceSpan> {
        self.given(key).map(|node| node.span)
    }

    /// Adds a finding for every key that was not taken, with the most similar known key.
    pub fn finish(self, reader: &mut Reader) {
        let known: Vec<&str> = self.keys.iter().map(|key| key.name()).collect();
        for (key, _) in &self.entries {
            let near = known.iter().map(|known| (strsim::jaro_winkler(known, &key.name), known));
            let near = near.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness > 0.8);
            let hint = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            reader.find(key.span, format!("unknown key `{}`{place}", key.name), "unknown", hint);
        }
    }
}
