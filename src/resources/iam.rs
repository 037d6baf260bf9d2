//! Calls to IAM that the instance's role and the app's have in common.

use std::time::{Duration, Instant};

use aws_sdk_iam::types::Tag;

use super::Tags;
use super::document::Document;
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};

/// For this many seconds, tags of a new role may not have propagated.
pub(super) const FRESH: i64 = 60;

/// How long a denial is retried because of such a delay. Most denials are permanent, and the user waits.
const UNSEEN: Duration = Duration::from_secs(30);

/// How long IAM may take to become consistent; Terraform's AWS provider waits as long (`propagationTimeout`).
const CONSISTENT: Duration = Duration::from_secs(120);

/// A role as IAM returns it.
pub(super) struct Role {
    pub tags: Tags,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its trust policy.
    pub trust: Document,
    /// When it was created, in seconds since 1970.
    pub made: i64,
}

/// A role to create.
pub(super) struct New<'a> {
    pub name: &'a str,
    /// Its description in an error.
    pub what: &'static str,
    pub description: String,
    /// Its trust policy.
    pub trust: String,
    /// The ARN of its permissions boundary.
    pub boundary: Option<&'a String>,
    pub tags: &'a Tags,
}

/// Reads a role.
pub(super) async fn get_role(aws: &Aws, role: &str) -> Result<Option<Role>, ApiError> {
    let answer = present(call("iam:GetRole", || aws.iam.get_role().role_name(role).send()).await)?;
    Ok(answer.and_then(|answer| answer.role).map(|role| {
        let boundary = role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        let trust = document(role.assume_role_policy_document.as_deref().unwrap_or_default());
        Role { tags: from_iam(role.tags), boundary, trust, made: role.create_date.secs() }
    }))
}

/// Reads the inline policy that has the role's name.
pub(super) async fn get_policy(aws: &Aws, role: &str) -> Result<Option<Document>, ApiError> {
    let request = || aws.iam.get_role_policy().role_name(role).policy_name(role).send();
    let answer = present(call("iam:GetRolePolicy", request).await)?;
    Ok(answer.map(|answer| document(&answer.policy_document)))
}

/// The names of the inline policies, and the ARNs of the attached ones.
pub(super) async fn list_policies(aws: &Aws, role: &str) -> Result<(Vec<String>, Vec<String>), ApiError> {
    let (inline, attached) = tokio::join!(
        call("iam:ListRolePolicies", || aws.iam.list_role_policies().role_name(role).send()),
        call("iam:ListAttachedRolePolicies", || aws.iam.list_attached_role_policies().role_name(role).send()),
    );
    let inline = present(inline)?.map(|answer| answer.policy_names).unwrap_or_default();
    let attached = present(attached)?.and_then(|answer| answer.attached_policies).unwrap_or_default();
    Ok((inline, attached.into_iter().filter_map(|policy| policy.policy_arn).collect()))
}

/// Creates a role. Returns whether it is new: another command may have been faster, or the response to the first try was lost.
pub(super) async fn create_role(aws: &Aws, new: New<'_>) -> Result<bool, Failure> {
    let request = || {
        let create = aws.iam.create_role().role_name(new.name).assume_role_policy_document(&new.trust);
        let create = create.set_permissions_boundary(new.boundary.cloned());
        create.description(&new.description).set_tags(Some(to_iam(new.tags))).send()
    };
    match call("iam:CreateRole", request).await {
        Ok(_) => Ok(true),
        Err(error) if error.is(&["EntityAlreadyExists"]) => Ok(false),
        Err(error) => {
            let failure = explain(format!("cannot create {}", new.what), &error);
            // Not for an explicit deny: then no setting in deploy.yaml helps.
            let denied = error.is(&["AccessDenied"]) && !error.message.contains("explicit deny");
            Err(match new.boundary {
                None if denied => failure.because(
                    "your permissions may require a boundary for roles: set its ARN as permissions_boundary in deploy.yaml",
                ),
                _ => failure,
            })
        }
    }
}

/// Sets the permissions boundary of an existing role.
pub(super) async fn set_boundary(aws: &Aws, role: &str, boundary: &str) -> Result<(), ApiError> {
    let request = || aws.iam.put_role_permissions_boundary().role_name(role).permissions_boundary(boundary).send();
    call("iam:PutRolePermissionsBoundary", request).await.map(drop)
}

/// Sets tags of an existing role.
pub(super) async fn tag_role(aws: &Aws, role: &str, tags: &Tags) -> Result<(), ApiError> {
    if tags.is_empty() {
        return Ok(());
    }
    let request = || aws.iam.tag_role().role_name(role).set_tags(Some(to_iam(tags))).send();
    call("iam:TagRole", request).await.map(drop)
}

