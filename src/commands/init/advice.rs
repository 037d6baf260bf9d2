//! The content of the `deploy.yaml` for the chosen app, and what is left for the user to do.

use std::collections::BTreeMap;

use super::builds;
use super::django::{Django, Setting};
use super::procfile::Procfile;
use super::secrets::{self, Secret};
use super::settings::{self, Requirements, join};
use super::static_files;
use super::{Candidate, Files, Form, Place, Sight, ancestors, is_imported_from};
use crate::config::{self, Image, can_be_loaded};
use crate::release::websockets::{self, Sockets};
use crate::release::written;

/// The content of the `deploy.yaml`, and the warnings.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `name`
    pub name: String,
    /// `app.path`, in the project; empty for the project itself.
    pub path: String,
    /// `app.web`
    pub web: String,
    /// A module that the user must write first: its file, and its lines.
    pub module: Option<(String, [String; 2])>,
    /// `app.build`
    pub build: Vec<String>,
    /// `app.release`, from the `Procfile`.
    pub release: Option<String>,
    /// `processes`, from the `Procfile`: by name, the command.
    pub processes: Vec<(String, String)>,
    /// `app.static`
    pub static_files: BTreeMap<String, String>,
    /// The app's requirements.
    pub requirements: Requirements,
    /// Whether they name a package by its path, which must be built.
    pub local: bool,
    /// The lock file with the versions of the requirements.
    pub lock: Option<String>,
    /// `token.env`, if the source reads the token; else the proxy checks it.
    pub token: Option<(String, Place)>,
    /// `token.path`, if it differs from `health.path`.
    pub token_path: Option<String>,
    /// `app.env`
    pub env: Vec<Setting>,
    /// The package whose connections take threads for longer than a response: it decides about `app.workers` and `app.threads`.
    pub sockets: Option<Sockets>,
    /// `app.secrets`
    pub secrets: Vec<Secret>,
    /// `health.path`
    pub health: Option<(String, Place)>,
    /// `instance.image`
    pub image: Image,
    /// The Python that the project requires.
    pub python: Option<(String, Place)>,
    /// What the user must do or know, the most urgent first.
    pub warnings: Vec<String>,
    /// Whether `up` can succeed before the user does any of it.
    pub ready: bool,
}

impl Plan {
    /// The plan for one of the candidates.
    pub fn new(files: &Files, sight: &Sight, app: &Candidate, name: &str) -> Self {
        let django = Django::new(files, app);
        let files = &files.without(&django.unused);
        // What must be done before `up`, before what is only worth knowing.
        let (path, prefix, mut todo) = base(files, &app.root);
        let module = format!("{prefix}{}", app.module);
        let written = (!app.is_ready()).then(|| bridge(files, &path, app, &module));
        let web = web(app, &module, written.as_ref().map(|(file, _)| file.as_str()));
        let requirements = nearest(files, &path);
        if let Some((file, lines)) = &written {
            todo.insert(0, format!("{}; write {file}:\n    {}\n    {}", why(app), lines[0], lines[1]));
        }
        todo.extend(about_requirements(&path, &requirements, app));
        let python = settings::python(files, &path);
        let (image, unmet) = image(python.as_ref());
        todo.extend(unmet);
        todo.extend(about_health(sight));
        let token = sight.token.clone();
        let variable = token.as_ref().map_or(config::TOKEN_VARIABLE, |(name, _)| name);
        let needed = secrets::needed(files, &path, variable);
        let env = django.variables();
        todo.extend(about_unset(secrets::unset(files, &path, variable, &env)));
        let sockets = websockets::find(files.below(&path));
        if let (Some(sockets), Requirements::Taken(_, packages)) = (&sockets, &requirements) {
            todo.extend(sockets.trouble(|name| packages.contains(name)));
        }
        let (refused, kept) = about_env_files(sight);
        todo.extend(refused);
        let ready = todo.is_empty();
        let mut warnings = todo;
        warnings.extend(kept);
        warnings.extend(django.warnings);
        warnings.extend(about_hard_coded(files, sight));
        warnings.extend(written::lines(files.below(&path), &env));
        let build = builds::commands(files, &path, needed.iter().map(|secret| secret.name.as_str()));
        let procfile = Procfile::of(files, &path);
        warnings.extend(about_procfile(&procfile));
        let static_files = static_files::folders(files, &path, &build);
        Self {
            name: name.to_owned(),
            path,
            web,
            module: written,
            build,
            release: procfile.release,
            processes: procfile.processes,
            lock: settings::lock(files, &requirements),
            local: settings::names_paths(files, &requirements),
            static_files,
            requirements,
            token,
            token_path: token_path(sight),
            sockets,
            env: django.env,
            secrets: needed,
            health: sight.health.clone(),
            image,
            python,
            warnings,
            ready,
        }
    }

