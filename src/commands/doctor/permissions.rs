//! Whether whoever asks may do what `up` does. EC2 answers that without doing it (`DryRun`); what only looks is looked at;
//! the rest cannot be asked without changing something, and is said to be not asked.

use std::collections::BTreeSet;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{DomainType, ResourceType};

use super::{Check, action, ask, soon};
use crate::aws::{ApiError, Aws, explain};
use crate::base::error::{Exit, Failure, Result, command};
use crate::base::names;
use crate::config::Deployment;
use crate::resources::instance::{self, Credits, Image, Order};
use crate::resources::{
    Lookup, NameConflict, Tags, bucket, key_pair, release, reports, role, security_group, tagged, token,
};

const PERMISSIONS: &str = "permissions";

/// What `up` looks at first, as far as it needs no account's number.
pub struct Reads {
    answers: Vec<Result<()>>,
    foreign: Vec<NameConflict>,
    group: Option<String>,
    key_pair: bool,
}

/// Looks at it all at once.
pub async fn read(aws: &Aws, name: &str) -> Reads {
    let (group, pair, role, token, reports, instances) = tokio::join!(
        soon(security_group::observe(aws, name)),
        soon(key_pair::observe(aws, name)),
        soon(role::observe(aws, name)),
        soon(token::observe(aws, name)),
        soon(reports::observe(aws, name)),
        soon(instance::observe(aws, name)),
    );
    let mut reads = Reads { answers: Vec::new(), foreign: Vec::new(), group: None, key_pair: false };
    reads.group = reads.take(group).map(|group| group.id);
    reads.key_pair = reads.take(pair).is_some();
    reads.take(role);
    reads.take(token);
    reads.answers.extend([reports.map(drop), instances.map(drop)]);
    reads
}

