//! The documents of the verbs that look.

use std::net::Ipv4Addr;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cost, Finding, Version, Volume};
use crate::resources::reports::Report;

documents! {
    /// `status`: the resources and the running release. The exit code is 0 only if `healthy`.
    Status {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether the wanted release runs with the newest token and is served.
        healthy: bool,
        /// The app's URL.
        url: Option<String>,
        /// The account's id.
        account: String,
        /// The serving instance, or the one that will serve.
        instance: Option<Instance>,
        /// The image of the instance.
        image: Option<ImageBuild>,
        /// The instance's Elastic IP.
        address: Option<Address>,
        /// The security group.
        security_group: Option<SecurityGroup>,
        /// The releases.
        release: Wanted,
        /// The token's versions.
        token: TokenState,
        /// The app's secrets.
        secrets: SecretsState,
        /// The data volume.
        data: Option<Volume>,
        /// The instance's report; `null` if there is none yet.
        report: Option<Report>,
        /// The cost of the resources.
        cost: Cost,
        /// Resources with a needed name that belong to another owner.
        foreign: Vec<String>,
    }

    /// An EC2 instance.
    Instance {
        /// Its id.
        id: String,
        /// Its type.
        r#type: String,
        /// EC2's state: pending, running, …
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
        /// When it was created, in seconds since 1970.
        created: Option<i64>,
        /// The id of a newer build of the image, if there is one.
        newer: Option<String>,
    }

    /// An Elastic IP.
    Address {
        /// Its allocation id.
        id: String,
        /// The address.
        ip: Ipv4Addr,
    }

    /// A security group.
    SecurityGroup {
        /// Its id.
        id: String,
    }

    /// The releases.
    Wanted {
        /// The wanted release.
        wanted: Option<String>,
        /// The running release.
        running: Option<String>,
        /// The previous release, which `rollback` would use.
        previous: Option<String>,
    }

    /// The versions of the token.
    TokenState {
        /// The newest version.
        newest: Option<i64>,
        /// The app's version.
        running: Option<i64>,
        /// When the previous token expires, in seconds since 1970.
        grace_until: Option<i64>,
    }

    /// Fingerprints of the app's secrets: a short hash of their names and versions, or `none`.
    SecretsState {
        /// Of the secrets as they are stored.
        stored: String,
        /// Of the secrets in the instance's orders.
        ordered: Option<String>,
        /// Of the secrets that the app has.
        running: Option<String>,
    }

    /// `logs`: one document per line of the log.
    LogLine {
        /// The version of the document.
        v: Version,
        /// The time, as RFC 3339.
        at: String,
        /// The line.
        text: String,
        /// The program that printed it, in the log of several: `web`, or a process's name.
        process: Option<String>,
    }

    /// `open`: the app's URL.
    Open {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The URL.
        url: String,
    }

    /// `cost`: the cost of deploy.yaml.
    Costs {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The region.
        region: String,
        /// The instance's type.
        r#type: String,
        /// The disk's size in GiB.
        disk_gib: u32,
        /// The data volume's size in GiB.
        data_gib: Option<u32>,
        /// The cost.
        cost: Cost,
    }

    /// `doctor`: whether `up` would work. The exit code is 0 only if `ready`.
    Doctor {
        /// The version of the document.
        v: Version,
        /// Whether no check fails.
        ready: bool,
        /// The checks. Checks that could not be made are omitted, or warn.
        checks: Vec<Checked>,
        /// The mistakes in deploy.yaml, each with its place.
        findings: Vec<Finding>,
    }

    /// One check.
    Checked {
        /// The subject.
        what: String,
        /// `pass`, `warn` or `fail`.
        state: String,
        /// What was found.
        seen: String,
        /// What to do next; `null` if it passes.
        next: Option<String>,
    }

    /// `list`: all deployments of an account and region.
    List {
        /// The version of the document.
        v: Version,
        /// The account's id.
        account: String,
        /// The region.
        region: String,
        /// The total cost.
        cost: Cost,
        /// The deployments, by name.
        deployments: Vec<Listed>,
    }

    /// One deployment.
    Listed {
        /// Its name.
        name: String,
        /// The age of its oldest resource, in seconds since 1970.
        since: Option<i64>,
        /// `healthy`, `behind`, `unhealthy`, `silent`, `going`, `stopped` or `remains`.
        state: String,
        /// Whether it is orphaned: no resource of it serves an app.
        forgotten: bool,
        /// The app's URL.
        url: Option<String>,
        /// Its resources, without the role.
        stands: Vec<String>,
        /// The cost of the resources.
        cost: Cost,
        /// The command that deletes it.
        down: String,
    }
}
