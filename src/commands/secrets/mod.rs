//! `secrets …`: the app's secrets. A value never comes from the command line's arguments, and only `secrets get` shows one.
//!
//! [`change`] is the only way to change them: several at once are one change, and the app gets them with one new generation.

mod env_file;
mod get;
mod import;
mod list;
mod refresh;
mod set;
mod unset;

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::{Purpose, Session, deployment};
use crate::base::clock::now;
use crate::base::error::{Exit, Failure, Result};
use crate::base::names;
use crate::base::next::Next;
use crate::base::secret::Secret;
use crate::commands::cli::{Globals, SecretsVerb};
use crate::commands::documents;
use crate::config::Deployment;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan::{self, Plan};
use crate::engine::proxy::Need;
use crate::resources::context::{Context, Shared};
use crate::resources::instance::{self, Phase};
use crate::resources::secrets::{self, Edit};
use crate::resources::{Tags, elastic_ip, reports, security_group};
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, verb: SecretsVerb) -> Result<ExitCode> {
    match verb {
        SecretsVerb::List => list::run(&Session::open(globals, ui, Purpose::Look).await?).await,
        SecretsVerb::Get(arguments) => get::run(globals, ui, &arguments).await,
        SecretsVerb::Refresh(arguments) => refresh::run(globals, ui, &arguments).await,
        SecretsVerb::Import(arguments) => import::run(globals, ui, &arguments).await,
        SecretsVerb::Set(arguments) => set::run(globals, ui, &arguments).await,
        SecretsVerb::Unset(arguments) => unset::run(globals, ui, &arguments).await,
    }
}

/// The wanted secrets by name: a value, or nothing to delete it.
type Wishes = BTreeMap<String, Option<Secret>>;

/// The work after the secrets are stored.
#[derive(Clone, Copy, Debug)]
struct Then {
    /// Whether the app gets them now.
    restart: bool,
    /// Whether to wait until the app uses them.
    wait: bool,
}

/// The state after a change.
struct Changed {
    /// The names of the secrets that were written or deleted.
    names: Vec<String>,
    /// Whether the app uses all secrets as they are stored, as far as this command saw.
    used: bool,
}

/// Stores and deletes secrets, and gives them to the app. A value that is stored already is not written again; but the instance gets its
/// orders, if an interrupted command has not given them.
async fn change(session: &Session, wishes: Wishes, then: Then) -> Result<Changed> {
    let observed = session.interrupt.or(observe(session)).await?;
    let values = session.interrupt.or(different(session, &observed, wishes)).await?;
    let edits = values.iter().map(|(name, value)| (name.clone(), value.as_ref().map_or(Edit::Delete, |_| Edit::Write)));
    let mut tags: Tags = session.deployment.tags.clone();
    tags.insert(names::TAG_NAME.into(), session.name().to_owned());
    let plan = plan::secrets(&tags, &observed, &edits.collect(), then.restart)?;
    if plan.is_empty() {
        session.ui.say("nothing was changed: the secrets are already as requested");
        return Ok(Changed { names: Vec::new(), used: is_used(&observed) });
    }
    let names = values.keys().cloned().collect();
    let values = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let fingerprint = write(session, &observed, plan, values).await?;
    let used = match follows(session, &observed, then) {
        Ok(instance) => session.interrupt.or(in_use(session, instance, fingerprint)).await.map(|()| true)?,
        Err(why) => {
            session.ui.say(why);
            false
        }
    };
    Ok(Changed { names, used })
}

/// Whether the instance reported that the app uses the secrets as they were read.
fn is_used(observed: &Observed) -> bool {
    let stored = observed.secrets.present().map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint);
    let report = observed.serving().and_then(|(_, report)| report);
    report.is_some_and(|report| report.healthy && report.secrets.as_ref() == Some(&stored))
}

async fn observe(session: &Session) -> Result<Observed> {
    let (aws, name) = (&session.aws, session.name());
    let (secrets, instances, addresses, reports, group) = tokio::try_join!(
        secrets::observe(aws, name),
        instance::observe(aws, name),
        elastic_ip::observe(aws, name),
        reports::observe(aws, name),
        security_group::observe(aws, name)
    )?;
    session.tidy(group.present(), &instances).await;
    Ok(Observed { at: now(), secrets, instances, addresses, reports, ..Observed::default() })
}

/// The wishes without those that are fulfilled: the same value is stored, or the secret to delete is not set.
async fn different(session: &Session, observed: &Observed, mut wishes: Wishes) -> Result<Wishes> {
    let is_set = |name: &String| observed.secrets.present().is_some_and(|found| found.contains_key(name));
    for (name, _) in wishes.iter().filter(|(name, value)| value.is_none() && !is_set(name)) {
        session.ui.say(format!("{name} is not set"));
    }
    wishes.retain(|name, value| value.is_some() || is_set(name));
    let written = wishes.iter().filter(|(name, value)| value.is_some() && is_set(name));
    let written: Vec<String> = written.map(|(name, _)| name.clone()).collect();
    let found = secrets::values(&session.aws, session.name(), &written).await?;
    wishes.retain(|name, value| value.is_none() || found.get(name).map(|(value, _)| value) != value.as_ref());
    Ok(wishes)
}

