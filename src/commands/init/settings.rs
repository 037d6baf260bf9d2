//! Other findings in the project: the routes, hard-coded secrets, requirements, the Python version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{Files, Place};
use crate::release::code::{self, Line, regex};

static ROUTE: LazyLock<Regex> = LazyLock::new(|| regex(r#"^@(?:(\w+)\.)?(route|get) ?\( ?"(\d+)""#));
static URL: LazyLock<Regex> = LazyLock::new(|| regex(r#"\bpath ?\( ?"(\d+)""#));
static SECRET: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^(?:\w+\.)*(?:config ?\[ ?"(\d+)" ?\]|(\w+)) ?= ?"(\d+)"$"#));

/// The app's routes, as far as they are literals. If routers have prefixes, only the app's own routes count.
pub fn routes(modules: &BTreeMap<String, Vec<Line>>, apps: &BTreeSet<String>) -> BTreeMap<String, Place> {
    let all = || modules.iter().flat_map(|(file, lines)| lines.iter().map(move |line| (file, line)));
    let prefixed = all().any(|(_, line)| line.code.contains("prefix") || line.code.contains("include("));
    let mut routes = BTreeMap::new();
    for (file, line) in all() {
        let own = |receiver: Option<&str>| receiver.is_none_or(|name| apps.contains(name)) || !prefixed;
        let path = match ROUTE.captures(&line.code) {
            Some(found) if own(found.get(1).map(|name| name.as_str())) => Some(line.string(&found[3]).to_owned()),
            Some(_) => None,
            None if file.ends_with("urls.py") && !prefixed => {
                URL.captures(&line.code).map(|found| format!("/{}", line.string(&found[1])))
            }
            None => None,
        };
        if let Some(path) = path {
            routes.entry(path).or_insert_with(|| Place::new(file, line.number));
        }
    }
    routes
}

/// The best path for the health check.
pub fn health(routes: &BTreeMap<String, Place>) -> Option<(String, Place)> {
    let likely = ["/healthz", "/healthz/", "/health", "/health/", "/ping", "/ping/", "/"];
    likely.into_iter().find_map(|path| routes.get(path).map(|place| (path.to_owned(), place.clone())))
}

/// Secrets in the source code: their names and places, not their values.
pub fn hard_coded(modules: &BTreeMap<String, Vec<Line>>) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    for (file, lines) in modules {
        for line in lines {
            let Some(assigned) = SECRET.captures(&line.code) else { continue };
            let name = match (assigned.get(1), assigned.get(2)) {
                (Some(index), _) => line.string(index.as_str()),
                (_, Some(name)) => name.as_str(),
                _ => continue,
            };
            let upper = name.to_uppercase();
            let secret = ["SECRET", "TOKEN", "PASSWORD", "API_KEY"].iter().any(|part| upper.contains(part));
            if secret && !is_message(&upper, line.string(&assigned[3])) {
                found.push((name.to_owned(), Place::new(file, line.number)));
            }
        }
    }
    found
}

/// Whether a text is a message, such as an error, or empty.
fn is_message(name: &str, text: &str) -> bool {
    let told = ["ERROR", "MESSAGE", "MSG", "INVALID", "MISSING", "EXPIRED", "REQUIRED", "HELP", "LABEL"];
    let sentence = text.contains(char::is_whitespace) && !name.ends_with("SECRET_KEY") && !name.ends_with("PASSWORD");
    text.is_empty() || sentence || told.iter().any(|part| name.contains(part))
}

/// The app's requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirements {
    /// devopsctl reads this file: its path, and the packages that it lists.
    Taken(String, BTreeSet<String>),
    /// devopsctl does not read this file; the command converts it to a requirements.txt.
    Convert(String, &'static str),
    /// There are none.
    Missing,
}

const UV: &str = "uv export --no-dev --no-hashes -o requirements.txt";
const POETRY: &str = "poetry export --without-hashes -o requirements.txt";
const PIPENV: &str = "pipenv requirements > requirements.txt";

/// The requirements in a folder.
pub fn requirements(files: &Files, folder: &str) -> Requirements {
    let at = |name: &str| join(folder, name);
    if files.has(&at("requirements.txt")) {
        return Requirements::Taken(at("requirements.txt"), packages(files, &at("requirements.txt"), 0));
    }
    let project = files.text(&at("pyproject.toml")).map(code::lines).unwrap_or_default();
    if let Some(list) = in_table(&project, "[project]", "dependencies") {
        let named = list.strings.iter().map(|entry| package(entry)).filter(|name| !name.is_empty());
        return Requirements::Taken(at("pyproject.toml"), named.collect());
    }
    let poetry = project.iter().any(|line| line.code.starts_with("[tool.poetry"));
    let convert = |name: &str, command| Requirements::Convert(at(name), command);
    match () {
        () if files.has(&at("uv.lock")) => convert("uv.lock", UV),
        () if files.has(&at("poetry.lock")) => convert("poetry.lock", POETRY),
        () if poetry => convert("pyproject.toml", POETRY),
        () if files.has(&at("Pipfile.lock")) => convert("Pipfile.lock", PIPENV),
        () if files.has(&at("Pipfile")) => convert("Pipfile", PIPENV),
        () => Requirements::Missing,
    }
}

/// A lock file that devopsctl does not read, and the command that converts it.
pub fn unused_lock(files: &Files, folder: &str) -> Option<(String, &'static str)> {
    let locks = [("uv.lock", UV), ("poetry.lock", POETRY)];
    locks.into_iter().map(|(name, command)| (join(folder, name), command)).find(|(name, _)| files.has(name))
}

/// The path of a name in a folder, relative to the project.
pub fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn packages(files: &Files, file: &str, depth: usize) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for line in files.text(file).unwrap_or_default().lines() {
        let line = line.split(" #").next().unwrap_or_default().trim().trim_start_matches('\u{feff}');
        let other = line.strip_prefix("-r").or_else(|| line.strip_prefix("--requirement"));
        match other {
            // Files may include each other in a cycle.
            Some(other) if depth < 4 => {
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                named.extend(packages(files, &join(folder, other.trim_start_matches(['=', ' ']).trim()), depth + 1));
            }
            _ if line.starts_with(['-', '#']) || line.is_empty() => {}
            _ => _ = named.insert(package(line)),
        }
    }
    named
}

/// `Flask[async]>=3` → `flask`
fn package(requirement: &str) -> String {
    let name: String =
        requirement.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    name.to_lowercase().replace(['_', '.'], "-")
}

/// A key in a table of TOML.
fn in_table<'a>(lines: &'a [Line], table: &str, key: &str) -> Option<&'a Line> {
    let inside = lines.iter().skip_while(|line| line.code != table).skip(1);
    inside
        .take_while(|line| !line.code.starts_with('['))
        .find(|line| line.code.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
}

/// The Python that the project requires, as the file has it, and where.
pub fn python(files: &Files, folder: &str) -> Option<(String, Place)> {
    for folder in [folder, ""] {
        let file = join(folder, "pyproject.toml");
        let project = files.text(&file).map(code::lines).unwrap_or_default();
        let asked = in_table(&project, "[project]", "requires-python")
            .or_else(|| in_table(&project, "[tool.poetry.dependencies]", "python"));
        if let Some(line) = asked.filter(|line| line.strings.len() == 1) {
            return Some((line.strings[0].clone(), Place::new(&file, line.number)));
        }
        let file = join(folder, ".python-version");
        let text = files.text(&file).unwrap_or_default();
        if let Some(version) = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')) {
            return Some((version.to_owned(), Place::new(&file, 1)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(text: &str) -> BTreeMap<String, Vec<Line>> {
        BTreeMap::from([("app.py".to_owned(), code::lines(text))])
    }

    #[test]
    fn a_message_is_not_a_secret() {
        let names = |text: &str| hard_coded(&modules(text)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        for text in [
            "INVALID_TOKEN = 'token_invalid'\n",
            "NO_TOKEN = 'send a token'\n",
            "PASSWORD_ERROR = 'wrong'\n",
            "TOKEN = ''\n",
        ] {
            assert_eq!(names(text), Vec::<String>::new(), "{text}");
        }
        let text = "SECRET_KEY = 'my very secret key'\nAPI_TOKEN = 'abc'\nDB_PASSWORD = 'a horse'\n";
        assert_eq!(names(text), ["SECRET_KEY", "API_TOKEN", "DB_PASSWORD"]);
    }
}
