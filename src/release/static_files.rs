//! The folders of `app.static`: each must have files once the release is complete.

use super::source;
use crate::base::error::{Exit, Failure, Result};
use crate::config::App;

/// Checks that each folder has a file.
///
/// # Errors
/// The first folder without one.
pub fn check(app: &App, files: &[source::File]) -> Result<()> {
    let is_in = |folder: &str, file: &source::File| {
        file.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') && !rest.contains("/."))
    };
    let empty = |(_, folder): &(&String, &String)| !files.iter().any(|file| is_in(folder, file));
    let Some((prefix, folder)) = app.static_files.iter().find(empty) else { return Ok(()) };
    let (why, next) = match app.build.is_empty() {
        true => (
            "files that git ignores are not deployed unless a command of app.build writes them",
            format!("add the command that writes {folder} to app.build in deploy.yaml, or correct the folder"),
        ),
        false => (
            "app.build ran, and no file is below that folder",
            format!("let a command of app.build write {folder}, or correct the folder in deploy.yaml"),
        ),
    };
    Err(Failure::new(Exit::Usage, format!("app.static serves {prefix} from {folder}, which has no file in app.path"))
        .because(why)
        .standing("Nothing was changed.")
        .next(next))
}
