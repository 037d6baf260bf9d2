//! The caller's permissions for `up`. Reads are made; EC2's creations are dry runs; all other changes cannot be checked without
//! making them, and are reported as not checked.

use std::collections::BTreeSet;

use super::{Check, action};
use crate::aws::{ApiError, Aws, explain};
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::config::Deployment;
use crate::resources::preflight::{self, Launch, soon};
use crate::resources::{
    Lookup, NameConflict, app_role, bucket, instance, key_pair, release, reports, role, secrets, security_group, token,
};

const PERMISSIONS: &str = "permissions";

/// The reads that need no account id.
#[derive(Default)]
pub struct Reads {
    /// The answers.
    pub answers: Answers,
    /// The deployment's security group, if it exists.
    pub group: Option<String>,
    /// Whether the deployment's key pair exists.
    pub key_pair: bool,
    /// The app's secrets, if they could be listed.
    pub secrets: Option<secrets::Stored>,
}

/// The answers to reads.
#[derive(Default)]
pub struct Answers {
    answers: Vec<Result<()>>,
    conflicts: Vec<NameConflict>,
}

/// Makes the reads concurrently.
pub async fn read(aws: &Aws, name: &str) -> Reads {
    let (group, pair, role, app_role, token, secrets, reports, instances) = tokio::join!(
        soon(security_group::observe(aws, name)),
        soon(key_pair::observe(aws, name)),
        soon(role::observe(aws, name)),
        soon(app_role::observe(aws, name)),
        soon(token::observe(aws, name)),
        soon(secrets::list(aws, name)),
        soon(reports::observe(aws, name)),
        soon(instance::observe(aws, name)),
    );
    let mut answers = Answers::default();
    let group = answers.take(group).map(|group| group.id);
    let key_pair = answers.take(pair).is_some();
    answers.take(role);
    answers.take(app_role);
    answers.take(token);
    let stored = secrets.as_ref().ok().cloned();
    answers.answers.extend([secrets.map(drop), reports.map(drop), instances.map(drop)]);
    Reads { answers, group, key_pair, secrets: stored }
}

impl Answers {
    fn take<T>(&mut self, answer: Result<Lookup<T>>) -> Option<T> {
        match answer {
            Ok(found) => {
                self.answers.push(Ok(()));
                match found {
                    Lookup::Present(found) => return Some(found),
                    Lookup::NotOurs(conflict) => self.conflicts.push(conflict),
                    Lookup::Absent | Lookup::NotAsked => {}
                }
                None
            }
            Err(failure) => {
                self.answers.push(Err(failure));
                None
            }
        }
    }
}

/// What was asked, and the answers.
pub struct Seen {
    reads: Vec<Result<()>>,
    conflicts: Vec<NameConflict>,
    writes: Vec<Result<(), ApiError>>,
    /// Whether the dry run of the launch named the deployment's security group.
    group: bool,
    /// Whether there was a dry run of the launch.
    launch: bool,
}

/// Makes the dry runs, and reads the bucket.
pub async fn observe(aws: &Aws, deployment: &Deployment, account: &str, launch: &Launch<'_>, reads: Answers) -> Seen {
    let Answers { mut answers, conflicts } = reads;
    let (bucket, releases, writes) = tokio::join!(
        soon(bucket::observe(aws, account)),
        soon(release::observe(aws, account, &deployment.name)),
        preflight::dry_runs(aws, deployment, launch),
    );
    answers.extend([bucket.map(drop), releases.map(drop)]);
    let launched = launch.network && launch.image.is_some();
    Seen { reads: answers, conflicts, writes, group: launch.group.is_some(), launch: launched }
}

impl Seen {
    /// The permissions, and resources with a needed name that belong to another owner.
    pub fn judge(&self) -> Vec<Check> {
        let mut checks = vec![self.permissions()];
        checks.extend(self.conflicts.iter().map(|conflict| Check::failed("name", &conflict.refuse())));
        checks
    }

