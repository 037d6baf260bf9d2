//! `set-token`: sets or rotates the token. The token never comes from the command line's arguments.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use super::{Purpose, Session, deployment, from_stdin};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::secret::Secret;
use crate::base::{clock, names, secret};
use crate::commands::cli::{Globals, SetToken};
use crate::commands::documents;
use crate::config::Check;
use crate::engine::execute::execute;
use crate::engine::health::{self, Goal};
use crate::engine::observe::Observed;
use crate::engine::plan::{self, Plan};
use crate::engine::probe::{App, Seen};
use crate::engine::proxy::Need;
use crate::resources::context::{Context, Shared};
use crate::resources::reports::Report;
use crate::resources::{Tags, elastic_ip, instance, security_group, token};
use crate::ui::{self, Ui};

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &SetToken) -> Result<ExitCode> {
    // Mistakes in the file and in the token are reported before any call, and before the sandbox is started.
    let deployment = deployment(&globals)?;
    let fresh = if arguments.only_ends_window() { None } else { Some(new(arguments)?) };
    if let Some(fresh) = &fresh {
        secret::check(fresh, arguments.force)?;
    }
    let session = Session::with(globals, ui, Purpose::Change, deployment).await?;
    let (before, observed) = observe(&session).await?;
    let before = Before::of(before, &session, fresh.is_some())?;
    let window = arguments.grace.unwrap_or_default();
    let Some(how) = before.rotation(fresh.as_deref(), window) else {
        session.ui.say("no token is set, so there is no previous one; nothing was changed");
        return done(&session, None, None);
    };
    let mut tags: Tags = session.deployment.tags.clone();
    tags.insert(names::TAG_NAME.into(), session.name().to_owned());
    let plan = plan::rotation(&tags, &observed, how)?;
    if plan.is_empty() {
        session.ui.say(before.unchanged(fresh.is_some(), !window.is_zero()).await);
        return done(&session, None, before.expiry());
    }
    let version = write(&session, &observed, plan, fresh.clone()).await?;
    let Some(instance) = instance::serving(&observed.instances, &observed.addresses) else {
        session.ui.say(format!("{} will use it", session.ui.run("up")));
        return done(&session, Some(version), stored_expiry(&session, how).await?);
    };
    if arguments.no_wait {
        let expiry = stored_expiry(&session, how).await?;
        if let Some(at) = expiry {
            let until = clock::until(at).await;
            session.ui.say(format!("the previous token stays valid until {until}; the app was not checked"));
        }
        return done(&session, Some(version), expiry);
    }
    let ip = observed.addresses.iter().find(|address| address.instance.as_deref() == Some(&instance.id));
    let ip = ip.map(|address| address.ip).or(instance.ip);
    let expiry = session.interrupt.or(in_force(&session, instance, ip, Change { fresh, before, version })).await?;
    done(&session, Some(version), expiry)
}

/// The stored token and its version, and what else a rotation needs to know.
async fn observe(session: &Session) -> Result<(Stored, Observed)> {
    let (aws, name) = (&session.aws, session.name());
    let looked = async {
        tokio::try_join!(
            token::peek(aws, name),
            token::observe(aws, name),
            instance::observe(aws, name),
            elastic_ip::observe(aws, name),
            security_group::observe(aws, name)
        )
    };
    let (before, token, instances, addresses, group) = session.interrupt.or(looked).await?;
    session.tidy(group.present(), &instances).await;
    if let Some(conflict) = token.conflict() {
        return Err(conflict.refuse());
    }
    Ok((before, Observed { token, instances, addresses, ..Observed::default() }))
}

/// Writes the token and informs the instance. Returns the token's version.
async fn write(session: &Session, observed: &Observed, plan: Plan, fresh: Option<Secret>) -> Result<i64> {
    let shared = Shared { fresh, ..session.shared() };
    let start = plan.start(observed);
    let context = Context::new(session.aws.clone(), &session.deployment, start, None, shared);
    execute(&context, plan).await?;
    Ok(context.output::<token::Output>(&token::ID)?.version)
}

