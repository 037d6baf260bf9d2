//! What `--json` prints: a document a verb, of version 1. Fields may be added within a version; none goes or changes its
//! meaning.
//!
//! `docs/json.schema.json` is made of these types, and `docs/JSON.md` shows one of each.

use std::net::Ipv4Addr;
use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::error::Failure;
use crate::engine::cost::{self, Money};
use crate::resources::reports::Report;

/// The version of all documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

const VERSION: u8 = 1;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(D::Error::custom(format!("version {other} is not known here"))),
        }
    }
}

#[cfg(test)]
impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"const": VERSION, "description": "The version of this shape."})
    }
}

/// Declares documents: plain structs that can be written, read again and described; every field has its words.
macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$words:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[cfg_attr(test, derive(JsonSchema))]
        pub struct $name { $($(#[$words])* pub $field: $kind,)* }
    )*};
}

documents! {
    /// `init`: what was found, and the file that was written.
    Init {
        /// The version of this shape.
        v: Version,
        /// The file.
        written: PathBuf,
        /// The deployment's name.
        name: String,
        /// The app that was taken.
        app: Candidate,
        /// The app's folder, from the file's; empty if it is the same.
        path: String,
        /// What gunicorn is told: `module:callable`.
        wsgi: String,
        /// Every app that was found, the likeliest first.
        candidates: Vec<Candidate>,
        /// The app's dependencies; `null` where none are listed.
        requirements: Option<Requirements>,
        /// The variable that the app reads its token from.
        token: Option<SeenAt>,
        /// The path that is asked for health.
        health: Option<SeenAt>,
        /// The Python that the project asks for.
        python: Option<SeenAt>,
        /// The image, as deploy.yaml names it.
        image: String,
        /// What should be looked at.
        warnings: Vec<String>,
        /// What was written.
        text: String,
        /// The command that comes next.
        next: String,
    }

    /// An app that was found in a folder.
    Candidate {
        /// flask, django, bottle, falcon, wsgi, …
        framework: String,
        /// The module that it is in.
        module: String,
        /// What in the module is called.
        callable: String,
        /// Whether gunicorn can run it as it is.
        ready: bool,
        /// Where it is made.
        at: Place,
    }

    /// A line of the project.
    Place {
        /// The file, from the folder.
        file: String,
        /// The line, from 1.
        line: usize,
    }

    /// Something that the project says, and where.
    SeenAt {
        /// What.
        value: String,
        /// The file, from the folder.
        file: String,
        /// The line, from 1.
        line: usize,
    }

    /// Where dependencies are listed.
    Requirements {
        /// The file.
        file: String,
        /// Whether it is taken as it is.
        taken: bool,
        /// The command that makes a requirements.txt of it, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    }

    /// `up`: where the app answers.
    Up {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Where it answers; `null` where the instance has no public address.
        url: Option<String>,
        /// Whether anything was done.
        changed: bool,
    }

    /// `plan`: what `up` would do.
    Plan {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether there is anything to do; then the exit code is 3.
        changes: bool,
        /// In the order in which they can be done.
        steps: Vec<Step>,
        /// What deploy.yaml says will cost.
        cost: Cost,
    }

    /// One thing that is to be done.
    Step {
        /// What it is about, such as `security group`.
        kind: String,
        /// `create`, `update`, `replace` or `delete`.
        action: String,
        /// Why.
        reasons: Vec<String>,
        /// The kinds that have to be done before.
        needs: Vec<String>,
    }

    /// US dollars a month at list prices, before taxes, traffic and what AWS gives for nothing; `null` where a price is not
    /// known.
    Cost {
        /// USD
        currency: String,
        /// The month that the prices are of.
        as_of: String,
        /// All of it.
        month: Option<f64>,
        /// Instances.
        instance: Option<f64>,
        /// Disks.
        disk: Option<f64>,
        /// Public IPv4 addresses.
        address: Option<f64>,
    }

    /// `rollback`: the release that is wanted now.
    Rollback {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The release that was gone to.
        release: String,
        /// The one that was wanted before.
        from: Option<String>,
        /// The version of the token that is in force.
        token: Option<i64>,
        /// Where it answers, where something was done.
        url: Option<String>,
        /// Whether anything was done.
        changed: bool,
    }

    /// `releases`: what can be gone back to, the newest first.
    Releases {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The releases.
        releases: Vec<Release>,
    }

    /// One release.
    Release {
        /// Its sha256.
        id: String,
        /// When it was uploaded, in seconds since 1970.
        at: i64,
        /// Its size in bytes.
        size: i64,
        /// Who uploaded it.
        by: String,
        /// What it was made from, such as a git commit.
        what: String,
        /// The Python and the processor it is made for.
        target: String,
        /// Whether it serves.
        runs: bool,
        /// Whether it is to serve.
        wanted: bool,
        /// Whether it served before.
        previous: bool,
    }

    /// `set-token`: what is in force.
    SetToken {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The token's version; `null` if nothing was done.
        version: Option<i64>,
        /// Whether anything was done.
        changed: bool,
        /// Until when the token before it counts as well, in seconds since 1970.
        grace_until: Option<i64>,
    }

    /// `token`: the only document that holds the secret.
    Token {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The token.
        token: String,
        /// Its version.
        version: i64,
    }

    /// `status`: what stands, what runs on it. The exit code is 0 only if `healthy`.
    Status {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether what is wanted runs, with the newest token, and is served.
        healthy: bool,
        /// Where it answers.
        url: Option<String>,
        /// The account's number.
        account: String,
        /// The instance that serves, or is to.
        instance: Option<Instance>,
        /// The image that it was launched from.
        image: Option<ImageBuild>,
        /// The address that leads to it.
        address: Option<Address>,
        /// The security group.
        security_group: Option<SecurityGroup>,
        /// The releases.
        release: Wanted,
        /// The token's versions.
        token: TokenState,
        /// What the instance says of itself; `null` if it has said nothing.
        report: Option<Report>,
        /// What stands costs.
        cost: Cost,
        /// What bears a name of ours and is somebody else's.
        foreign: Vec<String>,
    }

    /// An EC2 instance.
    Instance {
        /// Its id.
        id: String,
        /// Its type.
        r#type: String,
        /// EC2's word: pending, running, …
        state: String,
        /// Its own public address.
        ip: Option<Ipv4Addr>,
    }

    /// The image of an instance.
    ImageBuild {
        /// Its id.
        id: String,
        /// Its publisher's name for it.
        name: Option<String>,
        /// When it was made, in seconds since 1970.
        created: Option<i64>,
        /// The id of the newest image of its kind, if that was made later.
        newer: Option<String>,
    }

    /// An Elastic IP.
    Address {
        /// Its allocation's id.
        id: String,
        /// The address.
        ip: Ipv4Addr,
    }

    /// A security group.
    SecurityGroup {
        /// Its id.
        id: String,
    }

    /// Which release is where.
    Wanted {
        /// What is to run.
        wanted: Option<String>,
        /// What runs.
        running: Option<String>,
        /// What ran before, and can be gone back to.
        previous: Option<String>,
    }

    /// Which version of the token is where.
    TokenState {
        /// The newest.
        newest: Option<i64>,
        /// The one that the app has.
        running: Option<i64>,
        /// Until when the app has the one before it as well, in seconds since 1970.
        grace_until: Option<i64>,
    }

    /// `logs`: a document a line of the log.
    LogLine {
        /// The version of this shape.
        v: Version,
        /// When, as RFC 3339.
        at: String,
        /// The line.
        text: String,
    }

    /// `open`: where the app answers.
    Open {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Where.
        url: String,
    }

    /// `cost`: what deploy.yaml says will cost.
    Costs {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The region.
        region: String,
        /// The instance's type.
        r#type: String,
        /// The disk's size in GiB.
        disk_gib: u32,
        /// What it costs.
        cost: Cost,
    }

    /// `doctor`: whether `up` would work. The exit code is 0 only if `ready`.
    Doctor {
        /// The version of this shape.
        v: Version,
        /// Whether nothing fails.
        ready: bool,
        /// What was looked at. What could not be asked is left out, or warns.
        checks: Vec<Checked>,
        /// What is wrong in deploy.yaml, each at its place.
        findings: Vec<Finding>,
    }

    /// One thing that was looked at.
    Checked {
        /// What.
        what: String,
        /// `pass`, `warn` or `fail`.
        state: String,
        /// What was seen.
        seen: String,
        /// What to do or type next; `null` where it passes.
        next: Option<String>,
    }

    /// `list`: every deployment of an account and a region.
    List {
        /// The version of this shape.
        v: Version,
        /// The account's number.
        account: String,
        /// The region.
        region: String,
        /// What all of them cost.
        cost: Cost,
        /// By name.
        deployments: Vec<Listed>,
    }

    /// One deployment.
    Listed {
        /// Its name.
        name: String,
        /// Since when something of it stands, in seconds since 1970.
        since: Option<i64>,
        /// `healthy`, `behind`, `unhealthy`, `silent`, `going`, `stopped` or `remains`.
        state: String,
        /// Whether nothing of it serves anybody.
        forgotten: bool,
        /// Where it answers.
        url: Option<String>,
        /// What was found of it; a role is not looked for.
        stands: Vec<String>,
        /// What stands costs.
        cost: Cost,
        /// The command that removes it.
        down: String,
    }

    /// `down`: all of it is gone.
    Down {
        /// The version of this shape.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether there was anything.
        changed: bool,
    }

    /// `sandbox start`: where it is.
    SandboxStart {
        /// The version of this shape.
        v: Version,
        /// Where its AWS answers.
        endpoint: String,
    }

    /// `sandbox stop`.
    SandboxStop {
        /// The version of this shape.
        v: Version,
        /// Whether one ran.
        stopped: bool,
    }

    /// `sandbox status`; the exit code is 1 where none runs.
    SandboxStatus {
        /// The version of this shape.
        v: Version,
        /// `null` where none runs.
        sandbox: Option<crate::sandbox::Status>,
    }

    /// `sandbox logs`: the last lines of each file.
    SandboxLogs {
        /// The version of this shape.
        v: Version,
        /// The files.
        files: Vec<LogFile>,
    }

    /// A log of the sandbox.
    LogFile {
        /// Where it is.
        file: PathBuf,
        /// Its last lines.
        lines: Vec<String>,
    }

    /// What any verb prints that does not end well, beside the same for a person on stderr.
    Error {
        /// The version of this shape.
        v: Version,
        /// What failed.
        error: Problem,
    }

    /// What failed.
    Problem {
        /// The exit code.
        exit: u8,
        /// What failed, as one line.
        what: String,
        /// Why; each is the reason of the one before it.
        because: Vec<String>,
        /// What was left standing.
        standing: Option<String>,
        /// What to do or type next.
        next: Option<String>,
        /// What is wrong in a file, each at its place.
        findings: Vec<Finding>,
    }

    /// One mistake in a file.
    Finding {
        /// What is wrong.
        what: String,
        /// How to put it right.
        hint: String,
        /// The file.
        file: String,
        /// Where it begins, in bytes from the file's beginning.
        at: usize,
    }
}

impl From<&cost::Cost> for Cost {
    fn from(of: &cost::Cost) -> Self {
        let sum = |money: Option<Money>| money.map(Money::dollars);
        Self {
            currency: "USD".to_owned(),
            as_of: cost::AS_OF.to_owned(),
            month: sum(of.month()),
            instance: sum(of.instance),
            disk: sum(of.disk),
            address: sum(of.address),
        }
    }
}

impl From<&crate::base::error::Finding> for Finding {
    fn from(finding: &crate::base::error::Finding) -> Self {
        Self {
            what: finding.what.clone(),
            hint: finding.hint.clone(),
            file: finding.source.name().to_owned(),
            at: finding.span.offset(),
        }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        let error = Problem {
            exit: failure.exit() as u8,
            what: failure.what().to_owned(),
            because: failure.reasons().into_iter().map(ToOwned::to_owned).collect(),
            standing: failure.left_standing().map(ToOwned::to_owned),
            next: failure.next_step().map(ToOwned::to_owned),
            findings: failure.findings_in_file().iter().map(Finding::from).collect(),
        };
        Self { v: Version, error }
    }
}

#[cfg(test)]
mod tests;
