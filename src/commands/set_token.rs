//! `set-token`: the easy way to define and to change the token. It never comes from the command line's arguments.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{Session, deployment};
use crate::cli::{Globals, SetToken};
use crate::engine::context::{Context, Shared};
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan;
use crate::error::{Exit, Failure, Result};
use crate::probe::{self, Seen};
use crate::resources::{Tags, address, instance, token};
use crate::ui::{self, Ui};
use crate::{names, secret};

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SetToken) -> Result<ExitCode> {
    // Mistakes in the file and in the token come before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    let fresh = new(arguments)?;
    secret::check(&fresh, arguments.force)?;
    let session = Session::with(globals, ui, deployment).await?;
    let (aws, name) = (&session.aws, session.name());
    let looked = async {
        tokio::try_join!(
            token::peek(aws, name),
            token::observe(aws, name),
            instance::observe(aws, name),
            address::observe(aws, name)
        )
    };
    let (before, (token, foreign), instances, addresses) = session.interrupt.or(looked).await?;
    if let Some(foreign) = foreign {
        return Err(foreign.refuse());
    }
    let observed = Observed { token, instances, addresses, ..Observed::default() };
    // A run that was stopped halfway has stored it, and told nobody.
    let before = before.map(|(document, version)| (document.map(|document| document.current), version));
    let stored = before.as_ref().filter(|(current, _)| current.as_ref() == Some(&fresh)).map(|(_, version)| *version);
    let mut tags: Tags = session.deployment.tags.clone();
    tags.insert(names::TAG_NAME.into(), name.to_owned());
    let plan = plan::rotation(&tags, &observed, stored);
    if plan.is_empty() {
        session.ui.say("this is the token already; nothing was changed");
        return done(&session, None);
    }
    let shared = Shared { fresh: Some(fresh.clone()), ..session.shared() };
    let context = Arc::new(Context::new(aws.clone(), &session.deployment, &observed, &plan, None, shared));
    execute(&context, plan).await?;
    let version = context.token().unwrap_or_default();
    let Some(instance) = instance::serving(&observed.instances, &observed.addresses) else {
        session.ui.say(format!("{} will use it", session.command("up")));
        return done(&session, Some(version));
    };
    if !arguments.no_wait {
        let ip = observed.addresses.iter().find(|address| address.instance.as_deref() == Some(&instance.id));
        let ip = ip.map(|address| address.ip).or(instance.ip);
        let before = before.as_ref().and_then(|(current, _)| current.as_deref()).filter(|before| *before != fresh);
        let change = Rotation { fresh: &fresh, before, version };
        session.interrupt.or(in_force(&session, instance, ip, change)).await?;
    }
    done(&session, Some(version))
}

/// From which token to which.
struct Rotation<'a> {
    fresh: &'a str,
    before: Option<&'a str>,
    version: i64,
}

/// The new token answers and the old one is refused.
async fn in_force(
    session: &Session,
    instance: &instance::State,
    ip: Option<Ipv4Addr>,
    change: Rotation<'_>,
) -> Result<()> {
    let Rotation { fresh, before, version } = change;
    let goal = Goal { release: None, token: version, again: None, since: instance.launched };
    health::wait(&session.watch(), &instance.id, &goal).await?;
    if !session.deployment.token.enforce {
        session.ui.say("the app uses the new token, as the instance says (token.enforce is false)");
        return Ok(());
    }
    let Some(ip) = ip else {
        session.ui.warn("the instance has no public address, so it was not asked from outside");
        return Ok(());
    };
    let url = session.aws.url(ip, session.deployment.network.port).await?;
    // Two people may have changed it at once: what counts is what stands now.
    let current = token::read(&session.aws, session.name()).await?.map(|(document, _)| document.current);
    let current = current.as_deref().unwrap_or(fresh);
    match probe::check(&session.deployment, &url, current).await? {
        Seen::NotFromHere => {
            session.ui.warn("network.allow does not let this machine in: the instance's own report is relied on")
        }
        Seen::Yes => {
            if let Some(before) = before.filter(|before| *before != current) {
                probe::refused(&session.deployment, &url, before).await?;
            }
            session.ui.say("the new token answers, the old one is refused");
        }
    }
    Ok(())
}

fn done(session: &Session, version: Option<i64>) -> Result<ExitCode> {
    if session.globals.json {
        session.ui.result(
            &json!({"v": 1, "name": session.name(), "version": version, "changed": version.is_some()}).to_string(),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn new(arguments: &SetToken) -> Result<String> {
    if arguments.generate {
        return secret::generate();
    }
    if !arguments.stdin {
        return ui::new_token();
    }
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(|error| {
        Failure::new(Exit::Usage, "the token cannot be read from standard input")
            .because(error.to_string())
            .next("pipe in one line of text")
    })?;
    // echo and editors end the line; that is not part of the token.
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).to_owned())
}
