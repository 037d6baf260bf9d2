//! What is written for the app that was chosen, and what is left for the person to do.

use std::collections::BTreeMap;

use super::settings::{self, Requirements, join, satisfies};
use super::{Candidate, Files, Form, Framework, Place, Sight, ancestors, is_imported_from};
use crate::config::{Image, can_be_loaded};
use crate::release::written;

/// What goes into `deploy.yaml`, and what has to be said about it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `name`
    pub name: String,
    /// `app.path`, in the project; empty for the project itself.
    pub path: String,
    /// `app.wsgi`
    pub wsgi: String,
    /// A module that has to be written first: its file, and its lines.
    pub module: Option<(String, [String; 2])>,
    /// How the app says what it needs.
    pub requirements: Requirements,
    /// `token.env`
    pub token: Option<(String, Place)>,
    /// `token.path`, where it is not `health.path`.
    pub token_path: Option<String>,
    /// `health.path`
    pub health: Option<(String, Place)>,
    /// `instance.image`
    pub image: Image,
    /// Which Python was asked for.
    pub python: Option<(String, Place)>,
    /// What the person has to know or do, the most urgent first.
    pub warnings: Vec<String>,
    /// Whether `up` can succeed before anything of that is done.
    pub ready: bool,
}

impl Plan {
    /// For one of the candidates.
    pub fn new(files: &Files, sight: &Sight, app: &Candidate, name: &str) -> Self {
        // What has to be done first, apart from what is only worth knowing.
        let (path, prefix, mut todo) = base(files, &app.root);
        let module = format!("{prefix}{}", app.module);
        let written = (!app.is_ready()).then(|| bridge(files, &path, app, &module));
        let wsgi = match &written {
            Some((file, _)) => format!("{}:app", file.rsplit('/').next().unwrap_or(file).trim_end_matches(".py")),
            None if app.form == Form::Factory => format!("{module}:{}()", app.callable),
            None => format!("{module}:{}", app.callable),
        };
        let requirements = nearest(files, &path);
        if let Some((file, lines)) = &written {
            todo.insert(0, format!("{}; write {file}:\n    {}\n    {}", why(app), lines[0], lines[1]));
        }
        todo.extend(about_requirements(&path, &requirements, app));
        let python = settings::python(files, &path);
        let (image, unmet) = image(python.as_ref());
        todo.extend(unmet);
        todo.extend(about_token(sight, app));
        todo.extend(about_health(sight));
        let (refused, kept) = about_env_files(sight);
        todo.extend(refused);
        let ready = todo.is_empty();
        let mut warnings = todo;
        warnings.extend(about_lock(files, &path, &requirements));
        warnings.extend(kept);
        warnings.extend(about_secrets(sight));
        let texts = files.below(&path);
        warnings.extend(written::lines(texts, &BTreeMap::new()));
        let health = sight.health.clone();
        // An open health path is usual. What must not answer a stranger is the app itself, if it answers at `/` at all.
        let apart = health.as_ref().is_some_and(|(path, _)| path != "/") && sight.routes.contains_key("/");
        let token_path = apart.then(|| "/".to_owned());
        let token = sight.token.clone();
        Self {
            name: name.to_owned(),
            path,
            wsgi,
            module: written,
            requirements,
            token,
            token_path,
            health,
            image,
            python,
            warnings,
            ready,
        }
    }
}

/// `app.path`, and what the module's name begins with from there. devopsctl takes the requirements from `app.path` only,
/// so that is the folder above that has some, if the app can be imported from it.
fn base(files: &Files, root: &str) -> (String, String, Vec<String>) {
    let has = |folder: &&str| settings::requirements(files, folder) != Requirements::Missing;
    let Some(above) = ancestors(root).find(has).filter(|above| *above != root) else {
        return (root.to_owned(), String::new(), Vec::new());
    };
    let prefix = format!("{}.", root[above.len()..].trim_start_matches('/').replace('/', "."));
    if can_be_loaded(&format!("{prefix}x:x")) && !is_imported_from(files, root) {
        return (above.to_owned(), prefix, Vec::new());
    }
    let (first, file) = match settings::requirements(files, above) {
        Requirements::Taken(file, _) => (String::new(), file),
        Requirements::Convert(_, command) => (format!("{command} && "), join(above, "requirements.txt")),
        Requirements::Missing => return (root.to_owned(), String::new(), Vec::new()),
    };
    let warning = format!(
        "the code is imported from {root}, and devopsctl takes the requirements from the same folder: {first}cp {file} {root}/"
    );
    (root.to_owned(), String::new(), vec![warning])
}

/// Those of the folder, else of one above it: what they name is known all the same.
fn nearest(files: &Files, folder: &str) -> Requirements {
    let mut found = ancestors(folder).map(|folder| settings::requirements(files, folder));
    found.find(|found| *found != Requirements::Missing).unwrap_or(Requirements::Missing)
}

fn why(app: &Candidate) -> String {
    let (framework, callable) = (app.framework.name(), &app.callable);
    match app.form {
        _ if app.framework.is_asgi() => format!(
            "{framework} speaks ASGI, and devopsctl runs WSGI apps (gunicorn's threads): a2wsgi translates, without \
             WebSockets and lifespan events"
        ),
        Form::Arguments => format!("{callable} has to be told something, and app.wsgi can only call it bare"),
        _ => format!("{framework}'s own app has no name that gunicorn could load"),
    }
}

