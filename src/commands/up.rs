//! `up`: observe → plan → execute → wait until the instance is healthy → check it from outside.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use super::plan::{Looked, Use, look, summary};
use super::{Session, cost, declined};
use crate::base::error::Result;
use crate::commands::cli::Up;
use crate::commands::documents;
use crate::config::Check;
use crate::engine::execute::execute;
use crate::engine::observe::Observed;
use crate::engine::plan::Plan;
use crate::engine::probe::{self, App};
use crate::engine::rollout;
use crate::resources::context::Context;
use crate::resources::{elastic_ip, instance};
use crate::ui;

pub(super) async fn run(session: &Session, arguments: &Up) -> Result<ExitCode> {
    let looked = session.interrupt.or(look(session, arguments.renew, Use::Execute)).await?;
    let plan = looked.plan(session, !arguments.no_wait)?;
    let changed = !plan.is_empty();
    agree(session, arguments, &looked, &plan)?;
    let up_to_date = looked.up_to_date();
    let Looked { release, observed, .. } = looked;
    let start = plan.start(&observed);
    let context =
        Context::new(session.aws.clone(), &session.deployment, start, Some(release.clone()), session.shared());
    if !session.deployment.network.https && session.aws.flag().is_empty() {
        session.ui.warn("network.https is off: anyone on the network path can read the token");
    }
    if session.deployment.token.check == Check::None {
        session.ui.warn("token.check is none: the app is public");
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
    let healthy = session.interrupt.or(rollout::healthy(&session.watch(), &context, &release.id, app.as_ref())).await;
    rollout::settle_credits(&context, session.deployment.instance.cpu_credits).await;
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

/// Shows the plan, and asks before something is replaced or deleted.
fn agree(session: &Session, arguments: &Up, looked: &Looked, plan: &Plan) -> Result<()> {
    summary(plan).into_iter().for_each(|line| session.ui.say(line));
    looked.say_commands(session, plan);
    looked.say_data(session);
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
        (true, _) => Ok(context.known::<elastic_ip::Output>(&elastic_ip::ID).map(|address| address.ip)),
        (false, false) => Ok(ip_of(&observed.instances, &context.output::<instance::Output>(&instance::ID)?.id)),
        (false, true) => {
            let patience = Duration::from_secs(if wait { 120 } else { 0 });
            session.interrupt.or(rollout::own_address(context, observed, patience)).await
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
