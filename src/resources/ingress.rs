//! The ingress rules of the security group: the app's ports from the allowed CIDR blocks; and, during a session of
//! `devopsctl ssh`, port 22 from the user's address.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use ipnet::IpNet;

use super::kinds::{Id, Kind};
use super::step::Resource;
use super::{Action, Planned, Sight, security_group};
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::Result;
use crate::resources::context::Context;
use crate::resources::ssh::SshRule;

/// The port of an SSH rule.
const SSH: i32 = 22;

/// One rule for one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, or `-1` for all protocols.
    pub protocol: String,
    /// The first port; -1 for all.
    pub from: i32,
    /// The last port; -1 for all.
    pub to: i32,
    /// The allowed source.
    pub source: Source,
}

/// The source of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A CIDR block.
    Block(IpNet),
    /// Members of another security group.
    Group(String),
    /// A managed prefix list.
    PrefixList(String),
}

impl Rule {
    /// Allows one port from one block.
    pub fn new(protocol: &str, port: u16, block: IpNet) -> Self {
        let port = i32::from(port);
        Self { protocol: protocol.into(), from: port, to: port, source: Source::Block(block) }
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

/// The rules for a person.
pub fn list<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> String {
    rules.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The change to apply: rules to authorize and to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The missing rules.
    pub authorize: Vec<Rule>,
    /// The unwanted rules.
    pub revoke: Vec<Rule>,
}

/// The wanted rules.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// All wanted rules; any other rule is revoked.
    pub rules: BTreeSet<Rule>,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::Ingress)
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        vec![security_group::ID]
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(&self.rules, sight.have.security_group.looked()?.map(|group| &group.ingress)))
    }
}

/// What must change so that exactly `rules` exist. `have`: `None` if the group does not exist yet.
fn diff(rules: &BTreeSet<Rule>, have: Option<&BTreeSet<Rule>>) -> Option<Planned<Change>> {
    let nothing = BTreeSet::new();
    let let_in = have.unwrap_or(&nothing);
    let authorize: Vec<Rule> = rules.difference(let_in).cloned().collect();
    let revoke: Vec<Rule> = let_in.difference(rules).cloned().collect();
    let mut reasons: Vec<String> = authorize.iter().map(|rule| format!("does not allow {rule}")).collect();
    reasons.extend(revoke.iter().map(|rule| format!("allows {rule}")));
    let action = if have.is_none() { Action::Create } else { Action::Update };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, Change { authorize, revoke }))
}

/// Applies the change and returns the new state. Unwanted rules are revoked first, so no source is allowed longer than
/// necessary.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let group = context.output::<security_group::Output>(&security_group::ID)?.id;
    permit(context, &group, &change.revoke, Permit::Revoke).await?;
    permit(context, &group, &change.authorize, Permit::Authorize).await?;
    let said = [("allows ", &change.authorize), ("no longer allows ", &change.revoke)]
        .into_iter()
        .filter(|(_, rules)| !rules.is_empty())
        .map(|(words, rules)| format!("{words}{}", list(rules)));
    Ok(format!("{group} {}", said.collect::<Vec<_>>().join(", ")))
}

#[derive(Clone, Copy, PartialEq)]
enum Permit {
    Authorize,
    Revoke,
}

/// Sends all rules at once. If some are already as wanted, EC2 refuses the whole list: then they are sent one by one.
async fn permit(context: &Context, group: &str, rules: &[Rule], permit: Permit) -> Result<()> {
    let already = |error: &ApiError| error.is(&["InvalidPermission.Duplicate", "InvalidPermission.NotFound"]);
    let failed = |rules: &[Rule], error: &ApiError| {
        explain(format!("cannot change the security group's rule ({})", list(rules)), error)
    };
    match send(context, group, rules, permit).await {
        Err(error) if already(&error) && rules.len() > 1 => {}
        Err(error) if !already(&error) => return Err(failed(rules, &error)),
        _ => return Ok(()),
    }
    for rule in rules {
        match send(context, group, std::slice::from_ref(rule), permit).await {
            Err(error) if !already(&error) => return Err(failed(std::slice::from_ref(rule), &error)),
            _ => {}
        }
    }
    Ok(())
}

/// A new group may be unknown to the next call for a moment.
async fn send(context: &Context, group: &str, rules: &[Rule], permit: Permit) -> Result<(), ApiError> {
    if rules.is_empty() {
        return Ok(());
    }
    let ec2 = &context.aws.ec2;
    let permissions: Vec<IpPermission> = rules.iter().map(permission).collect();
    let permissions = || Some(permissions.clone());
    let unknown_yet = |error: &ApiError| error.is(&security_group::UNKNOWN) && !context.interrupted();
    patiently(Backoff::new(Duration::from_secs(30)), unknown_yet, || async {
        match permit {
            Permit::Authorize => {
                let request =
                    || ec2.authorize_security_group_ingress().group_id(group).set_ip_permissions(permissions()).send();
                call("ec2:AuthorizeSecurityGroupIngress", request).await.map(|_| ())
            }
            Permit::Revoke => {
                let request =
                    || ec2.revoke_security_group_ingress().group_id(group).set_ip_permissions(permissions()).send();
                call("ec2:RevokeSecurityGroupIngress", request).await.map(|_| ())
            }
        }
    })
    .await
}

