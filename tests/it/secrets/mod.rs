//! `secrets …`: the app's secrets.

mod import;
mod init;
mod list;

use std::fs;

use crate::files::files;
use crate::project::Project;

/// Writes a `deploy.yaml` for the example with these `app.secrets`.
fn require(project: &Project, secrets: &str) {
    project.file("deploy.yaml", &format!("name: hello\napp:\n  path: app\n  secrets: {secrets}\n"));
}

/// Asserts that no file of the sandbox contains the value: no log, report, release, user-data or state of an instance.
#[track_caller]
fn is_nowhere(project: &Project, value: &str) {
    for file in files(&project.state()) {
        // A socket cannot be read.
        let bytes = fs::read(&file).unwrap_or_default();
        let found = bytes.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(!found, "{} contains a value", file.display());
    }
}
