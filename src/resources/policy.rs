//! The IAM policy of the command line: the fewest permissions with which `up`, `plan`, `rollback`, `releases`, `secrets`,
//! `set-token`, `token`, `status`, `list`, `logs`, `ssh`, `doctor` and `down` work. `devopsctl policy` prints it, and
//! the sandbox enforces it.
//!
//! It covers all deployments of an account. It is limited by the resource's name (`devopsctl-*`, `/devopsctl/*`) where
//! a resource has a name of ours, and by its tag where EC2 assigns a random id. `sts:GetCallerIdentity` needs no
//! permission, and neither does decrypting the token: the key `alias/aws/ssm` allows all principals of the account.
//!
//! A new call needs its action here, and a rule in `sandbox/emulator/iam/actions.py` with the resources on which AWS
//! checks it; both are in AWS's service authorization reference. The sandbox refuses the call until then, and
//! `tests/policy-used` finds an action that no call uses any more.

use serde_json::{Value, json};

use crate::base::names;
use crate::resources::role;

/// The maximum length of a managed policy, without white space; an inline policy of a role may have 10,240:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub const LARGEST_MANAGED_POLICY: usize = 6144;

/// Any account, region or name.
const ANY: &str = "*";

/// Where the policy applies.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The account's number; `None` for any.
    pub account: Option<String>,
    /// The region; `None` for any.
    pub region: Option<String>,
    /// The ARN of the permissions boundary that every created or changed role must have.
    pub boundary: Option<String>,
    /// Only the permissions of `plan`: for users who may see changes but not make them.
    pub plan: bool,
}

