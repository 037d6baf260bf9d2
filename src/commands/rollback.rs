//! `rollback`: has the instance run a release that was there before. Only tags change, and the token stays as it is.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use super::Session;
use super::releases::Found;
use super::up::{app, healthy};
use crate::base::error::{Exit, Failing, Failure, Result};
use crate::commands::cli::Rollback;
use crate::commands::documents;
use crate::engine::execute::execute;
use crate::engine::observe::Observed;
use crate::engine::plan;
use crate::resources::context::Context;
use crate::resources::instance::{self, Phase};
use crate::resources::release::{Notes, short};
use crate::resources::token;

/// As much of an id as has to be given.
const LEAST: usize = 4;

pub(super) async fn run(session: &Session, arguments: &Rollback) -> Result<ExitCode> {
    let found = session.interrupt.or(Found::look(session)).await?;
    let to = found.choose(session, arguments.release.as_deref())?;
    let instance = found.instance(session)?;
    found.fits(session, &to)?;
    let plan = plan::rollback(&found.observed, &to)?;
    if plan.is_empty() && found.history.runs.as_ref() == Some(&to) {
        session.ui.say(format!("{} runs already; nothing was changed", short(&to)));
        return done(session, &found, &to, None);
    }
    let why = if found.history.pending() && found.history.runs.as_ref() == Some(&to) {
        format!("{} is taken back; ", found.history.wanted.as_deref().map_or("what is wanted", short))
    } else {
        String::new()
    };
    let told = super::status::told(&to, found.release(&to).map(|release| &release.notes));
    session.ui.say(format!("{why}back to {told}"));
    let start = plan.start(&found.observed);
    let context = Context::new(session.aws.clone(), &session.deployment, start, None, session.shared());
    let work = async {
        execute(&context, plan).await?;
        let app = app(session, address(&found.observed, instance)).await?;
        if !arguments.no_wait {
            session.interrupt.or(healthy(session, &context, &to, app.as_ref())).await?;
        }
        Ok(app.map(|app| app.url))
    };
    let url = work.await.map_err(|failure| by_name(session, failure, &to))?;
    let version = context.output::<token::Output>(&token::ID)?.version;
    session.ui.say(format!("tokens are not rolled back: version {version} stays"));
    session.ui.say(format!("the app's folder was not touched: {} brings its code again", session.command("up")));
    done(session, &found, &to, Some((version, url)))
}

/// Once the instance is told, the same command without a name would go the other way.
fn by_name(session: &Session, failure: Failure, to: &str) -> Failure {
    let again = session.command(&format!("rollback {}", short(to)));
    match failure.exit() {
        Exit::Failed | Exit::Interrupted => failure
            .standing("The instance may have been told already.")
            .instead(format!("name it, to go on from here: {again}")),
        Exit::Denied => {
            failure.standing(format!("The instance may have been told already. To go on from here, name it: {again}"))
        }
        _ => failure,
    }
}

impl Found {
    /// Where it goes: to the release that is named, or to the one before.
    fn choose(&self, session: &Session, named: Option<&str>) -> Result<String> {
        if let Some(named) = named {
            return self.named(session, named);
        }
        let Some(back) = self.history.back() else {
            let others = self.releases.iter().any(|one| Some(&one.stored.id) != self.history.wanted.as_ref());
            return Err(self
                .listing(Failure::failed("there is no release to go back to").because(match &self.history.wanted {
                    Some(wanted) => format!("none ran before {} on this instance", short(wanted)),
                    None => "no instance stands".to_owned(),
                }))
                .next(match (others, &self.history.wanted) {
                    (true, _) => format!("name one of them: {}", session.command("rollback RELEASE")),
                    (_, Some(_)) => {
                        format!("there will be one when another was put into service: {}", session.command("up"))
                    }
                    (_, None) => format!("make one: {}", session.command("up")),
                }));
        };
        // What runs is on the instance, also where it is not in the bucket any more.
        if self.release(back).is_none() && self.history.runs.as_deref() != Some(back) {
            return Err(self
                .listing(Failure::failed(format!("the release {} is no longer in the bucket", short(back))))
                .next(format!("name another one: {}", session.command("rollback RELEASE"))));
        }
        Ok(back.to_owned())
    }

