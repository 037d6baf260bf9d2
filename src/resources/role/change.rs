//! Creates, repairs and deletes the role, its policy and its profile.

use serde_json::json;

use super::{Output, Profile, State, get_profile, observe};
use crate::aws::{ApiError, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::Tags;
use crate::resources::context::Context;
use crate::resources::document::Document;
use crate::resources::iam::{
    New, create_role, delete_policy, delete_role, gone, is_recent, once_free, once_known, put_policy, set_boundary,
    tag_role, to_iam,
};

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
        self.role || self.profile || self.boundary.is_some() || is_recent(self.made)
    }
}

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
    let aws = &context.aws;
    if ensure.role {
        let description = format!("What the instance of {} may do", context.name);
        let (boundary, tags) = (ensure.boundary.as_ref(), &ensure.tags);
        let what = "the instance's role";
        if !create_role(aws, New { name, what, description, trust: trust(), boundary, tags }).await? {
            require_ours(context).await?;
        }
    } else if let Some(boundary) = &ensure.boundary {
        set_boundary(aws, name, boundary).await.map_err(|error| cannot_be_made(&error))?;
    }
    tag_role(aws, name, &ensure.role_tags).await.map_err(|error| cannot_be_made(&error))?;
    if let Some(document) = &ensure.policy {
        put_policy(aws, name, document, ensure.fresh()).await.map_err(|error| cannot_be_made(&error))?;
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
    gone(call("iam:RemoveRoleFromInstanceProfile", request).await, || is_absent(context, profile)).await
}

async fn is_absent(context: &Context, profile: &str) -> bool {
    matches!(get_profile(&context.aws, profile).await, Ok(None))
}

/// Another command was faster, or the response to the first try was lost: an existing resource is ours if it has our
/// tag.
async fn made<T>(context: &Context, answer: Result<T, ApiError>) -> Result<()> {
    match answer {
        Err(error) if error.is(&["EntityAlreadyExists"]) => require_ours(context).await,
        Err(error) => Err(cannot_be_made(&error)),
        Ok(_) => Ok(()),
    }
}

async fn require_ours(context: &Context) -> Result<()> {
    let found = observe(&context.aws, &context.name).await?;
    found.conflict().map_or(Ok(()), |conflict| Err(conflict.refuse()))
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
            gone(answer, || is_absent(context, name)).await?;
        }
        Ok(())
    };
    let role = async {
        if have.policy.is_some() {
            delete_policy(&context.aws, name, name).await?;
        }
        if have.role.is_some() {
            delete_role(&context.aws, name).await?;
        }
        Ok(())
    };
    tokio::try_join!(profile, role).map(|_| ())
}
