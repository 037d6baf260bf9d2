//! `set-token`: the easy way to define and to change the token. It never comes from the command line's arguments.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Purpose, Session, deployment};
use crate::base::error::{Exit, Failure, Result};
use crate::base::secret::Secret;
use crate::base::{grace, names, secret};
use crate::commands::cli::{Globals, SetToken};
use crate::commands::documents;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan;
use crate::engine::probe::{App, Seen};
use crate::engine::proxy::Need;
use crate::resources::context::{Context, Shared};
use crate::resources::{Tags, address, instance, security_group, token};
use crate::ui::{self, Ui};

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SetToken) -> Result<ExitCode> {
    // Mistakes in the file and in the token come before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    let fresh = if arguments.only_ends_grace() { None } else { Some(new(arguments)?) };
    if let Some(fresh) = &fresh {
        secret::check(fresh, arguments.force)?;
    }
    let session = Session::with(globals, ui, Purpose::Change, deployment).await?;
    let (aws, name) = (&session.aws, session.name());
    let looked = async {
        tokio::try_join!(
            token::peek(aws, name),
            token::observe(aws, name),
            instance::observe(aws, name),
            address::observe(aws, name),
            security_group::observe(aws, name)
        )
    };
    let (before, token, instances, addresses, group) = session.interrupt.or(looked).await?;
    session.tidy(group.present(), &instances).await;
    if let Some(foreign) = token.foreign() {
        return Err(foreign.refuse());
    }
    let observed = Observed { token, instances, addresses, ..Observed::default() };
    let before = Before::of(before, &session, fresh.is_some())?;
    let Some(how) = before.rotation(fresh.as_deref(), arguments.grace.unwrap_or_default()) else {
        session.ui.say("no token is set, so none before it counts; nothing was changed");
        return done(&session, None, None);
    };
    let mut tags: Tags = session.deployment.tags.clone();
    tags.insert(names::TAG_NAME.into(), name.to_owned());
    let plan = plan::rotation(&tags, &observed, how)?;
    if plan.is_empty() {
        session.ui.say(before.unchanged(fresh.is_some(), arguments.grace.is_some_and(|grace| !grace.is_zero())).await);
        return done(&session, None, before.until());
    }
    let shared = Shared { fresh: fresh.clone(), ..session.shared() };
    let context = Arc::new(Context::new(aws.clone(), &session.deployment, observed.start(&plan), None, shared));
    execute(&context, plan).await?;
    let version = context.token().unwrap_or_default();
    let mut until = match how {
        token::Rotation::EndGrace => None,
        token::Rotation::Replace { grace } if grace.is_zero() => None,
        _ => session.interrupt.or(token::read(aws, name)).await?.and_then(|(document, _)| until(&document)),
    };
    let Some(instance) = instance::serving(&observed.instances, &observed.addresses) else {
        session.ui.say(format!("{} will use it", session.command("up")));
        return done(&session, Some(version), until);
    };
    if !arguments.no_wait {
        let ip = observed.addresses.iter().find(|address| address.instance.as_deref() == Some(&instance.id));
        let ip = ip.map(|address| address.ip).or(instance.ip);
        until = session.interrupt.or(in_force(&session, instance, ip, Change { fresh, before, version })).await?;
    } else if let Some(until) = until {
        session.ui.say(format!("the old token counts until {}; the app was not asked", grace::words(until).await));
    }
    done(&session, Some(version), until)
}

fn until(document: &token::Document) -> Option<i64> {
    document.before(grace::now()).map(|(_, until)| until)
}

/// What stood: nothing, something that cannot be read, or tokens under a version.
struct Before(Option<(Option<token::Document>, i64)>);

impl Before {
    /// Only a new token may take the place of what cannot be read.
    fn of(found: Option<(Option<token::Document>, i64)>, session: &Session, fresh: bool) -> Result<Self> {
        match found {
            Some((None, _)) if !fresh => Err(token::unreadable(session.name())),
            found => Ok(Self(found)),
        }
    }

    fn document(&self) -> Option<&token::Document> {
        self.0.as_ref().and_then(|(document, _)| document.as_ref())
    }

    fn until(&self) -> Option<i64> {
        self.document().and_then(until)
    }

    /// What is to be done; nothing where there is no token to keep.
    fn rotation(&self, fresh: Option<&str>, grace: Duration) -> Option<token::Rotation> {
        let same = fresh.is_none_or(|fresh| self.document().is_some_and(|document| *document.current == *fresh));
        match &self.0 {
            None if fresh.is_none() => None,
            // A run that was stopped halfway has stored it, and told nobody.
            Some((_, version)) if same && !(grace.is_zero() && self.until().is_some()) => {
                Some(token::Rotation::Stored(*version))
            }
            Some(_) if same => Some(token::Rotation::EndGrace),
            _ => Some(token::Rotation::Replace { grace }),
        }
    }

