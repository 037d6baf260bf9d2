//! Caddy in the bucket: shared by all deployments of an account's region, and content-addressed, so it is written only
//! once.

use std::collections::HashMap;

use super::kinds::{Id, Kind};
use super::step::Resource;
use super::{Planned, Sight, bucket, release};
use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;
use crate::release::proxy::{Build, Packed};
use crate::resources::context::Context;

/// The change to apply: upload it unless it exists. It may not have been read, because a launch does not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The build.
    pub build: Build,
    /// Whether it is known to be missing.
    pub missing: bool,
}

/// The wanted build.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The build.
    pub build: Build,
}

/// The build for the release.
pub const ID: Id = Id::of(Kind::Proxy);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        vec![bucket::ID]
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let change = |missing| Change { build: self.build, missing };
        Ok(match sight.have.store.present() {
            Some(store) if store.proxy => None,
            Some(_) => Some(Planned::create("it is not in the bucket yet", change(true))),
            None => Some(Planned::create("uploaded to the bucket if it is not there", change(false))),
        })
    }
}

/// Whether it exists. It is searched in a list, because an error of HEAD has no reason.
pub async fn observe(aws: &Aws, account: &str, build: Build) -> Result<bool> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::caddy_key(build.sha384);
    let list = || aws.s3.list_objects_v2().bucket(&bucket).prefix(&key).expected_bucket_owner(account).send();
    match call("s3:ListBucket", list).await {
        Ok(answer) => Ok(answer.contents().iter().any(|object| object.key() == Some(&key))),
        Err(error) if error.absent() => Ok(false),
        Err(error) => Err(explain("cannot list Caddy in the bucket", &error)),
    }
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, Change { build, missing }: Change) -> Result<String> {
    if !missing && observe(&context.aws, &context.account, build).await? {
        return Ok("already in the bucket".into());
    }
    context.waits("fetching Caddy");
    let Packed { body, sha256 } = build.packed().await?;
    let size = indicatif::HumanBytes(body.len() as u64);
    context.waits(&format!("uploading {size}"));
    release::put(context, &names::caddy_key(build.sha384), body, &sha256, HashMap::new()).await?;
    Ok(format!("Caddy uploaded ({size})"))
}
