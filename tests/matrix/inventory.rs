//! The resources of an account, read from AWS directly, independent of the command and the proxy.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Filter;
use aws_sdk_ec2::types::{Tag as Ec2Tag, VolumeType};
use devopsctl::aws::Aws;

pub use crate::wanted::Wanted;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// All resources except those of a new account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub instances: Vec<Instance>,
    pub addresses: Vec<Address>,
    /// The data volumes.
    pub volumes: Vec<Volume>,
    pub groups: Vec<Group>,
    pub key_pairs: Vec<(String, Tags)>,
    /// The roles, each with the names of its inline policies and the ARNs of attached ones.
    pub roles: Vec<(String, Vec<String>)>,
    pub profiles: Vec<(String, Vec<String>)>,
    pub parameters: Vec<Parameter>,
    pub buckets: Vec<Bucket>,
    /// The zone's records without the default ones: name, type, values.
    pub records: Vec<(String, String, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub state: String,
    pub kind: String,
    pub tags: Tags,
    /// The names of the associated instance profiles.
    pub profiles: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub id: String,
    pub ip: String,
    pub instance: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub id: String,
    pub gib: i32,
    /// The instances that it is attached to.
    pub instances: Vec<String>,
    /// Whether it is encrypted, and gp3.
    pub sound: bool,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    pub name: String,
    pub ingress: Vec<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub version: i64,
    pub modified: i64,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub policy: bool,
    pub closed: bool,
    pub objects: Vec<String>,
}

/// Reads all resources.
pub async fn inventory(aws: &Aws) -> Inventory {
    let (instances, addresses, volumes, groups, key_pairs) =
        tokio::join!(instances(aws), addresses(aws), volumes(aws), groups(aws), key_pairs(aws));
    let (roles, profiles, parameters, buckets, records) =
        tokio::join!(roles(aws), profiles(aws), parameters(aws), buckets(aws), records(aws));
    Inventory { instances, addresses, volumes, groups, key_pairs, roles, profiles, parameters, buckets, records }
}

async fn instances(aws: &Aws) -> Vec<Instance> {
    let alive = ["pending", "running", "shutting-down", "stopping", "stopped"].map(str::to_owned).to_vec();
    let alive = Filter::builder().name("instance-state-name").set_values(Some(alive)).build();
    let found = aws.ec2.describe_instances().filters(alive).send();
    let associated = aws.ec2.describe_iam_instance_profile_associations().send();
    let (found, associated) =
        tokio::try_join!(async { found.await.map_err(drop) }, async { associated.await.map_err(drop) }).unwrap();
    let profiles = |id: &str| {
        let all = associated.iam_instance_profile_associations().iter();
        let mine = all.filter(|one| one.instance_id() == Some(id));
        mine.map(|one| last(one.iam_instance_profile().and_then(|profile| profile.arn()))).collect()
    };
    let all = found.reservations().iter().flat_map(|reservation| reservation.instances());
    all.map(|instance| {
        let id = instance.instance_id().unwrap_or_default().to_owned();
        Instance {
            state: instance.state().and_then(|state| state.name()).map(ToString::to_string).unwrap_or_default(),
            kind: instance.instance_type().map(ToString::to_string).unwrap_or_default(),
            tags: tags(instance.tags()),
            profiles: profiles(&id),
            id,
        }
    })
    .collect()
}

async fn addresses(aws: &Aws) -> Vec<Address> {
    let found = aws.ec2.describe_addresses().send().await.unwrap();
    let all = found.addresses().iter().map(|address| Address {
        id: address.allocation_id().unwrap_or_default().to_owned(),
        ip: address.public_ip().unwrap_or_default().to_owned(),
        instance: address.instance_id().filter(|id| !id.is_empty()).map(str::to_owned),
        tags: tags(address.tags()),
    });
    all.collect()
}

async fn volumes(aws: &Aws) -> Vec<Volume> {
    let marked = Filter::builder().name("tag-key").values("devopsctl:data").build();
    let found = aws.ec2.describe_volumes().filters(marked).send().await.unwrap();
    let all = found.volumes().iter().map(|volume| Volume {
        id: volume.volume_id().unwrap_or_default().to_owned(),
        gib: volume.size().unwrap_or_default(),
        instances: volume.attachments().iter().filter_map(|one| one.instance_id().map(str::to_owned)).collect(),
        sound: volume.encrypted() == Some(true) && volume.volume_type() == Some(&VolumeType::Gp3),
        tags: tags(volume.tags()),
    });
    all.collect()
}

