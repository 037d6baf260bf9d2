//! Waits until the instance reports that it has followed its orders, and shows its progress.

use std::time::{Duration, Instant};

use crate::aws::Aws;
use crate::aws::retry::Unseen;
use crate::base::clock::now;
use crate::base::error::{Exit, Failure, Result};
use crate::base::event::{Event, Sink};
use crate::base::next::Next;
use crate::engine::proxy::{Need, Patience};
use crate::resources::context::Context;
use crate::resources::orders::{self, Orders};
use crate::resources::reports::{self, Phase, Proxy, Report};
use crate::resources::{health_gate, instance, secrets, token};
use failures::{broken, orders_not_seen, stuck, superseded, unreported};

/// How long a new instance may take until its first report. A boot usually takes one to two minutes.
const SILENCE: Duration = Duration::from_secs(600);
/// How long each phase may take, beyond the app's own health timeout.
const PHASE: Duration = Duration::from_secs(180);
/// How long to wait for the next report after a stale one.
const STALE_PATIENCE: Duration = Duration::from_secs(15);
/// How much longer a start may take if there are processes beside the web server: the earlier ones may take 900 seconds to end, and the
/// new ones must live for 10 seconds.
const PROCESSES: Duration = Duration::from_secs(920);
const TOPIC: crate::base::event::Topic = std::borrow::Cow::Borrowed("app");

pub(super) mod data;
mod failures;
mod output;

/// The state that the instance must reach.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The release; `None` for the release in its orders.
    pub release: Option<String>,
    /// The minimum version of the token.
    pub token: i64,
    /// The fingerprints of the secrets of which one must serve; any, if it is empty.
    pub secrets: Vec<String>,
    /// The fingerprint of the references that was ordered, if any. The instance takes the newest versions, whatever was ordered.
    pub references: Option<String>,
    /// The attempt that was ordered, if any.
    pub again: Option<String>,
    /// Whether the previous token must not be accepted.
    pub alone: bool,
    /// What the command needs of the proxy.
    pub proxy: Need,
    /// Whether it is enough that the instance waits for its data volume.
    pub data: bool,
    /// When the instance was launched or last started, in seconds since 1970: earlier reports do not count.
    pub since: i64,
}

impl Goal {
    /// The goal of this run: this release, and the newest version of the token that the run knows.
    ///
    /// # Errors
    /// The run has no instance.
    pub fn of(context: &Context, release: &str, proxy: Need) -> Result<(String, Self)> {
        let instance = context.output::<instance::Output>(&instance::ID)?;
        let token = context.known::<token::Output>(&token::ID).map_or(0, |token| token.version);
        let secrets = context.known::<secrets::Output>(&secrets::ID).map(|secrets| secrets.fingerprint);
        let orders = context.known::<orders::Output>(&orders::ID);
        let (again, references) = orders.map(|orders| (orders.attempt, orders.references)).unwrap_or_default();
        let release = Some(release.to_owned());
        let (secrets, since) = (secrets.into_iter().collect(), instance.since);
        Ok((instance.id, Self { release, token, secrets, references, again, alone: false, proxy, data: false, since }))
    }

    fn reached(&self, report: &Report) -> bool {
        if self.data {
            return report.at >= self.since && report.phase == Phase::Data && self.answered(report);
        }
        report.at >= self.since
            && !report.is_stale(now())
            && report.healthy
            && report.phase == Phase::Healthy
            && report.token.is_some_and(|token| token >= self.token)
            && self.has_secrets(report.secrets.as_deref())
            && self.follows_references(report)
            && report.release.is_some()
            && self.proxy.met(report)
            && !(self.alone && report.grace_until.is_some())
            && match &self.release {
                Some(release) => report.release.as_ref() == Some(release),
                None => report.release == report.orders.release,
            }
    }

    /// Whether the report answers these orders.
    fn answered(&self, report: &Report) -> bool {
        let Orders { release, token, attempt, secrets, .. } = &report.orders;
        (self.release.is_none() || *release == self.release)
            && token.is_some_and(|token| token >= self.token)
            && (self.again.is_none() || *attempt == self.again)
            && self.has_secrets(secrets.as_deref())
            && self.follows_references(report)
    }

