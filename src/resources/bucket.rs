//! The bucket that releases and logs go through, one for all deployments of an account's region: private, and nothing
//! but TLS. Its proof of being ours is its owner, so every call names the owner that is expected.

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketNamespace, CreateBucketConfiguration, PublicAccessBlockConfiguration,
};
use serde_json::{Value, json};

use super::{Action, Planned};
use crate::aws::{ApiError, Aws, call, explain};
use crate::engine::context::Context;
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Failure, Result};
use crate::names;

/// A bucket as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its policy document.
    pub policy: Option<Value>,
    /// Whether all four kinds of public access are blocked.
    pub closed: bool,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make it if it is not there, close it, set its policy.
    Ensure { create: bool, close: bool, policy: Option<String> },
    /// Remove what this deployment has in it, and the bucket itself if nothing else is.
    Delete,
}

/// Looks at a bucket that must belong to `account`.
pub async fn observe(aws: &Aws, account: &str) -> Result<Option<State>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let policy = async {
        let request = || aws.s3.get_bucket_policy().bucket(&bucket).expected_bucket_owner(account).send();
        match call("s3:GetBucketPolicy", request).await {
            Ok(answer) => Ok(Some(answer.policy.and_then(|text| serde_json::from_str(&text).ok()))),
            Err(error) if error.is(&["NoSuchBucketPolicy"]) => Ok(Some(None)),
            Err(error) if error.is(&["NoSuchBucket"]) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let closed = async {
        let request = || aws.s3.get_public_access_block().bucket(&bucket).expected_bucket_owner(account).send();
        match call("s3:GetBucketPublicAccessBlock", request).await {
            Ok(answer) => Ok(answer.public_access_block_configuration.is_some_and(|block| block == closed())),
            Err(error) if error.absent() => Ok(false),
            Err(error) => Err(error),
        }
    };
    let (policy, closed) = tokio::try_join!(policy, closed).map_err(|error| unreadable(&bucket, &error))?;
    Ok(policy.map(|policy| State { policy, closed }))
}

fn unreadable(bucket: &str, error: &ApiError) -> Failure {
    let failure = explain(format!("cannot look at the bucket {bucket}"), error);
    if error.is(&["AccessDenied"]) || error.status == Some(403) {
        return failure.because("either you may not see it, or it belongs to another account");
    }
    failure
}

/// What is missing.
pub fn diff(partition: &str, bucket: &str, have: Option<&State>) -> Option<Planned<Change>> {
    let policy = policy(partition, bucket);
    let create = have.is_none();
    let close = !have.is_some_and(|have| have.closed);
    let new_policy = have.and_then(|have| have.policy.as_ref()) != Some(&policy);
    let reasons: Vec<String> = match (create, close, new_policy) {
        (true, _, _) => vec!["there is none".into()],
        (false, false, false) => return None,
        (false, close, new_policy) => {
            [(close, "public access is not blocked"), (new_policy, "its policy is missing or was changed")]
                .into_iter()
                .filter(|(holds, _)| *holds)
                .map(|(_, reason)| reason.to_owned())
                .collect()
        }
    };
    let action = if create { Action::Create } else { Action::Update };
    let policy = new_policy.then(|| policy.to_string());
    Some(Planned::new(action, reasons, Change::Ensure { create, close, policy }))
}

/// Whose things are in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// This deployment has something in it.
    pub ours: bool,
    /// Anybody has.
    pub any: bool,
}

/// Looks whose things are in it.
pub async fn contents(aws: &Aws, account: &str, name: &str) -> Result<Contents> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let prefix = names::bucket_prefix(name);
    let holds = |prefix: Option<&str>| {
        let bucket = bucket.clone();
        let request = aws
            .s3
            .list_objects_v2()
            .bucket(&bucket)
            .set_prefix(prefix.map(str::to_owned))
            .expected_bucket_owner(account)
            .max_keys(1);
        async move {
            match call("s3:ListBucket", || request.clone().send()).await {
                Ok(answer) => Ok(answer.key_count.unwrap_or_default() > 0),
                Err(error) if error.is(&["NoSuchBucket"]) => Ok(false),
                Err(error) => Err(unreadable(&bucket, &error)),
            }
        }
    };
    let (ours, any) = tokio::try_join!(holds(Some(&prefix)), holds(None))?;
    Ok(Contents { ours, any })
}

/// What is to be done so that nothing of this deployment is left in it, nor an empty bucket. An instance that lives may
/// write something yet.
pub fn removal(have: Option<&State>, contents: Contents, instances: bool) -> Option<Planned<Change>> {
    (have.is_some() && (contents.ours || !contents.any || instances)).then(|| Planned::delete(Change::Delete))
}

fn policy(partition: &str, bucket: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "OnlyTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [format!("arn:{partition}:s3:::{bucket}"), format!("arn:{partition}:s3:::{bucket}/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }]
    })
}

