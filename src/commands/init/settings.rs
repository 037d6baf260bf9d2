//! Other findings in the project: the routes, hard-coded secrets, requirements, the Python version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Files, Place};
use crate::base::toml_file::PROJECT;
use crate::release::code::{self, Line, regex};
use crate::release::projects::{self, PIPFILE};

static ROUTE: LazyLock<Regex> = LazyLock::new(|| regex(r#"^@(?:(\w+)\.)?(route|get) ?\( ?"(\d+)""#));
static URL: LazyLock<Regex> = LazyLock::new(|| regex(r#"\bpath ?\( ?"(\d+)""#));
static ADDED: LazyLock<Regex> = LazyLock::new(|| regex(r#"^(?:(\w+)\.)?add_url_rule ?\( ?"(\d+)""#));
static ROUTER: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+) ?= ?(?:\w+\.)*(?:Blueprint|APIRouter) ?\("));
/// A requirement that is a path: `-e ../shared`, `./shared`, `shared @ ../shared`.
static LOCAL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(?:(?:-e|--editable)[ =]\s*)?(?:[\w.-]+(?:\[[^\]]*\])? @ )?(?:\.{1,2}/|/|file:|\.$)"));
/// A package by its path in `tool.uv.sources`.
static SOURCE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(?:path|workspace)\s*="));
/// `SECRET_KEY="x"` as an argument.
static ARGUMENT: LazyLock<Regex> = LazyLock::new(|| regex(r#"\b(\w+) ?= ?"(\d+)" ?[,)]"#));
/// A call that sets Flask's configuration from its arguments, or from variables of the environment.
static CONFIG: LazyLock<Regex> = LazyLock::new(|| regex(r"\bconfig\.(?:from_mapping|update) ?\("));
pub static PREFIXED: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"\bconfig\.from_prefixed_env ?\( ?(?:(?:prefix ?= ?)?"(\d+)")?"#));
static SECRET: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^(?:\w+\.)*(?:config ?\[ ?"(\d+)" ?\]|(\w+)) ?= ?"(\d+)"$"#));

/// The app's routes, as far as they are literals. If there are prefixes, only the routes of the app and of routers without one count.
pub fn routes(modules: &BTreeMap<String, Vec<Line>>, apps: &BTreeSet<String>) -> BTreeMap<String, Place> {
    let all = || modules.iter().flat_map(|(file, lines)| lines.iter().map(move |line| (file, line)));
    let prefixed = all().any(|(_, line)| has_prefix(line) || line.code.contains("include("));
    let mut routes = BTreeMap::new();
    for (file, line) in all() {
        let own = |receiver: Option<&str>| {
            receiver.is_none_or(|name| apps.contains(name) || is_plain(modules, file, name)) || !prefixed
        };
        let (decorator, added) = (ROUTE.captures(&line.code), ADDED.captures(&line.code));
        let name = |found: &Captures<'_>| found.get(1).map(|name| name.as_str().to_owned());
        let path = match (decorator, added) {
            (Some(found), _) => own(name(&found).as_deref()).then(|| line.string(&found[3]).to_owned()),
            (_, Some(found)) => own(name(&found).as_deref()).then(|| line.string(&found[2]).to_owned()),
            _ if file.ends_with("urls.py") && !prefixed => {
                URL.captures(&line.code).map(|found| format!("/{}", line.string(&found[1])))
            }
            _ => None,
        };
        if let Some(path) = path {
            routes.entry(path).or_insert_with(|| Place::new(file, line.number));
        }
    }
    routes
}

fn has_prefix(line: &Line) -> bool {
    line.code.contains("prefix") && !PREFIXED.is_match(&line.code)
}

/// Whether a router of a file has no prefix, and no router of that name gets one where it is registered.
fn is_plain(modules: &BTreeMap<String, Vec<Line>>, file: &str, name: &str) -> bool {
    let made = |line: &Line| ROUTER.captures(&line.code).is_some_and(|found| &found[1] == name) && !has_prefix(line);
    let registers = |line: &Line| ["register_blueprint", "include_router"].iter().any(|call| line.code.contains(call));
    let word = |code: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == name);
    modules[file].iter().any(made)
        && !modules.values().flatten().any(|line| registers(line) && has_prefix(line) && word(&line.code))
}

/// The best path for the health check.
pub fn health(routes: &BTreeMap<String, Place>) -> Option<(String, Place)> {
    let likely = ["/healthz", "/healthz/", "/health", "/health/", "/ping", "/ping/", "/"];
    likely.into_iter().find_map(|path| routes.get(path).map(|place| (path.to_owned(), place.clone())))
}

/// Secrets in the source code: their names and places, not their values.
pub fn hard_coded(modules: &BTreeMap<String, Vec<Line>>) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    // Then a variable of the environment replaces what the source sets.
    let replaced = modules.values().flatten().any(|line| PREFIXED.is_match(&line.code));
    for (file, lines) in modules {
        for line in lines {
            let arguments = ARGUMENT.captures_iter(&line.code).filter(|_| CONFIG.is_match(&line.code) && !replaced);
            let named = arguments.filter(|argument| is_named_secret(&argument[1], line.string(&argument[2])));
            found.extend(named.map(|argument| (argument[1].to_owned(), Place::new(file, line.number))));
            let Some(assigned) = SECRET.captures(&line.code) else { continue };
            let name = match (assigned.get(1), assigned.get(2)) {
                (Some(index), _) => line.string(index.as_str()),
                (_, Some(name)) => name.as_str(),
                _ => continue,
            };
            if is_named_secret(name, line.string(&assigned[3])) {
                found.push((name.to_owned(), Place::new(file, line.number)));
            }
        }
    }
    found
}

fn is_named_secret(name: &str, value: &str) -> bool {
    let upper = name.to_uppercase();
    let secret = ["SECRET", "TOKEN", "PASSWORD", "API_KEY"].iter().any(|part| upper.contains(part));
    secret && !is_message(&upper, value)
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
    /// The path of the file, and the packages that it lists.
    Taken(String, BTreeSet<String>),
    /// There are none.
    Missing,
}

/// The requirements in a folder.
pub fn requirements(files: &Files, folder: &str) -> Requirements {
    let at = |name: &str| join(folder, name);
    if files.has(&at("requirements.txt")) {
        return Requirements::Taken(at("requirements.txt"), packages(files, &at("requirements.txt"), 0));
    }
    let named = |entries: &[String]| {
        entries.iter().map(|entry| package(entry)).filter(|name| !name.is_empty()).collect::<BTreeSet<_>>()
    };
    let project = files.text(&at(PROJECT)).map(code::lines).unwrap_or_default();
    if let Some(list) = in_table(&project, "[project]", "dependencies") {
        return Requirements::Taken(at(PROJECT), named(&list.strings));
    }
    for name in [PROJECT, PIPFILE] {
        let lines = files.text(&at(name)).and_then(|text| projects::requirements(name, text));
        if let Some(lines) = lines {
            return Requirements::Taken(at(name), named(&lines.unwrap_or_default()));
        }
    }
    Requirements::Missing
}

/// The lock file beside these requirements. A requirements.txt has the versions that it wants itself.
pub fn lock(files: &Files, requirements: &Requirements) -> Option<String> {
    let Requirements::Taken(file, _) = requirements else { return None };
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let mut locks = projects::LOCKS.iter().map(|lock| join(folder, lock));
    locks.find(|lock| files.has(lock)).filter(|_| [PROJECT, PIPFILE].contains(&name))
}

/// Whether the requirements name a package by its path, such as `-e ../shared`.
pub fn names_paths(files: &Files, requirements: &Requirements) -> bool {
    let Requirements::Taken(file, _) = requirements else { return false };
    let text = files.text(file).unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or(file);
    let own = projects::requirements(name, text).and_then(Result::ok).unwrap_or_default();
    let path = |line: &str| LOCAL.is_match(line.trim());
    let sources = name == PROJECT && text.contains("tool.uv.sources") && SOURCE.is_match(text);
    sources || own.iter().any(|line| path(line)) || (!name.ends_with(".toml") && text.lines().any(path))
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
        let text = "app.config.from_mapping(DATABASE=x, SECRET_KEY='dev')\nrun(SECRET_KEY='dev')\n";
        assert_eq!(names(text), ["SECRET_KEY"]);
        assert_eq!(names(&format!("{text}app.config.from_prefixed_env()\n")), Vec::<String>::new());
        let text = "SECRET_KEY = 'my very secret key'\nAPI_TOKEN = 'abc'\nDB_PASSWORD = 'a horse'\n";
        assert_eq!(names(text), ["SECRET_KEY", "API_TOKEN", "DB_PASSWORD"]);
    }

    #[test]
    fn the_routes_of_a_router_without_a_prefix_count() {
        let paths = |files: &[(&str, &str)]| {
            let modules = files.iter().map(|(name, text)| ((*name).to_owned(), code::lines(text))).collect();
            routes(&modules, &BTreeSet::from(["app".to_owned()])).into_keys().collect::<Vec<_>>()
        };
        let auth =
            ("auth.py", "bp = Blueprint('auth', __name__, url_prefix='/auth')\n@bp.route('/login')\ndef f(): pass\n");
        let blog = ("blog.py", "bp = Blueprint('blog', __name__)\n@bp.route('/')\ndef f(): pass\n");
        let app =
            "app.register_blueprint(auth.bp)\napp.register_blueprint(blog.bp)\napp.add_url_rule('/x', endpoint='x')\n";
        assert_eq!(paths(&[auth, blog, ("app.py", app)]), ["/", "/x"]);
        let registered = app.replace("(blog.bp)", "(blog.bp, url_prefix='/blog')");
        assert_eq!(paths(&[auth, blog, ("app.py", &registered)]), ["/x"]);
    }
}
