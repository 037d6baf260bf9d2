//! The documents of the verbs that change a deployment, or show what they would change.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Version;
use crate::engine::cost::{self, Money};
use crate::release::Processes;
use crate::resources::volume;

documents! {
    /// `up`: the app's URL.
    Up {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The app's URL; `null` if the instance has no public address.
        url: Option<String>,
        /// Whether anything was changed.
        changed: bool,
    }

    /// `plan`: what `up` would change.
    Plan {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether there are changes; then the exit code is 3.
        changes: bool,
        /// The steps, in a possible order.
        steps: Vec<Step>,
        /// The secrets that must be set before `up` can make the changes.
        missing_secrets: Vec<String>,
        /// The commands of `app.release` that the changes run, unless they ran for this release before.
        release_commands: Vec<String>,
        /// How the app would be served.
        app: Served,
        /// The cost of deploy.yaml.
        cost: Cost,
    }

    /// The processes that serve the app.
    Served {
        /// `wsgi` or `asgi`.
        kind: String,
        /// The number of processes.
        workers: u32,
        /// The number of threads in each; `null` for an ASGI app.
        threads: Option<u32>,
    }

    /// One step.
    Step {
        /// What kind of resource, such as `security group`.
        kind: String,
        /// Which one, where a deployment can have several of this kind; else `null`.
        name: Option<String>,
        /// `create`, `update`, `replace` or `delete`.
        action: String,
        /// Why.
        reasons: Vec<String>,
        /// The resources that must be changed before, each as its kind and name.
        needs: Vec<String>,
    }

    /// US dollars per month at list prices, without taxes, traffic and free tier; `null` if a price is unknown.
    Cost {
        /// The currency: USD.
        currency: String,
        /// The month of the prices.
        as_of: String,
        /// The total.
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
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The release that it rolled back to.
        release: String,
        /// The release that was wanted before.
        from: Option<String>,
        /// The version of the valid token.
        token: Option<i64>,
        /// The app's URL, if something was changed.
        url: Option<String>,
        /// Whether anything was changed.
        changed: bool,
    }

    /// `releases`: the releases that `rollback` can use, the newest first.
    Releases {
        /// The version of the document.
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
        /// What it was built from, such as a git commit.
        what: String,
        /// The Python and the processor that it was built for.
        target: String,
        /// Whether it is running.
        runs: bool,
        /// Whether it is wanted.
        wanted: bool,
        /// Whether it ran before.
        previous: bool,
    }

    /// `set-token`: the valid tokens.
    SetToken {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The token's version; `null` if nothing was changed.
        version: Option<i64>,
        /// Whether anything was changed.
        changed: bool,
        /// When the previous token expires, in seconds since 1970.
        grace_until: Option<i64>,
    }

    /// `token`: with `secrets get` the only documents with a secret.
    Token {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The token.
        token: String,
        /// Its version.
        version: i64,
    }

    /// `secrets set`, `secrets import` and `secrets unset`: what was changed.
    SecretsChanged {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether any secret was changed.
        changed: bool,
        /// The names of the changed secrets.
        secrets: Vec<String>,
        /// Whether the instance reported that the app uses the secrets as they are stored.
        used: bool,
    }

    /// `secrets list`: the secrets that are set or required, without their values.
    Secrets {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The secrets, by name.
        secrets: Vec<ListedSecret>,
    }

    /// One secret.
    ListedSecret {
        /// Its name, which is the environment variable of the app.
        name: String,
        /// Its version; `null` if it is not set, or kept elsewhere.
        version: Option<i64>,
        /// Where it is kept, if deploy.yaml refers to another place.
        reference: Option<String>,
        /// The version there; `null` if it is not known.
        source_version: Option<String>,
        /// When it was written, in seconds since 1970; `null` if it is not set.
        at: Option<i64>,
        /// The author of this version; `null` if that is not known.
        by: Option<String>,
        /// Whether deploy.yaml requires it.
        required: bool,
        /// Whether `up` generates it if it is not set.
        generate: bool,
        /// Whether a user must set it before `up`.
        missing: bool,
    }

    /// `secrets get`: with `token` the only documents with a secret.
    Secret {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// The name of the secret.
        secret: String,
        /// Its value.
        value: String,
        /// Its version; `null` if it is kept elsewhere.
        version: Option<i64>,
        /// The version in the place to which deploy.yaml refers.
        source_version: Option<String>,
    }

    /// `down`: all resources are deleted, except for the data volume.
    Down {
        /// The version of the document.
        v: Version,
        /// The deployment's name.
        name: String,
        /// Whether there were any.
        changed: bool,
        /// The data volumes that stay.
        kept: Vec<Volume>,
    }

    /// A data volume.
    Volume {
        /// Its id.
        id: String,
        /// Its size.
        gib: u32,
        /// Its availability zone.
        zone: String,
        /// The instance that it is attached to.
        instance: Option<String>,
    }
}

impl From<&volume::State> for Volume {
    fn from(volume: &volume::State) -> Self {
        let (id, gib, zone) = (volume.id.clone(), volume.gib, volume.zone.clone());
        Self { id, gib, zone, instance: volume.holder().map(str::to_owned) }
    }
}

impl From<Processes> for Served {
    fn from(Processes { asgi, workers, threads }: Processes) -> Self {
        let kind = if asgi { "asgi" } else { "wsgi" };
        Self { kind: kind.to_owned(), workers, threads: (!asgi).then_some(threads) }
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
