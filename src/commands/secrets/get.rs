//! `secrets get`: prints the value of a secret, and nothing else.

use std::process::ExitCode;

use super::{Purpose, no_name};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, SecretsGet};
use crate::commands::{Session, documents};
use crate::resources::secrets;
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsGet) -> Result<ExitCode> {
    let secret = &arguments.name;
    // A name that no variable can have may have been set in the console.
    if !secrets::is_parameter(secret) {
        return Err(no_name(0));
    }
    let session = Session::open(globals, ui, Purpose::Look).await?;
    let names = [secret.clone()];
    let found = session.interrupt.or(secrets::values(&session.aws, session.name(), &names)).await?;
    let Some((value, state)) = found.into_values().next() else {
        let next =
            Next::from("set it: ").run(format!("secrets set {secret}")).and("; or see all: ").run("secrets list");
        return Err(Failure::failed(format!("{} has no secret {secret}", session.name())).next(next));
    };
    match session.globals.json {
        true => {
            let (v, name) = (documents::Version, session.name().to_owned());
            let (secret, value, version) = (secret.clone(), value.to_string(), state.version);
            session.ui.document(&documents::Secret { v, name, secret, value, version });
        }
        false => session.ui.exactly(&value),
    }
    Ok(ExitCode::SUCCESS)
}