impl Reads {
    fn take<T>(&mut self, answer: Result<Lookup<T>>) -> Option<T> {
        match answer {
            Ok(found) => {
                self.answers.push(Ok(()));
                match found {
                    Lookup::Present(found) => return Some(found),
                    Lookup::NotOurs(foreign) => self.foreign.push(foreign),
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

/// Where a launch would go.
pub struct Launch<'a> {
    /// The image, if it is known.
    pub image: Option<&'a Image>,
    /// What CPU credits it would have.
    pub credits: Option<Credits>,
    /// Whether there is a network.
    pub network: bool,
    /// The VPC, if it is known.
    pub vpc: Option<&'a str>,
}

/// What was asked, and the answers.
pub struct Seen {
    reads: Vec<Result<()>>,
    foreign: Vec<NameConflict>,
    writes: Vec<Result<(), ApiError>>,
    /// Whether the launch was asked for with the group that the instance will be in.
    group: bool,
    /// Whether the launch was asked for at all.
    launch: bool,
}

/// Asks for what `up` would make, without making it; and looks into the bucket.
pub async fn look(aws: &Aws, deployment: &Deployment, account: &str, reads: Reads, launch: Launch<'_>) -> Seen {
    let Reads { mut answers, foreign, group, key_pair } = reads;
    let (bucket, releases, writes) = tokio::join!(
        soon(bucket::observe(aws, account)),
        soon(release::observe(aws, account, &deployment.name)),
        writes(aws, deployment, group.as_deref(), key_pair, &launch),
    );
    answers.extend([bucket.map(drop), releases.map(drop)]);
    let launch = launch.network && launch.image.is_some();
    Seen { reads: answers, foreign, writes, group: group.is_some(), launch }
}

async fn writes(
    aws: &Aws,
    deployment: &Deployment,
    group: Option<&str>,
    key_pair: bool,
    launch: &Launch<'_>,
) -> Vec<Result<(), ApiError>> {
    let common = names::common(&deployment.name);
    let tags = Tags::from([(names::TAG_NAME.to_owned(), deployment.name.clone())]);
    let ec2 = &aws.ec2;
    let run = async {
        let image = launch.image.filter(|_| launch.network)?;
        let order = Order {
            image,
            kind: &deployment.instance.kind,
            disk_gib: deployment.instance.disk_gib,
            credits: launch.credits,
            subnet: deployment.network.subnet.as_deref(),
            group,
            key_pair: key_pair.then(|| common.clone()),
            tags: &tags,
        };
        let request = || order.request(ec2).dry_run(true).send();
        Some(ask("ec2:RunInstances", request).await.map(drop))
    };
    let make = async {
        let request = || {
            ec2.create_security_group()
                .dry_run(true)
                .group_name(&common)
                .description(&common)
                .set_vpc_id(launch.vpc.map(str::to_owned))
                .tag_specifications(tagged(ResourceType::SecurityGroup, &tags))
                .send()
        };
        match launch.network {
            true => Some(ask("ec2:CreateSecurityGroup", request).await.map(drop)),
            false => None,
        }
    };
    let import = async {
        let key = key_pair::nobodys()?;
        let request = || {
            ec2.import_key_pair()
                .dry_run(true)
                .key_name(&common)
                .public_key_material(Blob::new(key.clone().into_bytes()))
                .tag_specifications(tagged(ResourceType::KeyPair, &tags))
                .send()
        };
        Some(ask("ec2:ImportKeyPair", request).await.map(drop))
    };
    let allocate = async {
        let request = || {
            let specification = tagged(ResourceType::ElasticIp, &tags);
            ec2.allocate_address().dry_run(true).domain(DomainType::Vpc).tag_specifications(specification).send()
        };
        match deployment.network.static_ip {
            true => Some(ask("ec2:AllocateAddress", request).await.map(drop)),
            false => None,
        }
    };
    let (run, make, import, allocate) = tokio::join!(run, make, import, allocate);
    [run, make, import, allocate].into_iter().flatten().map(permitted).collect()
}

/// That it would be done is an error, too. What EC2 refuses for another reason than who asks is told by other checks.
fn permitted(answer: Result<(), ApiError>) -> Result<(), ApiError> {
    let told = ["InvalidGroup.Duplicate", "InvalidKeyPair.Duplicate", "AddressLimitExceeded"];
    match answer {
        Err(error) if error.is(&["DryRunOperation"]) || error.is(&told) => Ok(()),
        other => other,
    }
}

impl Seen {
    /// What may be done; and what bears the deployment's name but is not its own.
    pub fn judge(&self) -> Vec<Check> {
        let mut checks = vec![self.permissions()];
        checks.extend(self.foreign.iter().map(|foreign| Check::failed("name", &foreign.refuse())));
        checks
    }

    fn permissions(&self) -> Check {
        let mut refused = BTreeSet::new();
        let (mut other, mut organisation): (Option<Check>, Option<Failure>) = (None, None);
        let mut unclear = !self.launch;
        for error in self.writes.iter().filter_map(|answer| answer.as_ref().err()) {
            let failure = explain(format!("{} cannot be done", error.action), error);
            if error.code != "UnauthorizedOperation" {
                other.get_or_insert_with(|| Check::failed(PERMISSIONS, &failure));
            } else if !self.group && about_a_group(error) {
                unclear = true;
            } else {
                refused.insert(named(error).to_owned());
                if error.message.contains("service control policy") {
                    organisation.get_or_insert(failure);
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
            let next = match organisation.as_ref().and_then(Failure::next_step) {
                Some(next) => next.to_owned(),
                None => format!("have an administrator allow what {} prints", command("policy")),
            };
            let failure = Failure::new(Exit::Denied, format!("not allowed to you: {}", list.join(", "))).next(next);
            return Check::failed(PERMISSIONS, &failure);
        }
        if let Some(check) = other {
            return check;
        }
        let launch = if unclear { "; nor the launch, until its group is there" } else { "" };
        let asked = self.writes.len() + self.reads.len();
        Check::pass(PERMISSIONS, format!("{asked} asked, none refused; not asked: changes in IAM, SSM, S3{launch}"))
    }
}

/// Before the first `up` there is no group of ours to ask with, and the VPC's own is not ours to launch in.
fn about_a_group(error: &ApiError) -> bool {
    error.message.contains(":security-group/")
}

/// The action that EC2 names: with what is made goes the right to tag it, which is another's.
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
        let (reads, writes) = (vec![read], vec![permitted(write)]);
        Seen { reads, foreign: Vec::new(), writes, group, launch: true }.permissions()
    }

    #[test]
    fn that_it_would_have_been_done_is_a_yes() {
        let check = seen(Err(error("DryRunOperation", "")), Ok(()), true);
        assert_eq!(check.state, State::Pass);
        assert!(!check.seen.contains("the launch"), "{}", check.seen);
    }

    #[test]
    fn a_refusal_names_each_action_once() {
        let read = || Err(Failure::new(Exit::Denied, "x").because("iam:GetRole says AccessDenied: no").next("y"));
        let check = seen(Err(error("UnauthorizedOperation", "arn:aws:ec2:x:1:instance/*")), read(), false);
        assert_eq!(check.seen, "not allowed to you: ec2:CreateTags, iam:GetRole");
        assert_eq!(check.state, State::Fail(Exit::Denied));
        assert!(check.next.unwrap().contains("policy"));
    }

    #[test]
    fn the_vpcs_own_group_is_no_reason_before_there_is_one_of_ours() {
        let refused = || Err(error("UnauthorizedOperation", "arn:aws:ec2:x:1:security-group/sg-1"));
        let check = seen(refused(), Ok(()), false);
        assert_eq!(check.state, State::Pass);
        assert!(check.seen.contains("the launch"), "{}", check.seen);
        assert!(seen(refused(), Ok(()), true).is_failed());
    }

    #[test]
    fn what_else_ec2_refuses_is_told() {
        let check = seen(Err(error("PendingVerification", "")), Ok(()), true);
        assert_eq!(check.state, State::Fail(Exit::Failed));
    }
}
