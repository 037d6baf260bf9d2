//! The bucket for releases and logs, shared by all deployments of an account in a region: private, TLS only. Its owner
//! proves that it is ours, so every call names the expected owner.

use std::time::Duration;

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketNamespace, CreateBucketConfiguration, PublicAccessBlockConfiguration,
};
use serde_json::{Value, json};

use super::document::Document;
use super::kinds::{Id, Kind};
use super::step::{Resource, Step};
use super::{Action, Planned, Sight, release};
use crate::aws::retry::{Backoff, Retry, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::Lookup;
use crate::resources::context::Context;

/// The state of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The policy document.
    pub policy: Option<Document>,
    /// Whether all four kinds of public access are blocked.
    pub closed: bool,
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Read the bucket, then create what is missing: it was not read yet, because a launch does not wait for it.
    Look,
    /// Create it if it does not exist, block public access, and set its policy. A new bucket is blocked from the start.
    Ensure { create: bool, close: bool, policy: Option<Document> },
    /// Delete this deployment's objects, and the bucket if it is then empty.
    Delete,
}

/// The wanted bucket.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The policy.
    pub policy: Document,
}

/// The only bucket of the account in the region.
pub const ID: Id = Id::of(Kind::Bucket);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(match sight.have.store.present() {
            Some(store) => diff(&self.policy, store.bucket.as_ref()),
            None => Some(Planned::create("created if it does not exist", Change::Look)),
        })
    }

    /// Deletes this deployment's objects, and an empty bucket. A live instance may still write something.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let instances = sight.instances();
        let some = !instances.is_empty();
        sight.removal(ID.kind, instances, || {
            let contents = sight.have.contents.looked()?;
            let ours = contents.is_some_and(|contents| contents.ours || !contents.any || some);
            Ok(ours.then(|| Planned::delete(Change::Delete)))
        })
    }
}

