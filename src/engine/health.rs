//! Waits until the instance says of itself that it runs what it is told to, and shows what it says meanwhile.

use std::time::{Duration, Instant};

use crate::aws::retry::Unseen;
use crate::aws::{Aws, identity};
use crate::base::clock::now;
use crate::base::error::{Exit, Failure, Result};
use crate::base::event::{Event, Sink};
use crate::base::names;
use crate::base::next::Next;
use crate::engine::edge::{Need, Patience};
use crate::resources::context::{Context, Health};
use crate::resources::instance::{self, Phase};
use crate::resources::reports::{self, Edge, Report};
use crate::resources::{Tags, doorbell, health_gate, release, token};

/// How long a new machine may be silent: a boot takes one to two minutes, rarely more.
const SILENCE: Duration = Duration::from_secs(600);
/// How long each phase may take, beyond the app's own health timeout.
const PHASE: Duration = Duration::from_secs(180);
/// How long an instance with a stale report may take until it reports: it may be about to.
const STALE_PATIENCE: Duration = Duration::from_secs(15);
const TOPIC: crate::base::event::Topic = std::borrow::Cow::Borrowed("app");

/// What the instance is to reach.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The release, or whichever it is told to run.
    pub release: Option<String>,
    /// The token's version, or a newer one.
    pub token: i64,
    /// The value of `devopsctl:try` that was set, if it was.
    pub again: Option<String>,
    /// Whether no other token may count beside it.
    pub alone: bool,
    /// What is to be true of the edge.
    pub edge: Need,
    /// When the instance was launched or last started, in seconds since 1970: what it said before counts no longer.
    pub since: i64,
}

impl Goal {
    /// That the instance of this run has this release, and the newest version of the token that the run knows of.
    ///
    /// # Errors
    /// That the run has no instance.
    pub fn of(context: &Context, release: &str, edge: Need) -> Result<(String, Self)> {
        let instance = context.output::<instance::Output>(&instance::ID)?;
        let token = context.known::<token::Output>(&token::ID).map_or(0, |token| token.version);
        let again = context.known::<doorbell::Output>(&doorbell::ID).map(|orders| orders.attempt);
        let release = Some(release.to_owned());
        Ok((instance.id, Self { release, token, again, alone: false, edge, since: instance.since }))
    }

    fn reached(&self, report: &Report) -> bool {
        report.at >= self.since
            && !report.is_stale(now())
            && report.healthy
            && report.phase == "healthy"
            && report.token.is_some_and(|token| token >= self.token)
            && report.release.is_some()
            && self.edge.met(report)
            && !(self.alone && report.grace_until.is_some())
            && match &self.release {
                Some(release) => report.release.as_ref() == Some(release),
                None => report.release == report.wanted.release,
            }
    }

    /// Whether the instance knows of it.
    fn told(&self, report: &Report) -> bool {
        self.release.as_ref().is_none_or(|release| report.wanted.release.as_ref() == Some(release))
            && report.wanted.token.is_some_and(|token| token >= self.token)
            && (self.again.is_none() || report.wanted.r#try == self.again)
    }

    /// What it is at. At rest it may not have seen yet what is asked of it.
    fn phase<'a>(&self, report: &'a Report) -> &'a str {
        let rests = report.phase == "healthy" || report.phase == "failed";
        if rests && !self.told(report) { "unseen" } else { &report.phase }
    }

    /// The edge, where all but that is as it should be. What it said before it was told of it counts no longer.
    fn waits_for<'a>(&self, report: &'a Report) -> Option<&'a Edge> {
        let rest = Goal { edge: Need::Nothing, ..self.clone() };
        let edge = report.edge.as_ref().filter(|edge| edge.release == report.release)?;
        let told = self.again.is_none() || edge.r#try == self.again;
        (told && rest.reached(report) && !self.edge.met(report)).then_some(edge)
    }

    /// Whether the instance tried this very thing and gave up.
    fn failed(&self, report: &Report) -> bool {
        report.at >= self.since && report.phase == "failed" && self.told(report)
    }
}

/// Where to look and whom to tell.
pub struct Watch<'a> {
    /// The clients.
    pub aws: &'a Aws,
    /// The deployment's name.
    pub name: &'a str,
    /// The app's own health timeout, seconds.
    pub timeout: u32,
    /// The sink for events.
    pub sink: &'a dyn Sink,
    /// The command that brings a corrected app there.
    pub up: String,
    /// The command that shows what runs.
    pub status: String,
}

