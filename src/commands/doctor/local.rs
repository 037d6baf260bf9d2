//! This machine: `deploy.yaml`, the app, uv.

use std::path::Path;

use super::Check;
use super::import_check::Import;
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::uv::Uv;
use crate::config::{self, Deployment};
use crate::release;
use crate::release::code::mentions;

const FILE: &str = "deploy.yaml";
const APP: &str = "app";

/// The `deploy.yaml`. `fits`: whether it can be deployed to the account or the sandbox.
pub fn file(path: Option<&Path>, read: &Result<Deployment>, fits: &Result<()>) -> Check {
    match (path, read, fits) {
        (None, Err(failure), _) => Check {
            next: Some(Next::default().run_bare("init").and(" writes one for the app in this folder")),
            ..Check::failed(FILE, &Failure::new(failure.exit(), failure.what()).next(""))
        },
        (_, Err(failure), _) | (_, _, Err(failure)) => Check::failed(FILE, failure),
        (path, Ok(deployment), Ok(())) => {
            let path = path.and_then(Path::file_name).map(Path::new).unwrap_or(Path::new(config::FILE));
            Check::pass(FILE, format!("{} in {}", deployment.name, path.display()))
        }
    }
}

/// The app: its files and the result of its import.
pub fn app(deployment: &Deployment, import: &Import) -> Result<Check> {
    let (files, requirements) = release::look(deployment)?;
    let app = &deployment.app;
    let (module, callable) = app.web.split_once(':').unwrap_or((&app.web, ""));
    let callable = callable.trim_end_matches("()");
    let place = module.replace('.', "/");
    let paths = [format!("{place}.py"), format!("{place}/__init__.py")];
    let Some(file) = files.iter().find(|file| paths.contains(&file.name)) else {
        let package = module.split('.').next().unwrap_or(module);
        return Ok(missing(module, &paths[0], requirements.mentions(package)));
    };
    // A file that is not text is not a module; Python's own error for it is clearer.
    let text = file.read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(match import {
        Import::NotTried => found(&app.web, &file.name, callable, &text, &requirements.name()),
        Import::Worked(python) => {
            Check::pass(APP, format!("{} can be imported by {python}; {}", app.web, requirements.name()))
        }
        Import::Failed(environment, why) => Check::warn(
            APP,
            format!("{} cannot be imported in {environment}: {why}", app.web),
            tested_by_up(Next::from("correct the app, or the packages in that environment; ")),
        ),
    })
}

fn missing(module: &str, path: &str, required: bool) -> Check {
    if required {
        return Check::warn(
            APP,
            format!("{module} is not in the app's folder; a requirement of that name may provide it"),
            tested_by_up(Next::default()),
        );
    }
    Check::fail(
        APP,
        format!("no module {module}: {path} is not in the app's folder, or an ignore file excludes it"),
        Next::from(format!("correct app.web in {}; ", config::FILE)).run_bare("init").and(" shows a possible value"),
    )
}

fn found(web: &str, file: &str, callable: &str, text: &str, requirements: &str) -> Check {
    if mentions(text, callable) {
        return Check::pass(
            APP,
            format!("{web} in {file}, {requirements}; not imported: there is no virtual environment"),
        );
    }
    Check::warn(
        APP,
        format!("{file} does not mention {callable}, which app.web names"),
        tested_by_up(Next::from(format!("correct app.web in {}; ", config::FILE))),
    )
}

fn tested_by_up(next: Next) -> Next {
    next.run_bare("up --sandbox").and(" tests it without an account")
}

/// uv, which installs the app's dependencies.
pub async fn uv() -> Check {
    const UV: &str = "uv";
    match Uv::there().await {
        Some(version) => Check::pass(UV, version),
        None if crate::base::uv::pip().await => Check::pass(UV, "not installed; pip will install it into the cache"),
        None => Check::fail(UV, "neither uv nor Python's pip is installed", crate::base::uv::ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_missing_callable_is_a_warning() {
        let text = "from flask import Flask\napp = Flask(__name__)  # not create_app\n";
        let state = |callable| found("app:app", "app.py", callable, text, "requirements.txt").state;
        assert_eq!(state("app"), State::Pass);
        assert_eq!(state("create_app"), State::Warn);
    }

    #[test]
    fn a_requirement_may_provide_the_module() {
        assert!(missing("shop.wsgi", "shop/wsgi.py", false).is_failed());
        assert_eq!(missing("shop.wsgi", "shop/wsgi.py", true).state, State::Warn);
    }

    #[test]
    fn without_a_file_init_is_suggested() {
        let none = Err(Failure::new(crate::base::error::Exit::Usage, "there is no deploy.yaml here").next("x"));
        let check = file(None, &none, &Ok(()));
        assert!(check.is_failed() && check.next.unwrap().to_string().contains(" init"));
    }
}
