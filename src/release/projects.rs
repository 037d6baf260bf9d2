//! The files of Poetry, Pipenv, uv and PDM: what a project requires, as lines of a requirements file, and the versions in its lock.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use toml::{Table, Value};

use super::code::regex;
use crate::base::toml_file::{self, PROJECT, at};

/// Pipenv's file.
pub const PIPFILE: &str = "Pipfile";
/// The lock files.
pub const LOCKS: [&str; 4] = ["uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"];
/// The package index that every tool uses by default.
const PYPI: &str = "https://pypi.org/";

static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"));
static VERSION: LazyLock<Regex> = LazyLock::new(|| regex(r"^[A-Za-z0-9.!+_-]+$"));
/// Environment markers of PEP 508.
static MARKER: LazyLock<Regex> = LazyLock::new(|| regex(r#"^[\w .'"<>=!~,()*+-]+$"#));
/// A clause that pip reads as Poetry does.
static CLAUSE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.!+_*-]+$"));
/// Poetry's own: `^1.2`, `~1.2`, and a version by itself.
static OWN: LazyLock<Regex> = LazyLock::new(|| regex(r"^([\^~]?)\s*([0-9][A-Za-z0-9.!+_*-]*)$"));

/// The requirements of a Pipfile, or of a `pyproject.toml` that lists them for Poetry only; `None` for another file. The error says
/// why they cannot be read.
pub fn requirements(name: &str, text: &str) -> Option<Result<Vec<String>, String>> {
    let table: Table = text.parse().ok()?;
    let (packages, sources) = match name {
        PIPFILE => (at(&table, &["packages"]), at(&table, &["source"])),
        PROJECT if at(&table, &["project", "dependencies"]).is_none() => {
            (Some(at(&table, &["tool", "poetry", "dependencies"])?), at(&table, &["tool", "poetry", "source"]))
        }
        _ => return None,
    };
    let urls = sources.and_then(Value::as_array).into_iter().flatten().filter_map(|source| source.get("url")?.as_str());
    if let Some(other) = urls.into_iter().find(|url| !url.starts_with(PYPI)) {
        return Some(Err(format!("it installs from {}, and only those of PyPI are read", host(other))));
    }
    let packages = packages.and_then(Value::as_table).into_iter().flatten();
    let lines = packages.filter(|(name, _)| *name != "python").map(|(name, value)| lines(name, value));
    Some(lines.collect::<Result<Vec<_>, _>>().map(|lines| lines.concat()))
}

/// The server of a URL, without a password in it.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let server = rest.split('/').next().unwrap_or_default();
    server.rsplit('@').next().unwrap_or_default()
}

/// The lines for one package: there may be several, each with a marker.
fn lines(name: &str, value: &Value) -> Result<Vec<String>, String> {
    if !NAME.is_match(name) {
        return Err(format!("{name:?} is not the name of a package"));
    }
    match value {
        Value::Array(several) => several.iter().map(|one| line(name, one)).filter_map(Result::transpose).collect(),
        one => Ok(line(name, one)?.into_iter().collect()),
    }
}

fn line(name: &str, value: &Value) -> Result<Option<String>, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if value.get("optional").and_then(Value::as_bool) == Some(true) {
        return Ok(None);
    }
    let extras = value.get("extras").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let extras: Vec<&str> = extras.filter(|extra| NAME.is_match(extra)).collect();
    let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let revision = ["rev", "tag", "branch", "ref"].into_iter().find_map(text).map(|rev| format!("@{rev}"));
    let place = match (text("path").or_else(|| text("file")).or_else(|| text("url")), text("git")) {
        (Some(place), _) => Some(place.to_owned()),
        (_, Some(git)) => Some(format!("git+{git}{}", revision.unwrap_or_default())),
        _ => None,
    };
    let required = match (place, value.as_str().or_else(|| text("version"))) {
        (Some(place), _) if place.contains(char::is_whitespace) => {
            return Err(format!("the path or URL of {name} contains white space"));
        }
        (Some(place), _) => format!(" @ {place}"),
        (None, version) => specifier(version.unwrap_or("*")),
    };
    let python = text("python").map(|python| marker("python_full_version", &specifier(python)));
    let markers: Vec<String> = text("markers").map(str::to_owned).into_iter().chain(python).collect();
    let markers: Vec<String> = markers.into_iter().filter(|marker| MARKER.is_match(marker)).collect();
    let markers = if markers.is_empty() { String::new() } else { format!(" ; {}", markers.join(" and ")) };
    Ok(Some(format!("{name}{extras}{required}{markers}")))
}

