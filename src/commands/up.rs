//! `up`: observe → plan → execute → wait until the instance is healthy → ask it from outside.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::Session;
use crate::cli::Up;
use crate::engine::context::Context;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::{Ask, Observed, observe};
use crate::engine::plan::{self, Plan, Wanted};
use crate::error::{Exit, Failure, Result};
use crate::probe::{self, Seen};
use crate::release::{self, Release};
use crate::resources::release::short;
use crate::resources::{Action, doorbell, instance, token};
use crate::ui;

pub(super) async fn run(session: &Session, arguments: &Up) -> Result<ExitCode> {
    let (release, observed) = session.interrupt.or(gather(session, arguments.upgrade)).await?;
    if let Some(foreign) = observed.foreign.first() {
        return Err(foreign.refuse());
    }
    let machine = session.aws.machine(&session.deployment.instance);
    let wanted = Wanted {
        deployment: &session.deployment,
        region: &session.aws.region,
        image: &machine.image,
        release: &release.id,
    };
    let plan = plan::up(&wanted, &observed);
    let changed = !plan.is_empty();
    agree(session, arguments, &plan)?;
    let context = Arc::new(Context::new(
        session.aws.clone(),
        &session.deployment,
        &observed,
        Some(release.clone()),
        session.interrupt.clone(),
        session.ui.sink(),
    ));
    execute(&context, plan).await?;
    let url = address(session, &context).await?;
    if arguments.no_wait {
        session.ui.say("AWS has what it needs; the app comes up by itself");
        say_url(session, url.as_deref(), changed);
        return Ok(ExitCode::SUCCESS);
    }
    session.interrupt.or(healthy(session, &context, &release, url.as_deref())).await?;
    if !changed {
        session.ui.say("nothing to do: everything is as deploy.yaml says");
    }
    say_url(session, url.as_deref(), changed);
    Ok(ExitCode::SUCCESS)
}

/// The release is built while AWS is looked at; neither changes anything there.
async fn gather(session: &Session, upgrade: bool) -> Result<(Release, Observed)> {
    let machine = session.aws.machine(&session.deployment.instance);
    let ask = Ask { image: Some(&machine.parameter) };
    let build = release::build(&session.deployment, &machine.target, upgrade);
    let look = observe(&session.aws, session.name(), ask);
    let (release, mut observed) = tokio::try_join!(build, look)?;
    if release.fresh {
        session.ui.say(format!("✓ built release {}", short(&release.id)));
    }
    observed.look_for_release(&session.aws, session.name(), &release.id).await?;
    Ok((release, observed))
}

/// What cannot be taken back is asked about first.
fn agree(session: &Session, arguments: &Up, plan: &Plan) -> Result<()> {
    let grave: Vec<_> =
        plan.steps.iter().filter(|step| matches!(step.action, Action::Replace | Action::Delete)).collect();
    if grave.is_empty() || arguments.yes {
        return Ok(());
    }
    for step in &grave {
        session.ui.say(format!("{} will be replaced or deleted: {}", step.kind.title(), step.reasons.join("; ")));
    }
    if ui::confirm("Go on?")? {
        return Ok(());
    }
    Err(Failure::new(Exit::Interrupted, "nothing was changed, as you asked"))
}

async fn address(session: &Session, context: &Context) -> Result<Option<String>> {
    let ip = match context.ip() {
        Some(ip) if session.deployment.network.static_ip => Some(ip),
        _ => {
            let found = instance::observe(&session.aws, session.name()).await?;
            instance::alive(&found).and_then(|instance| instance.ip)
        }
    };
    match ip {
        Some(ip) => session.aws.url(ip, session.deployment.network.port).await.map(Some),
        None => Ok(None),
    }
}

async fn healthy(session: &Session, context: &Context, release: &Release, url: Option<&str>) -> Result<()> {
    let id = context.instance()?;
    let version = context.token().unwrap_or_default();
    let mut goal = Goal { release: Some(release.id.clone()), token: version, again: context.again() };
    let mut report = health::wait(&session.watch(), &id, &goal).await?;
    let (document, newest) = token::read(&session.aws, session.name())
        .await?
        .ok_or_else(|| Failure::failed("the token is gone").next(session.command("set-token --generate")))?;
    // Somebody changed the token meanwhile: the new one is what must answer.
    if newest > report.token.unwrap_or_default() {
        goal.token = doorbell::ring(&session.aws, session.name(), &id, Default::default()).await?;
        report = health::wait(&session.watch(), &id, &goal).await?;
    }
    tracing::debug!(token = report.token, "healthy");
    let Some(url) = url else {
        session.ui.warn("the instance has no public address, so it was not asked from outside");
        return Ok(());
    };
    match probe::check(&session.deployment, url, &document.current).await? {
        Seen::Yes => Ok(()),
        Seen::NotFromHere => {
            session.ui.warn("network.allow does not let this machine in: the instance's own report is relied on");
            Ok(())
        }
    }
}

fn say_url(session: &Session, url: Option<&str>, changed: bool) {
    if session.globals.json {
        let result = json!({"v": 1, "name": session.name(), "url": url, "changed": changed});
        session.ui.result(&result.to_string());
        return;
    }
    let Some(url) = url else { return };
    session.ui.say(format!("try it: curl -H \"Authorization: Token $({})\" {url}", session.command("token")));
    session.ui.result(url);
}
