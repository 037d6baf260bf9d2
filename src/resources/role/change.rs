//! Creates, repairs and deletes the role, its policy and its profile.

use std::time::{Duration, Instant};

use aws_sdk_iam::types::Tag;
use serde_json::json;

use super::{Output, Profile, State, get_profile, get_role, observe, present};
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::Tags;
use crate::resources::context::Context;
use crate::resources::document::Document;

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create what is missing, and tag what exists.
    Ensure(Ensure),
    /// Delete what exists, in the order that IAM requires.
    Delete { have: State },
}

/// The parts to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensure {
    /// The role itself.
    pub role: bool,
    /// The permissions boundary to set on the new or existing role.
    pub boundary: Option<String>,
    /// The policy document.
    pub policy: Option<Document>,
    /// The instance profile.
    pub profile: bool,
    /// The role's membership in its profile.
    pub membership: bool,
    /// Other roles to remove from our profile.
    pub others: Vec<String>,
    /// Tags of new parts.
    pub tags: Tags,
    /// Tags that the role lacks.
    pub role_tags: Tags,
    /// Tags that the profile lacks.
    pub profile_tags: Tags,
    /// When the existing parts were created, in seconds since 1970.
    pub made: Option<i64>,
}

impl Ensure {
    /// Whether the tags or the boundary of a new role may not have propagated: this run creates it, or an earlier or
    /// concurrent command created it a moment ago.
    pub(super) fn fresh(&self) -> bool {
        let recent = self.made.is_some_and(|made| now().saturating_sub(made) < FRESH);
        self.role || self.profile || self.boundary.is_some() || recent
    }
}

/// For this many seconds, tags of a new role may not have propagated.
pub(super) const FRESH: i64 = 60;

/// How long a denial is retried because of such a delay. Most denials are permanent, and the user waits.
const UNSEEN: Duration = Duration::from_secs(30);

/// How long IAM may take to become consistent; Terraform's AWS provider waits as long (`propagationTimeout`).
const CONSISTENT: Duration = Duration::from_secs(120);

fn trust() -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    })
    .to_string()
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let name = names::role(&context.name, &context.aws.region);
    match change {
        Change::Ensure(ensure) => {
            // Role and profile are independent; the membership needs both.
            tokio::try_join!(ensure_role(context, &name, &ensure), ensure_profile(context, &name, &ensure))?;
            for other in &ensure.others {
                leave_profile(context, &name, other).await.map_err(|error| cannot_be_made(&error))?;
            }
            if ensure.membership {
                join_profile(context, &name, ensure.fresh()).await.map_err(|error| cannot_be_made(&error))?;
            }
            Ok(name)
        }
        Change::Delete { have } => {
            delete(context, &name, &have)
                .await
                .map_err(|error| explain("cannot delete the instance's role", &error))?;
            Ok("deleted".into())
        }
    }
}

fn cannot_be_made(error: &ApiError) -> Failure {
    explain("cannot create the instance's role", error)
}

