//! Finds the app in a folder and how to deploy it. Pure: it maps the files to findings, each with its place; `verb.rs` reads and
//! writes files.

mod advice;
mod apps;
mod builds;
mod django;
mod procfile;
mod secrets;
mod settings;
mod static_files;
mod token;
mod variables;
mod verb;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use advice::Plan;
pub use apps::{Form, Framework};
pub use django::Setting;
pub use secrets::{Secret, TEMPLATES, is_secret};
pub use settings::Requirements;
pub(super) use verb::run;

use crate::config;
use crate::release::code::{self, Line};
use procfile::Procfile;
use settings::join;

/// The project's files by path, with forward slashes. Files that are not relevant have no text.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<String, String>);

impl Files {
    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// The files without these.
    fn without(&self, names: &BTreeSet<String>) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(*name));
        Self(kept.map(|(name, text)| (name.clone(), text.clone())).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The files in a folder, by path.
    fn below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let inside = move |name: &str| {
            let rest = name.strip_prefix(folder);
            folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
        };
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str())).filter(move |(name, _)| inside(name))
    }

    /// Each Python module's lines, by its file.
    fn modules(&self) -> BTreeMap<String, Vec<Line>> {
        let modules = self.0.iter().filter(|(name, _)| name.ends_with(".py"));
        modules.map(|(name, text)| (name.clone(), code::lines(text))).collect()
    }
}

/// A place in the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's path in the project.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    fn new(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An app that could be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is created.
    pub place: Place,
    /// Its framework.
    pub framework: Framework,
    /// How gunicorn gets it.
    pub form: Form,
    /// The folder that its module is imported from; empty for the project itself.
    pub root: String,
    /// The module's name from there.
    pub module: String,
    /// The object or the function; empty if it has no name.
    pub callable: String,
}

impl Candidate {
    /// Whether gunicorn can load it without changes.
    pub fn is_ready(&self) -> bool {
        matches!(self.form, Form::Object | Form::Factory)
    }

    /// The most likely app first: loadable without changes, in a higher folder, with a usual name.
    fn order(&self) -> impl Ord + use<> {
        let file = self.place.file.trim_end_matches("__init__.py").trim_end_matches('/');
        let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".py");
        let usual = |names: &[&str], name: &str| names.iter().position(|usual| *usual == name).unwrap_or(names.len());
        (
            !self.is_ready(),
            self.framework != Framework::Channels, // Its project has a plain WSGI app as well.
            self.form,
            file.matches('/').count(),
            usual(&["wsgi", "asgi", "app", "application", "main", "server"], stem),
            usual(&["app", "application", "create_app", "make_app"], &self.callable),
            self.place.file.clone(),
            self.place.line,
        )
    }
}

/// The findings.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The apps, the most likely one first.
    pub candidates: Vec<Candidate>,
    /// Apps in files whose name cannot be imported.
    pub nameless: Vec<Place>,
    /// The variable that the token is read from.
    pub token: Option<(String, Place)>,
    /// The path of the health check.
    pub health: Option<(String, Place)>,
    /// All routes.
    pub routes: BTreeMap<String, Place>,
    /// Secrets in the source code.
    pub hard_coded: Vec<(String, Place)>,
    /// Files that usually contain secrets.
    pub env_files: Vec<String>,
    /// How many Python files were read.
    pub read: usize,
}

/// Examines the files.
pub fn look(files: &Files) -> Sight {
    let lines = files.modules();
    let modules: BTreeMap<&String, apps::Module> =
        lines.iter().map(|(file, lines)| (file, apps::read(lines))).collect();
    let (mut candidates, mut nameless) = (Vec::new(), Vec::new());
    for (file, seen) in everything(&modules) {
        match placed(files, file, seen.framework.is_django()) {
            Some((root, module)) => candidates.push(Candidate {
                place: Place::new(file, seen.line),
                framework: seen.framework,
                form: seen.form,
                root,
                module,
                callable: seen.name,
            }),
            None => nameless.push(Place::new(file, seen.line)),
        }
    }
    // The Procfile knows which app is served.
    let is_served = |app: &Candidate| Procfile::of(files, &app.root).serves(&app.module, &app.callable);
    candidates.sort_by_cached_key(|app| (!is_served(app), app.order()));
    let variables: BTreeSet<String> = modules.values().flat_map(|module| module.variables.clone()).collect();
    let routes = settings::routes(&lines, &variables);
    Sight {
        candidates,
        nameless,
        token: token::token(&lines),
        health: settings::health(&routes),
        routes,
        hard_coded: settings::hard_coded(&lines),
        env_files: files.0.keys().filter(|name| is_env_file(name)).cloned().collect(),
        read: lines.len(),
    }
}