    /// What it reached, in words.
    fn words(&self) -> &'static str {
        if self.data { "ready for its data" } else { "healthy" }
    }

    /// Whether the report answers the order of the references.
    fn follows_references(&self, report: &Report) -> bool {
        self.references.as_deref().is_none_or(|wanted| report.orders.of_references() == wanted)
    }

    /// Whether these are the secrets. Older agents report none, and give the app none.
    fn has_secrets(&self, fingerprint: Option<&str>) -> bool {
        let fingerprint = fingerprint.unwrap_or(secrets::NONE);
        self.secrets.is_empty() || self.secrets.iter().any(|wanted| wanted == fingerprint)
    }

    /// Accepts the secrets of now, too, if the instance has or follows others than these: another command may have changed them
    /// since, and the instance always takes the newest.
    async fn follow(&mut self, watch: &Watch<'_>, report: &Report) -> Result<()> {
        if !self.has_secrets(report.secrets.as_deref()) || !self.has_secrets(report.orders.secrets.as_deref()) {
            let newest = secrets::fingerprint(&secrets::list(watch.aws, watch.name).await?);
            if !self.has_secrets(Some(&newest)) {
                self.secrets.push(newest);
            }
        }
        Ok(())
    }

    /// The progress of the instance. An idle instance may not have seen its orders yet.
    fn stage(&self, report: &Report) -> Stage {
        let rests = matches!(report.phase, Phase::Healthy | Phase::Failed);
        if rests && !self.answered(report) { Stage::Unseen } else { Stage::At(report.phase.clone()) }
    }

    /// The proxy, if nothing else is missing. Its state from before these orders does not count.
    fn waits_for<'a>(&self, report: &'a Report) -> Option<&'a Proxy> {
        let rest = Goal { proxy: Need::Nothing, ..self.clone() };
        let proxy = report.proxy.as_ref().filter(|proxy| proxy.release == report.release)?;
        let answered = self.again.is_none() || proxy.attempt == self.again;
        (answered && rest.reached(report) && !self.proxy.met(report)).then_some(proxy)
    }

    /// Whether the instance failed with exactly these orders.
    fn failed(&self, report: &Report) -> bool {
        report.at >= self.since && report.phase == Phase::Failed && self.answered(report)
    }
}

/// The progress of the instance, according to its reports.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no report yet.
    Silent,
    /// Its reports do not answer its orders yet.
    Unseen,
    /// The reported phase.
    At(Phase),
}

impl Stage {
    fn words(&self) -> &str {
        match self {
            Stage::Silent | Stage::At(Phase::Booting) => "the instance boots",
            Stage::Unseen => "waiting until AWS shows the instance its new orders",
            Stage::At(Phase::Fetching) => "fetching the release",
            Stage::At(Phase::Token) => "waiting for the token",
            Stage::At(Phase::Data) => "waiting for the data volume",
            Stage::At(Phase::Releasing) => "running app.release",
            Stage::At(Phase::Starting) => "starting the app",
            Stage::At(Phase::Healthy) => "healthy; waiting for the change to take effect",
            Stage::At(Phase::Failed) => "retrying",
            Stage::At(Phase::Other(word)) => word,
        }
    }
}

/// What a wait needs besides its goal.
pub struct Watch<'a> {
    /// The clients.
    pub aws: &'a Aws,
    /// The deployment's name.
    pub name: &'a str,
    /// The app's own health timeout, seconds.
    pub timeout: u32,
    /// The time limit of the commands in `app.release`, seconds, if there are any.
    pub release_timeout: Option<u32>,
    /// The sink for events.
    pub sink: &'a dyn Sink,
}

impl<'a> Watch<'a> {
    /// The wait of a step.
    fn of(context: &'a Context) -> Self {
        let (timeout, release_timeout) = (context.health.timeout, context.health.release_timeout);
        Watch { aws: &context.aws, name: &context.name, timeout, release_timeout, sink: context.sink() }
    }
}

impl Watch<'_> {
    /// How long a stage may take.
    fn patience(&self, stage: &Stage) -> Duration {
        let more = |seconds: u32| PHASE + Duration::from_secs(seconds.into());
        match stage {
            Stage::Silent => SILENCE,
            Stage::At(Phase::Releasing) => more(self.release_timeout.unwrap_or(self.timeout)),
            _ => more(self.timeout),
        }
    }
}

