//! After the steps of a plan: waits until the new version serves.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::execute::{complete, execute};
use super::health::{self, Goal, Watch};
use super::observe::Observed;
use super::plan;
use super::probe::{App, Seen};
use super::proxy::Need;
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Failure, Result};
use crate::base::event::Event;
use crate::base::next::Next;
use crate::config::CpuCredits;
use crate::resources::context::Context;
use crate::resources::{instance, token};

/// Waits until the instance reports this release with the newest token as healthy, then checks the app from outside. Without
/// `app` the instance has no public address.
///
/// # Errors
/// The app does not become healthy, or does not answer as it should.
pub async fn healthy(watch: &Watch<'_>, context: &Context, release: &str, app: Option<&App<'_>>) -> Result<()> {
    let (id, mut goal) = Goal::of(context, release, Need::Serving)?;
    let mut report = health::wait(watch, &id, &goal).await?;
    let (document, newest) = token::read(watch.aws, watch.name).await?.ok_or_else(|| {
        Failure::failed("the token was deleted").next(Next::from("set one: ").run("set-token --generate"))
    })?;
    // Another user set a token meanwhile: the app must accept that one.
    if newest > report.token.unwrap_or_default() {
        context.learn_of(&token::ID, token::Output { version: newest });
        execute(context, plan::rotated()).await?;
        goal.token = context.output::<token::Output>(&token::ID)?.version;
        report = health::wait(watch, &id, &goal).await?;
    }
    tracing::debug!(token = report.token, "healthy");
    let unchecked = match app {
        None => Some("the instance has no public address, so the app was not checked from outside"),
        Some(app) => match app.check(&document.current).await? {
            Seen::Yes => None,
            Seen::NotFromHere => Some("network.allow blocks this machine, so the app was not checked from outside"),
        },
    };
    if let Some(error) = report.role.as_ref().and_then(|role| role.error.as_ref()) {
        let what = format!("the app runs, but its AWS permissions do not work: {error}");
        watch.sink.event(Event::Warn(what));
    }
    unchecked.into_iter().for_each(|why| watch.sink.event(Event::Warn(why.to_owned())));
    Ok(())
}

/// Switches the CPU credits to standard after the boot, which needs more than the baseline: unlimited credits would cost money,
/// most of all for an app that restarts again and again; so this is done after an interrupt, too. A failure is a warning, as the next
/// `up` repairs it.
pub async fn settle_credits(context: &Context, wanted: CpuCredits) {
    let Some(plan) = plan::settled(context.known(&instance::ID), wanted) else { return };
    if let Err(failure) = complete(context, plan).await {
        context.tell(Event::Warn(format!("{}: {}", failure.what(), failure.reasons().join(": "))));
    }
}

/// The public address of this run's instance, if it has no Elastic IP. An instance that lost its Elastic IP gets
/// another address after a while. `before`: the state before the run; its addresses may belong to another account by
/// now.
///
/// # Errors
/// A call to EC2 fails.
pub async fn own_address(context: &Context, before: &Observed, patience: Duration) -> Result<Option<Ipv4Addr>> {
    let id = context.output::<instance::Output>(&instance::ID)?.id;
    let released = |ip: &Ipv4Addr| before.addresses.iter().any(|address| address.ip == *ip);
    let mut backoff = Backoff::polling(patience, Duration::from_secs(3));
    loop {
        let found = instance::observe(&context.aws, &context.name).await?;
        let ip = found.iter().find(|instance| instance.id == id).and_then(|instance| instance.ip);
        let ip = ip.filter(|ip| !released(ip));
        if ip.is_some() || backoff.wait().await == Retry::Enough {
            return Ok(ip);
        }
    }
}