fn is_env_file(name: &str) -> bool {
    let example = ["example", "sample", "template", "dist"].iter().any(|end| name.ends_with(end));
    !example && (name == ".env" || name.starts_with(".env."))
}

/// All apps of all modules. If a module calls the factory of another one, only the resulting object counts.
fn everything<'a>(modules: &BTreeMap<&'a String, apps::Module>) -> Vec<(&'a str, apps::Seen)> {
    let mut found: Vec<(&str, apps::Seen)> = Vec::new();
    for (file, module) in modules {
        found.extend(module.apps.iter().map(|app| (file.as_str(), app.clone())));
    }
    let mut kept = BTreeSet::new();
    for (file, module) in modules {
        for (line, name, called) in &module.calls {
            let full = apps::full(&module.imports, called);
            let function = full.rsplit('.').next().unwrap_or(&full);
            // The module's own function or an imported one, but not a method of that name.
            let own = full == *called && !called.contains('.');
            let made = found.iter().find(|(place, app)| {
                app.form != Form::Object && app.name == function && (!own || place == &file.as_str())
            });
            let Some(framework) = made.map(|(_, app)| app.framework) else { continue };
            kept.insert(function.to_owned());
            let seen = apps::Seen { line: *line, name: name.clone(), framework, form: Form::Object };
            found.push((file.as_str(), seen));
        }
    }
    found.retain(|(_, app)| app.form == Form::Object || !kept.contains(&app.name));
    found
}

/// The folder that a file's module is imported from, and the module's name; `None` if the name is not valid.
fn placed(files: &Files, file: &str, django: bool) -> Option<(String, String)> {
    let (mut folder, stem) =
        file.trim_end_matches(".py").rsplit_once('/').unwrap_or(("", file.trim_end_matches(".py")));
    let mut parts = if stem == "__init__" { Vec::new() } else { vec![stem] };
    let manage = django.then(|| ancestors(folder).find(|above| files.has(&join(above, "manage.py")))).flatten();
    let is_root = |folder: &str| match manage {
        Some(root) => folder == root,
        None => !files.has(&join(folder, "__init__.py")),
    };
    while !folder.is_empty() && !is_root(folder) {
        let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        parts.insert(0, name);
        folder = above;
    }
    let module = parts.join(".");
    config::can_be_loaded(&format!("{module}:app")).then(|| (folder.to_owned(), module))
}

/// A folder and all folders above it, up to the project.
fn ancestors(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder| {
        (!folder.is_empty()).then(|| folder.rsplit_once('/').map_or("", |(above, _)| above))
    })
}

/// Whether a module below the folder imports another one by its bare name, so that the folder must be on Python's path.
fn is_imported_from(files: &Files, root: &str) -> bool {
    let inside = |file: &str| root.is_empty() || file.starts_with(&format!("{root}/"));
    let own: BTreeSet<String> = files
        .0
        .keys()
        .filter(|file| inside(file) && file.ends_with(".py"))
        .map(|file| code::root(&file[root.len()..].trim_start_matches('/').replace('/', ".")).to_owned())
        .collect();
    files.modules().iter().filter(|(file, _)| inside(file)).any(|(_, lines)| {
        apps::read(lines).imports.values().any(|name| !name.starts_with('.') && own.contains(code::root(name)))
    })
}

/// A deployment's name derived from a folder's name; empty if that is not possible.
pub fn name_of(folder: &str) -> String {
    let words: String =
        folder.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    name[..name.len().min(31)].trim_end_matches('-').to_owned()
}