/// When the previous token expires, as it is stored.
async fn stored_expiry(session: &Session, how: token::Rotation) -> Result<Option<i64>> {
    match how {
        token::Rotation::EndGrace => Ok(None),
        token::Rotation::Replace { grace } if grace.is_zero() => Ok(None),
        _ => {
            let stored = session.interrupt.or(token::read(&session.aws, session.name())).await?;
            Ok(stored.and_then(|(document, _)| expiry(&document)))
        }
    }
}

/// When the previous token expires, if it is still valid.
fn expiry(document: &token::Document) -> Option<i64> {
    document.before(clock::now()).map(|(_, until)| until)
}

/// The stored document, `None` if it cannot be read, and its version; nothing if no token is set.
type Stored = Option<(Option<token::Document>, i64)>;

/// The token before the command.
struct Before(Stored);

impl Before {
    /// Only a new token may replace a document that cannot be read.
    fn of(found: Stored, session: &Session, fresh: bool) -> Result<Self> {
        match found {
            Some((None, _)) if !fresh => Err(token::unreadable(session.name())),
            found => Ok(Self(found)),
        }
    }

    fn document(&self) -> Option<&token::Document> {
        self.0.as_ref().and_then(|(document, _)| document.as_ref())
    }

    fn expiry(&self) -> Option<i64> {
        self.document().and_then(expiry)
    }

    /// What to do; nothing if there is no token to keep.
    fn rotation(&self, fresh: Option<&str>, window: Duration) -> Option<token::Rotation> {
        let same = fresh.is_none_or(|fresh| self.document().is_some_and(|document| *document.current == *fresh));
        match &self.0 {
            None if fresh.is_none() => None,
            // An interrupted run has stored it, but may not have informed the instance.
            Some((_, version)) if same && !(window.is_zero() && self.expiry().is_some()) => {
                Some(token::Rotation::Stored(*version))
            }
            Some(_) if same => Some(token::Rotation::EndGrace),
            _ => Some(token::Rotation::Replace { grace: window }),
        }
    }

    /// Why nothing was changed. `named`: whether a token was given; `window`: whether the previous one was to stay valid.
    async fn unchanged(&self, named: bool, window: bool) -> String {
        match (named, self.expiry()) {
            (false, _) => "no previous token is valid; nothing was changed".to_owned(),
            (true, Some(at)) => {
                let until = clock::until(at).await;
                format!("this token is already set, and the previous one is valid until {until}; nothing was changed")
            }
            (true, None) if window => {
                "this token is already set, so there is no previous one to keep; nothing was changed".to_owned()
            }
            (true, None) => "this token is already set; nothing was changed".to_owned(),
        }
    }
}

/// A rotation from some tokens to others.
struct Change {
    fresh: Option<Secret>,
    before: Before,
    version: i64,
}

impl Change {
    /// How to call the token that is current now.
    fn title(&self, current: &str) -> &'static str {
        match self.fresh.as_deref() {
            None => "the token",
            Some(fresh) if fresh == current => "the new token",
            Some(_) => "the token that another user set meanwhile",
        }
    }
}

