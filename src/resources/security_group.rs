//! The security group. It also has the launch nonce as a tag, created with it, so two concurrent `up`s launch one
//! instance. Its rules are a separate resource, [`ingress`](super::ingress): a launch does not wait for them.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::types::{ResourceType, SecurityGroup};

use super::ingress::{self, Rule};
use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, Step};
use super::{Planned, Sight, Tags, any_name_tag, filter, from_ec2, instance, missing, ours, set_tags, tagged};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;
use crate::resources::ssh::SshRule;
use crate::resources::{Lookup, NameConflict};

/// The state of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `sg-…`
    pub id: String,
    /// The nonce for the client token of `RunInstances`, which also contains the instance's spec.
    pub nonce: Option<String>,
    /// All ingress rules, except for SSH rules.
    pub ingress: BTreeSet<Rule>,
    /// The rules of `devopsctl ssh`, which are not part of a plan.
    pub ssh_rules: Vec<SshRule>,
    /// All tags.
    pub tags: Tags,
}

/// The wanted group.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags, without the launch nonce.
    pub tags: Tags,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `sg-…`
    pub id: String,
    /// The launch nonce.
    pub nonce: Option<String>,
}

impl From<&State> for Output {
    fn from(state: &State) -> Self {
        Self { id: state.id.clone(), nonce: state.nonce.clone() }
    }
}

/// The only group of the deployment.
pub const ID: Id = Id::of(Kind::SecurityGroup);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(&self.tags, sight.have.security_group.looked()?))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(group) = sight.have.security_group.present() {
            outputs.set(ID, Output::from(group));
        }
    }

    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let delete = |have: &State| Planned::delete(Change::Delete { id: have.id.clone() });
        sight.removal(ID.kind, sight.instances(), || Ok(sight.have.security_group.looked()?.map(delete)))
    }
}

/// EC2's errors for a group that does not exist, or is not known yet.
pub(super) const UNKNOWN: [&str; 2] = ["InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"];

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create it.
    Create { tags: Tags },
    /// Set these tags.
    Tag { id: String, tags: Tags },
    /// Delete it.
    Delete { id: String },
}

/// Finds the group by name.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let group = names::common(name);
    let request = || aws.ec2.describe_security_groups().filters(filter("group-name", &group)).send();
    let answer = call("ec2:DescribeSecurityGroups", request)
        .await
        .map_err(|error| explain("cannot look up the security group", &error))?;
    let mut seen = Lookup::Absent;
    for found in answer.security_groups.unwrap_or_default().into_iter().map(State::of) {
        if ours(&found.tags, name) {
            return Ok(Lookup::Present(found));
        }
        seen = Lookup::NotOurs(NameConflict::new("security group", format!("{group} ({})", found.id)));
    }
    Ok(seen)
}

/// Finds the groups of all deployments.
///
/// # Errors
/// A call to EC2 fails.
pub async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = aws.ec2.describe_security_groups().filters(any_name_tag()).set_next_token(page);
        let answer = call("ec2:DescribeSecurityGroups", || request.clone().send())
            .await
            .map_err(|error| explain("cannot list the security groups", &error))?;
        found.extend(answer.security_groups.unwrap_or_default().into_iter().map(State::of));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

impl State {
    fn of(found: SecurityGroup) -> Self {
        let tags = from_ec2(found.tags);
        let (ingress, ssh_rules) = ingress::sort(&found.ip_permissions.unwrap_or_default());
        let nonce = tags.get(names::TAG_NONCE).cloned();
        Self { id: found.group_id.unwrap_or_default(), nonce, ingress, ssh_rules, tags }
    }

    /// The lowest allowed TCP port: the app's, if it is served over plain HTTP.
    pub fn port(&self) -> Option<u16> {
        let ports = self.ingress.iter().filter(|rule| rule.protocol == "tcp").map(|rule| rule.from);
        ports.min().and_then(|port| u16::try_from(port).ok())
    }
}

/// What must change so that it exists with its tags and a nonce.
fn diff(tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
    let Some(have) = have else {
        return Some(Planned::create("does not exist", Change::Create { tags: tags.clone() }));
    };
    let mut tags = missing(tags, &have.tags);
    if have.nonce.is_none() {
        tags.insert(names::TAG_NONCE.to_owned(), String::new());
    }
    Planned::tag(tags, |tags| Change::Tag { id: have.id.clone(), tags })
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { tags } => create(context, tags).await,
        Change::Tag { id, tags } => {
            retag(context, &id, tags).await?;
            Ok(format!("{id} is tagged"))
        }
        Change::Delete { id } => delete(context, &id).await,
    }
}

