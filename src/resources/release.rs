//! A release in the bucket: content-addressed, so that one that is there is never written again.

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
}

/// Whether the release is in the bucket.
pub async fn observe(aws: &Aws, account: &str, name: &str, id: &str) -> Result<bool> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::release_key(name, id);
    let request = || aws.s3.head_object().bucket(&bucket).key(&key).expected_bucket_owner(account).send();
    match call("s3:GetObject", request).await {
        Ok(_) => Ok(true),
        Err(error) if error.absent() => Ok(false),
        Err(error) => Err(explain("cannot look for the release", &error)),
    }
}

/// It is put there if it is not.
pub fn diff(id: &str, have: bool) -> Option<Planned<Change>> {
    (!have).then(|| Planned::create("it is not in the bucket yet", Change { id: id.to_owned() }))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
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
        put.content_type("application/gzip").body(ByteStream::from(body.clone())).send()
    };
    call("s3:PutObject", request).await.map_err(|error| explain("the release cannot be uploaded", &error))?;
    Ok(format!("{} uploaded ({})", short(&change.id), indicatif::HumanBytes(size as u64)))
}

/// As much of an id as a person needs.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Removes every object below a prefix.
///
/// # Errors
/// What S3 says; objects that it keeps are an error too.
pub async fn delete_prefix(context: &Context, bucket: &str, prefix: &str) -> Result<(), ApiError> {
    let s3 = &context.aws.s3;
    loop {
        let request =
            || s3.list_objects_v2().bucket(bucket).prefix(prefix).expected_bucket_owner(&context.account).send();
        let listed = match call("s3:ListBucket", request).await {
            Ok(answer) => answer.contents.unwrap_or_default(),
            Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
            Err(error) => return Err(error),
        };
        let keys: Vec<ObjectIdentifier> =
            listed.into_iter().filter_map(|object| ObjectIdentifier::builder().key(object.key?).build().ok()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let request = || {
            // An empty list is the only one that is not built.
            let delete = Delete::builder().set_objects(Some(keys.clone())).quiet(true).build().ok();
            s3.delete_objects().bucket(bucket).expected_bucket_owner(&context.account).set_delete(delete).send()
        };
        let answer = call("s3:DeleteObject", request).await?;
        if let Some(kept) = answer.errors().first() {
            let code = kept.code().unwrap_or_default().to_owned();
            let message = format!("{}: {}", kept.key().unwrap_or_default(), kept.message().unwrap_or_default());
            return Err(ApiError { action: "s3:DeleteObject", code, message, status: Some(400) });
        }
    }
}
