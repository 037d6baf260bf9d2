//! The token: one encrypted SSM parameter that holds one JSON document, so that a rotation is one atomic write.

use std::time::Duration;

use aws_sdk_ssm::types::{ParameterTier, ParameterType, ResourceTypeForTagging, Tag};
use serde::{Deserialize, Serialize};

use super::{Action, Planned, Tags, missing, ours};
use crate::aws::{ApiError, Aws, call, explain};
use crate::cli::command;
use crate::engine::context::Context;
use crate::engine::observe::Foreign;
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Failure, Result};
use crate::{grace, names, secret};

/// The parameter as it stands; what is in it is nobody's business but the app's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Raised by each write.
    pub version: i64,
    /// All its tags.
    pub tags: Tags,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make one up, with a version above the floor.
    Create { tags: Tags, floor: i64 },
    /// Write what stands again until its version is above the floor, and set these tags.
    Raise { floor: i64, tags: Tags },
    /// Set these tags.
    Tag { tags: Tags },
    /// Write the token that was given to this run, with a version above the floor. `stands`: the version that is there;
    /// without one it is made, with its tags. `grace`: how long the token before it counts as well.
    Write { stands: Option<i64>, tags: Tags, floor: i64, grace: Duration },
    /// Write what stands without the token before it, with a version above the floor.
    End { floor: i64 },
    /// Remove it.
    Delete,
}

/// What the parameter holds.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The token that counts.
    pub current: String,
    /// The one before, while it still counts.
    #[serde(default)]
    pub previous: Option<String>,
    /// Until when, in seconds since 1970.
    #[serde(default)]
    pub previous_until: Option<i64>,
}

impl Document {
    /// A token alone.
    pub fn of(token: String) -> Self {
        Self { current: token, previous: None, previous_until: None }
    }

    /// This token, and the one that counted until then for some time yet. The same token again changes nothing.
    fn after(found: Option<Self>, fresh: &str, until: i64) -> Self {
        match found {
            Some(same) if same.current == fresh => same,
            Some(old) => Self { current: fresh.into(), previous: Some(old.current), previous_until: Some(until) },
            None => Self::of(fresh.into()),
        }
    }

    /// The one before and until when it counts, as long as it does.
    pub fn before(&self, now: i64) -> Option<(&str, i64)> {
        let until = self.previous_until.unwrap_or_default();
        self.previous
            .as_deref()
            .filter(|previous| now < until && *previous != self.current)
            .map(|before| (before, until))
    }

    /// SSM refuses `{{`, which it takes for a reference to another parameter; JSON can say it otherwise.
    fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::failed("the token cannot be written").because(error.to_string()))?;
        Ok(text.replace("{{", "{\\u007b"))
    }
}