async fn create(context: &Context, mut tags: Tags) -> Result<String> {
    let name = names::common(&context.name);
    let nonce = nonce()?;
    tags.insert(names::TAG_NONCE.to_owned(), nonce.clone());
    let vpc = match &context.subnet {
        Some(subnet) => Some(vpc_of(&context.aws, subnet).await?),
        None => None,
    };
    let request = || {
        let specification = tagged(ResourceType::SecurityGroup, &tags);
        let description = format!("{name}: the port of the app only");
        context
            .aws
            .ec2
            .create_security_group()
            .group_name(&name)
            .description(description)
            .set_vpc_id(vpc.clone())
            .tag_specifications(specification)
            .send()
    };
    match call("ec2:CreateSecurityGroup", request).await {
        Ok(answer) => {
            let id = answer.group_id.unwrap_or_default();
            context.learn(Output { id: id.clone(), nonce: Some(nonce) });
            Ok(id)
        }
        // Another command was faster, or the response to the first try was lost: it is ours if it has our tag.
        Err(error) if error.is(&["InvalidGroup.Duplicate"]) => adopt(context, &error).await,
        Err(error) => Err(explain("cannot create the security group", &error)),
    }
}

/// A new group may not be listed yet.
async fn adopt(context: &Context, error: &ApiError) -> Result<String> {
    let mut backoff = Backoff::new(Duration::from_secs(30));
    loop {
        match observe(&context.aws, &context.name).await? {
            Lookup::Present(found) => {
                context.learn(Output::from(&found));
                if found.nonce.is_none() {
                    renew_nonce(context, &found.id).await?;
                }
                return Ok(found.id);
            }
            Lookup::NotOurs(foreign) => return Err(foreign.refuse()),
            _ if backoff.wait().await == Retry::Again => {}
            _ => return Err(explain("cannot create the security group", error)),
        }
    }
}

async fn vpc_of(aws: &Aws, subnet: &str) -> Result<String> {
    let request = || aws.ec2.describe_subnets().subnet_ids(subnet).send();
    let answer = call("ec2:DescribeSubnets", request)
        .await
        .map_err(|error| explain(format!("cannot look up the subnet {subnet}"), &error))?;
    let found = answer.subnets.unwrap_or_default().into_iter().find_map(|subnet| subnet.vpc_id);
    found.ok_or_else(|| {
        Failure::failed(format!("the subnet {subnet} has no VPC")).next("correct network.subnet in deploy.yaml")
    })
}

async fn retag(context: &Context, id: &str, mut tags: Tags) -> Result<()> {
    if let Some(slot) = tags.get_mut(names::TAG_NONCE) {
        *slot = nonce()?;
        learn(context, slot);
    }
    set_tags(&context.aws, &[id], &tags).await.map_err(|error| explain("cannot tag the security group", &error))
}

/// Sets a new, unused nonce on the group. With two concurrent commands the last nonce counts for both.
///
/// # Errors
/// A call to EC2 fails.
pub async fn renew_nonce(context: &Context, id: &str) -> Result<()> {
    let used = context.output::<Output>(&ID)?.nonce;
    retag(context, id, Tags::from([(names::TAG_NONCE.to_owned(), String::new())])).await?;
    // A list without the new tag still shows the old nonce.
    if let Lookup::Present(State { nonce: Some(nonce), .. }) = observe(&context.aws, &context.name).await?
        && used.as_ref() != Some(&nonce)
    {
        learn(context, &nonce);
    }
    Ok(())
}

fn learn(context: &Context, nonce: &str) {
    context.change(&ID, |group: &mut Output| group.nonce = Some(nonce.to_owned()));
}

/// The network interface of a terminated instance is deleted some seconds later: until then the group is in use. It may
/// also be the interface of an instance that was not listed yet, because it was just launched.
async fn delete(context: &Context, id: &str) -> Result<String> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(2));
    loop {
        match call("ec2:DeleteSecurityGroup", || context.aws.ec2.delete_security_group().group_id(id).send()).await {
            Ok(_) => return Ok("deleted".into()),
            Err(error) if error.absent() => return Ok("deleted".into()),
            Err(error) if error.is(&["DependencyViolation"]) => {
                context.check_interrupt()?;
                if backoff.wait().await == Retry::Enough {
                    return Err(explain(format!("the security group {id} is still in use"), &error));
                }
                instance::terminate_all(context).await?;
            }
            Err(error) => return Err(explain(format!("cannot delete the security group {id}"), &error)),
        }
    }
}

fn nonce() -> Result<String> {
    crate::base::secret::random_hex(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let tags = Tags::from([(names::TAG_NAME.to_owned(), "hello".to_owned())]);
        State { id: "sg-1".into(), nonce: Some("n".into()), ingress: BTreeSet::new(), ssh_rules: Vec::new(), tags }
    }

    #[test]
    fn a_wanted_group_is_kept() {
        assert_eq!(diff(&state().tags, Some(&state())), None);
    }

    #[test]
    fn a_group_without_a_nonce_gets_one() {
        let have = State { nonce: None, ..state() };
        let Some(Change::Tag { tags, .. }) = diff(&have.tags, Some(&have)).map(|planned| planned.change) else {
            panic!()
        };
        assert!(tags.contains_key(names::TAG_NONCE));
    }

    #[test]
    fn a_missing_tag_is_set() {
        let mut want = state().tags;
        want.insert("team".into(), "web".into());
        assert_eq!(diff(&want, Some(&state())).unwrap().reasons, ["tag team is missing or different"]);
    }
}