async fn ensure_role(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let iam = &context.aws.iam;
    if ensure.role {
        let request = || {
            let description = format!("What the instance of {} may do", context.name);
            let create = iam.create_role().role_name(name).assume_role_policy_document(trust());
            let create = create.set_permissions_boundary(ensure.boundary.clone());
            create.description(description).set_tags(Some(to_iam(&ensure.tags))).send()
        };
        let answer = call("iam:CreateRole", request).await;
        // Not for an explicit deny: then no setting in deploy.yaml helps.
        let denied =
            answer.as_ref().is_err_and(|error| error.is(&["AccessDenied"]) && !error.message.contains("explicit deny"));
        made(context, answer).await.map_err(|failure| match &ensure.boundary {
            None if denied => failure.because(
                "your permissions may require a boundary for roles: set its ARN as permissions_boundary in deploy.yaml",
            ),
            _ => failure,
        })?;
    } else if let Some(boundary) = &ensure.boundary {
        let request = || iam.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary).send();
        call("iam:PutRolePermissionsBoundary", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    if !ensure.role_tags.is_empty() {
        let request = || iam.tag_role().role_name(name).set_tags(Some(to_iam(&ensure.role_tags))).send();
        call("iam:TagRole", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    if let Some(document) = &ensure.policy {
        let request =
            || iam.put_role_policy().role_name(name).policy_name(name).policy_document(document.as_str()).send();
        once_known(ensure.fresh(), || call("iam:PutRolePolicy", &request))
            .await
            .map_err(|error| cannot_be_made(&error))?;
    }
    Ok(())
}

async fn ensure_profile(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let iam = &context.aws.iam;
    if ensure.profile {
        let tags = to_iam(&ensure.tags);
        let request = || iam.create_instance_profile().instance_profile_name(name).set_tags(Some(tags.clone())).send();
        let answer = call("iam:CreateInstanceProfile", request).await;
        if let Some(profile) = answer.as_ref().ok().and_then(|answer| answer.instance_profile()) {
            context.learn(Output { profile: profile.instance_profile_id().to_owned() });
        }
        made(context, answer).await?;
    }
    if !ensure.profile_tags.is_empty() {
        let tags = to_iam(&ensure.profile_tags);
        let request = || iam.tag_instance_profile().instance_profile_name(name).set_tags(Some(tags.clone())).send();
        call("iam:TagInstanceProfile", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    Ok(())
}

/// A profile holds at most one role: `LimitExceeded` means that it has one, which is ours if it was created before.
async fn join_profile(context: &Context, name: &str, fresh: bool) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send();
    match once_known(fresh, || call("iam:AddRoleToInstanceProfile", &request)).await {
        Err(error) if error.is(&["LimitExceeded"]) => match get_profile(&context.aws, name).await? {
            Some(Profile { holds_role: true, .. }) => Ok(()),
            _ => Err(error),
        },
        answer => answer.map(|_| ()),
    }
}

async fn leave_profile(context: &Context, profile: &str, role: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role).send();
    gone(&context.aws, call("iam:RemoveRoleFromInstanceProfile", request).await, Bearer::Profile(profile)).await
}

/// The role or profile whose tags a policy checks for a call.
#[derive(Clone, Copy)]
enum Bearer<'a> {
    Role(&'a str),
    Profile(&'a str),
}

impl Bearer<'_> {
    async fn is_absent(self, aws: &Aws) -> bool {
        match self {
            Bearer::Role(name) => matches!(get_role(aws, name).await, Ok(None)),
            Bearer::Profile(name) => matches!(get_profile(aws, name).await, Ok(None)),
        }
    }
}

/// Treats a deletion as done if the resource no longer exists. A policy that checks tags denies the call if the tagged
/// resource is absent.
async fn gone<T>(aws: &Aws, answer: Result<T, ApiError>, bearer: Bearer<'_>) -> Result<(), ApiError> {
    let Err(error) = present(answer) else { return Ok(()) };
    // A new resource may be absent at the first read.
    for pause in [Duration::ZERO, Duration::from_secs(2)] {
        tokio::time::sleep(pause).await;
        if !(error.is(&["AccessDenied"]) && bearer.is_absent(aws).await) {
            return Err(error);
        }
    }
    Ok(())
}

/// IAM is eventually consistent: a new resource may be unknown to the next call for some seconds. A policy that checks
/// tags or a boundary may not see those of a `fresh` resource, and then denies the call.
async fn once_known<T, F: Future<Output = Result<T, ApiError>>>(
    fresh: bool,
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    let began = Instant::now();
    let denied = |error: &ApiError| fresh && error.is(&["AccessDenied"]) && began.elapsed() < UNSEEN;
    patiently(Backoff::new(CONSISTENT), |error| error.absent() || denied(error), attempt).await
}

/// Another command was faster, or the response to the first try was lost: an existing resource is ours if it has our
/// tag.
async fn made<T>(context: &Context, answer: Result<T, ApiError>) -> Result<()> {
    match answer {
        Err(error) if error.is(&["EntityAlreadyExists"]) => {
            let found = observe(&context.aws, &context.name).await?;
            found.conflict().map_or(Ok(()), |conflict| Err(conflict.refuse()))
        }
        Err(error) => Err(cannot_be_made(&error)),
        Ok(_) => Ok(()),
    }
}

async fn delete(context: &Context, name: &str, have: &State) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    if let Some(profile) = &have.profile {
        let own = profile.holds_role.then_some(name);
        for role in own.into_iter().chain(profile.others.iter().map(String::as_str)) {
            leave_profile(context, name, role).await?;
        }
    }
    let profile = async {
        if have.profile.is_some() {
            let request = || iam.delete_instance_profile().instance_profile_name(name).send();
            let answer = once_free(|| call("iam:DeleteInstanceProfile", &request)).await;
            gone(&context.aws, answer, Bearer::Profile(name)).await?;
        }
        Ok(())
    };
    let role = async {
        if have.policy.is_some() {
            delete_policy(context, name, name).await?;
        }
        if have.role.is_some() {
            delete_role(context, name).await?;
        }
        Ok(())
    };
    tokio::try_join!(profile, role).map(|_| ())
}

/// A role may have policies that were added by hand since; a role with policies cannot be deleted.
async fn delete_role(context: &Context, name: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.delete_role().role_name(name).send();
    let answer = match call("iam:DeleteRole", request).await {
        Err(error) if error.is(&["DeleteConflict"]) => {
            strip(context, name).await?;
            once_free(|| call("iam:DeleteRole", &request)).await
        }
        answer => answer,
    };
    gone(&context.aws, answer, Bearer::Role(name)).await
}

async fn delete_policy(context: &Context, role: &str, policy: &str) -> Result<(), ApiError> {
    let request = || context.aws.iam.delete_role_policy().role_name(role).policy_name(policy).send();
    gone(&context.aws, call("iam:DeleteRolePolicy", request).await, Bearer::Role(role)).await
}

/// What was just removed or detached may still be in effect for some seconds.
async fn once_free<T, F: Future<Output = Result<T, ApiError>>>(attempt: impl Fn() -> F) -> Result<T, ApiError> {
    let conflict = |error: &ApiError| error.is(&["DeleteConflict"]);
    patiently(Backoff::new(CONSISTENT), conflict, attempt).await
}

/// Removes every policy from the role.
async fn strip(context: &Context, name: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let (inline, attached) = tokio::join!(
        call("iam:ListRolePolicies", || iam.list_role_policies().role_name(name).send()),
        call("iam:ListAttachedRolePolicies", || iam.list_attached_role_policies().role_name(name).send()),
    );
    for policy in present(inline)?.map(|answer| answer.policy_names).unwrap_or_default() {
        delete_policy(context, name, &policy).await?;
    }
    let attached = present(attached)?.and_then(|answer| answer.attached_policies).unwrap_or_default();
    for arn in attached.into_iter().filter_map(|policy| policy.policy_arn) {
        let request = || iam.detach_role_policy().role_name(name).policy_arn(&arn).send();
        gone(&context.aws, call("iam:DetachRolePolicy", request).await, Bearer::Role(name)).await?;
    }
    Ok(())
}

fn to_iam(tags: &Tags) -> Vec<Tag> {
    // Only a tag without key or value cannot be built; ours have both.
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}
