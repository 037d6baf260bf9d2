//! The errors of a wait: what the instance reported, or that it reports nothing.

use std::time::Duration;

use super::{Goal, Stage, TOPIC, Watch};
use crate::aws::identity;
use crate::aws::retry::Unseen;
use crate::base::clock::now;
use crate::base::error::{Exit, Failure};
use crate::base::event::Event;
use crate::base::next::Next;
use crate::resources::release;
use crate::resources::reports::{ErrorCode, Report};

/// Another command ordered another release. The error names the user that uploaded it, where that can be read.
pub(super) async fn superseded(watch: &Watch<'_>, theirs: &str) -> Failure {
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
            None => "another up or rollback of this deployment ordered it".to_owned(),
        })
        .standing("The instance runs that release, or is about to. The release of this command stays in the bucket.")
        .next(Next::from("check the status: ").run("status").and("; to deploy your release over it: ").run("up"))
}

pub(super) fn broken(goal: &Goal, report: &Report) -> Failure {
    let referred = goal.release.is_none() && goal.references.is_some();
    let secrets = goal.release.is_none() && !goal.secrets.is_empty();
    let (what, kept, next) = match secrets {
        _ if referred => (
            "the app does not use the new versions of its secrets",
            "The app keeps serving with the previous secrets; no request was lost.",
            Next::from("correct the secret where it is kept, then run: ").run("secrets refresh"),
        ),
        _ if report.error_code == Some(ErrorCode::BadSecret) => (
            "the instance cannot give the secrets to the app",
            "The previous version keeps serving, with the previous secrets; no request was lost.",
            Next::from("correct the secret, then run: ").run("up"),
        ),
        _ if report.error_code == Some(ErrorCode::ReleaseFailed) => (
            "the new version was not deployed, because a command of app.release failed",
            "The previous version keeps serving; no request was lost. What the commands changed stays as it is.",
            Next::from("see all of the output: ").run("logs --release").and("; correct it, then run: ").run("up"),
        ),
        true => (
            "the app failed its checks with the new secrets and does not use them",
            "The app keeps serving with the previous secrets; no request was lost.",
            Next::from("correct the secret, and set it again: ").run("secrets set NAME"),
        ),
        false => (
            "the new version failed its checks and was not deployed",
            "The previous version keeps serving; no request was lost.",
            Next::from("fix the app, then run: ").run("up"),
        ),
    };
    let error = report.error.as_deref().unwrap_or("it does not become healthy");
    let mut failure = Failure::new(Exit::Unhealthy, what).because(error);
    if !report.log_tail.trim().is_empty() {
        failure = failure.because(format!("it printed:\n{}", report.log_tail.trim_end()));
    }
    if report.healthy {
        failure = failure.standing(kept);
    }
    failure.next(next)
}

pub(super) fn stuck(watch: &Watch, id: &str, stage: &Stage, error: Option<String>, patience: Duration) -> Failure {
    let minutes = patience.as_secs().div_ceil(60);
    let what = match stage {
        Stage::Silent => format!("the instance {id} has not reported for {minutes} minutes"),
        stage => format!("the instance {id} is stuck for {minutes} minutes: {}", stage.words()),
    };
    let unknown = || "it may have no route to the internet (route table, network ACL), or its boot failed".to_owned();
    Failure::new(Exit::Unhealthy, what)
        .because(error.unwrap_or_else(unknown))
        .standing("All resources were created; nothing was rolled back.")
        .next(match watch.aws.flag() {
            "" => format!("see the console output: aws ec2 get-console-output --latest --output text --instance-id {id} --region {}", watch.aws.region).into(),
            _ => Next::from("see the console output: ").run_bare("sandbox logs"),
        })
}

/// The instance reports, but does not see its orders.
pub(super) fn orders_not_seen(id: &str) -> Failure {
    let minutes = Unseen::minutes();
    Failure::new(Exit::Unhealthy, format!("the instance {id} has not seen its new orders for {minutes} minutes"))
        .because("AWS is slow to show the instance its tags, or its agent does not work")
        .standing("The previous version keeps serving. The instance follows its new orders as soon as it sees them.")
        .next(Next::from("check the status: ").run("status"))
}

pub(super) fn unreported(watch: &Watch, id: &str, at: i64) -> Failure {
    let minutes = now().saturating_sub(at) / 60;
    Failure::new(Exit::Unhealthy, format!("the instance {id} no longer reports"))
        .because(format!("its last report is {minutes} minutes old: the agent has stopped, or cannot reach AWS"))
        .standing("The app may still serve, but changes do not reach it.")
        .next(match watch.aws.flag() {
            "" => Next::from(format!(
                "reboot it: aws ec2 reboot-instances --instance-ids {id} --region {}; then, in a minute: ",
                watch.aws.region
            ))
            .run("up"),
            _ => Next::from("start over: ").run("down").and(", then ").run("up"),
        })
}
