//! A release in the bucket: content-addressed, so that one that is there is never written again.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::Planned;
use crate::aws::{ApiError, Aws, call, explain};
use crate::engine::context::Context;
use crate::error::{Failure, Result};
use crate::names;

/// What to do: put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub id: String,
    /// Whether nobody has looked yet if it is there.
    pub look: bool,
}

/// Whether the release is in the bucket. It is looked for in the list, because what refuses a HEAD cannot say why.
pub async fn observe(aws: &Aws, account: &str, name: &str, id: &str) -> Result<bool> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::release_key(name, id);
    let request =
        || aws.s3.list_objects_v2().bucket(&bucket).prefix(&key).max_keys(1).expected_bucket_owner(account).send();
    match call("s3:ListBucket", request).await {
        Ok(answer) => Ok(answer.key_count.unwrap_or_default() > 0),
        Err(error) if error.absent() => Ok(false),
        Err(error) => Err(explain("cannot look for the release", &error)),
    }
}

/// It is put there if it is not.
pub fn diff(id: &str, have: bool) -> Option<Planned<Change>> {
    (!have).then(|| Planned::create("it is not in the bucket yet", Change { id: id.to_owned(), look: false }))
}

/// To be planned where nobody has looked.
pub fn unseen(id: &str) -> Planned<Change> {
    Planned::create("put into the bucket unless it is there", Change { id: id.to_owned(), look: true })
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    if change.look && observe(&context.aws, &context.account, &context.name, &change.id).await? {
        return Ok(format!("{} is there already", short(&change.id)));
    }
    let Some(release) = &context.release else {
        return Err(Failure::failed("there is no release to upload").next("run the same command again"));
    };
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    let key = names::release_key(&context.name, &change.id);
    let body = tokio::fs::read(&release.archive).await.map_err(|error| {
        Failure::failed(format!("cannot read {}", release.archive.display()))
            .because(error.to_string())
            .next("run the same command again")
    })?;
    let size = body.len();
    let request = || {
        let put = context.aws.s3.put_object().bucket(&bucket).key(&key).expected_bucket_owner(&context.account);
        let put = put.content_type("application/gzip").body(ByteStream::from(body.clone()));
        // A slow line is no fault: the SDK itself notices one on which nothing moves any more.
        put.customize().config_override(aws_sdk_s3::config::Builder::new().timeout_config(unhurried())).send()
    };
    call("s3:PutObject", request).await.map_err(|error| explain("the release cannot be uploaded", &error))?;
    Ok(format!("{} uploaded ({})", short(&change.id), indicatif::HumanBytes(size as u64)))
}

fn unhurried() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3600)).build()
}

/// As much of an id as a person needs.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Removes these objects, at most a thousand: as many as one list shows.
///
/// # Errors
/// What S3 says; objects that it keeps are an error too.
pub async fn delete(context: &Context, bucket: &str, keys: &[String]) -> Result<(), ApiError> {
    let objects: Vec<ObjectIdentifier> =
        keys.iter().filter_map(|key| ObjectIdentifier::builder().key(key).build().ok()).collect();
    if objects.is_empty() {
        return Ok(());
    }
    let request = || {
        // An empty list is the only one that is not built.
        let delete = Delete::builder().set_objects(Some(objects.clone())).quiet(true).build().ok();
        let request = context.aws.s3.delete_objects().bucket(bucket).expected_bucket_owner(&context.account);
        request.set_delete(delete).send()
    };
    let answer = match call("s3:DeleteObject", request).await {
        Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
        answer => answer?,
    };
    match answer.errors().first() {
        None => Ok(()),
        Some(kept) => {
            let code = kept.code().unwrap_or_default().to_owned();
            let message = format!("{}: {}", kept.key().unwrap_or_default(), kept.message().unwrap_or_default());
            Err(ApiError { action: "s3:DeleteObject", code, message, status: Some(400) })
        }
    }
}
