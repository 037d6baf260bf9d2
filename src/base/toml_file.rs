//! The TOML files of Python projects. Syntax errors are reported by the programs that own them.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// The name of a project's file.
pub const PROJECT: &str = "pyproject.toml";

/// A file's table; `None` if it is missing or has a syntax error.
pub fn read(file: &Path) -> Option<Table> {
    fs::read_to_string(file).ok()?.parse().ok()
}

/// The value at a path of keys.
pub fn at<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}