    /// Why nothing was done. `named`: whether a token was given; `grace`: whether the one before it was to be kept.
    async fn unchanged(&self, named: bool, grace: bool) -> String {
        match (named, self.until()) {
            (false, _) => "no other token counts beside this one; nothing was changed".to_owned(),
            (true, Some(until)) => {
                let until = grace::words(until).await;
                format!("this is the token already, and the one before it counts until {until}; nothing was changed")
            }
            (true, None) if grace => {
                "this is the token already, so there is no old one to keep; nothing was changed".to_owned()
            }
            (true, None) => "this is the token already; nothing was changed".to_owned(),
        }
    }
}

/// From which tokens to which.
struct Change {
    fresh: Option<Secret>,
    before: Before,
    version: i64,
}

/// The new token answers; the old one does until when is returned, or is refused.
async fn in_force(
    session: &Session,
    instance: &instance::State,
    ip: Option<Ipv4Addr>,
    change: Change,
) -> Result<Option<i64>> {
    let (aws, name, deployment) = (&session.aws, session.name(), &session.deployment);
    let mut goal = Goal {
        release: None,
        token: change.version,
        again: None,
        alone: false,
        proxy: Need::Nothing,
        since: instance.launched,
    };
    let report = health::wait(&session.watch(), &instance.id, &goal).await?;
    // Two people may have changed it at once: what counts is what stands now.
    let stands = token::read(aws, name).await?.map(|(document, _)| document);
    let stands = stands.ok_or_else(|| {
        Failure::failed("the token is gone").next(format!("set one: {}", session.command("set-token --generate")))
    })?;
    let current = &*stands.current;
    let other = change.fresh.as_deref().is_some_and(|fresh| fresh != current);
    let newest = match (&change.fresh, other) {
        (None, _) => "the token",
        (Some(_), true) => "the token that somebody else set meanwhile",
        (Some(_), false) => "the new token",
    };
    let period = stands.before(grace::now());
    if stands.previous.is_some() && period.is_none() {
        // Its time was over before it began: it is waited for the end as well.
        goal.alone = true;
        health::wait(&session.watch(), &instance.id, &goal).await?;
    }
    let words = match period {
        Some((_, until)) => grace::words(until).await,
        None => String::new(),
    };
    if !deployment.token.enforce {
        let too = if period.is_some() { format!(", and the old one until {words}") } else { String::new() };
        session.ui.say(format!(
            "the app has {newest}{too}, as the instance says; whether it asks for it was not tried (token.enforce is false)"
        ));
        return Ok(until(&stands));
    }
    let Some(ip) = ip else {
        session.ui.warn("the instance has no public address, so it was not asked from outside");
        return Ok(until(&stands));
    };
    let app = App::at(aws, deployment, ip).await?;
    let in_force = |failure: Failure| failure.standing(format!("The app has {newest}."));
    if app.check(current).await.map_err(in_force)? == Seen::NotFromHere {
        session.ui.warn("network.allow does not let this machine in: the instance's own report is relied on");
        return Ok(until(&stands));
    }
    let counts = |token: &str| token == current || period.is_some_and(|(previous, _)| previous == token);
    let former = change.before.document().map(|before| [Some(&*before.current), before.previous.as_deref()]);
    let mut refused = false;
    for old in former.into_iter().flatten().flatten().filter(|old| !counts(old)) {
        app.refused(current, old).await.map_err(in_force)?;
        refused = true;
    }
    let Some((previous, until)) = period else {
        session.ui.say(match change.fresh {
            _ if !refused => format!("{newest} answers, requests without it are refused"),
            Some(_) => format!("{newest} answers, the old one is refused"),
            None => format!("{newest} answers, the one before it is refused"),
        });
        return Ok(None);
    };
    match app.takes(current, previous).await? {
        Some(false) if grace::now() < until => {
            session.ui.say(format!("{newest} answers, the old one is refused"));
            session.ui.warn(match report.grace_until {
                Some(_) => format!(
                    "the app does not honour {}_PREVIOUS, so the old token is refused already, not at {words}",
                    deployment.token.env
                ),
                None => {
                    "by the instance's clock the old token's time is over already: look at this machine's".to_owned()
                }
            });
        }
        Some(false) => session.ui.say(format!("{newest} answers, the old one is refused: its time is over")),
        Some(true) => session.ui.say(format!("{newest} answers; the old one does too, until {words}")),
        None => session.ui.say(format!("{newest} answers")),
    }
    Ok(Some(until))
}

fn done(session: &Session, version: Option<i64>, until: Option<i64>) -> Result<ExitCode> {
    if session.globals.json {
        let (name, changed) = (session.name().to_owned(), version.is_some());
        let v = documents::Version;
        session.ui.document(&documents::SetToken { v, name, version, changed, grace_until: until });
    }
    Ok(ExitCode::SUCCESS)
}

fn new(arguments: &SetToken) -> Result<Secret> {
    if arguments.generate {
        return secret::generate();
    }
    if !arguments.stdin {
        return ui::new_token().map(Secret::from);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(|error| {
        Failure::new(Exit::Usage, "the token cannot be read from standard input")
            .because(error.to_string())
            .next("pipe in one line of text")
    })?;
    // echo and editors end the line; that is not part of the token.
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).into())
}