/// Reads a bucket that must belong to `account`.
pub async fn observe(aws: &Aws, account: &str) -> Result<Option<State>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let policy = async {
        let request = || aws.s3.get_bucket_policy().bucket(&bucket).expected_bucket_owner(account).send();
        match call("s3:GetBucketPolicy", request).await {
            Ok(answer) => Ok(Some(answer.policy.map(|text| Document::read(&text)))),
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

pub(super) fn unreadable(bucket: &str, error: &ApiError) -> Failure {
    let failure = explain(format!("cannot read the bucket {bucket}"), error);
    if error.is(&["AccessDenied"]) || error.status == Some(403) {
        return failure.because("either you have no permission to read it, or it belongs to another account");
    }
    failure
}

/// The missing parts.
pub fn diff(policy: &Document, have: Option<&State>) -> Option<Planned<Change>> {
    let create = have.is_none();
    let close = have.is_some_and(|have| !have.closed);
    let new_policy = have.and_then(|have| have.policy.as_ref()) != Some(policy);
    let reasons: Vec<String> = match (create, close, new_policy) {
        (true, _, _) => vec!["does not exist".into()],
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
    let policy = new_policy.then(|| policy.clone());
    Some(Planned::new(action, reasons, Change::Ensure { create, close, policy }))
}

/// Sorts after [`names::TOOLS_PREFIX`] and before every deployment's name.
const AFTER_TOOLS: &str = "_~";

/// The deployments with objects in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Whether this deployment has an object.
    pub ours: bool,
    /// Whether any deployment has an object.
    pub any: bool,
}

/// Reads whether deployments have objects in it; `None` if there is no bucket.
pub async fn contents(aws: &Aws, account: &str, name: &str) -> Result<Lookup<Contents>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let prefix = names::bucket_prefix(name);
    let holds = |prefix: Option<&str>| {
        let list = aws.s3.list_objects_v2().bucket(&bucket).set_prefix(prefix.map(str::to_owned));
        // The shared tools sort first, and belong to no deployment.
        let list = list.start_after(AFTER_TOOLS);
        let list = list.expected_bucket_owner(account).max_keys(1);
        async move {
            match call("s3:ListBucket", || list.clone().send()).await {
                Ok(answer) => Ok(Some(answer.key_count.unwrap_or_default() > 0)),
                Err(error) if error.is(&["NoSuchBucket"]) => Ok(None),
                Err(error) => Err(error),
            }
        }
    };
    let (ours, any) =
        tokio::try_join!(holds(Some(&prefix)), holds(None)).map_err(|error| unreadable(&bucket, &error))?;
    Ok(any.map(|any| Contents { ours: ours.unwrap_or_default(), any }).into())
}

/// The rules for every principal, whatever its own policies allow. Only instances can read the keys of certificates:
/// each role only those of its own deployment. An app gets nothing of the bucket, which has the code of all apps. `aws:PrincipalArn` is the role, not the session:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn>
pub fn policy(partition: &str, account: &str, region: &str) -> Value {
    let (bucket, _) = names::bucket(account, region);
    let objects = |which: &str| format!("arn:{partition}:s3:::{bucket}/{which}");
    let instances = format!("arn:{partition}:iam::{account}:role/{}", names::role("*", region));
    let apps = format!("arn:{partition}:iam::{account}:role/{}", names::app_role("*", "*"));
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "OnlyTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [format!("arn:{partition}:s3:::{bucket}"), objects("*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }, {
            "Sid": "OnlyInstances",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": objects(&names::certificates_key("*")),
            "Condition": {"StringNotLike": {"aws:PrincipalArn": instances}},
        }, {
            "Sid": "NoApps",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [format!("arn:{partition}:s3:::{bucket}"), objects("*")],
            "Condition": {"StringLike": {"aws:PrincipalArn": apps}},
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

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    match change {
        Change::Look => {
            let have = observe(&context.aws, &context.account).await?;
            let policy = Document::from(&policy(&context.partition, &context.account, &context.aws.region));
            match diff(&policy, have.as_ref()).map(|planned| planned.change) {
                Some(Change::Ensure { create, close, policy }) => ensure(context, &bucket, create, close, policy).await,
                _ => Ok(bucket),
            }
        }
        Change::Ensure { create, close, policy } => ensure(context, &bucket, create, close, policy).await,
        Change::Delete => empty_and_delete(context, &bucket).await,
    }
}

async fn ensure(
    context: &Context,
    bucket: &str,
    create: bool,
    close: bool,
    policy: Option<Document>,
) -> Result<String> {
    if create {
        make(context, bucket).await?;
    }
    let failed = |error| explain(format!("cannot make the bucket {bucket} private"), &error);
    let (s3, owner) = (&context.aws.s3, &context.account);
    if close {
        let request = || {
            let block = s3.put_public_access_block().bucket(bucket).expected_bucket_owner(owner);
            block.public_access_block_configuration(closed()).send()
        };
        settled(context, "s3:PutBucketPublicAccessBlock", request).await.map_err(failed)?;
    }
    if let Some(policy) = policy {
        let request =
            || s3.put_bucket_policy().bucket(bucket).expected_bucket_owner(owner).policy(policy.as_str()).send();
        settled(context, "s3:PutBucketPolicy", request).await.map_err(failed)?;
    }
    Ok(bucket.to_owned())
}

/// S3 answers `OperationAborted` while another change to the same bucket is in progress.
async fn settled<T, E, F>(context: &Context, action: &'static str, request: impl Fn() -> F) -> Result<(), ApiError>
where
    E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>>,
{
    let passes = |error: &ApiError| error.is(&["OperationAborted", "NoSuchBucket"]) && !context.interrupted();
    patiently(Backoff::new(Duration::from_secs(60)), passes, || call(action, &request)).await.map(|_| ())
}

async fn make(context: &Context, bucket: &str) -> Result<()> {
    let (_, own_namespace) = names::bucket(&context.account, &context.aws.region);
    let mut backoff = Backoff::polling(Duration::from_secs(600), Duration::from_secs(10));
    loop {
        let request = || {
            let create = context.aws.s3.create_bucket().bucket(bucket);
            let create = if own_namespace { create.bucket_namespace(BucketNamespace::AccountRegional) } else { create };
            // us-east-1 is the only region that must not be named.
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
                context.waits("waiting until S3 frees the name of the deleted bucket; this can take minutes");
                if backoff.wait().await == Retry::Enough {
                    return Err(explain(format!("cannot create the bucket {bucket}"), &error));
                }
            }
            Err(error) => return Err(explain(format!("cannot create the bucket {bucket}"), &error)),
        }
    }
}

/// Objects of other deployments are kept, and then so is the bucket. Two concurrent `down`s may both find it empty.
async fn empty_and_delete(context: &Context, bucket: &str) -> Result<String> {
    let failed =
        |error: ApiError| explain(format!("cannot delete this deployment's objects from the bucket {bucket}"), &error);
    const SHARED: &str = "deleted this deployment's objects; other deployments still use the bucket";
    let shared = empty(context, bucket).await.map_err(failed)?;
    remove_versions(context, bucket, &names::bucket_prefix(&context.name)).await.map_err(failed)?;
    if shared {
        return Ok(SHARED.into());
    }
    remove_tools(context, bucket).await.map_err(failed)?;
    let request = || context.aws.s3.delete_bucket().bucket(bucket).expected_bucket_owner(&context.account).send();
    let passes = |error: &ApiError| error.is(&["OperationAborted"]) && !context.interrupted();
    let delete = || call("s3:DeleteBucket", &request);
    match patiently(Backoff::new(Duration::from_secs(60)), passes, delete).await {
        Ok(_) => Ok("deleted".into()),
        Err(error) if error.is(&["NoSuchBucket"]) => Ok("deleted".into()),
        Err(error) if error.is(&["BucketNotEmpty"]) => {
            match contents(&context.aws, &context.account, &context.name).await? {
                // Another deployment added an object since the last read.
                Lookup::Present(Contents { any: true, .. }) => Ok(SHARED.into()),
                _ => Ok("deleted this deployment's objects; the bucket still has old versions of other deployments' objects".into()),
            }
        }
        Err(error) => Err(explain(format!("cannot delete the bucket {bucket}"), &error)),
    }
}

/// Deletes the shared tools: no deployment is left. A deployment that starts at this moment uploads them again.
async fn remove_tools(context: &Context, bucket: &str) -> Result<(), ApiError> {
    let (s3, owner) = (&context.aws.s3, &context.account);
    let list = || s3.list_objects_v2().bucket(bucket).expected_bucket_owner(owner).prefix(names::TOOLS_PREFIX).send();
    let listed = match call("s3:ListBucket", list).await {
        Ok(listed) => listed,
        Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
        Err(error) => return Err(error),
    };
    let keys: Vec<String> = listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
    release::delete(context, bucket, &keys).await?;
    remove_versions(context, bucket, names::TOOLS_PREFIX).await
}

/// Deletes the versions and delete markers below the prefix. They exist if versioning was switched on by hand: then a
/// delete keeps all versions (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html>),
/// including a certificate's key.
async fn remove_versions(context: &Context, bucket: &str, prefix: &str) -> Result<(), ApiError> {
    let (s3, owner) = (&context.aws.s3, &context.account);
    loop {
        // The listed versions are deleted in each iteration, so the next list starts from the beginning.
        let list = || s3.list_object_versions().bucket(bucket).expected_bucket_owner(owner).prefix(prefix).send();
        let listed = match call("s3:ListBucketVersions", list).await {
            Ok(listed) => listed,
            Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
            Err(error) => return Err(error),
        };
        let versions = listed.versions.unwrap_or_default().into_iter().map(|version| (version.key, version.version_id));
        let markers =
            listed.delete_markers.unwrap_or_default().into_iter().map(|marker| (marker.key, marker.version_id));
        let found: Vec<(String, String)> = versions.chain(markers).filter_map(|(key, id)| Some((key?, id?))).collect();
        if found.is_empty() {
            return Ok(());
        }
        release::delete_versions(context, bucket, &found).await?;
    }
}

/// Deletes this deployment's objects; returns whether other deployments have objects.
async fn empty(context: &Context, bucket: &str) -> Result<bool, ApiError> {
    let (s3, owner) = (&context.aws.s3, &context.account);
    let prefix = names::bucket_prefix(&context.name);
    let mut after = Some(AFTER_TOOLS.to_owned());
    let mut others = false;
    loop {
        let list = s3.list_objects_v2().bucket(bucket).expected_bucket_owner(owner).set_start_after(after.clone());
        let listed = match call("s3:ListBucket", || list.clone().send()).await {
            Ok(listed) => listed,
            Err(error) if error.is(&["NoSuchBucket"]) => return Ok(false),
            Err(error) => return Err(error),
        };
        let keys: Vec<String> =
            listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
        after = keys.last().cloned();
        let (ours, theirs): (Vec<String>, Vec<String>) = keys.into_iter().partition(|key| key.starts_with(&prefix));
        others |= !theirs.is_empty();
        release::delete(context, bucket, &ours).await?;
        // Keys are sorted: after keys of an earlier deployment, ours may follow; after keys of a later one, none of
        // ours can.
        let past = theirs.last().is_some_and(|key| key.as_str() > prefix.as_str() && !key.starts_with(&prefix));
        if !listed.is_truncated.unwrap_or_default() || past {
            return Ok(others);
        }
    }
}

#[cfg(test)]
mod tests;
