//! What is on this machine: `deploy.yaml`, the app, uv.

use std::path::Path;

use super::Check;
use super::load::Loaded;
use crate::base::error::{Failure, Result, command};
use crate::base::uv::Uv;
use crate::config::{self, Deployment};
use crate::release;
use crate::release::code::mentions;

const FILE: &str = "deploy.yaml";
const APP: &str = "app";

/// The file that says what is deployed. `fits`: whether it can be deployed where it would go.
pub fn file(path: Option<&Path>, read: &Result<Deployment>, fits: &Result<()>) -> Check {
    match (path, read, fits) {
        (None, Err(failure), _) => Check {
            next: Some(format!("{} writes one for the app in this folder", command("init"))),
            ..Check::failed(FILE, &Failure::new(failure.exit(), failure.what()).next(""))
        },
        (_, Err(failure), _) | (_, _, Err(failure)) => Check::failed(FILE, failure),
        (path, Ok(deployment), Ok(())) => {
            let path = path.and_then(Path::file_name).map(Path::new).unwrap_or(Path::new(config::FILE));
            Check::pass(FILE, format!("{} in {}", deployment.name, path.display()))
        }
    }
}

/// The app: what is seen of it, and how it loaded.
///
/// # Errors
/// What of it cannot be taken into a release.
pub fn app(deployment: &Deployment, loaded: &Loaded) -> Result<Check> {
    let (files, requirements) = release::look(deployment)?;
    let app = &deployment.app;
    let (module, callable) = app.wsgi.split_once(':').unwrap_or((&app.wsgi, ""));
    let callable = callable.trim_end_matches("()");
    let place = module.replace('.', "/");
    let paths = [format!("{place}.py"), format!("{place}/__init__.py")];
    let Some(file) = files.iter().find(|file| paths.contains(&file.name)) else {
        let package = module.split('.').next().unwrap_or(module);
        return Ok(missing(module, &paths[0], requirements.mentions(package)));
    };
    // What is no text is no module, and Python says so better.
    let text = file.read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(match loaded {
        Loaded::NotTried => found(&app.wsgi, &file.name, callable, &text, &requirements.name()),
        Loaded::By(python) => Check::pass(APP, format!("{} loads by {python}; {}", app.wsgi, requirements.name())),
        Loaded::NotBy(python, why) => Check::warn(
            APP,
            format!("{} does not load by the Python of {python}: {why}", app.wsgi),
            format!("correct it, or what is installed there; {} shows whether it loads", command("up --sandbox")),
        ),
    })
}

fn missing(module: &str, path: &str, required: bool) -> Check {
    if required {
        return Check::warn(
            APP,
            format!("{module} is not in the app's folder; a requirement of that name may bring it"),
            format!("{} shows whether it loads, without an account", command("up --sandbox")),
        );
    }
    Check::fail(
        APP,
        format!("no module {module}: there is no {path} in the app's folder, or an ignore file leaves it out"),
        format!("correct app.wsgi in {}; {} shows what it could be", config::FILE, command("init")),
    )
}

fn found(wsgi: &str, file: &str, callable: &str, text: &str, requirements: &str) -> Check {
    if mentions(text, callable) {
        return Check::pass(APP, format!("{wsgi} in {file}, {requirements}; not loaded: no virtual environment here"));
    }
    Check::warn(
        APP,
        format!("{file} says nothing of {callable}, which app.wsgi names"),
        format!("correct app.wsgi in {}; {} shows whether it loads", config::FILE, command("up --sandbox")),
    )
}

/// What installs the app's dependencies.
pub async fn uv() -> Check {
    const UV: &str = "uv";
    match Uv::there().await {
        Some(version) => Check::pass(UV, version),
        None if crate::base::uv::pip().await => {
            Check::pass(UV, "is not here; pip is, and puts it into the cache when it is needed")
        }
        None => Check::fail(UV, "neither uv nor Python's pip is here", crate::base::uv::ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_callable_that_is_not_there_is_told_from_one_that_is() {
        let text = "from flask import Flask\napp = Flask(__name__)  # not create_app\n";
        let state = |callable| found("app:app", "app.py", callable, text, "requirements.txt").state;
        assert_eq!(state("app"), State::Pass);
        assert_eq!(state("create_app"), State::Warn);
    }

    #[test]
    fn a_module_may_come_with_a_requirement() {
        assert!(missing("shop.wsgi", "shop/wsgi.py", false).is_failed());
        assert_eq!(missing("shop.wsgi", "shop/wsgi.py", true).state, State::Warn);
    }

    #[test]
    fn no_file_leads_to_init() {
        let none = Err(Failure::new(crate::base::error::Exit::Usage, "there is no deploy.yaml here").next("x"));
        let check = file(None, &none, &Ok(()));
        assert!(check.is_failed() && check.next.unwrap().contains(" init"));
    }
}
