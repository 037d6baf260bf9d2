//! Launches, repairs and terminates instances.

use std::time::Duration;

use aws_sdk_ec2::types::{Instance, InstanceStateName};

use super::{Change, Credits, ID, Output, alive, launch, observe, set_credits};
use crate::aws::retry::{Backoff, Retry, patiently};
use crate::aws::{ApiError, call, explain};
use crate::base::error::{Failure, Result};
use crate::resources::context::Context;
use crate::resources::orders::Orders;
use crate::resources::{secrets, set_tags, token};

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Launch { mut tags, image, zone, dying } => {
            let token = context.known::<token::Output>(&token::ID).map(|token| token.version);
            let orders = Orders { token, secrets: Some(secrets::known(context).await?), ..Orders::default() };
            tags.extend(orders.tags());
            let id = launch::launch(context, &tags, (image.as_deref(), zone.as_deref()), &dying).await?;
            let unlimited = context.credits == Some(Credits::Unlimited);
            let told = token.map(|_| orders);
            context.learn(Output { id: id.clone(), since: 0, zone: None, unlimited, launched: true, told });
            wait_running(context, &id, "launched").await?;
            Ok(format!("{id} is running"))
        }
        Change::Update { id, start, metadata, credits, tags } => {
            if start {
                self::start(context, &id).await?;
            }
            if metadata {
                launch::restore_metadata(context, &id).await?;
            }
            if let Some(credits) = credits {
                set_credits(&context.aws, &id, credits).await?;
                context.change(&ID, |known: &mut Output| known.unlimited = credits == Credits::Unlimited);
            }
            let tagged = set_tags(&context.aws, &[&id], &tags).await;
            tagged.map_err(|error| explain(format!("cannot tag the instance {id}"), &error))?;
            Ok(match credits {
                Some(credits) => format!("{id} has {} CPU credits", credits.name()),
                None => format!("{id} is repaired"),
            })
        }
        Change::Terminate { id } => terminate(context, &id).await,
    }
}

/// Starts it. A stopping instance can be started only after it has stopped.
///
/// # Errors
/// A call to EC2 fails.
pub async fn start(context: &Context, id: &str) -> Result<()> {
    let stopping = |error: &ApiError| {
        context.waits("waiting until it has stopped, to start it again");
        error.is(&["IncorrectInstanceState"]) && !context.interrupted()
    };
    let backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(3));
    let request = || context.aws.ec2.start_instances().instance_ids(id).send();
    patiently(backoff, stopping, || call("ec2:StartInstances", &request))
        .await
        .map_err(|error| explain(format!("cannot start the instance {id}"), &error))?;
    wait_running(context, id, "started").await
}

/// Waits until the instance runs. EC2 may accept a launch and terminate the instance; then EC2 gives the reason.
async fn wait_running(context: &Context, id: &str, begun: &str) -> Result<()> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(2));
    context.waits(&format!("{id} is {begun}, waiting until it runs"));
    loop {
        match call("ec2:DescribeInstances", || context.aws.ec2.describe_instances().instance_ids(id).send()).await {
            Ok(answer) => {
                let found = answer
                    .reservations
                    .unwrap_or_default()
                    .into_iter()
                    .flat_map(|one| one.instances.unwrap_or_default())
                    .next();
                if let Some(instance) = found {
                    match instance.state.as_ref().and_then(|state| state.name.as_ref()) {
                        Some(InstanceStateName::Running) => {
                            // EC2 updates it at each start.
                            let since = instance.launch_time.map_or(0, |time| time.secs());
                            let zone = instance.placement.and_then(|placement| placement.availability_zone);
                            context.change(&ID, |known: &mut Output| (known.since, known.zone) = (since, zone));
                            return Ok(());
                        }
                        Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => {
                            return Err(died(id, &instance));
                        }
                        _ => {}
                    }
                }
            }
            // A new instance may still be unknown to EC2.
            Err(error) if error.is(&["InvalidInstanceID.NotFound"]) => {}
            Err(error) => return Err(explain(format!("cannot describe the instance {id}"), &error)),
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("the instance {id} does not start"))
                .because("it has been pending for five minutes")
                .next("check it in the EC2 console; then run the same command again"));
        }
    }
}

fn died(id: &str, instance: &Instance) -> Failure {
    let reason = instance.state_reason.as_ref();
    let code = reason.and_then(|reason| reason.code()).unwrap_or("no reason");
    // The text starts with the code.
    let words = reason.and_then(|reason| reason.message()).unwrap_or_default();
    let words = words.trim_start_matches(code).trim_start_matches(": ");
    let next = match code {
        "Client.InvalidKMSKey.InvalidState" | "Client.InternalError" => {
            "the account's default key for disk encryption cannot be used: see EC2 console, Settings, EBS encryption; then run the same command again"
        }
        "Client.VolumeLimitExceeded" => {
            "the account's limit for disks is reached: delete some, or request an increase in the Service Quotas console"
        }
        "Server.InsufficientInstanceCapacity" => {
            "AWS has no capacity for this instance type now: try again in some minutes, or choose another instance.type"
        }
        _ => "run the same command again",
    };
    Failure::failed(format!("EC2 accepted the launch of {id}, then terminated it"))
        .because(format!("{code}: {words}"))
        .next(next)
}

/// Terminates it and waits: a live instance uses the security group and writes reports.
async fn terminate(context: &Context, id: &str) -> Result<String> {
    end(context, &[id.to_owned()]).await?;
    let mut backoff = Backoff::polling(Duration::from_secs(600), Duration::from_secs(2));
    context.waits("waiting until it is terminated");
    loop {
        let left = observe(&context.aws, &context.name).await?;
        if !left.iter().any(|state| state.id == id) {
            return Ok("terminated".into());
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("{id} is still shutting down after ten minutes"))
                .next("run the same command again in some minutes"));
        }
    }
}

async fn end(context: &Context, ids: &[String]) -> Result<()> {
    let request = || context.aws.ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send();
    match call("ec2:TerminateInstances", request).await {
        Ok(_) => Ok(()),
        // An unknown id would protect the others: EC2 refuses the whole list.
        Err(error) if error.absent() && ids.len() > 1 => {
            for id in ids {
                Box::pin(end(context, std::slice::from_ref(id))).await?;
            }
            Ok(())
        }
        Err(error) if error.absent() => Ok(()),
        // A terminated instance may have lost its tags, and the caller may have a permission that depends on them.
        Err(error) => match observe(&context.aws, &context.name).await? {
            found if alive(&found).any(|state| ids.contains(&state.id)) => {
                Err(explain("cannot terminate the instance", &error))
            }
            _ => Ok(()),
        },
    }
}

/// Terminates all live instances of this deployment, without waiting.
///
/// # Errors
/// A call to EC2 fails.
pub async fn terminate_all(context: &Context) -> Result<()> {
    let found = observe(&context.aws, &context.name).await?;
    let ids: Vec<String> = alive(&found).map(|state| state.id.clone()).collect();
    if ids.is_empty() { Ok(()) } else { end(context, &ids).await }
}
