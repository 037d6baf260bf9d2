//! What the agents report: one SSM parameter for each instance. `agent/orders/report.py` is the other side; `tests/orders` holds
//! both to the same documents.

mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_ssm::primitives::DateTime;
use aws_sdk_ssm::types::Parameter;
use serde::{Deserialize, Serialize};

use super::kinds::{Id, Kind};
use super::logs::WEB;
use super::orders::{Orders, fingerprint, release};
use super::step::{Resource, Step};
use super::{Planned, Sight, parameter};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;
use parts::programs;
pub use parts::{Certificate, Data, Process, Proxy, ProxyPhase, Role, ScheduledRun, Ssh, Threads, Updates};

/// As many names as `DeleteParameters` takes:
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html>
const AT_ONCE: usize = 10;

/// An agent's report. The agent may be of another version: a missing value has its default, an unknown one is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Report {
    /// The orders that it answers.
    #[serde(rename = "wanted")]
    pub orders: Orders,
    /// The serving release.
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// The serving token's version.
    pub token: Option<i64>,
    /// The fingerprint of the serving secrets. Older agents do not report it, and give the app no secrets.
    #[serde(deserialize_with = "fingerprint")]
    pub secrets: Option<String>,
    /// The fingerprint of the references of the serving release. Older agents do not report it, and know none.
    #[serde(deserialize_with = "fingerprint")]
    pub references: Option<String>,
    /// Until when the previous token is accepted too, in seconds since 1970; only during the rotation window.
    pub grace_until: Option<i64>,
    /// Its progress with its orders: `booting`, `fetching`, `token`, `data`, `releasing`, `starting`, `healthy`, `failed`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub phase: Phase,
    /// Whether a release that passed its health check serves.
    pub healthy: bool,
    /// The error, for users.
    pub error: Option<String>,
    /// The error's code, if a program acts on it: `bad_release`, `no_release`, `bad_proxy`, `bad_secret`, `release_failed`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub error_code: Option<ErrorCode>,
    /// The app's threads, while all of them are busy.
    pub threads: Option<Threads>,
    /// The proxy in front of the app.
    #[serde(rename = "edge")]
    pub proxy: Option<Proxy>,
    /// SSH, while a session is requested.
    pub ssh: Option<Ssh>,
    /// The security updates of the operating system.
    pub updates: Option<Updates>,
    /// The app's role in AWS, if the serving release needs it.
    pub role: Option<Role>,
    /// The app's processes beside its web server, by name. Older agents start none.
    #[serde(deserialize_with = "programs")]
    pub processes: BTreeMap<String, Process>,
    /// The runs of `schedule` of the serving release, by name.
    pub schedule: Option<BTreeMap<String, ScheduledRun>>,
    /// The volume with the app's files, if the release has one or the instance still has it.
    pub data: Option<Data>,
    /// The last lines of the app's output.
    pub log_tail: String,
    /// Seconds since 1970.
    pub at: i64,
    /// When the next report is due at the latest, in seconds since 1970. Older agents do not report it.
    pub next_at: Option<i64>,
    /// When SSM received it, in seconds since 1970: `at` is the instance's own clock.
    #[serde(skip)]
    pub taken: Option<i64>,
    /// The parameter's version, which is different for each report.
    #[serde(skip)]
    pub version: i64,
}

/// The progress of an instance with its orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each is named after what the instance does")]
pub enum Phase {
    Booting,
    Fetching,
    Token,
    Data,
    Releasing,
    Starting,
    Healthy,
    Failed,
    /// A phase of another version's agent.
    #[serde(untagged)]
    Other(String),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Booting => "booting",
            Self::Fetching => "fetching",
            Self::Token => "token",
            Self::Data => "data",
            Self::Releasing => "releasing",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Failed => "failed",
            Self::Other(word) => word,
        })
    }
}

/// The errors that the command line acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The bucket has other content under the release's key.
    BadRelease,
    /// The bucket does not return the release.
    NoRelease,
    /// The bucket has other content under Caddy's key.
    BadProxy,
    /// The app's secrets cannot become its variables.
    BadSecret,
    /// A command of `app.release` failed.
    ReleaseFailed,
    /// A code of another version's agent.
    #[serde(untagged)]
    Other(String),
}

/// How many seconds late a report may be: clocks differ, and calls to AWS are retried.
const LATE: i64 = 600;

