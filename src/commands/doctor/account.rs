//! What the account has: the region, the network, addresses, vCPUs and the image.

use std::collections::BTreeSet;

use super::kind::{self, Kind};
use super::plan;
use super::quota::{self, Quota, Wanted};
use super::who::{self, UNKNOWN, Who};
use super::{Check, ask, soon};
use crate::aws::{ApiError, Aws, Machine, explain};
use crate::base::error::Result;
use crate::config::{Deployment, Network};
use crate::resources::address;
use crate::resources::instance::{self, Credits, Image};
use crate::resources::route::{self, Way};

/// What was seen.
pub struct Seen {
    who: Who,
    subnets: Result<Vec<Subnet>, ApiError>,
    /// What VPC Block Public Access blocks.
    block: Result<String, ApiError>,
    /// The way to the internet.
    way: Result<Way>,
    /// How many addresses the region may have.
    limit: Result<Option<usize>, ApiError>,
    /// How many it has, and how many of them are this deployment's.
    addresses: Result<(usize, usize)>,
    /// The image that would boot.
    pub image: Result<Image>,
    kind: Result<Kind, ApiError>,
    /// How many vCPUs may run and do; where it is known which quota the type counts for.
    quota: Option<Quota>,
    plan: plan::Answer,
}

struct Subnet {
    vpc: String,
    zone: Option<String>,
    free: i32,
    /// What VPC Block Public Access blocks of it, exclusions counted; where EC2 says so.
    block: Option<String>,
}

/// Looks at everything at once. Who is not known, or does not get through, need not wait for the rest.
///
/// # Errors
/// That AWS does not know who asks.
pub async fn look(aws: &Aws, deployment: &Deployment, machine: &Machine) -> Result<Seen> {
    let image = soon(async {
        let id = instance::newest(aws, &machine.parameter).await?;
        instance::image(aws, machine, id.as_deref()).await
    });
    let rest = async {
        Ok(tokio::join!(
            subnets(aws, deployment.network.subnet.as_deref()),
            block(aws),
            limit(aws),
            soon(address::count(aws, &deployment.name)),
            image,
            kind::look(aws, &deployment.instance.kind),
            quota::look(aws, &deployment.instance.kind),
            plan::look(aws),
        ))
    };
    let (who, ((subnets, way), block, limit, addresses, image, kind, quota, plan)) =
        tokio::try_join!(who::look(aws), rest)?;
    Ok(Seen { who, subnets, block, way, limit, addresses, image, kind, quota, plan })
}