/// The module that makes of the app what gunicorn can load.
fn bridge(files: &Files, path: &str, app: &Candidate, module: &str) -> (String, [String; 2]) {
    let names = ["wsgi.py", "serve.py", "devopsctl_wsgi.py"].map(|name| join(path, name));
    let file = names.iter().find(|name| !files.has(name)).unwrap_or(&names[2]).clone();
    let made = match app.form {
        Form::Object => format!("{module}.{}", app.callable),
        Form::Factory => format!("{module}.{}()", app.callable),
        Form::Arguments => format!("{module}.{}(...)", app.callable),
        Form::Unnamed => "bottle.default_app()".to_owned(),
    };
    let lines = match app.form {
        _ if app.framework.is_asgi() => {
            [format!("import a2wsgi, {module}"), format!("app = a2wsgi.ASGIMiddleware({made})")]
        }
        Form::Unnamed => [format!("import bottle, {module}"), format!("app = {made}")],
        _ => [format!("import {module}"), format!("app = {made}  # in place of ...: what it has to be told")],
    };
    (file, lines)
}

fn about_requirements(path: &str, found: &Requirements, app: &Candidate) -> Vec<String> {
    let bridge = app.framework.is_asgi().then_some("a2wsgi");
    let needed: Vec<&str> = app.framework.package().into_iter().chain(bridge).collect();
    match found {
        Requirements::Missing if needed.is_empty() => {
            vec![format!(
                "nothing says what the app needs: write {}, empty if it needs nothing",
                requirements_txt(path)
            )]
        }
        Requirements::Missing => {
            let lines = needed.join("\n    ");
            vec![format!("nothing says what the app needs: write {}:\n    {lines}", requirements_txt(path))]
        }
        Requirements::Convert(file, command) => {
            let then = bridge.map(|package| format!(", then add {package} to it")).unwrap_or_default();
            vec![format!("devopsctl does not read {file}; make a requirements.txt of it{then}:\n    {command}")]
        }
        Requirements::Taken(file, packages) => {
            let missing = needed.into_iter().filter(|package| !packages.contains(*package));
            missing.map(|package| format!("{file} does not name {package}: add a line {package}")).collect()
        }
    }
}

/// A lock that does not count where pyproject.toml does.
fn about_lock(files: &Files, path: &str, found: &Requirements) -> Option<String> {
    let Requirements::Taken(file, _) = found else { return None };
    let (lock, command) = settings::unused_lock(files, path).filter(|_| file.ends_with("pyproject.toml"))?;
    Some(format!("devopsctl takes {file}, not the versions in {lock}; to have those:\n    {command}"))
}

fn requirements_txt(path: &str) -> String {
    join(path, "requirements.txt")
}

/// The default image, or the first whose Python will do.
fn image(asked: Option<&(String, Place)>) -> (Image, Option<String>) {
    let default = Image::Debian13;
    let Some((asked, place)) = asked else { return (default, None) };
    if let Some(image) = Image::ALL.into_iter().find(|image| satisfies(image.python(), asked)) {
        return (image, None);
    }
    let known: Vec<String> =
        Image::ALL.into_iter().map(|image| format!("{} ({})", image.python(), image.name())).collect();
    let warning = format!("{place} asks for Python {asked}, and the instance has {}", known.join(", "));
    (default, Some(warning))
}

fn about_token(sight: &Sight, app: &Candidate) -> Option<String> {
    if sight.token.is_some() {
        return None;
    }
    let open = "nothing in the source reads a token, and up refuses an app that answers everybody";
    let public = "or, if it is meant to be public, set token.enforce: false";
    Some(match app.framework {
        Framework::Flask => format!("{open}; guard it ({public}):\n    {}", GUARD.join("\n    ")),
        _ => format!(
            "{open}: let it answer 401 unless the header Authorization is `Token ` and the variable APP_SECRET_TOKEN, \
             but let a CORS preflight pass (OPTIONS with Access-Control-Request-Method); {public}"
        ),
    })
}

/// What guards a Flask app, every path of it. A CORS preflight only asks what may be sent.
const GUARD: [&str; 9] = [
    "import hmac, os",
    "from flask import request",
    "@app.before_request",
    "def require_token():",
    "    if request.method == \"OPTIONS\" and \"Access-Control-Request-Method\" in request.headers:",
    "        return None  # a browser's CORS preflight, which carries no token",
    "    sent, token = request.headers.get(\"Authorization\", \"\"), os.environ[\"APP_SECRET_TOKEN\"]",
    "    if not hmac.compare_digest(sent.encode(), f\"Token {token}\".encode()):",
    "        return \"unauthorized\\n\", 401",
];

fn about_health(sight: &Sight) -> Option<String> {
    let (path, place) = sight.routes.iter().next().filter(|_| sight.health.is_none())?;
    Some(format!(
        "the app is healthy when / answers 2xx or 3xx, and no route / is seen (but {path}, {place}): name one under health.path"
    ))
}

/// The files that `up` would refuse to deploy, and the others.
fn about_env_files(sight: &Sight) -> (Vec<String>, Vec<String>) {
    let about = |file: &String| {
        let fate = match file.as_str() {
            ".env" => "stays here: it is not deployed",
            _ => "may hold secrets: ignore it, or up refuses to deploy it",
        };
        format!("{file} {fate}. What of it is no secret can go under app.env; secrets do not belong there")
    };
    let (kept, refused): (Vec<&String>, Vec<&String>) = sight.env_files.iter().partition(|file| *file == ".env");
    (refused.into_iter().map(about).collect(), kept.into_iter().map(about).collect())
}

fn about_secrets(sight: &Sight) -> impl Iterator<Item = String> {
    sight.secrets.iter().map(|(name, place)| {
        format!("{place}: {name} is written into the source, where everybody who has it can read it")
    })
}
