//! Instance ↔ instance profile. It is associated after the launch, because a new profile takes about ten seconds to
//! propagate to EC2. So a boot does not wait for IAM.

use std::time::Duration;

use aws_sdk_ec2::types::{IamInstanceProfileAssociation, IamInstanceProfileSpecification};

use super::kinds::{Id, Kind};
use super::step::{Resource, Step};
use super::{Action, Planned, Sight, filter, instance, role};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{ApiError, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;

/// The change to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Attach ours.
    Attach,
    /// Detach a profile that has our name but gives no credentials: the profile or its role was re-created.
    Detach(String),
}

/// The wanted profile of the instance.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub profile: String,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::InstanceProfile)
    }

    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        detachment(sight.found).into_iter().chain([role::ID, instance::ID]).collect()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let stale = stale(&self.profile, sight.have.role.looked()?, sight.found).is_some();
        Ok(diff(&self.profile, stale, sight.current))
    }

    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let Some(Self { profile }) = sight.the() else { return Ok(Vec::new()) };
        let stale = stale(profile, sight.have.role.looked()?, sight.found);
        Ok(stale.zip(detachment(sight.found)).map(|(planned, id)| planned.step(id, Vec::new())).into_iter().collect())
    }
}

/// The step that detaches the current profile.
pub(super) fn detachment(instance: Option<&instance::State>) -> Option<Id> {
    instance.map(|instance| Id::named(Kind::InstanceProfile, format!("of {}", instance.id)))
}

/// Whether the attached profile has our name but gives no credentials. It is detached before its role is repaired:
/// afterwards AWS does not show that a new association is needed. This includes an instance that will be replaced,
/// because it may still be kept.
fn stale(profile: &str, role: Option<&role::State>, instance: Option<&instance::State>) -> Option<Planned<Change>> {
    let (instance, attached) = instance.and_then(|instance| Some((instance, instance.profile.as_ref()?)))?;
    let serves = role.is_some_and(|role| role.serves(&attached.id));
    let detach = || Change::Detach(instance.id.clone());
    (is(&attached.arn, profile) && !serves)
        .then(|| Planned::new(Action::Update, vec!["it was re-created, or its role was".into()], detach()))
}

/// The instance must have our profile.
fn diff(profile: &str, stale: bool, instance: Option<&instance::State>) -> Option<Planned<Change>> {
    match instance.and_then(|instance| instance.profile.as_ref()) {
        None => Some(Planned::create("the instance has no profile", Change::Attach)),
        // Belongs to someone else: `apply` reports it by name.
        Some(attached) if !is(&attached.arn, profile) => {
            Some(Planned::new(Action::Update, vec!["the instance has another profile".into()], Change::Attach))
        }
        Some(_) => stale
            .then(|| Planned::new(Action::Update, vec!["it was re-created, or its role was".into()], Change::Attach)),
    }
}

fn is(arn: &str, profile: &str) -> bool {
    arn.ends_with(&format!(":instance-profile/{profile}"))
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Attach => attach(context, &context.output::<instance::Output>(&instance::ID)?.id).await,
        Change::Detach(instance) => {
            let Some((association, _)) = association(context, &instance).await? else { return Ok("detached".into()) };
            detach(context, &association).await?;
            Ok("detached".into())
        }
    }
}

async fn detach(context: &Context, association: &str) -> Result<()> {
    let request = || context.aws.ec2.disassociate_iam_instance_profile().association_id(association).send();
    match call("ec2:DisassociateIamInstanceProfile", request).await {
        Err(error) if !error.absent() => Err(explain("cannot detach the old instance profile", &error)),
        _ => Ok(()),
    }
}