/// EC2 may show many rules as one permission.
pub fn rules(permission: &IpPermission) -> Vec<Rule> {
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

/// All rules, and separately the SSH rules: port 22 with a description of ours.
pub fn sort(permissions: &[IpPermission]) -> (BTreeSet<Rule>, Vec<SshRule>) {
    let ssh_rules = permissions
        .iter()
        .filter(|one| (one.ip_protocol(), one.from_port(), one.to_port()) == (Some("tcp"), Some(SSH), Some(SSH)));
    let ssh_rules = ssh_rules.flat_map(|permission| permission.ip_ranges());
    let ssh_rules: Vec<SshRule> =
        ssh_rules.filter_map(|range| SshRule::of(range.description()?, range.cidr_ip()?.parse().ok()?)).collect();
    let mut rules: BTreeSet<Rule> = permissions.iter().flat_map(rules).collect();
    for ssh_rule in &ssh_rules {
        rules.remove(&rule_of(ssh_rule));
    }
    (rules, ssh_rules)
}

/// Creates an SSH rule.
///
/// # Errors
/// A call to EC2 fails; also if the rule exists.
pub async fn admit(aws: &Aws, group: &str, ssh_rule: &SshRule) -> Result<(), ApiError> {
    let range = IpRange::builder().cidr_ip(ssh_rule.source.to_string()).description(ssh_rule.description()).build();
    let permission = IpPermission::builder().ip_protocol("tcp").from_port(SSH).to_port(SSH).ip_ranges(range).build();
    let request =
        || aws.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(permission.clone()).send();
    call("ec2:AuthorizeSecurityGroupIngress", request).await.map(|_| ())
}

/// Deletes an SSH rule.
///
/// # Errors
/// A call to EC2 fails.
pub async fn shut(aws: &Aws, group: &str, ssh_rule: &SshRule) -> Result<(), ApiError> {
    let permission = permission(&rule_of(ssh_rule));
    let request = || aws.ec2.revoke_security_group_ingress().group_id(group).ip_permissions(permission.clone()).send();
    match call("ec2:RevokeSecurityGroupIngress", request).await {
        // Another command was faster, or the group was deleted.
        Err(error) if error.is(&["InvalidPermission.NotFound"]) || error.absent() => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// The EC2 form of an SSH rule.
pub fn rule_of(ssh_rule: &SshRule) -> Rule {
    Rule { protocol: "tcp".into(), from: SSH, to: SSH, source: Source::Block(ssh_rule.source.into()) }
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
        Rule::new("tcp", port, block.parse().unwrap())
    }

    #[test]
    fn wanted_rules_are_kept() {
        let rules = BTreeSet::from([rule(80, "0.0.0.0/0")]);
        assert_eq!(diff(&rules, Some(&rules)), None);
    }

    #[test]
    fn a_rule_too_many_is_revoked_and_a_missing_one_authorized() {
        let (want, have) = (BTreeSet::from([rule(80, "0.0.0.0/0")]), BTreeSet::from([rule(22, "0.0.0.0/0")]));
        let planned = diff(&want, Some(&have)).unwrap();
        assert_eq!(planned.reasons, ["does not allow tcp 80 from 0.0.0.0/0", "allows tcp 22 from 0.0.0.0/0"]);
        let Change { authorize, revoke } = planned.change;
        assert_eq!((authorize, revoke), (vec![rule(80, "0.0.0.0/0")], vec![rule(22, "0.0.0.0/0")]));
    }

    #[test]
    fn an_ssh_rule_is_known_by_its_description() {
        let ssh_rule = SshRule { id: "abcd".into(), until: 7, source: "203.0.113.7/32".parse().unwrap() };
        let range = |block: &str, description: Option<String>| {
            IpRange::builder().cidr_ip(block).set_description(description).build()
        };
        let at = |port: i32, ranges: [IpRange; 2]| {
            let permission = IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port);
            permission.set_ip_ranges(Some(ranges.to_vec())).build()
        };
        let ours = || range("203.0.113.7/32", Some(ssh_rule.description()));
        let office = || range("198.51.100.0/24", Some("the office".into()));
        let (rules, ssh_rules) = sort(&[at(22, [ours(), office()]), at(23, [ours(), range("0.0.0.0/0", None)])]);
        assert_eq!(ssh_rules, [ssh_rule]);
        let all = [rule(22, "198.51.100.0/24"), rule(23, "0.0.0.0/0"), rule(23, "203.0.113.7/32")];
        assert_eq!(rules, BTreeSet::from(all));
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
}