/// Sets the inline policy that has the role's name.
pub(super) async fn put_policy(aws: &Aws, role: &str, policy: &Document, fresh: bool) -> Result<(), ApiError> {
    let request =
        || aws.iam.put_role_policy().role_name(role).policy_name(role).policy_document(policy.as_str()).send();
    once_known(fresh, || call("iam:PutRolePolicy", &request)).await.map(drop)
}

/// Deletes an inline policy.
pub(super) async fn delete_policy(aws: &Aws, role: &str, policy: &str) -> Result<(), ApiError> {
    let request = || aws.iam.delete_role_policy().role_name(role).policy_name(policy).send();
    gone(call("iam:DeleteRolePolicy", request).await, || is_absent(aws, role)).await
}

/// Detaches a managed policy.
pub(super) async fn detach_policy(aws: &Aws, role: &str, arn: &str) -> Result<(), ApiError> {
    let request = || aws.iam.detach_role_policy().role_name(role).policy_arn(arn).send();
    gone(call("iam:DetachRolePolicy", request).await, || is_absent(aws, role)).await
}

/// Deletes a role, with policies that were added by hand: a role with policies cannot be deleted.
pub(super) async fn delete_role(aws: &Aws, role: &str) -> Result<(), ApiError> {
    let request = || aws.iam.delete_role().role_name(role).send();
    let answer = match call("iam:DeleteRole", request).await {
        Err(error) if error.is(&["DeleteConflict"]) => {
            strip(aws, role).await?;
            once_free(|| call("iam:DeleteRole", &request)).await
        }
        answer => answer,
    };
    gone(answer, || is_absent(aws, role)).await
}

/// Removes every policy from the role.
pub(super) async fn strip(aws: &Aws, role: &str) -> Result<(), ApiError> {
    let (inline, attached) = list_policies(aws, role).await?;
    for policy in inline {
        delete_policy(aws, role, &policy).await?;
    }
    for arn in attached {
        detach_policy(aws, role, &arn).await?;
    }
    Ok(())
}

async fn is_absent(aws: &Aws, role: &str) -> bool {
    matches!(get_role(aws, role).await, Ok(None))
}

/// Whether a policy that checks tags or a boundary may not see those of a role of this age, so that it denies calls.
pub(super) fn is_recent(made: Option<i64>) -> bool {
    made.is_some_and(|made| now().saturating_sub(made) < FRESH)
}

/// The answer, or nothing if the resource does not exist.
pub(super) fn present<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Treats a deletion as done if the resource no longer exists. A policy that checks tags denies the call if the tagged
/// resource is absent.
pub(super) async fn gone<T, F: Future<Output = bool>>(
    answer: Result<T, ApiError>,
    is_absent: impl Fn() -> F,
) -> Result<(), ApiError> {
    let Err(error) = present(answer) else { return Ok(()) };
    // A new resource may be absent at the first read.
    for pause in [Duration::ZERO, Duration::from_secs(2)] {
        tokio::time::sleep(pause).await;
        if !(error.is(&["AccessDenied"]) && is_absent().await) {
            return Err(error);
        }
    }
    Ok(())
}

/// IAM is eventually consistent: a new resource may be unknown to the next call for some seconds. A policy that checks
/// tags or a boundary may not see those of a `fresh` resource, and then denies the call.
pub(super) async fn once_known<T, F: Future<Output = Result<T, ApiError>>>(
    fresh: bool,
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    let began = Instant::now();
    let denied = |error: &ApiError| fresh && error.is(&["AccessDenied"]) && began.elapsed() < UNSEEN;
    // A managed policy that does not exist is a mistake.
    let unknown = |error: &ApiError| error.absent() && !error.message.contains("is not attachable");
    patiently(Backoff::new(CONSISTENT), |error| unknown(error) || denied(error), attempt).await
}

/// A policy that was just removed, or a role that was just detached, may still be in effect for some seconds.
pub(super) async fn once_free<T, F: Future<Output = Result<T, ApiError>>>(
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    let conflict = |error: &ApiError| error.is(&["DeleteConflict"]);
    patiently(Backoff::new(CONSISTENT), conflict, attempt).await
}

pub(super) fn from_iam(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

pub(super) fn to_iam(tags: &Tags) -> Vec<Tag> {
    // Only a tag without key or value cannot be built; ours have both.
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}

/// IAM returns documents percent-encoded.
fn document(text: &str) -> Document {
    Document::read(&percent_encoding::percent_decode_str(text).decode_utf8_lossy())
}