/// A constraint of Poetry or Pipenv as one of pip; empty if pip has none for it, so that the lock decides.
fn specifier(written: &str) -> String {
    if written.contains('|') {
        return String::new();
    }
    let clauses = written.split(',').map(str::trim).filter(|clause| !clause.is_empty() && *clause != "*");
    let clauses = clauses.map(|clause| match OWN.captures(clause) {
        _ if CLAUSE.is_match(clause) => Some(clause.to_owned()),
        Some(found) if &found[1] == "^" => range(&found[2], |parts| parts.iter().position(|part| *part > 0)),
        Some(found) if &found[1] == "~" => range(&found[2], |parts| Some(parts.len().min(2) - 1)),
        Some(found) => Some(format!("=={}", &found[2])),
        None => None,
    });
    clauses.collect::<Option<Vec<_>>>().unwrap_or_default().join(",")
}

/// `>=1.2,<2`: below the next version at the part that `last` selects; without one, at the last part.
fn range(version: &str, last: impl Fn(&[u64]) -> Option<usize>) -> Option<String> {
    let parts: Vec<u64> = version.split('.').map_while(|part| part.parse().ok()).collect();
    let at = last(&parts).unwrap_or(parts.len().checked_sub(1)?);
    let below: Vec<String> =
        parts[..=at].iter().enumerate().map(|(index, part)| (part + u64::from(index == at)).to_string()).collect();
    Some(format!(">={version},<{}", below.join(".")))
}

/// `>=3.9,<4` as a marker about this variable.
fn marker(variable: &str, specifier: &str) -> String {
    let clauses = specifier.split(',').filter_map(|clause| {
        let at = clause.find(|c: char| c.is_ascii_digit())?;
        Some(format!("{variable} {} '{}'", clause[..at].trim(), &clause[at..]))
    });
    clauses.collect::<Vec<_>>().join(" and ")
}

/// The lock file of the project in a folder: its own, or that of uv's workspace above it.
pub fn lock(folder: &Path) -> Option<PathBuf> {
    let own = LOCKS.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    own.or_else(|| {
        let is_workspace = |root: &&Path| {
            toml_file::read(&root.join(PROJECT)).is_some_and(|table| at(&table, &["tool", "uv", "workspace"]).is_some())
        };
        let root = folder.ancestors().skip(1).find(is_workspace)?;
        Some(root.join(LOCKS[0])).filter(|path| path.is_file())
    })
}

/// The versions in a lock file, as lines of a constraints file; without packages that are not from an index.
pub fn pins(name: &str, text: &str) -> Vec<String> {
    if name == "Pipfile.lock" {
        return pins_of_pipenv(text);
    }
    let Ok(table) = text.parse::<Table>() else { return Vec::new() };
    let packages: Vec<&Value> = at(&table, &["package"]).and_then(Value::as_array).into_iter().flatten().collect();
    let name_of = |package: &Value| package.get("name").and_then(Value::as_str).map(str::to_owned);
    let pin = |package: &&Value| {
        let (name, version) = (name_of(package)?, package.get("version")?.as_str()?);
        let source = package.get("source");
        let indexed = source.is_none_or(|source| {
            source.get("registry").is_some() || source.get("type").is_some_and(|kind| kind.as_str() == Some("legacy"))
        });
        let local = ["path", "git", "url"].iter().any(|key| package.get(key).is_some());
        let single = packages.iter().filter(|other| name_of(other).as_ref() == Some(&name)).count() == 1;
        let marker = if single { Some(String::new()) } else { markers(package) };
        if !indexed || local || !NAME.is_match(&name) || !VERSION.is_match(version) {
            return None;
        }
        Some(format!("{name}=={version}{}", marker?))
    };
    packages.iter().filter_map(pin).collect()
}

/// When a version of several ones applies.
fn markers(package: &Value) -> Option<String> {
    let alternatives = package.get("resolution-markers").and_then(Value::as_array);
    let alternatives = alternatives.map(|list| {
        let each = list.iter().filter_map(Value::as_str).map(|marker| format!("({marker})"));
        each.collect::<Vec<_>>().join(" or ")
    });
    let text = |key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let marker = alternatives.or_else(|| text("markers")).or_else(|| text("marker"))?;
    MARKER.is_match(&marker).then(|| format!(" ; {marker}"))
}

