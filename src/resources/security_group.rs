//! The security group: lets in the app's port from the allowed blocks and nothing else. It also carries the launch
//! nonce, made with it, so that two `up`s at once launch one instance.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, UserIdGroupPair};
use ipnet::IpNet;

use super::{Action, Planned, Tags, filter, from_ec2, missing, ours, tagged, to_ec2};
use crate::aws::{ApiError, Aws, call, explain};
use crate::engine::context::Context;
use crate::engine::observe::Foreign;
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Failure, Result};
use crate::names;

/// A security group as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `sg-…`
    pub id: String,
    /// What `RunInstances` is to carry as its client token.
    pub nonce: Option<String>,
    /// Everything that is let in.
    pub ingress: BTreeSet<Rule>,
    /// All its tags.
    pub tags: Tags,
}

/// One permission for one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, or `-1` for everything.
    pub protocol: String,
    /// The first port; -1 for all.
    pub from: i32,
    /// The last port; -1 for all.
    pub to: i32,
    /// Who is let in.
    pub source: Source,
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A block of addresses.
    Block(IpNet),
    /// Members of another security group.
    Group(String),
    /// A managed prefix list.
    PrefixList(String),
}

impl Rule {
    /// TCP to one port from one block.
    pub fn tcp(port: u16, block: IpNet) -> Self {
        let port = i32::from(port);
        Self { protocol: "tcp".into(), from: port, to: port, source: Source::Block(block) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Block(block) => block.to_string(),
            Source::Group(id) | Source::PrefixList(id) => id.clone(),
        };
        match (self.protocol.as_str(), self.from == self.to) {
            ("-1", _) => write!(f, "everything from {source}"),
            (protocol, true) => write!(f, "{protocol} {} from {source}", self.from),
            (protocol, false) => write!(f, "{protocol} {}-{} from {source}", self.from, self.to),
        }
    }
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make it, let these in.
    Create { rules: Vec<Rule>, tags: Tags },
    /// Let these in, these no longer, and set these tags.
    Update { id: String, authorize: Vec<Rule>, revoke: Vec<Rule>, tags: Tags },
    /// Remove it.
    Delete { id: String },
}

/// Looks for the group by its name.
pub async fn observe(aws: &Aws, name: &str) -> Result<(Option<State>, Option<Foreign>)> {
    let group = names::common(name);
    let request = || aws.ec2.describe_security_groups().filters(filter("group-name", &group)).send();
    let answer = call("ec2:DescribeSecurityGroups", request)
        .await
        .map_err(|error| explain("cannot look for the security group", &error))?;
    let mut foreign = None;
    for found in answer.security_groups.unwrap_or_default() {
        let id = found.group_id.unwrap_or_default();
        let tags = from_ec2(found.tags);
        if !ours(&tags, name) {
            foreign = Some(Foreign::new("security group", format!("{group} ({id})")));
            continue;
        }
        let ingress = found.ip_permissions.unwrap_or_default().iter().flat_map(rules).collect();
        let nonce = tags.get(names::TAG_NONCE).cloned();
        return Ok((Some(State { id, nonce, ingress, tags }), foreign));
    }
    Ok((None, foreign))
}

/// What is to be done so that exactly `rules` are let in.
pub fn diff(rules: &BTreeSet<Rule>, tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
    let Some(have) = have else {
        return Some(Planned::create(
            "there is none",
            Change::Create { rules: rules.iter().cloned().collect(), tags: tags.clone() },
        ));
    };
    let authorize: Vec<Rule> = rules.difference(&have.ingress).cloned().collect();
    let revoke: Vec<Rule> = have.ingress.difference(rules).cloned().collect();
    let mut tags = missing(tags, &have.tags);
    if have.nonce.is_none() {
        tags.insert(names::TAG_NONCE.to_owned(), String::new());
    }
    let mut reasons: Vec<String> = authorize.iter().map(|rule| format!("does not let in {rule}")).collect();
    reasons.extend(revoke.iter().map(|rule| format!("lets in {rule}")));
    reasons.extend(tags.keys().map(|key| format!("tag {key} is missing or different")));
    let change = Change::Update { id: have.id.clone(), authorize, revoke, tags };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

/// What is to be done so that none stands.
pub fn removal(have: Option<&State>) -> Option<Planned<Change>> {
    have.map(|have| Planned::delete(Change::Delete { id: have.id.clone() }))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { rules, tags } => create(context, rules, tags).await,
        Change::Update { id, authorize, revoke, tags } => {
            // What is too much goes first: nobody is let in a moment longer than wanted.
            permit(context, &id, &revoke, Permit::Revoke).await?;
            permit(context, &id, &authorize, Permit::Authorize).await?;
            retag(context, &id, tags).await?;
            Ok("put right".into())
        }
        Change::Delete { id } => delete(context, &id).await,
    }
}

