//! `secrets refresh`: gives the app the newest versions of the secrets that are kept elsewhere.

use std::process::ExitCode;

use super::{Changed, Purpose, deployment, done};
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::Session;
use crate::commands::cli::{Globals, SecretsRefresh};
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::{self, Observed};
use crate::engine::plan;
use crate::engine::proxy::Need;
use crate::resources::context::Context;
use crate::resources::instance::{self, Phase};
use crate::resources::references;
use crate::resources::reports::Report;
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SecretsRefresh) -> Result<ExitCode> {
    // Before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    if deployment.app.references().is_empty() {
        return Err(Failure::new(Exit::Usage, "deploy.yaml refers to no secret that is kept elsewhere")
            .standing("No call was made.")
            .next(Next::from("list one in app.secrets as `NAME: ssm:/a/parameter`, then run: ").run("up")));
    }
    refresh(&Session::with(globals, ui, Purpose::Change, deployment).await?, arguments).await
}

async fn refresh(session: &Session, arguments: &SecretsRefresh) -> Result<ExitCode> {
    let app = &session.deployment.app;
    let named = app.references();
    references::check_region(&named, &session.aws.region)?;
    let look = async { tokio::try_join!(session.running(), observe::references(&session.aws, Some(app))) };
    let (observed, found) = session.interrupt.or(look).await?;
    let found = found.present().cloned().unwrap_or_default();
    let unusable = references::unusable(&named, &found);
    if !unusable.is_empty() {
        return Err(super::unusable(&unusable));
    }
    let hidden = references::hidden(&named, &found);
    if !hidden.is_empty() {
        return Err(Failure::new(Exit::Denied, format!("cannot tell the newest versions:\n{}", hidden.join("\n")))
            .standing("Nothing was changed.")
            .next("ask an administrator to allow it; or run the command as a user who may look them up"));
    }
    let newest = references::fingerprint(named.iter().map(|(name, reference)| (*name, *reference)), &found);
    let (instance, report) = serving(session, &observed)?;
    let names = || named.keys().map(|&name| name.to_owned()).collect();
    if report.is_some_and(|report| report.healthy && report.references.as_ref() == Some(&newest)) {
        session.ui.say("nothing was changed: the app has the newest version of each secret that is kept elsewhere");
        return Ok(done(session, Changed { names: Vec::new(), used: true }));
    }
    let plan = plan::references(&observed, &newest);
    let context = Context::new(session.aws.clone(), &session.deployment, plan.start(&observed), None, session.shared());
    execute(&context, plan).await?;
    if arguments.no_wait {
        session.ui.say("the newest versions are ordered; the app was not checked");
        return Ok(done(session, Changed { names: names(), used: false }));
    }
    let goal = Goal {
        release: None,
        token: 0,
        secrets: Vec::new(),
        references: Some(newest.clone()),
        again: None,
        alone: false,
        proxy: Need::Nothing,
        data: false,
        since: instance.launched,
    };
    let report = session.interrupt.or(health::wait(&session.watch(), &instance.id, &goal)).await?;
    let used = report.references.as_ref() == Some(&newest);
    session.ui.say(match used {
        true => "the app has the newest version of each secret that is kept elsewhere".to_owned(),
        false => format!(
            "the app has the newest versions, but its release refers to other secrets than deploy.yaml: {} deploys the change",
            session.ui.run("up")
        ),
    });
    Ok(done(session, Changed { names: names(), used }))
}

/// The instance that runs the app, with its report.
fn serving<'a>(session: &Session, observed: &'a Observed) -> Result<(&'a instance::State, Option<&'a Report>)> {
    let name = session.name();
    let Some((instance, report)) = observed.serving() else {
        return Err(Failure::failed(format!("{name} has no instance"))
            .next(Next::from("create one, which reads the newest versions: ").run("up")));
    };
    if !matches!(instance.phase, Phase::Pending | Phase::Running) {
        return Err(Failure::failed(format!("the instance {} is {}", instance.id, instance.phase.name()))
            .next(Next::from("start it, which reads the newest versions: ").run("up")));
    }
    if report.is_some_and(|report| report.healthy && report.references.is_none()) {
        return Err(Failure::failed(
            "the running release is from before devopsctl read secrets that are kept elsewhere",
        )
        .standing("Nothing was changed.")
        .next(Next::from("deploy one that does: ").run("up")));
    }
    Ok((instance, report))
}
