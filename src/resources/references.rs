//! Secrets that are kept elsewhere in AWS, and to which `app.secrets` refers. Nothing here changes one of them, and no value is read
//! but for `secrets get`.
//!
//! The fingerprint covers what both the command line and the agent (`agent/orders/references.py`) see: the variable, the reference and
//! the version. Both are tested with the cases in `tests/secrets/reference_fingerprints.json`.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use aws_sdk_ssm::types::{ParameterMetadata, ParameterStringFilter};

use super::secrets::{NONE, milliseconds};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::digest;
use crate::base::error::{Exit, Failure, Result};
use crate::config::{Reference, Source};

mod permissions;
mod value;

pub use permissions::{Place, granted, resource, statements};
pub use value::value;

/// As many names as a filter of `DescribeParameters` takes.
const AT_ONCE: usize = 50;
/// The label of the version that Secrets Manager returns.
const CURRENT: &str = "AWSCURRENT";

/// The state of a source as AWS shows it, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a value.
    Set {
        /// The version, as the fingerprint has it.
        version: String,
        /// The version for users.
        shown: String,
        /// When it was changed, in seconds since 1970, if that is known.
        at: Option<i64>,
    },
    /// It has no value that an app could get: the reason.
    Unusable(&'static str),
    /// The caller may not look it up: AWS's answer. The instance may have the permission.
    Denied(String),
}

/// The state of each source.
pub type Found = BTreeMap<Source, State>;

/// Looks up all sources. Without any, no call is made.
///
/// # Errors
/// A call fails for another reason than a missing permission.
pub async fn observe(aws: &Aws, sources: &BTreeSet<Source>) -> Result<Found> {
    let (mut parameters, mut secrets) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::Parameter(name) => parameters.push(name.clone()),
            Source::Secret(id) => secrets.push(id.as_str()),
        }
    }
    let described = try_join_all(parameters.chunks(AT_ONCE).map(|names| describe_parameters(aws, names)));
    let secrets = try_join_all(secrets.into_iter().map(|id| describe_secret(aws, id)));
    let (parameters, secrets) = tokio::try_join!(described, secrets)?;
    Ok(parameters.into_iter().flatten().chain(secrets).collect())
}

