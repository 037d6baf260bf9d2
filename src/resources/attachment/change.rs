//! Moves the data volume: from the instance that has it, to the one that needs it.

use std::time::{Duration, Instant};

use super::{Change, to_give_back, to_use};
use crate::aws::retry::{Backoff, Retry, haste, patiently};
use crate::aws::{ApiError, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::resources::context::Context;
use crate::resources::instance::{self, Phase};
use crate::resources::orders::{NO_DATA, Orders};
use crate::resources::{reports, set_tags, volume};

/// How long the agent may take to see the order and to unmount the volume. Until then the app serves, so this costs nothing; and a tag
/// was seen to take more than two minutes.
const UNMOUNT: Duration = Duration::from_secs(180);
/// How long a detachment may take after the volume was unmounted. It takes some seconds.
const DETACH: Duration = Duration::from_secs(60);
/// How long AWS may show no attachment after the request for it.
const SHOWN: Duration = Duration::from_secs(10);
/// How long other changes of state may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Device names that EC2 recommends for volumes. The agent finds the volume by its id, so any free one will do.
/// <https://docs.aws.amazon.com/ebs/latest/userguide/device-naming.html>
const DEVICES: [&str; 11] = ["f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Attach => {
            let volume = context.output::<volume::Output>(&volume::ID)?.id;
            let instance = context.output::<instance::Output>(&instance::ID)?.id;
            give(context, &volume, &instance).await?;
            Ok(format!("{volume} is attached to {instance}"))
        }
        Change::Detach { volume, instance } => {
            take(context, &volume, &instance).await?;
            if matches!(phase(context, &instance).await?, Some(Phase::Stopping | Phase::Stopped)) {
                // The new release needs no data, but its instance had to be stopped.
                instance::start(context, &instance).await?;
            }
            Ok(format!("{volume} is kept, without an instance"))
        }
    }
}

/// Gives the volume to the instance, and takes it from any other one.
///
/// # Errors
/// It cannot be taken from the other one, or a call to EC2 fails.
pub async fn give(context: &Context, volume: &str, instance: &str) -> Result<()> {
    let mut attached = attachment(context, volume).await?;
    if let Some(holder) = attached.as_ref().map(|one| one.instance.clone()).filter(|holder| *holder != instance) {
        take(context, volume, &holder).await?;
        attached = None;
    } else if attached.as_ref().is_some_and(|one| !one.complete) {
        // It is being attached, or an interrupted run was taking it away.
        context.waits("waiting for its attachment");
        attached = settled(context, volume).await?;
    }
    if attached.is_none() {
        attach(context, volume, instance).await?;
    }
    let tagged = set_tags(&context.aws, &[instance], &to_use(volume).tags()).await;
    tagged.map_err(|error| explain(format!("cannot tell the instance {instance} its volume"), &error))
}

async fn attachment(context: &Context, volume: &str) -> Result<Option<volume::Attachment>> {
    let found = volume::look(&context.aws, volume).await?;
    Ok(found.and_then(|volume| volume.attachment))
}

/// Waits until the instance does not have the volume any more. Just after the request, AWS may still show a complete attachment.
async fn free(context: &Context, volume: &str, holder: &str) -> Result<()> {
    match changed(context, volume, PATIENCE, |found| !is_with(found, holder)).await? {
        (true, _) => Ok(()),
        (false, found) => Err(busy(volume, found.as_ref())),
    }
}

/// Whether the volume is with this instance. A concurrent command may have given it to another one.
fn is_with(found: Option<&volume::Attachment>, instance: &str) -> bool {
    found.is_some_and(|one| one.instance == instance)
}

/// Waits until the attachment is as it should be -> whether it is, and the attachment.
async fn changed(
    context: &Context,
    volume: &str,
    patience: Duration,
    done: impl Fn(Option<&volume::Attachment>) -> bool,
) -> Result<(bool, Option<volume::Attachment>)> {
    let mut backoff = Backoff::polling(patience, Duration::from_secs(2));
    loop {
        let found = attachment(context, volume).await?;
        if done(found.as_ref()) {
            return Ok((true, found));
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Ok((false, found));
        }
    }
}

/// Waits until the attachment is complete or has ended.
async fn settled(context: &Context, volume: &str) -> Result<Option<volume::Attachment>> {
    match changed(context, volume, PATIENCE, |found| found.is_none_or(|one| one.complete)).await? {
        (true, found) => Ok(found),
        (false, found) => Err(busy(volume, found.as_ref())),
    }
}

fn busy(volume: &str, attachment: Option<&volume::Attachment>) -> Failure {
    let instance = attachment.map_or("its instance", |one| one.instance.as_str());
    let why = match attachment.is_some_and(|one| one.busy) {
        true => format!("EC2 says that it is busy: a process on {instance} still uses it"),
        false => "EC2 has not completed the change of its attachment".to_owned(),
    };
    Failure::failed(format!("the data volume {volume} is not free"))
        .because(why)
        .standing(format!("The volume is still attached to {instance}, and nothing was taken away by force."))
        .next(
            Next::from(format!("stop the instance: aws ec2 stop-instances --instance-ids {instance}; then run: "))
                .run("up"),
        )
}

