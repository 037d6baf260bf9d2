//! `RunInstances` with every option set, so that no default of the account applies.

use std::time::Duration;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, CreditSpecificationRequest, EbsBlockDevice, HttpTokensState, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceMetadataOptionsResponse, InstanceMetadataProtocolState,
    InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification, InstanceStateName, InstanceType, Placement,
    ResourceType, VolumeType,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Credits;
use crate::aws::retry::{Backoff, Retry, patiently};
use crate::aws::{ApiError, Aws, Machine, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::{digest, names};
use crate::resources::context::Context;
use crate::resources::{Tags, filter, from_ec2, missing, security_group, set_tags, tagged, user_data};

/// Launches an instance, or finds the instance with the same nonce and spec; returns its id.
///
/// The nonce makes a retry safe: after a lost response, and for a concurrent command of another user. The spec is part
/// of the client token, so a replacement needs no new nonce. `instead`: the image's id, if only the image differs. It
/// is then part of the client token, because EC2 would otherwise return the old instance. The same holds for the `zone`.
pub(super) async fn launch(
    context: &Context,
    tags: &Tags,
    (instead, zone): (Option<&str>, Option<&str>),
    dying: &[String],
) -> Result<String> {
    let image = context.image().await?;
    let group = context.output::<security_group::Output>(&security_group::ID)?.id;
    let unknown = |error: &ApiError| unknown_yet(error) && !context.interrupted();
    let spec = tags.get(names::TAG_SPEC).cloned().unwrap_or_default();
    let launched_as = match (instead, zone) {
        (None, None) => spec,
        (image, None) => digest::short(format!("{spec}\n{}", image.unwrap_or_default())),
        (image, Some(zone)) => digest::short(format!("{spec}\n{}\n{zone}", image.unwrap_or_default())),
    };
    for _ in 0..3 {
        // Without it, every deployment would have the same client token.
        let nonce = context.output::<security_group::Output>(&security_group::ID)?.nonce;
        let nonce = nonce.ok_or_else(|| Failure::bug("the launch nonce is not known"))?;
        let token = format!("{nonce}-{launched_as}");
        let launched = patiently(Backoff::new(Duration::from_secs(30)), unknown, || {
            run(context, tags, (&image, zone), &group, &token)
        });
        match launched.await {
            Ok(Some((id, have))) if !dying.contains(&id) => {
                // EC2 may return the instance of a concurrent launch, which may have another release.
                retag(context, &id, &missing(tags, &have)).await?;
                return Ok(id);
            }
            // The instance of this nonce is terminated: a new launch needs a new nonce.
            Ok(_) => {}
            Err(error) if error.is(&["IdempotentInstanceTerminated"]) => {}
            Err(error) if error.is(&["IdempotentParameterMismatch"]) => {
                if let Some(id) = adopted(context, &token, tags).await? {
                    return Ok(id);
                }
            }
            Err(error) => return Err(explain("cannot launch the instance", &error)),
        }
        security_group::renew_nonce(context, &group).await?;
    }
    Err(Failure::failed("cannot launch the instance")
        .because("each instance that EC2 launched terminated at once")
        .next("run the same command again in some minutes"))
}

/// A new resource may still be unknown to the launch.
fn unknown_yet(error: &ApiError) -> bool {
    error.is(&security_group::UNKNOWN) || error.is(&["InvalidKeyPair.NotFound"])
}

/// The image's id and root device name: a mapping for any other name would add a second disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// `ami-…`
    pub id: String,
    /// Whether accounts on the free plan may launch it, if EC2 tells.
    pub free: Option<bool>,
    root: String,
}

/// The region, or its whole partition, has no such image.
pub fn not_there(image: &str, region: &str) -> Failure {
    Failure::failed(format!("the image {image} is not in {region}"))
        .because("AWS has no public parameter with its id there")
        .next("choose another instance.image or another region")
}

/// Reads the image's properties that a launch needs.
///
/// # Errors
/// The region has no such image, or the account may not use it.
pub async fn image(aws: &Aws, machine: &Machine, id: Option<&str>) -> Result<Image> {
    let id = id.ok_or_else(|| not_there(&machine.image, &aws.region))?;
    let request = || aws.ec2.describe_images().image_ids(id).send();
    let answer = call("ec2:DescribeImages", request)
        .await
        .map_err(|error| explain(format!("cannot use the image {id} ({})", machine.image), &error))?;
    let mut images = answer.images.unwrap_or_default().into_iter();
    let found = images.find_map(|image| Some((image.root_device_name?, image.free_tier_eligible)));
    let (root, free) = found.ok_or_else(|| {
        Failure::failed(format!("the image {id} has no root device")).next("choose another instance.image")
    })?;
    Ok(Image { id: id.to_owned(), free, root })
}

/// Id and tags of a live instance; `None` if the nonce's instance is being terminated.
async fn run(
    context: &Context,
    tags: &Tags,
    (image, zone): (&Image, Option<&str>),
    group: &str,
    token: &str,
) -> Result<Option<(String, Tags)>, ApiError> {
    let program = BASE64_STANDARD.encode(user_data::packed());
    let order = Order {
        image,
        kind: &context.instance_type,
        disk_gib: context.disk_gib,
        credits: context.credits,
        subnet: context.subnet.as_deref(),
        zone,
        group: Some(group),
        key_pair: Some(names::common(&context.name)),
        tags,
    };
    let request = || order.request(&context.aws.ec2).client_token(token).user_data(&program).send();
    let answer = call("ec2:RunInstances", request).await?;
    let instance = answer.instances.unwrap_or_default().into_iter().next();
    let dead =
        |state: &InstanceStateName| matches!(state, InstanceStateName::ShuttingDown | InstanceStateName::Terminated);
    Ok(instance
        .filter(|instance| !instance.state.as_ref().and_then(|state| state.name.as_ref()).is_some_and(dead))
        .and_then(|instance| Some((instance.instance_id?, from_ec2(instance.tags)))))
}

