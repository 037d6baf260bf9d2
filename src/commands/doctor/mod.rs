//! Would `up` work here? What was seen, judged: each thing passes, warns or fails, and what does not pass says what to type
//! next. Nothing is changed anywhere.
//!
//! - [`local`] the file, the app, uv: no call; [`load`] whether the app can be imported here
//! - [`who`] credentials; [`account`] region, network, addresses and image; [`kind`] the instance type; [`quota`] vCPUs;
//!   [`plan`] the account's plan
//! - [`permissions`] what `up` does, asked for with EC2's `DryRun`, and what it reads, read
//!
//! Looking and judging are apart: a judgement is a pure function of what was seen.

pub mod account;
pub mod kind;
pub mod load;
pub mod local;
pub mod permissions;
pub mod plan;
pub mod quota;
mod verb;
pub mod who;

use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::aws::{ApiError, once};
use crate::base::error::{Exit, Failure, Result, command};

pub(super) use verb::run;

/// How long anything is waited for that would be tried again and again: whoever asks wants to know now.
const PATIENCE: Duration = Duration::from_secs(8);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `up` can rely on it.
    Pass,
    /// `up` works, and something should be known; or it cannot be told.
    Warn,
    /// `up` would not work.
    Fail(Exit),
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen, in a line.
    pub seen: String,
    /// What to type next; of all that does not pass.
    pub next: Option<String>,
}

impl Check {
    fn pass(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, state: State::Pass, seen: seen.into(), next: None }
    }

    fn warn(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what, state: State::Warn, seen: seen.into(), next: Some(next.into()) }
    }

    fn fail(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what, state: State::Fail(Exit::Failed), seen: seen.into(), next: Some(next.into()) }
    }

    /// What `up` would end with.
    pub fn failed(what: &'static str, failure: &Failure) -> Self {
        let findings = failure.findings_in_file();
        let finding = findings.first();
        let mut seen = vec![failure.what().to_owned()];
        seen.extend(failure.reasons().into_iter().map(str::to_owned));
        if let Some(first) = finding {
            seen = match findings.len() {
                1 => vec![first.what.clone()],
                many => vec![format!("{many} mistakes; the first"), first.what.clone()],
            };
        }
        let next = failure.next_step().or(finding.map(|finding| finding.hint.as_str())).unwrap_or_default();
        Self {
            what,
            state: State::Fail(failure.exit()),
            seen: seen.join(": "),
            // The rest of a long piece of advice is for whoever runs into it.
            next: Some(next.lines().collect::<Vec<_>>().join(" ")),
        }
    }

    /// What only this verb looks at, and could not: `up` does without.
    fn unseen(what: &'static str, failure: &Failure) -> Self {
        match failure.exit() {
            Exit::Denied => Self::warn(
                what,
                format!("not asked: {}", refused(failure)),
                format!("{} prints what is needed to ask", command("policy")),
            ),
            _ => Self::failed(what, failure),
        }
    }

    /// The same, of what is never certain: whatever kept it from being seen, it is in nobody's way.
    fn unknown(what: &'static str, failure: &Failure) -> Self {
        Self { state: State::Warn, ..Self::unseen(what, failure) }
    }

    /// Whether it is in the way.
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Fail(_))
    }
}

/// How the verb ends: what fails by `deploy.yaml` alone is its matter, and without credentials, or with such as may not do
/// it, everything else is in doubt.
pub fn exit(checks: &[Check]) -> Option<Exit> {
    let failed = |check: &Check| match check.state {
        State::Fail(exit) => Some(exit),
        _ => None,
    };
    let exits: Vec<Exit> = checks.iter().filter_map(failed).collect();
    match exits.as_slice() {
        [] => None,
        all if all.contains(&Exit::Denied) => Some(Exit::Denied),
        all if all.iter().all(|exit| *exit == Exit::Usage) => Some(Exit::Usage),
        _ => Some(Exit::Failed),
    }
}

/// `ec2:DescribeInstanceTypes is not allowed to you`
fn refused(failure: &Failure) -> String {
    match action(failure) {
        Some(action) => format!("{action} is not allowed to you"),
        None => failure.what().to_owned(),
    }
}

/// The call that was refused, as [`explain`](crate::aws::explain) tells it.
fn action(failure: &Failure) -> Option<&str> {
    failure.reasons().first()?.split_once(" says ").map(|(action, _)| action)
}

/// Has what would be tried again for a minute answer soon. On the heap, here and below: dozens are asked at once.
async fn soon<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, Box::pin(work)).await.unwrap_or_else(|_| {
        Err(Failure::failed(silence())
            .next("check the network (and the region's name), then run the same command again"))
    })
}

/// Sends a call once, and waits for it no longer.
async fn ask<T, E, F>(action: &'static str, send: impl Fn() -> F) -> Result<T, ApiError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let late = |_| Err(ApiError::silent(action, silence()));
    tokio::time::timeout(PATIENCE, Box::pin(once(action, send))).await.unwrap_or_else(late)
}

fn silence() -> String {
    format!("no answer within {} seconds", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(exit: Exit) -> Check {
        Check::failed("x", &Failure::new(exit, "it is wrong").because("of this").next("do\n  that"))
    }

    #[test]
    fn what_fails_says_why_and_what_next() {
        let check = failing(Exit::Failed);
        assert_eq!((check.seen.as_str(), check.next.as_deref()), ("it is wrong: of this", Some("do   that")));
        assert!(check.is_failed());
    }

    #[test]
    fn the_exit_code_says_whose_matter_it_is() {
        let (pass, warn) = (Check::pass("x", ""), Check::warn("x", "", ""));
        assert_eq!(exit(&[pass.clone(), warn]), None);
        assert_eq!(exit(&[pass, failing(Exit::Usage)]), Some(Exit::Usage));
        assert_eq!(exit(&[failing(Exit::Usage), failing(Exit::Failed)]), Some(Exit::Failed));
        assert_eq!(exit(&[failing(Exit::Usage), failing(Exit::Denied), failing(Exit::Failed)]), Some(Exit::Denied));
    }

    #[test]
    fn what_up_does_without_only_warns_when_it_may_not_be_asked() {
        let denied = Failure::new(Exit::Denied, "x").because("ec2:DescribeImages says AccessDenied: no").next("y");
        let check = Check::unseen("addresses", &denied);
        assert_eq!(check.state, State::Warn);
        assert_eq!(check.seen, "not asked: ec2:DescribeImages is not allowed to you");
        assert!(Check::unseen("addresses", &Failure::failed(silence()).next("y")).is_failed());
    }
}
