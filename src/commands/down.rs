//! `down`: shows what will go, asks, removes it all, and looks again whether nothing is left.

use std::process::ExitCode;
use std::time::Duration;

use super::{Purpose, Session, file, load};
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Failure, Result, command};
use crate::commands::cli::{Down, Globals};
use crate::commands::documents;
use crate::config;
use crate::engine::execute::execute;
use crate::engine::observe::Ask;
use crate::engine::plan;
use crate::resources::context::Context;
use crate::ui::{self, Ui};

/// A deployment that is named needs no file: whoever finds it forgotten may not have one.
pub(super) async fn open(globals: Globals, ui: Ui, arguments: &Down) -> Result<Session> {
    match &arguments.name {
        Some(name) => Session::with(globals, ui, Purpose::Change, config::named(name)?).await,
        None => {
            let next = format!(
                "go to the project's folder, name the file with --file, or the deployment with --name: {} shows them all",
                command("list")
            );
            let file = file(&globals).map_err(|failure| failure.instead(next))?;
            let deployment = load(&globals, &file)?;
            Session::with(globals, ui, Purpose::Change, deployment).await
        }
    }
}

pub(super) async fn run(session: &Session, arguments: &Down) -> Result<ExitCode> {
    let observed = session.interrupt.or(observe_all(session)).await?;
    for foreign in observed.foreign() {
        session.ui.warn(format!("{} is not ours and is left alone", foreign.describe()));
    }
    let plan = plan::down(&observed)?;
    if plan.is_empty() {
        session.ui.say(format!("nothing of {} stands", session.name()));
        return done(session, false);
    }
    let what: Vec<String> = plan.steps.iter().map(|step| step.id.to_string()).collect();
    session.ui.say(format!(
        "{} in account {}, {}: this will go: {}",
        session.name(),
        observed.account,
        session.aws.region,
        what.join(", ")
    ));
    if !arguments.yes && !ui::confirm("Remove it all?")? {
        return Err(session.declined("status"));
    }
    let context = Context::new(session.aws.clone(), &session.deployment, plan.start(&observed), None, session.shared());
    execute(&context, plan).await?;
    // What was just deleted may still be in a list for some seconds.
    let mut backoff = Backoff::polling(Duration::from_secs(30), Duration::from_secs(3));
    let mut left = plan::down(&observe_all(session).await?)?;
    while !left.is_empty() && backoff.wait().await == Retry::Again {
        left = plan::down(&observe_all(session).await?)?;
    }
    if !left.is_empty() {
        let what: Vec<String> = left.steps.iter().map(|step| step.id.to_string()).collect();
        return Err(Failure::failed(format!("something of {} is there again: {}", session.name(), what.join(", ")))
            .because("perhaps somebody ran up at the same time")
            .next("run the same command again"));
    }
    session.ui.say(format!("nothing of {} is left", session.name()));
    done(session, true)
}

async fn observe_all(session: &Session) -> Result<crate::engine::observe::Observed> {
    let ask = Ask { domain: session.deployment.network.record(), ..Ask::default() };
    let mut observed = session.observe(ask).await?;
    observed.look_for_records(&session.aws, session.name(), ask).await?;
    observed.look_into_bucket(&session.aws, session.name()).await?;
    Ok(observed)
}

fn done(session: &Session, changed: bool) -> Result<ExitCode> {
    if session.globals.json {
        session.ui.document(&documents::Down { v: documents::Version, name: session.name().to_owned(), changed });
    }
    Ok(ExitCode::SUCCESS)
}
