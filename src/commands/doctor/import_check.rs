//! Imports the app with the developer's own Python, as the instance will, before anything is deployed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::base::child;
use crate::config::{App, Deployment};

/// How long the import may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// In the place of the token and of each secret.
const DUMMY: &str = "doctor";
/// Imports the app as gunicorn does, in the app's folder. `_exit` does not wait for threads that the app started.
const PROGRAM: &str = "
import importlib, os, platform, sys
module, _, callable = sys.argv[1].partition(':')
getattr(importlib.import_module(module), callable.rstrip('()') or 'application')
print('\\n' + platform.python_version(), flush=True)
os._exit(0)
";

/// The result of the import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Import {
    /// There is no virtual environment, or its Python does not run.
    NotTried,
    /// By which Python.
    Worked(String),
    /// In which environment, and Python's error.
    Failed(String, String),
}

/// Imports the app in the developer's virtual environment, with the app's settings and dummy values of its token and secrets. Nothing
/// is written.
pub async fn import(deployment: &Deployment) -> Import {
    let app = &deployment.app;
    let Some((python, shown)) = python(app, std::env::var_os("VIRTUAL_ENV").map(PathBuf::from)) else {
        return Import::NotTried;
    };
    let output = child::command(python)
        .args(["-c", PROGRAM, &app.web])
        .current_dir(&app.path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(&app.env)
        .envs(app.secrets.keys().map(|name| (name, DUMMY)))
        .env(&deployment.token.env, DUMMY)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let failed = |why: String| {
        let dummies = if app.secrets.is_empty() { "" } else { " with dummy values of its secrets" };
        Import::Failed(format!("{shown}{dummies}"), why)
    };
    match tokio::time::timeout(PATIENCE, output).await {
        Err(_) => failed(format!("not imported after {} s", PATIENCE.as_secs())),
        Ok(Err(_)) => Import::NotTried,
        Ok(Ok(output)) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            Import::Worked(format!("Python {} of {shown}", said.lines().last().unwrap_or_default()))
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            failed(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
        }
    }
}

/// The Python of the active environment, else of `.venv` or `venv` in or above the app's folder; and the environment's name.
fn python(app: &App, active: Option<PathBuf>) -> Option<(PathBuf, String)> {
    let usual = app.path.ancestors().take(2).flat_map(|folder| [".venv", "venv"].map(|name| folder.join(name)));
    let (python, environment) = active
        .into_iter()
        .chain(usual)
        .map(|folder| (folder.join("bin/python"), folder))
        .find(|(python, _)| python.exists())?;
    let name = environment.file_name().map_or(environment.as_path(), Path::new);
    Some((python, name.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_environment_is_first_then_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let environment = |name: &str| {
            let bin = folder.path().join(name).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("python"), "").unwrap();
        };
        let mut deployment = crate::config::named("app").unwrap();
        deployment.app.path = folder.path().join("web/app");
        let found = |active: Option<&str>| {
            let (python, shown) = python(&deployment.app, active.map(|name| folder.path().join(name)))?;
            Some((python.strip_prefix(folder.path()).unwrap().display().to_string(), shown))
        };
        assert_eq!(found(None), None);
        environment("web/venv");
        assert_eq!(found(None), Some(("web/venv/bin/python".into(), "venv".into())));
        environment("web/app/.venv");
        assert_eq!(found(None), Some(("web/app/.venv/bin/python".into(), ".venv".into())));
        environment("elsewhere");
        assert_eq!(found(Some("elsewhere")), Some(("elsewhere/bin/python".into(), "elsewhere".into())));
        assert_eq!(found(Some("gone")), Some(("web/app/.venv/bin/python".into(), ".venv".into())));
    }
}
