//! From one token to another, at once or with a time in which both count; and the end of such a time.

use std::time::Duration;

use super::{Change, Document, State, above, cannot_be_written, get, peek, put, read, write};
use crate::aws::Aws;
use crate::base::error::{Failure, Result};
use crate::base::{clock, names};
use crate::resources::context::Context;
use crate::resources::{Action, Planned, Tags};

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
        (Rotation::EndGrace, _) => update("the previous token must no longer be accepted", Change::End { floor }),
        (Rotation::Replace { .. }, None) => {
            let change = Change::Write { stands: None, tags: tags.clone(), floor, grace: Duration::ZERO };
            Some(Planned::create("no token is set", change))
        }
        (Rotation::Replace { grace }, Some(have)) => {
            let change = Change::Write { stands: Some(have.version), tags: tags.clone(), floor, grace };
            update("the token is replaced", change)
        }
    }
}

/// Writes the new token and keeps the one that counted until then. What was read a moment ago may be no longer what
/// counted when it was written: versions tell, and then it is written again, with the one that was between.
///
/// `stands`: the version that was seen. Where no instance was told of it, a run was stopped after it had stored a token that
/// nobody uses; what counted, and is to count yet, is the one before that.
pub(super) async fn replace(
    context: &Context,
    tags: &Tags,
    (stands, floor): (Option<i64>, i64),
    grace: Duration,
) -> Result<i64> {
    let (aws, name, fresh) = (&context.aws, &context.name, context.fresh()?);
    let until = clock::now().saturating_add(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
    let mut known = peek(aws, name).await?;
    let mut mine = None;
    for _ in 0..5 {
        let Some((found, version)) = known else { break };
        // A write whose answer was lost was sent again, and what was between is the same.
        if let Some(mine) = mine.as_ref().filter(|mine| found.as_ref() == Some(mine)) {
            return above(context, mine, version, floor).await.map_err(|error| cannot_be_written(&error));
        }
        let untold = stands == Some(version) && version > floor && floor > 0;
        let document = match found {
            Some(found) if untold && found.before(clock::now()).is_some() && *found.current != *fresh => {
                Document { current: fresh.clone(), previous_until: Some(until), ..found }
            }
            found => Document::after(found, &fresh, until),
        };
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
pub(super) async fn end(context: &Context, floor: i64) -> Result<i64> {
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
    Failure::failed("other commands are changing the token at the same time").next("run the same command again")
}
