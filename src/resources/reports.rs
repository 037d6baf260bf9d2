//! What the agents report, one SSM parameter an instance. They write it, we read it, and remove it after them.

use std::time::Duration;

use aws_sdk_ssm::primitives::DateTime;
use aws_sdk_ssm::types::Parameter;
use serde::{Deserialize, Deserializer, Serialize};

use super::kinds::{Id, Kind};
use super::step::{Resource, Step};
use super::{Planned, Sight};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;

/// As many names as `DeleteParameters` takes:
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html>
const AT_ONCE: usize = 10;

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Report {
    /// The tags that this report answers.
    pub wanted: Heard,
    /// The release that serves.
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// The token's version that serves.
    pub token: Option<i64>,
    /// Until when the token before it is to count as well, in seconds since 1970; only while it does.
    pub grace_until: Option<i64>,
    /// On the way to what is wanted: `booting`, `credentials`, `fetching`, `token`, `starting`, `healthy`, `failed`.
    pub phase: String,
    /// Whether something serves that has proved itself.
    pub healthy: bool,
    /// Why the way ended, for a person.
    pub error: Option<String>,
    /// The app's threads, while all of them are taken.
    pub threads: Option<Threads>,
    /// What stands before the app.
    pub edge: Option<Edge>,
    /// Whom it lets in by SSH, while somebody asks to be.
    pub ssh: Option<Ssh>,
    /// What becomes of the operating system's security updates.
    pub updates: Option<Updates>,
    /// The last lines that the app printed.
    pub log_tail: String,
    /// Seconds since 1970.
    pub at: i64,
    /// When the next report is due at the latest, in seconds since 1970. Older agents do not tell.
    pub next_at: Option<i64>,
    /// When SSM took it, in seconds since 1970: `at` is the instance's own clock.
    #[serde(skip)]
    pub taken: Option<i64>,
    /// The parameter's version: each report has another.
    #[serde(skip)]
    pub version: i64,
}

/// How many seconds late a report may be: clocks differ, and calls to AWS are retried.
const LATE: i64 = 600;

/// How an agent begins to say that the bucket holds something else than a release: `agent/bootstrap.py`.
const BAD_RELEASE: &str = "what S3 holds as release";
/// How it begins to say that it could not be fetched: `agent/aws.py`.
const NO_RELEASE: &str = "s3:GetObject of ";
/// The same of Caddy.
const BAD_CADDY: &str = "what S3 holds as Caddy";

impl Report {
    /// Whether the next report is overdue, so that this one no longer tells how the app is.
    pub fn is_stale(&self, now: i64) -> bool {
        let pause = self.next_at.map(|next| next.saturating_sub(self.at));
        pause.is_some_and(|pause| self.taken.unwrap_or(self.at).saturating_add(pause).saturating_add(LATE) < now)
    }

    /// The same of an instance that was launched, or last started, then: what it said before tells nothing.
    pub fn is_overdue(&self, launched: i64, now: i64) -> bool {
        self.taken.unwrap_or(self.at) >= launched && self.is_stale(now)
    }

    /// Whether it says that the bucket holds something else under this release's key.
    pub fn blames_release(&self, release: &str) -> bool {
        let blames = self.error.as_deref().is_some_and(|error| error.contains(BAD_RELEASE));
        blames && self.wanted.release.as_deref() == Some(release)
    }

    /// Whether it says that the release which it is to run cannot be had from the bucket.
    pub fn misses_release(&self) -> bool {
        let Some((error, wanted)) = self.error.as_ref().zip(self.wanted.release.as_ref()) else { return false };
        error.starts_with(NO_RELEASE) && error.contains(wanted)
    }

    /// Whether it says that the bucket holds something else under Caddy's key.
    pub fn blames_caddy(&self) -> bool {
        let edge = self.edge.as_ref().and_then(|edge| edge.error.as_deref());
        [self.error.as_deref(), edge].into_iter().flatten().any(|error| error.contains(BAD_CADDY))
    }
}