/// The one that is named, else those of the default VPC that EC2 would choose from; and their way to the internet.
async fn subnets(aws: &Aws, named: Option<&str>) -> (Result<Vec<Subnet>, ApiError>, Result<Way>) {
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

impl Seen {
    /// Judges it all.
    pub fn judge(&self, aws: &Aws, deployment: &Deployment, machine: &Machine) -> Vec<Check> {
        let region = &aws.region;
        let mut checks = vec![who::judge(&self.who, aws.source), enabled(region, self.refusal())];
        if !self.answers() {
            return checks;
        }
        checks.extend(plan::judge(&self.plan));
        let free = plan::is_free(&self.plan);
        let network = network(&deployment.network, region, &self.subnets, &self.block);
        let shut = self.way.as_ref().ok().filter(|_| !network.is_failed()).and_then(|way| way.check().err());
        checks.push(shut.map_or(network, |failure| Check::failed(NETWORK, &failure)));
        checks.extend(addresses(&deployment.network, &self.limit, &self.addresses));
        checks.push(image(machine, &self.image, free));
        let place = kind::Place { region, zones: &self.zones(), free };
        checks.push(kind::judge(&deployment.instance.kind, &place, &machine.target, &self.kind));
        checks.extend(self.vcpus(region, deployment, machine));
        checks
    }

    /// None where nothing can be said, or what is in the way is said of the type.
    fn vcpus(&self, region: &str, deployment: &Deployment, machine: &Machine) -> Option<Check> {
        let vcpus = self.kind.as_ref().ok()?.vcpus()?;
        let spec = instance::spec(&deployment.instance, &machine.image, deployment.network.subnet.as_deref());
        let wanted = Wanted { name: &deployment.name, kind: &deployment.instance.kind, vcpus, spec: &spec };
        self.quota.as_ref()?.judge(region, &wanted)
    }

    /// Where an instance could go.
    fn zones(&self) -> BTreeSet<&str> {
        self.subnets.iter().flatten().filter_map(|subnet| subnet.zone.as_deref()).collect()
    }

    /// Whether the region is there: otherwise nothing else can be asked.
    pub fn answers(&self) -> bool {
        !enabled("", self.refusal()).is_failed()
    }

    fn refusal(&self) -> Option<&ApiError> {
        self.who.off.as_ref().or(self.subnets.as_ref().err())
    }

    /// The account's number.
    pub fn account(&self) -> &str {
        &self.who.identity.account
    }

    /// What CPU credits an instance would have.
    pub fn credits(&self, deployment: &Deployment) -> Option<Credits> {
        let burstable = self.kind.as_ref().is_ok_and(Kind::is_burstable);
        burstable.then(|| Credits::at_launch(deployment.instance.cpu_credits))
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

const NETWORK: &str = "network";

/// A region that is not switched on knows no account.
fn enabled(region: &str, error: Option<&ApiError>) -> Check {
    const REGION: &str = "region";
    match error {
        Some(error) if error.is(&UNKNOWN) => Check::fail(
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
    let excluded = || subnets.iter().all(|subnet| subnet.block.as_deref() == Some("off"));
    match block {
        Ok(mode) if mode.starts_with("block") && excluded() => {
            Check::pass(NETWORK, format!("{place}, which VPC Block Public Access ({mode}) leaves out"))
        }
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

/// `on_free`: whether the account is on the free plan, if that is known.
fn image(machine: &Machine, image: &Result<Image>, on_free: Option<bool>) -> Check {
    const IMAGE: &str = "image";
    match image {
        Ok(Image { id, free: Some(false), .. }) if on_free == Some(true) => Check::fail(
            IMAGE,
            format!("{} as {id} is not free-tier eligible, and this account is on the free plan", machine.image),
            "choose another instance.image in deploy.yaml; or take the paid plan (Billing console)",
        ),
        Ok(Image { id, free: Some(false), .. }) if on_free.is_none() => Check::warn(
            IMAGE,
            format!("{} as {id} is not free-tier eligible: accounts on the free plan are refused it", machine.image),
            "on the free plan, choose another instance.image; otherwise nothing",
        ),
        Ok(image) => Check::pass(IMAGE, format!("{} as {}", machine.image, image.id)),
        Err(failure) => Check::failed(IMAGE, failure),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::base::error::Exit;
    use crate::config;

    fn error(code: &str) -> ApiError {
        ApiError {
            action: "ec2:DescribeSubnets",
            code: code.into(),
            message: "no".into(),
            status: Some(403),
            ahead: None,
        }
    }

    fn deployment() -> Deployment {
        config::named("hello").unwrap()
    }

    fn subnets(free: &[i32]) -> Result<Vec<Subnet>, ApiError> {
        let subnet = |free: &i32| Subnet { vpc: "vpc-1".into(), zone: None, free: *free, block: None };
        Ok(free.iter().map(subnet).collect())
    }

    #[test]
    fn a_region_that_is_not_enabled_is_told_from_one_that_refuses() {
        assert!(enabled("ap-east-1", Some(&error("AuthFailure"))).next.unwrap().contains("enable-region"));
        assert!(enabled("eu-west-9", Some(&error(""))).is_failed());
        assert_eq!(enabled("eu-west-1", Some(&error("UnauthorizedOperation"))).state, State::Pass);
    }

    #[test]
    fn a_network_needs_a_subnet_with_room_and_a_way_out() {
        let state = |free: &[i32], mode: &str| {
            network(&deployment().network, "eu-west-1", &subnets(free), &Ok(mode.to_owned())).state
        };
        let fails = State::Fail(Exit::Failed);
        assert_eq!(state(&[0, 7], "off"), State::Pass);
        assert_eq!(state(&[], "off"), fails);
        assert_eq!(state(&[0], "off"), fails);
        assert_eq!(state(&[7], "block-ingress"), fails);
        assert_eq!(state(&[7], "block-bidirectional"), fails);
    }

    #[test]
    fn a_subnet_that_the_block_leaves_out_is_reached() {
        let state = |modes: &[&str]| {
            let subnet = |mode: &&str| Subnet { vpc: "v".into(), zone: None, free: 1, block: Some((*mode).into()) };
            let subnets = Ok(modes.iter().map(subnet).collect());
            network(&deployment().network, "eu-west-1", &subnets, &Ok("block-ingress".into())).state
        };
        assert_eq!(state(&["off", "off"]), State::Pass);
        // EC2 chooses among them.
        assert_eq!(state(&["off", "block-ingress"]), State::Fail(Exit::Failed));
    }

    #[test]
    fn who_may_not_look_at_subnets_is_stopped_only_where_one_is_named() {
        let denied = || Err(error("UnauthorizedOperation"));
        let mut wanted = deployment().network;
        assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Warn);
        wanted.subnet = Some("subnet-1".into());
        assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Fail(Exit::Denied));
    }

    #[test]
    fn a_full_quota_is_in_the_way_of_who_has_no_address_yet() {
        let state = |have, limit| addresses(&deployment().network, &Ok(limit), &Ok(have)).unwrap().state;
        assert_eq!(state((4, 0), Some(5)), State::Pass);
        assert_eq!(state((5, 0), Some(5)), State::Fail(Exit::Failed));
        assert_eq!(state((5, 1), Some(5)), State::Pass);
        assert_eq!(state((9, 0), None), State::Pass);
        let mut network = deployment().network;
        network.static_ip = false;
        assert_eq!(addresses(&network, &Ok(Some(0)), &Ok((0, 0))), None);
    }
}
