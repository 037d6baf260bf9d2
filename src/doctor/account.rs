//! What the account has: who asks, the region, the network, addresses, the image and the instance type.

use std::time::{Duration, SystemTime};

use super::{Check, ask, soon};
use crate::aws::{ApiError, Aws, Machine, Target, explain};
use crate::config::{Deployment, Network};
use crate::engine::observe::{self, Identity};
use crate::error::{Exit, Failure, Result};
use crate::grace;
use crate::resources::instance::{self, Image};
use crate::resources::{address, filter};

/// What was seen.
pub struct Seen {
    /// Who asks.
    pub identity: Result<Identity>,
    end: Option<End>,
    subnets: Result<Vec<Subnet>, ApiError>,
    /// What VPC Block Public Access blocks.
    block: Result<String, ApiError>,
    /// How many addresses the region may have.
    limit: Result<Option<usize>, ApiError>,
    /// How many it has, and how many of them are this deployment's.
    addresses: Result<(usize, usize)>,
    /// The image that would boot.
    pub image: Result<Image>,
    kind: Result<Option<Kind>, ApiError>,
}

/// When the credentials end.
struct End {
    left: Duration,
    words: String,
}

struct Subnet {
    vpc: String,
    free: i32,
}

/// What EC2 says of an instance type.
struct Kind {
    architectures: Vec<String>,
    free: bool,
}

/// Looks at everything at once.
pub async fn look(aws: &Aws, deployment: &Deployment, machine: &Machine) -> Seen {
    let image = soon(async {
        let id = observe::image(aws, Some(&machine.parameter)).await?;
        instance::image(aws, machine, id.as_deref()).await
    });
    let (identity, end, subnets, block, limit, addresses, image, kind) = tokio::join!(
        soon(observe::identity(aws)),
        end(aws.until),
        subnets(aws, deployment.network.subnet.as_deref()),
        block(aws),
        limit(aws),
        soon(address::count(aws, &deployment.name)),
        image,
        kind(aws, &deployment.instance.kind),
    );
    Seen { identity, end, subnets, block, limit, addresses, image, kind }
}

async fn end(until: Option<SystemTime>) -> Option<End> {
    let until = until?;
    let at = until.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    Some(End { left, words: grace::words(i64::try_from(at).ok()?).await })
}

/// The one that is named; else those of the default VPC that EC2 would choose from.
async fn subnets(aws: &Aws, named: Option<&str>) -> Result<Vec<Subnet>, ApiError> {
    let answer = ask("ec2:DescribeSubnets", || {
        let request = aws.ec2.describe_subnets();
        match named {
            Some(id) => request.subnet_ids(id).send(),
            None => request.filters(filter("default-for-az", "true")).send(),
        }
    });
    let found = answer.await?.subnets.unwrap_or_default().into_iter();
    let subnet = |subnet: aws_sdk_ec2::types::Subnet| {
        Some(Subnet { vpc: subnet.vpc_id?, free: subnet.available_ip_address_count? })
    };
    Ok(found.filter_map(subnet).collect())
}

async fn block(aws: &Aws) -> Result<String, ApiError> {
    let request = || aws.ec2.describe_vpc_block_public_access_options().send();
    let options = ask("ec2:DescribeVpcBlockPublicAccessOptions", request).await?.vpc_block_public_access_options;
    let mode = options.and_then(|options| options.internet_gateway_block_mode);
    Ok(mode.map_or_else(|| "off".to_owned(), |mode| mode.as_str().to_owned()))
}

async fn limit(aws: &Aws) -> Result<Option<usize>, ApiError> {
    let answer = ask("ec2:DescribeAccountAttributes", || aws.ec2.describe_account_attributes().send()).await?;
    let attributes = answer.account_attributes.unwrap_or_default();
    let limit = attributes.iter().find(|found| found.attribute_name() == Some("vpc-max-elastic-ips"));
    Ok(limit.and_then(|limit| limit.attribute_values().first()?.attribute_value()?.parse().ok()))
}