/// Waits until the instance reaches the goal.
///
/// # Errors
/// That the app does not start, with what it printed; that the instance dies or says nothing.
pub async fn wait(watch: &Watch<'_>, id: &str, goal: &Goal) -> Result<Report> {
    let Watch { aws, name, timeout, sink, .. } = watch;
    let started = Instant::now();
    let mut last = (String::new(), Instant::now());
    let mut unseen = Unseen::now();
    let mut looked = Instant::now();
    let mut other = None;
    let (mut first, mut error) = (None, None);
    let mut patience = Patience::new(started);
    loop {
        if let Some(report) = reports::read(aws, name, id).await? {
            if report.is_overdue(goal.since, now()) && started.elapsed() > STALE_PATIENCE {
                sink.event(Event::Fail(TOPIC, "no longer reports".into()));
                return Err(unreported(watch, id, report.taken.unwrap_or(report.at)));
            }
            if goal.reached(&report) {
                sink.event(Event::Done(TOPIC, "healthy".into()));
                return Ok(report);
            }
            // Said before the release was in the bucket, where it is by now: the instance is about to try again.
            let early = *first.get_or_insert(report.version) == report.version && report.misses_release();
            if goal.failed(&report) && !early {
                sink.event(Event::Fail(TOPIC, "not taken into service".into()));
                return Err(broken(watch, &report));
            }
            if let Some(edge) = goal.waits_for(&report) {
                if let Some(words) = patience.look(edge, Instant::now(), &watch.up)? {
                    sink.event(Event::Go("edge".into(), words));
                }
                last = (goal.phase(&report).to_owned(), Instant::now()); // The app itself waits for nothing more.
            }
            let phase = goal.phase(&report);
            if phase != last.0 {
                sink.event(Event::Go(TOPIC, words(phase).into()));
                (last, unseen) = ((phase.to_owned(), Instant::now()), Unseen::now());
            }
            error = report.error;
        } else if last.0.is_empty() {
            sink.event(Event::Go(TOPIC, "the machine boots".into()));
            last = ("silent".into(), Instant::now());
        }
        let patience = if last.0 == "silent" { SILENCE } else { PHASE + Duration::from_secs((*timeout).into()) };
        match last.0 == "unseen" {
            true if unseen.is_over() => return Err(tags_not_seen(watch, id)),
            false if last.1.elapsed() > patience => return Err(stuck(watch, id, &last.0, error, patience)),
            _ => {}
        }
        if looked.elapsed() > Duration::from_secs(5) {
            let told = alive(watch, id).await?.remove(names::TAG_RELEASE);
            let replaced = told.filter(|told| goal.release.as_ref().is_some_and(|ours| ours != told));
            // The first look may still show the tag from before this command changed it; a second look does not.
            if let Some(theirs) = replaced.as_ref().filter(|_| replaced == other) {
                return Err(superseded(watch, theirs).await);
            }
            other = replaced;
            looked = Instant::now();
        }
        // Quick at first, when it is about to happen; then considerate.
        let pause = if started.elapsed() < Duration::from_secs(15) { 200 } else { 1000 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Waits until a new instance can take over from the one that serves.
///
/// # Errors
/// As [`wait`].
pub(super) async fn apply(context: &Context, gate: health_gate::Change) -> Result<String> {
    let (id, goal) = Goal::of(context, &gate.release, Need::Ready)?;
    let Health { timeout, up, status, .. } = context.health.clone();
    let watch = Watch { aws: &context.aws, name: &context.name, timeout, sink: context.sink(), up, status };
    context
        .or_interrupt(wait(&watch, &id, &goal))
        .await
        .map_err(|failure| failure.standing("The old instance serves on, at the same address."))?;
    Ok(format!("{id} is healthy"))
}

fn words(phase: &str) -> &str {
    match phase {
        "booting" => "the machine boots",
        "credentials" => "waiting for the role's credentials",
        "fetching" => "fetching the release",
        "token" => "waiting for the token",
        "starting" => "starting the app",
        "unseen" => "waiting until AWS shows the instance what is new",
        "healthy" => "healthy, on the way to what is new",
        "failed" => "trying again",
        other => other,
    }
}

/// The tags of an instance that lives.
async fn alive(watch: &Watch<'_>, id: &str) -> Result<Tags> {
    let found = instance::observe(watch.aws, watch.name).await?;
    match found.into_iter().find(|state| state.id == id) {
        Some(state) if matches!(state.phase, Phase::Pending | Phase::Running) => Ok(state.tags),
        other => {
            let now = other.map_or("gone", |state| state.phase.name());
            Err(Failure::new(Exit::Unhealthy, format!("the instance {id} is {now}"))
                .because("a person, or a rule of this account, stopped it")
                .next(format!("start or replace it: {}", watch.up)))
        }
    }
}

/// That another command told the instance to run another release. Who uploaded that one is said where it can be read.
async fn superseded(watch: &Watch<'_>, theirs: &str) -> Failure {
    let notes = async {
        let account = identity(watch.aws).await?.account;
        release::notes(watch.aws, &account, watch.name, theirs).await
    };
    let origin = notes.await.ok().flatten().map(|notes| notes.origin()).filter(|origin| !origin.is_empty());
    let id = release::short(theirs);
    watch.sink.event(Event::Fail(TOPIC, "replaced by another release".into()));
    Failure::new(Exit::Unhealthy, format!("another release was deployed meanwhile: {id}"))
        .because(match origin {
            Some(origin) => format!("it was uploaded by {origin}"),
            None => "another up or rollback of this deployment told the instance to run it".to_owned(),
        })
        .standing("The instance runs that release, or is about to; the release of this command stays in the bucket.")
        .next(format!("see what runs: {}; to deploy yours over it: {}", watch.status, watch.up))
}

fn broken(watch: &Watch, report: &Report) -> Failure {
    let error = report.error.as_deref().unwrap_or("it does not become healthy");
    let mut failure = Failure::new(Exit::Unhealthy, "the app is not taken into service").because(error);
    if !report.log_tail.trim().is_empty() {
        failure = failure.because(format!("it printed:\n{}", report.log_tail.trim_end()));
    }
    if report.healthy {
        failure = failure.standing("What ran before serves on; no request was lost.");
    }
    failure.next(format!("correct the app, then run: {}", watch.up))
}

fn stuck(watch: &Watch, id: &str, phase: &str, error: Option<String>, patience: Duration) -> Failure {
    let minutes = patience.as_secs().div_ceil(60);
    let what = match phase {
        "silent" => format!("the instance {id} has said nothing for {minutes} minutes"),
        phase => format!("the instance {id} is stuck for {minutes} minutes: {}", words(phase)),
    };
    let unknown = || "it may have no way out to the internet (route table, network ACL), or its boot failed".to_owned();
    Failure::new(Exit::Unhealthy, what)
        .because(error.unwrap_or_else(unknown))
        .standing("Everything in AWS was made; nothing was taken back.")
        .next(match watch.aws.flag() {
            "" => format!("see what the machine printed: aws ec2 get-console-output --latest --output text --instance-id {id} --region {}", watch.aws.region).into(),
            _ => Next::from("see what the machine printed: ").run_bare("sandbox logs"),
        })
}

/// It reports, and does not see what it is told.
fn tags_not_seen(watch: &Watch, id: &str) -> Failure {
    let minutes = Unseen::minutes();
    Failure::new(Exit::Unhealthy, format!("the instance {id} has not seen what is new for {minutes} minutes"))
        .because("AWS is slow to show the instance its tags, or the agent on it does not work")
        .standing("What ran before serves on. What is new is taken as soon as it is seen.")
        .next(format!("see how it is: {}", watch.status))
}

fn unreported(watch: &Watch, id: &str, at: i64) -> Failure {
    let minutes = now().saturating_sub(at) / 60;
    Failure::new(Exit::Unhealthy, format!("the instance {id} no longer reports"))
        .because(format!("its last report is {minutes} minutes old: the agent has stopped, or cannot reach AWS"))
        .standing("The app may still serve, but changes do not reach it.")
        .next(match watch.aws.flag() {
            "" => format!(
                "reboot it: aws ec2 reboot-instances --instance-ids {id} --region {}; then, in a minute: {}",
                watch.aws.region, watch.up
            )
            .into(),
            _ => Next::from("begin anew: ").run("down").and(", then ").run("up"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::reports::Heard;

    fn report(phase: &str, release: &str, token: i64, healthy: bool) -> Report {
        Report {
            wanted: Heard { release: Some("new".into()), token: Some(2), r#try: None },
            release: Some(release.into()),
            token: Some(token),
            phase: phase.into(),
            healthy,
            at: 100,
            ..Report::default()
        }
    }

    fn goal() -> Goal {
        Goal { release: Some("new".into()), token: 2, again: None, alone: false, edge: Need::Nothing, since: 100 }
    }

    #[test]
    fn only_the_wanted_release_with_the_wanted_token_is_the_goal() {
        assert!(goal().reached(&report("healthy", "new", 2, true)));
        assert!(goal().reached(&report("healthy", "new", 3, true)));
        assert!(!goal().reached(&report("healthy", "old", 2, true)));
        assert!(!goal().reached(&report("healthy", "new", 1, true)));
        assert!(!goal().reached(&report("starting", "new", 2, true)));
        assert!(!goal().reached(&report("healthy", "new", 2, false)));
        let before = Report { at: 99, ..report("healthy", "new", 2, true) };
        assert!(!goal().reached(&before), "it was stopped and started since");
        let stale = Report { next_at: Some(400), ..report("healthy", "new", 2, true) };
        assert!(!goal().reached(&stale), "the state of the app is unknown");
    }

    #[test]
    fn where_one_token_is_to_count_alone_the_time_of_the_other_is_over() {
        let both = Report { grace_until: Some(200), ..report("healthy", "new", 2, true) };
        assert!(goal().reached(&both));
        let alone = Goal { alone: true, ..goal() };
        assert!(!alone.reached(&both));
        assert!(alone.reached(&report("healthy", "new", 2, true)));
    }

    #[test]
    fn at_rest_it_may_not_have_seen_what_is_new() {
        let mut before = report("healthy", "old", 1, true);
        assert_eq!(goal().phase(&before), "healthy");
        before.wanted.token = Some(1);
        assert_eq!(goal().phase(&before), "unseen");
        assert_eq!(goal().phase(&Report { phase: "failed".into(), ..before.clone() }), "unseen");
        assert_eq!(goal().phase(&Report { phase: "starting".into(), ..before }), "starting");
    }

    #[test]
    fn a_failure_of_something_else_is_not_ours() {
        assert!(goal().failed(&report("failed", "old", 1, true)));
        let mut earlier = report("failed", "old", 1, true);
        earlier.wanted.token = Some(1);
        assert!(!goal().failed(&earlier));
        earlier.wanted = Heard { release: Some("other".into()), token: Some(2), r#try: None };
        assert!(!goal().failed(&earlier));
        let again = Goal { again: Some("x".into()), ..goal() };
        assert!(!again.failed(&report("failed", "old", 1, true)));
    }

    #[test]
    fn what_the_instance_said_last_is_why_it_is_stuck() {
        let keys = serde_json::json!({"access_key": "A", "secret_key": "S"});
        let handle = serde_json::json!({
            "version": "", "pid": 1, "endpoint": "http://127.0.0.1:1", "access_key": "A", "secret_key": "S",
            "administrator": keys, "account": "1", "machines": "process", "pythons": [], "control": "",
        });
        let aws = Aws::sandbox(&crate::aws::Settings::default(), serde_json::from_value(handle).unwrap());
        let sink = crate::ui::Ui::new(
            crate::ui::Style { quiet: true, verbose: false },
            crate::ui::Invocation::new(String::new()),
        );
        let (up, status) = (String::new(), String::new());
        let watch = Watch { aws: &aws, name: "hello", timeout: 30, sink: sink.sink_ref(), up, status };
        let why = |error: Option<&str>| {
            let failure = stuck(&watch, "i-1", "fetching", error.map(str::to_owned), PHASE);
            failure.reasons()[0].to_owned()
        };
        assert_eq!(why(Some("s3:GetObject was refused")), "s3:GetObject was refused");
        assert!(why(None).contains("no way out to the internet"));
    }

    #[test]
    fn any_release_will_do_for_a_new_token_if_it_is_the_one_that_is_told() {
        let goal = Goal { release: None, ..goal() };
        assert!(goal.reached(&report("healthy", "new", 2, true)));
        assert!(!goal.reached(&report("healthy", "old", 2, true)));
    }
}
