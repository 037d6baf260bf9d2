//! Creates, repairs and deletes the app's role.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::observe;
use crate::aws::{ApiError, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::base::next::Next;
use crate::resources::Tags;
use crate::resources::context::Context;
use crate::resources::document::Document;
use crate::resources::iam::{
    New, create_role, delete_policy, delete_role, detach_policy, is_recent, once_known, put_policy, set_boundary,
    strip, tag_role,
};

/// The change to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create it, or change what differs.
    Ensure(Ensure),
    /// Delete it.
    Delete,
}

/// The differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensure {
    /// Whether there is no role.
    pub create: bool,
    /// The trust policy.
    pub trust: Option<Document>,
    /// The ARN of the permissions boundary.
    pub boundary: Option<String>,
    /// The inline policy.
    pub policy: Option<Document>,
    /// The policies to attach.
    pub attach: BTreeSet<String>,
    /// The policies to detach.
    pub detach: BTreeSet<String>,
    /// The inline policies to delete.
    pub remove: BTreeSet<String>,
    /// The missing tags.
    pub tags: Tags,
    /// When the existing role was created, in seconds since 1970.
    pub made: Option<i64>,
    /// The file with the inline policy.
    pub file: Option<PathBuf>,
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let name = names::app_role(&context.name, &context.aws.region);
    match change {
        Change::Ensure(ensure) => {
            ensure_role(context, &name, &ensure).await?;
            revoke(context, &name, &ensure).await.map_err(|error| cannot_be_changed(&error))?;
            grant(context, &name, &ensure).await?;
            Ok(name)
        }
        Change::Delete => {
            let failed = |error| explain("cannot delete the app's role", &error);
            // Each has policies, so the deletion would be refused.
            strip(&context.aws, &name).await.map_err(failed)?;
            delete_role(&context.aws, &name).await.map_err(failed)?;
            Ok("deleted".into())
        }
    }
}

fn cannot_be_changed(error: &ApiError) -> Failure {
    explain("cannot change the app's role", error)
}

async fn ensure_role(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let (aws, tags) = (&context.aws, &ensure.tags);
    if ensure.create {
        let description = format!("What the app of {} may do", context.name);
        let trust = ensure.trust.as_ref().map(|trust| trust.as_str().to_owned()).unwrap_or_default();
        let (what, boundary) = ("the app's role", ensure.boundary.as_ref());
        if !create_role(aws, New { name, what, description, trust, boundary, tags }).await? {
            let found = observe(aws, &context.name).await?;
            return found.conflict().map_or(Ok(()), |conflict| Err(conflict.refuse()));
        }
        return Ok(());
    }
    let changed = async {
        if let Some(boundary) = &ensure.boundary {
            set_boundary(aws, name, boundary).await?;
        }
        if let Some(trust) = &ensure.trust {
            let request = || aws.iam.update_assume_role_policy().role_name(name).policy_document(trust.as_str()).send();
            call("iam:UpdateAssumeRolePolicy", request).await?;
        }
        tag_role(aws, name, tags).await
    };
    changed.await.map_err(|error| cannot_be_changed(&error))
}

/// Before other policies are added: a role has a limited number of them.
async fn revoke(context: &Context, name: &str, ensure: &Ensure) -> Result<(), ApiError> {
    for arn in &ensure.detach {
        detach_policy(&context.aws, name, arn).await?;
    }
    for policy in &ensure.remove {
        delete_policy(&context.aws, name, policy).await?;
    }
    Ok(())
}

async fn grant(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let aws = &context.aws;
    let fresh = ensure.create || ensure.boundary.is_some() || is_recent(ensure.made);
    if let Some(policy) = &ensure.policy {
        put_policy(aws, name, policy, fresh).await.map_err(|error| refused(ensure, &error))?;
    }
    for arn in &ensure.attach {
        let request = || aws.iam.attach_role_policy().role_name(name).policy_arn(arn).send();
        once_known(fresh, || call("iam:AttachRolePolicy", &request)).await.map_err(|error| {
            let failure = explain(format!("cannot attach {arn} to the app's role"), &error);
            if error.absent() {
                failure.instead(correct("the ARN under app.permissions in deploy.yaml"))
            } else {
                failure
            }
        })?;
    }
    Ok(())
}

/// AWS refuses the policy itself, or denies the call.
fn refused(ensure: &Ensure, error: &ApiError) -> Failure {
    let file = ensure.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
    let failure = explain(format!("cannot give the app the permissions of {file}"), error);
    if error.is(&["MalformedPolicyDocument", "LimitExceeded"]) { failure.instead(correct(&file)) } else { failure }
}

fn correct(what: &str) -> Next {
    Next::from(format!("correct {what}, then run: ")).run("up")
}
