//! The manifest: the agent's settings for a release. It is part of the archive, so a changed setting is a new release.

use serde_json::json;

use crate::config::Deployment;
use crate::release::proxy::{self, Build};

/// The manifest in the archive.
pub fn render(deployment: &Deployment, build: Build) -> String {
    let app = &deployment.app;
    let manifest = json!({
        "v": 1,
        "wsgi": app.wsgi,
        "workers": app.workers,
        "threads": app.threads,
        "env": app.env,
        "secrets": app.secrets.keys().collect::<Vec<_>>(),
        "edge": proxy::manifest(&deployment.network, build),
        "health": {"path": deployment.health.path, "timeout": deployment.health.timeout},
        "token": {"env": deployment.token.env, "enforce": deployment.token.enforce, "path": deployment.token.path},
    });
    format!("{manifest:#}\n")
}