async fn groups(aws: &Aws) -> Vec<Group> {
    let found = aws.ec2.describe_security_groups().send().await.unwrap();
    let all = found.security_groups().iter().filter(|group| group.group_name() != Some("default"));
    all.map(|group| {
        let rules = group.ip_permissions().iter().flat_map(|rule| {
            let ports = format!(
                "{} {}-{}",
                rule.ip_protocol().unwrap_or_default(),
                rule.from_port().unwrap_or(-1),
                rule.to_port().unwrap_or(-1)
            );
            let v4 = rule.ip_ranges().iter().filter_map(|range| range.cidr_ip());
            let v6 = rule.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
            let groups = rule.user_id_group_pairs().iter().filter_map(|pair| pair.group_id());
            v4.chain(v6).chain(groups).map(move |from| format!("{ports} from {from}")).collect::<Vec<_>>()
        });
        Group {
            id: group.group_id().unwrap_or_default().to_owned(),
            name: group.group_name().unwrap_or_default().to_owned(),
            ingress: rules.collect(),
            tags: tags(group.tags()),
        }
    })
    .collect()
}

async fn key_pairs(aws: &Aws) -> Vec<(String, Tags)> {
    let found = aws.ec2.describe_key_pairs().send().await.unwrap();
    found.key_pairs().iter().map(|key| (key.key_name().unwrap_or_default().to_owned(), tags(key.tags()))).collect()
}

async fn roles(aws: &Aws) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for role in aws.iam.list_roles().send().await.unwrap().roles() {
        let policies = aws.iam.list_role_policies().role_name(role.role_name()).send().await.unwrap();
        let attached = aws.iam.list_attached_role_policies().role_name(role.role_name()).send().await.unwrap();
        let attached = attached.attached_policies().iter().filter_map(|policy| policy.policy_arn().map(str::to_owned));
        all.push((role.role_name().to_owned(), policies.policy_names().iter().cloned().chain(attached).collect()));
    }
    all
}

async fn profiles(aws: &Aws) -> Vec<(String, Vec<String>)> {
    let found = aws.iam.list_instance_profiles().send().await.unwrap();
    let all = found.instance_profiles().iter().map(|profile| {
        let roles = profile.roles().iter().map(|role| role.role_name().to_owned());
        (profile.instance_profile_name().to_owned(), roles.collect())
    });
    all.collect()
}

async fn parameters(aws: &Aws) -> Vec<Parameter> {
    let found = aws.ssm.get_parameters_by_path().path("/devopsctl").recursive(true).with_decryption(true);
    let pages = found.into_paginator().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let all = pages.iter().flat_map(|page| page.parameters()).map(|parameter| Parameter {
        name: parameter.name().unwrap_or_default().to_owned(),
        version: parameter.version(),
        modified: parameter.last_modified_date().map_or(0, |time| rounded(time.as_nanos())),
        value: parameter.value().unwrap_or_default().to_owned(),
    });
    all.collect()
}

/// Nanoseconds in milliseconds: binary fractions only approximate SSM's three decimal places.
fn rounded(nanoseconds: i128) -> i64 {
    i64::try_from((nanoseconds + 500_000) / 1_000_000).unwrap()
}

async fn buckets(aws: &Aws) -> Vec<Bucket> {
    let mut all = Vec::new();
    for bucket in aws.s3.list_buckets().send().await.unwrap().buckets() {
        let name = bucket.name().unwrap_or_default();
        let objects = aws.s3.list_objects_v2().bucket(name).send().await.unwrap();
        let policy = aws.s3.get_bucket_policy().bucket(name).send().await;
        let block = aws.s3.get_public_access_block().bucket(name).send().await;
        let closed = block.ok().and_then(|block| block.public_access_block_configuration).is_some_and(|block| {
            [
                block.block_public_acls,
                block.ignore_public_acls,
                block.block_public_policy,
                block.restrict_public_buckets,
            ] == [Some(true); 4]
        });
        all.push(Bucket {
            name: name.to_owned(),
            policy: policy.is_ok_and(|policy| policy.policy.is_some_and(|text| text.contains("aws:SecureTransport"))),
            closed,
            objects: objects.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect(),
        });
    }
    all
}

async fn records(aws: &Aws) -> Vec<(String, String, Vec<String>)> {
    let zones = aws.route53.list_hosted_zones().send().await.unwrap();
    let Some(zone) = zones.hosted_zones().first() else { return Vec::new() };
    let list = aws.route53.list_resource_record_sets().hosted_zone_id(zone.id());
    let found = list.send().await.unwrap();
    let own = found.resource_record_sets().iter().filter(|set| !["NS", "SOA"].contains(&set.r#type().as_str()));
    own.map(|set| {
        let values = set.resource_records().iter().map(|record| record.value().to_owned()).collect();
        (set.name().trim_end_matches('.').to_owned(), set.r#type().as_str().to_owned(), values)
    })
    .collect()
}

fn tags(tags: &[Ec2Tag]) -> Tags {
    tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect()
}

fn last(arn: Option<&str>) -> String {
    arn.and_then(|arn| arn.rsplit('/').next()).unwrap_or_default().to_owned()
}
