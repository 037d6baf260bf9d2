//! Creates, grows and deletes the data volume.

use std::time::Duration;

use aws_sdk_ec2::types::{ResourceType, VolumeType};

use super::{Change, Output, Phase, State, kept, look, observe};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{ApiError, call, explain};
use crate::base::error::{Failure, Result};
use crate::resources::context::Context;
use crate::resources::{Observed, Tags, instance, security_group, set_tags, tagged};

const AGAIN: &str = "run the same command again";

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { gib, tags } => {
            let volume = create(context, gib, &tags).await?;
            context.learn(Output { id: volume.id.clone() });
            Ok(format!("{} ({gib} GiB in {})", volume.id, volume.zone))
        }
        Change::Update { id, grow, tags } => {
            let tagged = set_tags(&context.aws, &[&id], &tags).await;
            tagged.map_err(|error| explain(format!("cannot tag the volume {id}"), &error))?;
            if let Some(gib) = grow {
                enlarge(context, &id, gib).await?;
            }
            Ok(id)
        }
        Change::Delete { id } => {
            delete(context, &id).await?;
            Ok("deleted".into())
        }
    }
}

/// The launch nonce makes a retry safe, as it does for an instance. AWS does not document what a client token returns whose volume was
/// deleted, so any volume that cannot be used is replaced under a new nonce.
async fn create(context: &Context, gib: u32, tags: &Tags) -> Result<State> {
    let zone = context.output::<instance::Output>(&instance::ID)?.zone;
    let zone = zone.ok_or_else(|| Failure::bug("the zone of the instance is not known"))?;
    for _ in 0..3 {
        let group = context.output::<security_group::Output>(&security_group::ID)?;
        let nonce = group.nonce.ok_or_else(|| Failure::bug("the launch nonce is not known"))?;
        let request = || {
            let create = context.aws.ec2.create_volume().availability_zone(&zone).volume_type(VolumeType::Gp3);
            let create = create.size(i32::try_from(gib).unwrap_or(i32::MAX)).encrypted(true);
            create.tag_specifications(tagged(ResourceType::Volume, tags)).client_token(format!("{nonce}-data")).send()
        };
        let found = match call("ec2:CreateVolume", request).await {
            Ok(answer) => wait_available(context, answer.volume_id.unwrap_or_default().as_str()).await?,
            // The same token with other parameters: an interrupted run created it with another size.
            Err(error) if error.is(&["IdempotentParameterMismatch"]) || error.absent() => visible(context).await?,
            Err(error) => return Err(refused("cannot create the data volume", &error)),
        };
        match found {
            Some(volume) => return Ok(volume),
            None => security_group::renew_nonce(context, &group.id).await?,
        }
    }
    Err(Failure::failed("cannot create the data volume")
        .because("each volume that EC2 created disappeared at once")
        .next("run the same command again in some minutes"))
}

/// The volume that this deployment has by now.
async fn visible(context: &Context) -> Result<Option<State>> {
    let mut backoff = Backoff::new(Duration::from_secs(15));
    loop {
        let found = observe(&context.aws, &context.name).await?;
        let have = Observed { volumes: Some(found).into(), ..Observed::default() };
        if let Some(volume) = kept(&have) {
            return Ok(Some(volume.clone()));
        }
        if backoff.wait().await == Retry::Enough {
            return Ok(None);
        }
    }
}

/// Waits until a new volume can be attached; `None` if it is deleted. It may be invisible at first.
async fn wait_available(context: &Context, id: &str) -> Result<Option<State>> {
    let mut backoff = Backoff::polling(Duration::from_secs(120), Duration::from_secs(2));
    loop {
        match look(&context.aws, id).await? {
            Some(State { phase: Phase::Deleting, .. }) => return Ok(None),
            Some(State { phase: Phase::Broken, .. }) => return Err(broken(id)),
            Some(volume) if volume.phase != Phase::Creating => return Ok(Some(volume)),
            _ => {}
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(
                Failure::failed(format!("the volume {id} is still being created after two minutes")).next(AGAIN)
            );
        }
    }
}

/// The error of a volume whose hardware failed.
pub fn broken(id: &str) -> Failure {
    Failure::failed(format!("the data volume {id} is in the state error"))
        .because("AWS lost the hardware below it")
        .next("see the AWS Health dashboard; restore its newest snapshot, if there is one")
}

/// The new size counts as soon as EC2 shows it. The file system grows later, on the instance.
async fn enlarge(context: &Context, id: &str, gib: u32) -> Result<()> {
    let size = i32::try_from(gib).unwrap_or(i32::MAX);
    let request = || context.aws.ec2.modify_volume().volume_id(id).size(size).send();
    match call("ec2:ModifyVolume", request).await {
        Ok(_) => {}
        // An interrupted run, or a concurrent one, may have begun the same modification.
        Err(error) if error.is(&["IncorrectModificationState"]) && grows(context, id, gib).await? => return Ok(()),
        Err(error) => return Err(refused(&format!("cannot grow the data volume {id}"), &error)),
    }
    context.waits("waiting until it has grown");
    match grows(context, id, gib).await? {
        true => Ok(()),
        false => Err(Failure::failed(format!("the data volume {id} has not grown after five minutes"))
            .because("AWS still modifies it")
            .standing("The app keeps running with the earlier size.")
            .next(AGAIN)),
    }
}

/// Waits until it has this size.
async fn grows(context: &Context, id: &str, gib: u32) -> Result<bool> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(3));
    loop {
        if look(&context.aws, id).await?.is_some_and(|volume| volume.gib >= gib) {
            return Ok(true);
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Ok(false);
        }
    }
}

fn refused(what: &str, error: &ApiError) -> Failure {
    let failure = explain(what.to_owned(), error);
    match error.code.as_str() {
        "VolumeModificationRateExceeded" | "IncorrectModificationState" => failure
            .because("AWS allows four modifications of a volume in 24 hours, each after the one before is completed")
            .standing("The app keeps running with the earlier size.")
            .instead("run the same command again in some hours"),
        _ => failure,
    }
}

/// The termination of its instance ends the attachment a moment later.
async fn delete(context: &Context, id: &str) -> Result<()> {
    let mut backoff = Backoff::polling(Duration::from_secs(120), Duration::from_secs(3));
    loop {
        match call("ec2:DeleteVolume", || context.aws.ec2.delete_volume().volume_id(id).send()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.absent() => return Ok(()),
            Err(error) if error.is(&["VolumeInUse", "IncorrectState"]) && backoff.wait().await == Retry::Again => {}
            // A deleted volume has lost its tags, and the caller may have a permission that depends on them.
            Err(_) if look(&context.aws, id).await?.is_none_or(|volume| volume.phase == Phase::Deleting) => {
                return Ok(());
            }
            Err(error) => return Err(explain(format!("cannot delete the data volume {id}"), &error)),
        }
        context.check_interrupt()?;
    }
}
