//! The token: one encrypted SSM parameter that holds one JSON document, so that a rotation is one atomic write.

use std::time::Duration;

use aws_sdk_ssm::types::ResourceTypeForTagging;

use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, Step};
use super::{Action, Planned, Sight, Tags, missing, ours, parameter};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::{names, secret};
use crate::resources::context::Context;
use crate::resources::{Lookup, NameConflict};

mod document;
mod rotation;

pub use document::Document;
pub use rotation::{Rotation, rotation};

/// The state of the parameter, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version, which increases with each write.
    pub version: i64,
    /// All tags.
    pub tags: Tags,
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Generate a token, with a version above the floor.
    Create { tags: Tags, floor: i64 },
    /// Write the current document again until its version is above the floor, and set these tags.
    Raise { floor: i64, tags: Tags },
    /// Set these tags.
    Tag { tags: Tags },
    /// Write the new token of this run, with a version above the floor. `stands`: the current version; without one the
    /// parameter is created with its tags. `grace`: how long the previous token is accepted too.
    Write { stands: Option<i64>, tags: Tags, floor: i64, grace: Duration },
    /// Write the document without the previous token, with a version above the floor.
    End { floor: i64 },
    /// Delete it.
    Delete,
}

/// The wanted token: any value.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags.
    pub tags: Tags,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The parameter's version.
    pub version: i64,
}

/// The only token of the deployment.
pub const ID: Id = Id::of(Kind::Token);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(&self.tags, sight.have.token.looked()?, sight.have.known_token()))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(token) = sight.have.token.present() {
            outputs.set(ID, Output { version: token.version });
        }
    }

    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let delete = |_: &State| Planned::delete(Change::Delete);
        sight.removal(ID.kind, Vec::new(), || Ok(sight.have.token.looked()?.map(delete)))
    }
}

/// Reads the parameter and its owner.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let parameter = names::token_parameter(name);
    let (version, tags) = tokio::try_join!(version(aws, name), tags(aws, &parameter))
        .map_err(|error| explain("cannot look up the token", &error))?;
    match (version, tags) {
        (Some(_), Some(tags)) if !ours(&tags, name) => {
            Ok(Lookup::NotOurs(NameConflict::new("SSM parameter", parameter)))
        }
        (Some(version), tags) => Ok(Lookup::Present(State { version, tags: tags.unwrap_or_default() })),
        (None, _) => Ok(Lookup::Absent),
    }
}

