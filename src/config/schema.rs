//! The JSON Schema of `deploy.yaml` and the README's table of keys, generated from the table that the reader uses.

use serde_json::{Value, json};

use super::keys::Key;
use super::table::TOP;

/// The JSON Schema of `deploy.yaml`. Editors support draft 7 best.
pub fn schema() -> String {
    let mut schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "deploy.yaml of devopsctl"});
    if let (Value::Object(whole), Value::Object(top)) = (&mut schema, TOP.schema()) {
        whole.extend(top);
    }
    format!("{schema:#}\n")
}

/// A Markdown table with a row for each key.
#[cfg(test)]
fn rows() -> String {
    let rows = rows_below("", &TOP);
    format!("| key | default | description |\n| --- | --- | --- |\n{rows}")
}

#[cfg(test)]
fn rows_below(path: &str, section: &dyn Key) -> String {
    let of = |key: &&'static dyn Key| {
        let (name, value) = (format!("{path}{}", key.name()), key.value());
        if !key.keys().is_empty() {
            return rows_below(&format!("{name}."), *key);
        }
        let code = |value: &Value| format!("`{value}`").replace('"', "");
        let needed = section.value()["required"].as_array().is_some_and(|needs| needs.contains(&key.name().into()));
        let default = if needed { "required".to_owned() } else { key.default().as_ref().map(code).unwrap_or_default() };
        let words: Vec<String> =
            value["enum"].as_array().into_iter().flatten().filter(|word| word.is_string()).map(code).collect();
        let range = match (&value["minimum"], words.len()) {
            (Value::Null, 0 | 1) => String::new(),
            (Value::Null, _) => format!(" ({})", words.join(", ")),
            (least, _) => format!(" ({least} to {})", value["maximum"]),
        };
        format!("| `{name}` | {default} | {}{range} |\n", key.about())
    };
    let current = section.keys().iter().filter(|key| key.value()["deprecated"].is_null());
    current.map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Compares the text between two marks of a file; `INSTA_UPDATE=always` writes it, as it does snapshots.
    #[track_caller]
    fn assert_generated(file: &str, marks: (&str, &str), made: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let start = text.find(marks.0).map_or(0, |at| at + marks.0.len());
        let end = if marks.1.is_empty() { text.len() } else { start + text[start..].find(marks.1).unwrap() };
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            fs::write(&path, format!("{}{made}{}", &text[..start], &text[end..])).unwrap();
        } else {
            assert!(text[start..end] == *made, "{file} is stale: INSTA_UPDATE=always cargo test --lib schema");
        }
    }

    #[test]
    fn the_schema_is_generated() {
        assert_generated("docs/deploy.schema.json", ("", ""), &schema());
    }

    #[test]
    fn the_readmes_table_is_generated() {
        assert_generated("README.md", ("<!-- keys -->\n", "<!-- /keys -->"), &rows());
    }
}
