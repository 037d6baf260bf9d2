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
        // A parameter whose name no variable can have may have been created in the console: it must be possible to delete it.
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
    session.interrupt.or(check_folders(&session, &arguments.names)).await?;
    let then = Then { restart: !arguments.no_restart, wait: !arguments.no_wait };
    Ok(done(&session, change(&session, wishes, then).await?))
}

/// Checks that each parameter in a folder exists: an argument with a slash that is none may be a value, so it is not shown.
async fn check_folders(session: &Session, names: &[String]) -> Result<()> {
    if !names.iter().any(|name| name.contains('/')) {
        return Ok(());
    }
    let stored = secrets::list(&session.aws, session.name()).await?;
    match names.iter().position(|name| name.contains('/') && !stored.contains_key(name)) {
        None => Ok(()),
        Some(place) => {
            Err(Failure::new(Exit::Usage, format!("argument {} is not a secret of {}", place + 1, session.name()))
                .standing("Nothing was changed. If it is a value, it is in your shell's history now: use another one.")
                .next(Next::from("see the names: ").run("secrets list")))
        }
    }
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