async fn attach(context: &Context, instance: &str) -> Result<String> {
    let profile = names::role(&context.name, &context.aws.region);
    let mut backoff = Backoff::polling(Duration::from_secs(180), Duration::from_secs(3));
    loop {
        let request = || {
            let specification = IamInstanceProfileSpecification::builder().name(&profile).build();
            context
                .aws
                .ec2
                .associate_iam_instance_profile()
                .instance_id(instance)
                .iam_instance_profile(specification)
                .send()
        };
        let answer = match call("ec2:AssociateIamInstanceProfile", request).await {
            Ok(answer) => Ok(answer.iam_instance_profile_association.and_then(parts)),
            // There is an association already, perhaps from a call whose response was lost.
            Err(error) if error.says("IncorrectState", "association") => {
                association(context, instance).await?.map(Some).ok_or(error)
            }
            Err(error) if not_yet(&error) => Err(error),
            Err(error) => return Err(cannot_be_attached(&error)),
        };
        let failure = match answer {
            Ok(None) => return Ok(profile),
            Ok(Some((association, attached))) if !is(&attached.arn, &profile) => {
                return Err(taken(instance, &association, &attached.arn));
            }
            Ok(Some((_, attached))) if is_made(context, &profile, &attached).await? => return Ok(profile),
            Ok(Some((association, attached))) => {
                // EC2 still has the earlier profile of this name. It gives no credentials:
                // <https://github.com/hashicorp/terraform/issues/2037>
                detach(context, &association).await?;
                remembered(&profile, &attached)
            }
            Err(error) => cannot_be_attached(&error),
        };
        context.check_interrupt()?;
        context.waits("waiting until it propagates to EC2");
        if backoff.wait().await == Retry::Enough {
            return Err(failure);
        }
    }
}

/// Whether the attached profile is the current one of that name.
async fn is_made(context: &Context, profile: &str, attached: &instance::Profile) -> Result<bool> {
    let known = context.known::<role::Output>(&role::ID).is_none_or(|made| made.profile == attached.id);
    Ok(known || role::profile_id(&context.aws, profile).await?.as_ref() == Some(&attached.id))
}

fn cannot_be_attached(error: &ApiError) -> Failure {
    explain("cannot attach the instance profile", error)
}

fn remembered(profile: &str, attached: &instance::Profile) -> Failure {
    Failure::failed("cannot attach the instance profile")
        .because(format!("EC2 attaches {}, an earlier profile named {profile}, which was deleted", attached.id))
        .next("run the same command again in some minutes")
}

/// EC2's errors while the profile or its role has not propagated, and while the instance is pending.
fn not_yet(error: &ApiError) -> bool {
    error.says("InvalidParameterValue", "Invalid IAM Instance Profile")
        || error.says("InvalidParameterValue", "has no associated IAM Roles")
        || error.says("IncorrectState", "InstanceIdentityProfileNotFound")
        || error.is(&["IncorrectInstanceState", "InvalidInstanceID.NotFound"])
}

fn taken(instance: &str, association: &str, arn: &str) -> Failure {
    Failure::failed(format!("{instance} has an instance profile that does not belong to this deployment"))
        .because(format!("{arn} is attached to it, perhaps by a rule of this account"))
        .next(format!(
            "if it is not needed: aws ec2 disassociate-iam-instance-profile --association-id {association}\nthen run the same command again"
        ))
}

/// The current association, with its profile.
async fn association(context: &Context, instance: &str) -> Result<Option<(String, instance::Profile)>> {
    let request =
        || context.aws.ec2.describe_iam_instance_profile_associations().filters(filter("instance-id", instance)).send();
    let answer = call("ec2:DescribeIamInstanceProfileAssociations", request)
        .await
        .map_err(|error| explain("cannot look up the instance profile", &error))?;
    let alive = answer.iam_instance_profile_associations.unwrap_or_default().into_iter().find(|association| {
        association.state.as_ref().is_some_and(|state| matches!(state.as_str(), "associating" | "associated"))
    });
    Ok(alive.and_then(parts))
}

fn parts(association: IamInstanceProfileAssociation) -> Option<(String, instance::Profile)> {
    let profile = association.iam_instance_profile?;
    Some((association.association_id?, instance::Profile { arn: profile.arn?, id: profile.id? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str) -> ApiError {
        ApiError {
            action: "ec2:AssociateIamInstanceProfile",
            code: code.into(),
            message: message.into(),
            status: Some(400),
            ahead: None,
        }
    }

    #[test]
    fn every_error_of_iam_propagation_is_retried() {
        assert!(not_yet(&error(
            "InvalidParameterValue",
            "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
        )));
        assert!(not_yet(&error("InvalidParameterValue", "IAM Instance Profile 'arn' has no associated IAM Roles")));
        assert!(not_yet(&error(
            "IncorrectState",
            "InstanceIdentityProfileNotFound: Instance Identity Profile not found for the key: x"
        )));
        assert!(not_yet(&error(
            "IncorrectInstanceState",
            "The instance 'i-1' is not in the 'running' or 'stopped' states."
        )));
        assert!(!not_yet(&error("IncorrectState", "There is an existing association for instance i-1")));
        assert!(!not_yet(&error("InvalidParameterValue", "something else")));
        assert!(!not_yet(&error("UnauthorizedOperation", "no")));
    }
}
