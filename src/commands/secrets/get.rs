//! `secrets get`: prints the value of a secret, and nothing else.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::{Purpose, no_name};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, SecretsGet};
use crate::commands::{Session, documents};
use crate::resources::{references, secrets};
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsGet) -> Result<ExitCode> {
    let secret = &arguments.name;
    // A name that no variable can have may have been set in the console.
    if !secrets::is_parameter(secret) {
        return Err(no_name(0));
    }
    let session = Session::open(globals, ui, Purpose::Look).await?;
    if let Some(reference) = session.deployment.app.references().get(secret.as_str()) {
        references::check_region(&BTreeMap::from([(secret.as_str(), *reference)]), &session.aws.region)?;
        let read = references::value(&session.aws, secret, reference);
        let (value, version) = session.interrupt.or(read).await?;
        return Ok(show(&session, secret, &value, None, Some(version)));
    }
    let names = [secret.clone()];
    let found = session.interrupt.or(secrets::values(&session.aws, session.name(), &names)).await?;
    let Some((value, state)) = found.into_values().next() else {
        let next =
            Next::from("set it: ").run(format!("secrets set {secret}")).and("; or see all: ").run("secrets list");
        return Err(Failure::failed(format!("{} has no secret {secret}", session.name())).next(next));
    };
    Ok(show(&session, secret, &value, Some(state.version), None))
}

fn show(
    session: &Session,
    secret: &str,
    value: &str,
    version: Option<i64>,
    source_version: Option<String>,
) -> ExitCode {
    if session.globals.json {
        let (v, name) = (documents::Version, session.name().to_owned());
        let (secret, value) = (secret.to_owned(), value.to_owned());
        session.ui.document(&documents::Secret { v, name, secret, value, version, source_version });
    } else {
        session.ui.exactly(value);
    }
    ExitCode::SUCCESS
}