async fn retag(context: &Context, id: &str, tags: &Tags) -> Result<()> {
    set_tags(&context.aws, &[id], tags).await.map_err(|error| explain(format!("cannot tag the instance {id}"), &error))
}

/// Disk and interface get the common tags, without the orders for the agent.
fn shared(tags: &Tags) -> Tags {
    tags.iter()
        .filter(|(key, _)| *key == names::TAG_NAME || !key.starts_with("devopsctl:"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The options of a launch: for `up`, and for the dry run of `doctor`. A service control policy may check any of them.
pub struct Order<'a> {
    /// The image.
    pub image: &'a Image,
    /// EC2's name of the type.
    pub kind: &'a str,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// The initial CPU credits, if the type has them.
    pub credits: Option<Credits>,
    /// The subnet, if not in the default VPC.
    pub subnet: Option<&'a str>,
    /// The zone, if it is known and no subnet determines it.
    pub zone: Option<&'a str>,
    /// The security group, if it exists.
    pub group: Option<&'a str>,
    /// The key pair's name, if it exists.
    pub key_pair: Option<String>,
    /// All tags.
    pub tags: &'a Tags,
}

impl Order<'_> {
    /// The request, without user data and client token.
    pub fn request(&self, ec2: &aws_sdk_ec2::Client) -> RunInstancesFluentBuilder {
        let network = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .associate_public_ip_address(true)
            .delete_on_termination(true)
            .set_groups(self.group.map(|group| vec![group.to_owned()]))
            .set_subnet_id(self.subnet.map(str::to_owned))
            .build();
        let credits = self.credits.map(|mode| CreditSpecificationRequest::builder().cpu_credits(mode.name()).build());
        ec2.run_instances()
            .image_id(&self.image.id)
            .instance_type(InstanceType::from(self.kind))
            .set_key_name(self.key_pair.clone())
            .min_count(1)
            .max_count(1)
            .network_interfaces(network)
            .block_device_mappings(self.disk())
            .metadata_options(metadata())
            .set_credit_specification(credits)
            .set_placement(self.zone.map(|zone| Placement::builder().availability_zone(zone).build()))
            .tag_specifications(tagged(ResourceType::Instance, self.tags))
            .tag_specifications(tagged(ResourceType::Volume, &shared(self.tags)))
            .tag_specifications(tagged(ResourceType::NetworkInterface, &shared(self.tags)))
    }

    fn disk(&self) -> BlockDeviceMapping {
        let disk = EbsBlockDevice::builder()
            .volume_size(i32::try_from(self.disk_gib).unwrap_or(i32::MAX))
            .volume_type(VolumeType::Gp3)
            .encrypted(true)
            .delete_on_termination(true)
            .build();
        BlockDeviceMapping::builder().device_name(&self.image.root).ebs(disk).build()
    }
}

fn metadata() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .http_protocol_ipv6(InstanceMetadataProtocolState::Disabled)
        .instance_metadata_tags(InstanceMetadataTagsState::Enabled)
        .build()
}

/// Whether the important options are as [`metadata`] sets them.
pub(super) fn metadata_as_wanted(options: &InstanceMetadataOptionsResponse) -> bool {
    options.http_tokens() == Some(&HttpTokensState::Required)
        && options.http_endpoint() == Some(&InstanceMetadataEndpointState::Enabled)
        && options.http_put_response_hop_limit() == Some(1)
        && options.http_protocol_ipv6() != Some(&InstanceMetadataProtocolState::Enabled)
        && options.instance_metadata_tags() == Some(&InstanceMetadataTagsState::Enabled)
}

/// Resets the metadata options of a running instance.
pub(super) async fn restore_metadata(context: &Context, id: &str) -> Result<()> {
    let request = || {
        let modify = context.aws.ec2.modify_instance_metadata_options().instance_id(id);
        modify
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .http_protocol_ipv6(InstanceMetadataProtocolState::Disabled)
            .instance_metadata_tags(InstanceMetadataTagsState::Enabled)
            .send()
    };
    let answer = call("ec2:ModifyInstanceMetadataOptions", request).await;
    answer.map(|_| ()).map_err(|error| explain(format!("cannot set the metadata options of {id}"), &error))
}

/// A parameter mismatch means that the nonce's instance exists with other parameters (another release, a newer image):
/// it is ours and has the spec, so only its tags are repaired. It may not be listed yet.
async fn adopted(context: &Context, token: &str, tags: &Tags) -> Result<Option<String>> {
    let request = || context.aws.ec2.describe_instances().filters(filter("client-token", token)).send();
    let mut backoff = Backoff::new(Duration::from_secs(15));
    let instance = loop {
        let answer = call("ec2:DescribeInstances", request)
            .await
            .map_err(|error| explain("cannot list the instances", &error))?;
        let mut found =
            answer.reservations.unwrap_or_default().into_iter().flat_map(|one| one.instances.unwrap_or_default());
        match found.next() {
            Some(instance) => break instance,
            None if backoff.wait().await == Retry::Again => {}
            None => return Ok(None),
        }
    };
    let state = instance.state.as_ref().and_then(|state| state.name.as_ref());
    let dead = matches!(state, Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated));
    let Some(id) = instance.instance_id.filter(|_| !dead) else { return Ok(None) };
    retag(context, &id, tags).await?;
    Ok(Some(id))
}
