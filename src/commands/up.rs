//! `up`: observe → plan → execute → wait until the instance is healthy → ask it from outside.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Looked, Store, look, summary};
use super::{Session, cost};
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Failure, Result};
use crate::commands::cli::Up;
use crate::commands::documents;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan::{self, Plan};
use crate::engine::probe::{self, App, Seen};
use crate::engine::proxy::Need;
use crate::resources::context::Context;
use crate::resources::instance::Credits;
use crate::resources::{instance, token};
use crate::ui;

pub(super) async fn run(session: &Session, arguments: &Up) -> Result<ExitCode> {
    let looked = session.interrupt.or(look(session, arguments.renew, Store::UnlessLaunching)).await?;
    let plan = looked.plan(session, !arguments.no_wait)?;
    let changed = !plan.is_empty();
    agree(session, arguments, &plan)?;
    let settled = looked.nothing_to_do();
    let Looked { release, observed, .. } = looked;
    let context = Arc::new(Context::new(
        session.aws.clone(),
        &session.deployment,
        observed.start(&plan),
        Some(release.clone()),
        session.shared(),
    ));
    if !session.deployment.network.https && session.aws.flag().is_empty() {
        session.ui.warn("network.https is off: whoever is between a client and the app can read the token");
    }
    execute(&context, plan).await?;
    let (network, ip) =
        (&session.deployment.network, address(session, &context, &observed, changed, !arguments.no_wait).await?);
    let app = app(session, ip).await?;
    let url = app.as_ref().map(|app| app.url.clone());
    if arguments.no_wait {
        session.ui.say(match changed {
            true => "AWS has what it needs; the app comes up by itself".to_owned(),
            false => format!("{settled}; the app was not asked"),
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
        session.ui.say(settled);
    }
    say_url(session, url.as_deref(), changed);
    Ok(ExitCode::SUCCESS)
}

/// It needed more than its share of the processor to boot; from now on that could cost, most of all where the app starts again
/// and again. What fails here is mended by the next `up`.
async fn settle_credits(session: &Session, context: &Context) {
    let (wanted, Ok(id)) = (session.deployment.instance.cpu_credits, context.instance()) else { return };
    let Some(credits) = Credits::wanted(wanted, true).filter(|credits| *credits == Credits::Standard) else { return };
    if !context.unlimited() {
        return;
    }
    match instance::set_credits(&session.aws, &id, credits).await {
        Ok(()) => tracing::debug!("the CPU credits of {id} are standard from now on"),
        Err(failure) => session.ui.warn(format!("{}: {}", failure.what(), failure.reasons().join(": "))),
    }
}

/// Shows what will be done; what cannot be taken back is asked about first.
fn agree(session: &Session, arguments: &Up, plan: &Plan) -> Result<()> {
    summary(plan).into_iter().for_each(|line| session.ui.say(line));
    if plan.costs() {
        session.ui.say(cost::line(session));
    }
    if arguments.yes || !plan.steps.iter().any(|step| step.action.grave()) || ui::confirm("Go on?")? {
        return Ok(());
    }
    Err(session.declined("plan"))
}

/// The address at which the app answers. What was seen before something was changed may be somebody else's by now; and an
/// instance that has lost an Elastic IP gets another address after a while.
async fn address(
    session: &Session,
    context: &Context,
    observed: &Observed,
    changed: bool,
    wait: bool,
) -> Result<Option<Ipv4Addr>> {
    match (session.deployment.network.static_ip, changed) {
        (true, _) => Ok(context.address().ok().map(|(_, ip)| ip)),
        (false, false) => Ok(ip_of(&observed.instances, &context.instance()?)),
        (false, true) => session.interrupt.or(own_address(session, context, observed, wait)).await,
    }
}

async fn own_address(session: &Session, context: &Context, before: &Observed, wait: bool) -> Result<Option<Ipv4Addr>> {
    let id = context.instance()?;
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

/// The app at an address, if there is one.
pub(super) async fn app(session: &Session, ip: Option<Ipv4Addr>) -> Result<Option<App<'_>>> {
    match ip {
        Some(ip) => App::at(&session.aws, &session.deployment, ip).await.map(Some),
        None => Ok(None),
    }
}

/// The instance says that it runs this release with the newest token, and it answers from outside.
pub(super) async fn healthy(
    session: &Session,
    context: &Arc<Context>,
    release: &str,
    app: Option<&App<'_>>,
) -> Result<()> {
    let id = context.instance()?;
    let version = context.token().unwrap_or_default();
    let mut goal = Goal {
        release: Some(release.to_owned()),
        token: version,
        again: context.again(),
        alone: false,
        proxy: Need::Serving,
        since: context.since(),
    };
    let mut report = health::wait(&session.watch(), &id, &goal).await?;
    let (document, newest) = token::read(&session.aws, session.name()).await?.ok_or_else(|| {
        Failure::failed("the token is gone").next(format!("set one: {}", session.command("set-token --generate")))
    })?;
    // Somebody changed the token meanwhile: the new one is what must answer.
    if newest > report.token.unwrap_or_default() {
        context.set_token(newest);
        execute(context, plan::rotated(&id)).await?;
        goal.token = context.token().unwrap_or(newest);
        report = health::wait(&session.watch(), &id, &goal).await?;
    }
    tracing::debug!(token = report.token, "healthy");
    let Some(app) = app else {
        session.ui.warn("the instance has no public address, so it was not asked from outside");
        return Ok(());
    };
    match app.check(&document.current).await? {
        Seen::Yes => Ok(()),
        Seen::NotFromHere => {
            session.ui.warn("network.allow does not let this machine in: the instance's own report is relied on");
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
    session.ui.say(format!("try it: curl {root}-H \"Authorization: Token $({})\" {url}", session.command("token")));
    session.ui.result(url);
}