    fn permissions(&self) -> Check {
        let mut refused = BTreeSet::new();
        let (mut other, mut organization): (Option<Check>, Option<Failure>) = (None, None);
        let mut unclear = !self.launch;
        for error in self.writes.iter().filter_map(|answer| answer.as_ref().err()) {
            let failure = explain(format!("{} failed", error.action), error);
            if error.code != "UnauthorizedOperation" {
                other.get_or_insert_with(|| Check::failed(PERMISSIONS, &failure));
            } else if !self.group && about_a_group(error) {
                unclear = true;
            } else {
                refused.insert(named(error).to_owned());
                if error.message.contains("service control policy") {
                    organization.get_or_insert(failure);
                }
            }
        }
        for failure in self.reads.iter().filter_map(|answer| answer.as_ref().err()) {
            match (failure.exit(), action(failure)) {
                (Exit::Denied, Some(action)) => _ = refused.insert(action.to_owned()),
                _ => _ = other.get_or_insert_with(|| Check::failed(PERMISSIONS, failure)),
            }
        }
        if !refused.is_empty() {
            let list: Vec<&str> = refused.iter().map(String::as_str).collect();
            let ask = || Next::from("ask an administrator to allow what ").run_bare("policy").and(" prints");
            let next = organization.as_ref().and_then(Failure::next_step).cloned().unwrap_or_else(ask);
            let failure = Failure::new(Exit::Denied, format!("denied: {}", list.join(", "))).next(next);
            return Check::failed(PERMISSIONS, &failure);
        }
        if let Some(check) = other {
            return check;
        }
        let launch = if unclear { ", and the launch before its security group exists" } else { "" };
        let checked = self.writes.len() + self.reads.len();
        Check::pass(
            PERMISSIONS,
            format!("{checked} checked, none denied; not checked: changes in IAM, SSM, S3{launch}"),
        )
    }
}

/// Before the first `up` the dry run uses the VPC's default security group, which the policy does not allow.
fn about_a_group(error: &ApiError) -> bool {
    error.message.contains(":security-group/")
}

/// The action in EC2's message: a creation also needs the permission to tag, which is another action.
fn named(error: &ApiError) -> &str {
    let after = error.message.split("not authorized to perform: ").nth(1);
    after.and_then(|rest| rest.split_whitespace().next()).unwrap_or(error.action)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn error(code: &str, resource: &str) -> ApiError {
        let message = format!(
            "You are not authorized to perform this operation. User: arn:aws:iam::1:user/ann is not authorized to perform: \
             ec2:CreateTags on resource: {resource} because no identity-based policy allows it"
        );
        ApiError { action: "ec2:RunInstances", code: code.into(), message, status: Some(403), ahead: None }
    }

    fn seen(write: Result<(), ApiError>, read: Result<()>, group: bool) -> Check {
        let (reads, writes) = (vec![read], vec![write]);
        Seen { reads, conflicts: Vec::new(), writes, group, launch: true }.permissions()
    }

    #[test]
    fn permitted_calls_pass() {
        let check = seen(Ok(()), Ok(()), true);
        assert_eq!(check.state, State::Pass);
        assert!(!check.seen.contains("the launch"), "{}", check.seen);
    }

    #[test]
    fn each_denied_action_is_named_once() {
        let read = || Err(Failure::new(Exit::Denied, "x").because("iam:GetRole says AccessDenied: no").next("y"));
        let check = seen(Err(error("UnauthorizedOperation", "arn:aws:ec2:x:1:instance/*")), read(), false);
        assert_eq!(check.seen, "denied: ec2:CreateTags, iam:GetRole");
        assert_eq!(check.state, State::Fail(Exit::Denied));
        assert!(check.next.unwrap().to_string().contains("policy"));
    }

    #[test]
    fn the_vpcs_default_group_does_not_count_before_the_first_up() {
        let refused = || Err(error("UnauthorizedOperation", "arn:aws:ec2:x:1:security-group/sg-1"));
        let check = seen(refused(), Ok(()), false);
        assert_eq!(check.state, State::Pass);
        assert!(check.seen.contains("the launch"), "{}", check.seen);
        assert!(seen(refused(), Ok(()), true).is_failed());
    }

    #[test]
    fn other_errors_of_ec2_are_shown() {
        let check = seen(Err(error("PendingVerification", "")), Ok(()), true);
        assert_eq!(check.state, State::Fail(Exit::Failed));
    }
}