    fn named(&self, session: &Session, named: &str) -> Result<String> {
        if self.releases.is_empty() {
            return Err(self
                .listing(Failure::new(Exit::Usage, format!("there is no release {named}")))
                .next(format!("make one: {}", session.command("up"))));
        }
        if named.len() < LEAST {
            return Err(self
                .listing(Failure::new(Exit::Usage, format!("{named:?} is too short for a release")))
                .next(format!("give at least {LEAST} characters of it")));
        }
        let fitting: Vec<&str> =
            self.releases.iter().map(|release| release.stored.id.as_str()).filter(|id| id.starts_with(named)).collect();
        match fitting[..] {
            [one] => Ok(one.to_owned()),
            [] => Err(self
                .listing(Failure::new(Exit::Usage, format!("there is no release {named}")))
                .next(format!("name one of them: {}", session.command("rollback RELEASE")))),
            _ => Err(self
                .listing(Failure::new(Exit::Usage, format!("{} releases begin with {named}", fitting.len())))
                .next("give more of it")),
        }
    }

    /// What there is, as the reason.
    fn listing(&self, failure: Failing) -> Failing {
        match self.lines() {
            none if none.is_empty() => failure.because("there are no releases"),
            some => failure.because(format!("there are:\n{}", some.join("\n"))),
        }
    }

    /// The instance that is to run it.
    fn instance(&self, session: &Session) -> Result<&instance::State> {
        if let Some(foreign) = self.observed.token.foreign() {
            return Err(foreign.refuse());
        }
        let Some((instance, _)) = self.observed.serving() else {
            return Err(Failure::failed(format!("no instance of {} stands", session.name()))
                .next(format!("make one: {}", session.command("up"))));
        };
        if !matches!(instance.phase, Phase::Pending | Phase::Running) {
            return Err(Failure::failed(format!("the instance {} is {}", instance.id, instance.phase.name()))
                .next(format!("start it first: {}", session.command("up"))));
        }
        Ok(instance)
    }

    /// That it was built for the machine that runs, and is reached as that is. What is not noted is tried: one that
    /// does not run is not taken into service.
    fn fits(&self, session: &Session, to: &str) -> Result<()> {
        let note = |id: &str, note: fn(&Notes) -> &String| self.release(id).map(|release| note(&release.notes).clone());
        let runs = self.history.runs.as_deref().unwrap_or_default();
        let differ = |of: fn(&Notes) -> &String| {
            let both = note(to, of).zip(note(runs, of));
            both.filter(|(then, now)| !then.is_empty() && !now.is_empty() && then != now)
        };
        let why = match (differ(|notes| &notes.target), differ(|notes| &notes.reached)) {
            (Some((then, now)), _) => {
                format!("it was built for {then}, and the instance has {now} since its image or type changed")
            }
            (None, Some((then, now))) => {
                format!("it is reached by {then}, and the app by {now} since deploy.yaml changed")
            }
            (None, None) => return Ok(()),
        };
        Err(Failure::failed(format!("the release {} cannot run on this instance", short(to)))
            .because(why)
            .standing("Nothing was changed.")
            .next(format!("put that version of the code into the app's folder, then: {}", session.command("up"))))
    }
}

fn address(observed: &Observed, instance: &instance::State) -> Option<Ipv4Addr> {
    let leads = observed.addresses.iter().find(|address| address.instance.as_deref() == Some(&instance.id));
    leads.map(|address| address.ip).or(instance.ip)
}

/// `changed`: the token's version and where the app answers, where something was done.
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