/// The caller's own parameters with these names.
async fn describe_parameters(aws: &Aws, names: &[String]) -> Result<Found> {
    let every = |state: &State| names.iter().map(|name| (Source::Parameter(name.clone()), state.clone())).collect();
    let filter = ParameterStringFilter::builder().key("Name").option("Equals").set_values(Some(names.to_vec())).build();
    let filter = filter.map_err(|error| Failure::bug(error.to_string()))?;
    let (mut found, mut page): (Found, _) = (every(&State::Unusable("it does not exist")), None);
    loop {
        let request = || {
            let describe = aws.ssm.describe_parameters().parameter_filters(filter.clone());
            describe.max_results(50).set_next_token(page.clone()).send()
        };
        let answer = match call("ssm:DescribeParameters", request).await {
            Ok(answer) => answer,
            Err(error) => {
                return denied("cannot look up the parameters of app.secrets", &error).map(|state| every(&state));
            }
        };
        found.extend(answer.parameters.unwrap_or_default().iter().filter_map(parameter));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

fn parameter(parameter: &ParameterMetadata) -> Option<(Source, State)> {
    let (name, modified) = (parameter.name()?, parameter.last_modified_date().map(milliseconds)?);
    let version = format!("{} {modified}", parameter.version());
    let shown = parameter.version().to_string();
    Some((Source::Parameter(name.to_owned()), State::Set { version, shown, at: Some(modified / 1000) }))
}

async fn describe_secret(aws: &Aws, id: &str) -> Result<(Source, State)> {
    let request = || aws.secrets_manager.describe_secret().secret_id(id).send();
    let state = match call("secretsmanager:DescribeSecret", request).await {
        Err(error) if error.is(&["ResourceNotFoundException"]) => State::Unusable("it does not exist"),
        Err(error) => denied(&format!("cannot look up the secret {id}"), &error)?,
        Ok(secret) if secret.deleted_date.is_some() => State::Unusable("it is marked for deletion"),
        Ok(secret) => {
            let mut versions = secret.version_ids_to_stages.unwrap_or_default().into_iter();
            match versions.find(|(_, labels)| labels.iter().any(|label| label == CURRENT)) {
                None => State::Unusable("it has no value"),
                Some((version, _)) => {
                    let shown = version.get(..8).unwrap_or(&version).to_owned();
                    State::Set { version, shown, at: secret.last_changed_date.map(|time| time.secs()) }
                }
            }
        }
    };
    Ok((Source::Secret(id.to_owned()), state))
}

fn denied(what: &str, error: &ApiError) -> Result<State> {
    let failure = explain(what, error);
    // Not for expired or unknown credentials.
    if error.is(&["AccessDeniedException"]) { Ok(State::Denied(failure.reasons().join(": "))) } else { Err(failure) }
}

/// Checks that the sources are in this region: a call for another one would fail.
///
/// # Errors
/// One is not.
pub fn check_region(references: &BTreeMap<&str, &Reference>, region: &str) -> Result<()> {
    let other = references.iter().find_map(|(name, reference)| {
        reference.source.region().filter(|of| *of != region).map(|of| (name, reference, of))
    });
    let Some((name, reference, of)) = other else { return Ok(()) };
    Err(Failure::new(Exit::Usage, format!("{name} refers to a secret in another region: {reference}"))
        .because(format!("the secret is in {of}, and the deployment in {region}"))
        .standing("No call was made.")
        .next("replicate the secret to the deployment's region (Secrets Manager console, Replicate secret), and refer to the replica"))
}

/// The references without a value that the app could get, each with the reason.
pub fn unusable(references: &BTreeMap<&str, &Reference>, found: &Found) -> Vec<String> {
    let reason = |(name, reference): (&&str, &&Reference)| match found.get(&reference.source)? {
        State::Unusable(why) => Some(format!("{name} ({}): {why}", reference.source)),
        State::Set { .. } | State::Denied(_) => None,
    };
    references.iter().filter_map(reason).collect()
}

/// The references that the caller may not look up, each with AWS's answer.
pub fn hidden(references: &BTreeMap<&str, &Reference>, found: &Found) -> Vec<String> {
    let answer = |(name, reference): (&&str, &&Reference)| match found.get(&reference.source)? {
        State::Denied(why) => Some(format!("{name} ({}): {why}", reference.source)),
        State::Set { .. } | State::Unusable(_) => None,
    };
    references.iter().filter_map(answer).collect()
}

/// A short hash of the references and the versions of their sources: [`NONE`] without references, or if a version is not known.
pub fn fingerprint<'a>(references: impl Iterator<Item = (&'a str, &'a Reference)>, found: &Found) -> String {
    let line = |(name, reference): (&str, &Reference)| match found.get(&reference.source)? {
        State::Set { version, .. } => Some(format!("{name} {reference} {version}\n")),
        State::Unusable(_) | State::Denied(_) => None,
    };
    let lines: Option<Vec<String>> = references.map(line).collect();
    match lines {
        Some(lines) if !lines.is_empty() => digest::short(lines.concat()),
        _ => NONE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config;

    fn references(file: &Value) -> BTreeMap<String, config::SecretOrigin> {
        let lines =
            file.as_array().unwrap().iter().map(|one| {
                format!("    - {}: {}\n", one["name"].as_str().unwrap(), one["reference"].as_str().unwrap())
            });
        let text = format!("name: shop\napp:\n  path: .\n  secrets:\n{}", lines.collect::<String>());
        let folder = tempfile::tempdir().unwrap();
        config::parse(&text, std::path::Path::new("deploy.yaml"), folder.path()).unwrap().app.secrets
    }

    fn set(version: &str) -> State {
        State::Set { version: version.to_owned(), shown: version.to_owned(), at: None }
    }

    #[test]
    fn the_fingerprint_is_that_of_the_agent() {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/secrets/reference_fingerprints.json")).unwrap();
        for case in file.as_array().unwrap() {
            let all = references(&case["references"]);
            let all: Vec<(&str, &Reference)> = all
                .iter()
                .filter_map(|(name, origin)| match origin {
                    config::SecretOrigin::Reference(reference) => Some((name.as_str(), reference)),
                    _ => None,
                })
                .collect();
            let state = |(name, reference): &(&str, &Reference)| {
                let listed = case["references"].as_array().unwrap();
                let one = listed.iter().find(|one| one["name"] == *name).unwrap();
                (reference.source.clone(), set(one["version"].as_str().unwrap()))
            };
            let found: Found = all.iter().map(state).collect();
            assert_eq!(fingerprint(all.iter().copied(), &found), case["fingerprint"], "{}", case["name"]);
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_not_expected() {
        let source = Source::Parameter("/a".into());
        let reference = Reference { source: source.clone(), key: None };
        let of = |state: State| {
            let found = Found::from([(source.clone(), state)]);
            let all = BTreeMap::from([("A", &reference)]);
            (
                fingerprint(all.clone().into_iter(), &found) == NONE,
                unusable(&all, &found).len(),
                hidden(&all, &found).len(),
            )
        };
        assert_eq!(of(set("1 2")), (false, 0, 0));
        assert_eq!(of(State::Unusable("it does not exist")), (true, 1, 0));
        assert_eq!(of(State::Denied("no".into())), (true, 0, 1));
    }
}