impl Report {
    /// Whether the next report is overdue, so that this one no longer shows the state of the app.
    pub fn is_stale(&self, now: i64) -> bool {
        let pause = self.next_at.map(|next| next.saturating_sub(self.at));
        pause.is_some_and(|pause| self.taken.unwrap_or(self.at).saturating_add(pause).saturating_add(LATE) < now)
    }

    /// The same, but false for a report from before the instance's launch or last start.
    pub fn is_overdue(&self, launched: i64, now: i64) -> bool {
        self.taken.unwrap_or(self.at) >= launched && self.is_stale(now)
    }

    /// Whether the bucket has other content under this release's key.
    pub fn blames_release(&self, release: &str) -> bool {
        self.error_code == Some(ErrorCode::BadRelease) && self.orders.release.as_deref() == Some(release)
    }

    /// Whether the bucket does not return the ordered release.
    pub fn misses_release(&self) -> bool {
        self.error_code == Some(ErrorCode::NoRelease) && self.orders.release.is_some()
    }

    /// The logs that the instance has beside its own ones.
    pub fn logs(&self) -> impl Iterator<Item = &str> {
        let web = (!self.processes.is_empty()).then_some(WEB);
        let schedules = self.schedule.iter().flat_map(BTreeMap::keys);
        web.into_iter().chain(self.processes.keys().chain(schedules).map(String::as_str))
    }

    /// Whether the bucket has other content under Caddy's key.
    pub fn blames_proxy(&self) -> bool {
        let proxy = self.proxy.as_ref().and_then(|proxy| proxy.error_code.as_ref());
        [self.error_code.as_ref(), proxy].contains(&Some(&ErrorCode::BadProxy))
    }
}

/// All reports of a deployment, by instance.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<(String, Report)>> {
    let found = parameter::below(aws, &names::report_path(name), false).await;
    let found = found.map_err(|error| explain("cannot list the instance's reports", &error))?;
    let report = |parameter: &Parameter| {
        let instance = parameter.name.as_deref()?.rsplit('/').next()?.to_owned();
        // A report of another release may not be readable: it exists, and says nothing.
        Some((instance, parsed(parameter).unwrap_or_default()))
    };
    Ok(found.iter().filter_map(report).collect())
}

/// The report that a parameter holds, if it can be read.
pub fn parsed(parameter: &Parameter) -> Option<Report> {
    let report: Report = serde_json::from_str(parameter.value()?).ok()?;
    let taken = parameter.last_modified_date().map(DateTime::secs);
    Some(Report { taken, version: parameter.version(), ..report })
}

/// The report of one instance.
///
/// # Errors
/// What SSM says.
pub async fn read(aws: &Aws, name: &str, instance: &str) -> Result<Option<Report>> {
    let parameter = format!("{}/{instance}", names::report_path(name));
    match call("ssm:GetParameter", || aws.ssm.get_parameter().name(&parameter).send()).await {
        Ok(answer) => Ok(answer.parameter.as_ref().and_then(parsed)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(explain("cannot read the instance's report", &error)),
    }
}

/// The change to apply: delete the reports after the instances are terminated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change;

/// The wanted reports: nothing has to be done for them.
#[derive(Clone, Debug)]
pub struct Wanted;

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::Reports)
    }

    fn diff(&self, _: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(None)
    }

    /// A live instance may still write one, so reports are read again after it is terminated.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let some = !sight.have.reports.is_empty() || !sight.have.instances.is_empty();
        sight.removal(Kind::Reports, sight.instances(), || Ok(some.then(|| Planned::delete(Change))))
    }
}

/// Applies the change and returns the new state. The last report of an instance may appear a moment later.
pub async fn apply(context: &Context, _: Change) -> Result<String> {
    let mut backoff = Backoff::new(Duration::from_secs(60));
    loop {
        let found = observe(&context.aws, &context.name).await?;
        let names: Vec<String> =
            found.iter().map(|(instance, _)| format!("{}/{instance}", names::report_path(&context.name))).collect();
        if names.is_empty() {
            return Ok("deleted".into());
        }
        for some in names.chunks(AT_ONCE) {
            let request = || context.aws.ssm.delete_parameters().set_names(Some(some.to_vec())).send();
            call("ssm:DeleteParameters", request)
                .await
                .map_err(|error| explain("cannot delete the instance's report", &error))?;
        }
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed("the instance's report reappears after each deletion")
                .because(format!("{} exists after it was deleted", names.join(", ")))
                .next("run the same command again in a minute"));
        }
    }
}

#[cfg(test)]
mod tests;
