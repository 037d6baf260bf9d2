//! The manifest: the agent's settings for a release. It is part of the archive, so a changed setting is a new release.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::{App, Check, Deployment, Process, Run, Token};
use crate::release::processes::Processes;
use crate::release::proxy::{self, Build};

/// The manifest in the archive.
pub fn render(deployment: &Deployment, build: Build, processes: Processes) -> String {
    let app = &deployment.app;
    let mut edge = proxy::manifest(&deployment.network, build);
    edge["static"] = static_files(deployment);
    let manifest = json!({
        "v": 1,
        "web": app.web,
        "workers": processes.workers,
        "threads": processes.threads,
        "env": app.env,
        "permissions": app.permissions.is_some(),
        "references": references(app),
        "secrets": app.secrets.keys().collect::<Vec<_>>(),
        "release": (!app.release.is_empty()).then(|| json!({"commands": app.release, "timeout": app.release_timeout})),
        "processes": programs(deployment),
        "schedule": schedule(deployment),
        "static": app.static_files,
        "data": deployment.data.as_ref().map(|data| json!({"path": data.path})),
        "edge": edge,
        "health": {"path": deployment.health.path, "timeout": deployment.health.timeout},
        "token": token(&deployment.token),
    });
    format!("{manifest:#}\n")
}

/// What runs beside the web server, by name.
fn programs(deployment: &Deployment) -> BTreeMap<&str, Value> {
    let settings = |process: &Process| json!({"run": process.run, "stop_seconds": process.stop_seconds});
    deployment.processes.iter().map(|(name, process)| (name.as_str(), settings(process))).collect()
}

/// By the variable's name.
fn references(app: &App) -> BTreeMap<&str, String> {
    app.references().into_iter().map(|(name, reference)| (name, reference.to_string())).collect()
}

/// By name. The instance gets the values of each cron expression, and its text as well, which tells a changed one.
fn schedule(deployment: &Deployment) -> BTreeMap<&String, Value> {
    let run = |run: &Run| {
        json!({
            "cron": run.text,
            "times": run.cron,
            "commands": [run.command],
            "timeout": run.timeout,
            "catch_up": run.catch_up,
        })
    };
    deployment.schedule.iter().map(|(name, each)| (name, run(each))).collect()
}

/// The settings of the proxy for static files: a change of the files does not touch it.
fn static_files(deployment: &Deployment) -> Value {
    let folders = &deployment.app.static_files;
    match folders.is_empty() {
        true => Value::Null,
        false => json!({
            "prefixes": folders.keys().collect::<Vec<_>>(),
            "guarded": deployment.token.check != Check::None,
        }),
    }
}

fn token(token: &Token) -> Value {
    json!({
        "env": token.env,
        "check": token.check.name(),
        "open": token.open,
        "open_preflight": token.open_preflight,
        "path": token.path,
    })
}