impl Scope {
    /// The policy.
    pub fn policy(&self) -> Value {
        let mut statements = [self.ec2(), self.iam(), self.ssm(), self.s3(), self.route53()].concat();
        if self.plan {
            statements = statements.into_iter().filter_map(looking).chain([never_decrypt()]).collect();
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// The permissions boundary for the instances' roles: what the roles of all deployments may do at most.
    pub fn boundary_document(&self) -> Value {
        role::policy(self.partition(), self.account(), self.region(), ANY, &self.bucket())
    }

    /// EC2 assigns ids, so tags limit the permissions: the tag must be present, and its value is the deployment's name.
    /// Where the tag limits a statement, the resource types are omitted, because a managed policy has a maximum length.
    fn ec2(&self) -> Vec<Value> {
        let ours = |kinds: &[&str]| kinds.iter().map(|kind| self.arn("ec2", self.account(), kind)).collect();
        let (asked_for, carried) = (asked_for(), carried());
        let making = ["AllocateAddress", "CreateSecurityGroup", "CreateVolume", "ImportKeyPair", "RunInstances"];
        vec![
            // AWS has no resource-level permissions for these; a zone's id says nothing about its owner; and a secret that is kept
            // elsewhere, whose version is looked up but not its value, may have any name, also in another account.
            allow(
                "Look",
                &[
                    of("ec2", &LOOKS),
                    of("freetier", &PLAN),
                    of("route53", &["ListHostedZonesByName", "ListResourceRecordSets"]),
                    of("secretsmanager", &["DescribeSecret"]),
                    of("servicequotas", &QUOTAS),
                    of("ssm", &["DescribeParameters"]),
                ]
                .concat(),
                vec![ANY.into()],
            ),
            // Images belong to their publishers; a subnet and its VPC may be shared by another account.
            allow(
                "From",
                &of("ec2", &["CreateSecurityGroup", "RunInstances"]),
                vec![self.arn("ec2", "", "image/*"), self.arn("ec2", ANY, "subnet/*"), self.arn("ec2", ANY, "vpc/*")],
            ),
            when(&asked_for, allow("Make", &of("ec2", &making), ours(&["*/*"]))),
            // With any call that creates something; the statements above limit these calls.
            when(
                &json!({"StringLike": {"ec2:CreateAction": ANY}}),
                allow("Tag", &of("ec2", &["CreateTags"]), ours(&["*/*"])),
            ),
            when(&carried, allow("Change", &of("ec2", &CHANGES), ours(&["*/*"]))),
            // Only the tags of ended SSH sessions. A call without a tag would delete all tags.
            when(
                &json!({
                    "StringLike": carried["StringLike"],
                    "ForAllValues:StringLike": {"aws:TagKeys": [format!("{}{ANY}", names::TAG_SSH)]},
                    "ForAnyValue:StringLike": {"aws:TagKeys": [format!("{}{ANY}", names::TAG_SSH)]},
                }),
                allow("Untag", &of("ec2", &["DeleteTags"]), ours(&["instance/*"])),
            ),
        ]
    }

    /// The roles of instances and apps. A role can be passed only to EC2, which an app's role does not trust.
    ///
    /// Which condition keys each action knows is in <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html>.
    /// A creation needs the tag in the request, and a change needs it on the role or profile. No condition key
    /// distinguishes the tags of a new role from those of an existing one (EC2 has `ec2:CreateAction`), so an existing
    /// role of our name can be tagged.
    fn iam(&self) -> Vec<Value> {
        let region = self.region();
        let named = |kind: &str| match region {
            ANY => self.global("iam", &format!("{kind}/{}", names::common(ANY))),
            region => self.global("iam", &format!("{kind}/{}", names::role(ANY, region))),
        };
        // The name of an app's role is that of the instance's role with another end. One pattern for both is shorter than two.
        let role = || match region {
            ANY => vec![named("role")],
            _ => vec![named("role") + ANY],
        };
        // Each action supports one of the two types only. AWS does not accept `*` for the type.
        let both = || [vec![named("instance-profile")], role()].concat();
        let bounded = |mut condition: Value| {
            if let Some(boundary) = &self.boundary {
                condition["StringEquals"] = json!({"iam:PermissionsBoundary": boundary});
            }
            condition
        };
        vec![
            allow("LookAtRole", &of("iam", &ROLE_LOOKS), both()),
            when(&bounded(asked_for()), allow("MakeRole", &of("iam", &["CreateRole"]), role())),
            when(&asked_for(), allow("MakeProfile", &of("iam", &PROFILE_MAKES), both())),
            when(&bounded(carried()), allow("Grant", &of("iam", &ROLE_GRANTS), role())),
            when(&carried(), allow("Role", &of("iam", &ROLE), both())),
            // AWS does not evaluate tags of the role that is passed:
            // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html>
            when(
                &json!({"StringEquals": {"iam:PassedToService": self.ec2_service()}}),
                allow("PassRole", &of("iam", &["PassRole"]), vec![named("role")]),
            ),
        ]
    }

    /// Token and reports; and AWS's public parameters with the newest images.
    fn ssm(&self) -> Vec<Value> {
        vec![
            allow(
                "Parameters",
                &of("ssm", &PARAMETERS),
                // `list` reads the path itself.
                ["parameter/devopsctl", "parameter/devopsctl/*"]
                    .map(|name| self.arn("ssm", self.account(), name))
                    .to_vec(),
            ),
            allow("Images", &of("ssm", &["GetParameters"]), vec![self.arn("ssm", "", "parameter/aws/service/*")]),
        ]
    }

    /// An S3 ARN has no account, so the account's number in the bucket's name limits it. If the number is unknown, AWS
    /// inserts that of the caller.
    fn bucket(&self) -> String {
        let account = self.account.as_deref().unwrap_or("${aws:PrincipalAccount}");
        format!("{}-{}*", names::common(account), self.region.as_deref().unwrap_or_default())
    }

    fn s3(&self) -> Vec<Value> {
        let bucket = self.resource("s3", "", "", &self.bucket());
        vec![
            allow("Bucket", &of("s3", &BUCKET), vec![bucket.clone()]),
            allow(
                "Objects",
                &of("s3", &["DeleteObject", "DeleteObjectVersion", "PutObject"]),
                vec![format!("{bucket}/*")],
            ),
            // To read a release's metadata. AWS has no permission for it alone: who has it can also read the release.
            allow(
                "Read",
                &of("s3", &["GetObject"]),
                vec![format!("{bucket}/*/releases/*"), format!("{bucket}/*/logs/*")],
            ),
        ]
    }

    /// Zones are global, and only `deploy.yaml` names the domain. A policy cannot limit a batch to certain pairs of TXT
    /// and A records; but each batch of ours has only these types, and contains a mark.
    /// <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html>
    fn route53(&self) -> Vec<Value> {
        let zones = vec![self.resource("route53", "", "", "hostedzone/*")];
        let key = |what: &str| format!("route53:ChangeResourceRecordSets{what}");
        let ours = json!({
            "ForAllValues:StringEquals": {key("RecordTypes"): ["A", "TXT"]},
            "ForAnyValue:StringLike": {key("NormalizedRecordNames"): [names::record_mark(ANY)]},
        });
        vec![when(&ours, allow("Records", &of("route53", &["ChangeResourceRecordSets"]), zones))]
    }

    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(ANY)
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(ANY)
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
    fn partition(&self) -> &'static str {
        let region = self.region();
        let known = [("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")];
        known.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
    }

    /// EC2's service principal when a role is passed to it.
    fn ec2_service(&self) -> Vec<&'static str> {
        match self.partition() {
            "aws-cn" => vec!["ec2.amazonaws.com", "ec2.amazonaws.com.cn"],
            _ => vec!["ec2.amazonaws.com"],
        }
    }