/// Asked with a filter, EC2 leaves out what the region does not have; asked by name, it would be an error among others.
async fn kind(aws: &Aws, kind: &str) -> Result<Option<Kind>, ApiError> {
    let request = || aws.ec2.describe_instance_types().filters(filter("instance-type", kind)).send();
    let answer = ask("ec2:DescribeInstanceTypes", request).await?;
    Ok(answer.instance_types.unwrap_or_default().into_iter().next().map(|found| {
        let architectures = found.processor_info.and_then(|processor| processor.supported_architectures);
        Kind {
            architectures: architectures.unwrap_or_default().iter().map(|one| one.as_str().to_owned()).collect(),
            free: found.free_tier_eligible.unwrap_or_default(),
        }
    }))
}

impl Seen {
    /// Judges it all. Of somebody whom AWS does not know, nothing else is told: it would all be the same.
    pub fn judge(&self, aws: &Aws, deployment: &Deployment, machine: &Machine) -> Vec<Check> {
        let who = credentials(&self.identity, self.end.as_ref());
        if self.identity.is_err() {
            return vec![who];
        }
        let region = &aws.region;
        let mut checks = vec![who, enabled(region, self.subnets.as_ref().err())];
        if checks[1].is_failed() {
            return checks;
        }
        checks.push(network(&deployment.network, region, &self.subnets, &self.block));
        checks.extend(addresses(&deployment.network, &self.limit, &self.addresses));
        checks.push(image(machine, &self.image));
        checks.push(instance_type(&deployment.instance.kind, region, &machine.target, &self.kind));
        checks
    }

    /// Whether AWS knows who asks, and the region is there: otherwise nothing else can be asked.
    pub fn answers(&self) -> bool {
        self.identity.is_ok() && !enabled("", self.subnets.as_ref().err()).is_failed()
    }

    /// Whether an instance has somewhere to go.
    pub fn has_network(&self) -> bool {
        self.subnets.as_ref().is_ok_and(|subnets| !subnets.is_empty())
    }

    /// Where that is.
    pub fn vpc(&self) -> Option<&str> {
        self.subnets.as_ref().ok()?.first().map(|subnet| subnet.vpc.as_str())
    }
}

/// Less than this is soon.
const SOON: Duration = Duration::from_secs(3600);

fn credentials(identity: &Result<Identity>, end: Option<&End>) -> Check {
    const CREDENTIALS: &str = "credentials";
    let who = match identity {
        Ok(identity) => format!("{} in account {}", identity.by, identity.account),
        Err(failure) => return Check::failed(CREDENTIALS, failure),
    };
    match end {
        None => Check::pass(CREDENTIALS, who),
        Some(end) if end.left >= SOON => Check::pass(CREDENTIALS, format!("{who}, until {}", end.words)),
        Some(end) => Check::warn(
            CREDENTIALS,
            format!("{who}; they end at {}, unless they renew themselves", end.words),
            "get new ones if they do not: aws sso login, or aws login",
        ),
    }
}

/// A region that is not switched on knows no account.
fn enabled(region: &str, error: Option<&ApiError>) -> Check {
    const REGION: &str = "region";
    match error {
        Some(error) if error.is(&["AuthFailure", "OptInRequired", "UnrecognizedClientException"]) => Check::fail(
            REGION,
            format!("{region} is not enabled in this account ({})", error.code),
            format!("aws account enable-region --region-name {region}; or choose another with --region"),
        ),
        Some(error) if error.code.is_empty() => {
            Check::failed(REGION, &explain(format!("EC2 in {region} does not answer"), error))
        }
        _ => Check::pass(REGION, region),
    }
}

fn network(
    network: &Network,
    region: &str,
    subnets: &Result<Vec<Subnet>, ApiError>,
    block: &Result<String, ApiError>,
) -> Check {
    const NETWORK: &str = "network";
    let subnets = match subnets {
        Ok(subnets) => subnets,
        Err(error) => {
            let failure = explain("the subnets cannot be looked up", error);
            // Without one that is named, `up` leaves it to EC2.
            return if network.subnet.is_some() {
                Check::failed(NETWORK, &failure)
            } else {
                Check::unseen(NETWORK, &failure)
            };
        }
    };
    let Some(vpc) = subnets.first().map(|subnet| subnet.vpc.as_str()) else {
        return Check::fail(
            NETWORK,
            format!("no default VPC with subnets in {region}"),
            format!("aws ec2 create-default-vpc --region {region}; or name a subnet as network.subnet in deploy.yaml"),
        );
    };
    let place = match &network.subnet {
        Some(subnet) => format!("{subnet} in {vpc}"),
        None => format!("the default VPC, {vpc}"),
    };
    if subnets.iter().all(|subnet| subnet.free <= 0) {
        return Check::fail(
            NETWORK,
            format!("{place}, has no free address"),
            "name another subnet as network.subnet in deploy.yaml",
        );
    }
    match block {
        Ok(mode) if mode.starts_with("block") => Check::fail(
            NETWORK,
            format!("VPC Block Public Access is on ({mode}): nobody reaches {place}, unless it is excluded"),
            format!(
                "aws ec2 create-vpc-block-public-access-exclusion --region {region} --vpc-id {vpc} \
                 --internet-gateway-exclusion-mode allow-bidirectional; or ask whoever switched it on"
            ),
        ),
        Ok(_) => Check::pass(NETWORK, place),
        Err(error) => Check::unseen(NETWORK, &explain("VPC Block Public Access cannot be looked up", error)),
    }
}

