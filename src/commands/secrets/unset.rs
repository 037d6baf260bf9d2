//! `secrets unset`: deletes secrets.

use std::process::ExitCode;

use super::{Purpose, Session, Then, Wishes, change, deployment, done, no_name, refuse_reference};
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, SecretsUnset};
use crate::resources::secrets;
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsUnset) -> Result<ExitCode> {
    let deployment = deployment(&globals)?;
    for (place, name) in arguments.names.iter().enumerate() {
        // A name that no variable can have may have been set in the console: then it must be possible to delete it.
        if !secrets::is_parameter(name) {
            return Err(no_name(place));
        }
        refuse_reference(&deployment, name)?;
        if deployment.app.secrets.contains_key(name) {
            return Err(required(name));
        }
    }
    let wishes: Wishes = arguments.names.iter().map(|name| (name.clone(), None)).collect();
    let session = Session::with(globals, ui, Purpose::Change, deployment).await?;
    let then = Then { restart: !arguments.no_restart, wait: !arguments.no_wait };
    Ok(done(&session, change(&session, wishes, then).await?))
}

/// The next start of the app would fail.
fn required(name: &str) -> Failure {
    Failure::new(Exit::Usage, format!("the app needs the secret {name}"))
        .because("app.secrets in deploy.yaml lists it")
        .standing("No call was made.")
        .next(
            Next::from("if the app no longer needs it: remove it from app.secrets, run ")
                .run("up")
                .and(", then run the same command again; to replace the value: ")
                .run(format!("secrets set {name}")),
        )
}