    fn arn(&self, service: &str, account: &str, resource: &str) -> String {
        self.resource(service, self.region(), account, resource)
    }

    fn global(&self, service: &str, resource: &str) -> String {
        self.resource(service, "", self.account(), resource)
    }

    fn resource(&self, service: &str, region: &str, account: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{region}:{account}:{resource}", self.partition())
    }
}

const LOOKS: [&str; 14] = [
    "DescribeAccountAttributes",
    "DescribeAddresses",
    "DescribeIamInstanceProfileAssociations",
    "DescribeImages",
    "DescribeInstanceCreditSpecifications",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeKeyPairs",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVolumes",
    "DescribeVpcBlockPublicAccessOptions",
];

const PLAN: [&str; 1] = ["GetAccountPlanState"];

const QUOTAS: [&str; 2] = ["GetAWSDefaultServiceQuota", "GetServiceQuota"];

/// A launch also needs the key pair and the security group.
const CHANGES: [&str; 20] = [
    "AssociateAddress",
    "AssociateIamInstanceProfile",
    "AttachVolume",
    "AuthorizeSecurityGroupIngress",
    "CreateTags",
    "DeleteKeyPair",
    "DeleteSecurityGroup",
    "DeleteVolume",
    "DetachVolume",
    "DisassociateAddress",
    "DisassociateIamInstanceProfile",
    "ModifyInstanceCreditSpecification",
    "ModifyInstanceMetadataOptions",
    "ModifyVolume",
    "ReleaseAddress",
    "RevokeSecurityGroupIngress",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// Also for a role that is not ours: then there is a name conflict.
const ROLE_LOOKS: [&str; 5] =
    ["GetInstanceProfile", "GetRole", "GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies"];

/// Actions that create a profile, or set our tag on a new role or profile.
const PROFILE_MAKES: [&str; 3] = ["CreateInstanceProfile", "TagInstanceProfile", "TagRole"];

/// The actions that give permissions to a role.
const ROLE_GRANTS: [&str; 3] = ["AttachRolePolicy", "PutRolePermissionsBoundary", "PutRolePolicy"];

const ROLE: [&str; 9] = [
    "AddRoleToInstanceProfile",
    "DeleteInstanceProfile",
    "DeleteRole",
    "DeleteRolePolicy",
    "DetachRolePolicy",
    "RemoveRoleFromInstanceProfile",
    "TagInstanceProfile",
    "TagRole",
    "UpdateAssumeRolePolicy",
];

const PARAMETERS: [&str; 8] = [
    "AddTagsToResource",
    "DeleteParameter",
    "DeleteParameters",
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "ListTagsForResource",
    "PutParameter",
];

const BUCKET: [&str; 8] = [
    "CreateBucket",
    "DeleteBucket",
    "GetBucketPolicy",
    "GetBucketPublicAccessBlock",
    "ListBucket",
    "ListBucketVersions",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
];

/// The actions of a statement that only read, without the token, the app's code and its log.
fn looking(mut statement: Value) -> Option<Value> {
    let looks = |action: &str| {
        let verb = action.split_once(':').map_or(action, |(_, verb)| verb);
        let secret = ["s3:GetObject", "ssm:GetParameter"].contains(&action);
        !secret && ["Describe", "Get", "List"].iter().any(|prefix| verb.starts_with(prefix))
    };
    let actions = statement["Action"].as_array_mut()?;
    actions.retain(|action| action.as_str().is_some_and(looks));
    (!actions.is_empty()).then_some(statement)
}

/// The call that returns the token's version would also return the token, if it could be decrypted:
/// <https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html>
fn never_decrypt() -> Value {
    json!({"Sid": "NotTheToken", "Effect": "Deny", "Action": ["kms:Decrypt"], "Resource": [ANY]})
}

/// The condition that the call sets our tag.
fn asked_for() -> Value {
    json!({"StringLike": {format!("aws:RequestTag/{}", names::TAG_NAME): ANY}})
}

/// The condition that the changed resource has our tag.
fn carried() -> Value {
    json!({"StringLike": {format!("aws:ResourceTag/{}", names::TAG_NAME): ANY}})
}

fn of(service: &str, actions: &[&str]) -> Vec<String> {
    actions.iter().map(|action| format!("{service}:{action}")).collect()
}

fn allow(sid: &str, actions: &[String], resources: Vec<String>) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources})
}

/// The statement with a condition.
fn when(condition: &Value, mut statement: Value) -> Value {
    statement["Condition"] = condition.clone();
    statement
}

#[cfg(test)]
mod tests;
