//! Creates, renews and deletes leases and SSH rules in AWS.

use aws_sdk_ec2::types::Tag;

use super::lease::{Lease, SshRule, Stale, stale, tag_of};
use super::session_dir;
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};
use crate::resources::instance::{self, State};
use crate::resources::{Tags, ingress, security_group, set_tags};

/// The target of a session.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The deployment's name.
    pub name: &'a str,
    /// The instance.
    pub instance: &'a str,
    /// Its security group.
    pub group: &'a str,
}

/// Creates the lease, then the rule: so a rule never exists without a lease.
///
/// # Errors
/// A call to EC2 fails.
pub async fn open(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    let not_told = |error: ApiError| explain(format!("cannot send the key to the instance {}", place.instance), &error);
    set_tags(aws, &[place.instance], &Tags::from([lease.tag()])).await.map_err(not_told)?;
    admit(aws, place, lease).await
}

/// Creates the rule; an existing one is as wanted.
///
/// # Errors
/// A call to EC2 fails.
pub async fn admit(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    match ingress::admit(aws, place.group, &lease.ssh_rule()).await {
        Err(error) if !error.is(&["InvalidPermission.Duplicate"]) => {
            Err(explain(format!("cannot open port 22 for {}", lease.source), &error))
        }
        _ => Ok(()),
    }
}

/// Renews the lease, and creates the rule again if needed: another command that did not see the lease may have deleted
/// it.
///
/// # Errors
/// A call to EC2 fails.
pub async fn renew(aws: &Aws, place: Place<'_>, lease: &Lease) -> Result<()> {
    open(aws, place, &lease.renewed(now())).await
}

/// Deletes the lease, and the rule unless another lease needs it. Returns whether the rule is deleted.
///
/// # Errors
/// A call to EC2 fails.
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
    // A rule that was created by hand stays. Ours may not be listed yet.
    let by_hand = ingress::rule_of(&lease.ssh_rule());
    if let Some(group) = group.present().filter(|group| !group.ingress.contains(&by_hand)) {
        ingress::shut(aws, &group.id, &lease.ssh_rule()).await.map_err(left)?;
    }
    untagged.map(|()| true)
}

/// Deletes what killed sessions left: rules of a deployment's security group, and tags of its instances. A failure does
/// not stop the command. Returns what was deleted, and the failures.
pub async fn sweep(aws: &Aws, group: Option<(&str, &[SshRule])>, instances: &[State]) -> (Vec<SshRule>, Vec<Failure>) {
    let (mut closed, mut failures) = (Vec::new(), Vec::new());
    let (group, ssh_rules) = group.unwrap_or_default();
    let gone = session_dir::gone();
    let Stale { tags, ssh_rules } = stale(ssh_rules, &told(instances), &gone, now());
    let over = |id: &&String| tags.iter().any(|(_, tags)| tags.contains(&tag_of(id)));
    let over: Vec<&String> = gone.iter().filter(over).collect();
    for (instance, tags) in &tags {
        if let Err(error) = untag(aws, instance, tags).await {
            failures.push(explain(format!("{instance} still has the tag of an SSH session that has ended"), &error));
        }
    }
    for rule in ssh_rules {
        match ingress::shut(aws, group, &rule).await {
            Ok(()) => closed.push(rule),
            Err(error) => failures.push(explain(format!("port 22 is still open for {}", rule.source), &error)),
        }
    }
    if failures.is_empty() {
        over.into_iter().for_each(|id| session_dir::forget(id));
    }
    (closed, failures)
}

/// The rules that killed sessions left: those that [`sweep`] would delete.
pub fn left(ssh_rules: &[SshRule], instances: &[State]) -> Vec<SshRule> {
    stale(ssh_rules, &told(instances), &session_dir::gone(), now()).ssh_rules
}

/// At least one tag: with an empty list, EC2 would delete all tags.
async fn untag(aws: &Aws, instance: &str, tags: &[String]) -> Result<(), ApiError> {
    // Without a value: the tag is deleted whatever its value.
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