fn pins_of_pipenv(text: &str) -> Vec<String> {
    let lock: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let packages = lock["default"].as_object().into_iter().flatten();
    let pin = |(name, about): (&String, &serde_json::Value)| {
        let version = about["version"].as_str()?.strip_prefix("==")?;
        (NAME.is_match(name) && VERSION.is_match(version)).then(|| format!("{name}=={version}"))
    };
    packages.filter_map(pin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(requirements(name, text).unwrap().unwrap(), expected, "{text}");
    }

    #[test]
    fn poetrys_requirements_are_those_of_pip() {
        let poetry = |lines: &str| format!("[tool.poetry.dependencies]\npython = '^3.11'\n{lines}\n");
        for (line, expected) in [
            ("flask = '^3.0'", "flask>=3.0,<4"),
            ("flask = '^0.2.3'", "flask>=0.2.3,<0.3"),
            ("flask = '^0.0'", "flask>=0.0,<0.1"),
            ("flask = '~1.2.3'", "flask>=1.2.3,<1.3"),
            ("flask = '~1'", "flask>=1,<2"),
            ("flask = '*'", "flask"),
            ("flask = '3.0.*'", "flask==3.0.*"),
            ("flask = '>=3, !=3.1.1'", "flask>=3,!=3.1.1"),
            ("flask = '^2 || ^3'", "flask"),
            ("flask = {version = '^3', extras = ['async', 'dotenv']}", "flask[async,dotenv]>=3,<4"),
            ("flask = {version = '*', python = '<3.12'}", "flask ; python_full_version < '3.12'"),
            ("flask = {version = '*', markers = \"sys_platform == 'linux'\"}", "flask ; sys_platform == 'linux'"),
            ("shared = {path = '../shared', develop = true}", "shared @ ../shared"),
            ("lib = {git = 'https://example.com/lib.git', tag = 'v1'}", "lib @ git+https://example.com/lib.git@v1"),
        ] {
            is(PROJECT, &poetry(line), &[expected]);
        }
        is(PROJECT, &poetry("flask = {version = '^3', optional = true}"), &[]);
        let several = "x = [{version = '1', python = '<3.12'}, {version = '2', python = '>=3.12'}]";
        let lines = ["x==1 ; python_full_version < '3.12'", "x==2 ; python_full_version >= '3.12'"];
        is(PROJECT, &poetry(several), &lines);
        assert_eq!(requirements(PROJECT, "[project]\ndependencies = []\n[tool.poetry.dependencies]\nx = '1'\n"), None);
        assert_eq!(requirements(PROJECT, "[tool.ruff]\n"), None);
        let other =
            poetry("x = '1'\n[[tool.poetry.source]]\nname = 'own'\nurl = 'https://me:pass@pypi.example.com/simple'");
        let why = requirements(PROJECT, &other).unwrap().unwrap_err();
        assert!(why.contains("from pypi.example.com,") && !why.contains("pass"), "{why}");
        assert!(requirements(PROJECT, &poetry("'x y' = '1'")).unwrap().is_err());
    }

    #[test]
    fn pipenvs_requirements_are_those_of_pip() {
        let pipfile =
            "[[source]]\nurl = 'https://pypi.org/simple'\nname = 'pypi'\n[dev-packages]\npytest = '*'\n[packages]\n";
        for (line, expected) in [
            ("flask = '*'", "flask"),
            ("flask = '==3.0.3'", "flask==3.0.3"),
            ("flask = {version = '>=3', extras = ['async'], index = 'pypi'}", "flask[async]>=3"),
            ("shared = {path = './shared', editable = true}", "shared @ ./shared"),
            ("lib = {git = 'https://example.com/lib.git', ref = 'main'}", "lib @ git+https://example.com/lib.git@main"),
        ] {
            is(PIPFILE, &format!("{pipfile}{line}\n"), &[expected]);
        }
        assert!(requirements(PIPFILE, &pipfile.replace("pypi.org", "pypi.example.com")).unwrap().is_err());
    }

    #[test]
    fn a_lock_pins_the_packages_of_indexes() {
        let uv = "version = 1\n[[package]]\nname = 'shop'\nversion = '1'\nsource = {virtual = '.'}\n\
                  [[package]]\nname = 'flask'\nversion = '3.0.3'\nsource = {registry = 'https://pypi.org/simple'}\n\
                  [[package]]\nname = 'click'\nversion = '8.1'\nsource = {registry = 'x'}\nresolution-markers = [\"python_full_version < '3.10'\"]\n\
                  [[package]]\nname = 'click'\nversion = '8.2'\nsource = {registry = 'x'}\nresolution-markers = [\"python_full_version == '3.10.*'\", \"python_full_version >= '3.11'\"]\n";
        let click = "click==8.2 ; (python_full_version == '3.10.*') or (python_full_version >= '3.11')";
        assert_eq!(pins("uv.lock", uv), ["flask==3.0.3", "click==8.1 ; (python_full_version < '3.10')", click]);
        let poetry = "[[package]]\nname = 'falcon'\nversion = '4.0.1'\n[[package]]\nname = 'lib'\nversion = '1'\n\
                      [package.source]\ntype = 'git'\n[[package]]\nname = 'x;y'\nversion = '1'\n[[package]]\nname = 'z'\nversion = \"1\\n-e .\"\n";
        assert_eq!(pins("poetry.lock", poetry), ["falcon==4.0.1"]);
        let pipenv = r#"{"default": {"bottle": {"version": "==0.12.25"}, "lib": {"path": "."}}, "develop": {"a": {"version": "==1"}}}"#;
        assert_eq!(pins("Pipfile.lock", pipenv), ["bottle==0.12.25"]);
        assert_eq!(pins("poetry.lock", "[[["), [""; 0]);
    }
}