/// Attaches a free volume and waits until that is complete. A new volume or instance may not be ready for a moment.
async fn attach(context: &Context, volume: &str, instance: &str) -> Result<()> {
    context.waits("attaching the volume");
    let not_yet = |error: &ApiError| {
        let state = error.is(&["IncorrectState", "IncorrectInstanceState"]) || error.absent();
        state && !context.interrupted()
    };
    let mut letters = DEVICES.iter();
    loop {
        let Some(letter) = letters.next() else {
            return Err(Failure::failed(format!("the instance {instance} has no free device name"))
                .next("detach volumes that it does not need; then run the same command again"));
        };
        let request = || {
            let attach = context.aws.ec2.attach_volume().volume_id(volume).instance_id(instance);
            attach.device(format!("/dev/sd{letter}")).send()
        };
        let backoff = Backoff::polling(Duration::from_secs(120), Duration::from_secs(2));
        match patiently(backoff, not_yet, || call("ec2:AttachVolume", request)).await {
            Ok(_) => break,
            // A concurrent run, or this one before its response was lost.
            Err(error) if error.is(&["VolumeInUse"]) => break,
            Err(error) if error.is(&["InvalidParameterValue"]) && error.message.contains("in use") => {}
            Err(error) => return Err(explain(format!("cannot attach the volume {volume} to {instance}"), &error)),
        }
    }
    // AWS may not show the attachment for a moment.
    let (_, shown) = changed(context, volume, SHOWN, |found| found.is_some()).await?;
    let attached = match shown {
        Some(one) if !one.complete => settled(context, volume).await?,
        shown => shown,
    };
    match attached {
        Some(attached) if attached.instance == instance => Ok(()),
        other => Err(Failure::failed(format!("the data volume {volume} is not attached to {instance}"))
            .because(match other {
                Some(other) => format!("it is attached to {}: another command ran at the same time", other.instance),
                None => "EC2 shows no attachment: another command ran at the same time".to_owned(),
            })
            .next("run the same command again")),
    }
}

/// Takes the volume from the instance: the agent stops what uses it and unmounts it. If the agent does not answer, the instance is
/// stopped, which unmounts it, too.
async fn take(context: &Context, volume: &str, holder: &str) -> Result<()> {
    let phase = phase(context, holder).await?;
    if phase == Some(Phase::Running) {
        let tagged = set_tags(&context.aws, &[holder], &to_give_back().tags()).await;
        tagged
            .map_err(|error| explain(format!("cannot tell the instance {holder} to give its volume back"), &error))?;
    }
    let is_free = match phase {
        Some(Phase::Running) => unmounted(context, holder).await?,
        Some(Phase::Pending | Phase::Stopping) => false,
        Some(Phase::Stopped) => true,
        // It is being terminated, which ends the attachment.
        Some(Phase::Dying) | None => return free(context, volume, holder).await,
    };
    if !is_free {
        stop(context, holder).await?;
    }
    detach(context, volume, holder).await?;
    let (ended, _) = changed(context, volume, DETACH, |found| !is_with(found, holder)).await?;
    if ended {
        return Ok(());
    }
    if is_free && self::phase(context, holder).await? == Some(Phase::Running) {
        // Another process than the app's still uses it.
        stop(context, holder).await?;
        detach(context, volume, holder).await?;
    }
    free(context, volume, holder).await
}

async fn phase(context: &Context, id: &str) -> Result<Option<Phase>> {
    let found = instance::observe(&context.aws, &context.name).await?;
    Ok(found.into_iter().find(|state| state.id == id).map(|state| state.phase))
}

/// Waits until the agent reports that it has unmounted the volume. False: it does not report.
async fn unmounted(context: &Context, holder: &str) -> Result<bool> {
    context.waits(&format!("waiting until {holder} has stopped the app and unmounted the volume"));
    let began = Instant::now();
    loop {
        let Some(report) = reports::read(&context.aws, &context.name, holder).await? else { return Ok(false) };
        let Orders { data, .. } = &report.orders;
        let holds = report.data.as_ref().is_some_and(|data| data.volume.is_some());
        if data.as_deref() == Some(NO_DATA) && !holds {
            return Ok(true);
        }
        if report.is_stale(now()) || began.elapsed() * haste() > UNMOUNT {
            return Ok(false);
        }
        context.check_interrupt()?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

/// Stops the instance, which ends all processes and unmounts all volumes.
async fn stop(context: &Context, holder: &str) -> Result<()> {
    context.waits(&format!("{holder} does not give the volume back; stopping it"));
    let pending = |error: &ApiError| error.is(&["IncorrectInstanceState"]) && !context.interrupted();
    let request = || context.aws.ec2.stop_instances().instance_ids(holder).send();
    let backoff = Backoff::polling(PATIENCE, Duration::from_secs(3));
    match patiently(backoff, pending, || call("ec2:StopInstances", &request)).await {
        Err(error) if !error.absent() && !error.is(&["IncorrectInstanceState"]) => {
            return Err(explain(format!("cannot stop the instance {holder}"), &error));
        }
        _ => {}
    }
    let mut backoff = Backoff::polling(PATIENCE, Duration::from_secs(2));
    while matches!(phase(context, holder).await?, Some(Phase::Pending | Phase::Running | Phase::Stopping)) {
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("the instance {holder} has not stopped after five minutes"))
                .standing("It still has the data volume.")
                .next("check it in the EC2 console; then run the same command again"));
        }
    }
    Ok(())
}

/// Requests the end of the attachment, if there is one. Never by force.
async fn detach(context: &Context, volume: &str, holder: &str) -> Result<()> {
    context.waits(&format!("detaching it from {holder}"));
    let request = || context.aws.ec2.detach_volume().volume_id(volume).instance_id(holder).send();
    match call("ec2:DetachVolume", request).await {
        Ok(_) => Ok(()),
        Err(error) if error.absent() || error.is(&["IncorrectState"]) => Ok(()),
        // A terminated instance has lost its tags, and the caller may have a permission that depends on them.
        Err(_) if attachment(context, volume).await?.is_none() => Ok(()),
        Err(error) => Err(explain(format!("cannot detach the volume {volume} from {holder}"), &error)),
    }
}