    /// The secrets that the user must set before `up`.
    pub fn to_set(&self) -> Option<Vec<&str>> {
        let names: Vec<&str> =
            self.secrets.iter().filter(|secret| !secret.generate).map(|secret| secret.name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    }
}

/// `app.web`. `written`: the file of the module that the user must write first.
fn web(app: &Candidate, module: &str, written: Option<&str>) -> String {
    match written {
        Some(file) => format!("{}:app", file.rsplit('/').next().unwrap_or(file).trim_end_matches(".py")),
        None if app.form == Form::Factory => format!("{module}:{}()", app.callable),
        None => format!("{module}:{}", app.callable),
    }
}

/// `app.path`, and the prefix of the module's name from there. Requirements are read only from `app.path`, so it is the nearest
/// folder with requirements, if the app can be imported from it.
fn base(files: &Files, root: &str) -> (String, String, Vec<String>) {
    let has = |folder: &&str| settings::requirements(files, folder) != Requirements::Missing;
    let Some(above) = ancestors(root).find(has).filter(|above| *above != root) else {
        return (root.to_owned(), String::new(), Vec::new());
    };
    let prefix = format!("{}.", root[above.len()..].trim_start_matches('/').replace('/', "."));
    if can_be_loaded(&format!("{prefix}x:x")) && !is_imported_from(files, root) {
        return (above.to_owned(), prefix, Vec::new());
    }
    let Requirements::Taken(file, _) = settings::requirements(files, above) else {
        return (root.to_owned(), String::new(), Vec::new());
    };
    let warning = format!(
        "the code is imported from {root}, and devopsctl reads the requirements from the same folder: cp {file} {root}/"
    );
    (root.to_owned(), String::new(), vec![warning])
}

/// The requirements of the folder, else of the nearest folder above it.
fn nearest(files: &Files, folder: &str) -> Requirements {
    let mut found = ancestors(folder).map(|folder| settings::requirements(files, folder));
    found.find(|found| *found != Requirements::Missing).unwrap_or(Requirements::Missing)
}

fn why(app: &Candidate) -> String {
    let (framework, callable) = (app.framework.name(), &app.callable);
    match app.form {
        Form::Arguments => format!("{callable} needs arguments, but app.web calls it without any"),
        Form::Inner => {
            format!("{framework}'s app is the `server` of {callable}, which has no name that gunicorn could load")
        }
        _ => format!("{framework}'s default app has no name that gunicorn could load"),
    }
}

/// The module that turns the app into one that gunicorn can load.
fn bridge(files: &Files, path: &str, app: &Candidate, module: &str) -> (String, [String; 2]) {
    let names = ["wsgi.py", "serve.py", "devopsctl_wsgi.py"].map(|name| join(path, name));
    let file = names.iter().find(|name| !files.has(name)).unwrap_or(&names[2]).clone();
    let made = match app.form {
        Form::Object => format!("{module}.{}", app.callable),
        Form::Factory => format!("{module}.{}()", app.callable),
        Form::Arguments => format!("{module}.{}(...)", app.callable),
        Form::Inner => format!("{module}.{}.server", app.callable),
        Form::Unnamed => "bottle.default_app()".to_owned(),
    };
    let lines = match app.form {
        Form::Inner => [format!("import {module}"), format!("app = {made}")],
        Form::Unnamed => [format!("import bottle, {module}"), format!("app = {made}")],
        _ => [format!("import {module}"), format!("app = {made}  # replace ... by the arguments")],
    };
    (file, lines)
}

fn about_requirements(path: &str, found: &Requirements, app: &Candidate) -> Vec<String> {
    let needed: Vec<&str> = app.framework.package().into_iter().collect();
    match found {
        Requirements::Missing if needed.is_empty() => {
            vec![format!("the app has no requirements: write {}, empty if it needs none", requirements_txt(path))]
        }
        Requirements::Missing => {
            let lines = needed.join("\n    ");
            vec![format!("the app has no requirements: write {}:\n    {lines}", requirements_txt(path))]
        }
        Requirements::Taken(file, packages) => {
            let missing = needed.into_iter().filter(|package| !packages.contains(*package));
            missing.map(|package| format!("{file} does not list {package}: add it")).collect()
        }
    }
}

fn requirements_txt(path: &str) -> String {
    join(path, "requirements.txt")
}

/// The default image, or the first one with a suitable Python.
fn image(asked: Option<&(String, Place)>) -> (Image, Option<String>) {
    let default = Image::Debian13;
    let Some((asked, place)) = asked else { return (default, None) };
    if let Some(image) = Image::ALL.into_iter().find(|image| config::meets(asked, image.python())) {
        return (image, None);
    }
    let known: Vec<String> =
        Image::ALL.into_iter().map(|image| format!("{} ({})", image.python(), image.name())).collect();
    let warning = format!("{place} requires Python {asked}, but the instance can have {}", known.join(", "));
    (default, Some(warning))
}

/// The health path of an app that checks the token is usually open. Then its route `/` shows the check.
fn token_path(sight: &Sight) -> Option<String> {
    let apart = sight.health.as_ref().is_some_and(|(path, _)| path != "/") && sight.routes.contains_key("/");
    (sight.token.is_some() && apart).then(|| "/".to_owned())
}

fn about_health(sight: &Sight) -> Option<String> {
    let (path, place) = sight.routes.iter().next().filter(|_| sight.health.is_none())?;
    Some(format!(
        "the app counts as healthy when / returns 2xx or 3xx, but it has no route / ({place} has {path}): set health.path"
    ))
}

fn about_procfile(procfile: &Procfile) -> Vec<String> {
    let before = procfile.before_web().map(|command| {
        format!("the Procfile's web runs `{command}` before the server, which devopsctl starts without it: use app.release or app.build")
    });
    let unnamed = procfile.unnamed.iter().map(|name| {
        format!("the Procfile's {name} has a name that a process cannot have: add it to processes with a name of lowercase letters, digits and hyphens")
    });
    before.into_iter().chain(unnamed).collect()
}

fn about_unset(unset: Vec<(String, Place)>) -> impl Iterator<Item = String> {
    unset.into_iter().map(|(name, place)| format!("{place} needs {name}: set it in app.env"))
}

/// Warnings about environment files that `up` refuses to deploy, and about the others.
fn about_env_files(sight: &Sight) -> (Vec<String>, Vec<String>) {
    let about = |file: &String| {
        let fate = match file.as_str() {
            ".env" => "is not deployed",
            _ => "may contain secrets: ignore it, or up refuses to deploy it",
        };
        format!("{file} {fate}. `devopsctl secrets import` reads its secrets; copy the other settings to app.env")
    };
    let (kept, refused): (Vec<&String>, Vec<&String>) = sight.env_files.iter().partition(|file| *file == ".env");
    (refused.into_iter().map(about).collect(), kept.into_iter().map(about).collect())
}

fn about_hard_coded(files: &Files, sight: &Sight) -> impl Iterator<Item = String> {
    sight.hard_coded.iter().filter(|(_, place)| files.has(&place.file)).map(|(name, place)| {
        format!(
            "{place}: {name} is a secret in the source code, which everyone with the code can read; read it from a variable instead, \
             and list that in app.secrets"
        )
    })
}