/// What an agent says of the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Edge {
    /// Whether it is to serve over HTTPS.
    pub https: bool,
    /// `fetching`; `waiting` for what a certificate can't be asked for without; for the `certificate`; `serving`; `failed`.
    pub phase: String,
    /// What is waited for; what failed; in the authority's own words if it was that.
    pub error: Option<String>,
    /// What is served.
    pub certificate: Option<Certificate>,
    /// The release whose settings it has.
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// `devopsctl:try`, as it has heard it.
    pub r#try: Option<String>,
}

/// A certificate that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Certificate {
    /// Whom it is for.
    pub names: Vec<String>,
    /// Who gave it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub until: i64,
}

/// What an agent says of an app none of whose threads is free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Threads {
    /// How many there are, and all of them are taken.
    pub busy: u32,
    /// Since when, in seconds since 1970.
    pub since: i64,
}

/// What an agent says of SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Ssh {
    /// The leases whose keys count.
    pub keys: Vec<String>,
    /// Whom to log in as.
    pub user: String,
    /// The host's public key, as OpenSSH writes it.
    pub host_key: String,
    /// Why nobody can be let in.
    pub error: Option<String>,
}

/// What an agent says of the operating system's security updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Updates {
    /// What applies them: `unattended-upgrades` or `dnf`; nothing if that is not installed.
    #[serde(deserialize_with = "tool")]
    pub by: Option<String>,
    /// Whether it is switched on.
    pub on: bool,
    /// When it ran last, in seconds since 1970.
    pub at: Option<i64>,
    /// Whether they take effect only after a reboot.
    pub reboot: bool,
    /// Why none are applied.
    pub error: Option<String>,
}

/// The tools that agents know.
fn tool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let known = |name: &String| ["unattended-upgrades", "dnf"].contains(&name.as_str());
    Ok(Option::<String>::deserialize(deserializer)?.filter(known))
}

/// The tags as the agent saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Heard {
    /// `devopsctl:release`
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// `devopsctl:token`
    pub token: Option<i64>,
    /// `devopsctl:try`
    pub r#try: Option<String>,
}

/// What is no release's id is no release: it would become a key, or be offered to go back to.
fn release<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| names::is_release(id)))
}

/// All reports of a deployment, by instance.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<(String, Report)>> {
    let path = names::report_path(name);
    let (mut reports, mut page) = (Vec::new(), None);
    loop {
        let request = || aws.ssm.get_parameters_by_path().path(&path).set_next_token(page.clone()).send();
        let answer = call("ssm:GetParametersByPath", request)
            .await
            .map_err(|error| explain("cannot look for the instance's report", &error))?;
        reports.extend(answer.parameters.unwrap_or_default().into_iter().filter_map(|parameter| {
            let instance = parameter.name.as_deref()?.rsplit('/').next()?.to_owned();
            // One that cannot be read is one from another time: it is there, and says nothing.
            Some((instance, parsed(&parameter).unwrap_or_default()))
        }));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(reports);
        }
    }
}

/// A report as SSM holds it; nothing where it cannot be read.
pub fn parsed(parameter: &Parameter) -> Option<Report> {
    let report: Report = serde_json::from_str(parameter.value()?).ok()?;
    let taken = parameter.last_modified_date().map(DateTime::secs);
    Some(Report { taken, version: parameter.version(), ..report })
}

/// What one instance reports.
///
/// # Errors
/// What SSM says.
pub async fn read(aws: &Aws, name: &str, instance: &str) -> Result<Option<Report>> {
    let parameter = format!("{}/{instance}", names::report_path(name));
    match call("ssm:GetParameter", || aws.ssm.get_parameter().name(&parameter).send()).await {
        Ok(answer) => Ok(answer.parameter.as_ref().and_then(parsed)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(explain("the instance's report cannot be read", &error)),
    }
}

/// What to do: remove those that are there when the instances are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change;

/// That instances report is asked for: nothing has to be done for it.
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

    /// An instance that lives may write one yet, so they are looked for again then.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let some = !sight.have.reports.is_empty() || !sight.have.instances.is_empty();
        sight.removal(Kind::Reports, sight.instances(), || Ok(some.then(|| Planned::delete(Change))))
    }
}

