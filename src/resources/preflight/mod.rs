//! The requests of `doctor` to AWS: reads and dry runs. Each is sent once and answered within seconds, because the user
//! waits.

mod dry_run;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::LocationType;
use aws_sdk_sts::config::{Config, Region};

use crate::aws::{AccountPlan, ApiError, Aws, Identity, explain, has_plans, once, read_identity};
use crate::base::error::{Failure, Result};
use crate::resources::route::{self, Way};
use crate::resources::{filter, instance};
pub use dry_run::{Launch, dry_runs};

/// How long an answer may take, including retries.
const PATIENCE: Duration = Duration::from_secs(8);

/// Bounds work that would retry for a minute. The futures are on the heap, because dozens of them run at once.
pub async fn soon<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, Box::pin(work)).await.unwrap_or_else(|_| {
        Err(Failure::failed(silence())
            .next("check the network (and the region's name), then run the same command again"))
    })
}

/// Sends a call once, and bounds its time.
async fn ask<T, E, F>(action: &'static str, send: impl Fn() -> F) -> Result<T, ApiError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let late = |_| Err(ApiError::silent(action, silence()));
    tokio::time::timeout(PATIENCE, Box::pin(once(action, send))).await.unwrap_or_else(late)
}

fn silence() -> String {
    format!("no answer within {} seconds", PATIENCE.as_secs())
}

/// The codes with which services refuse unknown credentials.
pub const UNKNOWN_CREDENTIALS: [&str; 4] =
    ["AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"];

/// The caller; also the region's error, if only another region knows the caller: a region that is not enabled knows no
/// credentials, so a region that is always enabled is asked as well.
pub async fn caller(aws: &Aws) -> Result<(Identity, Option<ApiError>)> {
    const ACTION: &str = "sts:GetCallerIdentity";
    const ALWAYS_ENABLED: &str = "us-east-1";
    const UNKNOWN: &str = "AWS does not know these credentials";
    let error = match ask(ACTION, || aws.sts.get_caller_identity().send()).await {
        Ok(answer) => return Ok((read_identity(answer)?, None)),
        Err(error) if error.is(&UNKNOWN_CREDENTIALS) => error,
        Err(error) => return Err(explain(UNKNOWN, &error)),
    };
    let elsewhere = || {
        let config = Config::builder().region(Region::new(ALWAYS_ENABLED));
        aws.sts.get_caller_identity().customize().config_override(config).send()
    };
    match ask(ACTION, elsewhere).await {
        Ok(answer) => Ok((read_identity(answer)?, Some(error))),
        Err(_) => Err(explain(UNKNOWN, &error)),
    }
}

/// A subnet that an instance could be launched in.
pub struct Subnet {
    /// Its VPC.
    pub vpc: String,
    /// Its availability zone.
    pub zone: Option<String>,
    /// How many addresses are free.
    pub free: i32,
    /// The mode of VPC Block Public Access with exclusions applied, if EC2 reports it.
    pub block: Option<String>,
}

/// The named subnet, else those of the default VPC that EC2 would choose from; and their way to the internet.
pub async fn subnets(aws: &Aws, named: Option<&str>) -> (Result<Vec<Subnet>, ApiError>, Result<Way>) {
    let found = match ask("ec2:DescribeSubnets", || route::subnets(aws, named).send()).await {
        Ok(answer) => answer.subnets.unwrap_or_default(),
        Err(error) => return (Err(error), Ok(Way::Unknown)),
    };
    let way = soon(route::from(aws, &found)).await;
    let subnet = |subnet: aws_sdk_ec2::types::Subnet| {
        let block = subnet.block_public_access_states.and_then(|states| states.internet_gateway_block_mode);
        Some(Subnet {
            vpc: subnet.vpc_id?,
            zone: subnet.availability_zone,
            free: subnet.available_ip_address_count?,
            block: block.map(|mode| mode.as_str().to_owned()),
        })
    };
    (Ok(found.into_iter().filter_map(subnet).collect()), way)
}

