//! `up`: observe → plan → execute → wait until the instance is healthy → check it from outside.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use super::plan::{Looked, Store, look, summary};
use super::{Session, cost, declined};
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::Up;
use crate::commands::documents;
use crate::engine::edge::Need;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan::{self, Plan};
use crate::engine::probe::{self, App, Seen};
use crate::resources::context::Context;
use crate::resources::instance::Credits;
use crate::resources::{address, instance, token};
use crate::ui;

pub(super) async fn run(session: &Session, arguments: &Up) -> Result<ExitCode> {
    let looked = session.interrupt.or(look(session, arguments.renew, Store::UnlessLaunching)).await?;
    let plan = looked.plan(session, !arguments.no_wait)?;
    let changed = !plan.is_empty();
    agree(session, arguments, &plan)?;
    let up_to_date = looked.up_to_date();
    let Looked { release, observed, .. } = looked;
    let start = plan.start(&observed);
    let context =
        Context::new(session.aws.clone(), &session.deployment, start, Some(release.clone()), session.shared());
    if !session.deployment.network.https && session.aws.flag().is_empty() {
        session.ui.warn("network.https is off: anyone on the network path can read the token");
    }
    execute(&context, plan).await?;
    let (network, ip) =
        (&session.deployment.network, address(session, &context, &observed, changed, !arguments.no_wait).await?);
    let app = app(session, ip).await?;
    let url = app.as_ref().map(|app| app.url.clone());
    if arguments.no_wait {
        session.ui.say(match changed {
            true => "all resources are created; not waiting for the app".to_owned(),
            false => format!("{up_to_date}; the app was not checked"),
        });
        say_url(session, url.as_deref(), changed);
        return Ok(ExitCode::SUCCESS);
    }
    let healthy = session.interrupt.or(healthy(session, &context, &release.id, app.as_ref())).await;
    settle_credits(session, &context).await;
    healthy?;
    if let Some((ip, app)) = ip.zip(app.as_ref()).filter(|_| network.https) {
        let clear = session.aws.clear_url(ip, network).await?;
        session.interrupt.or(probe::sent_on(app, &clear)).await?;
    }
    if !changed {
        session.ui.say(up_to_date);
    }
    say_url(session, url.as_deref(), changed);
    Ok(ExitCode::SUCCESS)
}

/// Switches the CPU credits to standard after the boot, which needs more than the baseline: unlimited credits would cost money,
/// most of all for an app that restarts again and again. The next `up` repairs a failure.
async fn settle_credits(session: &Session, context: &Context) {
    let wanted = Credits::wanted(session.deployment.instance.cpu_credits, true);
    let Some(credits) = wanted.filter(|credits| *credits == Credits::Standard) else { return };
    let known = context.known::<instance::Output>(&instance::ID);
    let Some(instance) = known.filter(|instance| instance.unlimited) else { return };
    match instance::set_credits(&session.aws, &instance.id, credits).await {
        Ok(()) => tracing::debug!("set the CPU credits of {} to standard", instance.id),
        Err(failure) => session.ui.warn(format!("{}: {}", failure.what(), failure.reasons().join(": "))),
    }
}

/// Shows the plan, and asks before something is replaced or deleted.
fn agree(session: &Session, arguments: &Up, plan: &Plan) -> Result<()> {
    summary(plan).into_iter().for_each(|line| session.ui.say(line));
    if plan.costs() {
        session.ui.say(cost::line(session));
    }
    if arguments.yes || !plan.steps.iter().any(|step| step.action.is_destructive()) || ui::confirm("Continue?")? {
        return Ok(());
    }
    Err(declined("plan"))
}

/// The app's address. An address that was observed before the changes may belong to another account by now; and an instance
/// that lost its Elastic IP gets another address after a while.
async fn address(
    session: &Session,
    context: &Context,
    observed: &Observed,
    changed: bool,
    wait: bool,
) -> Result<Option<Ipv4Addr>> {
    match (session.deployment.network.static_ip, changed) {
        (true, _) => Ok(context.known::<address::Output>(&address::ID).map(|address| address.ip)),
        (false, false) => Ok(ip_of(&observed.instances, &context.output::<instance::Output>(&instance::ID)?.id)),
        (false, true) => session.interrupt.or(own_address(session, context, observed, wait)).await,
    }
}

async fn own_address(session: &Session, context: &Context, before: &Observed, wait: bool) -> Result<Option<Ipv4Addr>> {
    let id = context.output::<instance::Output>(&instance::ID)?.id;
    let released = |ip: &Ipv4Addr| before.addresses.iter().any(|address| address.ip == *ip);
    let patience = Duration::from_secs(if wait { 120 } else { 0 });
    let mut backoff = Backoff::polling(patience, Duration::from_secs(3));
    loop {
        let found = instance::observe(&session.aws, session.name()).await?;
        let ip = ip_of(&found, &id).filter(|ip| !released(ip));
        if ip.is_some() || backoff.wait().await == Retry::Enough {
            return Ok(ip);
        }
    }
}

fn ip_of(instances: &[instance::State], id: &str) -> Option<Ipv4Addr> {
    instances.iter().find(|instance| instance.id == id).and_then(|instance| instance.ip)
}

/// The app, if it has an address.
pub(super) async fn app(session: &Session, ip: Option<Ipv4Addr>) -> Result<Option<App<'_>>> {
    match ip {
        Some(ip) => App::at(&session.aws, &session.deployment, ip).await.map(Some),
        None => Ok(None),
    }
}

/// Waits until the instance reports this release with the newest token as healthy, then checks the app from outside.
pub(super) async fn healthy(session: &Session, context: &Context, release: &str, app: Option<&App<'_>>) -> Result<()> {
    let (id, mut goal) = Goal::of(context, release, Need::Serving)?;
    let mut report = health::wait(&session.watch(), &id, &goal).await?;
    let (document, newest) = token::read(&session.aws, session.name()).await?.ok_or_else(|| {
        Failure::failed("the token was deleted").next(Next::from("set one: ").run("set-token --generate"))
    })?;
    // Another user set a token meanwhile: the app must accept that one.
    if newest > report.token.unwrap_or_default() {
        context.learn_of(&token::ID, token::Output { version: newest });
        execute(context, plan::rotated()).await?;
        goal.token = context.output::<token::Output>(&token::ID)?.version;
        report = health::wait(&session.watch(), &id, &goal).await?;
    }
    tracing::debug!(token = report.token, "healthy");
    let Some(app) = app else {
        session.ui.warn("the instance has no public address, so the app was not checked from outside");
        return Ok(());
    };
    match app.check(&document.current).await? {
        Seen::Yes => Ok(()),
        Seen::NotFromHere => {
            session.ui.warn("network.allow blocks this machine, so the app was not checked from outside");
            Ok(())
        }
    }
}

fn say_url(session: &Session, url: Option<&str>, changed: bool) {
    if session.globals.json {
        let (name, url) = (session.name().to_owned(), url.map(ToOwned::to_owned));
        session.ui.document(&documents::Up { v: documents::Version, name, url, changed });
        return;
    }
    let Some(url) = url else { return };
    let root = session.deployment.network.acme.root.as_ref();
    let root = root.map(|root| format!("--cacert {} ", root.file.display())).unwrap_or_default();
    session.ui.say(format!("try it: curl {root}-H \"Authorization: Token $({})\" {url}", session.ui.run("token")));
    session.ui.result(url);
}
