//! Opens, renews and closes, in AWS.

use aws_sdk_ec2::types::Tag;

use super::folder;
use super::lease::{Door, Lease, Stale, stale, tag_of};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};
use crate::resources::instance::{self, State};
use crate::resources::{Tags, ingress, security_group, set_tags};

/// Where somebody connects to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The deployment's name.
    pub name: &'a str,
    /// The instance.
    pub instance: &'a str,
    /// Its security group.
    pub group: &'a str,
}

/// Takes the lease, then makes the door: so there is never a door that no lease keeps.
///
/// # Errors
/// What EC2 says.
pub async fn open(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    let not_told = |error: ApiError| explain(format!("cannot send the key to the instance {}", place.instance), &error);
    set_tags(aws, &[place.instance], &Tags::from([lease.tag()])).await.map_err(not_told)?;
    admit(aws, place, lease).await
}

/// Makes the door; one that is there is as wanted.
///
/// # Errors
/// What EC2 says.
pub async fn admit(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    match ingress::admit(aws, place.group, &lease.door()).await {
        Err(error) if !error.is(&["InvalidPermission.Duplicate"]) => {
            Err(explain(format!("cannot open port 22 for {}", lease.source), &error))
        }
        _ => Ok(()),
    }
}

/// Takes it for longer, and sees to it that the door is there still: somebody may have closed it who could not see the lease.
///
/// # Errors
/// What EC2 says.
pub async fn renew(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    open(aws, place, &lease.renewed(now())).await
}

/// Gives the lease back, and closes the door unless somebody else needs it. -> whether it is closed
///
/// # Errors
/// What EC2 says.
pub async fn close(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<bool> {
    let left = |error: ApiError| {
        explain(format!("port 22 may still be open for {}", lease.source), &error)
            .standing("The key was deleted. The next command that changes something closes the port.")
    };
    let untagged = untag(aws, place.instance, &[tag_of(&lease.id)]).await.map_err(|error| {
        explain(format!("cannot remove the tag {} of {}", tag_of(&lease.id), place.instance), &error)
            .standing("The key was deleted, and is accepted for ten minutes at most.")
    });
    let (group, instances) =
        tokio::try_join!(security_group::observe(aws, place.name), instance::observe(aws, place.name))?;
    let mut others = leases(&instances).filter(|other| other.id != lease.id && other.source == lease.source);
    if others.any(|other| other.lasts(now())) {
        return untagged.map(|()| false);
    }
    // A rule that somebody has made by hand stays. Ours may be in no list yet.
    let by_hand = ingress::rule_of(&lease.door());
    if let Some(group) = group.present().filter(|group| !group.ingress.contains(&by_hand)) {
        ingress::shut(aws, &group.id, &lease.door()).await.map_err(left)?;
    }
    untagged.map(|()| true)
}

/// Closes what those left who were killed: in a deployment's security group, with its doors, and on its instances. What
/// cannot be closed stops nobody. -> what was closed, and what could not be
pub async fn sweep(aws: &Aws, group: Option<(&str, &[Door])>, instances: &[State]) -> (Vec<Door>, Vec<Failure>) {
    let (mut closed, mut failures) = (Vec::new(), Vec::new());
    let (group, doors) = group.unwrap_or_default();
    let gone = folder::gone();
    let Stale { tags, doors } = stale(doors, &told(instances), &gone, now());
    let over = |id: &&String| tags.iter().any(|(_, tags)| tags.contains(&tag_of(id)));
    let over: Vec<&String> = gone.iter().filter(over).collect();
    for (instance, tags) in &tags {
        if let Err(error) = untag(aws, instance, tags).await {
            failures.push(explain(format!("{instance} still has the tag of an SSH session that has ended"), &error));
        }
    }
    for door in doors {
        match ingress::shut(aws, group, &door).await {
            Ok(()) => closed.push(door),
            Err(error) => failures.push(explain(format!("port 22 is still open for {}", door.source), &error)),
        }
    }
    if failures.is_empty() {
        over.into_iter().for_each(|id| folder::forget(id));
    }
    (closed, failures)
}

/// The doors that those left who were killed: what [`sweep`] would close.
pub fn left(doors: &[Door], instances: &[State]) -> Vec<Door> {
    stale(doors, &told(instances), &folder::gone(), now()).doors
}

/// At least one: of none, EC2 would take all away.
async fn untag(aws: &Aws, instance: &str, tags: &[String]) -> Result<(), ApiError> {
    // Without a value: whichever it has.
    let tags: Vec<Tag> = tags.iter().map(|key| Tag::builder().key(key).build()).collect();
    let request = || aws.ec2.delete_tags().resources(instance).set_tags(Some(tags.clone())).send();
    match call("ec2:DeleteTags", request).await {
        Err(error) if !error.absent() => Err(error),
        _ => Ok(()),
    }
}

fn told(instances: &[State]) -> Vec<(&str, &Tags)> {
    instance::alive(instances).map(|state| (state.id.as_str(), &state.tags)).collect()
}

fn leases(instances: &[State]) -> impl Iterator<Item = Lease> {
    instance::alive(instances).flat_map(|state| Lease::all(&state.tags))
}