fn closed() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build()
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    match change {
        Change::Ensure { create, close, policy } => {
            if create {
                make(context, &bucket).await?;
            }
            let failed = |error| explain(format!("the bucket {bucket} cannot be closed"), &error);
            let s3 = &context.aws.s3;
            if close {
                let request = || {
                    let block = s3.put_public_access_block().bucket(&bucket).expected_bucket_owner(&context.account);
                    block.public_access_block_configuration(closed()).send()
                };
                settled(context, "s3:PutBucketPublicAccessBlock", request).await.map_err(failed)?;
            }
            if let Some(policy) = policy {
                let request = || {
                    s3.put_bucket_policy()
                        .bucket(&bucket)
                        .expected_bucket_owner(&context.account)
                        .policy(&policy)
                        .send()
                };
                settled(context, "s3:PutBucketPolicy", request).await.map_err(failed)?;
            }
            Ok(bucket)
        }
        Change::Delete => empty_and_delete(context, &bucket).await,
    }
}

/// S3 answers `OperationAborted` while another change to the same bucket is under way.
async fn settled<T, E, F>(context: &Context, action: &'static str, request: impl Fn() -> F) -> Result<(), ApiError>
where
    E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>>,
{
    let mut backoff = Backoff::new(std::time::Duration::from_secs(60));
    loop {
        match call(action, &request).await {
            Err(error) if error.is(&["OperationAborted", "NoSuchBucket"]) && !context.interrupted() => {
                if backoff.wait().await == Retry::Enough {
                    return Err(error);
                }
            }
            answer => return answer.map(|_| ()),
        }
    }
}

async fn make(context: &Context, bucket: &str) -> Result<()> {
    let (_, own_namespace) = names::bucket(&context.account, &context.aws.region);
    let mut backoff = Backoff::polling(std::time::Duration::from_secs(600), std::time::Duration::from_secs(10));
    loop {
        let request = || {
            let create = context.aws.s3.create_bucket().bucket(bucket);
            let create = if own_namespace { create.bucket_namespace(BucketNamespace::AccountRegional) } else { create };
            // us-east-1 is the one region that must not be named.
            match context.aws.region.as_str() {
                "us-east-1" => create.send(),
                region => {
                    let place = BucketLocationConstraint::from(region);
                    create
                        .create_bucket_configuration(
                            CreateBucketConfiguration::builder().location_constraint(place).build(),
                        )
                        .send()
                }
            }
        };
        match call("s3:CreateBucket", request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is(&["BucketAlreadyOwnedByYou"]) => return Ok(()),
            Err(error) if error.is(&["OperationAborted"]) => {
                context.check_interrupt()?;
                context.waits("bucket", "S3 still holds the name of the one deleted before; this can take minutes");
                if backoff.wait().await == Retry::Enough {
                    return Err(explain(format!("the bucket {bucket} cannot be made"), &error));
                }
            }
            Err(error) => return Err(explain(format!("the bucket {bucket} cannot be made"), &error)),
        }
    }
}

async fn empty_and_delete(context: &Context, bucket: &str) -> Result<String> {
    let failed = |error: ApiError| explain(format!("the bucket {bucket} cannot be emptied of this deployment"), &error);
    super::release::delete_prefix(context, bucket, &names::bucket_prefix(&context.name)).await.map_err(failed)?;
    let s3 = &context.aws.s3;
    let request = || s3.list_objects_v2().bucket(bucket).expected_bucket_owner(&context.account).max_keys(1).send();
    match call("s3:ListBucket", request).await {
        Ok(answer) if answer.key_count.unwrap_or_default() > 0 => {
            return Ok("emptied of this deployment; others use it still".into());
        }
        Ok(_) => {}
        Err(error) if error.is(&["NoSuchBucket"]) => return Ok("gone".into()),
        Err(error) => return Err(failed(error)),
    }
    let request = || s3.delete_bucket().bucket(bucket).expected_bucket_owner(&context.account).send();
    match call("s3:DeleteBucket", request).await {
        Ok(_) => Ok("gone".into()),
        Err(error) if error.is(&["NoSuchBucket"]) => Ok("gone".into()),
        // Another deployment put something in since we looked.
        Err(error) if error.is(&["BucketNotEmpty"]) => Ok("emptied of this deployment; others use it still".into()),
        Err(error) => Err(explain(format!("the bucket {bucket} cannot be deleted"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> State {
        State { policy: Some(policy("aws", "b")), closed: true }
    }

    #[test]
    fn whole_is_kept_and_the_rest_is_mended() {
        assert_eq!(diff("aws", "b", Some(&whole())), None);
        let reasons = |state: Option<State>| diff("aws", "b", state.as_ref()).unwrap().reasons;
        assert_eq!(reasons(None), ["there is none"]);
        assert_eq!(reasons(Some(State { closed: false, ..whole() })), ["public access is not blocked"]);
        assert_eq!(reasons(Some(State { policy: None, ..whole() })), ["its policy is missing or was changed"]);
    }
}