/// Looks at the parameter and at whose it is.
pub async fn observe(aws: &Aws, name: &str) -> Result<(Option<State>, Option<Foreign>)> {
    let parameter = names::token_parameter(name);
    let (version, tags) = tokio::try_join!(version(aws, name), tags(aws, &parameter))
        .map_err(|error| explain("cannot look for the token", &error))?;
    match (version, tags) {
        (Some(_), Some(tags)) if !ours(&tags, name) => Ok((None, Some(Foreign::new("SSM parameter", parameter)))),
        (Some(version), tags) => Ok((Some(State { version, tags: tags.unwrap_or_default() }), None)),
        (None, _) => Ok((None, None)),
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

/// The newest version's number; the value is not asked for.
///
/// # Errors
/// What SSM says.
pub async fn version(aws: &Aws, name: &str) -> Result<Option<i64>, ApiError> {
    let parameter = names::token_parameter(name);
    // GetParameters knows no error for what is not there.
    let answer = call("ssm:GetParameters", || aws.ssm.get_parameters().names(&parameter).send()).await?;
    Ok(answer.parameters.unwrap_or_default().first().map(|parameter| parameter.version))
}

/// The version, and the document if it is one.
///
/// # Errors
/// What SSM says.
pub async fn peek(aws: &Aws, name: &str) -> Result<Option<(Option<Document>, i64)>> {
    get(aws, &names::token_parameter(name)).await
}

async fn get(aws: &Aws, parameter: &str) -> Result<Option<(Option<Document>, i64)>> {
    let request = || aws.ssm.get_parameter().name(parameter).with_decryption(true).send();
    let found = match call("ssm:GetParameter", request).await {
        Ok(answer) => answer.parameter,
        Err(error) if error.absent() => None,
        Err(error) => return Err(explain("the token cannot be read", &error)),
    };
    // The error of the parser would quote the value: it is left out.
    Ok(found.map(|found| (serde_json::from_str(found.value.as_deref().unwrap_or_default()).ok(), found.version)))
}

/// The document and its version.
///
/// # Errors
/// What SSM says; and when the parameter does not hold what devopsctl writes.
pub async fn read(aws: &Aws, name: &str) -> Result<Option<(Document, i64)>> {
    match peek(aws, name).await? {
        None => Ok(None),
        Some((Some(document), version)) => Ok(Some((document, version))),
        Some((None, _)) => Err(unreadable(name)),
    }
}

/// The parameter does not hold what devopsctl writes.
pub fn unreadable(name: &str) -> Failure {
    let parameter = names::token_parameter(name);
    Failure::failed(format!("the SSM parameter {parameter} does not hold what devopsctl writes"))
        .next(format!("set the token anew: {}", command("set-token")))
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
        // Somebody removed it since we looked, and tags cannot go with a write over what is there.
        tag(aws, name, tags).await?;
    }
    Ok(version)
}

/// Versions begin anew when the parameter was deleted, and agents take none that is older than what they know. So it is
/// written until there is a newer one.
async fn above(context: &Context, document: &Document, mut version: i64, floor: i64) -> Result<i64, ApiError> {
    while version <= floor {
        version = put(&context.aws, &context.name, document, None).await?;
    }
    Ok(version)
}

/// What is read must be what stands, or an older token would come back: a version below the floor is looked at again for a
/// while, because SSM may show one that is no longer the newest.
async fn raise(context: &Context, floor: i64) -> Result<i64> {
    let mut backoff = Backoff::new(Duration::from_secs(5));
    loop {
        match read(&context.aws, &context.name).await? {
            Some((_, version)) if version >= floor => return Ok(version),
            Some((document, version)) if backoff.wait().await == Retry::Enough => {
                return above(context, &document, version, floor).await.map_err(|error| cannot_be_written(&error));
            }
            Some(_) => {}
            None => return Err(Failure::failed("the token is gone").next("run the same command again")),
        }
    }
}

/// Writes the new token and keeps the one that counted until then. What was read a moment ago may be no longer what
/// counted when it was written: versions tell, and then it is written again, with the one that was between.
async fn replace(context: &Context, tags: &Tags, floor: i64, grace: Duration) -> Result<i64> {
    let (aws, name, fresh) = (&context.aws, &context.name, context.fresh()?);
    let until = grace::now().saturating_add(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
    let mut known = peek(aws, name).await?;
    let mut mine = None;
    for _ in 0..5 {
        let Some((found, version)) = known else { break };
        // A write whose answer was lost was sent again, and what was between is the same.
        if mine.is_some() && mine == found {
            return Ok(version);
        }
        let document = Document::after(found, &fresh, until);
        let written = put(aws, name, &document, None).await.map_err(|error| cannot_be_written(&error))?;
        if written <= version + 1 {
            return above(context, &document, written, floor).await.map_err(|error| cannot_be_written(&error));
        }
        mine = Some(document);
        known = before(aws, name, written).await?;
    }
    if known.is_some() {
        return Err(moving());
    }
    // Somebody removed it since we looked: there is nothing to keep.
    let document = Document::of(fresh);
    let version = write(context, &document, tags, None).await.map_err(|error| cannot_be_written(&error))?;
    above(context, &document, version, floor).await.map_err(|error| cannot_be_written(&error))
}

/// Writes what stands without the token before it. Another one that was set at the same moment must not be lost to it.
async fn end(context: &Context, floor: i64) -> Result<i64> {
    let (aws, name) = (&context.aws, &context.name);
    let mut known = read(aws, name).await?;
    for _ in 0..5 {
        let Some((document, version)) = known else { break };
        let document = Document::of(document.current);
        let written = put(aws, name, &document, None).await.map_err(|error| cannot_be_written(&error))?;
        if written <= version + 1 {
            return above(context, &document, written, floor).await.map_err(|error| cannot_be_written(&error));
        }
        known = match before(aws, name, written).await? {
            Some((Some(document), version)) => Some((document, version)),
            _ => None,
        };
    }
    Err(moving())
}

/// What stood just before this version; its number is given as this one's own, because nothing may lie between.
async fn before(aws: &Aws, name: &str, version: i64) -> Result<Option<(Option<Document>, i64)>> {
    let older = get(aws, &format!("{}:{}", names::token_parameter(name), version - 1)).await?;
    Ok(older.map(|(document, _)| (document, version)))
}

fn moving() -> Failure {
    Failure::failed("the token is being changed by others at the same time").next("run the same command again")
}

fn cannot_be_written(error: &ApiError) -> Failure {
    explain("the token cannot be written", error)
}

async fn tag(aws: &Aws, name: &str, tags: &Tags) -> Result<(), ApiError> {
    let parameter = names::token_parameter(name);
    let request = || {
        let add = aws.ssm.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter);
        add.resource_id(&parameter).set_tags(Some(to_ssm(tags))).send()
    };
    call("ssm:AddTagsToResource", request).await.map(|_| ())
}

/// With tags: makes the parameter, if there is none. Without: writes over it.
async fn put(aws: &Aws, name: &str, document: &Document, tags: Option<&Tags>) -> Result<i64, ApiError> {
    let parameter = names::token_parameter(name);
    let value = document.to_json().map_err(|failure| local(&failure))?;
    let request = || {
        let put = aws
            .ssm
            .put_parameter()
            .name(&parameter)
            .r#type(ParameterType::SecureString)
            .tier(ParameterTier::Standard)
            .value(&value);
        match tags {
            Some(tags) => put.set_tags(Some(to_ssm(tags))).send(),
            None => put.overwrite(true).send(),
        }
    };
    call("ssm:PutParameter", request).await.map(|answer| answer.version)
}

fn local(failure: &Failure) -> ApiError {
    ApiError { action: "ssm:PutParameter", code: "Local".into(), message: failure.what().to_owned(), status: Some(400) }
}

/// A token that is there is kept. `floor`: the highest version that an instance has been told, or has.
pub fn diff(tags: &Tags, have: Option<&State>, floor: i64) -> Option<Planned<Change>> {
    match have {
        None => {
            let change = Change::Create { tags: tags.clone(), floor };
            Some(Planned::create("no token is set: one is made up", change))
        }
        Some(have) if have.version < floor => {
            let change = Change::Raise { floor, tags: missing(tags, &have.tags) };
            let reason = format!("it was made anew: its version is {}, and an instance knows {floor}", have.version);
            Some(Planned::new(Action::Update, vec![reason], change))
        }
        Some(have) => Planned::tag(missing(tags, &have.tags), |tags| Change::Tag { tags }),
    }
}

/// What is to become of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It stands already, under this version, written by a run that was stopped before it told the instances.
    Stored(i64),
    /// Another one takes its place, and it counts for so long beside that one.
    Replace {
        /// Nothing: the old one counts no longer.
        grace: Duration,
    },
    /// It stays, and the one before it counts no longer.
    EndGrace,
}

