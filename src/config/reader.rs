//! Takes the tree apart: typed values out, findings for everything that is not as it should be.

use std::path::Path;

use miette::{NamedSource, SourceSpan};

use super::tree::{Key, Node, Value};
use crate::error::Finding;

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

    /// Notes a mistake at a place.
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

    /// Keeps a place out of everything that is shown.
    pub fn hide(&mut self, span: SourceSpan) {
        self.hidden.push(span);
    }

    /// All findings, in the order of the file, each with the file's text as it may be shown.
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

    /// What stands in the file at a place, as it was written.
    pub fn written(&self, span: SourceSpan) -> &'a str {
        self.text.get(span.offset()..span.offset() + span.len()).unwrap_or_default().trim()
    }

    /// The entries of a map; an absent or empty one has none.
    pub fn section(&mut self, path: &'static str, node: Option<Node>) -> Section {
        let span = node.as_ref().map(|node| node.span);
        let entries = match node.map(|node| node.value) {
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
        };
        Section { path, entries, known: Vec::new() }
    }

    /// A value that is text; `check` says what is wrong with it, and how to put it right.
    pub fn text(&mut self, found: Option<Found>, check: impl Fn(&str) -> Result<(), Wrong>) -> Option<String> {
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
                "put it in quotes if it is meant as text",
            ),
        }
        None
    }

    /// A whole number within bounds, both included.
    pub fn integer(&mut self, found: Option<Found>, bounds: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let found = found?;
        let (least, most) = (bounds.start(), bounds.end());
        match found.node.value {
            Value::Integer(value) if bounds.contains(&value) => return Some(value),
            Value::Integer(_) => {
                self.find(
                    found.node.span,
                    format!("`{}` is out of range", found.path),
                    "this number",
                    format!("choose one from {least} to {most}"),
                );
            }
            ref other => self.find(
                found.node.span,
                format!("`{}` must be a whole number", found.path),
                format!("this is {}", other.kind()),
                format!("write a number from {least} to {most}, without quotes"),
            ),
        }
        None
    }

    /// `true` or `false`.
    pub fn flag(&mut self, found: Option<Found>) -> Option<bool> {
        let found = found?;
        if let Value::Bool(value) = found.node.value {
            return Some(value);
        }
        let kind = found.node.value.kind();
        self.find(
            found.node.span,
            format!("`{}` must be true or false", found.path),
            format!("this is {kind}"),
            "write true or false, without quotes",
        );
        None
    }

    /// Notes what a check found.
    pub fn wrong(&mut self, found: &Found, wrong: Wrong) {
        self.find(found.node.span, format!("`{}` {}", found.path, wrong.what), "here", wrong.hint);
    }
}

/// What a check of a value has to say.
pub struct Wrong {
    /// Goes on from the key's name: "is not a region".
    pub what: String,
    pub hint: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// A value with the path that leads to it.
pub struct Found {
    pub path: String,
    pub node: Node,
}

/// The entries of one map. What nobody asked for is unknown.
pub struct Section {
    path: &'static str,
    entries: Vec<(Key, Node)>,
    known: Vec<&'static str>,
}

impl Section {
    /// Takes the value of a key. An empty value counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<Found> {
        self.known.push(key);
        let index = self.entries.iter().position(|(found, _)| found.name == key)?;
        let (_, node) = self.entries.remove(index);
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        (!matches!(node.value, Value::Null)).then_some(Found { path, node })
    }

    /// All entries that are left, for maps whose keys the user chooses.
    pub fn rest(&mut self) -> Vec<(Key, Found)> {
        let path = self.path;
        let found = |(key, node): (Key, Node)| (Found { path: format!("{path}.{}", key.name), node }, key);
        std::mem::take(&mut self.entries).into_iter().map(found).map(|(found, key)| (key, found)).collect()
    }

    /// Every key that was not asked for is a finding, with the nearest that is known.
    pub fn finish(self, reader: &mut Reader) {
        for (key, _) in &self.entries {
            let near = self.known.iter().map(|known| (strsim::jaro_winkler(known, &key.name), known));
            let near = near.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness > 0.8);
            let hint = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            reader.find(key.span, format!("unknown key `{}`{place}", key.name), "not known", hint);
        }
    }
}