/// Applies the plan. Returns the fingerprint that the instance has in its orders, if it got any.
async fn write(session: &Session, observed: &Observed, plan: Plan, values: BTreeMap<String, Secret>) -> Result<String> {
    let shared = Shared { secrets: values, ..session.shared() };
    let start = plan.start(observed);
    let context = Context::new(session.aws.clone(), &session.deployment, start, None, shared);
    execute(&context, plan).await?;
    Ok(context.output::<secrets::Output>(&secrets::ID)?.fingerprint)
}

/// The instance to wait for; or why there is none.
fn follows<'a>(session: &Session, observed: &'a Observed, then: Then) -> Result<&'a instance::State, String> {
    let up = session.ui.run("up");
    let Some((instance, report)) = observed.serving() else {
        return Err(format!("the change is stored; the app gets it with its first start: {up}"));
    };
    if !then.restart {
        return Err(format!("the change is stored; the app gets it with its next start: {up}"));
    }
    if !matches!(instance.phase, Phase::Pending | Phase::Running) {
        return Err(format!("the change is stored; {} is {}: {up} starts it", instance.id, instance.phase.name()));
    }
    if report.is_some_and(|report| report.healthy && report.secrets.is_none()) {
        return Err(format!(
            "the change is stored; the running release is from before devopsctl had secrets: {up} will use them"
        ));
    }
    if !then.wait {
        return Err("the change is stored; the app was not checked".to_owned());
    }
    Ok(instance)
}

/// Waits until the instance reports that these secrets, or newer ones, are in use.
async fn in_use(session: &Session, instance: &instance::State, fingerprint: String) -> Result<()> {
    let goal = Goal {
        release: None,
        token: 0,
        secrets: vec![fingerprint],
        references: None,
        again: None,
        alone: false,
        proxy: Need::Nothing,
        data: false,
        since: instance.launched,
    };
    let seen = health::wait(&session.watch(), &instance.id, &goal).await;
    seen.map_err(|failure| match failure.left_standing() {
        Some(left) => {
            let left = format!("{left} The secrets are stored.");
            failure.standing(left)
        }
        None => failure.standing("The secrets are stored."),
    })?;
    session.ui.say("the app uses the secrets as they are stored");
    Ok(())
}

fn done(session: &Session, changed: Changed) -> ExitCode {
    if session.globals.json {
        let (v, name) = (documents::Version, session.name().to_owned());
        let Changed { names, used } = changed;
        session.ui.document(&documents::SecretsChanged { v, name, changed: !names.is_empty(), secrets: names, used });
    }
    ExitCode::SUCCESS
}

/// The error for secrets that the app needs and a user must set.
pub(super) fn missing(names: &[&str]) -> Failure {
    Failure::failed(format!("the app needs secrets that are not set: {}", names.join(", ")))
        .because("app.secrets in deploy.yaml lists them")
        .standing("Nothing was changed.")
        .next(Next::from("set them: ").run(format!("secrets set {}", names.join(" "))))
}

/// The error for references to secrets that the app cannot get.
pub(super) fn unusable(lines: &[String]) -> Failure {
    Failure::failed(format!("the app cannot get secrets that are kept elsewhere:\n{}", lines.join("\n")))
        .because("app.secrets in deploy.yaml refers to them")
        .standing("Nothing was changed.")
        .next("create the secret there, or correct the reference in deploy.yaml")
}

/// The error for setting a secret that is kept elsewhere.
fn refuse_reference(deployment: &Deployment, name: &str) -> Result<()> {
    let references = deployment.app.references();
    let Some(reference) = references.get(name) else { return Ok(()) };
    Err(Failure::new(Exit::Usage, format!("{name} is kept elsewhere: {}", reference.source))
        .because("app.secrets in deploy.yaml refers to it, and devopsctl only reads it")
        .standing("No call was made.")
        .next(Next::from("change it there, then give it to the app: ").run("secrets refresh")))
}

/// The error for an argument that is no name. It may be a value, so it is not shown.
fn no_name(place: usize) -> Failure {
    Failure::new(Exit::Usage, format!("argument {} is not a valid name for a secret", place + 1))
        .because("a name has letters, digits and _, and does not start with a digit")
        .standing("No call was made. If it is a value, it is in your shell's history now: use another one.")
        .next("write only the names; each value is asked for, or read with --stdin")
}