/// What is to be done so that it comes to that.
pub fn rotation(tags: &Tags, have: Option<&State>, floor: i64, how: Rotation) -> Option<Planned<Change>> {
    let update = |reason: &str, change| Some(Planned::new(Action::Update, vec![reason.to_owned()], change));
    match (how, have) {
        (Rotation::Stored(_), _) => None,
        (Rotation::EndGrace, _) => update("the one before it is to count no longer", Change::End { floor }),
        (Rotation::Replace { .. }, None) => {
            let change = Change::Write { stands: None, tags: tags.clone(), floor, grace: Duration::ZERO };
            Some(Planned::create("no token is set", change))
        }
        (Rotation::Replace { grace }, Some(have)) => {
            let change = Change::Write { stands: Some(have.version), tags: tags.clone(), floor, grace };
            update("another one is to be used", change)
        }
    }
}

/// What is to be done so that none stands.
pub fn removal(have: Option<&State>) -> Option<Planned<Change>> {
    have.map(|_| Planned::delete(Change::Delete))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { tags, floor } => {
            let document = Document::of(secret::generate()?);
            let made = match put(&context.aws, &context.name, &document, Some(&tags)).await {
                Ok(version) => above(context, &document, version, floor).await.map(Some),
                // Somebody set one since we looked: his counts.
                Err(error) if error.is(&["ParameterAlreadyExists"]) => version(&context.aws, &context.name).await,
                Err(error) => Err(error),
            };
            let version = made.map_err(|error| cannot_be_written(&error))?;
            context.set_token(version.unwrap_or_default());
            Ok(format!("one was made up; to see it: {}{}", command("token"), context.aws.flag()))
        }
        Change::Raise { floor, tags } => {
            let version = raise(context, floor).await?;
            if !tags.is_empty() {
                let tagged = tag(&context.aws, &context.name, &tags).await;
                tagged.map_err(|error| explain("the token's parameter cannot be tagged", &error))?;
            }
            context.set_token(version);
            Ok(format!("stored again, as version {version}"))
        }
        Change::Tag { tags } => {
            let tagged = tag(&context.aws, &context.name, &tags).await;
            tagged.map_err(|error| explain("the token's parameter cannot be tagged", &error))?;
            Ok("tagged".into())
        }
        Change::Write { tags, floor, grace, .. } if !grace.is_zero() => {
            let version = replace(context, &tags, floor, grace).await?;
            context.set_token(version);
            Ok(format!("stored as version {version}"))
        }
        Change::Write { stands, tags, floor, .. } => {
            let document = Document::of(context.fresh()?);
            let version = write(context, &document, &tags, stands).await.map_err(|error| cannot_be_written(&error))?;
            let version = above(context, &document, version, floor).await;
            let version = version.map_err(|error| cannot_be_written(&error))?;
            context.set_token(version);
            Ok(format!("stored as version {version}"))
        }
        Change::End { floor } => {
            let version = end(context, floor).await?;
            context.set_token(version);
            Ok(format!("stored without the one before it, as version {version}"))
        }
        Change::Delete => {
            let parameter = names::token_parameter(&context.name);
            match call("ssm:DeleteParameter", || context.aws.ssm.delete_parameter().name(&parameter).send()).await {
                Ok(_) => Ok("gone".into()),
                Err(error) if error.absent() => Ok("gone".into()),
                Err(error) => Err(explain("the token cannot be deleted", &error)),
            }
        }
    }
}

