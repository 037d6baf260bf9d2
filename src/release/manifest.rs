//! What the agent has to know to run a release. It is part of the archive, so a changed setting is a new release.

use serde_json::json;

use crate::config::Deployment;
use crate::release::edge::{self, Build};

/// The manifest as it stands in the archive.
pub fn render(deployment: &Deployment, build: Build) -> String {
    let app = &deployment.app;
    let manifest = json!({
        "v": 1,
        "wsgi": app.wsgi,
        "workers": app.workers,
        "threads": app.threads,
        "env": app.env,
        "edge": edge::manifest(&deployment.network, build),
        "health": {"path": deployment.health.path, "timeout": deployment.health.timeout},
        "token": {"env": deployment.token.env, "enforce": deployment.token.enforce, "path": deployment.token.path},
    });
    format!("{manifest:#}\n")
}
