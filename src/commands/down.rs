//! `down`: shows what it deletes, asks, deletes it, and checks that nothing is left. Data stays, unless `--delete-data` names the
//! deployment.

use std::process::ExitCode;
use std::time::Duration;

use super::{Purpose, Session, data, declined, file, load};
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Down, Globals};
use crate::commands::documents;
use crate::config;
use crate::engine::execute::execute;
use crate::engine::observe::Ask;
use crate::engine::plan;
use crate::resources::context::Context;
use crate::resources::volume;
use crate::ui::{self, Ui};

/// With `--name`, no file is needed: an orphaned deployment may have none.
pub(super) async fn open(globals: Globals, ui: Ui, arguments: &Down) -> Result<Session> {
    match &arguments.name {
        Some(name) => Session::with(globals, ui, Purpose::Change, config::named(name)?).await,
        None => {
            let next = || {
                Next::from("change to the project's folder, pass the file with --file, or pass the name with --name (")
                    .run_bare("list")
                    .and(" shows all names)")
            };
            let file = file(&globals).map_err(|failure| failure.instead(next()))?;
            let deployment = load(&globals, &file)?;
            Session::with(globals, ui, Purpose::Change, deployment).await
        }
    }
}

pub(super) async fn run(session: &Session, arguments: &Down) -> Result<ExitCode> {
    let deletes_data = data::agreed(session, arguments.delete_data.as_ref())?;
    let observed = session.interrupt.or(observe_all(session)).await?;
    for conflict in observed.conflicts() {
        session.ui.warn(format!("{} does not belong to this deployment and is not deleted", conflict.describe()));
    }
    let plan = plan::down(&observed, deletes_data)?;
    let kept = || data::volumes(&observed).filter(|_| !deletes_data);
    let say_kept = || kept().for_each(|volume| session.ui.say(data::stays(session, volume)));
    if plan.is_empty() {
        let other = if kept().next().is_some() { "other " } else { "" };
        session.ui.say(format!("{} has no {other}resources", session.name()));
        say_kept();
        return done(session, false, kept());
    }
    let what: Vec<String> = plan.steps.iter().map(|step| step.id.to_string()).collect();
    session.ui.say(format!(
        "{} in account {}, {}: to be deleted: {}",
        session.name(),
        observed.account,
        session.aws.region,
        what.join(", ")
    ));
    let question = match deletes_data {
        true => "Delete all of it, with all data of the app?",
        false => "Delete all of it?",
    };
    if !arguments.yes && !ui::confirm(question)? {
        return Err(declined("status"));
    }
    let context = Context::new(session.aws.clone(), &session.deployment, plan.start(&observed), None, session.shared());
    execute(&context, plan).await?;
    // AWS may list a deleted resource for some seconds.
    let mut backoff = Backoff::polling(Duration::from_secs(30), Duration::from_secs(3));
    let mut left = plan::down(&observe_all(session).await?, deletes_data)?;
    while !left.is_empty() && backoff.wait().await == Retry::Again {
        left = plan::down(&observe_all(session).await?, deletes_data)?;
    }
    if !left.is_empty() {
        let what: Vec<String> = left.steps.iter().map(|step| step.id.to_string()).collect();
        return Err(Failure::failed(format!("{} still has resources: {}", session.name(), what.join(", ")))
            .because("another user may have run up at the same time")
            .next("run the same command again"));
    }
    session.ui.say(format!("deleted {}", session.name()));
    say_kept();
    done(session, true, kept())
}

async fn observe_all(session: &Session) -> Result<crate::engine::observe::Observed> {
    let ask = Ask { domain: session.deployment.network.record(), ..Ask::default() };
    let mut observed = session.observe(ask).await?;
    observed.look_for_records(&session.aws, session.name(), ask).await?;
    observed.look_into_bucket(&session.aws, session.name()).await?;
    Ok(observed)
}

fn done<'a>(session: &Session, changed: bool, kept: impl Iterator<Item = &'a volume::State>) -> Result<ExitCode> {
    if session.globals.json {
        let (v, name, kept) = (documents::Version, session.name().to_owned(), kept.map(Into::into).collect());
        session.ui.document(&documents::Down { v, name, changed, kept });
    }
    Ok(ExitCode::SUCCESS)
}
