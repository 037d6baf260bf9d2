//! The parts of an agent's report, one for each concern of the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::super::orders::release;
use super::ErrorCode;
use crate::base::names;
use crate::config::is_program;

/// The phase of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyPhase {
    /// Fetching Caddy.
    Fetching,
    /// Waiting for a precondition of a certificate.
    Waiting,
    /// Waiting for the certificate.
    Certificate,
    /// Serving.
    Serving,
    /// It cannot run.
    Failed,
    /// A phase of another version's agent.
    #[serde(untagged)]
    Other(String),
}

impl Default for ProxyPhase {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// The proxy in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Proxy {
    /// Whether it must serve over HTTPS.
    pub https: bool,
    /// `fetching`; `waiting` for what a certificate cannot be requested without; `certificate`: waiting for it; `serving`;
    /// `failed`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub phase: ProxyPhase,
    /// What it waits for, or the error. An error of the certificate authority is quoted.
    pub error: Option<String>,
    /// A code, as in the report.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub error_code: Option<ErrorCode>,
    /// The certificate that is served.
    pub certificate: Option<Certificate>,
    /// The release with its settings.
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// The value of `devopsctl:try` that the proxy has.
    #[serde(rename = "try")]
    pub attempt: Option<String>,
}

/// The certificate that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Certificate {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// The authority that issued it.
    pub issuer: String,
    /// When it expires, in seconds since 1970.
    pub until: i64,
}

/// An app without a free thread, in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Threads {
    /// How many threads the app has; all of them are busy.
    pub busy: u32,
    /// Since when, in seconds since 1970.
    pub since: i64,
}

/// SSH in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Ssh {
    /// The leases whose keys are authorized.
    pub keys: Vec<String>,
    /// The user to log in as.
    pub user: String,
    /// The host's public key, as OpenSSH writes it.
    pub host_key: String,
    /// Whether the agent has the program of `devopsctl run`. Older agents do not report it.
    pub run: bool,
    /// Why no key can be authorized.
    pub error: Option<String>,
}

/// A process beside the web server, in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Process {
    /// Since when it runs, in seconds since 1970; missing while it does not.
    pub since: Option<i64>,
    /// How often it was started again since the last deployment or change of secrets.
    pub restarts: u32,
    /// How it ended the last time, until it has run for a minute again.
    pub error: Option<String>,
}

/// The app's role in AWS, in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Role {
    /// Why the app has no credentials of it, or will have none once the present ones expire.
    pub error: Option<String>,
}

/// The volume with the app's files, in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Data {
    /// The mounted volume.
    #[serde(deserialize_with = "volume")]
    pub volume: Option<String>,
    /// Why it is not mounted, or what is wrong with it.
    pub error: Option<String>,
    /// The size of its file system, in GiB.
    pub gib: Option<u32>,
    /// How much of it is used, in percent.
    pub used: Option<u32>,
}

/// Only the id of a volume.
fn volume<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| names::is_volume(id)))
}

/// A schedule in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ScheduledRun {
    /// When the last run began, in seconds since 1970; missing before the first one.
    pub last: Option<i64>,
    /// Its exit code; negative for a signal, missing while it runs.
    pub code: Option<i64>,
    /// Why it ended without an exit code, or why the next one cannot begin.
    pub error: Option<String>,
    /// When the next one is due, in seconds since 1970.
    pub next: Option<i64>,
    /// How many were due while it ran, and were skipped.
    pub skipped: i64,
}

/// The operating system's security updates in an agent's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Updates {
    /// The tool that applies them: `unattended-upgrades` or `dnf`; missing if it is not installed.
    #[serde(deserialize_with = "tool")]
    pub by: Option<String>,
    /// Whether it is enabled.
    pub on: bool,
    /// When it ran last, in seconds since 1970.
    pub at: Option<i64>,
    /// Whether a reboot is needed for them to take effect.
    pub reboot: bool,
    /// Why none are applied.
    pub error: Option<String>,
}

/// The tools that agents know.
fn tool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let known = |name: &String| ["unattended-upgrades", "dnf"].contains(&name.as_str());
    Ok(Option::<String>::deserialize(deserializer)?.filter(known))
}

/// The processes with names that a program can have: a name is shown, and becomes part of a request.
pub(super) fn programs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Process>, D::Error> {
    let mut found = Option::<BTreeMap<String, Process>>::deserialize(deserializer)?.unwrap_or_default();
    found.retain(|name, _| is_program(name));
    Ok(found)
}
