//! Packages from an index that `[tool.uv.sources]` names for them. A list of requirements cannot say that, so a project is written.

use std::path::Path;

use toml::{Table, Value};

use crate::base::toml_file::{self, PROJECT, at};

/// A project that requires the packages of a lock, with the indexes that the project in `file` names for some of them; `None` if it
/// names none.
pub(super) fn project(file: &Path, lock: &str) -> Option<String> {
    if file.file_name()? != PROJECT {
        return None;
    }
    let table = toml_file::read(file)?;
    let sources = at(&table, &["tool", "uv", "sources"])?.as_table()?;
    let sources: Table = sources.iter().filter(|(_, source)| is_index(source)).map(cloned).collect();
    if sources.is_empty() {
        return None;
    }
    let indexes = at(&table, &["tool", "uv", "index"]).cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    let lines = lock.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let dependencies: Vec<Value> = lines.map(Value::from).collect();
    let project = [("name", "release".into()), ("version", "0".into()), ("dependencies", dependencies.into())];
    let uv = [("sources", Value::Table(sources)), ("index", indexes)];
    let written = [("project", named(project)), ("tool", named([("uv", named(uv))]))];
    toml::to_string(&named(written)).ok()
}

/// Whether a source, or each of several with markers, is an index.
fn is_index(source: &Value) -> bool {
    match source {
        Value::Array(several) => several.iter().all(is_index),
        one => one.get("index").is_some(),
    }
}

fn cloned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn named<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_sources_that_are_indexes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PROJECT);
        let write = |sources: &str| {
            let indexes = "[[tool.uv.index]]\nname = 'a'\nurl = 'https://a'\nexplicit = true\n";
            fs::write(&file, format!("{indexes}[tool.uv.sources]\n{sources}\n")).unwrap();
            project(&file, "# sha256: 0\none==1\ntwo @ file:///two\n").map(|text| text.parse::<Table>().unwrap())
        };
        assert_eq!(write("two = {path = '../two'}"), None);
        let found =
            write("one = [{index = 'a', marker = \"sys_platform == 'linux'\"}]\ntwo = {path = '../two'}").unwrap();
        let dependencies: Vec<Value> = ["one==1", "two @ file:///two"].map(Value::from).into();
        assert_eq!(at(&found, &["project", "dependencies"]), Some(&Value::Array(dependencies)));
        let sources = at(&found, &["tool", "uv", "sources"]).unwrap().as_table().unwrap();
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["one"]);
        let indexes = at(&found, &["tool", "uv", "index"]).unwrap().as_array().unwrap();
        assert_eq!(indexes[0].get("url").and_then(Value::as_str), Some("https://a"));
        let list = folder.path().join("requirements.txt");
        fs::write(&list, "one==1\n").unwrap();
        assert_eq!(project(&list, "one==1\n"), None);
    }
}