async fn create(context: &Context, rules: Vec<Rule>, mut tags: Tags) -> Result<String> {
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
    let id = match call("ec2:CreateSecurityGroup", request).await {
        Ok(answer) => {
            context.set_nonce(nonce);
            answer.group_id.unwrap_or_default()
        }
        // Somebody was faster, or the answer to our first try was lost: it is ours if its tag says so.
        Err(error) if error.is(&["InvalidGroup.Duplicate"]) => adopt(context, &error).await?,
        Err(error) => return Err(explain("the security group cannot be made", &error)),
    };
    context.set_group(&id);
    permit(context, &id, &rules, Permit::Authorize).await?;
    Ok(format!("{id} lets in {}", rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
}

async fn adopt(context: &Context, error: &ApiError) -> Result<String> {
    match observe(&context.aws, &context.name).await? {
        (Some(state), _) => {
            if let Some(nonce) = state.nonce {
                context.set_nonce(nonce);
            }
            Ok(state.id)
        }
        (None, Some(foreign)) => Err(foreign.refuse()),
        (None, None) => Err(explain("the security group cannot be made", error)),
    }
}

async fn vpc_of(aws: &Aws, subnet: &str) -> Result<String> {
    let request = || aws.ec2.describe_subnets().subnet_ids(subnet).send();
    let answer = call("ec2:DescribeSubnets", request)
        .await
        .map_err(|error| explain(format!("the subnet {subnet} cannot be looked up"), &error))?;
    let found = answer.subnets.unwrap_or_default().into_iter().find_map(|subnet| subnet.vpc_id);
    found.ok_or_else(|| {
        Failure::failed(format!("the subnet {subnet} is in no VPC")).next("correct network.subnet in deploy.yaml")
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Permit {
    Authorize,
    Revoke,
}

/// A group just made may be unknown to the next call for a moment; a rule that is there, or gone, already is as wanted.
async fn permit(context: &Context, id: &str, rules: &[Rule], permit: Permit) -> Result<()> {
    let ec2 = &context.aws.ec2;
    for rule in rules {
        let mut backoff = Backoff::new(std::time::Duration::from_secs(30));
        loop {
            let sent = match permit {
                Permit::Authorize => {
                    let request =
                        || ec2.authorize_security_group_ingress().group_id(id).ip_permissions(permission(rule)).send();
                    call("ec2:AuthorizeSecurityGroupIngress", request).await.map(|_| ())
                }
                Permit::Revoke => {
                    let request =
                        || ec2.revoke_security_group_ingress().group_id(id).ip_permissions(permission(rule)).send();
                    call("ec2:RevokeSecurityGroupIngress", request).await.map(|_| ())
                }
            };
            match sent {
                Ok(()) => break,
                Err(error) if error.is(&["InvalidPermission.Duplicate", "InvalidPermission.NotFound"]) => break,
                Err(error) if error.is(&["InvalidGroup.NotFound"]) && backoff.wait().await == Retry::Again => {}
                Err(error) => {
                    return Err(explain(format!("the security group's rule ({rule}) cannot be changed"), &error));
                }
            }
        }
    }
    Ok(())
}

async fn retag(context: &Context, id: &str, mut tags: Tags) -> Result<()> {
    if let Some(slot) = tags.get_mut(names::TAG_NONCE) {
        *slot = nonce()?;
        context.set_nonce(slot.clone());
    }
    set_tags(&context.aws, id, &tags).await.map_err(|error| explain("the security group cannot be tagged", &error))
}

/// Gives the group a nonce that no launch has used yet.
///
/// # Errors
/// What EC2 says.
pub async fn renew_nonce(context: &Context, id: &str) -> Result<String> {
    let fresh = nonce()?;
    let tags = Tags::from([(names::TAG_NONCE.to_owned(), fresh.clone())]);
    set_tags(&context.aws, id, &tags).await.map_err(|error| explain("the security group cannot be tagged", &error))?;
    context.set_nonce(fresh.clone());
    Ok(fresh)
}

/// Sets tags on any EC2 resource; one that was just made may be unknown for a moment.
///
/// # Errors
/// What EC2 says, when it says it for longer than half a minute.
pub async fn set_tags(aws: &Aws, id: &str, tags: &Tags) -> Result<(), ApiError> {
    if tags.is_empty() {
        return Ok(());
    }
    let mut backoff = Backoff::new(std::time::Duration::from_secs(30));
    loop {
        match call("ec2:CreateTags", || aws.ec2.create_tags().resources(id).set_tags(Some(to_ec2(tags))).send()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.absent() && backoff.wait().await == Retry::Again => {}
            Err(error) => return Err(error),
        }
    }
}

/// The interface of a terminated instance is gone some seconds after the instance: until then the group is in use.
async fn delete(context: &Context, id: &str) -> Result<String> {
    let mut backoff = Backoff::polling(std::time::Duration::from_secs(300), std::time::Duration::from_secs(2));
    loop {
        match call("ec2:DeleteSecurityGroup", || context.aws.ec2.delete_security_group().group_id(id).send()).await {
            Ok(_) => return Ok("gone".into()),
            Err(error) if error.absent() => return Ok("gone".into()),
            Err(error) if error.is(&["DependencyViolation"]) => {
                context.check_interrupt()?;
                if backoff.wait().await == Retry::Enough {
                    let next = "find what uses it in the EC2 console (network interfaces), remove that, then run the same command again";
                    return Err(explain(format!("the security group {id} is still in use"), &error).next(next));
                }
            }
            Err(error) => return Err(explain(format!("the security group {id} cannot be deleted"), &error)),
        }
    }
}

fn nonce() -> Result<String> {
    crate::secret::random_hex(16)
}

fn rules(permission: &IpPermission) -> Vec<Rule> {
    let protocol = permission.ip_protocol.clone().unwrap_or_default();
    let (from, to) = (permission.from_port.unwrap_or(-1), permission.to_port.unwrap_or(-1));
    let blocks = permission.ip_ranges().iter().filter_map(|range| range.cidr_ip());
    let blocks = blocks.chain(permission.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6()));
    let blocks = blocks.filter_map(|block| block.parse().ok()).map(Source::Block);
    let groups = permission.user_id_group_pairs().iter().filter_map(|pair| pair.group_id.clone()).map(Source::Group);
    let lists =
        permission.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id.clone()).map(Source::PrefixList);
    blocks.chain(groups).chain(lists).map(|source| Rule { protocol: protocol.clone(), from, to, source }).collect()
}

fn permission(rule: &Rule) -> IpPermission {
    let permission = IpPermission::builder().ip_protocol(&rule.protocol).from_port(rule.from).to_port(rule.to);
    match &rule.source {
        Source::Block(IpNet::V4(block)) => permission.ip_ranges(IpRange::builder().cidr_ip(block.to_string()).build()),
        Source::Block(IpNet::V6(block)) => {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(block.to_string()).build())
        }
        Source::Group(id) => permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
        Source::PrefixList(id) => permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).build()),
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(port: u16, block: &str) -> Rule {
        Rule::tcp(port, block.parse().unwrap())
    }

    fn state(rules: &[Rule]) -> State {
        let nonce = Some("n".to_owned());
        let tags = Tags::from([
            (names::TAG_NAME.to_owned(), "hello".to_owned()),
            (names::TAG_NONCE.to_owned(), "n".to_owned()),
        ]);
        State { id: "sg-1".into(), nonce, ingress: rules.iter().cloned().collect(), tags }
    }

    fn want(rules: &[Rule]) -> (BTreeSet<Rule>, Tags) {
        (rules.iter().cloned().collect(), Tags::from([(names::TAG_NAME.to_owned(), "hello".to_owned())]))
    }

    #[test]
    fn as_wanted_is_kept() {
        let (rules, tags) = want(&[rule(80, "0.0.0.0/0")]);
        assert_eq!(diff(&rules, &tags, Some(&state(&[rule(80, "0.0.0.0/0")]))), None);
    }

    #[test]
    fn a_rule_too_many_is_revoked_and_a_missing_one_authorized() {
        let (rules, tags) = want(&[rule(80, "0.0.0.0/0")]);
        let planned = diff(&rules, &tags, Some(&state(&[rule(22, "0.0.0.0/0")]))).unwrap();
        assert_eq!(planned.reasons, ["does not let in tcp 80 from 0.0.0.0/0", "lets in tcp 22 from 0.0.0.0/0"]);
        let Change::Update { authorize, revoke, .. } = planned.change else { panic!("{planned:?}") };
        assert_eq!((authorize, revoke), (vec![rule(80, "0.0.0.0/0")], vec![rule(22, "0.0.0.0/0")]));
    }

    #[test]
    fn every_kind_of_source_survives_the_way_to_ec2_and_back() {
        for source in [
            Source::Block("10.0.0.0/8".parse().unwrap()),
            Source::Block("2001:db8::/32".parse().unwrap()),
            Source::Group("sg-2".into()),
            Source::PrefixList("pl-1".into()),
        ] {
            let rule = Rule { protocol: "udp".into(), from: 1, to: 2, source };
            assert_eq!(rules(&permission(&rule)), [rule]);
        }
    }

    #[test]
    fn a_group_without_a_nonce_gets_one() {
        let (rules, tags) = want(&[]);
        let have = State { nonce: None, ..state(&[]) };
        let Some(Change::Update { tags, .. }) = diff(&rules, &tags, Some(&have)).map(|planned| planned.change) else {
            panic!()
        };
        assert!(tags.contains_key(names::TAG_NONCE));
    }
}
