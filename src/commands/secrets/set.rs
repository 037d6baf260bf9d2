//! `secrets set`: sets or replaces secrets.

use std::process::ExitCode;

use super::{Purpose, Session, Then, Wishes, change, deployment, done, no_name, refuse_reference};
use crate::base::error::{Exit, Failure, Result};
use crate::base::secret::{self, Secret};
use crate::commands::cli::{Globals, SecretsSet};
use crate::commands::from_stdin;
use crate::config::{self, Deployment};
use crate::resources::secrets;
use crate::ui::{self, Ui};

/// Much more than a value may have, so that its length can be told.
const MOST: u64 = 1 << 16;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsSet) -> Result<ExitCode> {
    // Mistakes in the file, the names and the values are reported before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    let wishes = wishes(&deployment, arguments)?;
    let session = Session::with(globals, ui, Purpose::Change, deployment).await?;
    let then = Then { restart: !arguments.no_restart, wait: !arguments.no_wait };
    Ok(done(&session, change(&session, wishes, then).await?))
}

fn wishes(deployment: &Deployment, arguments: &SecretsSet) -> Result<Wishes> {
    for (place, name) in arguments.names.iter().enumerate() {
        if !config::is_variable(name) {
            return Err(no_name(place));
        }
        config::check_secret(deployment, name)?;
        refuse_reference(deployment, name)?;
    }
    if arguments.stdin && arguments.names.len() > 1 {
        return Err(Failure::new(Exit::Usage, "--stdin reads the value of one secret")
            .standing("No call was made.")
            .next("run the command once for each secret, or omit --stdin to be asked for each value"));
    }
    let mut wishes = Wishes::new();
    for name in &arguments.names {
        if !wishes.contains_key(name) {
            let value = value(name, arguments)?;
            secrets::check(name, &value)?;
            wishes.insert(name.clone(), Some(value));
        }
    }
    Ok(wishes)
}

fn value(name: &str, arguments: &SecretsSet) -> Result<Secret> {
    if let Some(bytes) = arguments.generate {
        return secret::generate_bytes(bytes.into());
    }
    if !arguments.stdin {
        return ui::new_secret(name).map(Secret::from);
    }
    from_stdin("the value", MOST, "pipe in text")
}