/// Waits until the instance reaches the goal.
///
/// # Errors
/// The app does not start (with its output), or the instance terminates or stops reporting.
pub async fn wait(watch: &Watch<'_>, id: &str, goal: &Goal) -> Result<Report> {
    let Watch { aws, name, sink, .. } = watch;
    let started = Instant::now();
    let mut last = (None, Instant::now());
    let mut unseen = Unseen::now();
    let mut rival = Rival { looked: Instant::now(), seen: None };
    let (mut first, mut error, mut heard, mut goal) = (None, None, None, goal.clone());
    let mut more = Duration::ZERO;
    let mut patience = Patience::new(started);
    let mut output = output::Output::of(watch, id);
    loop {
        if let Some(report) = reports::read(aws, name, id).await? {
            if report.is_overdue(goal.since, now()) && started.elapsed() > STALE_PATIENCE {
                sink.event(Event::Fail(TOPIC, "no longer reports".into()));
                return Err(unreported(watch, id, report.taken.unwrap_or(report.at)));
            }
            if heard.replace(report.version) != Some(report.version) {
                goal.follow(watch, &report).await?;
            }
            // The report is from before the upload of the release: the instance is about to retry.
            let early = *first.get_or_insert(report.version) == report.version && report.misses_release();
            let failed = goal.failed(&report) && !early;
            output.follow(&report, failed || goal.reached(&report)).await;
            if goal.reached(&report) {
                sink.event(Event::Done(TOPIC, goal.words().into()));
                return Ok(report);
            }
            if failed {
                sink.event(Event::Fail(TOPIC, "not deployed".into()));
                return Err(broken(&goal, &report));
            }
            let stage = goal.stage(&report);
            if let Some(proxy) = goal.waits_for(&report) {
                if let Some(words) = patience.look(proxy, Instant::now())? {
                    sink.event(Event::Go("proxy".into(), words));
                }
                last = (Some(stage.clone()), Instant::now()); // The app itself is done.
            }
            if last.0.as_ref() != Some(&stage) {
                sink.event(Event::Go(TOPIC, stage.words().into()));
                (last, unseen) = ((Some(stage), Instant::now()), Unseen::now());
            }
            more = if report.processes.is_empty() { Duration::ZERO } else { PROCESSES };
            error = report.error;
        } else if last.0.is_none() {
            sink.event(Event::Go(TOPIC, Stage::Silent.words().into()));
            last = (Some(Stage::Silent), Instant::now());
        }
        let stage = last.0.as_ref().unwrap_or(&Stage::Silent);
        let patience = watch.patience(stage) + more;
        match *stage == Stage::Unseen {
            true if unseen.is_over() => return Err(orders_not_seen(id)),
            false if last.1.elapsed() > patience => return Err(stuck(watch, id, stage, error, patience)),
            _ => {}
        }
        rival.look(watch, id, &goal).await?;
        // Polls often at first, when the change is about to take effect; then less often.
        let pause = if started.elapsed() < Duration::from_secs(15) { 200 } else { 1000 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Another command that gives the instance another release.
struct Rival {
    looked: Instant,
    /// Its release, when the orders were read last.
    seen: Option<String>,
}

impl Rival {
    /// Reads the orders every few seconds. Fails if they name another release than the goal.
    async fn look(&mut self, watch: &Watch<'_>, id: &str, goal: &Goal) -> Result<()> {
        if self.looked.elapsed() <= Duration::from_secs(5) {
            return Ok(());
        }
        let told = alive(watch, id).await?.release;
        let other = told.filter(|told| goal.release.as_ref().is_some_and(|ours| ours != told));
        // The first read may show the orders from before this command changed them; a second read does not.
        if let Some(theirs) = other.as_ref().filter(|_| other == self.seen) {
            return Err(superseded(watch, theirs).await);
        }
        *self = Self { looked: Instant::now(), seen: other };
        Ok(())
    }
}

/// Waits until the new release can replace what serves.
///
/// # Errors
/// As for [`wait`].
pub(super) async fn apply(context: &Context, gate: health_gate::Change) -> Result<String> {
    let (id, goal) = Goal::of(context, &gate.release, Need::Ready)?;
    match context.or_interrupt(wait(&Watch::of(context), &id, &goal)).await {
        Ok(_) => Ok(format!("{id} is healthy")),
        Err(failure) => Err(data::after(context, failure, &gate).await),
    }
}

/// The orders of a live instance.
async fn alive(watch: &Watch<'_>, id: &str) -> Result<Orders> {
    let found = instance::observe(watch.aws, watch.name).await?;
    match found.into_iter().find(|state| state.id == id) {
        Some(state) if matches!(state.phase, instance::Phase::Pending | instance::Phase::Running) => Ok(state.orders()),
        other => {
            let now = other.map_or("deleted", |state| state.phase.name());
            Err(Failure::new(Exit::Unhealthy, format!("the instance {id} is {now}"))
                .because("a person, or a rule of this account, stopped it")
                .next(Next::from("start or replace it: ").run("up")))
        }
    }
}

#[cfg(test)]
mod tests;
