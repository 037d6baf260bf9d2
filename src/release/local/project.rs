//! Projects: what a `pyproject.toml` refers to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ignore::overrides::OverrideBuilder;
use toml::{Table, Value};

use super::super::source;
use crate::base::toml_file::{PROJECT, at};

/// The tables of a source: there may be several, each with a marker.
fn entries(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

/// The paths in `tool.uv.sources`.
pub(super) fn sources(table: &Table) -> Vec<String> {
    let sources = at(table, &["tool", "uv", "sources"]).and_then(Value::as_table);
    let entries = sources.into_iter().flat_map(Table::values).flat_map(entries);
    entries.filter_map(|entry| entry.get("path").or_else(|| entry.get("url"))?.as_str().map(str::to_owned)).collect()
}

/// The names in `tool.uv.sources` that belong to the workspace.
pub(super) fn shared(table: &Table) -> BTreeSet<String> {
    let sources = at(table, &["tool", "uv", "sources"]).and_then(Value::as_table);
    let of_workspace = |value: &Value| {
        entries(value).iter().any(|entry| entry.get("workspace").and_then(Value::as_bool) == Some(true))
    };
    sources.into_iter().flatten().filter(|(_, value)| of_workspace(value)).map(|(name, _)| normal(name)).collect()
}

/// All paths and URLs in a project, for uv and for Poetry.
pub(super) fn referenced(table: &Table) -> Vec<String> {
    let mut found = sources(table);
    let lists = [&["project", "dependencies"][..], &["build-system", "requires"]];
    let mut lists: Vec<&Value> = lists.iter().filter_map(|keys| at(table, keys)).collect();
    let optional = at(table, &["project", "optional-dependencies"]).and_then(Value::as_table);
    lists.extend(optional.into_iter().flat_map(Table::values));
    let texts = lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let url = |text: &str| {
        let (_, url) = text.split_once('@')?;
        url.trim().split([' ', ';']).next().map(str::to_owned)
    };
    found.extend(texts.filter_map(url).filter(|url| url.starts_with("file:") || url.starts_with('{')));
    let poetry = at(table, &["tool", "poetry", "dependencies"]).and_then(Value::as_table);
    let entries = poetry.into_iter().flat_map(Table::values).flat_map(entries);
    found.extend(entries.filter_map(|entry| entry.get("path")?.as_str().map(str::to_owned)));
    found
}

pub(super) fn project_name(table: &Table) -> Option<String> {
    at(table, &["project", "name"])?.as_str().map(normal)
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// The projects of a workspace.
pub(super) fn members(root: &Path, table: &Table) -> Vec<PathBuf> {
    let list = |key: &str| {
        let list = at(table, &["tool", "uv", "workspace", key]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let mut patterns = OverrideBuilder::new(root);
    for pattern in list("members") {
        // uv reports an invalid pattern.
        let _ = patterns.add(&format!("/{}", pattern.trim_end_matches('/')));
    }
    for pattern in list("exclude") {
        let _ = patterns.add(&format!("!/{}", pattern.trim_end_matches('/')));
    }
    let Ok(patterns) = patterns.build() else { return Vec::new() };
    let folders = source::walk(root).build().flatten().map(ignore::DirEntry::into_path);
    let member =
        |path: &PathBuf| path == root || (patterns.matched(path, true).is_whitelist() && path.join(PROJECT).is_file());
    folders.filter(member).collect()
}
