//! Data that an app seems to write beside its code, such as a SQLite file or uploads. On the EC2 instance the app's folder is read-only,
//! except for Flask's instance folder, and files elsewhere are deleted with the EC2 instance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::code::regex;

/// A database file with a relative path, or a path joined to one: `sqlite:///app.db`, `"db.sqlite3"`.
static DATABASE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"sqlite(?:\+\w+)?:///(\w[^"'\s?]*)|["']((?:[\w.-]+/)*[\w.-]*\w\.(?:db|sqlite3?))["']"#));
/// The settings of Flask, its extensions and Django for the folder of uploads, with their values.
static UPLOADS: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"\b(UPLOAD_FOLDER|UPLOADED_\w+_DEST|MEDIA_ROOT)\b["']?\]?\s*=\s*([^=\s].*)"#));
/// Code that reads an environment variable.
static FROM_OUTSIDE: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?:environ|getenv|env|config)\b[^"']*["'](\w+)["']"#));

/// A warning for each. `texts`: the modules' names and sources; `env`: the variables in deploy.yaml, which may replace a default in
/// such a line.
pub fn lines<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>, env: &BTreeMap<String, String>) -> Vec<String> {
    let texts: Vec<_> = texts.into_iter().filter(|(file, _)| is_code(file)).collect();
    let alchemy = texts.iter().any(|(_, text)| text.contains("flask_sqlalchemy"));
    let (mut told, mut lines) = (BTreeSet::new(), Vec::new());
    for (file, text) in texts {
        for (number, line) in text.lines().enumerate() {
            let code = line.split('#').next().unwrap_or_default();
            let Some(what) = named(code).filter(|_| !is_set(code, env)) else { continue };
            if told.insert(what.clone()) {
                let fate = if is_kept(code, alchemy) { KEPT } else { LOST };
                lines.push(format!("{file}:{} uses {what}{fate}", number + 1));
            }
        }
    }
    lines
}

/// For data in Flask's instance folder.
const KEPT: &str = " in Flask's instance folder: new releases and reboots keep it, but it is deleted with the EC2 instance, for example \
                    by `down` or when another instance type replaces it; for data that must survive, add `data` to deploy.yaml \
                    and use the folder DATA_DIR, or use an external database or a bucket";
/// For other data.
const LOST: &str = ": on the instance the app cannot write to its own folder, and files elsewhere are deleted with the instance; add \
                    `data` to deploy.yaml and use the folder DATA_DIR, or use an external database or a bucket";

/// Whether the line's path is in Flask's instance folder. Flask-SQLAlchemy reads relative paths of SQLite as relative to it.
fn is_kept(code: &str, alchemy: bool) -> bool {
    let relative = DATABASE.captures(code).is_some_and(|found| found.get(1).is_some());
    code.contains("instance_path") || (alchemy && relative)
}

/// Whether the file is code of the app itself.
fn is_code(file: &str) -> bool {
    let test = |part: &str| part == "tests" || part == "test" || part == "migrations";
    let name = file.rsplit('/').next().unwrap_or(file);
    let tests = name.starts_with("test_") || name.ends_with("_test.py") || name == "conftest.py";
    Path::new(file).extension().is_some_and(|end| end == "py") && !tests && !file.split('/').any(test)
}

fn named(code: &str) -> Option<String> {
    if let Some(found) = DATABASE.captures(code) {
        return found.get(1).or(found.get(2)).map(|file| file.as_str().to_owned());
    }
    let found = UPLOADS.captures(code)?;
    // An absolute path is outside of the app's folder.
    let value = found[2].trim_start_matches(['f', 'r', 'b']);
    let outside = value.starts_with("\"/") || value.starts_with("'/");
    (!outside).then(|| found[1].to_owned())
}

/// Whether deploy.yaml sets the variable that the line reads, or it is that of the data volume.
fn is_set(code: &str, env: &BTreeMap<String, String>) -> bool {
    FROM_OUTSIDE.captures(code).is_some_and(|found| &found[1] == "DATA_DIR" || env.contains_key(&found[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Option<String> {
        let env = BTreeMap::from([("SET".to_owned(), "x".to_owned())]);
        let lines = lines([("app.py", line)], &env);
        assert!(lines.len() < 2, "{lines:?}");
        let said = lines.into_iter().next()?;
        let (what, _) = said.strip_prefix("app.py:1 uses ")?.split_once(LOST)?;
        Some(what.to_owned())
    }

    #[test]
    fn databases_and_uploads_in_the_apps_folder_are_found() {
        for (line, what) in [
            ("app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///site'", "site"),
            ("engine = create_engine(\"sqlite+pysqlite:///data/app.db?timeout=5\")", "data/app.db"),
            ("URI = 'sqlite:///' + os.path.join(basedir, 'app.db')", "app.db"),
            ("connect('todo.sqlite')", "todo.sqlite"),
            ("        'NAME': BASE_DIR / 'db.sqlite3',", "db.sqlite3"),
            ("URI = os.environ.get('DATABASE_URL', 'sqlite:///dev.db')", "dev.db"),
            ("app.config['UPLOAD_FOLDER'] = 'static/uploads'", "UPLOAD_FOLDER"),
            ("MEDIA_ROOT = os.path.join(BASE_DIR, 'media')", "MEDIA_ROOT"),
        ] {
            assert_eq!(seen(line).as_deref(), Some(what), "{line}");
        }
    }

    #[test]
    fn other_paths_and_variables_in_deploy_yaml_are_not() {
        for line in [
            "URI = 'sqlite:////var/lib/x.db'",
            "URI = 'sqlite:///:memory:'",
            "connect(':memory:')",
            "connect(os.path.join(os.environ['DATA_DIR'], 'todo.db'))",
            "# connect('todo.db')",
            "URI = os.environ.get('SET', 'sqlite:///dev.db')",
            "MEDIA_ROOT = '/srv/media'",
            "if MEDIA_ROOT == x:",
            "import sqlite3",
            "name = 'a.dbx'",
        ] {
            assert_eq!(seen(line), None, "{line}");
        }
        let text = [("tests/test_app.py", "'x.db'"), ("a/conftest.py", "'x.db'"), ("data.json", "'x.db'")];
        assert_eq!(lines(text, &BTreeMap::new()), [""; 0]);
    }

    #[test]
    fn flasks_instance_folder_is_kept() {
        let said = |text: &str| lines([("app.py", text)], &BTreeMap::new()).concat();
        assert!(
            said("DATABASE=os.path.join(app.instance_path, 'flaskr.sqlite'),").contains("releases and reboots keep it")
        );
        assert!(said("UPLOAD_FOLDER = os.path.join(app.instance_path, 'u')").contains("releases and reboots keep it"));
        let relative = "URI = 'sqlite:///site.db'\n";
        assert!(said(relative).contains("cannot write to its own folder"));
        let alchemy = "from flask_sqlalchemy import SQLAlchemy\n";
        assert!(said(&format!("{alchemy}{relative}")).contains("app.py:2 uses site.db in Flask's instance folder"));
        let joined = "URI = 'sqlite:///' + os.path.join(basedir, 'app.db')\n";
        assert!(said(&format!("{alchemy}{joined}")).contains("cannot write to its own folder"));
    }

    #[test]
    fn each_has_one_warning() {
        let texts = [("a.py", "x = 1\nconnect('a.db')\nconnect('a.db')\n"), ("b.py", "connect('a.db')")];
        let lines = lines(texts, &BTreeMap::new());
        assert!(lines.len() == 1 && lines[0].starts_with("a.py:2 uses a.db"), "{lines:?}");
    }
}