/// The mode of VPC Block Public Access, such as `off` and `block-ingress`.
pub async fn block_public_access(aws: &Aws) -> Result<String, ApiError> {
    let request = || aws.ec2.describe_vpc_block_public_access_options().send();
    let options = ask("ec2:DescribeVpcBlockPublicAccessOptions", request).await?.vpc_block_public_access_options;
    let mode = options.and_then(|options| options.internet_gateway_block_mode);
    Ok(mode.map_or_else(|| "off".to_owned(), |mode| mode.as_str().to_owned()))
}

/// How many Elastic IPs the region allows; `None` if AWS does not tell.
pub async fn elastic_ip_limit(aws: &Aws) -> Result<Option<usize>, ApiError> {
    let answer = ask("ec2:DescribeAccountAttributes", || aws.ec2.describe_account_attributes().send()).await?;
    let attributes = answer.account_attributes.unwrap_or_default();
    let limit = attributes.iter().find(|found| found.attribute_name() == Some("vpc-max-elastic-ips"));
    Ok(limit.and_then(|limit| limit.attribute_values().first()?.attribute_value()?.parse().ok()))
}

/// What EC2 knows of an instance type.
#[derive(Debug, Default)]
pub struct InstanceType {
    /// Its properties; `None` if the region does not offer it.
    pub about: Option<instance::Kind>,
    /// The zones that offer it.
    pub zones: BTreeSet<String>,
    /// The types that the free plan allows in the region.
    pub free: Vec<(String, instance::Kind)>,
}

/// Asks for an instance type as `up` does, for its zones, and for the types of the free plan.
pub async fn instance_type(aws: &Aws, name: &str) -> Result<InstanceType, ApiError> {
    let types = ask("ec2:DescribeInstanceTypes", || instance::request_kind(aws, name).send());
    let offerings = ask("ec2:DescribeInstanceTypeOfferings", || {
        let request = aws.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        request.filters(filter("instance-type", name)).send()
    });
    let free = ask("ec2:DescribeInstanceTypes", || instance::request_free_kinds(aws).send());
    let (types, offerings, free) = tokio::join!(types, offerings, free);
    let (types, offerings) = (types?, offerings?);
    // The types of the free plan are only a suggestion.
    let free = free.ok().and_then(|free| free.instance_types).unwrap_or_default().into_iter();
    let free = free.filter_map(|one| Some((one.instance_type.as_ref()?.as_str().to_owned(), instance::Kind::of(one))));
    let zones = offerings.instance_type_offerings.unwrap_or_default().into_iter().filter_map(|one| one.location);
    Ok(InstanceType { about: instance::Kind::read(types), zones: zones.collect(), free: free.collect() })
}

/// The account's value of an EC2 quota, else AWS's default; `None` if AWS tells neither.
pub async fn ec2_quota(aws: &Aws, code: &str) -> Result<Option<i64>, ApiError> {
    const ABSENT: [&str; 1] = ["NoSuchResourceException"];
    const SERVICE: &str = "ec2";
    let applied = ask("servicequotas:GetServiceQuota", || {
        aws.quotas.get_service_quota().service_code(SERVICE).quota_code(code).send()
    });
    let quota = match applied.await {
        Ok(answer) => answer.quota,
        Err(error) if error.is(&ABSENT) => {
            let default = ask("servicequotas:GetAWSDefaultServiceQuota", || {
                aws.quotas.get_aws_default_service_quota().service_code(SERVICE).quota_code(code).send()
            });
            match default.await {
                Ok(answer) => answer.quota,
                Err(error) if error.is(&ABSENT) => None,
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    Ok(quota.filter(|quota| quota.error_reason.is_none()).and_then(|quota| quota.value).map(|value| value as i64))
}

/// The account's plan; `None` in a partition without plans.
pub async fn account_plan(aws: &Aws) -> Option<Result<AccountPlan, ApiError>> {
    if !has_plans(&aws.region) {
        return None;
    }
    let late = |_| Err(ApiError::silent("freetier:GetAccountPlanState", silence()));
    Some(tokio::time::timeout(PATIENCE, Box::pin(aws.free_tier.plan())).await.unwrap_or_else(late))
}
