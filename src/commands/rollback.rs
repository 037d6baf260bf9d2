//! `rollback`: the instance runs an earlier release. Only tags change; the token is not rolled back.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use super::Session;
use super::releases::Found;
use super::up::app;
use crate::base::error::{Exit, Failing, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::Rollback;
use crate::commands::documents;
use crate::config::Source;
use crate::engine::execute::execute;
use crate::engine::observe::Observed;
use crate::engine::plan;
use crate::engine::rollout;
use crate::resources::context::Context;
use crate::resources::instance::{self, Phase};
use crate::resources::references::{self, Place};
use crate::resources::release::{Notes, short};
use crate::resources::secrets::{self, Stored};
use crate::resources::{role, token};

/// The least number of characters of an id.
const LEAST: usize = 4;

pub(super) async fn run(session: &Session, arguments: &Rollback) -> Result<ExitCode> {
    let found = session.interrupt.or(Found::look(session)).await?;
    let to = found.choose(arguments.release.as_deref())?;
    let instance = found.instance(session)?;
    found.fits(&to)?;
    session.interrupt.or(found.readable(session, &to)).await?;
    let plan = plan::rollback(&found.observed, &to)?;
    if plan.is_empty() && found.history.runs.as_ref() == Some(&to) {
        session.ui.say(format!("{} is already running; nothing was changed", short(&to)));
        return done(session, &found, &to, None);
    }
    let why = if found.history.pending() && found.history.runs.as_ref() == Some(&to) {
        format!("withdrawing {}; ", found.history.wanted.as_deref().map_or("the wanted release", short))
    } else {
        String::new()
    };
    let described = super::status::described(&to, found.release(&to).map(|release| &release.notes));
    session.ui.say(format!("{why}rolling back to {described}"));
    let start = plan.start(&found.observed);
    let context = Context::new(session.aws.clone(), &session.deployment, start, None, session.shared());
    let work = async {
        execute(&context, plan).await?;
        let app = app(session, address(&found.observed, instance)).await?;
        if !arguments.no_wait {
            session.interrupt.or(rollout::healthy(&session.watch(), &context, &to, app.as_ref())).await?;
        }
        Ok(app.map(|app| app.url))
    };
    let url = work.await.map_err(|failure| by_name(session, failure, &to))?;
    let version = context.output::<token::Output>(&token::ID)?.version;
    session.ui.say(format!("the token is not rolled back: version {version} stays valid"));
    // The rollback is done, so an error here is not one of the command.
    match secrets::list(&session.aws, session.name()).await {
        Ok(stored) if stored.is_empty() => {}
        Ok(stored) => session.ui.say(about_secrets(&stored, instance)),
        Err(failure) => session.ui.warn(format!("{failure}; secrets are not rolled back")),
    }
    if let Some(commands) = found.commands(&to) {
        session.ui.say(format!(
            "app.release does not run again for a release that has run it, and what it changed before stays: {commands}"
        ));
    }
    if found.release(&to).is_some_and(|release| !release.notes.sources.is_empty()) {
        session.ui.say("secrets that are kept elsewhere were read again: the app has their newest versions");
    }
    session.ui.say(format!("the app's folder is unchanged: {} deploys its code again", session.ui.run("up")));
    done(session, &found, &to, Some((version, url)))
}

/// The app keeps the secrets that it has: a rollback does not order others.
fn about_secrets(stored: &Stored, instance: &instance::State) -> String {
    let same = "secrets are not rolled back: the app has the same as before";
    match instance.orders().of_secrets() == secrets::fingerprint(stored) {
        true => same.to_owned(),
        false => {
            format!("{same}; those that were stored with --no-restart reach it with the next `secrets set` or `up`")
        }
    }
}

/// Once the instance has the order, the same command without a release would roll back in the other direction.
fn by_name(session: &Session, failure: Failure, to: &str) -> Failure {
    let again = format!("rollback {}", short(to));
    match failure.exit() {
        Exit::Failed | Exit::Interrupted => failure
            .standing("The instance may already have the order.")
            .instead(Next::from("name the release, to continue from here: ").run(again)),
        Exit::Denied => failure.standing(format!(
            "The instance may already have the order. To continue from here, name the release: {}",
            session.ui.run(&again)
        )),
        _ => failure,
    }
}

impl Found {
    /// The target: the named release, or the previous one.
    fn choose(&self, named: Option<&str>) -> Result<String> {
        if let Some(named) = named {
            return self.named(named);
        }
        let Some(back) = self.history.back() else {
            let others = self.releases.iter().any(|one| Some(&one.stored.id) != self.history.wanted.as_ref());
            return Err(self
                .listing(Failure::failed("there is no release to roll back to").because(match &self.history.wanted {
                    Some(wanted) => format!("no release ran before {} on this instance", short(wanted)),
                    None => "there is no instance".to_owned(),
                }))
                .next(match (others, &self.history.wanted) {
                    (true, _) => name_one(),
                    (_, Some(_)) => Next::from("deploy another release first: ").run("up"),
                    (_, None) => create_one(),
                }));
        };
        // The running release is on the instance, even if it is no longer in the bucket.
        if self.release(back).is_none() && self.history.runs.as_deref() != Some(back) {
            return Err(self
                .listing(Failure::failed(format!("the release {} is no longer in the bucket", short(back))))
                .next(name_one()));
        }
        Ok(back.to_owned())
    }

    /// The commands of the release that ran until now, or of the target: a rollback does not undo them.
    fn commands(&self, to: &str) -> Option<&str> {
        let of = |id: &str| self.release(id).map(|release| release.notes.commands.as_str());
        let mut known = [self.history.runs.as_deref(), Some(to)].into_iter().flatten().filter_map(of);
        known.find(|commands| !commands.is_empty())
    }

    fn named(&self, named: &str) -> Result<String> {
        if self.releases.is_empty() {
            return Err(self
                .listing(Failure::new(Exit::Usage, format!("there is no release {named}")))
                .next(create_one()));
        }
        if named.len() < LEAST {
            return Err(self
                .listing(Failure::new(Exit::Usage, format!("{named:?} is too short for a release")))
                .next(format!("pass at least {LEAST} characters")));
        }
        let fitting: Vec<&str> =
            self.releases.iter().map(|release| release.stored.id.as_str()).filter(|id| id.starts_with(named)).collect();
        match fitting[..] {
            [one] => Ok(one.to_owned()),
            [] => Err(self.listing(Failure::new(Exit::Usage, format!("there is no release {named}"))).next(name_one())),
            _ => Err(self
                .listing(Failure::new(Exit::Usage, format!("{} releases begin with {named}", fitting.len())))
                .next("pass more characters")),
        }
    }

    /// Adds the list of releases as the reason.
    fn listing(&self, failure: Failing) -> Failing {
        match self.lines() {
            none if none.is_empty() => failure.because("there are no releases"),
            some => failure.because(format!("the releases:\n{}", some.join("\n"))),
        }
    }

    /// The instance that will run the release.
    fn instance(&self, session: &Session) -> Result<&instance::State> {
        if let Some(conflict) = self.observed.token.conflict() {
            return Err(conflict.refuse());
        }
        let Some((instance, _)) = self.observed.serving() else {
            return Err(Failure::failed(format!("{} has no instance", session.name())).next(create_one()));
        };
        if !matches!(instance.phase, Phase::Pending | Phase::Running) {
            return Err(Failure::failed(format!("the instance {} is {}", instance.id, instance.phase.name()))
                .next(Next::from("start it first: ").run("up")));
        }
        Ok(instance)
    }

    /// Checks that the release was built for the instance's target, and is served in the same way. Without metadata it is tried:
    /// a release that fails its checks is not deployed.
    fn fits(&self, to: &str) -> Result<()> {
        let note = |id: &str, note: fn(&Notes) -> &String| self.release(id).map(|release| note(&release.notes).clone());
        let runs = self.history.runs.as_deref().unwrap_or_default();
        let differ = |of: fn(&Notes) -> &String| {
            let both = note(to, of).zip(note(runs, of));
            both.filter(|(then, now)| !then.is_empty() && !now.is_empty() && then != now)
        };
        let why = match (differ(|notes| &notes.target), differ(|notes| &notes.reached)) {
            (Some((then, now)), _) => {
                format!("it was built for {then}, but the instance now has {now}, because its image or type changed")
            }
            (None, Some((then, now))) => {
                format!("it is served by {then}, but the app is now served by {now}, because deploy.yaml changed")
            }
            (None, None) => return Ok(()),
        };
        Err(Failure::failed(format!("the release {} cannot run on this instance", short(to)))
            .because(why)
            .standing("Nothing was changed.")
            .next(Next::from("restore that version of the code in the app's folder, then run ").run("up")))
    }
}

impl Found {
    /// Checks that the instance may still read the secrets to which the release refers: `up` withdraws permissions that neither its
    /// release nor the one before needs.
    async fn readable(&self, session: &Session, to: &str) -> Result<()> {
        let sources = self.release(to).map(|release| &release.notes.sources);
        let Some(sources) = sources.filter(|sources| !sources.is_empty()) else { return Ok(()) };
        let role = role::observe(&session.aws, session.name()).await?;
        let granted = references::granted(role.present().and_then(|role| role.policy.as_ref()));
        let Observed { partition, account, .. } = &self.observed;
        let place = Place { partition, account, region: &session.aws.region };
        let is_denied = |source: &&Source| !granted.contains(&references::resource(place, source));
        let denied: Vec<String> = sources.iter().filter(is_denied).map(ToString::to_string).collect();
        if denied.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("the release {} needs secrets that the instance may no longer read", short(to)))
            .because(format!("it refers to {}, and later releases do not", denied.join(", ")))
            .standing("Nothing was changed.")
            .next(
                Next::from("restore that version of deploy.yaml and of the code, then run ")
                    .run("up")
                    .and(", which gives the permission again"),
            ))
    }
}

fn create_one() -> Next {
    Next::from("create one: ").run("up")
}

fn name_one() -> Next {
    Next::from("name a release: ").run("rollback RELEASE")
}

fn address(observed: &Observed, instance: &instance::State) -> Option<Ipv4Addr> {
    let leads = observed.addresses.iter().find(|address| address.instance.as_deref() == Some(&instance.id));
    leads.map(|address| address.ip).or(instance.ip)
}

/// `changed`: the token's version and the app's URL, if something was changed.
fn done(session: &Session, found: &Found, to: &str, changed: Option<(i64, Option<String>)>) -> Result<ExitCode> {
    if session.globals.json {
        let (changed, url) = (changed.is_some(), changed.as_ref().and_then(|(_, url)| url.clone()));
        let token = found.observed.token.present().map(|token| token.version);
        let (v, name, release) = (documents::Version, session.name().to_owned(), to.to_owned());
        let from = found.history.wanted.clone();
        session.ui.document(&documents::Rollback { v, name, release, from, token, url, changed });
    }
    Ok(ExitCode::SUCCESS)
}
