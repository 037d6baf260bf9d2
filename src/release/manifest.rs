//! The manifest: the agent's settings for a release. It is part of the archive, so a changed setting is a new release.

use serde_json::{Value, json};

use crate::config::{Deployment, Token};
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
        "secrets": app.secrets.keys().collect::<Vec<_>>(),
        "release": (!app.release.is_empty()).then(|| json!({"commands": app.release, "timeout": app.release_timeout})),
        "edge": proxy::manifest(&deployment.network, build),
        "health": {"path": deployment.health.path, "timeout": deployment.health.timeout},
        "token": token(&deployment.token),
    });
    format!("{manifest:#}\n")
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