/// Does it; says what stands then. What a machine wrote with its last breath may show up a moment later.
pub async fn apply(context: &Context, _: Change) -> Result<String> {
    let mut backoff = Backoff::new(Duration::from_secs(60));
    loop {
        let found = observe(&context.aws, &context.name).await?;
        let names: Vec<String> =
            found.iter().map(|(instance, _)| format!("{}/{instance}", names::report_path(&context.name))).collect();
        if names.is_empty() {
            return Ok("gone".into());
        }
        for some in names.chunks(AT_ONCE) {
            let request = || context.aws.ssm.delete_parameters().set_names(Some(some.to_vec())).send();
            call("ssm:DeleteParameters", request)
                .await
                .map_err(|error| explain("the instance's report cannot be deleted", &error))?;
        }
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed("the instance's report comes back again and again")
                .because(format!("{} is there after it was deleted", names.join(", ")))
                .next("run the same command again in a minute"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_blames_the_bucket_is_understood() {
        let agent = include_str!("../../agent/bootstrap.py");
        assert!(agent.contains(&format!("BadRelease(f\"{BAD_RELEASE} {{release[:12]}}")));
        assert!(agent.matches(&format!("BadRelease(f\"{BAD_CADDY} ")).count() == 2);
        let error = format!("{BAD_RELEASE} 0123 has another sha256, 4567");
        let wanted = Heard { release: Some("0123".into()), ..Heard::default() };
        let report = Report { wanted, error: Some(error), ..Report::default() };
        assert!(report.blames_release("0123") && !report.blames_release("4567") && !report.blames_caddy());
        let edge = Edge { error: Some(format!("{BAD_CADDY} has another sha384, 4567")), ..Edge::default() };
        assert!(Report { edge: Some(edge), ..Report::default() }.blames_caddy());
    }

    #[test]
    fn a_report_that_misses_its_release_is_understood() {
        assert!(include_str!("../../agent/aws.py").contains(&format!("\"{NO_RELEASE}\" + key")));
        let report = |error: &str| Report {
            wanted: Heard { release: Some("0123".into()), ..Heard::default() },
            error: Some(error.into()),
            ..Report::default()
        };
        let error = format!("{NO_RELEASE}shop/releases/0123.tar.gz was refused: NoSuchKey: no");
        assert!(report(&error).misses_release());
        let other = error.replace("0123", "4567");
        assert!(!report(&other).misses_release() && !report("the disk is full").misses_release());
        assert!(!Report { wanted: Heard::default(), ..report(&error) }.misses_release());
    }

    #[test]
    fn a_report_is_stale_that_no_other_has_followed_for_long() {
        let report = |next_at| Report { at: 1000, next_at, ..Report::default() };
        assert!(!report(Some(1300)).is_stale(1900) && report(Some(1300)).is_stale(1901));
        assert!(!report(None).is_stale(i64::MAX) && !report(Some(i64::MAX)).is_stale(i64::MAX));
        let ahead = Report { at: 90_000, taken: Some(1000), ..report(Some(90_300)) };
        assert!(!ahead.is_stale(1900) && ahead.is_stale(1901), "the instance's clock is a day ahead");
    }

    #[test]
    fn a_report_of_another_time_is_read_as_far_as_it_goes() {
        let report: Report =
            serde_json::from_str(r#"{"v": 9, "phase": "healthy", "healthy": true, "new": {"a": 1}}"#).unwrap();
        assert!(report.healthy);
        assert_eq!(report.wanted, Heard::default());
    }

    #[test]
    fn a_release_that_is_none_is_not_reported() {
        for id in ["../../etc", "r1", &"A".repeat(64)] {
            let text = serde_json::json!({"release": id, "wanted": {"release": id}, "edge": {"release": id}});
            let report: Report = serde_json::from_value(text).unwrap();
            assert_eq!((report.release, report.wanted.release, report.edge.unwrap().release), (None, None, None));
        }
        let id = "0a".repeat(32);
        let report: Report = serde_json::from_value(serde_json::json!({"release": id})).unwrap();
        assert_eq!(report.release, Some(id));
    }
}