/// None where none is needed.
fn addresses(
    network: &Network,
    limit: &Result<Option<usize>, ApiError>,
    have: &Result<(usize, usize)>,
) -> Option<Check> {
    const ADDRESSES: &str = "addresses";
    if !network.static_ip {
        return None;
    }
    Some(match (have, limit) {
        (Err(failure), _) => Check::failed(ADDRESSES, failure),
        (Ok((_, ours)), _) if *ours > 0 => Check::pass(ADDRESSES, "this deployment has its Elastic IP"),
        (_, Err(error)) => Check::unseen(ADDRESSES, &explain("the account's limits cannot be looked up", error)),
        (Ok((have, _)), Ok(Some(limit))) if have >= limit => Check::fail(
            ADDRESSES,
            format!("{have} of {limit} Elastic IPs are in use, and one more is needed"),
            "release one, ask for more in the Service Quotas console, or set network.static_ip: false",
        ),
        (Ok((have, _)), Ok(Some(limit))) => Check::pass(ADDRESSES, format!("{have} of {limit} Elastic IPs in use")),
        (Ok((have, _)), Ok(None)) => Check::pass(ADDRESSES, format!("{have} Elastic IPs in use; AWS tells no limit")),
    })
}

fn image(machine: &Machine, image: &Result<Image>) -> Check {
    const IMAGE: &str = "image";
    match image {
        Ok(image) => Check::pass(IMAGE, format!("{} as {}", machine.image, image.id)),
        Err(failure) => Check::failed(IMAGE, failure),
    }
}

fn instance_type(kind: &str, region: &str, target: &Target, found: &Result<Option<Kind>, ApiError>) -> Check {
    const TYPE: &str = "type";
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Check::fail(
                TYPE,
                format!("{kind} is not offered in {region}"),
                "choose another instance.type in deploy.yaml, for example t3.micro, or another region",
            );
        }
        Err(error) => return Check::unseen(TYPE, &explain("the instance type cannot be looked up", error)),
    };
    let needed = match target.machine().1 {
        "aarch64" => "arm64",
        other => other,
    };
    // A process of the sandbox runs on whatever this machine has.
    if matches!(target, Target::Image { .. }) && !found.architectures.iter().any(|one| one == needed) {
        return Check::fail(
            TYPE,
            format!("{kind} is {}, and the image is {needed}", found.architectures.join(" or ")),
            "choose another instance.type in deploy.yaml, for example t3.micro or t4g.small",
        );
    }
    if !found.free {
        return Check::warn(
            TYPE,
            format!("{kind} is offered, but not free-tier eligible: accounts on the free plan are refused it"),
            "on the free plan, choose an eligible instance.type, for example t3.micro; otherwise nothing",
        );
    }
    Check::pass(TYPE, format!("{kind} is offered in {region}, free-tier eligible"))
}

/// Who asks, where nothing else can be asked.
pub async fn who(aws: &Aws) -> Check {
    let (identity, end) = tokio::join!(soon(observe::identity(aws)), end(aws.until));
    credentials(&identity, end.as_ref())
}

/// That there are none, or none that work: what [`Aws::account`] said before anything could be asked.
pub fn without(failure: &Failure) -> Option<Check> {
    (failure.exit() == Exit::Denied).then(|| Check::failed("credentials", failure))
}

#[cfg(test)]
mod tests;
