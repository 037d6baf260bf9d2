//! `secrets import`: sets the secrets of a `.env` file, all as one change. Only names are shown.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::env_file::{self, Entry, Mistake};
use super::{Purpose, Then, Wishes, change, done};
use crate::base::error::{Exit, Failure, Result};
use crate::base::secret::Secret;
use crate::commands::cli::{Globals, SecretsImport};
use crate::commands::{Session, declined, deployment, init};
use crate::config::{self, Deployment};
use crate::release::text;
use crate::resources::secrets;
use crate::ui::{self, Ui};

/// A larger file is no file of variables.
const LARGEST: usize = 1024 * 1024;
/// The credentials of AWS in the environment, which are usually those of the user and not of the app.
const CREDENTIALS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"];

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsImport) -> Result<ExitCode> {
    // Mistakes in the files are reported before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    let (values, skipped) = sorted(&deployment, read(&arguments.env_file)?)?;
    let session = Session::with(globals, ui, Purpose::Change, deployment).await?;
    skipped.iter().for_each(|line| session.ui.say(line));
    let settings = settings(&values);
    if !settings.is_empty() {
        session.ui.say(format!(
            "if these are settings and not secrets, put them into app.env, because logs show secrets as ***: {settings}"
        ));
    }
    let names: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
    let stored = session.interrupt.or(secrets::values(&session.aws, session.name(), &names)).await?;
    let are = |what: fn(Option<&Secret>, &Secret) -> bool| {
        let found = values.iter().filter(|(name, value)| what(stored.get(name).map(|(stored, _)| stored), value));
        found.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let changed = are(|stored, value| stored.is_some_and(|stored| stored != value));
    for (what, names) in [
        ("new", are(|stored, _| stored.is_none())),
        ("changed", changed.clone()),
        ("same", are(|stored, value| stored == Some(value))),
    ] {
        if !names.is_empty() {
            session.ui.say(format!("{what}: {names}"));
        }
    }
    if !changed.is_empty() && !arguments.yes {
        session.ui.make_way();
        if !ui::confirm(&format!("Overwrite {changed}?"))? {
            return Err(declined("secrets list"));
        }
    }
    let wishes: Wishes = values.into_iter().map(|(name, value)| (name, Some(value))).collect();
    let then = Then { restart: !arguments.no_restart, wait: !arguments.no_wait };
    Ok(done(&session, change(&session, wishes, then).await?))
}

fn read(file: &Path) -> Result<Vec<Entry>> {
    let cannot = |why: String| {
        Failure::new(Exit::Usage, format!("cannot read {}", file.display()))
            .because(why)
            .standing("No call was made.")
            .next("name a text file with lines NAME=value")
    };
    let bytes = Zeroizing::new(fs::read(file).map_err(|error| cannot(error.to_string()))?);
    if bytes.len() > LARGEST {
        return Err(cannot("it is larger than 1 MiB".to_owned()));
    }
    let text = Zeroizing::new(text::decode(&bytes).map_err(cannot)?);
    env_file::parse(&text).map_err(|Mistake { line, what, hint }| {
        Failure::new(Exit::Usage, format!("line {line} of {} {what}", file.display()))
            .standing("No call was made, and no secret was set.")
            .next(hint)
    })
}

/// The secrets by name, and a line for each variable that is not set.
type Sorted = (Vec<(String, Secret)>, Vec<String>);

fn sorted(deployment: &Deployment, entries: Vec<Entry>) -> Result<Sorted> {
    let (mut values, mut skipped) = (Vec::new(), Vec::new());
    for Entry { name, value } in entries {
        match reason(deployment, &name, &value) {
            Some(why) => skipped.push(format!("skipped {name}: {why}")),
            None => {
                config::check_secret(deployment, &name)?;
                secrets::check(&name, &value)?;
                values.push((name, value));
            }
        }
    }
    Ok((values, skipped))
}

/// The names that do not look like those of secrets, such as `DEBUG`.
fn settings(values: &[(String, Secret)]) -> String {
    let plain = values.iter().filter(|(name, value)| !init::is_secret(name) && !value.contains('@'));
    plain.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Why a variable is not set as a secret.
fn reason(deployment: &Deployment, name: &str, value: &str) -> Option<&'static str> {
    if config::is_token(name, &deployment.token.env) {
        return Some("it is the token's variable; `devopsctl set-token` sets the token");
    }
    if deployment.app.env.contains_key(name) {
        return Some("app.env in deploy.yaml sets it");
    }
    if deployment.app.references().contains_key(name) {
        return Some("app.secrets in deploy.yaml refers to a secret that is kept elsewhere; change it there");
    }
    if CREDENTIALS.contains(&name) && !deployment.app.secrets.contains_key(name) {
        return Some("it is a credential for AWS; list it in app.secrets if the app needs it");
    }
    value.is_empty().then_some("it has no value")
}