fn to_ssm(tags: &Tags) -> Vec<Tag> {
    // A tag without key or value is not built; ours have both.
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_reach_the_other_side() {
        let text = Document::of("a{{{b}}".into()).to_json().unwrap();
        assert!(!text.contains("{{"), "{text}");
        let back: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(back.current, "a{{{b}}");
    }

    #[test]
    fn the_one_before_counts_until_its_time_is_over() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        assert_eq!(document.before(99), Some(("old", 100)));
        assert_eq!(document.before(100), None);
        assert!(Document::after(Some(document), "newer", 200).before(99) == Some(("new", 200)));
        assert_eq!(Document::of("alone".into()).before(0), None);
        assert_eq!(Document::after(None, "after what cannot be read", 100).before(0), None);
    }

    #[test]
    fn the_same_token_again_is_not_its_own_predecessor() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        let again = Document::after(Some(document), "new", 200);
        assert_eq!(again.before(99), Some(("old", 100)), "nor does its time begin anew");
        assert_eq!(Document::after(Some(Document::of("same".into())), "same", 100).before(0), None);
    }

    #[test]
    fn a_token_that_is_there_is_kept() {
        let have = State { version: 3, tags: Tags::new() };
        assert_eq!(diff(&Tags::new(), Some(&have), 3), None);
        assert!(diff(&Tags::from([("team".into(), "web".into())]), Some(&have), 3).is_some());
        assert_eq!(diff(&Tags::new(), Some(&have), 4).unwrap().change, Change::Raise { floor: 4, tags: Tags::new() });
    }
}