/// Waits until the instance uses the token, then checks from outside that the app accepts and refuses the right tokens. Returns
/// when the previous token expires, if it is still valid.
async fn in_force(
    session: &Session,
    instance: &instance::State,
    ip: Option<Ipv4Addr>,
    change: Change,
) -> Result<Option<i64>> {
    let mut goal = Goal {
        references: None,
        release: None,
        token: change.version,
        secrets: Vec::new(),
        again: None,
        alone: false,
        proxy: Need::Nothing,
        data: false,
        since: instance.launched,
    };
    let report = health::wait(&session.watch(), &instance.id, &goal).await?;
    // Another user may have set a token meanwhile: the stored document is what must be in force.
    let stored = token::read(&session.aws, session.name()).await?.map(|(document, _)| document);
    let document = stored.ok_or_else(|| {
        Failure::failed("the token was deleted").next(Next::from("set one: ").run("set-token --generate"))
    })?;
    let title = change.title(&document.current);
    let window = document.before(clock::now());
    if document.previous.is_some() && window.is_none() {
        // The window ended before the instance saw it: wait for its end as well.
        goal.alone = true;
        health::wait(&session.watch(), &instance.id, &goal).await?;
    }
    if session.deployment.token.check == Check::None {
        let previous = match window {
            Some((_, at)) => format!(", and the previous one until {}", clock::until(at).await),
            None => String::new(),
        };
        session.ui.say(format!(
            "the instance reports that the app has {title}{previous}; not checked from outside, because token.check is none"
        ));
        return Ok(expiry(&document));
    }
    let Some(ip) = ip else {
        session.ui.warn("the instance has no public address, so the app was not checked from outside");
        return Ok(expiry(&document));
    };
    let app = App::at(&session.aws, &session.deployment, ip).await?;
    Outside { session, app, document: &document, title }.check(&change, &report).await
}

/// The check from outside.
struct Outside<'a> {
    session: &'a Session,
    app: App<'a>,
    document: &'a token::Document,
    title: &'static str,
}

impl Outside<'_> {
    async fn check(&self, change: &Change, report: &Report) -> Result<Option<i64>> {
        let Self { session, app, document, title } = self;
        let current = &*document.current;
        let left = |failure: Failure| failure.standing(format!("The app has {title}."));
        if app.check(current).await.map_err(left)? == Seen::NotFromHere {
            session.ui.warn("network.allow blocks this machine, so the app was not checked from outside");
            return Ok(expiry(document));
        }
        let window = document.before(clock::now());
        let valid = |token: &str| token == current || window.is_some_and(|(previous, _)| previous == token);
        let former = change.before.document().map(|before| [Some(&*before.current), before.previous.as_deref()]);
        let mut refused = false;
        for old in former.into_iter().flatten().flatten().filter(|old| !valid(old)) {
            app.refused(current, old).await.map_err(left)?;
            refused = true;
        }
        if let Some((previous, at)) = window {
            self.previous(previous, at, report.grace_until.is_some()).await?;
            return Ok(Some(at));
        }
        session.ui.say(match refused {
            true => format!("the app accepts {title} and refuses the previous one"),
            false => format!("the app accepts {title} and refuses requests without it"),
        });
        Ok(None)
    }

    /// Checks the previous token in its rotation window, which ends at `at`. `open`: whether the window is open on the instance.
    async fn previous(&self, previous: &str, at: i64, open: bool) -> Result<()> {
        let Self { session, app, document, title } = self;
        let refuses = format!("the app accepts {title} and refuses the previous one");
        match app.takes(&document.current, previous).await? {
            Some(false) if clock::now() < at => {
                session.ui.say(refuses);
                session.ui.warn(match open {
                    true => format!(
                        "the app ignores {}_PREVIOUS, so it refuses the previous token now and not at {}",
                        session.deployment.token.env,
                        clock::until(at).await
                    ),
                    false => {
                        "the rotation window is over by the instance's clock: check this machine's clock".to_owned()
                    }
                });
            }
            Some(false) => session.ui.say(format!("{refuses}: the rotation window is over")),
            Some(true) => {
                let until = clock::until(at).await;
                session.ui.say(format!("the app accepts {title}, and the previous one until {until}"));
            }
            None => session.ui.say(format!("the app accepts {title}")),
        }
        Ok(())
    }
}

fn done(session: &Session, version: Option<i64>, expiry: Option<i64>) -> Result<ExitCode> {
    if session.globals.json {
        let (name, changed) = (session.name().to_owned(), version.is_some());
        let v = documents::Version;
        session.ui.document(&documents::SetToken { v, name, version, changed, grace_until: expiry });
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
    from_stdin("the token", 4096, "pipe in one line of text")
}
