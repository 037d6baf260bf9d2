//! A rotation of the token, at once or with a rotation window; and the end of such a window.

use std::time::Duration;

use super::{Change, Document, State, above, cannot_be_written, get, peek, put, read, write};
use crate::aws::Aws;
use crate::base::error::{Failure, Result};
use crate::base::{clock, names};
use crate::resources::context::Context;
use crate::resources::{Action, Planned, Tags};

/// The change to the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The token is stored already under this version, by a run that stopped before it gave the orders.
    Stored(i64),
    /// Another token replaces it; the old one is accepted for this time too.
    Replace {
        /// Zero: the old token is no longer accepted.
        grace: Duration,
    },
    /// The token stays, and the previous one is no longer accepted.
    EndGrace,
}

/// The change for it.
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

/// Writes the new token and keeps the current one as the previous one. The document that was read may not be the
/// current one at the time of the write: the returned version shows it, and then it is written again with the token in
/// between.
///
/// `stands`: the version that was read. If no instance has orders for it, an earlier run stopped after it stored a
/// token that nothing uses; then the token before that one is kept.
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
        // A write with a lost response was retried, and the version in between is the same.
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
    // Another command deleted the parameter since the last read: no previous token is kept.
    let document = Document::of(fresh);
    let version = write(context, &document, tags, None).await.map_err(|error| cannot_be_written(&error))?;
    above(context, &document, version, floor).await.map_err(|error| cannot_be_written(&error))
}

/// Writes the document without its previous token. A token that a concurrent command set must not be lost.
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

/// The document just before this version, with this version's number: no version may lie in between.
async fn before(aws: &Aws, name: &str, version: i64) -> Result<Option<(Option<Document>, i64)>> {
    let older = get(aws, &format!("{}:{}", names::token_parameter(name), version - 1)).await?;
    Ok(older.map(|(document, _)| (document, version)))
}

fn moving() -> Failure {
    Failure::failed("other commands are changing the token at the same time").next("run the same command again")
}