async fn tags(aws: &Aws, parameter: &str) -> Result<Option<Tags>, ApiError> {
    let request = || {
        aws.ssm.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(parameter).send()
    };
    match call("ssm:ListTagsForResource", request).await {
        Ok(answer) => {
            Ok(Some(answer.tag_list.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()))
        }
        Err(error) if error.is(&["InvalidResourceId"]) || error.absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest version's number, without the value.
///
/// # Errors
/// A call to SSM fails.
pub async fn version(aws: &Aws, name: &str) -> Result<Option<i64>, ApiError> {
    let parameter = names::token_parameter(name);
    // GetParameters returns no error for a missing parameter.
    let answer = call("ssm:GetParameters", || aws.ssm.get_parameters().names(&parameter).send()).await?;
    Ok(answer.parameters.unwrap_or_default().first().map(|parameter| parameter.version))
}

/// The version, and the document if it is valid.
///
/// # Errors
/// A call to SSM fails.
pub async fn peek(aws: &Aws, name: &str) -> Result<Option<(Option<Document>, i64)>> {
    get(aws, &names::token_parameter(name)).await
}

async fn get(aws: &Aws, parameter: &str) -> Result<Option<(Option<Document>, i64)>> {
    let request = || aws.ssm.get_parameter().name(parameter).with_decryption(true).send();
    let found = match call("ssm:GetParameter", request).await {
        Ok(answer) => answer.parameter,
        Err(error) if error.absent() => None,
        Err(error) => return Err(explain("cannot read the token", &error)),
    };
    // The parser's error would quote the value, so it is omitted.
    Ok(found.map(|found| (serde_json::from_str(found.value.as_deref().unwrap_or_default()).ok(), found.version)))
}

/// The document and its version.
///
/// # Errors
/// A call to SSM fails, or the parameter does not contain what devopsctl writes.
pub async fn read(aws: &Aws, name: &str) -> Result<Option<(Document, i64)>> {
    match peek(aws, name).await? {
        None => Ok(None),
        Some((Some(document), version)) => Ok(Some((document, version))),
        Some((None, _)) => Err(unreadable(name)),
    }
}

/// The parameter does not contain what devopsctl writes.
pub fn unreadable(name: &str) -> Failure {
    let parameter = names::token_parameter(name);
    Failure::failed(format!("the SSM parameter {parameter} does not contain what devopsctl writes"))
        .next(Next::from("set the token again: ").run("set-token"))
}

/// Writes a new document and returns its version.
async fn write(context: &Context, document: &Document, tags: &Tags, stands: Option<i64>) -> Result<i64, ApiError> {
    let (aws, name) = (&context.aws, &context.name);
    if stands.is_none() {
        match put(aws, name, document, Some(tags)).await {
            Err(error) if error.is(&["ParameterAlreadyExists"]) => {}
            answer => return answer,
        }
    }
    let version = put(aws, name, document, None).await?;
    if version == 1 || stands.is_some_and(|before| version <= before) {
        // Another command deleted the parameter since the last read; a write that may overwrite cannot set tags.
        tag(aws, name, tags).await?;
    }
    Ok(version)
}

/// Versions restart when the parameter is deleted, and agents ignore older versions than theirs. So the document is
/// written until its version is above the floor.
async fn above(context: &Context, document: &Document, mut version: i64, floor: i64) -> Result<i64, ApiError> {
    while version <= floor {
        version = put(&context.aws, &context.name, document, None).await?;
    }
    Ok(version)
}

/// The document must be the newest one, or an older token would come back: a version below the floor is read again for
/// a while, because SSM may return an old version.
async fn raise(context: &Context, floor: i64) -> Result<i64> {
    let mut backoff = Backoff::new(Duration::from_secs(5));
    loop {
        match read(&context.aws, &context.name).await? {
            Some((_, version)) if version >= floor => return Ok(version),
            Some((document, version)) if backoff.wait().await == Retry::Enough => {
                return above(context, &document, version, floor).await.map_err(|error| cannot_be_written(&error));
            }
            Some(_) => {}
            None => return Err(Failure::failed("the token was deleted").next("run the same command again")),
        }
    }
}

fn cannot_be_written(error: &ApiError) -> Failure {
    explain("cannot write the token", error)
}

async fn tag(aws: &Aws, name: &str, tags: &Tags) -> Result<(), ApiError> {
    parameter::tag(aws, &names::token_parameter(name), tags).await
}

/// With tags: creates the parameter. Without: overwrites it.
async fn put(aws: &Aws, name: &str, document: &Document, tags: Option<&Tags>) -> Result<i64, ApiError> {
    let value = document.to_json().map_err(|failure| local(&failure))?;
    parameter::put(aws, &names::token_parameter(name), &value, tags).await
}

fn local(failure: &Failure) -> ApiError {
    ApiError {
        action: "ssm:PutParameter",
        code: "Local".into(),
        message: failure.what().to_owned(),
        status: Some(400),
        ahead: None,
    }
}

/// An existing token is kept. `floor`: the highest version that an instance has or was ordered to have.
fn diff(tags: &Tags, have: Option<&State>, floor: i64) -> Option<Planned<Change>> {
    match have {
        None => {
            let change = Change::Create { tags: tags.clone(), floor };
            Some(Planned::create("no token is set; one is generated", change))
        }
        Some(have) if have.version < floor => {
            let change = Change::Raise { floor, tags: missing(tags, &have.tags) };
            let reason =
                format!("it was re-created: its version is {}, but an instance has version {floor}", have.version);
            Some(Planned::new(Action::Update, vec![reason], change))
        }
        Some(have) => Planned::tag(missing(tags, &have.tags), |tags| Change::Tag { tags }),
    }
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { tags, floor } => {
            let document = Document::of(secret::generate()?);
            let made = match put(&context.aws, &context.name, &document, Some(&tags)).await {
                Ok(version) => above(context, &document, version, floor).await.map(Some),
                // Another command set a token since the last read: that one is kept.
                Err(error) if error.is(&["ParameterAlreadyExists"]) => version(&context.aws, &context.name).await,
                Err(error) => Err(error),
            };
            let version = made.map_err(|error| cannot_be_written(&error))?;
            context.learn(Output { version: version.unwrap_or_default() });
            Ok(format!("generated; view it with {}", context.health.token))
        }
        Change::Raise { floor, tags } => {
            let version = raise(context, floor).await?;
            if !tags.is_empty() {
                let tagged = tag(&context.aws, &context.name, &tags).await;
                tagged.map_err(|error| explain("cannot tag the token's parameter", &error))?;
            }
            context.learn(Output { version });
            Ok(format!("stored again, as version {version}"))
        }
        Change::Tag { tags } => {
            let tagged = tag(&context.aws, &context.name, &tags).await;
            tagged.map_err(|error| explain("cannot tag the token's parameter", &error))?;
            Ok("tagged".into())
        }
        Change::Write { stands, tags, floor, grace } if !grace.is_zero() => {
            let version = rotation::replace(context, &tags, (stands, floor), grace).await?;
            context.learn(Output { version });
            Ok(format!("stored as version {version}"))
        }
        Change::Write { stands, tags, floor, .. } => {
            let document = Document::of(context.fresh()?);
            let version = write(context, &document, &tags, stands).await.map_err(|error| cannot_be_written(&error))?;
            let version = above(context, &document, version, floor).await;
            let version = version.map_err(|error| cannot_be_written(&error))?;
            context.learn(Output { version });
            Ok(format!("stored as version {version}"))
        }
        Change::End { floor } => {
            let version = rotation::end(context, floor).await?;
            context.learn(Output { version });
            Ok(format!("stored without the previous token, as version {version}"))
        }
        Change::Delete => {
            let deleted = parameter::delete(&context.aws, &names::token_parameter(&context.name)).await;
            deleted.map_err(|error| explain("cannot delete the token", &error))?;
            Ok("deleted".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_token_is_kept() {
        let have = State { version: 3, tags: Tags::new() };
        assert_eq!(diff(&Tags::new(), Some(&have), 3), None);
        assert!(diff(&Tags::from([("team".into(), "web".into())]), Some(&have), 3).is_some());
        assert_eq!(diff(&Tags::new(), Some(&have), 4).unwrap().change, Change::Raise { floor: 4, tags: Tags::new() });
    }
}
