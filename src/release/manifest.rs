//! The manifest: the agent's settings for a release. It is part of the archive, so a changed setting is a new release.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::{App, Deployment, Token};
use crate::release::proxy::{self, Build};

/// The manifest in the archive.
pub fn render(deployment: &Deployment, build: Build) -> String {
    let app = &deployment.app;
    let manifest = json!({
        "v": 1,
        "web": app.web,
        "workers": app.workers,
        "threads": app.threads,
        "env": app.env,
        "references": references(app),
        "secrets": app.secrets.keys().collect::<Vec<_>>(),
        "edge": proxy::manifest(&deployment.network, build),
        "health": {"path": deployment.health.path, "timeout": deployment.health.timeout},
        "token": token(&deployment.token),
    });
    format!("{manifest:#}\n")
}

/// By the variable's name.
fn references(app: &App) -> BTreeMap<&str, String> {
    app.references().into_iter().map(|(name, reference)| (name, reference.to_string())).collect()
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
